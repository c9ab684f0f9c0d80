"""
The stringprep profiles of the parts of an address (RFC 3454): Nodeprep and Resourceprep (RFC 6122 appendices A and
B), and Nameprep for each label of a domain (RFC 3491, RFC 3490 section 4.1 with UseSTD3ASCIIRules).

Each gives the result of C{twisted.words.protocols.jabber.xmpp_stringprep}. Twisted calls several Python functions
for each character, so one long address costs it tens of milliseconds. Here the tables are regular expressions.
"""

from __future__ import annotations

import re
import stringprep
from collections.abc import Callable, Iterator
from encodings import idna
from itertools import chain, groupby
from unicodedata import ucd_3_2_0 as unicode

# Bytes of one part (RFC 7622 section 3.1).
MAX_PART = 1_023

Ranges = list[tuple[int, int]]

# Tables of RFC 3454 as ranges: C.2.2 without its control characters, and C.6 to C.9; C.4.
_SPECIAL: Ranges = [
    (point, point)
    for table in ("c22_specials", "c6_set", "c7_set", "c8_set", "c9_set")
    for point in getattr(stringprep, table)
]
_NONCHARACTERS: Ranges = [(0xFDD0, 0xFDEF), *((last - 1, last) for last in range(0xFFFF, 0x110000, 0x10000))]
# RFC 6122 appendix A.5, and table C.1.1.
_NOT_IN_NODES: Ranges = [(ord(each), ord(each)) for each in "\"&'/:<>@ "]
# A host name holds no ASCII but letters, digits and the hyphen.
_NOT_IN_LABELS: Ranges = [(0, 0x2C), (0x2E, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7F)]
# Elsewhere Unicode 3.2 has code points that are not assigned, and private use.
_PLANES = range(0x10000), range(0x10000, 0x30000), range(0xE0000, 0xE1000)
_UNASSIGNED: Ranges = [(0x30000, 0xDFFFF), (0xE1000, 0xEFFFF)]
_PRIVATE: Ranges = [(0xF0000, 0x10FFFF)]


def _runs(property_: Callable[[str], str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """A property of Unicode's by ranges, none of which is partly in the Basic Multilingual Plane."""
    for points in _PLANES:
        for value, run in groupby(map(chr, points), property_):
            characters = list(run)
            yield value, (ord(characters[0]), ord(characters[-1]))


def _folding() -> dict[int, str]:
    """Table B.2; what it maps to itself is left out."""
    return {
        ord(each): stringprep.map_table_b2(each)
        for each in map(chr, chain(*_PLANES))
        if each.lower() != each or unicode.decomposition(each) or ord(each) in stringprep.b3_exceptions
    }


def _pattern(ranges: Ranges) -> re.Pattern[str]:
    return re.compile("[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]")


class _Table:
    """
    A set of characters.

    In a character class those of the Basic Multilingual Plane take one look, and the others one for each range.
    """

    _beyond = re.compile("[\U00010000-\U0010ffff]")

    def __init__(self, ranges: Ranges) -> None:
        self._basic = _pattern([each for each in ranges if each[1] < 0x10000])
        self._others = _pattern([(0, 0), *(each for each in ranges if each[1] >= 0x10000)])

    def search(self, text: str) -> re.Match[str] | None:
        """Find one of these characters."""
        return self._basic.search(text) or (self._others.search(text) if self._beyond.search(text) else None)


# Table B.1 maps to nothing, and goes before B.2.
_DROPPED = dict.fromkeys(stringprep.b1_set, "")
_FOLDED = _folding() | _DROPPED

_categories, _directions = list(_runs(unicode.category)), list(_runs(unicode.bidirectional))
# Tables C.2, C.3, C.5 to C.9; C.1.2.
_CONTROLS = [run for value, run in _categories if value in ("Cc", "Co", "Cs")] + _PRIVATE + _SPECIAL
_SPACES = [run for value, run in _categories if value == "Zs" and run != (0x20, 0x20)]
# Table A.1, and C.4 with it: noncharacters are not assigned.
_NOT_ASSIGNED = [run for value, run in _categories if value == "Cn"] + _UNASSIGNED

_PROHIBITED = _Table(_CONTROLS + _SPACES + _NOT_ASSIGNED)
_PROHIBITED_IN_NODES = _Table(_CONTROLS + _SPACES + _NOT_ASSIGNED + _NOT_IN_NODES)
# Twisted prepares labels as "query" strings (RFC 3454 section 7): code points that are not assigned may be in them.
_PROHIBITED_IN_LABELS = _Table(_CONTROLS + _SPACES + _NONCHARACTERS + _NOT_IN_LABELS)
# Tables D.1 and D.2.
_RIGHT_TO_LEFT = _Table([run for value, run in _directions if value in ("R", "AL")])
_LEFT_TO_RIGHT = _Table([run for value, run in _directions if value == "L"])
del _categories, _directions


def nodeprep(local: str) -> str:
    """
    A localpart as a server writes it.

    @raise ValueError: if it is none.
    """
    return _bounded(_prepared(_bounded(local), _FOLDED, _PROHIBITED_IN_NODES))


def resourceprep(resource: str) -> str:
    """
    A resource as a server writes it.

    @raise ValueError: if it is none.
    """
    return _bounded(_prepared(_bounded(resource), _DROPPED, _PROHIBITED))


def nameprep(domain: str) -> str:
    """
    A domain as a server writes it. A dot at its end is stripped, as it must be before addresses are compared (RFC
    7622 section 3.2).

    @raise ValueError: if it is none.
    """
    labels = idna.dots.split(_bounded(domain))
    if len(labels) > 1 and not labels[-1]:
        labels.pop()
    return _bounded(".".join(map(_label, labels)))


def _label(text: str) -> str:
    label = _prepared(text, _FOLDED, _PROHIBITED_IN_LABELS)
    if label.startswith("-") or label.endswith("-"):
        raise ValueError(f"{label!r} begins or ends with a hyphen")
    return label


def _bounded(part: str) -> str:
    """
    The text itself, if it has a length that a part may have.

    Each part is looked at before and after its preparation, which makes 18 characters of one and none of another.
    """
    if not 0 < len(part.encode(errors="surrogatepass")) <= MAX_PART:
        raise ValueError(f"a part of an address has 1 to {MAX_PART} bytes")
    return part


def _prepared(text: str, mapping: dict[int, str], prohibited: _Table) -> str:
    """RFC 3454: map (section 3), normalise (4), prohibit (5), check the direction (6)."""
    result = unicode.normalize("NFKC", text.translate(mapping))
    if not result:
        raise ValueError("a part of an address is empty")
    if found := prohibited.search(result):
        raise ValueError(f"U+{ord(found.group()):04X} cannot stand in an address")
    if _RIGHT_TO_LEFT.search(result) and (
        _LEFT_TO_RIGHT.search(result)
        or not _RIGHT_TO_LEFT.search(result[0])
        or not _RIGHT_TO_LEFT.search(result[-1])
    ):
        raise ValueError("writing directions are mixed in a part of an address")
    return result
