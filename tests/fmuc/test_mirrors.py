"""Mirrors as users see them, and the stanzas that cross the link."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    ERRORS,
    Banned,
    JoinedElsewhere,
    Loop,
    NickChangeForbidden,
    NickInUse,
    NoAnswer,
    NotAMirror,
    NotInTheRoom,
    NotMirrored,
)
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.stanzas import readPresence
from gateway.fmuc.values import Dialect
from gateway.testing import stanzas
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused, rooms

ABOVE = "coven@chat.example"
HERE = r"coven\40chat.example@mirror.example"
ANN, BEN, OWN = "ann@a.example/1", "ben@a.example/2", "own@b.example/3"


class Site:
    """A mirror, its joined node, and a link between them that counts stanzas."""

    def __init__(
        self,
        dialect: Dialect = Dialect.XEP_0289,
        replica: bool = True,
        administrators: str = "",
        users: str = "*",
    ) -> None:
        self.mirror = mirror("mirror.example", dialect, replica, users=users)
        self.above = rooms("chat.example", "mirror.example", administrators=administrators)
        self.crossed = {"up": 0, "down": 0}
        self.shown: list[tuple[str, str]] = []

    def take(self, service: Service, xml: str | bytes) -> None:
        """Deliver a stanza to one side, and all stanzas that it causes."""
        self._send(service.take(xml))

    def tick(self, seconds: float) -> None:
        """Advance the clock."""
        for service in (self.mirror, self.above):
            self._send(service.tick(seconds))

    def shutDown(self, service: Service) -> None:
        """End one side."""
        self._send(service.shutDown())

    def _send(self, sent: bytes) -> None:
        waiting = [sent]
        while waiting:
            for stanza in stanzas(waiting.pop(0)):
                recipient = stanza.recipient or ""
                text = stanza.readdressed(f" from='{stanza.sender}' to='{recipient}'".encode())
                there = recipient.partition("/")[0]
                if there in (ABOVE, HERE):
                    service, way = (self.above, "up") if there == ABOVE else (self.mirror, "down")
                    self.crossed[way] += 1
                    waiting.append(service.take(text))
                else:
                    self.shown.append((recipient, text.decode()))

    def join(self, who: str, nick: str) -> None:
        """Send a join: to the mirror, or to the room itself."""
        service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
        self.take(service, f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")

    def leave(self, who: str, nick: str) -> None:
        """Send a leave."""
        service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
        self.take(service, f"<presence from='{who}' to='{room}/{nick}' type='unavailable'/>")

    def seen(self, who: str) -> str:
        """Return what a user was sent since the last call."""
        found = "".join(text for recipient, text in self.shown if recipient == who)
        self.shown = [each for each in self.shown if each[0] != who]
        return found

    def counted(self) -> tuple[int, int]:
        """Return what crossed the link since the last call, in both directions."""
        up, down = self.crossed["up"], self.crossed["down"]
        self.crossed = {"up": 0, "down": 0}
        return up, down


WAYS = [(dialect, replica) for dialect in Dialect for replica in (True, False)]


class CountedTests(RoomCase):
    """One copy, for any number of occupants."""

    def test_oneCopy(self) -> None:
        """A message of either side crosses the link once, and once more as an echo if that was asked for."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            for number in range(20):
                site.join(f"u{number}@a.example/r", f"n{number}")
            site.counted()
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>x</body></message>")
            self.assertEqual(site.counted(), (0, 1))
            message = f"<message from='u7@a.example/r' to='{HERE}' type='groupchat'><body>y</body></message>"
            site.take(site.mirror, message)
            self.assertEqual(site.counted(), (1, int(replica)), (dialect, replica))
            for number in range(20):
                seen = site.seen(f"u{number}@a.example/r")
                self.assertEqual((seen.count("<body>x<"), seen.count("<body>y<")), (1, 1))
                self.assertNotIn(ns.FMUC, seen)
            self.assertEqual(site.seen(OWN).count("<body>y<"), 1)

    def test_private(self) -> None:
        """A private message crosses it once, in either direction; between two users of the mirror not at all."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.counted()
            cases = (
                (site.mirror, ANN, f"{HERE}/own", OWN, f"{ABOVE}/ann", (1, 0)),
                (site.above, OWN, f"{ABOVE}/ann", ANN, f"{HERE}/own", (0, 1)),
                (site.mirror, ANN, f"{HERE}/ben", BEN, f"{HERE}/ann", (0, 0)),
            )
            for service, sender, recipient, to, shown, crossed in cases:
                for each in (ANN, BEN, OWN):
                    site.seen(each)
                site.take(
                    service, f"<message from='{sender}' to='{recipient}' type='chat'><body>x</body></message>"
                )
                self.assertEqual(site.counted(), crossed)
                marked = f"<body>x</body><x xmlns='{ns.MUC_USER}'/>"
                expected = f"<message from='{shown}' to='{to}' type='chat'>{marked}</message>"
                self.assertSent(site.seen(to).encode(), expected)

    def test_changes(self) -> None:
        """A change of presence is shared in both directions."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'><show>dnd</show></presence>")
            for each in (ANN, BEN, OWN):
                self.assertEqual(site.seen(each).count("<show>dnd</show>"), 1, (each, dialect, replica))
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'><show>xa</show></presence>")
            for each in (ANN, BEN, OWN):
                self.assertEqual(site.seen(each).count("<show>xa</show>"), 1)

    def test_empty(self) -> None:
        """An empty mirror does not exist, and nothing crosses the link."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            site.join(ANN, "ann")
            site.leave(ANN, "ann")
            self.assertEqual(site.mirror.rooms.rooms, {}, dialect)
            self.assertEqual(site.above.rooms.rooms[ABOVE].nodes.joiningNodes, {})
            site.counted()
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>x</body></message>")
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'><show>xa</show></presence>")
            self.assertEqual(site.counted(), (0, 0))

    def test_voice(self) -> None:
        """The mirror refuses a message without voice, which the room would refuse, and shows it to nobody."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].settings.moderated = True
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.counted()
            for who in (ANN, BEN):
                site.seen(who)
            site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' type='groupchat'><body>x</body></message>")
            self.assertEqual((site.counted(), site.seen(BEN)), ((0, 0), ""))
            self.assertIn("<forbidden", site.seen(ANN))

    def test_errors(self) -> None:
        """If the room refuses a message, its sender is told, with the message's id."""
        for dialect in Dialect:
            site = Site(dialect)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].settings.changeSubject = False
            site.join(ANN, "ann")
            site.seen(ANN)
            site.take(
                site.mirror,
                f"<message from='{ANN}' to='{HERE}' type='groupchat' id='m'><subject>x</subject></message>",
            )
            seen = site.seen(ANN)
            self.assertIn("id='m' type='error'", seen)
            self.assertIn("<forbidden", seen)


class FromAboveTests(RoomCase):
    """Decisions of the joined node reach the occupants whom they concern."""

    def setUp(self) -> None:
        self.sites = [Site(dialect, replica) for dialect, replica in WAYS]
        for site in self.sites:
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            for who in (OWN, ANN, BEN):
                site.seen(who)

    def administer(self, site: Site, namespace: str, inside: str) -> None:
        payload = f"<query xmlns='{namespace}'>{inside}</query>"
        site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{payload}</iq>")

    def test_kick(self) -> None:
        """307, with reason and actor, to the kicked occupant and to the others."""
        for site in self.sites:
            self.administer(site, ns.MUC_ADMIN, "<item nick='ann' role='none'><reason>So</reason></item>")
            for who, codes in ((ANN, "<status code='307'/><status code='110'/>"), (BEN, "<status code='307'/>")):
                seen = site.seen(who)
                self.assertIn(f"from='{HERE}/ann' to='{who}' type='unavailable'", seen)
                self.assertIn("<actor nick='own'/><reason>So</reason>", seen)
                self.assertIn(codes, seen)
            self.assertEqual(set(site.mirror.rooms.rooms[HERE].occupants), {"own", "ben"})
            self.assertEqual(set(site.above.rooms.rooms[ABOVE].occupants), {"own", "ben"})

    def test_ban(self) -> None:
        """301; the banned user cannot join again and is told so."""
        for site in self.sites:
            self.administer(site, ns.MUC_ADMIN, "<item nick='ann' affiliation='outcast'/>")
            self.assertIn("<status code='301'/><status code='110'/>", site.seen(ANN))
            site.join(ANN, "ann")
            seen = site.seen(ANN)
            self.assertIn(f"from='{HERE}/ann' to='{ANN}' type='error'", seen)
            self.assertIn("<forbidden", seen)

    def test_role(self) -> None:
        """Changes of roles are sent."""
        for site in self.sites:
            self.administer(site, ns.MUC_ADMIN, "<item nick='ann' role='visitor'/>")
            for who in (ANN, BEN):
                self.assertIn("role='visitor'", site.seen(who))

    def test_destroyed(self) -> None:
        """The mirror is destroyed, too; each occupant is told of the own removal."""
        for site in self.sites:
            destroy = "<destroy jid='heath@chat.example'><password>fair</password><reason>x</reason></destroy>"
            site.counted()
            self.administer(site, ns.MUC_OWNER, destroy)
            # Nothing is answered to the stanzas that end the mirror.
            self.assertEqual(site.counted()[0], 0)
            for who in (ANN, BEN):
                seen = site.seen(who)
                self.assertEqual(seen.count("<presence"), 1)
                self.assertIn(destroy, seen)
            self.assertEqual((site.mirror.rooms.rooms, site.above.rooms.rooms), ({}, {}))

    def test_leftLate(self) -> None:
        """The last confirmation of a destroyed room finds no mirror: nothing is sent, and no line is logged."""
        some = frozenset(("a.example",))
        service = Rooms("mirror.example", Mirroring(allow=frozenset(("*",)), users=some), frozenset())
        left = f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc>"
        [stanza] = stanzas(f"<presence from='{ABOVE}' to='{HERE}'>{left}</presence>")
        self.assertEqual(service.presence(ABOVE, HERE, readPresence(stanza), 0.0), [])

    def test_shutDown(self) -> None:
        """The same if one side ends."""
        for site in self.sites[:2]:
            site.shutDown(site.above)
            self.assertIn("<status code='332'/>", site.seen(ANN))
            self.assertEqual(site.mirror.rooms.rooms, {})
        for site in self.sites[2:]:
            site.shutDown(site.mirror)
            self.assertIn("<status code='332'/><status code='110'/>", site.seen(ANN))
            self.assertEqual(set(site.above.rooms.rooms[ABOVE].occupants), {"own"})


class JoiningTests(RoomCase):
    """Admission and refusal."""

    def setUp(self) -> None:
        self.site = Site()

    def joins(self, room: str, who: str = ANN, nick: str = "ann") -> bytes:
        return self.site.mirror.take(f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")

    def test_nicks(self) -> None:
        """A nick that is in use, here or there, is a conflict; no nick is changed."""
        self.site.join(OWN, "own")
        self.site.join(ANN, "ann")
        self.assertSent(self.joins(HERE, BEN, "ann"), refused("presence", f"{HERE}/ann", BEN, NickInUse, MUC))
        self.assertSent(self.joins(HERE, BEN, "own"), refused("presence", f"{HERE}/own", BEN, NickInUse, MUC))
        sent = self.site.mirror.take(f"<presence from='{ANN}' to='{HERE}/other'/>")
        self.assertSent(sent, refused("presence", f"{HERE}/other", ANN, NickChangeForbidden))

    def test_conflictAbove(self) -> None:
        """A nick that is given to another user there meanwhile is a conflict, too, in each protocol and mode."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            up = site.mirror.take(f"<presence from='{ANN}' to='{HERE}/x'>{MUC}</presence>")
            site.join(OWN, "x")
            site.take(site.above, up)
            seen = site.seen(ANN)
            self.assertIn(f"from='{HERE}/x' to='{ANN}' type='error'", seen)
            self.assertIn("<conflict", seen)
            self.assertEqual(site.mirror.rooms.rooms, {})

    def test_rejected(self) -> None:
        """The reason of a rejection arrives, in each protocol."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].settings.password = "x"
            site.join(ANN, "ann")
            self.assertIn("<not-authorized", site.seen(ANN))
            site.take(
                site.mirror,
                f"<presence from='{ANN}' to='{HERE}/ann'><x xmlns='{ns.MUC}'><password>x</password></x></presence>",
            )
            self.assertIn("code='110'", site.seen(ANN))
            # A password is in an element that only one of the protocols has in each join.
            self.assertIs(site.above.rooms.rooms[ABOVE].nodes.joiningNodes[HERE].dialect, dialect)

    def test_notAPeer(self) -> None:
        """A node that the room does not federate with is refused, and so is its user."""
        for dialect in Dialect:
            site = Site(dialect)
            site.join(OWN, "own")
            site.above.rooms._peers = frozenset(("other.example",))
            site.join(ANN, "ann")
            self.assertIn("<not-allowed", site.seen(ANN))
            self.assertEqual(
                (site.mirror.rooms.rooms, set(site.above.rooms.rooms[ABOVE].nodes.joiningNodes)), ({}, set())
            )

    def test_allowed(self) -> None:
        """Only rooms and users of the listed domains are accepted, and only addresses that stand for a room."""
        service = Service(
            Rooms(
                "mirror.example",
                Mirroring(allow=frozenset(("chat.example",)), users=frozenset(("a.example",))),
                frozenset(),
            )
        )
        self.site.mirror = service
        other = r"coven\40other.example@mirror.example"
        cases = [(other, ANN, NotMirrored), (HERE, "x@b.example/1", NotMirrored)]
        loop = r"coven\40mirror.example@mirror.example"
        cases.append((loop, ANN, NotMirrored))
        nonsense = (
            "plain",
            r"\40chat.example",
            r"a\40",
            r"a\40chat.example\2fx",
            r"A\40chat.example",
            r"a\40\40b",
        )
        cases += [(f"{odd}@mirror.example", ANN, NotAMirror) for odd in nonsense]
        for room, who, why in cases:
            self.assertSent(self.joins(room, who), refused("presence", f"{room}/ann", who, why, MUC))
        self.assertEqual(service.rooms.rooms, {})

    def test_spoken(self) -> None:
        """A user who sends to an empty mirror, or without being an occupant, is told so."""
        text = f"<message from='{BEN}' to='{HERE}' type='groupchat'><body>x</body></message>"
        self.assertSent(self.site.mirror.take(text), refused("message", HERE, BEN, NotInTheRoom))
        self.site.join(ANN, "ann")
        self.assertSent(self.site.mirror.take(text), refused("message", HERE, BEN, NotInTheRoom))

    def test_noAnswer(self) -> None:
        """A join that the room does not answer in time is an error; a later answer has no effect."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            up = site.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
            asked = f"<iq from='{HERE}' to='{ABOVE}' id='room-t-1' type='get'><query xmlns='{ns.DISCO_INFO}'/></iq>"
            self.assertSent(site.mirror.tick(BROADBAND.answer - 1), asked)
            sent = site.mirror.tick(2)
            self.assertIn(refused("presence", f"{HERE}/ann", ANN, NoAnswer, MUC)[:40].encode(), sent)
            site.take(site.above, up)
            site.take(site.above, stanzasUp(sent))
            site.tick(30)
            self.assertEqual(site.mirror.rooms.rooms, {})
            self.assertNotIn("ann", getattr(site.above.rooms.rooms.get(ABOVE), "occupants", {}))

    def test_lost(self) -> None:
        """A delivery error of the joined node ends the wait at once."""
        for condition, why in (("remote-server-not-found", "remote-server-not-found"), ("gone", "gone")):
            self.joins(HERE)
            error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
            sent = self.site.mirror.take(
                f"<presence from='{ABOVE}/ann' to='{HERE}/ann' type='error'>{error}</presence>"
            )
            self.assertIn(f"<{why}".encode(), sent)
            self.assertEqual(self.site.mirror.rooms.rooms, {})

    def test_node(self) -> None:
        """
        If a node cannot be reached, whatever stanza is returned, its occupants stay until it is asked and answers:
        then they stay, or are removed if it does not know them.
        """
        error = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
        other = f"<error type='cancel'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error>"
        for dialect, replica in WAYS:
            for name, recipient in (("message", f"{ABOVE}/own"), ("message", ABOVE), ("presence", f"{ABOVE}/own")):
                site = Site(dialect, replica)
                for who, nick in ((OWN, "own"), (ANN, "ann")):
                    site.join(who, nick)
                site.seen(OWN)
                if name == "message":
                    site.take(site.above, f"<message from='{HERE}' to='{recipient}' type='error'>{other}</message>")
                    self.assertEqual(site.seen(OWN), "")
                [node] = site.above.rooms.rooms[ABOVE].nodes.joiningNodes.values()
                for there in (site.mirror, mirror("mirror.example", dialect, replica)):
                    site.mirror = there
                    site.take(site.above, f"<{name} from='{HERE}' to='{recipient}' type='error'>{error}</{name}>")
                    self.assertEqual((site.seen(OWN), node.doubt is None), ("", False))
                    site.tick(2)
                    self.assertEqual(node.doubt is None, bool(there.rooms.rooms))
                self.assertIn(f"from='{ABOVE}/ann' to='{OWN}' type='unavailable'", site.seen(OWN))
                self.assertEqual(site.above.rooms.rooms[ABOVE].nodes.joiningNodes, {})

    def test_unreachable(self) -> None:
        """
        If the room cannot be reached, the occupants of the mirror stay; if one occupant cannot, only the sender is
        told.
        """
        error = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.seen(ANN)
            private = f"<message from='{ABOVE}/own' to='{HERE}/ann' type='error' id='p'>{error}</message>"
            site.take(site.mirror, private)
            self.assertIn(f"from='{HERE}/own' to='{ANN}' id='p' type='error'", site.seen(ANN))
            site.take(site.mirror, f"<message from='{ABOVE}' to='{HERE}/ann' type='error' id='m'>{error}</message>")
            self.assertIn(f"from='{HERE}' to='{ANN}' id='m' type='error'", site.seen(ANN))
            lost = f"<iq from='{ABOVE}' to='{HERE}' type='error' id='{{}}'>{error}</iq>"
            asked = 0
            for _ in range(120):
                for stanza in stanzas(site.mirror.tick(1)):
                    if stanza.recipient == ABOVE:
                        self.assertEqual(stanza.name, "iq")
                        asked += 1
                        self.assertEqual(site.mirror.take(lost.format(stanza.id)), b"")
            self.assertEqual(asked, 11)
            self.assertEqual(sorted(site.mirror.rooms.rooms[HERE].occupants), ["ann", "ben", "own"])

    def test_forgotten(self) -> None:
        """
        If the room does not know the mirror any longer, the first message comes back, and all occupants join anew;
        they notice nothing.
        """
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.above.rooms.rooms.clear()
            for who in (ANN, BEN):
                site.seen(who)
            speak = f"<message from='{ANN}' to='{HERE}' type='groupchat' id='m'><body>x</body></message>"
            site.take(site.mirror, speak)
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                out = f"<presence from='{HERE}/{nick}' to='{who}' type='unavailable'>"
                seen = site.seen(who)
                self.assertEqual((seen.count("type='error'"), seen.count(out)), (int(who == ANN), 0))
                # The room's own occupant is not there any longer.
                self.assertEqual(seen.count("<presence"), 1 + (seen.count("role='moderator'")), seen)
            for service, room in ((site.mirror, HERE), (site.above, ABOVE)):
                self.assertEqual(set(service.rooms.rooms[room].occupants), {"ann", "ben"})

    def test_thrownOutUnheard(self) -> None:
        """If one occupant alone is unknown there, only that one is removed."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            room = site.above.rooms.rooms[ABOVE]
            room.remove(room.occupants["ann"])
            site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' type='groupchat'><body>x</body></message>")
            self.assertIn("<status code='333'/><status code='110'/>", site.seen(ANN))
            self.assertEqual(set(site.mirror.rooms.rooms[HERE].occupants), {"own", "ben"})

    def test_begunAnew(self) -> None:
        """A restarted mirror gets the full state; its former occupants are removed."""
        for replica in (True, False):
            site = Site(Dialect.XEP_0289, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.mirror = mirror("mirror.example", Dialect.XEP_0289, replica)
            for who in (OWN, ANN):
                site.seen(who)
            site.join(ANN, "ann")
            seen = site.seen(OWN)
            self.assertIn(f"<presence from='{ABOVE}/ben' to='{OWN}' type='unavailable'>", seen)
            self.assertIn(f"<presence from='{ABOVE}/ann' to='{OWN}'>", seen)
            seen = site.seen(ANN)
            self.assertIn(f"<presence from='{HERE}/own' to='{ANN}'>", seen)
            self.assertIn("<subject/>", seen)
            for service in (site.mirror.rooms.rooms[HERE], site.above.rooms.rooms[ABOVE]):
                self.assertEqual(set(service.occupants), {"own", "ann"})

    def test_anotherNick(self) -> None:
        """A former occupant does not stay if the user returns by another nick."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.mirror = mirror("mirror.example", dialect, replica)
            for who in (OWN, ANN):
                site.seen(who)
            site.join(ANN, "anna")
            self.assertIn(f"<presence from='{HERE}/own' to='{ANN}'>", site.seen(ANN))
            for service in (site.mirror.rooms.rooms[HERE], site.above.rooms.rooms[ABOVE]):
                self.assertEqual(set(service.occupants), {"own", "anna"})

    def test_loop(self) -> None:
        """A loop, with one or two other nodes, is refused where it closes."""
        for names in (("a.example", "b.example"), ("a.example", "b.example", "c.example")):
            services = {
                name: mirror(name, peers=" ".join(other for other in names if other != name)) for name in names
            }
            # An operator may point mirrors at each other by addresses that other software maps.
            jids = [f"x@{name}" for name in names]
            for index, name in enumerate(names):
                _mapped(services[name].rooms, jids[index], jids[(index + 1) % len(names)])
            first = services[names[0]]
            sent = first.take(f"<presence from='{ANN}' to='{jids[0]}/ann'>{MUC}</presence>")
            shown = []
            for _ in range(20):
                waiting, sent = stanzas(sent), b""
                for stanza in waiting:
                    there = (stanza.recipient or "").partition("/")[0]
                    text = stanza.readdressed(f" from='{stanza.sender}' to='{stanza.recipient}'".encode())
                    if there in jids:
                        sent += services[names[jids.index(there)]].take(text)
                    else:
                        shown.append(text)
            [error] = shown
            self.assertSent(error, refused("presence", f"{jids[0]}/ann", ANN, Loop, MUC))
            for service in services.values():
                self.assertEqual(service.rooms.rooms, {})


def stanzasUp(sent: bytes) -> bytes:
    """Return the stanzas to the joined node."""
    return b"".join(
        stanza.readdressed(f" from='{stanza.sender}' to='{stanza.recipient}'".encode())
        for stanza in stanzas(sent)
        if (stanza.recipient or "").startswith(ABOVE)
    )


def _mapped(service: Rooms, jid: str, source: str) -> None:
    """Let an address stand for a room in another way than by escapes."""
    plain = service.mirrored
    service.mirrored = lambda each: source if each == jid else plain(each)  # type: ignore[method-assign]  # for a test


class NodeTests(RoomCase):
    """A room's knowledge of a node's occupants."""

    def test_users(self) -> None:
        """They are known by their full JIDs as long as they are there."""
        for way in WAYS:
            site = Site(*way)
            site.join(OWN, "own")
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            [node] = site.above.rooms.federation(ABOVE).joiningNodes.values()  # type: ignore[union-attr]  # there is one
            self.assertEqual({jid: each.nick for jid, each in node.users.items()}, {ANN: "ann", BEN: "ben"})
            site.leave(ANN, "ann")
            self.assertEqual({jid: each.nick for jid, each in node.users.items()}, {BEN: "ben"})
            site.leave(BEN, "ben")
            self.assertEqual((node.users, node.occupants), ({}, {}))

    def test_elsewhere(self) -> None:
        """A user who is in a mirror through another node is told so, and not that nicks cannot be changed."""
        for dialect in Dialect:
            middle = mirror("mirror.example", dialect, peers="low.example")
            above = rooms("chat.example", "mirror.example")
            fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'/>"
            item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
            asked = middle.take(
                f"<presence from='r@low.example/ann' to='{HERE}/ann'>{fmuc}{MUC}{item}</presence>"
            )
            middle.take(above.take(asked))
            sent = middle.take(f"<presence from='{ANN}' to='{HERE}/other'>{MUC}</presence>")
            self.assertSent(sent, refused("presence", f"{HERE}/other", ANN, JoinedElsewhere, MUC))


class RestartTests(RoomCase):
    """The gateway of a mirror is restarted, and the joined node still has the former occupants."""

    def restarted(self, way: tuple[Dialect, bool]) -> Site:
        """Return a site whose mirror has lost its two occupants."""
        site = Site(*way)
        for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
            site.join(who, nick)
        site.mirror = mirror("mirror.example", *way)
        site.seen(OWN)
        return site

    def occupants(self, site: Site) -> list[str]:
        return sorted(site.above.rooms.rooms[ABOVE].occupants)

    def test_message(self) -> None:
        """The mirror returns the next message, so the room removes them (333)."""
        for way in WAYS:
            site = self.restarted(way)
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>x</body></message>")
            self.assertEqual(self.occupants(site), ["own"], way)
            self.assertEqual(site.seen(OWN).count("<status code='333'/>"), 2)

    def test_private(self) -> None:
        """A private message to one of them is returned to its sender."""
        for way in WAYS:
            site = self.restarted(way)
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}/ann' type='chat'><body>x</body></message>")
            self.assertIn("<item-not-found", site.seen(OWN))

    def test_banned(self) -> None:
        """
        The first user who comes back was banned meanwhile. The room sees that the mirror was restarted, and removes
        the other one.
        """
        for dialect, replica in WAYS:
            site = self.restarted((dialect, replica))
            item = "<item jid='ann@a.example' affiliation='outcast'/>"
            query = f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"
            site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{query}</iq>")
            self.assertEqual(self.occupants(site), ["ben", "own"])
            site.join(ANN, "ann")
            self.assertIn("<forbidden", site.seen(ANN))
            self.assertEqual(self.occupants(site), ["own"], replica)
            self.assertEqual(site.mirror.rooms.rooms, {})

    def test_healthy(self) -> None:
        """A mirror that has occupants ignores the question: nothing is sent to them, and nobody is removed."""
        for way in WAYS:
            site = Site(*way)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.above.rooms.rooms[ABOVE].affiliations["eve@a.example"] = "outcast"
            for each in (OWN, ANN, BEN):
                site.seen(each)
            site.join("eve@a.example/1", "eve")
            self.assertIn("<forbidden", site.seen("eve@a.example/1"))
            self.assertEqual(self.occupants(site), ["ann", "ben", "own"])
            self.assertEqual([site.seen(each) for each in (OWN, ANN, BEN)], ["", "", ""])

    def test_probe(self) -> None:
        """The question is one stanza after the rejection, to a mirror that is the gateway's."""
        for replica, probe in (("<replica/>", [f"<fmuc xmlns='{ns.FMUC}'/>"]), ("", [])):
            service = rooms("chat.example", "mirror.example")
            own = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{{}}'/></x>"
            asks = f"<fmuc xmlns='{ns.FMUC}' from='{{}}'>{replica}</fmuc>"
            join = f"<presence from='{HERE}/{{}}' to='{ABOVE}/{{}}'>{asks}"
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                sent = service.take(join.format(nick, nick, who) + MUC + own.format(who) + "</presence>")
                service.rooms.rooms[ABOVE].affiliations["ben@a.example"] = "outcast"
            why = ERRORS[Banned]
            error = f"<error type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/>{{}}</error>"
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>{why.text}</text>"
            reject = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'><reject>{why.text}</reject></fmuc>"
            self.assertSent(
                sent,
                f"<presence from='{ABOVE}' to='{HERE}/ben'>{reject}{error.format(text)}</presence>",
                *(f"<presence from='{ABOVE}' to='{HERE}'>{each}</presence>" for each in probe),
            )
