"""
What the rules say is to be sent.
"""

from __future__ import annotations

from attrs import frozen

from gateway.fmuc.values import Dialect, Invitation, JoinRequest, OccupantPresence, RoomMessage, StanzaError


@frozen
class ToUsers:
    """
    The same to several local users.

    @ivar room: bare JID.
    @ivar recipients: full JIDs, escaped: as they stand between quotes.
    @ivar revealing: whether they see the real JID.
    @ivar codes: status codes for them alone.
    """

    room: str
    stanza: OccupantPresence | RoomMessage
    recipients: tuple[bytes, ...]
    showRealJid: bool = False
    codes: tuple[int, ...] = ()


@frozen
class Join:
    """
    One of the joining node's users wants in.

    @ivar replica: whether the node shows only what comes back to it.
    """

    request: JoinRequest
    replica: bool


@frozen
class Reject:
    """
    A join is refused.

    @ivar nick: whose; empty where the node is refused, whoever it comes for.
    """

    nick: str
    realJid: str
    stanzaError: StanzaError


@frozen
class ConfirmLeft:
    """The joining node is out."""


@frozen
class PrivateMessage:
    """A private message, or its error, to somebody behind the node."""

    message: RoomMessage
    recipient: str
    stanzaError: StanzaError | None = None


@frozen
class ToNode:
    """
    One copy to another node.

    @ivar room: bare JID of the room here.
    @ivar peer: bare JID of the room there.
    @ivar up: whether that is the joined node.
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

    @ivar name: the kind of stanza.
    @ivar sender: what was written to.
    @ivar joining: whether it is a join that is refused.
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
    Hand on an invitation, or what has become of one.

    @ivar sender: whose it is.
    """

    room: str
    sender: str
    invitation: Invitation
    password: str = ""


@frozen
class LogLine:
    """
    What an operator should hear of; nothing is sent.

    @ivar warn: whether something is to be done about it, perhaps.
    """

    text: str
    warn: bool = False


Action = ToUsers | ToNode | SendError | SendInvitation | LogLine
