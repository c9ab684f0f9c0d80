"""
Messages to ordinary rooms while connections and processes are lost: whole stanzas. Each message is shown once, or
its sender gets an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from gateway import ns
from gateway.errors import LinkDown
from gateway.fmuc.ordinary.puppets import addressOf
from gateway.muc.room import Bounds
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SERVICE, SOURCE, Site, backed
from tests.fmuc.support import MUC, RoomCase, refused
from tests.fmuc.test_backing import ANN, BOB, FORM
from tests.fmuc.test_backing_stanzas import (
    CAROL,
    CAROLS,
    DAN,
    DANS,
    USER,
    ArchiveCase,
    error,
    leaveOf,
    message,
    own,
    presence,
)
from tests.fmuc.wire import WireCase, mirror, read, rooms, seedJoin

SUBJECT = message(CAROLS, "", "<subject/>")


def said(body: str, user: str = CAROL) -> str:
    """Return a user's message to the room."""
    return f"<message from='{user}' to='{ROOM}' type='groupchat' id='{body}'><body>{body}</body></message>"


def copy(body: str, puppet: str = CAROLS) -> str:
    """Return the puppet's message to the ordinary room."""
    return f"<message from='{puppet}' to='{SOURCE}' type='groupchat' id='{body}'><body>{body}</body></message>"


def echo(body: str, nick: str = "carol", to: str = CAROLS) -> str:
    """Return the ordinary room's copy of a message."""
    return f"<message from='{SOURCE}/{nick}' to='{to}' type='groupchat' id='{body}'><body>{body}</body></message>"


def shown(body: str, nick: str = "carol", to: str = CAROL) -> str:
    """Return the message as a user is shown it."""
    return f"<message from='{ROOM}/{nick}' to='{to}' type='groupchat' id='{body}'><body>{body}</body></message>"


class ReturnTests(ArchiveCase):
    """Carol's puppet has asked the archive after a loss."""

    def test_waits(self) -> None:
        """Messages wait for the end of the archive, and are sent in their order."""
        self.assertSent(self.wire.settled(said("1") + said("2")))
        self.wire.settled(SUBJECT)
        self.assertSent(self.wire.settled(self.fin("k")), copy("1"), copy("2"))
        self.assertSent(self.wire.settled(echo("1") + echo("2")), shown("1"), shown("2"))

    def test_archived(self) -> None:
        """The ids that ejabberd adds to new messages are those of an archive that nobody here sees."""
        self.wire.settled(SUBJECT + self.fin("k"))
        inside = f"<archived xmlns='urn:xmpp:mam:tmp' by='{SOURCE}' id='1'/><body>x</body>"
        expected = f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>x</body></message>"
        self.assertSent(self.wire.settled(message(CAROLS, "ann", inside)), expected)

    def test_leaves(self) -> None:
        """A user who leaves meanwhile: the puppet says everything, and leaves then."""
        self.wire.settled(said("1"))
        leave = f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>"
        self.wire.settled(leave)
        found = self.wire.settled(SUBJECT + self.fin("k"))
        self.assertSent(found, copy("1"), leaveOf(CAROLS, "carol"))


class LossTests(ArchiveCase):
    """Carol has said something, and then the connection was lost."""

    def setUp(self) -> None:
        super().setUp()
        self.wire.settled(SUBJECT + self.fin("k"))
        self.assertSent(self.wire.settled(said("1") + said("2")), copy("1"), copy("2"))
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        [asked] = self.wire.elements(own(CAROLS, "carol"))
        self.query = asked.get("id", "")
        self.wire.settled(SUBJECT)

    def ofCarol(self, body: str) -> str:
        """Return her message as the archive has it."""
        return self.result(body).replace(f"{SOURCE}/ann", f"{SOURCE}/carol")

    def test_archived(self) -> None:
        """The archive has the first message, so the second one is sent again."""
        self.wire.settled(self.ofCarol("1"))
        [delayed, again] = self.wire.elements(self.fin("1"))
        self.assertEqual((delayed.get("to"), delayed.get("id")), (CAROL, "1"))
        self.assertEqual((again.get("to"), again.get("id")), (SOURCE, "2"))
        self.assertSent(self.wire.settled(echo("2")), shown("2"))

    def test_leaves(self) -> None:
        """Her leave, too, waits for what the archive has."""
        self.wire.settled(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
        found = self.wire.settled(self.ofCarol("1") + self.fin("1"))
        self.assertSent(found, copy("2"), leaveOf(CAROLS, "carol"))

    def test_none(self) -> None:
        """Without an archive, nobody knows: the sender gets errors."""
        found = self.wire.settled(f"<iq from='{SOURCE}' to='{CAROLS}' type='error' id='{self.query}'/>")
        errors = [refused("message", ROOM, CAROL, LinkDown, f"id='{body}' ") for body in ("1", "2")]
        self.assertSent(found, *errors)


class OutTests(RoomCase):
    """Two puppets, of which one is not in the ordinary room any longer, without a sign of it."""

    def setUp(self) -> None:
        self.wire = backed(isStored=False)
        self.wire.link.ready = True
        for user, address, nick in ((CAROL, CAROLS, "carol"), (DAN, DANS, "dan")):
            self.wire.settled(f"<presence from='{user}' to='{ROOM}/{nick}' id='j'>{MUC}</presence>")
            self.wire.settled(own(address, nick) + SUBJECT)

    def back(self, body: str, condition: str = "not-acceptable") -> str:
        """Return the error for Dan's message."""
        return f"<message from='{SOURCE}' to='{DANS}' type='error' id='{body}'>{error(condition)}</message>"

    def test_again(self) -> None:
        """The puppet joins once more, and the message is sent again; the sender is told nothing."""
        self.assertSent(self.wire.settled(said("1", DAN)), copy("1", DANS))
        self.assertSent(self.wire.settled(self.back("1")))
        [ping] = read(self.wire.tickBytes(1))
        self.assertEqual((ping.tag.rpartition("}")[2], ping.get("from")), ("iq", DANS))
        inside = f"id='{ping.get('id')}'>{error('not-acceptable')}"
        answer = f"<iq from='{SOURCE}/dan' to='{DANS}' type='error' {inside}</iq>"
        join = f"<x xmlns='{ns.MUC}'><history maxstanzas='0'/></x>"
        self.assertSent(self.wire.settled(answer), f"<presence from='{DANS}' to='{SOURCE}/dan'>{join}</presence>")
        [again] = [each for each in self.wire.elements(own(DANS, "dan")) if each.get("to") == SOURCE]
        self.assertEqual((again.get("from"), again.get("id")), (DANS, "1"))
        self.assertSent(self.wire.settled(echo("1", "dan")), shown("1", "dan", CAROL), shown("1", "dan", DAN))

    def test_disconnected(self) -> None:
        """A direct link brings stanzas while the connection is lost: all of them wait for the joins anew."""
        self.wire.handler.connectionLost(Failure(ConnectionDone()))
        eve = "eve@users.example/e"
        changed = f"<presence from='{DAN}' to='{ROOM}/dan'><show>away</show></presence>"
        join = f"<presence from='{eve}' to='{ROOM}/eve' id='j'>{MUC}</presence>"
        self.assertNotIn(b"conference", self.wire.settled(changed + said("1", DAN) + join))
        self.wire.handler.connectionInitialized()
        sent = [each for each in read(self.wire.settled()) if "conference" in each.get("to", "")]
        # The join of that time is refused.
        found = [(each.get("from"), each.get("type")) for each in sent]
        self.assertEqual(found, [(rf"eve\40users.example@{COMPONENT}/eve", "unavailable"), (CAROLS, None)])

    def test_withdrawn(self) -> None:
        """A user says something, and leaves, while the puppet is joined anew; the user may come again."""
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        [ping] = self.wire.elements(own(CAROLS, "carol") + SUBJECT)
        leave = f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>"
        self.assertNotIn(b"conference", self.wire.settled(said("1", DAN) + leave))
        answer = f"<iq from='{SOURCE}/dan' to='{DANS}' type='error' id='{ping.get('id')}'>"
        self.assertIn(b"<presence", self.wire.settled(f"{answer}{error('not-acceptable')}</iq>"))
        self.assertSent(self.wire.settled(own(DANS, "dan")), copy("1", DANS), leaveOf(DANS, "dan"))
        gone = presence(DANS, "dan", f"<x {USER}><item affiliation='none' role='none'/></x>", "unavailable")
        self.wire.settled(gone)
        self.wire.settled(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        found = [each for each in self.wire.elements(own(DANS, "dan")) if each.get("to") == DAN]
        self.assertIn(f"{ROOM}/dan", [each.get("from") for each in found])

    def test_gone(self) -> None:
        """A user leaves while the room is asked for the puppet: no join anew is sent; the user may come again."""
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        [ping] = self.wire.elements(own(CAROLS, "carol") + SUBJECT)
        leave = f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>"
        self.wire.settled(leave)
        answer = f"<iq from='{SOURCE}/dan' to='{DANS}' type='error' id='{ping.get('id')}'>"
        self.assertSent(self.wire.settled(f"{answer}{error('not-acceptable')}</iq>"))
        self.wire.settled(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        found = [each for each in self.wire.elements(own(DANS, "dan")) if each.get("to") == DAN]
        self.assertIn(f"{ROOM}/dan", [each.get("from") for each in found])

    def test_often(self) -> None:
        """A message that comes back with this error again and again is returned to its sender in the end."""
        self.wire.settled(said("1", DAN))
        for _ in range(2):
            self.assertSent(self.wire.settled(self.back("1")))
            for each in read(self.wire.tickBytes(1)):
                answer = f"<iq from='{SOURCE}/dan' to='{DANS}' type='error' id='{each.get('id')}'>"
                self.wire.settled(f"{answer}{error('not-acceptable')}</iq>")
            self.assertIn(b"<body>1</body>", self.wire.settled(own(DANS, "dan")))
        [found] = [each for each in self.wire.elements(self.back("1")) if each.get("to") == DAN]
        self.assertEqual((found.get("from"), found.get("type")), (ROOM, "error"))

    def test_refused(self) -> None:
        """Other errors are the sender's."""
        self.wire.settled(said("1", DAN))
        [found] = self.wire.elements(self.back("1", "forbidden"))
        self.assertEqual((found.get("to"), found.get("type")), (DAN, "error"))

    def test_flood(self) -> None:
        """
        Of a thousand messages that wait for their copies, one user may take a fifth, and all users whom one node
        names a half: there is always place for others.
        """
        self.assertEqual(self.flood(lambda body: said(body, DAN)), 200)
        self.assertSent(self.wire.settled(said("more")), copy("more"))
        found = 0
        for number in range(12):
            nick, user = f"n{number}", f"bob@domain{number}.example/b"
            self.wire.settled(seedJoin(ROOM, nick, NORTH, user))
            self.wire.settled(own(addressOf(COMPONENT, user, nick), nick))
            found += self.flood(partial(self.ofNode, nick))
        self.assertEqual(found, 400)
        self.assertSent(self.wire.settled(said("still")), copy("still"))

    def ofNode(self, nick: str, body: str) -> str:
        """Return a message of an occupant of a mirror."""
        return said(body, f"{NORTH}/{nick}")

    def flood(self, message: Callable[[str], str]) -> int:
        """Send messages until one is refused; return the number of the others."""
        for number in range(1_000):
            sent = self.wire.settled(message(str(number)))
            if b"<resource-constraint" in sent:
                return number
            self.assertIn(SOURCE.encode(), sent)
        return 1_000

    def test_taken(self) -> None:
        """Another user who takes the nick of a removed occupant does not speak for that one."""
        self.wire.settled(said("1", DAN))
        kick = f"<x {USER}><status code='307'/><status code='110'/></x>"
        self.wire.settled(presence(DANS, "dan", kick, "unavailable") + presence(CAROLS, "dan"))
        self.assertSent(self.wire.settled(echo("2", "dan")), shown("2", "dan"))
        [message] = self.wire.rooms.rooms[ROOM].history
        self.assertEqual(message.realJid, "")

    def test_kicked(self) -> None:
        """A message that the ordinary room has not sent to all when it removes its sender gets an error at once."""
        for number in ("1", "2"):
            self.wire.settled(said(number, DAN))
        self.wire.settled(echo("1", "dan"))
        kick = f"<x {USER}><status code='307'/><status code='110'/></x>"
        found = self.wire.elements(presence(DANS, "dan", kick, "unavailable"))
        errors = [each for each in found if each.get("type") == "error"]
        self.assertEqual([(each.get("to"), each.get("id")) for each in errors], [(DAN, "2")])
        # It is not said again when the user is in again.
        self.wire.settled(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertNotIn(b"<body>2</body>", self.wire.settled(own(DANS, "dan")))
        self.assertEqual(len(self.wire.rooms.rooms[ROOM].history), 1)


class PrimaryTests(WireCase):
    """A mirror in primary mode, whose users have seen what the ordinary room gets later."""

    def opened(self) -> Site:
        """Return a site where Ann is in the ordinary room, and Bob and Carol are in the mirror."""
        site = Site(
            rooms(SERVICE, bounds=Bounds(locked=300.0)),
            backed(isStored=True),
            mirror("north.example", isStored=True, replica=False),
        )
        site.join(SOURCE, "ann", ANN)
        site.ask(SOURCE, ANN, FORM, "set")
        for nick, user in (("bob", BOB), ("carol", CAROL)):
            site.join(NORTH, nick, user)
        return site

    def play(self, isKilled: bool) -> list[str]:
        """
        Bob says something while the ordinary service is away, and leaves. Return what all are shown.

        @param isKilled: True if the process with the rooms is killed meanwhile.
        """
        site = self.opened()
        for number in range(2):
            site.say(SOURCE, ANN, f"before {number}")
        site.away = {SERVICE}
        found = site.connect(COMPONENT)
        found += site.say(NORTH, BOB, "said")
        found += site.leave(NORTH, "bob", BOB)
        site.away = set()
        found += site.restart() if isKilled else site.connect(COMPONENT)
        for _ in range(60):
            found += site.tick(1)
        found += site.say(SOURCE, ANN, "end")
        occupants = site.wires[SERVICE].room(SOURCE).occupants
        self.assertEqual(sorted(occupants), ["ann", "carol"])
        self.refused = [each for *_, each in site.crossed if " error recipient-unavailable" in each]
        heard = [each for each in found if " body=" in each]
        self.assertEqual([each for each in heard if "end" in each], heard[-2:])
        return heard[:-2]

    def test_away(self) -> None:
        """The ordinary room gets the message, and everybody is shown it once; then its sender leaves."""
        self.assertCountEqual(
            self.play(isKilled=False),
            [
                f"message {NORTH}/bob > {BOB} body=said",
                f"message {NORTH}/bob > {CAROL} body=said",
                f"message {SOURCE}/bob > {ANN} body=said",
            ],
        )
        self.assertEqual(self.refused, [])

    def test_late(self) -> None:
        """
        The ordinary room is slow: its copy comes when the user has left, and the puppet awaits no confirmation any
        longer. The mirror has shown the message.
        """
        site = self.opened()
        site.away = {SERVICE}
        found = site.say(NORTH, BOB, "said") + site.leave(NORTH, "bob", BOB)
        for _ in range(30):
            found += site.tick(1)
        site.away = set()
        puppet = addressOf(COMPONENT, BOB, "bob")
        late = site.send(copy("said", puppet))
        self.assertEqual([each for each in late if " body=" in each], [f"message {SOURCE}/bob > {ANN} body=said"])
        heard = [each for each in found if " body=said" in each]
        self.assertCountEqual(heard, [f"message {NORTH}/bob > {who} body=said" for who in (BOB, CAROL)])

    def test_killed(self) -> None:
        """A process that was killed, and an ordinary room without an archive: the sender is sent an error."""
        self.assertCountEqual(
            self.play(isKilled=True),
            [f"message {NORTH}/bob > {BOB} body=said", f"message {NORTH}/bob > {CAROL} body=said"],
        )
        self.assertEqual(self.refused, [f"message {ROOM} > {NORTH}/bob error recipient-unavailable"])

    def test_compared(self) -> None:
        """
        Rule 21: the channel delivers all messages, so the mirror asks for none. Its last one is its own, and has
        another id in the ordinary room, where all of the history would follow.
        """
        site = self.opened()
        site.say(NORTH, BOB, "own")
        for _ in range(5):
            # Until it is acknowledged.
            site.tick(1)
        ask = f"<iq from='{ROOM}' to='{NORTH}' type='get' id='q'><compare xmlns='{ns.CHANNEL}'/></iq>"
        found = read(site.wires["north.example"].settled(ask))
        asked = [part.get("m") for each in found for part in each.iter(f"{{{ns.CHANNEL}}}compare")]
        self.assertEqual(asked, [""])
