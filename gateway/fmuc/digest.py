"""
The state that a joined node and a joining node share, for comparison (docs/fmuc-resync.md, sections 4.5 and 6).

One digest shows that nothing is different. If it differs, hashes of buckets show where: the hash of the nick
chooses the bucket of an occupant, so both nodes agree on it. Then only the occupants of the buckets that differ
cross. Pure.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from html import unescape

from attrs import frozen

from gateway.errors import BadRequest
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import Payload

# Bytes of the hash of everything, and of a bucket.
_WHOLE, _BUCKET = 16, 4
# Occupants of a bucket, on average; and the maximum number of buckets. Their numbers are powers of two.
_EACH = 2
MAX_BUCKETS = 256
# Characters of the numbers of all buckets.
_MAX_PLACES = 1_024
_WORD = re.compile(r"""[^\s<>"'=/]+""")


@frozen
class Buckets:
    """
    Some of the buckets into which nicks fall.

    @ivar count: number of all buckets.
    @ivar places: numbers of the chosen ones.
    """

    count: int
    places: frozenset[int]

    def __contains__(self, nick: str) -> bool:
        return _place(nick, self.count) in self.places

    @property
    def text(self) -> str:
        """The numbers, as they are sent."""
        return " ".join(map(str, sorted(self.places)))

    @classmethod
    def read(cls, count: str, places: str) -> Buckets:
        """
        Return the buckets that another node has chosen.

        @raise BadRequest: if they are none.
        """
        isShort = len(places) <= _MAX_PLACES and len(count) <= len(str(MAX_BUCKETS))
        if not (isShort and count.isascii() and count.isdigit() and re.fullmatch("[0-9 ]*", places)):
            raise BadRequest
        chosen = frozenset(map(int, places.split()))
        if not _isCount(int(count)) or any(place >= int(count) for place in chosen):
            raise BadRequest
        return cls(int(count), chosen)


# All nicks, and none.
ALL, NONE = Buckets(1, frozenset((0,))), Buckets(1, frozenset())


@frozen
class SharedState:
    """
    The occupants, the joins that are not answered, and the subject.

    @ivar lines: nick and text of each occupant and join.
    """

    lines: list[tuple[str, str]]
    subject: str

    def digest(self) -> str:
        """Return the hash of everything, of 22 characters."""
        return _encoded(_hash([*sorted(text for _, text in self.lines), self.subject])[:_WHOLE]).rstrip("=")

    def hashes(self) -> str:
        """Return the hashes of the buckets: of about two occupants each."""
        count = 1
        while count * _EACH < len(self.lines) and count < MAX_BUCKETS:
            count *= 2
        return _encoded(b"".join(self._hashes(count)))

    def differing(self, theirs: str) -> Buckets:
        """
        Return the buckets that differ.

        @param theirs: hashes of the other node's buckets.
        @raise BadRequest: if they are none.
        """
        try:
            hashes = b64decode(theirs, validate=True)
        except ValueError as error:
            raise BadRequest from error
        count, rest = divmod(len(hashes), _BUCKET)
        if rest or not _isCount(count):
            raise BadRequest
        pairs = enumerate(self._hashes(count))
        places = (place for place, own in pairs if own != hashes[place * _BUCKET : (place + 1) * _BUCKET])
        return Buckets(count, frozenset(places))

    def _hashes(self, count: int) -> list[bytes]:
        found: list[list[str]] = [[] for _ in range(count)]
        for nick, text in self.lines:
            found[_place(nick, count)].append(text)
        return [_hash(sorted(each))[:_BUCKET] for each in found]


def shared(
    room: Room,
    occupants: Iterable[Occupant],
    crossing: Callable[[Occupant], tuple[str, Payload] | None],
    joins: Iterable[PendingJoin],
    isWhole: bool = True,
) -> SharedState:
    """
    Return the state that two nodes share.

    @param occupants: those whom both nodes know.
    @param crossing: returns the real JID and the presence by which the joined node knows an occupant of the joining
        node; C{None} for an occupant of the joined node, whose JID need not be known.
    @param joins: those of the joining node that wait for the joined node.
    @param isWhole: False to leave out the payloads of presence, which cross late or in part.
    """
    lines = [(each.request.nick, f"{each.request.nick}\0{each.request.realJid}") for each in joins]
    for occupant in occupants:
        found = crossing(occupant)
        standing = occupant.standing
        jid, payload = ("", occupant.payload) if found is None else found
        identifier = occupant.id if found is None else ""
        shown = words(payload) if isWhole else ""
        parts = (occupant.nick, jid, identifier, standing.affiliation, standing.role, shown)
        lines.append((occupant.nick, "\0".join(parts)))
    return SharedState(lines, words(subjectOf(room).payload))


def words(payload: Payload) -> str:
    """
    Return the words of a payload in a fixed order: servers on the way may write quotes, spaces and attributes in
    another way.
    """
    return " ".join(sorted(_WORD.findall(unescape(payload.raw.decode()))))


def _place(nick: str, count: int) -> int:
    return sha256(nick.encode()).digest()[0] % count


def _isCount(count: int) -> bool:
    return 0 < count <= MAX_BUCKETS and not count & (count - 1)


def _hash(texts: Iterable[str]) -> bytes:
    """Return the hash of texts. XML does not allow the separator in them."""
    return sha256("\1".join(texts).encode()).digest()


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()
