"""Rooms on a link, over a connection in memory."""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.errors import (
    BadNamespace,
    BadRequest,
    NoHandler,
    NoSuchAddress,
    RecipientUnavailable,
    Stopping,
    TooDeep,
)
from gateway.fmuc import delivery
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.interfaces import IRawHandler, IRefusalHandler, IStatusProvider
from gateway.muc.ids import Ids, occupantId
from gateway.muc.room import Bounds, Settings
from gateway.stream.interfaces import IPeerHandler
from gateway.testing import MemoryServer, canonical
from gateway.xml.errors import errorStanza
from gateway.xml.write import route
from tests.fmuc.support import MUC, refused
from tests.reports import sentences

C = "chat.example"
ROOM = f"coven@{C}"
ANN = "ann@a.example/1"
PING = f"<ping xmlns='{ns.PING}'/>"
# Stanza ids that can be predicted.
IDS = Ids(b"secret", bytes)
STANZA_ID = f"<stanza-id xmlns='{ns.SID}' by='{ROOM}' id='{'A' * 16}'/>"
OCCUPANT_ID = f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='{occupantId(IDS.salt(ROOM), ANN.partition('/')[0])}'/>"


class HandlerCase(TestCase):
    """A link with rooms."""

    def setUp(self) -> None:
        self.make(Rooms(C, None, frozenset(("node.example",)), ids=IDS))

    def make(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.server = MemoryServer(C)
        self.handler = RoomsHandler(rooms)
        self.handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.start()
        self.logged: list[str] = []
        self.told: list[tuple[str, str]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if "reasons" in event:
            self.logged.append(str(event["reasons"]))
        if "line" in event:
            self.told.append((str(event["log_level"].name), str(event["line"])))

    def assertSent(self, *expected: str) -> None:
        """Exactly this was written since the last call."""
        self.assertEqual(self.server.taken(), canonical("".join(expected)))

    def join(self, room: str = ROOM) -> list[str]:
        self.server.send(f"<presence from='{ANN}' to='{room}/ann'>{MUC}</presence>")
        return self.server.taken()


class HandlerTests(HandlerCase):
    """Input and output of the handler."""

    def test_interfaces(self) -> None:
        """The handler provides the interfaces of a link and of a status report."""
        verifyObject(IRawHandler, self.handler)
        verifyObject(IPeerHandler, self.handler)
        verifyObject(IRefusalHandler, self.handler)
        verifyObject(IStatusProvider, self.handler)

    def test_taken(self) -> None:
        """Presence, messages and requests are handled."""
        [own, subject] = self.join()
        self.assertIn('code="201"', own)
        self.assertIn("subject", subject)
        self.server.send(f"<message from='{ANN}' to='{ROOM}' type='groupchat'><body>x</body></message>")
        inside = f"<body>x</body>{OCCUPANT_ID}{STANZA_ID}"
        self.assertSent(f"<message from='{ROOM}/ann' to='{ANN}' type='groupchat'>{inside}</message>")
        self.server.send(f"<iq from='{ANN}' to='{ROOM}/ann' id='&lt;' type='get'>{PING}</iq>")
        self.assertSent(f"<iq from='{ROOM}/ann' to='{ANN}' id='&lt;' type='result'/>")

    def test_oneAnswer(self) -> None:
        """A request has one answer, even if its effects cannot be serialised."""
        self.join()
        self.server.send(f"<presence from='ben@a.example/1' to='{ROOM}/ben'>{MUC}</presence>")
        self.server.taken()

        def fail(action: object) -> bytes:
            raise ValueError(action)

        self.patch(delivery, "write", fail)
        kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ben' role='none'/></query>"
        self.server.send(f"<iq from='{ANN}' to='{ROOM}' id='1' type='set'>{kick}</iq>")
        [answer] = self.server.taken()
        self.assertIn("internal-server-error", answer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_others(self) -> None:
        """Unknown requests are answered; answers to no request are not."""
        self.server.send(f"<iq from='{ANN}' to='{C}' id='1' type='get'><x xmlns='urn:x'/></iq>")
        self.assertSent(refused("iq", C, ANN, RecipientUnavailable, "id='1'"))
        self.server.send(f"<iq from='{ANN}' to='{C}' id='1' type='result'/>")
        self.assertSent()
        self.server.send(f"<iq from='{ANN}' to='{C}' type='get'>{PING}</iq>")
        self.assertSent(refused("iq", C, ANN, BadRequest))

    def test_subscription(self) -> None:
        """There are no subscriptions to rooms and occupants; probes are not answered."""
        self.server.send(f"<presence from='{ANN}' to='{ROOM}' type='subscribe'/>")
        self.assertSent(f"<presence from='{ROOM}' to='{ANN}' type='unsubscribed'/>")
        self.server.send(f"<presence from='{ANN}' to='{ROOM}' type='probe'/>")
        self.server.send(f"<presence from='{ANN}' to='{ROOM}' type='unsubscribed'/>")
        self.assertSent()

    def test_component(self) -> None:
        """A join to the component itself is refused, because it is not a room; other presence to it is ignored."""
        self.server.send(f"<presence from='{ANN}' to='{C}/ann'>{MUC}</presence>")
        self.assertSent(refused("presence", f"{C}/ann", ANN, NoSuchAddress, MUC))
        self.server.send(f"<presence from='{ANN}' to='{C}'/>")
        self.assertSent()

    def test_unreadable(self) -> None:
        """Unreadable stanzas are refused without further effect; those that cannot be answered are counted."""
        self.join()
        odd = f"<x xmlns='{ns.MUC_USER}'><item affiliation='king' role='none'/></x>"
        self.server.send(f"<presence from='{ANN}' to='{ROOM}/ann'>{odd}</presence>")
        self.assertSent(refused("presence", f"{ROOM}/ann", ANN, BadRequest))
        self.server.send(f"<presence from='{ANN}' to='{ROOM}/ann' type='unavailable'>{odd}</presence>")
        self.server.send(f"<message to='{ROOM}' type='groupchat'/><message from='{ANN}' type='groupchat'/>")
        self.assertSent()
        self.server.clock.advance(1)
        self.assertEqual(self.logged, ["2 without an address, 1 that cannot be answered: BadRequest"])
        self.server.clock.advance(1)
        self.assertEqual(len(self.logged), 1)
        self.assertEqual(set(self.rooms.rooms[ROOM].occupants), {"ann"})

    def test_refusedJoins(self) -> None:
        """
        An available presence that the stream refuses is answered if it is a request: by a namespace in its first
        bytes, or because its sender is not an occupant, or has another nick. A change of an occupant's status is
        not answered.
        """
        bad = f"<q xmlns='{ns.XML}'/>"
        deep = "<a>" * 70 + "</a>" * 70
        user = f"<x xmlns='{ns.MUC_USER}'/>"
        ben = "ben@a.example/1"
        self.join()
        for sender, nick, inside, why in (
            (ben, "ben", MUC + bad, BadNamespace),
            (ben, "ben", bad, BadNamespace),
            (ben, "ben", MUC + deep, TooDeep),
            (ben, "ann", bad, BadNamespace),
            (ANN, "ann", MUC.replace("'", '"') + bad, BadNamespace),
            (ANN, "other", bad, BadNamespace),
        ):
            self.server.send(f"<presence from='{sender}' to='{ROOM}/{nick}' id='7'>{inside}</presence>")
            self.assertSent(refused("presence", f"{ROOM}/{nick}", sender, why, f"id='7'{MUC}"))
        self.server.send(f"<presence from='{ben}' to='new@{C}/ben'>{bad}</presence>")
        self.assertSent(refused("presence", f"new@{C}/ben", ben, BadNamespace, MUC))
        for sender, to, inside in (
            (ANN, f"{ROOM}/ann", f"<show>away</show>{bad}"),
            (ANN, f"{ROOM}/ann", user + bad),
            (ben, ROOM, bad),
            (ben, f"{C}/ben", bad),
            (ben, C, MUC + bad),
            ("", f"{ROOM}/ben", MUC + bad),
        ):
            self.server.send(f"<presence from='{sender}' to='{to}'>{inside}</presence>")
            self.assertSent()
        for kind in ("error", "subscribed"):
            self.server.send(f"<presence from='{ben}' to='{ROOM}/ben' type='{kind}'>{MUC}{bad}</presence>")
            self.assertSent()
        self.server.send(f"<presence from='{ben}'>{MUC}{bad}</presence>")
        self.assertSent()
        self.assertEqual(self.flushLoggedErrors(), [])
        # Other stanzas are answered by the link.
        self.server.send(f"<message from='{ben}' to='{ROOM}/ben'>{MUC}{bad}</message>")
        self.assertSent(refused("message", f"{ROOM}/ben", ben, BadNamespace))
        self.assertEqual(set(self.rooms.rooms), {ROOM})
        self.server.send(f"<presence from='{ANN}' to='{ROOM}/ann' type='unavailable'>{bad}</presence>")
        [gone] = self.server.taken()
        self.assertIn('type="unavailable"', gone)

    def test_refusedJoinsOfNodes(self) -> None:
        """The same for nodes: a join through a node is answered there; the joined node is never answered."""
        bad, node = f"<q xmlns='{ns.XML}'/>", "m@node.example"
        shown = f"<fmuc xmlns='{ns.FMUC}' from='x@y/z'/>"
        user = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='x@y/z'/></x>"
        for inside in (shown + MUC + user, shown):
            self.server.send(f"<presence from='{node}/x' to='{ROOM}/x'>{inside}{bad}</presence>")
            self.assertSent(refused("presence", f"{ROOM}/x", f"{node}/x", BadNamespace, MUC))
        self.server.send(f"<presence from='{node}/x' to='{ROOM}/x'>{shown}{MUC}{user}</presence>")
        self.assertIn(f'to="{node}"', "".join(self.server.taken()))
        self.server.send(f"<presence from='{node}/x' to='{ROOM}/x'>{shown}{bad}</presence>")
        self.assertSent()
        self.server.send(f"<presence from='{node}/y' to='{ROOM}/y'>{shown}{bad}</presence>")
        self.assertSent(refused("presence", f"{ROOM}/y", f"{node}/y", BadNamespace, MUC))
        everything = frozenset(("*",))
        self.make(Rooms(C, Mirroring(allow=everything, users=everything), frozenset()))
        mirror = rf"room\40x.example@{C}"
        self.join(mirror)
        for to in (f"{mirror}/ann", mirror):
            self.server.send(f"<presence from='room@x.example/ann' to='{to}'>{shown}{MUC}{bad}</presence>")
            self.assertSent()
        self.server.send(f"<presence from='ben@a.example/1' to='{mirror}/ben'>{MUC}{bad}</presence>")
        self.assertSent(refused("presence", f"{mirror}/ben", "ben@a.example/1", BadNamespace, MUC))

    def test_refusedWhileStopping(self) -> None:
        """While the gateway stops, joins are refused with that reason."""
        self.patch(RoomsHandler, "pending", 1)
        self.server.link.stopService()
        self.server.send(f"<presence from='{ANN}' to='{ROOM}/ann'>{MUC}<q xmlns='{ns.XML}'/></presence>")
        self.assertSent(refused("presence", f"{ROOM}/ann", ANN, Stopping, MUC))

    def test_deadlines(self) -> None:
        """The link's clock ends what is overdue."""
        everything = frozenset(("*",))
        self.make(Rooms(C, Mirroring(allow=everything, users=everything), frozenset()))
        room = rf"coven\40other.example@{C}"
        [up] = self.join(room)
        self.assertIn('to="coven@other.example/ann"', up)
        for _ in range(29):
            self.server.clock.advance(1)
        [asked] = self.server.taken()
        self.assertIn("disco#info", asked)
        self.server.clock.advance(2)
        self.assertIn("remote-server-timeout", "".join(self.server.taken()))

    def test_stop(self) -> None:
        """At the end all occupants are told, and nobody can join any longer."""
        self.join()
        self.handler.drain()
        self.assertIn('code="332"', "".join(self.server.taken()))
        for xml, what in (
            (f"<presence from='{ANN}' to='{ROOM}/ann'/>", ("presence", f"{ROOM}/ann", "")),
            (f"<message from='{ANN}' to='{ROOM}'/>", ("message", ROOM, "")),
            (f"<iq from='{ANN}' to='{ROOM}' id='1' type='get'>{PING}</iq>", ("iq", ROOM, "id='1'")),
        ):
            self.server.send(xml)
            name, address, given = what
            self.assertSent(refused(name, address, ANN, Stopping, given))
        self.server.send(f"<presence from='{ANN}' to='{ROOM}/ann' type='unavailable'/>")
        self.assertSent()
        self.assertEqual(self.rooms.rooms, {})

    def test_toldOfNodes(self) -> None:
        """Log lines of nodes that join, leave and are refused, with the key of the configuration, once a minute."""
        self.join()
        for node, kind in (
            ("x@node.example", ""),
            ("x@node.example", "type='unavailable'"),
            ("y@other.example", ""),
        ):
            fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ben@b.example/1'/>"
            for _ in range(3):
                self.server.send(f"<presence from='{node}' to='{ROOM}/ben' {kind}>{fmuc}</presence>")
        refused = ("warn", f'{C}: y@other.example may not join {ROOM}: its domain is not in "peers"')
        self.assertEqual(
            self.told,
            [
                ("info", f"{ROOM}: mirrored by x@node.example"),
                ("info", f"{ROOM}: no longer mirrored by x@node.example"),
                refused,
            ],
        )
        self.server.clock.pump([1] * 61)
        self.server.send(f"<presence from='y@other.example' to='{ROOM}/ben'>{fmuc}</presence>")
        self.assertEqual(self.told[3:], [refused])

    def test_toldOfRooms(self) -> None:
        """Log lines of mirrored and refused rooms, one each; their number is limited."""
        users = frozenset(("a.example",))
        self.make(Rooms(C, Mirroring(allow=frozenset(("other.example",)), users=users), frozenset()))
        there, here = "coven@other.example", rf"coven\40other.example@{C}"
        self.join(here)
        self.server.send(f"<message from='{there}' to='{here}' type='groupchat'><subject/></message>")
        self.server.send(f"<presence from='{ANN}' to='{here}/ann' type='unavailable'/>")
        self.server.send(f"<presence from='{there}' to='{here}'><fmuc xmlns='{ns.FMUC}'><left/></fmuc></presence>")
        self.join(here)
        reject = f"<fmuc xmlns='{ns.FMUC}'><reject>not\n\nyou.</reject></fmuc>"
        self.server.send(f"<presence from='{there}' to='{here}'>{reject}</presence>")
        self.join(rf"coven\40third.example@{C}")
        self.server.send(f"<presence from='x@b.example/1' to='{here}/x'>{MUC}</presence>")
        nothing = f"{there} sends nothing back: messages are shown at once, as in primary mode"
        self.assertEqual(
            self.told,
            [
                ("warn", f"{here}: {nothing}"),
                ("info", f"{here}: mirrors {there}"),
                ("info", f"{here}: has left {there}"),
                ("warn", f"{here}: {there} rejects {ANN}: not you"),
                ("warn", f'{C}: coven@third.example may not be mirrored: its domain is not in "allow"'),
                ("warn", f'{C}: b.example is not in "users" of this mirror'),
            ],
        )
        for number in range(1_000):
            self.join(rf"r{number}\40third.example@{C}")
        self.assertEqual(len(self.told), 200)

    def test_wallClock(self) -> None:
        """The first message is stamped by the time of day, also in the first second of a connection."""
        wall = 5e8
        self.server = MemoryServer(C)
        self.handler = RoomsHandler(self.rooms, lambda: wall)
        self.handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.start()
        self.assertEqual(self.rooms.utcClock.utc(self.server.link.now), wall)

    def test_dropped(self) -> None:
        """Dropped stanzas are logged once a minute, each once; without any there is no line."""
        nameless = f"<message to='{ROOM}'/>"
        self.server.clock.pump([1] * 70)
        self.assertEqual(self.logged, [])
        self.server.send(nameless)
        self.server.clock.pump([1] * 10)
        self.server.send(nameless * 2)
        self.server.clock.pump([1] * 30)
        self.assertEqual(self.logged, ["1 without an address"])
        self.server.clock.pump([1] * 70)
        self.assertEqual(self.logged, ["1 without an address", "2 without an address"])

    def test_unaddressedIq(self) -> None:
        """An iq without a sender cannot be answered, and is counted; one without a recipient gets its answer."""
        self.server.send(f"<iq id='1' type='get' to='{ROOM}'><ping xmlns='{ns.PING}'/></iq>")
        self.server.send(f"<iq type='set' to='{ROOM}'/>")
        self.assertSent()
        self.server.clock.pump([1] * 70)
        self.assertEqual(self.logged, ["2 without an address"])
        self.server.send(f"<iq id='1' type='get' from='{ANN}'><odd xmlns='urn:example:odd'/></iq>")
        self.assertSent(errorStanza("iq", route(C, ANN), "1", NoHandler).decode())

    def test_expensive(self) -> None:
        """A request whose tree would be too large has one answer."""
        inside = "<item/>" * 11_000
        self.server.send(f"<iq from='{ANN}' to='{ROOM}' id='1' type='get'><q xmlns='u'>{inside}</q></iq>")
        [answer] = self.server.taken()
        self.assertIn("policy-violation", answer)

    def test_charged(self) -> None:
        """
        A long answer is charged to the requester; the occupants that a joining node is sent are charged to the
        node.
        """
        for number in range(40):
            self.server.send(f"<presence from='u{number}@a.example/1' to='r{number}@{C}/n'>{MUC}</presence>")
            self.server.send(f"<presence from='u{number}@a.example/1' to='{ROOM}/n{number}'>{MUC}</presence>")
        self.server.taken()
        budget = self.server.link.budget
        self.server.clock.pump([1] * 3)
        self.assertEqual(budget.debts, {})
        query = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
        self.server.send(f"<iq from='{ANN}' to='{C}' id='1' type='get'>{query}</iq>")
        self.server.taken()
        self.server.clock.pump([1] * 3)
        self.assertEqual(budget.debts, {})
        for number in range(100):
            room = f"{'r' * 99}{number}@{C}"
            self.server.send(f"<presence from='u@b{number}.example/1' to='{room}/n'>{MUC}</presence>")
        self.server.taken()
        self.server.send(f"<iq from='{ANN}' to='{C}' id='1' type='get'>{query}</iq>")
        self.assertEqual(list(budget.debts), ["ann@a.example"])
        self.server.clock.pump([1] * 3)
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ben@b.example/1'/>"
        self.server.send(f"<presence from='x@node.example' to='{ROOM}/ben'>{fmuc}</presence>")
        self.assertEqual(list(budget.debts), ["x@node.example"])

    def test_reportPersistent(self) -> None:
        """All persistent rooms are listed with an owner, up to a bound; the others are counted."""
        self.join()
        for name in range(103):
            self.rooms.open(f"r{name}", Settings(persistent=True))
        room = self.rooms.rooms[f"r0@{C}"]
        room.affiliations.update({"a@x": "member", "b@x": "owner", "c@x": "owner", "d@x": "owner"})
        self.rooms.rooms[f"r1@{C}"].affiliations["e@x"] = "owner"
        [_, item] = self.handler.report()
        self.assertEqual((item.name, item.values["count"]), ("rooms.persistent", 103))
        self.assertEqual(len(item.values["rooms"]), 100)
        line = str(item)
        first = f"r0@{C}: 0 occupants, owned by b@x and 2 more; r1@{C}: 0 occupants, owned by e@x; "
        first += f"r2@{C}: 0 occupants, owned by nobody; "
        self.assertTrue(line.startswith(f"persistent rooms: 103: {first}"), line)
        self.assertTrue(line.endswith("; 3 more"), line)
        self.assertNotIn(f"r100@{C}", line)
        self.assertNotIn(ROOM, line)

    def test_ping(self) -> None:
        """The ping of a silent user goes through the link, and its answer removes the user."""
        self.make(Rooms(C, None, frozenset(), Bounds(silence=60.0)))
        self.join()
        self.server.clock.pump([1] * 65)
        [ping] = [each for each in self.server.received() if each.tag.endswith("iq")]
        self.assertEqual((ping.get("from"), ping.get("to"), ping.get("type")), (ROOM, ANN, "get"))
        error = f"<error type='cancel'><gone xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.server.send(f"<iq from='{ANN}' to='{ROOM}' type='error' id='{ping.get('id')}'>{error}</iq>")
        self.assertEqual(self.rooms.rooms, {})

    def test_report(self) -> None:
        """The number of occupants, and the rooms with other nodes."""
        self.assertEqual(sentences(self.handler.report()), ["rooms: 0; occupants: 0"])
        self.join()
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ben@b.example/1'/>"
        self.server.send(f"<presence from='x@node.example' to='{ROOM}/ben'>{fmuc}</presence>")
        [_, line] = sentences(self.handler.report())
        pattern = (
            f"{ROOM}: 1 here, 2 in all; mirrored by x@node.example: 1 there, (\\d+) bytes to it, (\\d+) from it"
        )
        found = re.fullmatch(pattern, line)
        assert found is not None, line
        self.assertEqual(int(found[2]), len(f"<presence from='x@node.example' to='{ROOM}/ben'>{fmuc}"))
        self.assertGreater(int(found[1]), int(found[2]))
        body = "<body>x</body>"
        self.server.taken()
        self.server.send(f"<message from='{ANN}' to='{ROOM}' type='groupchat'>{body}</message>")
        [_, line] = sentences(self.handler.report())
        copy = f"<message from='{ROOM}/ann' to='x@node.example' type='groupchat'>{body}{STANZA_ID}</message>"
        self.assertIn(f"1 there, {int(found[1]) + len(copy)} bytes to it, {found[2]} from it", line)
        message = f"<message from='x@node.example/ben' to='{ROOM}' type='groupchat'>{body}"
        self.server.send(f"{message}</message>")
        [_, line] = sentences(self.handler.report())
        self.assertIn(f"{int(found[2]) + len(message)} from it", line)
        # A temporary room without other nodes is only counted.
        self.join(f"other@{C}")
        self.assertEqual(len(sentences(self.handler.report())), 2)
        everything = frozenset(("*",))
        self.make(Rooms(C, Mirroring(allow=everything, users=everything), frozenset()))
        room = rf"coven\40other.example@{C}"
        [up] = self.join(room)
        self.assertIn('to="coven@other.example/ann"', up)
        [_, line] = sentences(self.handler.report())
        here = f"{room}: 0 here, 0 in all; mirrors coven@other.example: joining, "
        self.assertRegex(line, f"^{re.escape(here)}[1-9][0-9]+ bytes to it, 0 from it$")
