"""Memory of rooms and occupants, stored or not."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from gateway.muc.room import Bounds
from gateway.testing import MemoryServer
from tests.fmuc.durable import HeldStore, served
from tests.fmuc.support import MUC

# Bytes. Some are of the gateway's tables of users, and of caches.
OCCUPANT, ROOM = 3 * 1024, 5 * 1024
COUNT = 200


class MemoryTests(SynchronousTestCase):
    """Bytes that each further one takes."""

    def measured(self, enter: Callable[[MemoryServer, int], None], isStored: bool) -> float:
        """Return the bytes of one entry."""
        rooms, server = served(HeldStore() if isStored else None, Bounds())
        rooms.home = "x.example"
        self.addCleanup(server.stop)
        for number in range(20):
            enter(server, number)
        # Only objects that are made from here on are visited by the collection below.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        tracemalloc.start(1)
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20, 20 + COUNT):
            enter(server, number)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / COUNT

    def test_occupant(self) -> None:
        """An occupant of a large room takes at most 3 KiB, also if the room is stored."""
        for isStored in (False, True):
            self.assertLess(self.measured(_occupant, isStored), OCCUPANT)

    def test_room(self) -> None:
        """A room with one occupant and one message takes at most 5 KiB, also if it is stored."""
        for isStored in (False, True):
            self.assertLess(self.measured(_room, isStored), ROOM)


def _occupant(server: MemoryServer, number: int) -> None:
    server.send(f"<presence from='u{number}@x.example/1' to='r@chat.example/n{number}'>{MUC}</presence>")
    # The portions of the large room.
    server.clock.advance(0)
    server.transport.clear()


def _room(server: MemoryServer, number: int) -> None:
    user, room = f"u{number}@x.example/1", f"r{number}@chat.example"
    body = f"<message from='{user}' to='{room}' type='groupchat'><body>hello</body></message>"
    server.send(f"<presence from='{user}' to='{room}/n'>{MUC}</presence>{body}")
    server.transport.clear()
