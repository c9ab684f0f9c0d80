"""
Privileges on the wire. Stanzas are written in the form that every known server reads, and read leniently.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest
from gateway.interfaces import RosterItem
from gateway.privilege.core import IQ_TYPES, TYPES, Permissions, PrivilegedIq
from gateway.stream.feeds import VERSIONS, readPerms
from gateway.stream.stanzas import Stanza
from gateway.xml import move, write
from gateway.xml.errors import readError
from gateway.xml.read import SEPARATOR
from gateway.xml.records import readRecords
from gateway.xml.write import FORWARDED, route, serialised, tag

_SUBSCRIPTIONS = frozenset({"none", "to", "from", "both", "remove"})
_QUERY, _ITEM, _GROUP = (f"{ns.ROSTER}{SEPARATOR}{name}" for name in ("query", "item", "group"))
_NO_ANSWER = "The answer cannot be read."
# Prefix of the ids of messages that wrap another one.
_ID_PREFIX = "privileged-"
_PUSH = {"true": True, "1": True, "false": False, "0": False}


# Advertisements: sections 4.2, 5.2, 6.2, 7.2 and 7.5.


def advertisement(permissions: Permissions, entity: str) -> domish.Element:
    """Return the message that tells an entity its permissions."""
    message = domish.Element((None, "message"), attribs={"from": permissions.server, "to": entity})
    message.addUniqueId()
    privilege = message.addElement((permissions.version, "privilege"))
    if permissions.roster != "none":
        _addPerm(privilege, "roster", permissions.roster)["push"] = "true" if permissions.pushes else "false"
    if permissions.message != "none":
        _addPerm(privilege, "message", permissions.message)
    if permissions.iq:
        perm = _addPerm(privilege, "iq")
        for namespace, kind in permissions.iq.items():
            granted = perm.addElement("namespace")
            granted["ns"], granted["type"] = namespace, kind
    if permissions.feed != "none":
        _addPerm(privilege, "presence", permissions.feed)
    return message


def _addPerm(privilege: domish.Element, access: str, kind: str = "") -> domish.Element:
    perm: domish.Element = privilege.addElement("perm")
    perm["access"] = access
    if kind:
        perm["type"] = kind
    return perm


def readAdvertisement(server: str, message: domish.Element) -> Permissions | None:
    """
    Return the permissions in a server's message; C{None} if it is not an advertisement. Unknown values of access or
    type grant nothing.
    """
    found = readPerms(message)
    if found is None:
        return None
    version, perms = found
    types = dict.fromkeys(TYPES, "none")
    push: bool | None = None
    iq: dict[str, str] = {}
    for perm in perms:
        access, kind = perm.getAttribute("access", ""), perm.getAttribute("type", "")
        if kind in TYPES.get(access, ()):
            types[access] = kind
        if access == "roster":
            push = _PUSH.get(perm.getAttribute("push", ""))
        elif access == "iq":
            iq |= dict(_readNamespaces(perm))
    return Permissions(server, version, types["roster"], push, types["message"], types["presence"], iq)


def _readNamespaces(perm: domish.Element) -> Iterator[tuple[str, str]]:
    """Read the namespaces at any depth: Prosody 0.12 puts the second one into the first."""
    for child in perm.elements():
        namespace, kind = child.getAttribute("ns", ""), child.getAttribute("type", "")
        if child.name == "namespace" and namespace and kind in IQ_TYPES:
            yield namespace, kind
        yield from _readNamespaces(child)


# Rosters: section 4.3.


def rosterRequest(user: str, item: RosterItem | None = None) -> domish.Element:
    """Return the iq that gets a user's roster, or sets one item of it (RFC 6121 section 2.1.5)."""
    iq = domish.Element((None, "iq"), attribs={"type": "get" if item is None else "set", "to": user})
    query = iq.addElement((ns.ROSTER, "query"))
    if item is not None:
        _addItem(query, item)
    return iq


def _addItem(query: domish.Element, item: RosterItem) -> None:
    element = query.addElement("item")
    element["jid"], element["subscription"] = item.jid, item.subscription
    if item.subscription == "remove":
        return
    if item.name:
        element["name"] = item.name
    for group in sorted(item.groups):
        element.addElement("group", content=group)


def push(component: str, user: str, resource: str, item: RosterItem, identifier: str) -> bytes:
    """
    Return the privileged iq that sends a roster push to a client (RFC 6121 section 2.1.6).

    @param resource: full JID of the client.
    """
    query = domish.Element((ns.ROSTER, "query"))
    _addItem(query, item)
    if item.ask:
        next(query.elements())["ask"] = "subscribe"
    content = serialised(query, ns.CLIENT).encode()
    request = write.iq(FORWARDED + route(user, resource), identifier, "set", content)
    privileged = tag("privileged_iq", request.decode(), xmlns=ns.PRIVILEGE)
    return write.iq(route(component, user), identifier, "set", privileged.encode())


def readRoster(iq: Stanza) -> list[RosterItem] | None:
    """Return the items of a roster answer or push; C{None} if it has no roster. Items without a JID are skipped."""
    items: list[RosterItem] = []

    def add(attributes: dict[str, str], groups: list[str]) -> None:
        item = _readItem(attributes, groups)
        if item is not None:
            items.append(item)

    content = iq.payload
    before = iq.context.header, iq.raw[: len(iq.raw) - len(content)]
    return items if readRecords(before, content, (_QUERY, _ITEM), _GROUP, add) else None


def _readItem(attributes: dict[str, str], groups: list[str]) -> RosterItem | None:
    get = attributes.get
    try:
        jid = jids.prepared(get("jid", ""))
    except ValueError:
        return None
    subscription = get("subscription", "none")
    return RosterItem(
        jid=jid,
        name=get("name", ""),
        groups=frozenset(filter(None, groups)),
        subscription=subscription if subscription in _SUBSCRIPTIONS else "none",
        ask=get("ask") == "subscribe",
    )


def acknowledgement(addresses: bytes, identifier: str) -> bytes:
    """
    Return the answer to a push.

    @param addresses: as L{gateway.xml.write.route} returns them.
    """
    return write.iq(addresses, identifier, "result")


# Messages: section 5.3.


def wrapMessage(version: str, server: str, message: domish.Element) -> domish.Element:
    """Return the message that asks the server to send another one."""
    outer = domish.Element((None, "message"), attribs={"to": server})
    outer.addUniqueId()
    outer["id"] = _ID_PREFIX + outer["id"]
    _forward(outer.addElement((version, "privilege")), message)
    return outer


def hasPrivilegedId(outer: domish.Element) -> bool:
    """Return true for a message of L{wrapMessage}, or its error, which may have no content."""
    return str(outer.getAttribute("id", "")).startswith(_ID_PREFIX)


def unwrapMessage(outer: domish.Element) -> domish.Element:
    """
    Return the message that a privileged entity wants to send.

    @raise BadRequest: if there is not exactly one.
    """
    return _only(_forwarded(outer, "message"))


# Iqs: section 6.3.


def wrapIq(version: str, user: str, iq: domish.Element) -> domish.Element:
    """Return the iq, of the same type, that asks the server to send a request on behalf of a user."""
    outer = domish.Element((None, "iq"), attribs={"type": iq["type"], "to": user})
    outer.addElement((version, "privileged_iq")).addChild(iq)
    return outer


def unwrapIq(outer: domish.Element) -> domish.Element:
    """
    Return the iq request that a privileged entity wants to send, in any namespace.

    @raise BadRequest: if there is not exactly one.
    """
    return _only(
        inner
        for version in VERSIONS
        for privileged in outer.elements(version, "privileged_iq")
        for inner in privileged.elements()
        if inner.name == "iq"
    )


def describeIq(user: str, kind: str, iq: domish.Element) -> PrivilegedIq:
    """
    Return the properties of a request that are checked.

    @param user: C{to} of the top-level iq.
    @param kind: type of the top-level iq.
    @raise BadRequest: if it has no id, or not exactly one payload (RFC 6120 section 8.2.3).
    """
    payload = _only(iq.elements())
    if not iq.getAttribute("id"):
        raise BadRequest
    return PrivilegedIq(
        user=user,
        kind=kind,
        namespace=iq.uri or "",
        sender=iq.getAttribute("from", ""),
        innerKind=iq.getAttribute("type", ""),
        payload=payload.uri or "",
    )


def wrapAnswer(version: str, answer: domish.Element) -> domish.Element:
    """Return the payload of a result that wraps an iq answer."""
    privilege = domish.Element((version, "privilege"))
    _forward(privilege, answer)
    return privilege


def unwrapAnswer(outer: domish.Element, user: str, request: domish.Element) -> domish.Element:
    """
    Return the answer to a request that a server has sent on behalf of a user.

    @param outer: the server's answer, a result. Prosody 13 and ejabberd 26 wrap an error in an error.
    @return: the answer, of type result, in the namespace of clients.
    @raise StanzaError: the error in the answer, or C{undefined-condition} if it does not answer this request.
    """
    try:
        inner = _only(_forwarded(outer, "iq"))
    except BadRequest:
        raise StanzaError("undefined-condition", "cancel", _NO_ANSWER) from None
    answer = moved(inner)
    kind = answer.getAttribute("type")
    # The server has matched it already. An answer that does not match is not to be trusted.
    right = answer.getAttribute("id") == request["id"] and answer.getAttribute("to", user) == user
    if not right or kind not in ("result", "error") or outer.getAttribute("type") not in ("result", kind):
        raise StanzaError("undefined-condition", "cancel", _NO_ANSWER)
    if kind == "error":
        raise readError(answer)
    return answer


def holdsAnswer(outer: domish.Element) -> bool:
    """Return true if a server's error wraps the answer; false for an error of the server itself."""
    return any(True for _ in _forwarded(outer, "iq"))


def isPrivileged(stanza: domish.Element) -> bool:
    """Return true if a stanza has a child in a namespace of the specification."""
    return any(child.uri in VERSIONS for child in stanza.elements())


# Parts of several stanzas. A stanza must be L{moved} before it is put into another one.


def moved(stanza: domish.Element) -> domish.Element:
    """Return a copy of a stanza with all elements of its own namespace in that of clients."""
    return move.moved(stanza, stanza.uri, ns.CLIENT)


def _forward(parent: domish.Element, stanza: domish.Element) -> None:
    """Add a forwarded stanza (XEP-0297)."""
    parent.addElement((ns.FORWARD, "forwarded")).addChild(stanza)


def _forwarded(outer: domish.Element, name: str) -> Iterator[domish.Element]:
    """Yield the stanzas that a stanza wraps, of any namespace: Prosody and the examples leave it out."""
    for version in VERSIONS:
        for privilege in outer.elements(version, "privilege"):
            for forwarded in privilege.elements(ns.FORWARD, "forwarded"):
                yield from (child for child in forwarded.elements() if child.name == name)


def _only(elements: Iterator[domish.Element]) -> domish.Element:
    found = list(elements)
    if len(found) != 1:
        raise BadRequest
    return found[0]
