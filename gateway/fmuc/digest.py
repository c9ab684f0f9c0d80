"""The state that a joined node and a joining node share, as a short text for comparison. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from html import unescape

from gateway.fmuc.pending import PendingJoin
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import Payload

# Half of a SHA-256, in hexadecimal digits.
_LENGTH = 32
_WORD = re.compile(r"""[^\s<>"'=/]+""")


def digest(
    room: Room,
    occupants: Iterable[Occupant],
    crossing: Callable[[Occupant], tuple[str, Payload] | None],
    joins: Iterable[PendingJoin],
    isWhole: bool = True,
) -> str:
    """
    Return the digest of the occupants, of the joins that are not answered, and of the subject.

    @param occupants: those whom both nodes know.
    @param crossing: returns the real JID and the presence by which the joined node knows an occupant of the joining
        node; C{None} for an occupant of the joined node, whose JID need not be known.
    @param joins: those of the joining node that wait for the joined node.
    @param isWhole: False to leave out the payloads of presence, which cross late or in part.
    """
    lines = [[each.request.nick, each.request.realJid] for each in joins]
    for occupant in occupants:
        found = crossing(occupant)
        standing = occupant.standing
        jid, payload = ("", occupant.payload) if found is None else found
        identifier = occupant.id if found is None else ""
        shown = words(payload) if isWhole else ""
        lines.append([occupant.nick, jid, identifier, standing.affiliation, standing.role, shown])
    text = "\0".join("\0".join(line) for line in [*sorted(lines), [words(subjectOf(room).payload)]])
    return sha256(text.encode()).hexdigest()[:_LENGTH]


def words(payload: Payload) -> str:
    """
    Return the words of a payload in a fixed order: servers on the way may write quotes, spaces and attributes in
    another way.
    """
    return " ".join(sorted(_WORD.findall(unescape(payload.raw.decode()))))
