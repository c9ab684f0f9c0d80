"""
The cost of refreshing rosters from a web application: the gateway and others in turns.

This process is the server; the web application and each contestant are processes of their own. Everything that is
requested, set and answered is checked; the exit status is 1 if anything was lost, wrong or done twice.

Then, with a Prosody: the time that a client waits for its roster after a login (`logins.py`). And only with
C{--part scale}, with Prosody and ejabberd: one request for the rosters of many users (`scale.py`).
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from functools import partial
from itertools import pairwise

import chart
import contestants
import logins
import rosters
import rounds
import scale
from fakeapplication import FakeApplication
from fakeserver import FakeServer

SIZES = (100, 300, 1_000, 3_000, 10_000)
# Contacts of all users together: the same number for each size.
TOTAL = 100_000
# The others are not measured with each size.
BESIDE = (100, 1_000, 10_000)
RATIOS = (("wokkel", "gateway"), ("wokkel-lean", "gateway"))


def measure(name: str, size: int, total: int) -> rounds.Figures:
    """
    Measure one round of a contestant with rosters of one size: start, check, count, end.

    @param total: contacts of all users together.
    @raise Broken: if anything was lost, wrong or done twice.
    """
    server, application = FakeServer(), FakeApplication()
    # Before the contestant connects: with many users this takes a while.
    books = rosters.Rosters(server, application, max(4, total // size), size)
    books.change()
    try:
        with contestants.refresher(name, server.port, application.port) as contestant:
            server.accept(rosters.COMPONENT.encode())
            books.advertise()
            # Everything runs twice: the first time creates parsers, connections and tables that are kept.
            _cost(contestant, books)
            books.expectAll()
            books.change()
            changed, elapsed = _cost(contestant, books)
            books.expectAll()
            figures = {
                "cpu": changed,
                "rate": 1 / elapsed,
                "peak": contestant.memory("VmHWM"),
                "exchanges": len(books.users),
            }
            # Only this one requests changes only.
            if name == "gateway":
                figures["unchanged"], _ = _cost(contestant, books)
                books.expectAll()
            return figures
    finally:
        application.close()
        server.close()


def _cost(contestant: contestants.Contestant, books: rosters.Rosters) -> tuple[float, float]:
    """POST all users; return us of CPU and seconds for each."""
    cpu, started = contestant.cpu(), time.perf_counter()
    books.refresh(contestant.http, books.users)
    cpu, elapsed = contestant.cpu() - cpu, time.perf_counter() - started
    return cpu / len(books.users) * 1e6, elapsed / len(books.users)


def report(figures: dict[tuple[str, int], list[rounds.Figures]], markdown: bool) -> str:
    """Return the tables."""
    heading = ("contestant", "contacts", "users", "CPU us/refresh", "refreshes/s", "us/contact", "peak MiB")
    rows = [
        (
            name,
            str(size),
            f"{each[0]['exchanges']:.0f}",
            rounds.spread([f["cpu"] for f in each], 0),
            rounds.spread([f["rate"] for f in each], 1),
            f"{_median(each) / size:.1f}",
            rounds.spread([f["peak"] for f in each], 0),
        )
        for (name, size), each in figures.items()
    ]
    parts = [rounds.table([heading, *rows], markdown)]
    sizes = [size for name, size in figures if name == "gateway"]
    if len(sizes) > 1:
        steps = [("gateway, from .. to contacts", "us per further contact")]
        for small, large in pairwise(sizes):
            more = _median(figures["gateway", large]) - _median(figures["gateway", small])
            steps.append((f"{small} .. {large}", f"{more / (large - small):.1f}"))
        parts.append(rounds.table(steps, markdown))
    compared = [
        (f"{pair}, {size} contacts", rounds.spread(ratio, 2))
        for size in sizes
        for pair, ratio in rounds.ratios(
            {name: each for (name, s), each in figures.items() if s == size}, RATIOS
        ).items()
    ]
    if compared:
        parts.append(rounds.table([("CPU ratio", "median (min..max)"), *compared], markdown))
    if sizes:
        same = [f["unchanged"] for size in sizes for f in figures["gateway", size]]
        parts.append(f"gateway, without changes (304), CPU us/refresh: {rounds.spread(same, 0)}")
    return "\n\n".join(parts)


def plot(figures: dict[tuple[str, int], list[rounds.Figures]]) -> str:
    """Return a chart of the CPU for one refresh by the size of the roster, as SVG."""
    series: dict[str, list[chart.Point]] = {}
    for (name, size), each in figures.items():
        spent = [f["cpu"] / 1000 for f in each]
        series.setdefault(name, []).append((size, statistics.median(spent), min(spent), max(spent)))
    return chart.svg(series, "contacts in the roster, of which 10 change", "CPU for one refresh, ms")


def _median(figures: list[rounds.Figures]) -> float:
    return statistics.median(each["cpu"] for each in figures)


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    names = list(dict.fromkeys((*contestants.REFRESHERS, *logins.NAMES, *scale.WAYS)))
    parser = rounds.newParser(__doc__, names, 3)
    parser.add_argument("--size", type=int, action="append", help=f"contacts of a user; may be repeated {SIZES}")
    parser.add_argument("--total", type=int, default=TOTAL, help="contacts of all users (%(default)s)")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="CPU by size, as SVG")
    parser.add_argument("--part", choices=("refreshes", "logins", "scale"), help="only this part")
    parser.add_argument("--users", type=int, help="who log in, in a round (5); or of one request (200)")
    parser.add_argument(
        "--modules", action="append", default=[], metavar="DIR", help=f"where {logins.MODULE} is; may be repeated"
    )
    options: argparse.Namespace = parser.parse_args()
    if options.part == "scale":
        return 0 if _scale(options) else 1
    refreshes = options.part == "logins" or _refreshes(options)
    return 0 if (options.part == "refreshes" or _logins(options)) and refreshes else 1


def _refreshes(options: argparse.Namespace) -> bool:
    sizes = options.size or SIZES
    chosen = {
        f"{name}, {size} contacts": (name, size)
        for size in sizes
        for name in contestants.REFRESHERS
        if name in (options.only or contestants.REFRESHERS) and (name == "gateway" or size in BESIDE)
    }
    print(f"{options.rounds} rounds; a refresh makes {rosters.CHANGES} changes; {options.total} contacts in all\n")
    gathered = rounds.gather({each: partial(measure, *chosen[each], options.total) for each in chosen}, options)
    if not gathered:
        return False
    figures = {chosen[each]: found for each, found in gathered.items()}
    print(report(figures, options.markdown))
    if options.plot:
        options.plot.write_text(plot(figures))
    if options.json:
        options.json.write_text(json.dumps({"changes": rosters.CHANGES, "rounds": gathered}, indent=2) + "\n")
    return True


def _scale(options: argparse.Namespace) -> bool:
    users, [size] = options.users or 200, options.size or [100]
    left = {name: scale.missing(name, options.modules) for name in options.only or scale.WAYS}
    for name, reason in left.items():
        if reason is not None:
            print(f"left out: {name}: {reason}")
    measures = {
        name: partial(scale.measure, name, users, size, options.modules)
        for name, reason in left.items()
        if reason is None
    }
    gathered = rounds.gather(measures, options)
    if gathered:
        print(scale.report(gathered, users, size, options.markdown))
    if gathered and options.json:
        options.json.write_text(json.dumps({"users": users, "size": size, "rounds": gathered}, indent=2) + "\n")
    return bool(gathered)


def _logins(options: argparse.Namespace) -> bool:
    users = options.users or 5
    left = {name: logins.missing(name, options.modules) for name in logins.NAMES}
    chosen = {
        f"{name}, {size} contacts": (name, size)
        for size in options.size or logins.SIZES
        for name, reason in left.items()
        if reason is None and name in (options.only or logins.NAMES)
    }
    print(f"\n{options.rounds} rounds of {users} users who log in to Prosody, one after the other\n")
    for name, reason in left.items():
        if reason is not None:
            print(f"left out: {name}: {reason}")
    if not chosen:
        return True
    measures = {each: partial(logins.measure, *chosen[each], users, options.modules) for each in chosen}
    gathered = rounds.gather(measures, options)
    if gathered:
        print(logins.report({chosen[each]: found for each, found in gathered.items()}, options.markdown))
    return bool(gathered)


if __name__ == "__main__":
    sys.exit(main())
