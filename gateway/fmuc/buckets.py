"""
Digests of the occupants that one node tells another of (docs/fmuc-resync.md, "Occupants").

One hash of all occupants shows that nothing is different. If it differs, hashes of buckets show where: the hash of
the nick chooses the bucket of an occupant, so both nodes agree on it. The node that tells of the occupants sends
those of the buckets that differ. Pure.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256

from attrs import frozen

from gateway.errors import BadRequest

# Bytes of a hash of all occupants, and of a bucket. If two buckets have one hash by accident, the hash of all
# occupants still differs, and all are sent.
_WHOLE, _BUCKET = 16, 3
# Occupants of a bucket, on average; and the maximum number of buckets, which is a power of two.
_EACH = 8
MAX_BUCKETS = 256


@frozen
class Entry:
    """
    An occupant, as one node has told the other.

    @ivar presence: anything else that must agree, such as the payload of the presence; empty if it is not compared.
    """

    nick: str
    occupantId: str
    affiliation: str
    role: str
    realJid: str = ""
    presence: str = ""


def digest(entries: Iterable[Entry]) -> str:
    """Return the hash of all occupants, of 22 characters."""
    return _encoded(_hash(entries)[:_WHOLE]).rstrip("=")


def buckets(entries: Iterable[Entry], most: int = MAX_BUCKETS) -> str:
    """
    Return the hashes of the buckets, of four characters each.

    @param most: maximum number of buckets.
    """
    known = list(entries)
    count = 1
    while count * _EACH < len(known) and count * 2 <= most:
        count *= 2
    return _encoded(b"".join(_hash(each)[:_BUCKET] for each in _spread(known, count)))


def differing(entries: Iterable[Entry], theirs: str) -> tuple[list[int], list[Entry]]:
    """
    Return the numbers of the buckets that differ, and their occupants.

    @param theirs: the other node's hashes of its buckets.
    @raise BadRequest: if they are none.
    """
    try:
        hashes = b64decode(theirs, validate=True)
    except ValueError as error:
        raise BadRequest from error
    count, rest = divmod(len(hashes), _BUCKET)
    if rest or not 0 < count <= MAX_BUCKETS or count & (count - 1):
        raise BadRequest
    own = _spread(entries, count)
    places = [
        place
        for place, each in enumerate(own)
        if _hash(each)[:_BUCKET] != hashes[place * _BUCKET : (place + 1) * _BUCKET]
    ]
    return places, [entry for place in places for entry in own[place]]


def absent(entries: Iterable[Entry], count: int, places: Iterable[int], told: Iterable[Entry]) -> list[str]:
    """
    Return the nicks of occupants who are not there any longer.

    @param entries: the occupants that were known.
    @param count: number of buckets.
    @param places: numbers of the buckets that differ.
    @param told: the occupants that the other node has told in them.
    """
    nicks, chosen = {entry.nick for entry in told}, frozenset(places)
    return [
        entry.nick
        for place, each in enumerate(_spread(entries, count))
        if place in chosen
        for entry in each
        if entry.nick not in nicks
    ]


def _spread(entries: Iterable[Entry], count: int) -> list[list[Entry]]:
    found: list[list[Entry]] = [[] for _ in range(count)]
    for entry in entries:
        found[sha256(entry.nick.encode()).digest()[0] % count].append(entry)
    return found


def _hash(entries: Iterable[Entry]) -> bytes:
    """Return the hash of occupants in any order. No part contains a NUL, which XML does not allow."""
    whole = sha256()
    for each in sorted(entries, key=lambda entry: entry.nick):
        parts = (each.nick, each.occupantId, each.affiliation, each.role, each.realJid, each.presence)
        whole.update("\0".join((*parts, "")).encode())
    return whole.digest()


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()
