"""Marks by which a link detects another gateway with its component."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream.instances import OtherInstances
from tests.stream.memory import JID, World


def mark(name: str, number: int = 1) -> bytes:
    """Return a mark as the server delivers it."""
    return OtherInstances(JID, name).mark(number)


class InstancesTests(SynchronousTestCase):
    """A link that looks for other gateways."""

    def setUp(self) -> None:
        self.world = World()
        self.world.link._instances = OtherInstances(JID, "a1")
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "gateway.stream.link.Link" and event["log_level"] != LogLevel.debug:
            self.logged.append(str(event["log_format"]))

    def marks(self, seconds: float) -> int:
        """Let time pass; return the number of marks that are sent meanwhile."""
        before = len(self.world.server.heard())
        self.world.wait(seconds)
        heard = self.world.server.heard()[before:]
        for said in heard:
            number = said[1].pop("id")
            self.assertTrue(number.isdecimal(), number)
            self.assertEqual(
                (said[0], said[1]),
                (
                    f"{{{ns.COMPONENT_ACCEPT}}}iq",
                    {"from": f"{JID}/gateway-instance-a1", "to": JID, "type": "result"},
                ),
            )
        return len(heard)

    def test_alone(self) -> None:
        """
        A mark is sent each second while the link is new, then every 30 s; the link's own marks have no effect.
        """
        self.world.up()
        self.assertIn(self.marks(30.5), (30, 31))
        self.assertIn(self.marks(300), (9, 10, 11))
        self.assertEqual(self.world.say(mark("a1")), [])
        self.world.wait(2)
        self.assertEqual(self.world.link.conflict, "")

    def test_found(self) -> None:
        """
        A mark of another gateway is a conflict, logged once; the link answers it, so that the other detects it as
        soon.
        """
        self.world.up()
        self.world.wait(100)
        self.logged.clear()
        for _ in range(50):
            self.assertEqual(self.world.say(mark("b2")), [])
            self.world.wait(1)
        self.assertIn("another gateway is connected as this component", self.world.link.conflict)
        self.assertEqual(self.logged, ["{component}: {conflict}."])
        self.assertGreaterEqual(self.marks(10), 9)

    def returned(self, *numbers: int) -> None:
        """Deliver own marks, one in each second."""
        for number in numbers:
            self.assertEqual(self.world.say(mark("a1", number)), [])
            self.world.wait(1)

    def test_missing(self) -> None:
        """
        If own marks do not come back, and later ones do, another connection gets them: that of a gateway that is
        halted. When all have come back for a while, that one is gone, and the link connects anew.
        """
        self.world.up()
        self.returned(1, 2, 3)
        self.assertEqual(self.world.link.conflict, "")
        self.returned(5)
        self.assertIn("another gateway is connected as this component", self.world.link.conflict)
        self.returned(6, 7, 9)
        self.assertGreaterEqual(self.marks(3), 2)
        self.returned(*range(10, 18))
        self.assertTrue(self.world.link.conflict)
        self.returned(18, 19)
        self.assertEqual(self.world.link.conflict, "")
        self.assertGreaterEqual(self.world.endpoint.attempts, 2)

    def test_notMissing(self) -> None:
        """
        Marks are not missed that come too early for the server, come late, were dropped here, or are of an earlier
        connection.
        """
        self.world.up()
        self.returned(4, 5, 6, 6, 5)
        self.world.link._instances.notSent()  # type: ignore[union-attr]  # it has one
        self.returned(8, 9)
        self.world.server.lose(ConnectionLost())
        while self.world.endpoint.attempts < 2:
            self.world.wait(1)
        self.world.server.accept()
        self.returned(40, 41)
        self.assertEqual(self.world.link.conflict, "")

    def test_foundLater(self) -> None:
        """A link that is not new answers another's mark at once, so that the other detects it as well."""
        self.world.up()
        self.world.wait(105)
        self.world.say(mark("b2"))
        self.assertIn(self.marks(5), (4, 5, 6))

    def test_gone(self) -> None:
        """
        A minute after its last mark the other gateway is gone; this is logged once. The link connects anew, because
        the server may have ended its grants.
        """
        self.world.up()
        self.world.say(mark("b2"))
        self.world.wait(58)
        self.assertTrue(self.world.link.conflict)
        self.logged.clear()
        self.world.wait(4)
        self.assertIn("the connection is made anew (", self.world.link.trouble)
        self.world.wait(56)
        self.assertEqual(self.world.link.conflict, "")
        self.assertEqual(len(self.logged), 1)
        self.assertIn("no other gateway", self.logged[0])
        self.assertFalse(self.world.link.ready)
        self.assertGreaterEqual(self.world.endpoint.attempts, 2)
        self.world.server.accept()
        self.assertTrue(self.world.link.ready)

    def test_shared(self) -> None:
        """If other gateways are expected they are no conflict, but they get an answer."""
        self.world.link.shared = True
        self.world.up()
        self.world.say(mark("b2"))
        self.assertGreaterEqual(self.marks(30), 29)
        self.assertEqual(self.world.link.conflict, "")

    def test_reconnected(self) -> None:
        """A new connection starts again: the server may have closed the other one."""
        self.world.up()
        self.world.say(mark("b2"))
        self.world.wait(2)
        self.world.server.lose(ConnectionLost())
        while self.world.endpoint.attempts < 2:
            self.world.wait(1)
        self.world.server.accept()
        self.world.wait(2)
        self.assertEqual(self.world.link.conflict, "")

    def test_down(self) -> None:
        """While the link is down no mark waits for it."""
        self.world.endpoint.mode = "refuse"
        self.world.link.startService()
        self.world.wait(20)
        self.assertEqual(len(self.world.link.outbox), 0)

    def test_others(self) -> None:
        """A stanza that only looks like a mark is handled as usual."""
        instances = OtherInstances(JID, "a1")
        found: list[Any] = []
        self.patch(self.world.link._lane, "stanzaReceived", found.append)
        self.world.up()
        self.world.say(mark("b2").replace(b"'result'", b"'get'"))
        self.world.say(mark("b2").replace(JID.encode() + b"/", b"elsewhere.example/"))
        self.world.say(mark("b2").replace(b"gateway-instance-", b"another-"))
        self.assertEqual(len(found), 3)
        self.assertEqual([instances.received(each, 0.0) for each in found], [False] * 3)
        self.assertEqual(self.world.link.conflict, "")
