"""Tests for the state that two nodes compare (docs/fmuc-resync.md, sections 4.5 and 6)."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import BadRequest
from gateway.fmuc.core import Rooms
from gateway.fmuc.digest import ALL, MAX_BUCKETS, Buckets, SharedState, shared
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.muc.occupant import Occupant
from gateway.muc.values import JoinRequest, Payload, RoomMessage, Standing

# Bytes of the hash of a bucket in a text.
_EACH = 4


def people(count: int) -> list[tuple[str, str]]:
    """Return the lines of occupants."""
    return [(f"nick {each}", f"nick {each}\0id {each}") for each in range(count)]


def state(lines: list[tuple[str, str]], subject: str = "") -> SharedState:
    """Return a state."""
    return SharedState(lines, subject)


class DigestTests(SynchronousTestCase):
    """Rule 24: digests and buckets."""

    def test_digest(self) -> None:
        """Any difference changes it, and the order does not."""
        known = people(5)
        found = {state(each).digest() for each in (known, known[1:], [*known[1:], ("nick 0", "nick 0\0id 1")], [])}
        found |= {state(known, "subject").digest()}
        found |= {state(each).digest() for each in ([("", "a"), ("", "b")], [("", "ab")])}
        self.assertEqual(len(found), 7)
        self.assertEqual(state(known).digest(), state(known[::-1]).digest())
        self.assertEqual({len(each) for each in found}, {22})

    def test_shared(self) -> None:
        """Section 6: everything of an occupant is in it; the subject; and joins that are not answered."""
        room = Rooms("rooms.example", None, frozenset()).newRoom("lobby@rooms.example")
        ann = Occupant("ann", "ann@a.example/1", Standing("none", "participant"), Payload(), False, id="1")

        def found(*joins: PendingJoin, isWhole: bool = True, isTheirs: bool = True) -> str:
            crossing = (ann.realJid, ann.payload) if isTheirs else None
            return shared(room, [ann], lambda each: crossing, joins, isWhole).digest()

        whole, brief, above = found(), found(isWhole=False), found(isTheirs=False)
        request = JoinRequest(nick="x", realJid="x@y.example/1")
        digests = {whole, found(PendingJoin(request, None, 0.0)), above}
        ann.id = "2"
        self.assertEqual(found(), whole)
        digests.add(found(isTheirs=False))
        ann.payload = Payload(b"<show>away</show>")
        self.assertEqual(found(isWhole=False), brief)
        digests.add(found())
        ann.payload = Payload()
        ann.realJid = "ann@a.example/2"
        digests.add(found())
        for standing in (Standing("member", "participant"), Standing("none", "moderator")):
            ann.standing = standing
            digests.add(found())
        ann.standing = Standing("none", "participant")
        ann.realJid = "ann@a.example/1"
        self.assertEqual(found(), whole)
        room.subject = RoomMessage(nick="ann", kind="groupchat", payload=Payload(b"<subject>s</subject>"))
        digests.add(found())
        self.assertEqual(len(digests), 9)

    def test_difference(self) -> None:
        """Of 100 occupants, a few of which differ, a few more are in the buckets; the others are not."""
        theirs = people(100)
        own = [*theirs[1:50], ("nick 50", "nick 50\0other"), *theirs[51:], ("new", "new")]
        found = state(own).differing(state(theirs).hashes())
        self.assertEqual(found.count, 64)
        self.assertEqual([each in found for each in ("nick 0", "nick 50", "new")], [True] * 3)
        self.assertLess(len([nick for nick, _ in own if nick in found]), 15)
        self.assertFalse(state(own).differing(state(own[::-1]).hashes()).places)
        self.assertEqual(Buckets.read("64", found.text), found)

    def test_bounds(self) -> None:
        """The number of buckets has a limit; nobody, and a single bucket."""
        self.assertEqual(len(state(people(5_000)).hashes()), (MAX_BUCKETS * _EACH * 4 + 8) // 12 * 4)
        for count in (0, 1, 2):
            self.assertEqual(len(state(people(count)).hashes()), 8)
        one = b64encode(b"abcd").decode()
        self.assertEqual(state(people(20)).differing(one), ALL)
        self.assertIn("anybody", ALL)

    def test_bad(self) -> None:
        """Hashes and numbers that are none."""
        hashes = [b64encode(b"x" * length).decode() for length in (1, 3, 5, 12, 4 * 512)]
        for text in ("", "!!!!", "AAA=", "\xe9", *hashes):
            with self.assertRaises(BadRequest):
                state([]).differing(text)
        for count, places in (
            *(("", ""), ("0", ""), ("3", ""), ("512", ""), ("\u0664", ""), ("-4", ""), ("4" * 9, "")),
            *(("4", "4"), ("4", "-1"), ("4", "a"), ("4", "1,2"), ("4", "\u0661"), ("4", "1 " * 600)),
        ):
            with self.assertRaises(BadRequest):
                Buckets.read(count, places)
        self.assertEqual(Buckets.read("4", ""), Buckets(4, frozenset()))
