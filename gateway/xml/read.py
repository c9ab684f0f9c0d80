"""
XML to trees and names, by expat, set up for XMPP.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref
from xml.parsers import expat

from twisted.words.xish import domish

from gateway.errors import BadRequest, TooLarge
from gateway.xml.context import Context

# A whole start tag that expat has found well-formed: quoted values may hold ">".
START_TAG = re.compile(rb"""<[^'">]*(?:'[^']*'[^'">]*|"[^"]*"[^'">]*)*>""")

# Separates namespace and local name in names from expat. XML does not allow this character in a document.
SEPARATOR = "\x1f"

# Tags and attributes of one tree (an estimate); each takes a few microseconds. Stanzas that stay bytes have no such
# limit.
MAX_COST = 10_000
# Bytes of a namespace in a large tree, and of a namespace with a prefix in any stanza: expat copies the namespace
# for each name, and searches it for each attribute.
MAX_NAMESPACE = 1_023

# Builders of trees by header, and their maximum number: a process has few different headers. A builder is replaced
# after so many bytes, because expat keeps every name that it ever saw.
_builders: dict[bytes, Builder] = {}
_BUILDERS = 16
_BUILDER_LIFE = 4 * 1024 * 1024


def longNamespace(declaration: bytes) -> re.Pattern[bytes]:
    """
    Return a pattern that finds a namespace over L{MAX_NAMESPACE} bytes.

    @param declaration: pattern of the attribute that declares it.
    """
    long = MAX_NAMESPACE + 1
    return re.compile(rb"""%b\s*=\s*(?:'[^'<]{%d}|"[^"<]{%d})""" % (declaration, long, long))


LONG_NAMESPACE = longNamespace(rb"xmlns(?::[^\s=<>:]*)?")


def checkCost(raw: bytes) -> None:
    """
    Refuse a tree that would take too long to build.

    @raise TooLarge: if there are more tags and attributes in it than L{MAX_COST}, or if a namespace is too long.
    """
    # Each byte costs 1 at most.
    if len(raw) <= MAX_COST:
        return
    cost = raw.count(b"<")
    if cost <= MAX_COST:
        cost += raw.count(b"='") + raw.count(b'="')
    if cost > MAX_COST or LONG_NAMESPACE.search(raw):
        raise TooLarge


def newParser(separator: str | None = SEPARATOR) -> expat.XMLParserType:
    """
    Return expat for UTF-8, regardless of an XML declaration (RFC 6120 section 11.6).

    @param separator: stands between the parts of a name; C{None}: namespaces are ignored.
    """
    parser = expat.ParserCreate("utf-8", separator)
    if hasattr(parser, "SetReparseDeferralEnabled"):
        # Report a finished stanza at once, not with the next bytes; the size limit bounds the work.
        parser.SetReparseDeferralEnabled(False)
    return parser


def weakly(method: Callable[..., object], *before: object) -> Callable[..., Any]:
    """
    Return a callback for a parser that belongs to the object of a method: it does not keep the object. Otherwise
    both, with all names that expat has kept, would stay in memory until a garbage collection, and few objects are
    no reason for one.

    @param before: arguments before those of the parser.
    """
    bound: Any = method
    function, owner = bound.__func__, ref(bound.__self__)
    return lambda *arguments: function(owner(), *before, *arguments)


def readTag(raw: bytes, context: Context) -> tuple[str, dict[str, str]]:
    """Return name and attributes of a well-formed start tag, with namespaces resolved."""
    tag = START_TAG.match(raw)
    assert tag is not None
    found: list[tuple[str, dict[str, str]]] = []
    parser = newParser()
    parser.Parse(context.header, False)
    parser.StartElementHandler = lambda name, attributes: found.append((name, attributes))
    parser.Parse(tag.group(), False)
    return found[0]


def parse(header: bytes, raw: bytes) -> domish.Element:
    """
    Return the tree of one element.

    @param header: start tag of the stream that it stands in.
    @param raw: the whole element.

    @raise BadRequest: if the bytes are not one whole element.
    @raise TooLarge: see L{checkCost}.
    """
    checkCost(raw)
    # A new builder costs more than most stanzas. While it is in use no other thread can get it.
    builder = _builders.pop(header, None)
    if builder is not None and builder.parsed >= _BUILDER_LIFE:
        builder.close()
        builder = None
        # An element and its parent are a reference cycle, which only garbage collection frees. Python collects
        # after a number of new objects, and a few of them may have hundreds of megabytes of text.
        gc.collect(1)
    builder = builder or Builder(header)
    isKept = False
    try:
        element = builder.build(raw)
        isKept = len(_builders) < _BUILDERS
    finally:
        if isKept:
            _builders[header] = builder
        else:
            builder.close()
    return element


class Builder:
    """
    Builds trees of elements of one stream, one after the other.

    @ivar parsed: number of bytes that it was given; expat keeps every name it ever saw.
    """

    def __init__(self, header: bytes) -> None:
        """
        @param header: the stream's start tag.
        """
        self.parsed = 0
        self._defaults: list[str | None] = [""]
        self._prefixes: dict[str, str] = {}
        self._found: list[domish.Element] = []
        self._open: list[domish.Element] = []
        self._parser = parser = newParser()
        # Deliver text in one piece, unless it is very long.
        parser.buffer_text = True
        parser.StartNamespaceDeclHandler = self._declared
        parser.EndNamespaceDeclHandler = self._undeclared
        parser.Parse(header, False)
        self._prefixes = {}
        parser.StartElementHandler = self._begun
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._text

    def build(self, raw: bytes) -> domish.Element:
        """
        Return the tree of one whole element.

        @raise BadRequest: if the bytes are not one whole element; this builder must not be used again.
        """
        self.parsed += len(raw)
        try:
            self._parser.Parse(raw, False)
        except expat.ExpatError as error:
            raise BadRequest(str(error)) from error
        found, self._found = self._found, []
        if len(found) != 1 or self._open:
            raise BadRequest("not one whole element")
        return found[0]

    def close(self) -> None:
        """Free expat, which keeps this object by its callbacks."""
        del self._parser

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        if prefix is None:
            self._defaults.append(uri)
        else:
            self._prefixes[prefix] = uri or ""

    def _undeclared(self, prefix: str | None) -> None:
        if prefix is None:
            self._defaults.pop()

    def _begun(self, written: str, attributes: dict[Any, str]) -> None:
        uri, name = splitName(written)
        for key in attributes:
            if SEPARATOR in key:
                attributes = qualifiedAttributes(attributes)
                break
        element = domish.Element((uri, name), self._defaults[-1], attributes, self._prefixes)
        if self._prefixes:
            self._prefixes = {}
        if self._open:
            parent = self._open[-1]
            parent.children.append(element)
            element.parent = parent
        else:
            self._found.append(element)
        self._open.append(element)

    def _ended(self, written: str) -> None:
        if not self._open:
            raise BadRequest("the end of the stream")
        self._open.pop()

    def _text(self, text: str) -> None:
        if self._open:
            children = self._open[-1].children
            if children and isinstance(children[-1], str):
                children[-1] += text
            else:
                children.append(text)


class EventReader:
    """
    Reads the events of XML: the base of everything that builds no tree. A subclass overrides the methods of the
    events it needs; these get names as expat writes them: namespace, L{SEPARATOR}, name. L{close} frees it.
    """

    def __init__(self, *before: bytes) -> None:
        """
        @param before: well-formed start tags that the XML stands in; they cause no events.
        """
        self._parser = parser = newParser()
        # Deliver text in one piece, unless it is very long.
        parser.buffer_text = True
        for tag in before:
            parser.Parse(tag, False)
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._text

    def feed(self, data: bytes, isLast: bool = False) -> None:
        """
        Read the next bytes.

        @param isLast: true if the document ends here.
        @raise BadRequest: if the bytes are not well-formed; nothing can be read after them.
        """
        try:
            self._parser.Parse(data, isLast)
        except expat.ExpatError as error:
            raise BadRequest(str(error)) from error

    def close(self) -> None:
        """Free expat, which keeps this object by its callbacks."""
        del self._parser

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        """A start tag."""

    def _ended(self, name: str) -> None:
        """An end tag."""

    def _text(self, text: str) -> None:
        """Text between tags."""


def splitName(written: str) -> tuple[str, str]:
    """Return the namespace, which may be empty, and the local name of a name from expat."""
    uri, _, name = written.rpartition(SEPARATOR)
    return uri, name


def qualifiedAttributes(attributes: Mapping[Any, str]) -> dict[str | tuple[str, str], str]:
    """Return attributes from expat by name; an attribute in a namespace, by namespace and name."""
    return {splitName(key) if SEPARATOR in key else key: value for key, value in attributes.items()}
