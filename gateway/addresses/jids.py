"""
Addresses as text: the parts of a JID (RFC 7622) and the escapes of its localpart (XEP-0106).

Every address that a server accepts as a sender is valid here as well. A server has already normalised the addresses
in a stream, so they are split as they are. Addresses from the configuration or a payload go through L{prepared}
first, and so does each address before a comparison. An address is invalid if one of its parts is empty or too long,
mixes writing directions, or contains a separator, a control character or a code point without a glyph.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.addresses.stringprep import MAX_PART, nameprep, nodeprep, resourceprep
from gateway.errors import Malformed

# XEP-0106 section 4.2; a backslash is escaped only where it would begin an escape.
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
# Bytes of three parts and two separators (RFC 7622 section 3.1).
_MAX_JID = 3 * MAX_PART + 2

# A bare JID of allowed ASCII characters only: its prepared form is its lower case.
_LABEL = r"[!#-%()+-\-0-9;=?A-Z\[-~]+"
_PLAIN = re.compile(rf"(?:[!#-%(-.0-9;=?A-Z\[-~]+@)?{_LABEL}(?:\.{_LABEL})*")

_CHARACTERS = {escape: character for character, escape in _ESCAPED.items()}
_ESCAPE = re.compile(r"\\(?:20|22|26|27|2f|3a|3c|3e|40|5c)")
_TO_ESCAPE = re.compile(r"""[ "&'/:<>@]|\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)""")


def split(jid: str) -> tuple[str, str, str]:
    """
    Return localpart, domain and resource of a JID; a missing part is empty (RFC 7622 section 3.1).
    """
    bare, _, resource = jid.partition("/")
    local, at, domain = bare.partition("@")
    return (local, domain, resource) if at else ("", bare, resource)


def bare(jid: str) -> str:
    """Return a JID without its resource."""
    return jid.partition("/")[0]


def prepared(jid: str) -> str:
    """
    Return a JID in the form that a server would write, in which addresses are compared (RFC 7622 section 3). A dot
    at the end of the domain is removed.

    @raise Malformed: if a part is empty, is too long, or contains a forbidden character.
    """
    # Nearly all addresses are plain, and this test is much cheaper than the tables of Unicode.
    if len(jid) <= MAX_PART:
        account, slash, resource = jid.partition("/")
        # A resource may contain all printable ASCII characters, and keeps its case.
        isPlain = resource.isascii() and resource.isprintable() and bool(resource or not slash)
        if isPlain and _PLAIN.fullmatch(account):
            return account.lower() + slash + resource
    elif len(jid) > _MAX_JID:
        raise Malformed("a JID has at most three parts of 1023 bytes each")
    return _preparedByUnicode(jid)


def preparedLocal(name: str) -> str:
    """
    Return the prepared form of a localpart.

    @raise Malformed: if it is not valid.
    """
    local, *rest = split(prepared(f"{name}@h"))
    if rest != ["h", ""]:
        raise Malformed(f"{name} is not a user name")
    return local


def isPrepared(jid: str) -> bool:
    """True if this is a valid JID in its prepared form."""
    try:
        return prepared(jid) == jid
    except Malformed:
        return False


# A roster with one address that is not plain usually has many of them, and a refresh prepares each twice.
@lru_cache(maxsize=4096)
def _preparedByUnicode(jid: str) -> str:
    account, slash, resource = jid.partition("/")
    local, at, domain = account.rpartition("@")
    # A separator with nothing before or after it is invalid: each profile refuses an empty part.
    found = nameprep(domain)
    if at:
        found = f"{nodeprep(local)}@{found}"
    return f"{found}/{resourceprep(resource)}" if slash else found


def escapeLocal(text: str) -> str:
    """Escape any text as a localpart (XEP-0106)."""
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found.group()], text)


def unescapeLocal(local: str) -> str:
    """Return the text that L{escapeLocal} was called with."""
    return _ESCAPE.sub(lambda found: _CHARACTERS[found.group()], local)
