"""Random flows through an ordinary service whose stanzas are late, lost, doubled, or wrong now and then."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from gateway import ns
from gateway.fmuc.ordinary.stanzas import isSame
from gateway.muc.occupant import Occupant
from gateway.muc.room import Bounds
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SERVICE, SOURCE, SOUTH, Site, backed
from tests.fmuc.test_backing import ANN, FORM, admin
from tests.fmuc.wire import Wire, WireCase, mirror, read, rooms, told
from tests.profiles import RUNS

# The rooms that users join, and their addresses. Two of them have another client.
USERS = (
    (NORTH, "u0@north-users.example/r"),
    (NORTH, "u1@north-users.example/r"),
    (ROOM, "u2@elsewhere.example/r"),
    (ROOM, "u0@north-users.example/s"),
    (NORTH, "u1@north-users.example/s"),
    (SOUTH, "u3@south-users.example/r"),
)
LOCAL = ("x@local.example/x", "y@local.example/y")
NICKS = ("a", "b", "c&apos;ß")
# Faults of the service; of these, stanzas from the given room to the given puppet.
LATE, TWICE, LOST, NO_CODE, MORE = range(5)
STANZAS = (
    "<presence from='{room}/b' to={to} type='subscribe'/>",
    "<presence from='{room}/z' to={to}/>",
    "<presence from='{room}/z' to={to} type='unavailable'/>",
    "<presence from='{room}/z' to={to} type='error'/>",
    f"<presence from='{SERVICE}' to={{to}}/>",
    f"<presence from='other@{SERVICE}/b' to={{to}}/>",
    f"<message from='{{room}}/z' to={{to}} type='groupchat'><body>z</body><delay xmlns='{ns.DELAY}'/></message>",
    "<message from='{room}' to={to} type='groupchat'><subject/></message>",
    "<iq from='{room}' to={to} type='result' id='z'/>",
    *(
        f"<{name} from='{{room}}' to={{to}} type='error'><error type='cancel'>"
        f"<{condition} xmlns='{ns.STANZA_ERRORS}'/></error></{name}>"
        for name in ("presence", "message")
        for condition in ("conflict", "item-not-found", "not-acceptable", "remote-server-timeout")
    ),
)
GONE = f"<error type='cancel'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"


class OddWire(Wire):
    """
    An ordinary service.

    @ivar isOdd: False for one that works as it should.
    @ivar hasRefused: True if it has refused a presence that it may have admitted.
    """

    def __init__(self, random: Random) -> None:
        super().__init__(rooms(SERVICE, bounds=Bounds(locked=300.0)).rooms)
        self.isOdd = self.hasRefused = False
        self._random = random
        self._late: list[bytes] = []

    def settled(self, xml: str | bytes = b"") -> bytes:
        return self._changed(super().settled(xml))

    def tickBytes(self, seconds: float) -> bytes:
        return self._changed(super().tickBytes(seconds))

    def _changed(self, sent: bytes) -> bytes:
        waiting, self._late = self._late, []
        found = []
        for each in read(sent):
            data = ElementTree.tostring(each)
            isForPuppet = f"@{COMPONENT}/" in each.get("to", "")
            fault = self._random.randrange(40) if self.isOdd and isForPuppet else None
            if fault == LATE or (self._late and isForPuppet):
                self._late.append(data)
            elif fault == TWICE:
                found += [data, data]
            elif fault == NO_CODE:
                found.append(data.replace(b'code="110"', b'code="999"'))
            elif fault == MORE:
                more = self._random.choice(STANZAS).format(room=SOURCE, to=quoteattr(each.get("to", "")))
                self.hasRefused |= "<presence" in more and "<error" in more
                found += [data, more.encode()]
            elif fault != LOST:
                found.append(data)
        return b"".join([*waiting, *found])


class RandomTests(WireCase):
    """After all faults, and a new connection, everything is as in the ordinary room."""

    def test_random(self) -> None:
        """Some random flows."""
        for number in range(8 * RUNS):
            with self.subTest(number=number):
                self.play(number, isLossy=bool(number % 2))

    def play(self, number: int, isLossy: bool) -> None:
        """
        Each request has one answer, nothing fails, and all are shown the same; no puppet stays for nothing.

        @param isLossy: True if the component loses its connection now and then.
        """
        self.random, self.isLossy = Random(number), isLossy
        self.service = OddWire(self.random)
        self.isStored = bool(self.random.randrange(2))
        keeps = {"north": 60, "south": 0}
        mirrors = [mirror(f"{name}.example", isStored=self.isStored, keep=keep) for name, keep in keeps.items()]
        self.site = Site(self.service, backed(isStored=self.isStored), *mirrors)
        for wire in self.site.wires.values():
            wire.link.ready = True
        self.site.join(SOURCE, "ann", ANN)
        self.site.ask(SOURCE, ANN, FORM, "set")
        self.service.isOdd = True
        self.nicks: dict[str, str] = {}
        # Number of open requests; of an earlier process, nobody knows them.
        self.open: int | None = 0
        for _ in range(50):
            self.count(self.step())
        self.service.isOdd = False
        self.count(self.site.tick(1))
        self.count(self.site.connect(COMPONENT))
        for seconds in (10,) * 60 + (1,) * 15:
            self.count(self.site.tick(seconds))
        self.assertIn(self.open, (0, None))
        if self.open is None or self.service.hasRefused:
            # Occupants of an earlier process, and those who were refused, leave when they are heard of.
            self.site.say(SOURCE, ANN, "talk")
        self.assertEqual(self.flushLoggedErrors(), [])
        self.checkRooms()
        self.checkTalk()

    def step(self) -> list[str]:
        """Let somebody do something; now and then, somebody changes the presence before."""
        shown = [] if self.random.randrange(4) else self.change(*self.random.choice(USERS))
        return shown + self.act()

    def change(self, room: str, user: str) -> list[str]:
        """Let a user, who need not be in, change the presence."""
        nick = self.nicks.get(user, "a")
        status = f"<status>{self.random.randrange(1_000)}</status>"
        return self.site.send(f"<presence from='{user}' to='{room}/{nick}'>{status}</presence>")

    def act(self) -> list[str]:
        """Let somebody do something, or the component lose its connection."""
        if self.isLossy and not self.site.waiting and not self.random.randrange(12):
            return self.lose()
        step, nick = self.random.randrange(13), self.random.choice(NICKS)
        room, user = self.random.choice(USERS)
        known = self.nicks.get(user, nick)
        if step < 3:
            self.nicks[user] = known
            return self.site.join(room, known, user)
        if step in (3, 11):
            self.nicks.pop(user, None)
            return self.site.leave(room, known, user)
        if step == 4:
            return self.site.say(room, user, "talk")
        if step == 5:
            return self.site.say(SOURCE, ANN, "talk")
        if step == 6:
            return self.ask(f"{room}/{self.random.choice((nick, 'ann'))}", user)
        if step == 7:
            return self.ask(f"{SOURCE}/{nick}", ANN)
        if step == 8:
            self.asked()
            return self.site.ask(SOURCE, ANN, admin(nick), "set")
        if step in (9, 12):
            local = self.random.choice(LOCAL)
            act = self.site.join if self.random.randrange(2) else self.site.leave
            return act(SOURCE, nick, local)
        return self.site.tick(self.random.choice((1, 2, 5, 12)))

    def lose(self) -> list[str]:
        """
        Take the connection of the component away for a while. What it sends meanwhile may be lost, too; so may its
        process, and some of its occupants, because the server returns what they are sent.
        """
        self.site.disconnect(COMPONENT)
        shown = self.site.tick(self.random.choice((1, 5, 12)))
        for _ in range(self.random.randrange(3)):
            shown += self.step()
        for occupant in list(self.service.room(SOURCE).occupants.values()):
            if COMPONENT in occupant.realJid and not self.random.randrange(4):
                puppet = quoteattr(occupant.realJid)
                shown += self.site.send(f"<message from={puppet} to='{SOURCE}' type='error'>{GONE}</message>")
        if self.random.randrange(2):
            # Users get the answers that the server itself gives them.
            lost, self.site.waiting[COMPONENT] = told(self.site.waiting[COMPONENT]), b""
            shown += [each for each in lost if each.startswith("iq ") and " > u" in each]
        if self.isStored and not self.random.randrange(3):
            self.open = None
            return shown + self.site.restart()
        return shown + self.site.connect(COMPONENT)

    def ask(self, address: str, user: str) -> list[str]:
        """Send a request. The server itself answers those to a component that is away."""
        if not any(f"@{domain}/" in address for domain in self.site.away):
            self.asked()
        return self.site.ask(address, user, f"<ping xmlns='{ns.PING}'/>")

    def count(self, shown: list[str]) -> None:
        """Count the answers to requests."""
        iqs = [each for each in shown if each.startswith("iq ")]
        self.asked(-len([each for each in iqs if " result" in each or " error" in each]))

    def asked(self, number: int = 1) -> None:
        """Count requests."""
        self.open = None if self.open is None else self.open + number

    def checkRooms(self) -> None:
        """Compare the occupants of the ordinary room, the room here, and the mirrors."""
        puppets = {
            each.nick: COMPONENT in each.realJid for each in self.service.room(SOURCE).occupants.values()
        }
        wire = self.site.wires[COMPONENT]
        assert wire.backing is not None
        federation = wire.rooms.federation(ROOM)
        if federation is None:
            self.assertEqual(wire.backing.count, 0)
            self.assertNotIn(True, puppets.values())
            return
        here = federation.room.occupants.values()
        self.assertEqual({each.nick: federation.isDownstream(each) for each in here}, puppets)
        self.assertEqual(wire.backing.count, list(puppets.values()).count(True))
        self.checkPresence(federation.room.occupants)
        for domain, room in (("north.example", NORTH), ("south.example", SOUTH)):
            found = self.site.wires[domain].rooms.rooms.get(room)
            if found is not None:
                self.assertEqual(set(found.occupants), set(puppets))
                self.checkPresence(found.occupants)

    def checkPresence(self, occupants: Mapping[str, Occupant]) -> None:
        """Compare the presence that users have sent with that in the ordinary room."""
        there = self.service.room(SOURCE).occupants
        for nick, occupant in occupants.items():
            if occupant.localJids:
                self.assertTrue(isSame(occupant.payload, there[nick].payload), nick)

    def checkTalk(self) -> None:
        """A message of the ordinary room is shown once to each occupant."""
        shown = [each for each in self.site.say(SOURCE, ANN, "end") if each.endswith(" body=end")]
        heard = [each.removesuffix(" body=end").partition(" > ")[2] for each in shown]
        everybody = {
            jid
            for wire in self.site.wires.values()
            for room in wire.rooms.rooms.values()
            for occupant in room.occupants.values()
            for jid in occupant.localJids
            if COMPONENT not in jid
        }
        self.assertCountEqual(heard, everybody)
