"""Iq requests to rooms: disco, pings, registration, administration, configuration (XEP-0045 sections 6 to 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.addresses.stringprep import MAX_PART
from gateway.errors import BadRequest, Malformed, NoHandler, NotInTheRoom, ResourceLimit
from gateway.muc import archive, avatar, configuration, disco, register
from gateway.muc.actions import Action
from gateway.muc.administration import MAX_CHANGES, Change, ListedUser, adminList, applyChanges, checkEntitled
from gateway.muc.elements import MAX_PAYLOAD, MAX_REASON, itemXml
from gateway.muc.forms import Form, formXml, isForm, readForm
from gateway.muc.info import Info
from gateway.muc.room import Room
from gateway.muc.rsm import pageXml
from gateway.muc.service import RoomService
from gateway.muc.values import AFFILIATIONS, OUTCAST, ROLES
from gateway.stream.stanzas import Stanza
from gateway.xml.write import iq, route, tag, textTag


def answer(rooms: RoomService, stanza: Stanza, now: float) -> tuple[str | None, list[Action]]:
    """
    Return the payload of the answer to an iq request, and actions.

    @return: C{None} as the payload if the request is forwarded to an occupant, or by a mirror to its joined node,
        or if an archive is read; then the answer comes later.
    @raise GatewayError: the answer is this error.
    """
    user, address = stanza.sender or "", stanza.recipient or ""
    payload = next(stanza.element.elements(), None)
    if payload is None:
        raise BadRequest
    request = (payload.uri, payload.name, stanza.type)
    jid, _, nick = address.partition("/")
    room = rooms.rooms.get(jid)
    if room is not None:
        rooms.ghosts.heard(room, user)
    if request == (ns.PING, "ping", "get") and disco.ping(rooms, user, address):
        return "", []
    if nick:
        return None, _toOccupant(rooms, stanza, payload, now)
    if payload.uri == ns.MAM:
        return archive.answer(rooms, stanza, payload), rooms.settled(room)
    # A mirror does not know the reserved nicks.
    isOwnNick = room is not None and payload.getAttribute("node") == disco.OWN_NICK
    if request in _OF_SERVICE and not (isOwnNick and request in _OF_ROOM):
        return _OF_SERVICE[request](rooms, user, jid, payload), []
    if request not in _OF_ROOM:
        raise NoHandler
    if room is None:
        raise rooms.absent(jid)
    return _toRoom(rooms, room, stanza, payload, now)


def _toRoom(
    rooms: RoomService, room: Room, stanza: Stanza, payload: domish.Element, now: float
) -> tuple[str | None, list[Action]]:
    user = stanza.sender or ""
    elsewhere = room.nodes.downstreamAt(user)
    request = (payload.uri, payload.name, stanza.type)
    if elsewhere is not None and (request in _OF_AUTHORITY or _asksOutcasts(request, payload)):
        room.nodes.checkAuthority(user)
    if stanza.type == "set":
        room.durability.check()
    occupant = elsewhere or room.users.get(user)
    if room.nodes.isMirror and occupant is not None:
        rooms.iqs.relay(room, occupant, stanza, room.nodes.joinedRoom, now)
        return None, rooms.settled(room)
    return _OF_ROOM[request](room, user if elsewhere is None else elsewhere.realJid, payload), rooms.settled(room)


def _asksOutcasts(request: _Request, payload: domish.Element) -> bool:
    """
    True if a request is for the list of bans, which only admins may see. A node that is not trusted with
    administration could name an admin whom it does not have.
    """
    isList = request == (ns.MUC_ADMIN, "query", "get")
    return isList and any(item.getAttribute("affiliation") == OUTCAST for item in payload.elements())


def _toOccupant(rooms: RoomService, stanza: Stanza, payload: domish.Element, now: float) -> list[Action]:
    user, address = stanza.sender or "", stanza.recipient or ""
    room = rooms.rooms.get(jids.bare(address))
    sender = None if room is None else room.users.get(user) or room.nodes.occupantAt(user)
    if room is None or sender is None:
        # Section 6.6: for disco from a non-occupant "a MUC service MUST return a <bad-request/> error".
        raise BadRequest if payload.uri in (ns.DISCO_INFO, ns.DISCO_ITEMS) else NotInTheRoom
    rooms.iqs.forward(room, sender, stanza, (payload.uri or "", payload.name), now)
    return rooms.settled(room)


def result(stanza: Stanza, payload: str) -> bytes:
    """Return the answer to an iq request."""
    addresses = route(stanza.recipient or "", stanza.sender or "")
    return iq(addresses, stanza.id or "", "result", payload.encode())


def _query(namespace: str, node: str, inside: str) -> str:
    return tag("query", inside or None, xmlns=namespace, node=node or None)


# Discovery.


def _discoInfo(rooms: RoomService, user: str, jid: str, payload: domish.Element) -> str:
    return discoInfo(rooms, user, jid, payload.getAttribute("node", ""))


def discoInfo(rooms: RoomService, user: str, jid: str, node: str = "") -> str:
    """
    Return the payload of a disco#info answer.

    @raise GatewayError: the answer is this error.
    """
    return _query(ns.DISCO_INFO, node, _info(disco.info(rooms, jid, node, user)))


def _ownNick(room: Room, user: str, payload: domish.Element) -> str:
    return _query(ns.DISCO_INFO, disco.OWN_NICK, _info(disco.ownNick(room, user)))


def _discoItems(rooms: RoomService, user: str, jid: str, payload: domish.Element) -> str:
    node = payload.getAttribute("node", "")
    return _query(ns.DISCO_ITEMS, node, pageXml(disco.items(rooms, user, jid, node), payload))


def _info(info: Info | None) -> str:
    if info is None:
        return ""
    category, kind = info.identity
    found = tag("identity", category=category, type=kind, name=info.name)
    found += "".join(tag("feature", var=feature) for feature in info.features)
    if info.fields:
        found += formXml("result", ns.MUC_ROOM_INFO, info.fields)
    return found


# Administration (sections 8 and 9).


def _list(room: Room, user: str, payload: domish.Element) -> str:
    inside = _listed(adminList(room, user, Change(**_standing(_items(payload)[0]))))
    if len(inside.encode()) > MAX_PAYLOAD:
        # Sections 8.5 to 10.8: the service "MUST then return" the whole list, in one stanza.
        raise ResourceLimit
    return _query(ns.MUC_ADMIN, "", inside)


def _administer(room: Room, user: str, payload: domish.Element) -> str:
    """Rights are checked first; the items of a user without rights are not read."""
    checkEntitled(room, user)
    applyChanges(room, user, [_change(item) for item in _items(payload)])
    return ""


def _items(payload: domish.Element) -> list[domish.Element]:
    items = [item for item in payload.elements() if item.name == "item"]
    if not items:
        raise BadRequest
    if len(items) > MAX_CHANGES:
        raise ResourceLimit
    return items


def _standing(item: domish.Element) -> dict[str, str]:
    role, affiliation = item.getAttribute("role", ""), item.getAttribute("affiliation", "")
    # An item has a role or an affiliation; roles are given by nick.
    if bool(role) == bool(affiliation) or role not in (*ROLES, "") or affiliation not in (*AFFILIATIONS, ""):
        raise BadRequest
    return {"role": role, "affiliation": affiliation}


def _change(item: domish.Element) -> Change:
    jid, nick = _bare(item.getAttribute("jid", "")), item.getAttribute("nick")
    return Change(
        nick=nick or "",
        jid=jid,
        reserved=nick if jid else None,
        reason=_child(item, "reason")[:MAX_REASON],
        **_standing(item),
    )


def _child(element: domish.Element, name: str) -> str:
    """Return the text of a child element; empty if there is none."""
    return next((str(each) for each in element.elements() if each.name == name), "")


def _bare(jid: str) -> str:
    """Return a prepared bare JID. A resource is ignored, but its length is checked."""
    account, _, resource = jid.partition("/")
    if len(resource.encode()) > MAX_PART:
        raise Malformed
    return jids.prepared(account) if jid else ""


def _listed(found: Iterable[ListedUser]) -> str:
    return "".join(itemXml(each.affiliation, each.role, each.jid, each.nick) for each in found)


# Configuration (section 10).


def _form(room: Room, user: str, payload: domish.Element) -> str:
    fields = configuration.form(room, user)
    title, text = f"Configuration of {room.jid}", "Complete this form to configure the room."
    return _query(ns.MUC_OWNER, "", formXml("form", ns.MUC_ROOM_CONFIG, fields, title, text))


def _configure(room: Room, user: str, payload: domish.Element) -> str:
    for child in payload.elements():
        if child.name == "destroy":
            jid = _bare(child.getAttribute("jid", ""))
            configuration.destroy(room, user, _child(child, "reason"), jid, _child(child, "password"))
            return ""
        if isForm(child):
            # Section 10.1.2: an empty form changes nothing, but it opens a new room.
            given = readForm(child)
            if given.kind == "cancel":
                configuration.cancel(room, user)
            else:
                configuration.configure(room, user, given if given.kind == "submit" else Form())
            return ""
    raise BadRequest


# The vCard (XEP-0486).


def _card(room: Room, user: str, payload: domish.Element) -> str:
    return avatar.cardOf(room)


def _setCard(room: Room, user: str, payload: domish.Element) -> str:
    avatar.setCard(room, user, payload)
    return ""


# Registration (section 7.10).


def _requirements(room: Room, user: str, payload: domish.Element) -> str:
    found = register.requirements(room, user)
    if found.nick:
        return _query(ns.REGISTER, "", tag("registered") + textTag("username", found.nick))
    words = textTag("instructions", "Fill in the form to register with this room.")
    return _query(ns.REGISTER, "", words + found.form)


def _register(room: Room, user: str, payload: domish.Element) -> str:
    for child in payload.elements():
        if (child.uri, child.name) == (ns.REGISTER, "remove"):
            register.unregister(room, user)
            return ""
        if isForm(child):
            register.register(room, user, readForm(child))
            return ""
    raise BadRequest


_Request = tuple[str | None, str, str | None]
_OF_SERVICE: dict[_Request, Callable[[RoomService, str, str, domish.Element], str]] = {
    (ns.DISCO_INFO, "query", "get"): _discoInfo,
    (ns.DISCO_ITEMS, "query", "get"): _discoItems,
}
# Requests that change the room, or show what only owners may see.
_OF_AUTHORITY: frozenset[_Request] = frozenset(
    (
        (ns.MUC_ADMIN, "query", "set"),
        (ns.MUC_OWNER, "query", "get"),
        (ns.MUC_OWNER, "query", "set"),
        (ns.VCARD, "vCard", "set"),
        (ns.REGISTER, "query", "set"),
    )
)
_OF_ROOM: dict[_Request, Callable[[Room, str, domish.Element], str]] = {
    (ns.DISCO_INFO, "query", "get"): _ownNick,
    (ns.MUC_ADMIN, "query", "get"): _list,
    (ns.MUC_ADMIN, "query", "set"): _administer,
    (ns.MUC_OWNER, "query", "get"): _form,
    (ns.MUC_OWNER, "query", "set"): _configure,
    (ns.VCARD, "vCard", "get"): _card,
    (ns.VCARD, "vCard", "set"): _setCard,
    (ns.REGISTER, "query", "get"): _requirements,
    (ns.REGISTER, "query", "set"): _register,
}
