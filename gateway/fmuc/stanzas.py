"""
Rooms on the wire: presence and messages of local users and of other nodes, to and from values.
"""

from __future__ import annotations

from attrs import evolve
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import Unreadable
from gateway.fmuc import datetimes
from gateway.fmuc.actions import Action, Invite, News, Refuse, ToUsers
from gateway.fmuc.dialects import toNode
from gateway.fmuc.muc_xml import LARGEST, LONGEST_REASON, attributes, errorXml, messageXml, mucUser
from gateway.fmuc.payload import Part, children, parts
from gateway.fmuc.values import (
    AFFILIATIONS,
    HERE,
    NONE,
    PARTICIPANT,
    ROLES,
    Content,
    Delay,
    Fmuc,
    Invitation,
    Limits,
    Message,
    Presence,
    Rank,
    Refusal,
    Shown,
)
from gateway.stream.outflow import Copies
from gateway.stream.stanzas import Stanza, escape

# What nobody may put into what others are shown: a room says such things itself.
_OURS = frozenset((ns.MUC, ns.MUC_USER, ns.FMUC, ns.DELAY, ns.DELAY_1))

# Characters of a password, or of an id that is to be remembered.
_LONGEST_WORD = 1_000
# What an occupant shows to all who are in and all who will be; XEP-0045 section 17.1: "A MUC service MAY choose to
# discard extended presence information".
_LARGEST_PRESENCE = 16 * 1024
# Characters of a JID (RFC 7622 section 3.1), and so of what is part of one.
_LONGEST_ADDRESS = 3_071


def readPresence(stanza: Stanza) -> Presence:
    """
    A presence stanza of type none, unavailable or error.

    @raise Unreadable: if it cannot be read.
    """
    found = parts(stanza)
    content = _content(stanza, found)
    if len(content.raw) + len(content.language) > _LARGEST_PRESENCE:
        content = Content()
    presence = Presence(gone=stanza.type == "unavailable", content=content, id=stanza.id)
    for part in found:
        if part.namespace == ns.MUC:
            element = _tree(part)
            presence = evolve(presence, joins=True, password=_text(element, "password"), limits=_limits(element))
        elif part.namespace == ns.FMUC:
            presence = evolve(presence, fmuc=_fmuc(_tree(part)))
        elif part.namespace == ns.MUC_USER:
            presence = _withUser(presence, _tree(part))
    if presence.joins and max(len(presence.id or ""), len(presence.password)) > _LONGEST_WORD:
        raise Unreadable
    refusal = _refusal(found)
    if stanza.type == "error":
        presence = evolve(presence, refusal=refusal or Refusal("cancel", "undefined-condition"))
    elif refusal is not None and presence.fmuc is not None and presence.fmuc.reject is not None:
        # Beside a rejection our own nodes say which it is.
        presence = evolve(presence, refusal=evolve(refusal, text=presence.fmuc.reject))
    return presence


def readMessage(stanza: Stanza) -> Message:
    """
    A message stanza.

    @raise Unreadable: if it cannot be read.
    """
    found = parts(stanza)
    content = _content(stanza, found)
    if len(content.raw) + len(content.language) + len(stanza.id or "") > LARGEST:
        raise Unreadable
    names = {part.name for part in found if part.namespace == ns.COMPONENT_ACCEPT}
    message = Message(
        kind=stanza.type,
        content=content,
        id=stanza.id,
        # "only a message that contains a <subject/> but no <body/> element shall be considered a subject change".
        subject="subject" in names and "body" not in names,
        form=any((part.namespace, part.name) == (ns.DATA, "x") for part in found),
        lasting="body" in names or any((part.namespace, part.name) == (ns.HINTS, "store") for part in found),
    )
    for part in found:
        if part.namespace == ns.FMUC:
            if part.name == "nomirror":
                message = evolve(message, nomirror=True)
            else:
                message = evolve(message, fmuc=_fmuc(_tree(part)))
        elif part.namespace == ns.MUC_USER:
            message = evolve(message, invitations=_invitations(_tree(part)))
        elif part.namespace == ns.DELAY:
            element = _tree(part)
            stamp = datetimes.read(element.getAttribute("stamp", ""))
            message = evolve(message, delay=Delay(element.getAttribute("from", ""), stamp or 0.0))
    if stanza.type == "error":
        message = evolve(message, refusal=_refusal(found) or Refusal("cancel", "undefined-condition"))
    return message


def _tree(part: Part) -> domish.Element:
    try:
        return part.element
    except domish.ParserError as error:
        raise Unreadable from error


def _content(stanza: Stanza, found: list[Part]) -> Content:
    kept = [part.raw for part in found if part.namespace not in _OURS and not _isError(part)]
    return Content(b"".join(kept), stanza.language or "")


def _isError(part: Part) -> bool:
    return part.name == "error" and part.namespace == ns.COMPONENT_ACCEPT


def _text(element: domish.Element, name: str) -> str:
    found = next((each for each in element.elements() if each.name == name), None)
    return "" if found is None else str(found)


def _address(element: domish.Element, name: str) -> str:
    text: str = element.getAttribute(name, "")
    if len(text) > _LONGEST_ADDRESS:
        raise Unreadable
    return text


def _limits(element: domish.Element) -> Limits:
    """What cannot be read is no limit."""
    found = next((each for each in children(element) if each.name == "history"), None)
    if found is None:
        return Limits()
    numbers = {name: found.getAttribute(name, "") for name in ("maxchars", "maxstanzas", "seconds")}
    return Limits(
        **{
            name: int(text)
            for name, text in numbers.items()
            if text.isascii() and text.isdigit() and len(text) < 10
        },
        since=datetimes.read(found.getAttribute("since", "")),
    )


def _fmuc(element: domish.Element) -> Fmuc:
    said = {child.name: child for child in children(element)}
    reject = said.get("reject")
    return Fmuc(
        real=_address(element, "from"),
        replica="replica" in said,
        left="left" in said,
        reject=None if reject is None else str(reject)[:LONGEST_REASON],
    )


def _invitations(element: domish.Element) -> tuple[Invitation, ...]:
    return tuple(
        Invitation(_address(child, "to"), _text(child, "reason")[:LONGEST_REASON], child.name == "decline")
        for child in children(element)
        if child.name in ("invite", "decline")
    )


def _withUser(presence: Presence, element: domish.Element) -> Presence:
    """What C{muc#user} says beside."""
    codes: list[int] = []
    notice = HERE
    for child in children(element):
        if child.name == "item":
            affiliation, role = child.getAttribute("affiliation", NONE), child.getAttribute("role", PARTICIPANT)
            if affiliation not in AFFILIATIONS or role not in ROLES:
                raise Unreadable
            actor = next((each for each in child.elements() if each.name == "actor"), None)
            notice = evolve(
                notice,
                reason=_text(child, "reason")[:LONGEST_REASON],
                actor="" if actor is None else _address(actor, "nick"),
                nick=_address(child, "nick"),
            )
            presence = evolve(presence, item=Rank(affiliation, role), jid=_address(child, "jid"))
        elif child.name == "status":
            code = child.getAttribute("code", "")
            if len(code) == 3 and code.isascii() and code.isdigit() and int(code) in _HANDED_ON:
                codes.append(int(code))
        elif child.name == "destroy":
            notice = evolve(
                notice,
                destroyed=True,
                jid=_address(child, "jid"),
                reason=_text(child, "reason")[:LONGEST_REASON],
            )
    return evolve(presence, notice=evolve(notice, codes=tuple(dict.fromkeys(codes))))


# Status codes that mean the same to those behind a node; the others are said by each node for itself.
_HANDED_ON = frozenset((301, 303, 307, 321, 322, 332, 333))


def _refusal(found: list[Part]) -> Refusal | None:
    part = next((part for part in found if _isError(part)), None)
    if part is None:
        return None
    element = _tree(part)
    condition, text = "undefined-condition", ""
    for child in children(element):
        if child.uri == ns.STANZA_ERRORS and child.name == "text":
            text = str(child)[:LONGEST_REASON]
        elif child.uri == ns.STANZA_ERRORS:
            condition = child.name
    kind = element.getAttribute("type", "")
    return Refusal(kind if kind in ("auth", "cancel", "continue", "modify", "wait") else "cancel", condition, text)


# Writing.


def write(action: Action) -> bytes | Copies:
    """
    Serialise what an action sends; no bytes for what is only to be logged.

    @raise Unreadable: if there is something in it that XML cannot hold.
    """
    if isinstance(action, ToUsers):
        return _toUsers(action)
    if isinstance(action, Refuse):
        return _refuse(action)
    if isinstance(action, Invite):
        return _invite(action)
    if isinstance(action, News):
        return b""
    return toNode(action)


def _toUsers(action: ToUsers) -> bytes | Copies:
    """Serialise once; only the address differs."""
    head, tail = _around(action)
    if len(action.recipients) == 1:
        return head + action.recipients[0] + tail
    return Copies(head, action.recipients, tail)


def _invite(action: Invite) -> bytes:
    invitation = action.invitation
    name = "decline" if invitation.declines else "invite"
    reason = f"<reason>{escape(invitation.reason)}</reason>" if invitation.reason else ""
    password = f"<password>{escape(action.password)}</password>" if action.password else ""
    head = attributes(from_=action.room, to=invitation.jid).decode()
    inside = f"<{name} from='{escape(action.sender)}'>{reason}</{name}>{password}"
    return f"<message{head}><x xmlns='{ns.MUC_USER}'>{inside}</x></message>".encode()


def _around(action: ToUsers) -> tuple[bytes, bytes]:
    """What stands before the recipient's address, and behind it."""
    what, key = action.what, (action.room, action.revealing)
    if not isinstance(what, Shown):
        # XEP-0045 section 7.5: of a private message "The service SHOULD add the <x/> element".
        mark = "" if what.kind == "groupchat" else f"<x xmlns='{ns.MUC_USER}'/>"
        return b"<message from='" + _sender(action) + b"' to='", b"'" + messageXml(what, mark)
    found = None if action.codes else what.written.get(key)
    if found is not None:
        return found
    kind = "unavailable" if what.notice.gone else None
    head = b"<presence from='" + _sender(action) + b"' to='"
    tail = (
        b"'"
        + attributes(type=kind, lang=what.content.language)
        + b">"
        + what.content.raw
        + mucUser(what, what.real if action.revealing else "", action.codes)
        + b"</presence>"
    )
    if not action.codes:
        what.written[key] = head, tail
    return head, tail


def _sender(action: ToUsers) -> bytes:
    nick = action.what.nick
    return escape(f"{action.room}/{nick}" if nick else action.room).encode()


def _refuse(action: Refuse) -> bytes:
    muc = f"<x xmlns='{ns.MUC}'/>" if action.joining else ""
    head = attributes(from_=action.sender, to=action.recipient, id=action.id, type="error")
    return b"".join(
        (
            f"<{action.name}".encode(),
            head,
            f">{muc}{errorXml(action.refusal)}</{action.name}>".encode(),
        )
    )
