"""
C{/healthz} and C{/readyz}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.http.reports import Stored, Watched, reportOf
from gateway.log.printable import printable

# Values of the query option "full".
_FULL = {b"0": False, b"1": True}
_USAGE = "unknown or malformed option; valid: full=0|1, serves=COMPONENT\n"


class Health(Resource):
    """C{/healthz}: 200 as long as the process answers at all."""

    def render_GET(self, request: Request) -> bytes:
        return text(request, 200, "ok\n")


class Readiness(Resource):
    """
    C{/readyz}: 200 if every link is connected and without conflict, and every file works; otherwise 503, and one
    line for each that does not work.

    With C{?full=1} it is also 503 while a service cannot do its work, because the server does not grant something
    that is configured, or nobody implements a proxy. The line has only the name of the item on C{/status}, not
    its sentence, which may contain addresses: this path needs no token.

    With C{?serves=COMPONENT} it is also 503 if this gateway does not serve the component at the moment: another one
    may, or none.
    """

    def __init__(self, links: Sequence[Watched], files: Sequence[Stored] = ()) -> None:
        super().__init__()
        self._links = links
        self._files = files

    def render_GET(self, request: Request) -> bytes:
        options: dict[bytes, list[bytes]] = request.args or {}
        values, served = options.get(b"full", [b"0"]), options.get(b"serves", [])
        if options.keys() - {b"full", b"serves"} or len(values) > 1 or len(served) > 1 or values[0] not in _FULL:
            return text(request, 400, _USAGE)
        troubles = [(link.jid, link.conflict if link.ready else link.trouble) for link in self._links]
        ready = {link.jid for link in self._links if link.ready}
        missing = {each.decode(errors="replace") for each in served} - ready
        troubles += [(name, "this gateway does not serve it") for name in missing]
        troubles += [(file.name, file.trouble) for file in self._files]
        if _FULL[values[0]]:
            troubles += [each for link in self._links if link.ready for each in _blocking(link)]
        down = [f"{printable(f'{name}: {trouble}')}\n" for name, trouble in troubles if trouble]
        return text(request, 503, "".join(down)) if down else text(request, 200, "ok\n")


def _blocking(link: Any) -> list[tuple[str, str]]:
    return [(link.jid, f"{item.name}: see /status") for item in reportOf(link).blocking]


def text(request: Request, code: int, body: str) -> bytes:
    """Answer with plain text that must not be cached."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return body.encode()
