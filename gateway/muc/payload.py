"""Cuts a stanza's payload into elements. Most are handed on as bytes; no tree is built of them."""

from __future__ import annotations

import re

from attrs import frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT
from gateway.xml.read import START_TAG, checkCost, parse
from gateway.xml.write import serialisedAll

# Maximum number of elements of one stanza, and of children of an element that is read.
MAX_PARTS, MAX_CHILDREN = 2_000, 100

_TAG = re.compile(rb"<!\[CDATA\[.*?\]\]>|" + START_TAG.pattern, re.DOTALL)
# A start tag without a prefix whose attribute values contain no references.
_PLAIN = re.compile(rb"""<([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:'[^'&]*'|"[^"&]*"))*)\s*/?>""")
# Attribute values are skipped as a whole, because a value may look like a namespace declaration.
_ATTRIBUTE = re.compile(rb"""\s([\w:.-]+)\s*=\s*('[^']*'|"[^"]*")""")


@frozen
class Part:
    """
    One element of a stanza.

    @ivar raw: the element's bytes; its default namespace is the stream's, and no declaration from outside applies.
    """

    namespace: str
    name: str
    raw: bytes

    @property
    def element(self) -> domish.Element:
        """The element as a tree."""
        return parse(COMPONENT.header, self.raw)


def parts(stanza: Stanza) -> list[Part]:
    """
    Return the elements of a stanza; text between them is ignored.

    @raise BadRequest: if there are too many elements, if no tree can be built where one is needed, or if the
        elements grow too large when serialised.
    """
    checkCost(stanza.raw)
    if stanza.cut and not any(use in stanza.raw for use, _ in stanza.context.uses):
        cut = _cut(stanza.payload)
        if cut is not None:
            return cut
    found = children(stanza.element, MAX_PARTS)
    written = serialisedAll(found, ns.COMPONENT_ACCEPT)
    return [Part(each.uri or "", each.name, xml.encode()) for each, xml in zip(found, written, strict=True)]


def children(element: domish.Element, most: int = MAX_CHILDREN) -> list[domish.Element]:
    """
    Return the child elements of an element.

    @raise BadRequest: if there are more than C{most}.
    """
    found = list(element.elements())
    if len(found) > most:
        raise BadRequest
    return found


def _cut(payload: bytes) -> list[Part] | None:
    """
    Cut the payload by its tags; return C{None} if a tag is of an unusual form.

    @raise BadRequest: as L{parts}.
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
                raise BadRequest
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
