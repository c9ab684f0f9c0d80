"""
The reasons why L{gateway.stream.link.Link} reconnects by itself: the behaviour of Twisted's C{ClientService} with a
handshake before a connection is ready. If one of these fails, Twisted has been fixed.
"""

from __future__ import annotations

from typing import Any

from automat import NoTransition
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase


class Preparing(Protocol):
    """A protocol with a handshake."""

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = Failure(ConnectionLost())) -> None:  # noqa: B008  # as Twisted has it
        """Fail the handshake."""
        self.ready.errback(reason)


class Endpoint:
    """An endpoint that connects at once."""

    def __init__(self) -> None:
        self.connections: list[Any] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        """Return one more connection."""
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.connections.append(protocol)
        return succeed(protocol)


class ClientServiceTests(SynchronousTestCase):
    """C{twisted.application.internet.ClientService}."""

    def setUp(self) -> None:
        self.endpoint = Endpoint()
        self.service = ClientService(
            self.endpoint,
            Factory.forProtocol(Preparing),
            retryPolicy=lambda attempt: 1.0,
            clock=Clock(),
            prepareConnection=lambda protocol: protocol.ready,
        )
        self.service.startService()

    def test_lostInHandshake(self) -> None:
        """
        A connection that is lost during the handshake, as after a wrong secret, raises out of C{connectionLost}.
        """
        [connection] = self.endpoint.connections
        self.assertRaises(NoTransition, connection.connectionLost, Failure(ConnectionLost()))

    def test_stoppedInHandshake(self) -> None:
        """A stop during the handshake leaves the connection open."""
        [connection] = self.endpoint.connections
        connection.ready.addErrback(lambda failure: failure)
        self.successResultOf(self.service.stopService())
        self.assertFalse(connection._transport.disconnecting)
