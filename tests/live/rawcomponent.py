"""A XEP-0114 component by hand: for addresses and stanzas that no client could have."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Self
from xml.etree.ElementTree import Element, XMLPullParser

from tests.live.clients import local
from tests.live.servers import Server


class RawComponent:
    """
    One connected component that writes raw XML and keeps everything that arrives.

    @ivar received: each stanza in the order of arrival.
    """

    def __init__(self, server: Server, jid: str) -> None:
        self.server = server
        self.jid = jid
        self.received: list[Element] = []
        self._arrived = asyncio.Event()

    async def connect(self, seconds: float = 5) -> Self:
        """Open the stream, once more perhaps, and authenticate; AssertionError when the server refuses."""
        self._parser = XMLPullParser(("start", "end"))
        self._depth = 0
        async with asyncio.timeout(seconds):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.server.componentPort)
            self.send(
                f"<stream:stream to='{self.jid}' xmlns='jabber:component:accept' "
                "xmlns:stream='http://etherx.jabber.org/streams'>"
            )
            root = await self._event("start")
            secret = root.get("id", "") + self.server.components[self.jid]
            digest = hashlib.sha1(secret.encode(), usedforsecurity=False).hexdigest()
            self.send(f"<handshake>{digest}</handshake>")
            answer = await self._event("end")
            assert local(answer) == "handshake", f"{self.jid[:40]}: refused: {local(answer)}"
        self._task = asyncio.create_task(self._readOn())
        return self

    def send(self, xml: str) -> None:
        """Write to the stream as it is."""
        self._writer.write(xml.encode())

    async def reply(self, id_: str, seconds: float = 10) -> Element:
        """The first reply that carries this id."""
        async with asyncio.timeout(seconds):
            while True:
                for element in self.received:
                    if element.get("id") == id_ and element.get("type") in ("result", "error"):
                        return element
                self._arrived.clear()
                await self._arrived.wait()

    async def close(self) -> None:
        """End the connection without a word; the server has noticed by the return."""
        if not self._writer.is_closing():
            self._writer.write_eof()
            await asyncio.wait([self._task], timeout=5)
        self._task.cancel()
        self._writer.close()

    def onStanza(self, element: Element) -> None:
        """For subclasses: a stanza has arrived."""

    async def _event(self, wanted: str) -> Element:
        """The next opened element of the root, or the next complete stanza."""
        while True:
            for event, element in self._parser.read_events():
                assert isinstance(element, Element)
                self._depth += 1 if event == "start" else -1
                if event == wanted and self._depth == 1:
                    return element
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError(f"{self.jid[:40]}: the server closed the stream")
            self._parser.feed(data)

    async def _readOn(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                element = await self._event("end")
                self.received.append(element)
                self._arrived.set()
                self.onStanza(element)
