"""
The stringprep profiles of the parts of an address (RFC 3454): Nodeprep and Resourceprep (RFC 6122 appendices A and
B), and Nameprep for each label of a domain (RFC 3491).

RFC 7622 replaces them with PRECIS, but servers still use them, and the results differ: PRECIS keeps "\u00df" and
"\ufb01", which servers write as "ss" and "fi", and allows no symbols in localparts. Addresses must be compared in
the form that servers write, so this module has the profiles. Like servers, it accepts more than RFC 6122:

- Code points that Unicode 3.2 does not assign, such as most emoji, are allowed ("query" strings, RFC 3454 section
  7); they are never changed. Those without a glyph are refused (RFC 8264 section 9.13), because two names would
  look alike.
- A domain may contain any printable ASCII character that a localpart may contain, except "*", and may be an IPv6
  address in brackets. RFC 3490 would restrict it to letters, digits and the hyphen.

Otherwise the result is that of C{twisted.words.protocols.jabber.xmpp_stringprep}. Twisted calls several Python
functions for each character, so one long address takes tens of milliseconds. Here the tables are regular
expressions.
"""

from __future__ import annotations

import re
import stringprep
from collections.abc import Callable, Iterator
from encodings import idna
from itertools import chain, groupby
from unicodedata import ucd_3_2_0 as unicode

from gateway.errors import Malformed

# Bytes of one part (RFC 7622 section 3.1).
MAX_PART = 1_023

Ranges = list[tuple[int, int]]

# Tables of RFC 3454 as ranges. First, C.2.2 without its control characters, and C.6 to C.9; then C.4.
_SPECIAL: Ranges = [
    (point, point)
    for table in ("c22_specials", "c6_set", "c7_set", "c8_set", "c9_set")
    for point in getattr(stringprep, table)
]
_NONCHARACTERS: Ranges = [(0xFDD0, 0xFDEF), *((last - 1, last) for last in range(0xFFFF, 0x110000, 0x10000))]
# The property Default_Ignorable_Code_Point, as far as Unicode 3.2 does not assign the code points.
_INVISIBLE: Ranges = [
    (0x61C, 0x61C),
    (0x180F, 0x180F),
    (0x2064, 0x2069),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
]
# RFC 6122 appendix A.5, and table C.1.1.
_NOT_IN_NAMES: Ranges = [(ord(each), ord(each)) for each in "\"&'/:<>@ "]
# A dot separates labels, and the preparation turns some characters into a dot; in the configuration,
# "*" means all domains.
_NOT_IN_LABELS: Ranges = [(ord(each), ord(each)) for each in ".*"]
# Blocks in which Unicode 3.2 assigns all code points, each with the same properties, and no mapping changes them.
_EVEN = (
    range(0x3400, 0x4DB6),
    range(0x4E00, 0x9FA6),
    range(0xAC00, 0xD7A4),
    range(0xD800, 0xE000),
    range(0xE000, 0xF900),
    range(0x20000, 0x2A6D7),
)
# The other parts of its planes that have assigned code points. To look at the whole planes takes three times as
# long.
_UNEVEN = (
    range(0x3400),
    range(0x4DB6, 0x4E00),
    range(0xA000, 0xA4D0),
    range(0xF900, 0x10000),
    range(0x10300, 0x10450),
    range(0x1D000, 0x1D800),
    range(0x2F800, 0x2FA20),
    range(0xE0000, 0xE0080),
)
_PRIVATE: Ranges = [(0xF0000, 0x10FFFF)]

# A loose form of RFC 3986 section 3.2.2: the address in the brackets is only compared, never connected to.
_IP_LITERAL = re.compile(r"\[[0-9A-Fa-f:.]+\]")


def _runs(property_: Callable[[str], str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield ranges of equal Unicode property. No range crosses the end of the Basic Multilingual Plane."""
    for points in _EVEN:
        yield property_(chr(points[0])), (points[0], points[-1])
    for points in _UNEVEN:
        for value, run in groupby(map(chr, points), property_):
            characters = list(run)
            yield value, (ord(characters[0]), ord(characters[-1]))


def _isKnown(text: str) -> bool:
    """True if Unicode 3.2 assigns all of these code points."""
    return all(unicode.category(each) != "Cn" for each in text)


def _folding() -> dict[int, str]:
    """
    Return table B.2 without the characters that it maps to themselves.

    The table is defined for Unicode 3.2, but up to version 3.13 Python's own function uses the current Unicode.
    """
    changed = (
        each
        for each in map(chr, chain(*_UNEVEN))
        if each.lower() != each or unicode.decomposition(each) or ord(each) in stringprep.b3_exceptions
    )
    folded = {each: stringprep.map_table_b2(each) for each in changed if _isKnown(each)}
    return {ord(each): becomes for each, becomes in folded.items() if _isKnown(becomes)}


def _pattern(ranges: Ranges) -> re.Pattern[str]:
    return re.compile("[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]")


class _Table:
    """
    A set of characters.

    A regular expression checks a character class in one step for the Basic Multilingual Plane, but in one step for
    each range beyond it. The latter are therefore only checked if the text has such characters.
    """

    _beyond = re.compile("[\U00010000-\U0010ffff]")

    def __init__(self, ranges: Ranges) -> None:
        self._basic = _pattern([each for each in ranges if each[1] < 0x10000])
        self._others = _pattern([(0, 0), *(each for each in ranges if each[1] >= 0x10000)])

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match of a character of the set; C{None} if there is none."""
        return self._basic.search(text) or (self._others.search(text) if self._beyond.search(text) else None)


# Table B.1 maps characters to nothing, and takes precedence over B.2.
_DROPPED = dict.fromkeys(stringprep.b1_set, "")
_FOLDED = _folding() | _DROPPED

_categories, _directions = list(_runs(unicode.category)), list(_runs(unicode.bidirectional))
# Tables C.1.2 and C.2 to C.9.
_CONTROLS = [run for value, run in _categories if value in ("Cc", "Co", "Cs")]
_SPACES = [run for value, run in _categories if value == "Zs" and run != (0x20, 0x20)]
_NOWHERE = _CONTROLS + _SPACES + _SPECIAL + _PRIVATE + _NONCHARACTERS + _INVISIBLE

_PROHIBITED = _Table(_NOWHERE)
_PROHIBITED_IN_NODES = _Table(_NOWHERE + _NOT_IN_NAMES)
_PROHIBITED_IN_LABELS = _Table(_NOWHERE + _NOT_IN_NAMES + _NOT_IN_LABELS)
# Tables D.1 and D.2.
_RIGHT_TO_LEFT = _Table([run for value, run in _directions if value in ("R", "AL")])
_LEFT_TO_RIGHT = _Table([run for value, run in _directions if value == "L"])
del _categories, _directions


def nodeprep(local: str) -> str:
    """
    Return a localpart in the form that a server writes.

    @raise Malformed: if it is not valid.
    """
    return _bounded(_prepared(_bounded(local), _FOLDED, _PROHIBITED_IN_NODES))


def resourceprep(resource: str) -> str:
    """
    Return a resource in the form that a server writes.

    @raise Malformed: if it is not valid.
    """
    return _bounded(_prepared(_bounded(resource), _DROPPED, _PROHIBITED))


def nameprep(domain: str) -> str:
    """
    Return a domain in the form that a server writes. A dot at its end is stripped, as it must be before addresses
    are compared (RFC 7622 section 3.2).

    @raise Malformed: if it is not valid.
    """
    if _IP_LITERAL.fullmatch(_bounded(domain)):
        return domain.lower()
    labels = idna.dots.split(domain)
    if len(labels) > 1 and not labels[-1]:
        labels.pop()
    return _bounded(".".join(_prepared(label, _FOLDED, _PROHIBITED_IN_LABELS) for label in labels))


def _bounded(part: str) -> str:
    """
    Return the text if its length is valid for a part.

    Each part is checked before and after its preparation, which may turn one character into 18 or into none.
    """
    if not 0 < len(part.encode(errors="surrogatepass")) <= MAX_PART:
        raise Malformed(f"a part of an address has 1 to {MAX_PART} bytes")
    return part


def _prepared(text: str, mapping: dict[int, str], prohibited: _Table) -> str:
    """Map (RFC 3454 section 3), normalise (4), refuse prohibited characters (5), check the direction (6)."""
    result = unicode.normalize("NFKC", text.translate(mapping))
    if not result:
        raise Malformed("a part of an address is empty")
    if found := prohibited.search(result):
        raise Malformed(f"U+{ord(found.group()):04X} is not allowed in an address")
    if _RIGHT_TO_LEFT.search(result) and (
        _LEFT_TO_RIGHT.search(result)
        or not _RIGHT_TO_LEFT.search(result[0])
        or not _RIGHT_TO_LEFT.search(result[-1])
    ):
        raise Malformed("writing directions are mixed in a part of an address")
    return result
