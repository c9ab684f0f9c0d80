"""
Detection of another gateway that is connected as the same component. Pure.

ejabberd accepts several connections of one component and gives each of them a part of the stanzas. Two gateways
that do not know of each other then lose answers. So each link sends marks from the component to itself. The server
delivers a mark to any of the connections. If a link receives a mark with another name, another gateway is
connected. A gateway that is halted sends no marks, but gets those of others: if an own mark comes back and earlier
ones have not, there is another connection as well.
"""

from __future__ import annotations

from gateway.stream.stanzas import Stanza
from gateway.xml.write import route, writeStanza

# Seconds between two marks. On a new connection, or while another gateway is there, a mark is sent at each tick:
# the server chooses by chance, so of a few marks none may come to another connection.
_MARK_EVERY = 30.0
_NEW = 30.0
# Seconds without a mark after which the other gateway counts as gone. Few of its marks may arrive here.
_GONE_AFTER = 60.0
# Seconds for which all own marks, one at each tick, have to come back. Another connection would get half of them.
_RETURN_FOR = 12.0

_RESOURCE = "gateway-instance-"
# No link sends so many marks.
_DIGITS = 12

SHARED = (
    "another gateway is connected as this component, and the server gives each a part of the stanzas: stop one of "
    "them (several proxies of one component need shared = true and one key_file), or give the component "
    "standby = true in both"
)


class OtherInstances:
    """
    The marks of one link.

    @ivar found: true if there is another gateway.
    @param jid: the component's.
    @param name: different for each link of each process; hexadecimal digits.
    """

    def __init__(self, jid: str, name: str) -> None:
        self._prefix = f"{jid}/{_RESOURCE}"
        self._own = self._prefix + name
        self._route = route(self._own, jid)
        # Number of marks so far; and of the last one that has come back.
        self._sent = self._returned = 0
        self.found = False
        self._markAt = self._newUntil = self._foundUntil = 0.0

    def connected(self, now: float) -> None:
        """Begin anew: the link is up."""
        self.found = False
        self._markAt, self._newUntil = now, now + _NEW
        self._returned = 0

    def received(self, stanza: Stanza, now: float) -> bool:
        """
        Look at a stanza.

        @return: true if it is a mark.
        """
        sender = stanza.sender or ""
        if stanza.type != "result" or not sender.startswith(self._prefix):
            return False
        if sender != self._own:
            self._find(now, now + _GONE_AFTER)
            return True
        identifier = stanza.id or ""
        number = int(identifier) if identifier.isdecimal() and len(identifier) < _DIGITS else 0
        # Some servers drop what comes too early on a new connection: no mark is missed before the first one.
        if self._returned and number > self._returned + 1:
            self._find(now, now + _RETURN_FOR)
        self._returned = max(number, self._returned)
        return True

    def _find(self, now: float, until: float) -> None:
        if not self.found:
            # So that another gateway finds this one as quickly.
            self._markAt = now
        self.found = True
        self._foundUntil = max(self._foundUntil, until)

    def notSent(self) -> None:
        """The last mark was dropped: there was no room."""
        self._returned = 0

    def tick(self, now: float) -> bytes:
        """
        Forget another gateway that is gone. To be called about once a second.

        @return: the bytes to send.
        """
        self.found = self.found and now < self._foundUntil
        if now < self._markAt:
            return b""
        self._markAt = now if self.found or now < self._newUntil else now + _MARK_EVERY
        self._sent += 1
        return self.mark(self._sent)

    def mark(self, number: int) -> bytes:
        """Return a mark: a result without a request, which no software answers."""
        return writeStanza("iq", self._route, type="result", id=str(number))
