"""
What the host reads from stanzas and what it writes itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import jids, ns
from gateway.embedded.roster import Item
from gateway.errors import Malformed, NotAcceptable, TooLarge, Unreadable
from gateway.stream.checker import SEPARATOR, newParser
from gateway.stream.stanzas import Context, Stanza, escape, route, serialised, startTag

# Characters of a contact's name and of each group's, and how many groups.
_MAX_NAME = 1_023
_MAX_GROUPS = 100

# The declaration of a namespace that does not stand for itself. A prefix has no colon: a pattern that took any name
# would go through a text full of "xmlns" once for each of them.
_SPELLED = re.compile(rb"""xmlns(?::[^\s=:]*)?\s*=\s*(?:'[^'&]*&|"[^"&]*&)""")


def readdressed(stanza: Stanza, sender: str, recipient: str, namespace: str, largest: int) -> bytes:
    """
    A stanza as it stands in a stream of another content namespace: whatever of it is in the old one moves along.

    @raise NotAcceptable: if that takes more bytes than C{largest}.
    """
    old = stanza.context.namespace
    if old == namespace or not _mayHold(stanza, old):
        data = stanza.readdressed(route(sender, recipient))
    else:
        data = _Move(stanza.context, old, namespace, largest).moved(stanza.raw, sender, recipient)
    if len(data) > largest:
        raise NotAcceptable
    return data


def _mayHold(stanza: Stanza, namespace: str) -> bool:
    """Whether a namespace is written out somewhere in a stanza: on the root, or in what is forwarded, say."""
    raw, context = stanza.raw, stanza.context
    return namespace.encode() in raw or namespace in context.prefixes.values() or bool(_SPELLED.search(raw))


class _Move:
    """
    Writes a stanza anew, as it is parsed: no names of its own end up as anything but names.

    Prefixes that stand in values only are not kept.
    """

    def __init__(self, context: Context, old: str, new: str, largest: int) -> None:
        self._old, self._new, self._largest = old, new, largest
        self._parser = newParser()
        self._parser.Parse(context.header, False)
        self._written: list[str] = []
        self._size = 0
        # Of each open element: its name as it is written, the default namespace in it, and whether it has moved.
        self._open: list[tuple[str, str, bool]] = []
        self._root: dict[str, str] = {}

    def moved(self, raw: bytes, sender: str, recipient: str) -> bytes:
        self._root = {"from": sender, "to": recipient}
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.CharacterDataHandler = self._text
        self._parser.Parse(raw, False)
        if self._open:
            # Stanzas are kept without their end tag.
            self._ended("")
        return "".join(self._written).encode()

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        uri, local = _split(name)
        _, around, moves = self._open[-1] if self._open else ("", self._new, True)
        # What stands in another namespace keeps what is inside of it.
        moves = moves and uri == self._old
        uri = self._new if moves else uri
        if not self._open:
            attributes = {**attributes, **self._root}
        named = {_split(key) if SEPARATOR in key else key: value for key, value in attributes.items()}
        start, written, inside = startTag(local, uri, around, named)
        self._write(f"{start}>")
        self._open.append((written, inside, moves))

    def _ended(self, name: str) -> None:
        self._write(f"</{self._open.pop()[0]}>")

    def _text(self, text: str) -> None:
        self._write(escape(text))

    def _write(self, text: str) -> None:
        # A name is written as often as it is used: it may be long.
        self._size += len(text)
        if self._size > self._largest:
            raise NotAcceptable
        self._written.append(text)


def written(element: domish.Element, namespace: str, largest: int) -> bytes:
    """
    A tree as it stands in a stream with this content namespace; written by us for the same reason.

    @raise NotAcceptable: if that takes more bytes than C{largest}.
    """
    try:
        data = serialised(element, namespace, largest).encode()
    except TooLarge as error:
        raise NotAcceptable from error
    if len(data) > largest:
        raise NotAcceptable
    return data


def _split(name: str) -> tuple[str, str]:
    """Namespace and local name."""
    uri, _, local = name.rpartition(SEPARATOR)
    return uri, local


def tree(stanza: Stanza) -> domish.Element:
    """
    A stanza as a tree.

    @raise Unreadable: if none can be built.
    """
    return stanza.element


def address(jid: str) -> str:
    """
    A JID as this host knows it.

    @raise Malformed: if it is none (RFC 7622 section 3.1).
    """
    try:
        return jids.prepared(jid)
    except ValueError as error:
        raise Malformed from error


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
        jid = jids.bare(address(item.getAttribute("jid", "")))
    except Malformed as error:
        raise Unreadable from error
    name = item.getAttribute("name", "")
    groups = tuple(str(child) for child in item.elements() if child.name == "group")
    if len(set(groups)) != len(groups):
        raise Unreadable
    if len(groups) > _MAX_GROUPS or not all(0 < len(each) <= _MAX_NAME for each in (name or "-", *groups)):
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
