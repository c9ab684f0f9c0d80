"""A stream by hand: for input that no correct client or component would write."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from typing import Self
from xml.etree.ElementTree import Element, XMLPullParser

from gateway import ns
from tests.live.clients import local, stanza
from tests.live.servers import DOMAIN, Server

_CONDITIONS = "{urn:ietf:params:xml:ns:xmpp-streams}"


class RawStream:
    """
    The initiating side of a connection to a server.

    @cvar namespace: the content namespace of its streams.
    """

    namespace: str

    def __init__(self, server: Server) -> None:
        self.server = server
        self._connected = False

    async def dial(self, port: int, kernelBytes: int | None = None) -> None:
        """
        Connect.

        @param kernelBytes: size of the kernel's buffers for either direction, where that matters.
        """
        # Only with its protocol named asyncio sets TCP_NODELAY.
        connection = socket.socket(proto=socket.IPPROTO_TCP)
        connection.setblocking(False)
        if kernelBytes is not None:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                connection.setsockopt(socket.SOL_SOCKET, option, kernelBytes)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        self._reader, self._writer = await asyncio.open_connection(sock=connection)
        self._connected = True

    async def header(self, to: str, more: str = "") -> Element:
        """Begin a stream, optionally with more attributes; return the server's header."""
        self._parser: XMLPullParser = XMLPullParser(("start", "end"))
        self._depth = 0
        self.send(f"<stream:stream to='{to}' xmlns='{self.namespace}' xmlns:stream='{ns.STREAMS}'{more}>")
        return await self._event("start")

    def send(self, xml: str | bytes) -> None:
        """Write to the stream without changes."""
        self._writer.write(xml.encode() if isinstance(xml, str) else xml)

    async def flush(self) -> None:
        """Wait until the output has been sent."""
        await self._writer.drain()

    async def next(self, seconds: float = 5) -> Element:
        """Return the next complete element of the stream; ConnectionError if there is none."""
        async with asyncio.timeout(seconds):
            return await self._event("end")

    async def ended(self, seconds: float = 5) -> str:
        """
        Wait until the server has closed the connection; return the condition of the stream error, if there was one.
        """
        found = "without a word"
        try:
            while True:
                element = await self.next(seconds)
                if element.tag == f"{{{ns.STREAMS}}}error":
                    found = next(local(each) for each in element if each.tag.startswith(_CONDITIONS))
        except TimeoutError:
            raise AssertionError(f"not closed within {seconds:g} s, but: {found}") from None
        except OSError:
            return found

    async def startTls(self) -> None:
        """Start TLS; the certificate is checked."""
        context = ssl.create_default_context(cafile=self.server.certificate)
        await self._writer.start_tls(context, server_hostname=DOMAIN)

    async def rest(self) -> bytes:
        """Return all bytes until the other side closes, or cuts, the connection."""
        taken = b""
        try:
            while data := await self._reader.read(65536):
                taken += data
        except OSError:
            pass
        return taken

    async def close(self) -> None:
        """Cut the connection, if there is one."""
        if self._connected:
            self._writer.transport.abort()

    async def _event(self, wanted: str) -> Element:
        """Return the next start tag of the root, or the next complete element below it."""
        while True:
            for event, element in self._parser.read_events():
                assert isinstance(element, Element)
                self._depth += 1 if event == "start" else -1
                if event == wanted and self._depth == 1:
                    return element
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the server has closed the stream")
            self._parser.feed(data)


class RawClient(RawStream):
    """A client's connection, as far as a test takes it."""

    namespace = ns.CLIENT

    async def greet(self, kernelBytes: int | None = None) -> Self:
        """Connect, and return the first features."""
        await self.dial(self.server.clientPort, kernelBytes)
        await self.features()
        return self

    async def features(self) -> Element:
        """Begin a stream, the first or the next; return its features."""
        await self.header(self.server.domain, " version='1.0'")
        return await self.next()

    async def secure(self, kernelBytes: int | None = None) -> Self:
        """Start TLS, and return the features after it."""
        await self.greet(kernelBytes)
        await self.proceed()
        await self.startTls()
        await self.features()
        return self

    async def proceed(self) -> None:
        """Request TLS, and wait for permission."""
        self.send(f"<starttls xmlns='{ns.TLS}'/>")
        answer = await self.next()
        assert local(answer) == "proceed", answer.tag

    async def plain(self, user: str, password: str) -> Element:
        """Try a password with PLAIN; return success or failure."""
        self.sasl("auth", f"\0{user}\0{password}", mechanism="PLAIN")
        return await self.next()

    def sasl(self, name: str, text: str, **attributes: str) -> None:
        """Send one message of a SASL exchange."""
        self.send(stanza(name, b64encode(text.encode()).decode(), xmlns=ns.SASL, **attributes))

    async def login(self, user: str, resource: str, kernelBytes: int | None = None) -> Self:
        """Log in completely: an available resource."""
        await (self.secure if self.server.certificate else self.greet)(kernelBytes)
        answer = await self.plain(user, self.server.password(user))
        assert local(answer) == "success", answer.tag
        await self.features()
        self.send(f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>{resource}</resource></bind></iq>")
        bound = await self.next()
        assert bound.get("type") == "result", bound.attrib
        self.jid = f"{user}@{self.server.domain}/{resource}"
        return self
