"""A XEP-0114 component by hand: for addresses and stanzas that no client can have."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Self
from xml.etree.ElementTree import Element

from gateway import ns
from tests.live.clients import local
from tests.live.rawstream import RawStream
from tests.live.servers import Server


class RawComponent(RawStream):
    """
    One connected component that writes raw XML and keeps everything that arrives.

    @ivar received: each stanza in the order of arrival.
    """

    namespace = ns.COMPONENT_ACCEPT

    def __init__(self, server: Server, jid: str) -> None:
        super().__init__(server)
        self.jid = jid
        self.received: list[Element] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def connect(self, seconds: float = 5) -> Self:
        """Open the stream and authenticate, also repeatedly; AssertionError if the server refuses."""
        await self.authenticate(seconds)
        self._task = asyncio.create_task(self._readOn())
        return self

    async def authenticate(self, seconds: float = 5) -> Self:
        """Open the stream and authenticate, without reading any stanza."""
        async with asyncio.timeout(seconds):
            await self.dial(self.server.componentPort)
            root = await self.header(self.jid)
            secret = root.get("id", "") + self.server.components[self.jid]
            digest = hashlib.sha1(secret.encode(), usedforsecurity=False).hexdigest()
            self.send(f"<handshake>{digest}</handshake>")
            answer = await self.next()
            assert local(answer) == "handshake", f"{self.jid[:40]}: refused: {local(answer)}"
        return self

    async def reply(self, id_: str, seconds: float = 10) -> Element:
        """Return the first reply with this id."""
        async with asyncio.timeout(seconds):
            while True:
                for element in self.received:
                    if element.get("id") == id_ and element.get("type") in ("result", "error"):
                        return element
                self._arrived.clear()
                await self._arrived.wait()

    async def close(self) -> None:
        """Cut the connection; the server has noticed it on return."""
        if self._task is not None:
            if not self._writer.is_closing():
                self._writer.write_eof()
                await asyncio.wait([self._task], timeout=5)
            self._task.cancel()
        await super().close()

    def onStanza(self, element: Element) -> None:
        """Handle a stanza; for subclasses."""

    async def _readOn(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                element = await self._event("end")
                self.received.append(element)
                self._arrived.set()
                self.onStanza(element)
