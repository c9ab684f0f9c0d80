"""
The servers that send a component the presence of users whom it has not asked for: the permission C{presence} of
XEP-0356 section 7. Pure.

Nothing in such a presence tells it from one that the user has sent to the component's own address. Only the
server's advertisement tells that it comes:

> If the privilege is granted, the server MUST use a directed presence from the full jid of the managed entity, to
> the privileged entity  (section 7.1)
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.reports import StatusItem
from gateway.stream.stanzas import Stanza

# Newest first. The older one has no privileged iq.
VERSIONS = (ns.PRIVILEGE, ns.PRIVILEGE_1)
# A part of both.
_MARK = b"urn:xmpp:privilege:"

# Of more servers than these, no advertisement is noted. Any server can send one.
_MAX_SERVERS = 100

# Values of C{type} for C{access="presence"}.
_KINDS = _NONE, _USERS, _CONTACTS = "none", "managed_entity", "roster"


class Feeds:
    """
    The presence that servers send one component unasked.

    A server speaks for its own users only, so any server is believed about these. Only the component's own server
    is believed about contacts of users, who may be on any server.

    @ivar advertisement: the last stanza that was an advertisement of privileges.
    @ivar isUsed: true if a handler of the component has a use for the presence.
    @param jid: the component's.
    @param home: domain of the component's own server; C{None} if it is unknown.
    """

    def __init__(self, jid: str, home: str | None = None) -> None:
        self._jid = jid
        self._home = home
        self._granted: dict[str, str] = {}
        self._received = 0
        self.advertisement: Stanza | None = None
        self.isUsed = False

    def noted(self, stanza: Stanza) -> StatusItem | None:
        """
        Note what a message or presence tells.

        @return: what is to be logged; C{None} for nothing.
        """
        sender, recipient = stanza.sender or "", stanza.recipient or self._jid
        if stanza.name == "presence":
            if self._granted and stanza.type in (None, "unavailable") and self.covers(sender, recipient):
                self._received += 1
            return None
        if "@" in sender or "/" in sender or recipient != self._jid or _MARK not in stanza.raw:
            return None
        before = self._unused
        if stanza.type == "error" or not self._advertised(sender, stanza.element):
            return None
        self.advertisement = stanza
        return self._item() if self._unused not in (_NONE, before) else None

    def _advertised(self, server: str, message: domish.Element) -> bool:
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
        self.advertisement = None

    def covers(self, sender: str, recipient: str) -> bool:
        """Return true if available or unavailable presence from a user may have come unasked."""
        if not self._granted or recipient != self._jid:
            return False
        return jids.split(sender)[1] in self._granted or self._granted.get(self._home or "") == _CONTACTS

    def report(self) -> Iterator[StatusItem]:
        """Report presence that the component's own server sends for nothing."""
        if self._unused != _NONE:
            yield self._item()

    @property
    def _unused(self) -> str:
        """The permission that the component's own server has granted, if no handler uses it."""
        return _NONE if self.isUsed else self._granted.get(self._home or "", _NONE)

    def _item(self) -> StatusItem:
        return StatusItem(
            "presence.unused",
            "{server} grants the privilege presence = {kind}, which this component has no use for: it sends each "
            "change of a user's presence, {received} so far. See docs/privilege.md for a smaller grant.",
            {"server": self._home, "kind": self._unused, "received": self._received},
        )


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
