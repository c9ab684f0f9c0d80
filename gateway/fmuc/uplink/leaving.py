"""The leaves of a mirror's occupants, and of the mirror itself when nobody is in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.uplink.machine import JOINED, Machine
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.port import Mirror
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.leave import remove
from gateway.muc.occupant import Occupant
from gateway.muc.values import UNAVAILABLE, OccupantPresence
from gateway.muc.whois import show

# Seconds for which a lost channel is awaited, to tell the joined node that nobody is in here.
_MAX_FAREWELL = 600.0
# Leaves by one nick that have not come back, and are remembered.
_MAX_LEAVES = 100
# Seconds after which a room that stands for an ordinary one looks whether joining nodes still stay.
_LOOK = 1.0
# States in which the joined node may know other occupants of this node than there are.
_AWAY = JOINED - {UplinkState.JOINED}


class Leaving(Machine):
    """
    The leaves of one mirror; L{gateway.fmuc.uplink.joining.Joining} adds joins.

    @ivar lastLeave: nick of the last unavailable presence that was sent, until it comes back.
    @ivar leaves: occupants whose leaves have not come back, by nick, the first one first. A message that was sent
        before a leave comes back before that leave.
    @ivar keep: seconds for which this node stays in without users, if the joined node agrees.
    @ivar emptyUntil: end of such a stay, in seconds of the link's clock, if the joined node does not end it before.
    @ivar told: what the joined node has told of the real JIDs before the join: true if all occupants see them.
    """

    def __init__(
        self, mirror: Mirror, node: JoinedNode, token: str, observe: Callable[[float], object] | None = None
    ) -> None:
        super().__init__(mirror, node, token, observe)
        self.lastLeave = ""
        self.leaves: dict[str, deque[Occupant]] = {}
        self.keep = 0
        self.emptyUntil = float("inf")
        self.told: bool | None = None

    def abandoned(self) -> None:
        """Leave the joined node of an earlier process: nobody is in here, but the joined node may not know it."""
        self.state = UplinkState.LEAVING
        # The history may be a part of the answer to a first join: the next one brings it again.
        self._mirror.room.history.clear()
        self._mirror.room.subject = None
        self._mirror.room.changes.nodes = True

    def occupantLeft(self, occupant: Occupant, now: float, tell: bool = True) -> None:
        """
        Handle the removal of a downstream occupant.

        @param tell: True if the joined node must be told.
        """
        self.occupantsLeft((occupant,), now, tell)

    def occupantsLeft(self, occupants: Iterable[Occupant], now: float, tell: bool = True) -> None:
        """Handle the removal of several downstream occupants, as L{occupantLeft} does for one."""
        if not self.isIn:
            return
        for occupant in occupants:
            self._withdrawJoinOf(occupant)
            if tell:
                if self.node.returnsPresence and len(self.leaves) < self._mirror.room.bounds.occupants:
                    # One user may leave and join again and again while nothing comes back.
                    self.leaves.setdefault(occupant.nick, deque(maxlen=_MAX_LEAVES)).append(occupant)
                self._sendUnavailable(occupant.presence(UNAVAILABLE))
        self.leaveIfEmpty(now, told=tell)

    def leaveReturned(self, nick: str) -> Occupant | None:
        """Handle a leave that may be one of this node's, and has come back; return the occupant who has left."""
        waiting = self.leaves.get(nick)
        if waiting is None:
            return None
        if len(waiting) == 1:
            del self.leaves[nick]
        return waiting.popleft()

    def awaitsLeave(self, nick: str, realJid: str) -> bool:
        """
        True if a presence is that of an occupant whose leave has not come back by the channel: the joined node has
        sent it before.
        """
        isOrdered = bool(realJid) and self.node.channel is not None
        return isOrdered and any(each.realJid == realJid for each in self.leaves.get(nick, ()))

    def _withdrawJoinOf(self, occupant: Occupant) -> None:
        """Withdraw the join of an occupant who was let in before the joined node has decided."""
        join = self.pending.get(occupant.nick)
        if join is not None and join.occupant is occupant:
            if join.isSent:
                join.withdraw()
            else:
                del self.pending[occupant.nick]
            if join.origin is not None:
                self._mirror.release(join.origin)

    def leaveIfEmpty(self, now: float, told: bool = True) -> None:
        """
        Leave if there are no downstream occupants.

        @param told: False if the joined node removed the last occupant itself and so knows it.
        """
        if self._mirror.downstreamCount or not self.isIn:
            return
        if self.stays(now):
            if self.state is UplinkState.JOINING and all(join.isWithdrawn for join in self.pending.values()):
                # The next join compares.
                self.resumption.clear()
                self.feed(Event.STAYS, now)
            return
        isProtoxep, isAway = self.node.dialect is Dialect.PROTOXEP, self.state in _AWAY
        if not isProtoxep or self.lastLeave or isAway:
            # XEP-0289 has an element for it, which is sent in any case. In the ProtoXEP an occupant who left before
            # counts at the joined node until the unavailable presence has come back. During a return, users whom
            # this node does not know any longer may count there.
            told = True
        inFlight = any(join.isSent and not join.isWithdrawn for join in self.pending.values())
        if inFlight:
            if not told:
                self.feed(Event.EMPTY_BUT_JOINS, now)
            return
        isAwaited = self.lastLeave or isAway or (self.state in JOINED and not isProtoxep)
        self.feed(Event.EMPTY_TOLD if told and isAwaited else Event.EMPTY, now)

    @property
    def isKept(self) -> bool:
        """True if this node stays in without users."""
        return self.state in JOINED and self.emptyUntil < float("inf")

    def stays(self, now: float) -> bool:
        """
        Return True if this node stays in though nobody is in here: the joined node has agreed to that. An ordinary
        room knows nothing of it. A room that stands for one stays as long as a joining node does.
        """
        if self.node.isOrdinary:
            isNeeded = self.lasts and self._mirror.keepsNodes
            self.emptyUntil = now + _LOOK if isNeeded else float("inf")
            return isNeeded
        isIn = self.state in (UplinkState.JOINED, UplinkState.LOST)
        mayStay = isIn and self.node.keep and self.node.channel is not None
        if mayStay and not self.isKept:
            self.emptyUntil = now + self.node.keep + self.node.profile.answer
        return self.isKept and now < self.emptyUntil

    def confirmedLeft(self, now: float) -> None:
        """
        Handle the joined node's confirmation that this node has left (XEP-0289 section 6.4).

        If joins are in flight, the joined node considered this node left before it received them, and admits it
        again.
        """
        isJoining = any(join.isSent for join in self.pending.values())
        isNeeded = self._mirror.downstreamCount or isJoining
        if self.state in JOINED and self._mirror.downstreamCount and not isJoining:
            # It has removed this node meanwhile.
            self.feed(Event.DISTURBED, now)
            return
        self.feed(Event.LEFT_BUT_JOINS if isNeeded and self.isIn else Event.LEFT, now)

    def _sendUnavailable(self, presence: OccupantPresence) -> None:
        self.lastLeave = presence.nick
        self._mirror.toNode(self.node, presence)

    # Outputs. Each takes the time, and the join of the event.

    def _discard(self, now: float, join: PendingJoin | None) -> None:
        """Drop the joined node's occupants, the history, the subject and withdrawn joins: all of it is stale."""
        room = self._mirror.room
        self._mirror.endStays()
        for nick, each in list(self.pending.items()):
            if each.isSent and each.isWithdrawn:
                del self.pending[nick]
            elif not self.isIn:
                # The answers to earlier joins are stale, too.
                each.owedTo.clear()
                if each.isSpent:
                    del self.pending[nick]
        # A joining node whose users have left stays while another join through it waits.
        isKnown = any(each.origin is not None for each in self.pending.values())
        for occupant in list(self.node.occupants.values()):
            if isKnown:
                remove(room, occupant, UNAVAILABLE)
            else:
                room.remove(occupant)
        self.leaves.clear()
        room.history.clear()
        room.subject = None
        self.node.semiAnonymous, self.told = False, None
        self.node.isTold = self.node.isShownAway = False
        self.node.lostAt = None
        # The joined node may have users of an earlier process: it is told once more when the channel is open.
        isUncertain = self.isLeaving and self.node.channel is not None and self.resumption.isRestored
        self.resumption.clear()
        self.resumption.isRestored = isUncertain
        self.resumption.last = ""
        show(room, False)

    def _removeTheirs(self, now: float, join: PendingJoin | None) -> None:
        """Remove the joined node's occupants and the history."""
        self._mirror.endStays()
        for occupant in list(self.node.occupants.values()):
            remove(self._mirror.room, occupant, UNAVAILABLE)
        self._mirror.room.history.clear()

    def _awaitConfirmation(self, now: float, join: PendingJoin | None) -> None:
        """Start the wait for the confirmation."""
        isUncertain = self.node.channel is not None and self.resumption.isRestored
        self.deadline = now + (_MAX_FAREWELL if isUncertain else self.node.profile.farewell)

    def _logLeft(self, now: float, join: PendingJoin | None) -> None:
        """Log that this node has left."""
        self._mirror.room.log(f"has left {self.node.jid}")
