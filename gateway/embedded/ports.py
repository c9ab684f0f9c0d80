"""
The port through which the rules use connections.
"""

from __future__ import annotations

import typing

from gateway.embedded.roster import Item
from gateway.errors import GatewayError
from gateway.stream.stanzas import Stanza


class Peer(typing.Protocol):
    """
    A connected client or component.

    @ivar agent: the component that sends in an account's name, if any.
    """

    agent: str | None

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """Forward a stanza to this peer, with these addresses."""

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        """Answer an iq request that this peer sent, with these addresses; the payload is XML."""

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Send presence of this type, without content."""

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        """Answer a stanza that this peer sent, to C{recipient}, with an error."""

    def write(self, data: bytes) -> bool:
        """Send serialised stanzas that mean the same in any stream; return false if the peer is closing."""

    def push(self, item: Item, removed: bool) -> None:
        """Send a roster push to a client (RFC 6121 section 2.1.6)."""

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        """Apply back-pressure: this peer has sent a stanza to C{peer}, which may be a slow reader."""
