"""Rooms in a store in memory, which end and start again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.federation import Federation
from gateway.fmuc.handler import RoomsHandler
from gateway.muc.archive_values import Retention
from gateway.muc.ids import Ids
from gateway.muc.room import Bounds, Room
from gateway.muc.store import MIGRATIONS, restore
from gateway.state.memory import MemoryStore
from gateway.testing import MemoryServer, canonical

C = "chat.example"
ROOM = f"coven@{C}"
PEERS = frozenset(("node.example",))


class HeldStore(MemoryStore):
    """
    A store that commits when it is told to.

    @ivar isHeld: True if writes wait for L{commit}.
    @ivar writes: number of writes.
    """

    def __init__(self) -> None:
        super().__init__(MIGRATIONS)
        self.isHeld = False
        self.writes = 0
        self._held: list[tuple[Deferred[Any], Callable[..., Any], tuple[object, ...]]] = []

    def write(self, interaction: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        self.writes += 1
        if not self.isHeld:
            return super().write(interaction, *arguments)
        done: Deferred[Any] = Deferred(lambda _: self._held.remove(held))
        held = (done, interaction, arguments)
        self._held.append(held)
        return done

    def commit(self, isTold: bool = True) -> None:
        """
        Commit what waits.

        @param isTold: False if the process is killed before it learns of it.
        """
        held, self._held = self._held, []
        for done, interaction, arguments in held:
            stored = super().write(interaction, *arguments)
            if isTold:
                stored.chainDeferred(done)

    def forget(self) -> None:
        """Forget what waits: the process was killed."""
        self._held.clear()


class NumberedIds(Ids):
    """
    Predictable ids, which differ.

    @param numbers: of the stanza ids.
    """

    def __init__(self, numbers: Iterator[int]) -> None:
        super().__init__(b"secret", bytes)
        self._numbers = numbers

    def stanzaId(self, run: list[str]) -> str:
        return f"{next(self._numbers):016}"


class DurableCase(SynchronousTestCase):
    """Rooms of one component that are stored."""

    maxDiff = None
    bounds = Bounds()

    def setUp(self) -> None:
        self.store = HeldStore()
        self.numbers = count()
        self.start()

    def start(self) -> None:
        """Start a process with the rooms of the store."""
        self.rooms, self.server = served(self.store, self.bounds, self.numbers)
        # What is left of a killed process must not store anything.
        self.server.link.stopService = lambda: None

    def kill(self) -> None:
        """Kill the process, and start another one."""
        self.store.forget()
        self.store.isHeld = False
        self.start()

    @property
    def room(self) -> Room:
        """The room."""
        return self.rooms.rooms[ROOM]

    def take(self, xml: str) -> list[str]:
        """Return what stanzas cause, in canonical form."""
        self.server.send(xml)
        return self.server.taken()

    def assertTaken(self, xml: str, *expected: str) -> None:
        """Stanzas cause exactly these."""
        self.assertEqual(self.take(xml), canonical("".join(expected)))


def served(
    store: MemoryStore | None, bounds: Bounds, numbers: Iterator[int] | None = None
) -> tuple[Rooms, MemoryServer]:
    """
    Return running rooms with those of a store.

    @param store: C{None} for rooms in memory only.
    @param numbers: of the stanza ids, if they are compared.
    """
    rooms = Rooms(C, None, PEERS, bounds, NumberedIds(numbers or count()), PEERS)
    rooms.ghosts._token = "ping"
    commits = None
    server = MemoryServer(C)
    if store is not None:
        retention = Retention(bounds.archived, 1e9)
        restore(store, rooms, 0.0)
        commits = Commits(store, rooms.durability, lambda call: call(), retention)
    RoomsHandler(rooms, None, commits).setHandlerParent(server.link)
    server.start()
    return rooms, server


def stateOf(rooms: Rooms) -> dict[str, object]:
    """Return everything that rooms must have after a restart."""
    return {"made": dict(rooms._made), **{jid: _stateOf(room) for jid, room in rooms.rooms.items()}}


def _stateOf(room: Room) -> dict[str, object]:
    federation = room.nodes
    assert isinstance(federation, Federation)
    return {
        "settings": asdict(room.settings),
        "affiliations": dict(room.affiliations),
        "nicks": (dict(room.registrations.nicks), room.registrations.users),
        "requests": dict(room.registrations.requests),
        "subject": room.subject,
        "history": list(room.history),
        "card": room.card,
        "creators": room.creators,
        "isLocked": bool(room.lockedUntil),
        "occupants": {
            nick: (
                occupant.realJid,
                occupant.standing,
                occupant.payload,
                occupant.nonAnonymous,
                occupant.id,
                sorted(occupant.addresses),
                [(each.jid, each.payload, each.node and each.node.jid) for each in occupant.allSessions()],
                occupant.node and occupant.node.jid,
            )
            for nick, occupant in room.occupants.items()
        },
        "users": {jid: occupant.nick for jid, occupant in room.users.items()},
        "shared": {occupant.nick for occupant in room.shared},
        "nodes": {
            jid: (node.record(), node.hasJoined, set(node.occupants), {k: v.nick for k, v in node.users.items()})
            for jid, node in federation.joiningNodes.items()
        },
    }
