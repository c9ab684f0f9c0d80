"""
Entity tags of the application's documents, kept over a restart of the gateway.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.interfaces import IReactorTime

from gateway.errors import GatewayError
from gateway.interfaces import IStore
from gateway.stream.latest import keepLatest

MIGRATIONS = (
    ("CREATE TABLE tags (name TEXT PRIMARY KEY, source TEXT NOT NULL, tag TEXT NOT NULL)",),
)

# Users whose tags are remembered, and characters of a tag.
_MAX_TAGS = 100_000
_MAX_TAG_LENGTH = 1_024
# Seconds that a refresh waits for the store. The store itself has no deadline for a commit that has begun.
_TIMEOUT = 15.0
# Seconds for which a change that the server has answered may be lost if it crashes. ejabberd's Mnesia answers
# before it writes; if the machine fails, Linux has not written the last 30 s.
_UNSAVED = 60.0


class EntityTags:
    """
    The entity tags of documents that were applied completely, by user name. With a tag, a refresh skips an
    unchanged document, also after a restart. So a tag is removed from the store before the user's roster is
    changed, and stored again when all changes are done.

    If the store fails, or does not respond in time, tags are only kept in memory.

    @param clock: for the deadline of the store, and for L{serverLost}.
    @param store: with L{MIGRATIONS}; C{None} to keep tags in memory.
    @param source: identifies the application's documents. Tags that were stored with another source are removed.
    """

    def __init__(self, clock: IReactorTime, store: IStore | None = None, source: str = "") -> None:
        self._clock = clock
        self._store = store
        # It may have a secret.
        self._source = sha256(source.encode()).hexdigest()
        # In the order in which they were remembered.
        self._tags: OrderedDict[str, str] = OrderedDict()
        # Users whose tag is new, and when it was remembered, in this order.
        self._new: OrderedDict[str, float] = OrderedDict()
        # True if the store may have tags that are not valid any longer.
        self._isStale = False
        if store is not None:
            try:
                self._tags.update(store.atStart(_load, self._source))
            except GatewayError:
                self._isStale = True

    def get(self, name: str) -> str | None:
        """Return a user's tag."""
        return self._tags.get(name)

    def remember(self, name: str, tag: str | None) -> None:
        """Remember the tag of a document that was applied completely; without a tag, forget the last one."""
        known = self._tags.pop(name, None)
        if tag is not None and len(tag) <= _MAX_TAG_LENGTH:
            self._tags[name] = tag
            if len(self._tags) > _MAX_TAGS:
                first, _ = self._tags.popitem(last=False)
                ensureDeferred(self._put([first], None))
        kept = self._tags.get(name)
        if kept != known:
            keepLatest(self._new, name, self._clock.seconds(), _MAX_TAGS)
            ensureDeferred(self._put([name], kept))

    async def forget(self, name: str) -> None:
        """
        Forget a user's tag, because the roster is about to be changed. If the process is killed after that, the
        next one compares the whole document.
        """
        if self._tags.pop(name, None) is not None or self._isStale:
            await self._put([name], None)

    def serverLost(self) -> int:
        """
        The connection to the server was lost. The server may have crashed, and its last changes with it. So the
        tags of those whose rosters were changed in the last minute are forgotten.

        @return: the number of these users.
        """
        end = self._clock.seconds() - _UNSAVED
        changed, self._new = self._new, OrderedDict()
        names = [name for name, at in changed.items() if at >= end and self._tags.pop(name, None) is not None]
        if names:
            ensureDeferred(self._put(names, None))
        return len(names)

    async def _put(self, names: list[str], tag: str | None) -> None:
        """Store the tag of users, or remove it."""
        if self._store is None:
            return
        isStale = self._isStale
        try:
            writing = self._store.write(_put, names, self._source, tag, isStale)
            await writing.addTimeout(_TIMEOUT, self._clock)
        except (GatewayError, CancelledError, defer.TimeoutError):
            # The store reports its faults itself.
            self._isStale = True
        else:
            self._isStale = self._isStale and not isStale


def _load(cursor: Any, source: str) -> dict[str, str]:
    """Return the tags by user name. Tags of another source, and any that do not fit, are removed."""
    cursor.execute("DELETE FROM tags WHERE source <> ?", (source,))
    cursor.execute("SELECT name, tag FROM tags")
    found = dict(cursor.fetchall())
    if len(found) > _MAX_TAGS:
        cursor.execute("DELETE FROM tags")
        return {}
    return found


def _put(cursor: Any, names: list[str], source: str, tag: str | None, isStale: bool) -> None:
    if isStale:
        cursor.execute("DELETE FROM tags")
    if tag is None:
        cursor.executemany("DELETE FROM tags WHERE name = ?", [(name,) for name in names])
    else:
        cursor.executemany(
            "INSERT INTO tags VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET source = excluded.source, tag = excluded.tag",
            [(name, source, tag) for name in names],
        )
