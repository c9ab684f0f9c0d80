"""
An account, and its resources that are connected.
"""

from __future__ import annotations

from gateway.embedded.ports import Peer
from gateway.embedded.roster import Roster
from gateway.stream.stanzas import Stanza


class Session:
    """
    One resource of an account.

    @ivar interested: whether it is told of changes to the roster.
    @ivar presence: its last available presence; C{None} while it is not available.
    @ivar directed: who else was sent presence.
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
    @ivar sessions: its resources that are connected, by full JID.
    """

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.roster = Roster()
        self.sessions: dict[str, Session] = {}

    def available(self) -> list[tuple[Session, Stanza]]:
        """The resources that are available, and their presence."""
        return [(each, each.presence) for each in self.sessions.values() if each.presence is not None]
