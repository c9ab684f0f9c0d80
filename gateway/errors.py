"""
What can go wrong in the gateway's own terms, and the one table of how each is said to the outside.

A core names the error; a handler looks up how its protocol says it. The texts go to peers: they tell what
happened and nothing about the inside.
"""

from __future__ import annotations

from attrs import frozen


class GatewayError(Exception):
    """Base of all domain errors."""


class StartFailed(SystemExit, Exception):
    """
    The gateway cannot start; ends the process with exit code 1 and the message.

    An C{Exception} as well: of others twistd, in the background, does not tell its parent, which waits for ever.
    It shows the first 100 bytes of class and message, so a message begins with the key and the reason.
    """


class NoResource(GatewayError):
    """The implementing account has no resource online that may be chosen."""


class ResourceGone(GatewayError):
    """The resource that had the request went offline before it answered."""


class NoAnswer(GatewayError):
    """The deadline passed without an answer."""


class TooManyPending(GatewayError):
    """The table of open exchanges is full."""


class OverBudget(GatewayError):
    """The requester has been sent so much in a short time that more would be at the others' cost."""


class NotOffered(GatewayError):
    """This kind of stanza is switched off for this service."""


class NoSuchAddress(GatewayError):
    """The address written to stands for nobody."""


class NoSuchNode(GatewayError):
    """The entity written to has no such node."""


class AlreadyOpen(GatewayError):
    """An exchange with this id and these two addresses is still open."""


class Stopping(GatewayError):
    """The gateway is shutting down."""


class HandlerFailed(GatewayError):
    """A handler raised: the gateway's own fault."""


class Unhandled(GatewayError):
    """No handler wanted the request."""


class Unreadable(GatewayError):
    """The stanza breaks a rule that every stanza keeps to."""


class TooLarge(Unreadable):
    """The stanza has more bytes than the receiver accepts."""


class TooDeep(Unreadable):
    """The elements of the stanza are nested deeper than the receiver accepts."""


class BadNamespace(Unreadable):
    """The stanza is well-formed XML, but breaks the rules of namespaces in XML."""


class Malformed(GatewayError):
    """The address written to is no JID."""


class UnknownServer(GatewayError):
    """The address written to is on a server that is out of reach."""


class NotThere(GatewayError):
    """Nobody is there to take it: no such account, or nothing of it online."""


class Forbidden(GatewayError):
    """The request is for what is not the requester's own."""


class NotGranted(GatewayError):
    """A server has not granted the privilege that this takes; the exception's text says which."""


class CannotAsk(GatewayError):
    """A server does not let the gateway ask for what it stores; the exception's text is for the operator."""


class NotAllowed(GatewayError):
    """What is asked for makes no sense for anybody."""


class NotAcceptable(GatewayError):
    """A value is one that is not taken."""


class TooMuch(GatewayError):
    """There is no room for more of it."""


class StoreFull(GatewayError):
    """The disk has no room; the exception's text is for the operator."""


class StoreBusy(GatewayError):
    """Another process holds the lock of a file, or its disk is slow; the exception's text is for the operator."""


class StoreBroken(GatewayError):
    """A file cannot be used; the exception's text is for the operator."""


class TooManyRooms(GatewayError):
    """The user has made as many rooms as one user may have."""


class NickInUse(GatewayError):
    """Another occupant of the room has this nick."""


class BadNick(GatewayError):
    """No nick that a room takes."""


class NickChangeForbidden(GatewayError):
    """Nicks cannot be changed here."""


class NoNick(GatewayError):
    """A join names no nick."""


class NotAMirror(GatewayError):
    """The address is not that of a mirror."""


class OnlyInTheRoom(GatewayError):
    """A mirror does not do what the room itself may."""


class NotEntitled(GatewayError):
    """It takes a moderator, an admin or an owner."""


class NotInTheRoom(GatewayError):
    """Who writes to a room is not in it."""


class NoVoice(GatewayError):
    """A visitor speaks in a moderated room, or sets a subject that he may not set."""


class NoVoiceRequests(GatewayError):
    """Voice cannot be asked for in these rooms."""


class Banned(GatewayError):
    """The room has banned who wants in."""


class MembersOnly(GatewayError):
    """Who wants in is no member."""


class WrongPassword(GatewayError):
    """The room wants a password, and this is not it."""


class RoomFull(GatewayError):
    """There is no room for more occupants."""


class NotAPeer(GatewayError):
    """A node wants in that the room does not federate with."""


class Loop(GatewayError):
    """A join comes back to the node that it comes from."""


class LastOwner(GatewayError):
    """A room would have no owner, or somebody would ban himself."""


class NotMirrored(GatewayError):
    """The room is none that may be mirrored, or the user none who may join through the mirror."""


@frozen
class Answer:
    """
    How an error is said.

    @ivar condition: the stanza error condition (RFC 6120 section 8.3.3).
    @ivar kind: the stanza error's type.
    @ivar status: the HTTP status.
    @ivar text: a sentence for people; empty where the condition says it all.
    """

    condition: str
    kind: str
    status: int
    text: str = ""


ANSWERS: dict[type[GatewayError], Answer] = {
    NoResource: Answer("service-unavailable", "cancel", 503, "No implementing client is online."),
    ResourceGone: Answer("service-unavailable", "cancel", 503, "The implementing client went offline."),
    NoAnswer: Answer("remote-server-timeout", "wait", 504, "No answer came in time."),
    TooManyPending: Answer("resource-constraint", "wait", 503, "Too many requests are open; try again later."),
    OverBudget: Answer(
        "resource-constraint", "wait", 503, "You were sent very much in a short time; try again in a few seconds."
    ),
    NotOffered: Answer("service-unavailable", "cancel", 403, "This service does not take such stanzas."),
    NoSuchAddress: Answer("item-not-found", "cancel", 404, "Nobody is known by this address."),
    NoSuchNode: Answer("item-not-found", "cancel", 404),
    AlreadyOpen: Answer("conflict", "cancel", 409, "A request with this id is still open."),
    Stopping: Answer("service-unavailable", "cancel", 503, "The gateway is shutting down."),
    HandlerFailed: Answer("internal-server-error", "cancel", 500),
    Unhandled: Answer("service-unavailable", "cancel", 404),
    Unreadable: Answer("bad-request", "modify", 400),
    TooLarge: Answer("policy-violation", "modify", 413, "The stanza is too large."),
    TooDeep: Answer("policy-violation", "modify", 400, "The elements of the stanza are nested too deep."),
    BadNamespace: Answer("bad-request", "modify", 400, "The stanza breaks the rules of namespaces in XML."),
    Malformed: Answer("jid-malformed", "modify", 400, "The address is not a JID."),
    UnknownServer: Answer("remote-server-not-found", "cancel", 502, "This host reaches no other server."),
    NotThere: Answer("service-unavailable", "cancel", 404),
    Forbidden: Answer("forbidden", "auth", 403),
    NotGranted: Answer("forbidden", "auth", 403, "The privilege for this is not granted."),
    CannotAsk: Answer("service-unavailable", "cancel", 503),
    NotAllowed: Answer("not-allowed", "cancel", 405),
    NotAcceptable: Answer("not-acceptable", "modify", 406),
    TooMuch: Answer("resource-constraint", "wait", 503, "There is no room for more of these."),
    StoreFull: Answer("resource-constraint", "wait", 503, "There is no room to store anything; try again later."),
    StoreBusy: Answer("resource-constraint", "wait", 503, "The storage is busy; try again later."),
    StoreBroken: Answer("internal-server-error", "cancel", 500, "The storage does not work at the moment."),
    TooManyRooms: Answer("resource-constraint", "wait", 503, "You have made as many rooms here as one user may."),
    NickInUse: Answer("conflict", "cancel", 409),
    BadNick: Answer("not-acceptable", "modify", 406, "This nick is too long or has an unusual spelling."),
    NickChangeForbidden: Answer("not-acceptable", "cancel", 406, "Nicks cannot be changed in a mirror."),
    NotInTheRoom: Answer("not-acceptable", "modify", 406, "You are not in this room: only occupants may do this."),
    NoNick: Answer("jid-malformed", "modify", 400, "The nick is missing: a room is joined as room@service/nick."),
    NotAMirror: Answer(
        "item-not-found", "cancel", 404, "No room has this address: a mirror's is written room\\40service@mirror."
    ),
    OnlyInTheRoom: Answer("not-allowed", "cancel", 405, "This is done in the room itself, not in a mirror of it."),
    NotEntitled: Answer("forbidden", "auth", 403, "This takes a moderator, an admin or an owner of the room."),
    NoVoice: Answer("forbidden", "auth", 403, "You may not say this here: you have no voice for it."),
    NoVoiceRequests: Answer(
        "feature-not-implemented", "cancel", 501, "Voice cannot be asked for here; ask a moderator."
    ),
    Banned: Answer("forbidden", "auth", 403, "You are banned from this room."),
    MembersOnly: Answer("registration-required", "auth", 403),
    WrongPassword: Answer("not-authorized", "auth", 401),
    RoomFull: Answer("service-unavailable", "wait", 503, "The room is full."),
    NotAPeer: Answer("not-allowed", "cancel", 403, "The room does not federate with this mirror of it."),
    Loop: Answer("not-allowed", "cancel", 409, "The room mirrors itself: this join has come back to where it was."),
    LastOwner: Answer("conflict", "cancel", 409),
    NotMirrored: Answer("not-allowed", "cancel", 403, "This room may not be mirrored here, or not by you."),
}
