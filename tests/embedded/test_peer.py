"""Unauthenticated connections and slow readers, and their effects on others."""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from gateway.embedded.peer import PeerConnection, PeerFactory
from tests.embedded.support import COMPONENT, DOMAIN, PASSWORDS, Client, Component, Host

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
KILOBYTE = 1_024


class PeerCase(SynchronousTestCase):
    """A host with alice and bob."""

    def setUp(self) -> None:
        self.host = Host()
        self.alice = self.host.online("alice/r")
        self.bob = self.host.online("bob/r")

    def stall(self, wire: Client | Component) -> None:
        """Simulate a full buffer of the transport."""
        wire.producer.pauseProducing()

    def flow(self, wire: Client | Component) -> None:
        """Simulate an empty buffer."""
        wire.producer.resumeProducing()

    def write(self, sender: Client | Component, to: str, size: int = 0, sender_: str = "") -> None:
        """Send a message of about this size."""
        given = f" from='{sender_}'" if sender_ else ""
        message = f"<message{given} to='{to}'><body>{'x' * size}</body></message>"
        sender.protocol.dataReceived(message.encode())


class UnauthenticatedTests(SynchronousTestCase):
    """Connections that are not authenticated."""

    def setUp(self) -> None:
        self.host = Host()
        self.factory = PeerFactory(self.host.client)

    def arrive(self) -> Client:
        return Client(self.host.clock, self.factory.buildProtocol(None))

    def test_deadline(self) -> None:
        """The time for the login is half a minute, whatever is sent; then the stream ends."""
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
        """A client that has logged in has no further deadline."""
        client = self.arrive()
        self.host.clock.advance(29)
        client.logIn("alice", PASSWORDS["alice"])
        self.host.clock.advance(10_000)
        self.assertFalse(client.disconnecting)
        self.assertEqual(self.host.clock.getDelayedCalls(), [])

    def test_tlsHandshake(self) -> None:
        """An unfinished TLS handshake has the same deadline."""
        client = self.arrive()
        client.header()
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.host.clock.advance(31)
        self.assertTrue(client.lost)

    def test_bound(self) -> None:
        """At a hundred unauthenticated connections each new one closes the oldest; their memory is limited."""
        clients = [self.arrive() for _ in range(100)]
        self.assertFalse(any(client.disconnecting for client in clients))
        for number in range(1_000):
            late = self.arrive()
            clients.append(late)
            self.assertEqual(clients[number].taken(), ["error resource-constraint"])
            self.host.clock.advance(0)
            self.assertTrue(clients[number].lost)
        self.assertEqual(sum(not client.lost for client in clients), 100)
        self.assertLessEqual(len(self.factory._unauthenticated), 100)

    def test_inside(self) -> None:
        """Connections that are logged in or closed do not count."""
        first = self.arrive()
        first.logIn("alice", PASSWORDS["alice"])
        gone = self.arrive()
        gone.lose(ConnectionError())
        clients = [self.arrive() for _ in range(100)]
        self.assertFalse(any(client.disconnecting for client in (first, *clients)))
        self.arrive()
        self.assertEqual([client.disconnecting for client in (first, *clients[:2])], [False, True, False])

    def test_components(self) -> None:
        """Components have a port of their own, with the same deadline."""
        component = Component(self.host.clock, PeerFactory(self.host.componentConnection).buildProtocol(None))
        component.header()
        self.host.clock.advance(30)
        self.assertEqual(component.taken(), ["error connection-timeout"])

    def test_closing(self) -> None:
        """A connection that does not close in time is aborted."""
        client = self.arrive()
        client.header()
        self.patch(client, "loseConnection", lambda: None)
        client.send("<message/>")
        self.host.clock.advance(1.9)
        self.assertFalse(client.aborted)
        self.host.clock.advance(0.2)
        self.assertTrue(client.aborted)


class SlowReaderTests(PeerCase):
    """Peers that do not read."""

    def test_held(self) -> None:
        """A client that sends to a slow reader is not read from until the reader has caught up; others are."""
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
        """A client that is held by two slow readers stays held until both have caught up; the order is kept."""
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
        """A client that is itself slow, and held, is read from again when neither is the case."""
        self.stall(self.alice)
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.flow(self.alice)
        self.assertEqual(self.alice.producerState, "paused")
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "producing")

    def test_heldAndFull(self) -> None:
        """So is one that was not read from because too much output waited for it."""
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
        """Waiting stanzas of a client that is lost are not handled any longer."""
        self.stall(self.bob)
        self.alice.send(f"<message to='{BOB}/r'/><message to='carol@{DOMAIN}'/>")
        self.alice.lose(ConnectionError())
        self.flow(self.bob)
        self.host.clock.advance(0)
        self.assertEqual((len(self.bob.taken()), self.host.clock.getDelayedCalls()), (1, []))

    def test_oneself(self) -> None:
        """A client that sends to itself, and reads slowly, does not wait for ever."""
        self.stall(self.alice)
        self.write(self.alice, f"{ALICE}/r")
        self.assertEqual(self.alice.producerState, "producing")
        self.flow(self.alice)
        self.assertEqual(len(self.alice.taken()), 1)

    def test_eachOther(self) -> None:
        """Two clients that wait for each other go on when either has read."""
        self.stall(self.alice)
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.write(self.bob, f"{ALICE}/r")
        self.flow(self.alice)
        self.flow(self.bob)
        self.assertEqual((self.alice.producerState, self.bob.producerState), ("producing", "producing"))

    def test_givenUp(self) -> None:
        """After a minute the slow reader is disconnected, becomes unavailable, and held clients go on."""
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
        """A slow reader that has caught up once has another minute."""
        for _ in range(5):
            self.stall(self.bob)
            self.host.clock.advance(50)
            self.flow(self.bob)
        self.host.clock.advance(100)
        self.assertFalse(self.bob.aborted)

    def test_lostWhileHeld(self) -> None:
        """A held client that is lost is not resumed when the slow reader has caught up."""
        self.stall(self.bob)
        self.write(self.alice, f"{BOB}/r")
        self.alice.lose(ConnectionError())
        self.flow(self.bob)
        self.assertEqual(self.alice.producerState, "paused")

    def test_manySenders(self) -> None:
        """Any number of clients that send to a slow reader are held, each after its current stanzas."""
        self.stall(self.bob)
        senders = [self.host.online(f"carol/{number}") for number in range(30)]
        for sender in senders:
            self.write(sender, f"{BOB}/r", 10 * KILOBYTE)
        self.assertEqual({sender.producerState for sender in senders}, {"paused"})
        self.assertFalse(self.bob.aborted)
        self.flow(self.bob)
        self.assertEqual({sender.producerState for sender in senders}, {"producing"})

    def test_componentFloods(self) -> None:
        """A component is never held; the slow reader is not read from at 4 MiB, disconnected at 16 MiB."""
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
        """A slow reader is read from again once it has caught up."""
        component = self.host.component()
        self.stall(self.bob)
        for _ in range(20):
            self.write(component, f"{BOB}/r", 240 * KILOBYTE, COMPONENT)
        self.assertEqual(self.bob.producerState, "paused")
        self.flow(self.bob)
        self.assertEqual(self.bob.producerState, "producing")

    def test_slowComponent(self) -> None:
        """A client waits for a slow component as well, which is disconnected like a client."""
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
        """Presence to many is not held by one slow recipient, and the waiting output is limited."""
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
    """The end of the host's streams."""

    def test_error(self) -> None:
        """A stream error is sent in an open stream, before or after the first header, once."""
        unnamed = self.host.connected()
        for wire in (unnamed, self.alice):
            cast(PeerConnection, wire.protocol).refuse("system-shutdown", "bye")
            self.assertEqual(wire.taken(), ["error system-shutdown"])
            cast(PeerConnection, wire.protocol).refuse("conflict")
            self.assertEqual(wire.taken(), [])
        self.assertEqual(unnamed.value().count(b"<stream:stream "), 1)

    def test_inOrder(self) -> None:
        """Output before the error is sent first."""
        heard = self.alice.send(f"<message to='{ALICE}/r' id='1'/><message></x>")
        self.assertEqual(heard, [f"message 1 {ALICE}/r > {ALICE}/r", "error not-well-formed"])

    def test_after(self) -> None:
        """After its end nothing is written to a stream, and nothing is read from it."""
        self.alice.send("</stream:stream>")
        heard = self.bob.send(f"<message to='{ALICE}/r' id='1'/>")
        self.alice.send(f"<message to='{BOB}/r' id='2'/>")
        self.assertEqual(self.alice.taken() + self.bob.taken(), [])
        self.assertEqual(heard, [f"message error 1 {ALICE}/r > {BOB}/r service-unavailable"])
