"""Local users who are gone without a word (XEP-0045 section 16.1.2, "Ghost Users")."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.values import Dialect
from gateway.muc import ghosts
from gateway.muc.room import Bounds
from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas
from tests.fmuc.support import MUC, RoomCase, Service, rooms
from tests.fmuc.test_mirrors import ABOVE, BEN, HERE
from tests.muc.test_local import CRONE, HAG, ROOM, presence, said, status, user

PHONE = "hag66@shakespeare.lit/phone"
SILENCE = 600.0
PING, INFO = f"<ping xmlns='{ns.PING}'/>", f"<query xmlns='{ns.DISCO_INFO}'/>"
GONE = (
    "gone",
    "item-not-found",
    "recipient-unavailable",
    "redirect",
    "remote-server-not-found",
    "remote-server-timeout",
)


class GhostsCase(RoomCase):
    """A room with a crone and a hag who say nothing."""

    def setUp(self) -> None:
        self.service = rooms("chat.shakespeare.lit", "node.example", bounds=Bounds(silence=SILENCE))
        self.service.rooms.ghosts._token = "t"
        self.join(CRONE, "crone")
        self.join(HAG, "hag")
        self.room = self.service.rooms.rooms[ROOM]
        self.assertEqual(self.service.tick(1), b"")

    def join(self, who: str, nick: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'>{MUC}</presence>")

    def say(self, who: str) -> bytes:
        return self.service.take(f"<message from='{who}' to='{ROOM}' type='groupchat'><body>x</body></message>")

    def asked(self, seconds: float = SILENCE) -> dict[str, Stanza]:
        """Advance the clock; return the requests to users, by recipient."""
        return {stanza.recipient or "": stanza for stanza in stanzas(self.service.tick(seconds))}

    def answer(self, request: Stanza, condition: str = "") -> bytes:
        """Answer a request, with an error if there is a condition."""
        kind = "error" if condition else "result"
        error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>" if condition else ""
        return self.service.take(
            f"<iq from='{request.recipient}' to='{request.sender}' type='{kind}' id='{request.id}'>{error}</iq>"
        )


class GhostsTests(GhostsCase):
    """The pings of a room."""

    def test_ping(self) -> None:
        """After the silence each session gets a ping from the room, and not before."""
        self.assertEqual(self.service.tick(SILENCE - 1), b"")
        self.assertSent(
            self.service.tick(1),
            *(
                f"<iq from='{ROOM}' to='{who}' type='get' id='t:{number}'>{PING}</iq>"
                for number, who in enumerate((CRONE, HAG), 1)
            ),
        )
        self.assertEqual(self.service.rooms.pending, 2)

    def test_gone(self) -> None:
        """Each delivery-related error removes the occupant, with 333, as one that cannot be reached."""
        for condition in GONE:
            self.setUp()
            sent = self.answer(self.asked()[HAG], condition)
            self.assertSent(
                sent,
                presence("hag", HAG, user("none", "none", status(333, 110)), "unavailable"),
                presence("hag", CRONE, user("none", "none", status(333), HAG), "unavailable"),
            )
            self.assertEqual(set(self.room.occupants), {"crone"})

    def test_openfire(self) -> None:
        """
        The server answers service-unavailable for an absent session. A client without pings may, too: it is asked
        once more, by disco#info, and only a second such answer removes it.
        """
        sent = self.answer(self.asked()[HAG], "service-unavailable")
        self.assertSent(sent, f"<iq from='{ROOM}' to='{HAG}' type='get' id='t:3'>{INFO}</iq>")
        self.assertIn("hag", self.room.occupants)
        [request] = stanzas(sent)
        self.assertIn(b"code='333'", self.answer(request, "service-unavailable"))
        self.assertNotIn("hag", self.room.occupants)

    def test_noPings(self) -> None:
        """A client that does not know pings, but answers disco#info in any way, stays."""
        for condition in ("", "feature-not-implemented", "forbidden"):
            self.setUp()
            [request] = stanzas(self.answer(self.asked()[HAG], "service-unavailable"))
            self.assertEqual(self.answer(request, condition), b"")
            self.assertEqual(set(self.room.occupants), {"crone", "hag"})

    def test_stays(self) -> None:
        """A result, an error of another kind, one that cannot be read, and no answer keep the occupant."""
        for condition in ("", "feature-not-implemented", "internal-server-error", "not-allowed", "x"):
            self.setUp()
            self.assertEqual(self.answer(self.asked()[HAG], condition), b"")
            self.assertIn("hag", self.room.occupants)
        self.asked()
        self.assertEqual(self.service.tick(SILENCE / 2), b"")
        self.assertEqual(self.service.rooms.pending, 0)
        self.assertEqual(set(self.room.occupants), {"crone", "hag"})
        # The next one comes after another silence.
        self.assertEqual(set(self.asked(SILENCE / 2)), {CRONE, HAG})

    def test_late(self) -> None:
        """An answer after the deadline, a second one, and one of somebody else or with another id do nothing."""
        request = self.asked()[HAG]
        error = f"<error type='cancel'><gone xmlns='{ns.STANZA_ERRORS}'/></error>"
        for sender, identifier in ((PHONE, request.id), (CRONE, request.id), (HAG, "t:9"), (HAG, "")):
            self.service.take(f"<iq from='{sender}' to='{ROOM}' type='error' id='{identifier}'>{error}</iq>")
        self.assertEqual(set(self.room.occupants), {"crone", "hag"})
        self.service.tick(61)
        self.assertEqual(self.answer(request, "gone"), b"")
        self.assertEqual(set(self.room.occupants), {"crone", "hag"})

    def test_spoke(self) -> None:
        """A user who sends a message, a presence or a request after the ping is not removed by an error."""
        ping = f"<iq from='{HAG}' to='{ROOM}/hag' type='get' id='p'>{PING}</iq>"
        for spoken in (
            f"<message from='{HAG}' to='{ROOM}' type='groupchat'><body>x</body></message>",
            f"<presence from='{HAG}' to='{ROOM}/hag'><show>away</show></presence>",
            f"<presence from='{HAG}' to='{ROOM}/hag'>{MUC}</presence>",
            ping,
        ):
            self.setUp()
            request = self.asked()[HAG]
            self.service.take(spoken)
            self.assertEqual(self.answer(request, "gone"), b"")
            self.assertIn("hag", self.room.occupants)
            # And gets no ping before another silence.
            self.assertEqual(set(self.asked()), {CRONE})

    def test_rejoined(self) -> None:
        """The error for a session that has left, and has joined again, does not remove the new one."""
        request = self.asked()[HAG]
        self.service.take(f"<presence from='{HAG}' to='{ROOM}/hag' type='unavailable'/>")
        self.join(HAG, "hag")
        self.assertEqual(self.answer(request, "gone"), b"")
        self.assertIn("hag", self.room.occupants)

    def test_left(self) -> None:
        """Sessions that come and go during one silence are not kept; those that stay are known to have spoken."""
        self.say(CRONE)
        for number in range(500):
            who = f"guest@shakespeare.lit/{number}"
            self.join(who, "guest")
            self.service.take(f"<presence from='{who}' to='{ROOM}/guest' type='unavailable'/>")
        self.assertLess(len(self.service.rooms.ghosts._sweeps[ROOM].heard), 120)
        self.assertEqual(set(self.asked()), {HAG})

    def test_nick(self) -> None:
        """
        Section 7.2.8: a user whose link was lost takes the nick over at once from a new session. The old session is
        removed by its ping, and nobody else sees a leave.
        """
        sent = self.join(PHONE, "hag")
        self.assertIn(b"code='110'", sent)
        self.assertNotIn(b"conflict", sent)
        self.service.rooms.ghosts.heard(self.room, PHONE)
        requests = self.asked()
        [request] = stanzas(self.answer(requests[HAG], "service-unavailable"))
        told = self.answer(request, "service-unavailable")
        self.assertSent(
            told,
            presence("hag", HAG, user("none", "none", status(333, 110)), "unavailable"),
            presence("hag", CRONE, user("none", "participant", jid=PHONE)),
            presence("hag", PHONE, user("none", "participant", status(110))),
        )
        self.assertEqual(self.room.occupants["hag"].localJids, (PHONE,))
        body = "<body>x</body>"
        self.assertSent(self.say(CRONE), *(said("crone", each, body) for each in (CRONE, PHONE)))

    def test_paced(self) -> None:
        """Pings are spread: so many each second to one room, and to all rooms together; every user gets one."""
        for number in range(8):
            for index in range(25):
                who = f"u{index}@shakespeare.lit/{number}"
                room = f"r{number}@chat.shakespeare.lit"
                self.service.take(f"<presence from='{who}' to='{room}/u{index}'>{MUC}</presence>")
        self.service.tick(1)
        self.assertEqual(len(self.asked(SILENCE - 1)), 2)
        asked: list[tuple[str, str]] = []
        first = self.service.tick(1)
        seconds = 0
        while first:
            found = [(stanza.sender or "", stanza.recipient or "") for stanza in stanzas(first)]
            self.assertLessEqual(len(found), ghosts.MAX_PINGS)
            for number in range(8):
                room = f"r{number}@chat.shakespeare.lit"
                self.assertLessEqual(sum(sender == room for sender, _ in found), ghosts.MAX_ROOM_PINGS)
            asked += found
            first = self.service.tick(1)
            seconds += 1
        self.assertEqual(len(asked), len(set(asked)))
        self.assertEqual(len(asked), 8 * 25)
        self.assertLessEqual(seconds, 6)

    def test_spokeWhileWaiting(self) -> None:
        """A user who speaks while the ping waits for its turn gets none."""
        for index in range(ghosts.MAX_ROOM_PINGS):
            self.join(f"u{index}@shakespeare.lit/1", f"u{index}")
        self.service.tick(SILENCE)
        *_, last, late = (f"u{index}@shakespeare.lit/1" for index in range(ghosts.MAX_ROOM_PINGS))
        first = set(self.asked(SILENCE))
        self.assertEqual(len(first), ghosts.MAX_ROOM_PINGS)
        self.assertNotIn(late, first)
        self.say(late)
        self.assertEqual(set(self.asked(1)), {last})

    def test_removedRoom(self) -> None:
        """A room that is gone gets no pings, and answers for it do nothing."""
        request = self.asked()[HAG]
        for who, nick in ((CRONE, "crone"), (HAG, "hag")):
            self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}' type='unavailable'/>")
        self.assertEqual(self.answer(request, "gone"), b"")
        self.assertEqual(self.service.tick(2 * SILENCE), b"")
        self.assertEqual(self.service.rooms.ghosts._sweeps, {})

    def test_last(self) -> None:
        """A room whose last occupant was a ghost is removed."""
        requests = self.asked()
        self.answer(requests[CRONE], "gone")
        self.answer(requests[HAG], "gone")
        self.assertEqual(self.service.rooms.rooms, {})

    def test_stop(self) -> None:
        """A service that was stopped waits for nothing."""
        self.asked()
        self.service.shutDown()
        self.assertEqual(self.service.rooms.pending, 0)

    def test_off(self) -> None:
        """Without the option there are no pings."""
        self.service = rooms("chat.shakespeare.lit")
        self.join(CRONE, "crone")
        self.assertEqual(self.service.tick(1) + self.service.tick(1e8), b"")


class OtherNodesTests(GhostsCase):
    """Rooms that have other nodes."""

    def test_nodes(self) -> None:
        """Occupants of other nodes get no pings; their node looks after them."""
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ben@b.example/1'/>"
        self.service.take(f"<presence from='x@node.example' to='{ROOM}/ben'>{fmuc}</presence>")
        self.assertIn("ben", self.room.occupants)
        self.assertEqual(set(self.asked()), {CRONE, HAG})

    def test_mirror(self) -> None:
        """A mirror finds its own ghosts, and tells the joined node that they have left."""
        for dialect in Dialect:
            everything = frozenset(("*",))
            mirroring = Mirroring(dialect=dialect, allow=everything, users=everything)
            self.service = Service(Rooms("mirror.example", mirroring, frozenset(), Bounds(silence=SILENCE)))
            self.service.take(f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
            item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{BEN}'/></x>"
            real = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'/>"
            self.service.take(
                f"<presence from='{ABOVE}/ben' to='{HERE}/ben'>{real}{item}</presence>"
                f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>"
            )
            self.assertEqual(self.service.tick(1), b"")
            request = self.asked()[BEN]
            self.assertEqual(request.sender, HERE)
            sent = list(stanzas(self.answer(request, "recipient-unavailable")))
            left = [each for each in sent if (each.recipient or "").startswith(ABOVE)]
            self.assertEqual([each.type for each in left], ["unavailable"])
