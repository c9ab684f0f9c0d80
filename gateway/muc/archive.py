"""
Archives of rooms (XEP-0313): the messages that are stored, the users who may read them, and queries. Pure.

An archive lasts as long as its room: a new room with the same address must not show it. That of a mirror lasts as
long as the mirror knows that nothing is missing in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    ArchiveClosed,
    BadRequest,
    Banned,
    NoHandler,
    NoSuchNode,
    NotEntitled,
    ResourceLimit,
    UnknownField,
)
from gateway.muc import locked
from gateway.muc.actions import ReadArchive, ResumeArchive, ToArchive
from gateway.muc.archive_values import ArchivedMessage, ArchiveQuery
from gateway.muc.archive_xml import formXml
from gateway.muc.datetimes import parseDateTime
from gateway.muc.forms import isForm, readForm
from gateway.muc.ids import MAX_ID
from gateway.muc.room import Room
from gateway.muc.service import RoomService
from gateway.muc.values import ADMIN, MODERATOR, NONE, OUTCAST, OWNER, RoomMessage, person
from gateway.stream.stanzas import Stanza

# Messages of one page, and ids of one query.
MAX_PAGE = 100
# Characters of a query id: each result repeats it.
_MAX_WORD = 1_000


# Storing.


def add(room: Room, message: RoomMessage) -> None:
    """
    Store a message that will be sent to all, if it belongs into the archive: "All messages sent to the room that
    contain a <body/> element SHOULD be stored, as should subject change stanzas" (section 6.1.2), but for the hints
    of XEP-0334.

    @param message: with its delay.
    """
    if room.bounds.archived and message.store and message.stanzaId:
        room.emit(ToArchive(archived(room, message)))


def resume(room: Room, *messages: RoomMessage) -> None:
    """
    Continue the archive of a mirror, when it has got the history of its joined room.

    @param messages: further ones with delays, such as the subject.
    """
    if room.bounds.archived:
        room.emit(newest(room, *messages))


def newest(room: Room, *messages: RoomMessage) -> ResumeArchive:
    """
    Return the messages of a room as the newest ones of its archive.

    @param messages: as of L{resume}.
    """
    found = [each for each in (*room.history, *messages) if each.delay is not None and each.stanzaId]
    found.sort(key=lambda each: each.delay.stamp if each.delay is not None else 0.0)
    return ResumeArchive(room.jid, tuple(archived(room, each) for each in found))


def archived(room: Room, message: RoomMessage) -> ArchivedMessage:
    """Return a message as it is stored."""
    assert message.delay is not None
    sender, realJid = room.occupants.get(message.nick), message.realJid
    if sender is not None and (sender.realJid != realJid or sender.id != message.occupantId):
        # The sender has left, and another user has the nick. A mirror may have taken that user for the sender.
        realJid = "" if sender.realJid == realJid else realJid
        sender = None
    return ArchivedMessage(
        room=room.jid,
        id=message.stanzaId,
        utc=int(message.delay.stamp),
        nick=message.nick,
        realJid=realJid,
        person=_personOf(realJid) if sender is None else sender.person,
        isOpen=room.settings.nonAnonymous if sender is None else sender.nonAnonymous,
        affiliation="" if sender is None else sender.standing.affiliation,
        role="" if sender is None else sender.standing.role,
        occupantId=message.occupantId,
        stanza=message.id,
        language=message.payload.language,
        payload=message.payload.raw.decode(),
        isSubject=message.subject,
    )


def _personOf(realJid: str) -> str:
    return person(realJid) if realJid else ""


# Requests.


def features(rooms: RoomService) -> tuple[str, ...]:
    """Return the features of disco#info of a room (section 7)."""
    return (ns.MAM, ns.MAM_EXTENDED) if rooms.areArchived else ()


def answer(rooms: RoomService, stanza: Stanza, payload: domish.Element) -> str | None:
    """
    Handle a request to the archive of a room.

    @return: the payload of the answer; C{None} if the room was given the action that answers.
    @raise GatewayError: the answer is this error.
    """
    user, jid = stanza.sender or "", stanza.recipient or ""
    handle = _REQUESTS.get((payload.name, stanza.type or ""))
    if not rooms.areArchived or handle is None or jid == rooms.jid:
        raise NoHandler
    room = rooms.rooms.get(jid)
    if room is None:
        raise rooms.absent(jid)
    seesAll = checkReader(room, user)
    if payload.getAttribute("node"):
        # Section 6.1.3: nodes are for pubsub.
        raise NoSuchNode
    return handle(room, stanza, payload, seesAll)


def checkReader(room: Room, user: str) -> bool:
    """
    Check that a user may read the archive: "A MUC archive MUST check that the user requesting the archive has the
    right to enter it at the time of the query" (section 6.1.2). Occupants have this right. Other users
    cannot present a password, and a mirror does not know their rights.

    @param user: full JID.
    @return: True if the user may see all real JIDs.
    @raise GatewayError: if the user may not read it. Section 8.1: "the error condition SHOULD be 'forbidden'".
    """
    affiliation = room.affiliation(user)
    occupant = room.users.get(user)
    if occupant is None:
        if room.nodes.isMirror or room.nodes.occupantAt(user) is not None:
            raise ArchiveClosed
        locked.check(room, affiliation)
        if affiliation == OUTCAST:
            raise Banned
        if room.settings.password or (room.settings.membersOnly and affiliation == NONE):
            raise ArchiveClosed
    return affiliation in (OWNER, ADMIN) or (occupant is not None and occupant.standing.role == MODERATOR)


def checkAgain(rooms: RoomService, action: ReadArchive) -> None:
    """
    Check the rights of a user whose query is answered now: they may have changed while it waited, and the room may
    be another one with the same address.

    @raise GatewayError: if the user may not read the archive any longer, or may see fewer real JIDs.
    """
    user, jid = action.stanza.sender or "", action.stanza.recipient or ""
    room = rooms.rooms.get(jid)
    if room is None:
        raise rooms.absent(jid)
    seesAll = checkReader(room, user)
    if action.query is not None and action.query.seesAll and not seesAll:
        raise NotEntitled


def _form(room: Room, stanza: Stanza, payload: domish.Element, seesAll: bool) -> str:
    return formXml()


def _metadata(room: Room, stanza: Stanza, payload: domish.Element, seesAll: bool) -> None:
    room.emit(ReadArchive(stanza, None))


def _query(room: Room, stanza: Stanza, payload: domish.Element, seesAll: bool) -> None:
    room.emit(ReadArchive(stanza, readQuery(room, payload, seesAll)))


_Handle = Callable[[Room, Stanza, domish.Element, bool], str | None]
_REQUESTS: dict[tuple[str, str], _Handle] = {
    ("query", "get"): _form,
    ("query", "set"): _query,
    ("metadata", "get"): _metadata,
}


def readQuery(room: Room, payload: domish.Element, seesAll: bool) -> ArchiveQuery:
    """
    Read a query.

    @raise GatewayError: if it cannot be read, or asks for what the user may not know.
    """
    queryId = payload.getAttribute("queryid")
    if len(queryId or "") > _MAX_WORD:
        raise BadRequest
    values: dict[str, Any] = {"limit": MAX_PAGE}
    seesOpen = seesAll or room.settings.nonAnonymous
    for child in payload.elements():
        if isForm(child):
            values.update(_readFilters(room, child, seesOpen))
        elif (child.uri, child.name) == (ns.RSM, "set"):
            values.update(_readPage(child))
        elif (child.uri, child.name) == (ns.MAM, "flip-page"):
            values["isFlipped"] = True
    return ArchiveQuery(room=room.jid, queryId=queryId, seesAll=seesAll, seesOpen=seesOpen, **values)


def _readFilters(room: Room, element: domish.Element, seesOpen: bool) -> dict[str, Any]:
    """Return the values of the form (section 4.1)."""
    form = readForm(element)
    if not form.isSubmitted(ns.MAM):
        raise BadRequest
    if form.values.keys() - _FIELDS.keys():
        # Section 4.1.5: "the server MUST respond with a 'feature-not-implemented' error".
        raise UnknownField
    found: dict[str, Any] = {}
    for var, values in form.values.items():
        if var == "ids":
            if len(values) > MAX_PAGE:
                raise ResourceLimit
            found["ids"] = tuple(map(_readId, dict.fromkeys(values)))
        elif var == "with" and values:
            found.update(_readSender(room, values[0], seesOpen))
        elif var in ("start", "end") and values:
            found[var] = _readTime(values[0], isEnd=var == "end")
        elif _FIELDS[var] and values:
            found[_FIELDS[var]] = _readId(values[0])
    return found


# The attributes of the fields that are ids.
_FIELDS = {
    **dict.fromkeys(("FORM_TYPE", "with", "start", "end", "ids"), ""),
    "after-id": "afterId",
    "before-id": "beforeId",
}


def _readPage(element: domish.Element) -> dict[str, Any]:
    """Return the values of a set (XEP-0059). Unreadable numbers mean no limit."""
    words = {each.name: str(each) for each in element.elements()}
    found: dict[str, Any] = {"isBackwards": "before" in words}
    if (most := _number(words.get("max", ""))) is not None:
        found["limit"] = min(most, MAX_PAGE)
    if (index := _number(words.get("index", ""))) is not None:
        found["offset"] = index
    if words.get("after"):
        found["after"] = _readId(words["after"])
    if words.get("before"):
        found["before"] = _readId(words["before"])
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _readId(text: str) -> str:
    if not text or len(text) > MAX_ID or "\0" in text:
        raise BadRequest
    return text


def _readTime(text: str, isEnd: bool) -> int:
    """Return whole seconds, as messages have them. A fraction begins after the second that it follows."""
    seconds = parseDateTime(text)
    if seconds is None:
        raise BadRequest
    return int(seconds) if isEnd or "." not in text else int(seconds) + 1


def _readSender(room: Room, text: str, seesOpen: bool) -> dict[str, Any]:
    """
    Return the filter by the sender: an occupant's address, or a real JID. The latter "should only be available to
    entities that would already have been allowed to know the publisher" (section 4.1.1).
    """
    jid = jids.prepared(text)
    account, _, nick = jid.partition("/")
    if account == room.jid:
        return {"nick": nick} if nick else {}
    if not seesOpen:
        raise NotEntitled
    return {"sender": jid}
