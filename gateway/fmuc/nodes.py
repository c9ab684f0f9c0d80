"""The other nodes of a room (XEP-0289): the joined node and joining nodes."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field

from gateway.fmuc.channel.asked import Credit
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.profiles import BROADBAND, PROFILES, Profile
from gateway.fmuc.returned import Awaited
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.fmuc.waiting import Waiting
from gateway.muc.occupant import Occupant


@define(eq=False)
class Node:
    """
    A room elsewhere that forms one federated room with this one.

    @ivar jid: bare JID.
    @ivar occupants: occupants who are connected through that node, by nick.
    @ivar isOpenfire: True if it has been recognised as Openfire (L{gateway.fmuc.quirks}).
    @ivar bytesSent: bytes sent to it.
    @ivar bytesReceived: bytes received from it.
    @ivar profile: of the mirror, which is one of both nodes.
    @ivar leftOut: number of things that were not sent because of the profile.
    @ivar waiting: presence that waits because of it.
    @ivar channel: the reliable channel with it (docs/fmuc-resync.md); C{None} if there is none.
    @ivar keep: seconds for which the joining one of both nodes stays without users, if there is a channel.
    """

    jid: str
    dialect: Dialect
    mode: FederationMode
    profile: Profile = BROADBAND
    occupants: dict[str, Occupant] = field(factory=dict)
    isOpenfire: bool = False
    bytesSent: int = 0
    bytesReceived: int = 0
    leftOut: int = 0
    waiting: Waiting = field(factory=Waiting)
    channel: Channel[Any] | None = None
    keep: int = 0

    def add(self, occupant: Occupant, jid: str) -> None:
        """Record an occupant who is connected through the node, by a session with this full JID."""
        self.occupants[occupant.nick] = occupant

    def remove(self, occupant: Occupant, jid: str) -> None:
        """Remove such an occupant."""
        del self.occupants[occupant.nick]

    @property
    def returnsPresence(self) -> bool:
        """
        True if the joined one of the two nodes sends presence back to the node that it comes from.

        In the ProtoXEP it always does. XEP-0289 section 6.3: "in primary-primary mode they won't distribute the
        stanza back to the node from which they received it".
        """
        return self.dialect is Dialect.PROTOXEP or self.mode.current is Mode.REPLICA


@define(eq=False)
class JoinedNode(Node):
    """
    The node that this one has joined, or may join.

    @ivar semiAnonymous: True if it has told that only moderators see real JIDs.
    @ivar resumes: True if it has told that it can resume.
    @ivar awaited: messages that it will return by a reference.
    @ivar isTold: True if users were told that it cannot be reached.
    @ivar isShownAway: True if its occupants are shown as away.
    @ivar lostAt: while it is lost, the time at which it has sent something last, in seconds since 1970; C{None} if
        that is not known.
    @ivar told: name of the profile, and seconds without users, that the last first join has told it.
    @ivar entered: nicks of occupants here who have entered while it was lost, and whom it was not asked to admit.
    @ivar isOrdinary: True if it is an ordinary room (XEP-0045): L{gateway.fmuc.ordinary.backing} translates.
    """

    semiAnonymous: bool = False
    resumes: bool = False
    awaited: Awaited = field(factory=Awaited)
    isTold: bool = False
    isShownAway: bool = False
    entered: tuple[str, ...] = ()
    lostAt: float | None = None
    told: tuple[str, int] = ("", 0)
    isOrdinary: bool = False

    def record(self) -> str:
        """Return what must be known of the node after a restart, as a text."""
        signs = [self.semiAnonymous, self.resumes, self.isOpenfire, self.isTold, self.isShownAway, self.keep]
        return json.dumps([*_modeRecord(self), *signs, self.entered, self.lostAt, self.told])

    @classmethod
    def restored(cls, jid: str, record: str) -> JoinedNode:
        """
        Return the node of a record.

        @raise ValueError: if the text is not a record.
        """
        dialect, asked, agreed, semiAnonymous, resumes, isOpenfire, *rest = json.loads(record)
        node = cls(jid, Dialect(dialect), _mode(asked, agreed), semiAnonymous=semiAnonymous, resumes=resumes)
        node.isOpenfire = isOpenfire
        # Older records have fewer values.
        node.isTold, node.isShownAway = [*rest, False, False][:2]
        node.keep = int([*rest[2:], 0][0])
        node.entered, node.lostAt = tuple([*rest[3:], ()][0]), [*rest[4:], None][0]
        profile, keep = [*rest[5:], ("", 0)][0]
        node.told = profile, keep
        return node

    @property
    def returnsMessages(self) -> bool:
        """True if the joined node sends messages back to the node that they come from."""
        return self.mode.current is Mode.REPLICA

    @property
    def returnsShort(self) -> bool:
        """
        True if it returns messages by a reference. An unknown reference needs a return, so it can resume. Over a
        channel it returns the messages themselves, because this node may have been killed since.
        """
        return self.returnsMessages and self.resumes and self.channel is None and not self.isOrdinary


@define(eq=False)
class Doubt:
    """
    A joining node to which stanzas may be lost: it is asked to resume. Without a channel, it is sent nothing else.

    @ivar askAt: seconds of the link's clock at which it is asked.
    @ivar until: end of the time for which its occupants stay.
    @ivar asked: number of requests.
    @ivar first: stanza id of the oldest message that was returned; empty for none.
    @ivar listed: real JIDs by nick of the occupants that it has told so far, after the digests differed.
    """

    askAt: float
    until: float
    asked: int = 0
    first: str = ""
    listed: dict[str, str] = field(factory=dict)


@define(eq=False)
class JoiningNode(Node):
    """
    A node that has joined this one, or asks to.

    @ivar hasJoined: True if it was sent the occupants and the history.
    @ivar nomirror: True if its last message had the element of this name (ProtoXEP).
    @ivar isGateway: True if it has used an extension of the gateway. Other software is not probed, because it might
        answer a probe with an error though there are occupants.
    @ivar resumes: True if it has told that it can resume.
    @ivar users: its occupants by the full JIDs of their sessions there.
    @ivar credit: for its requests to compare: each of them costs a look at all occupants.
    @ivar doubt: set while stanzas to it may be lost.
    @ivar refused: users of Openfire whom it has let in, and who were refused, until they have left: real JIDs by
        nick. The presence that follows such a join is no other join.
    @ivar emptySince: seconds of the link's clock since which nobody is in there, if it stays for some time.
    @ivar isRenewed: True if it may have lost a part of its state, and the channel with it is not open.
    @ivar offer: epoch of the channel that its first join has offered; C{None} for none.
    """

    hasJoined: bool = False
    nomirror: bool = False
    isGateway: bool = False
    resumes: bool = False
    users: dict[str, Occupant] = field(factory=dict)
    doubt: Doubt | None = None
    credit: Credit = field(factory=Credit)
    isRenewed: bool = False
    offer: int | None = None
    refused: dict[str, str] = field(factory=dict)
    emptySince: float | None = None

    @property
    def isKept(self) -> bool:
        """True if it stays for some time without occupants."""
        return bool(self.keep and self.channel is not None and self.hasJoined)

    @property
    def isServed(self) -> bool:
        """
        True if it is sent what happens. A node in doubt gets the difference when it resumes, and all that was kept
        by its channel, if it has one.
        """
        return self.hasJoined and (self.doubt is None or self.channel is not None)

    def record(self) -> str:
        """Return what must be known of the node after a restart, as a text."""
        signs = [self.nomirror, self.isGateway, self.isOpenfire, self.resumes, self.profile.name, self.keep]
        return json.dumps([*_modeRecord(self), *signs])

    @classmethod
    def restored(cls, jid: str, record: str) -> JoiningNode:
        """
        Return the node of a record.

        @raise ValueError: if the text is not a record.
        """
        dialect, asked, agreed, nomirror, isGateway, *rest = json.loads(record)
        mode = _mode(asked, agreed)
        node = cls(jid, Dialect(dialect), mode, hasJoined=True, nomirror=nomirror, isGateway=isGateway)
        # Older records have fewer values.
        node.isOpenfire, node.resumes = [*rest, False, False][:2]
        node.profile = PROFILES.get("".join(rest[2:3]), BROADBAND)
        node.keep = int([*rest[3:], 0][0])
        return node

    def add(self, occupant: Occupant, jid: str) -> None:
        self.occupants[occupant.nick] = self.users[jid] = occupant
        self.emptySince = None

    def remove(self, occupant: Occupant, jid: str) -> None:
        del self.occupants[occupant.nick]
        # The node may show one user as two occupants.
        if self.users.get(jid) is occupant:
            del self.users[jid]

    @property
    def returnsMessages(self) -> bool:
        """True if messages are sent back to the node that they come from."""
        return self.returnsPresence and not self.nomirror


def _modeRecord(node: Node) -> list[str | None]:
    mode = node.mode
    return [node.dialect.value, mode.asked.value, None if mode.agreed is None else mode.agreed.value]


def _mode(asked: str, agreed: str | None) -> FederationMode:
    return FederationMode(Mode(asked), None if agreed is None else Mode(agreed))
