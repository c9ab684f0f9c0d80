"""
Reading of JSON one member at a time: Python's own reader blocks for half a second on megabytes of text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

# Characters of one member at most: a contact with the longest name and groups, each character written as \uXXXX.
MAX_CHARACTERS = 640_000

# Characters of a text that is read at once; in the worst case this takes some milliseconds.
_WHOLE = 65_536

# Names and most values are shorter than this.
_SHORT = 512

# Characters that are tried first for a longer value.
_FIRST = 4_096

# Arrays and objects in the text that is tried, for these take most of the time: as many as all contacts of a user
# may have.
_MAX_BRACKETS = 60_000

_TOO_LONG = f"a member has over {MAX_CHARACTERS} characters"

_WHITE = re.compile(r"[ \t\n\r]*")


class MemberTooLong(ValueError):
    """A member is longer than any valid one."""


class Members:
    """
    Reads one array or object.

    @param unique: makes an object from its names and values: C{object_pairs_hook} of L{json.loads}.
    """

    def __init__(self, text: str, unique: Callable[[list[tuple[str, Any]]], Any] = dict) -> None:
        self._text = text
        self._decoder = JSONDecoder(object_pairs_hook=unique)
        self._decode = self._decoder.raw_decode
        self._scan = self._decoder.scan_once  # type: ignore[attr-defined]  # typeshed lacks it
        self._position = self._skip(0)
        self.opening = text[self._position : self._position + 1]

    def __iter__(self) -> Iterator[tuple[str, Any] | None]:
        """
        Yield each member with its name, which is empty in an array, and C{None} after a piece of work without a
        member.

        @raise ValueError: as L{json.loads}, or if a member is too long. The members before the error may have been
            yielded.
        """
        if self.opening not in ("[", "{"):
            # The text is invalid, or a value without members.
            yield from self._readValue()
            self._expectEnd()
            yield "", self._value
            return
        if len(self._text) <= _WHOLE:
            found = self._decoder.decode(self._text)
            yield from found.items() if self.opening == "{" else (("", each) for each in found)
            return
        closing = "]" if self.opening == "[" else "}"
        self._position = self._skip(self._position + 1)
        isFirst = True
        while not (isFirst and self._accept(closing)):
            isFirst = False
            name = ""
            if closing == "}":
                if self._text[self._position : self._position + 1] != '"':
                    raise self._error("Expecting property name enclosed in double quotes")
                if not self._readShort():
                    yield from self._readValue()
                name = self._value
                if not self._accept(":"):
                    raise self._error("Expecting ':' delimiter")
            if not self._readShort():
                yield from self._readValue()
            yield name, self._value
            if self._accept(closing):
                break
            if not self._accept(","):
                raise self._error("Expecting ',' delimiter")
        self._expectEnd()

    def _readShort(self) -> bool:
        """Read one value as L{_readValue} does, if it is short and valid, and not at the end of the text."""
        at = self._position
        text = self._text[at : at + _SHORT]
        try:
            self._value, end = self._scan(text, 0)
        except (JSONDecodeError, StopIteration):
            return False
        # A number may continue after the cut.
        if end + 2 >= _SHORT or at + end + 2 >= len(self._text):
            return False
        self._position = self._skip(at + end)
        return True

    def _readValue(self) -> Iterator[None]:
        """Read one value into C{_value}. Try few characters first, so that an invalid value costs little."""
        size = _FIRST
        while True:
            end = self._position + size
            isWhole = end >= len(self._text)
            if size > _FIRST and sum(self._text.count(each, self._position, end) for each in "[{") > _MAX_BRACKETS:
                raise MemberTooLong(f"there are over {_MAX_BRACKETS} brackets in {size} characters")
            try:
                if isWhole:
                    self._value, at = self._decode(self._text, self._position)
                else:
                    self._value, at = self._decode(self._text[self._position : end])
                    at += self._position
                # A number at the cut may continue, and "1.5e+" is read as 1.5.
                if isWhole or at < end - 2 * isinstance(self._value, int | float):
                    self._position = self._skip(at)
                    return
                if size >= MAX_CHARACTERS:
                    raise MemberTooLong(_TOO_LONG)
            except JSONDecodeError as error:
                if isWhole:
                    raise
                if size >= MAX_CHARACTERS:
                    raise self._tooLongError(error) from error
            size = min(size * 8, MAX_CHARACTERS)
            yield

    def _tooLongError(self, error: JSONDecodeError) -> ValueError:
        """Return the error for a value that is too long, or invalid before the cut."""
        isCut = error.pos >= MAX_CHARACTERS - 16 or error.msg.startswith("Unterminated string")
        if isCut:
            return MemberTooLong(_TOO_LONG)
        return JSONDecodeError(error.msg, self._text, self._position + error.pos)

    def _skip(self, at: int) -> int:
        found = _WHITE.match(self._text, at)
        assert found is not None
        return found.end()

    def _accept(self, character: str) -> bool:
        if self._text[self._position : self._position + 1] != character:
            return False
        self._position = self._skip(self._position + 1)
        return True

    def _expectEnd(self) -> None:
        if self._position != len(self._text):
            raise self._error("Extra data")

    def _error(self, message: str) -> JSONDecodeError:
        return JSONDecodeError(message, self._text, self._position)
