"""A link whose component is another gateway's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from wokkel.ping import PingHandler

from gateway.stream.lease import Lease
from gateway.stream.outflow import Copies
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer
from tests.stream.memory import stanza

C, USER = "service.example.com", "user@example.com/x"
PING = f"<iq type='get' id='1' from='{USER}' to='{C}'><ping xmlns='urn:xmpp:ping'/></iq>"


class LeaseTests(SynchronousTestCase):
    """L{Lease} and L{Link}."""

    def setUp(self) -> None:
        self.server = MemoryServer(C)
        self.link = self.server.link
        self.link.lease = Lease(100.0, self.over)
        self.calls = 0
        PingHandler().setHandlerParent(self.link)
        self.server.start()

    def over(self) -> None:
        """Stop the link, as the gateway does."""
        self.calls += 1
        self.link.drainFor = 0.0
        self.link.stopService()

    def pass_(self, seconds: float) -> None:
        """Let time pass without timers: the process was halted."""
        self.server.clock.rightNow += seconds

    def test_until(self) -> None:
        """Until its end, a lease changes nothing; a link without one has none that ends."""
        self.assertEqual(len(self.server.ask(PING)), 1)
        self.assertFalse(Lease().isOver(1e12))
        self.assertEqual(self.calls, 0)

    def test_input(self) -> None:
        """Stanzas that come later are not handled; the link is stopped before."""
        self.pass_(200)
        self.assertEqual(self.server.ask(PING + PING), [])
        self.assertEqual((self.calls, self.link.ready), (1, False))
        self.assertTrue(self.server.transport.disconnecting)

    def test_peer(self) -> None:
        """So is a stanza of a direct link."""
        seen: list[Stanza] = []
        self.patch(self.link, "stanzaReceived", seen.append)
        self.link.stanzaFromPeer(stanza(PING.encode()), 99.0)
        self.link.stanzaFromPeer(stanza(PING.encode()), 100.0)
        self.assertEqual((len(seen), self.calls), (1, 1))

    def test_held(self) -> None:
        """And so are a stanza that was held back, and a call that was to be made later."""
        calls: list[int] = []
        self.link.later(1, lambda: calls.append(1))
        self.server.clock.advance(1)
        self.link.later(1, lambda: calls.append(2))
        self.pass_(200)
        self.link.handle(stanza(PING.encode()))
        self.server.clock.advance(1)
        self.assertEqual((self.server.received(), calls), ([], [1]))

    def test_tick(self) -> None:
        """Without input, the next tick finds it out."""
        self.server.clock.advance(200)
        self.assertGreater(self.calls, 0)
        self.assertFalse(self.link.running)

    def test_connect(self) -> None:
        """A link does not connect later."""
        self.server.lose()
        count = self.server.connections
        self.pass_(200)
        self.server.clock.advance(60)
        self.assertEqual(self.server.connections, count)
        self.assertGreater(self.calls, 0)


class SilentTests(SynchronousTestCase):
    """A link after another gateway may have taken its component."""

    def setUp(self) -> None:
        self.server = MemoryServer(C)
        self.link = self.server.link
        self.link.lease = Lease(100.0, lambda: None, silentAt=101.0)
        self.server.start()

    def send(self, seconds: float) -> list[str]:
        """Send by each way, at a time; return the ids that the server receives."""
        self.server.clock.rightNow += seconds - self.server.clock.seconds()
        self.assertTrue(self.link.sendRaw(b"<message id='raw'/>"))
        self.assertTrue(self.link.sendAll(b"<message id='all'/>"))
        self.link.sendSeveral([b"<message id='several'/>"])
        self.assertTrue(self.link.sendCopies(Copies(b"<message id='copies' to='", (USER.encode(),), b"'/>")))
        return [each.get("id", "") for each in self.server.received()]

    def test_silent(self) -> None:
        """Errors are sent for some time after the end of the lease; then nothing is."""
        self.assertEqual(self.send(100.5), ["raw", "all", "several", "copies"])
        self.assertEqual(self.send(101.0), [])
        self.assertEqual(self.link.lost, {})

    def test_traced(self) -> None:
        """Nor is anything sent, or said to be sent, while stanzas are traced."""
        self.link.trace(True)
        self.assertEqual(self.send(101.0), [])

    def test_detour(self) -> None:
        """Nor by a direct link."""
        taken: list[bytes] = []

        class Way:
            """Takes everything."""

            def send(self, data: bytes) -> bool:
                """Take stanzas."""
                taken.append(data)
                return True

        self.patch(self.link, "detour", Way())
        self.send(101.0)
        self.assertEqual(taken, [])

    def test_outbox(self) -> None:
        """Nor are stanzas sent that wait for the connection to settle."""
        self.server.lose()
        self.link.sendRaw(b"<message id='waits'/>")
        self.server.restore()
        self.assertEqual(len(self.link.outbox), 1)
        self.link.lease.silentAt = self.server.clock.seconds()
        self.server.wait(1)
        self.assertEqual(self.server.received(), [])
