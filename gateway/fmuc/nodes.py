"""The other nodes of a room (XEP-0289): the joined node, the joining nodes, and joins that wait."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from attrs import define, field

from gateway.fmuc.values import Dialect
from gateway.muc.port import Node as AnyNode
from gateway.muc.room import Occupant
from gateway.muc.values import JoinRequest, Payload, Standing


class UplinkState(Enum):
    """
    State of the uplink, the relation with the joined node.

    C{LEAVING}: this node has left, and the confirmation is pending. Stanzas that are received meanwhile are stale.
    """

    IDLE = 0
    JOINING = 1
    JOINED = 2
    LEAVING = 3


@define(eq=False)
class Node:
    """
    A room elsewhere that forms one federated room with this one.

    @ivar jid: bare JID.
    @ivar replica: True if the joining one of the two nodes shows only what the joined one sends back.
    @ivar mirrors: True if the joined node sends messages back to the node that they come from.
    @ivar occupants: occupants who are connected through that node, by nick.
    @ivar joined: of a joining node: True if it has been sent the occupants and the history.
    @ivar bytesSent: bytes sent to it.
    @ivar bytesReceived: bytes received from it.
    """

    jid: str
    dialect: Dialect
    replica: bool = True
    mirrors: bool = True
    occupants: dict[str, Occupant] = field(factory=dict)
    joined: bool = False
    bytesSent: int = 0
    bytesReceived: int = 0

    @property
    def echoes(self) -> bool:
        """
        True if the joined node sends presence back to the node that it comes from.

        In the ProtoXEP it always does. XEP-0289 section 6.3: "in primary-primary mode they won't distribute the
        stanza back to the node from which they received it".
        """
        return self.replica or self.dialect is Dialect.PROTOXEP


@define(eq=False)
class JoinedNode(Node):
    """
    The joined node, with the state of the uplink.

    @ivar wanted: True if this node is configured for replica mode.
    @ivar agrees: True if the joined node has agreed to replica mode.
    @ivar deadline: end of the current wait, in seconds of the link's clock.
    @ivar latest: end of all that a first join brings.
    @ivar parting: nick of the last leave that was sent, until the joined node sends it back.
    @ivar parted: nicks of leaves that the joined node has not sent back, with the joining node of each. Messages
        from before the leave arrive before it.
    @ivar fresh: True if this node left before its first join was answered.
    @ivar changing: number of presence changes that the joined node has not sent back, by nick.
    """

    state: UplinkState = UplinkState.IDLE
    wanted: bool = False
    agrees: bool = False
    deadline: float = 0.0
    latest: float = 0.0
    parting: str = ""
    parted: dict[str, AnyNode | None] = field(factory=dict)
    fresh: bool = False
    changing: Counter[str] = field(factory=Counter)


@define(eq=False)
class Pending:
    """
    A join that waits for the joined node's answer.

    @ivar node: the joining node that sent the join; C{None} for a local user.
    @ivar sent: True if the join was sent. Joins after the first wait until the first is complete.
    @ivar standing: the standing that the joined node has given, once it has sent the occupant's presence.
    @ivar cancelled: number of earlier withdrawn joins with this nick whose answers are pending.
    @ivar withdrawn: True if this join was withdrawn, too.
    @ivar newPayload: presence that the user has sent since.
    """

    request: JoinRequest
    node: Node | None
    deadline: float
    sent: bool = False
    standing: Standing | None = None
    cancelled: int = 0
    withdrawn: bool = False
    newPayload: Payload | None = None
