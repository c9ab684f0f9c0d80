"""
Converts private data of servers to elements: Prosody's tables, and XML by XEP-0227. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from attrs import frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.delegation.private import Key, storable
from gateway.errors import BadRequest, ResourceLimit, TooLarge
from gateway.xml.context import CLIENT
from gateway.xml.read import LONG_NAMESPACE, MAX_NAMESPACE, EventReader, parse, qualifiedAttributes, splitName

# Levels of nested elements.
_MAX_DEPTH = 60
# Bytes of a tag; elements and characters of one stored element. Anything larger cannot be kept.
_MAX_TAG = 4 * 1024 * 1024
_MAX_ELEMENTS = 10_000
_MAX_TEXT = 1024 * 1024

# XML names without colons and rare letters.
_NAME = re.compile(r"[^\W\d][\w.\-\u00b7]*")
# XEP-0227, in its two namespaces.
_PIE = frozenset({"urn:xmpp:pie:0", "http://www.xmpp.org/extensions/xep-0227.html#ns"})
_SERVER, _HOST, _USER = (("pie", name) for name in ("server-data", "host", "user"))
_QUERY = ns.PRIVATE, "query"
_INCLUDE = "http://www.w3.org/2001/XInclude", "include"
# Bytes that are searched again with the next piece, for a namespace that began in them.
_OVERLAP = 2 * MAX_NAMESPACE


class BadData(ValueError):
    """The data cannot be imported; the text of the exception is the reason."""


@frozen
class Entry:
    """
    One stored element.

    @ivar user: the user's bare JID.
    @ivar key: namespace and name of the element.
    @ivar xml: the element in the form in which it is stored here.
    """

    user: str
    key: Key
    xml: str


@frozen
class Skipped:
    """
    Something that is not imported.

    @ivar what: the user, file or element.
    @ivar why: the reason, in words.
    """

    what: str
    why: str


def entry(user: str, element: domish.Element) -> Entry:
    """
    Return the entry for an element.

    @raise BadData: if it cannot be stored.
    """
    key = element.uri or "", element.name
    if key[0] in ("", ns.CLIENT, ns.PRIVATE):
        raise BadData("the element has no namespace of its own")
    try:
        [xml] = storable([element])
        # It is parsed again for each answer.
        found = parse(CLIENT.header, xml.encode())
    except (TooLarge, ResourceLimit):
        raise BadData("it is too large to be stored") from None
    except (BadRequest, ValueError):
        raise BadData("it has a character that XML does not allow") from None
    if (found.uri, found.name) != key:
        raise BadData("its name is not valid in XML")
    return Entry(user, key, xml)


def fromTable(table: object) -> domish.Element:
    """
    Return the element in a table of Prosody (C{util.stanza}'s C{preserialize}), from Lua or from JSON.

    @raise BadData: if it is not an element.
    """
    return _element(table, "", 0)


def _element(table: object, uri: str, depth: int) -> domish.Element:
    if not isinstance(table, dict) or depth == _MAX_DEPTH:
        raise BadData("it is not an element, or it is nested too deep")
    name, attributes = table.get("name"), table.get("attr", {})
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(attributes, dict):
        raise BadData("an element has no name, or no attributes")
    if not all(isinstance(text, str) for pair in attributes.items() for text in pair):
        raise BadData("an attribute is not a text")
    uri = attributes.get("xmlns", uri)
    element = domish.Element((uri, name), uri)
    for key, value in attributes.items():
        if key != "xmlns":
            element.attributes[_attribute(key)] = value
    for child in _children(table):
        if isinstance(child, str):
            element.addContent(child)
        else:
            element.addChild(_element(child, uri, depth + 1))
    return element


def _children(table: dict[Any, Any]) -> Iterator[Any]:
    """Return the children of a table: in JSON they are a list, in Lua they have the keys 1, 2, ..."""
    if "__array" in table:
        children = table["__array"]
        if not isinstance(children, list):
            raise BadData("the content of an element is not a list")
        yield from children
    number = 1
    while number in table:
        yield table[number]
        number += 1


def _attribute(key: str) -> str | tuple[str, str]:
    """Return a name, with its namespace if it has one. Old versions of Prosody separate both by a bar."""
    uri, separator, name = key.rpartition("\x01") if "\x01" in key else key.rpartition("|")
    if key.startswith("xml:"):
        uri, separator, name = ns.XML, ":", key.removeprefix("xml:")
    if not _NAME.fullmatch(name) or (separator and not uri):
        raise BadData("the name of an attribute is not valid in XML")
    return (uri, name) if separator else name


class ExportReader(EventReader):
    """
    Reads users' private data from XML by XEP-0227, piece by piece. It keeps one element at a time in memory.

    @param domain: domain of the users.
    """

    def __init__(self, domain: str) -> None:
        super().__init__()
        self._domain = domain
        # Names of the open elements, without a root that contains several hosts.
        self._path: list[tuple[str, str]] = []
        self._host = ""
        self._user = ""
        self._found: list[tuple[str, domish.Element] | Skipped] = []
        self._open: list[domish.Element] = []
        self._cost = 0.0
        self._parsed = 0
        self._tail = b""
        self._isExport = False
        self._parser.StartDoctypeDeclHandler = self._declared

    def read(self, data: bytes, isLast: bool = False) -> list[tuple[str, domish.Element] | Skipped]:
        """
        Read the next bytes.

        @return: names of users, each with an element, and skipped data.
        @raise BadData: if this is not such XML. Everything returned before is valid.
        """
        window = self._tail + data
        if LONG_NAMESPACE.search(window):
            # Expat would need memory and time for each attribute in it.
            raise BadData(f"a namespace has over {MAX_NAMESPACE} bytes{self._where()}: remove that element")
        self._tail = window[-_OVERLAP:]
        self._parsed += len(data)
        try:
            self.feed(data, isLast)
        except BadRequest as error:
            raise BadData(f"it is not well-formed XML{self._where()}: {error}") from None
        if self._parsed - self._parser.CurrentByteIndex > _MAX_TAG:
            raise BadData(f"a tag has over {_MAX_TAG} bytes{self._where()}")
        if isLast and not self._isExport:
            raise BadData("it has no host, so it is not an export by XEP-0227")
        found, self._found = self._found, []
        return found

    def _where(self) -> str:
        return f", in the data of {self._user}@{self._host}" if self._user else ""

    def _declared(self, *details: object) -> None:
        raise BadData("it has a document type declaration, which no server writes")

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        uri, name = splitName(name)
        if self._open or self._path == [_HOST, _USER, _QUERY]:
            self._build(uri, name, attributes)
            return
        found = ("pie" if uri in _PIE else uri), name
        if found == _SERVER and not self._path:
            return
        if found == _INCLUDE and not self._path:
            self._isExport = True
            self._found.append(Skipped(attributes.get("href", "a file"), "it is a separate file: import it, too"))
        elif found == _HOST and not self._path:
            self._isExport = True
            self._host = attributes.get("jid", "")
            if self._host != self._domain:
                what = self._host or "a host without a name"
                self._found.append(Skipped(what, f"its domain is not {self._domain}"))
        elif found == _USER and self._path == [_HOST]:
            self._user = attributes.get("name", "")
        self._path.append(found)

    def _build(self, uri: str, name: str, attributes: dict[str, str]) -> None:
        if not self._open:
            self._cost = 0.0
        self._cost += 1 + len(attributes)
        element = domish.Element((uri, name), uri, qualifiedAttributes(attributes))
        if self._open and self._cost <= _MAX_ELEMENTS and len(self._open) < _MAX_DEPTH:
            self._open[-1].addChild(element)
        elif self._open:
            # Read on to the end of the element, but keep nothing of it.
            self._cost = _MAX_ELEMENTS + 1
        self._open.append(element)

    def _text(self, text: str) -> None:
        if self._open and self._cost <= _MAX_ELEMENTS:
            self._cost += len(text) * _MAX_ELEMENTS / _MAX_TEXT
            self._open[-1].addContent(text)

    def _ended(self, name: str) -> None:
        if self._open:
            element = self._open.pop()
            if not self._open and self._host == self._domain:
                self._complete(element)
        elif self._path and self._path.pop() == _USER and self._path == [_HOST]:
            self._user = ""

    def _complete(self, element: domish.Element) -> None:
        if self._cost > _MAX_ELEMENTS:
            what = f"{self._user}@{self._host}: {element.name}"
            self._found.append(Skipped(what, "it is too large or too deep to be stored"))
        else:
            self._found.append((self._user, element))
