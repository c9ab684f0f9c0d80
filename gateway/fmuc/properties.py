"""
Properties of joined rooms, for the disco#info answers of their mirrors: asked by disco#info, and kept for a while.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest, TooManyPending
from gateway.muc.disco import PROPERTIES
from gateway.muc.forms import FormField, isForm, readForm
from gateway.muc.info import Info
from gateway.stream.shares import Share, Shares
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children

# Rooms whose properties are kept, and seconds that they are kept for.
_MAX_KNOWN, KEEP = 1_000, 60.0
# Requests of users that wait, and seconds that they wait.
_MAX_WAITING, WAIT = 1_000, 10.0
# Elements of an answer; characters of a name or of all fields together.
_MAX_ELEMENTS, _MAX_NAME, _MAX_FIELDS = 500, 1_000, 8_000
# The mirror counts its occupants itself.
_COUNTED = "muc#roominfo_occupants"


@frozen
class Asker:
    """
    A request that waits.

    @ivar user: full JID that has asked.
    @ivar id: id of the request.
    """

    user: str
    id: str
    share: Share


@define
class _Open:
    id: str
    deadline: float
    askers: list[Asker] = field(factory=list)


class Properties:
    """
    The properties of joined rooms, by the bare JIDs of their mirrors.

    A mirror asks once for all users who ask meanwhile.

    @param token: part of the ids, by which answers to an earlier process are recognised.
    """

    def __init__(self, token: str) -> None:
        self._token, self._asked = token, 0
        self._known: dict[str, tuple[Info, float]] = {}
        self._open: dict[str, _Open] = {}
        self._shares = Shares(_MAX_WAITING)

    def __len__(self) -> int:
        return self._shares.taken

    def known(self, mirror: str) -> Info | None:
        """Return the properties as the joined room has told them last; C{None} if they are unknown."""
        found = self._known.get(mirror)
        return None if found is None else found[0]

    def isFresh(self, mirror: str, now: float) -> bool:
        """True if the joined room need not be asked."""
        found = self._known.get(mirror)
        return found is not None and now < found[1]

    def ask(self, mirror: str, user: str, identifier: str, now: float) -> str:
        """
        Add a request of a user.

        @return: id of the request to the joined room; empty if it is asked already.
        @raise TooManyPending: if too many requests wait.
        """
        share = self._shares.of(user)
        if not share.take():
            raise TooManyPending
        asked = ""
        if mirror not in self._open:
            self._asked += 1
            asked = f"info-{self._token}-{self._asked}"
            self._open[mirror] = _Open(asked, now + WAIT)
        self._open[mirror].askers.append(Asker(user, identifier, share))
        return asked

    def close(self, mirror: str, identifier: str) -> list[Asker] | None:
        """Return the requests that an answer of the joined room is for; C{None} if it is for none."""
        found = self._open.get(mirror)
        if found is None or found.id != identifier:
            return None
        del self._open[mirror]
        return self._released(found)

    def learn(self, mirror: str, info: Info, now: float) -> None:
        """Keep what the joined room has told."""
        self._known.pop(mirror, None)
        self._known[mirror] = info, now + KEEP
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, mirror: str) -> None:
        """The joined room has changed."""
        self._known.pop(mirror, None)

    def expire(self, now: float) -> Iterator[tuple[str, list[Asker]]]:
        """Yield the mirrors that got no answer in time, and the requests that wait for it."""
        for mirror in [mirror for mirror, each in self._open.items() if each.deadline <= now]:
            yield mirror, self._released(self._open.pop(mirror))
        for mirror in [mirror for mirror, (_, until) in self._known.items() if until <= now]:
            del self._known[mirror]

    def stop(self) -> list[tuple[str, Asker]]:
        """End all requests: the service stops."""
        waiting = [(mirror, asker) for mirror, each in self._open.items() for asker in self._released(each)]
        self._open.clear()
        return waiting

    def _released(self, found: _Open) -> list[Asker]:
        for asker in found.askers:
            asker.share.giveBack()
        return found.askers


def readInfo(stanza: Stanza) -> Info:
    """
    Read the properties from a result of disco#info. Features and fields that say nothing about the room, or that
    mean something else in a mirror, are left out.

    @raise BadRequest: if it cannot be read.
    """
    query = next(iter(children(stanza.element)), None)
    if query is None or query.uri != ns.DISCO_INFO:
        raise BadRequest
    name = ""
    features: list[str] = []
    fields: list[FormField] = []
    for child in children(query, _MAX_ELEMENTS):
        if child.name == "identity" and child.getAttribute("category") == "conference":
            name = name or child.getAttribute("name", "")[:_MAX_NAME]
        elif child.name == "feature" and child.getAttribute("var") in PROPERTIES:
            features.append(child.getAttribute("var"))
        elif isForm(child):
            fields += _fields(child)
    return Info(name, tuple(dict.fromkeys(features)), tuple(fields))


def _fields(form: domish.Element) -> Iterator[FormField]:
    left = _MAX_FIELDS
    for var, values in readForm(form).values.items():
        left -= len(var) + sum(map(len, values))
        if left < 0:
            return
        if var.startswith(("muc#roominfo_", "muc#roomconfig_")) and var != _COUNTED:
            yield FormField(var, "", "", values)
