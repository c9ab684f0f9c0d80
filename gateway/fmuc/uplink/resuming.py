"""
A mirror that resumes with its joined node after stanzas may have been lost: a restart, a lost link, an error.

The mirror asks the joined node by one request whether both have the same occupants and the same subject; the joined
node sends the messages that the mirror has missed. If they differ, the mirror tells those of its occupants that may
differ, and gets their state. A joined node that does not know the mirror, or is other software, is joined anew.
Local users see only the differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from attrs import define, evolve, field

from gateway.fmuc.actions import AskResume, TellOccupants
from gateway.fmuc.digest import ALL, NONE, Buckets, SharedState, shared
from gateway.fmuc.missed import SKEW, MissedMessages
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.port import Mirror
from gateway.muc import archive
from gateway.muc.leave import remove
from gateway.muc.occupant import Node, Occupant
from gateway.muc.room import Room
from gateway.muc.values import (
    AVAILABLE,
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    HistoryLimits,
    JoinRequest,
    Payload,
    PresenceChange,
    RoomMessage,
)

# Seconds between the first attempts to reach the other node, and between later ones to reach a joining node.
FIRST, SLOWEST = 1.0, 15.0
# Requests whose answers may come.
_OPEN = 20
# Occupants in one request: their addresses may take two kilobytes each.
_LISTED = 80
# Missed messages that the archive of an ordinary room may give.
_ARCHIVED = 1_000


def interval(attempts: int, slowest: float = SLOWEST) -> float:
    """Return the seconds until the next attempt: each interval comes twice, and then doubles."""
    return min(FIRST * 2.0 ** (min(attempts, 20) // 2), slowest)


@define(eq=False)
class Resumption:
    """
    The state of a mirror's return to its joined node.

    @ivar pending: as L{gateway.fmuc.uplink.machine.Machine.pending}.
    @ivar token: part of the ids of requests.
    @ivar isRestored: True if the process was restarted since: other software has to be joined anew.
    @ivar isRenewed: True if a channel has a new epoch: stanzas may be missing, although they were acknowledged.
    @ivar buckets: those in which occupants differ.
    @ivar isLost: True from the loss of the joined node until the return.
    @ivar retryAt: seconds of the link's clock at which the next attempt is made.
    @ivar attempts: number of attempts since the loss.
    @ivar isReturn: True from the first attempt to return until its end.
    @ivar isComparing: True if what is received is shown as a difference.
    @ivar last: stanza id of the last message that the joined node has sent; empty if it is not known.
    @ivar parted: nicks of occupants whose leave was sent before they are joined anew, until it comes back.
    @ivar offered: presence that local users have sent, and that has not come back or was not sent, by nick.
    @ivar shown: such presence that was shown before it was sent, and comes back, by nick.
    """

    mirror: Mirror
    node: JoinedNode
    pending: dict[str, PendingJoin]
    token: str
    isRestored: bool = False
    isRenewed: bool = False
    buckets: Buckets = ALL
    isLost: bool = False
    retryAt: float = 0.0
    isReturn: bool = False
    isComparing: bool = False
    last: str = ""
    parted: set[str] = field(factory=set)
    offered: dict[str, tuple[Payload, str | None]] = field(factory=dict)
    shown: dict[str, Payload] = field(factory=dict)
    attempts: int = 0
    _since: str | None = None
    _asked: int = 0
    _unseen: dict[str, Occupant] = field(factory=dict)
    _missing: list[Occupant] = field(factory=list)
    # Digests of the joined node's occupants at the times of the last requests, by their ids.
    _known: dict[str, str] = field(factory=dict)
    # Buckets that the last requests have told, by their ids.
    _told: dict[str, Buckets] = field(factory=dict)
    _left: dict[str, str] = field(factory=dict)
    _missed: MissedMessages = field(factory=MissedMessages)

    # Attempts.

    def hold(self, now: float) -> None:
        """The joined node cannot be reached."""
        if not self.isLost:
            self.isLost, self.attempts = True, 0
            self.retryAt = now + FIRST

    def attempt(self, now: float) -> None:
        """An attempt to return begins."""
        if not self.isReturn:
            # Messages that come during the return may follow others that were lost.
            self._since = "" if self._hasAll else self._lastKnown() or None
        self.isReturn, self.buckets = True, ALL
        self.attempts += 1
        self.retryAt = now + interval(self.attempts, self.node.profile.pace.most)

    def ask(self) -> None:
        """Ask the joined node."""
        self._missed.clear()
        self._missing.clear()
        identifier = self._newId("ask")
        self._known[identifier] = self._ofJoined().digest()
        if len(self._known) > _OPEN:
            del self._known[next(iter(self._known))]
        self.mirror.toNode(self.node, AskResume(identifier, self._shared().digest(), self._since))

    def isSame(self, identifier: str) -> bool:
        """
        True if the joined node's occupants are known as at the time of a request. Stanzas on their way may have
        changed them; then the answer that all is equal is not true any longer.
        """
        return self._known.get(identifier) == self._ofJoined().digest()

    def _shared(self) -> SharedState:
        room, isWhole = self.mirror.room, not self.node.profile.gather
        return shared(room, room.occupants.values(), self._crossing, self._inFlight(), isWhole)

    def _ofJoined(self) -> SharedState:
        isWhole = not self.node.profile.gather
        return shared(self.mirror.room, self.node.occupants.values(), self._crossing, (), isWhole)

    def differs(self, hashes: str) -> None:
        """
        Find out where this node differs from the joined one.

        @raise BadRequest: if the hashes are none.
        """
        self.buckets = self._shared().differing(hashes)

    def tell(self) -> None:
        """Tell the joined node the occupants of this one that may differ, and ask for its state."""
        self._missed.clear()
        self._missing.clear()
        told = [(each.nick, each.realJid) for each in self._downstream()]
        told += [(join.request.nick, join.request.realJid) for join in self._inFlight()]
        told = [each for each in told if each[0] in self.buckets]
        for start in range(0, max(1, len(told)), _LISTED):
            part = tuple(told[start : start + _LISTED])
            more = start + _LISTED < len(told)
            identifier = self._newId("tell")
            self.mirror.toNode(self.node, TellOccupants(identifier, self._since, part, more, self.buckets))
        # The state follows the last part.
        self._told[identifier] = self.buckets
        if len(self._told) > _OPEN:
            del self._told[next(iter(self._told))]

    def toldIn(self, identifier: str) -> Buckets:
        """Return the buckets that a request has told, even if another one followed; none if it is too old."""
        return self._told.get(identifier, NONE)

    def isAnswer(self, identifier: str) -> bool:
        """True if an answer with this id belongs to a request of this mirror."""
        return identifier.startswith((f"ask-{self.token}-", f"tell-{self.token}-"))

    @property
    def _hasAll(self) -> bool:
        """
        True if a channel delivers all messages. The joined node may have others after the last one of this node, in
        its own order: those of this node; or it may not have got that one yet.
        """
        return self.node.channel is not None and not self.isRenewed

    def _lastKnown(self) -> str:
        """
        Return the stanza id of the last message that the joined node knows; empty for none. In primary mode,
        messages of occupants here may not have arrived there.
        """
        isEach = self.node.returnsMessages
        history = reversed(list(self.mirror.room.history))
        found = next((each.stanzaId for each in history if each.stanzaId and (isEach or not self._isOwn(each))), "")
        return self.last or found

    def _isOwn(self, message: RoomMessage) -> bool:
        occupant = self.mirror.room.occupants.get(message.nick)
        isSame = occupant is not None and (not message.occupantId or message.occupantId == occupant.id)
        return isSame and occupant is not None and self.mirror.isDownstream(occupant)

    def _newId(self, kind: str) -> str:
        self._asked += 1
        return f"{kind}-{self.token}-{self._asked}"

    def _crossing(self, occupant: Occupant) -> tuple[str, Payload] | None:
        return (occupant.realJid, occupant.payload) if self.mirror.isDownstream(occupant) else None

    def _downstream(self) -> Iterator[Occupant]:
        return (each for each in list(self.mirror.room.occupants.values()) if self.mirror.isDownstream(each))

    def _inFlight(self) -> list[PendingJoin]:
        """Return the joins that were sent, and not withdrawn."""
        waiting = (each for each in self.pending.values() if each.isSent and not each.isWithdrawn)
        # Others are occupants already.
        return [each for each in waiting if each.occupant is None]

    # The return.

    def compare(self) -> None:
        """From now on, show what is received as a difference."""
        self.isComparing = True
        self._unseen = {nick: each for nick, each in self.node.occupants.items() if nick in self.buckets}
        self._missed.clear()

    @property
    def seen(self) -> int:
        """Number of occupants that the joined node has sent, since the return has begun if there is one."""
        return len(self.node.occupants) - len(self._unseen)

    def isSeen(self, nick: str) -> None:
        """The joined node has sent the presence of one of its occupants."""
        self._unseen.pop(nick, None)

    def rejoin(self, deadline: float, parts: bool) -> PendingJoin | None:
        """
        Make the joins of all downstream occupants; return the first one.

        @param parts: True to send their leaves before, because the joined node may know them.
        """
        limits = HistoryLimits(since=self._sinceWhen())
        first = None
        for occupant in self._downstream():
            if parts:
                if self.node.returnsPresence:
                    self.parted.add(occupant.nick)
                self.mirror.toNode(self.node, occupant.presence(UNAVAILABLE))
            known = self.pending.get(occupant.nick)
            if known is None or known.occupant is not occupant:
                request = JoinRequest(nick=occupant.nick, realJid=occupant.realJid)
            else:
                # A user who has entered meanwhile may have given a password.
                request = known.request
            request = evolve(
                request,
                realJid=occupant.realJid,
                payload=occupant.payload,
                limits=limits,
                claimedStanding=occupant.standing,
            )
            origin = occupant.node if isinstance(occupant.node, JoiningNode) else None
            join = self.pending[occupant.nick] = PendingJoin(request, origin, deadline, occupant=occupant)
            first = first or join
        return first

    def _sinceWhen(self) -> float | None:
        """
        Return the time from which on messages may be missing; C{None} for all. Messages of occupants here may be
        newer than the loss.
        """
        stamps = [each.delay.stamp for each in self.mirror.room.history if each.delay is not None]
        lostAt = inf if self.node.lostAt is None else self.node.lostAt
        return min(max(stamps), lostAt) - SKEW if stamps else None

    def readmit(self, join: PendingJoin) -> bool:
        """Handle the admission of an occupant who is joined anew; False for other joins."""
        occupant = join.occupant
        if occupant is None or self.mirror.room.occupants.get(occupant.nick) is not occupant:
            return False
        identifier = join.request.occupantId or occupant.id
        if (occupant.id, occupant.standing) != (identifier, join.standing):
            occupant.giveId(identifier)
            occupant.standing = join.standing
            self.mirror.room.broadcastPresence(occupant, AVAILABLE)
        return True

    def forget(self, occupant: Occupant) -> None:
        """An occupant was removed."""
        self.offered.pop(occupant.nick, None)
        self.shown.pop(occupant.nick, None)
        isLeft = self.isReturn and self.mirror.isDownstream(occupant)
        if isLeft and len(self._left) < self.mirror.room.bounds.occupants:
            self._left[occupant.nick] = occupant.realJid

    def hasLeft(self, nick: str, realJid: str) -> bool:
        """
        True if a presence is that of an occupant who has left this node during the return: the joined node has sent
        it before it received the leave, which may not come back.
        """
        return bool(realJid) and self._left.get(nick) == realJid

    def keep(self, message: RoomMessage, isGiven: bool, origin: Node | None) -> None:
        """Keep a message of the history, which may have been missed; parameters as of L{MissedMessages.keep}."""
        most = _ARCHIVED if self.node.isOrdinary else 2 * self.mirror.room.bounds.messages
        self._missed.keep(message, isGiven, origin, most)

    def removed(self, nick: str) -> Occupant | None:
        """Remove an occupant whom the joined node has removed meanwhile; return that occupant."""
        occupant = self.mirror.room.occupants.get(nick)
        if occupant is None or not self.mirror.isDownstream(occupant):
            return None
        remove(self.mirror.room, occupant, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,)))
        return occupant

    def awaitMissing(self, nicks: list[str]) -> bool:
        """
        Remove occupants whom the joined node does not know when its state is complete: by then, the channel has
        delivered their removal, with its reason, if there was one.

        @return: False if no state follows, because the joined node knows nobody of this node.
        """
        told = {each.nick for each in self._downstream()} | {each.request.nick for each in self._inFlight()}
        if told.issubset(nicks):
            return False
        self._missing = [each for each in self._downstream() if each.nick in nicks]
        return True

    def stillMissing(self) -> list[Occupant]:
        """Return the occupants of L{awaitMissing} who were not removed since."""
        return [each for each in self._missing if self.mirror.room.occupants.get(each.nick) is each]

    def catchUp(self) -> list[tuple[Occupant, str | None]]:
        """
        Show what was missed: leaves and messages.

        @return: the occupants whose presence the joined node must be sent, with the ids of their stanzas.
        """
        room = self.mirror.room
        self.removeUnseen()
        self.last = self._missed.last or self.last
        for message, node in self._missed.unknown(room.history, None if self.node.returnsMessages else self._isOwn):
            _show(room, message, node)
        offered = []
        for nick, (payload, identifier) in self.offered.items():
            occupant = room.occupants[nick]
            if occupant.payload != payload:
                # It was on its way when stanzas were lost.
                occupant.payload = payload
                room.broadcastPresence(occupant, AVAILABLE, own=True, identifier=identifier)
            offered.append((occupant, identifier))
        self.clear()
        return offered

    def removeUnseen(self) -> None:
        """Remove the occupants of the joined node whose presence has not come since the return has begun."""
        for occupant in self._unseen.values():
            if self.node.occupants.get(occupant.nick) is occupant:
                remove(self.mirror.room, occupant, UNAVAILABLE)

    def clear(self) -> None:
        """Forget all: the mirror has returned, or has left."""
        self.isReturn = self.isComparing = self.isRestored = self.isRenewed = False
        self.buckets = ALL
        self.isLost, self.retryAt = False, 0.0
        self.parted.clear()
        self.offered.clear()
        self.shown.clear()
        self._unseen.clear()
        self._missed.clear()
        self._missing.clear()
        self._known.clear()
        self._told.clear()
        self._left.clear()


def _show(room: Room, message: RoomMessage, origin: Node | None) -> None:
    """Show a missed message: to local users with its time, and to joining nodes as a new one."""
    archive.add(room, message)
    room.history.add(message)
    assert message.delay is not None
    room.stamped = max(room.stamped, message.delay.stamp)
    sender = room.occupants.get(message.nick)
    origin = origin if origin is not None or sender is None else sender.node
    room.broadcastMessage(message, origin, evolve(message, delay=None))
