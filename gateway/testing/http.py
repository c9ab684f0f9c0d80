"""
HTTP in memory: requests to what a service serves, and requests that a service sends.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPResponse
from typing import Any

from attrs import define
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory, IReactorTime

from gateway.testing.wire import MemoryTransport

# The default of [http].
PORT = 5290


class _Received:
    """Bytes in the place of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *mode: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


class Response:
    """The answer to an HTTP request, as far as it has been sent. All but L{status} need a complete answer."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    @property
    def status(self) -> int | None:
        """The status code; C{None} while there is no answer."""
        return self._read().status if b"\r\n\r\n" in self._transport.value() else None

    @property
    def headers(self) -> Message:
        """The headers."""
        headers: Message = self._read().headers
        return headers

    @property
    def text(self) -> str:
        """The body as text."""
        return self._read().read().decode()

    @property
    def body(self) -> Any:
        """The value of a body in JSON; C{None} if it is empty."""
        return json.loads(self.text or "null")

    def _read(self) -> HTTPResponse:
        received: Any = _Received(self._transport.value())
        response = HTTPResponse(received)
        response.begin()
        return response


def request(
    factory: IProtocolFactory, clock: IReactorTime, method: str, path: str, body: bytes = b"", **headers: str
) -> Response:
    """
    Send an HTTP request over a new connection.

    @param factory: the site that answers, such as a C{twisted.web.server.Site} of one resource.
    @param clock: the clock of the connection.
    @param body: JSON.
    @param headers: further headers, with C{_} in place of C{-}, such as C{Authorization} and C{Content_Type}.
    """
    sent = {"Host": f"127.0.0.1:{PORT}", "Content-Length": str(len(body)), "Connection": "close"}
    if body:
        sent["Content-Type"] = "application/json"
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    transport = MemoryTransport(clock)
    transport.hostAddr = IPv4Address("TCP", "127.0.0.1", PORT)
    protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
    assert protocol is not None
    transport.connect(protocol)
    transport.say("\r\n".join([*lines, "", ""]).encode() + body)
    return Response(transport)


@define(eq=False)
class Call:
    """
    An HTTP request of the gateway.

    @ivar place: address and port; every name is resolved to 127.0.0.1.
    @ivar token: the C{Authorization} header; empty if there is none.
    """

    transport: MemoryTransport
    place: tuple[str, int]
    method: str
    path: str
    token: str
    body: bytes

    def reply(self, document: object, status: int = 200) -> None:
        """Answer it with a JSON document."""
        body = json.dumps(document).encode()
        self.transport.say(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


def calls(transport: MemoryTransport, place: tuple[str, int]) -> Iterator[Call]:
    """Yield the requests that were written to a connection, and remove them from it."""
    data = transport.value()
    transport.clear()
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        method, path, _ = head.decode().partition("\r\n")[0].split(" ")
        token = re.search(rb"(?i)\r\nauthorization: (.*)", head + b"\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        length = int(found[1]) if found else 0
        written = token[1].decode().strip() if token else ""
        yield Call(transport, place, method, path, written, rest[:length])
        data = rest[length:]
