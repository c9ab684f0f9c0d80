"""
Properties of joined rooms, for the disco#info answers of their mirrors: asked by disco#info, and kept for a while.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile

from attrs import define, field, frozen
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest, GatewayError, NoSuchAddress, Stopping, TooManyPending
from gateway.muc.actions import Action, SendError, SendResult
from gateway.muc.disco import PROPERTIES
from gateway.muc.forms import FormField, isForm, readForm
from gateway.muc.info import Info
from gateway.muc.iq import discoInfo
from gateway.muc.occupant_iq import errorOf
from gateway.muc.service import RoomService
from gateway.muc.values import stanzaError
from gateway.stream.shares import Share, Shares
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children

# Rooms whose properties are kept, and seconds that they are kept for.
_MAX_KNOWN, KEEP = 1_000, 60.0
# Requests of users that wait, and seconds that they wait.
_MAX_WAITING, WAIT = 1_000, 10.0
# Elements of an answer; characters of a name or of all fields together.
_MAX_ELEMENTS, _MAX_NAME, _MAX_FIELDS = 500, 1_000, 8_000
# Characters that the tags of a field, and of a value, count as. So the number of empty ones is bounded, too.
_FIELD, _VALUE = 20, 20
# Features that are kept: a mirror has the same properties, and the joined room's occupant ids.
_FEATURES = PROPERTIES | {ns.OCCUPANT_ID}
# The mirror counts its occupants itself.
_COUNTED = "muc#roominfo_occupants"


@frozen
class _Asker:
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
    askers: list[_Asker] = field(factory=list)


def asksProperties(stanza: Stanza) -> bool:
    """True if an iq request is disco#info without a node."""
    if stanza.type != "get" or ns.DISCO_INFO.encode() not in stanza.raw:
        return False
    payload = next(stanza.element.elements(), None)
    return payload is not None and payload.uri == ns.DISCO_INFO and not payload.getAttribute("node")


class Properties:
    """
    The properties of joined rooms, by the bare JIDs of their mirrors.

    A mirror asks once for all users who ask meanwhile.

    @param rooms: the service of the mirrors.
    @param token: part of the ids, by which answers to an earlier process are recognised.
    """

    def __init__(self, rooms: RoomService, token: str) -> None:
        self._rooms = rooms
        self._token, self._asked = token, 0
        self._known: dict[str, tuple[Info, float]] = {}
        self._open: dict[str, _Open] = {}
        self._shares = Shares(_MAX_WAITING)

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return self._shares.taken

    def known(self, mirror: str) -> Info | None:
        """Return the properties as the joined room has told them last; C{None} if they are unknown."""
        found = self._known.get(mirror)
        return None if found is None else found[0]

    def ask(self, mirror: str, stanza: Stanza, now: float) -> str | None:
        """
        Let a request wait, unless the properties are known.

        @return: id of the request to the joined room; empty if it is asked already; C{None} if the request need not
            wait.
        @raise TooManyPending: if too many requests wait.
        """
        found = self._known.get(mirror)
        if found is not None and now < found[1]:
            return None
        user = stanza.sender or ""
        share = self._shares.of(user)
        if not share.take():
            raise TooManyPending
        asked = ""
        if mirror not in self._open:
            self._asked += 1
            asked = f"info-{self._token}-{self._asked}"
            self._open[mirror] = _Open(asked, now + WAIT)
        self._open[mirror].askers.append(_Asker(user, stanza.id or "", share))
        return asked

    def answered(self, mirror: str, stanza: Stanza, now: float) -> list[Action] | None:
        """Handle an answer of the joined room; C{None} if it answers no request."""
        found = self._open.get(mirror)
        if found is None or found.id != stanza.id:
            return None
        del self._open[mirror]
        error = None
        if stanza.type == "result":
            self.read(mirror, stanza, now)
        elif errorOf(stanza).condition == stanzaError(NoSuchAddress).condition and mirror not in self._rooms.rooms:
            error = NoSuchAddress
        return self._answers(mirror, found, error)

    def read(self, mirror: str, stanza: Stanza, now: float) -> Info | None:
        """Read the properties from a result, and keep them; C{None} if they cannot be read."""
        with suppress(BadRequest):
            info = readInfo(stanza)
            self._known.pop(mirror, None)
            self._known[mirror] = info, now + KEEP
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
            return info
        return None

    def forget(self, mirror: str) -> None:
        """Forget the properties of a room that has changed."""
        self._known.pop(mirror, None)

    def expire(self, now: float) -> list[Action]:
        """Answer the requests whose joined room has not answered in time; forget old properties."""
        # Both tables are in the order of their times.
        late = [mirror for mirror, _ in takewhile(lambda item: item[1].deadline <= now, self._open.items())]
        for mirror, _ in list(takewhile(lambda item: item[1][1] <= now, self._known.items())):
            del self._known[mirror]
        return [action for mirror in late for action in self._answers(mirror, self._open.pop(mirror))]

    def stop(self) -> list[Action]:
        """End all requests: the service stops."""
        waiting, self._open = self._open, {}
        return [action for mirror, each in waiting.items() for action in self._answers(mirror, each, Stopping)]

    def _answers(self, mirror: str, found: _Open, error: type[GatewayError] | None = None) -> list[Action]:
        for asker in found.askers:
            asker.share.giveBack()
        if error is not None:
            why = stanzaError(error)
            return [SendError("iq", mirror, asker.user, asker.id, why) for asker in found.askers]
        # It is the same for all users, and may be long.
        payload = discoInfo(self._rooms, found.askers[0].user, mirror).encode()
        return [SendResult(mirror, asker.user, asker.id, payload) for asker in found.askers]


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
        elif child.name == "feature" and child.getAttribute("var") in _FEATURES:
            features.append(child.getAttribute("var"))
        elif isForm(child):
            fields += _fields(child)
    return Info(name, tuple(dict.fromkeys(features)), tuple(fields))


def _fields(form: domish.Element) -> Iterator[FormField]:
    left = _MAX_FIELDS
    for var, values in readForm(form).values.items():
        left -= _FIELD + len(var) + sum(_VALUE + len(each) for each in values)
        if left < 0:
            return
        if var.startswith(("muc#roominfo_", "muc#roomconfig_")) and var != _COUNTED:
            yield FormField(var, "", "", values)
