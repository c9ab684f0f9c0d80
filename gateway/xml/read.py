"""
XML to trees and names, by expat, set up for XMPP.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

from twisted.words.xish import domish

from gateway.errors import TooLarge
from gateway.xml.context import Context

# A whole start tag that expat has found well-formed: quoted values may hold ">".
START_TAG = re.compile(rb"""<[^'">]*(?:'[^']*'[^'">]*|"[^"]*"[^'">]*)*>""")

# Between the parts of a name that expat has resolved: namespace, local name. No XML can hold this character;
# expat refuses a namespace with one that XML could.
SEPARATOR = "\x1f"

# Tags and attributes of one tree, about: each takes a few microseconds. What is only passed on has no such bound.
MAX_COST = 10_000
# Bytes of a namespace in a large tree, and of one with a prefix anywhere. Expat hands it over with each name in it,
# and goes through all of it for each attribute.
MAX_NAMESPACE = 1_023

# Builders of trees by header, of which a process has few; and the bytes after which one is replaced: expat keeps
# every name it ever saw.
_builders: dict[bytes, Builder] = {}
_BUILDERS = 16
_BUILDER_LIFE = 4 * 1024 * 1024


def longNamespace(declaration: bytes) -> re.Pattern[bytes]:
    """A pattern that finds a namespace over L{MAX_NAMESPACE} bytes; C{declaration} is one for what declares it."""
    long = MAX_NAMESPACE + 1
    return re.compile(rb"""%b\s*=\s*(?:'[^'<]{%d}|"[^"<]{%d})""" % (declaration, long, long))


_LONG_NAMESPACE = longNamespace(rb"xmlns(?::[^\s=<>:]*)?")


def checkCost(raw: bytes) -> None:
    """
    Refuse to build a tree that would keep the reactor.

    @raise TooLarge: if there are more tags and attributes in it than L{MAX_COST}, or if a namespace is too long.
    """
    # No byte costs more than 1.
    if len(raw) <= MAX_COST:
        return
    cost = raw.count(b"<")
    if cost <= MAX_COST:
        cost += raw.count(b"='") + raw.count(b'="')
    if cost > MAX_COST or _LONG_NAMESPACE.search(raw):
        raise TooLarge


def newParser(separator: str | None = SEPARATOR) -> expat.XMLParserType:
    """
    Expat for UTF-8, whatever an XML declaration says (RFC 6120 section 11.6).

    @param separator: stands between the parts of a name; C{None}: names are not resolved, and what breaks the rules
        of namespaces alone passes.
    """
    parser = expat.ParserCreate("utf-8", separator)
    if hasattr(parser, "SetReparseDeferralEnabled"):
        # A finished stanza is wanted now, not when more bytes have come; the size limit bounds the work.
        parser.SetReparseDeferralEnabled(False)
    return parser


def readTag(raw: bytes, context: Context) -> tuple[str, dict[str, str]]:
    """The name and attributes, as expat resolves them, of a start tag that is known to be well-formed."""
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


class Builder:
    """
    Builds the trees of stanzas of one stream, one after the other.

    @ivar parsed: how many bytes went into it; expat keeps every name it ever saw.
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
        # Text comes in one piece, unless it is very long.
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
        The tree of one whole stanza.

        @raise domish.ParserError: if it is none; this builder cannot be used any more.
        """
        self.parsed += len(raw)
        try:
            self._parser.Parse(raw, False)
        except expat.ExpatError as error:
            raise domish.ParserError(str(error)) from error
        found, self._found = self._found, []
        if len(found) != 1 or self._open:
            raise domish.ParserError("not one whole element")
        return found[0]

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        if prefix is None:
            self._defaults.append(uri)
        else:
            self._prefixes[prefix] = uri or ""

    def _undeclared(self, prefix: str | None) -> None:
        if prefix is None:
            self._defaults.pop()

    def _begun(self, written: str, attributes: dict[Any, str]) -> None:
        uri, _, name = written.rpartition(SEPARATOR)
        for key in attributes:
            if SEPARATOR in key:
                attributes = {_qualified(key): value for key, value in attributes.items()}
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
            raise domish.ParserError("the end of the stream")
        self._open.pop()

    def _text(self, text: str) -> None:
        if self._open:
            children = self._open[-1].children
            if children and isinstance(children[-1], str):
                children[-1] += text
            else:
                children.append(text)


def _qualified(key: str) -> str | tuple[str, str]:
    uri, separator, name = key.rpartition(SEPARATOR)
    return (uri, name) if separator else name
