"""The CPU time of a message through a room that stands for an ordinary room (backing), in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gateway import _compat, ns
from tests.fmuc.backed import COMPONENT, ROOM, SOURCE, backed
from tests.fmuc.wire import MUC, Wire, rooms

__all__ = ["_compat"]

_TURNS = 30
_OWN = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/><status code='110'/></x>"
_BODY = "<body>The same to everybody</body>"


def _join(wire: Wire, number: int) -> None:
    wire.settled(f"<presence from='u{number}@users.example/d' to='{ROOM}/n{number}'>{MUC}</presence>".encode())


def _occupant(number: int) -> str:
    """Return the address of an occupant in the ordinary room."""
    return rf"u{number}\40users.example@{COMPONENT}/n{number}"


def _least(wire: Wire, size: int, sent: bytes) -> float:
    """Return the least CPU time of a delivery, in microseconds; all must get the message."""
    least = float("inf")
    for _ in range(_TURNS):
        began = time.process_time()
        found = wire.settled(sent)
        least = min(least, time.process_time() - began)
        assert found.count(_BODY.encode()) == size, f"{found.count(_BODY.encode())} of {size} copies"
    return least / size * 1e6


def _behind(size: int) -> float:
    """The ordinary room sends a copy to each occupant; the room sends each user one."""
    wire = backed()
    for number in range(size):
        _join(wire, number)
        to = f"to='{_occupant(number)}'"
        wire.settled(f"<presence from='{SOURCE}/n{number}' {to}>{_OWN}</presence>".encode())
        if not number:
            wire.settled(f"<message from='{SOURCE}' {to} type='groupchat'><subject/></message>".encode())
    copies = (f"<message from='{SOURCE}/ann' to='{_occupant(each)}' type='groupchat'>" for each in range(size))
    return _least(wire, size, "".join(f"{copy}{_BODY}</message>" for copy in copies).encode())


def _alone(size: int) -> float:
    """A user sends a message to a room of the gateway."""
    wire = rooms(COMPONENT)
    for number in range(size):
        _join(wire, number)
    sent = f"<message from='u0@users.example/d' to='{ROOM}' type='groupchat'>{_BODY}</message>"
    return _least(wire, size, sent.encode())


def report(sizes: Sequence[int]) -> str:
    """Return a line for each number of occupants."""
    return "\n".join(
        f"{size} occupants, in memory: {_behind(size):.2f} us/delivery through a room with backing, "
        f"{_alone(size):.2f} us/delivery in a room alone"
        for size in sizes
    )
