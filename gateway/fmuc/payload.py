"""
What is in a stanza, cut into its elements: most are handed on as they stand, and no tree is built of them.
"""

from __future__ import annotations

import re

from attrs import frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import Unreadable
from gateway.stream.stanzas import START_TAG, Stanza, parse, serialisedAll
from gateway.stream.trees import checkCost

# Elements of one stanza, and of one element in it that is read.
MAX_PARTS, MAX_CHILDREN = 2_000, 100

_TAG = re.compile(rb"<!\[CDATA\[.*?\]\]>|" + START_TAG.pattern, re.DOTALL)
# A start tag whose name has no prefix, and whose values stand for themselves.
_PLAIN = re.compile(rb"""<([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:'[^'&]*'|"[^"&]*"))*)\s*/?>""")
# What its name is follows only if the values are passed over: one may look like a declaration.
_ATTRIBUTE = re.compile(rb"""\s([\w:.-]+)\s*=\s*('[^']*'|"[^"]*")""")
_HEADER = f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}'>".encode()


@frozen
class Part:
    """
    One element of a stanza.

    @ivar raw: as it stands where the stream's namespace is the default one; it needs no declaration from outside.
    """

    namespace: str
    name: str
    raw: bytes

    @property
    def element(self) -> domish.Element:
        """It as a tree."""
        return parse(_HEADER, self.raw)


def parts(stanza: Stanza) -> list[Part]:
    """
    The elements of a stanza; text between them means nothing.

    @raise Unreadable: if there are very many elements, if there is no tree where one is needed, or if it grows too
        large in writing.
    """
    try:
        checkCost(stanza.raw)
        if stanza.cut and not any(use in stanza.raw for use, _ in stanza.context.uses):
            cut = _cut(stanza.payload)
            if cut is not None:
                return cut
        tree = stanza.element
    except domish.ParserError as error:
        raise Unreadable from error
    found = children(tree, MAX_PARTS)
    written = serialisedAll(found, ns.COMPONENT_ACCEPT)
    return [Part(each.uri or "", each.name, xml.encode()) for each, xml in zip(found, written, strict=True)]


def children(element: domish.Element, most: int = MAX_CHILDREN) -> list[domish.Element]:
    """
    The elements in one.

    @raise Unreadable: if there are more than anybody means to send.
    """
    found = list(element.elements())
    if len(found) > most:
        raise Unreadable
    return found


def _cut(payload: bytes) -> list[Part] | None:
    """
    The same by looking for tags; C{None} if one is not easy to read.

    @raise Unreadable: as L{parts}.
    """
    found: list[Part] = []
    depth = start = 0
    for tag in _TAG.finditer(payload):
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
            part = _part(payload[start : tag.end()])
            if part is None:
                return None
            if len(found) >= MAX_PARTS:
                raise Unreadable
            found.append(part)
    return found


def _part(raw: bytes) -> Part | None:
    tag = _PLAIN.match(raw)
    if tag is None:
        return None
    namespace = ns.COMPONENT_ACCEPT
    for name, value in _ATTRIBUTE.findall(tag.group(2)):
        if name == b"xmlns":
            namespace = value[1:-1].decode()
    return Part(namespace, tag.group(1).decode(), raw)
