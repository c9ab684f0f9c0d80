"""
Read and write the stanzas of the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.embedded.roster import Item
from gateway.errors import BadRequest, Malformed, NotAcceptable, TooLarge
from gateway.stream.stanzas import Stanza
from gateway.xml.context import Context
from gateway.xml.read import SEPARATOR, newParser
from gateway.xml.write import escape, route, serialised, startTag, tag

# Characters of a contact's name and of a group's name, and number of groups.
_MAX_NAME = 1_023
_MAX_GROUPS = 100

# A namespace declaration that contains a character reference. A prefix has no colon; without this restriction the
# pattern would take quadratic time for a text full of "xmlns".
_SPELLED = re.compile(rb"""xmlns(?::[^\s=:]*)?\s*=\s*(?:'[^'&]*&|"[^"&]*&)""")


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
        data = _NamespaceRewriter(stanza.context, old, namespace, largest).moved(stanza.raw, sender, recipient)
    if len(data) > largest:
        raise NotAcceptable
    return data


def _mayHold(stanza: Stanza, namespace: str) -> bool:
    """True if a stanza may declare this namespace, on its root or in it, such as on a forwarded stanza."""
    raw, context = stanza.raw, stanza.context
    return namespace.encode() in raw or namespace in context.prefixes.values() or bool(_SPELLED.search(raw))


class _NamespaceRewriter:
    """
    Parses a stanza and writes it with another content namespace.

    Prefixes that are only used in values are not kept.
    """

    def __init__(self, context: Context, old: str, new: str, largest: int) -> None:
        self._old, self._new, self._largest = old, new, largest
        self._parser = newParser()
        self._parser.Parse(context.header, False)
        self._written: list[str] = []
        self._size = 0
        # For each open element: its name as written, the default namespace inside, and true if it was moved.
        self._open: list[tuple[str, str, bool]] = []
        self._root: dict[str, str] = {}

    def moved(self, raw: bytes, sender: str, recipient: str) -> bytes:
        self._root = {"from": sender, "to": recipient}
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.CharacterDataHandler = self._text
        self._parser.Parse(raw, False)
        if self._open:
            # A stanza is stored without its end tag.
            self._ended("")
        return "".join(self._written).encode()

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        uri, local = _split(name)
        _, around, moves = self._open[-1] if self._open else ("", self._new, True)
        # The content of an element in another namespace is not moved.
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
        # The output may be much larger than the input: each use of a prefix writes the whole namespace.
        self._size += len(text)
        if self._size > self._largest:
            raise NotAcceptable
        self._written.append(text)


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


def _split(name: str) -> tuple[str, str]:
    """Return namespace and local name."""
    uri, _, local = name.rpartition(SEPARATOR)
    return uri, local


def tree(stanza: Stanza) -> domish.Element:
    """
    Parse a stanza into a tree.

    @raise BadRequest: if it cannot be parsed.
    """
    return stanza.element


def address(jid: str) -> str:
    """
    Return the prepared form of a JID.

    @raise Malformed: if it is not valid (RFC 7622 section 3.1).
    """
    try:
        return jids.prepared(jid)
    except ValueError as error:
        raise Malformed from error


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
        jid = jids.bare(address(item.getAttribute("jid", "")))
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
