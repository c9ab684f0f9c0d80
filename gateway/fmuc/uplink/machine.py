"""The machine of a mirror's uplink: runs the table of L{gateway.fmuc.uplink.states}."""

from __future__ import annotations

from collections.abc import Callable

from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.uplink.inquiry import Inquiry
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.port import Mirror
from gateway.fmuc.uplink.probing import Probing
from gateway.fmuc.uplink.resuming import Resumption
from gateway.fmuc.uplink.states import TRANSITIONS, Event, Output, UplinkState

# States in which the joined node has this one as joined, as far as is known.
JOINED = frozenset((UplinkState.JOINED, UplinkState.RETURNING, UplinkState.LOST))


class Machine:
    """
    The state of one mirror's uplink, and its transitions. L{gateway.fmuc.uplink.leaving.Leaving} adds leaves.

    @ivar pending: joins that wait for the joined node, by nick.
    @ivar deadline: end of the current wait, in seconds of the link's clock.
    @ivar latest: deadline of the whole answer to a first join.
    @ivar probeAt: seconds of the link's clock at which a joined node that is silent is asked.
    @ivar resumption: what is remembered for a return after a loss of stanzas.
    @ivar probing: questions to a joined node that cannot resume.
    @ivar inquiry: questions to a joined node about the room itself.
    @param token: part of the ids of requests, by which answers to an earlier process are recognised.
    @param observe: is called with the seconds that a first join took; C{None} if nobody needs them.
    """

    def __init__(
        self, mirror: Mirror, node: JoinedNode, token: str, observe: Callable[[float], object] | None = None
    ) -> None:
        self._mirror = mirror
        self._token = token
        self.node = node
        self._observe = observe
        self.state = UplinkState.IDLE
        self.pending: dict[str, PendingJoin] = {}
        self.deadline = self.latest = 0.0
        self.probeAt = float("inf")
        self.resumption = Resumption(mirror, node, self.pending, token)
        self.probing = Probing(token)
        self.inquiry = Inquiry(token)

    def feed(self, event: Event, now: float, join: PendingJoin | None = None) -> None:
        """Make a transition; an event without a transition in this state is ignored, because it is stale."""
        transition = TRANSITIONS.get((self.state, event))
        if transition is not None:
            if transition.state is not self.state:
                self.state = transition.state
                self.inquiry.end()
                # The node has a record while it is joined.
                self._mirror.room.changes.nodes = True
            if event is Event.COMPLETE and self._observe is not None and not self.resumption.isComparing:
                self._observe(now - self.latest + self.node.profile.whole)
            for output in transition.outputs:
                self.perform(output, now, join)

    def perform(self, output: Output, now: float, join: PendingJoin | None) -> None:
        """Carry out an output of the machine."""
        raise NotImplementedError

    @property
    def isIn(self) -> bool:
        """True if the joined node counts this one as joined, or is asked to."""
        return self.state is UplinkState.JOINING or self.state in JOINED

    @property
    def lasts(self) -> bool:
        """True if occupants here stay over a restart of this process."""
        return self.state in JOINED or (self.state is UplinkState.JOINING and self.resumption.isComparing)

    @property
    def isLeaving(self) -> bool:
        """True if stanzas from the joined node are stale."""
        return self.state in (UplinkState.LEAVING, UplinkState.WITHDRAWING)

    def heard(self, now: float, isError: bool = False) -> None:
        """
        The joined node has sent something. A channel has probes of its own.

        @param isError: True for an error, which may be one of this node's server.
        """
        if self.node.channel is None:
            profile = self.node.profile
            self.probing.heard()
            self.probeAt = now + (profile.probe if self.node.resumes else self.probing.silence(profile))
