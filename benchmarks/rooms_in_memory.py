"""The gateway whose rooms are in memory only, as C{twistd}: what durable rooms are compared with."""

import sys

from twisted.scripts.twistd import run

from gateway.fmuc import compose
from gateway.fmuc.handler import RoomsHandler

compose.RoomsHandler = lambda rooms, wallClock, *stores: RoomsHandler(rooms, wallClock)  # type: ignore[assignment,misc]  # without a store

if __name__ == "__main__":
    sys.exit(run())
