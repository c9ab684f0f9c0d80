"""
The difference between a user's roster and the application's document; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve

from gateway.addresses import jids
from gateway.interfaces import RosterItem
from gateway.roster.document import Document
from gateway.roster.failures import RefreshFailed


def difference(known: Mapping[str, RosterItem], document: Document) -> list[RosterItem]:
    """
    Return the items to set so that a roster matches the document, each contact once: first new and changed
    contacts, then those to be removed.

    @param known: the server's items by bare JID.
    """
    wanted = document.contacts
    changes = [item for jid, item in wanted.items() if jid not in known or _differs(known[jid], item)]
    if not document.isComplete:
        return changes
    gone = [jid for jid in known if jid not in wanted and jid not in document.kept]
    return changes + [RosterItem(jid=jid, subscription="remove") for jid in gone]


def byContact(roster: Iterable[RosterItem]) -> dict[str, RosterItem]:
    """
    Return items by bare JID. If a client adds a contact with a resource, ejabberd stores the resource, but
    ignores it.
    """
    return {jids.bare(item.jid): item for item in roster}


def _differs(current: RosterItem, wanted: RosterItem) -> bool:
    return (current.jid, current.name, current.groups, current.subscription) != (
        wanted.jid,
        wanted.name,
        wanted.groups,
        wanted.subscription,
    )


def checkRemovals(changes: Iterable[RosterItem], limit: int | None) -> None:
    """
    Refuse a refresh that would remove more contacts than allowed.

    @param changes: as L{difference} returns them.
    @param limit: contacts that may be removed; C{None} for any number.
    @raise RefreshFailed: if the refresh would remove more.
    """
    removed = sum(item.subscription == "remove" for item in changes)
    if limit is not None and removed > limit:
        raise RefreshFailed(
            f"the refresh would remove {removed} contacts, more than max_removals ({limit}); ?force=1 allows it"
        )


def afterSet(item: RosterItem, before: RosterItem) -> RosterItem:
    """
    Return the server's item after a set. A pending subscription request stays pending until it is granted.

    @param before: the server's item before the set.
    """
    return evolve(item, ask=before.ask and item.subscription in ("none", "from"))
