"""Puppets that an ordinary room still has, and nobody needs, such as those of an earlier process. Pure."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.fmuc.ordinary.stanzas import ToOrdinary, leaveOf
from gateway.stream.stanzas import Stanza

# Puppets that are remembered, and seconds until one is told again to leave.
_MAX_REMEMBERED, _AGAIN = 1_000, 60.0


class FormerPuppets:
    """The former puppets of one component: they leave when they are heard of."""

    def __init__(self) -> None:
        # Times until which a puppet is not told again, by its address and the ordinary room.
        self._told: dict[tuple[str, str], float] = {}

    def joins(self, address: str, source: str) -> None:
        """A puppet joins, and may be a former one later."""
        self._told.pop((address, source), None)

    def isHeard(self, stanza: Stanza) -> bool:
        """True if a stanza to an unknown address tells that a puppet with this address is in."""
        local, _, resource = jids.split(stanza.recipient or "")
        isShown = (stanza.name == "presence" and stanza.type is None) or stanza.type == "groupchat"
        return isShown and bool(resource) and "@" in jids.unescapeLocal(local)

    def leave(self, address: str, source: str, now: float) -> list[ToOrdinary]:
        """
        Return the leave of a puppet, unless it was sent just now.

        @param address: of the puppet.
        @param source: bare JID of the ordinary room.
        """
        key = address, source
        if self._told.get(key, 0.0) > now:
            return []
        self._told.pop(key, None)
        self._told[key] = now + _AGAIN
        if len(self._told) > _MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        return [leaveOf(source, address, jids.split(address)[2])]
