"""Mirrors that resume with their joined nodes, in both protocols: stanzas on the link, and those to users."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway import ns
from gateway.addresses import jids
from gateway.fmuc.core import Rooms
from gateway.fmuc.digest import SharedState, words
from gateway.fmuc.federation import Federation
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.nodes import JoiningNode
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.ids import Ids
from gateway.muc.records import GONE
from gateway.muc.room import Bounds
from gateway.muc.values import MODERATOR, Payload, RoomMessage, Standing
from gateway.testing import MemoryGateway, MemoryServer, stanzas
from tests.fmuc.support import MUC, RoomCase, Service, rooms
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site

EVERY = frozenset(("*",))
_SHOWN = re.compile(r"<(?:presence|message) [^>]*>")


class Stored(Site):
    """
    Two sites whose services are stored, and can be restarted.

    @ivar users: domains whose users may join through the mirror, from its next start.
    @ivar options: further options of the mirror, from its next start.
    @ivar down: components that are not there: the server returns what is sent to them.
    @ivar isSilent: True if it does not.
    @ivar crossing: all stanzas between the nodes since the last call of L{passed}.
    """

    def __init__(self, dialect: Dialect, replica: bool, condition: str = "service-unavailable") -> None:
        super().__init__(dialect, replica)
        self.condition = condition
        self.users = EVERY
        self.options: dict[str, Any] = {}
        self.down: set[str] = set()
        self.isSilent = False
        self.crossing: list[str] = []
        self._starts = 0
        self._stored: dict[str, dict[tuple[str, str, str], str]] = {HERE: {}, ABOVE: {}}
        self._way = dialect, Mode.REPLICA if replica else Mode.PRIMARY
        self.mirror = self._start(HERE)
        self.above = self._start(ABOVE)
        for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
            self.join(who, nick)
        self.forget()

    def _start(self, room: str, now: float = 1_000_000.0) -> Service:
        self._starts += 1
        if room == HERE:
            dialect, mode = self._way
            mirroring = Mirroring(dialect=dialect, mode=mode, allow=EVERY, users=self.users, **self.options)
            made = Rooms("mirror.example", mirroring, frozenset(), ids=Ids(b"mirror"))
        else:
            made = Rooms("chat.example", None, EVERY, ids=Ids(b"rooms"))
        made.durability.isOn = True
        service = Service(made, f"t{self._starts}")
        service.now = now
        made.restore([(*key, value) for key, value in self._stored[room].items()], now)
        return service

    def kill(self, room: str) -> None:
        """Kill the process of a service."""
        self.down.add(room)

    def start(self, room: str) -> None:
        """Start the service again."""
        self.down.discard(room)
        old = self.mirror if room == HERE else self.above
        service = self._start(room, old.now)
        if room == HERE:
            self.mirror = service
        else:
            self.above = service
        self._send(service.written(service.rooms.reconnected(service.now)))

    def _store(self) -> None:
        for room, service in ((HERE, self.mirror), (ABOVE, self.above)):
            for key, value in service.rooms.takeRecords():
                if value is not None:
                    self._stored[room][key] = value
                elif key[1] == GONE:
                    self._stored[room].clear()
                else:
                    self._stored[room].pop(key, None)

    def _send(self, sent: bytes) -> None:
        waiting = [sent]
        while waiting:
            self._store()
            for stanza in stanzas(waiting.pop(0)):
                there = (stanza.recipient or "").partition("/")[0]
                text = stanza.readdressed(f" from='{stanza.sender}' to='{stanza.recipient}'".encode())
                if there not in (ABOVE, HERE):
                    self.shown.append((stanza.recipient or "", text.decode()))
                    continue
                self.crossing.append(text.decode())
                if there not in self.down:
                    waiting.append((self.above if there == ABOVE else self.mirror).take(text))
                elif not self.isSilent and stanza.type not in ("error", "result", "unavailable"):
                    waiting.append(self._returned(stanza.name, stanza.id, stanza.recipient, stanza.sender))
        self._store()

    def _returned(self, name: str, identifier: str | None, sender: str | None, recipient: str | None) -> bytes:
        there = (recipient or "").partition("/")[0]
        given = f" id='{identifier}'" if identifier else ""
        error = f"<error type='wait'><{self.condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
        text = f"<{name} from='{sender}' to='{recipient}' type='error'{given}>{error}</{name}>"
        return b"" if there in self.down else (self.above if there == ABOVE else self.mirror).take(text)

    def say(self, who: str, body: str, identifier: str = "m") -> None:
        """Send a message to all; the server returns it if the component is not there."""
        room = ABOVE if who == OWN else HERE
        if room not in self.down:
            content = f"<body>{body}</body>"
            service = self.above if who == OWN else self.mirror
            self.take(
                service,
                f"<message from='{who}' to='{room}' type='groupchat' id='{identifier}'>{content}</message>",
            )

    def wait(self, seconds: int) -> None:
        """Let time pass at those who run."""
        for _ in range(seconds):
            for room in (HERE, ABOVE):
                if room not in self.down:
                    service = self.mirror if room == HERE else self.above
                    self._send(service.tick(1))

    def forget(self) -> None:
        """Forget what was shown and what has crossed."""
        self.shown.clear()
        self.crossing.clear()

    def passed(self) -> list[str]:
        """Return what has crossed the link since the last call."""
        found, self.crossing = self.crossing, []
        return found

    @property
    def state(self) -> UplinkState:
        """State of the mirror's uplink."""
        federation = self.mirror.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink.state

    @property
    def node(self) -> JoiningNode:
        """The mirror, as the room knows it."""
        federation = self.above.rooms.federation(ABOVE)
        assert isinstance(federation, Federation)
        return federation.joiningNodes[HERE]

    def occupants(self) -> tuple[list[str], list[str]]:
        """Return the nicks in the room and in the mirror."""
        found = (self.above.rooms.rooms[ABOVE], self.mirror.rooms.rooms[HERE])
        return sorted(found[0].occupants), sorted(found[1].occupants)


class ResumeCase(RoomCase):
    """Tests of both protocols and both modes."""

    condition = "service-unavailable"

    def sites(self) -> Iterator[Stored]:
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                yield Stored(dialect, replica, self.condition)

    def assertShown(self, site: Stored, *bodies: str) -> None:
        """All users were shown these messages, each once and in this order, and no presence."""
        for who in (OWN, ANN, BEN):
            found = site.seen(who)
            self.assertEqual(re.findall("<body>(.*?)</body>", found), list(bodies), who)
            self.assertNotIn("<presence", found, who)
            self.assertNotIn("<fmuc", found, who)

    def assertHealthy(self, site: Stored) -> None:
        """Both nodes have all occupants, and a message of each of them reaches all."""
        self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)
        self.assertIs(site.state, UplinkState.JOINED)
        self.assertIsNone(site.node.doubt)
        site.forget()
        for who in (OWN, ANN):
            site.say(who, f"by {who[:3]}")
        self.assertShown(site, "by own", "by ann")


class MirrorRestartTests(ResumeCase):
    """The mirror's process is restarted."""

    def test_nothingChanged(self) -> None:
        """Rule 21: one request and its answer cross; both are small. Nobody is shown anything."""
        for site in self.sites():
            site.say(OWN, "x")
            site.forget()
            site.kill(HERE)
            site.start(HERE)
            asked, answered = site.passed()
            [last] = [each.stanzaId for each in site.above.rooms.rooms[ABOVE].history]
            found = re.search(" d='([^']{22})'", asked)
            assert found is not None
            self.assertSent(
                asked.encode(),
                f"<iq from='{HERE}' to='{ABOVE}' type='get' id='ask-t3-1'>"
                f"<compare xmlns='{ns.CHANNEL}' d='{found[1]}' m='{last}'/></iq>",
            )
            self.assertSent(
                answered.encode(),
                f"<iq from='{ABOVE}' to='{HERE}' type='result' id='ask-t3-1'><compare xmlns='{ns.CHANNEL}'/></iq>",
            )
            self.assertLess(len(asked) + len(answered), 350)
            self.assertEqual(site.shown, [])
            self.assertHealthy(site)

    def test_missed(self) -> None:
        """Rule 21: messages that were sent meanwhile are shown once, with their time (XEP-0203), and no more."""
        for site in self.sites():
            site.say(OWN, "before")
            site.kill(HERE)
            for body in ("one", "two"):
                site.say(OWN, body, body)
            self.assertIsNotNone(site.node.doubt)
            site.wait(20)
            site.start(HERE)
            shown = site.seen(ANN)
            self.assertEqual(shown.count("<delay "), 2)
            site.shown = [*((who, text) for who, text in site.shown if who != ANN), (ANN, shown)]
            self.assertShown(site, "before", "one", "two")
            self.assertEqual(
                [each.stanzaId for each in site.mirror.rooms.rooms[HERE].history],
                [each.stanzaId for each in site.above.rooms.rooms[ABOVE].history],
            )
            self.assertHealthy(site)

    def test_repeated(self) -> None:
        """A missed message without an id is shown, even if its sender has said the same before."""
        for site in self.sites():
            site.say(OWN, "same", "")
            site.kill(HERE)
            site.say(OWN, "same", "")
            site.wait(20)
            site.start(HERE)
            self.assertShown(site, "same", "same")
            self.assertHealthy(site)

    def test_changed(self) -> None:
        """Rules 22, 23: occupants, presence and the subject have changed: only the differences are shown."""
        for site in self.sites():
            site.kill(HERE)
            other = "eve@b.example/9"
            site.take(site.above, f"<presence from='{other}' to='{ABOVE}/eve'>{MUC}</presence>")
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'><show>away</show></presence>")
            subject = "<subject>s</subject>"
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}' type='groupchat'>{subject}</message>")
            site.forget()
            site.start(HERE)
            self.assertEqual(site.seen(OWN), "")
            shown = site.seen(ANN)
            self.assertEqual(shown, site.seen(BEN).replace(BEN, ANN))
            self.assertEqual(len(_SHOWN.findall(shown)), 3, shown)
            for part in (f"from='{HERE}/eve'", "<show>away</show>", "<subject>s</subject>"):
                self.assertIn(part, shown)
            site.kill(HERE)
            site.take(site.above, f"<presence from='{other}' to='{ABOVE}/eve' type='unavailable'/>")
            site.forget()
            site.start(HERE)
            shown = site.seen(ANN)
            self.assertEqual(len(_SHOWN.findall(shown)), 1, shown)
            self.assertIn(f"from='{HERE}/eve' to='{ANN}' type='unavailable'", shown)
            self.assertHealthy(site)

    def test_banned(self) -> None:
        """A user who was banned meanwhile is removed, when the mirror is there again."""
        for site in self.sites():
            site.kill(HERE)
            item = "<item jid='ann@a.example' affiliation='outcast'/>"
            query = f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"
            site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{query}</iq>")
            site.forget()
            site.start(HERE)
            self.assertIn("<status code='333'/><status code='110'/>", site.seen(ANN))
            self.assertIn(f"from='{HERE}/ann' to='{BEN}' type='unavailable'", site.seen(BEN))
            self.assertEqual(site.seen(OWN), "")
            self.assertEqual(site.occupants(), (["ben", "own"],) * 2)

    def test_kicked(self) -> None:
        """Rule 25: so are users who were kicked, even all of them; they are not joined anew."""
        for site in self.sites():
            site.kill(HERE)
            site.say(OWN, "x")
            for nick in ("ann", "ben"):
                query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='{nick}' role='none'/></query>"
                site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{query}</iq>")
            site.forget()
            site.start(HERE)
            for who in (ANN, BEN):
                self.assertIn("<status code='333'/><status code='110'/>", site.seen(who))
            self.assertEqual(site.seen(OWN), "")
            site.wait(15)
            self.assertEqual(site.mirror.rooms.rooms, {})
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own"])

    def test_late(self) -> None:
        """After C{gone_after} the room removes the occupants (333). A mirror that returns later joins anew."""
        for site in self.sites():
            site.kill(HERE)
            site.say(OWN, "one")
            site.wait(int(Bounds().gone) - 1)
            self.assertNotIn("unavailable'", site.seen(OWN))
            site.wait(3)
            self.assertEqual(site.seen(OWN).count("<status code='333'/>"), 2)
            site.forget()
            site.start(HERE)
            shown = site.seen(ANN)
            self.assertEqual(len(_SHOWN.findall(shown)), 1, shown)
            self.assertIn("<body>one</body>", shown)
            self.assertHealthy(site)

    def test_moderators(self) -> None:
        """While a mirror is away, its moderators are not asked: the request would be lost."""
        for site in self.sites():
            federation = site.above.rooms.federation(ABOVE)
            assert federation is not None
            federation.administrators = frozenset(("mirror.example",))
            federation.room.occupants["ann"].standing = Standing("none", MODERATOR)
            request = RoomMessage(nick="", kind=None, payload=Payload(b"<x/>"))
            self.assertTrue(federation.askModerators(request))
            federation.room.takeActions()
            site.kill(HERE)
            site.say(OWN, "one")
            self.assertIsNotNone(site.node.doubt)
            self.assertFalse(federation.askModerators(request))

    def test_stop(self) -> None:
        """A stop before a restart tells nobody, but for a user whose join is not answered: it is taken back."""
        for site in self.sites():
            site.mirror.take(f"<presence from='zoe@z.example/1' to='{HERE}/zoe'>{MUC}</presence>")
            site._send(site.mirror.written(site.mirror.rooms.shutDown(isFinal=False)))
            found = site.seen("zoe@z.example/1")
            self.assertEqual((found.count("<presence"), found.count("type='error'")), (1, 1))
            self.assertIn(f" to='{ABOVE}/zoe' type='unavailable'", "".join(site.passed()))
            site.kill(HERE)
            site.start(HERE)
            self.assertShown(site)
            self.assertHealthy(site)

    def test_users(self) -> None:
        """A user who may not use the mirror any longer is not restored; the room sees the leave."""
        for site in self.sites():
            # A user with two clients.
            for client in (1, 2):
                site.join(f"zoe@z.example/{client}", "zoe")
            self.assertEqual(len(site.mirror.rooms.rooms[HERE].users), 4)
            site.kill(HERE)
            site.users = frozenset((jids.split(ANN)[1],))
            site.start(HERE)
            self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)
            self.assertIn(f"from='{ABOVE}/zoe' to='{OWN}' type='unavailable'", site.seen(OWN))

    def test_firstJoin(self) -> None:
        """A mirror that was killed during its first join tells the room that nobody is there."""
        for dialect, replica in WAYS:
            site = Stored(dialect, replica)
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.leave(who, nick)
            self.assertEqual(site.mirror.rooms.rooms, {})
            asked = site.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
            site._store()
            site.above.take(asked)
            site._store()
            site.start(HERE)
            self.assertEqual(sorted(site.above.rooms.rooms[ABOVE].occupants), ["own"])
            self.assertEqual(site.mirror.rooms.rooms, {})


class RoomsRestartTests(ResumeCase):
    """The process of the rooms is restarted."""

    def test_held(self) -> None:
        """
        While the room is away for a moment, messages of the mirror's users are refused, or in primary mode shown to
        them and kept; they stay. Then all is as before.
        """
        for site in self.sites():
            isReplica = site._way[1] is Mode.REPLICA
            site.kill(ABOVE)
            site.say(ANN, "one")
            self.assertIs(site.state, UplinkState.LOST)
            site.say(ANN, "two")
            site.wait(14)
            shown = site.seen(ANN)
            self.assertEqual(shown.count("type='error'"), 2 if isReplica else 1, shown)
            self.assertEqual("recipient-unavailable" in shown, isReplica)
            self.assertEqual(shown.count("<presence"), 0)
            self.assertEqual(site.seen(BEN).count("<body>"), 0 if isReplica else 2)
            site.start(ABOVE)
            site.wait(2)
            self.assertEqual(re.findall("<body>(.*?)</body>", site.seen(OWN)), [] if isReplica else ["two"])
            self.assertEqual(site.shown, [])
            self.assertHealthy(site)

    def test_unnoticed(self) -> None:
        """Rule 26: if nobody says anything meanwhile, one exchange crosses, which the room begins."""
        for site in self.sites():
            site.kill(ABOVE)
            site.start(ABOVE)
            names = [each.partition(" ")[0] for each in site.passed()]
            self.assertEqual(names, ["<iq"] * 4)
            self.assertEqual(site.shown, [])
            self.assertHealthy(site)

    def test_attempts(self) -> None:
        """The attempts become rarer, and go on at the interval of the profile; the users stay."""
        for site in self.sites():
            site.kill(ABOVE)
            site.say(ANN, "one")
            site.forget()
            site.wait(121)
            self.assertEqual(sum("type='get'" in each for each in site.passed()), 11)
            site.wait(3_600)
            self.assertEqual(sum("type='get'" in each for each in site.passed()), 3_600 / BROADBAND.pace.most)
            site.start(ABOVE)
            site.wait(int(BROADBAND.pace.most))
            self.assertHealthy(site)

    def test_join(self) -> None:
        """A user who joins meanwhile waits, and is in when the room is there again."""
        for site in self.sites():
            site.kill(ABOVE)
            site.say(ANN, "one")
            new = "eve@a.example/9"
            site.take(site.mirror, f"<presence from='{new}' to='{HERE}/eve'>{MUC}</presence>")
            self.assertEqual(site.seen(new), "")
            site.start(ABOVE)
            site.wait(3)
            self.assertIn("<status code='110'/>", site.seen(new))
            self.assertEqual(site.occupants(), (["ann", "ben", "eve", "own"],) * 2)

    def test_presence(self) -> None:
        """A new presence is shown at once, and sent when the room is there again; it is shown once."""
        for site in self.sites():
            site.kill(ABOVE)
            site.say(ANN, "one")
            site.forget()
            site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'><show>dnd</show></presence>")
            self.assertEqual(site.seen(BEN).count("<show>dnd</show>"), 1)
            site.start(ABOVE)
            site.wait(3)
            self.assertEqual(site.seen(BEN), "")
            self.assertEqual(site.seen(OWN).count("<show>dnd</show>"), 1)
            self.assertEqual(site.above.rooms.rooms[ABOVE].occupants["ann"].payload.raw, b"<show>dnd</show>")

    def test_lostStore(self) -> None:
        """The room does not know the mirror any longer: all join anew, and see only the differences."""
        for site in self.sites():
            site.kill(ABOVE)
            site._stored[ABOVE].clear()
            site.start(ABOVE)
            site.join(OWN, "own")
            site.forget()
            site.say(BEN, "one")
            for who in (ANN, BEN):
                self.assertNotIn("<presence", site.seen(who))
            self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)

    def test_last(self) -> None:
        """The last user leaves while the room is away: the mirror is left, and the room learns it."""
        for site in self.sites():
            site.kill(ABOVE)
            site.say(ANN, "one")
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.leave(who, nick)
            site.wait(12)
            self.assertEqual(site.mirror.rooms.rooms, {})
            site.start(ABOVE)
            site.wait(2)
            self.assertEqual(sorted(site.above.rooms.rooms[ABOVE].occupants), ["own"])


class UnreachableTests(RoomsRestartTests):
    """The same with the error of a server that cannot reach another one."""

    condition = "remote-server-not-found"


class ForbiddenTests(ResumeCase):
    """An ejabberd whose services must not connect to other servers forbids requests to an absent component."""

    def test_requests(self) -> None:
        """Nobody leaves the room, or the mirror, because of them."""
        for absent, who in ((HERE, OWN), (ABOVE, ANN)):
            for site in self.sites():
                site.kill(absent)
                site.say(who, "x")
                site.condition = "forbidden"
                site.wait(14)
                self.assertGreater(len([each for each in site.passed() if "type='get'" in each]), 2)
                site.forget()
                site.start(absent)
                self.assertNotIn("<presence", "".join(text for _, text in site.shown))
                self.assertHealthy(site)


class OtherSoftwareTests(RoomCase):
    """A joined node that does not know how to resume."""

    def test_rejoin(self) -> None:
        """
        After a restart, the occupants leave and join anew there, from the last message on. Local users see only the
        differences: no presence, and the message that was missed.
        """
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = Stored(dialect, replica)
                site.say(OWN, "before")
                federation = site.mirror.rooms.federation(HERE)
                assert federation is not None and federation.uplink is not None
                federation.uplink.node.resumes = False
                federation.room.changes.nodes = True
                site._send(site.mirror.tick(1))
                site.node.resumes = False
                site.kill(HERE)
                # Such software sends no errors, and loses the message.
                federation = site.above.rooms.federation(ABOVE)
                assert federation is not None
                site.node.hasJoined = False
                site.say(OWN, "missed")
                site.node.hasJoined = True
                site.forget()
                site.start(HERE)
                for who in (ANN, BEN):
                    shown = site.seen(who)
                    self.assertNotIn("<presence", shown)
                    self.assertEqual(re.findall("<body>(.*?)</body>", shown), ["missed"])
                joins = [each for each in site.passed() if each.startswith("<presence") and "<resume" in each]
                self.assertIn("<history since=", joins[0])
                shown = site.seen(OWN)
                self.assertEqual(shown.count(f"from='{ABOVE}/ann'"), 2)
                self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)


class HostileTests(RoomCase):
    """Requests that are not what they should be."""

    def test_strangers(self) -> None:
        """Section 8: only nodes compare; others learn nothing."""
        service = rooms("chat.example", "mirror.example")
        service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        for who in (ANN, OWN, HERE):
            for kind in ("get", "set"):
                sent = service.take(
                    f"<iq from='{who}' to='{ABOVE}' type='{kind}' id='r'><compare xmlns='{ns.CHANNEL}'/></iq>"
                )
                self.assertIn(b"<item-not-found", sent)

    def test_odd(self) -> None:
        """Odd requests and answers of nodes change nothing, and each request gets one answer."""
        for dialect, replica in WAYS:
            site = Stored(dialect, replica)
            before = site.occupants()
            odd = (
                ("set", "<compare xmlns='{}'><occupant/></compare>", "bad-request"),
                *(
                    ("set", f"<compare xmlns='{{}}' more='true'><occupant {each}/></compare>", "bad-request")
                    for each in (f"nick='{'x' * 300}' jid='y'", f"nick='x' jid='{'y' * 4_000}'")
                ),
                ("set", "<compare xmlns='{}' more='true'><occupant nick='x' jid='y'/></compare>", "result"),
                ("get", "<compare xmlns='{}' d='x'/>", " b='"),
            )
            for kind, payload, expected in odd:
                sent = site.above.take(
                    f"<iq from='{HERE}' to='{ABOVE}' type='{kind}' id='r'>{payload.format(ns.CHANNEL)}</iq>"
                ).decode()
                self.assertEqual(sent.count("<iq "), 1)
                self.assertIn(expected, sent)
            for identifier in ("ask-t1-9", "tell-t1-9", "ask-", "x"):
                answer = f"<compare xmlns='{ns.CHANNEL}' state='true'><missing nick='ann'/></compare>"
                iq = f"<iq from='{ABOVE}' to='{HERE}' type='result' id='{identifier}'>{answer}</iq>"
                self.assertEqual(site.mirror.take(iq), b"")
            refused = site.mirror.take(
                f"<iq from='{ABOVE}' to='{HERE}' type='set' id='r'><compare xmlns='{ns.CHANNEL}'/></iq>"
            )
            self.assertIn(b"<item-not-found", refused)
            self.assertEqual(site.occupants(), before)

    def test_left(self) -> None:
        """Rule 25: a node that tells of nobody who is in has left: the answer is all that it is sent."""
        for dialect, replica in WAYS:
            site = Stored(dialect, replica)
            told = f"<compare xmlns='{ns.CHANNEL}'><occupant nick='x' jid='y@z/q'/></compare>"
            sent = site.above.take(f"<iq from='{HERE}' to='{ABOVE}' type='set' id='r'>{told}</iq>").decode()
            answer = f"<compare xmlns='{ns.CHANNEL}' state='true'><missing nick='x'/></compare>"
            self.assertIn(f"<iq from='{ABOVE}' to='{HERE}' id='r' type='result'>{answer}</iq>", sent)
            self.assertEqual(sent.count(f"to='{HERE}"), 1, sent)
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own"])

    def test_flood(self) -> None:
        """A node that asks again and again is answered a few times at once, and then once a second."""
        site = Stored(Dialect.XEP_0289, True)
        asks = f"<compare xmlns='{ns.CHANNEL}' d='x' more='true'/>"
        asks = f"<iq from='{HERE}' to='{ABOVE}' type='get' id='r'>{asks}</iq>"
        found = [b"type='result'" in site.above.take(asks) for _ in range(30)]
        self.assertEqual(found.count(True), 10)
        self.assertIn(b"<resource-constraint", site.above.take(asks))
        site.above.tick(1)
        self.assertEqual([b"type='result'" in site.above.take(asks) for _ in range(2)], [True, False])

    def test_charged(self) -> None:
        """The state that a node gets is charged to it, as the answer to a join is."""
        made = Rooms("chat.example", None, EVERY, ids=Ids(b"rooms"))
        server = MemoryServer("chat.example")
        RoomsHandler(made).setHandlerParent(server.link)
        server.start()
        self.addCleanup(server.stop)
        for who, nick in ((OWN, "own"), (ANN, "ann")):
            away = f"<status>{'x' * 10_000}</status>"
            server.send(f"<presence from='{who}' to='{ABOVE}/{nick}'>{MUC}{away}</presence>")
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'/>"
        server.send(f"<presence from='{HERE}/ben' to='{ABOVE}/ben'>{MUC}{fmuc}</presence>")
        budget, now = server.link.budget, server.link.now
        before = budget._owed(HERE, now)
        told = f"<compare xmlns='{ns.CHANNEL}'><occupant nick='ben' jid='{BEN}'/></compare>"
        server.send(f"<iq from='{HERE}' to='{ABOVE}' type='set' id='r'>{told}</iq>")
        self.assertGreater(budget._owed(HERE, now), before + 10_000)

    def test_words(self) -> None:
        """Servers may write the same presence in another way."""
        one = Payload(b"<c xmlns='caps' ver='a' node=\"b\"/><status>it&apos;s</status>")
        other = Payload(b"<c node='b' ver='a' xmlns='caps'></c><status>it's</status>")
        self.assertEqual(words(one).replace(" c ", " "), words(other).replace(" c c ", " c ").replace(" c ", " "))
        self.assertNotEqual(words(one), words(Payload(b"<c xmlns='caps' ver='a' node='c'/><status>it's</status>")))


class LateTests(ResumeCase):
    """Errors that come late, silence, and many occupants."""

    def test_lateError(self) -> None:
        """A message comes back after later ones have arrived: the mirror gets it, and only it."""
        for site in self.sites():
            site.say(OWN, "one", "1")
            federation = site.mirror.rooms.federation(HERE)
            assert federation is not None
            # The second message is lost on its way, and the third one arrives.
            site.kill(HERE)
            site.say(OWN, "two", "2")
            site.node.doubt = None
            site.down.clear()
            site.say(OWN, "three", "3")
            error = f"<error type='wait'><{self.condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
            returned = f"<message from='{HERE}' to='{ABOVE}/own' type='error' id='2'>{error}</message>"
            site.take(site.above, returned)
            site.say(OWN, "four", "4")
            site.wait(3)
            for who, expected in ((OWN, ["one", "two", "three", "four"]), (ANN, ["one", "three", "two", "four"])):
                self.assertEqual(re.findall("<body>(.*?)</body>", site.seen(who)), expected)
            self.assertHealthy(site)

    def test_silence(self) -> None:
        """After five minutes of silence the mirror asks once, and finds out that the room has forgotten it."""
        for site in self.sites():
            site.wait(299)
            self.assertEqual(site.passed(), [])
            site.wait(2)
            self.assertEqual(len(site.passed()), 2)
            site.wait(290)
            self.assertEqual(site.passed(), [])
            room = site.above.rooms.rooms[ABOVE]
            for nick in ("ann", "ben"):
                room.remove(room.occupants[nick])
            del room.nodes.joiningNodes[HERE]
            site.wait(15)
            self.assertNotIn("<presence", site.seen(ANN))
            self.assertHealthy(site)

    def test_many(self) -> None:
        """Rule 22: more occupants than fit into one request are told in several, each of which is answered."""
        # A node with a single bucket.
        self.patch(SharedState, "hashes", lambda state: "AAAAAA==")
        for site in self.sites():
            for number in range(200):
                user = f"u{number}@a.example/1"
                site.take(site.mirror, f"<presence from='{user}' to='{HERE}/u{number}'>{MUC}</presence>")
            site.kill(HERE)
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'><show>away</show></presence>")
            site.forget()
            site.start(HERE)
            told = [each for each in site.passed() if each.startswith("<iq") and "<occupant " in each]
            self.assertEqual([each.count("<occupant ") for each in told], [80, 80, 42])
            self.assertEqual([each.count("more='true'") for each in told], [1, 1, 0])
            self.assertEqual(len(_SHOWN.findall(site.seen(ANN))), 1)
            self.assertEqual(site.seen(OWN), "")
            self.assertHealthy203(site)

    def assertHealthy203(self, site: Stored) -> None:
        """Both nodes have all occupants."""
        self.assertEqual(len(site.occupants()[0]), 203)
        self.assertEqual(*site.occupants())
        self.assertIs(site.state, UplinkState.JOINED)


class ServiceTests(ResumeCase):
    """A mirror in a gateway with its store."""

    def begin(self, folder: str) -> MemoryGateway:
        """Start a gateway with the mirror."""
        table = '[mirror."mirror.example"]\nallow = ["chat.example"]\nusers = ["a.example"]\n'
        gateway = MemoryGateway(folder, table)
        gateway.wait(1)
        return gateway

    def test_restart(self) -> None:
        """
        At a stop, users are told nothing; after the start the mirror asks its room, and sends its users nothing but
        a ping each. If the service is removed, they are told (332), and the room sees them leave.
        """
        folder = self.mktemp()
        gateway = self.begin(folder)
        server = gateway.server("mirror.example")
        server.ask(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        item = f"<item affiliation='none' role='participant' jid='{ANN}'/>"
        admission = (
            f"<presence from='{ABOVE}/ann' to='{HERE}/ann'><fmuc xmlns='{ns.FMUC}' from='{ANN}'><replica/></fmuc>"
            f"<x xmlns='{ns.MUC_USER}'>{item}</x><resume xmlns='{ns.RESUME}'/></presence>"
        )
        subject = f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>"
        shown = server.ask(admission + subject)
        self.assertEqual([each.get("to") for each in shown], [ANN, ANN])
        gateway.stop()
        self.assertEqual([each for each in server.received() if each.get("to") in (ANN, ABOVE)], [])
        gateway = self.begin(folder)
        server = gateway.server("mirror.example")
        gateway.wait(2)
        sent = [each for each in server.received() if each.get("to") in (ANN, ABOVE)]
        self.assertEqual(
            [(each.get("to"), each[0].tag) for each in sent],
            [(ABOVE, f"{{{ns.CHANNEL}}}compare"), (ANN, f"{{{ns.PING}}}ping")],
        )
        gateway.stop()
