"""Archives of mirrors (XEP-0313), in both protocols: a copy in the room's order, and with its ids."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.errors import ArchiveClosed, NotInTheRoom, StoreFull
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.archive_values import Retention
from gateway.muc.ids import Ids
from gateway.muc.room import Bounds
from gateway.muc.store import MIGRATIONS
from gateway.state.memory import MemoryStore
from gateway.testing import MemoryGateway, MemoryServer, canonical, stanzas
from tests.fmuc.support import MUC
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.muc.archives import THEN, fin, query, refusal, rsm

EVERY = frozenset(("*",))


class Side:
    """One service with archives, on a link."""

    def __init__(self, case: TestCase, jid: str, mirroring: Mirroring | None) -> None:
        self.store = MemoryStore(MIGRATIONS)
        self.rooms = Rooms(jid, mirroring, EVERY, Bounds(archived=1_000), Ids(jid.encode()))
        self.server = MemoryServer(jid)
        self.utc = float(THEN)
        retention = Retention(1_000, 1e6)
        commits = Commits(self.store, self.rooms.durability, lambda act: act(), retention)
        archiving = Archiving(self.store, retention)
        RoomsHandler(self.rooms, lambda: self.utc, commits, archiving).setHandlerParent(self.server.link)
        case.addCleanup(self.server.stop)
        self.server.start()
        self.taken()

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        data = bytes(self.server.transport.value())
        self.server.transport.clear()
        return data[data.index(b"<presence") :] if data.startswith(b"<?xml") and b"<presence" in data else data

    def wait(self, seconds: float) -> None:
        self.utc += seconds
        self.server.clock.advance(seconds)


class Pair:
    """A room and a mirror of it."""

    def __init__(self, case: TestCase, dialect: Dialect, replica: bool) -> None:
        mode = Mode.REPLICA if replica else Mode.PRIMARY
        self.above = Side(case, "chat.example", None)
        mirroring = Mirroring(dialect=dialect, mode=mode, allow=EVERY, users=EVERY)
        self.mirror = Side(case, "mirror.example", mirroring)

    def send(self, xml: str | bytes) -> dict[str, list[bytes]]:
        """Deliver a stanza, and all that it causes; return what users were sent."""
        shown: dict[str, list[bytes]] = {}
        waiting: list[str | bytes] = [xml]
        while waiting:
            for stanza in stanzas(waiting.pop(0)):
                recipient = stanza.recipient or ""
                domain = recipient.partition("/")[0].rpartition("@")[2]
                side = {"chat.example": self.above, "mirror.example": self.mirror}.get(domain)
                text = stanza.readdressed(f" from='{stanza.sender}' to='{recipient}'".encode())
                if side is None:
                    shown.setdefault(recipient, []).append(text)
                else:
                    side.server.send(text)
                    waiting.append(side.taken())
        return shown

    def join(self, who: str, nick: str, room: str, content: str = MUC) -> list[bytes]:
        return self.send(f"<presence from='{who}' to='{room}/{nick}'>{content}</presence>").get(who, [])

    def leave(self, who: str, nick: str, room: str) -> None:
        self.send(f"<presence from='{who}' to='{room}/{nick}' type='unavailable'/>")

    def say(self, who: str, room: str, text: str) -> dict[str, list[bytes]]:
        return self.send(f"<message from='{who}' to='{room}' type='groupchat' id='m'><body>{text}</body></message>")

    def archive(self, who: str, room: str, content: str = "") -> list[tuple[str, str]]:
        """Return the ids and bodies of the results of a query."""
        found = self.send(query(content, who, room))[who]
        results = [ElementTree.fromstring(each) for each in found[:-1]]
        body = f".//{{{ns.CLIENT}}}body"
        return [(str(each.find(f".//{{{ns.MAM}}}result").get("id")), str(each.findtext(body))) for each in results]


class MirrorTests(TestCase):
    """The archive of a mirror."""

    maxDiff = None

    def pairs(self) -> Any:
        for dialect, replica in WAYS:
            pair = Pair(self, dialect, replica)
            pair.join(OWN, "own", ABOVE)
            pair.say(OWN, ABOVE, "before")
            yield pair, (dialect, replica)

    def test_same(self) -> None:
        """
        Both archives have the same messages, ids and order; what was said before the mirror joined comes with the
        history.
        """
        for pair, way in self.pairs():
            pair.join(ANN, "ann", HERE)
            pair.say(OWN, ABOVE, "one")
            pair.say(ANN, HERE, "two")
            pair.say(OWN, ABOVE, "three")
            above, here = pair.archive(OWN, ABOVE), pair.archive(ANN, HERE)
            self.assertEqual([text for _, text in above], ["before", "one", "two", "three"], way)
            self.assertEqual(here, above, way)

    def test_whole(self) -> None:
        """Results come from the mirror; the stanza id names it, the time is that of the message."""
        for pair, way in self.pairs():
            pair.mirror.wait(6)
            pair.above.wait(6)
            pair.join(ANN, "ann", HERE)
            shown = pair.send(query("", ANN, HERE))[ANN]
            [(identifier, _)] = pair.archive(OWN, ABOVE)
            own = pair.above.rooms.rooms[ABOVE].occupantId(OWN.partition("/")[0])
            content = (
                f"<body>before</body><occupant-id xmlns='{ns.OCCUPANT_ID}' id='{own}'/>"
                f"<stanza-id xmlns='{ns.SID}' by='{HERE}' id='{identifier}'/>"
            )
            expected = (
                f"<message from='{HERE}' to='{ANN}'><result xmlns='{ns.MAM}' id='{identifier}'>"
                f"<forwarded xmlns='{ns.FORWARD}'><delay xmlns='{ns.DELAY}' stamp='2002-10-13T23:58:37Z'/>"
                f"<message xmlns='{ns.CLIENT}' from='{HERE}/own' type='groupchat' id='m'>{content}</message>"
                "</forwarded></result></message>"
            )
            ends = f"<first index='0'>{identifier}</first><last>{identifier}</last><count>1</count>"
            expected += fin(ends, who=ANN, room=HERE)
            self.assertEqual(canonical(b"".join(shown)), canonical(expected), way)

    def test_noHistory(self) -> None:
        """
        The mirror asks for the whole history, whatever its first user asks for; this user gets none, and asks the
        archive.
        """
        for pair, way in self.pairs():
            got = pair.join(ANN, "ann", HERE, f"<x xmlns='{ns.MUC}'><history maxchars='0'/></x>")
            self.assertNotIn(b"before", b"".join(got), way)
            self.assertEqual([text for _, text in pair.archive(ANN, HERE)], ["before"], way)

    def test_again(self) -> None:
        """When the mirror joins again, its archive continues with what was said meanwhile, without gaps."""
        for pair, way in self.pairs():
            pair.join(ANN, "ann", HERE)
            pair.say(ANN, HERE, "one")
            pair.leave(ANN, "ann", HERE)
            self.assertEqual(pair.mirror.rooms.rooms, {}, way)
            pair.say(OWN, ABOVE, "two")
            pair.join(ANN, "ann", HERE)
            self.assertEqual(pair.archive(ANN, HERE), pair.archive(OWN, ABOVE), way)
            pair.leave(ANN, "ann", HERE)
            for number in range(60):
                pair.say(OWN, ABOVE, str(number))
            pair.join(ANN, "ann", HERE)
            found = pair.archive(ANN, HERE)
            self.assertEqual([text for _, text in found], [str(each) for each in range(10, 60)], way)

    def test_otherRoom(self) -> None:
        """A mirror does not show the archive of a room that was destroyed to users of a new one."""
        for pair, way in self.pairs():
            pair.join(ANN, "ann", HERE)
            pair.leave(ANN, "ann", HERE)
            pair.leave(OWN, "own", ABOVE)
            pair.join(BEN, "ben", HERE)
            self.assertEqual(pair.archive(BEN, HERE), [], way)

    def test_readers(self) -> None:
        """Only its occupants read a mirror's archive: the room decides who may enter, and the mirror asks it."""
        for pair, way in self.pairs():
            room = pair.send(query("", BEN, HERE))[BEN]
            self.assertEqual(canonical(b"".join(room)), canonical(refusal(NotInTheRoom, BEN, HERE)), way)
            pair.join(ANN, "ann", HERE)
            room = pair.send(query("", BEN, HERE))[BEN]
            self.assertEqual(canonical(b"".join(room)), canonical(refusal(ArchiveClosed, BEN, HERE)), way)

    def test_subject(self) -> None:
        """The subject is in both archives."""
        for pair, way in self.pairs():
            pair.send(f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><subject>s</subject></message>")
            pair.join(ANN, "ann", HERE)
            above, here = pair.archive(OWN, ABOVE), pair.archive(ANN, HERE)
            self.assertEqual((len(above), here), (2, above), way)
            pair.leave(ANN, "ann", HERE)
            pair.join(ANN, "ann", HERE)
            self.assertEqual(pair.archive(ANN, HERE), above, way)

    def test_pages(self) -> None:
        """A mirror pages as a room does."""
        for pair, way in self.pairs():
            pair.join(ANN, "ann", HERE)
            for number in range(5):
                pair.say(ANN, HERE, str(number))
            texts = [text for _, text in pair.archive(ANN, HERE, rsm("<max>2</max><before/>"))]
            self.assertEqual(texts, ["3", "4"], way)

    def test_otherSender(self) -> None:
        """A message of the history is not attributed to the user who has the sender's nick now."""
        for pair, way in self.pairs():
            field = "<field var='muc#roomconfig_whois'><value>anyone</value></field>"
            form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{field}</x></query>"
            pair.send(f"<iq from='{OWN}' to='{ABOVE}' type='set' id='c'>{form}</iq>")
            first, second = "first@b.example/4", "second@b.example/5"
            pair.join(first, "nick", ABOVE)
            pair.say(first, ABOVE, "one")
            pair.leave(first, "nick", ABOVE)
            pair.join(second, "nick", ABOVE)
            pair.join(ANN, "ann", HERE)
            pair.say(second, ABOVE, "two")
            shown = b"".join(pair.send(query(rsm("<max>2</max><before/>"), ANN, HERE))[ANN])
            self.assertEqual((shown.count(b"<body>one"), shown.count(b"<body>two")), (1, 1), way)
            self.assertEqual(shown.count(f" jid='{second}'".encode()), 1, way)

    def test_full(self) -> None:
        """
        If the mirror's store does not work, its users talk nevertheless: the room has the messages. They are shown
        after ten seconds at the latest, and stored when the store works again.
        """
        for pair, way in self.pairs():
            pair.join(ANN, "ann", HERE)
            pair.mirror.store.fault = StoreFull()
            # In primary mode, the mirror would show the message before it sends it to the room.
            isReplica = way[1]
            shown = pair.say(ANN, HERE, "one")
            self.assertEqual((len(shown.get(OWN, [])), ANN in shown), (int(isReplica), False), way)
            for _ in range(12):
                pair.mirror.wait(1)
            shown = pair.send(pair.mirror.taken())
            self.assertEqual((len(shown.get(OWN, [])), len(shown[ANN])), (int(not isReplica), 1), way)
            self.assertEqual(len(pair.say(ANN, HERE, "two")[ANN]), 1, way)
            pair.mirror.store.fault = None
            pair.mirror.wait(2)
            self.assertEqual([text for _, text in pair.archive(ANN, HERE)], ["before", "one", "two"], way)

    def test_announced(self) -> None:
        """A mirror announces its archive, whether it has joined or not."""
        for pair, way in self.pairs():
            asks = f"<iq from='{ANN}' to='{HERE}' type='get' id='d'><query xmlns='{ns.DISCO_INFO}'/></iq>"
            for _ in range(2):
                answer = b"".join(pair.send(asks)[ANN])
                self.assertEqual(answer.count(b"urn:xmpp:mam:2'"), 1, way)
                self.assertEqual(answer.count(b"urn:xmpp:mam:2#extended"), 1, way)
                pair.join(ANN, "ann", HERE)


class RestartTests(TestCase):
    """Archives after a restart of the gateway."""

    tables = (
        '[rooms."rooms.example"]\ncreate = ["*"]\n{0}'
        '[mirror."mirror.example"]\nallow = ["chat.example"]\nusers = ["*"]\n{0}'
    )

    def begin(self, folder: str, keys: str = "") -> MemoryGateway:
        gateway = MemoryGateway(folder, self.tables.format(keys))
        self.addCleanup(gateway.stop)
        return gateway

    def bodies(self, gateway: MemoryGateway, service: str, room: str) -> list[str | None]:
        found = gateway.server(service).ask(query("", ANN, f"{room}@{service}"))
        return [each.findtext(f".//{{{ns.CLIENT}}}body") for each in found[:-1]]

    def test_rooms(self) -> None:
        """
        The archive of a room outlives a restart, as the room does. A room that has ended has none. If archives are
        switched off, what was archived is removed.
        """
        folder = self.mktemp()
        gateway = self.begin(folder)
        server = gateway.server("rooms.example")
        for room in ("kept", "ended"):
            to = f"{room}@rooms.example"
            server.ask(f"<presence from='{ANN}' to='{to}/ann'>{MUC}</presence>")
            server.ask(f"<message from='{ANN}' to='{to}' type='groupchat'><body>{room}</body></message>")
        server.ask(f"<presence from='{ANN}' to='ended@rooms.example/ann' type='unavailable'/>")
        for keys, found in (("", ["kept"]), ("archive_days = 0\n", []), ("", [])):
            gateway.stop()
            gateway = self.begin(folder, keys)
            self.assertEqual(self.bodies(gateway, "rooms.example", "kept"), found, keys)
        gateway.server("rooms.example").ask(f"<presence from='{ANN}' to='ended@rooms.example/ann'>{MUC}</presence>")
        self.assertEqual(self.bodies(gateway, "rooms.example", "ended"), [])

    def test_mirrors(self) -> None:
        """The archive of a mirror outlives a restart; it goes on if the history shows that nothing is missing."""
        folder = self.mktemp()
        room, here = "coven@chat.example", "coven\\40chat.example@mirror.example"
        item = f"<item affiliation='none' role='participant' jid='{ANN}'/>"
        joined = (
            f"<presence from='{room}/own' to='{here}'><fmuc xmlns='{ns.FMUC}' from='own@chat.example/o'/>"
            "</presence>"
            f"<presence from='{room}/ann' to='{here}/ann'>"
            f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'><replica/></fmuc><x xmlns='{ns.MUC_USER}'>{item}</x></presence>"
        )
        subject = f"<message from='{room}' to='{here}' type='groupchat'><subject/></message>"

        def said(number: int, content: str = "") -> str:
            sid = f"<stanza-id xmlns='{ns.SID}' by='{room}' id='s{number}'/>"
            head = f"<message from='{room}/own' to='{here}' type='groupchat'>"
            return f"{head}<body>{number}</body>{sid}{content}</message>"

        # The clock of the gateway begins at 0.
        delay = f"<delay xmlns='{ns.DELAY}' from='{room}' stamp='1970-01-01T00:00:30Z'/>"
        for history, expected in (("", ["1", "2"]), (said(2, delay) + said(3, delay), ["1", "2", "3"])):
            gateway = self.begin(folder)
            server = gateway.server("mirror.example")
            server.ask(f"<presence from='{ANN}' to='{here}/ann'>{MUC}</presence>")
            server.send(joined + history + subject)
            if not history:
                server.send(said(1) + said(2))
            found = self.bodies(gateway, "mirror.example", "coven\\40chat.example")
            self.assertEqual(found, expected, history)
            gateway.stop()
