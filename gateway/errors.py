"""
Domain errors, and the one table that maps each to a stanza error.

A core raises or returns the error; a handler looks up its form in the protocol. The texts are sent to peers: they
say what happened and nothing about the gateway's internals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from gateway._deprecated import renamed


class GatewayError(Exception):
    """Base of all domain errors."""


class StartFailed(SystemExit, Exception):
    """
    The gateway cannot start; ends the process with exit code 1 and the message.

    It is also an C{Exception}: if anything else is raised while twistd daemonizes, its parent process is not told
    and waits for ever. twistd shows the first 100 bytes of class and message, so a message begins with the key and
    the reason.
    """


class NoResource(GatewayError):
    """No resource of the target account that may be chosen is online."""


class ResourceGone(GatewayError):
    """The resource that the request was sent to went offline before it answered."""


class NoAnswer(GatewayError):
    """The deadline passed without an answer."""


class TooManyPending(GatewayError):
    """The table of open exchanges is full."""


class OverBudget(GatewayError):
    """The requester was sent so many bytes in a short time that more would delay other users."""


class NotOffered(GatewayError):
    """This kind of stanza is switched off for this service."""


class NoSuchAddress(GatewayError):
    """No entity has the address that the stanza was sent to."""


class NoSuchNode(GatewayError):
    """The addressed entity has no such node."""


class AlreadyOpen(GatewayError):
    """An exchange with this id and these two addresses is still open."""


class Stopping(GatewayError):
    """The gateway is shutting down."""


class HandlerFailed(GatewayError):
    """A handler raised an exception: a fault of the gateway."""


class NoHandler(GatewayError):
    """No handler accepted the request."""


class BadRequest(GatewayError):
    """The stanza breaks a rule that applies to every stanza."""


class TooLarge(BadRequest):
    """The stanza has more bytes than the receiver accepts."""


class TooDeep(BadRequest):
    """The elements of the stanza are nested deeper than the receiver accepts."""


class BadNamespace(BadRequest):
    """The stanza is well-formed XML, but breaks the rules of namespaces in XML."""


class Malformed(GatewayError, ValueError):
    """An address, usually the one that the stanza was sent to, is not a JID."""


class UnknownServer(GatewayError):
    """The server of the addressed entity cannot be reached."""


class RecipientUnavailable(GatewayError):
    """The recipient does not exist, or has no resource online."""


class LinkDown(GatewayError):
    """The mirrored room cannot be reached at the moment."""


class Forbidden(GatewayError):
    """The request concerns something that does not belong to the requester."""


class NotGranted(GatewayError):
    """The server has not granted the privilege that the request needs; the exception's text names it."""


class CannotAsk(GatewayError):
    """The server does not allow the gateway to read its stored data; the exception's text is for the operator."""


class NotAllowed(GatewayError):
    """Nobody may make this request."""


class NotAcceptable(GatewayError):
    """A value is not accepted."""


class ResourceLimit(GatewayError):
    """A limit on the number of such objects is reached."""


class OutboxFull(ResourceLimit):
    """The other node has not acknowledged so much, or for so long, that nothing further can be kept for it."""


class NotInSequence(GatewayError):
    """Another node has sent a number, or an acknowledgement, that it may not send (docs/fmuc-resync.md)."""


class StoreFull(GatewayError):
    """The disk is full; the exception's text is for the operator."""


class StoreBusy(GatewayError):
    """Another process holds the lock of a file, or its disk is slow; the exception's text is for the operator."""


class StoreBroken(GatewayError):
    """A file cannot be used; the exception's text is for the operator."""


class StoreTaken(GatewayError):
    """Another process has taken over a store; the exception's text is for the operator."""


class TooManyRooms(GatewayError):
    """The user has created as many rooms as one user may."""


class CreationRestricted(GatewayError):
    """The operator does not allow the user to create rooms."""


class NoSuchRoom(GatewayError):
    """The room that a mirror stands for does not exist."""


class NotFederated(GatewayError):
    """The room that a mirror stands for exists, and does not federate."""


class NotPrivate(GatewayError):
    """A private message cannot be sent: the recipient's node would show it to all occupants."""


class NickInUse(GatewayError):
    """Another occupant of the room has this nick."""


class BadNick(GatewayError):
    """The nick is not one that a room accepts."""


class NickChangeForbidden(GatewayError):
    """Nicks cannot be changed in a mirror."""


class JoinedElsewhere(GatewayError):
    """The user is in the mirror already, by another nick and through another node."""


class NoNick(GatewayError):
    """The join has no nick."""


class NotAMirror(GatewayError):
    """The address is not that of a mirror."""


class OnlyInTheRoom(GatewayError):
    """The request can only be made in the room itself, not in a mirror."""


class NotEntitled(GatewayError):
    """The request needs a moderator, an admin or an owner."""


class OwnersOnly(GatewayError):
    """The request needs an owner of the room."""


class NotInTheRoom(GatewayError):
    """The sender is not an occupant of the room."""


class NoVoice(GatewayError):
    """A visitor sent a message to a moderated room, or a subject that the occupant may not set."""


class HasVoice(GatewayError):
    """The occupant who requests voice has it."""


class NoModerator(GatewayError):
    """No moderator is in the room who could be asked."""


class NotRegistered(GatewayError):
    """The user who removes a registration has none."""


class Banned(GatewayError):
    """The room has banned the user."""


class MembersOnly(GatewayError):
    """The room is open to members only, and the user is not a member."""


class RoomLocked(GatewayError):
    """The room waits for the first configuration by its owner."""


class WrongPassword(GatewayError):
    """The room needs a password, and none or a wrong one was sent."""


class RoomFull(GatewayError):
    """The room has as many occupants as it may have."""


class NotAPeer(GatewayError):
    """The room does not federate with this node."""


class Loop(GatewayError):
    """A join has come back to the node that it started from."""


class LastOwner(GatewayError):
    """The change would leave the room without an owner, or ban the requester."""


class NoSuchMessage(GatewayError):
    """The archive of a room has no message with a requested id."""


class ArchiveClosed(GatewayError):
    """The sender may not read the archive of a room."""


class UnknownField(GatewayError):
    """A form has a field that is not supported."""


class NotMirrored(GatewayError):
    """The room may not be mirrored, or the user may not join through the mirror."""


@frozen
class Error:
    """
    The form in which an error is reported.

    @ivar condition: the stanza error condition (RFC 6120 section 8.3.3).
    @ivar kind: the stanza error's type.
    @ivar text: a sentence for people; empty if the condition is clear enough.
    """

    condition: str
    kind: str
    text: str = ""


ERRORS: dict[type[GatewayError], Error] = {
    NoResource: Error("service-unavailable", "cancel", "No implementing client is online."),
    ResourceGone: Error("service-unavailable", "cancel", "The implementing client went offline."),
    NoAnswer: Error("remote-server-timeout", "wait", "No answer came in time."),
    TooManyPending: Error("resource-constraint", "wait", "Too many requests are open; try again later."),
    OverBudget: Error(
        "resource-constraint", "wait", "You were sent too much in a short time; try again in a few seconds."
    ),
    NotOffered: Error("service-unavailable", "cancel", "This service does not accept such stanzas."),
    NoSuchAddress: Error("item-not-found", "cancel", "This address is unknown."),
    NoSuchNode: Error("item-not-found", "cancel"),
    AlreadyOpen: Error("conflict", "cancel", "A request with this id is still open."),
    Stopping: Error("service-unavailable", "cancel", "The gateway is shutting down."),
    HandlerFailed: Error("internal-server-error", "cancel"),
    NoHandler: Error("service-unavailable", "cancel"),
    BadRequest: Error("bad-request", "modify"),
    TooLarge: Error("policy-violation", "modify", "The stanza is too large."),
    TooDeep: Error("policy-violation", "modify", "The elements of the stanza are nested too deep."),
    BadNamespace: Error("bad-request", "modify", "The stanza breaks the rules of namespaces in XML."),
    Malformed: Error("jid-malformed", "modify", "The address is not a JID."),
    UnknownServer: Error("remote-server-not-found", "cancel", "This host reaches no other server."),
    RecipientUnavailable: Error("service-unavailable", "cancel"),
    LinkDown: Error("recipient-unavailable", "wait", "The room cannot be reached at the moment; try again soon."),
    Forbidden: Error("forbidden", "auth"),
    NotGranted: Error("forbidden", "auth", "The privilege for this is not granted."),
    CannotAsk: Error("service-unavailable", "cancel"),
    NotAllowed: Error("not-allowed", "cancel"),
    NotAcceptable: Error("not-acceptable", "modify"),
    ResourceLimit: Error("resource-constraint", "wait", "A limit of this service is reached."),
    OutboxFull: Error("resource-constraint", "wait", "Too much waits for the other site; try again later."),
    NotInSequence: Error("unexpected-request", "cancel", "The number or the acknowledgement is out of sequence."),
    StoreFull: Error("resource-constraint", "wait", "The storage is full; try again later."),
    StoreBusy: Error("resource-constraint", "wait", "The storage is busy; try again later."),
    StoreBroken: Error("internal-server-error", "cancel", "The storage does not work at the moment."),
    StoreTaken: Error("internal-server-error", "cancel", "The storage does not work at the moment."),
    TooManyRooms: Error("resource-constraint", "wait", "You have created as many rooms as one user may."),
    CreationRestricted: Error("not-allowed", "cancel", "This room does not exist, and you may not create rooms."),
    NoSuchRoom: Error("item-not-found", "cancel", "The room does not exist."),
    NotFederated: Error(
        "not-allowed", "cancel", "The room does not federate: its server has to enable FMUC (XEP-0289) for it."
    ),
    NotPrivate: Error(
        "not-allowed", "cancel", "The recipient's server would show a private message to all occupants."
    ),
    NickInUse: Error("conflict", "cancel", "Another occupant has this nick: choose another one."),
    BadNick: Error("not-acceptable", "modify", "This nick is too long or has an unusual spelling."),
    NickChangeForbidden: Error("not-acceptable", "cancel", "Nicks cannot be changed in a mirror."),
    JoinedElsewhere: Error(
        "not-acceptable", "cancel", "You are in this room already, through another mirror of it."
    ),
    NotInTheRoom: Error("not-acceptable", "modify", "You are not in this room: only occupants may do this."),
    NoNick: Error("jid-malformed", "modify", "The nick is missing: a room is joined as room@service/nick."),
    NotAMirror: Error(
        "item-not-found", "cancel", "No room has this address. A mirror has one such as room\\40service@mirror."
    ),
    OnlyInTheRoom: Error("not-allowed", "cancel", "This can only be done in the room, not in a mirror of it."),
    NotEntitled: Error("forbidden", "auth", "Only a moderator, an admin or an owner of the room may do this."),
    OwnersOnly: Error("forbidden", "auth", "Only an owner of the room may do this."),
    NoVoice: Error("forbidden", "auth", "You may not send this here: you do not have voice."),
    HasVoice: Error("conflict", "cancel", "You have voice already."),
    NoModerator: Error("unexpected-request", "wait", "No moderator is in the room; try again later."),
    NotRegistered: Error("registration-required", "auth", "You are not registered with this room."),
    Banned: Error("forbidden", "auth", "You are banned from this room."),
    MembersOnly: Error("registration-required", "auth"),
    RoomLocked: Error("item-not-found", "cancel", "The owner of this new room has not opened it yet."),
    WrongPassword: Error("not-authorized", "auth", "This room needs its password to join."),
    RoomFull: Error("service-unavailable", "wait", "The room is full."),
    NotAPeer: Error("not-allowed", "cancel", "The room does not federate with this mirror of it."),
    Loop: Error("not-allowed", "cancel", "The room mirrors itself: this join has come back to its start."),
    LastOwner: Error("conflict", "cancel"),
    NoSuchMessage: Error("item-not-found", "cancel", "The archive has no message with this id."),
    ArchiveClosed: Error("forbidden", "auth", "You must be in this room to read its archive."),
    UnknownField: Error("feature-not-implemented", "cancel", "The form has a field that is not supported."),
    NotMirrored: Error(
        "not-allowed", "cancel", "This room may not be mirrored here, or you may not join through this mirror."
    ),
}


# Hidden from type checkers, which would accept any name otherwise.
if not TYPE_CHECKING:
    _OLD_NAMES = {
        "NickIsKept": "NickChangeForbidden", "NotThere": "RecipientUnavailable", "TooMuch": "ResourceLimit",
        "Unhandled": "NoHandler", "Unreadable": "BadRequest",
    }
    __getattr__ = renamed(__name__, _OLD_NAMES)
