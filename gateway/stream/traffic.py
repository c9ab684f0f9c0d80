"""
Counts the stanzas of a link by kind and direction; pure.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from gateway.stream.outflow import Copies
from gateway.stream.stanzas import TAGS, Stanza

RECEIVED, SENT = "received", "sent"
# Kinds by the second byte of a serialised stanza.
_KINDS = {opening[1]: kind for kind, (opening, _) in TAGS.items()}
_OTHER = "other"


@define(eq=False)
class _Tally:
    stanzas: int = 0
    size: int = 0


class Traffic:
    """
    The stanzas of one link. It wraps the functions that take stanzas, so that a link without it pays nothing.
    """

    def __init__(self) -> None:
        self._tallies = {
            (kind, direction): _Tally()
            for kind in (*_KINDS.values(), _OTHER)
            for direction in (RECEIVED, SENT)
        }
        self._sent = {first: self._tallies[kind, SENT] for first, kind in _KINDS.items()}

    def stanzas(self) -> dict[tuple[str, ...], int]:
        """Return the numbers of stanzas by kind and direction."""
        return {key: tally.stanzas for key, tally in self._tallies.items()}

    def sizes(self) -> dict[tuple[str, ...], int]:
        """Return the bytes of these stanzas by kind and direction."""
        return {key: tally.size for key, tally in self._tallies.items()}

    def receiving(self, receive: Callable[[Stanza], object]) -> Callable[[Stanza], object]:
        """Return a function that counts a received stanza before it passes it on."""
        tallies = {kind: self._tallies[kind, RECEIVED] for kind in _KINDS.values()}
        other = self._tallies[_OTHER, RECEIVED]

        def counted(stanza: Stanza) -> None:
            tally = tallies.get(stanza.name, other)
            tally.stanzas += 1
            # Of a stanza with an unusual start tag the end tag is not counted.
            tally.size += len(stanza.raw) + (len(stanza.name) + 3 if stanza.cut else 0)
            receive(stanza)

        return counted

    def sending(self, write: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return a function that writes a serialised stanza, and counts it if there was room."""

        def counted(data: bytes) -> bool:
            return write(data) and self.sent(data)

        return counted

    def sent(self, data: bytes) -> bool:
        """Count a serialised stanza that was sent; return true."""
        tally = self._tally(data)
        tally.stanzas += 1
        tally.size += len(data)
        return True

    def sentCopies(self, copies: Copies) -> bool:
        """Count one stanza for many recipients; return true."""
        tally = self._tally(copies.before)
        tally.stanzas += len(copies.recipients)
        tally.size += copies.size
        return True

    def _tally(self, data: bytes) -> _Tally:
        found = self._sent.get(data[1]) if len(data) > 1 else None
        return found or self._tallies[_OTHER, SENT]
