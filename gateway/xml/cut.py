"""
Elements cut from raw bytes, where no tree is needed. Pure.

A stream has checked that the bytes are well-formed. They must not use prefixes that are declared outside of them.
Content in an unusual spelling is read from a tree instead.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from attrs import frozen
from twisted.words.xish import domish

from gateway.errors import BadRequest
from gateway.xml.context import Context
from gateway.xml.read import START_TAG, parse
from gateway.xml.write import serialisedAll

# Maximum number of elements that are cut, and of children of an element that is read.
MAX_PARTS, MAX_CHILDREN = 2_000, 100

_TAG = re.compile(rb"<!\[CDATA\[.*?\]\]>|" + START_TAG.pattern, re.DOTALL)
# A start tag without a prefix whose attribute values contain no references.
_PLAIN = re.compile(rb"""<([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:'[^'&]*'|"[^"&]*"))*)\s*(/?)>""")
# The spelling of servers: single spaces, values that need no normalisation, and no prefix but that of xml:lang.
_USUAL = re.compile(
    rb"""<([A-Za-z_][\w.-]*+)((?: (?:xml:lang|[A-Za-z_][\w.-]*+)=(?:'[^'<&\t\r\n]*+'|"[^"<&\t\r\n]*+"))*+)(/?)>"""
)
# Attribute values are skipped as a whole, because a value may look like an attribute.
_ATTRIBUTE = re.compile(rb"""\s([^\s=/>'"]+)\s*=\s*('[^']*'|"[^"]*")""")
# An attribute in a tag in the spelling of servers.
_VALUE = re.compile(""" ([^=]+)=(?:'([^']*)'|"([^"]*)")""")
_NAME = re.compile(rb"<([^\s/>]+)")

# A namespace declaration that contains a character reference. A prefix has no colon; without this restriction the
# pattern would take quadratic time for a text full of "xmlns".
_SPELLED = re.compile(rb"""xmlns(?::[^\s=:]*)?\s*=\s*(?:'[^'&]*&|"[^"&]*&)""")


# Start tags.


class Tag(NamedTuple):
    """
    A start tag in the spelling of servers.

    @ivar attributes: by name, C{xmlns} and C{xml:lang} included.
    @ivar end: offset of the first byte behind it.
    @ivar isEmpty: true for an empty-element tag.
    """

    name: str
    attributes: dict[str, str]
    end: int
    isEmpty: bool


def usualTag(raw: bytes, start: int = 0) -> Tag | None:
    """Return the start tag at an offset; C{None} if there is none, or it is not in the spelling of servers."""
    tag = _USUAL.match(raw, start)
    return None if tag is None else Tag(tag[1].decode(), _attributes(tag), tag.end(), bool(tag[3]))


def _attributes(tag: re.Match[bytes]) -> dict[str, str]:
    return {name: one or other for name, one, other in _VALUE.findall(tag[2].decode())}


def tagName(raw: bytes) -> bytes:
    """Return the name in the start tag that C{raw} begins with, as it is written."""
    name = _NAME.match(raw)
    assert name is not None
    return name.group(1)


def writtenAttributes(tag: bytes) -> list[tuple[bytes, bytes]]:
    """Return the attributes of any start tag as they are written: names, and values with their quotes."""
    return _ATTRIBUTE.findall(tag)


def mayDeclare(raw: bytes, namespace: str) -> bool:
    """Return false only if no element of the stanza, including its root, declares this namespace."""
    return namespace.encode() in raw or bool(_SPELLED.search(raw))


# Elements.


@frozen
class Part:
    """
    One element.

    @ivar raw: the element's bytes. They need no declaration from outside except the default namespace.
    @ivar header: start tag of a stream with that default namespace.
    """

    namespace: str
    name: str
    raw: bytes
    header: bytes

    @property
    def element(self) -> domish.Element:
        """The element as a tree."""
        return parse(self.header, self.raw)


def only(content: bytes) -> dict[str, str] | None:
    """
    Return the attributes, with C{xmlns} and C{xml:lang}, of the only element of the content. Return C{None} if the
    content may be anything else: text, several elements, or one with an element of the same name inside.

    This is a fast path of L{cut} for a single element.
    """
    tag = _USUAL.match(content)
    if tag is None:
        return None
    if tag.group(3):
        return _attributes(tag) if tag.end() == len(content) else None
    name = tag.group(1)
    ending = len(content) - len(name) - 3
    isLast = content.find(b"</%b>" % name, tag.end()) == ending
    return _attributes(tag) if isLast and content.find(b"<" + name, tag.end(), ending) < 0 else None


def cut(content: bytes, context: Context) -> list[Part] | None:
    """
    Return the elements of the content, found by its tags; text between them is ignored. Return C{None} if the start
    tag of an element is of an unusual form; then L{cutTree} decides.

    @raise BadRequest: if there are more elements than L{MAX_PARTS}.
    """
    found: list[Part] = []
    depth = start = 0
    for tag in _TAG.finditer(content):
        text = tag.group()
        if text.startswith(b"<!"):
            continue
        if text.startswith(b"</"):
            depth -= 1
        else:
            if not depth:
                start = tag.start()
            depth += 1
            depth -= text.endswith(b"/>")
        if not depth:
            part = _part(content[start : tag.end()], context)
            if part is None:
                return None
            if len(found) >= MAX_PARTS:
                raise BadRequest
            found.append(part)
    return found


def _part(raw: bytes, context: Context) -> Part | None:
    tag = _PLAIN.match(raw)
    if tag is None:
        return None
    namespace = context.namespace
    for name, value in _ATTRIBUTE.findall(tag.group(2)):
        if name == b"xmlns":
            namespace = value[1:-1].decode()
    return Part(namespace, tag.group(1).decode(), raw, context.header)


def cutTree(element: domish.Element, context: Context) -> list[Part]:
    """
    Return the child elements of a tree; the slow twin of L{cut}.

    @raise BadRequest: if there are more elements than L{MAX_PARTS}, or if they grow too large when serialised.
    """
    found = children(element, MAX_PARTS)
    written = serialisedAll(found, context.namespace)
    return [
        Part(each.uri or "", each.name, xml.encode(), context.header)
        for each, xml in zip(found, written, strict=True)
    ]


def children(element: domish.Element, most: int = MAX_CHILDREN) -> list[domish.Element]:
    """
    Return the child elements of an element.

    @raise BadRequest: if there are more than C{most}.
    """
    found = list(element.elements())
    if len(found) > most:
        raise BadRequest
    return found
