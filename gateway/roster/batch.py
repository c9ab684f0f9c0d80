"""
The users of one HTTP request: refreshed a few at a time, and the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults

from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster.core import Finished
from gateway.roster.document import checkUser
from gateway.roster.failures import RefreshFailed
from gateway.roster.refresher import Refresher

# Called with a user and isForced; returns true if the user is not refreshed now.
Postpone = Callable[[str, bool], bool]

# Changes that one answer lists at most.
_MAX_CHANGES = 100_000

# Entries of an answer that are encoded in one piece.
_PIECE = 50

# Skipped contacts that one answer lists at most.
_MAX_SKIPPED = 10_000

_TOO_MANY = f"the answer would list more than {_MAX_CHANGES} changes; ask for fewer users at a time"


class Batch:
    """
    Refreshes users, each once. It takes at most three quarters of the refresher's slots. So a long list takes
    little memory, does not delay a short one, and users who log in find a free slot.

    @param postpone: called for each user, except in a dry run. True means that the user is not online and is not
        refreshed now.

    @ivar done: number of names that have been handled.
    """

    def __init__(
        self,
        refresher: Refresher,
        pieces: Pieces,
        isDry: bool,
        isForced: bool,
        postpone: Postpone | None = None,
    ) -> None:
        self._refresher = refresher
        self._pieces = pieces
        self._postpone = postpone
        self._offline: list[str] = []
        self.done = 0
        self._isDry = isDry
        self._isForced = isForced
        self._seen: set[str] = set()
        self._wrong: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._changes: dict[str, tuple[RosterItem, ...]] = {}
        self._listed = 0
        self._skipped: dict[str, Mapping[str, str]] = {}
        self._skippedLeft = _MAX_SKIPPED

    async def run(self, names: list[Any]) -> None:
        """
        Refresh all users.

        @param names: items of the request's array, already announced to the refresher.
        """
        left = iter(names)
        most = self._refresher.concurrency
        lanes = min(len(names), most - most // 4)
        try:
            await gatherResults([ensureDeferred(self._lane(left)) for _ in range(lanes)], consumeErrors=True)
        finally:
            self._refresher.announced -= sum(1 for _ in left)

    async def _lane(self, names: Iterator[Any]) -> None:
        for name in names:
            self._refresher.announced -= 1
            if self._pieces.isOver:
                await self._pieces.turn()
            await self._refreshOne(name)
            self.done += 1

    async def _refreshOne(self, name: Any) -> None:
        try:
            user = checkUser(name)
        except RefreshFailed as failure:
            shown = name if isinstance(name, str) else json.dumps(name)
            self._wrong[shown[:100]] = str(failure)
            return
        if user in self._seen:
            return
        self._seen.add(user)
        if self._isDry:
            self._record(user, await self._refresher.dryRun(user))
        elif self._postpone is not None and self._postpone(user, self._isForced):
            self._offline.append(user)
        else:
            self._record(user, await self._refresher.refresh(user, self._isForced))

    def _record(self, user: str, finished: Finished) -> None:
        self._listed += len(finished.items)
        if finished.skipped:
            reported = dict(islice(finished.skipped.items(), self._skippedLeft))
            self._skippedLeft -= len(reported)
            self._skipped[user] = reported or {"...": f"{len(finished.skipped)} or more"}
        if finished.reason:
            self._failed[user] = finished.reason
        elif self._listed > _MAX_CHANGES:
            self._failed[user] = _TOO_MANY
            self._listed -= len(finished.items)
        elif self._isDry:
            self._changes[user] = finished.items

    @property
    def isFailure(self) -> bool:
        """True if all users have failed."""
        return bool(self._failed or self._wrong) and len(self._failed) == len(self._seen)

    def encode(self) -> Generator[None, None, bytes]:
        """Encode the answer, in pieces: the keys of mod_http_roster_admin, and our own."""
        if self._isDry:
            message = "roster update would fail" if self.isFailure else "dry run: nothing was changed"
        else:
            message = "roster update failed" if self.isFailure else "roster update complete"
        answer = {
            "status": "error" if self.isFailure else "ok",
            "message": message,
            "updated": len(self._seen) - len(self._failed) - len(self._offline),
            "errors": len(self._failed) + len(self._wrong),
        }
        parts = [json.dumps(answer)[:-1], ', "failed": ']
        yield from _encodeObject(parts, {**self._wrong, **self._failed})
        if self._skipped:
            parts.append(', "skipped": ')
            yield from _encodeObject(parts, self._skipped)
        if self._offline:
            parts.append(', "offline": [')
            for start in range(0, len(self._offline), _PIECE):
                parts.append(", " if start else "")
                parts.append(json.dumps(self._offline[start : start + _PIECE])[1:-1])
                yield
            parts.append("]")
        if self._isDry:
            parts.append(', "changes": ')
            yield from _encodeObject(parts, self._changes)
        parts.append("}\n")
        return "".join(parts).encode()


def encodeAnswer(answer: dict[str, Any]) -> bytes:
    """Encode a short answer."""
    return json.dumps(answer).encode() + b"\n"


def _encodeObject(parts: list[str], values: dict[str, Any]) -> Generator[None, None, None]:
    """Encode an object whose values are strings, objects of strings, or lists of contacts."""
    separator = "{"
    for count, (name, value) in enumerate(values.items()):
        parts += separator, json.dumps(name), ": "
        separator = ", "
        if isinstance(value, str | dict):
            parts.append(json.dumps(value))
        else:
            yield from _encodeList(parts, value)
        if count % _PIECE == 0:
            yield
    parts.append("}" if values else "{}")


def _encodeList(parts: list[str], items: tuple[RosterItem, ...]) -> Generator[None, None, None]:
    parts.append("[")
    for start in range(0, len(items), _PIECE):
        encoded = [_asJson(item) for item in items[start : start + _PIECE]]
        parts.append(json.dumps(encoded)[1:-1])
        parts.append(", " if start + _PIECE < len(items) else "")
        yield
    parts.append("]")


def _asJson(item: RosterItem) -> dict[str, Any]:
    if item.subscription == "remove":
        return {"jid": item.jid, "subscription": "remove"}
    groups = sorted(item.groups)
    return {"jid": item.jid, "name": item.name, "groups": groups, "subscription": item.subscription}
