"""
Addresses as text: the parts of a JID (RFC 7622) and the escapes of its localpart (XEP-0106).

The stream carries addresses that a server has already normalised, so they are taken apart as they stand; what
comes from people goes through L{prepared} first.
"""

from __future__ import annotations

import re
from functools import lru_cache

from twisted.words.protocols.jabber.jid import JID, InvalidFormat

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
_LONGEST = 3 * 1_023 + 2

# A bare JID of ASCII alone in which nothing is forbidden: preparing it is to lower its case (RFC 6122 appendix A,
# RFC 3491, and what RFC 1123 lets a host be called).
_LABEL = r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"
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
    A JID as a server would write it.

    @raise ValueError: if it is none.
    """
    # Nearly all are plain, and to look is a hundred times faster than to ask Unicode's tables for each character.
    if len(jid) <= _LONGEST:
        account, slash, resource = jid.partition("/")
        # Nothing that can be printed is forbidden in a resource, nor is its case changed.
        isPlain = resource.isascii() and resource.isprintable() and bool(resource or not slash)
        if isPlain and _PLAIN.fullmatch(account):
            return account.lower() + slash + resource
    return _preparedByUnicode(jid)


def isPrepared(jid: str) -> bool:
    """Whether it is a JID, written as a server would."""
    try:
        return prepared(jid) == jid
    except ValueError:
        return False


# Whoever has one contact with such a name has many, and a refresh reads each twice.
@lru_cache(maxsize=4096)
def _preparedByUnicode(jid: str) -> str:
    # Before anything else: the time that Unicode takes grows with the square of the length.
    if len(jid.encode(errors="surrogatepass")) > _LONGEST:
        raise ValueError("a JID has at most three parts of 1023 bytes each")
    # What separates parts must have parts to separate; Twisted passes over that.
    if jid.startswith("@") or jid.find("/") == len(jid) - 1:
        raise ValueError(f"{jid!r} is not a JID")
    try:
        return str(JID(jid).full())
    except (InvalidFormat, UnicodeError, IndexError) as error:
        # The last is how it stumbles over a domain such as "a..b".
        raise ValueError(f"{jid!r} is not a JID") from error


def escapeLocal(text: str) -> str:
    """Any text as a localpart (XEP-0106)."""
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found.group()], text)


def unescapeLocal(local: str) -> str:
    """What L{escapeLocal} was given."""
    return _ESCAPE.sub(lambda found: _CHARACTERS[found.group()], local)
