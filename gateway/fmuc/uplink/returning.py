"""
The uplink of a mirror: returns after losses of stanzas, deadlines, and the table of what each output does.

The leaves are in L{gateway.fmuc.uplink.leaving}, the joins in L{gateway.fmuc.uplink.joining}, the time of a loss
is in L{gateway.fmuc.uplink.losing}, the questions to other software are in L{gateway.fmuc.uplink.questioning}.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import evolve

from gateway.errors import BadRequest, LinkDown
from gateway.fmuc.channel.table import Event as ChannelEvent
from gateway.fmuc.channel.table import Forgotten
from gateway.fmuc.channel.values import ChannelState, Delivered, Lost, Opened, Renewed
from gateway.fmuc.digest import ALL, NONE
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.questioning import Questioning
from gateway.fmuc.uplink.states import Event, Output, UplinkState
from gateway.fmuc.values import ABSENT, ResumeAnswer
from gateway.muc.occupant import Occupant
from gateway.muc.values import AVAILABLE, Payload, stanzaError

# Seconds for which the answer to a join is awaited that a channel delivers, if nobody waits to be let in by it: the
# user has left, or is in already.
_OWED = 3_600.0


class Uplink(Questioning):
    """The uplink of one mirror: users stay while stanzas are lost, and the mirror returns."""

    # True if the joined node has forgotten the channel, until it is joined anew: then there is another one.
    _isForgotten = False

    def perform(self, output: Output, now: float, join: PendingJoin | None) -> None:
        _OUTPUTS[output](self, now, join)

    # Losses.

    def disturbed(self, now: float, isReconnected: bool = False) -> None:
        """
        Handle a sign that stanzas were lost.

        @param isReconnected: True if there is no other sign than a new connection of this component. With other
            software, that is none: a return costs much.
        """
        if self.state is UplinkState.RETURNING and now < self.resumption.retryAt:
            # The joined node was asked just now.
            return
        if self.isLeaving and self.resumption.isRestored:
            self.deadline = now + self.node.profile.farewell
            self.resumption.buckets = ALL
            self.resumption.tell()
        elif isReconnected and self.node.channel is not None:
            # The channel repeats what was lost.
            return
        elif not isReconnected or self.node.resumes or self.resumption.isRestored:
            isInterrupted = self.state is UplinkState.JOINING and self.resumption.isComparing
            self.feed(Event.INTERRUPTED if isInterrupted else Event.DISTURBED, now)
        elif self.state is UplinkState.JOINED:
            # The server may have been restarted.
            self.probeAt = now

    def asked(self, now: float) -> None:
        """Handle the joined node's request to compare."""
        channel = self.node.channel
        if channel is None or channel.isDelivered(now):
            self.disturbed(now)
        else:
            # What is on its way would be a difference. L{channelChanged} tells when all is delivered.
            self.resumption.isRestored = True

    def accepted(self, epoch: int, keep: int, told: int, now: float) -> None:
        """
        Handle the joined node's acceptance of a channel, even if the users have left meanwhile.

        @param keep: seconds for which this node stays without users.
        @param told: number of occupants that the joined node has told before; some of them may be lost.
        """
        channels, offered, self.offered = self._mirror.channels, self.offered, None
        if channels is not None and offered is not None and epoch >= offered:
            channels.begin(self._mirror.room.jid, self.node, epoch, now)
            self.node.keep = min(keep, self.keep)
            isWhole = self.resumption.seen == told
            self.probeAt = float("inf") if isWhole else now

    def channelChanged(self, event: ChannelEvent, now: float) -> None:
        """Handle a change of the channel with the joined node."""
        isUncertain = self.resumption.isRestored or self.resumption.isReturn
        if isinstance(event, Lost):
            self.feed(Event.UNREACHABLE, now)
        elif isinstance(event, Renewed):
            # One of the nodes has lost a part of its state: they compare it when the channel opens.
            self.resumption.isRestored = self.resumption.isRenewed = True
            # They may not come back any longer.
            self.leaves.clear()
        elif isinstance(event, Forgotten):
            self._endChannel()
            self._isForgotten = True
            self.feed(Event.LEFT if self.isLeaving else Event.DISTURBED, now)
        elif isinstance(event, Delivered) and isUncertain and self.isLeaving:
            self.disturbed(now)
        elif isinstance(event, Delivered) and isUncertain:
            if self.state is UplinkState.JOINING and not self.resumption.isReturn:
                # The joined node has removed all users, and then got a join, maybe one of an earlier process:
                # the nodes compare when the answer is complete, or when this node has left.
                self.probeAt = now
            self.feed(Event.DISTURBED, now)
        elif isinstance(event, Opened) and not isUncertain and self.state is UplinkState.LOST:
            self.feed(Event.RESUMED, now)

    def _endChannel(self) -> None:
        """End the channel; what it has kept is sent after the joins anew."""
        if self._mirror.channels is not None:
            self.unsent += self._mirror.channels.end(self._mirror.room.jid, self.node)

    def unreachable(self, now: float) -> bool:
        """Handle a stanza that comes back; False if the first join is not answered yet."""
        if not self.lasts:
            return False
        self.feed(Event.UNREACHABLE, now)
        return True

    def resumeAnswered(self, identifier: str, answer: ResumeAnswer, now: float) -> bool:
        """Handle an answer of the joined node; False if it is not that to a request to resume."""
        if not self.resumption.isAnswer(identifier):
            return False
        self.heard(now, isError=bool(answer.condition))
        if self.isLeaving and identifier.startswith("tell-"):
            # It was told that nobody is in here.
            self.feed(Event.LEFT, now)
        if self.state not in (UplinkState.RETURNING, UplinkState.LOST):
            return True
        if answer.destruction is not None:
            self.removeEveryone(answer.destruction, now)
        elif answer.condition in ABSENT:
            self.feed(Event.UNREACHABLE, now)
        elif answer.condition:
            self.resumption.buckets = ALL
            self.node.resumes = answer.condition == "item-not-found"
            self.feed(Event.FORGOTTEN, now)
        elif self._isForgotten:
            # It knows this node, but not the channel (section 4.6 of docs/fmuc-resync.md).
            self.feed(Event.FORGOTTEN, now)
        elif answer.hashes is not None:
            self._differs(answer.hashes, now)
        elif answer.isState:
            if identifier.startswith("ask-"):
                # The digests are equal: only messages follow.
                self.resumption.buckets = NONE
                self.probeAt = self.probeAt if self.resumption.isSame(identifier) else now
            else:
                self.resumption.buckets = self.resumption.toldIn(identifier)
            self.feed(Event.STATE, now)
            self._removeMissing(answer.missing, now)
        elif not answer.more:
            self._equal(identifier, now)
        return True

    def _equal(self, identifier: str, now: float) -> None:
        """Handle the answer that the digests were equal, and nothing was missed."""
        isSame = self.resumption.isSame(identifier)
        self._forgetKnown(())
        self.feed(Event.RESUMED, now)
        if not isSame:
            self.feed(Event.DISTURBED, now)

    def _differs(self, hashes: str, now: float) -> None:
        try:
            self.resumption.differs(hashes)
        except BadRequest:
            # Other hashes than those of this version: everything is compared.
            self.resumption.buckets = ALL
        self.feed(Event.DIFFERS, now)

    def _forgetKnown(self, missing: Collection[str]) -> None:
        """Forget the joins anew of occupants whom the joined node has: they arrived before the loss."""
        for nick, join in list(self.pending.items()):
            if self.node.channel is None and join.isQueued and join.occupant is not None and nick not in missing:
                del self.pending[nick]

    def _removeMissing(self, nicks: Collection[str], now: float) -> None:
        """
        Remove occupants, and refuse joins in flight, of whom the joined node does not know. Joins that were
        withdrawn are answered by now, or lost. A channel delivers all joins, and their answers, but may be later
        than the comparison, and so may be the removal of an occupant, with its reason.
        """
        for nick, join in list(self.pending.items()):
            if join.isSent and self.node.channel is None and (join.isWithdrawn or nick in nicks):
                self.reject(join, stanzaError(LinkDown))
        self._forgetKnown(nicks)
        # The joins of those who have entered meanwhile, or their answers, follow.
        anew = {join.occupant.nick for join in self.pending.values() if join.occupant and not join.isWithdrawn}
        missing = [nick for nick in nicks if nick not in anew]
        if self.node.channel is not None and self.resumption.awaitMissing(missing):
            return
        removed = [self._removed(nick) for nick in missing]
        self.occupantsLeft([each for each in removed if each is not None], now, tell=False)

    def _removed(self, nick: str) -> Occupant | None:
        occupant = self._mirror.room.occupants.get(nick)
        if occupant is not None:
            self.removedThere(occupant)
        return self.resumption.removed(nick)

    def offer(self, occupant: Occupant, payload: Payload, identifier: str | None) -> bool:
        """Record an occupant's new presence; return False if the joined node gets it after the return."""
        isKept = self.node.channel is not None and not self.resumption.isReturn
        if self.node.returnsPresence or not (isKept or self.state is UplinkState.JOINED):
            self.resumption.offered[occupant.nick] = payload, identifier
        return isKept or self.state is UplinkState.JOINED

    def rejoinNext(self, now: float) -> None:
        """If the first of the joins anew was rejected, send the next one. With a channel, there are none."""
        isWaiting = self.state is UplinkState.JOINING and self.resumption.isComparing and self.node.channel is None
        if isWaiting and not any(join.isSent for join in self.pending.values()):
            join = next((each for each in self.pending.values() if each.isQueued), None)
            if join is not None:
                self._awaitAnswer(now, join)
                self._sendFirstJoin(now, join)

    def beginAnew(self) -> None:
        """
        The ordinary room does not tell all that was missed. If nobody has been in here, what follows is the answer
        to a first join; so it is for joining nodes that stay.
        """
        isComparing = self.state is UplinkState.JOINING and self.resumption.isComparing
        if isComparing and not self._mirror.downstreamCount:
            self._mirror.endStays()
            self._mirror.room.history.clear()
            self.resumption.removeUnseen()
            self.resumption.clear()

    # Time.

    def expire(self, now: float) -> None:
        """Handle deadlines that have passed."""
        if self.emptyUntil <= now:
            self._endStay(now)
        if self.isLeaving and self.probeAt <= now and self.resumption.isRestored:
            self.probeAt = float("inf")
            self.disturbed(now)
        elif self.isLeaving and self.deadline <= now:
            self.feed(Event.DEADLINE, now)
        elif self.state is UplinkState.JOINING and self.deadline <= now:
            self._joinExpired(now)
        elif self.inquiry.dueAt <= now:
            self._silent(now)
        elif self.probeAt <= now and self.state is UplinkState.JOINED:
            self._probe(now)
        elif self.state is UplinkState.RETURNING and self.deadline <= now:
            self.feed(Event.UNREACHABLE, now)
        elif self.state is UplinkState.LOST:
            self._lostFor(now)
        late = [join for join in self.pending.values() if self._isLate(join, now)]
        for join in late:
            self._joinLate(join, now)
        if late:
            self.leaveIfEmpty(now)

    def _endStay(self, now: float) -> None:
        """The joined node has not ended this node's stay without users in time; or joining nodes have left."""
        self.emptyUntil = float("inf")
        isEmpty = self.isIn and not (self._mirror.downstreamCount or self.pending)
        if isEmpty and not (self.node.isOrdinary and self.stays(now)):
            self.feed(Event.EMPTY_TOLD, now)

    def _isLate(self, join: PendingJoin, now: float) -> bool:
        isOwed = join.isEntered or (join.isWithdrawn and (join.isSent or join.isOwed))
        if isOwed and self.node.channel is not None:
            return join.deadline + _OWED <= now
        return join.deadline <= now and (not join.isSent or self.state is UplinkState.JOINED)

    def _joinExpired(self, now: float) -> None:
        if any(join.isConfirmed for join in self.pending.values()):
            # Old rooms need not send a subject; then everything has been received.
            self.feed(Event.COMPLETE, now)
            return
        if self.resumption.isComparing or self._mirror.downstreamCount:
            self.feed(Event.UNREACHABLE, now)
            return
        for join in list(self.pending.values()):
            if join.isSent:
                self._joinLate(join, now)
        self.leaveIfEmpty(now)

    # Outputs. Each takes the time, and the join of the event.

    def _ask(self, now: float, join: PendingJoin | None) -> None:
        """Ask the joined node to resume, if it can; otherwise join anew."""
        self.changes.clear()
        self.resumption.attempt(now)
        if self.node.resumes:
            self.resumption.ask()
        elif self.state is UplinkState.LOST and (self.probing.hasAnswered or self.resumption.attempts % 2):
            # A question costs less than the leaves and joins. If no question was answered in this process, it may
            # be of a kind that this software does not answer.
            self._sendProbe(now)
        else:
            self.feed(Event.FORGOTTEN, now)

    def _tell(self, now: float, join: PendingJoin | None) -> None:
        """Tell the joined node who is in here, if it can resume."""
        # A channel delivers the last leave as well, after the messages that it has kept.
        isDelivered = self.isLeaving and self.node.channel is not None
        if isDelivered and self.resumption.isRestored:
            # The joined node may know users of an earlier process. If the channel is lost, it is told later.
            isDelivered = self.node.channel is None or self.node.channel.state is ChannelState.LOST
        if self.node.resumes and not isDelivered:
            if self.isLeaving:
                self.resumption.buckets = ALL
            self.resumption.tell()
            # The answer confirms earlier leaves, too.
            self.lastLeave = ""

    def _compare(self, now: float, join: PendingJoin | None) -> None:
        """Show what is received as a difference."""
        self.resumption.compare()

    def _rejoin(self, now: float, join: PendingJoin | None) -> None:
        """Join anew with all downstream occupants."""
        self._endChannel()
        self._letCompare(now)
        self._isForgotten = False
        for each in list(self.pending.values()):
            if each.isSent:
                self.reject(each, stanzaError(LinkDown))
        self.leaves.clear()
        self.lastLeave = ""
        first = self.resumption.rejoin(now + 2 * self.node.profile.answer, parts=not self.node.resumes)
        if first is None and self.node.isOrdinary and self._mirror.keepsNodes:
            # Its joining nodes know what this one knows.
            first = next((each for each in self.pending.values() if each.isQueued), None)
        if first is not None:
            self._sendFirstJoin(now, first)
        else:
            self.leaveIfEmpty(now, told=False)

    def _letCompare(self, now: float) -> None:
        """Let the joining nodes compare, if presence of theirs that was to come back may be lost with a process."""
        if self.resumption.isRestored and self.node.returnsPresence:
            self._mirror.compareAll(now)

    def _catchUp(self, now: float, join: PendingJoin | None) -> None:
        """Show what was missed; send presence that has changed here."""
        if self.state is UplinkState.JOINED and (self.resumption.isLost or self.node.isTold):
            self._mirror.room.log(f"{self.node.jid} is there again")
            self._tellReturn()
            for each in self.pending.values():
                each.deadline = min(each.deadline, now + 2 * self.node.profile.answer)
            self.resumption.isLost, self.resumption.retryAt, self.node.lostAt = False, 0.0, None
        if self.state is UplinkState.JOINED and self.resumption.isReturn:
            self.probing.returned(self._mirror.room.occupants)
            if self.node.channel is None:
                self._letCompare(now)
            for missing in self.resumption.stillMissing():
                self._removed(missing.nick)
                self._withdrawJoinOf(missing)
            for occupant, identifier in self.resumption.catchUp():
                anew = self.pending.get(occupant.nick)
                if anew is not None and anew.isQueued and anew.occupant is occupant:
                    # The join anew tells it.
                    anew.request = evolve(anew.request, payload=occupant.payload)
                    continue
                self._mirror.toNode(self.node, occupant.presence(AVAILABLE), identifier)
                if self.node.returnsPresence:
                    self.changes[occupant.nick] += 1
                    self.resumption.shown[occupant.nick] = occupant.payload


_OUTPUTS: dict[Output, Callable[[Uplink, float, PendingJoin | None], None]] = {
    Output.AWAIT_ANSWER: Uplink._awaitAnswer,
    Output.SEND_FIRST_JOIN: Uplink._sendFirstJoin,
    Output.SEND_JOIN: Uplink._sendJoin,
    Output.EXTEND_WAIT: Uplink._extendWait,
    Output.SETTLE_MODE: Uplink._settleMode,
    Output.ADMIT_JOINS: Uplink._admitJoins,
    Output.SEND_QUEUED: Uplink._sendQueued,
    Output.SEND_NEXT_FIRST: Uplink._sendNextFirst,
    Output.DISCARD: Uplink._discard,
    Output.REMOVE_THEIRS: Uplink._removeTheirs,
    Output.AWAIT_CONFIRMATION: Uplink._awaitConfirmation,
    Output.LOG_LEFT: Uplink._logLeft,
    Output.ASK: Uplink._ask,
    Output.HOLD: Uplink._hold,
    Output.PUT_OFF: Uplink._putOff,
    Output.TELL: Uplink._tell,
    Output.COMPARE: Uplink._compare,
    Output.REJOIN: Uplink._rejoin,
    Output.CATCH_UP: Uplink._catchUp,
}
