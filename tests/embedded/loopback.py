"""The embedded host on this machine's loopback interface, for tests that need TLS and sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.ssl import Certificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler

from gateway.config.tables import EmbeddedTable, ServerEndpoint
from gateway.embedded.host import EmbeddedHost
from gateway.embedded.login import Client
from gateway.embedded.store import HostFolder, HostInfo

HERE = ServerEndpoint("tcp:0:interface=127.0.0.1")
IMPLEMENTATION = "implementation@localhost/built-in"


class Arrival(XMPPHandler):
    """Sends presence, and reports the login."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: Deferred[None] = Deferred()

    def connectionInitialized(self) -> None:
        self.send(domish.Element((None, "presence")))
        self.arrived.callback(None)


class LoopbackCase(TestCase):
    """A host on the loopback interface."""

    timeout = 20

    async def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.shown: list[str] = []
        table = EmbeddedTable(c2s=HERE, component=HERE)
        self.host = EmbeddedHost(table, {}, self.folder, reactor, self.shown.append)
        self.host.startService()
        self.addCleanup(self.closed)
        self.addCleanup(self.host.stopService)
        await self.until(lambda: self.sessions("implementation"))

    def sessions(self, user: str) -> list[str]:
        """Return the available sessions of an account."""
        return [session.jid for session, _ in self.host._router.accounts[f"{user}@localhost"].available()]

    async def until(self, holds: Any) -> None:
        """Run the reactor until a condition holds, or the test times out."""
        while not holds():
            await deferLater(reactor, 0.01)

    async def closed(self) -> None:
        """Wait until the host has seen all clients disconnect."""
        await self.until(lambda: not any(account.sessions for account in self.host._router.accounts.values()))
        await deferLater(reactor, 0.01)

    @property
    def place(self) -> HostInfo:
        place = HostFolder(self.folder).read()
        assert place is not None
        return place

    def client(
        self, password: str, certificate: Certificate | None = None, jid: str = "alice@localhost/r"
    ) -> Client:
        """Return an ordinary client that connects."""
        endpoint = clientFromString(reactor, self.place.c2s)
        trusted = certificate or Certificate.loadPEM((self.folder / "embedded.pem").read_bytes())
        client = Client(jid, password, endpoint, trusted, reactor)
        client.service.startService()
        self.addCleanup(client.service.stopService)
        return client
