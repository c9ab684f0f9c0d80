"""
Reads tables as Prosody's C{util.serialization} writes them. It reads constants only and runs no code.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

# Levels of nested tables (Prosody writes no more), and values in one file.
_MAX_DEPTH = 127
_MAX_VALUES = 100_000

_SPACE = re.compile(rb"[ \t\r\n]*+")
_START = re.compile(rb"return\b")
_STRING = re.compile(rb'"([^"\\\n]*+(?:\\(?:[0-9]{1,3}|[^0-9])[^"\\\n]*+)*+)"')
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE = re.compile(rb"\\([0-9]{1,3}|[^0-9])")
_ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b'"': b'"',
    b"'": b"'",
    b"\n": b"\n",
}
_WORDS = {b"true": True, b"false": False, b"nil": None}


class NoData(ValueError):
    """The text is not a data file. The exception's text has the reason and the line."""


def read(text: bytes) -> Any:
    """
    Read C{return VALUE;}.

    @return: tables are dicts; values without a key have the keys 1, 2, ... Strings are text.
    @raise NoData: if the text is anything else, such as code.
    """
    return _Reader(text).read()


class _Reader:
    """One pass over a text."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._values = 0

    def read(self) -> Any:
        self._skip()
        if self._match(_START) is None:
            self._fail("it does not begin with return")
        self._skip()
        value = self._value(0)
        self._take(b";")
        if self._at < len(self._text):
            self._fail("there is something after the value")
        return value

    def _value(self, depth: int) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            self._fail(f"it has more than {_MAX_VALUES:,} values")
        if self._take(b"{"):
            if depth == _MAX_DEPTH:
                self._fail(f"tables are nested over {_MAX_DEPTH} deep")
            return self._table(depth + 1)
        return self._constant()

    def _constant(self) -> Any:
        if (string := self._match(_STRING)) is not None:
            return self._string(string[1])
        if (number := self._match(_NUMBER)) is not None:
            return self._number(number[0])
        word = self._match(_WORD)
        if word is None or word[0] not in _WORDS:
            self._at = self._at if word is None else word.start()
            self._fail("found something other than a constant")
        return _WORDS[word[0]]

    def _table(self, depth: int) -> dict[Any, Any]:
        table: dict[Any, Any] = {}
        number = 1
        while not self._take(b"}"):
            if self._take(b"["):
                key = self._constant()
                self._skip()
                self._expect(b"]")
                self._expect(b"=")
            elif (name := self._name()) is not None:
                key = name
            else:
                key, number = number, number + 1
            table[key] = self._value(depth)
            self._skip()
            if not (self._take(b";") or self._take(b",")):
                self._expect(b"}")
                break
        return table

    def _name(self) -> str | None:
        """Read a key without brackets and quotes."""
        start = self._at
        word = self._match(_WORD)
        if word is not None:
            self._skip()
            if self._take(b"="):
                return word[0].decode()
        self._at = start
        return None

    def _string(self, raw: bytes) -> str:
        try:
            return (_ESCAPE.sub(self._unescaped, raw) if b"\\" in raw else raw).decode()
        except UnicodeDecodeError:
            self._fail("found a string that is not UTF-8")

    def _unescaped(self, match: re.Match[bytes]) -> bytes:
        found = match[1]
        if found.isdigit():
            if int(found) > 255:
                self._fail("found a byte over 255")
            return bytes([int(found)])
        if found not in _ESCAPES:
            self._fail("found an escape that Prosody does not write")
        return _ESCAPES[found]

    def _number(self, raw: bytes) -> int | float:
        try:
            return int(raw)
        except ValueError:
            return float(raw)

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _take(self, mark: bytes) -> bool:
        """Skip a mark and the white space after it. Return false if the mark is not there."""
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        self._skip()
        return True

    def _expect(self, mark: bytes) -> None:
        if not self._take(mark):
            self._fail(f"expected {mark.decode()}")

    def _skip(self) -> None:
        self._match(_SPACE)

    def _fail(self, problem: str) -> NoReturn:
        line = self._text.count(b"\n", 0, self._at) + 1
        raise NoData(f"it is not a data file of Prosody: line {line}: {problem}")
