"""
An account's contacts, and their subscription states (RFC 6121 section 2, section 3 and appendix A). Pure.
"""

from __future__ import annotations

from attrs import define, field, frozen

from gateway.errors import NoSuchAddress, ResourceLimit
from gateway.stream.stanzas import Stanza
from gateway.xml.write import escape

# Contacts, and bytes of all contacts together, because they are sent in one stanza. Pending subscription requests
# of entities that are not contacts are counted separately.
_MAX_CONTACTS = 1_000
_MAX_BYTES = 192 * 1024
_MAX_REQUESTS = 1_000

# Bytes of the markup of one contact, and of one of its groups.
_MARKUP, _GROUP_MARKUP = 80, 15

# Bytes up to which a pending request is kept whole.
_MAX_PENDING = 4_096


@define(eq=False)
class Item:
    """
    A contact, or an entity with a pending subscription request.

    @ivar to: true if the account gets the contact's presence.
    @ivar from_: true if the contact gets the account's presence.
    @ivar ask: true while the account's subscription request is not answered.
    @ivar pending: the contact's unanswered subscription request; only its type if it was long.
    @ivar listed: true if the item is shown in the account's roster.
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
    The effect of a subscription stanza.

    @ivar passes: true if it is delivered to its recipient.
    @ivar pushes: true if the account's clients get a roster push.
    """

    passes: bool
    pushes: bool


NOTHING = Change(False, False)


class Roster:
    """The contacts of one account, by their bare JID."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        # Bytes of each listed contact.
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def listed(self) -> list[Item]:
        """Return the contacts that are shown to clients."""
        return [item for item in self._items.values() if item.listed]

    def pending(self) -> list[tuple[str, Stanza | str]]:
        """Return the pending subscription requests with their senders."""
        return [(item.jid, item.pending) for item in self._items.values() if item.pending is not None]

    def subscribers(self) -> list[str]:
        """Return the JIDs that get the account's presence."""
        return [item.jid for item in self._items.values() if item.from_]

    def subscriptions(self) -> list[str]:
        """Return the JIDs whose presence the account gets."""
        return [item.jid for item in self._items.values() if item.to]

    def isSubscriber(self, jid: str) -> bool:
        """True if this contact gets the account's presence."""
        return jid in self._items and self._items[jid].from_

    def get(self, jid: str) -> Item:
        """
        Return a contact.

        @raise NoSuchAddress: if it is not a contact.
        """
        item = self._items.get(jid)
        if item is None or not item.listed:
            raise NoSuchAddress
        return item

    def set(self, jid: str, name: str, groups: tuple[str, ...]) -> Item:
        """
        Add a contact, or change name and groups of one (RFC 6121 sections 2.3 and 2.4).

        @raise ResourceLimit: if the roster is full.
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
        Apply a subscription stanza that the account sends to a contact (RFC 6121 appendix A.2).

        @param kind: C{subscribe}, C{subscribed}, C{unsubscribe} or C{unsubscribed}.
        @raise ResourceLimit: if the roster is full.
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
            # Deliver it, because the contact's server may still have a subscription; it does no harm otherwise.
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
        """Apply a subscription stanza that a contact sends to the account (RFC 6121 appendix A.3)."""
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
        """End the contact's subscription to the account's presence, or deny its request."""
        if not item.from_ and item.pending is None:
            return NOTHING
        pushes = item.from_
        item.from_, item.pending = False, None
        if not item.listed:
            self.remove(item)
        return Change(True, pushes)

    def _list(self, jid: str, name: str, groups: tuple[str, ...]) -> None:
        """
        Reserve the bytes of a new or changed contact.

        @raise ResourceLimit: if the roster is full.
        """
        before = self._sizes.get(jid, 0)
        written = escape("".join((jid, name, *groups))).encode()
        size = len(written) + _MARKUP + _GROUP_MARKUP * len(groups)
        isFull = not before and len(self._sizes) >= _MAX_CONTACTS
        if isFull or sum(self._sizes.values()) - before + size > _MAX_BYTES:
            raise ResourceLimit
        self._sizes[jid] = size
