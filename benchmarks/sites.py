"""
Two sites that share a room on a virtual clock: the gateway's rooms and mirrors in memory, and a link between them.

The link has the rules of the proxy of the tests. Bytes are those of the stanzas as they are written, without the
set-up of connections, TLS and TCP.
"""

import math
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hour import FAR, NEAR, SECONDS, Event, Hour

from gateway.fmuc.profiles import BROADBAND
from gateway.peers import profiles as links
from gateway.peers.compression import DICTIONARIES, Compressor
from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas
from tests.fmuc.wire import START, Wire, mirror, rooms
from tests.link.core import Deliver, Effect, Link, Side, Way

ROOM = f"lobby@rooms.{NEAR}"
MIRROR = rf"lobby\40rooms.{NEAR}@mirror.{FAR}"
# Bytes of a record of TLS 1.3 beside its content, and of the header of a frame in it.
FRAME = 22 + 2
# After the hour, stanzas that are under way may still arrive.
LATE = 1_800.0

_OPEN = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
_ALONE = re.compile(rb"^<message [^>]*><r xmlns='urn:xmpp:fr:0' ")
_OWN = b"<status code='110'/>"
# The parts of stanzas, for the question of what takes the bytes.
_PARTS = {
    "bodies": rb"<(body|subject)>.*?</\1>",
    "numbers of channels": rb"<[rf] xmlns='urn:xmpp:fr:0' [^>]*/>",
    "occupant ids, stanza ids": rb"<(?:occupant|stanza)-id [^>]*/>",
    "ids by clients": rb"<origin-id [^>]*/>| id='[^']*'",
    "fmuc": rb"<fmuc [^>]*?(?:/>|>.*?</fmuc>)",
    "addresses": rb" (?:from|to)='[^']*'",
    "muc#user": rb"<x xmlns='http://jabber.org/protocol/muc(?:#user)?'(?:/>|>.*?</x>)",
    "capabilities, avatar hashes": rb"<c xmlns='[^']*caps'[^>]*/>|<x xmlns='vcard-temp:x:update'>.*?</x>",
    "chat states, markers, hints": rb"<[a-z-]+ xmlns='[^']*(?:chatstates|chat-markers:0|xmpp:hints)'/>",
    "delays": rb"<delay [^>]*/>",
}


def _asWritten(stanza: Stanza) -> list[bytes]:
    return [stanza.whole]


@dataclass(frozen=True)
class Variant:
    """
    One way to share the room.

    @ivar options: of the mirror; C{None} for no mirror: each remote user is in the room directly.
    @ivar wire: returns the stanzas that cross in the place of one of the gateway's.
    """

    name: str
    options: Mapping[str, Any] | None
    wire: Callable[[Stanza], list[bytes]] = _asWritten


@dataclass
class Traffic:
    """
    The stanzas that cross in one direction; deflated as by XEP-0138, with one compressor for the connection, which
    is flushed after each stanza; and as a direct link sends them, frames and records of TLS included.

    @ivar gather: seconds that a direct link waits for further stanzas, which it sends together.
    """

    raw: int = 0
    deflated: int = 0
    direct: int = 0
    gather: float = 0.0
    stanzas: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    written: list[bytes] = field(default_factory=list)
    _compressor: Any = field(default_factory=zlib.compressobj)
    _linked: Compressor = field(default_factory=partial(Compressor, DICTIONARIES[0]))
    _waiting: bytes = b""
    _waitsSince: float = 0.0

    def leave(self, now: float = math.inf) -> None:
        """Count what waits at a direct link, if its time is over."""
        if self._waiting and now > self._waitsSince + self.gather:
            self.direct += len(self._linked.compress(self._waiting)) + FRAME
            self._waiting = b""

    def count(self, data: bytes, now: float = 0.0) -> bytes:
        """Count a stanza; return it deflated."""
        self.leave(now)
        if not self._waiting:
            self._waitsSince = now
        self._waiting += data
        packed: bytes = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        self.raw += len(data)
        self.deflated += len(packed)
        self.stanzas += 1
        self.kinds[_kindOf(data)] += len(data)
        self.written.append(data)
        return packed

    def parts(self) -> Counter[str]:
        """Return the bytes of each part of the stanzas."""
        found: Counter[str] = Counter()
        for data in self.written:
            rest = data
            for name, pattern in _PARTS.items():
                shorter = re.sub(pattern, b"", rest, flags=re.DOTALL)
                found[name] += len(rest) - len(shorter)
                rest = shorter
            found["tags of stanzas, other"] += len(rest)
        return found


def _kindOf(data: bytes) -> str:
    if data.startswith(b"<message"):
        if b"<body>" in data or b"<subject" in data:
            return "history" if b"<delay " in data else "messages"
        if b"<echo " in data:
            return "references"
        if _ALONE.search(data):
            return "acknowledgements"
        return "chat states"
    return "presence" if data.startswith(b"<presence") else "requests"


@dataclass
class _Open:
    """A message that was sent, and the users of the other site who have not seen it yet."""

    sent: float
    missing: set[str]


class Run:
    """
    The hour, in one variant over one link.

    @ivar traffic: by the sending side; side A is that of the room.
    @ivar seconds: for each message that all occupants at the other site have seen, the time until then.
    @ivar unseen: number of the other messages.
    @ivar errors: number of errors that users got.
    @ivar outside: number of joins that were not answered.
    @param bits: bandwidth in bit/s, in each direction.
    @param isDeflated: true if the link carries deflated stanzas.
    @param delay: of the link, in seconds.
    """

    def __init__(
        self, variant: Variant, hour: Hour, bits: float = math.inf, isDeflated: bool = False, delay: float = 0.0
    ) -> None:
        profile = (variant.options or {}).get("profile", BROADBAND)
        self._gather = links.PROFILES[profile.name].gather
        self.traffic = {side: Traffic(gather=self._gather) for side in Side}
        self.seconds: list[float] = []
        self.errors = 0
        self.outside = 0
        self._wire = variant.wire
        self._isDeflated = isDeflated
        self._domains = {user.jid: domain for domain, users in hour.users.items() for user in users}
        self._room = rooms(f"rooms.{NEAR}", f"mirror.{FAR}", isStored=True)
        self._mirror = (
            None if variant.options is None else mirror(f"mirror.{FAR}", **variant.options)
        )
        self._link = Link(Way(bits, delay), buffer=math.inf)
        self._link.opened(1, 0.0)
        # By the sending side: stanzas under way, each with the number of all bytes up to its end; and the numbers
        # of bytes that were sent, and that have arrived.
        self._underWay = {side: deque[tuple[int, Stanza]]() for side in Side}
        self._sent = dict.fromkeys(Side, 0)
        self._arrived = dict.fromkeys(Side, 0)
        self._effects: deque[Effect] = deque()
        self._isBusy = False
        self._now = 0.0
        self._inside: dict[str, set[str]] = {NEAR: set(), FAR: set()}
        self._open: dict[bytes, _Open] = {}
        self._play(hour)

    @property
    def unseen(self) -> int:
        return len(self._open)

    @property
    def direct(self) -> int:
        """Bytes of both directions together on a direct link."""
        for each in self.traffic.values():
            each.leave()
        return sum(each.direct for each in self.traffic.values())

    @property
    def sizes(self) -> dict[bool, int]:
        """Bytes of both directions together, by whether they are deflated."""
        both = self.traffic.values()
        return {False: sum(each.raw for each in both), True: sum(each.deflated for each in both)}

    def _begin(self, hour: Hour) -> None:
        """Carry out what happens before the hour."""
        [first, *others] = hour.before
        owner = f"<iq from='{first.user.jid}' to='{ROOM}' type='set' id='form'>{_OPEN}</iq>"
        self.outside += sum(event.kind == "join" for event in (*hour.before, *hour.events))
        for xml in (first.stanza(ROOM), owner, *(event.stanza(ROOM) for event in others)):
            self._give(self._room, xml.encode())

    def _play(self, hour: Hour) -> None:
        self._begin(hour)
        events = deque(hour.events)
        tick = 1.0
        while events or (self._now < SECONDS + LATE and (self._open or self._link.nextAt() < math.inf)):
            act = events[0].at if events else math.inf
            self._now = min(act, self._link.nextAt(), tick)
            self._carryOut(self._link.advance(self._now))
            if self._now == tick:
                tick += 1
                self._tick()
            if self._now == act:
                self._act(events.popleft())

    def _tick(self) -> None:
        for wire in (self._room, self._mirror):
            if wire is not None:
                wire.link.now = START + self._now
                wire.handler.tick(wire.link.now)
                self._route(wire)

    def _act(self, event: Event) -> None:
        """Do what a user does."""
        user = event.user.jid
        domain = self._domains[user]
        if event.kind == "message":
            missing = set(self._inside[FAR if domain == NEAR else NEAR])
            if missing and user in self._inside[domain]:
                self._open[event.id.encode()] = _Open(self._now, missing)
        elif event.kind == "leave":
            self._leave(user)
        self._fromUser(domain, lambda room: event.stanza(room).encode())

    def _fromUser(self, domain: str, write: Callable[[str], bytes]) -> None:
        """Send a stanza of a user to the room, by the way that the user has."""
        if domain == NEAR:
            self._give(self._room, write(ROOM))
        elif self._mirror is not None:
            self._give(self._mirror, write(MIRROR))
        else:
            for stanza in stanzas(write(ROOM)):
                self._cross(Side.B, stanza)

    def _give(self, wire: Wire, data: bytes) -> None:
        """Give a stanza to the room or the mirror."""
        wire.link.now = START + self._now
        for stanza in stanzas(data):
            wire.handler.stanzaReceived(stanza)
        self._route(wire)

    def _route(self, wire: Wire) -> None:
        """Pass on the output of the room or the mirror."""
        # The answer to a join to a large room comes in portions.
        wire.link.settle()
        sent = b"".join(wire.link.sent)
        wire.link.sent.clear()
        here, side = (NEAR, Side.A) if wire is self._room else (FAR, Side.B)
        for stanza in stanzas(sent):
            if self._domains.get(stanza.recipient or "") == here:
                self._show(stanza, here)
            else:
                self._cross(side, stanza)

    # The link.

    def _cross(self, side: Side, stanza: Stanza) -> None:
        """Send a stanza over the link."""
        written = [(data, self.traffic[side].count(data, self._now)) for data in self._wire(stanza)]
        data = b"".join(packed if self._isDeflated else raw for raw, packed in written)
        self._sent[side] += len(data)
        self._underWay[side].append((self._sent[side], stanza))
        self._carryOut(self._link.received(1, side, data, self._now))

    def _carryOut(self, effects: list[Effect]) -> None:
        """Handle bytes that have arrived. What they cause comes after them."""
        self._effects += effects
        if self._isBusy:
            return
        self._isBusy = True
        for side, stanza in self._arrivals():
            if side is Side.B:
                self._give(self._room, stanza.whole)
            elif self._mirror is not None:
                self._give(self._mirror, stanza.whole)
            else:
                self._show(stanza, FAR)
        self._isBusy = False

    def _arrivals(self) -> Iterator[tuple[Side, Stanza]]:
        """Yield the stanzas that have arrived, each with the side that sent it."""
        while True:
            while self._effects:
                effect = self._effects.popleft()
                assert isinstance(effect, Deliver), effect
                self._arrived[effect.side.other] += len(effect.data)
            found = [side for side in Side if self._hasArrived(side)]
            if not found:
                return
            yield found[0], self._underWay[found[0]].popleft()[1]

    def _hasArrived(self, side: Side) -> bool:
        return bool(self._underWay[side]) and self._underWay[side][0][0] <= self._arrived[side]

    # The users.

    def _show(self, stanza: Stanza, domain: str) -> None:
        """Show a stanza to a user."""
        user = stanza.recipient or ""
        if stanza.type == "error":
            self.errors += 1
        elif stanza.name == "iq" and stanza.type == "get":
            # The room asks a silent client for a sign of life.
            answer = f"<iq from='{user}' to='{stanza.sender}' id='{stanza.id}' type='result'/>".encode()
            self._fromUser(domain, lambda _: answer)
        elif stanza.name == "presence" and _OWN in stanza.raw:
            if stanza.type == "unavailable":
                self._leave(user)
            elif user not in self._inside[domain]:
                self._inside[domain].add(user)
                self.outside -= 1
        elif stanza.name == "message":
            # Origin ids do not cross every link.
            key = (stanza.id or "").encode()
            message = self._open.get(key)
            if message is not None:
                message.missing.discard(user)
                self._check(key, message)

    def _leave(self, user: str) -> None:
        self._inside[self._domains[user]].discard(user)
        for key, message in list(self._open.items()):
            if user in message.missing:
                message.missing.discard(user)
                self._check(key, message)

    def _check(self, key: bytes, message: _Open) -> None:
        if not message.missing:
            self.seconds.append(self._now - message.sent)
            del self._open[key]
