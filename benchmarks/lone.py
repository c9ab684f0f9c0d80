"""
The cost of what comes alone: an exchange, a delegated iq, and a room's message to two occupants, one by one.

This process is the server; of exchanges through Prosody, it is both clients. Each contestant is a process of its
own. Every answer is checked; the exit status is 1 if one was lost or wrong.
"""

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import contestants
import fanout
import forwards
import mucs
import rounds
import through
from contestants import Contestant
from fakeserver import Exchanges, FakeServer, OpenExchanges

# The contestants that are compared.
_PAIRS = (
    ("wokkel", "gateway"),
    ("wokkel-lean", "gateway"),
    ("slixmpp", "gateway"),
    ("wokkel-lean", "gateway-tree"),
    ("gateway", "gateway-memory"),
    ("prosody", "gateway"),
    ("ejabberd", "gateway"),
    ("gateway", "module"),
)
_OCCUPANTS, _TRACED = 2, 200
_TOTAL = re.compile(r"^100\.00\s+\S+\s+\S+\s+(\d+)\s.*total$", re.MULTILINE)


def exchange(name: str, options: argparse.Namespace) -> rounds.Figures:
    """Measure a round of exchanges through a component (`relay.py`)."""
    server = FakeServer()
    try:
        with contestants.relay(name, server.port) as contestant:
            server.accept()
            exchanges = Exchanges(server)
            exchanges.checkOnce()
            return _measured(contestant, partial(_one, exchanges), options)
    finally:
        server.close()


def delegated(name: str, options: argparse.Namespace) -> rounds.Figures:
    """Measure a round of delegated iqs (`delegation.py`)."""
    server = FakeServer()
    try:
        with contestants.managingEntity(name, server.port) as contestant:
            server.accept(forwards.COMPONENT)
            books = forwards.Forwards(server)
            books.checkOnce()
            return _measured(contestant, partial(_one, books), options)
    finally:
        server.close()


def message(name: str, options: argparse.Namespace) -> rounds.Figures:
    """Measure a round of messages in a room (`fanout.py`)."""
    wire, contestant = mucs.MUCS[name]()
    try:
        with contestant:
            room = fanout.Room(wire)
            for _ in range(_OCCUPANTS):
                room.enter()
            return _measured(contestant, room.say, options)
    finally:
        wire.close()


def throughProsody(name: str, options: argparse.Namespace) -> rounds.Figures:
    """Measure a round of exchanges through a real server (`through.py`)."""
    return through.measure(name, options.exchanges, options.warmup, options.modules)


def _one(books: OpenExchanges) -> None:
    books.begin(1)
    books.drain(10.0)


def _measured(contestant: Contestant, act: Callable[[], object], options: argparse.Namespace) -> rounds.Figures:
    for _ in range(options.warmup):
        act()
    times = []
    cpu = contestant.cpu()
    for _ in range(options.exchanges):
        started = time.perf_counter()
        act()
        times.append((time.perf_counter() - started) * 1e6)
    cpu = contestant.cpu() - cpu
    return {
        "cpu": cpu / options.exchanges * 1e6,
        "calls": _systemCalls(contestant, act),
        "median": statistics.median(times),
        "slow": sorted(times)[len(times) * 99 // 100],
    }


def _systemCalls(contestant: Contestant, act: Callable[[], object]) -> float:
    """Return the number of system calls of all threads for each act; nan without strace."""
    if shutil.which("strace") is None:
        return float("nan")
    command = ["strace", "--summary-only", "--follow-forks", f"--attach={contestant.pid}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        time.sleep(0.5)
        for _ in range(_TRACED):
            act()
        tracer.send_signal(signal.SIGINT)
        _, told = tracer.communicate(timeout=10)
    found = _TOTAL.search(told)
    return float("nan") if found is None else int(found[1]) / _TRACED


PARTS: Mapping[str, tuple[tuple[str, ...], Callable[[str, argparse.Namespace], rounds.Figures]]] = {
    "exchange": (contestants.RELAYS, exchange),
    "delegated iq": (contestants.ENTITIES, delegated),
    "message": (tuple(mucs.MUCS), message),
    "through Prosody": (through.NAMES, throughProsody),
}
# Figures of a round, in the tables.
_COLUMNS = {
    "cpu": ("CPU us", 0),
    "calls": ("system calls", 1),
    "server": ("of Prosody", 0),
    "gateway": ("of the gateway", 0),
    "median": ("us until the answer", 0),
    "slow": ("p99", 0),
}


def _missing(part: str, name: str, options: argparse.Namespace) -> str | None:
    """Return the reason for which a contestant is left out, or None."""
    if part == "message":
        return mucs.missing(name)
    return through.missing(name, options.modules) if part == "through Prosody" else None


def report(part: str, gathered: rounds.Rounds, markdown: bool) -> str:
    """Return the tables of a part."""
    columns = [key for key in _COLUMNS if all(key in each for figures in gathered.values() for each in figures)]
    heading = (part, *(_COLUMNS[key][0] for key in columns))
    rows = [
        (name, *(rounds.spread([each[key] for each in figures], _COLUMNS[key][1]) for key in columns))
        for name, figures in gathered.items()
    ]
    parts = [rounds.table([heading, *rows], markdown)]
    if compared := rounds.ratios(gathered, _PAIRS):
        lines = [(name, rounds.spread(values, 2)) for name, values in compared.items()]
        parts.append(rounds.table([("CPU ratio", "median (min..max)"), *lines], markdown))
    return "\n\n".join(parts)


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    names = sorted({name for contestants_, _ in PARTS.values() for name in contestants_})
    parser = rounds.newParser(__doc__, names, 3)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="may be repeated")
    parser.add_argument("--modules", action="append", default=[], metavar="DIR", help="of Prosody; may be repeated")
    parser.add_argument("--exchanges", type=int, default=2_000, help="counted in a round (%(default)s)")
    parser.add_argument("--warmup", type=int, default=200, help="before the count (%(default)s)")
    options = parser.parse_args()
    figures = {}
    for part in options.part or PARTS:
        contenders, measure = PARTS[part]
        chosen = [name for name in contenders if not options.only or name in options.only]
        why = {name: _missing(part, name, options) for name in chosen}
        for name in filter(why.get, chosen):
            print(f"{part}, {name} is left out: {why[name]}", file=sys.stderr)
        there = [name for name in chosen if not why[name]]
        gathered = rounds.gather({name: partial(measure, name, options) for name in there}, options)
        if there and not gathered:
            return 1
        figures[part] = gathered
        print(report(part, gathered, options.markdown) + "\n" if gathered else "", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
