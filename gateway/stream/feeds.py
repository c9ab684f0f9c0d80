"""
The servers that send a component the presence of users whom it has not asked for: the permission C{presence} of
XEP-0356 section 7. Pure.

Nothing in such a presence tells it from one that the user has sent to the component's own address. Only the
server's advertisement tells that it comes:

> If the privilege is granted, the server MUST use a directed presence from the full jid of the managed entity, to
> the privileged entity  (section 7.1)
"""

from __future__ import annotations

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids

# Newest first. The older one has no privileged iq.
VERSIONS = (ns.PRIVILEGE, ns.PRIVILEGE_1)

# Of more servers than these, no advertisement is noted. Any server can send one.
_MAX_SERVERS = 100

# Values of C{type} for C{access="presence"}.
_KINDS = _NONE, _USERS, _CONTACTS = "none", "managed_entity", "roster"


class Feeds:
    """
    The presence that servers send one component unasked.

    A server speaks for its own users only, so any server is believed about these. Only the component's own server
    is believed about contacts of users, who may be on any server.

    @ivar isRead: false if no handler of the component has a use for the advertisements: then they reach none.
    @ivar isUsed: true if a handler of the component has a use for the presence.
    @ivar received: number of such presence stanzas so far.
    @param jid: the component's.
    @param home: domain of the component's own server; C{None} if it is unknown.
    """

    def __init__(self, jid: str, home: str | None = None) -> None:
        self._jid = jid
        self._home = home
        self._granted: dict[str, str] = {}
        self.isRead = True
        self.isUsed = False
        self.received = 0

    def advertised(self, server: str, message: domish.Element) -> bool:
        """Note the permission in a server's message; return false if the message is no advertisement."""
        found = readPerms(message)
        if found is None:
            return False
        kinds = [perm.getAttribute("type", "") for perm in found[1] if perm.getAttribute("access") == "presence"]
        kind = next((each for each in reversed(kinds) if each in _KINDS), _NONE)
        if kind == _NONE:
            self._granted.pop(server, None)
        elif server in (*self._granted, self._home) or len(self._granted) < _MAX_SERVERS:
            self._granted[server] = kind
        return True

    def clear(self) -> None:
        """Forget all permissions: the connection was lost."""
        self._granted.clear()

    def covers(self, sender: str, recipient: str) -> bool:
        """Return true if available or unavailable presence from a user may have come unasked."""
        if not self._granted or recipient != self._jid:
            return False
        return jids.split(sender)[1] in self._granted or self._granted.get(self._home or "") == _CONTACTS

    @property
    def unused(self) -> str:
        """The permission that the component's own server has granted, if nothing here uses it; otherwise empty."""
        return "" if self.isUsed else self._granted.get(self._home or "", "")


def readPerms(message: domish.Element) -> tuple[str, list[domish.Element]] | None:
    """
    Return the version and the permissions of an advertisement; C{None} if a message is no advertisement.
    """
    for version in VERSIONS:
        told = [
            each
            for each in message.elements(version, "privilege")
            if not any(each.elements(ns.FORWARD, "forwarded"))
        ]
        if told:
            return version, [perm for each in told for perm in each.elements(version, "perm")]
    return None
