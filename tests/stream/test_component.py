"""One component connection: header, handshake, stanzas, end; on a transport in memory."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.stream.checker import StreamFailed
from gateway.stream.component import ComponentProtocol, Refused
from gateway.stream.core import Limits
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from tests.stream.memory import HEADER, JID, SECRET, ServerTransport
from tests.stream.odd import BROKEN


class Owner:
    """Keeps its events; C{onStanza} is called with each stanza."""

    def __init__(self) -> None:
        self.stanzas: list[Stanza] = []
        self.refused: list[StanzaRefused] = []
        self.ending = 0
        self.lost: list[Failure] = []
        self.onStanza: Any = None

    def chunkReceived(self, now: float) -> None:
        pass

    def stanzaReceived(self, stanza: Stanza) -> None:
        self.stanzas.append(stanza)
        if self.onStanza is not None:
            self.onStanza(stanza)

    def stanzaRefused(self, refused: StanzaRefused) -> None:
        self.refused.append(refused)

    def streamEnding(self) -> None:
        self.ending += 1

    def streamLost(self, reason: Failure) -> None:
        self.lost.append(reason)


class ComponentTests(SynchronousTestCase):
    """The protocol on a transport in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.transport = ServerTransport(self.clock)
        self.protocol = ComponentProtocol(self.owner, JID, SECRET, Limits(stanzaSize=5000), self.clock)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def accepted(self) -> None:
        """Accept the handshake as the server; drop the output until then."""
        self.transport.accept()
        self.successResultOf(self.protocol.authenticated)
        self.transport.clear()

    def test_handshake(self) -> None:
        """The header names the component; the proof is SHA-1 of id and secret (XEP-0114 section 3)."""
        self.assertEqual(
            self.transport.value(),
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='{JID}'>".encode(),
        )
        self.transport.clear()
        self.transport.say(HEADER.replace(b"'s1'", "'&lt;\u20ac'".encode()))
        proof = sha1("<\u20acsecret".encode(), usedforsecurity=False).hexdigest()
        self.assertEqual(self.transport.value(), f"<handshake>{proof}</handshake>".encode())
        self.assertNoResult(self.protocol.authenticated)
        self.transport.say(b"<handshake/>")
        self.assertIs(self.successResultOf(self.protocol.authenticated), self.protocol)
        self.assertEqual(self.protocol.streamId, "<\u20ac")

    def test_noId(self) -> None:
        """
        A header without an id, or with an empty one, refuses the connection: no hash of the secret alone is sent.
        """
        for header in (HEADER.replace(b" id='s1'", b""), HEADER.replace(b"'s1'", b"''")):
            for end in (b"", b"</stream:stream>", b"<handshake/>", b"<iq id='1'/>"):
                self.setUp()
                self.transport.clear()
                self.transport.say(header + end)
                self.clock.advance(ComponentProtocol.errorWithin)
                self.clock.advance(ComponentProtocol.closeWithin)
                self.clock.advance(0)
                self.assertEqual(self.transport.value(), b"</stream:stream>", end)
                self.failureResultOf(self.protocol.authenticated, Refused)
                self.assertEqual((self.owner.stanzas, self.clock.getDelayedCalls()), ([], []))

    def test_noIdThenError(self) -> None:
        """If a stream error follows, it is the reason."""
        conflict = f"<stream:error><conflict xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>".encode()
        self.transport.clear()
        self.transport.say(HEADER.replace(b" id='s1'", b"") + conflict)
        self.clock.advance(0)
        self.assertEqual(self.transport.value(), b"</stream:stream>")
        self.assertEqual(self.failureResultOf(self.protocol.authenticated, Refused).value.condition, "conflict")

    def test_sameSegment(self) -> None:
        """Stanzas in the segment of the handshake's answer are for the component; those before it are dropped."""
        self.transport.say(HEADER + b"<iq id='1'/><handshake></handshake><iq id='2'/><handshake/><iq id='3'/>")
        self.assertEqual([stanza.id for stanza in self.owner.stanzas], ["2", "3"])

    def test_deadline(self) -> None:
        """A server that does not accept in time is disconnected."""
        self.transport.say(HEADER)
        self.clock.advance(ComponentProtocol.handshakeWithin)
        self.clock.advance(0)
        reason = self.failureResultOf(self.protocol.authenticated, Refused)
        self.assertIn("in time", str(reason.value))
        self.assertEqual((self.transport.aborted, self.owner.lost, self.clock.getDelayedCalls()), (True, [], []))

    def test_noDeadlineLeft(self) -> None:
        """An accepted stream, and one that is lost, has no deadline."""
        self.accepted()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.transport.lose(ConnectionDone())
        self.assertEqual((len(self.owner.lost), self.clock.getDelayedCalls()), (1, []))

    def test_streamErrors(self) -> None:
        """A server's stream error is the reason, with its condition and text, before and after the handshake."""
        error = (
            f"<stream:error><conflict xmlns='{ns.STREAM_ERRORS}'/><text xmlns='{ns.STREAM_ERRORS}'>Gone &amp; lost"
            "</text></stream:error></stream:stream>"
        ).encode()
        self.transport.say(HEADER + error)
        self.clock.advance(0)
        reason = self.failureResultOf(self.protocol.authenticated, Refused).value
        self.assertEqual((reason.condition, reason.text), ("conflict", "Gone & lost"))
        self.setUp()
        self.accepted()
        self.transport.say(error)
        self.clock.advance(0)
        [lost] = self.owner.lost
        self.assertEqual(str(lost.value), "conflict (Gone & lost)")

    def test_oddStreamErrors(self) -> None:
        """A stream error without a condition, or an unreadable one, ends the stream with a readable reason."""
        for error in (b"<stream:error/>", b"<stream:error>text</stream:error>", b"<stream:error xmlns:x='a b'/>"):
            self.setUp()
            self.accepted()
            self.transport.say(error + b"</stream:stream>")
            self.clock.advance(0)
            self.assertEqual(str(self.owner.lost[0].value), "undefined-condition")

    def test_badInput(self) -> None:
        """
        Each kind of bad input is answered with its stream error, as the last bytes before the stream is closed.
        """
        for wrong, condition in BROKEN.values():
            self.setUp()
            self.accepted()
            self.owner.onStanza = lambda stanza: self.protocol.write(b"<answer/>")
            self.transport.say(b"<iq id='1'/>" + wrong + b"<iq id='2'/>")
            said = self.transport.value()
            head = f"<answer/><stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>".encode()
            self.assertTrue(said.startswith(head), said)
            self.assertTrue(said.endswith(b"</stream:error></stream:stream>"), said)
            self.assertTrue(self.transport.disconnecting)
            self.clock.advance(0)
            self.assertEqual([stanza.id for stanza in self.owner.stanzas], ["1"])
            self.assertIsInstance(self.owner.lost[0].value, StreamFailed)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_batch(self) -> None:
        """The output caused by one segment is one write, in order."""
        self.accepted()
        self.owner.onStanza = lambda stanza: self.protocol.write(f"<a id='{stanza.id}'/>".encode())
        writes: list[bytes] = []
        self.patch(self.transport, "write", writes.append)
        self.transport.say(b"<iq id='1'/><iq id='2'/><iq id='3'/>")
        self.assertEqual(writes, [b"<a id='1'/><a id='2'/><a id='3'/>"])

    def test_closeInChunk(self) -> None:
        """
        A close during a segment flushes the earlier output; the rest of the segment is neither read nor answered.
        """
        self.accepted()

        def answer(stanza: Stanza) -> None:
            self.protocol.write(f"<a id='{stanza.id}'/>".encode())
            if stanza.id == "2":
                self.protocol.close()
                self.protocol.write(b"<late/>")

        self.owner.onStanza = answer
        self.transport.say(b"<iq id='1'/><iq id='2'/><iq id='3'/>")
        self.assertEqual(self.transport.value(), b"<a id='1'/><a id='2'/></stream:stream>")
        self.assertEqual(self.owner.ending, 1)

    def test_closed(self) -> None:
        """After a close nothing is written, and the owner was told before; a second close changes nothing."""
        self.accepted()
        self.owner.onStanza = lambda stanza: self.fail("a stanza after the end")
        self.protocol.close()
        self.protocol.write(b"<late/>")
        self.protocol.close()
        self.transport.say(b"<iq id='1'/>")
        self.assertEqual((self.transport.value(), self.owner.ending), (b"</stream:stream>", 1))
        self.clock.advance(0)
        self.assertEqual((len(self.owner.lost), self.owner.ending), (1, 1))

    def test_closeBeforeAccepted(self) -> None:
        """A handshake that comes after the stream is closed has no effect."""
        self.transport.say(HEADER)
        self.protocol.close()
        self.transport.say(b"<handshake/>")
        self.clock.advance(0)
        self.failureResultOf(self.protocol.authenticated, ConnectionDone)
        self.assertEqual(self.owner.lost, [])

    def test_closeHangs(self) -> None:
        """A connection that does not close is aborted after a while."""
        self.accepted()
        self.patch(self.transport, "loseConnection", lambda: None)
        self.protocol.close()
        self.clock.advance(ComponentProtocol.closeWithin - 0.1)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.transport.aborted)

    def test_streamEnd(self) -> None:
        """The server's end of the stream is answered with the gateway's."""
        self.accepted()
        self.transport.say(b"</stream:stream>")
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"</stream:stream>", True))
