"""
Puppets that may be in their ordinary rooms after a loss: they ask whether they are (XEP-0410), some at a time, and
join again if they are not. Pure.
"""

from __future__ import annotations

from attrs import evolve, frozen

from gateway.fmuc.actions import Join, SelfPing
from gateway.fmuc.ordinary.puppets import Puppet, Puppets, PuppetState
from gateway.fmuc.ordinary.stanzas import ToOrdinary
from gateway.muc.actions import Action

# Seconds for which the answer to a self-ping is awaited.
_WAIT = 10.0
# Seconds after which a self-ping that follows a leave is sent again: ejabberd loses what reaches a room that ends.
_AGAIN = 2.0
# Puppets that are restored at once, and seconds within which all of them are.
_AT_ONCE, _WITHIN = 20, 15
# Errors by which a client has answered a self-ping, so that the puppet is in (XEP-0410 section 3.3).
_OF_CLIENT = frozenset(("feature-not-implemented", "service-unavailable"))


@frozen
class Check:
    """
    An open self-ping.

    @ivar join: the join that waits for its answer; C{None} for none.
    @ivar ask: id of the uplink's request that waits for it; empty for none.
    @ivar fence: its own id, if it follows a leave; empty otherwise.
    @ivar againAt: when it is sent again.
    """

    puppets: Puppets
    puppet: Puppet
    deadline: float
    join: Join | None = None
    ask: str = ""
    fence: str = ""
    againAt: float = float("inf")


def isIn(condition: str) -> bool:
    """True if a puppet is in by the answer to its self-ping; the condition is empty for a result."""
    return not condition or condition in _OF_CLIENT


class Restoring:
    """
    The puppets of one component that may be in.

    @param token: distinguishes ids of this process from those of an earlier one.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._asked = 0
        # Joins that wait for their turn.
        self._waiting: dict[Puppet, tuple[Puppets, Join]] = {}
        self._credit = _AT_ONCE
        self._checks: dict[str, Check] = {}

    def clear(self) -> None:
        """Forget all: no answer will come."""
        self._waiting.clear()
        self._checks.clear()

    def add(self, puppets: Puppets, puppet: Puppet, join: Join) -> None:
        """Let a join wait for its turn."""
        self._waiting[puppet] = puppets, join

    def isWaiting(self, puppet: Puppet) -> bool:
        """True if a join of a puppet waits."""
        return puppet in self._waiting

    def withdraw(self, puppet: Puppet) -> bool:
        """Return True if a join of a puppet waits that leaves: it is not sent any longer, and has no answer."""
        return self._waiting.pop(puppet, None) is not None or puppet.state is PuppetState.CHECKING

    def next(self, now: float) -> list[Action]:
        """Ask for some of the puppets whether they are in."""
        found: list[Action] = []
        while self._waiting and self._credit > 0:
            puppet, (puppets, join) = next(iter(self._waiting.items()))
            del self._waiting[puppet]
            if puppet.state is PuppetState.UNKNOWN:
                self._credit -= 1
                puppet.state = PuppetState.CHECKING
                found.append(self.ask(puppets, puppet, now, join))
        return found

    def ask(
        self, puppets: Puppets, puppet: Puppet, now: float, join: Join | None = None, ask: str = ""
    ) -> Action:
        """Ask whether a puppet is in; the last arguments are as in L{Check}."""
        identifier = self._newId()
        return self._ask(Check(puppets, puppet, now + _WAIT, join, ask), identifier)

    def fence(self, puppets: Puppets, puppet: Puppet, now: float) -> Action:
        """
        Return a self-ping that follows a leave. The ordinary room answers the leave of one who is not in with
        nothing, but it answers this.
        """
        puppet.fence = self._newId()
        check = Check(puppets, puppet, now + _WAIT, fence=puppet.fence, againAt=now + _AGAIN)
        return self._ask(check, puppet.fence)

    def forgetFence(self, puppet: Puppet) -> None:
        """Another leave follows: the answer to the last self-ping tells nothing of it."""
        self._checks.pop(puppet.fence, None)
        puppet.fence = ""

    def fencesAgain(self, now: float) -> list[Action]:
        """Return the self-pings that follow leaves, and were not answered."""
        due = [each for each in self._checks.values() if each.againAt <= now]
        again = [evolve(each, againAt=now + _AGAIN) for each in due if each.puppet.leaves]
        return [self._ask(each, each.fence) for each in again]

    def _newId(self) -> str:
        self._asked += 1
        return f"ping-{self._token}-{self._asked}"

    def _ask(self, check: Check, identifier: str) -> Action:
        self._checks[identifier] = check
        return ToOrdinary(check.puppets.source, check.puppet.address, SelfPing(check.puppet.nick, identifier))

    def answered(self, puppet: Puppet, nick: str, identifier: str) -> Check | None:
        """
        Return the self-ping that an iq of type result or error ends; C{None} for none.

        @param puppet: to which it was sent.
        @param nick: of its sender: only the address that was asked may answer.
        """
        check = self._checks.get(identifier)
        if check is None or check.puppet is not puppet or nick != puppet.nick:
            return None
        return self._checks.pop(identifier)

    def tick(self, now: float) -> list[Check]:
        """Allow further self-pings, and return those that were not answered in time; called once a second."""
        self._credit = max(_AT_ONCE, -(-len(self._waiting) // _WITHIN))
        late = [each for each, check in self._checks.items() if check.deadline <= now]
        return [self._checks.pop(each) for each in late]
