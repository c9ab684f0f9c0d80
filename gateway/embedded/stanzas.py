"""
What the host reads from stanzas and what it writes itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import jids, ns
from gateway.embedded.roster import Item
from gateway.errors import NotAcceptable, Unreadable
from gateway.stream.stanzas import Stanza, escape, route

# Characters of a contact's name and of each group's, and how many groups.
_LONGEST_NAME = 1_023
_MOST_GROUPS = 100


def readdressed(stanza: Stanza, sender: str, recipient: str, namespace: str) -> bytes:
    """
    A stanza as it stands in a stream of another content namespace: whatever of it is in the old one moves along.
    """
    old = stanza.context.namespace
    if old == namespace or old.encode() not in stanza.raw:
        return stanza.readdressed(route(sender, recipient))
    # It is written out somewhere in it, on the root or in what is forwarded, say: only a tree tells.
    element = stanza.element
    element["from"], element["to"] = sender, recipient
    _move(element, old, namespace)
    text: str = element.toXml(prefixes={ns.STREAMS: "stream"}, defaultUri=namespace, prefixesInScope=["stream"])
    return text.encode()


def _move(element: domish.Element, old: str, new: str) -> None:
    """Move an element and those below it that are in the same namespace; not what stands in another one."""
    element.uri = element.defaultUri = new
    for child in element.elements():
        if child.uri == old:
            _move(child, old, new)


def iq(addresses: bytes, identifier: str, kind: str, payload: str = "") -> bytes:
    """
    @param addresses: what L{route} gives; none where the stream itself tells.
    @param payload: XML.
    """
    return b"<iq%b id='%b' type='%b'>%b</iq>" % (
        addresses,
        escape(identifier).encode(),
        kind.encode(),
        payload.encode(),
    )


def presence(sender: str, recipient: str, kind: str) -> bytes:
    """Presence without content."""
    return b"<presence%b type='%b'/>" % (route(sender, recipient), kind.encode())


def rosterQuery(items: Iterable[Item], removed: bool = False) -> str:
    """Roster items (RFC 6121 section 2.1.1)."""
    return f"<query xmlns='{ns.ROSTER}'>{''.join(_item(item, removed) for item in items)}</query>"


def _item(item: Item, removed: bool) -> str:
    if removed:
        return f"<item jid='{escape(item.jid)}' subscription='remove'/>"
    name = f" name='{escape(item.name)}'" if item.name else ""
    ask = " ask='subscribe'" if item.ask else ""
    groups = "".join(f"<group>{escape(group)}</group>" for group in item.groups)
    return f"<item jid='{escape(item.jid)}' subscription='{item.subscription}'{name}{ask}>{groups}</item>"


def readItem(query: domish.Element) -> tuple[Item, bool]:
    """
    The one item of a client's roster set (RFC 6121 section 2.1.5), and whether it is to be removed.

    @raise Unreadable: when there is not exactly one, or it names no JID.
    @raise NotAcceptable: when a name or the groups are not as they should be (RFC 6121 section 2.3.3).
    """
    items = [child for child in query.elements() if child.name == "item"]
    if len(items) != 1:
        raise Unreadable
    [item] = items
    try:
        jid = jids.bare(jids.prepared(item.getAttribute("jid", "")))
    except ValueError as error:
        raise Unreadable from error
    name = item.getAttribute("name", "")
    groups = tuple(str(child) for child in item.elements() if child.name == "group")
    if len(set(groups)) != len(groups):
        raise Unreadable
    if len(groups) > _MOST_GROUPS or not all(0 < len(each) <= _LONGEST_NAME for each in (name or "-", *groups)):
        raise NotAcceptable
    return Item(jid, name, groups), item.getAttribute("subscription") == "remove"


def discoItems(items: Iterable[tuple[str, str, str]], node: str = "") -> str:
    """
    XEP-0030 section 4.

    @param items: JID, node and name of each; the last two may be empty.
    """

    def attribute(name: str, value: str) -> str:
        return f" {name}='{escape(value)}'" if value else ""

    shown = "".join(
        f"<item jid='{escape(jid)}'{attribute('node', itemNode)}{attribute('name', name)}/>"
        for jid, itemNode, name in items
    )
    return f"<query xmlns='{ns.DISCO_ITEMS}'{attribute('node', node)}>{shown}</query>"


def softwareVersion(name: str, version: str) -> str:
    """XEP-0092."""
    return f"<query xmlns='{ns.VERSION}'><name>{escape(name)}</name><version>{escape(version)}</version></query>"
