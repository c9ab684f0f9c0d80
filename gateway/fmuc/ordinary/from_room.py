"""Stanzas of ordinary rooms to puppets: given to the mirrors as if their joined nodes had sent them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from attrs import evolve

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, NickInUse
from gateway.fmuc.actions import AskArchive, OpenRoom
from gateway.fmuc.core import Rooms
from gateway.fmuc.ordinary.archive import MAX_HELD, WAIT, Missed, readFin, readResult
from gateway.fmuc.ordinary.puppets import Puppet, Puppets, PuppetState
from gateway.fmuc.ordinary.speaking import Speaking
from gateway.fmuc.ordinary.stanzas import ToOrdinary, leaveOf, readMessage, readPresence
from gateway.fmuc.values import UNREACHABLE, Fmuc, Mode, NodeMessage, NodePresence
from gateway.muc.actions import Action
from gateway.muc.values import CREATED, NON_ANONYMOUS, SELF, StanzaError, person, stanzaError
from gateway.stream.stanzas import Stanza

# Bytes of a message of the history, and of a presence that may be the recipient's own.
_DELAY, _SELF = ns.DELAY.encode(), str(SELF).encode()


class FromOrdinary:
    """
    The stanzas of ordinary rooms to puppets.

    @ivar merged: number of copies that were left out, because the listener has got one.
    @param later: is called with functions that are to be called soon, with the time; they return actions.
    """

    def __init__(
        self,
        rooms: Rooms,
        later: Callable[[Callable[[float], list[Action]]], object],
        speaking: Speaking,
    ) -> None:
        self._rooms = rooms
        self._speaking = speaking
        self._later = later
        self._asked = 0
        self.merged = 0

    def presence(
        self, puppets: Puppets, puppet: Puppet, nick: str, stanza: Stanza, now: float
    ) -> list[Action] | None:
        """
        Handle a presence.

        @param nick: of its sender; empty for the ordinary room itself.
        @return: C{None} for a copy of what the listener gets: nothing has changed.
        @raise BadRequest: if it cannot be read.
        """
        isOthers = nick != puppet.nick and stanza.type != "error" and _SELF not in stanza.raw
        if isOthers and puppet is not puppets.listener:
            # Nearly all copies are these, so they are not read.
            self.merged += 1
            return None
        presence, codes = readPresence(stanza)
        if presence.stanzaError is not None:
            # What a puppet has sent comes back from its own nick, or from the room; others' errors are none of it.
            return self._refused(puppets, puppet, presence, now) if nick in ("", puppet.nick) else []
        # Another nick is given in the answer to a join. Otherwise, code 110 from another nick is forged.
        isRenamed = bool(nick) and SELF in codes and puppet.state is PuppetState.JOINING
        if nick != puppet.nick and not isRenamed:
            return self._ofOther(puppets, puppet, nick, presence, now)
        if presence.unavailable:
            isRemoved = not puppet.leaves and puppet.state is not PuppetState.JOINING
            # The room keeps the order, so what it has not sent to all by now, it has not taken.
            refused = self._speaking.refused(puppets, puppet) if isRemoved else []
            return refused + self.gone(puppets, puppet, presence, now)
        if nick != puppet.nick:
            # Section 7.2.3: the service has changed the nick. Nicks cannot change in a mirror.
            error = evolve(stanzaError(NickInUse), text=f"The room gives you another nick: join as {nick}.")
            puppets.remove(puppet)
            left = leaveOf(puppets.source, puppet.address, nick)
            return [left, *self.refuse(puppets.room, puppet.nick, puppet.realJid, error, now)]
        return self.own(puppets, puppet, presence, codes, now)

    def own(
        self, puppets: Puppets, puppet: Puppet, presence: NodePresence, codes: tuple[int, ...], now: float
    ) -> list[Action]:
        """Handle a puppet's own presence."""
        left = self.release(puppets, puppet)
        if left:
            return left
        puppet.held = None
        isNew = puppet.state is PuppetState.JOINING and not puppet.leaves
        isChange, puppet.changes = bool(puppet.changes) and not isNew, max(0, puppet.changes - (not isNew))
        if puppet.leaves:
            # It is the answer to a join before the leave, or an earlier presence of a user who has left since.
            isAnswer = self._isAsked(puppets, puppet) and not isChange
            return self._give(puppets, puppet.nick, presence, puppet.realJid, now) if isAnswer else []
        puppet.state = PuppetState.IN
        found: list[Action] = [] if puppet.unsent is None else [puppet.unsent]
        puppet.changes, puppet.unsent = puppet.changes + len(found), None
        if isNew and puppet is puppets.listener:
            self._learn(puppets, NON_ANONYMOUS in codes, bool(presence.occupantId))
            if CREATED in codes:
                # It is another room than before.
                self._beginAnew(puppets)
            self._askArchive(puppets, found, now)
        elif puppets.listener is None:
            # The last listener has left while this join was on its way.
            puppets.doubt()
            self._later(partial(self.disturb, puppets.room))
        if CREATED in codes and not self._mayConfigure(puppets.room, puppet.nick):
            opened = OpenRoom(f"open-{self._rooms.token}")
            found.append(ToOrdinary(puppets.source, puppet.address, opened))
        if puppet.farewell is None or self._isAsked(puppets, puppet):
            # Otherwise the user has left the mirror, which waits for no answer.
            found += self._give(puppets, puppet.nick, presence, puppet.realJid, now)
        return found + self._speaking.flush(puppets, puppet, now)

    def _isNeeded(self, puppets: Puppets, puppet: Puppet) -> bool:
        """True if a puppet stands for an occupant here, for a user who joins, or has something to say."""
        federation = self._rooms.federation(puppets.room)
        if federation is None:
            return False
        join, occupant = federation.pending.get(puppet.nick), federation.room.occupants.get(puppet.nick)
        users = [] if join is None else [join.request.realJid]
        users += [] if occupant is None or not federation.isDownstream(occupant) else [occupant.realJid]
        return puppet.farewell is not None or person(puppet.realJid) in map(person, users)

    def _isAsked(self, puppets: Puppets, puppet: Puppet) -> bool:
        """True if the mirror waits for the answer to the join of a user, who may have left meanwhile."""
        federation = self._rooms.federation(puppets.room)
        join = None if federation is None else federation.pending.get(puppet.nick)
        return join is not None and person(join.request.realJid) == person(puppet.realJid)

    def release(self, puppets: Puppets, puppet: Puppet) -> list[Action]:
        """Let a puppet leave if nobody needs it: its join was refused here. What comes back is for nobody."""
        isGoing = puppet.state in (PuppetState.LEAVING, PuppetState.GONE)
        if isGoing or self._isNeeded(puppets, puppet):
            return []
        puppets.remove(puppet)
        return [leaveOf(puppets.source, puppet.address, puppet.nick)]

    def _learn(self, puppets: Puppets, nonAnonymous: bool, givesIds: bool) -> None:
        """
        Let the mirror know whether all see real JIDs, and which occupant ids are the room's; the others' presences
        have come before.

        XEP-0421 section 3: a room that gives ids removes those that occupants write. A puppet writes none, so if it
        has none, those of others are forged.
        """
        puppets.givesIds = givesIds
        federation = self._rooms.federation(puppets.room)
        if federation is not None and federation.uplink is not None:
            federation.uplink.learn(nonAnonymous)
            for occupant in () if givesIds else federation.uplink.node.occupants.values():
                occupant.giveId(federation.room.occupantId(occupant.person) if occupant.realJid else "")

    def _mayConfigure(self, room: str, nick: str) -> bool:
        """True if a user whose join is answered may send the configuration of the room."""
        federation = self._rooms.federation(room)
        join = None if federation is None else federation.pending.get(nick)
        if federation is None or join is None or join.occupant is not None:
            # The room is made anew for occupants, whom nobody asks.
            return False
        if join.origin is None:
            return True
        return jids.split(join.origin.jid)[1] in federation.administrators

    def _give(
        self, puppets: Puppets, nick: str, presence: NodePresence, realJid: str, now: float
    ) -> list[Action]:
        """Give the mirror a presence as that of its joined node."""
        if puppets.room not in self._rooms.rooms:
            return []
        fmuc = Fmuc(realJid=realJid, mode=Mode.REPLICA)
        shown = evolve(presence, jid=realJid, fmuc=fmuc, resumes=True, joins=False)
        return self._rooms.presence(f"{puppets.source}/{nick}", puppets.room, shown, now)

    def gone(self, puppets: Puppets, puppet: Puppet, presence: NodePresence, now: float) -> list[Action]:
        """Handle the unavailable presence of a puppet."""
        if puppet.leaves:
            puppet.leaves, puppet.changes = puppet.leaves - 1, 0
        elif puppet.state is PuppetState.JOINING:
            # A join is refused with an error: this is the end of an earlier stay.
            return []
        found = self.caughtUp(puppets, False, now) if puppet is puppets.listener else []
        if not puppet.leaves and puppet.state is not PuppetState.JOINING:
            puppets.remove(puppet)
        found += self._give(puppets, puppet.nick, presence, puppet.realJid, now)
        return found + self.left(puppets, now)

    def leaveReturned(self, puppets: Puppets, puppet: Puppet) -> None:
        """The leave of a puppet is not sent: its user is back."""
        federation = self._rooms.federation(puppets.room)
        if federation is not None and federation.uplink is not None:
            federation.uplink.leaveReturned(puppet.nick)

    def left(self, puppets: Puppets, now: float) -> list[Action]:
        """Tell a mirror that leaves that its last puppet has left."""
        federation = self._rooms.federation(puppets.room)
        if federation is None or federation.uplink is None or not federation.uplink.isLeaving or puppets:
            return []
        left = NodePresence(fmuc=Fmuc(left=True))
        return self._rooms.presence(puppets.source, puppets.room, left, now)

    def _ofOther(
        self, puppets: Puppets, puppet: Puppet, nick: str, presence: NodePresence, now: float
    ) -> list[Action]:
        """Handle a copy of the presence of another occupant."""
        other = puppets.called(nick)
        if not nick or puppet is not puppets.listener:
            self.merged += 1
            return []
        if presence.occupantId and not puppets.givesIds:
            presence = evolve(presence, occupantId="")
        if other is None:
            return self._give(puppets, nick, presence, self._realJid(presence.jid), now)
        if other.state is PuppetState.IN:
            # That puppet gets a copy of its own.
            self.merged += 1
        else:
            other.held = presence
        return []

    def expired(self, puppets: Puppets, puppet: Puppet, now: float) -> list[Action]:
        """The leave of a puppet has not come back: it was not in, and another user may have its nick."""
        held, puppet.leaves, puppet.changes = puppet.held, 0, 0
        if puppet.state is not PuppetState.LEAVING:
            # The user has joined again since, and the answer to that join was taken for one to an earlier join.
            puppets.doubt()
            return self.disturb(puppets.room, now)
        if puppets.called(puppet.nick) is not puppet:
            # Another user has asked for the nick since, so what the listener gets with it is about others.
            puppets.remove(puppet)
            return self.left(puppets, now)
        found = self.gone(puppets, puppet, NodePresence(unavailable=True), now)
        if held is not None and not held.unavailable and puppets.room in self._rooms.rooms:
            found += self._give(puppets, puppet.nick, held, self._realJid(held.jid), now)
        return found

    def fenced(self, puppets: Puppets, puppet: Puppet, now: float) -> list[Action]:
        """The ordinary room has answered what follows the leaves of a puppet: none of them comes back any more."""
        if puppet.leaves and puppet.state is PuppetState.LEAVING:
            return self.expired(puppets, puppet, now)
        # The user has joined again since, and the answer to that join is still to come.
        puppet.leaves = puppet.changes = 0
        return []

    def _realJid(self, jid: str) -> str:
        """Return the real JID of another occupant; empty if it is unknown, or that of an unknown puppet."""
        return "" if jids.split(jid)[1] == self._rooms.jid else jid

    def _refused(self, puppets: Puppets, puppet: Puppet, presence: NodePresence, now: float) -> list[Action]:
        """Handle an error for a presence of a puppet."""
        error = presence.stanzaError
        assert error is not None
        held, puppet.held = puppet.held, None
        found: list[Action] = []
        if puppet.leaves + (puppet.state is PuppetState.JOINING) > 1:
            # It refuses a join before others. The leave after that join does not come back.
            puppet.leaves -= 1
        elif puppet.state is not PuppetState.IN:
            puppets.remove(puppet)
            found += self._speaking.refused(puppets, puppet)
        if puppet.farewell is None:
            found += self.refuse(puppets.room, puppet.nick, puppet.realJid, error, now)
        if held is not None and puppets.room in self._rooms.rooms:
            # It is another user's who has the nick.
            found += self._give(puppets, puppet.nick, held, self._realJid(held.jid), now)
        return found + self.release(puppets, puppet)

    def message(
        self, puppets: Puppets, puppet: Puppet, nick: str, stanza: Stanza, now: float
    ) -> list[Action] | None:
        """
        Handle a message; parameters and result as of L{presence}.

        @raise BadRequest: if it cannot be read.
        """
        if stanza.type == "groupchat" and puppet is not puppets.listener:
            self.merged += 1
            self._listens(puppets, puppet, nick, stanza)
            return None
        if stanza.type == "groupchat" and puppet.state is PuppetState.JOINING:
            # The room still had this puppet, and has sent this before it got the join: the history has it.
            return []
        if stanza.type != "groupchat" and not nick and ns.MAM.encode() in stanza.raw:
            return self._result(puppets, puppet, stanza, now)
        message = self._believed(puppets, readMessage(stanza, puppets.source, puppets.room))
        sender, recipient = stanza.sender or "", f"{puppets.room}/{puppet.nick}"
        if puppets.room not in self._rooms.rooms:
            return []
        if message.kind == "error" and not nick and self._speaking.sentBack(puppets, puppet, message):
            return self._sentBack(puppets, message, now)
        if message.kind != "groupchat":
            return self._rooms.message(sender, recipient, message, now)
        isLive = bool(nick) and message.delay is None
        puppets.heard += bool(nick) and _DELAY not in stanza.raw
        if not puppets.isHistory:
            # A delay of a live message is its sender's.
            message = evolve(message, delay=None)
        if message.subject or isLive:
            puppets.isHistory = False
        message = self._speaking.returned(puppets, nick, message)
        if puppets.missed is None:
            found = self._rooms.message(sender, puppets.room, message, now)
            return found + self._speaking.settle(puppets, now)
        return [] if puppets.missed.hold(sender, message) else self.caughtUp(puppets, False, now)

    def _sentBack(self, puppets: Puppets, message: NodeMessage, now: float) -> list[Action]:
        """Return to the ordinary room, because a message has come back that is sent once more."""
        federation, error = self._rooms.federation(puppets.room), message.stanzaError
        if federation is None or federation.uplink is None or error is None:
            return []
        if error.condition in UNREACHABLE:
            federation.uplink.unreachable(now)
        elif puppets.listener is None:
            federation.uplink.disturbed(now)
        return self._rooms.settled(federation.room)

    @staticmethod
    def _believed(puppets: Puppets, message: NodeMessage) -> NodeMessage:
        """Return a message without the occupant id that its sender has written."""
        return evolve(message, occupantId="") if message.occupantId and not puppets.givesIds else message

    def _listens(self, puppets: Puppets, puppet: Puppet, nick: str, stanza: Stanza) -> None:
        """Find out by the copy of a message that goes no further whether the listener gets messages at all."""
        listener = puppets.listener
        isLive = bool(nick) and _DELAY not in stanza.raw and puppet.state is PuppetState.IN
        isMissed = isLive and puppet.isAhead(puppets.heard)
        if isMissed and listener is not None and listener.state is PuppetState.IN:
            puppets.doubt()
            self._later(partial(self.disturb, puppets.room))

    # The archive.

    def _askArchive(self, puppets: Puppets, found: list[Action], now: float) -> None:
        """
        Ask the archive for what was missed, if the listener has joined anew. A room without an archive answers with
        an error; then what was missed comes from the history.
        """
        listener, last, puppets.last = puppets.listener, puppets.last, ""
        if not last:
            self._beginAnew(puppets)
        elif listener is not None:
            puppets.missed = Missed(self._newId(), now + WAIT)
            asked = AskArchive(puppets.missed.id, last)
            found.append(ToOrdinary(puppets.source, listener.address, asked))

    def _beginAnew(self, puppets: Puppets) -> None:
        """If nobody was in the mirror, nobody knows what was missed."""
        federation = self._rooms.federation(puppets.room)
        if federation is not None and federation.uplink is not None:
            federation.uplink.beginAnew()

    def _newId(self) -> str:
        self._asked += 1
        return f"missed-{self._rooms.token}-{self._asked}"

    def _result(self, puppets: Puppets, puppet: Puppet, stanza: Stanza, now: float) -> list[Action]:
        """Handle a message of the archive."""
        missed = puppets.missed
        if missed is None or puppet is not puppets.listener:
            return []
        result = readResult(stanza, puppets.source, puppets.room)
        if result.query != missed.id or result.message.subject or len(missed.seen) >= MAX_HELD:
            # The subject comes with the join.
            return []
        missed.seen.add(result.message.stanzaId)
        message = self._believed(puppets, result.message)
        message = self._speaking.returned(puppets, result.sender.partition("/")[2], message)
        return self._rooms.message(result.sender, puppets.room, message, now)

    def archived(self, puppets: Puppets, puppet: Puppet, stanza: Stanza, now: float) -> list[Action]:
        """Handle the answer to the query: the end of a page, or an error."""
        missed = puppets.missed
        assert missed is not None
        isLast, last = False, ""
        if stanza.type == "result":
            with suppress(BadRequest):
                isLast, last = readFin(stanza)
        if isLast or not missed.next(last, self._newId(), now):
            return self.caughtUp(puppets, isLast, now)
        return [ToOrdinary(puppets.source, puppet.address, AskArchive(missed.id, last))]

    def caughtUp(self, puppets: Puppets, isComplete: bool, now: float) -> list[Action]:
        """Continue with the messages that have come meanwhile."""
        missed, puppets.missed = puppets.missed, None
        puppets.isWhole = missed is not None and isComplete
        if missed is not None and not isComplete:
            self._beginAnew(puppets)
        found: list[Action] = []
        for sender, message in [] if missed is None else missed.left(isComplete):
            found += self._rooms.message(sender, puppets.room, message, now)
        return found + self._speaking.settle(puppets, now)

    def refuse(self, room: str, nick: str, user: str, error: StanzaError, now: float) -> list[Action]:
        """Refuse a user's join in the name of the ordinary room."""
        source = self._rooms.mirrored(room) or ""
        refused = NodePresence(stanzaError=error, fmuc=Fmuc(realJid=user))
        return self._rooms.presence(f"{source}/{nick}", f"{room}/{nick}", refused, now)

    def disturb(self, room: str, now: float) -> list[Action]:
        """Let a mirror join anew, because it may have missed something."""
        federation = self._rooms.federation(room)
        if federation is None or federation.uplink is None:
            return []
        federation.uplink.disturbed(now)
        return self._rooms.settled(federation.room)
