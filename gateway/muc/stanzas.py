"""Reads presence and messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import evolve
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, Malformed
from gateway.muc import datetimes
from gateway.muc.elements import MAX_PAYLOAD, MAX_REASON
from gateway.muc.forms import readForm
from gateway.muc.ids import MAX_ID
from gateway.muc.values import (
    AFFILIATIONS,
    AVAILABLE,
    NONE,
    PARTICIPANT,
    ROLES,
    Delay,
    HistoryLimits,
    Invitation,
    Message,
    Payload,
    Presence,
    PresenceChange,
    Standing,
    StanzaError,
    person,
)
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT
from gateway.xml.cut import Part, children, cut, cutTree, only
from gateway.xml.errors import errorParts
from gateway.xml.read import checkCost

# Namespaces that only the room itself may use in stanzas to occupants.
RESERVED = frozenset((ns.MUC, ns.MUC_USER, ns.DELAY, ns.DELAY_1, ns.OCCUPANT_ID))

# Hints of messages that are not stored (XEP-0334 sections 3.1 and 3.2).
_NOT_STORED = frozenset(("no-store", "no-permanent-store"))

# Stanza ids that are read of one message.
_MAX_STANZA_IDS = 10
# Characters of a password, or of an id that is stored.
_MAX_WORD = 1_000
# Bytes of a presence that is sent to all current and future occupants. XEP-0045 section 17.1: "A MUC service MAY
# choose to discard extended presence information".
_MAX_PRESENCE = 16 * 1024
# Characters of a JID (RFC 7622 section 3.1), and so of each of its parts.
_MAX_ADDRESS = 3_071


P = TypeVar("P", bound=Presence)
M = TypeVar("M", bound=Message)


def parts(stanza: Stanza) -> list[Part]:
    """
    Return the elements of a stanza; text between them is ignored.

    @raise BadRequest: if there are too many elements, if no tree can be built where one is needed, or if the
        elements grow too large when serialised.
    """
    checkCost(stanza.raw)
    found = None
    if stanza.cut and not any(use in stanza.raw for use, _ in stanza.context.uses):
        found = cut(stanza.payload, COMPONENT)
    return cutTree(stanza.element, COMPONENT) if found is None else found


def readPresence(
    stanza: Stanza, found: list[Part], make: Callable[..., P], reserved: frozenset[str] = RESERVED
) -> P:
    """
    Read a presence of type none, unavailable or error.

    @param found: the stanza's elements.
    @param make: L{Presence}, or a class built on it, with the values of its further attributes.
    @param reserved: namespaces of elements that are not forwarded.
    @raise BadRequest: if it cannot be read.
    """
    payload = _payload(stanza, found, reserved)
    if len(payload.raw) + len(payload.language) > _MAX_PRESENCE:
        payload = Payload()
    values: dict[str, Any] = {}
    for part in found:
        if part.namespace == ns.MUC:
            element = part.element
            values.update(joins=True, password=_text(element, "password"), limits=_limits(element))
        elif part.namespace == ns.MUC_USER:
            values.update(_userValues(part.element))
    identifier = stanza.id
    if values.get("joins") and max(len(identifier or ""), len(values["password"])) > _MAX_WORD:
        raise BadRequest
    if len(identifier or "") > _MAX_WORD:
        # A leave cannot be refused. Its id is not reflected.
        identifier = None
    if stanza.type == "error":
        values["stanzaError"] = readError(found) or StanzaError("cancel", "undefined-condition")
    return make(unavailable=stanza.type == "unavailable", payload=payload, id=identifier, **values)


def readMessage(
    stanza: Stanza,
    found: list[Part],
    make: Callable[..., M],
    reserved: frozenset[str] = RESERVED,
    room: str | None = None,
) -> M:
    """
    Read a message.

    @param found: the stanza's elements.
    @param make: L{Message}, or a class built on it, with the values of its further attributes.
    @param reserved: namespaces of elements that are not forwarded.
    @param room: bare JID of the room that the message is for, if it is not the recipient's.
    @raise BadRequest: if it cannot be read.
    """
    given = ""
    if any(part.name == "stanza-id" for part in found):
        here = jids.bare(stanza.recipient or "") if room is None else room
        found, given = _cutStanzaIds(found, here, person(stanza.sender or ""))
    payload = _payload(stanza, found, reserved)
    if len(payload.raw) + len(payload.language) + len(stanza.id or "") > MAX_PAYLOAD:
        raise BadRequest
    names: set[str] = set()
    hints: set[str] = set()
    values: dict[str, Any] = {}
    for part in found:
        if part.namespace == ns.COMPONENT_ACCEPT:
            names.add(part.name)
        elif part.namespace == ns.HINTS:
            hints.add(part.name)
        elif part.namespace == ns.MUC_USER:
            values["invitations"] = readInvitations(part.element)
        elif part.namespace == ns.DELAY:
            element = part.element
            stamp = datetimes.parseDateTime(element.getAttribute("stamp", ""))
            values["delay"] = Delay(element.getAttribute("from", ""), stamp or 0.0)
        elif (part.namespace, part.name) == (ns.DATA, "x") and stanza.type != "groupchat":
            values["form"] = readForm(part.element)
    if stanza.type == "error":
        values["stanzaError"] = readError(found) or StanzaError("cancel", "undefined-condition")
    hasContent = "body" in names or "store" in hints
    return make(
        kind=stanza.type,
        payload=payload,
        id=stanza.id,
        # "only a message that contains a <subject/> but no <body/> element shall be considered a subject change".
        subject="subject" in names and "body" not in names,
        store=(hasContent or "subject" in names) and hints.isdisjoint(_NOT_STORED),
        lasts=hasContent or "subject" in names,
        stanzaId=given,
        **values,
    )


def _cutStanzaIds(found: list[Part], room: str, sender: str) -> tuple[list[Part], str]:
    """
    Return the elements without stanza ids in the name of the room or of the sender, and the latter id.

    XEP-0359 section 3: entities that "encounter a <stanza-id/> element where the 'by' attribute matches the 'by'
    attribute they would otherwise set, MUST delete that element". One by the sender would show a user's real JID;
    that of another node is replaced. One that names nobody is invalid.

    @param room: bare JID.
    @param sender: bare JID.
    """
    kept, given, count = [], "", 0
    for part in found:
        if part.namespace == ns.SID and part.name == "stanza-id":
            count += 1
            by = _assigner(part) if count <= _MAX_STANZA_IDS else ""
            if by == sender:
                given = readId(part)
            if by in ("", room, sender):
                continue
        kept.append(part)
    return kept, given


def _assigner(part: Part) -> str:
    """Return the bare JID of the entity that has assigned a stanza id; empty if it is none."""
    try:
        # "XMPP addresses are normalized".
        return jids.bare(jids.prepared(attributeOf(part, "by")))
    except Malformed:
        return ""


def readId(part: Part) -> str:
    """Return an occupant id or a stanza id; empty if it is too long."""
    identifier = attributeOf(part, "id")
    return identifier if len(identifier) <= MAX_ID else ""


def attributeOf(part: Part, name: str) -> str:
    """Return an attribute of an element; empty if it has none."""
    attributes = only(part.raw)
    if attributes is not None:
        return attributes.get(name, "")
    text: str = part.element.getAttribute(name, "")
    return text


def _payload(stanza: Stanza, found: list[Part], reserved: frozenset[str]) -> Payload:
    kept = [part.raw for part in found if part.namespace not in reserved and not _isError(part)]
    return Payload(b"".join(kept), stanza.language or "")


def _isError(part: Part) -> bool:
    return part.name == "error" and part.namespace == ns.COMPONENT_ACCEPT


def _text(element: domish.Element, name: str) -> str:
    found = next((each for each in element.elements() if each.name == name), None)
    return "" if found is None else str(found)


def readAddress(element: domish.Element, name: str) -> str:
    """
    Return an attribute that is an address, or a part of one.

    @raise BadRequest: if it is longer than any address.
    """
    text: str = element.getAttribute(name, "")
    if len(text) > _MAX_ADDRESS:
        raise BadRequest
    return text


def _limits(element: domish.Element) -> HistoryLimits:
    """Read the limits of the history; unreadable values mean no limit."""
    found = next((each for each in children(element) if each.name == "history"), None)
    if found is None:
        return HistoryLimits()
    numbers = {name: found.getAttribute(name, "") for name in ("maxchars", "maxstanzas", "seconds")}
    return HistoryLimits(
        **{
            name: int(text)
            for name, text in numbers.items()
            if text.isascii() and text.isdigit() and len(text) < 10
        },
        since=datetimes.parseDateTime(found.getAttribute("since", "")),
    )


def readInvitations(element: domish.Element) -> tuple[Invitation, ...]:
    """
    Return the invitations and declines in an element C{x} of C{muc#user}.

    @raise BadRequest: if there are too many elements, or an address is too long.
    """
    return tuple(
        Invitation(
            readAddress(child, "to"),
            _text(child, "reason")[:MAX_REASON],
            child.name == "decline",
            readAddress(child, "from"),
        )
        for child in children(element)
        if child.name in ("invite", "decline")
    )


def readChange(element: domish.Element) -> PresenceChange:
    """
    Read the change in an element C{x} of C{muc#user}.

    @raise BadRequest: if it cannot be read.
    """
    change: PresenceChange = _userValues(element)["change"]
    return change


def _userValues(element: domish.Element) -> dict[str, Any]:
    """Return the values of C{muc#user}."""
    values: dict[str, Any] = {}
    change = AVAILABLE
    for child in children(element):
        if child.name == "item":
            affiliation, role = child.getAttribute("affiliation", NONE), child.getAttribute("role", PARTICIPANT)
            if affiliation not in AFFILIATIONS or role not in ROLES:
                raise BadRequest
            actor = next((each for each in child.elements() if each.name == "actor"), None)
            change = evolve(
                change,
                reason=_text(child, "reason")[:MAX_REASON],
                actor="" if actor is None else readAddress(actor, "nick"),
                nick=readAddress(child, "nick"),
            )
            values.update(item=Standing(affiliation, role), jid=readAddress(child, "jid"))
        elif child.name == "destroy":
            change = evolve(
                change,
                destroyed=True,
                jid=readAddress(child, "jid"),
                password=_text(child, "password")[:_MAX_WORD],
                reason=_text(child, "reason")[:MAX_REASON],
            )
    values["change"] = evolve(change, codes=readCodes(element, _FORWARDED_CODES))
    return values


# Status codes that other nodes forward; each node sets the others itself.
_FORWARDED_CODES = frozenset((201, 301, 303, 307, 321, 322, 332, 333))


def readCodes(element: domish.Element, known: frozenset[int]) -> tuple[int, ...]:
    """
    Return the status codes of C{muc#user}, each once.

    @param known: other codes are left out.
    """
    texts = [child.getAttribute("code", "") for child in children(element) if child.name == "status"]
    codes = (int(text) for text in texts if len(text) == 3 and text.isascii() and text.isdigit())
    return tuple(dict.fromkeys(code for code in codes if code in known))


def readError(found: list[Part]) -> StanzaError | None:
    """Return the stanza error, if there is one."""
    part = next((part for part in found if _isError(part)), None)
    if part is None:
        return None
    kind, condition, text = errorParts(part.element)
    return StanzaError(kind, condition, text[:MAX_REASON])
