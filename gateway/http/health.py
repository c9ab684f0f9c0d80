"""
C{/healthz} and C{/readyz}.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.log.printable import printable
from gateway.reports import StatusItem


class Watched(typing.Protocol):
    """
    A connection whose state is reported.

    @ivar jid: the component's JID.
    @ivar ready: true if it is connected.
    @ivar trouble: the reason why it is not connected.
    @ivar conflict: a conflict that makes it unusable although it is connected; usually empty.
    """

    jid: str
    ready: bool
    trouble: str
    conflict: str


class Stored(typing.Protocol):
    """
    A file whose state is reported.

    @ivar path: its path.
    """

    path: Path

    @property
    def trouble(self) -> str:
        """The reason why it does not work, and a remedy; empty while it works."""

    def report(self) -> StatusItem:
        """Return the state of the file; it has one line."""


class Health(Resource):
    """C{/healthz}: 200 as long as the process answers at all."""

    def render_GET(self, request: Request) -> bytes:
        return text(request, 200, "ok\n")


class Readiness(Resource):
    """
    C{/readyz}: 200 if every link is connected and without conflict, and every file works; otherwise 503, and one
    line for each that does not work.
    """

    def __init__(self, links: Sequence[Watched], files: Sequence[Stored] = ()) -> None:
        super().__init__()
        self._links = links
        self._files = files

    def render_GET(self, request: Request) -> bytes:
        troubles = [(link.jid, link.conflict if link.ready else link.trouble) for link in self._links]
        troubles += [(file.path.name, file.trouble) for file in self._files]
        down = [f"{printable(f'{name}: {trouble}')}\n" for name, trouble in troubles if trouble]
        return text(request, 503, "".join(down)) if down else text(request, 200, "ok\n")


def text(request: Request, code: int, body: str) -> bytes:
    """Answer with plain text that must not be cached."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return body.encode()
