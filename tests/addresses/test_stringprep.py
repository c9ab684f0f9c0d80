"""
The stringprep profiles, compared with Twisted's, which process the tables character by character.

The expected results are Twisted's, except for letters that are newer than Unicode 3.2. Some text that Twisted
refuses is accepted; L{_isWider} has the reasons.
"""

from __future__ import annotations

import re
import stringprep as tables
import time
from collections.abc import Callable
from itertools import groupby
from unicodedata import ucd_3_2_0

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber import xmpp_stringprep

from gateway.addresses import stringprep
from tests.profiles import thorough

_PROFILES = (
    (stringprep.nodeprep, xmpp_stringprep.nodeprep.prepare),
    (stringprep.nameprep, xmpp_stringprep.nameprep.prepare),
    (stringprep.resourceprep, xmpp_stringprep.resourceprep.prepare),
)

# Letters of both directions, digits, characters that are mapped to nothing or to several, combining characters,
# spaces, hyphens and dots in several widths, half of a pair, unassigned, private and special characters.
_MIXED = (
    "aZé9-.\u3002\uff0e\uff0d \u00a0\u3000\u00ad\u200d\u0130\u00df\u1e9e\ufb01\ufdfa\u2024\u0301\u0316\u0344\u212b"
)
_MIXED += (
    "אא\u0661\u0627\u200f\u202e\u1112\u1161\u11ab\U0001d160\U0002f800\ud800\U0001f44d\ue000\uffff\u0221@/'\x00\x7f"
)


def _outcome(prepare: Callable[[str], str], text: str) -> str | None:
    """Return the prepared text; C{None} if it is refused or empty."""
    try:
        return prepare(text) or None
    except (ValueError, IndexError):
        return None


def _expected(prepare: Callable[[str], str], text: str) -> str | None:
    """Return Twisted's result, without the final dot of the domain and without parts that are too long."""
    found = _outcome(prepare, text)
    if found is None or max(len(each.encode(errors="surrogatepass")) for each in (found, text)) > 1023:
        return None
    return (found.removesuffix(".") if prepare == xmpp_stringprep.nameprep.prepare else found) or None


_INVISIBLE = re.compile("[\u061c\u180f\u2064-\u2069\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]")


def _isWider(profile: Callable[[str], str], text: str) -> bool:
    """True if there is a reason to accept this although Twisted refuses it."""
    if profile is stringprep.nameprep:
        # RFC 3490 section 4.1, step 3.
        return bool(re.search(r"[!-\-\[-`{-~;=?]", ucd_3_2_0.normalize("NFKC", text)))
    return _isNewer(text + text.lower())


def _isNewer(text: str) -> bool:
    """True if Unicode 3.2 does not assign one of these code points, and it is not a noncharacter."""
    return any(tables.in_table_a1(each) and not tables.in_table_c4(each) for each in text)


class ProfileTests(SynchronousTestCase):
    """Comparison of the fast profiles with Twisted's."""

    def test_anyPython(self) -> None:
        """The tables are the same with each Python, because addresses outlive the process."""
        for newer in ("\u1e9e", "\ua64a", "\u1c90", "\u2183", "\u10a0", "\U00010c80"):
            self.assertEqual(stringprep.nodeprep(newer), newer)
        folded = {point: text for point, text in stringprep._FOLDED.items() if text != chr(point)}
        self.assertEqual(len(folded), 1398)

    def test_blocks(self) -> None:
        """The blocks have each assigned code point; the properties of an even block are equal."""
        uneven = {point for block in stringprep._UNEVEN for point in block}
        for block in stringprep._EVEN:
            found = {(ucd_3_2_0.category(each), ucd_3_2_0.bidirectional(each)) for each in map(chr, block)}
            self.assertEqual(len(found), 1, block)
            text = "".join(map(chr, block))
            self.assertEqual((text.lower(), ucd_3_2_0.normalize("NFKC", text)), (text, text))
            self.assertFalse(uneven & set(block))
            uneven |= set(block)
        for point in set(range(0xF0000)) - uneven:
            self.assertEqual(ucd_3_2_0.category(chr(point)), "Cn", hex(point))

    def assertAlike(self, text: str) -> None:
        """Check all three profiles: they accept more than Twisted, and only refuse more without a glyph."""
        for fast, slow in _PROFILES:
            found, expected = _outcome(fast, text), _expected(slow, text)
            if expected is None and found is not None:
                self.assertTrue(_isWider(fast, text), (fast.__name__, text))
            elif found is None and fast is stringprep.nameprep:
                self.assertTrue(expected is None or _INVISIBLE.search(text), text)
            elif found != expected:
                # Before Python 3.14, Twisted folds case by the Unicode version of the running Python.
                self.assertTrue(fast is not stringprep.resourceprep and _isNewer(text + text.lower()), text)

    def test_ends(self) -> None:
        """The first and the last character of each range with equal properties, and their neighbours."""
        points = list(map(chr, range(0x110000)))
        ends = {0}
        for of in (ucd_3_2_0.category, ucd_3_2_0.bidirectional):
            for _, run in groupby(points, of):
                ends.add(ord(next(run)))
        ends |= {end - 1 for end in ends if end}
        ends |= tables.b1_set | tables.c22_specials | tables.c6_set | tables.c7_set | tables.c8_set | tables.c9_set
        self.assertGreater(len(ends), 3_000)
        for end in ends:
            self.assertAlike(chr(end))

    def test_mapped(self) -> None:
        """Each character that is not mapped to itself."""
        mapped = [
            each for each in map(chr, range(0x110000)) if each.lower() != each or ucd_3_2_0.decomposition(each)
        ]
        self.assertGreater(len(mapped), 4_000)
        for each in [*mapped, *map(chr, tables.b3_exceptions)]:
            self.assertAlike(each)

    @thorough
    @given(st.text(st.sampled_from(_MIXED), max_size=12))
    def test_mixed(self, text: str) -> None:
        """Mixtures of special characters."""
        self.assertAlike(text)

    @thorough
    @given(st.text(max_size=40))
    def test_any(self, text: str) -> None:
        """Any text."""
        self.assertAlike(text)

    @thorough
    @given(st.sampled_from("aé\ufdfa\u1e9e\u0344"), st.integers(0, 6), st.integers(1_010, 1_026))
    def test_long(self, character: str, prefix: int, size: int) -> None:
        """RFC 7622 section 3.1: 1023 bytes before and after the preparation."""
        text = ("b" * prefix + character * size).encode()[:size].decode(errors="ignore")
        self.assertAlike(text)

    def test_fast(self) -> None:
        """The slowest part takes a third of a millisecond; Twisted takes over 50 times as long."""
        for text in (
            *("\u1e9e" * 341, "a" + "\u0301\u0316" * 255, "\ufdfa" * 341, "é." * 341 + "é", "\u05d0" * 511),
            *("\U0001f44d" * 255, "\U0001f44d\u0301" * 170, "\U00010c80" * 255, "[" * 1023, "a." * 511 + "b"),
        ):
            for fast, _ in _PROFILES:
                taken = []
                for _ in range(5):
                    started = time.process_time()
                    _outcome(fast, text)
                    taken.append(time.process_time() - started)
                self.assertLess(min(taken), 0.002, (fast.__name__, text[:3]))
