"""
Is the process alive, and is it of use?
"""

from __future__ import annotations

import typing
from collections.abc import Sequence

from twisted.web.resource import Resource
from twisted.web.server import Request


class Watched(typing.Protocol):
    """
    A connection that matters.

    @ivar jid: what it is called.
    @ivar ready: whether it is up.
    @ivar trouble: why it is not.
    """

    jid: str
    ready: bool
    trouble: str


class Health(Resource):
    """C{/healthz}: always 200, as long as somebody is there to answer."""

    def render_GET(self, request: Request) -> bytes:
        return text(request, 200, "ok\n")


class Readiness(Resource):
    """C{/readyz}: 200 when every configured link is up, else 503 and a line for each that is not."""

    def __init__(self, links: Sequence[Watched]) -> None:
        super().__init__()
        self._links = links

    def render_GET(self, request: Request) -> bytes:
        down = [f"{link.jid}: {link.trouble}\n" for link in self._links if not link.ready]
        return text(request, 503, "".join(down)) if down else text(request, 200, "ok\n")


def text(request: Request, code: int, body: str) -> bytes:
    """Answer with plain text that is true only now."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return body.encode()
