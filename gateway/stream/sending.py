"""Output to a transport, at once if its socket takes it."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor


def send(transport: Any, data: bytes) -> None:
    """
    Write to a transport. Twisted's transports only note what they are given, and write it in the next turn of the
    reactor: two system calls to be told of that turn, and one to wait for it. For a single stanza that is half of
    the work. What the socket does not take is left to the transport, as is everything after it.

    @param transport: of any kind; those with TLS write by themselves.
    """
    if _isIdle(transport) and len(data) <= transport.SEND_LIMIT:
        written = transport.writeSomeData(data)
        # An exception: the transport tells it when it writes by itself.
        if isinstance(written, int):
            data = data[written:]
    if data:
        # More than the limit is paced: a peer that reads as fast would get all output in one turn.
        transport.write(data)


def _isIdle(transport: Any) -> bool:
    """True for a connected socket without TLS that nothing waits for."""
    return (
        isinstance(transport, FileDescriptor)
        and not getattr(transport, "TLS", True)
        and bool(transport.connected)
        and not transport.disconnecting
        and not transport.dataBuffer
        # Twisted has no public name for what was written since the last turn.
        and not transport._tempDataLen
    )
