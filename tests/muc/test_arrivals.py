"""Joins to large rooms, whose occupants are sent in portions (XEP-0045 section 7.1)."""

from __future__ import annotations

import re
from random import Random

from gateway.muc import arrivals, groupchat, welcome
from gateway.muc.room import Room
from gateway.muc.values import RoomMessage
from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas
from tests.fmuc.support import MUC, written
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, NO_SUBJECT, ROOM, WISE, LocalCase, presence, said, status, user

AWAY = "<show>away</show>"
OTHER = user("none", "participant")
SELF = user("none", "participant", status(110))
LEFT = user("none", "none")
SECOND = "hag66@shakespeare.lit/phone"


def whole(stanza: Stanza) -> bytes:
    """Return a stanza."""
    return stanza.readdressed(f" from='{stanza.sender}' to='{stanza.recipient}'".encode())


class ArrivalCase(LocalCase):
    """A room of the crone and five others, a to e; portions are of two presences."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(welcome, "PORTION", 2)
        for nick in "abcde":
            self.join(f"{nick}@x.example/1", nick)
        self.rest()

    def portion(self) -> bytes:
        """Return the next portion."""
        return b"".join(map(written, self.service.rooms.portion()))

    def rest(self) -> bytes:
        """Return all portions that are left."""
        found = b""
        while self.room.arrivals is not None:
            found += self.portion()
        return found

    def of(self, who: str, sent: bytes) -> bytes:
        """Return what one user is sent."""
        return b"".join(whole(each) for each in stanzas(sent) if each.recipient == who)

    def leaves(self, nick: str) -> bytes:
        return self.leave(f"{nick}@x.example/1", nick)

    def says(self, nick: str, body: str) -> bytes:
        return self.say(f"{nick}@x.example/1", f"<body>{body}</body>")


class PortionTests(ArrivalCase):
    """The stanzas to a joining client, and their order."""

    def test_order(self) -> None:
        """
        Section 7.1: the others' presences, the own presence, history, the subject, live messages. The others learn
        of the new occupant at once.
        """
        self.says("a", "before")
        sent = self.join(HAG, "hag")
        self.assertEqual(self.of(HAG, sent), b"")
        self.assertSent(self.of(CRONE, sent), presence("hag", CRONE, user("none", "participant", jid=HAG)))
        self.assertSent(self.of("e@x.example/1", sent), presence("hag", "e@x.example/1", OTHER))
        live = self.says("b", "live")
        self.assertEqual(self.of(HAG, live), b"")
        self.assertSent(self.of(CRONE, live), said("b", CRONE, "<body>live</body>"))
        crone = presence("crone", HAG, user("owner", "moderator"))
        self.assertSent(self.portion(), crone, presence("a", HAG, OTHER))
        self.assertSent(self.portion(), presence("b", HAG, OTHER), presence("c", HAG, OTHER))
        self.assertSent(self.portion(), presence("d", HAG, OTHER), presence("e", HAG, OTHER))
        own, history, subject, message = stanzas(self.portion())
        self.assertSent(whole(own), presence("hag", HAG, SELF))
        self.assertEqual((history.sender, history.recipient), (f"{ROOM}/a", HAG))
        self.assertIn(b"<delay", history.raw)
        self.assertSent(
            whole(subject) + whole(message), said("", HAG, NO_SUBJECT), said("b", HAG, "<body>live</body>")
        )
        self.assertIsNone(self.room.arrivals)
        self.assertEqual(self.service.rooms.portion(), [])
        self.assertSent(self.of(HAG, self.says("c", "x")), said("c", HAG, "<body>x</body>"))

    def test_small(self) -> None:
        """A room of one portion answers a join at once."""
        for nick in "bcde":
            self.leaves(nick)
        self.assertEqual(len(stanzas(self.of(HAG, self.join(HAG, "hag")))), 4)
        self.assertIsNone(self.room.arrivals)

    def test_shrunk(self) -> None:
        """A client joins again when the room has become small: it is answered at once, and once."""
        self.join(HAG, "hag")
        for nick in "bcde":
            self.leaves(nick)
        self.assertEqual(len(stanzas(self.of(HAG, self.join(HAG, "hag")))), 4)
        self.assertEqual(self.rest() + self.portion(), b"")

    def test_left(self) -> None:
        """An occupant who leaves before the own portion is not announced; one who leaves after it has left."""
        self.join(HAG, "hag")
        self.portion()
        self.assertEqual(self.of(HAG, self.leaves("e")), b"")
        self.assertSent(self.of(HAG, self.leaves("a")), presence("a", HAG, LEFT, "unavailable"))
        rest = self.rest()
        self.assertNotIn(f"{ROOM}/e".encode(), rest)
        self.assertNotIn(f"{ROOM}/a".encode(), rest)

    def test_changed(self) -> None:
        """A changed presence is sent at once if an earlier one was sent, otherwise with its portion; each once."""
        self.join(HAG, "hag")
        self.portion()
        for nick, isSent in (("a", True), ("e", False)):
            sent = self.service.take(f"<presence from='{nick}@x.example/1' to='{ROOM}/{nick}'>{AWAY}</presence>")
            expected = [presence(nick, HAG, AWAY + OTHER)] if isSent else []
            self.assertSent(self.of(HAG, sent), *expected)
        self.assertEqual(self.rest().count(AWAY.encode()), 1)

    def test_came(self) -> None:
        """An occupant who comes before the first portion is sent with the portions; a later one, at once."""
        self.join(HAG, "hag")
        self.assertEqual(self.of(HAG, self.join("f@x.example/1", "f")), b"")
        self.portion()
        self.assertSent(self.of(HAG, self.join("g@x.example/1", "g")), presence("g", HAG, OTHER))
        sent = self.of(HAG, self.rest())
        self.assertEqual([sent.count(f"{ROOM}/{nick}'".encode()) for nick in "fg"], [1, 0])

    def test_renamed(self) -> None:
        """A nick changes before its portion: only the new one is sent; and after it: as in any room."""
        self.join(HAG, "hag")
        self.portion()
        sent = self.service.take(f"<presence from='e@x.example/1' to='{ROOM}/z'/>")
        self.assertSent(self.of(HAG, sent), presence("z", HAG, OTHER))
        sent = self.service.take(f"<presence from='a@x.example/1' to='{ROOM}/y'/>")
        self.assertEqual([each.type for each in stanzas(self.of(HAG, sent))], ["unavailable", None])
        rest = self.rest()
        for nick in "aeyz":
            self.assertNotIn(f"from='{ROOM}/{nick}'".encode(), rest)

    def test_ownChanges(self) -> None:
        """The own presence is sent once, in its place, with the status and the nick that count then."""
        self.join(HAG, "hag")
        self.portion()
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/hag'>{AWAY}</presence>")
        sent += self.service.take(f"<presence from='{HAG}' to='{ROOM}/hex'>{AWAY}</presence>")
        self.assertEqual(self.of(HAG, sent), b"")
        self.assertIn(f"from='{ROOM}/hex'".encode(), self.of(CRONE, sent))
        rest = self.of(HAG, self.rest())
        self.assertIn(f"from='{ROOM}/hex'".encode(), rest)
        self.assertEqual((rest.count(b"'110'"), rest.count(b"unavailable")), (1, 0))

    def test_gone(self) -> None:
        """A user who leaves, or is kicked, is told so at once, and nothing else."""
        for kick in (False, True):
            self.join(HAG, "hag")
            self.portion()
            if kick:
                item = "<item nick='hag' role='none'/>"
                query = f"<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>"
                sent = self.service.take(f"<iq from='{CRONE}' to='{ROOM}' type='set' id='k'>{query}</iq>")
            else:
                sent = self.leave(HAG, "hag")
            [left] = stanzas(self.of(HAG, sent))
            self.assertEqual(left.type, "unavailable")
            self.assertEqual(self.rest() + self.portion(), b"")
            self.assertEqual(self.of(HAG, self.says("a", "x")), b"")

    def test_again(self) -> None:
        """A client that joins again while it is sent the occupants is sent everything once more, from the start."""
        self.join(HAG, "hag")
        self.portion()
        self.join(HAG, "hag")
        rest = self.of(HAG, self.rest())
        for nick in ("crone", *"abcde"):
            self.assertEqual(rest.count(f"from='{ROOM}/{nick}'".encode()), 1, nick)
        self.assertEqual(rest.count(b"'110'"), 1)

    def test_againAndAgain(self) -> None:
        """A client that joins again while it is sent the occupants waits behind the others."""
        self.join(HAG, "hag")
        self.portion()
        self.join(WISE, "wise")
        sent = b""
        for _ in range(5):
            self.join(HAG, "hag")
            sent += self.portion()
        self.assertIn(b"'110'", self.of(WISE, sent))
        self.assertIn(b"'110'", self.of(HAG, self.rest()))

    def test_privateAgain(self) -> None:
        """A private message is not lost if the client joins again before it gets the message."""
        self.join(HAG, "hag")
        self.join(WISE, "wise")
        for who in ("hag", "wise"):
            self.service.take(f"<message from='{CRONE}' to='{ROOM}/{who}' type='chat'><body>{who}</body></message>")
        self.says("a", "to all")
        self.join(HAG, "hag")
        rest = self.of(HAG, self.rest())
        self.assertEqual([rest.count(each) for each in (b"<body>hag", b"<body>wise", b"to all")], [1, 0, 1])

    def test_turns(self) -> None:
        """Sessions have their turns in the order of their joins; rooms take turns for each portion."""
        other = f"other@{ROOM.partition('@')[2]}"
        for nick in "abcd":
            self.service.take(
                f"<presence from='{nick}@x.example/1' to='{other}/{nick}'>"
                f"<x xmlns='http://jabber.org/protocol/muc'/></presence>"
            )
        self.rest()
        while self.service.rooms.arriving:
            self.portion()
        self.join(HAG, "hag")
        self.join(WISE, "wise")
        self.service.take(
            f"<presence from='{HAG}' to='{other}/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )
        found = []
        while sent := self.portion():
            [first, *_] = stanzas(sent)
            found.append(((first.sender or "").partition("@")[0], first.recipient))
        here, there = "coven", "other"
        self.assertEqual(found[:5], [(here, HAG), (there, HAG), (here, HAG), (there, HAG), (here, HAG)])
        self.assertEqual(found[-1], (here, WISE))

    def test_sessions(self) -> None:
        """Section 7.2.8: the second client is sent everything in portions; the first one is not affected."""
        self.join(HAG, "hag")
        self.rest()
        sent = self.join(SECOND, "hag", show=AWAY)
        self.assertEqual(self.of(SECOND, sent), b"")
        self.assertSent(self.of(HAG, sent), presence("hag", HAG, AWAY + SELF))
        sent = self.says("a", "x")
        self.assertSent(self.of(HAG, sent), said("a", HAG, "<body>x</body>"))
        self.leave(HAG, "hag")
        rest = self.of(SECOND, self.rest())
        self.assertEqual((rest.count(b"'110'"), rest.count(b"<body>x")), (1, 1))
        self.join(HAG, "hag")
        sent = self.leave(HAG, "hag")
        self.assertEqual(len(stanzas(self.of(HAG, sent))), 1)
        self.assertEqual(self.rest(), b"")

    def test_private(self) -> None:
        """A private message follows the own presence, in its place among the others, and reaches nobody else."""
        self.join(HAG, "hag")
        self.join(WISE, "wise")
        sent = self.says("a", "1")
        private = f"<message from='{CRONE}' to='{ROOM}/hag' type='chat'><body>2</body></message>"
        sent += self.service.take(private) + self.says("a", "3")
        self.assertEqual(self.of(HAG, sent) + self.of(WISE, sent), b"")
        rest = self.rest()
        heard = [self.of(each, rest).rpartition(b"<subject")[2] for each in (HAG, WISE)]
        bodies = [[text[:1] for text in each.split(b"<body>")[1:]] for each in heard]
        self.assertEqual(bodies, [[b"1", b"2", b"3"], [b"1", b"3"]])

    def test_withdrawn(self) -> None:
        """A message that cannot be stored, in the history or live, and such a subject, are not sent later on."""
        self.service.take(f"<message from='{CRONE}' to='{ROOM}' type='groupchat'><subject>old</subject></message>")
        self.says("a", "before")
        undone: list[tuple[int, RoomMessage | None]] = []
        for text in ("<body>history</body>", "<subject>new</subject>", "", "<body>live</body>"):
            undone.append((self.room.history.added, self.room.subject))
            if text:
                self.service.take(f"<message from='{CRONE}' to='{ROOM}' type='groupchat'>{text}</message>")
            else:
                self.join(HAG, "hag")
                self.portion()
        for added, subject in reversed(undone):
            groupchat.withdraw(self.room, added, subject)
        self.says("a", "after")
        rest = self.of(HAG, self.rest())
        self.assertEqual(re.findall(rb"<(?:body|subject)>(\w*)", rest), [b"before", b"old", b"after"])

    def test_bounded(self) -> None:
        """A room keeps a limited number of messages, and bytes of them, for its arrivals."""
        self.patch(arrivals, "_MAX_MESSAGES", 3)
        self.join(HAG, "hag")
        for number in range(5):
            self.says("a", f"{number}")
        self.join(WISE, "wise")
        self.says("a", "5")
        rest = self.rest()
        heard = [self.of(each, rest).rpartition(b"<subject")[2] for each in (HAG, WISE)]
        bodies = [[text[:1] for text in each.split(b"<body>")[1:]] for each in heard]
        self.assertEqual(bodies, [[b"3", b"4", b"5"], [b"5"]])
        self.patch(arrivals, "_MAX_BYTES", 100)
        self.join(HAG, "hag")
        self.says("a", "x" * 200)
        self.assertNotIn(b"x" * 200, self.of(HAG, self.rest()).rpartition(b"<subject")[2])


class MirrorTests(ArrivalCase):
    """Large mirrors, in both dialects and modes: they send the portions of what they know themselves."""

    def test_mirror(self) -> None:
        """
        A user joins a large mirror: presences in portions, the own presence, the subject, and what was said
        meanwhile. The room and the other users of the mirror have learnt of the join at once.
        """
        for way in WAYS:
            self.patch(welcome, "PORTION", 100)
            site = Site(*way)
            site.join(OWN, "own")
            for nick in "abcd":
                site.take(site.above, f"<presence from='{nick}@x.example/1' to='{ABOVE}/{nick}'>{MUC}</presence>")
            site.join(ANN, "ann")
            site.seen(ANN)
            self.patch(welcome, "PORTION", 2)
            site.join(BEN, "ben")
            self.assertEqual(site.seen(BEN), "")
            self.assertIn(f"from='{HERE}/ben'", site.seen(ANN))
            self.assertIn("ben", site.above.rooms.rooms[ABOVE].occupants)
            self.assertEqual(len(self.portionOf(site)), 2)
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>x</body></message>")
            self.assertEqual(site.seen(BEN), "")
            self.assertIn("<body>x", site.seen(ANN))
            gone = f"<presence from='d@x.example/1' to='{ABOVE}/d' type='unavailable'/>"
            site.take(site.above, gone)
            self.assertEqual(site.seen(BEN), "")
            found = []
            while portion := self.portionOf(site):
                found += portion
            names = [(each.name, (each.sender or "").partition("/")[2]) for each in found]
            self.assertEqual(names[-3:], [("presence", "ben"), ("message", ""), ("message", "own")], (way, names))
            self.assertEqual({name for name, _ in names[:-3]}, {"presence"})
            self.assertNotIn(("presence", "d"), names)
            self.assertEqual(len(site.mirror.rooms.rooms[HERE].occupants), 6)

    def portionOf(self, site: Site) -> list[Stanza]:
        """Return the next portion of a mirror; all of it is for one user."""
        found = stanzas(b"".join(map(written, site.mirror.rooms.portion())))
        self.assertLessEqual({each.recipient for each in found}, {BEN})
        return found


class RandomTests(ArrivalCase):
    """After a join, the client knows what the others know, no matter what has happened meanwhile."""

    def test_random(self) -> None:
        """
        Occupants come, leave, change status and nick, and talk, while others join: in the end each client has the
        presences of all occupants, has heard each message once, and was sent all in the order of section 7.1.
        """
        for seed in range(30):
            self.setUp()
            _Play(self, Random(seed)).run()


class _Play:
    """One run; a client is what it was sent."""

    def __init__(self, case: ArrivalCase, random: Random) -> None:
        self.case = case
        self.random = random
        self.nicks: dict[str, str] = {CRONE: "crone"}
        # By client: nicks with their payloads, the messages, and whether the own presence has come.
        self.rosters: dict[str, dict[str, bytes]] = {}
        self.heard: dict[str, list[str]] = {}
        self.due: dict[str, list[str]] = {}
        self.isIn: dict[str, bool] = {}
        self.count = 0

    @property
    def room(self) -> Room:
        return self.case.room

    def run(self) -> None:
        for _ in range(120):
            self.random.choice((self.enter, self.go, self.status, self.rename, self.talk, self.talk, self.work))()
        self.take(self.case.rest())
        self.case.assertIsNone(self.room.arrivals)
        for who, roster in self.rosters.items():
            if self.nicks.get(who):
                self.case.assertTrue(self.isIn[who])
                expected = {nick: each.payload.raw for nick, each in self.room.occupants.items()}
                self.case.assertEqual(roster, expected)
                self.case.assertEqual(self.heard[who], self.due[who])

    def take(self, sent: bytes) -> None:
        for each in stanzas(sent):
            who, nick = each.recipient or "", (each.sender or "").partition("/")[2]
            if who not in self.rosters:
                continue
            if each.name == "message":
                self.case.assertTrue(self.isIn[who], "a message before the own presence")
                if b"<delay" not in each.raw and b"<subject" not in each.raw:
                    self.heard[who].append(each.id or "")
            elif each.type == "unavailable":
                self.case.assertIn(nick, self.rosters[who], "a leave of an unknown occupant")
                del self.rosters[who][nick]
            else:
                self.isIn[who] = self.isIn[who] or b"'110'" in each.raw
                self.rosters[who][nick] = AWAY.encode() if AWAY.encode() in each.raw else b""

    def some(self) -> str:
        return self.random.choice(list(self.nicks))

    def enter(self) -> None:
        self.count += 1
        who = self.random.choice((f"u{self.count}@x.example/1", *self.rosters))
        nick = self.nicks.get(who, f"n{self.count}")
        if who in self.nicks and who not in self.rosters:
            return
        self.rosters[who], self.heard[who], self.due[who], self.isIn[who] = {}, [], [], False
        self.nicks[who] = nick
        self.take(self.case.join(who, nick))

    def go(self) -> None:
        who = self.some()
        if who != CRONE:
            sent = self.case.leave(who, self.nicks.pop(who))
            for table in (self.rosters, self.heard, self.due, self.isIn):
                table.pop(who, None)
            self.take(sent)

    def status(self) -> None:
        who = self.some()
        show = self.random.choice((AWAY, ""))
        self.take(self.case.service.take(f"<presence from='{who}' to='{ROOM}/{self.nicks[who]}'>{show}</presence>"))

    def rename(self) -> None:
        who = self.some()
        self.count += 1
        # A nick that somebody had before, at times.
        free = [nick for nick in "abcde" if nick not in self.room.occupants]
        nick = self.random.choice((f"n{self.count}", *free))
        sent = self.case.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'/>")
        self.nicks[who] = nick
        self.take(sent)

    def talk(self) -> None:
        self.count += 1
        for who in self.due:
            self.due[who].append(f"m{self.count}")
        head = f"<message from='{self.some()}' to='{ROOM}' type='groupchat' id='m{self.count}'>"
        self.take(self.case.service.take(f"{head}<body>x</body></message>"))

    def work(self) -> None:
        self.take(self.case.portion())
