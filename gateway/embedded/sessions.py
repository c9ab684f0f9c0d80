"""
Accounts and their connected resources.
"""

from __future__ import annotations

from gateway.embedded.ports import Peer
from gateway.embedded.roster import Roster
from gateway.stream.stanzas import Stanza


class Session:
    """
    One resource of an account.

    @ivar interested: true if it gets roster pushes.
    @ivar presence: its last available presence; C{None} while it is not available.
    @ivar directed: recipients of directed presence.
    """

    def __init__(self, account: Account, jid: str, peer: Peer) -> None:
        self.account = account
        self.jid = jid
        self.peer = peer
        self.interested = False
        self.presence: Stanza | None = None
        self.priority = 0
        self.directed: set[str] = set()


class Account:
    """
    One account, online or not.

    @ivar jid: bare JID.
    @ivar sessions: its connected resources by full JID.
    """

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.roster = Roster()
        self.sessions: dict[str, Session] = {}

    def available(self) -> list[tuple[Session, Stanza]]:
        """Return the available resources and their presence."""
        return [(each, each.presence) for each in self.sessions.values() if each.presence is not None]
