"""
The stringprep profiles, against Twisted's, which go through the tables character by character.

Twisted's results are the results here, but for letters that are newer than Unicode 3.2. Some of what Twisted
refuses is allowed; L{_isWider} says which.
"""

from __future__ import annotations

import re
import stringprep as tables
import time
from collections.abc import Callable
from itertools import groupby
from unicodedata import ucd_3_2_0

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber import xmpp_stringprep

from gateway import stringprep

bounded = settings(max_examples=300, deadline=None, derandomize=True, database=None)

_PROFILES = (
    (stringprep.nodeprep, xmpp_stringprep.nodeprep.prepare),
    (stringprep.nameprep, xmpp_stringprep.nameprep.prepare),
    (stringprep.resourceprep, xmpp_stringprep.resourceprep.prepare),
)

# Letters of both directions, digits of none, what is mapped to nothing, to several, what composes and reorders,
# spaces, hyphens and dots in several widths, half of a pair, unassigned, private and special characters.
_MIXED = (
    "aZé9-.\u3002\uff0e\uff0d \u00a0\u3000\u00ad\u200d\u0130\u00df\u1e9e\ufb01\ufdfa\u2024\u0301\u0316\u0344\u212b"
)
_MIXED += (
    "אא\u0661\u0627\u200f\u202e\u1112\u1161\u11ab\U0001d160\U0002f800\ud800\U0001f44d\ue000\uffff\u0221@/'\x00\x7f"
)


def _outcome(prepare: Callable[[str], str], text: str) -> str | None:
    """Return the prepared text; C{None} for an error, or for nothing, which is no part of an address."""
    try:
        return prepare(text) or None
    except (ValueError, IndexError):
        return None


def _expected(prepare: Callable[[str], str], text: str) -> str | None:
    """Return Twisted's result, without the dot that ends a domain and without parts that are too long."""
    found = _outcome(prepare, text)
    if found is None or max(len(each.encode(errors="surrogatepass")) for each in (found, text)) > 1023:
        return None
    return (found.removesuffix(".") if prepare == xmpp_stringprep.nameprep.prepare else found) or None


_INVISIBLE = re.compile("[\u061c\u180f\u2064-\u2069\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]")


def _isWider(profile: Callable[[str], str], text: str) -> bool:
    """True if there is a reason why Twisted refuses this and we do not."""
    if profile is stringprep.nameprep:
        # RFC 3490 section 4.1, step 3.
        return bool(re.search(r"[!-\-\[-`{-~;=?]", ucd_3_2_0.normalize("NFKC", text)))
    return _isNewer(text + text.lower())


def _isNewer(text: str) -> bool:
    """True if Unicode 3.2 does not assign one of these code points, which is not a noncharacter."""
    return any(tables.in_table_a1(each) and not tables.in_table_c4(each) for each in text)


class ProfileTests(SynchronousTestCase):
    """Comparisons of the fast profiles with Twisted's."""

    def test_anyPython(self) -> None:
        """The tables are the same on each Python: addresses outlive the process."""
        for newer in ("\u1e9e", "\ua64a", "\u1c90", "\u2183", "\u10a0", "\U00010c80"):
            self.assertEqual(stringprep.nodeprep(newer), newer)
        folded = {point: text for point, text in stringprep._FOLDED.items() if text != chr(point)}
        self.assertEqual(len(folded), 1398)

    def assertAlike(self, text: str) -> None:
        """All three profiles, as Twisted has them; they take more, and refuse no more but what has no glyph."""
        for fast, slow in _PROFILES:
            found, expected = _outcome(fast, text), _expected(slow, text)
            if expected is None and found is not None:
                self.assertTrue(_isWider(fast, text), (fast.__name__, text))
            elif found is None and fast is stringprep.nameprep:
                self.assertTrue(expected is None or _INVISIBLE.search(text), text)
            elif found != expected:
                # Before Python 3.14, Twisted folds by the Unicode of the running Python.
                self.assertTrue(fast is not stringprep.resourceprep and _isNewer(text + text.lower()), text)

    def test_ends(self) -> None:
        """The first and the last character of each range that Unicode treats alike, and their neighbours."""
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

    @bounded
    @given(st.text(st.sampled_from(_MIXED), max_size=12))
    def test_mixed(self, text: str) -> None:
        """Any mix of what is special in some way."""
        self.assertAlike(text)

    @bounded
    @given(st.text(max_size=40))
    def test_any(self, text: str) -> None:
        """Any text."""
        self.assertAlike(text)

    @bounded
    @given(st.sampled_from("aé\ufdfa\u1e9e\u0344"), st.integers(0, 6), st.integers(1_010, 1_026))
    def test_long(self, character: str, prefix: int, size: int) -> None:
        """RFC 7622 section 3.1: 1023 bytes before the preparation, and after it."""
        text = ("b" * prefix + character * size).encode()[:size].decode(errors="ignore")
        self.assertAlike(text)

    def test_fast(self) -> None:
        """The worst part takes a third of a millisecond; Twisted takes 50 times as long, and more."""
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
