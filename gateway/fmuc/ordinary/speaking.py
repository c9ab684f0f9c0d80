"""
Messages of puppets to all occupants of an ordinary room, and leaves that follow them. Pure.

An ordinary room takes messages of its occupants alone. So the messages of a puppet wait until it is in
(L{gateway.fmuc.uplink.submitted}). If its user leaves meanwhile, the puppet joins, says them, and leaves.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from gateway.fmuc.actions import Join, Submission
from gateway.fmuc.core import Rooms
from gateway.fmuc.ordinary.puppets import Puppet, Puppets, PuppetState, addressOf
from gateway.fmuc.ordinary.stanzas import ToOrdinary
from gateway.fmuc.uplink.submitted import Submitted
from gateway.fmuc.values import UNREACHABLE, Fmuc, Mode, NodeMessage
from gateway.muc.actions import Action
from gateway.muc.values import JoinRequest, RoomMessage

# Errors for messages by which an ordinary room tells that it does not have the puppet.
_NOT_IN = frozenset(("not-acceptable", "item-not-found"))
# Errors by which it refuses a message, although they may say that it cannot be reached.
_REFUSALS = frozenset(("internal-server-error", "resource-constraint"))


class Speaking:
    """
    The messages of the puppets of one component.

    @param leave: is called before the leave of a puppet is sent, with the time.
    @param rejoin: is called with a puppet that is not in any longer, and must join again.
    """

    def __init__(
        self,
        rooms: Rooms,
        leave: Callable[[Puppets, Puppet, float], list[Action]],
        rejoin: Callable[[Puppets, Puppet], object],
    ) -> None:
        self._rooms = rooms
        self._leave = leave
        self._rejoin = rejoin

    def of(self, puppets: Puppets) -> Submitted | None:
        """Return the messages to an ordinary room that have not come back; C{None} if the room has ended here."""
        federation = self._rooms.federation(puppets.room)
        outgoing = None if federation is None or federation.uplink is None else federation.uplink.outgoing
        return outgoing if isinstance(outgoing, Submitted) else None

    def say(self, puppets: Puppets, puppet: Puppet, stanza: Submission, now: float) -> list[Action]:
        """Send a message when the puppet is in."""
        message = stanza.message
        if message.store and not message.subject:
            return self.flush(puppets, puppet, now)
        return [ToOrdinary(puppets.source, puppet.address, stanza)]

    def flush(self, puppets: Puppets, puppet: Puppet, now: float) -> list[Action]:
        """Send what a puppet has to say, and its leave, if the puppet is in, and it is known what was lost."""
        submitted = self.of(puppets)
        isReady = puppets.isSettled and not puppets.isDue and puppet.state is PuppetState.IN
        if submitted is None or not isReady or self._isLost(puppets):
            return []
        sent = [Submission(each, nomirror=False) for each in submitted.take(puppet.nick, puppet.realJid, now)]
        found: list[Action] = [ToOrdinary(puppets.source, puppet.address, each) for each in sent]
        if puppet.farewell is not None:
            found += [puppet.farewell, *self._leave(puppets, puppet, now)]
        return found

    def _isLost(self, puppets: Puppets) -> bool:
        federation = self._rooms.federation(puppets.room)
        return federation is not None and federation.isLost

    def tick(self, puppets: Puppets, now: float) -> list[Action]:
        """Send what has waited; called once a second."""
        submitted = self.of(puppets)
        found = self.settle(puppets, now)
        if submitted is None:
            return found
        if not puppets.isDue:
            submitted.forget(now)
        for puppet in puppets if len(submitted) else ():
            found += self.flush(puppets, puppet, now)
        for puppet in puppets:
            if puppet.farewell is not None and puppet.state is PuppetState.UNKNOWN and not puppets.isDue:
                self._rejoin(puppets, puppet)
        return found

    def settle(self, puppets: Puppets, now: float) -> list[Action]:
        """Continue, if the listener has joined, and what was missed has come."""
        if not puppets.isDue or not puppets.isSettled:
            return []
        puppets.isDue = False
        submitted = self.of(puppets)
        if submitted is None:
            return []
        submitted.settle(puppets.isWhole)
        found = self._emitted(puppets)
        return found + [action for puppet in puppets for action in self.flush(puppets, puppet, now)]

    def _emitted(self, puppets: Puppets) -> list[Action]:
        """Return what the room here has to tell."""
        federation = self._rooms.federation(puppets.room)
        return [] if federation is None else self._rooms.settled(federation.room)

    def waits(self, puppets: Puppets, puppet: Puppet) -> bool:
        """True if a puppet still has something to say."""
        submitted = self.of(puppets)
        return submitted is not None and submitted.waits(puppet.nick, puppet.realJid, not puppets.isDue)

    def sentBack(self, puppets: Puppets, puppet: Puppet, message: NodeMessage) -> bool:
        """
        Handle an error of the ordinary room for a message of a puppet.

        @return: True if the message is sent once more: its sender is told nothing.
        """
        submitted, error = self.of(puppets), message.stanzaError
        if submitted is None or error is None:
            return False
        isOut = error.condition in _NOT_IN
        isLost = isOut or error.condition in UNREACHABLE - _REFUSALS
        if not submitted.sentBack(puppet.nick, message.id, isLost):
            return False
        if isOut and puppet is puppets.listener:
            puppets.doubt()
        elif isOut and puppet.state is PuppetState.IN:
            puppet.state = PuppetState.UNKNOWN
            self._rejoin(puppets, puppet)
        return True

    def refused(self, puppets: Puppets, puppet: Puppet) -> list[Action]:
        """The ordinary room does not admit a puppet that was in before: return what it has to say."""
        submitted = self.of(puppets)
        if submitted is None:
            return []
        submitted.refuseOf(puppet.nick, puppet.realJid)
        return self._emitted(puppets)

    def returned(self, puppets: Puppets, nick: str, message: NodeMessage) -> NodeMessage:
        """
        Handle a message to all of an occupant of the ordinary room, which may be a puppet.

        @return: the message, with its user and its node, which may have left.
        """
        submitted = self.of(puppets)
        if submitted is None or not nick:
            return message

        def isThere(user: str) -> bool:
            return puppets.at(addressOf(self._rooms.jid, user, nick)) is not None

        copy = RoomMessage(nick=nick, id=message.id, payload=message.payload)
        known = submitted.returned(copy, message.delay is None, isThere)
        if known is None:
            return message
        return evolve(message, fmuc=Fmuc(realJid=known.message.realJid), submitter=known.origin)

    def joinOf(self, puppets: Puppets, puppet: Puppet) -> Join:
        """Return the join of a puppet that was in before."""
        federation = self._rooms.federation(puppets.room)
        occupant = None if federation is None else federation.room.occupants.get(puppet.nick)
        request = JoinRequest(nick=puppet.nick, realJid=puppet.realJid, password=puppet.password)
        if occupant is not None and occupant.realJid == puppet.realJid:
            request = evolve(request, payload=occupant.payload)
        return Join(request, Mode.REPLICA)
