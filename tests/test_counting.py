"""Each service counts: its stanzas, on a link in memory, change its metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.delegation.compose import manage
from gateway.delegation.delegations import Delegation
from gateway.delegation.handler import ManagingHandler
from gateway.delegation.managing import Route
from gateway.errors import NotGranted, StoreBroken
from gateway.fmuc.actions import Submission, ToNode
from gateway.fmuc.core import Rooms
from gateway.fmuc.echo import Echoes
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import HF
from gateway.fmuc.returned import digest
from gateway.fmuc.values import Dialect
from gateway.http import site as server
from gateway.http.access import Gate
from gateway.http.health import Health
from gateway.http.site import QuietSite
from gateway.interfaces import RosterItem
from gateway.metrics import IMetrics, IMetricsProvider, names
from gateway.muc.values import Payload, RoomMessage
from gateway.pieces import Pieces
from gateway.privilege.handler import PrivilegeHandler
from gateway.privilege.lending import Lending
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.store import MIGRATIONS, ExchangeStore
from gateway.roster import refresher as refreshing
from gateway.roster.failures import RefreshFailed, UserUnknown
from gateway.roster.handler import PresenceWatcher
from gateway.roster.interested import InterestedClients
from gateway.roster.refresher import Refresher
from gateway.state.database import Database
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import SqliteBackend
from gateway.stream.core import Limits, Splitter
from gateway.stream.outbox import Outbox
from gateway.stream.outflow import Copies, Outflow
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza
from gateway.stream.traffic import CountingOutflow, CountingSplitter
from tests.delegation.support import FakeNamespace
from tests.metrics import MeasuredWorld, RecordingMetrics
from tests.proxy.support import stanza
from tests.reports import sentences
from tests.roster.test_interested import FakePrivileges
from tests.roster.test_refresher import FakeAnswer, FakeWorld
from tests.stream.memory import HEADER, JID, World

USER = "ann@example.com/1"
TARGET = "impl@example.com"
SERVER = "example.com"
PING = f"<ping xmlns='{ns.PING}'/>"
MUC = f"<x xmlns='{ns.MUC}'/>"


class Case(SynchronousTestCase):
    """A link whose metrics are recorded."""

    def setUp(self) -> None:
        self.world = MeasuredWorld(Limits(stanzaSize=10_000, outgoingSize=5_000))
        self.link = self.world.link
        self.metrics = self.world.metrics

    def say(self, *stanzas: str) -> bytes:
        """Return the output that stanzas of the server cause."""
        before = len(self.world.server.value())
        self.world.server.say("".join(stanzas).encode())
        return self.world.server.value()[before:]

    def assertValue(self, expected: object, metric: Any, *labels: str) -> None:
        self.assertEqual(self.metrics.value(metric, *labels), expected, (metric.name, labels))


class LinkTests(Case):
    """The metrics of every link."""

    def test_traffic(self) -> None:
        """Stanzas by kind and direction, and all bytes, in pieces as well; counters go on after a reconnection."""
        self.world.up()
        iq = f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>"
        received = sum(map(len, (HEADER, b"<handshake/>", iq, iq)))
        self.say(iq, iq[:10])
        self.say(iq[10:], f"<message from='{USER}' to='{JID}'/>", f'<presence from="{USER}" to="{JID}"/>')
        for kind, count in (("iq", 2), ("message", 1), ("presence", 1)):
            self.assertValue(count, names.STANZAS, kind, "received")
        self.assertGreater(self.metrics.value(names.STREAM_BYTES, "received"), received)
        for kind, count in (("iq", 2), ("message", 0), ("presence", 0), ("other", 2)):
            self.assertValue(count, names.STANZAS, kind, "sent")
        sent = len(self.world.server.value())
        self.assertValue(sent, names.STREAM_BYTES, "sent")
        self.world.server.lose(ConnectionError())
        self.world.wait(3)
        self.world.server.accept()
        self.say(iq)
        self.assertValue(3, names.STANZAS, "iq", "received")
        self.assertValue(3 * len(iq), names.STANZA_BYTES, "iq", "received")
        self.assertValue(3, names.STANZAS, "iq", "sent")
        self.assertValue(sent + len(self.world.server.value()), names.STREAM_BYTES, "sent")

    def test_backlog(self) -> None:
        """Stanzas and copies of others that wait count when they are taken, piece by piece."""
        self.world.up()
        protocol: Any = self.link._protocol
        protocol.pieceBytes = 100
        protocol.pauseProducing()
        copies = Copies(b"<message to='", (b"a", b"bb"), b"'/>")
        for _ in range(10):
            self.assertTrue(self.link.sendRaw(b"<presence to='%b'/>" % (b"x" * 30)))
            self.assertTrue(self.link.sendCopies(copies))
        self.assertValue(0, names.STANZAS, "message", "sent")
        protocol.resumeProducing()
        self.assertValue(20, names.STANZAS, "message", "sent")
        self.assertValue(10, names.STANZAS, "presence", "sent")
        self.assertValue(10 * copies.size, names.STANZA_BYTES, "message", "sent")
        self.assertValue(len(self.world.server.value()), names.STREAM_BYTES, "sent")

    def test_copies(self) -> None:
        """Copies that a received stanza causes are written as one part, and each counts."""
        copies = Copies(b"<message to='", (b"a", b"bb", b"ccc"), b"'/>")

        class Repeating(RawHandler):
            def stanzaReceived(self, stanza: Stanza) -> bool:
                return self._link.sendCopies(copies)

        Repeating().setHandlerParent(self.link)
        self.world.up()
        self.say(f"<message from='{USER}' to='{JID}'/>")
        self.assertValue(3, names.STANZAS, "message", "sent")

    def test_stop(self) -> None:
        """A link stops, with an empty outbox as well; output that is no stanza counts as another kind."""
        self.world.up()
        before = self.metrics.value(names.STANZAS, "other", "sent")
        for data in (b"", b" "):
            self.link.sendRaw(data)
        stopped = self.link.stopService()
        self.world.wait(12)
        self.successResultOf(stopped)
        self.assertTrue(self.world.server.value().endswith(b" </stream:stream>"))
        self.assertValue(before + 3, names.STANZAS, "other", "sent")

    def test_unmeasured(self) -> None:
        """A link without metrics has a stream that counts nothing."""
        protocol: Any = World().up().link._protocol
        self.assertEqual((type(protocol._splitter), type(protocol._output)), (Splitter, Outflow))
        protocol = self.world.up().link._protocol
        self.assertEqual((type(protocol._splitter), type(protocol._output)), (CountingSplitter, CountingOutflow))

    def test_connections(self) -> None:
        """The state of the connection, how often it was made and lost."""
        self.assertValue(0, names.LINK_UP)
        self.world.endpoint.mode = "refuse"
        self.link.startService()
        self.world.endpoint.mode = "connect"
        self.world.wait(2)
        self.world.server.accept()
        self.assertValue(1, names.LINK_UP)
        self.assertValue(1, names.LINK_CONNECTIONS)
        self.assertValue(1, names.LINK_FAILURES)
        self.world.server.lose(ConnectionError())
        self.assertValue(0, names.LINK_UP)
        self.world.wait(3)
        self.world.server.accept()
        self.assertValue(2, names.LINK_CONNECTIONS)
        self.assertValue(2, names.LINK_FAILURES)
        self.assertValue(0, names.LINK_CONFLICT)
        self.link.conflict = "another one"
        self.assertValue(1, names.LINK_CONFLICT)

    def test_outbox(self) -> None:
        """Stanzas that wait for the connection, and those that are dropped; the status page has the same."""
        self.world.endpoint.mode = "refuse"
        self.link.startService()
        self.assertEqual(sentences(self.link.report()), [])
        self.link.outbox = Outbox(maxCount=2)
        for _ in range(3):
            self.link.sendRaw(b"<presence/>")
        self.assertValue(2, names.OUTBOX_STANZAS)
        self.assertValue(22, names.OUTBOX_BYTES)
        self.assertValue(0, names.STANZAS, "presence", "sent")
        self.assertValue(1, names.OUTPUT_DROPPED, "full")
        self.world.wait(32)
        self.assertValue(0, names.OUTBOX_STANZAS)
        self.assertValue(2, names.OUTPUT_DROPPED, "late")
        self.world.endpoint.mode = "connect"
        while not self.world.endpoint.transports:
            self.world.wait(1)
        self.link.sendRaw(b"<presence/>")
        self.link.sendRaw(b"<message/>")
        self.assertEqual(
            sentences(self.link.report()),
            [
                "stanzas that wait for the link: 2; bytes: 21",
                "stanzas that could not be sent: 2 waited too long for the link, 1 found no room",
            ],
        )
        self.world.server.accept()
        self.world.wait(1)
        self.assertValue(1, names.STANZAS, "presence", "sent")
        self.assertValue(1, names.STANZAS, "message", "sent")
        self.assertValue(11, names.STANZA_BYTES, "presence", "sent")
        self.assertValue(10, names.STANZA_BYTES, "message", "sent")

    def test_logged(self) -> None:
        """Each dropped stanza is in one line of the log, though the counters go on."""
        self.link.startService()
        self.link.outbox = Outbox(maxCount=1)
        with capturedLogs() as events:
            for _ in range(2):
                for _ in range(3):
                    self.link.sendRaw(b"<presence/>")
                self.world.wait(32)
        told = [(each["late"], each["full"]) for each in events if "late" in each]
        self.assertEqual(told, [(1, 2), (1, 2)])
        self.assertEqual(len([each for each in events if "too much output" in each["log_format"]]), 2)
        self.assertValue(4, names.OUTPUT_DROPPED, "full")

    def test_unsent(self) -> None:
        """Bytes that the server does not read."""
        self.world.up()
        self.world.server.protocol.pauseProducing()
        self.link.sendRaw(b"<presence/>")
        self.assertValue(11, names.LINK_UNSENT)

    def test_refused(self) -> None:
        """Stanzas that are too large, in both directions, and the errors of requests that nobody handles."""
        self.world.up()
        self.say(f"<message from='{USER}' to='{JID}'>{'x' * 10_000}</message>")
        self.assertValue(1, names.REFUSED, "received", "too_large")
        self.link.sendRaw(b"<message from='a' to='b'>%b</message>" % (b"x" * 5_000))
        self.assertValue(1, names.REFUSED, "sent", "too_large")
        self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>")
        self.assertValue(1, names.ERRORS, "service-unavailable")
        self.link.countCondition("made-up")
        self.link.countCondition("policy-violation")
        self.assertValue(1, names.ERRORS, "other")
        self.assertValue(1, names.ERRORS, "policy-violation")

    def test_budget(self) -> None:
        """A user who is over the budget of answers is counted, and so are the stanzas that wait."""
        self.world.up()
        self.link.budget.chargeUser("ann@example.com", 10**9, self.link.now)
        self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>")
        self.say(f"<presence from='{USER}' to='{JID}/x'>{MUC}</presence>")
        self.assertValue(1, names.OVER_BUDGET, "answers")
        self.assertValue(0, names.OVER_BUDGET, "copies")
        self.assertValue(1, names.IN_DEBT, "answers")
        self.assertValue(1, names.HELD_STANZAS)
        self.assertValue(1, names.HELD_USERS)

    def test_lateAnswer(self) -> None:
        """An ordinary handler's answer that is over the user's budget is an error."""
        Silent().setHandlerParent(self.link)
        self.world.up()
        self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>")
        self.assertValue(1, names.PENDING, "handlers")
        self.link.budget.chargeUser("ann@example.com", 10**9, self.link.now)
        big = f"<query xmlns='urn:x'>{'x' * 4_500}</query>"
        self.link.send(stanza(f"<iq from='{JID}' to='{USER}' id='1' type='result'>{big}</iq>").element)
        self.assertValue(1, names.ERRORS, "resource-constraint")

    def test_handlers(self) -> None:
        """A handler registers its metrics when it is added; one that fails to is on the link all the same."""
        for raises in (False, True):
            handler = Measured(raises)
            handler.setHandlerParent(self.link)
            self.assertIn(handler, list(self.link))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.metrics.families["test"].read(), {(JID,): 1.0})
        Measured(True).setHandlerParent(World().link)

    def test_own(self) -> None:
        """The component's own requests."""
        self.world.up()
        self.link.request(stanza(f"<iq to='{SERVER}' id='1' type='get'>{PING}</iq>").element)
        self.assertValue(1, names.PENDING, "own")
        self.assertValue(0, names.PENDING, "handlers")


@implementer(IMetricsProvider)
class Measured(XMPPHandler):
    """A handler with a metric of its own."""

    def __init__(self, raises: bool) -> None:
        super().__init__()
        self.raises = raises

    def measure(self, metrics: IMetrics) -> None:
        metrics.gauge("test", "A test.").set(1 // (not self.raises))


class Silent(XMPPHandler):
    """An ordinary handler that takes every request, and answers none."""

    def connectionInitialized(self) -> None:
        def take(element: Any) -> None:
            element.handled = True

        self.xmlstream.addObserver("/iq", take)


class ProxyTests(Case):
    """A proxy with one resource."""

    def setUp(self) -> None:
        super().setUp()
        self.translator = Translator(Sealer(JID, b"k" * 32), Pool(TARGET, "*", "random", lambda: 0.0), Rules())
        self.handler: Any = ProxyHandler(self.translator, ExchangeStore(MemoryStore(MIGRATIONS)))
        self.handler.setHandlerParent(self.link)
        self.world.up()
        self.say(f"<presence from='{TARGET}/a' to='{JID}'/>")

    def test_exchange(self) -> None:
        """The time from a request to its answer."""
        self.assertValue(1, names.PROXY_RESOURCES)
        out = self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>").decode()
        self.assertValue(1, names.PENDING, "proxy")
        self.world.clock.advance(0.25)
        alias = re.findall(r" from='([^']*)'", out)[0]
        self.say(f"<iq from='{TARGET}/a' to='{alias}' id='1' type='result'/>")
        self.assertValue([0.25], names.PROXY_ROUND_TRIP)
        self.assertValue(0, names.PENDING, "proxy")

    def test_dropped(self) -> None:
        """A forged answer is dropped; a request that nobody can take, or takes in time, gets an error."""
        self.say(f"<iq from='{TARGET}/a' to='{JID}/x' id='1' type='result'/>")
        [(reason, count)] = self.metrics.read(names.PROXY_DROPPED).items()
        self.assertEqual((reason, count), (("a_broken_seal",), 1.0))
        self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>")
        self.world.wait(32)
        self.assertValue(1, names.ERRORS, "remote-server-timeout")
        self.assertValue(None, names.PROXY_ROUND_TRIP)
        self.say(f"<presence from='{TARGET}/a' to='{JID}' type='unavailable'/>")
        self.say(f"<iq from='{USER}' to='{JID}' id='2' type='get'>{PING}</iq>")
        self.assertValue(1, names.ERRORS, "service-unavailable")

    def test_failed(self) -> None:
        """An answer that the gateway fails to forward becomes an error; presence is not forwarded here."""
        out = self.say(f"<iq from='{USER}' to='{JID}' id='1' type='get'>{PING}</iq>").decode()
        alias = re.findall(r" from='([^']*)'", out)[0]
        failing = iter([True])

        def send(data: bytes) -> bool:
            if next(failing, False):
                raise ZeroDivisionError
            return self.link.sendRaw(data)

        self.patch(self.handler, "_send", send)
        self.say(f"<iq from='{TARGET}/a' to='{alias}' id='1' type='result'/>")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertValue(1, names.ERRORS, "internal-server-error")
        self.say(f"<presence from='{USER}' to='{JID}/x'/>")
        self.assertValue(1, names.ERRORS, "service-unavailable")

    def test_waiting(self) -> None:
        """Requests that wait for the presence of the target."""
        self.world.server.lose(ConnectionError())
        self.world.wait(3)
        self.world.server.accept()
        self.say(f"<iq from='{USER}' to='{JID}' id='2' type='get'>{PING}</iq>")
        self.assertValue(1, names.PENDING, "proxy_waiting")

    def test_unmeasured(self) -> None:
        """Without metrics nothing is called for an answer."""
        translator = Translator(Sealer(JID, b"k" * 32), Pool(TARGET, "*", "random", lambda: 0.0), Rules())
        ProxyHandler(translator, ExchangeStore(MemoryStore(MIGRATIONS))).setHandlerParent(World().link)
        self.assertIsNone(translator.observe)
        self.assertIsNotNone(self.translator.observe)


class DelegationTests(Case):
    """A managing entity that answers one namespace, and forwards another one."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting: Deferred[None] = Deferred()
        handler = FakeNamespace(lambda request: self.waiting, frozenset({"urn:own"}))
        routes = {
            "urn:own": Route(handler),
            "urn:theirs": Route(None, Delegation("urn:theirs", ("pep.example.com",))),
        }
        manage(self.link, routes, frozenset({SERVER}))
        self.world.up()

    def request(self, namespace: str, identifier: str) -> bytes:
        inner = f"<iq xmlns='{ns.CLIENT}' from='{USER}' id='1' type='get'><query xmlns='{namespace}'/></iq>"
        forwarded = f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded>"
        wrapped = f"<delegation xmlns='{ns.DELEGATION_2}'>{forwarded}</delegation>"
        return self.say(f"<iq from='{SERVER}' to='{JID}' id='{identifier}' type='set'>{wrapped}</iq>")

    def test_requests(self) -> None:
        """The time from a request to its answer, by namespace and outcome."""
        self.request("urn:own", "1")
        self.assertValue(1, names.PENDING, "delegation")
        self.world.clock.advance(0.5)
        self.waiting.callback(None)
        self.assertEqual(self.world.metrics.value(names.PENDING, "delegation"), 0)
        self.waiting = Deferred()
        self.request("urn:own", "2")
        self.world.wait(26)
        self.request("urn:unknown", "3")
        times = self.metrics.read(names.DELEGATION_REQUEST)
        self.assertEqual(set(times), {("urn:own", "result"), ("urn:own", "error"), ("other", "error")})
        self.assertEqual(times["other", "error"], [0.0])
        self.assertTrue(25 <= times["urn:own", "error"][0] < 27)
        self.assertValue(1, names.ERRORS, "remote-server-timeout")
        self.assertValue(1, names.ERRORS, "service-unavailable")

    def test_errors(self) -> None:
        """Errors for a request that cannot be read, for an answer that is too large, and for one without room."""
        self.say(f"<iq from='{SERVER}' to='{JID}' id='9' type='set'><delegation xmlns='{ns.DELEGATION_2}'/></iq>")
        self.assertValue(1, names.ERRORS, "bad-request")
        self.waiting = succeed(b"<query xmlns='urn:own'>%b</query>" % (b"x" * 6_000))
        self.request("urn:own", "1")
        self.assertValue(1, names.ERRORS, "policy-violation")
        self.waiting = succeed(None)
        [handler] = [each for each in self.link if isinstance(each, ManagingHandler)]
        self.patch(handler, "_send", lambda data: b"error" in data)
        self.request("urn:own", "2")
        self.assertValue(1, names.ERRORS, "resource-constraint")

    def test_grants(self) -> None:
        """Namespaces that servers delegate, and managing entities that are available."""
        for namespace in ("urn:own", "urn:theirs"):
            self.assertValue(0, names.DELEGATION_GRANTED, SERVER, namespace)
        granted = f"<delegation xmlns='{ns.DELEGATION_2}'><delegated namespace='urn:own'/></delegation>"
        self.say(f"<message from='{SERVER}' to='{JID}'>{granted}</message>")
        self.assertValue(1, names.DELEGATION_GRANTED, SERVER, "urn:own")
        self.assertValue(0, names.DELEGATION_GRANTED, SERVER, "urn:theirs")
        self.assertValue(0, names.DELEGATION_ENTITY_UP, "pep.example.com")
        asked = re.findall(r"<iq [^>]*id='([^']*)'[^>]*>", self.world.server.value().decode())
        for identifier in asked:
            self.say(f"<iq from='pep.example.com' to='{JID}' id='{identifier}' type='result'/>")
        self.assertValue(1, names.DELEGATION_ENTITY_UP, "pep.example.com")
        self.assertValue(0, names.DELEGATION_USERS)
        self.request("urn:theirs", "4")
        self.assertValue(1, names.PENDING, "delegation_forwarded")


class PrivilegeTests(Case):
    """Privileges that a server grants, and that are lent."""

    def test_unused(self) -> None:
        """A component that does not use privileges lacks none; one that has tried to use them does."""
        privileges = PrivilegeHandler([SERVER])
        privileges.setHandlerParent(self.link)
        self.world.up()
        self.assertEqual(self.metrics.read(names.PRIVILEGES_GRANTED), {})
        self.failureResultOf(privileges.getRoster(f"ann@{SERVER}"), NotGranted)
        self.assertValue(0, names.PRIVILEGES_GRANTED, SERVER)

    def test_lent(self) -> None:
        """Servers that grant privileges, and the use that a managing entity makes of them."""
        privileges = PrivilegeHandler([SERVER])
        privileges.setHandlerParent(self.link)
        Lending(privileges, SERVER, ["pep.example.com"]).setHandlerParent(self.link)
        self.world.up()
        self.assertValue(0, names.PRIVILEGES_GRANTED, SERVER)
        addresses = f"from='pep.example.com' to='ann\\40{SERVER}@{JID}/x'"
        roster = f"<iq {addresses} id='1' type='get'><query xmlns='{ns.ROSTER}'/></iq>"
        self.say(roster)
        self.assertValue(1, names.LENT, "pep.example.com", "refused")
        self.assertValue(1, names.ERRORS, "forbidden")
        permission = "<perm access='roster' type='both'/>"
        granted = f"<privilege xmlns='{ns.PRIVILEGE}'>{permission}</privilege>"
        self.say(f"<message from='{SERVER}' to='{JID}'>{granted}</message>")
        self.assertValue(1, names.PRIVILEGES_GRANTED, SERVER)
        self.say(roster)
        self.assertValue(1, names.LENT, "pep.example.com", "requests")
        self.assertValue(0, names.LENT, "pep.example.com", "messages")
        self.assertValue(1, names.PENDING, "lent")
        [identifier] = re.findall(r"<iq [^>]*id='([^']{20,})'", self.world.server.value().decode())
        self.patch(self.link, "sendRaw", lambda data: b"error" in data)
        self.say(f"<iq from='ann@{SERVER}' to='{JID}' id='{identifier}' type='result'/>")
        self.assertValue(1, names.ERRORS, "resource-constraint")


class RosterTests(Case):
    """Refreshes, and the clients that have a locked roster."""

    def setUp(self) -> None:
        super().setUp()
        self.application = FakeWorld()
        clock: Any = self.world.clock
        self.refresher = Refresher("h", self.application, self.application, 4, Pieces(clock))
        self.watcher = PresenceWatcher("h", self.refresher, 60.0, clock, lambda: True)
        self.watcher.setHandlerParent(self.link)
        self.clients = InterestedClients(JID, "h", FakePrivileges(), clock)  # type: ignore[arg-type]  # a part of the port
        self.clients.setHandlerParent(self.link)
        self.world.up()

    def test_refreshes(self) -> None:
        """The outcome and the time of refreshes and fetches."""
        self.assertEqual(sentences(self.watcher.report()), [])
        self.refresher.refresh("ann")
        self.assertValue(1, names.ROSTER_WAITING)
        self.world.clock.advance(0.5)
        self.application.answer(FakeAnswer(b'{"marie@h": {}}'))
        self.application.answer([])
        self.world.clock.advance(0.5)
        self.application.answer(None)
        self.refresher.refresh("ann")
        self.application.answer(FakeAnswer(None, '"1"'))
        for failure in (RefreshFailed("no"), UserUnknown("who")):
            self.refresher.refresh("ben" if type(failure) is RefreshFailed else "cid")
            self.application.fail(failure)
        for outcome in ("changed", "unchanged", "failed", "unknown"):
            self.assertValue(1, names.ROSTER_REFRESHES, outcome)
        self.assertValue([1.0, 0.0, 0.0, 0.0], names.ROSTER_REFRESH)
        self.assertValue([0.5], names.ROSTER_FETCH, "fetched")
        for outcome in ("unchanged", "failed", "unknown"):
            self.assertValue([0.0], names.ROSTER_FETCH, outcome)
        self.assertValue(1, names.ROSTER_SET)
        self.assertValue(0, names.ROSTER_WAITING)
        outcomes = "1 with changes, 1 without, 1 failed, 1 of users who are unknown to the application"
        summary = f"refreshes: {outcomes}; users whose refresh waits or is under way: 0"
        self.assertEqual(sentences(self.watcher.report()), [summary, "the last refresh of ben@h failed: no"])

    def test_failures(self) -> None:
        """The last failure of a user is reported until a refresh succeeds; the number of users is bounded."""
        for number in range(12):
            self.refresher.refresh(f"u{number}")
            self.application.fail(RefreshFailed(f"reason {number}"))
        [_, first, *others] = sentences(self.watcher.report())
        self.assertEqual(first, "the last refresh of u2@h failed: reason 2")
        self.assertEqual(len(others), 9)
        self.refresher.refresh("u2")
        self.application.fail(RefreshFailed("again"))
        shown = sentences(self.watcher.report())
        self.assertEqual(shown[-1], "the last refresh of u2@h failed: again")
        self.assertEqual(len(shown), 11)
        self.refresher.refresh("u2")
        self.application.answer(FakeAnswer(None))
        self.assertNotIn("u2@h", "".join(sentences(self.watcher.report())))

    def test_full(self) -> None:
        """Refreshes that are refused because too many users wait."""
        self.patch(refreshing, "_MAX_USERS", 0)
        self.refresher.refresh("ann")
        self.assertValue(1, names.ROSTER_REFRESHES, "refused")

    def test_clients(self) -> None:
        """Users who are online, clients with a locked roster, and pushes to them."""
        self.watcher.onPresence(stanza("<presence from='ann@h/1' to='x'/>"))
        self.assertValue(1, names.ROSTER_ONLINE)
        self.clients.onRosterGiven("ann@h/1", False)
        self.clients.onContactSet("ann@h", RosterItem(jid="marie@h"))
        self.assertValue(1, names.ROSTER_CLIENTS)
        self.assertValue(1, names.ROSTER_PUSHES)


class RoomsTests(Case):
    """Rooms and mirrors."""

    def serve(self, rooms: Rooms) -> RoomsHandler:
        handler = RoomsHandler(rooms)
        handler.setHandlerParent(self.link)
        self.world.up()
        return handler

    def test_rooms(self) -> None:
        """Rooms, their occupants and joining nodes, and the bytes between nodes by domain."""
        self.serve(Rooms(JID, None, frozenset({"node.example"})))
        self.say(f"<presence from='{USER}' to='lobby@{JID}/ann'>{MUC}</presence>")
        self.assertValue(1, names.ROOMS)
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ben@b.example/1'/>"
        joins = f"<presence from='room@node.example/ben' to='lobby@{JID}/ben'>{MUC}{fmuc}</presence>"
        self.say(joins)
        self.assertValue(1, names.OCCUPANTS, "here")
        self.assertValue(1, names.OCCUPANTS, "elsewhere")
        self.assertValue(1, names.JOINING_NODES)
        received = self.metrics.value(names.FMUC_BYTES, "node.example", "received")
        self.assertEqual(received, len(joins) - len("</presence>"))
        self.assertGreater(self.metrics.value(names.FMUC_BYTES, "node.example", "sent"), received)
        self.assertEqual(sum(self.metrics.read(names.MIRRORS).values()), 0)

    def test_copies(self) -> None:
        """Each copy of a message counts, also if the copies are written together."""
        self.serve(Rooms(JID, None, frozenset()))
        for nick in ("ann", "ben", "cat"):
            self.say(f"<presence from='{nick}@example.com/1' to='lobby@{JID}/{nick}'>{MUC}</presence>")
        stanzas, sizes = (
            self.metrics.value(each, "message", "sent") for each in (names.STANZAS, names.STANZA_BYTES)
        )
        message = f"<message from='ann@example.com/1' to='lobby@{JID}' type='groupchat'><body>x</body></message>"
        copies = self.say(message, message)
        self.assertEqual(copies.count(b"<message "), 6)
        self.assertValue(stanzas + 6, names.STANZAS, "message", "sent")
        self.assertValue(sizes + len(copies), names.STANZA_BYTES, "message", "sent")

    def test_errors(self) -> None:
        """Errors by their condition, whoever writes them; stanzas that cannot be answered."""
        self.serve(Rooms(JID, None, frozenset()))
        self.say(f"<message from='{USER}' to='lobby@{JID}' type='groupchat'><body>x</body></message>")
        self.assertValue(1, names.ERRORS, "item-not-found")
        self.say(f"<iq from='{USER}' to='lobby@{JID}' type='get'>{PING}</iq>")
        self.assertValue(1, names.ERRORS, "bad-request")
        self.say(f"<message to='lobby@{JID}'/>")
        self.assertValue(1, names.ROOMS_DROPPED, "without_an_address")

    def test_mirrors(self) -> None:
        """Mirrors by state, the time until a join is complete, and until a message comes back."""
        mirroring = Mirroring(allow=frozenset("*"), users=frozenset("*"))
        self.serve(Rooms(JID, mirroring, frozenset()))
        there, here = "lobby@rooms.example", f"lobby\\40rooms.example@{JID}"
        self.say(f"<presence from='{USER}' to='{here}/ann'>{MUC}</presence>")
        self.assertValue(1, names.MIRRORS, "joining")
        self.world.clock.advance(0.5)
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{USER}'><replica/></fmuc>"
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        self.say(f"<presence from='{there}/ann' to='{here}'>{item}{fmuc}</presence>")
        self.say(f"<message from='{there}' to='{here}' type='groupchat'><subject/></message>")
        self.assertValue(1, names.MIRRORS, "joined")
        self.assertValue([0.5], names.FMUC_JOIN)
        self.say(f"<message from='{USER}' to='{here}' type='groupchat' id='m1'><body>x</body></message>")
        self.world.clock.advance(0.25)
        for _ in range(2):
            addresses = f"from='{there}/ann' to='{here}'"
            self.say(f"<message {addresses} type='groupchat' id='m1'><body>x</body>{fmuc}</message>")
        self.assertValue([0.25], names.FMUC_ECHO)
        self.assertGreater(self.metrics.value(names.FMUC_BYTES, "rooms.example", "received"), 0)

    def test_references(self) -> None:
        """The time until a message comes back counts as well if it comes back by a reference."""
        mirroring = Mirroring(allow=frozenset("*"), users=frozenset("*"))
        self.serve(Rooms(JID, mirroring, frozenset()))
        there, here = "lobby@rooms.example", f"lobby\\40rooms.example@{JID}"
        self.say(f"<presence from='{USER}' to='{here}/ann'>{MUC}</presence>")
        inside = f"<fmuc xmlns='{ns.FMUC}' from='{USER}'><replica/></fmuc><resume xmlns='{ns.RESUME}'/>"
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        self.say(f"<presence from='{there}/ann' to='{here}'>{item}{inside}</presence>")
        self.say(f"<message from='{there}' to='{here}' type='groupchat'><subject/></message>")
        self.say(f"<message from='{USER}' to='{here}' type='groupchat'><body>x</body></message>")
        self.world.clock.advance(0.25)
        key = digest(RoomMessage(nick="ann", payload=Payload(b"<body>x</body>")))
        echo = f"<echo xmlns='{ns.RESUME}' d='{key}' id='1'/>"
        self.say(f"<message from='{there}/ann' to='{here}' type='groupchat'>{echo}</message>")
        self.assertValue([0.25], names.FMUC_ECHO)

    def test_leftOut(self) -> None:
        """The metric, and the status of a node, count things that do not cross a slow link."""
        mirroring = Mirroring(allow=frozenset("*"), users=frozenset("*"), profile=HF)
        handler = self.serve(Rooms(JID, mirroring, frozenset()))
        here = f"lobby\\40rooms.example@{JID}"
        caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"
        self.say(f"<presence from='{USER}' to='{here}/ann'>{caps}{MUC}</presence>")
        self.assertValue(1, names.FMUC_LEFT_OUT, "capabilities")
        self.assertIn("profile hf: 1 left out", "; ".join(map(str, handler.report())))


class EchoTests(SynchronousTestCase):
    """The table of messages that come back."""

    def test_bound(self) -> None:
        """Messages without an id are not recorded; of too many the oldest is forgotten."""
        seen: list[float] = []
        echoes = Echoes(seen.append)
        payload: Any = Payload
        for identifier in (None, *map(str, range(1_001))):
            message = Submission(RoomMessage(nick="ann", payload=payload, id=identifier), nomirror=False)
            echoes.sent(ToNode("here", "there", Dialect.XEP_0289, True, message), 1.0)
        self.assertEqual(len(echoes), 1_000)
        for identifier in ("0", "1", "1", "1000"):
            echoes.returned("here", "there", "ann", identifier, 3.0)
        self.assertEqual(seen, [2.0, 2.0])


class HttpTests(SynchronousTestCase):
    """The HTTP server."""

    def test_requests(self) -> None:
        """Answered requests by status, and connections."""
        metrics = RecordingMetrics()
        root = Resource()
        root.putChild(b"healthz", Health())
        site = QuietSite(root, Gate("token", free=frozenset({b"/healthz"})), MemoryReactorClock())
        site.measure(metrics)
        for path in ("/healthz", "/none"):
            transport = StringTransport()
            channel: Any = site.buildProtocol(transport.getPeer())
            channel.makeConnection(transport)
            channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual(metrics.value(names.HTTP_CONNECTIONS), 2)
        self.assertEqual(metrics.read(names.HTTP_REQUESTS), {("200",): 1, ("401",): 1})

    def test_dropped(self) -> None:
        """Connections over the limit: one that waits for its caller is closed for a new one."""
        metrics = RecordingMetrics()
        self.patch(server, "_MAX_CONNECTIONS", 1)
        site = QuietSite(Resource(), Gate(), MemoryReactorClock())
        site.measure(metrics)
        for dropped in (0, 1):
            channel: Any = site.buildProtocol(None)
            channel.makeConnection(StringTransport())
            self.assertEqual(metrics.value(names.HTTP_DROPPED), dropped)
        self.patch(server, "_MAX_CONNECTIONS", 0)
        site = QuietSite(Resource(), Gate(), MemoryReactorClock())
        self.assertIsNone(site.buildProtocol(None))
        self.assertEqual(site.dropped, 1)


class StateTests(TestCase):
    """A database whose file is broken."""

    @inlineCallbacks
    def test_broken(self) -> Any:
        """The state of the file, failed requests, and those that wait."""
        path = Path(self.mktemp()).absolute()
        kept = Database(SqliteBackend(path, (("CREATE TABLE IF NOT EXISTS kept (name TEXT)",),)), reactor)
        self.addCleanup(kept.close)
        metrics = RecordingMetrics()
        kept.measure(metrics.scope("file", "x.db"))
        yield kept.write(lambda cursor: None)
        self.assertEqual((metrics.value(names.STATE_UP), metrics.value(names.STATE_FAILURES)), (1, 0))
        for more in ("-wal", "-shm"):
            path.with_name(path.name + more).unlink()
        other = path.with_suffix(".other")
        other.write_text("not a database")
        other.replace(path)
        writing = kept.write(lambda cursor: None)
        self.assertGreaterEqual(metrics.value(names.STATE_WAITING), 1)
        yield self.assertFailure(writing, StoreBroken)
        self.assertEqual(metrics.value(names.STATE_UP), 0)
        self.assertGreaterEqual(metrics.value(names.STATE_FAILURES), 1)
        self.assertEqual(metrics.value(names.STATE_WAITING), 0)
