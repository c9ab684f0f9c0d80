"""
Connections that are lost, and the reasons, in words for an operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import ENOENT

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet import error
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.stream.checker import StreamFailed
from gateway.stream.component import NO_STREAM_ID, Refused
from gateway.stream.outages import Lost, Report, StillLost

_log = Logger()

# Stream errors that only an operator can resolve.
_MEANINGS = {
    # ejabberd uses it for an unknown component, too.
    "not-authorized": "the server rejects the secret, or does not know this component: compare both with the "
    "server's configuration",
    "conflict": "the server has another connection for this component: is a second gateway running, or is the "
    "name one of the server's own hosts?",
    "host-unknown": "the server does not know this component: add it to the server's configuration",
    # Openfire: its stream error is lost sometimes; then this is the only sign.
    NO_STREAM_ID: "the server does not accept this component's name: is a second gateway running, is the name one "
    "of the server's own services, and may it connect? In Openfire's admin console see Server > Server Settings > "
    "External Components",
    # The gateway's error about the server's first bytes, or the server's error about the gateway's first bytes.
    "invalid-namespace": "this port of the server is not for components, but perhaps for clients: compare the "
    "endpoint with the server's configuration",
}

# Stream errors after which another try may succeed.
_ENDINGS = {
    "connection-timeout": "the server does not respond: is it overloaded, and is the endpoint its port for "
    "components?",
    "policy-violation": "the server has closed the stream because of a limit of its own: see its log, and compare "
    "its limits with max_outgoing_stanza_size",
    "remote-connection-failed": "the server has a fault: see its log",
    "reset": "the connection is made anew",
    "system-shutdown": "the server shuts down: start it again",
}


def isRefused(reason: Failure) -> bool:
    """True if the server refuses this component or does not speak XEP-0114, so that another try soon is useless."""
    return _condition(reason) in _MEANINGS


def explain(reason: Failure, where: str) -> str:
    """
    Return why there is no connection, and what to do.

    @param where: the endpoint in the operator's words.
    """
    if meaning := _MEANINGS.get(_condition(reason)):
        return meaning
    if reason.check(error.ConnectionRefusedError) or getattr(reason.value, "osError", None) == ENOENT:
        return f"nothing listens at {where}: is the server running, and does it listen for components there?"
    if reason.check(error.DNSLookupError):
        return f"the host of {where} does not exist: is its name spelled correctly?"
    if reason.check(error.TimeoutError, error.NoRouteError):
        return f"nothing answers at {where}: is the address right, and does every firewall allow the connection?"
    if reason.check(error.ConnectionDone, error.ConnectionLost):
        return (
            "the server has closed the connection: was it stopped, does it listen for components there, and is "
            "tcp: or tls: right?"
        )
    if reason.check(VerificationError):
        return (
            "the server's certificate is not valid for the host in the endpoint: use a host name that the "
            "certificate has"
        )
    if reason.check(TlsError) and "certificate verify failed" in repr(reason.value):
        return (
            "the server's certificate is not trusted by this machine: add its issuer to the machine's trusted "
            "certificates, or name a file with it in the environment's SSL_CERT_FILE"
        )
    if reason.check(TlsError):
        return (
            "TLS failed: does the server speak TLS at this port, and is its certificate one that this machine "
            f"trusts? {reason.value!r}"
        )
    if isinstance(reason.value, StreamFailed):
        advice = f"is {where} its port for components, and is tcp: or tls: right?"
        return f"the server does not speak XMPP, or breaks its rules: {advice} ({reason.value})"
    if isinstance(reason.value, Refused):
        return _ENDINGS.get(reason.value.condition, "the server has closed the stream: see its log") + (
            f" ({reason.value})"
        )
    return reason.getErrorMessage().rstrip(".") + f": is {where} right, and is the server running?"


def logOutage(reports: Iterable[Report]) -> None:
    """Log what is to be reported about the connections to a server."""
    for each in reports:
        names = ", ".join(each.components)
        if isinstance(each, Lost):
            _log.warn(
                "{names}: not connected: {trouble} ({retry}).",
                event="link.lost",
                names=names,
                components=each.components,
                trouble=each.trouble,
                retry="the gateway retries" if each.delay is None else f"next try in {each.delay:.1f} s",
            )
        elif isinstance(each, StillLost):
            _log.warn(
                "{names}: still not connected: {trouble} (for {seconds:.0f} s; failed tries: {tries}).",
                event="link.still_lost",
                names=names,
                components=each.components,
                trouble=each.trouble,
                seconds=each.seconds,
                tries=each.tries,
            )
        else:
            _log.info(
                "{names}: connected again (after {seconds:.0f} s; failed tries: {tries}).",
                event="link.back",
                names=names,
                components=each.components,
                seconds=each.seconds,
                tries=each.tries,
            )


def _condition(reason: Failure) -> str:
    return reason.value.condition if isinstance(reason.value, Refused | StreamFailed) else ""
