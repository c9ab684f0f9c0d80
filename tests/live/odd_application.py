"""
A web application that does what it should not, in a process of its own: `odd_application.py PORT CONTACTS`.

GET /contacts/USER; what is odd about it is decided by the user's name, and by the mood: GET /mood/MOOD. In the mood
"before" everybody has one contact, and gets it in good order; "odd" and "after" are about two, in good order after.
A user u0, u1, … has so many contacts: those who come next; GET /served/crowd: how many of them were asked for.
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

# The users u0, u1, …; more bytes than a document may have; those of what is packed.
CROWD = 1_000
TOO_MANY = 9 * 1024 * 1024
BOMB = 64 * 1024 * 1024


def isCrowded(user: str) -> bool:
    """True if the user is one of the crowd."""
    return user[0] == "u" and user[1:].isdigit()


def contacts(user: str, mood: str, count: int) -> dict[str, Any]:
    """Return the right contacts of a user."""
    if isCrowded(user):
        number = int(user[1:])
        return {
            f"u{(number + each) % CROWD}@localhost": {"name": f"{number}-{each}", "groups": ["Crowd"]}
            for each in range(1, count + 1)
        }
    kept = {"kept@localhost": {"name": f"Kept by {user}", "groups": {"Söme": True}}}
    return kept if mood == "before" else {**kept, "new\\40x@localhost": {"name": "Neü & <b>"}}


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer in good order, or with another header."""
    headers = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def drip(writer: StreamWriter, data: bytes) -> None:
    """A byte each second."""
    for each in data:
        writer.write(bytes([each]))
        await writer.drain()
        await asyncio.sleep(1)


async def dripping(writer: StreamWriter, body: bytes) -> None:
    """The document a byte each second."""
    writer.write(whole(b"", Content_Length=str(len(body))))
    await drip(writer, body)


async def hesitating(writer: StreamWriter, body: bytes) -> None:
    """The header a byte each second."""
    await drip(writer, whole(body))


async def silent(writer: StreamWriter, body: bytes) -> None:
    """Nothing at all."""
    await asyncio.sleep(60)


async def half(writer: StreamWriter, body: bytes) -> None:
    """Less than the header has promised."""
    writer.write(whole(body, Content_Length=str(2 * len(body))))
    raise ConnectionError


async def chunked(writer: StreamWriter, body: bytes) -> None:
    """A whole document, and not the end of the answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
    raise ConnectionError


async def cut(writer: StreamWriter, body: bytes) -> None:
    """A length that is right, and a document that is not."""
    writer.write(whole(body[:-1]))


async def endless(writer: StreamWriter, body: bytes) -> None:
    """More than there may be, without a word of how much."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * TOO_MANY)
    raise ConnectionError


async def bomb(writer: StreamWriter, body: bytes) -> None:
    """Little that becomes much."""
    writer.write(whole(gzip.compress(bytes(BOMB), 1), Content_Encoding="gzip"))


def saying(make: Callable[[bytes], bytes]) -> Callable[[StreamWriter, bytes], Awaitable[None]]:
    """A behaviour that is an answer, made of the document."""

    async def say(writer: StreamWriter, body: bytes) -> None:
        writer.write(make(body))

    return say


class Recovering:
    """Wrong at first, and right at the next try."""

    def __init__(self) -> None:
        self._times = 0

    async def __call__(self, writer: StreamWriter, body: bytes) -> None:
        self._times += 1
        writer.write(whole(b"", "500 Oops") if self._times == 1 else whole(body))


ODD: dict[str, Callable[[StreamWriter, bytes], Awaitable[None]]] = {
    "dripping": dripping,
    "hesitating": hesitating,
    "silent": silent,
    "half": half,
    "chunked": chunked,
    "cut": cut,
    "endless": endless,
    "bomb": bomb,
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
    @param count: contacts of each u0, u1, …
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._mood = "before"
        self._served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: StreamWriter) -> None:
        """One connection."""
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
