"""
Puppets: occupants of an ordinary room (XEP-0045) that stand for the federated occupants of a room here.

A puppet has an address of this component, which is made of the user's address and nick, and stays the same over a
restart: C{user\\\\40domain@rooms.example.com/nick} (XEP-0106).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from attrs import define, field

from gateway.addresses import jids
from gateway.fmuc.ordinary.archive import Missed
from gateway.fmuc.ordinary.stanzas import ToOrdinary
from gateway.fmuc.values import NodePresence
from gateway.muc.values import person

# Messages to all that another puppet may get while the listener gets none: the copies of one message come in any
# order, so one is normal.
_MAX_AHEAD = 2


class PuppetState(Enum):
    """State of a puppet."""

    UNKNOWN = "was in the room; stanzas may have been lost since"
    CHECKING = "has asked the room whether it is in (XEP-0410)"
    JOINING = "has sent a join"
    IN = "is in the room"
    LEAVING = "has sent its leave"
    GONE = "was removed: it is not in the room any longer"


@define(eq=False)
class Puppet:
    """
    One puppet.

    @ivar address: full JID.
    @ivar realJid: full JID of the user.
    @ivar password: with which the user has joined, to join anew after a loss.
    @ivar leaves: leaves that were sent, and have not come back. What comes before them is none of a later join's.
    @ivar changes: presences since its join that were sent, and have not come back.
    @ivar deadline: end of the wait for the last leave, in seconds of the link's clock.
    @ivar fence: id of the self-ping that follows the last leave; empty for none.
    @ivar unsent: last presence of the user, until it is known that the puppet is in: an ordinary room answers the
        presence of others with an error, or takes it for a join.
    @ivar farewell: its leave, which follows messages that the ordinary room has not got yet.
    @ivar held: presence of an occupant with this nick that may be this puppet or another user, until that is known.
    """

    address: str
    nick: str
    realJid: str
    state: PuppetState = PuppetState.JOINING
    password: str = ""
    leaves: int = 0
    changes: int = 0
    deadline: float = float("inf")
    fence: str = ""
    unsent: ToOrdinary | None = None
    farewell: ToOrdinary | None = None
    held: NodePresence | None = None
    _heard: int = -1
    _ahead: int = 0

    def count(self) -> None:
        """Begin anew to count messages, and presences: some may be lost."""
        self._heard, self._ahead, self.changes = -1, 0, 0

    def isAhead(self, heard: int) -> bool:
        """
        Count a message to all, and return True if the listener of the room must have missed it.

        @param heard: number of messages that the listener has got.
        """
        self._ahead = self._ahead + 1 if self._heard == heard else 0
        self._heard = heard
        return self._ahead >= _MAX_AHEAD


@define(eq=False)
class Puppets:
    """
    The puppets in one ordinary room.

    The ordinary room sends each of them a copy of everything. One of them is the listener, whose copies of what all
    occupants are sent are taken. All copies come by one stream, in the order of the room, so if the listener leaves
    another puppet continues at that point without a gap or a repeat.

    @ivar room: bare JID of the room here.
    @ivar source: bare JID of the ordinary room.
    @ivar listener: C{None} if no puppet is in, or if stanzas may have been lost, until one has joined anew.
    @ivar isHistory: True while the answer to the listener's join may still have history.
    @ivar givesIds: True if the ordinary room gives occupant ids (XEP-0421), or if that is not known yet.
    @ivar heard: number of messages to all that the listener has got.
    @ivar last: stanza id of the last message that is known, if the listener joins anew; empty for none.
    @ivar missed: the query for them; C{None} if there is none.
    @ivar isDue: True if it is not known what the ordinary room has got of the puppets, until the listener has
        joined, and what was missed has come.
    @ivar isWhole: True if all that was missed has come.
    """

    room: str
    source: str
    listener: Puppet | None = None
    isHistory: bool = False
    givesIds: bool = True
    heard: int = 0
    last: str = ""
    missed: Missed | None = None
    isDue: bool = False
    isWhole: bool = False
    _byAddress: dict[str, Puppet] = field(factory=dict)
    _byNick: dict[str, Puppet] = field(factory=dict)
    # By bare JID: those of one user.
    _byUser: dict[str, list[Puppet]] = field(factory=dict)

    def __iter__(self) -> Iterator[Puppet]:
        return iter(list(self._byAddress.values()))

    def __len__(self) -> int:
        return len(self._byAddress)

    def add(self, address: str, nick: str, realJid: str) -> Puppet:
        """Return the puppet with an address, which is new or stands for a user who comes again."""
        puppet = self._byAddress.get(address)
        if puppet is None:
            puppet = self._byAddress[address] = Puppet(address, nick, realJid)
            self._byUser.setdefault(jids.bare(address), []).append(puppet)
        puppet.realJid = realJid
        self._byNick[nick] = puppet
        return puppet

    def at(self, address: str) -> Puppet | None:
        """Return the puppet with an address (full JID)."""
        return self._byAddress.get(address)

    def ofUser(self, address: str) -> Puppet | None:
        """Return a puppet with an address that is a bare JID."""
        return next(iter(self._byUser.get(address, ())), None)

    def called(self, nick: str) -> Puppet | None:
        """Return the puppet with a nick."""
        return self._byNick.get(nick)

    def addresses(self) -> dict[str, str]:
        """Return the bare JIDs of the puppets by those of their users."""
        return {person(each.realJid): jids.bare(each.address) for each in self._byAddress.values()}

    def remove(self, puppet: Puppet) -> None:
        """Remove a puppet that is not in the ordinary room any longer. Another one listens in its place."""
        puppet.state, puppet.leaves = PuppetState.GONE, 0
        del self._byAddress[puppet.address]
        user = jids.bare(puppet.address)
        self._byUser[user].remove(puppet)
        if not self._byUser[user]:
            del self._byUser[user]
        if self._byNick.get(puppet.nick) is puppet:
            del self._byNick[puppet.nick]
        if self.listener is puppet:
            self.replaceListener()

    def replaceListener(self) -> None:
        """Let another puppet that is in the room listen."""
        known = (each for each in self._byAddress.values() if each.state is PuppetState.IN)
        self.listener = next(known, None)

    @property
    def isSettled(self) -> bool:
        """True if the listener is in, and has got the answer to its join, and what was missed."""
        isIn = self.listener is not None and self.listener.state is PuppetState.IN
        return isIn and self.missed is None and not self.isHistory

    def listen(self, puppet: Puppet) -> None:
        """Let a puppet listen that joins, as the first one."""
        self.listener, self.isHistory, self.missed = puppet, True, None
        self.isDue, self.isWhole = True, False

    def doubt(self, isLost: bool = False) -> None:
        """
        Stanzas may have been lost: nobody knows which puppets are in.

        @param isLost: True if no answer to an earlier stanza will come.
        """
        self.listener = self.missed = None
        self.isDue, self.isWhole = True, False
        for puppet in self._byAddress.values():
            puppet.count()
            # The next listener is told who has the nick.
            puppet.held = None
            isLeaving = puppet.state is PuppetState.LEAVING
            if not isLeaving:
                puppet.state = PuppetState.UNKNOWN
            if isLost:
                # The leave is sent again.
                puppet.leaves = int(isLeaving)


def addressOf(component: str, user: str, nick: str) -> str:
    """
    Return the address of a user's puppet.

    @param component: domain of the puppets.
    @param user: JID of the user.
    @raise Malformed: if it is too long.
    """
    return jids.prepared(f"{jids.escapeLocal(person(user))}@{component}/{nick}")


def isLoop(component: str, user: str) -> bool:
    """True if a user is a puppet of this component, or a puppet elsewhere that stands for one."""
    local, domain, _ = jids.split(user)
    while domain != component and "@" in (inner := jids.unescapeLocal(local)):
        local, domain, _ = jids.split(inner)
    return domain == component
