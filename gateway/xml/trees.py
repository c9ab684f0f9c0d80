"""
Trees of C{xml.etree.ElementTree}: expat builds them without a call of Python for each tag.

Names are C{{namespace}name}; a name without a namespace is in none. Prefixes are not kept.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, QName, XMLParser

from gateway import ns
from gateway.errors import BadRequest, TooLarge
from gateway.xml.context import Context
from gateway.xml.read import checkCost
from gateway.xml.write import MAX_WRITTEN, escape, startTag

# Namespaces and local names by names. Others choose them, so there are limits.
_NAMES: dict[str, tuple[str, str]] = {}
_MAX_NAMES, _LONGEST = 1_000, 200
# Namespaces that are never declared.
_SPECIAL = frozenset((ns.XML, ns.XMLNS))


def tree(context: Context, raw: bytes) -> Element:
    """
    Return the tree of one element.

    @param context: of the stream that it stands in.
    @raise BadRequest: if the bytes are not one whole element, or if a namespace has the character that ends those
        in names.
    @raise TooLarge: as L{checkCost}.
    """
    checkCost(raw)
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(context.header)
        parser.feed(raw)
        parser.feed(context.end)
        stream = parser.close()
    except ParseError as error:
        raise BadRequest from error
    if len(stream) != 1 or stream.text or stream[0].tail:
        raise BadRequest
    return stream[0]


def written(element: Element, namespace: str, largest: int = MAX_WRITTEN) -> str:
    """
    Serialise a tree for a place where C{namespace} is the default one. Text behind it is not written.

    @param largest: characters at most.
    @raise TooLarge: if it takes more.
    @raise ValueError: if there is something else than elements in it, and as L{startTag}.
    """
    parts: list[str] = []
    if _write(element, namespace, parts, largest) < 0:
        raise TooLarge
    return "".join(parts)


def _write(element: Element, around: str, parts: list[str], room: int) -> int:
    """Append an element; return the number of characters that are left."""
    uri, name = _NAMES.get(element.tag) or _split(element.tag)
    attributes = element.items()
    if uri not in _SPECIAL and not any(key[:1] == "{" for key, _ in attributes):
        # Nearly all elements are like this.
        start = f"<{name}" if uri == around else f"<{name} xmlns='{escape(uri)}'"
        for key, value in attributes:
            start += f" {key}='{escape(value)}'"
    else:
        keys = {_split(key) if key[:1] == "{" else key: value for key, value in attributes}
        start, name, uri = startTag(name, uri, around, keys)
    text = element.text
    if not text and not len(element):
        parts.append(start + "/>")
        return room - len(start) - 2
    parts.append(f"{start}>{escape(text)}" if text else start + ">")
    room -= len(parts[-1]) + len(name) + 3
    if room < 0:
        raise TooLarge
    for child in element:
        room = _write(child, uri, parts, room)
        if child.tail:
            parts.append(escape(child.tail))
            room -= len(parts[-1])
        if room < 0:
            raise TooLarge
    parts.append(f"</{name}>")
    return room


def _split(name: object) -> tuple[str, str]:
    """Return the namespace and the local name."""
    if isinstance(name, QName):
        name = name.text
    if not isinstance(name, str):
        raise ValueError("a comment, or a processing instruction")
    uri, _, local = name[1:].rpartition("}") if name[:1] == "{" else ("", "", name)
    if len(name) <= _LONGEST:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[name] = uri, local
    return uri, local
