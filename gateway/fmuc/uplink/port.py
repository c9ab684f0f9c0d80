"""The mirror, as its uplink sees it."""

from __future__ import annotations

from typing import Protocol

from gateway.fmuc.actions import Content
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.nodes import JoiningNode, Node
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import JoinRequest, Standing


class Mirror(Protocol):
    """
    One mirror; L{gateway.fmuc.federation.Federation} implements it.

    @ivar room: the room of this node.
    """

    room: Room

    @property
    def channels(self) -> Channels | None:
        """The channels of the service; C{None} if it has none."""

    @property
    def downstreamCount(self) -> int:
        """Number of downstream occupants: local users and occupants of joining nodes."""

    @property
    def keepsNodes(self) -> bool:
        """True if a joining node may stay without occupants."""

    def isDownstream(self, occupant: Occupant) -> bool:
        """True if the occupant is connected through this node: a local user, or an occupant of a joining node."""

    def toNode(self, node: Node, stanza: Content, identifier: str | None = None) -> bool:
        """Send a stanza to a node; return False if nothing of it crosses the link."""

    def admit(
        self, request: JoinRequest, node: JoiningNode | None, standing: Standing, now: float, created: bool
    ) -> Occupant:
        """Add an occupant and tell all."""

    def compareAll(self, now: float) -> None:
        """Let the joining nodes compare: what they have sent for the joined node may be lost."""

    def release(self, node: JoiningNode) -> None:
        """Remove a joining node that has no occupants and no pending joins."""

    def endStays(self) -> None:
        """End the stays of joining nodes without occupants."""
