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
# Messages that are sent at once in the second part of a round, and that are counted at most: a flush takes long.
_OPEN, _MAX_MESSAGES = 10, 1_000
# The contestants that are compared.
_PAIRS = (
    ("gateway", "gateway-memory"),
    ("gateway-durable", "gateway-memory"),
    ("prosody", "gateway"),
    ("ejabberd", "gateway"),
    ("ejabberd-archive", "gateway"),
    ("prosody-backed", "prosody"),
    ("ejabberd-backed", "ejabberd"),
)

_STANZA = re.compile(rb"<(presence|message|iq)\s([^>]*)>(.*?)</\1>", re.DOTALL)
_ATTRIBUTE = re.compile(rb"""\s?([\w:]+)=["']([^"']*)["']""")
_BODY = "The same to everybody, message {}; it is as long as what people write, which is not much, as a rule."


class Room:
    """
    One room with its occupants, all at one component.

    @ivar others: number of stanzas of other kinds that came while some were expected.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rest = b""
        self.occupants: list[bytes] = []
        self.said = 0
        self.others = 0
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

    def say(self, count: int = 1) -> None:
        """
        Send messages of occupants at once; return when all have them, in their order.

        @raise Broken: if one is missing, came twice, or is wrong.
        """
        wanted = []
        sent = ""
        for _ in range(count):
            self.said += 1
            speaker = self.said * 7 % len(self.occupants)
            body = _BODY.format(self.said)
            address = f"from='{_user(speaker).decode()}' to='{ROOM}' type='groupchat' id='m{self.said}'"
            extra = (
                "<active xmlns='http://jabber.org/protocol/chatstates'/>"
                f"<origin-id xmlns='urn:xmpp:sid:0' id='m{self.said}'/>"
            )
            sent += f"<message {address}><body>{body}</body>{extra}</message>"
            wanted.append((_nick(speaker), body.encode()))
        self._wire.send(sent.encode())
        found = self._read("message", count * len(self.occupants))
        for number, (speaker_, text) in enumerate(wanted):
            copies = found[number * len(self.occupants) :][: len(self.occupants)]
            right = all(sender == speaker_ and text in payload for sender, _, payload in copies)
            if not right or {recipient for _, recipient, _ in copies} != set(self.occupants):
                raise Broken(f"message {self.said - count + 1 + number}: not everybody was sent it")

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
                    self.others += 1
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
    count = min(_MAX_MESSAGES, max(10, deliveries // size))
    several = max(1, count // _OPEN)
    cpu, times = _said(room, contestant, count, 1)
    cpus, longer = _said(room, contestant, several, _OPEN)
    return {
        "cpu": cpu / count / size * 1e6,
        "cpus": cpus / (several * _OPEN) / size * 1e6,
        "rate": count / sum(times),
        "rates": several * _OPEN / sum(longer),
        "median": statistics.median(times) * 1e3,
        "slow": sorted(times)[int(count * 0.99)] * 1e3,
        "joins": joins * 1e3,
        "presence": joins / max(1, size * size - 1) * 1e6,
        "memory": memory * 1024 / size,
        "peak": contestant.memory("VmHWM"),
        "bytes": room.size,
        "exchanges": (count + several * _OPEN) * size,
    }


def _said(room: Room, contestant: Contestant, turns: int, count: int) -> tuple[float, list[float]]:
    """
    Send messages, some at once in each turn.

    @return: the seconds of CPU, and those on the clock of each turn.
    """
    times = []
    cpu = contestant.cpu()
    for _ in range(turns):
        started = time.perf_counter()
        room.say(count)
        times.append(time.perf_counter() - started)
    return contestant.cpu() - cpu, times


def report(gathered: dict[tuple[str, int], list[rounds.Figures]], markdown: bool) -> str:
    """Return the tables."""
    heading = (
        "contestant",
        "occupants",
        "CPU us/delivery",
        f"{_OPEN} at once",
        "messages/s",
        f"{_OPEN} at once",
        "ms/message",
        "p99",
        "CPU ms, all joins",
        "us/presence",
        "KiB/occupant",
        "peak MiB",
    )
    columns = (
        *(("cpu", 2), ("cpus", 2), ("rate", 0), ("rates", 0), ("median", 2), ("slow", 2)),
        *(("joins", 0), ("presence", 1), ("memory", 1), ("peak", 0)),
    )
    rows = [
        (name, str(size), *(rounds.spread([f[key] for f in figures], digits) for key, digits in columns))
        for (name, size), figures in gathered.items()
    ]
    parts = [rounds.table([heading, *rows], markdown)]
    ratios = [("CPU ratio", "occupants", "delivery", f"{_OPEN} at once", "all joins")]
    for (name, size), figures in gathered.items():
        for one, other in _PAIRS:
            compared = gathered.get((other, size), []) if name == one else []
            if compared:
                pairs = list(zip(figures, compared, strict=True))
                # A single occupant has no joins after the first.
                keys = ("cpu", "cpus", "joins") if size > 1 else ("cpu", "cpus")
                found = [rounds.spread([a[key] / b[key] for a, b in pairs], 2) for key in keys]
                found += [""] * (3 - len(keys))
                ratios.append((f"{one}/{other}", str(size), *found))
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
    if options.json:
        options.json.write_text(json.dumps({"rounds": gathered}, indent=2) + "\n")
    print(report(figures, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
