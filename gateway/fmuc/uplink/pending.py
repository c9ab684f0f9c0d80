"""Joins that wait for the joined node."""

from __future__ import annotations

from enum import Enum
from math import inf

from attrs import define, field

from gateway.fmuc.channel.values import Position
from gateway.fmuc.nodes import JoiningNode
from gateway.muc.actions import SendResult
from gateway.muc.occupant import Occupant
from gateway.muc.values import UNAVAILABLE, JoinRequest, OccupantPresence, Presence, Standing


class JoinState(Enum):
    """
    State of a join.

    A join that was sent is kept until the joined node has answered it, even if the user has left meanwhile
    (C{WITHDRAWN…}): the answer would be taken for that of another join by the same nick.
    """

    QUEUED = "waits until the uplink can send it"
    SENT = "was sent"
    CONFIRMED = "the joined node has sent the occupant's presence; the rest of a first join is to come"
    WITHDRAWN_QUEUED = "the user left before it was sent; answers to earlier joins by this nick are to come"
    WITHDRAWN = "the user left before it was answered"
    WITHDRAWN_CONFIRMED = "the user left before the rest of a first join came"


_SENT = frozenset((JoinState.SENT, JoinState.CONFIRMED, JoinState.WITHDRAWN, JoinState.WITHDRAWN_CONFIRMED))
_CONFIRMED = frozenset((JoinState.CONFIRMED, JoinState.WITHDRAWN_CONFIRMED))
_WITHDRAWN = frozenset((JoinState.WITHDRAWN_QUEUED, JoinState.WITHDRAWN, JoinState.WITHDRAWN_CONFIRMED))
_CONFIRM = {
    JoinState.SENT: JoinState.CONFIRMED,
    JoinState.CONFIRMED: JoinState.CONFIRMED,
    JoinState.WITHDRAWN: JoinState.WITHDRAWN_CONFIRMED,
    JoinState.WITHDRAWN_CONFIRMED: JoinState.WITHDRAWN_CONFIRMED,
}
_WITHDRAW = {
    JoinState.QUEUED: JoinState.WITHDRAWN_QUEUED,
    JoinState.SENT: JoinState.WITHDRAWN,
    JoinState.CONFIRMED: JoinState.WITHDRAWN_CONFIRMED,
}


_NO_STANDING = Standing()


@define(eq=False)
class PendingJoin:
    """
    A join that waits for the joined node.

    @ivar origin: the joining node that it comes from; C{None} for a local user.
    @ivar deadline: end of the wait, in seconds of the link's clock.
    @ivar standing: the standing that the joined node has given, once it is confirmed.
    @ivar owedTo: real JIDs of earlier, withdrawn joins by this nick whose answers come first, in their order. Those
        with fences are not among them.
    @ivar created: True if the join has created the joined node.
    @ivar newPresence: presence that the user has sent since the join was sent.
    @ivar fence: id of the join's own fence; empty if it needs none.
    @ivar fences: ids of the fences that the joined node has not answered, in their order; those of earlier,
        withdrawn joins by this nick come first.
    @ivar held: the answer to a joining node's own fence, until the join is answered.
    @ivar further: joins of further sessions of a local user, by full JID; they wait for the same answer.
    @ivar occupant: the occupant here who is joined anew; C{None} for a user who is not in.
    @ivar after: what the channel had numbered before the join was sent; C{None} without a channel.
    """

    request: JoinRequest
    origin: JoiningNode | None
    deadline: float
    state: JoinState = JoinState.QUEUED
    standing: Standing = _NO_STANDING
    owedTo: list[str] = field(factory=list)
    created: bool = False
    newPresence: Presence | None = None
    fence: str = ""
    fences: list[str] = field(factory=list)
    held: SendResult | None = None
    further: dict[str, JoinRequest] = field(factory=dict)
    occupant: Occupant | None = None
    after: Position | None = None

    @property
    def isSent(self) -> bool:
        return self.state in _SENT

    @property
    def isConfirmed(self) -> bool:
        return self.state in _CONFIRMED

    @property
    def isWithdrawn(self) -> bool:
        return self.state in _WITHDRAWN

    @property
    def isQueued(self) -> bool:
        return self.state is JoinState.QUEUED

    @property
    def isEntered(self) -> bool:
        """True if the user is in already, and the joined node decides later."""
        return self.occupant is not None and self.isSent and not self.isWithdrawn

    def isOf(self, node: JoiningNode | None) -> bool:
        """True if the join came from this node and was not withdrawn."""
        return self.origin is node and not self.isWithdrawn

    @property
    def isOwed(self) -> bool:
        """True if the next answer is for an earlier join by this nick."""
        return bool(self.owedTo) or any(each != self.fence for each in self.fences)

    @property
    def owed(self) -> int:
        """Number of answers that are still to come."""
        return len(self.owedTo) + len(self.fences)

    @property
    def isSpent(self) -> bool:
        """True if nobody waits for anything: the user left before the join was sent, and all answers have come."""
        return self.isWithdrawn and not self.isSent and not self.isOwed

    def answerOwed(self, realJid: str) -> bool:
        """Return True if the answer to a user's join is that to an earlier one by this nick."""
        isEarlier = realJid in self.owedTo and not (self.isSent and realJid == self.request.realJid)
        if isEarlier:
            del self.owedTo[: self.owedTo.index(realJid) + 1]
        return isEarlier

    def answerNamed(self, realJid: str) -> None:
        """The answer names the join's own user: those to earlier joins by the nick, which come first, are lost."""
        if realJid not in self.owedTo:
            self.owedTo.clear()

    def fenceAnswered(self, identifier: str) -> bool:
        """Return True if an id is that of the join's own fence: all earlier joins are answered by then, too."""
        if identifier in self.fences:
            del self.fences[: self.fences.index(identifier) + 1]
        return identifier == self.fence

    def confirm(self, standing: Standing) -> None:
        """The joined node has sent the occupant's presence."""
        self.state, self.standing = _CONFIRM[self.state], standing

    def withdraw(self) -> None:
        """The user has left."""
        self.state = _WITHDRAW[self.state]

    def queueAgain(self) -> None:
        """The join may be lost; its user is in here, and it is made again later."""
        self.state, self.fence, self.deadline = JoinState.QUEUED, "", inf
        self.fences.clear()

    def unavailable(self) -> OccupantPresence:
        """Return the presence that takes the join back."""
        request = self.request
        occupant = Occupant(request.nick, request.realJid, Standing(), request.payload, False)
        return occupant.presence(UNAVAILABLE)
