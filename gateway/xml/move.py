"""
Elements and stanzas moved from one content namespace to another. Pure.

Elements in the old namespace are moved, except below an element of a third namespace. L{moved} copies a tree.
L{movedStanza} writes the stanza while it reads it. It builds no tree, so it limits the size of the
result, but not the number of tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from twisted.words.xish import domish

from gateway.errors import TooLarge
from gateway.xml.context import Context
from gateway.xml.read import EventReader, qualifiedAttributes, splitName
from gateway.xml.write import escape, startTag


def moved(element: domish.Element, old: str | None, new: str | None) -> domish.Element:
    """Return a copy of an element with the elements of namespace C{old} in namespace C{new}."""
    moves = element.uri == old
    uri = new if moves else element.uri
    copy = domish.Element((uri, element.name), uri, dict(element.attributes), dict(element.localPrefixes))
    for child in element.children:
        copy.addChild(moved(child, old, new if moves else old) if isinstance(child, domish.Element) else child)
    return copy


def movedStanza(raw: bytes, context: Context, namespace: str, attributes: Mapping[str, str], largest: int) -> bytes:
    """
    Return a stanza for a stream with another content namespace. Prefixes that are only used in values are not kept.

    @param raw: the stanza, with or without its end tag.
    @param context: of the stream that it comes from.
    @param namespace: the other content namespace.
    @param attributes: of the root, in place of those with the same names.
    @raise TooLarge: if the result has more characters than C{largest}. It may be much larger than the stanza,
        because each use of a prefix becomes a declaration of the whole namespace.
    """
    with closing(_MovingWriter(context, namespace, attributes, largest)) as writer:
        writer.feed(raw)
        return writer.written()


class _MovingWriter(EventReader):
    def __init__(self, context: Context, new: str, attributes: Mapping[str, str], largest: int) -> None:
        super().__init__(context.header)
        self._old, self._new, self._largest = context.namespace, new, largest
        self._root = attributes
        self._written: list[str] = []
        self._size = 0
        # For each open element: its name as written, the default namespace inside, and true if it was moved.
        self._open: list[tuple[str, str, bool]] = []

    def written(self) -> bytes:
        if self._open:
            # A stanza is stored without its end tag.
            self._ended("")
        return "".join(self._written).encode()

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        uri, local = splitName(name)
        _, around, moves = self._open[-1] if self._open else ("", self._new, True)
        moves = moves and uri == self._old
        uri = self._new if moves else uri
        if not self._open:
            attributes = {**attributes, **self._root}
        start, written, inside = startTag(local, uri, around, qualifiedAttributes(attributes))
        self._write(f"{start}>")
        self._open.append((written, inside, moves))

    def _ended(self, name: str) -> None:
        self._write(f"</{self._open.pop()[0]}>")

    def _text(self, text: str) -> None:
        self._write(escape(text))

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > self._largest:
            raise TooLarge
        self._written.append(text)
