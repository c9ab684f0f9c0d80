"""
What the rules need of who is connected.
"""

from __future__ import annotations

import typing

from gateway.embedded.roster import Item
from gateway.errors import GatewayError
from gateway.stream.stanzas import Stanza


class Peer(typing.Protocol):
    """
    A connected client or component: somebody to whom things can be sent.

    @ivar agent: the component that sends in an account's name, if one does.
    """

    agent: str | None

    def forward(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """Send a stanza on, with these addresses."""

    def answer(self, stanza: Stanza, sender: str, recipient: str, payload: str) -> None:
        """Answer an iq request that this peer sent, with these addresses; the payload is XML."""

    def announce(self, sender: str, recipient: str, kind: str) -> None:
        """Send presence of the host's own making, of this type."""

    def refuseStanza(self, stanza: Stanza, sender: str, recipient: str, error: type[GatewayError]) -> None:
        """Answer a stanza that this peer sent, to C{recipient}, with an error."""

    def write(self, data: bytes) -> bool:
        """Send serialised stanzas that mean the same in any stream; false if that cannot be done any more."""

    def push(self, item: Item, removed: bool) -> None:
        """Tell a client of a changed roster item (RFC 6121 section 2.1.6)."""

    def waitFor(self, peer: Peer, stanza: Stanza) -> None:
        """This stanza of its own went to C{peer}, which may be a slow reader."""
