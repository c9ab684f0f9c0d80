"""
Is the process alive, and is it of use?
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.printable import printable


class Watched(typing.Protocol):
    """
    A connection that matters.

    @ivar jid: what it is called.
    @ivar ready: whether it is up.
    @ivar trouble: why it is not.
    @ivar conflict: why it is of little use although it is up; empty as a rule.
    """

    jid: str
    ready: bool
    trouble: str
    conflict: str


class Stored(typing.Protocol):
    """
    A file that matters.

    @ivar path: where it is.
    """

    path: Path

    @property
    def trouble(self) -> str:
        """Why it does not work, and what to do; empty while it works."""

    def report(self) -> str:
        """One line for the operator."""


class Health(Resource):
    """C{/healthz}: always 200, as long as somebody is there to answer."""

    def render_GET(self, request: Request) -> bytes:
        return text(request, 200, "ok\n")


class Readiness(Resource):
    """
    C{/readyz}: 200 when every configured link is up and of use, and every file works; else 503 and a line for each
    that does not.
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
    """Answer with plain text that is true only now."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return body.encode()
