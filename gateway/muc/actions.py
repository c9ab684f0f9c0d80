"""Actions: instructions to send stanzas, returned by the rules and carried out by the handler."""

from __future__ import annotations

from attrs import frozen

from gateway.muc.archive_values import ArchivedMessage, ArchiveQuery
from gateway.muc.values import Invitation, OccupantPresence, RoomMessage, StanzaError
from gateway.stream.stanzas import Stanza


class Action:
    """Base of all actions."""

    __slots__ = ()


@frozen
class ToUsers(Action):
    """
    Send the same stanza to some local users.

    @ivar room: bare JID.
    @ivar recipients: full JIDs, escaped for an XML attribute.
    @ivar showRealJid: True if the recipients see the occupant's real JID.
    @ivar codes: status codes for these recipients alone.
    @ivar id: C{id} of a presence; a message has its own.
    """

    room: str
    stanza: OccupantPresence | RoomMessage
    recipients: tuple[bytes, ...]
    showRealJid: bool = False
    codes: tuple[int, ...] = ()
    id: str | None = None


@frozen
class ShowOccupants(Action):
    """
    Send the presence of several occupants to one local user.

    @ivar room: bare JID.
    @ivar presences: at least one.
    @ivar recipient: full JID, escaped for an XML attribute.
    @ivar showRealJids: True if the recipient sees all real JIDs.
    """

    room: str
    presences: list[OccupantPresence]
    recipient: bytes
    showRealJids: bool


@frozen
class AnswerIq(Action):
    """
    The answer to the iq request that is being handled is sent at this point. Without this action it is sent first.
    """


ANSWER_IQ = AnswerIq()


@frozen
class ToUsersAvatar(Action):
    """
    Send the presence of the room with the hash of its avatar to some local users.

    @ivar recipients: as in L{ToUsers}.
    @ivar hash: empty if the avatar was removed.
    """

    room: str
    recipients: tuple[bytes, ...]
    hash: str


@frozen
class SendError(Action):
    """
    Answer a stanza with an error.

    @ivar name: C{presence}, C{message} or C{iq}.
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
class ForwardIq(Action):
    """Send an iq on, with other addresses."""

    stanza: Stanza
    sender: str
    recipient: str


@frozen
class AskUser(Action):
    """
    Send an iq request of a room to a local user.

    @ivar room: bare JID.
    @ivar recipient: full JID.
    @ivar payload: XML.
    """

    room: str
    recipient: str
    id: str
    payload: bytes


@frozen
class SendResult(Action):
    """
    Answer an iq request that waited.

    @ivar sender: the address that the request was sent to.
    @ivar payload: XML.
    """

    sender: str
    recipient: str
    id: str
    payload: bytes = b""


@frozen
class SendInvitation(Action):
    """
    Send a mediated invitation, or a decline.

    @ivar sender: the user who invites or declines.
    """

    room: str
    sender: str
    invitation: Invitation
    password: str = ""


@frozen
class ToArchive(Action):
    """Store a message in the archive of its room. The actions after this one are carried out when it is stored."""

    message: ArchivedMessage


@frozen
class ResumeArchive(Action):
    """
    Continue the archive of a mirror that has joined its room again, or begin it anew.

    @ivar room: bare JID.
    @ivar messages: the newest messages of the room, oldest first.
    """

    room: str
    messages: tuple[ArchivedMessage, ...]


@frozen
class ForgetArchive(Action):
    """
    Remove the archive of a room that does not exist any longer.

    @ivar room: bare JID.
    """

    room: str


@frozen
class ReadArchive(Action):
    """
    Answer an iq request with a page of an archive, or with its two ends.

    @ivar query: C{None} for the ends.
    """

    stanza: Stanza
    query: ArchiveQuery | None


@frozen
class LogLine(Action):
    """
    Log one line for the operator; nothing is sent.

    @ivar warn: True if the operator may have to act.
    """

    text: str
    warn: bool = False
