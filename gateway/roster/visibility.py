"""
Presence that shows users to each other after a change of a roster: at once, and once; pure.

It is for servers that send no presence when a component changes a roster (Prosody). What a user's contact sees is
decided by the user's roster alone; when the contact comes online, the server looks into the contact's roster, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from attrs import define

from gateway import jids
from gateway.interfaces import RosterItem
from gateway.stream.stanzas import Stanza, route

# Users of whom it is known where they are, and at how many resources: a contact from elsewhere may show any number.
_MAX_USERS = 100_000
_MAX_RESOURCES = 100

# Pairs of users of whom it is known that one was shown to the other; beyond that one may be shown twice.
_MAX_PAIRS = 100_000

# A server stamps the presence of a resource that was there before it shows it (XEP-0203).
_DELAY = b"urn:xmpp:delay"


def isSameDomain(user: str, contact: str) -> bool:
    """Return true if the application decides about the contact's roster, too."""
    return jids.split(contact)[1] == jids.split(user)[1]


def _sees(item: RosterItem) -> bool:
    """Return true if the user gets the contact's presence."""
    return item.subscription in ("to", "both")


def _isSeen(item: RosterItem) -> bool:
    """Return true if the contact gets the user's."""
    return item.subscription in ("from", "both")


@define(eq=False)
class _Resource:
    """
    A resource that is available; both in the order in which all events came.

    @ivar since: when it came.
    @ivar last: when it has last shown itself to those who may see it; 0 if that was before the connection.
    """

    since: int
    last: int


@define(eq=False)
class _Pair:
    """The last presence that one user was sent of another: available or not, and when, in the same order."""

    isShown: bool
    at: int


class Visibility:
    """
    One server's users.

    @ivar online: the resources of users who are available, those seen last at the end.
    """

    def __init__(self) -> None:
        self.online: dict[str, dict[str, _Resource]] = {}
        # By who is seen, and who sees.
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()
        self._coming: set[tuple[str, str]] = set()
        self._events = 0

    def clear(self) -> None:
        """The connection is lost: the server shows all resources anew."""
        self.online.clear()
        self._pairs.clear()

    def onPresence(self, presence: Stanza) -> None:
        """A resource of a user, or of a contact, has become available or unavailable."""
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
        before = resources.pop(jid, None)
        resources[jid] = _Resource(event if before is None else before.since, 0 if wasThere else event)
        if len(resources) > _MAX_RESOURCES:
            # Not every server tells of one whose connection was lost.
            del resources[next(iter(resources))]

    def beginSet(self, user: str, item: RosterItem, before: RosterItem) -> None:
        """A contact will be set; L{settled} must follow."""
        if _isSeen(item) and not _isSeen(before):
            self._coming.add((user, item.jid))

    def endSet(self, user: str, item: RosterItem) -> None:
        """The contact was set, or could not be."""
        self._coming.discard((user, item.jid))

    def onSet(self, user: str, item: RosterItem, before: RosterItem, hasPresenceFeed: bool) -> list[bytes]:
        """
        A contact of the same server was set.

        @param before: what the server had.
        @param hasPresenceFeed: whether the server shows who is available.
        @return: presence to send in the users' names.
        """
        sent: list[bytes] = []
        contact = item.jid
        if _isSeen(item) and not _isSeen(before):
            # The server answers for whom it may: now it may.
            self._note(user, contact, True)
            if not (hasPresenceFeed and (self._isGone(user) or self._isGone(contact))):
                sent.append(_probe(contact, user))
        elif _isSeen(before) and not _isSeen(item):
            sent += self._hide(user, contact)
        if _sees(item) and not _sees(before):
            if not hasPresenceFeed:
                sent.append(_probe(user, contact))
            # If the contact's own roster is about to let the user see it, that will show it.
            elif (contact, user) not in self._coming:
                sent += self._show(contact, user)
        elif _sees(before) and not _sees(item):
            sent += self._hide(contact, user)
        return sent

    def _show(self, seen: str, seeing: str) -> Iterator[bytes]:
        """Ask for a user's presence for those resources of another that have missed it."""
        pair = self._pairs.get((seen, seeing))
        shownAt, hiddenAt = (0, 0) if pair is None else (pair.at, 0) if pair.isShown else (0, pair.at)
        others = self.online.get(seen, {}).values()
        for jid, resource in self.online.get(seeing, {}).items():
            if any(max(other.last, shownAt) < max(resource.since, hiddenAt) for other in others):
                yield _probe(jid, seen)
        self._note(seen, seeing, True)

    def _hide(self, seen: str, seeing: str) -> Iterator[bytes]:
        """Tell a user that another's resources are gone, unless it was told and they have said nothing since."""
        pair = self._pairs.get((seen, seeing))
        hiddenAt = -1 if pair is None or pair.isShown else pair.at
        for jid, resource in sorted(self.online.get(seen, {}).items()):
            if resource.last > hiddenAt:
                yield b"<presence%b type='unavailable'/>" % route(jid, seeing)
        self._note(seen, seeing, False)

    def _isGone(self, user: str) -> bool:
        return user not in self.online and len(self.online) < _MAX_USERS

    def _note(self, seen: str, seeing: str, isShown: bool) -> None:
        self._pairs.pop((seen, seeing), None)
        self._pairs[seen, seeing] = _Pair(isShown, self._next())
        if len(self._pairs) > _MAX_PAIRS:
            self._pairs.popitem(last=False)

    def _next(self) -> int:
        self._events += 1
        return self._events


def _probe(seeing: str, seen: str) -> bytes:
    return b"<presence%b type='probe'/>" % route(seeing, seen)
