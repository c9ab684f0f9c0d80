"""
Values that services report to the operator: the one source of the lines of C{/status}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen
class StatusItem:
    """
    One item of C{/status}. C{str()} returns its sentence.

    A program reads C{values}, a person the sentence. A line of the sentence is a line of C{/status}.

    @ivar name: stable name of the item, such as C{proxy.resources}: the part of the gateway, and the subject.
    @ivar text: the sentence, with names of C{values} in braces, in the format of C{str.format}.
    @ivar values: what is reported. Each value is a string, a number, a boolean, a tuple of strings, a mapping of
        strings to numbers, an item, or a tuple of items. Sizes are in bytes, times in seconds. There may be more
        values than C{text} names.
    @ivar isProblem: true if the operator should do something. Then the sentence says what.
    @ivar isOfOneUser: true if a problem affects one user only: the service counts as ready (C{/readyz?full=1}).
    """

    name: str
    text: str
    values: Mapping[str, Any] = field(factory=dict)
    isProblem: bool = False
    isOfOneUser: bool = False

    def __str__(self) -> str:
        return self.text.format_map({name: _inWords(value) for name, value in self.values.items()})


def _inWords(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{number} {name}" for name, number in sorted(value.items()))
    if isinstance(value, tuple):
        separator = "; " if any(isinstance(each, StatusItem) for each in value) else ", "
        return separator.join(map(str, value))
    return str(value)
