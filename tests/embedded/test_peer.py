"""Strangers at the door, slow readers, and what neither of them costs anybody else."""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from gateway.embedded.peer import Doorway, PeerConnection
from tests.embedded.support import COMPONENT, DOMAIN, PASSWORDS, Client, Component, Host

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
KILOBYTE = 1_024


class PeerCase(SynchronousTestCase):
    """A host, alice and bob on it."""

    def setUp(self) -> None:
        self.host = Host()
        self.alice = self.host.online("alice/r")
        self.bob = self.host.online("bob/r")

    def stall(self, wire: Client | Component) -> None:
        """The transport's buffer is full."""
        wire.producer.pauseProducing()

    def flow(self, wire: Client | Component) -> None:
        """It has been emptied."""
        wire.producer.resumeProducing()

    def write(self, sender: Client | Component, to: str, size: int = 0, sender_: str = "") -> None:
        """Send a message of about this size."""
        given = f" from='{sender_}'" if sender_ else ""
        message = f"<message{given} to='{to}'><body>{'x' * size}</body></message>"
        sender.protocol.dataReceived(message.encode())


class StrangerTests(SynchronousTestCase):
    """Who has not said who they are."""

    def setUp(self) -> None:
        self.host = Host()
        self.doorway = Doorway(self.host.client)

    def arrive(self) -> Client:
        return Client(self.host.clock, self.doorway.buildProtocol(None))

    def test_deadline(self) -> None:
        """Half a minute to log in, whatever is said meanwhile; then the stream ends."""
        silent, slow, half = self.arrive(), self.arrive(), self.arrive()
        slow.header()
        half.secure()
        half.plain("alice", PASSWORDS["alice"])
        half.header()
        for _ in range(29):
            self.host.clock.advance(1)
            slow.send(" ")
        self.assertFalse(silent.disconnecting or slow.disconnecting or half.disconnecting)
        self.host.clock.advance(1.1)
        for client in (silent, slow, half):
            self.assertEqual(client.taken()[-1], "error connection-timeout")
            self.assertTrue(client.value().startswith(b"<?xml version='1.0'?><stream:stream "))
            self.assertTrue(client.lost)

    def test_inTime(self) -> None:
        """Who is in by then has all the time in the world."""
        client = self.arrive()
        self.host.clock.advance(29)
        client.logIn("alice", PASSWORDS["alice"])
        self.host.clock.advance(10_000)
        self.assertFalse(client.disconnecting)
        self.assertEqual(self.host.clock.getDelayedCalls(), [])

    def test_tlsHandshake(self) -> None:
        """A TLS handshake that is never ended has the same deadline."""
        client = self.arrive()
        client.header()
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.host.clock.advance(31)
        self.assertTrue(client.lost)

    def test_bound(self) -> None:
        """A hundred; then the one that came first has to go, each time; the memory that they take is bounded."""
        clients = [self.arrive() for _ in range(100)]
        self.assertFalse(any(client.disconnecting for client in clients))
        for number in range(1_000):
            late = self.arrive()
            clients.append(late)
            self.assertEqual(clients[number].taken(), ["error resource-constraint"])
            self.host.clock.advance(0)
            self.assertTrue(clients[number].lost)
        self.assertEqual(sum(not client.lost for client in clients), 100)
        self.assertLessEqual(len(self.doorway._unauthenticated), 100)

    def test_inside(self) -> None:
        """Who is logged in, or gone, is no stranger any more."""
        first = self.arrive()
        first.logIn("alice", PASSWORDS["alice"])
        gone = self.arrive()
        gone.lose(ConnectionError())
        clients = [self.arrive() for _ in range(100)]
        self.assertFalse(any(client.disconnecting for client in (first, *clients)))
        self.arrive()
        self.assertEqual([client.disconnecting for client in (first, *clients[:2])], [False, True, False])

    def test_components(self) -> None:
        """Components have a door of their own, with the same deadline."""
        component = Component(self.host.clock, Doorway(self.host.componentConnection).buildProtocol(None))
        component.header()
        self.host.clock.advance(30)
        self.assertEqual(component.taken(), ["error connection-timeout"])

    def test_closing(self) -> None:
        """A connection that does not close when it should is cut off."""
        client = self.arrive()
        client.header()
        self.patch(client, "loseConnection", lambda: None)
        client.send("<message/>")
        self.host.clock.advance(1.9)
        self.assertFalse(client.aborted)
        self.host.clock.advance(0.2)
        self.assertTrue(client.aborted)


class SlowReaderTests(PeerCase):
    """Who takes nothing."""

    def test_held(self) -> None:
        """A client that writes to a slow reader is not read from until that has caught up; others are."""
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.assertEqual(self.alice.producerState, "paused")
        carol = self.host.online("carol/r")
        self.write(carol, f"{ALICE}/r")
        self.assertEqual(carol.producerState, "producing")
        self.assertEqual(len(self.alice.taken()), 1)
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "producing")
        self.assertEqual(len(self.bob.taken()), 1)

    def test_heldByTwo(self) -> None:
        """By two it is held by one after the other: what it had said before is not handled earlier, nor lost."""
        carol = self.host.online("carol/r")
        self.stall(self.bob)
        self.stall(carol)
        self.alice.send(f"<message to='{BOB}/r'/><message to='carol@{DOMAIN}/r'/><message to='{BOB}/r'/>")
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "paused")
        self.flow(carol)
        self.host.clock.advance(0)
        self.assertEqual(self.alice.producerState, "producing")
        self.assertEqual((len(self.bob.taken()), len(carol.taken())), (2, 1))

    def test_heldAndSlow(self) -> None:
        """One that is slow itself, and held, is read from again only when it is neither."""
        self.stall(self.alice)
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.flow(self.alice)
        self.assertEqual(self.alice.producerState, "paused")
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "producing")

    def test_heldAndFull(self) -> None:
        """So is one that was read from no more because too much waited for it."""
        component = self.host.component()
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.stall(self.alice)
        for _ in range(20):
            self.write(component, f"{ALICE}/r", 240 * KILOBYTE, COMPONENT)
        self.flow(self.alice)
        self.assertEqual(self.alice.producerState, "paused")
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "producing")

    def test_goneWhileHeld(self) -> None:
        """Stanzas that wait, of a client that is lost, are not handled any more."""
        self.stall(self.bob)
        self.alice.send(f"<message to='{BOB}/r'/><message to='carol@{DOMAIN}'/>")
        self.alice.lose(ConnectionError())
        self.flow(self.bob)
        self.host.clock.advance(0)
        self.assertEqual((len(self.bob.taken()), self.host.clock.getDelayedCalls()), (1, []))

    def test_oneself(self) -> None:
        """Who writes to oneself, slowly, does not wait for ever."""
        self.stall(self.alice)
        self.write(self.alice, f"{ALICE}/r")
        self.assertEqual(self.alice.producerState, "producing")
        self.flow(self.alice)
        self.assertEqual(len(self.alice.taken()), 1)

    def test_eachOther(self) -> None:
        """Two that wait for each other go on when either is read from."""
        self.stall(self.alice)
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.write(self.bob, f"{ALICE}/r")
        self.flow(self.alice)
        self.flow(self.bob)
        self.assertEqual((self.alice.producerState, self.bob.producerState), ("producing", "producing"))

    def test_givenUp(self) -> None:
        """After a minute the slow one is cut off, is gone for the others, and who was held goes on."""
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.host.clock.advance(59)
        self.assertFalse(self.bob.aborted)
        self.host.clock.advance(1)
        self.assertTrue(self.bob.aborted)
        self.host.clock.advance(0)
        self.assertEqual(self.alice.producerState, "producing")
        self.assertEqual(self.host.router.accounts[BOB].sessions, {})
        self.write(self.alice, f"{BOB}/r")
        self.assertEqual(self.alice.taken(), [f"message error {BOB}/r > {ALICE}/r service-unavailable"])

    def test_caughtUp(self) -> None:
        """Who has caught up once has a minute again."""
        for _ in range(5):
            self.stall(self.bob)
            self.host.clock.advance(50)
            self.flow(self.bob)
        self.host.clock.advance(100)
        self.assertFalse(self.bob.aborted)

    def test_lostWhileHeld(self) -> None:
        """A held client that is lost is not woken when the slow one is there again."""
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.alice.lose(ConnectionError())
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "paused")

    def test_manySenders(self) -> None:
        """However many write to a slow reader, each is held after what it had already said."""
        self.stall(self.bob)
        senders = [self.host.online(f"carol/{number}") for number in range(30)]
        for sender in senders:
            self.write(sender, f"{BOB}/r", 10 * KILOBYTE)
        self.assertEqual({sender.producerState for sender in senders}, {"paused"})
        self.assertFalse(self.bob.aborted)
        self.flow(self.bob)
        self.assertEqual({sender.producerState for sender in senders}, {"producing"})

    def test_componentFloods(self) -> None:
        """A component is never held: the slow reader is read from no more at 4 MiB, and cut off at 16."""
        component = self.host.component()
        self.stall(self.bob)
        flood = f"<message from='{COMPONENT}' to='{BOB}/r'><body>{'x' * 240 * KILOBYTE}</body></message>"
        states = []
        while not self.bob.aborted and len(states) < 100:
            component.protocol.dataReceived(flood.encode())
            states.append(self.bob.producerState)
        waited = (len(states) - 1) * 240 * KILOBYTE
        self.assertEqual(component.producerState, "producing")
        self.assertEqual((states[10], states[20]), ("producing", "paused"))
        self.assertTrue(15 << 20 < waited <= (16 << 20) + 260 * KILOBYTE, waited)
        self.host.clock.advance(0)
        self.assertEqual(self.host.router.accounts[BOB].sessions, {})
        self.write(component, f"{ALICE}/r", sender_=COMPONENT)
        self.assertEqual(len(self.alice.taken()), 1)

    def test_readAgain(self) -> None:
        """Who was read from no more is, once it has caught up."""
        component = self.host.component()
        self.stall(self.bob)
        for _ in range(20):
            self.write(component, f"{BOB}/r", 240 * KILOBYTE, COMPONENT)
        self.assertEqual(self.bob.producerState, "paused")
        self.flow(self.bob)
        self.assertEqual(self.bob.producerState, "producing")

    def test_slowComponent(self) -> None:
        """A client waits for a slow component too, and that is given up like anybody."""
        component = self.host.component()
        self.stall(component)
        self.write(self.alice, COMPONENT)
        self.assertEqual(self.alice.producerState, "paused")
        self.host.clock.advance(60)
        self.assertTrue(component.aborted)
        self.host.clock.advance(0)
        self.assertEqual(self.alice.producerState, "producing")
        self.assertIsNone(self.host.router.components[COMPONENT])

    def test_presence(self) -> None:
        """Presence for many is not held up by one of them, and what waits is bounded all the same."""
        for own, contact in ((ALICE, BOB), (BOB, ALICE)):
            item = self.host.router.accounts[own].roster.set(contact, "", ())
            item.to = item.from_ = True
        self.bob.send("<presence/>")
        self.stall(self.bob)
        for _ in range(1_200):
            self.alice.send(f"<presence><status>{'x' * 15 * KILOBYTE}</status></presence>")
        self.assertTrue(self.bob.aborted)
        self.assertFalse(self.alice.disconnecting)


class EndTests(PeerCase):
    """How a stream of ours ends."""

    def test_error(self) -> None:
        """An error stands in a stream, before the first header or after, once."""
        stranger = self.host.stranger()
        for wire in (stranger, self.alice):
            cast(PeerConnection, wire.protocol).refuse("system-shutdown", "bye")
            self.assertEqual(wire.taken(), ["error system-shutdown"])
            cast(PeerConnection, wire.protocol).refuse("conflict")
            self.assertEqual(wire.taken(), [])
        self.assertEqual(stranger.value().count(b"<stream:stream "), 1)

    def test_inOrder(self) -> None:
        """What was written before it still goes out first."""
        heard = self.alice.send(f"<message to='{ALICE}/r' id='1'/><message></x>")
        self.assertEqual(heard, [f"message 1 {ALICE}/r > {ALICE}/r", "error not-well-formed"])

    def test_after(self) -> None:
        """To a stream that has ended nothing more is written, and nothing from it is read."""
        self.alice.send("</stream:stream>")
        heard = self.bob.send(f"<message to='{ALICE}/r' id='1'/>")
        self.alice.send(f"<message to='{BOB}/r' id='2'/>")
        self.assertEqual(self.alice.taken() + self.bob.taken(), [])
        self.assertEqual(heard, [f"message error 1 {ALICE}/r > {BOB}/r service-unavailable"])
