"""
One account's contacts, and what subscriptions do to them (RFC 6121 section 2, section 3 and appendix A). Pure.
"""

from __future__ import annotations

from attrs import define, field, frozen

from gateway.errors import NoSuchAddress, TooMuch
from gateway.stream.stanzas import Stanza, escape

# Contacts at most, and the bytes of them all: they are sent in one stanza. Strangers, beside them, whose request is
# not decided on; they take no contact's place.
_MAX_CONTACTS = 1_000
_MAX_BYTES = 192 * 1024
_MAX_REQUESTS = 1_000

# Bytes that a contact takes beside its JID, its name and its groups; and that each of these does.
_MARKUP, _GROUP_MARKUP = 80, 15

# A request that is kept whole has at most so many bytes.
_MAX_PENDING = 4_096


@define(eq=False)
class Item:
    """
    One contact, or somebody who wants to become one.

    @ivar to: whether the account gets the contact's presence.
    @ivar from_: whether the contact gets the account's.
    @ivar ask: whether the account waits for the contact's leave.
    @ivar pending: the contact's request for leave, while it is not decided on; only its kind if it was long.
    @ivar listed: whether the account's roster shows it.
    """

    jid: str
    name: str = ""
    groups: tuple[str, ...] = ()
    to: bool = False
    from_: bool = False
    ask: bool = False
    pending: Stanza | str | None = field(default=None, repr=False)
    listed: bool = False

    @property
    def subscription(self) -> str:
        if self.to:
            return "both" if self.from_ else "to"
        return "from" if self.from_ else "none"


@frozen
class Change:
    """
    What comes of a subscription stanza.

    @ivar passes: whether it goes on to whom it is for.
    @ivar pushes: whether the account's clients are told of a changed item.
    """

    passes: bool
    pushes: bool


NOTHING = Change(False, False)


class Roster:
    """The contacts of one account, by their bare JID."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        # What each that is listed takes.
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def listed(self) -> list[Item]:
        """What a client sees as the roster."""
        return [item for item in self._items.values() if item.listed]

    def pending(self) -> list[tuple[str, Stanza | str]]:
        """The requests that wait to be decided on, and whose they are."""
        return [(item.jid, item.pending) for item in self._items.values() if item.pending is not None]

    def audience(self) -> list[str]:
        """Who gets the account's presence."""
        return [item.jid for item in self._items.values() if item.from_]

    def watched(self) -> list[str]:
        """Whose presence the account gets."""
        return [item.jid for item in self._items.values() if item.to]

    def lets(self, jid: str) -> bool:
        """Whether this contact gets the account's presence."""
        return jid in self._items and self._items[jid].from_

    def get(self, jid: str) -> Item:
        """
        One contact.

        @raise NoSuchAddress: if it is none.
        """
        item = self._items.get(jid)
        if item is None or not item.listed:
            raise NoSuchAddress
        return item

    def set(self, jid: str, name: str, groups: tuple[str, ...]) -> Item:
        """
        Add a contact, or change name and groups of one (RFC 6121 sections 2.3 and 2.4).

        @raise TooMuch: when there is no room for another.
        """
        self._list(jid, name, groups)
        item = self._items.setdefault(jid, Item(jid))
        item.name, item.groups, item.listed = name, groups, True
        return item

    def remove(self, item: Item) -> None:
        """Forget a contact (RFC 6121 section 2.5)."""
        del self._items[item.jid]
        self._sizes.pop(item.jid, None)

    def outbound(self, kind: str, jid: str) -> Change:
        """
        A stanza of the account to a contact (RFC 6121 appendix A.2).

        @param kind: C{subscribe}, C{subscribed}, C{unsubscribe} or C{unsubscribed}.
        @raise TooMuch: when there is no room for another contact.
        """
        if kind == "subscribe":
            item = self._items.get(jid) or Item(jid)
            self._list(jid, item.name, item.groups)
            self._items[jid] = item
            pushes = not item.listed or not (item.to or item.ask)
            item.ask, item.listed = not item.to, True
            return Change(True, pushes)
        found = self._items.get(jid)
        if found is None:
            # It may be at odds with what the contact's server has, and cannot harm.
            return Change(kind == "unsubscribe", False)
        if kind == "unsubscribe":
            pushes = found.to or found.ask
            found.to = found.ask = False
            return Change(True, pushes)
        if kind == "subscribed":
            if found.pending is None:
                return NOTHING
            self._list(jid, found.name, found.groups)
            found.pending, found.from_, found.listed = None, True, True
            return Change(True, True)
        return self._denied(found)

    def inbound(self, kind: str, jid: str, content: Stanza | str) -> Change:
        """A stanza of a contact to the account (RFC 6121 appendix A.3)."""
        if kind == "subscribe":
            item = self._items.get(jid)
            if item is None:
                if len(self._items) - len(self._sizes) >= _MAX_REQUESTS:
                    return NOTHING
                item = self._items[jid] = Item(jid)
            if item.from_ or item.pending is not None:
                return NOTHING
            long = isinstance(content, Stanza) and len(content.raw) > _MAX_PENDING
            item.pending = kind if long else content
            return Change(True, False)
        found = self._items.get(jid)
        if found is None:
            return NOTHING
        if kind == "unsubscribe":
            return self._denied(found)
        if kind == "subscribed":
            if found.to or not found.ask:
                return NOTHING
            found.to, found.ask = True, False
            return Change(True, True)
        if not found.to and not found.ask:
            return NOTHING
        found.to = found.ask = False
        return Change(True, True)

    def _denied(self, item: Item) -> Change:
        """The contact gets the account's presence no more, or shall not get it."""
        if not item.from_ and item.pending is None:
            return NOTHING
        pushes = item.from_
        item.from_, item.pending = False, None
        if not item.listed:
            self.remove(item)
        return Change(True, pushes)

    def _list(self, jid: str, name: str, groups: tuple[str, ...]) -> None:
        """
        Make room for a contact, or for what it becomes.

        @raise TooMuch: if there is none.
        """
        before = self._sizes.get(jid, 0)
        written = escape("".join((jid, name, *groups))).encode()
        size = len(written) + _MARKUP + _GROUP_MARKUP * len(groups)
        isFull = not before and len(self._sizes) >= _MAX_CONTACTS
        if isFull or sum(self._sizes.values()) - before + size > _MAX_BYTES:
            raise TooMuch
        self._sizes[jid] = size
