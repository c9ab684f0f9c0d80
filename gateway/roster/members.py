"""
JSON a member at a time: Python's own reader takes a text of megabytes in one go, and for half a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

# Characters of one member. A contact whose groups and name are as long as they may be, each character written as
# \uXXXX, has so many.
MAX_CHARACTERS = 640_000

# Characters of a text that is read in one go: in the worst case it takes some milliseconds.
_WHOLE = 65_536

# Characters that a name or an ordinary value has less than.
_SHORT = 512

# Characters that are tried first where it has more.
_FIRST = 4_096

# Arrays and objects in what is tried, for they take most of the time: as many as all contacts of a user may have.
_MAX_BRACKETS = 60_000

_TOO_LONG = f"a member has over {MAX_CHARACTERS} characters"

_WHITE = re.compile(r"[ \t\n\r]*")


class MemberTooLong(ValueError):
    """A member is longer than any that makes sense."""


class Members:
    """
    Reads one array or object.

    @param unique: makes an object of its names and values, as C{object_pairs_hook} of L{json.loads} does.
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
        Each member, with its name, which is empty in an array; C{None} after a piece of work that gave none yet.

        @raise ValueError: as L{json.loads}, or if one of them is too long. Of a long text, what came before it has
            been given by then.
        """
        if self.opening not in ("[", "{"):
            # It is no value at all, or one that has no members.
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
        """Read one value as L{_readValue} does, if it is short and right, and does not end the text."""
        at = self._position
        text = self._text[at : at + _SHORT]
        try:
            self._value, end = self._scan(text, 0)
        except (JSONDecodeError, StopIteration):
            return False
        # A number may go on.
        if end + 2 >= _SHORT or at + end + 2 >= len(self._text):
            return False
        self._position = self._skip(at + end)
        return True

    def _readValue(self) -> Iterator[None]:
        """Read one value into C{_found}: of as few characters as it has, so that a wrong one costs no more."""
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
                # A number at the very end may go on, and "1.5e+" that is cut there is read as 1.5.
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
        """The error for a value that is cut short or wrong before that."""
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
