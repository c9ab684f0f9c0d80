"""
Documents and user names of the web application, read and checked; pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

from gateway import jids
from gateway.interfaces import RosterItem
from gateway.printable import printable
from gateway.roster.members import Members, MemberTooLong
from gateway.stream.stanzas import FORBIDDEN
from gateway.stringprep import MAX_PART

# Characters of a contact's name and of each group's (RFC 6121 leaves it to the server), groups of a contact, and
# contacts of a user.
_LONGEST_NAME = 1_023
_MOST_GROUPS = 100
MOST_CONTACTS = 20_000

# Users that one request names.
MOST_NAMES = 100_000

_KEYS = frozenset({"name", "groups", "subscription"})
_SUBSCRIPTIONS = ("none", "to", "from", "both")

# As who reads an attribute has it (XML 1.0 section 3.3.3); a server may write it as it stands.
_WHITE = str.maketrans("\t\n\r", "   ")

# How much of a wrong value is shown.
_SHOWN = 60


class RefreshFailed(Exception):
    """
    A user's roster stays as it is; the text says why, to people.
    """


class UserUnknown(RefreshFailed):
    """
    The application has nothing to say about the user.
    """


def readingDocument(data: bytes, user: str) -> Generator[None, None, dict[str, RosterItem]]:
    """
    The contacts of a user, by bare JID, as the application has them: a JSON object of contact JIDs, each with an
    object that may have C{name} (a string), C{groups} (a list of names, or an object of names that are true) and
    C{subscription} (C{none}, C{to}, C{from} or C{both}, which is the default). In pieces: a large document takes
    seconds.

    @param user: whose they are: a bare JID.
    @raise RefreshFailed: for anything else. One wrong contact makes all of it worthless: what was left out would be
        taken for removed.
    """
    try:
        # Some applications begin with a byte order mark.
        members = Members(data.decode("utf-8-sig"), _unique)
    except UnicodeDecodeError as error:
        raise RefreshFailed(f"the document is not UTF-8: byte {error.start}") from error
    contacts: dict[str, RosterItem] = {}
    # There are few, and each takes as much memory as the rest of a contact.
    groups: dict[frozenset[str], frozenset[str]] = {}
    if members.opening == "[":
        raise RefreshFailed("the document is a list, not an object of contacts")
    names: set[str] = set()
    for member in _safely(members):
        yield
        if member is None:
            continue
        written, about = member
        if members.opening != "{":
            raise RefreshFailed(f"the document is {_kind(about)}, not an object of contacts")
        if written in names:
            raise RefreshFailed(f"the document is not JSON: {_show(written)} stands twice in an object")
        names.add(written)
        if len(names) > MOST_CONTACTS:
            raise RefreshFailed(f"the document has over {MOST_CONTACTS} contacts; at most that many are taken")
        contact = _readContact(written, about, user, groups)
        if contact.jid in contacts:
            raise RefreshFailed(f"contact {_show(written)}: it is there twice, in other spellings")
        contacts[contact.jid] = contact
    return contacts


def readingNames(data: bytes) -> Generator[None, None, list[Any]]:
    """
    The items of a JSON array of user names, in pieces; L{checkUser} checks each.

    @raise RefreshFailed: if it is none.
    """
    try:
        members = Members(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RefreshFailed(f"the body is not UTF-8: byte {error.start}") from error
    if not data:
        raise RefreshFailed("there is no body")
    names: list[Any] = []
    for member in _safely(members, "body"):
        yield
        if member is not None and len(names) <= MOST_NAMES:
            names.append(member[1])
    if members.opening != "[":
        raise RefreshFailed("the body is not an array of user names")
    return names


def _safely(members: Members, what: str = "document") -> Iterator[tuple[str, Any] | None]:
    try:
        yield from members
    except MemberTooLong as error:
        raise RefreshFailed(f"the {what} is too long in one place: {error}") from error
    except ValueError as error:
        raise RefreshFailed(f"the {what} is not JSON: {error}") from error
    except RecursionError as error:
        raise RefreshFailed(f"the {what} is too long in one place: it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which each key stands once: JSON itself does not mind."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{_show(max(counts, key=counts.__getitem__))} stands twice in an object")
    return found


def _readContact(written: str, about: Any, user: str, shared: dict[frozenset[str], frozenset[str]]) -> RosterItem:
    def fail(what: str) -> RefreshFailed:
        return RefreshFailed(f"contact {_show(written)}: {what}")

    jid = _readJid(written, user, fail)
    if not isinstance(about, dict):
        raise fail(f"its value is {_kind(about)}, not an object")
    if not about.keys() <= _KEYS:
        raise fail(f"{_show(min(about.keys() - _KEYS))} is unknown; there are {', '.join(sorted(_KEYS))}")
    name = about.get("name", "")
    # Some applications have nothing to say in this way.
    if name is not None and not isinstance(name, str):
        raise fail(f"its name is {_kind(name)}, not a string")
    if wrong := _wrongText(name or ""):
        raise fail(f"its name {wrong}")
    subscription = about.get("subscription", "both")
    if subscription not in _SUBSCRIPTIONS:
        raise fail(f"its subscription is {_show(subscription)}, not one of {', '.join(_SUBSCRIPTIONS)}")
    groups = _readGroups(about.get("groups"), fail)
    name = (name or "").translate(_WHITE)
    return RosterItem(jid=jid, name=name, groups=shared.setdefault(groups, groups), subscription=subscription)


def _readJid(written: str, user: str, fail: Any) -> str:
    try:
        jid = jids.prepared(written)
    except ValueError as error:
        raise fail("it is longer than a JID may be" if _isLong(written) else "it is not a JID") from error
    if "/" in jid:
        raise fail("it has a resource; a contact is a bare JID")
    if "@" not in jid and "." not in jid:
        # More likely {"contacts": {}} or {"error": {}}, which would remove everybody else.
        raise fail("it has neither a user name nor a dot; a contact is a JID")
    if jid == user:
        raise fail("it is the user's own JID")
    return jid


def _readGroups(groups: Any, fail: Any) -> frozenset[str]:
    if groups is None:
        return frozenset()
    if isinstance(groups, dict):
        for name, isIn in groups.items():
            if not isinstance(isIn, bool):
                raise fail(f"its group {_show(name)} is {_kind(isIn)}, not true or false")
        groups = [name for name, isIn in groups.items() if isIn]
    if not isinstance(groups, list):
        raise fail(f"its groups are {_kind(groups)}, not a list or an object")
    for name in groups:
        if not isinstance(name, str):
            raise fail(f"one of its groups is {_kind(name)}, not a string")
        if not name:
            raise fail("one of its groups has no name")
        if wrong := _wrongText(name):
            raise fail(f"its group {_show(name)} {wrong}")
    if len(groups) > _MOST_GROUPS:
        raise fail(f"it is in {len(groups)} groups; at most {_MOST_GROUPS} are taken")
    return frozenset(name.translate(_WHITE) for name in groups)


def _wrongText(text: str) -> str:
    """The fault of a name; empty if there is none."""
    if len(text) > _LONGEST_NAME:
        return f"has {len(text)} characters; at most {_LONGEST_NAME} are taken"
    if found := FORBIDDEN.search(text):
        return f"holds a character that XMPP cannot carry: U+{ord(found.group()):04X}"
    return ""


def _isLong(jid: str) -> bool:
    """True if a part of an address is longer than it may be (RFC 7622 section 3.1)."""
    return any(len(part.encode(errors="surrogatepass")) > MAX_PART for part in jids.split(jid))


def _kind(value: Any) -> str:
    """The kind of a JSON value, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in ((dict, "an object"), (list, "a list"), (str, "a string")):
        if isinstance(value, kind):
            return words
    return "a number"


def _show(value: Any) -> str:
    # JSON can hold half of a surrogate pair, which cannot be written anywhere, and what changes how a line is read.
    shown = printable(json.dumps(value, ensure_ascii=False)[: _SHOWN + 1])
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def checkUser(name: Any) -> str:
    """
    A user name, as the application writes it, as it stands in a JID.

    @raise RefreshFailed: if it cannot stand there.
    """
    if not isinstance(name, str):
        raise RefreshFailed(f"a user name is a string, not {_kind(name)}")
    try:
        local, *rest = jids.split(jids.prepared(f"{name}@h"))
    except ValueError as error:
        raise RefreshFailed("it is not a user name") from error
    # In a URL, one or two dots stand for another address.
    if rest != ["h", ""] or not local or local in (".", ".."):
        raise RefreshFailed("it is not a user name")
    return local
