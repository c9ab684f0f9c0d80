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

# Tables of RFC 3454 as the contents of character classes: C.2.2 without its control characters, and C.6 to C.9.
_SPECIAL = "".join(
    chr(point)
    for table in ("c22_specials", "c6_set", "c7_set", "c8_set", "c9_set")
    for point in getattr(stringprep, table)
)
# Table C.4.
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(f"{chr(last - 1)}{chr(last)}" for last in range(0xFFFF, 0x110000, 65536))
# RFC 6122 appendix A.5, and table C.1.1.
_NOT_IN_NODES = "\"&'/:<>@ "
# A host name holds no ASCII but letters, digits and the hyphen.
_NOT_IN_LABELS = "\0-,./:-@\\[-`{-\x7f"


def _points() -> Iterator[str]:
    """Each code point of the planes in which Unicode 3.2 assigns any, but for private use from U+F0000 on."""
    return map(chr, chain(range(0x30000), range(0xE0000, 0xE1000)))


# The other code points.
_UNASSIGNED, _PRIVATE = "\U00030000-\U000dffff\U000e1000-\U000effff", "\U000f0000-\U0010ffff"


def _runs(property_: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """A property of Unicode's by ranges: the value, and the range as it stands in a character class."""
    for value, run in groupby(_points(), property_):
        points = list(run)
        yield value, f"\\U{ord(points[0]):08x}-\\U{ord(points[-1]):08x}"


def _folding() -> dict[int, str]:
    """Table B.2; what it maps to itself is left out."""
    return {
        ord(each): stringprep.map_table_b2(each)
        for each in _points()
        if each.lower() != each or unicode.decomposition(each) or ord(each) in stringprep.b3_exceptions
    }


# Table B.1 maps to nothing, and goes before B.2.
_DROPPED = dict.fromkeys(stringprep.b1_set, "")
_FOLDED = _folding() | _DROPPED

_categories, _directions = list(_runs(unicode.category)), list(_runs(unicode.bidirectional))
# Tables C.2, C.3 and C.5 to C.9; C.1.2.
_CONTROLS = "".join(run for value, run in _categories if value in ("Cc", "Co", "Cs")) + _PRIVATE + _SPECIAL
_SPACES = "".join(run for value, run in _categories if value == "Zs" and not run.endswith("-\\U00000020"))
# Table A.1, and C.4 with it: noncharacters are not assigned.
_NOT_ASSIGNED = "".join(run for value, run in _categories if value == "Cn") + _UNASSIGNED

_PROHIBITED = re.compile(f"[{_CONTROLS}{_SPACES}{_NOT_ASSIGNED}]")
_PROHIBITED_IN_NODES = re.compile(f"[{_CONTROLS}{_SPACES}{_NOT_ASSIGNED}{_NOT_IN_NODES}]")
# Twisted prepares labels as "query" strings (RFC 3454 section 7): code points that are not assigned may be in them.
_PROHIBITED_IN_LABELS = re.compile(f"[{_CONTROLS}{_SPACES}{_NONCHARACTERS}{_NOT_IN_LABELS}]")
# Tables D.1 and D.2.
_RIGHT_TO_LEFT = re.compile("[" + "".join(run for value, run in _directions if value in ("R", "AL")) + "]")
_LEFT_TO_RIGHT = re.compile("[" + "".join(run for value, run in _directions if value == "L") + "]")
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


def _prepared(text: str, mapping: dict[int, str], prohibited: re.Pattern[str]) -> str:
    """RFC 3454: map (section 3), normalise (4), prohibit (5), check the direction (6)."""
    result = unicode.normalize("NFKC", text.translate(mapping))
    if not result:
        raise ValueError("a part of an address is empty")
    if found := prohibited.search(result):
        raise ValueError(f"U+{ord(found.group()):04X} cannot stand in an address")
    if _RIGHT_TO_LEFT.search(result) and (
        _LEFT_TO_RIGHT.search(result) or not _RIGHT_TO_LEFT.match(result[0]) or not _RIGHT_TO_LEFT.match(result[-1])
    ):
        raise ValueError("writing directions are mixed in a part of an address")
    return result
