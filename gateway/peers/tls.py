"""
TLS 1.3 between two gateways: each shows its key, and the connection is encrypted whatever carries it.

No authority is asked: the fingerprint of the other side's key is compared with those of the configuration, within
the handshake (L{Pins}), so that nothing is kept for other keys: no session, and no ticket. When the handshake is
complete, L{gateway.peers.protocol} compares it again: in a resumed session, no key is shown.
"""

from __future__ import annotations

from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import InvalidVersion
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from gateway.peers.compression import DICTIONARIES
from gateway.peers.identity import Identity, fingerprint

# The versions of the protocol that this gateway speaks, by their names in ALPN (RFC 7301): the first number is the
# version of frames and rules, the last one that of the dictionary. So both are agreed on in TLS's own handshake.
PROTOCOLS = {f"xg1.{number}".encode(): number for number in DICTIONARIES}

# Sessions that a listening side keeps for resumption, and seconds for which they are valid.
_SESSION_ID = b"xmpp-gateway"
_SESSION_SECONDS = 7 * 86_400

# One of each is enough, since both sides are gateways, and each that is offered takes bytes at each connection: a
# key of X25519MLKEM768 more than a kilobyte, and a hash of 384 bits 16 bytes each time. pyOpenSSL has no method for
# some of them; without these TLS works as well.
_OFFERED = (
    ("SSL_CTX_set_ciphersuites", b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
    ("SSL_CTX_set1_curves_list", b"X25519"),
    ("SSL_CTX_set1_sigalgs_list", b"ed25519"),
)
# Features of earlier versions, which TLS 1.3 has no use for but clients offer; by RFC 7366 and RFC 7627.
_NO_ENCRYPT_THEN_MAC, _NO_EXTENDED_MASTER_SECRET = 0x80000, 0x1
# A connection that breaks off is no fault of its session: that is what resumption is for. Frames have a length, so
# that none can be cut short unnoticed.
_IGNORE_UNEXPECTED_EOF = 0x80


class Pins(Protocol):
    """The protocol above TLS."""

    def keyShown(self, fingerprint: str) -> bool:
        """Return true if the other side may have this key; an empty one cannot be read. Must not raise."""


def _context(identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_privatekey(PKey.from_cryptography_key(identity.key))
    context.use_certificate(X509.from_cryptography(identity.certificate))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _shown)
    for name, value in _OFFERED:
        if hasattr(lib, name):
            getattr(lib, name)(context._context, value)
    # Tickets are 32 bytes then, and the session is kept by the listening side: otherwise they contain all of it.
    context.set_options(SSL.OP_NO_TICKET | _IGNORE_UNEXPECTED_EOF)
    context.set_options(_NO_ENCRYPT_THEN_MAC | _NO_EXTENDED_MASTER_SECRET)
    return context


def _shown(connection: SSL.Connection, certificate: X509, problem: int, depth: int, isValid: int) -> bool:
    """The other side shows a certificate: the session is not a resumed one. Return true if its key is accepted."""
    tlsProtocol = connection.get_app_data()
    tlsProtocol.handshake.isNew = True
    pins: Pins = tlsProtocol.wrappedProtocol
    # Further certificates have no meaning: the one at depth 0 has the key that was used.
    return depth > 0 or pins.keyShown(_fingerprint(certificate))


def _fingerprint(certificate: X509) -> str:
    """Return the fingerprint of a key; empty if the certificate cannot be read."""
    try:
        return fingerprint(certificate.to_cryptography())
    except (ValueError, InvalidVersion, UnsupportedAlgorithm):
        # OpenSSL reads more than the other library does.
        return ""


class Handshake:
    """
    The TLS connection of one transport.

    @ivar isNew: true if keys were shown; false if a session was resumed: then the other side has accepted this one
        before.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self.isNew = False

    @property
    def protocol(self) -> bytes:
        """The protocol that both sides have agreed on; empty for none."""
        return self._connection.get_alpn_proto_negotiated()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the other side's key; empty if it has shown none."""
        certificate = self._connection.get_peer_certificate()
        return "" if certificate is None else _fingerprint(certificate)

    @property
    def session(self) -> Any:
        """The session for the next connection."""
        return self._connection.get_session()


def _connection(context: SSL.Context, tlsProtocol: Any) -> SSL.Connection:
    """Return a connection. The transport has the L{Handshake} as its attribute C{handshake}."""
    connection = SSL.Connection(context, None)
    tlsProtocol.handshake = Handshake(connection)
    # Twisted does the same, from version 26 on.
    connection.set_app_data(tlsProtocol)
    return connection


@implementer(IOpenSSLClientConnectionCreator)
class Connecting:
    """
    Makes the connecting side of TLS.

    @ivar session: the session to resume; C{None} for none.
    @ivar own: the fingerprint of this side's key.
    """

    def __init__(self, identity: Identity) -> None:
        self.own = identity.fingerprint
        self._context = _context(identity)
        # The one session that is used again is kept below; OpenSSL would keep all that the other side offers.
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._context.set_alpn_protos(list(PROTOCOLS))
        self.session: Any = None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = _connection(self._context, tlsProtocol)
        connection.set_connect_state()
        if self.session is not None:
            connection.set_session(self.session)
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class Listening:
    """
    Makes the listening side of TLS.

    @ivar own: the fingerprint of this side's key.
    """

    def __init__(self, identity: Identity) -> None:
        self.use(identity)

    def use(self, identity: Identity) -> None:
        """Show this key from now on; earlier sessions cannot be resumed."""
        self.own = identity.fingerprint
        self._context = _context(identity)
        self._context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        self._context.set_session_id(_SESSION_ID)
        self._context.set_timeout(_SESSION_SECONDS)
        self._context.set_alpn_select_callback(_chosen)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = _connection(self._context, tlsProtocol)
        connection.set_accept_state()
        return connection


def _chosen(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """Choose the newest protocol that both sides speak. If there is none, both say so after the handshake."""
    return next((each for each in PROTOCOLS if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
