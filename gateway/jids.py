"""
Addresses as text: the parts of a JID (RFC 7622) and the escapes of its localpart (XEP-0106).

Every address that a server accepts as a sender is an address here, too. The stream carries addresses that a server
has already normalised, so they are taken apart as they stand. Addresses that people write go through L{prepared}
first, and so does each address before it is compared. A text is no address if a part of it is empty or too long,
mixes writing directions, or holds a separator, a control character or a code point without a glyph.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.stringprep import MAX_PART, nameprep, nodeprep, resourceprep

# XEP-0106 section 4.2; the backslash itself is escaped only where it would begin an escape.
_ESCAPED = {
    " ": "\\20",
    '"': "\\22",
    "&": "\\26",
    "'": "\\27",
    "/": "\\2f",
    ":": "\\3a",
    "<": "\\3c",
    ">": "\\3e",
    "@": "\\40",
    "\\": "\\5c",
}
# Bytes of three parts and what separates them (RFC 7622 section 3.1).
_MAX_JID = 3 * MAX_PART + 2

# A bare JID of ASCII alone in which nothing is forbidden: preparing it is to lower its case.
_LABEL = r"[!#-%()+-\-0-9;=?A-Z\[-~]+"
_PLAIN = re.compile(rf"(?:[!#-%(-.0-9;=?A-Z\[-~]+@)?{_LABEL}(?:\.{_LABEL})*")

_CHARACTERS = {escape: character for character, escape in _ESCAPED.items()}
_ESCAPE = re.compile(r"\\(?:20|22|26|27|2f|3a|3c|3e|40|5c)")
_TO_ESCAPE = re.compile(r"""[ "&'/:<>@]|\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)""")


def split(jid: str) -> tuple[str, str, str]:
    """
    Localpart, domain and resource of a JID; empty where there is none (RFC 7622 section 3.1).
    """
    bare, _, resource = jid.partition("/")
    local, at, domain = bare.partition("@")
    return (local, domain, resource) if at else ("", bare, resource)


def bare(jid: str) -> str:
    """A JID without its resource."""
    return jid.partition("/")[0]


def prepared(jid: str) -> str:
    """
    A JID as a server would write it: the one form in which addresses are compared (RFC 7622 section 3). A dot at
    the end of the domain is no part of it.

    @raise ValueError: if it is none: a part of it is empty, too long, or holds what it must not.
    """
    # Nearly all are plain, and to look is cheaper than Unicode's tables.
    if len(jid) <= MAX_PART:
        account, slash, resource = jid.partition("/")
        # Nothing that can be printed is forbidden in a resource, nor is its case changed.
        isPlain = resource.isascii() and resource.isprintable() and bool(resource or not slash)
        if isPlain and _PLAIN.fullmatch(account):
            return account.lower() + slash + resource
    elif len(jid) > _MAX_JID:
        raise ValueError("a JID has at most three parts of 1023 bytes each")
    return _preparedByUnicode(jid)


def isPrepared(jid: str) -> bool:
    """Whether it is a JID, written as a server would."""
    try:
        return prepared(jid) == jid
    except ValueError:
        return False


# A roster with one contact of such a name has many, and a refresh reads each twice.
@lru_cache(maxsize=4096)
def _preparedByUnicode(jid: str) -> str:
    account, slash, resource = jid.partition("/")
    local, at, domain = account.rpartition("@")
    # A separator without a part to separate is no JID; each profile refuses what is empty.
    found = nameprep(domain)
    if at:
        found = f"{nodeprep(local)}@{found}"
    return f"{found}/{resourceprep(resource)}" if slash else found


def escapeLocal(text: str) -> str:
    """Any text as a localpart (XEP-0106)."""
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found.group()], text)


def unescapeLocal(local: str) -> str:
    """What L{escapeLocal} was given."""
    return _ESCAPE.sub(lambda found: _CHARACTERS[found.group()], local)
