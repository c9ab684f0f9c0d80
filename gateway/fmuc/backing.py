"""
The ordinary rooms (XEP-0045) behind the rooms of a component: translates between mirrors and ordinary rooms. Pure.

A room here is a mirror in replica mode, and the ordinary room is its joined node. Each federated occupant joins the
ordinary room as an occupant of its own, a puppet (L{gateway.fmuc.puppets}). What the mirror sends its joined node
is sent by puppets, and what the ordinary room sends puppets is given to the mirror as if a joined node had sent it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from attrs import evolve, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, Loop, NoHandler, NotInTheRoom
from gateway.fmuc.actions import (
    AskProperties,
    AskResume,
    Join,
    Kept,
    PrivateMessage,
    SelfPing,
    Submission,
    TellOccupants,
    ToNode,
)
from gateway.fmuc.core import Rooms
from gateway.fmuc.from_ordinary import FromOrdinary
from gateway.fmuc.ordinary import ToOrdinary, leaveOf, naming
from gateway.fmuc.puppets import Puppet, Puppets, PuppetState, addressOf, isLoop
from gateway.fmuc.speaking import Speaking
from gateway.fmuc.uplink import UplinkState
from gateway.fmuc.values import ABSENT, ResumeAnswer
from gateway.muc.actions import Action, ForwardIq, SendError, SendResult
from gateway.muc.occupant_iq import errorOf
from gateway.muc.values import OccupantPresence, stanzaError
from gateway.stream.stanzas import Stanza

# Seconds for which the answer to a self-ping, or to a leave, is awaited.
_WAIT = 10.0
# Puppets that are restored at once, and seconds within which all of them are.
_AT_ONCE, _WITHIN = 20, 15
# Ghosts that are remembered, and seconds until one is told again to leave.
_MAX_GHOSTS, _AGAIN = 1_000, 60.0
# Requests to bare JIDs that are remembered; later ones than that are answered by the full JID.
_MAX_OF_ACCOUNTS = 1_000
# Errors by which a client has answered a self-ping, so that the puppet is in (XEP-0410 section 3.3).
_OF_CLIENT = frozenset(("feature-not-implemented", "service-unavailable"))
_UNKNOWN = ResumeAnswer(condition="item-not-found")
# Types of presence that rooms send.
_SHOWN = frozenset((None, "unavailable", "error"))


@frozen
class _Ping:
    """
    An open self-ping.

    @ivar join: the join that waits for its answer; C{None} if the uplink does.
    @ivar ask: id of the uplink's request; empty for none.
    """

    puppets: Puppets
    puppet: Puppet
    deadline: float
    join: Join | None = None
    ask: str = ""


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
        # Joins of puppets that may be in, and wait for their turn.
        self._waiting: deque[tuple[Puppets, Puppet, Join]] = deque()
        self._credit = _AT_ONCE
        self._pings: dict[str, _Ping] = {}
        self._leaving: deque[tuple[float, Puppets, Puppet]] = deque()
        self._ghosts: dict[tuple[str, str], float] = {}
        # Requests to bare JIDs of puppets: the puppet's address, the requester, and the id.
        self._ofAccounts: dict[tuple[str, str, str], None] = {}
        self._asked = 0
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

    def disturbed(self) -> None:
        """Stanzas may have been lost: the connection is a new one."""
        self.lost()
        self._isLost = False

    def lost(self) -> None:
        """The connection is lost. What is sent until there is a new one would come before the joins anew."""
        self._isLost = True
        self._waiting.clear()
        self._pings.clear()
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
                found.append(self._asPuppet(action))
            else:
                found.append(action)
        return found

    def _asPuppet(self, action: ForwardIq | SendError | SendResult) -> Action:
        """Return a stanza of an occupant here to an ordinary room as that of the puppet; others as they are."""
        room, _, nick = action.sender.partition("/")
        puppets = self._puppets.get(room)
        puppet = None if puppets is None else puppets.called(nick)
        if puppets is None or puppet is None or jids.split(action.recipient)[1] != self._domain:
            return action
        if isinstance(action, ForwardIq) and action.stanza.type == "set" and action.recipient == puppets.source:
            named = naming(action.stanza, puppets.addresses)
            if named is not None:
                return ToOrdinary(puppets.source, puppet.address, Kept(named))
        return evolve(action, sender=self._senderOf(action, puppet))

    def _senderOf(self, action: ForwardIq | SendError | SendResult, puppet: Puppet) -> str:
        """Return the address of a puppet that a stanza comes from: of an answer, the one that was asked."""
        identifier = action.stanza.id if isinstance(action, ForwardIq) else action.id
        key = puppet.address, action.recipient, identifier or ""
        isRequest = isinstance(action, ForwardIq) and action.stanza.type in ("get", "set")
        if key not in self._ofAccounts or isRequest:
            return puppet.address
        del self._ofAccounts[key]
        return jids.bare(puppet.address)

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
        self._ghosts.pop((address, puppets.source), None)
        puppet.password = request.password or puppet.password
        if puppet.farewell is not None:
            # The user is back before the leave was sent.
            puppet.farewell = None
            self._taken.leaveReturned(puppets, puppet)
        # Of a user who is joined anew, the mirror does not know the password.
        stanza = evolve(stanza, request=evolve(request, password=puppet.password))
        if stanza.isFirst:
            puppets.listen(puppet)
            puppets.last = puppets.last if self._isAnew(puppets.room, request.nick) else ""
            puppet.state = PuppetState.JOINING
            return [*left, ToOrdinary(action.peer, address, stanza, hasHistory=True)]
        if puppet.state is PuppetState.UNKNOWN or self._isLost:
            puppet.state = PuppetState.UNKNOWN
            self._waiting.append((puppets, puppet, stanza))
            return [] if self._isLost else self._restore(now)
        puppet.state = PuppetState.JOINING
        return [ToOrdinary(action.peer, address, stanza)]

    def _isAnew(self, room: str, nick: str) -> bool:
        """True if the join is that of an occupant, who is joined anew."""
        federation = self._rooms.federation(room)
        join = None if federation is None else federation.pending.get(nick)
        return join is not None and join.occupant is not None

    def _restore(self, now: float) -> list[Action]:
        """Ask for some of the puppets that may be in whether they are."""
        found: list[Action] = []
        while self._waiting and self._credit > 0:
            puppets, puppet, join = self._waiting.popleft()
            if puppet.state is PuppetState.UNKNOWN:
                self._credit -= 1
                puppet.state = PuppetState.CHECKING
                found.append(self._ping(_Ping(puppets, puppet, now + _WAIT, join)))
        return found

    def _ping(self, ping: _Ping) -> Action:
        identifier = self._newId("ping")
        self._pings[identifier] = ping
        return ToOrdinary(ping.puppets.source, ping.puppet.address, SelfPing(ping.puppet.nick, identifier))

    def _newId(self, kind: str) -> str:
        self._asked += 1
        return f"{kind}-{self._rooms.token}-{self._asked}"

    def _presence(
        self, puppets: Puppets, action: ToNode, stanza: OccupantPresence, now: float
    ) -> list[Action]:
        puppet = puppets.called(stanza.nick)
        if puppet is None:
            return []
        sent = ToOrdinary(action.peer, puppet.address, stanza, action.id)
        if stanza.change.unavailable and self._speaking.waits(puppets, puppet):
            puppet.farewell = sent
            return []
        if stanza.change.unavailable:
            if self._withdraws(puppet):
                refused = stanzaError(NotInTheRoom)
                self._due.append(partial(self._taken.refuse, action.room, puppet.nick, puppet.realJid, refused))
            self._leave(puppets, puppet, now)
        if puppet.state in (PuppetState.UNKNOWN, PuppetState.CHECKING):
            puppet.unsent = sent
            return []
        return [sent]

    def _withdraws(self, puppet: Puppet) -> bool:
        """Return True if a join of a puppet waits that leaves: it is not sent any longer, and has no answer."""
        if puppet.state is PuppetState.CHECKING:
            return True
        waiting = [each for each in self._waiting if each[1] is puppet]
        for each in waiting:
            self._waiting.remove(each)
        return bool(waiting)

    def _leave(self, puppets: Puppets, puppet: Puppet, now: float) -> None:
        """Wait for the answer to a leave, which is sent."""
        puppet.leaves += 1
        puppet.unsent = puppet.farewell = None
        puppet.state, puppet.deadline = PuppetState.LEAVING, now + _WAIT
        self._leaving.append((puppet.deadline, puppets, puppet))

    def _rejoin(self, puppets: Puppets, puppet: Puppet) -> None:
        """Let a puppet join again that is not in any longer, when its turn comes."""
        if all(each is not puppet for _, each, _ in self._waiting):
            self._waiting.append((puppets, puppet, self._speaking.joinOf(puppets, puppet)))

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
        return [self._ping(_Ping(puppets, listener, now + _WAIT, ask=stanza.id))]

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
        for identifier, ping in list(self._pings.items()):
            if ping.deadline > now:
                break
            del self._pings[identifier]
            found += self._pinged(ping, "remote-server-timeout", now)
        while self._leaving and self._leaving[0][0] <= now:
            deadline, puppets, puppet = self._leaving.popleft()
            if puppet.leaves and puppet.deadline == deadline:
                found += self._taken.expired(puppets, puppet, now)
        self._credit = max(_AT_ONCE, -(-len(self._waiting) // _WITHIN))
        found += self._restore(now)
        for puppets in self._puppets.values():
            if puppets.missed is not None and puppets.missed.deadline <= now:
                found += self._taken.caughtUp(puppets, False, now)
            if puppets.listener is None and self._isSettled(puppets.room):
                found += self._taken.disturb(puppets.room, now)
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
            return self._toGhost(source, stanza, now)
        handle = self._taken.message if stanza.name == "message" else self._taken.presence
        return handle(puppets, puppet, nick, stanza, now)

    # Requests.

    def iq(self, stanza: Stanza, now: float) -> list[Action] | Stanza | None:
        """
        Handle an iq of an ordinary room, or of one of its occupants.

        @return: the iq as one to the occupant here whose puppet it is for; actions if it is handled; C{None} if it
            is for no puppet.
        """
        source, _, nick = (stanza.sender or "").partition("/")
        puppets = self._puppets.get(f"{jids.split(source)[0]}@{self._rooms.jid}")
        puppet = None if puppets is None else puppets.at(stanza.recipient or "")
        if puppet is None and puppets is not None and nick and stanza.type in ("get", "set"):
            # Rooms send requests that are for the account, such as for a vCard, to the bare JID.
            puppet = puppets.ofUser(stanza.recipient or "")
        if puppets is None or puppet is None:
            return None
        if stanza.type in ("result", "error"):
            ping = self._pings.get(stanza.id or "")
            if ping is not None and ping.puppet is puppet and nick == puppet.nick:
                del self._pings[stanza.id or ""]
                return self._pinged(ping, errorOf(stanza).condition if stanza.type == "error" else "", now)
            if puppets.missed is not None and puppets.missed.id == stanza.id and not nick:
                return self._taken.archived(puppets, puppet, stanza, now)
        elif nick in ("", puppet.nick):
            # By servers that forward self-pings, and by those that ask occupants themselves.
            return [self._answerOf(stanza)]
        elif stanza.recipient != puppet.address:
            self._ofAccounts[puppet.address, stanza.sender or "", stanza.id or ""] = None
            if len(self._ofAccounts) > _MAX_OF_ACCOUNTS:
                del self._ofAccounts[next(iter(self._ofAccounts))]
        return stanza.sentBy(stanza.sender or "", f"{puppets.room}/{puppet.nick}")

    @staticmethod
    def _answerOf(stanza: Stanza) -> Action:
        sender, recipient, identifier = stanza.recipient or "", stanza.sender or "", stanza.id
        if not identifier:
            return SendError("iq", sender, recipient, None, stanzaError(BadRequest))
        if stanza.type == "get" and ns.PING.encode() in stanza.raw:
            return SendResult(sender, recipient, identifier)
        return SendError("iq", sender, recipient, identifier, stanzaError(NoHandler))

    def _pinged(self, ping: _Ping, condition: str, now: float) -> list[Action]:
        """Handle the answer to a self-ping; the condition is empty for a result."""
        puppets, puppet = ping.puppets, ping.puppet
        isIn = not condition or condition in _OF_CLIENT
        if ping.join is None:
            answer = ResumeAnswer() if isIn else ResumeAnswer(condition=condition)
            if not isIn and condition not in ABSENT:
                puppets.doubt()
                answer = _UNKNOWN
            return self._answer(puppets.room, ping.ask, answer, now)
        if puppet.state is not PuppetState.CHECKING:
            return []
        held = puppet.held
        if isIn and held is not None and not held.unavailable:
            return self._taken.own(puppets, puppet, held, (), now)
        puppet.state = PuppetState.JOINING
        return [ToOrdinary(puppets.source, puppet.address, ping.join)]

    # Ghosts.

    def _toGhost(self, source: str, stanza: Stanza, now: float) -> list[Action]:
        """Take a puppet out of an ordinary room that nobody needs, such as one of an earlier process."""
        address = stanza.recipient or ""
        local, _, resource = jids.split(address)
        isShown = (stanza.name == "presence" and stanza.type is None) or stanza.type == "groupchat"
        if not isShown or not resource or "@" not in jids.unescapeLocal(local):
            self.dropped += 1
            return []
        key = address, source
        if self._ghosts.get(key, 0.0) > now:
            return []
        self._ghosts.pop(key, None)
        self._ghosts[key] = now + _AGAIN
        if len(self._ghosts) > _MAX_GHOSTS:
            del self._ghosts[next(iter(self._ghosts))]
        return [leaveOf(source, address, resource)]
