"""Stanzas between the nodes of all rooms: bytes, what is left out, the time until messages come back. Pure."""

from __future__ import annotations

from collections import Counter

from gateway.addresses import jids
from gateway.fmuc.actions import ToNode
from gateway.fmuc.core import Rooms
from gateway.fmuc.echo import Echoes
from gateway.fmuc.nodes import Node
from gateway.metrics import bounded

# Domains of other nodes whose bytes are counted separately.
_MAX_DOMAINS = 50


class Traffic:
    """
    Counts what other nodes send and are sent.

    @ivar bytes: by domain and direction; a node itself is forgotten with its room.
    @ivar leftOut: parts that were not sent, because of the profiles of mirrors; by the words for them.
    @ivar echoes: messages that joined nodes will return; C{None} if nobody measures them.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.leftOut: Counter[str] = Counter()
        self._domains: set[str] = set()
        self.echoes: Echoes | None = None

    def received(self, sender: str, recipient: str, size: int) -> None:
        """Count the bytes of a stanza that was received; nothing if the sender is no node."""
        node = self._rooms.node(jids.bare(recipient), jids.bare(sender))
        if node is not None:
            node.bytesReceived += size
            self._count(node, "received", size)

    def sent(self, action: ToNode, size: int) -> None:
        """Count the bytes of a stanza that was sent."""
        node = self._rooms.node(action.room, action.peer)
        if node is not None:
            node.bytesSent += size
            self._count(node, "sent", size)

    def submitted(self, action: ToNode, now: float) -> None:
        """Begin to wait for the return of a message that is sent to a joined node, or passed to its channel."""
        if self.echoes is not None:
            self.echoes.sent(action, now)

    def _count(self, node: Node, direction: str, size: int) -> None:
        domain = bounded(jids.split(node.jid)[1], self._domains, _MAX_DOMAINS)
        self.bytes[domain, direction] += size
