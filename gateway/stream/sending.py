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
    if not _isIdle(transport):
        transport.write(data)
        return
    rest = memoryview(data)
    while rest:
        written = transport.writeSomeData(rest)
        # An exception: the transport tells it when it writes by itself.
        if not isinstance(written, int) or written <= 0:
            transport.write(bytes(rest))
            return
        rest = rest[written:]


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
