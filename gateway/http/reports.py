"""
The state of each link with the reports of its handlers: the content of C{/status}, of the page, and of
C{/readyz?full=1}.
"""

from __future__ import annotations

import math
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from gateway.reports import StatusItem
from gateway.stream.interfaces import IStatusProvider

_log = Logger()


class Watched(typing.Protocol):
    """
    A connection whose state is reported.

    @ivar jid: the component's JID.
    @ivar ready: true if it is connected.
    @ivar trouble: the reason why it is not connected.
    @ivar conflict: a conflict that makes it unusable although it is connected; usually empty.
    @ivar standby: if it is not connected because another gateway may serve the component, the state in words;
        otherwise empty.
    """

    jid: str
    ready: bool
    conflict: str

    @property
    def trouble(self) -> str:
        """See above."""

    @property
    def standby(self) -> str:
        """See above."""


class Reported(Watched, typing.Protocol):
    """A link; iterating over it yields its handlers."""

    def __iter__(self) -> Iterator[object]:
        """Yield the handlers."""


class Stored(typing.Protocol):
    """
    A store whose state is reported.

    @ivar name: its name.
    """

    name: str

    @property
    def trouble(self) -> str:
        """The reason why it does not work, and a remedy; empty while it works."""

    def report(self) -> StatusItem:
        """Return the state of the store; it has one line."""


@frozen
class Report:
    """
    The report of one link.

    @ivar component: the component's JID.
    @ivar isConnected: true if the link is up.
    @ivar state: the state in words, with the reason for a problem.
    @ivar isProblem: true if the link is down, or of no use; false if another gateway serves the component.
    @ivar items: the items of the link and of its handlers; all of them have their sentences.
    """

    component: str
    isConnected: bool
    state: str
    isProblem: bool
    items: tuple[StatusItem, ...]

    @property
    def problems(self) -> tuple[StatusItem, ...]:
        """The items that are problems."""
        return tuple(item for item in self.items if item.isProblem)

    @property
    def blocking(self) -> tuple[StatusItem, ...]:
        """The problems that prevent the service from doing its work."""
        return tuple(item for item in self.problems if not item.isOfOneUser)


def reportOf(link: Reported) -> Report:
    """Return the report of a link. If a handler fails to report, that is its report."""
    state = "connected" if link.ready else f"not connected: {link.trouble}"
    if link.ready and link.conflict:
        state += f", but {link.conflict}"
    items = tuple(item for each in (link, *link) for item in _items(each))
    if link.standby:
        return Report(link.jid, False, f"standby: {link.standby}", bool(link.trouble), items)
    return Report(link.jid, link.ready, state, not link.ready or bool(link.conflict), items)


def _items(handler: object) -> list[StatusItem]:
    if not IStatusProvider.providedBy(handler):
        return []
    name = type(handler).__qualname__
    try:
        items = [_item(each, name) for each in IStatusProvider(handler).report()]
        for item in items:
            # This raises if the sentence of the item, or of an item in its values, names a value that is missing.
            _plain(item)
    except Exception:
        _log.failure("{name} failed to report.", event="http.report_failed", name=name)
        text = "{handler} failed to report: see the log"
        return [StatusItem("report.failed", text, {"handler": name}, isProblem=True)]
    return items


def _item(item: StatusItem | str, name: str) -> StatusItem:
    """Return an item. A text, which is deprecated, is made into an item."""
    if not isinstance(item, str):
        return item
    message = f"{name}.report() returned a text; it should return gateway.reports.StatusItem"
    warnings.warn(message, DeprecationWarning, stacklevel=1)
    return StatusItem("text", "{text}", {"text": item})


def asDocument(
    version: str,
    reports: Sequence[Report],
    files: Sequence[Stored],
    kinds: Mapping[str, str],
    own: Sequence[StatusItem] = (),
) -> dict[str, Any]:
    """
    Return everything as a JSON document.

    @param kinds: kinds of services by component.
    @param own: items about the gateway as a whole.
    """
    links = [
        {
            "component": each.component,
            "kind": kinds.get(each.component),
            "connected": each.isConnected,
            "state": each.state,
            "problem": each.isProblem,
            "items": _plain(each.items),
        }
        for each in reports
    ]
    items = [_plain(file.report()) for file in files]
    return {"version": version, "links": links, "files": items, "gateway": _plain(tuple(own))}


def _plain(value: Any) -> Any:
    """Return a value of an item as JSON has it."""
    if isinstance(value, StatusItem):
        values = _plain(value.values)
        return {"name": value.name, "text": str(value), "problem": value.isProblem, "values": values}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
