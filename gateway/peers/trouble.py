"""
The reasons why there is no direct link, in words for an operator.
"""

from __future__ import annotations

from OpenSSL.SSL import Error as TlsError
from twisted.internet import error
from twisted.python.failure import Failure

from gateway.peers.protocol import PeerRefused

# Parts of OpenSSL's errors.
_NO_KEY = ("did not return a certificate", "certificate required")
_NO_TLS = ("version", "http request", "unsupported protocol", "record", "packet length")

_UNKNOWN_KEY = "is not configured"


def explain(reason: Failure, endpoint: str | None) -> str:
    """
    Return why there is no connection, and what to do.

    @param endpoint: what this side connects to; C{None} if it listens.
    """
    if isinstance(reason.value, PeerRefused):
        text = str(reason.value)
        if _UNKNOWN_KEY in text:
            own = "the other gateway says" in text
            where = "the other side's configuration" if own else "this configuration"
            text += f": compare it with fingerprint in {where}; `xmpp-gateway peers` prints the one of a gateway"
        return text
    if endpoint is not None:
        if reason.check(error.ConnectionRefusedError):
            return f"nothing listens at {endpoint}: does the other gateway run, and does it listen there?"
        if reason.check(error.DNSLookupError):
            return f"the host of {endpoint} does not exist: is its name spelled correctly?"
        if reason.check(error.TimeoutError, error.NoRouteError):
            return f"nothing answers at {endpoint}: does every firewall allow the connection?"
    if reason.check(TlsError):
        return f"TLS failed: {_tls(reason.value)}"
    if reason.check(error.ConnectionDone, error.ConnectionLost):
        return "the connection was closed"
    return reason.getErrorMessage().rstrip(".")


def _tls(problem: BaseException | None) -> str:
    """Return the meaning of an error of TLS, with OpenSSL's own words."""
    [errors] = getattr(problem, "args", None) or [()]
    words = "; ".join(str(each[-1]) for each in errors) or "no reason"
    if any(each in words for each in _NO_KEY):
        return f"the other side has shown no key: it is not a gateway with a direct link ({words})"
    if any(each in words for each in _NO_TLS):
        return f"the other side does not speak TLS 1.3: is it a gateway, and is the port right? ({words})"
    return words
