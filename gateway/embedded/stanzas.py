"""
Read and write the stanzas of the host.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.embedded.roster import Item
from gateway.errors import BadRequest, Malformed, NotAcceptable, TooLarge
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import mayDeclare
from gateway.xml.move import movedStanza
from gateway.xml.write import escape, route, serialised, tag

# Characters of a contact's name and of a group's name, and number of groups.
_MAX_NAME = 1_023
_MAX_GROUPS = 100


def readdressed(stanza: Stanza, sender: str, recipient: str, namespace: str, largest: int) -> bytes:
    """
    Return a stanza for a stream with another content namespace. Its elements in the old namespace are moved to the
    new one.

    @raise NotAcceptable: if the result has more bytes than C{largest}.
    """
    old = stanza.context.namespace
    if old == namespace or not _mayHold(stanza, old):
        data = stanza.readdressed(route(sender, recipient))
    else:
        root = {"from": sender, "to": recipient}
        try:
            data = movedStanza(stanza.raw, stanza.context, namespace, root, largest)
        except TooLarge as error:
            raise NotAcceptable from error
    if len(data) > largest:
        raise NotAcceptable
    return data


def _mayHold(stanza: Stanza, namespace: str) -> bool:
    """True if a stanza may declare this namespace, on its root or in it, such as on a forwarded stanza."""
    return mayDeclare(stanza.raw, namespace) or namespace in stanza.context.prefixes.values()


def toBytes(element: domish.Element, namespace: str, largest: int) -> bytes:
    """
    Serialise a tree for a stream with this content namespace.

    @raise NotAcceptable: if the result has more bytes than C{largest}.
    """
    try:
        data = serialised(element, namespace, largest).encode()
    except TooLarge as error:
        raise NotAcceptable from error
    if len(data) > largest:
        raise NotAcceptable
    return data




def rosterQuery(items: Iterable[Item], removed: bool = False) -> str:
    """Return a roster query with these items (RFC 6121 section 2.1.1)."""
    return tag("query", "".join(_item(item, removed) for item in items), xmlns=ns.ROSTER)


def _item(item: Item, removed: bool) -> str:
    if removed:
        return tag("item", jid=item.jid, subscription="remove")
    groups = "".join(tag("group", escape(group)) for group in item.groups)
    ask = "subscribe" if item.ask else None
    return tag("item", groups, jid=item.jid, subscription=item.subscription, name=item.name or None, ask=ask)


def readItem(query: domish.Element) -> tuple[Item, bool]:
    """
    Return the one item of a roster set (RFC 6121 section 2.1.5), and true if it is to be removed.

    @raise BadRequest: if there is not exactly one item, or it has no valid JID.
    @raise NotAcceptable: if the name or the groups are not valid (RFC 6121 section 2.3.3).
    """
    items = [child for child in query.elements() if child.name == "item"]
    if len(items) != 1:
        raise BadRequest
    [item] = items
    try:
        jid = jids.bare(jids.prepared(item.getAttribute("jid", "")))
    except Malformed as error:
        raise BadRequest from error
    name = item.getAttribute("name", "")
    groups = tuple(str(child) for child in item.elements() if child.name == "group")
    if len(set(groups)) != len(groups):
        raise BadRequest
    if len(groups) > _MAX_GROUPS or not all(0 < len(each) <= _MAX_NAME for each in (name or "-", *groups)):
        raise NotAcceptable
    return Item(jid, name, groups), item.getAttribute("subscription") == "remove"


def discoItems(items: Iterable[tuple[str, str, str]], node: str = "") -> str:
    """
    Return a disco#items payload (XEP-0030 section 4).

    @param items: JID, node and name of each; the last two may be empty.
    """
    shown = "".join(tag("item", jid=jid, node=itemNode or None, name=name or None) for jid, itemNode, name in items)
    return tag("query", shown, xmlns=ns.DISCO_ITEMS, node=node or None)


def softwareVersion(name: str, version: str) -> str:
    """Return a version payload (XEP-0092)."""
    return tag("query", tag("name", escape(name)) + tag("version", escape(version)), xmlns=ns.VERSION)
