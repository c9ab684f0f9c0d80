"""
The reasons why there is no direct link, in words for an operator.
"""

from __future__ import annotations

from OpenSSL.SSL import Error as TlsError
from twisted.internet import defer, error
from twisted.python.failure import Failure

from gateway.peers.protocol import PeerRefused, notConfigured

# Parts of OpenSSL's errors.
_NO_KEY = ("did not return a certificate", "certificate required")
_NO_TLS = ("version", "http request", "unsupported protocol", "record", "packet length")

# Its alerts, by which the other side refuses a key.
_NOT_ACCEPTED = ("alert unknown ca", "alert bad certificate", "alert certificate unknown")

_UNKNOWN_KEY = "is not configured"
_OTHER_SAYS = "the other gateway says"


def explain(reason: Failure, endpoint: str | None, own: str = "") -> str:
    """
    Return why there is no connection, and what to do.

    @param endpoint: what this side connects to; C{None} if it listens.
    @param own: the fingerprint of this side's key.
    """
    if isinstance(reason.value, PeerRefused):
        return _refused(str(reason.value))
    if endpoint is not None:
        if reason.check(error.ConnectionRefusedError):
            return f"nothing listens at {endpoint}: does the other gateway run, and does it listen there?"
        if reason.check(error.DNSLookupError):
            return f"the host of {endpoint} does not exist: is its name spelled correctly?"
        if reason.check(error.TimeoutError, error.NoRouteError, defer.TimeoutError):
            return f"nothing answers at {endpoint}: does every firewall allow the connection?"
    if reason.check(TlsError):
        words = _words(reason.value)
        if any(each in words for each in _NOT_ACCEPTED):
            return _refused(f"{_OTHER_SAYS}: {notConfigured(own)}")
        return f"TLS failed: {_tls(words)}"
    if reason.check(error.ConnectionDone, error.ConnectionLost):
        return "the connection was closed"
    return reason.getErrorMessage().rstrip(".")


def isUnknownKey(reason: Failure) -> bool:
    """True if this side has refused the other side's key."""
    text = str(reason.value) if isinstance(reason.value, PeerRefused) else ""
    return _UNKNOWN_KEY in text and _OTHER_SAYS not in text


def _refused(text: str) -> str:
    """Return the reason for which one side has ended the connection, and what to do."""
    if _UNKNOWN_KEY not in text:
        return text
    where = "the other side's configuration" if _OTHER_SAYS in text else "this configuration"
    return f"{text}: compare it with fingerprint in {where}; `xmpp-gateway peers` prints the one of a gateway"


def _words(problem: BaseException | None) -> str:
    """Return OpenSSL's words for an error of TLS: those of its list, or of the system."""
    errors = getattr(problem, "args", None) or ("no reason",)
    if isinstance(errors[0], list | tuple):
        errors = tuple(each[-1] for each in errors[0])
    return "; ".join(map(str, errors)) or "no reason"


def _tls(words: str) -> str:
    """Return the meaning of OpenSSL's words."""
    if any(each in words for each in _NO_KEY):
        return f"the other side has shown no key: it is not a gateway with a direct link ({words})"
    if any(each in words for each in _NO_TLS):
        return f"the other side does not speak TLS 1.3: is it a gateway, and is the port right? ({words})"
    return words
