"""
Reading and checking of the web application's documents and user names; pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

from attrs import field, frozen

from gateway.addresses import jids
from gateway.addresses.stringprep import MAX_PART
from gateway.interfaces import RosterItem
from gateway.log.printable import printable
from gateway.roster.failures import RefreshFailed
from gateway.roster.members import Members, MemberTooLong
from gateway.xml.write import FORBIDDEN

# Characters of a contact's name and of a group's name (RFC 6121 leaves the limit to the server), groups of a
# contact, and contacts of a user.
_MAX_NAME_LENGTH = 1_023
_MAX_GROUPS = 100
MAX_CONTACTS = 20_000

# Limits of what is reported about one document: skipped contacts, characters of their addresses, unknown keys.
_MAX_SKIPPED = 100
_MAX_ADDRESS_LENGTH = 200
_MAX_UNKNOWN_KEYS = 20

# Users in one request at most.
MAX_NAMES = 100_000

_KEYS = frozenset({"name", "groups", "subscription"})
_SUBSCRIPTIONS = ("none", "to", "from", "both")
_NO_NAME = 'it is not a user name, the part of an address before the "@"'

# A reader of an XML attribute turns these into spaces (XML 1.0 section 3.3.3), and servers may write them
# unescaped.
_WHITE = str.maketrans("\t\n\r", "   ")

# Characters of a wrong value that are shown.
_SHOWN = 60


@frozen
class Document:
    """
    A user's contacts, as the application has them.

    @ivar contacts: by bare JID.
    @ivar skipped: reasons for invalid contacts, by address as it is written.
    @ivar kept: bare JIDs of the invalid contacts. The application knows them, so the server's items for them stay.
    @ivar isComplete: false if a key is not an address. It may stand for any contact, so no contact is removed.
    @ivar unknown: unknown keys of contacts.
    """

    contacts: dict[str, RosterItem] = field(factory=dict)
    skipped: dict[str, str] = field(factory=dict)
    kept: frozenset[str] = frozenset()
    isComplete: bool = True
    unknown: frozenset[str] = frozenset()


def readingDocument(data: bytes, user: str) -> Generator[None, None, Document]:
    """
    Read a user's document, in pieces: a large one takes seconds.

    A document is a JSON object of contact JIDs. Each value is an object with the optional keys C{name} (a string),
    C{groups} (a list of names, or an object of names and booleans) and C{subscription} (C{none}, C{to}, C{from} or
    C{both}, the default). Instead of the object, the value may be the contact's name, C{null} or C{[]}. The
    document C{[]} has no contacts.

    @param user: bare JID of the user.
    @raise RefreshFailed: if the document is anything else, or has contacts but no valid one.
    """
    try:
        # Some applications write a byte order mark.
        members = Members(data.decode("utf-8-sig"), _unique)
    except UnicodeDecodeError as error:
        raise RefreshFailed(f"the document is not UTF-8: byte {error.start}") from error
    reader = _DocumentReader(user)
    names: set[str] = set()
    for member in _checkedMembers(members):
        yield
        if member is None:
            continue
        written, about = member
        if members.opening != "{":
            found = "a list" if members.opening == "[" else _typeName(about)
            raise RefreshFailed(f"the document is {found}, not an object of contacts")
        if written in names:
            raise RefreshFailed(f"the document is not JSON: {_show(written)} occurs twice in an object")
        names.add(written)
        if len(names) > MAX_CONTACTS:
            raise RefreshFailed(f"the document has more than {MAX_CONTACTS} contacts")
        reader.add(written, about)
    return reader.document()


def readingNames(data: bytes) -> Generator[None, None, list[Any]]:
    """
    Read a JSON array of user names, in pieces; L{checkUser} checks each name.

    @raise RefreshFailed: if the data is not a JSON array.
    """
    try:
        members = Members(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RefreshFailed(f"the body is not UTF-8: byte {error.start}") from error
    if not data:
        raise RefreshFailed("the body is empty")
    names: list[Any] = []
    for member in _checkedMembers(members, "body"):
        yield
        if member is not None and len(names) <= MAX_NAMES:
            names.append(member[1])
    if members.opening != "[":
        raise RefreshFailed('the body is not an array of user names, such as ["ann", "tom"]')
    return names


def _checkedMembers(members: Members, what: str = "document") -> Iterator[tuple[str, Any] | None]:
    try:
        yield from members
    except MemberTooLong as error:
        raise RefreshFailed(f"the {what} is too long in one place: {error}") from error
    except ValueError as error:
        raise RefreshFailed(f"the {what} is not JSON: {error}; docs/roster.md describes the {what}") from error
    except RecursionError as error:
        raise RefreshFailed(f"the {what} is too long in one place: it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse one with a repeated key, which JSON itself allows."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{_show(max(counts, key=counts.__getitem__))} occurs twice in an object")
    return found


class _BadContact(Exception):
    """A contact is invalid; the text is the reason."""


class _DocumentReader:
    """
    Collects the contacts of one document.

    @param user: bare JID of the user.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._contacts: dict[str, RosterItem] = {}
        self._skipped: dict[str, str] = {}
        self._unlisted = 0
        self._kept: set[str] = set()
        self._ambiguous: set[str] = set()
        self._isRoster = False
        self._isComplete = True
        self._unknown: set[str] = set()
        # Sets of groups are shared between contacts: there are few, and each takes as much memory as the rest of a
        # contact.
        self._groups: dict[frozenset[str], frozenset[str]] = {}

    def document(self) -> Document:
        if self._skipped and not self._isRoster:
            # The document is more likely an error, such as {"error": {}}, than a roster.
            written, reason = next(iter(self._skipped.items()))
            raise RefreshFailed(f"contact {_show(written)}: {reason}")
        if self._unlisted:
            self._skipped["..."] = f"{self._unlisted} more"
        kept, unknown = frozenset(self._kept), frozenset(self._unknown)
        return Document(self._contacts, self._skipped, kept, self._isComplete, unknown)

    def add(self, written: str, about: Any) -> None:
        try:
            jid = jids.prepared(written)
        except ValueError:
            self._isComplete = False
            self._skip(written, "it is too long for a JID" if _isTooLong(written) else "it is not a JID")
            return
        address = jids.bare(jid)
        try:
            if "@" not in jid and "." not in jid:
                if not isinstance(about, dict):
                    # For example {"error": "timeout"} after the contacts that were found before the error.
                    self._isComplete = False
                raise _BadContact("it has neither a user name nor a dot; a contact is a JID")
            contact = self._contact(address, about)
            self._isRoster = True
            if address != jid:
                raise _BadContact("it has a resource; a contact is a bare JID")
            if address == self._user:
                raise _BadContact("it is the user's own JID")
            if address in self._ambiguous or self._contacts.get(address, contact) != contact:
                self._ambiguous.add(address)
                self._contacts.pop(address, None)
                raise _BadContact("two spellings of this JID have different values")
        except _BadContact as reason:
            self._kept.add(address)
            self._skip(written, str(reason))
        else:
            self._contacts[address] = contact

    def _skip(self, written: str, reason: str) -> None:
        if len(self._skipped) < _MAX_SKIPPED:
            self._skipped[written[:_MAX_ADDRESS_LENGTH]] = reason
        else:
            self._unlisted += 1

    def _contact(self, jid: str, about: Any) -> RosterItem:
        if about is None or about == []:
            # Some languages write an empty object in this way.
            about = {}
        elif isinstance(about, str):
            about = {"name": about}
        elif not isinstance(about, dict):
            raise _BadContact(f"its value is {_typeName(about)}, not an object")
        if not about.keys() <= _KEYS:
            for key in about.keys() - _KEYS:
                if len(self._unknown) < _MAX_UNKNOWN_KEYS:
                    self._unknown.add(_show(key))
        name = about.get("name")
        # Some applications write null for a missing name.
        if name is not None and not isinstance(name, str):
            raise _BadContact(f"its name is {_typeName(name)}, not a string")
        if wrong := _textError(name or ""):
            raise _BadContact(f"its name {wrong}")
        subscription = about.get("subscription", "both")
        if subscription not in _SUBSCRIPTIONS:
            raise _BadContact(f"its subscription is {_show(subscription)}, not one of {', '.join(_SUBSCRIPTIONS)}")
        groups = _readGroups(about.get("groups"))
        name = (name or "").translate(_WHITE)
        groups = self._groups.setdefault(groups, groups)
        return RosterItem(jid=jid, name=name, groups=groups, subscription=subscription)


def _readGroups(groups: Any) -> frozenset[str]:
    if groups is None:
        return frozenset()
    if isinstance(groups, dict):
        for name, isIn in groups.items():
            if not isinstance(isIn, bool):
                raise _BadContact(f"its group {_show(name)} is {_typeName(isIn)}, not true or false")
        groups = [name for name, isIn in groups.items() if isIn]
    if not isinstance(groups, list):
        raise _BadContact(f"its groups are {_typeName(groups)}, not a list or an object")
    for name in groups:
        if not isinstance(name, str):
            raise _BadContact(f"one of its groups is {_typeName(name)}, not a string")
        if not name:
            raise _BadContact("one of its groups has no name")
        if wrong := _textError(name):
            raise _BadContact(f"its group {_show(name)} {wrong}")
    if len(groups) > _MAX_GROUPS:
        raise _BadContact(f"it has {len(groups)} groups; the maximum is {_MAX_GROUPS}")
    return frozenset(name.translate(_WHITE) for name in groups)


def _textError(text: str) -> str:
    """Return the fault of a name; empty if there is none."""
    if len(text) > _MAX_NAME_LENGTH:
        return f"has {len(text)} characters; the maximum is {_MAX_NAME_LENGTH}"
    if found := FORBIDDEN.search(text):
        return f"contains a character that XMPP does not allow: U+{ord(found.group()):04X}"
    return ""


def _isTooLong(jid: str) -> bool:
    """True if a part of an address is longer than it may be (RFC 7622 section 3.1)."""
    return any(len(part.encode(errors="surrogatepass")) > MAX_PART for part in jids.split(jid))


def _typeName(value: Any) -> str:
    """Return the type of a JSON value in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in ((dict, "an object"), (list, "a list"), (str, "a string")):
        if isinstance(value, kind):
            return words
    return "a number"


def _show(value: Any) -> str:
    # JSON can hold half of a surrogate pair, which cannot be encoded, and characters that change how a line is
    # displayed.
    shown = printable(json.dumps(value, ensure_ascii=False)[: _SHOWN + 1])
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def checkUser(name: Any) -> str:
    """
    Return the localpart of a JID for a user name of the application.

    @raise RefreshFailed: if the name is not a valid localpart.
    """
    if not isinstance(name, str):
        raise RefreshFailed(f"a user name is a string, not {_typeName(name)}")
    try:
        local = jids.preparedLocal(name)
    except ValueError as error:
        raise RefreshFailed(_NO_NAME + _meant(name)) from error
    # As a part of a URL's path, one or two dots mean another path.
    if local in (".", ".."):
        raise RefreshFailed(_NO_NAME)
    return local


def _meant(name: str) -> str:
    """Return the user name that was meant by a whole address, as advice; empty if it is none."""
    local, at, domain = name.partition("@")
    try:
        return f": give {_show(jids.preparedLocal(local))}" if at and domain else ""
    except ValueError:
        return ""
