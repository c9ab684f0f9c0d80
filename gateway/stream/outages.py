"""
Reports about the connections of all components of one server, so that an outage is a few log lines, whatever the
number of components and tries; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

# Seconds from the first failure until it is reported, if not all components have failed; and from the first new
# connection until it is reported, if not all are connected: longer than the longest interval between two tries.
_GATHER = 1.0
_GATHER_BACK = 35.0

# Seconds between two reports that an outage lasts.
_REMIND = 300.0

# Seconds that a connection has to last, or the outage goes on.
_STEADY = 10.0


@frozen
class Lost:
    """
    Components lost their connection, or could not connect.

    @ivar components: their JIDs.
    @ivar trouble: the reason, for the operator.
    @ivar delay: seconds until the next try; C{None} if it may be due already.
    """

    components: tuple[str, ...]
    trouble: str
    delay: float | None = None


@frozen
class StillLost:
    """
    Components are still not connected.

    @ivar components: their JIDs.
    @ivar trouble: the reason, for the operator.
    @ivar seconds: length of the outage so far.
    @ivar tries: number of connections of all components of the server that failed or were lost in it.
    """

    components: tuple[str, ...]
    trouble: str
    seconds: float
    tries: int


@frozen
class Back:
    """Components are connected again; the attributes as those of L{StillLost}."""

    components: tuple[str, ...]
    seconds: float
    tries: int


Report = Lost | StillLost | Back


class Outage:
    """
    Finds out what to report about the connections of one server's components.

    An outage begins when the first of them fails. It is reported when all are down, or a second later; components
    that fail later are reported likewise. It is reported again every five minutes. New connections are reported
    when all components are connected again or, if some are not, half a minute after the first one. If an
    outage begins within ten seconds after another one, a connection counts only after it has lasted ten seconds.
    """

    def __init__(self) -> None:
        self._components: set[str] = set()
        # Reasons by component: all components that are down; those whose failure is not reported yet.
        self._down: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._newSince = 0.0
        # Refusals that were reported in this outage. There are few different texts.
        self._refusals: set[tuple[str, str]] = set()
        # Times of the new connections that are not reported yet.
        self._back: dict[str, float] = {}
        self._since = self._remindAt = 0.0
        self._tries = 0
        self._endedAt: float | None = None
        self._isUnsteady = False

    def add(self, component: str) -> None:
        """A component begins to connect."""
        self._components.add(component)

    def remove(self, component: str) -> None:
        """A component does not connect any longer."""
        self._components.discard(component)
        for each in (self._down, self._new, self._back):
            each.pop(component, None)

    def failed(self, component: str, trouble: str, isRefused: bool, delay: float, now: float) -> Iterator[Report]:
        """
        A connection failed or was lost.

        @param trouble: the reason.
        @param isRefused: true if the operator has to do something about this component; this is always reported.
        @param delay: seconds until the next try.
        """
        if not self._down and not self._back:
            self._begin(now)
        self._tries += 1
        isKnown = component in self._down or self._back.pop(component, None) is not None
        self._down[component] = trouble
        isNewRefusal = isRefused and (component, trouble) not in self._refusals
        if isRefused:
            self._refusals.add((component, trouble))
        if component in self._new or isNewRefusal or not isKnown:
            if not self._new:
                self._newSince = now
            self._new[component] = trouble
            if self._down.keys() >= self._components:
                yield from self._reportNew(delay)

    def isDown(self, component: str) -> bool:
        """True if the last connection of a component failed or was lost."""
        return component in self._down

    def connected(self, component: str, now: float) -> Iterator[Report]:
        """A component that was down is connected."""
        if component in self._new:
            yield from self._reportNew(None)
        if self._down.pop(component, None) is not None:
            self._back[component] = now
            yield from self._reportBack(now)

    def tick(self, now: float) -> Iterator[Report]:
        """Return what has become due; to be called about once a second."""
        if self._new and now - self._newSince >= _GATHER:
            yield from self._reportNew(None)
        if self._back:
            yield from self._reportBack(now)
        if self._down and now >= self._remindAt:
            self._remindAt = now + _REMIND
            for trouble, components in _byTrouble(self._down):
                yield StillLost(components, trouble, now - self._since, self._tries)

    def _begin(self, now: float) -> None:
        self._isUnsteady = self._endedAt is not None and now - self._endedAt < _STEADY
        if not self._isUnsteady:
            self._refusals.clear()
        self._since, self._remindAt, self._tries = now, now + _REMIND, 0

    def _reportNew(self, delay: float | None) -> Iterator[Report]:
        new, self._new = self._new, {}
        for trouble, components in _byTrouble(new):
            yield Lost(components, trouble, delay)

    def _reportBack(self, now: float) -> Iterator[Report]:
        steady = [each for each, since in self._back.items() if not self._isUnsteady or now - since >= _STEADY]
        isWhole = not self._down and len(steady) == len(self._back)
        if not isWhole and not (steady and now - min(self._back.values()) >= _GATHER_BACK):
            return
        for each in steady:
            del self._back[each]
        if isWhole:
            self._endedAt = now
        yield Back(tuple(sorted(steady)), now - self._since, self._tries)


def _byTrouble(down: dict[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each reason with its components."""
    for trouble in dict.fromkeys(down.values()):
        yield trouble, tuple(sorted(each for each, reason in down.items() if reason == trouble))
