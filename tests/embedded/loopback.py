"""The embedded host on this machine's loopback, for what only TLS and sockets show."""

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

from gateway.embedded.host import EmbeddedHost
from gateway.embedded.login import Client
from gateway.embedded.store import HostFolder, Whereabouts
from gateway.tables import EmbeddedTable, ServerEndpoint

HERE = ServerEndpoint("tcp:0:interface=127.0.0.1")
IMPLEMENTATION = "implementation@localhost/built-in"


class Arrival(XMPPHandler):
    """Comes online, and says when."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: Deferred[None] = Deferred()

    def connectionInitialized(self) -> None:
        self.send(domish.Element((None, "presence")))
        self.arrived.callback(None)


class LoopbackCase(TestCase):
    """A host on this machine."""

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
        """Who is available of an account."""
        return [session.jid for session, _ in self.host._router.accounts[f"{user}@localhost"].available()]

    async def until(self, holds: Any) -> None:
        """Let the reactor turn until something holds; the test's own deadline ends it."""
        while not holds():
            await deferLater(reactor, 0.01)

    async def closed(self) -> None:
        """Wait until the host has seen all clients go."""
        await self.until(lambda: not any(account.sessions for account in self.host._router.accounts.values()))
        await deferLater(reactor, 0.01)

    @property
    def place(self) -> Whereabouts:
        place = HostFolder(self.folder).read()
        assert place is not None
        return place

    def client(
        self, password: str, certificate: Certificate | None = None, jid: str = "alice@localhost/r"
    ) -> Client:
        """An ordinary client, connecting."""
        endpoint = clientFromString(reactor, self.place.c2s)
        trusted = certificate or Certificate.loadPEM((self.folder / "embedded.pem").read_bytes())
        client = Client(jid, password, endpoint, trusted, reactor)
        client.service.startService()
        self.addCleanup(client.service.stopService)
        return client
