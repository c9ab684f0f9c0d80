"""
Tables that forget their oldest entry when they are full; pure.
"""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def keepLatest(table: dict[K, V], key: K, value: V, bound: int) -> None:
    """
    Set an entry, which becomes the latest one. If there are more than C{bound} entries, remove the oldest.

    @param table: an C{OrderedDict} if it is large: in a dict, the search for the oldest entry passes removed ones.
    """
    table.pop(key, None)
    table[key] = value
    if len(table) > bound:
        del table[next(iter(table))]
