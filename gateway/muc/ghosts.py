"""
Local users who have gone without an unavailable presence (XEP-0045 section 16.1.2).

Most servers return a message to a client that is gone, with an error. Some, such as Openfire, return only iq
requests. "A MUC service MAY also use XMPP Ping (XEP-0199) or similar methods to periodically check the availability
of room occupants": the room sends a ping to each session that has sent nothing for some time.

A delivery-related error removes the session. The error C{service-unavailable} may come from the server, or from a
client that does not support pings. So the session gets a second request, for disco#info, which such clients answer.
Any other answer keeps the session. So does a missing answer: the client may be asleep, and its server holds the
ping until the client returns.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping

from attrs import define, field, frozen

from gateway import ns
from gateway.muc.actions import Action, AskUser
from gateway.muc.leave import drop
from gateway.muc.occupant_iq import errorOf
from gateway.muc.room import Room
from gateway.stream.pending import PendingTable
from gateway.stream.stanzas import Stanza
from gateway.xml.write import tag

# Pings of a service and of one room, each second; open requests of a service, and seconds that each is open.
MAX_PINGS = 50
MAX_ROOM_PINGS = 10
_BOUND = 5_000
_TIMEOUT = 60.0
# A room forgets the sessions that have left if it remembers more than twice as many sessions as it has, and this
# number.
_SPARE = 100

_PING, _INFO = tag("ping", xmlns=ns.PING).encode(), tag("query", xmlns=ns.DISCO_INFO).encode()
# The recipient or its server does not exist, or cannot be reached.
_GONE = frozenset(
    (
        "gone",
        "item-not-found",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
    )
)
_UNAVAILABLE = "service-unavailable"


@frozen
class _Request:
    """An open request; the last one is disco#info."""

    id: str
    deadline: float
    isLast: bool = False


@define(eq=False)
class _Sweep:
    """
    The pings to the users of one room.

    @ivar start: seconds of the link's clock at which the next sweep starts.
    @ivar heard: full JIDs that have sent something since the last one started.
    @ivar queue: full JIDs that get a ping.
    """

    start: float
    heard: set[str] = field(factory=set)
    queue: deque[str] = field(factory=deque)


class Ghosts:
    """
    Finds the ghosts of all rooms of a service. Pure.

    @param silence: seconds without a stanza of a user after which a ping is sent, and no later than after twice
        that; 0 for no pings.
    """

    def __init__(self, silence: float = 0.0, token: str | None = None) -> None:
        self._silence = silence
        self._token = secrets.token_hex(4) if token is None else token
        self._count = 0
        self._sweeps: dict[str, _Sweep] = {}
        # Rooms whose queue is not empty, in turn.
        self._turns: deque[str] = deque()
        # By room and full JID.
        self._open: PendingTable[tuple[str, str], _Request] = PendingTable(_BOUND)

    def __len__(self) -> int:
        """Return the number of open requests."""
        return len(self._open)

    def heard(self, room: Room, user: str) -> None:
        """Record that a user has sent something: an error for an earlier request says nothing of that session."""
        sweep = self._sweeps.get(room.jid)
        if sweep is not None and user in room.users:
            sweep.heard.add(user)
            if len(sweep.heard) > 2 * len(room.users) + _SPARE:
                sweep.heard.intersection_update(room.users)
            if self._open:
                self._open.pop((room.jid, user), None)

    def verify(self, rooms: Mapping[str, Room], now: float) -> None:
        """Send a ping to each user once, soon: the gateway, or its server, was away, and users may have gone."""
        if not self._silence:
            return
        self._turns.clear()
        for jid, room in rooms.items():
            self._sweeps[jid] = _Sweep(now + self._silence, queue=deque(room.users))
            if room.users:
                self._turns.append(jid)

    def tick(self, rooms: Mapping[str, Room], now: float) -> list[Action]:
        """Return the pings that are due. Called once a second."""
        if not self._silence:
            return []
        self._open.expire(now)
        for jid in [jid for jid in self._sweeps if jid not in rooms]:
            del self._sweeps[jid]
        for jid, room in rooms.items():
            sweep = self._sweeps.get(jid)
            if sweep is None:
                self._sweeps[jid] = _Sweep(now + self._silence)
            elif sweep.start <= now and not sweep.queue:
                sweep.queue.extend(user for user in room.users if user not in sweep.heard)
                sweep.heard.clear()
                sweep.start = now + self._silence
                if sweep.queue:
                    self._turns.append(jid)
        return self._pings(rooms, now)

    def _pings(self, rooms: Mapping[str, Room], now: float) -> list[Action]:
        found: list[Action] = []
        for _ in range(len(self._turns)):
            if len(found) >= MAX_PINGS:
                break
            jid = self._turns.popleft()
            sweep, room = self._sweeps.get(jid), rooms.get(jid)
            if sweep is None or room is None:
                continue
            size = min(MAX_ROOM_PINGS, MAX_PINGS - len(found), len(sweep.queue))
            found += [
                self._request(jid, user, now)
                for user in [sweep.queue.popleft() for _ in range(size)]
                if user in room.users and user not in sweep.heard and not self._open.isFull
            ]
            if sweep.queue:
                self._turns.append(jid)
        return found

    def _request(self, room: str, user: str, now: float, isLast: bool = False) -> Action:
        self._count += 1
        request = _Request(f"{self._token}:{self._count}", now + _TIMEOUT, isLast)
        self._open.pop((room, user), None)
        self._open.add((room, user), request)
        return AskUser(room, user, request.id, _INFO if isLast else _PING)

    def answered(self, room: Room, stanza: Stanza, now: float) -> bool:
        """Handle an iq of type result or error; False if it answers no ping."""
        user = stanza.sender or ""
        request = self._open.get((room.jid, user))
        if request is None or request.id != stanza.id:
            return False
        del self._open[room.jid, user]
        condition = errorOf(stanza).condition if stanza.type == "error" else ""
        occupant = room.users.get(user)
        if occupant is None or condition not in (*_GONE, _UNAVAILABLE):
            return True
        if condition == _UNAVAILABLE and not request.isLast:
            room.emit(self._request(room.jid, user, now, isLast=True))
        else:
            room.log(f"{user} is gone, and is removed: its server answers {condition}")
            drop(room, occupant, now, occupant.session(user))
        return True

    def stop(self) -> None:
        """Forget all requests: the service stops."""
        self._open.clear()
        self._sweeps.clear()
        self._turns.clear()
