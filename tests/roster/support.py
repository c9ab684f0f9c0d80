"""Values for the tests of documents and rosters."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

from gateway.interfaces import RosterItem
from gateway.roster.document import Document, readingDocument

JOHN = "john@example.com"
MARIE = "marie@example.com"

T = TypeVar("T")


def whole(work: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: T = end.value
            return value


def readDocument(data: bytes, user: str) -> Document:
    """Read a document at once."""
    return whole(readingDocument(data, user))


def item(jid: str = MARIE, name: str = "", groups: tuple[str, ...] = (), subscription: str = "both") -> RosterItem:
    """Return a contact."""
    return RosterItem(jid=jid, name=name, groups=frozenset(groups), subscription=subscription)


def document(value: Any) -> bytes:
    """Return a document of an application."""
    return json.dumps(value).encode()
