"""
The rules of rosters that a web application decides: what it says, how that differs from what the server has, and
what one refresh may do; pure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from gateway import jids
from gateway.interfaces import RosterItem

# Characters of a contact's name and of each group's (RFC 6121 leaves it to the server), groups of a contact, and
# contacts of a user.
_LONGEST_NAME = 1_023
_MOST_GROUPS = 100
MOST_CONTACTS = 20_000

_KEYS = frozenset({"name", "groups", "subscription"})
_SUBSCRIPTIONS = ("none", "to", "from", "both")

# Bytes of each part of a JID.
_LONGEST_PART = 1_023

# What no XML can hold (XML 1.0 section 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# As who reads an attribute has it (XML 1.0 section 3.3.3); a server may write it as it stands.
_WHITE = str.maketrans("\t\n\r", "   ")

# How much of a wrong value is shown.
_SHOWN = 60


class RefreshFailed(Exception):
    """
    A user's roster stays as it is; the text says why, to people.
    """


class RosterTooLarge(RefreshFailed):
    """
    The roster that the server has is too large to be read.
    """


class UserUnknown(RefreshFailed):
    """
    The application has nothing to say about the user.
    """


# What the application says.


def readDocument(data: bytes, user: str) -> dict[str, RosterItem]:
    """
    The contacts of a user, by bare JID, as the application has them: a JSON object of contact JIDs, each with an
    object that may have C{name} (a string), C{groups} (a list of names, or an object of names that are true) and
    C{subscription} (C{none}, C{to}, C{from} or C{both}, which is the default).

    @param user: whose they are: a bare JID.
    @raise RefreshFailed: for anything else. One wrong contact makes all of it worthless: what was left out would be
        taken for removed.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise RefreshFailed(f"the document is not UTF-8: byte {error.start}") from error
    except ValueError as error:
        raise RefreshFailed(f"the document is not JSON: {error}") from error
    except RecursionError as error:
        raise RefreshFailed("the document is not JSON that can be read: it is nested too deeply") from error
    if not isinstance(document, dict):
        raise RefreshFailed(f"the document is {_kind(document)}, not an object of contacts")
    if len(document) > MOST_CONTACTS:
        raise RefreshFailed(f"the document has {len(document)} contacts; at most {MOST_CONTACTS} are taken")
    contacts: dict[str, RosterItem] = {}
    # There are few, and each takes as much memory as the rest of a contact.
    groups: dict[frozenset[str], frozenset[str]] = {}
    for written, about in document.items():
        contact = _readContact(written, about, user, groups)
        if contact.jid in contacts:
            raise RefreshFailed(f"contact {_show(written)}: it is there twice, in other spellings")
        contacts[contact.jid] = contact
    return contacts


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

    try:
        jid = jids.prepared(written)
    except ValueError as error:
        raise fail("it is not a JID") from error
    if _isLong(jid):
        raise fail("it is longer than a JID may be")
    if "/" in jid:
        raise fail("it has a resource; a contact is a bare JID")
    # To be taken away before JIDs are compared (RFC 7622 section 3.2), as Prosody does.
    jid = jid.removesuffix(".")
    if "@" not in jid and "." not in jid:
        # More likely {"contacts": {}} or {"error": {}}, which would remove everybody else.
        raise fail("it has neither a user name nor a dot; a contact is a JID")
    if jid == user:
        raise fail("it is the user's own JID")
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
    """What is wrong with a name; empty if nothing is."""
    if len(text) > _LONGEST_NAME:
        return f"has {len(text)} characters; at most {_LONGEST_NAME} are taken"
    if found := _FORBIDDEN.search(text):
        return f"holds a character that XMPP cannot carry: U+{ord(found.group()):04X}"
    return ""


def _isLong(jid: str) -> bool:
    """Whether a part of it is (RFC 7622 section 3.1)."""
    # No character takes more than four bytes.
    return len(jid) > _LONGEST_PART // 4 and any(len(part.encode()) > _LONGEST_PART for part in jids.split(jid))


def _kind(value: Any) -> str:
    """What a JSON value is, to people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in ((dict, "an object"), (list, "a list"), (str, "a string")):
        if isinstance(value, kind):
            return words
    return "a number"


def _show(value: Any) -> str:
    # JSON can hold half of a surrogate pair, which cannot be written anywhere.
    shown = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


# How it differs from what the server has.


def difference(there: Iterable[RosterItem], wanted: Mapping[str, RosterItem]) -> list[RosterItem]:
    """
    What to set so that a roster becomes what is wanted, each contact once: first what is new or other, then what is
    to be removed.

    @param there: what the server has.
    """
    known = _byContact(there)
    changes = [item for jid, item in wanted.items() if jid not in known or _isOther(known[jid], item)]
    return changes + [RosterItem(jid=jid, subscription="remove") for jid in known if jid not in wanted]


def _byContact(there: Iterable[RosterItem]) -> dict[str, RosterItem]:
    """By bare JID: ejabberd shows the resource that a client has added a contact with, and goes by the rest."""
    return {jids.bare(item.jid): item for item in there}


def _isOther(there: RosterItem, wanted: RosterItem) -> bool:
    return (there.jid, there.name, there.groups, there.subscription) != (
        wanted.jid,
        wanted.name,
        wanted.groups,
        wanted.subscription,
    )


@frozen
class Summary:
    """
    What a refresh of one user has changed, or would change.

    @ivar added: how many contacts were not there.
    @ivar changed: how many have another name, other groups, another subscription.
    @ivar removed: how many are there no more.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0

    @classmethod
    def of(cls, there: Iterable[RosterItem], changes: Iterable[RosterItem]) -> Summary:
        known = _byContact(there)
        changes = list(changes)
        removed = sum(item.subscription == "remove" for item in changes)
        changed = sum(item.subscription != "remove" and item.jid in known for item in changes)
        return cls(len(changes) - changed - removed, changed, removed)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def checkRemovals(summary: Summary, most: int | None) -> None:
    """
    Refuse to remove more contacts at once than is believable.

    @param most: how many are; C{None} for any number.
    @raise RefreshFailed: if there are more.
    """
    if most is not None and summary.removed > most:
        raise RefreshFailed(
            f"it would remove {summary.removed} contacts, more than max_removals ({most}); if that is right, ask "
            "again with ?force=1"
        )


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
    if rest != ["h", ""] or not local or _isLong(local):
        raise RefreshFailed("it is not a user name")
    return local


# One refresh of one user, step by step.


@frozen
class Fetch:
    """Ask the application for the user's document."""


@frozen
class Read:
    """Ask the server for the user's roster."""


@frozen
class Set:
    """
    Set this contact.

    @ivar before: what the server has; a contact without a subscription where it has none.
    """

    item: RosterItem
    before: RosterItem


@frozen
class Finished:
    """
    It is over.

    @ivar summary: what has changed; in a dry run, what would.
    @ivar items: in a dry run, what would be set.
    @ivar reason: why it failed; empty if it did not.
    @ivar isUnknown: whether that is because the application has nothing to say about the user.
    @ivar isTooLarge: whether that is because the server's roster is too large, which another try would not change.
    """

    summary: Summary = Summary()
    items: tuple[RosterItem, ...] = ()
    reason: str = ""
    isUnknown: bool = False
    isTooLarge: bool = False


Step = Fetch | Read | Set | Finished


class Refresh:
    """
    One refresh of one user: each method takes what has happened and gives the next step.

    @param user: bare JID.
    @param mostRemovals: as L{checkRemovals} has it.
    @param isDry: whether only to tell what would change.
    """

    def __init__(self, user: str, mostRemovals: int | None = None, isDry: bool = False) -> None:
        self.user = user
        self._mostRemovals = mostRemovals
        self._isDry = isDry
        self._wanted: dict[str, RosterItem] = {}
        self._before: list[RosterItem] = []
        self._changes: list[RosterItem] = []
        self._done = 0
        self._summary = Summary()

    def begin(self) -> Step:
        return Fetch()

    def fetched(self, document: bytes | None) -> Step:
        """
        The application has answered.

        @param document: C{None} if it is what it was at the last refresh that went well.
        """
        if document is None:
            return Finished()
        try:
            self._wanted = readDocument(document, self.user)
        except RefreshFailed as failure:
            return self.failed(failure)
        return Read()

    def read(self, there: Iterable[RosterItem]) -> Step:
        """The server has answered."""
        found = _byContact(there)
        self._changes = difference(found.values(), self._wanted)
        self._summary = Summary.of(found.values(), self._changes)
        # Only what differs is needed any more, and others wait for their turn meanwhile.
        self._before = [found.get(item.jid) or RosterItem(jid=item.jid) for item in self._changes]
        self._wanted = {}
        if self._isDry:
            return Finished(self._summary, tuple(self._changes))
        try:
            checkRemovals(self._summary, self._mostRemovals)
        except RefreshFailed as failure:
            return self.failed(failure)
        return self._next()

    def set(self) -> Step:
        """The contact is set."""
        self._done += 1
        return self._next()

    def failed(self, failure: RefreshFailed) -> Step:
        """Something of it has failed."""
        reason = str(failure)
        if self._done:
            reason = f"{self._done} of {len(self._changes)} changes were made, then: {reason}"
        return Finished(
            reason=reason,
            isUnknown=isinstance(failure, UserUnknown),
            isTooLarge=isinstance(failure, RosterTooLarge),
        )

    def _next(self) -> Step:
        if self._done == len(self._changes):
            return Finished(self._summary)
        return Set(self._changes[self._done], self._before[self._done])
