"""Stanzas between puppets and ordinary rooms (XEP-0045)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from xml.etree.ElementTree import canonicalize

from attrs import evolve, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.fmuc.actions import AskArchive, Content, Join, Kept, OpenRoom, PrivateMessage, SelfPing, Submission
from gateway.fmuc.values import NodeMessage, NodePresence
from gateway.muc import stanzas as muc
from gateway.muc.actions import Action
from gateway.muc.elements import messageXml, mucXml
from gateway.muc.stanzas import attributeOf, parts, readCodes, readId
from gateway.muc.values import (
    CONFIGURATION_CODES,
    CREATED,
    NON_ANONYMOUS,
    SELF,
    UNAVAILABLE,
    Delay,
    OccupantPresence,
    Payload,
    Standing,
    person,
)
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import Part
from gateway.xml.errors import errorXml
from gateway.xml.write import iq, presence, route, serialised, tag, textTag

# Namespaces of elements that are not forwarded from ordinary rooms: their occupants may not speak as nodes do; and
# ejabberd tells the ids of its archive, which are none of a mirror's, in new messages, but not in the history.
_RESERVED = muc.RESERVED | {ns.FMUC, ns.RESUME, ns.CHANNEL, "urn:xmpp:mam:tmp"}
# Messages of a page of an archive.
_PAGE = "100"
# Stands for addresses that are written later. XML does not allow this character.
_ADDRESSES = b"\0"
# Status codes that say something about the ordinary room, or whose presence it is.
_OWN_CODES = frozenset((NON_ANONYMOUS, SELF, CREATED))


@frozen
class ToOrdinary(Action):
    """
    Send one stanza of a puppet to an ordinary room.

    @ivar source: bare JID of the ordinary room.
    @ivar address: of the puppet.
    @ivar id: C{id} of a presence.
    @ivar hasHistory: True if a join asks for the history.
    """

    source: str
    address: str
    stanza: Content
    id: str | None = None
    hasHistory: bool = False


def ofPuppet(action: ToOrdinary) -> bytes:
    """Serialise a stanza of a puppet."""
    return _WRITERS[type(action.stanza)](action, action.stanza)


def leaveOf(source: str, address: str, nick: str) -> ToOrdinary:
    """Return the leave of a puppet that stands for nobody."""
    presence = OccupantPresence(
        nick=nick, realJid="", nonAnonymous=False, standing=Standing(), payload=Payload(), change=UNAVAILABLE
    )
    return ToOrdinary(source, address, presence)


def presenceOf(source: str, address: str, nick: str, payload: Payload) -> ToOrdinary:
    """Return the presence of a puppet that is in; parameters as of L{leaveOf}."""
    presence = OccupantPresence(
        nick=nick, realJid="", nonAnonymous=False, standing=Standing(), payload=payload
    )
    return ToOrdinary(source, address, presence)


def isSame(one: Payload, other: Payload) -> bool:
    """True if two presences tell the same. A room may write one anew."""
    if one.raw == other.raw:
        return True
    return len(set(map(_canonical, (one.raw, other.raw)))) == 1


def _canonical(raw: bytes) -> str:
    return canonicalize(tag("x", raw.decode(), xmlns=ns.COMPONENT_ACCEPT), rewrite_prefixes=True)


def _join(action: ToOrdinary, stanza: Join) -> bytes:
    request = stanza.request
    most = None if action.hasHistory else 0
    muc = mucXml(request.password, request.limits.since if action.hasHistory else None, most).encode()
    payload = request.payload
    addresses = route(action.address, f"{action.source}/{request.nick}")
    return presence(addresses, None, muc + payload.raw, payload.language or None)


def _presence(action: ToOrdinary, stanza: OccupantPresence) -> bytes:
    kind = "unavailable" if stanza.change.unavailable else None
    addresses, payload = route(action.address, f"{action.source}/{stanza.nick}"), stanza.payload
    return presence(addresses, kind, payload.raw or None, payload.language or None, action.id)


def _message(action: ToOrdinary, stanza: Submission) -> bytes:
    return messageXml(stanza.message, route(action.address, action.source))


def _privateMessage(action: ToOrdinary, stanza: PrivateMessage) -> bytes:
    message, error = stanza.message, stanza.stanzaError
    to = f"{action.source}/{stanza.recipient}" if stanza.recipient else action.source
    # XEP-0045 section 7.5: the sender of a private message "SHOULD include" this element.
    extra = tag("x", xmlns=ns.MUC_USER) if stanza.recipient else ""
    if error is not None:
        extra = errorXml(error.kind, error.condition, error.text)
        message = evolve(message, kind="error")
    return messageXml(message, route(action.address, to), extra)


def _selfPing(action: ToOrdinary, stanza: SelfPing) -> bytes:
    addresses = route(action.address, f"{action.source}/{stanza.nick}")
    return iq(addresses, stanza.id, "get", tag("ping", xmlns=ns.PING).encode())


def _openRoom(action: ToOrdinary, stanza: OpenRoom) -> bytes:
    query = tag("query", tag("x", xmlns=ns.DATA, type="submit"), xmlns=ns.MUC_OWNER)
    return iq(route(action.address, action.source), stanza.id, "set", query.encode())


def _askArchive(action: ToOrdinary, stanza: AskArchive) -> bytes:
    """Return a query of a page (XEP-0313 section 4.3)."""
    page = tag("set", textTag("max", _PAGE) + textTag("after", stanza.after), xmlns=ns.RSM)
    query = tag("query", page, xmlns=ns.MAM, queryid=stanza.id)
    return iq(route(action.address, action.source), stanza.id, "set", query.encode())


def _kept(action: ToOrdinary, stanza: Kept) -> bytes:
    """Write an iq request whose start tag is still to be written."""
    return stanza.data.replace(_ADDRESSES, route(action.address, action.source), 1)


_WRITERS: dict[type[Any], Callable[[ToOrdinary, Any], bytes]] = {
    Join: _join,
    SelfPing: _selfPing,
    OpenRoom: _openRoom,
    AskArchive: _askArchive,
    Kept: _kept,
    OccupantPresence: _presence,
    Submission: _message,
    PrivateMessage: _privateMessage,
}


def naming(stanza: Stanza, addresses: Callable[[], Mapping[str, str]]) -> bytes | None:
    """
    Return a request to change affiliations (XEP-0045 section 9) in which users are named by their puppets, as the
    ordinary room knows them; C{None} if it is another request, or names no puppet. The start tag has no addresses.

    @param addresses: returns the bare JIDs of puppets by those of their users.
    """
    if ns.MUC_ADMIN.encode() not in stanza.raw:
        return None
    payload = next(stanza.element.elements(), None)
    items = [] if payload is None or payload.uri != ns.MUC_ADMIN else list(payload.elements())
    named = [item for item in items if item.getAttribute("jid")]
    if payload is None or not named:
        return None
    puppets, isChanged = addresses(), False
    for item in named:
        address = puppets.get(person(item["jid"]))
        if address is not None:
            item["jid"], isChanged = address, True
    if not isChanged:
        return None
    return iq(_ADDRESSES, stanza.id or "", "set", serialised(payload, ns.COMPONENT_ACCEPT).encode())


def readPresence(stanza: Stanza) -> tuple[NodePresence, tuple[int, ...]]:
    """
    Read a presence of an ordinary room; return it, and those of its codes that are for the recipient alone.

    @raise BadRequest: if it cannot be read.
    """
    found = parts(stanza)
    make: Callable[..., NodePresence] = NodePresence
    codes: tuple[int, ...] = ()
    for part in found:
        if part.namespace == ns.OCCUPANT_ID:
            make = partial(make, occupantId=readId(part))
        elif part.namespace == ns.MUC_USER:
            codes += readCodes(part.element, _OWN_CODES)
    return muc.readPresence(stanza, found, make, _RESERVED), codes


def readMessage(stanza: Stanza, source: str, room: str) -> NodeMessage:
    """
    Read a message of an ordinary room.

    @param source: bare JID of the ordinary room, which is named as the origin of the time of each message.
    @param room: bare JID of the room here, in whose name only this component assigns stanza ids.
    @raise BadRequest: if it cannot be read.
    """
    found = parts(stanza)
    delays = [part for part in found if part.namespace == ns.DELAY]
    if len(delays) > 1 and any(_isOf(part, source) for part in delays):
        # The others are those of senders (XEP-0203 section 4).
        found = [part for part in found if part.namespace != ns.DELAY or _isOf(part, source)]
    make: Callable[..., NodeMessage] = NodeMessage
    for part in found:
        if part.namespace == ns.MUC_USER:
            make = partial(make, codes=readCodes(part.element, CONFIGURATION_CODES))
        elif part.namespace == ns.OCCUPANT_ID:
            make = partial(make, occupantId=readId(part))
    message = muc.readMessage(stanza, found, make, _RESERVED, room)
    return message if message.delay is None else evolve(message, delay=Delay(source, message.delay.stamp))


def _isOf(delay: Part, source: str) -> bool:
    """True if a room (bare JID) has written a delay, in its own name or that of an occupant."""
    return jids.bare(attributeOf(delay, "from")) == source
