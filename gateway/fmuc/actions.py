"""Actions that send stanzas to other nodes."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from gateway.fmuc.channel.core import Channel
from gateway.fmuc.digest import Buckets
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.actions import Action
from gateway.muc.values import Invitation, JoinRequest, OccupantPresence, RoomMessage, StanzaError


@frozen
class Join:
    """
    Ask the joined node to admit a user.

    @ivar mode: the mode to ask for.
    @ivar asksId: True to ask for the occupant id, because the joined node sends no presence back.
    @ivar isFirst: True if this node is not joined, as far as it knows.
    @ivar profile: of this mirror.
    @ivar channel: epoch of the channel that a first join offers; C{None} for none.
    @ivar keep: as in L{gateway.fmuc.values.Fmuc}.
    """

    request: JoinRequest
    mode: Mode
    asksId: bool = False
    isFirst: bool = False
    profile: Profile = BROADBAND
    channel: int | None = None
    keep: int = 0


@frozen
class Fence:
    """
    Ask the joined node for a sign of life after a join: stanzas keep their order, so if it answers and has not
    rejected the join before, it has admitted the user.

    @ivar id: id of the request.
    """

    nick: str
    id: str


@frozen
class SelfPing:
    """
    Ask an ordinary room whether the puppet with this nick is in it (XEP-0410).

    @ivar id: id of the request.
    """

    nick: str
    id: str


@frozen
class AskArchive:
    """
    Ask the archive of an ordinary room for the messages after one that is known.

    @ivar id: id of the request.
    @ivar after: stanza id of that message.
    """

    id: str
    after: str


@frozen
class OpenRoom:
    """
    Accept the default configuration of an ordinary room that a puppet has created (XEP-0045 section 10.1.2).

    @ivar id: id of the request.
    """

    id: str


@frozen
class AskProperties:
    """
    Ask the joined node for its properties.

    @ivar id: id of the request.
    """

    id: str


@frozen
class AskOccupants:
    """
    Ask a joined node of other software for its occupants.

    @ivar id: id of the request.
    """

    id: str


@frozen
class AskInvitations:
    """
    Ask the joined node whether an occupant may invite some users.

    @ivar id: id of the request.
    """

    nick: str
    id: str
    invitations: tuple[Invitation, ...]


@frozen
class Admission:
    """
    Tell a joining node that its first user is admitted.

    @ivar mode: the mode to agree to.
    @ivar resumes: True to say that this node can resume.
    @ivar channel: epoch of the channel that is accepted; C{None} for none.
    @ivar keep: as in L{gateway.fmuc.values.Fmuc}.
    @ivar told: as in L{gateway.fmuc.values.Fmuc}.
    """

    presence: OccupantPresence
    mode: Mode
    resumes: bool = False
    channel: int | None = None
    keep: int = 0
    told: int = 0


@frozen
class Kept:
    """A serialised stanza that a channel has kept, or a stanza of a channel itself."""

    data: bytes


@frozen
class Submission:
    """
    Send a message of a downstream occupant to the joined node.

    @ivar nomirror: True if the message is shown here already.
    @ivar digest: by which the joined node may return it (L{Return}); empty if it returns the message.
    """

    message: RoomMessage
    nomirror: bool
    digest: str = ""


@frozen
class Return:
    """
    Return a message to the joining node that it comes from, as a reference.

    @ivar nick: of the sender.
    @ivar digest: L{gateway.fmuc.returned.digest} of the message.
    @ivar stanzaId: the stanza id that it has got.
    """

    nick: str
    digest: str
    stanzaId: str


@frozen
class Reject:
    """
    Reject a join.

    @ivar nick: nick of the user; empty if the joining node itself is rejected.
    @ivar removes: True if the joining node, which speaks XEP-0289, has let the user in already.
    """

    nick: str
    realJid: str
    stanzaError: StanzaError
    removes: bool = False


@frozen
class Probe:
    """Ask a joining node for an error if nobody is in it; otherwise it ignores this."""


@frozen
class ConfirmLeft:
    """Confirm that the joining node has left."""


@frozen
class PrivateMessage:
    """
    Send a private message, or its error, to an occupant of another node.

    @ivar recipient: nick; empty for the room there.
    """

    message: RoomMessage
    recipient: str
    stanzaError: StanzaError | None = None


@frozen
class AskResume:
    """
    Ask the joined node whether it has what this node has, and for the messages that this node has missed.

    @ivar id: id of the request.
    @ivar digest: L{gateway.fmuc.digest.SharedState.digest} of this node.
    @ivar last: stanza id of the last message; C{None} for none; empty if a channel has delivered all messages.
    """

    id: str
    digest: str
    last: str | None


@frozen
class TellOccupants:
    """
    Tell the joined node who is connected through this one, after the digests differed, and ask for its state.

    @ivar id: id of the request.
    @ivar last: as in L{AskResume}.
    @ivar occupants: pairs of nick and real JID.
    @ivar more: True if further occupants follow.
    @ivar buckets: those that differ: the occupants are only those of these buckets.
    """

    id: str
    last: str | None
    occupants: tuple[tuple[str, str], ...]
    more: bool
    buckets: Buckets


@frozen
class AskReturn:
    """
    Ask a joining node to resume, because stanzas to it may be lost.

    @ivar id: id of the request.
    """

    id: str


Content = (
    Join
    | Fence
    | SelfPing
    | OpenRoom
    | AskArchive
    | AskProperties
    | AskInvitations
    | AskOccupants
    | Admission
    | Submission
    | Return
    | OccupantPresence
    | RoomMessage
    | Reject
    | ConfirmLeft
    | Probe
    | PrivateMessage
    | AskResume
    | TellOccupants
    | AskReturn
    | Kept
)


@frozen
class ToNode(Action):
    """
    Send one stanza to another node.

    @ivar room: bare JID of the room here.
    @ivar peer: bare JID of the room there.
    @ivar toJoined: True if the other node is the joined node.
    @ivar id: C{id} of a presence of an occupant.
    @ivar isBrief: True if a message does not name its sender's real JID.
    @ivar channel: the channel by which it is sent, but for iqs; C{None} to send it directly.
    """

    room: str
    peer: str
    dialect: Dialect
    toJoined: bool
    stanza: Content
    id: str | None = None
    isBrief: bool = False
    channel: Channel[Any] | None = None


@frozen
class LeftOut(Action):
    """
    Count what does not cross the link to another node.

    @ivar words: one for each thing.
    """

    words: tuple[str, ...]
