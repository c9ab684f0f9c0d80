"""
A misbehaving web application in a process of its own: `odd_application.py PORT CONTACTS`.

GET /contacts/USER; the behaviour depends on the user's name and on the mood: GET /mood/MOOD. In the mood "before"
each user has one contact, in a correct document; in "odd" and "after" each has two, in "after" in a correct
document. A user u0, u1, … has CONTACTS contacts: the users that follow. GET /served/crowd returns the number of
these users that were requested.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from asyncio import StreamWriter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

# The users u0, u1, …; more bytes than a document may have; the bytes of one that is compressed.
CROWD = 1_000
TOO_MANY = 9 * 1024 * 1024
BOMB = 64 * 1024 * 1024


def isCrowded(user: str) -> bool:
    """True if the user is one of the crowd."""
    return user[0] == "u" and user[1:].isdigit()


def contacts(user: str, mood: str, count: int) -> dict[str, Any]:
    """Return a user's contacts in a correct document."""
    if isCrowded(user):
        number = int(user[1:])
        return {
            f"u{(number + each) % CROWD}@localhost": {"name": f"{number}-{each}", "groups": ["Crowd"]}
            for each in range(1, count + 1)
        }
    kept = {"kept@localhost": {"name": f"Kept by {user}", "groups": {"Söme": True}}}
    return kept if mood == "before" else {**kept, "new\\40x@localhost": {"name": "Neü & <b>"}}


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return a correct answer, or one with another header."""
    headers = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def drip(writer: StreamWriter, data: bytes) -> None:
    """Send a byte each second."""
    for each in data:
        writer.write(bytes([each]))
        await writer.drain()
        await asyncio.sleep(1)


async def slowDocument(writer: StreamWriter, body: bytes) -> None:
    """Send the document a byte each second."""
    writer.write(whole(b"", Content_Length=str(len(body))))
    await drip(writer, body)


async def slowHead(writer: StreamWriter, body: bytes) -> None:
    """Send the header a byte each second."""
    await drip(writer, whole(body))


async def silent(writer: StreamWriter, body: bytes) -> None:
    """Send nothing."""
    await asyncio.sleep(60)


async def half(writer: StreamWriter, body: bytes) -> None:
    """Send less than the header announces."""
    writer.write(whole(body, Content_Length=str(2 * len(body))))
    raise ConnectionError


async def chunked(writer: StreamWriter, body: bytes) -> None:
    """Send a whole document without the end of the chunked answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
    raise ConnectionError


async def cut(writer: StreamWriter, body: bytes) -> None:
    """Send the announced length of a truncated document."""
    writer.write(whole(body[:-1]))


async def endless(writer: StreamWriter, body: bytes) -> None:
    """Send too much, without announcing a length."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * TOO_MANY)
    raise ConnectionError


async def decompressionBomb(writer: StreamWriter, body: bytes) -> None:
    """Send a small body that decompresses to a large one."""
    writer.write(whole(gzip.compress(bytes(BOMB), 1), Content_Encoding="gzip"))


def saying(make: Callable[[bytes], bytes]) -> Callable[[StreamWriter, bytes], Awaitable[None]]:
    """Return a behaviour that sends an answer made from the document."""

    async def say(writer: StreamWriter, body: bytes) -> None:
        writer.write(make(body))

    return say


class Recovering:
    """Fails at first, and succeeds at the next attempt."""

    def __init__(self) -> None:
        self._times = 0

    async def __call__(self, writer: StreamWriter, body: bytes) -> None:
        self._times += 1
        writer.write(whole(b"", "500 Oops") if self._times == 1 else whole(body))


ODD: dict[str, Callable[[StreamWriter, bytes], Awaitable[None]]] = {
    "dripping": slowDocument,
    "hesitating": slowHead,
    "silent": silent,
    "half": half,
    "chunked": chunked,
    "cut": cut,
    "endless": endless,
    "bomb": decompressionBomb,
    "large": saying(lambda body: whole(b" " * TOO_MANY)),
    "redirecting": saying(lambda body: whole(b"", "302 Found", Location="/contacts/zipped")),
    "mistaken": saying(lambda body: whole(body.replace(b"kept@", b"mistaken@"))),
    "missing": saying(lambda body: whole(body, "404 Not Found")),
    "failing": saying(lambda body: whole(body, "500 Oops")),
    "page": saying(lambda body: whole(b"<html>Please log in</html>", Content_Type="text/html")),
    "empty": saying(lambda body: whole(b"")),
    "twice": saying(lambda body: whole(gzip.compress(gzip.compress(body)), Content_Encoding="gzip, gzip")),
    "mislabelled": saying(lambda body: whole(body, Content_Type="text/html")),
    "zipped": saying(lambda body: whole(gzip.compress(body), Content_Encoding="gzip")),
    "recovering": Recovering(),
}


class Application:
    """
    The application.

    @param count: contacts of each u0, u1, …
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._mood = "before"
        self._served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, kind, name = unquote(head.split()[1].decode()).split("/")
                await self._answer(kind, name, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, kind: str, name: str, writer: StreamWriter) -> None:
        if kind == "mood":
            self._mood = name
            writer.write(whole(b""))
            return
        if kind == "served":
            writer.write(whole(str(self._served).encode()))
            return
        self._served += isCrowded(name)
        body = json.dumps(contacts(name, self._mood, self._count)).encode()
        if self._mood == "odd" and name in ODD:
            await ODD[name](writer, body)
        else:
            writer.write(whole(body))


async def main() -> None:
    """Serve for ever."""
    application = Application(int(sys.argv[2]))
    server = await asyncio.start_server(application.serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
