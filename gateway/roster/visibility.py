"""
Presence that shows or hides users to each other right after a change of a roster, once; pure.

For servers that send no presence when a component changes a roster (Prosody). A user's roster alone decides if a
contact sees the user's presence. When the contact comes online, the server consults the contact's roster, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from attrs import define

from gateway import ns
from gateway.addresses import jids
from gateway.interfaces import RosterItem
from gateway.stream.latest import keepLatest
from gateway.stream.stanzas import Stanza
from gateway.xml.write import presence, route

# Users whose resources are known, and resources of each user: a contact of another server may have any number.
_MAX_USERS = 100_000
_MAX_RESOURCES = 100

# Pairs of users whose last presence is known; with more pairs, presence may be sent twice.
_MAX_PAIRS = 100_000

# Stamp of presence that is older than the connection (XEP-0203).
_DELAY = ns.DELAY.encode()


def isSameDomain(user: str, contact: str) -> bool:
    """True if the application decides about the contact's roster, too."""
    return jids.split(contact)[1] == jids.split(user)[1]


def _sees(item: RosterItem) -> bool:
    """True if the user gets the contact's presence."""
    return item.subscription in ("to", "both")


def _isSeen(item: RosterItem) -> bool:
    """True if the contact gets the user's presence."""
    return item.subscription in ("from", "both")


@define(eq=False)
class _Resource:
    """
    An available resource. Times are numbers of events.

    @ivar since: time at which it came online.
    @ivar last: time at which it last broadcast its presence; 0 if that was before the connection.
    """

    since: int
    last: int


@define(eq=False)
class _Pair:
    """The last presence of one user that another user was sent: available or not, and the number of the event."""

    isShown: bool
    at: int


class Visibility:
    """
    The users of one server, and the presence that they have been sent.

    @ivar online: available resources by user; the one with the latest presence comes last.
    """

    def __init__(self) -> None:
        self.online: dict[str, dict[str, _Resource]] = {}
        # Key: the user who is seen, and the user who sees.
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()
        self._coming: set[tuple[str, str]] = set()
        self._events = 0

    def clear(self) -> None:
        """The connection is lost: the server will send the presence of all resources again."""
        self.online.clear()
        self._pairs.clear()

    def onPresence(self, presence: Stanza) -> None:
        """A resource has become available or unavailable. It may belong to a contact on another domain."""
        jid = presence.sender or ""
        user = jids.bare(jid)
        resources = self.online.get(user)
        if presence.type == "unavailable":
            if resources is not None:
                resources.pop(jid, None)
                if not resources:
                    del self.online[user]
        elif presence.type is None and (resources is not None or len(self.online) < _MAX_USERS):
            self._available(self.online.setdefault(user, {}), jid, _DELAY in presence.raw)

    def _available(self, resources: dict[str, _Resource], jid: str, wasThere: bool) -> None:
        event = self._next()
        before = resources.get(jid)
        resource = _Resource(event if before is None else before.since, 0 if wasThere else event)
        # Some servers send no unavailable presence if a client's connection breaks.
        keepLatest(resources, jid, resource, _MAX_RESOURCES)

    def beginSet(self, user: str, item: RosterItem, before: RosterItem) -> None:
        """A contact will be set; L{endSet} must follow."""
        if _isSeen(item) and not _isSeen(before):
            self._coming.add((user, item.jid))

    def endSet(self, user: str, item: RosterItem) -> None:
        """The contact was set, or setting it has failed."""
        self._coming.discard((user, item.jid))

    def onSet(self, user: str, item: RosterItem, before: RosterItem, hasPresenceFeed: bool) -> list[bytes]:
        """
        A contact of the same server was set.

        @param before: the server's item before the set.
        @param hasPresenceFeed: true if the server grants the presence feed.
        @return: presence to send in the users' names.
        """
        sent: list[bytes] = []
        contact = item.jid
        if _isSeen(item) and not _isSeen(before):
            # The server answers a probe if the roster allows it, as it does now.
            self._note(user, contact, True)
            if not (hasPresenceFeed and (self._isGone(user) or self._isGone(contact))):
                sent.append(_probe(contact, user))
        elif _isSeen(before) and not _isSeen(item):
            sent += self._hide(user, contact)
        if _sees(item) and not _sees(before):
            if not hasPresenceFeed:
                sent.append(_probe(user, contact))
            # If the contact's roster is being changed as well, that change will show the contact.
            elif (contact, user) not in self._coming:
                sent += self._show(contact, user)
        elif _sees(before) and not _sees(item):
            sent += self._hide(contact, user)
        return sent

    def _show(self, seen: str, seeing: str) -> Iterator[bytes]:
        """Yield probes for a user's presence, from those resources of another user that have missed it."""
        pair = self._pairs.get((seen, seeing))
        shownAt, hiddenAt = (0, 0) if pair is None else (pair.at, 0) if pair.isShown else (0, pair.at)
        others = self.online.get(seen, {}).values()
        for jid, resource in self.online.get(seeing, {}).items():
            if any(max(other.last, shownAt) < max(resource.since, hiddenAt) for other in others):
                yield _probe(jid, seen)
        self._note(seen, seeing, True)

    def _hide(self, seen: str, seeing: str) -> Iterator[bytes]:
        """
        Yield unavailable presence of a user's resources to another user, except where that is the last one sent.
        """
        pair = self._pairs.get((seen, seeing))
        hiddenAt = -1 if pair is None or pair.isShown else pair.at
        for jid, resource in sorted(self.online.get(seen, {}).items()):
            if resource.last > hiddenAt:
                yield presence(route(jid, seeing), "unavailable")
        self._note(seen, seeing, False)

    def _isGone(self, user: str) -> bool:
        return user not in self.online and len(self.online) < _MAX_USERS

    def _note(self, seen: str, seeing: str, isShown: bool) -> None:
        keepLatest(self._pairs, (seen, seeing), _Pair(isShown, self._next()), _MAX_PAIRS)

    def _next(self) -> int:
        self._events += 1
        return self._events


def _probe(seeing: str, seen: str) -> bytes:
    return presence(route(seeing, seen), "probe")
