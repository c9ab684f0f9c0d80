"""This node as a joining node: its joins, and what the transitions for them do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import evolve

from gateway.errors import NoAnswer, RecipientUnavailable
from gateway.fmuc.actions import Fence, Join, Kept, Reject
from gateway.fmuc.channel import stanzas as channel_stanzas
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.uplink.known_users import KnownUsers
from gateway.fmuc.uplink.leaving import Leaving
from gateway.fmuc.uplink.pending import JoinState, PendingJoin
from gateway.fmuc.uplink.port import Mirror
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.muc.actions import SendError
from gateway.muc.join import addSession
from gateway.muc.leave import close, remove
from gateway.muc.occupant import Occupant
from gateway.muc.sessions import changePresence
from gateway.muc.values import (
    UNAVAILABLE,
    JoinRequest,
    PresenceChange,
    Standing,
    StanzaError,
    person,
    stanzaError,
)
from gateway.muc.whois import show

# Errors of a server that could not send a fence to the joined node; so the join before it may be lost, too.
_NOT_SENT = frozenset(("remote-server-not-found", "remote-server-timeout"))


class Joining(Leaving):
    """
    The joins of one mirror; L{gateway.fmuc.uplink.losing.Losing} adds losses.

    @ivar changes: number of presence changes that have not come back, by nick.
    @ivar users: local users of whom the joined node has decided before.
    @ivar formMark: beginning of the id of a form that was sent to the joined node; users do not know it. Neither
        protocol has such messages: an error for one does not say that the link is lost.
    @ivar offered: epoch of the channel that the first join has offered, until it is answered.
    @ivar later: options whose configuration has changed since the joined node was told it.
    @ivar unsent: messages that a joined node has not acknowledged, which has forgotten this one.
    """

    def __init__(
        self, mirror: Mirror, node: JoinedNode, token: str, observe: Callable[[float], object] | None = None
    ) -> None:
        super().__init__(mirror, node, token, observe)
        self._fences = 0
        self.formMark = f"form-{token}:"
        self.changes: Counter[str] = Counter()
        self.users = KnownUsers()
        self.offered: int | None = None
        self.unsent: list[bytes] = []
        self.later: tuple[str, ...] = ()
        # True if the joined node has agreed to a mode since the first join.
        self._isSettled = False

    def restored(self, node: JoinedNode) -> None:
        """Continue with the joined node of an earlier process, which knows the configuration of that time."""
        configured, self.later = self.node, self._later(node)
        # The mirror's own part of a profile applies at once. In the ProtoXEP each message tells the mode.
        agreed = node.mode.current if node.dialect is Dialect.XEP_0289 else None
        node.profile, node.mode = configured.profile, FederationMode(configured.mode.asked, agreed)
        self.node = self.resumption.node = node
        self.state = UplinkState.JOINED
        self._isSettled = True
        self.resumption.isRestored = True

    def restoreJoins(self, now: float) -> None:
        """
        Await the answers to the joins of an earlier process that the channel keeps. Their users are not in here,
        but the answers must not be taken for those to later joins.
        """
        for stanza in () if self.node.channel is None else self.node.channel.unacknowledged():
            nick, user = channel_stanzas.joinOf(stanza) or ("", "")
            if nick and nick not in self._mirror.room.occupants:
                self.pending[nick] = self._followed(JoinRequest(nick=nick, realJid=user), None, now)
                self.pending[nick].state = JoinState.WITHDRAWN

    def _later(self, node: JoinedNode) -> tuple[str, ...]:
        """Return the options that differ from what the joined node of an earlier process was told."""
        configured, (profile, keep) = self.node, node.told
        isOtherMode = node.mode.asked is not configured.mode.asked and node.dialect is Dialect.XEP_0289
        differing = {
            "protocol": node.dialect is not configured.dialect,
            "mode": isOtherMode,
            "profile": profile not in ("", configured.profile.name),
            "keep": bool(profile) and keep != self.keep,
        }
        return tuple(option for option, differs in differing.items() if differs)

    # Inputs from this node.

    def join(self, request: JoinRequest, origin: JoiningNode | None, now: float) -> None:
        """
        Handle a user's request to enter: the joined node decides.

        @raise OutboxFull: if the joined node is lost, and the channel cannot keep the join.
        """
        if self.state is UplinkState.LOST and self.node.channel is not None:
            self.node.channel.check(now)
        join = self.pending[request.nick] = self._followed(request, origin, now)
        if self.state is UplinkState.LOST and self.mayEnterLost(join):
            if self.node.channel is not None:
                self._sendJoin(now, join)
            self.enterLost(join, now)
        else:
            if self.isKept and self.node.isOrdinary:
                # Nobody here has heard the ordinary room: this join is the first one, and tells what was missed.
                self.feed(Event.DISTURBED, now)
            self.feed(Event.JOIN, now, join)

    def _followed(self, request: JoinRequest, origin: JoiningNode | None, now: float) -> PendingJoin:
        """Return a join whose answer follows those to earlier, withdrawn ones by its nick."""
        join = PendingJoin(request, origin, now + 2 * self.node.profile.answer)
        earlier = self.pending.pop(request.nick, None)
        if earlier is not None:
            join.fences = earlier.fences
            isOwed = earlier.isSent and not earlier.fence
            join.owedTo = earlier.owedTo + [earlier.request.realJid] * isOwed
        return join

    def mayEnterLost(self, join: PendingJoin) -> bool:
        """
        True if a local user may enter while the joined node is lost, because it would admit the user. The channel
        keeps the join, or it is made later, and the joined node decides at the return.
        """
        isOwed = join.isOwed or join.isWithdrawn or join.occupant is not None
        return join.origin is None and not isOwed and self.users.mayEnter(join.request.realJid)

    def enterLost(self, join: PendingJoin, now: float) -> None:
        """Show the room as it is known to a user whose join the joined node gets later."""
        # XEP-0421 section 4.1: the id of a user stays the same.
        request = evolve(join.request, occupantId=self.users.idOf(join.request.realJid))
        join.occupant = self._enter(join, request, request.claimedStanding, now)
        join.deadline = self.emptyUntil = float("inf")
        self._mirror.room.changes.nodes = True
        self.showLoss(join.request.realJid)

    def sendOutgoing(self) -> None:
        """Send the messages that have waited, of senders whom the joined node has admitted."""
        raise NotImplementedError

    def showLoss(self, user: str) -> None:
        """Tell a local user, by full JID, if the joined node is away."""
        raise NotImplementedError

    def withdraw(self, join: PendingJoin, now: float) -> None:
        """Withdraw a pending join, because the user has left."""
        nick, node, wasSent = join.request.nick, join.origin, join.isSent
        if wasSent or join.isOwed:
            join.withdraw()
        else:
            del self.pending[nick]
        if wasSent:
            self._sendUnavailable(join.unavailable())
        self.leaveIfEmpty(now)
        self._answerFence(join)
        if node is not None:
            # The joining node may wait for two answers: that to the join, and its own unavailable presence. With a
            # channel, it counts the answers to joins by one nick.
            if node.returnsPresence or not node.hasJoined or node.channel is not None:
                self._mirror.toNode(node, Reject(nick, join.request.realJid, stanzaError(RecipientUnavailable)))
            if node.returnsPresence:
                self._mirror.toNode(node, join.unavailable())
            self._mirror.release(node)

    def leaveNow(self, error: StanzaError) -> None:
        """
        Remove all downstream occupants from the joined node at once; no answer is awaited.

        @param error: answer to the pending joins.
        """
        for occupant in self._mirror.room.occupants.values():
            if self.isIn and self._mirror.isDownstream(occupant):
                self._mirror.toNode(self.node, occupant.presence(UNAVAILABLE))
        self.refuseJoins(error)

    def refuseJoins(self, error: StanzaError) -> None:
        """Refuse all pending joins, and take back those that were sent."""
        for join in list(self.pending.values()):
            if self.isIn and join.isSent and not join.isWithdrawn:
                self._mirror.toNode(self.node, join.unavailable())
            self.reject(join, error)

    def removeEveryone(self, change: PresenceChange, now: float) -> None:
        """Remove all occupants: the room was destroyed."""
        room = self._mirror.room
        room.log(f"{self.node.jid} was destroyed: all occupants are removed")
        for join in list(self.pending.values()):
            self.reject(join, stanzaError(RecipientUnavailable))
        close(room, change)
        self.feed(Event.GONE, now)

    # Inputs from the joined node.

    def confirm(self, join: PendingJoin, standing: Standing, answered: Mode, now: float) -> None:
        """
        Handle the presence of a user whose join was sent.

        @param answered: the mode that the joined node has agreed to.
        """
        mode = self.node.mode
        if answered is Mode.REPLICA and mode.asked is Mode.REPLICA and not self._isSettled:
            self.node.mode, self._isSettled = evolve(mode, agreed=Mode.REPLICA), True
        if join.isOwed:
            del join.owedTo[:1]
            return
        isWithdrawn = join.isWithdrawn
        join.confirm(standing)
        if self.state is UplinkState.JOINING:
            return
        if isWithdrawn:
            del self.pending[join.request.nick]
            self.leaveIfEmpty(now)
        else:
            self.admit(join, now)

    def answered(self, nick: str, identifier: str, error: StanzaError | None, now: float) -> bool:
        """
        Handle the answer to a request; return False if that was not the fence of a pending join.

        A result and an error mean the same: the joined node has received the join before, and has not rejected it.
        """
        join = self.pending.get(nick)
        if join is None or identifier not in join.fences:
            return False
        if join.fenceAnswered(identifier):
            join.standing = join.request.claimedStanding
            if error is not None and error.condition in _NOT_SENT:
                self._joinLate(join, now, error)
                self.leaveIfEmpty(now)
            elif self.state is UplinkState.JOINED:
                self.confirm(join, join.standing, Mode.PRIMARY, now)
        else:
            self.owedAnswered(join, now)
        return True

    def owedAnswered(self, join: PendingJoin, now: float) -> None:
        """Handle the answer to an earlier join by a nick."""
        if join.isSpent:
            del self.pending[join.request.nick]
            self.leaveIfEmpty(now)

    def admit(self, join: PendingJoin, now: float) -> None:
        """Admit a user whom the joined node has admitted."""
        request, room = join.request, self._mirror.room
        self.emptyUntil = float("inf")
        if join.origin is None:
            self.users.admitted(request.realJid, request.occupantId)
        del self.pending[request.nick]
        if join.isWithdrawn:
            self._removeHolder(request.nick)
            return
        if self.resumption.readmit(join):
            self.sendOutgoing()
            return
        new = join.newPresence
        if new is None:
            self._enter(join, request, join.standing, now)
        else:
            # The joining node may have shown the new presence already.
            occupant = self._enter(join, evolve(request, payload=new.payload), join.standing, now)
            changePresence(room, occupant, new.payload, new.id, occupant.session(request.realJid))
        self._answerFence(join)

    def _answerFence(self, join: PendingJoin) -> None:
        """Answer the fence of the joining node that a join comes from, now that the join is answered."""
        if join.held is not None:
            self._mirror.room.emit(join.held)
            join.held = None

    def _enter(self, join: PendingJoin, request: JoinRequest, standing: Standing, now: float) -> Occupant:
        """Add the occupant of a join, and further sessions of the user."""
        room = self._mirror.room
        other = room.occupants.get(request.nick)
        if other is not None and other.person == person(request.realJid):
            # Another session of the user, at the joined node: the occupant stays, and is one of this node now.
            room.remove(other)
        else:
            self._removeHolder(request.nick)
        occupant = self._mirror.admit(request, join.origin, standing, now, join.created)
        for further in join.further.values():
            addSession(room, occupant, further, now)
        return occupant

    def _removeHolder(self, nick: str) -> None:
        """The joined node has one occupant with this nick, so its presence removes the other one here."""
        other = self._mirror.room.occupants.get(nick)
        if other is not None:
            remove(self._mirror.room, other, UNAVAILABLE)

    def reject(self, join: PendingJoin, error: StanzaError) -> None:
        """Reject a pending join. An occupant who is joined anew is not told."""
        del self.pending[join.request.nick]
        if not join.isWithdrawn and join.occupant is None:
            self._refuseJoin(join, error)

    def _refuseJoin(self, join: PendingJoin, error: StanzaError) -> None:
        request = join.request
        if join.origin is None:
            for each in (request, *join.further.values()):
                self.refuse(each, error)
        else:
            self._mirror.toNode(join.origin, Reject(request.nick, request.realJid, error))
            self._answerFence(join)
            self._mirror.release(join.origin)

    def refuse(self, request: JoinRequest, error: StanzaError) -> None:
        """Answer a local user's join with an error."""
        room = self._mirror.room
        address = room.address(request.nick)
        room.emit(SendError("presence", address, request.realJid, request.id, error, isJoin=True))

    def learn(self, nonAnonymous: bool | None) -> None:
        """
        Handle what the joined node tells of the real JIDs.

        @param nonAnonymous: true if all occupants see them; C{None} if it tells nothing.
        """
        if nonAnonymous is not None and self.isIn:
            self.node.semiAnonymous = not nonAnonymous
            show(self._mirror.room, nonAnonymous)

    def _joinLate(self, join: PendingJoin, now: float, error: StanzaError | None = None) -> None:
        if join.occupant is not None and join.isQueued and now < self.latest:
            # It follows the first join anew.
            join.deadline = min(now + self.node.profile.answer, self.latest)
            return
        if join.isSent and not join.isWithdrawn:
            advice = "check that its server is reachable, and that it supports federation (XEP-0289)"
            self._mirror.room.log(f"{self.node.jid} has not answered; {advice}", warn=True)
            # The join may still be admitted.
            self._sendUnavailable(join.unavailable())
            if self.node.channel is not None and join.occupant is None:
                # The channel delivers both, and the answer, which must not be taken for somebody else's.
                join.withdraw()
                self._refuseJoin(join, error or stanzaError(NoAnswer))
                return
        elif join.isQueued and join.isOwed and self.node.channel is not None:
            join.withdraw()
            self._refuseJoin(join, error or stanzaError(NoAnswer))
            return
        self.reject(join, error or stanzaError(NoAnswer))
        if join.occupant is not None and self.resumption.removed(join.occupant.nick) is not None:
            self.occupantLeft(join.occupant, now, tell=False)

    # Outputs. Each takes the time, and the join of the event.

    def _sendFirstJoin(self, now: float, join: PendingJoin | None) -> None:
        """Send the join. The history is for all users of the mirror, so the limits of the first one stay here."""
        assert join is not None
        self._isSettled = False
        self.node.told = self.node.profile.name, self.keep
        self.later = tuple(option for option in self.later if option == "protocol")
        if not self.resumption.isComparing:
            self.node.mode = FederationMode(self.node.mode.asked)
            self.probing.missing = ""
        self.node.keep, self.emptyUntil = 0, float("inf")
        self.lastLeave = ""
        join.state = JoinState.SENT
        if not (self.node.resumes or self.node.isOrdinary or self.resumption.isComparing):
            self.inquiry.begin(self.node.profile, now)
        channels = self._mirror.channels
        if channels is not None and self.node.dialect is Dialect.XEP_0289 and not self.node.isOrdinary:
            self.offered = channels.offer(self._mirror.room.jid, self.node, now)
        keep = 0 if self.offered is None else self.keep
        self._mirror.toNode(self.node, evolve(self._joinOf(join, isFirst=True), channel=self.offered, keep=keep))

    def isEarlier(self, join: PendingJoin) -> bool:
        """True if what the joined node sends now was sent before a join has arrived there."""
        channel = self.node.channel
        return channel is not None and join.after is not None and channel.isBefore(join.after)

    def _joinOf(self, join: PendingJoin, asksId: bool = False, isFirst: bool = False) -> Join:
        mode = self.node.mode.asked if isFirst else self.node.mode.current
        return Join(join.request, mode, asksId, isFirst, self.node.profile)

    def _sendJoin(self, now: float, join: PendingJoin | None) -> None:
        """Send the join; in primary mode, a fence follows it."""
        assert join is not None
        join.state, join.deadline = JoinState.SENT, now + self.node.profile.answer
        join.after = None if self.node.channel is None else self.node.channel.position
        returns = self.node.returnsPresence
        self._mirror.toNode(self.node, self._joinOf(join, asksId=not returns))
        if not returns and self.node.channel is None:
            # The joined node may reject the join, but does not confirm it. The user is shown nothing before: the
            # room may have banned the user, or be open to members only.
            self._fences += 1
            join.fence = f"join-{self._token}-{self._fences}"
            join.fences.append(join.fence)
            self._mirror.toNode(self.node, Fence(join.request.nick, join.fence))

    def _awaitAnswer(self, now: float, join: PendingJoin | None) -> None:
        """Start the wait for the answer."""
        self.deadline, self.latest = now + self.node.profile.answer, now + self.node.profile.whole

    def _extendWait(self, now: float, join: PendingJoin | None) -> None:
        """Extend the wait, within its limit; it is short once a joiner's own presence was received."""
        isConfirmed = any(join.isConfirmed for join in self.pending.values())
        profile = self.node.profile
        self.deadline = min(now + (profile.rest if isConfirmed else profile.answer), self.latest)

    def _settleMode(self, now: float, join: PendingJoin | None) -> None:
        """Fall back to primary mode if the joined node has not agreed to replica mode."""
        room, node = self._mirror.room, self.node
        if not room.settings.nonAnonymous:
            # Openfire shows no real JIDs in the answer to a join, even if it shows them in later presences.
            self.learn(self.told)
        if node.dialect is Dialect.XEP_0289 and not self._isSettled:
            # The joined node knows primary mode only: "they won't distribute the stanza back to the node from which
            # they received it".
            before, node.mode = node.mode, evolve(node.mode, agreed=Mode.PRIMARY)
            self._isSettled = True
            if node.mode.asked is Mode.REPLICA and node.mode != before:
                room.log(
                    f"{node.jid} sends nothing back: messages are shown at once, as in primary mode", warn=True
                )
        room.log(f"mirrors {node.jid}")

    def _admitJoins(self, now: float, join: PendingJoin | None) -> None:
        """Admit the users of answered joins."""
        for each in list(self.pending.values()):
            # The joined node's occupant keeps the nick until it leaves or our join is rejected.
            holder = self._mirror.room.occupants.get(each.request.nick)
            isHeld = holder is not None and holder is not each.occupant
            isAnswered = self.node.returnsPresence or self.node.channel is not None
            isDue = not (isAnswered or isHeld or each.fences)
            if each.isSent and (each.isConfirmed or isDue):
                self.admit(each, now)

    def _sendQueued(self, now: float, join: PendingJoin | None) -> None:
        """Send the joins that were waiting."""
        for nick, each in list(self.pending.items()):
            if self.pending.get(nick) is each and each.isQueued:
                self._sendJoin(now, each)
        unsent, self.unsent = self.unsent, []
        for message in unsent:
            # Their senders have joined anew before.
            self._mirror.toNode(self.node, Kept(message))
        self.sendOutgoing()
        self.leaveIfEmpty(now)

    def _sendNextFirst(self, now: float, join: PendingJoin | None) -> None:
        """If a join is waiting, begin anew with it."""
        self.lastLeave = ""
        waiting = next((each for each in self.pending.values() if each.isQueued), None)
        if waiting is not None:
            self.feed(Event.JOIN, now, waiting)
