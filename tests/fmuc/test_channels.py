"""The channels of one component: epochs, ends, and answers that are late."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import NoSuchAddress
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.nodes import JoiningNode
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.stream.stanzas import Stanza
from tests.fmuc.linked import DOWN, HERE, ROOM, TOP
from tests.fmuc.test_linked import LinkedCase
from tests.proxy.support import stanza

# An epoch that the other node has chosen: clocks do not come to it.
_EPOCH = 10**9


class TableTests(SynchronousTestCase):
    """A channel with a joining node."""

    def setUp(self) -> None:
        self.node = JoiningNode(HERE, Dialect.XEP_0289, FederationMode(Mode.PRIMARY))
        self.channels = Channels("t1", lambda now: 1_790_000_000.0, lambda peer, room: True)
        self.channels.begin(ROOM, self.node, _EPOCH, 0.0)

    def test_epochs(self) -> None:
        """Rule 2: the epoch that is accepted or offered is later than that of the known channel."""
        self.node.offer = 5
        self.assertEqual(self.channels.agreed(ROOM, self.node), _EPOCH + 1)
        self.assertEqual(self.channels.offer(ROOM, self.node, 0.0), _EPOCH + 1)

    def test_offeredAgain(self) -> None:
        """The same of a channel that has ended: a node that has lost its state may offer the same epoch again."""
        self.channels.end(ROOM, self.node)
        self.node.offer = _EPOCH
        self.assertEqual(self.channels.agreed(ROOM, self.node), _EPOCH + 1)
        other = JoiningNode(TOP, Dialect.XEP_0289, FederationMode(Mode.PRIMARY), offer=_EPOCH)
        self.assertEqual(self.channels.agreed(ROOM, other), _EPOCH)

    def test_forgotten(self) -> None:
        """The epochs of the last thousand ended channels are known."""
        self.channels.end(ROOM, self.node)
        self.node.offer = _EPOCH
        for number in range(1_000):
            self.assertEqual(self.channels.agreed(ROOM, self.node), _EPOCH + 1)
            self.channels.begin(f"r{number}@other.example", self.node, _EPOCH, 0.0)
            self.channels.end(f"r{number}@other.example", self.node)
        self.assertEqual(self.channels.agreed(ROOM, self.node), _EPOCH)

    def test_late(self) -> None:
        """
        Rule 9: what was numbered in an ended channel is dropped without an error, which might come after the other
        node has begun the next channel. What is numbered in an unknown one has an error.
        """
        self.channels.end(ROOM, self.node)
        for epoch in (_EPOCH - 1, _EPOCH):
            self.assertEqual(list(self.channels.received(self.numbered(epoch), 0.0)), [])
        with self.assertRaises(NoSuchAddress):
            self.channels.received(self.numbered(_EPOCH + 1), 0.0)

    def numbered(self, epoch: int) -> Stanza:
        """The first presence of an epoch."""
        numbers = f"<r xmlns='{ns.CHANNEL}' n='{epoch} 1 0'/>"
        return stanza(f"<presence from='{HERE}/ann' to='{ROOM}/ann'>{numbers}</presence>")

    def test_ended(self) -> None:
        """The commit of a channel that has ended meanwhile changes nothing."""
        [(channel, mark)] = self.channels.take().marks
        self.channels.end(ROOM, self.node)
        self.channels.take()
        self.channels.stored(channel, mark, 1.0)
        self.assertEqual(self.channels.take().marks, [])


class FlowTests(LinkedCase):
    """The time since which stanzas do not wait for a direct link."""

    def test_asked(self) -> None:
        """A channel asks the link of its component, also after a restart."""
        for _ in range(2):
            link = self.link.down.server.link
            self.assertEqual(self.link.channel(DOWN).flowsSince(), -inf)
            self.patch(link, "flowsSince", {TOP: 5.0}.get)
            self.link.down.channels.flowsSince = link.flowsSince
            self.assertEqual(self.link.channel(DOWN).flowsSince(), 5.0)
            self.link.kill(self.link.down)
        self.assertEqual(self.link.down.channels.flowsSince, self.link.down.server.link.flowsSince)


class AnswerTests(LinkedCase):
    """Errors that say nothing about the channel."""

    def test_others(self) -> None:
        """Neither the error of an occupant nor that of a request which is not open ends the channel."""
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        channel = self.link.channel(DOWN)
        self.link.send(DOWN, f"<message type='error' id='p' from='{ROOM}/own' to='{HERE}/ann'>{error}</message>")
        self.link.send(DOWN, f"<iq type='error' id='cm1-999' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.assertIs(self.link.channel(DOWN), channel)
        self.assertIs(channel.state, ChannelState.OPEN)
        self.assertInside("ann", "ben", "own")


del LinkedCase
