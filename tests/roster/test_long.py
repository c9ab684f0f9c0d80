"""Long computations run in pieces; and the composed service."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.composition.reader import load
from gateway.composition.service import makeService
from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster.api import EjabberdApplier
from gateway.roster.interested import InterestedClients
from gateway.roster.lock import LockedRosters
from gateway.roster.plugin import RosterPlugin
from gateway.roster.refresher import Refresher
from tests.roster.test_lock import Request
from tests.roster.test_refresher import FakeAnswer, FakeWorld

CONTACTS = {f"c{number}@h": {} for number in range(50)}
DOCUMENT = FakeAnswer(json.dumps(CONTACTS).encode())
ROWS = [{"jid": jid, "nick": "", "subscription": "both", "groups": []} for jid in CONTACTS]


class TiredClock(Clock):
    """A clock that advances by 20 ms at each look, so that each piece takes a turn."""

    def seconds(self) -> float:
        self.rightNow += 0.02
        return self.rightNow

    def turns(self) -> int:
        """Return the number of turns until nothing is left to do."""
        count = 0
        while self.calls:
            calls, self.calls = self.calls, []
            for call in calls:
                call.func(*call.args)
            count += 1
        return count


class LongTests(SynchronousTestCase):
    """Fifty contacts take at least fifty pieces."""

    def setUp(self) -> None:
        self.clock = TiredClock()
        self.pieces = Pieces(self.clock)
        self.world = FakeWorld()

    def test_refresh(self) -> None:
        """Reading a document, and comparing it."""
        refresher = Refresher("h", self.world, self.world, 2, self.pieces)
        refresher.dryRun("john")
        self.world.taken()
        self.world.answer(DOCUMENT)
        self.assertEqual(self.world.taken(), [])
        self.assertGreater(self.clock.turns(), 50)
        self.assertEqual([each[0] for each in self.world.taken()], ["get"])
        self.world.answer([])
        self.assertGreater(self.clock.turns(), 3)

    def test_locked(self) -> None:
        """Reading a document for a client, and encoding the roster."""
        clock = Clock()
        refresher = Refresher("h", self.world, self.world, 2, self.pieces)
        interested = InterestedClients("r.h", "h", None, clock)
        locked = LockedRosters(refresher, self.world, clock, self.pieces, interested, "r.h")
        asked = ensureDeferred(locked.answer(Request()))
        self.world.answer(DOCUMENT)
        self.assertNoResult(asked)
        self.assertGreater(self.clock.turns(), 50)
        self.world.answer([RosterItem(jid=jid, subscription="both") for jid in CONTACTS])
        self.assertNoResult(asked)
        self.assertGreater(self.clock.turns(), 50)
        self.assertEqual(len(self.successResultOf(asked).children), 50)

    def test_ejabberd(self) -> None:
        """Parsing an answer, and reading it."""
        stub: Any = StubTreq(StringStubbingResource(lambda *request: (200, {}, json.dumps(ROWS).encode())))
        got = ensureDeferred(EjabberdApplier("http://h/api", stub, Clock(), 5.0, self.pieces).get("john@h"))
        self.assertNoResult(got)
        self.assertGreater(self.clock.turns(), 150)
        self.assertEqual(len(self.successResultOf(got)), 50)


class ComposedTests(TestCase):
    """The service as an operator configures it."""

    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def compose(self, clock: Any, url: str, more: str = "") -> Any:
        """Return the HTTP server of one roster service on the embedded host."""
        path = self.folder / "gateway.toml"
        path.write_text(f"[roster.'roster.localhost']\ndomain = 'localhost'\nurl = '{url}'\n{more}")
        config = load(path, [RosterPlugin()], clock)
        return makeService(config, clock, lambda: 1_700_000_000.0).getServiceNamed("http")._factory

    def post(self, site: Any, path: str, **headers: str) -> StringTransport:
        transport = StringTransport()
        channel = site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        lines = [f"POST {path} HTTP/1.1", "Host: 10.0.0.1:12345", "Content-Type: application/json"]
        lines += ["Content-Length: 6", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        channel.dataReceived("\r\n".join([*lines, "", '["jo"]']).encode())
        self.addCleanup(channel.setTimeout, None)
        return transport

    async def test_endless(self) -> None:
        """A web application that sends headers without end is disconnected, and the answer says so."""

        class Endless(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000)

        port: Any = reactor.listenTCP(0, Factory.forProtocol(Endless), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        site = self.compose(reactor, f"http://127.0.0.1:{port.getHost().port}/%s")
        transport = self.post(site, "/roster_admin/refresh")
        while not transport.value():
            await deferLater(reactor, 0.01)
        self.assertIn(b"over 32768 bytes of headers", transport.value())

    def test_signed(self) -> None:
        """A secret guards both addresses of a domain."""
        secret = "signature_secret = 's3cret'\n"
        for more, code in (("", b"200"), (secret, b"401")):
            site = self.compose(MemoryReactorClock(), "http://h/%s", more)
            for path in ("/roster_admin/refresh", "/roster_admin/localhost/refresh"):
                found = self.post(site, path).value().split()[1:2]
                self.assertEqual(found == [b"401"], code == b"401", (path, found))
                # The time is that of the wall clock.
                time = "1700000000"
                signed = f'POST\n{path}\n{time}\n["jo"]'.encode()
                signature = "sha256=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
                headers = {"X_Signature_Time": time, "X_Hub_Signature_256": signature}
                self.assertNotIn(b"401", self.post(site, path, **headers).value())
