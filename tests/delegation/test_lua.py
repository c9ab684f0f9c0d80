"""Data files of Prosody: they are read as Lua would read them, but only as data."""

from __future__ import annotations

from time import process_time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.delegation.lua import NoData, read
from tests.profiles import steady

# As Prosody 0.12 and 13 write it.
PROSODY = rb"""return {
	["storage:storage:bookmarks"] = {
		{
			{
				"\226\130\172uro \"\\\n\013\0001";
				["attr"] = {
					["xmlns"] = "storage:bookmarks";
				};
				["name"] = "nick";
			};
			"tail";
			["attr"] = {
				["urn:p\001z"] = "1";
			};
		};
		["name"] = "storage";
	};
};
"""


def escaped(text: bytes) -> bytes:
    """Return a string as Prosody writes it."""
    return b'"' + b"".join(bytes([byte]) if 97 <= byte < 123 else b"\\%03d" % byte for byte in text) + b'"'


def written(value: Any) -> bytes:
    """Return a value as Prosody may write it."""
    if isinstance(value, dict):
        return b"{" + b"".join(b"[%b] = %b;" % (written(key), written(each)) for key, each in value.items()) + b"}"
    if isinstance(value, str):
        return escaped(value.encode())
    return str(value).lower().replace("none", "nil").encode()


CONSTANTS = st.one_of(st.text(), st.integers(), st.booleans())
VALUES = st.recursive(CONSTANTS, lambda inner: st.dictionaries(st.one_of(st.text(), st.integers(2)), inner))


class ReadTests(SynchronousTestCase):
    """Files with data."""

    def test_prosody(self) -> None:
        """A file that Prosody has written."""
        nick = {1: '\u20acuro "\\\n\r\x001', "attr": {"xmlns": "storage:bookmarks"}, "name": "nick"}
        conference = {1: nick, 2: "tail", "attr": {"urn:p\x01z": "1"}}
        self.assertEqual(read(PROSODY), {"storage:storage:bookmarks": {1: conference, "name": "storage"}})

    def test_forms(self) -> None:
        """All forms of data that Lua accepts and some version of Prosody has written."""
        for text, value in {
            "return {}": {},
            "return { };\n": {},
            'return {"a","b"}': {1: "a", 2: "b"},
            "return {name='x'}".replace("'", '"'): {"name": "x"},
            'return {name = "x", "y"; [3]=nil; t=true, f=false}': {
                "name": "x",
                1: "y",
                3: None,
                "t": True,
                "f": False,
            },
            "return {[-1]=1.5;[2]=-3;[true]=1e3}": {-1: 1.5, 2: -3, True: 1000.0},
            'return "a\\\nb"': "a\nb",
            "return 5;": 5,
            "return {true_=true,nilx={}}": {"true_": True, "nilx": {}},
        }.items():
            self.assertEqual(read(text.encode()), value, text)

    @steady
    @given(VALUES)
    def test_any(self, value: Any) -> None:
        """Any value that is written is read back."""
        self.assertEqual(read(b"return " + written(value) + b";\n"), value)


class RefusedTests(SynchronousTestCase):
    """Files that are refused."""

    def refused(self, text: bytes) -> str:
        return str(self.assertRaises(NoData, read, text))

    def test_code(self) -> None:
        """Code is refused at any place; nothing here could run it."""
        for code in (
            'os.execute("touch /tmp/x")',
            "return os",
            'return os.execute("id")',
            "return {x = f()}",
            "return {[f()] = 1}",
            "return {function() end}",
            'return {"a" .. "b"}',
            "return {(1/0)}",
            "return {1+1}",
            "return {} os.exit()",
            "return {};os.exit()",
            "return (function() return {} end)()",
            'return setmetatable({}, {__index = "x"})',
            "return {[{}] = 1}",
            "local x = {} return x",
            "return {0x10}",
            "return {x = true and 1}",
            "-- comment\nreturn {}",
            "return [[x]]",
            "return {'x'}",
        ):
            self.assertIn("it is not a data file of Prosody: line ", self.refused(code.encode()), code)

    def test_broken(self) -> None:
        """Each truncated file, and invalid text; the error names the line."""
        for size in range(len(PROSODY) - 3):
            self.refused(PROSODY[:size])
        for text in (
            b"",
            b"return",
            b"returned {}",
            b'return "',
            b'return "\\',
            b'return "a\nb"',
            b'return "\\999"',
            b'return "\\x41"',
            b'return "\xff"',
            b'return "\\255"',
            b"return {1 2}",
            b"return {[1] 2}",
            b"return {a = }",
            b"return }",
            b"\x1bLua\x53\x00",
            b"\x00" * 100,
            "return {\u00e9 = 1}".encode(),
        ):
            self.refused(text)
        self.assertIn("line 3:", self.refused(b"return {\n1;\n!"))

    def test_bounds(self) -> None:
        """Depth and number of values are limited, and the time is short for any text."""
        deep = b"return " + b"{" * 127 + b"}" * 127
        read(deep)
        self.assertIn("over 127 deep", self.refused(b"return " + b"{" * 128 + b"}" * 128))
        self.refused(b"return " + b"{" * 1_000_000)
        self.assertIn("100,000 values", self.refused(b"return {" + b"1;" * 100_000 + b"}"))
        started = process_time()
        for text in (
            b'return "' + b"\\" * 4_000_000,
            b'return "' + b"\\065" * 1_000_000 + b"x",
            b"return {" + b" " * 4_000_000,
            b"return " + b"x" * 4_000_000,
            b"return " + b"1" * 4_000_000 + b"x",
            b"return {" + b'"' * 3_999_999,
        ):
            self.refused(text)
        self.assertLess(process_time() - started, 5)

    @steady
    @given(st.binary())
    def test_anything(self, text: bytes) -> None:
        """Any bytes are read as a value, or raise this error."""
        try:
            read(b"return " + text)
        except NoData:
            return
