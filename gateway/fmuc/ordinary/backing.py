"""
The ordinary rooms (XEP-0045) behind the rooms of a component: translates between mirrors and ordinary rooms. Pure.

A room here is a mirror in replica mode, and the ordinary room is its joined node. Each federated occupant joins the
ordinary room as an occupant of its own, a puppet (L{gateway.fmuc.ordinary.puppets}). What the mirror sends its
joined node is sent by puppets, and what the ordinary room sends puppets is given to the mirror as if a joined node
had sent it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from attrs import evolve

from gateway.addresses import jids
from gateway.errors import GatewayError, Loop, NotInTheRoom
from gateway.fmuc.actions import (
    AskProperties,
    AskResume,
    Join,
    PrivateMessage,
    Submission,
    TellOccupants,
    ToNode,
)
from gateway.fmuc.core import Rooms
from gateway.fmuc.ordinary.former_puppets import FormerPuppets
from gateway.fmuc.ordinary.from_room import FromOrdinary
from gateway.fmuc.ordinary.puppet_iqs import PuppetIqs, answerOf
from gateway.fmuc.ordinary.puppets import Puppet, Puppets, PuppetState, addressOf, isLoop
from gateway.fmuc.ordinary.restoring import Check, Restoring, isIn
from gateway.fmuc.ordinary.speaking import Speaking
from gateway.fmuc.ordinary.stanzas import ToOrdinary, isSame, leaveOf, presenceOf
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import ABSENT, ResumeAnswer
from gateway.muc.actions import Action, ForwardIq, SendError, SendResult
from gateway.muc.occupant_iq import errorOf
from gateway.muc.values import OccupantPresence, stanzaError
from gateway.stream.stanzas import Stanza

# Seconds for which the answer to a leave is awaited.
_WAIT = 10.0
_UNKNOWN = ResumeAnswer(condition="item-not-found")
# Types of presence that rooms send.
_SHOWN = frozenset((None, "unavailable", "error"))


class Backing:
    """
    The ordinary rooms behind the rooms of one component.

    @ivar dropped: number of stanzas of ordinary rooms that were dropped: those for no puppet.
    @param domain: that of the ordinary rooms.
    """

    def __init__(self, rooms: Rooms, domain: str) -> None:
        self._rooms = rooms
        self._domain = domain
        self._puppets: dict[str, Puppets] = {}
        self._due: deque[Callable[[float], list[Action]]] = deque()
        self._restoring = Restoring(rooms.token)
        self._leaving: deque[tuple[float, Puppets, Puppet]] = deque()
        self._former = FormerPuppets()
        self._iqs = PuppetIqs(rooms.jid, domain, self._puppets)
        self._isLost = False
        self.dropped = 0
        self._speaking = Speaking(rooms, self._leave, self._rejoin)
        self._taken = FromOrdinary(rooms, self._due.append, self._speaking)

    @property
    def merged(self) -> int:
        """Number of copies that were left out, because the listener has got one."""
        return self._taken.merged

    @property
    def count(self) -> int:
        """Number of puppets."""
        return sum(map(len, self._puppets.values()))

    def isFrom(self, stanza: Stanza) -> bool:
        """True if a stanza comes from an ordinary room, or one of its occupants."""
        return jids.split(stanza.sender or "")[1] == self._domain

    def isRefusalLeftOut(self, stanza: Stanza) -> bool:
        """
        True if nobody is told that the stream refuses a stanza of an ordinary room (its start tag): its sender has
        sent it to all. A room removes an occupant who answers its presence with an error.
        """
        isToAll = (stanza.name == "presence" and stanza.type is None) or stanza.type == "groupchat"
        return isToAll and self.isFrom(stanza)

    def disturbed(self, now: float) -> list[Action]:
        """Stanzas may have been lost: the connection is a new one. Return the leaves that are sent again."""
        self.lost()
        self._isLost = False
        found: list[Action] = []
        for puppets in self._puppets.values():
            for puppet in puppets:
                if puppet.state is PuppetState.LEAVING:
                    self._awaitLeave(puppets, puppet, now)
                    found.append(leaveOf(puppets.source, puppet.address, puppet.nick))
                    found.append(self._restoring.fence(puppets, puppet, now))
        return found

    def lost(self) -> None:
        """The connection is lost. What is sent until there is a new one would come before the joins anew."""
        self._isLost = True
        self._restoring.clear()
        for puppets in self._puppets.values():
            puppets.doubt(isLost=True)

    # Stanzas of rooms here.

    def outgoing(self, actions: Sequence[Action], now: float) -> Sequence[Action]:
        """Return actions in which stanzas for ordinary rooms come from puppets."""
        if not any(isinstance(each, ToNode | ForwardIq | SendError | SendResult) for each in actions):
            return actions
        found: list[Action] = []
        for action in actions:
            if isinstance(action, ToNode):
                found += self._toJoined(action, now) if action.toJoined else [action]
            elif isinstance(action, ForwardIq | SendError | SendResult):
                found.append(self._iqs.asPuppet(action))
            else:
                found.append(action)
        return found

    def _toJoined(self, action: ToNode, now: float) -> list[Action]:
        stanza = action.stanza
        if isinstance(stanza, AskProperties):
            return [action]
        if isinstance(stanza, Join):
            return self._join(action, stanza, now)
        puppets = self._of(action.room)
        if isinstance(stanza, OccupantPresence):
            return self._presence(puppets, action, stanza, now)
        if isinstance(stanza, Submission | PrivateMessage):
            return self._say(action, stanza, now)
        if isinstance(stanza, AskResume):
            return self._ask(puppets, action, stanza, now)
        if isinstance(stanza, TellOccupants):
            # The leaves were sent.
            self._due.append(partial(self._answer, action.room, stanza.id, ResumeAnswer()))
        return []

    def _of(self, room: str) -> Puppets:
        """Return the puppets of a room (bare JID); of one that was restored, those that it must have had."""
        puppets = self._puppets.get(room)
        if puppets is None:
            puppets = self._puppets[room] = Puppets(room, self._rooms.mirrored(room) or "")
            federation = self._rooms.federation(room)
            occupants = [] if federation is None else federation.room.occupants.values()
            for occupant in occupants:
                if federation is not None and federation.isDownstream(occupant):
                    address = addressOf(self._rooms.jid, occupant.realJid, occupant.nick)
                    puppets.add(address, occupant.nick, occupant.realJid).state = PuppetState.UNKNOWN
            self._recall(puppets)
        return puppets

    def _recall(self, puppets: Puppets) -> None:
        """Let puppets leave whose users have left in an earlier process, when they have said what is stored."""
        submitted = self._speaking.of(puppets)
        for nick, user in set() if submitted is None else submitted.senders():
            address = addressOf(self._rooms.jid, user, nick)
            if puppets.at(address) is None and puppets.called(nick) is None:
                puppet = puppets.add(address, nick, user)
                puppet.state, puppet.farewell = PuppetState.UNKNOWN, leaveOf(puppets.source, address, nick)

    def _join(self, action: ToNode, stanza: Join, now: float) -> list[Action]:
        request, puppets = stanza.request, self._of(action.room)
        try:
            address = addressOf(self._rooms.jid, request.realJid, request.nick)
            if isLoop(self._rooms.jid, request.realJid):
                raise Loop
        except GatewayError as error:
            refusal = stanzaError(type(error))
            self._due.append(
                partial(self._taken.refuse, action.room, request.nick, request.realJid, refusal)
            )
            return []
        # The answer to a first join tells who is in, so puppets that nobody needs leave before.
        left = self._release(puppets) if stanza.isFirst else []
        puppet = puppets.add(address, request.nick, request.realJid)
        self._former.joins(address, puppets.source)
        puppet.password = request.password or puppet.password
        if puppet.farewell is not None:
            # The user is back before the leave was sent.
            puppet.farewell = None
            self._taken.leaveReturned(puppets, puppet)
        # Of a user who is joined anew, the mirror does not know the password.
        stanza = evolve(stanza, request=evolve(request, password=puppet.password))
        if stanza.isFirst:
            puppets.listen(puppet)
            puppets.last = puppets.last if self._isReturn(puppets.room) else ""
            puppet.state = PuppetState.JOINING
            return [*left, ToOrdinary(action.peer, address, stanza, hasHistory=True)]
        if puppet.state is PuppetState.UNKNOWN or self._isLost:
            puppet.state = PuppetState.UNKNOWN
            self._restoring.add(puppets, puppet, stanza)
            return [] if self._isLost else self._restoring.next(now)
        puppet.state = PuppetState.JOINING
        return [ToOrdinary(action.peer, address, stanza)]

    def _isReturn(self, room: str) -> bool:
        """True if a mirror joins anew, and compares what it knows with the ordinary room."""
        federation = self._rooms.federation(room)
        return federation is not None and federation.uplink is not None and federation.uplink.resumption.isComparing

    def _presence(
        self, puppets: Puppets, action: ToNode, stanza: OccupantPresence, now: float
    ) -> list[Action]:
        puppet = puppets.called(stanza.nick)
        if puppet is None:
            return []
        if not stanza.change.unavailable:
            # It may be that of another session of the user.
            puppet.realJid = stanza.realJid
        sent = ToOrdinary(action.peer, puppet.address, stanza, action.id)
        if stanza.change.unavailable and self._speaking.waits(puppets, puppet):
            puppet.farewell = sent
            return []
        if stanza.change.unavailable:
            if self._restoring.withdraw(puppet):
                refused = stanzaError(NotInTheRoom)
                self._due.append(partial(self._taken.refuse, action.room, puppet.nick, puppet.realJid, refused))
            return [sent, *self._leave(puppets, puppet, now)]
        if puppet.state in (PuppetState.UNKNOWN, PuppetState.CHECKING):
            puppet.unsent = sent
            return []
        puppet.changes += 1
        return [sent]

    def _leave(self, puppets: Puppets, puppet: Puppet, now: float) -> list[Action]:
        """Wait for the answer to a leave, which is sent; return what follows it."""
        isKnown = puppet.state in (PuppetState.IN, PuppetState.JOINING) and not puppet.leaves
        puppet.leaves += 1
        puppet.unsent = puppet.farewell = None
        puppet.state = PuppetState.LEAVING
        self._restoring.forgetFence(puppet)
        self._awaitLeave(puppets, puppet, now)
        return [] if isKnown else [self._restoring.fence(puppets, puppet, now)]

    def _awaitLeave(self, puppets: Puppets, puppet: Puppet, now: float) -> None:
        puppet.deadline = now + _WAIT
        self._leaving.append((puppet.deadline, puppets, puppet))

    def _rejoin(self, puppets: Puppets, puppet: Puppet) -> None:
        """Let a puppet join again that is not in any longer, when its turn comes."""
        if not self._restoring.isWaiting(puppet):
            self._restoring.add(puppets, puppet, self._speaking.joinOf(puppets, puppet))

    def _say(self, action: ToNode, stanza: Submission | PrivateMessage, now: float) -> list[Action]:
        puppets = self._of(action.room)
        puppet = puppets.called(stanza.message.nick)
        if puppet is None:
            return []
        if isinstance(stanza, Submission):
            return self._speaking.say(puppets, puppet, stanza, now)
        return [ToOrdinary(action.peer, puppet.address, stanza)]

    # Returns.

    def _ask(self, puppets: Puppets, action: ToNode, stanza: AskResume, now: float) -> list[Action]:
        """
        Handle the mirror's question whether stanzas were lost: if the connection has lasted and the listener is in,
        none was. Otherwise the mirror joins anew, and the answers of the ordinary room are those to the listener.
        """
        listener, puppets.last = puppets.listener, stanza.last or ""
        if listener is None or listener.state is not PuppetState.IN:
            puppets.doubt()
            self._due.append(partial(self._answer, action.room, stanza.id, _UNKNOWN))
            return []
        return [self._restoring.ask(puppets, listener, now, ask=stanza.id)]

    def _isEmpty(self, room: str) -> bool:
        """True if nobody is in a mirror, which stays for its joining nodes."""
        federation = self._rooms.federation(room)
        return federation is not None and not federation.downstreamCount

    def _answer(self, room: str, identifier: str, answer: ResumeAnswer, now: float) -> list[Action]:
        federation = self._rooms.federation(room)
        uplink = None if federation is None else federation.uplink
        if federation is None or uplink is None or not uplink.resumeAnswered(identifier, answer, now):
            return []
        self._rooms.comparisons[answer.outcome] += 1
        return self._rooms.settled(federation.room)

    @property
    def isDue(self) -> bool:
        """True if L{due} has something to do."""
        return bool(self._due)

    def due(self, now: float) -> list[Action]:
        """Give the mirrors the answers that need no stanza of the ordinary room."""
        found: list[Action] = []
        for _ in range(len(self._due)):
            found += self._due.popleft()(now)
        return found

    def tick(self, now: float) -> list[Action]:
        """Handle deadlines that have passed, and restore puppets."""
        found: list[Action] = []
        for check in self._restoring.tick(now):
            found += self._checked(check, "remote-server-timeout", now)
        found += self._restoring.fencesAgain(now)
        while self._leaving and self._leaving[0][0] <= now:
            deadline, puppets, puppet = self._leaving.popleft()
            if puppet.leaves and puppet.deadline == deadline:
                found += self._taken.expired(puppets, puppet, now)
        found += self._restoring.next(now)
        for puppets in self._puppets.values():
            if puppets.missed is not None and puppets.missed.deadline <= now:
                found += self._taken.caughtUp(puppets, False, now)
            if puppets.listener is None and self._isSettled(puppets.room) and not self._isEmpty(puppets.room):
                found += self._taken.disturb(puppets.room, now)
            if not puppets:
                found += self._taken.left(puppets, now)
            if puppets.isHistory and self._isSettled(puppets.room):
                # Old rooms need not send a subject.
                puppets.isHistory = False
            found += self._speaking.tick(puppets, now)
        for room in [room for room in self._puppets if room not in self._rooms.rooms]:
            found += self._release(self._puppets[room])
            if not self._puppets[room]:
                del self._puppets[room]
        return found

    def _isSettled(self, room: str) -> bool:
        """True if a mirror awaits no answer: a connection that was lost during its first join tells it nothing."""
        federation = self._rooms.federation(room)
        uplink = None if federation is None else federation.uplink
        return uplink is not None and uplink.state is UplinkState.JOINED and not uplink.pending

    def _release(self, puppets: Puppets) -> list[Action]:
        """Let all puppets leave that nobody needs."""
        return [each for puppet in puppets for each in self._taken.release(puppets, puppet)]

    # Stanzas of ordinary rooms.

    def received(self, stanza: Stanza, now: float) -> list[Action] | None:
        """
        Handle a presence or a message.

        @return: C{None} for a copy of what another puppet gets: nothing has changed.
        @raise BadRequest: if it cannot be read.
        """
        source, _, nick = (stanza.sender or "").partition("/")
        address = stanza.recipient or ""
        local = jids.split(source)[0]
        if not local or (stanza.name == "presence" and stanza.type not in _SHOWN):
            # The service itself is no room, and rooms have no subscriptions.
            self.dropped += 1
            return []
        room = f"{local}@{self._rooms.jid}"
        puppets = self._of(room) if room in self._rooms.rooms else self._puppets.get(room)
        puppet = None if puppets is None else puppets.at(address)
        if puppets is None or puppet is None:
            isFormer = self._former.isHeard(stanza)
            self.dropped += not isFormer
            return list(self._former.leave(address, source, now)) if isFormer else []
        handle = self._taken.message if stanza.name == "message" else self._taken.presence
        return handle(puppets, puppet, nick, stanza, now)

    # Requests.

    def iq(self, stanza: Stanza, now: float) -> list[Action] | Stanza | None:
        """
        Handle an iq of an ordinary room, or of one of its occupants.

        @return: the iq as one to the occupant here whose puppet it is for; actions if it is handled; C{None} if it
            is for no puppet.
        """
        found = self._iqs.recipientOf(stanza)
        if found is None:
            return None
        puppets, puppet = found
        nick = (stanza.sender or "").partition("/")[2]
        if stanza.type in ("result", "error"):
            check = self._restoring.answered(puppet, nick, stanza.id or "")
            if check is not None:
                return self._checked(check, errorOf(stanza).condition if stanza.type == "error" else "", now)
            if puppets.missed is not None and puppets.missed.id == stanza.id and not nick:
                return self._taken.archived(puppets, puppet, stanza, now)
        elif nick in ("", puppet.nick):
            # By servers that forward self-pings, and by those that ask occupants themselves.
            return [answerOf(stanza)]
        return self._iqs.toOccupant(stanza, puppets, puppet)

    def _checked(self, check: Check, condition: str, now: float) -> list[Action]:
        """Handle the answer to a self-ping; the condition is empty for a result."""
        puppets, puppet = check.puppets, check.puppet
        if check.fence:
            return [] if condition in ABSENT else self._taken.fenced(puppets, puppet, now)
        if check.join is None:
            answer = ResumeAnswer() if isIn(condition) else ResumeAnswer(condition=condition)
            if answer.condition and condition not in ABSENT:
                puppets.doubt()
                answer = _UNKNOWN
            return self._answer(puppets.room, check.ask, answer, now)
        if puppet.state is not PuppetState.CHECKING:
            return []
        held, wanted = puppet.held, check.join.request.payload
        if isIn(condition) and held is not None and not held.unavailable:
            if puppet.unsent is None and not isSame(held.payload, wanted):
                # The user's presence has changed, and the ordinary room was not told.
                puppet.unsent = presenceOf(puppets.source, puppet.address, puppet.nick, wanted)
            return self._taken.own(puppets, puppet, held, (), now)
        puppet.state = PuppetState.JOINING
        return [ToOrdinary(puppets.source, puppet.address, check.join)]
