"""The time for which the joined node of a mirror cannot be reached: users stay, and are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.errors import LinkDown, NotInTheRoom
from gateway.fmuc.channel import stanzas as channel_stanzas
from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.uplink.joining import Joining
from gateway.fmuc.uplink.notices import clockTime, notice, showAway
from gateway.fmuc.uplink.outgoing import Outgoing
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.port import Mirror
from gateway.fmuc.uplink.resuming import FIRST
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.uplink.submitted import Submitted
from gateway.muc.actions import SendError
from gateway.muc.leave import remove
from gateway.muc.occupant import Occupant
from gateway.muc.values import (
    AVAILABLE,
    UNAVAILABLE,
    JoinRequest,
    PresenceChange,
    RoomMessage,
    StanzaError,
    stanzaError,
)
from gateway.stream.latest import keepLatest

# Seconds of a loss after which users are told of it: a restart of the other node is shorter.
_TELL = 15.0
_NEVER = float("inf")
# Removed occupants to whom errors may still come.
_MAX_GONE = 100


class Losing(Joining):
    """
    The losses of one mirror; L{gateway.fmuc.uplink.questioning.Questioning} adds questions to other software.

    @ivar outgoing: messages that wait for a joined node without a channel.
    @ivar gone: addresses of the clients of occupants whom the joined node has removed, by nick.
    """

    # The times at which users are told of a loss, and at which the joined node's occupants are removed.
    _tellAt = _goneAt = _NEVER
    # Seconds of the link's clock at which the joined node has sent something; C{None} for not in this process.
    _heardAt: float | None = None
    # Nicks of users who have entered in an earlier process, until the room is restored.
    _enteredBefore: tuple[str, ...] = ()

    def __init__(
        self, mirror: Mirror, node: JoinedNode, token: str, observe: Callable[[float], object] | None = None
    ) -> None:
        super().__init__(mirror, node, token, observe)
        self.outgoing = (Submitted if node.isOrdinary else Outgoing)(mirror, node.profile.pace)
        self.gone: dict[str, tuple[str, ...]] = {}

    def heard(self, now: float, isError: bool = False) -> None:
        super().heard(now, isError)
        if not isError:
            self._heardAt = now
            if self.state is UplinkState.LOST and self.node.channel is None:
                # The link works at least in this direction.
                self.resumption.retryAt = min(self.resumption.retryAt, now + FIRST)

    # The loss.

    def _hold(self, now: float, join: PendingJoin | None) -> None:
        """
        Let the users stay. Joins in flight of users who may enter meanwhile are made later, others are refused;
        joins anew begin again later.
        """
        if not self.resumption.isLost:
            self._mirror.room.log(f"{self.node.jid} cannot be reached: users stay", warn=True)
            self._tellAt = now + _TELL
        if isinstance(self.outgoing, Submitted):
            self.outgoing.lost()
        self.resumption.hold(now)
        self.resumption.isComparing = False
        hasChannel = self.node.channel is not None
        heardAt = self._heardAt if self.node.channel is None else self.node.channel.heardAt
        if self.node.lostAt is None and heardAt is not None:
            self.node.lostAt = self._mirror.room.utcClock.utc(heardAt)
        for each in list(self.pending.values()):
            if hasChannel and (each.isEntered or (each.isWithdrawn and not each.isSpent)):
                # The channel has it, and the leave.
                continue
            if each.isWithdrawn or (each.occupant is not None and hasChannel):
                del self.pending[each.request.nick]
            elif each.occupant is not None:
                each.queueAgain()
            elif each.isSent and self.mayEnterLost(each):
                if not hasChannel:
                    each.queueAgain()
                self.enterLost(each, now)
            elif each.isSent and hasChannel:
                self._joinLate(each, now)
            elif each.isSent:
                self.reject(each, stanzaError(LinkDown))

    def _putOff(self, now: float, join: PendingJoin | None) -> None:
        """Put off the joins anew: they, or their answers, may be lost. A channel delivers both."""
        self.resumption.isComparing = False
        for nick, each in list(self.pending.items()) if self.node.channel is None else ():
            if each.occupant is not None and each.isWithdrawn:
                del self.pending[nick]
            elif each.occupant is not None:
                each.queueAgain()

    def _lostFor(self, now: float) -> None:
        """Do what is due while the joined node is lost."""
        self.outgoing.expire(now)
        if self._tellAt <= now:
            self._tellAt = _NEVER
            self._tellLoss(now)
        elif self._goneAt <= now:
            self._showLoss(self.node.isTold, False)
            self._goneAt = _NEVER
            for occupant in list(self.node.occupants.values()):
                remove(self._mirror.room, occupant, UNAVAILABLE)
            # Both nodes have to compare their occupants at the return.
            self.resumption.isRestored = True
        elif self._retries and self.resumption.retryAt <= now:
            self.feed(Event.RETRY, now)

    @property
    def _retries(self) -> bool:
        """True if this uplink makes the next attempt to return; otherwise the channel does."""
        return self.node.channel is None or self.resumption.isReturn

    def _tellLoss(self, now: float) -> None:
        """Tell the users that the room is away, and show its occupants as away."""
        self._goneAt = now + self._mirror.room.bounds.gone
        if self.node.isTold:
            # By an earlier process.
            return
        notice(self._mirror.room, self._lossText())
        self._showLoss(True, True)
        for occupant in self.node.occupants.values():
            showAway(self._mirror.room, occupant)

    def _tellReturn(self) -> None:
        """Tell the users that the room is there again, and show its occupants as they are."""
        self._tellAt = self._goneAt = _NEVER
        if not self.node.isTold:
            return
        notice(self._mirror.room, f"The link to {self.node.jid} is up again.")
        if self.node.isShownAway:
            for occupant in self.node.occupants.values():
                self._mirror.room.broadcastPresence(occupant, AVAILABLE)
        self._showLoss(False, False)

    def showLoss(self, user: str) -> None:
        if self.node.isTold:
            notice(self._mirror.room, self._lossText(), user)
        if self.node.isShownAway:
            for each in self.node.occupants.values():
                showAway(self._mirror.room, each, user)

    def _lossText(self) -> str:
        # An earlier process may have heard it last.
        since = "" if self.node.lostAt is None else f" since {clockTime(self.node.lostAt)}"
        kept = "is refused until it is back" if self.node.returnsMessages else "is kept"
        return f"The link to {self.node.jid} is down{since}; what you say {kept}."

    def _showLoss(self, isTold: bool, isShownAway: bool) -> None:
        self.node.isTold, self.node.isShownAway = isTold, isShownAway
        self._mirror.room.changes.nodes = True

    # What is sent meanwhile.

    def checkMessage(self, nick: str, now: float) -> None:
        """
        Check that an occupant may send a message to the joined node now, or that it can be kept.

        @raise LinkDown: if it would not be shown, or the joined node would not take it.
        @raise OutboxFull: if the channel cannot keep it.
        """
        if self.node.channel is not None:
            self.node.channel.check(now)
        isRefused = self.state is UplinkState.LOST and self.node.returnsMessages
        if isinstance(self.outgoing, Submitted):
            # While the puppets join anew, it is not known yet whether the ordinary room is there again.
            if self.resumption.isLost and not self.outgoing.isShown(nick):
                raise LinkDown
        elif not self._mayKeep and (isRefused or self._isQueued(nick)):
            raise LinkDown

    @property
    def _mayKeep(self) -> bool:
        """True if messages that cannot be sent now are kept here: a channel does it by itself."""
        return self.node.channel is None and not self.node.returnsMessages

    def keeps(self, message: RoomMessage, now: float) -> bool:
        """
        Keep a message until the joined node can take it: True if it is kept; without a channel, in primary mode.

        @raise LinkDown: if it cannot be sent, and is not of the kind that is kept: a subject, which another one may
            replace meanwhile, or a message that must not be stored.
        @raise OutboxFull: if there is too much already.
        """
        if not self._mayKeep:
            return False
        isLost, isQueued = self.state is UplinkState.LOST, self._isQueued(message.nick)
        if message.subject or not message.store:
            if isLost or isQueued:
                raise LinkDown
            return False
        isReturning = self.state is UplinkState.RETURNING or self.resumption.isComparing
        if not (isLost or isReturning or self._isAnew(message.nick) or len(self.outgoing)):
            return False
        self.outgoing.keep(message, now)
        return True

    def submits(self, message: RoomMessage, now: float) -> None:
        """
        Keep a message to an ordinary room until it comes back.

        @raise LinkDown: as of L{keeps}.
        @raise OutboxFull: if there is too much already.
        """
        if not isinstance(self.outgoing, Submitted):
            return
        if message.store and not message.subject:
            self.outgoing.keep(message, now)
        elif self.state is not UplinkState.JOINED or self._isAnew(message.nick):
            raise LinkDown

    def _isAnew(self, nick: str) -> bool:
        """True if an occupant here is joined anew, and the joined node has not answered."""
        join = self.pending.get(nick)
        return join is not None and join.occupant is not None

    def _isQueued(self, nick: str) -> bool:
        """True if such a join was not sent yet."""
        return self._isAnew(nick) and not self.pending[nick].isSent

    def sendOutgoing(self) -> None:
        # A channel that was forgotten has kept earlier messages.
        if self.state is UplinkState.JOINED and len(self.outgoing) and not self.unsent:
            self.outgoing.send(self.node, self._isAnew)

    def occupantRemoved(self, occupant: Occupant) -> None:
        """An occupant of the room was removed, here or there."""
        self.changes.pop(occupant.nick, None)
        self.resumption.forget(occupant)
        self.node.waiting.forget(occupant.nick)
        self.outgoing.senderLeft(occupant)
        # Others may have waited for these messages.
        self.sendOutgoing()

    def removedThere(self, occupant: Occupant) -> None:
        """
        The joined node removes an occupant: if it is one of this node, the joined node refuses the messages of that
        occupant that reach it later. With the last occupant the channel ends, and these get no answer: they are
        returned now.
        """
        if not self._mirror.isDownstream(occupant):
            return
        channel = self.node.channel
        if channel is None or self._mirror.downstreamCount > 1 or self.node.keep:
            keepLatest(self.gone, occupant.nick, _addresses(occupant), _MAX_GONE)
        else:
            self._returnUnheard(occupant)

    def _returnUnheard(self, occupant: Occupant) -> None:
        """Return the messages of an occupant that the joined node may not have received: the channel ends."""
        channel = self.node.channel
        for stanza in () if channel is None else channel.unacknowledged():
            sender, recipient, identifier = channel_stanzas.messageOf(stanza) or ("", "", "")
            if sender == occupant.nick:
                self._refuseMessage(_addresses(occupant), recipient, identifier, stanzaError(NotInTheRoom))

    def messageReturned(self, nick: str, recipient: str, identifier: str, error: StanzaError) -> None:
        """
        Handle an error for a message of an occupant of this node, who may have been removed.

        @param recipient: nick of the occupant to whom the message was sent; empty for all.
        """
        occupant = self._mirror.room.occupants.get(nick)
        isThere = occupant is not None and self._mirror.isDownstream(occupant)
        to = _addresses(occupant) if occupant is not None and isThere else self.gone.get(nick, ())
        self._refuseMessage(to, recipient, identifier, error)

    def _refuseMessage(self, to: Iterable[str], recipient: str, identifier: str, error: StanzaError) -> None:
        room = self._mirror.room
        for each in to:
            room.emit(SendError("message", room.address(recipient), each, identifier or None, error))

    # The end.

    def leaveNow(self, error: StanzaError) -> None:
        super().leaveNow(error)
        self.outgoing.refuse()

    def removeEveryone(self, change: PresenceChange, now: float) -> None:
        self.outgoing.refuse()
        for occupant in self._mirror.room.occupants.values():
            if self._mirror.isDownstream(occupant):
                self._returnUnheard(occupant)
        super().removeEveryone(change, now)

    def _discard(self, now: float, join: PendingJoin | None) -> None:
        self.outgoing.discard()
        super()._discard(now, join)

    # Users who have entered meanwhile.

    def notJoined(self) -> tuple[str, ...]:
        """Return the nicks of occupants here whose joins were not sent."""
        waiting = (each for each in self.pending.values() if each.isQueued and each.occupant is not None)
        return (*self._enteredBefore, *(each.request.nick for each in waiting))

    def restored(self, node: JoinedNode) -> None:
        super().restored(node)
        self._enteredBefore = node.entered

    def continued(self, now: float) -> None:
        """Continue with what an earlier process has kept: messages, and users who have not joined there."""
        self.outgoing.begin(now)
        room = self._mirror.room
        entered, self._enteredBefore = self._enteredBefore, ()
        for nick in entered:
            occupant = room.occupants.get(nick)
            if occupant is not None and self._mirror.isDownstream(occupant):
                request = JoinRequest(nick=nick, realJid=occupant.realJid, payload=occupant.payload)
                self.pending[nick] = PendingJoin(request, None, _NEVER, occupant=occupant)


def _addresses(occupant: Occupant) -> tuple[str, ...]:
    """Return the addresses of the clients of an occupant: users here, or occupants of joining nodes."""
    return (*occupant.localJids, *(f"{node.jid}/{occupant.nick}" for node in occupant.nodes))
