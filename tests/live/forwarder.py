"""A TCP forwarder whose connections can be cut, like those of networks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Forwarder:
    """
    Forwards connections to a port on the loopback.

    @ivar port: its own port.
    @ivar accepted: number of connections so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self.accepted = 0

    async def start(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """End every connection at both ends, without an end of the stream."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Stop listening and forwarding."""
        self._server.close()
        self.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        onward, outward = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, outward]
        await asyncio.gather(_pump(reader, outward), _pump(onward, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
