"""
Stanzas as bytes: read without a tree, readdressed without a copy of their meaning, answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.words.protocols.jabber.error import StanzaError, exceptionFromStanza
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import ANSWERS, GatewayError, TooLarge, Unreadable
from gateway.stream.trees import Builder, checkCost

# A whole start tag that expat has found well-formed: quoted values may hold ">".
START_TAG = re.compile(rb"""<[^'">]*(?:'[^']*'[^'">]*|"[^"]*"[^'">]*)*>""")
# Builders of trees by header, of which a process has few; and the bytes after which one is replaced: expat keeps
# every name it ever saw.
_builders: dict[bytes, Builder] = {}
_BUILDERS = 16
_BUILDER_LIFE = 4 * 1024 * 1024

_NAME = re.compile(rb"<([^\s/>]+)")
# How a stanza of each kind begins and ends where it is written without a prefix.
TAGS = {kind: (f"<{kind}".encode(), f"</{kind}>".encode()) for kind in ("iq", "message", "presence")}
_ATTRIBUTE = re.compile(rb"""\s([^\s=/>'"]+)\s*=\s*('[^']*'|"[^"]*")""")

# Characters of an element that is written from a tree.
_LARGEST = 4 * 1024 * 1024

# What no XML document may hold (XML 1.0 section 2.2).
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
_TO_ESCAPE = re.compile("[&<>'\"\t\n\r]")


def escape(text: str) -> str:
    """C{text} as it may stand in an attribute value or between tags."""
    # Nearly all addresses and ids stand for themselves, and to look is much cheaper than to translate.
    return text.translate(_ESCAPES) if _TO_ESCAPE.search(text) else text


def route(sender: str, recipient: str) -> bytes:
    """The two addresses of a stanza as they stand in its start tag; worth keeping where they recur."""
    return f" from='{escape(sender)}' to='{escape(recipient)}'".encode()


@frozen(eq=False)
class Context:
    """
    What a stream's header declares, and so what the prefixes in its stanzas mean.

    @ivar namespace: the content namespace.
    @ivar prefixes: prefix to namespace, without the default one.
    @ivar header: a stream start tag that declares the same.
    @ivar uses: for each prefix, how its use begins, and its declaration.
    """

    namespace: str
    prefixes: dict[str, str]
    header: bytes
    uses: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    @classmethod
    def fromDeclarations(cls, declared: dict[str | None, str]) -> Context:
        namespace = declared.get(None, "")
        prefixes = {prefix: uri for prefix, uri in declared.items() if prefix is not None}
        uses = tuple(
            (f"{prefix}:".encode(), f" xmlns:{prefix}='{escape(uri)}'".encode()) for prefix, uri in prefixes.items()
        )
        # The root is never in the default namespace: that is the content's.
        root = next(prefix for prefix, uri in prefixes.items() if uri == ns.STREAMS)
        header = f"<{root}:stream xmlns='{escape(namespace)}'".encode()
        return cls(namespace, prefixes, header + b"".join(declaration for _, declaration in uses) + b">", uses)


# Of what we write ourselves.
CONTEXT = Context.fromDeclarations({None: ns.COMPONENT_ACCEPT, "stream": ns.STREAMS})


@define(eq=False, repr=False)
class Stanza:
    """
    One stanza: a first-level element of a stream in its content namespace.

    @ivar name: C{"iq"}, C{"message"} or C{"presence"}.
    @ivar sender: the root's C{from}, unescaped, as the others; C{None} where there is none.
    @ivar recipient: C{to}.
    @ivar id: C{id}.
    @ivar type: C{type}.
    @ivar language: C{xml:lang}.
    @ivar raw: its bytes up to but without the end tag.
    @ivar cut: where in C{raw} the start tag's C{>} is, if the tag is plain: there is content, and it has these
        attributes only, between single quotes, where each stands for itself. Else 0.
    """

    name: str
    sender: str | None
    recipient: str | None
    id: str | None
    type: str | None
    language: str | None
    raw: bytes
    context: Context
    cut: int

    def __repr__(self) -> str:
        return (
            f"<{self.name} from={self.sender!r} to={self.recipient!r} type={self.type!r} id={self.id!r} "
            f"{len(self.raw)} bytes>"
        )

    @property
    def payload(self) -> bytes:
        """The bytes between the start tag and the end tag."""
        return self.raw[self.cut + 1 if self.cut else self._startTag.end() :]

    @property
    def element(self) -> domish.Element:
        """
        The stanza as a new tree, built by each look at it.

        @raise TooLarge: see L{parse}.
        """
        return parse(self.context.header, self.whole)

    @property
    def whole(self) -> bytes:
        """Its bytes, the end tag included."""
        return self.raw if self._isOnlyTag else b"".join((self.raw, b"</", self._writtenName, b">"))

    def readdressed(self, addresses: bytes) -> bytes:
        """
        The stanza with other addresses: a new start tag, the payload byte for byte.

        @param addresses: what L{route} gives.
        """
        raw, cut = self.raw, self.cut
        if not cut:
            return self._readdressedCarefully(addresses)
        kept = f" id='{self.id}' type='{self.type}'"
        if self.id is None or self.type is None or self.language is not None:
            known = (("id", self.id), ("type", self.type), ("xml:lang", self.language))
            kept = "".join(f" {name}='{value}'" for name, value in known if value is not None)
        declarations = b""
        for use, declaration in self.context.uses:
            if use in raw:
                declarations += declaration
        opening, ending = TAGS[self.name]
        return b"".join((opening, addresses, declarations, kept.encode(), raw[cut:], ending))

    def _readdressedCarefully(self, addresses: bytes) -> bytes:
        """The same for any start tag: all but the two addresses is copied as it stands."""
        kept = _ATTRIBUTE.findall(self._startTag.group())
        own = {name for name, _ in kept}
        declarations = [
            declaration
            for use, declaration in self.context.uses
            if use in self.raw and b"xmlns:" + use[:-1] not in own
        ]
        rest = [b" %b=%b" % (name, value) for name, value in kept if name not in (b"to", b"from")]
        name = self._writtenName
        return b"".join((b"<", name, addresses, *declarations, *rest, b">", self.payload, b"</", name, b">"))

    def sentBy(self, sender: str, recipient: str) -> Stanza:
        """The same stanza with other addresses."""
        written = self.readdressed(route(sender, recipient))
        raw = written[: written.rindex(b"</")]
        return evolve(self, sender=sender, recipient=recipient, raw=raw, cut=0)

    @property
    def _startTag(self) -> re.Match[bytes]:
        tag = START_TAG.match(self.raw)
        assert tag is not None
        return tag

    @property
    def _isOnlyTag(self) -> bool:
        return self.raw.endswith(b"/>") and self._startTag.end() == len(self.raw)

    @property
    def _writtenName(self) -> bytes:
        """The root's name with the prefix that it is written with."""
        name = _NAME.match(self.raw)
        assert name is not None
        return name.group(1)


@define(eq=False, repr=False)
class Nonza(Stanza):
    """
    A first-level element that is no stanza (XEP-0360): a handshake, a stream error.

    @ivar name: namespace and local name, with L{gateway.stream.core.SEPARATOR} between them.
    """


def parse(header: bytes, raw: bytes) -> domish.Element:
    """
    The tree of one stanza, C{raw} being whole and C{header} the start tag of the stream it stands in.

    @raise domish.ParserError: if it is not.
    @raise TooLarge: see L{checkCost}.
    """
    checkCost(raw)
    # To make a builder costs more than most stanzas. While it is used it is nobody else's, in whatever thread.
    builder = _builders.pop(header, None) or Builder(header)
    element = builder.build(raw)
    if builder.parsed < _BUILDER_LIFE and len(_builders) < _BUILDERS:
        _builders[header] = builder
    return element


class UnreadElement(domish.Element):
    """
    The tree of one element, built at the first look at it: only then is it there, and an ordinary element.

    While it is one of these nobody has read or changed it.

    @ivar header: as L{parse} has it.
    @ivar raw: its bytes.
    @raise Unreadable: by that look, if the bytes are not one whole element.
    """

    header: bytes
    raw: bytes

    def __init__(self, header: bytes, raw: bytes) -> None:
        self.__dict__.update(header=header, raw=raw)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # The interpreter asks, for a copy or an interface: such are the class's to have.
            raise AttributeError(name)
        self._read()
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._read()
        setattr(self, name, value)

    def _read(self) -> None:
        try:
            tree = parse(self.header, self.raw)
        except domish.ParserError as error:
            raise Unreadable from error
        self.__dict__.clear()
        self.__dict__.update(tree.__dict__)
        object.__setattr__(self, "__class__", domish.Element)
        for child in self.elements():
            child.parent = self


def serialised(element: domish.Element, namespace: str, largest: int = _LARGEST) -> str:
    """
    An element as it stands where C{namespace} is the default one.

    Twisted's own C{toXml} writes a namespace as it is, and whoever has chosen it may have put a quote into it, and
    whole stanzas after that; nor does it keep line breaks in attributes. Here no name ends up as anything but a
    name. Prefixes that stand in values only are not kept.

    @param largest: characters at most. A namespace that was declared once is written wherever it is used, so a
        short stanza may become a long one.
    @raise TooLarge: if it takes more.
    @raise ValueError: see L{startTag}.
    """
    written: list[str] = []
    if _serialise(element, namespace, written, largest) < 0:
        raise TooLarge
    return "".join(written)


def serialisedAll(elements: Iterable[domish.Element], namespace: str, largest: int = _LARGEST) -> list[str]:
    """The same for several, which take no more than C{largest} together."""
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
    @param attributes: by name; one in a namespace has that before it.
    @return: the start tag without its end, the element's name as it is written, and the default namespace inside.
    @raise ValueError: if there is something in the namespace of declarations, where XML has no names for elements,
        nor for attributes.
    """
    if uri == around:
        start = f"<{name}"
    elif uri == ns.XML:
        # Namespaces in XML section 3: it must not be the default one, and its prefix is always declared.
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
        raise ValueError(f"{ns.XMLNS} holds no names of elements or attributes")
    return start, name, around


def _serialise(element: domish.Element, around: str, written: list[str], room: int) -> int:
    """Return how many characters there is still room for."""
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
            # What is XML already was put there by a handler, which has asked for it.
            written.append(child if isinstance(child, domish.SerializedXML) else escape(child))
            room -= len(written[-1])
    written.append(f"</{name}>")
    return room


def readError(stanza: domish.Element) -> StanzaError:
    """
    Return what a stanza of type error says. If it has no error, or one that cannot be read, the condition is
    C{undefined-condition}. Neither that nor the type is ever C{None}, which could not be written again.
    """
    error: Any
    try:
        error = exceptionFromStanza(stanza)
    except Exception:
        # There are error codes that Twisted does not know.
        error = StanzaError(None)
    if not error.condition:
        error = StanzaError("undefined-condition", error.type, error.text)
        error.stanza = stanza
    # Twisted knows no type for this condition, nor for one that is not in RFC 6120.
    error.type = error.type or "cancel"
    found: StanzaError = error
    return found


def errorReply(stanza: Stanza, error: type[GatewayError]) -> bytes:
    """The error answer to C{stanza}, from exactly the address it was sent to (RFC 6120 section 8.3)."""
    addresses = route(stanza.recipient or "", stanza.sender or "")
    return errorStanza(stanza.name, addresses, stanza.id, error)


def errorStanza(name: str, addresses: bytes, identifier: str | None, error: type[GatewayError]) -> bytes:
    """
    A stanza of type error.

    @param name: the kind of stanza.
    @param addresses: what L{route} gives.
    """
    given = "" if identifier is None else f" id='{escape(identifier)}'"
    head = f"{given} type='error'>"
    return b"".join((f"<{name}".encode(), addresses, head.encode(), errorElement(error), f"</{name}>".encode()))


def errorElement(error: type[GatewayError]) -> bytes:
    """How an error is said in a stanza (RFC 6120 section 8.3.2); in the namespace that is the default one there."""
    answer = ANSWERS[error]
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{escape(answer.text)}</text>" if answer.text else ""
    return (f"<error type='{answer.kind}'><{answer.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>").encode()
