"""Reading of JSON one member at a time."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.roster import members
from gateway.roster.members import MAX_CHARACTERS, Members, MemberTooLong
from tests.profiles import steady

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def read(text: str) -> Any:
    """Return all members."""
    found = Members(text)
    pairs = [member for member in found if member is not None]
    if found.opening == "{":
        return dict(pairs)
    values = [value for _, value in pairs]
    return values if found.opening == "[" else values[0]


class MembersTests(SynchronousTestCase):
    """Compared with Python's own reader."""

    def outcome(self, reader: Any, text: str) -> Any:
        try:
            return reader(text)
        except json.JSONDecodeError as error:
            return type(error)

    @steady
    @given(VALUES, st.sampled_from([None, 1]), st.booleans())
    def test_same(self, value: Any, indent: int | None, isAscii: bool) -> None:
        """It reads the same, even if few characters are tried first."""
        text = json.dumps(value, indent=indent, ensure_ascii=isAscii)
        for whole, short, first in ((0, 0, 1), (0, 9, 5), (0, 99, 1), (0, 0, 4_096), (65_536, 0, 1)):
            self.patch(members, "_WHOLE", whole)
            self.patch(members, "_SHORT", short)
            self.patch(members, "_FIRST", first)
            self.assertEqual(read(text), json.loads(text))
            self.assertEqual(read(f" {text}\n"), value)

    @steady
    @given(VALUES, st.integers(min_value=0), st.sampled_from(["", "x", ",", "]", "}", '"', ":", "1", " "]))
    def test_sameErrors(self, value: Any, at: int, more: str) -> None:
        """It refuses the same texts."""
        text = json.dumps(value)
        at %= len(text) + 1
        for broken in (text[:at] + more, text[:at] + more + text[at:], text[:at] + more + text[at + 1 :]):
            for whole, short, first in ((0, 0, 1), (0, 9, 1), (0, 99, 4_096), (65_536, 0, 1)):
                self.patch(members, "_WHOLE", whole)
                self.patch(members, "_SHORT", short)
                self.patch(members, "_FIRST", first)
                self.assertEqual(self.outcome(read, broken), self.outcome(json.loads, broken), broken)

    def test_cut(self) -> None:
        """A number that continues behind the first try is read as a whole."""
        self.patch(members, "_WHOLE", 0)
        self.patch(members, "_FIRST", 3)
        self.assertEqual(read('{"a": 123456789, "b": [-1.5e10]}'), {"a": 123456789, "b": [-1.5e10]})
        for first in range(1, 9):
            for short in (0, first):
                self.patch(members, "_FIRST", first)
                self.patch(members, "_SHORT", short)
                self.assertEqual(read("[15.25, 1e5, 1.5e+5, 2E-3, 12, true]"), [15.25, 1e5, 1.5e5, 2e-3, 12, True])

    def test_long(self) -> None:
        """The length of a member is bounded, and no more is read."""
        most = "x" * (MAX_CHARACTERS - 3)
        self.assertEqual(read(json.dumps({"a": most, "b": 1}))["a"], most)
        for value in ('"' + "x" * 2_000_000, "[" + "1," * 1_000_000, '{"a":' * 400_000):
            for text in (f'{{"a": {value}', f"[{value}", f'[{value}]}}"'):
                self.assertRaises((MemberTooLong, RecursionError), read, text)

    def test_brackets(self) -> None:
        """
        A member with too many brackets, which take longest, is refused; the largest number of contacts is read.
        """
        for nonsense in ("[],", "{},", "[{}],"):
            error = self.assertRaises(MemberTooLong, read, '{"a": [' + nonsense * 200_000)
            self.assertIn("brackets", str(error))
        many = {"a": "x" * 50_000, **{f"{number}@x": {"groups": []} for number in range(20_000)}}
        self.assertEqual(read(json.dumps(many)), many)

    def test_pieces(self) -> None:
        """The reader yields after each try and each member."""
        text = json.dumps({"a": "x" * 100_000, "b": 1, "c": 1})
        self.assertEqual([member and member[0] for member in Members(text)], [None, None, "a", "b", "c"])

    def test_position(self) -> None:
        """An error tells the place in the whole text."""
        text = '{"a": "' + "x" * 5_000 + '",\n "b": nothing' + " " * 2_000_000 + "}"
        error = self.assertRaises(json.JSONDecodeError, read, text)
        self.assertEqual((error.lineno, error.colno), (2, 7))
