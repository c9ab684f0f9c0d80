"""Requests that come before the target's presence wait a round trip, in order, and each has one answer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.proxy.waiting import MAX_PLACES, MAX_SECONDS, WaitingRoom
from gateway.testing import canonical
from tests.proxy.support import stanza
from tests.proxy.test_handler import NOBODY_ONLINE, PROBE, STOPPING, SUBSCRIBE, C, HandlerCase, T, U, error

GET = f"<iq type='get' id='%s' to='{C}' from='{U}'/>"
ONLINE = f"<presence from='{T}/a' to='{C}'/>"


class WaitingTests(HandlerCase):
    """A proxy with a connected link; the target's server has sent no presence yet."""

    def setUp(self) -> None:
        self.make(forward=frozenset(("iq", "message", "presence")))
        self.server.start()
        self.assertSent(PROBE, SUBSCRIBE)

    def test_answered(self) -> None:
        """With the first presence of a resource all waiting requests go to it, in order, before any other."""
        said = (
            GET % 1,
            f"<message to='{C}' from='{U}'><body>b</body></message>",
            f"<presence to='{C}' from='{U}'/>",
            f"<presence to='{C}' from='{U}' type='unavailable'/>",
            GET % 1,
        )
        self.server.send("".join(said))
        self.assertSent()
        self.assertEqual(self.handler.pending, 4 + 1)
        self.server.send(ONLINE + GET % 2)
        there = f"to='{T}/a' from='{self.alias()}'"
        self.assertSent(*(each.replace(f"to='{C}' from='{U}'", there) for each in (*said, GET % 2)))
        self.assertEqual(self.handler.pending, 3)

    def test_late(self) -> None:
        """Without presence each gets an error after some seconds; later ones at once."""
        self.server.send(GET % 1 + f"<message to='{C}' from='{U}'/>")
        self.server.clock.pump([0.5] * int(2 * MAX_SECONDS - 1))
        self.assertNotIn("error", " ".join(self.server.taken()))
        self.server.clock.pump([0.5] * 3)
        found = [each for each in self.server.taken() if "error" in each]
        self.assertEqual(
            found, canonical(error("iq", C, U, NOBODY_ONLINE) + error("message", C, U, NOBODY_ONLINE, ""))
        )
        self.server.send(GET % 2)
        self.assertSent(error("iq", C, U, NOBODY_ONLINE, "2"))

    def test_said(self) -> None:
        """An answer that there is no resource, or no subscription, ends the wait at once."""
        for kind in ("unavailable", "unsubscribed", "error"):
            self.setUp()
            self.server.send(GET % 1)
            self.assertSent()
            self.server.send(f"<presence from='{T}' to='{C}' type='{kind}'/>")
            self.assertSent(error("iq", C, U, NOBODY_ONLINE))

    def test_notYetSaid(self) -> None:
        """Other presence does not end the wait: it says nothing of other resources."""
        self.server.send(GET % 1)
        self.server.send(f"<presence from='{T}/old' to='{C}' type='unavailable'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.assertSent()
        self.server.send(ONLINE)
        self.assertSent(f"<iq type='get' id='1' to='{T}/a' from='{self.alias()}'/>")

    def test_refused(self) -> None:
        """Only requests without a resource wait; errors are never answered."""
        self.server.send(f"<iq type='get' to='{C}' from='{U}'/><message to='{C}' from='{U}' type='groupchat'/>")
        self.assertEqual(len(self.server.taken()), 2)
        self.server.send(f"<message to='{C}' from='{U}' type='error'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='unavailable'/>")
        self.assertSent()

    def test_lost(self) -> None:
        """If the connection is lost, waiting requests get their error after the reconnection."""
        self.server.send(GET % 1)
        self.server.lose()
        self.assertEqual(self.handler.pending, 0)
        self.server.clock.advance(2.0)
        self.server.accept()
        # Output that waited for the link is sent shortly after it is up.
        self.server.clock.advance(0.2)
        self.assertSent(error("iq", C, U, NOBODY_ONLINE), PROBE, SUBSCRIBE)

    def test_stopping(self) -> None:
        """The same if the gateway stops."""
        self.server.send(GET % 1)
        stopped = self.server.stop()
        self.assertIn(canonical(error("iq", C, U, STOPPING))[0], self.server.taken())
        self.successResultOf(stopped)

    def test_timeout(self) -> None:
        """No request waits for longer than the operator's timeout."""
        self.make(timeout=1.0)
        self.server.start()
        self.server.send(GET % 1)
        self.server.clock.advance(1.0)
        self.assertIn(canonical(error("iq", C, U, NOBODY_ONLINE))[0], self.server.taken())

    def test_bound(self) -> None:
        """One user has a part of the places; further requests get their error at once, and all are answered."""
        for number in range(MAX_PLACES):
            self.server.send(GET % number)
        refused = len(self.server.taken())
        self.assertEqual(refused, MAX_PLACES - MAX_PLACES // 5)
        other = "other@else.example/r"
        self.server.send((GET % "x").replace(U, other))
        self.assertSent()
        self.server.send(f"<presence from='{T}' to='{C}' type='unavailable'/>")
        self.assertEqual(len(self.server.taken()), MAX_PLACES // 5 + 1)


class RoomTests(SynchronousTestCase):
    """The queue without a link."""

    def test_size(self) -> None:
        """A large stanza takes several places; all places are free again after the wait."""
        room = WaitingRoom()
        room.open(0.0)
        large = stanza(f"<iq from='{U}'><x>{'x' * 100_000}</x></iq>")
        for _ in range(2):
            held = 0
            while room.hold(large):
                held += 1
            self.assertIn(held, range(10, 25))
            self.assertEqual(len(room.close()), held)
            self.assertFalse(room.hold(large))
            room.open(0.0)
