"""
C{/status}: the state of each link and the reports of its handlers, as text for operators.
"""

from __future__ import annotations

import typing
import warnings
from collections.abc import Iterator, Sequence

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.http.health import Stored, Watched, text
from gateway.log.printable import printable
from gateway.reports import StatusItem
from gateway.stream.interfaces import IStatusProvider

_log = Logger()


class Reported(Watched, typing.Protocol):
    """A link; iterating over it yields its handlers."""

    def __iter__(self) -> Iterator[object]:
        """Yield the handlers."""


class Status(Resource):
    """Shows a line for each link, with the reports of the link and its handlers, then a line for each file."""

    def __init__(self, links: Sequence[Reported], files: Sequence[Stored] = ()) -> None:
        super().__init__()
        self._links = links
        self._files = files

    def render_GET(self, request: Request) -> bytes:
        parts = [*map(_described, self._links)] or ["There are no links.\n"]
        if self._files:
            parts.append("".join(f"{printable(str(file.report()))}\n" for file in self._files))
        return text(request, 200, "\n".join(parts))


def _described(link: Reported) -> str:
    state = "connected" if link.ready else f"not connected: {link.trouble}"
    if link.ready and link.conflict:
        state += f", but {link.conflict}"
    lines = [line for each in (link, *link) for line in _lines(each)]
    return "".join([f"{link.jid}: {printable(state)}\n", *(f"  {printable(line)}\n" for line in lines)])


def _lines(handler: object) -> list[str]:
    """Return the lines of what a link or a handler reports. If it fails, that is the report."""
    if not IStatusProvider.providedBy(handler):
        return []
    name = type(handler).__qualname__
    try:
        items = [_item(each, name) for each in IStatusProvider(handler).report()]
        return [line for item in items for line in str(item).split("\n")]
    except Exception:
        _log.failure("{name} failed to report.", name=name)
        return [f"{name} failed to report: see the log"]


def _item(item: StatusItem | str, name: str) -> StatusItem:
    """Return an item. A text, which is deprecated, is made into an item."""
    if not isinstance(item, str):
        return item
    message = f"{name}.report() returned a text; it should return gateway.reports.StatusItem"
    warnings.warn(message, DeprecationWarning, stacklevel=1)
    return StatusItem("text", "{text}", {"text": item})
