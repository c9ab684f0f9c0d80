"""Actions: instructions to send stanzas, returned by the rules and carried out by the handler."""

from __future__ import annotations

from attrs import frozen

from gateway.fmuc.values import Dialect, Invitation, JoinRequest, OccupantPresence, RoomMessage, StanzaError


@frozen
class ToUsers:
    """
    Send the same stanza to some local users.

    @ivar room: bare JID.
    @ivar recipients: full JIDs, escaped for an XML attribute.
    @ivar showRealJid: True if the recipients see the occupant's real JID.
    @ivar codes: status codes for these recipients alone.
    """

    room: str
    stanza: OccupantPresence | RoomMessage
    recipients: tuple[bytes, ...]
    showRealJid: bool = False
    codes: tuple[int, ...] = ()


@frozen
class Join:
    """
    Ask the joined node to admit a user.

    @ivar replica: True to ask for replica mode.
    """

    request: JoinRequest
    replica: bool


@frozen
class Reject:
    """
    Reject a join.

    @ivar nick: nick of the user; empty if the joining node itself is rejected.
    """

    nick: str
    realJid: str
    stanzaError: StanzaError


@frozen
class ConfirmLeft:
    """Confirm that the joining node has left."""


@frozen
class PrivateMessage:
    """Send a private message, or its error, to an occupant of another node."""

    message: RoomMessage
    recipient: str
    stanzaError: StanzaError | None = None


@frozen
class ToNode:
    """
    Send one stanza to another node.

    @ivar room: bare JID of the room here.
    @ivar peer: bare JID of the room there.
    @ivar toJoined: True if the other node is the joined node.
    """

    room: str
    peer: str
    dialect: Dialect
    toJoined: bool
    stanza: Join | OccupantPresence | RoomMessage | Reject | ConfirmLeft | PrivateMessage


@frozen
class SendError:
    """
    Answer a stanza with an error.

    @ivar name: C{presence} or C{message}.
    @ivar sender: the address that the stanza was sent to.
    @ivar isJoin: True if the stanza was a join.
    """

    name: str
    sender: str
    recipient: str
    id: str | None
    stanzaError: StanzaError
    isJoin: bool = False


@frozen
class SendInvitation:
    """
    Send a mediated invitation, or a decline.

    @ivar sender: the user who invites or declines.
    """

    room: str
    sender: str
    invitation: Invitation
    password: str = ""


@frozen
class LogLine:
    """
    Log one line for the operator; nothing is sent.

    @ivar warn: True if the operator may have to act.
    """

    text: str
    warn: bool = False


Action = ToUsers | ToNode | SendError | SendInvitation | LogLine
