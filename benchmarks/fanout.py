"""
The cost of joins to a room and of messages to all occupants: the gateway and servers' own rooms.

This process is the component of all occupants. Each contestant is a process of its own. Every presence and every
message is checked; the exit status is 1 if one was lost, wrong, or came twice.
"""

import argparse
import json
import re
import statistics
import sys
import time
from functools import partial

import mucs
import rounds
from contestants import Contestant
from fakeserver import Broken, Wire

SIZES = (200, 1_000)
ROOM = f"room@{mucs.ROOMS}"
# Seconds without any input.
_TIMEOUT = 30.0
_WARMUP = 5

_STANZA = re.compile(rb"<(presence|message|iq)\s([^>]*)>(.*?)</\1>", re.DOTALL)
_ATTRIBUTE = re.compile(rb"""\s?([\w:]+)=["']([^"']*)["']""")
_BODY = "The same to everybody, message {}; it is as long as what people write, which is not much, as a rule."


class Room:
    """One room with its occupants, all at one component."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rest = b""
        self.occupants: list[bytes] = []
        self.said = 0
        self.size = 0

    def enter(self) -> None:
        """
        Add one occupant; return when all have its presence, and it has theirs.

        @raise Broken: if a presence is missing, or came twice.
        """
        number = len(self.occupants)
        self.occupants.append(_user(number))
        address = f"from='{_user(number).decode()}' to='{ROOM}/{_nick(number).decode()}'"
        self._wire.send(f"<presence {address}><x xmlns='http://jabber.org/protocol/muc'/></presence>".encode())
        wanted = {(_nick(number), user) for user in self.occupants}
        wanted |= {(_nick(other), _user(number)) for other in range(number)}
        found = self._read("presence", len(wanted))
        if {(sender, recipient) for sender, recipient, _ in found} != wanted:
            raise Broken(f"join {number}: the wrong presence went out: {found[:3]!r}")
        if not number:
            self._configure()

    def _configure(self) -> None:
        """Accept the default configuration: Prosody's rooms are locked until their owner does that."""
        address = f"from='{_user(0).decode()}' to='{ROOM}'"
        form = "<x xmlns='jabber:x:data' type='submit'/>"
        self._wire.send(
            f"<iq {address} type='set' id='c1'><query xmlns='http://jabber.org/protocol/muc#owner'>{form}"
            "</query></iq>".encode()
        )
        # Some answer with an empty element.
        seen = b""
        deadline = time.monotonic() + _TIMEOUT
        while re.search(rb"<iq\s[^>]*type=.result", seen) is None:
            seen += self._wire.step(0.1)
            if time.monotonic() > deadline:
                raise Broken(f"the room is not opened: {seen!r:.2000}")

    def say(self) -> None:
        """
        Send a message of one occupant; return when all have it.

        @raise Broken: if it is missing, came twice, or is wrong.
        """
        self.said += 1
        speaker = self.said * 7 % len(self.occupants)
        body = _BODY.format(self.said)
        address = f"from='{_user(speaker).decode()}' to='{ROOM}' type='groupchat' id='m{self.said}'"
        extra = (
            "<active xmlns='http://jabber.org/protocol/chatstates'/>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='m{self.said}'/>"
        )
        self._wire.send(f"<message {address}><body>{body}</body>{extra}</message>".encode())
        found = self._read("message", len(self.occupants))
        right = all(sender == _nick(speaker) and body.encode() in payload for sender, _, payload in found)
        if not right or {recipient for _, recipient, _ in found} != set(self.occupants):
            raise Broken(f"message {self.said}: not everybody was sent it")

    def _read(self, name: str, count: int) -> list[tuple[bytes, bytes, bytes]]:
        """Return this number of stanzas of a kind: nick, recipient, payload. Subjects are skipped."""
        found: list[tuple[bytes, bytes, bytes]] = []
        heard = time.monotonic()
        while len(found) < count:
            data = self._wire.step(1.0)
            if data:
                heard = time.monotonic()
            elif heard + _TIMEOUT < time.monotonic():
                raise Broken(f"{len(found)} of {count} {name} stanzas came, then nothing; last {self._rest!r:.500}")
            data, end = self._rest + data, 0
            for match in _STANZA.finditer(data):
                end = match.end()
                kind, attributes, payload = match.groups()
                if kind.decode() != name:
                    continue
                values = dict(_ATTRIBUTE.findall(attributes))
                if values.get(b"type") not in (None, b"groupchat"):
                    raise Broken(f"instead of a {name}: {match.group()!r:.1000}")
                nick = values[b"from"].partition(b"/")[2]
                # ejabberd's rooms send presence of the room itself.
                if nick and b"<subject" not in payload:
                    found.append((nick, values[b"to"], payload))
                    self.size = len(match.group())
            self._rest = data[end:]
        return found


def _user(number: int) -> bytes:
    return f"user{number}@{mucs.USERS}/phone".encode()


def _nick(number: int) -> bytes:
    return f"Nick{number}".encode()


def measure(name: str, size: int, deliveries: int) -> rounds.Figures:
    """
    Measure one round: start, fill the room, send messages, end.

    @raise Broken: if a stanza was lost, wrong or came twice.
    """
    wire, contestant = mucs.MUCS[name]()
    try:
        with contestant:
            return _measured(Room(wire), contestant, size, deliveries)
    finally:
        wire.close()


def _measured(room: Room, contestant: Contestant, size: int, deliveries: int) -> rounds.Figures:
    room.enter()
    time.sleep(1)
    before, cpu = contestant.memory("VmRSS"), contestant.cpu()
    while len(room.occupants) < size:
        room.enter()
    joins = contestant.cpu() - cpu
    memory = contestant.memory("VmRSS") - before
    for _ in range(_WARMUP):
        room.say()
    count = max(10, deliveries // size)
    cpu, started = contestant.cpu(), time.perf_counter()
    for _ in range(count):
        room.say()
    cpu, elapsed = contestant.cpu() - cpu, time.perf_counter() - started
    return {
        "cpu": cpu / count / size * 1e6,
        "rate": count * size / elapsed,
        "joins": joins * 1e3,
        "presence": joins / (size * size - 1) * 1e6,
        "memory": memory * 1024 / size,
        "peak": contestant.memory("VmHWM"),
        "bytes": room.size,
        "exchanges": count * size,
    }


def report(gathered: dict[tuple[str, int], list[rounds.Figures]], markdown: bool) -> str:
    """Return the tables."""
    heading = (
        "contestant",
        "occupants",
        "CPU us/delivery",
        "deliveries/s",
        "CPU ms, all joins",
        "us/presence",
        "KiB/occupant",
        "peak MiB",
    )
    columns = (("cpu", 2), ("rate", 0), ("joins", 0), ("presence", 1), ("memory", 1), ("peak", 0))
    rows = [
        (name, str(size), *(rounds.spread([f[key] for f in figures], digits) for key, digits in columns))
        for (name, size), figures in gathered.items()
    ]
    parts = [rounds.table([heading, *rows], markdown)]
    ratios = [("ratio to the gateway", "occupants", "CPU/delivery", "CPU of all joins")]
    for (name, size), figures in gathered.items():
        ours = gathered.get(("gateway", size), [])
        if name != "gateway" and ours:
            pairs = list(zip(figures, ours, strict=True))
            columns_ = [rounds.spread([a[key] / b[key] for a, b in pairs], 2) for key in ("cpu", "joins")]
            ratios.append((name, str(size), *columns_))
    if len(ratios) > 1:
        parts.append(rounds.table(ratios, markdown))
    return "\n\n".join(parts)


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    parser = rounds.newParser(__doc__, list(mucs.MUCS), 3)
    parser.add_argument("--size", type=int, action="append", help=f"occupants; may be repeated {SIZES}")
    parser.add_argument("--deliveries", type=int, default=40_000, help="counted in a round (%(default)s)")
    options: argparse.Namespace = parser.parse_args()
    names = options.only or list(mucs.MUCS)
    for name in filter(mucs.missing, names):
        print(f"{name} is not installed, and left out", file=sys.stderr)
    chosen = {
        f"{name}, {size} occupants": (name, size)
        for size in options.size or SIZES
        for name in names
        if not mucs.missing(name)
    }
    gathered = rounds.gather(
        {each: partial(measure, *chosen[each], options.deliveries) for each in chosen}, options
    )
    if not gathered:
        return 1
    figures = {chosen[each]: found for each, found in gathered.items()}
    bytes_ = statistics.mean(f["bytes"] for each in figures.values() for f in each)
    print(f"{options.rounds} rounds; a message to an occupant is {bytes_:.0f} bytes\n")
    print(report(figures, options.markdown))
    if options.json:
        options.json.write_text(json.dumps({"rounds": gathered}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
