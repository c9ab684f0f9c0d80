"""
Forwarded requests and their answers on the wire (XEP-0355 section 4.3).

The usual spelling is cut from the bytes, any other is read from a tree.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple
from xml.etree.ElementTree import Element

from twisted.words.xish import domish

from gateway import ns
from gateway.delegation.core import Reply, Request
from gateway.delegation.nesting import VERSIONS
from gateway.errors import BadRequest, TooLarge
from gateway.stream.checker import checkWhole
from gateway.stream.stanzas import TAGS, Stanza
from gateway.xml import write
from gateway.xml.context import CLIENT
from gateway.xml.cut import Tag, only, usualTag
from gateway.xml.move import moved
from gateway.xml.read import START_TAG, parse
from gateway.xml.trees import written
from gateway.xml.write import FORWARDED, iq, route, serialised, serialisedAll, tag

# In the spelling that servers use there is nothing between the tags.
(_INSIDE_START, _INSIDE_END), _WRAPPER_END = TAGS["iq"], b"</forwarded></delegation>"
_LANGUAGE = "xml:lang"


def _startTags(version: str) -> bytes:
    """Return the two start tags around the iq."""
    wrapper = tag("delegation", tag("forwarded", "", xmlns=ns.FORWARD), xmlns=version).encode()
    return wrapper.removesuffix(_WRAPPER_END)


_WRAPPER_STARTS = {version: _startTags(version) for version in VERSIONS}
# The version by each spelling of the start tags; all have the same length.
_SPELLED = {
    _startTags(version).replace(b"'", outer, 2).replace(b"'", inner): version
    for version in VERSIONS
    for outer, inner in product((b"'", b'"'), repeat=2)
}
_START = len(next(iter(_SPELLED)))

# Resource for answers to a server; see answerAddress.
_ANSWERED = "delegation"


class ForwardedIq(NamedTuple):
    """
    The iq in a wrapper.

    @ivar version: namespace of the wrapper.
    @ivar attributes: attributes of the iq.
    @ivar xml: content of the iq. Without a declaration, the default namespace is C{jabber:client}.
    """

    version: str
    attributes: dict[str, str]
    xml: bytes


def mayBeDelegation(stanza: Stanza) -> bool:
    """Return false if a stanza certainly has nothing to do with delegation; a search for bytes."""
    return b"urn:xmpp:delegation:" in stanza.raw


def unwrap(stanza: Stanza) -> ForwardedIq:
    """
    Return the iq that is forwarded in another one (section 4.3, XEP-0297).

    @raise BadRequest: if there is not exactly one.
    """
    payload = stanza.payload
    wrapper = _wrapper(payload)
    if wrapper is not None and payload.endswith(_WRAPPER_END) and _isPlain(stanza, payload):
        version, inner = wrapper
        inside = payload[inner.end : -len(_WRAPPER_END)]
        if inner.isEmpty:
            isAlone = not inside
        else:
            end = len(inside) - len(_INSIDE_END)
            isAlone = inside.find(_INSIDE_END) == end and _INSIDE_START not in inside
            inside = inside[:end]
        if isAlone:
            return ForwardedIq(version, inner.attributes, inside)
    return _unwrapTree(stanza.element)


def unwrapHead(head: bytes) -> ForwardedIq:
    """
    Return the iq in a wrapper of which only the beginning is available. Its content is left out.

    @param head: the first bytes of the stanza.
    @raise BadRequest: if it is not spelled as servers do.
    """
    root = START_TAG.match(head)
    wrapper = None if root is None else _wrapper(head, root.end())
    if wrapper is None:
        raise BadRequest
    version, inner = wrapper
    return ForwardedIq(version, inner.attributes, b"")


def _wrapper(raw: bytes, start: int = 0) -> tuple[str, Tag] | None:
    """
    Return the version of the wrapper that begins at an offset, and the start tag of the iq in it; C{None} if it is
    not spelled as servers do.
    """
    end = start + _START
    version = _SPELLED.get(raw[start:end])
    inner = None if version is None else usualTag(raw, end)
    if version is None or inner is None or inner.name != "iq" or inner.attributes.get("xmlns") != ns.CLIENT:
        return None
    return version, inner


def _isPlain(stanza: Stanza, payload: bytes) -> bool:
    """Return true if a payload needs no declaration from outside, and each "<" in it begins a tag."""
    if b"<!" in payload:
        return False
    for use, _ in stanza.context.uses:
        if use in payload:
            return False
    # A plain start tag declares nothing.
    return bool(stanza.cut) or b"xmlns" not in stanza.raw[: len(stanza.raw) - len(payload)]


def _unwrapTree(element: domish.Element) -> ForwardedIq:
    wrappers = [child for child in element.elements() if child.name == "delegation" and child.uri in VERSIONS]
    forwarded = [child for each in wrappers for child in each.elements(ns.FORWARD, "forwarded")]
    # The XEP's own examples leave out the iq's namespace here and there.
    inside = [child for each in forwarded for child in each.elements() if child.name == "iq"]
    if not len(wrappers) == len(forwarded) == len(inside) == 1 or inside[0].uri not in (ns.CLIENT, ns.FORWARD):
        raise BadRequest
    inner = inside[0]
    known = {name: value for name, value in inner.attributes.items() if isinstance(name, str)}
    known["xmlns"] = inner.uri
    if (ns.XML, "lang") in inner.attributes:
        known[_LANGUAGE] = inner.attributes[ns.XML, "lang"]
    # If it is in the wrapper's namespace, the sender has left the declaration out.
    return ForwardedIq(wrappers[0].uri, known, _contents(moved(inner, ns.FORWARD, ns.CLIENT)))


def _contents(element: domish.Element) -> bytes:
    """Serialise the children of an element for an iq whose namespace is C{jabber:client}."""
    return "".join(serialisedAll(element.elements(), ns.CLIENT)).encode()


def xmlOf(element: domish.Element) -> bytes:
    """Serialise an element for an iq whose namespace is C{jabber:client}."""
    return serialised(element, ns.CLIENT).encode()


def checkedXml(answer: domish.Element | Element | bytes) -> bytes:
    """
    Serialise a handler's answer for an iq whose namespace is C{jabber:client}.

    A handler may put any character into a tree, also into a name, and anything into bytes. The server would end the
    stream then.

    @raise ValueError: if a stream must not hold it, or if it is not exactly one element.
    @raise TooLarge: if it takes too long to write, or to check.
    """
    if isinstance(answer, bytes):
        xml = answer
    else:
        xml = xmlOf(answer) if isinstance(answer, domish.Element) else written(answer, ns.CLIENT).encode()
    failure = checkWhole(b"".join((CLIENT.header, xml, b"</stream:stream>")), ns.CLIENT)
    if failure is not None:
        raise ValueError(str(failure))
    if not _isElement(xml):
        raise ValueError("not exactly one element")
    return xml


def _isElement(xml: bytes) -> bool:
    """True if bytes that are well-formed content are exactly one element."""
    # A section that does not end is found only by a parser that is told of the end.
    if b"<!" not in xml and only(xml) is not None:
        return True
    try:
        content = _wrapped(xml).children
    except TooLarge:
        raise
    except BadRequest:
        return False
    return len(content) == 1 and isinstance(content[0], domish.Element)


def readRequest(inside: ForwardedIq) -> Request:
    """
    Return the request in a wrapper.

    @raise BadRequest: if it is not a request (RFC 6120 section 8.2.3).
    """
    get = inside.attributes.get
    return _request(get("from"), get("to"), get("id"), get("type"), inside.xml, get(_LANGUAGE))


def readHead(inside: ForwardedIq) -> Request:
    """
    Return the request in a wrapper without its payload, so that it can be answered with an error.

    @raise BadRequest: if addresses, id or type are missing.
    """
    return readRequest(ForwardedIq(inside.version, inside.attributes, tag("unreadable").encode()))


def requestOf(stanza: Stanza, sender: str, recipient: str | None) -> Request:
    """
    Return the request in an iq that a client has sent, with prepared addresses.

    @raise BadRequest: if it is not a request.
    """
    payload = stanza.payload
    if not _isPlain(stanza, payload) or stanza.context.namespace != ns.CLIENT:
        element = stanza.element
        payload = _contents(element)
    return _request(sender, recipient, stanza.id, stanza.type, payload, stanza.language)


def _request(
    sender: str | None,
    recipient: str | None,
    identifier: str | None,
    kind: str | None,
    xml: bytes,
    language: str | None,
) -> Request:
    if not sender or not identifier or kind not in ("get", "set"):
        raise BadRequest
    attributes = only(xml)
    if attributes is not None and _LANGUAGE not in attributes:
        namespace = attributes.pop("xmlns", ns.CLIENT)
        return Request(sender, recipient, identifier, kind, namespace, attributes, xml, language)
    children = _children(xml)
    if len(children) != 1:
        raise BadRequest
    [child] = children
    known = {name: value for name, value in child.attributes.items() if isinstance(name, str)}
    return Request(sender, recipient, identifier, kind, child.uri or "", known, xmlOf(child), language)


def unwrapReply(stanza: Stanza) -> Reply | None:
    """Return the answer in an iq result of a managing entity; C{None} if there is not exactly one that is valid."""
    try:
        return readReply(unwrap(stanza)) if mayBeDelegation(stanza) else None
    except BadRequest:
        return None


def readReply(inside: ForwardedIq) -> Reply:
    """
    Return the answer in a wrapper.

    @raise BadRequest: if it is not in C{jabber:client}, or its content does not fit its type.
    """
    get = inside.attributes.get
    if get("xmlns") != ns.CLIENT or not _isAnswer(get("type"), inside.xml):
        raise BadRequest
    return Reply(get("from"), get("to"), get("id"), get("type"), inside.xml, get(_LANGUAGE))


def _isAnswer(kind: str | None, xml: bytes) -> bool:
    """
    Return true if an iq of this type may have this content (RFC 6120 section 8.2.3): it is passed on as the
    server's own. A result "MUST include zero or one child elements", an error "MUST include an error child
    element".
    """
    if kind == "result":
        return not xml or only(xml) is not None or len(_children(xml)) <= 1
    return kind != "error" or any((child.uri, child.name) == (ns.CLIENT, "error") for child in _children(xml))


def _children(xml: bytes) -> list[domish.Element]:
    return list(_wrapped(xml).elements())


def _wrapped(xml: bytes) -> domish.Element:
    return parse(CLIENT.header, iq(b"", "", "get", xml))


def writeForward(version: str, sender: str, recipient: str, identifier: str, request: Request) -> bytes:
    """Return a request, wrapped for a managing entity (section 4.3)."""
    if request.recipient is None:
        addresses = write.attributes(from_=request.requester).encode()
    else:
        addresses = route(request.requester, request.recipient)
    inner = iq(FORWARDED + addresses, request.id, request.type, request.xml, request.language)
    return iq(route(sender, recipient), identifier, "set", _wrap(version, inner))


def _wrap(version: str, inner: bytes) -> bytes:
    return b"%b%b%b" % (_WRAPPER_STARTS[version], inner, _WRAPPER_END)


def answerAddress(version: str, server: str) -> str:
    """
    Return the address of a server for answers about delegation in this version.

    Only ejabberd speaks the older version. With mod_privilege loaded it drops results to bare addresses from a
    component without privileges (24.10 and newer); it matches answers by their id only. Prosody requires its bare
    domain.
    """
    return f"{server}/{_ANSWERED}" if version == ns.DELEGATION_1 else server


def writeAnswer(
    version: str, sender: str, recipient: str, identifier: str, request: Request, kind: str, xml: bytes
) -> bytes:
    """
    Return the answer to a request, wrapped for the server, in the form that all servers pass on: an error is in a
    result as well, there is no white space, and the inner iq has its namespace and both addresses.

    @param recipient: the server; see L{answerAddress}.
    @param kind: type of the inner iq.
    @param xml: its content. Without a declaration, the default namespace is C{jabber:client}.
    """
    inner = iq(FORWARDED + route(request.entity, request.requester), request.id, kind, xml or None)
    return iq(_answerRoute(version, sender, recipient), identifier, "result", _wrap(version, inner))


@lru_cache(256)
def _answerRoute(version: str, sender: str, server: str) -> bytes:
    return route(sender, answerAddress(version, server))
