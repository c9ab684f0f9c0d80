"""Iq requests to rooms: disco, pings, administration and configuration (XEP-0045 sections 6 and 8 to 10)."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import jids, ns
from gateway.errors import Malformed, NoSuchAddress, NotInTheRoom, TooMuch, Unhandled, Unreadable
from gateway.fmuc import configuration, disco
from gateway.fmuc.actions import Action
from gateway.fmuc.administration import Change, ListedUser, adminList, applyChanges, entitled
from gateway.fmuc.core import Rooms
from gateway.fmuc.muc_xml import MAX_PAYLOAD, MAX_REASON, attributes
from gateway.fmuc.room import Room, Settings
from gateway.fmuc.rsm import pageXml
from gateway.fmuc.values import AFFILIATIONS, ROLES
from gateway.stream.stanzas import Stanza, escape, route
from gateway.stringprep import MAX_PART

# Of one request.
_MAX_CHANGES = 100


def answer(rooms: Rooms, stanza: Stanza) -> tuple[str, list[Action]]:
    """
    Return the payload of the answer to an iq request, and actions.

    @raise GatewayError: the answer is this error.
    @raise domish.ParserError: if no tree can be built of the stanza.
    """
    user, address = stanza.sender or "", stanza.recipient or ""
    payload = next(stanza.element.elements(), None)
    if payload is None:
        raise Unreadable
    asked = (payload.uri, payload.name, stanza.type)
    if asked == (ns.PING, "ping", "get"):
        if not disco.ping(rooms, user, address):
            raise Unhandled
        return "", []
    jid, _, nick = address.partition("/")
    if nick:
        # Requests are not forwarded to occupants. Senders who are not occupants are told so.
        try:
            disco.ping(rooms, user, address)
        except NotInTheRoom:
            if payload.uri not in (ns.DISCO_INFO, ns.DISCO_ITEMS):
                raise
            # Section 6.6: for disco from a non-occupant "a MUC service MUST return a <bad-request/> error".
            raise Unreadable from None
        raise Unhandled
    if asked == (ns.DISCO_INFO, "query", "get"):
        node = payload.getAttribute("node", "")
        return _query(ns.DISCO_INFO, node, _info(disco.info(rooms, jid, node))), []
    if asked == (ns.DISCO_ITEMS, "query", "get"):
        node = payload.getAttribute("node", "")
        return _query(ns.DISCO_ITEMS, node, pageXml(disco.items(rooms, user, jid, node), payload)), []
    if payload.name != "query" or payload.uri not in (ns.MUC_ADMIN, ns.MUC_OWNER):
        raise Unhandled
    room = rooms.rooms.get(jid)
    if room is None:
        raise NoSuchAddress
    if payload.uri == ns.MUC_ADMIN:
        return _administer(rooms, room, user, payload, stanza.type == "set")
    return _own(rooms, room, user, payload, stanza.type == "set")


def result(stanza: Stanza, payload: str) -> bytes:
    """Return the answer to an iq request."""
    addresses = route(stanza.recipient or "", stanza.sender or "")
    head = f" id='{escape(stanza.id or '')}' type='result'>"
    return b"".join((b"<iq", addresses, head.encode(), payload.encode(), b"</iq>"))


def _query(namespace: str, node: str, inside: str) -> str:
    head = f"<query xmlns='{namespace}'{attributes(node=node).decode()}"
    return f"{head}>{inside}</query>" if inside else f"{head}/>"


def _info(info: disco.Info | None) -> str:
    if info is None:
        return ""
    found = f"<identity category='conference' type='text' name='{escape(info.name)}'/>"
    found += "".join(f"<feature var='{feature}'/>" for feature in info.features)
    if info.fields:
        fields = "".join(_field(var, value) for var, value in info.fields)
        found += f"<x xmlns='{ns.DATA}' type='result'>{_formType(ns.MUC_ROOM_INFO)}{fields}</x>"
    return found


def _formType(namespace: str) -> str:
    return f"<field var='FORM_TYPE' type='hidden'><value>{namespace}</value></field>"


def _field(var: str, value: str, **more: str) -> str:
    return f"<field var='{var}'{attributes(**more).decode()}><value>{escape(value)}</value></field>"


# Administration.


def _administer(
    rooms: Rooms, room: Room, user: str, payload: domish.Element, isSet: bool
) -> tuple[str, list[Action]]:
    """
    Handle a list, or changes of one (sections 8 and 9).

    Rights are checked first; the items of a user without rights are not read.
    """
    problem = entitled(room, user) if isSet else None
    if problem is not None:
        raise problem
    items = [item for item in payload.elements() if item.name == "item"]
    if not items:
        raise Unreadable
    if len(items) > _MAX_CHANGES:
        raise TooMuch
    if isSet:
        problem = applyChanges(room, user, [_change(item) for item in items])
        if problem is not None:
            raise problem
        return "", rooms.settled(room)
    found = adminList(room, user, Change(**_standing(items[0])))
    if not isinstance(found, list):
        raise found
    inside = _listed(found)
    if len(inside.encode()) > MAX_PAYLOAD:
        # Sections 8.5 to 10.8: the service "MUST then return" the whole list, in one stanza.
        raise TooMuch
    return _query(ns.MUC_ADMIN, "", inside), []


def _standing(item: domish.Element) -> dict[str, str]:
    role, affiliation = item.getAttribute("role", ""), item.getAttribute("affiliation", "")
    # An item has a role or an affiliation; roles are given by nick.
    if bool(role) == bool(affiliation) or role not in (*ROLES, "") or affiliation not in (*AFFILIATIONS, ""):
        raise Unreadable
    return {"role": role, "affiliation": affiliation}


def _change(item: domish.Element) -> Change:
    reason = next((str(each) for each in item.elements() if each.name == "reason"), "")
    return Change(
        nick=item.getAttribute("nick", ""),
        jid=_bare(item.getAttribute("jid", "")),
        reason=reason[:MAX_REASON],
        **_standing(item),
    )


def _bare(jid: str) -> str:
    """Return a prepared bare JID. A resource is ignored, but its length is checked."""
    account, _, resource = jid.partition("/")
    if len(resource.encode()) > MAX_PART:
        raise Malformed
    try:
        return jids.prepared(account) if jid else ""
    except ValueError:
        raise Malformed from None


def _listed(found: Iterable[ListedUser]) -> str:
    return "".join(
        "<item"
        + attributes(affiliation=each.affiliation, role=each.role, jid=each.jid, nick=each.nick).decode()
        + "/>"
        for each in found
    )


# Configuration.


def _own(rooms: Rooms, room: Room, user: str, payload: domish.Element, isSet: bool) -> tuple[str, list[Action]]:
    """Handle the configuration form, its submission, and the destruction of a room (section 10)."""
    if not isSet:
        return _query(ns.MUC_OWNER, "", _form(configuration.configuration(room, user))), []
    for child in payload.elements():
        if child.name == "destroy":
            reason = next((str(each) for each in child.elements() if each.name == "reason"), "")
            configuration.destroy(room, user, reason, _bare(child.getAttribute("jid", "")))
            return "", rooms.settled(room)
        if (child.uri, child.name) == (ns.DATA, "x"):
            # Section 10.1.2: an empty form changes nothing; nor does a cancelled one.
            given = _submitted(child) if child.getAttribute("type") == "submit" else {}
            configuration.configure(room, user, given)
            return "", rooms.settled(room)
    raise Unreadable


def _form(settings: Settings) -> str:
    values = configuration.values(settings)
    fields = ""
    for field in configuration.FIELDS:
        described = attributes(type=field.kind, label=field.label).decode()
        options = "".join(
            f"<option><value>{each}</value></option>" for each in configuration.WHOIS if field.kind == "list-single"
        )
        value = f"<value>{escape(values[field.var])}</value>"
        fields += f"<field var='{field.var}'{described}>{value}{options}</field>"
    return f"<x xmlns='{ns.DATA}' type='form'>{_formType(ns.MUC_ROOM_CONFIG)}{fields}</x>"


def _submitted(form: domish.Element) -> dict[str, str]:
    given: dict[str, str] = {}
    for field in form.elements():
        value = next((str(each) for each in field.elements() if each.name == "value"), None)
        if field.name == "field" and value is not None:
            given[field.getAttribute("var", "")] = value
    return given
