"""
Text and trees to XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from twisted.words.xish import domish

from gateway import ns
from gateway.errors import TooLarge

# Characters of an element that is written from a tree.
MAX_WRITTEN = 4 * 1024 * 1024

# Characters that XML does not allow (XML 1.0 section 2.2).
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ESCAPES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "'": "&apos;",
        '"': "&quot;",
        "\t": "&#9;",
        "\n": "&#10;",
        "\r": "&#13;",
    }
)
# Names of attributes that differ from the names of the parameters.
_NAMES = {"from_": "from", "lang": "xml:lang"}
_TO_ESCAPE = re.compile("[&<>'\"\t\n\r]")


def escape(text: str) -> str:
    """Escape text for an attribute value or for content."""
    # Nearly all texts need no escape, and the search is much cheaper than the translation.
    return text.translate(_ESCAPES) if _TO_ESCAPE.search(text) else text


def attributes(**values: str | None) -> str:
    """
    Return attributes as they stand in a start tag, in the order of the arguments.

    @param values: by name; C{None} is left out. C{from_} stands for C{from}, C{lang} for C{xml:lang}.
    """
    written = ""
    for name, value in values.items():
        if value is not None:
            written += f" {_NAMES.get(name, name)}='{escape(value)}'"
    return written


def tag(name: str, content: str | None = None, /, **values: str | None) -> str:
    """
    Return an element.

    @param content: XML; C{None}: an empty-element tag.
    @param values: as for L{attributes}.
    """
    start = f"<{name}{attributes(**values)}"
    return f"{start}/>" if content is None else f"{start}>{content}</{name}>"


def textTag(name: str, content: str, /, **values: str | None) -> str:
    """Return an element that contains text; no element if the text is empty."""
    return tag(name, escape(content), **values) if content else ""


# The namespace declaration of a stanza that is forwarded inside another one; in the tag, it precedes the addresses.
FORWARDED = attributes(xmlns=ns.CLIENT).encode()


def route(sender: str, recipient: str) -> bytes:
    """Return the two addresses of a stanza as they stand in its start tag; reuse it for equal addresses."""
    return f" from='{escape(sender)}' to='{escape(recipient)}'".encode()


def writeStanza(
    name: str, addresses: bytes, content: bytes | None = None, /, **values: str | None
) -> bytes:
    """
    Return a stanza.

    @param addresses: as L{route} returns them; empty if the stream implies them.
    @param content: XML for the stream that it is sent on; C{None}: an empty-element tag.
    @param values: further attributes, as for L{attributes}.
    """
    start = b"".join((b"<", name.encode(), addresses, attributes(**values).encode()))
    return start + b"/>" if content is None else b"".join((start, b">", content, b"</", name.encode(), b">"))


def presence(
    addresses: bytes,
    kind: str | None = None,
    content: bytes | None = None,
    language: str | None = None,
    identifier: str | None = None,
) -> bytes:
    """
    Return a presence; the parameters are those of L{writeStanza}.

    @param kind: its type; C{None} for available.
    """
    given = _attributes(identifier, kind, language)
    end = b"/>" if content is None else b">%b</presence>" % content
    return b"<presence%b%b%b" % (addresses, given, end)


def message(
    addresses: bytes,
    content: bytes,
    identifier: str | None = None,
    kind: str | None = None,
    language: str | None = None,
) -> bytes:
    """Return a message; the parameters are those of L{writeStanza}."""
    given = _attributes(identifier, kind, language)
    return b"<message%b%b>%b</message>" % (addresses, given, content)


def iq(
    addresses: bytes,
    identifier: str,
    kind: str,
    content: bytes | None = None,
    language: str | None = None,
) -> bytes:
    """
    Return an iq; the parameters are those of L{writeStanza}.

    @param kind: its type; one of the four.
    """
    given = f" id='{escape(identifier)}' type='{kind}'"
    if language is not None:
        given += f" xml:lang='{escape(language)}'"
    if content is None:
        return b"<iq%b%b/>" % (addresses, given.encode())
    return b"<iq%b%b>%b</iq>" % (addresses, given.encode(), content)


def _attributes(identifier: str | None, kind: str | None, language: str | None) -> bytes:
    """Return the other attributes of a stanza; this is faster than L{attributes}."""
    given = "" if identifier is None else f" id='{escape(identifier)}'"
    if kind is not None:
        given += f" type='{escape(kind)}'"
    if language is not None:
        given += f" xml:lang='{escape(language)}'"
    return given.encode()


def streamHeader(namespace: str, **values: str | None) -> bytes:
    """
    Return the first bytes of a stream (RFC 6120 section 4.7).

    @param namespace: its content namespace.
    @param values: attributes, as for L{attributes}.
    """
    declared = f" xmlns='{escape(namespace)}' xmlns:stream='{ns.STREAMS}'"
    return f"<?xml version='1.0'?><stream:stream{declared}{attributes(**values)}>".encode()


def serialised(element: domish.Element, namespace: str, largest: int = MAX_WRITTEN) -> str:
    """
    Serialise an element for a place where C{namespace} is the default one.

    Twisted's own C{toXml} does not escape namespaces, so a quote in one could begin a stanza, and it loses line
    breaks in attributes. Prefixes that occur only in values are not kept.

    @param largest: characters at most. A namespace that was declared once is written wherever it is used, so a
        short stanza may become a long one.
    @raise TooLarge: if it takes more.
    @raise ValueError: see L{startTag}.
    """
    written: list[str] = []
    if _serialise(element, namespace, written, largest) < 0:
        raise TooLarge
    return "".join(written)


def serialisedAll(elements: Iterable[domish.Element], namespace: str, largest: int = MAX_WRITTEN) -> list[str]:
    """Serialise several elements, of C{largest} characters together at most."""
    written = []
    for element in elements:
        written.append(serialised(element, namespace, largest))
        largest -= len(written[-1])
    return written


def startTag(
    name: str, uri: str, around: str, attributes: Mapping[str | tuple[str, str], str]
) -> tuple[str, str, str]:
    """
    Begin an element.

    @param uri: the namespace of the element.
    @param around: the default namespace where it stands.
    @param attributes: by name; an attribute in a namespace, by namespace and name.
    @return: the start tag without its end, the element's name as it is written, and the default namespace inside.
    @raise ValueError: if the element or an attribute is in the namespace of C{xmlns}, in which none can be.
    """
    if uri == around:
        start = f"<{name}"
    elif uri == ns.XML:
        # Namespaces in XML section 3: this namespace must not be the default one; its prefix is always declared.
        name = f"xml:{name}"
        start = f"<{name}"
    else:
        start = f"<{name} xmlns='{escape(uri)}'"
        around = uri
    prefixes: dict[str, str] = {ns.XML: "xml"}
    for key, value in attributes.items():
        if isinstance(key, str):
            start += f" {key}='{escape(value)}'"
            continue
        space, local = key
        if space not in prefixes:
            prefixes[space] = f"a{len(prefixes)}"
            start += f" xmlns:{prefixes[space]}='{escape(space)}'"
        start += f" {prefixes[space]}:{local}='{escape(value)}'"
    if around == ns.XMLNS or ns.XMLNS in prefixes:
        raise ValueError(f"{ns.XMLNS} has no names of elements or attributes")
    return start, name, around


def _serialise(element: domish.Element, around: str, written: list[str], room: int) -> int:
    """Append an element; return the number of characters that are left."""
    uri = around if element.uri is None else element.uri
    start, name, inside = startTag(element.name, uri, around, element.attributes)
    written.append(start)
    room -= len(start) + len(name)
    if room < 0:
        raise TooLarge
    if not element.children:
        written.append("/>")
        return room
    written.append(">")
    for child in element.children:
        if isinstance(child, domish.Element):
            room = _serialise(child, inside, written, room)
        else:
            # A handler has put it there as XML.
            written.append(child if isinstance(child, domish.SerializedXML) else escape(child))
            room -= len(written[-1])
    written.append(f"</{name}>")
    return room
