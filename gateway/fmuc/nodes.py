"""The other nodes of a room (XEP-0289): the joined node and joining nodes."""

from __future__ import annotations

import json

from attrs import define, field

from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.muc.occupant import Occupant


@define(eq=False)
class Node:
    """
    A room elsewhere that forms one federated room with this one.

    @ivar jid: bare JID.
    @ivar occupants: occupants who are connected through that node, by nick.
    @ivar showsPrivate: True if it has been recognised as Openfire, which shows private messages from other nodes to
        all its occupants.
    @ivar bytesSent: bytes sent to it.
    @ivar bytesReceived: bytes received from it.
    """

    jid: str
    dialect: Dialect
    mode: FederationMode
    occupants: dict[str, Occupant] = field(factory=dict)
    showsPrivate: bool = False
    bytesSent: int = 0
    bytesReceived: int = 0

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
    """

    semiAnonymous: bool = False

    @property
    def returnsMessages(self) -> bool:
        """True if the joined node sends messages back to the node that they come from."""
        return self.mode.current is Mode.REPLICA


@define(eq=False)
class JoiningNode(Node):
    """
    A node that has joined this one, or asks to.

    @ivar hasJoined: True if it was sent the occupants and the history.
    @ivar nomirror: True if its last message had the element of this name (ProtoXEP).
    @ivar isGateway: True if it has used an extension of the gateway. Other software is not probed, because it might
        answer a probe with an error though there are occupants.
    @ivar users: its occupants by the full JIDs of their sessions there.
    """

    hasJoined: bool = False
    nomirror: bool = False
    isGateway: bool = False
    users: dict[str, Occupant] = field(factory=dict)

    def record(self) -> str:
        """Return what must be known of the node after a restart, as a text."""
        mode = self.mode
        agreed = None if mode.agreed is None else mode.agreed.value
        signs = [self.nomirror, self.isGateway, self.showsPrivate]
        return json.dumps([self.dialect.value, mode.asked.value, agreed, *signs])

    @classmethod
    def restored(cls, jid: str, record: str) -> JoiningNode:
        """
        Return the node of a record.

        @raise ValueError: if the text is not a record.
        """
        dialect, asked, agreed, nomirror, isGateway, *rest = json.loads(record)
        mode = FederationMode(Mode(asked), None if agreed is None else Mode(agreed))
        node = cls(jid, Dialect(dialect), mode, hasJoined=True, nomirror=nomirror, isGateway=isGateway)
        # Older records have no further values.
        [node.showsPrivate] = rest or [False]
        return node

    def add(self, occupant: Occupant, jid: str) -> None:
        self.occupants[occupant.nick] = self.users[jid] = occupant

    def remove(self, occupant: Occupant, jid: str) -> None:
        del self.occupants[occupant.nick]
        # The node may show one user as two occupants.
        if self.users.get(jid) is occupant:
            del self.users[jid]

    @property
    def returnsMessages(self) -> bool:
        """True if messages are sent back to the node that they come from."""
        return self.returnsPresence and not self.nomirror
