"""
Bytes on the link between two sites that share a room, and the time until a message is seen at the other one.

A busy hour (C{hour.py}) runs on a virtual clock; the rooms, the mirrors and the link are in memory (C{sites.py}).
"""

import argparse
import math
import pathlib
import statistics
import sys
import tempfile
import time
from collections import Counter

from chart import Point, svg
from hour import MESSAGES, Hour
from openfire import asOpenfire
from outages import Outage
from sites import Run, Variant

from gateway.fmuc.profiles import BROADBAND, HF, SATELLITE
from gateway.fmuc.values import Dialect
from tests.peers.support import two

SIZES = (5, 20, 100)
RATES = (75, 300, 2_400, 9_600, 64_000)
# Occupants at the remote site in the table of times, and in the goals.
OCCUPANTS = 20
# Minutes of an outage; bit/s and seconds of delay of the link after it.
OUTAGES = (1, 10, 60)
AFTER = 2_400, 1.5
# Bytes by those of plain MUC, raw and deflated.
_GOALS = {False: 1 / 12, True: 1 / 2}

PLAIN = Variant("plain MUC", None)
VARIANTS = (
    PLAIN,
    Variant("XEP-0289 as Openfire", {"replica": False}, asOpenfire),
    Variant("`xep-0289`, replica", {"isStored": True}),
    Variant("`xep-0289`, primary", {"isStored": True, "replica": False}),
    Variant("`protoxep`, replica", {"dialect": Dialect.PROTOXEP}),
    Variant("`protoxep`, primary", {"dialect": Dialect.PROTOXEP, "replica": False}),
    *(
        Variant(
            f"`xep-0289`, {mode}, {profile.name}",
            {"isStored": True, "replica": mode == "replica", "profile": profile},
        )
        for profile in (SATELLITE, HF)
        for mode in ("replica", "primary")
    ),
    Variant("`protoxep`, replica, hf", {"dialect": Dialect.PROTOXEP, "profile": HF}),
)
_DRAWN = [each for each in VARIANTS if each.name in (PLAIN.name, "`xep-0289`, replica", "`xep-0289`, replica, hf")]

_Row = list[str]


def table(head: _Row, rows: list[_Row]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def sizesTable(runs: dict[tuple[str, int], Run], sizes: list[int]) -> str:
    """Return the bytes of each variant, and their part of those of plain MUC."""
    rows = []
    for variant in VARIANTS:
        row = [variant.name]
        for remote in sizes:
            run = runs[variant.name, remote]
            for isDeflated, size in run.sizes.items():
                row.append(f"{size / 1_000:,.0f}{_part(run, runs.get((PLAIN.name, remote)), isDeflated)}")
            row.append("" if variant.wire is asOpenfire or variant is PLAIN else f"{run.direct / 1_000:,.0f}")
        rows.append(row)
    head = (f"{remote}, {how}" for remote in sizes for how in ("raw", "deflated", "direct link"))
    return table(["kB", *head], rows)


def connections() -> tuple[int, int]:
    """Return the bytes of a first connection of a direct link, and of one that resumes it, in both directions."""
    with tempfile.TemporaryDirectory() as folder:
        net, one, other = two(folder + "/")
        net.turn()
        first = net.wire.count
        net.wire.cut()
        net.wait(2)
        again = net.wire.count
        for site in (one, other):
            site.stop()
        net.wait(1)
    return first, again


def _part(run: Run, plain: Run | None, isDeflated: bool) -> str:
    return "" if plain in (None, run) else f" (1/{plain.sizes[isDeflated] / run.sizes[isDeflated]:.1f})"


def goals(runs: dict[tuple[str, int], Run]) -> list[str]:
    """Return a line for each variant: the bytes, beside the goals."""
    plain, found = runs.get((PLAIN.name, OCCUPANTS)), []
    for (name, remote), run in runs.items():
        if plain is not None and remote == OCCUPANTS and name != PLAIN.name:
            parts = {isDeflated: run.sizes[isDeflated] / plain.sizes[isDeflated] for isDeflated in _GOALS}
            missed = [("deflated" if key else "raw") for key, goal in _GOALS.items() if parts[key] > goal]
            found.append(f"{name}: {', '.join(missed) + ' missed' if missed else 'both met'}")
    return found


def partsTable(runs: list[tuple[str, Run]]) -> str:
    """Return the parts of the stanzas, and their kinds, in percent of the bytes."""
    parts = [sum((each.parts() for each in run.traffic.values()), Counter()) for _, run in runs]
    kinds = [sum((each.kinds for each in run.traffic.values()), Counter()) for _, run in runs]
    rows = [
        [prefix + name, *(f"{each[name] / each.total():.0%}" for each in counted)]
        for prefix, counted in (("", parts), ("in stanzas: ", kinds))
        for name, _ in sum(counted, Counter()).most_common()
    ]
    return table(["part", *(name for name, _ in runs)], rows)


def seconds(run: Run, messages: int) -> str:
    """Return the median of the times, the 95th percentile, and, unless all are seen, the part of the messages."""
    found = sorted(run.seconds)
    if not found:
        return "none"
    digits = 0 if found[-1] >= 100 else 1 if found[-1] >= 10 else 2
    text = f"{statistics.median(found):,.{digits}f} ({_late(found):,.{digits}f})"
    return text if len(found) == messages else f"{text}, {len(found) / messages:.0%}"


def _late(found: list[float]) -> float:
    """Return the 95th percentile."""
    return found[max(0, len(found) * 19 // 20 - 1)]


def drawSizes(runs: dict[tuple[str, int], Run], sizes: list[int]) -> str:
    """Return a chart of the bytes."""
    series: dict[str, list[Point]] = {}
    for variant in _DRAWN:
        for isDeflated in (False, True):
            name = variant.name.replace("`", "") + (", deflated" if isDeflated else "")
            values = [(remote, runs[variant.name, remote].sizes[isDeflated] / 1_000) for remote in sizes]
            series[name] = [(x, y, y, y) for x, y in values]
    return svg(series, "occupants at the remote site", "kB in an hour")


def drawTimes(runs: dict[tuple[str, int, bool], Run], rates: list[int]) -> str:
    """Return a chart of the times, at rates at which nearly all messages are seen."""
    series: dict[str, list[Point]] = {}
    for variant in _DRAWN:
        for isDeflated in (False, True):
            points = series[variant.name.replace("`", "") + (", deflated" if isDeflated else "")] = []
            for rate in rates:
                run = runs[variant.name, rate, isDeflated]
                if len(run.seconds) > 0.85 * MESSAGES:
                    middle = statistics.median(run.seconds)
                    points.append((rate, middle, middle, _late(sorted(run.seconds))))
    return svg(series, "bit/s", "seconds until seen: median, 95th percentile", isProportional=False)


def outagesPart(options: argparse.Namespace) -> None:
    """Print the table of the outages."""
    first, again = connections()
    series: dict[str, list[Point]] = {}
    rows: list[_Row] = []
    for profile in (BROADBAND, SATELLITE, HF):
        for mode in ("replica", "primary"):
            for isBusy in (False, True):
                variant = Variant("", {"isStored": True, "replica": mode == "replica", "profile": profile})
                runs = [Outage(variant, minutes, isBusy, *AFTER) for minutes in OUTAGES]
                name = f"{profile.name}, {mode}, {'the hour goes on' if isBusy else 'silence'}"
                rows.append([name, *(_outage(run, again) for run in runs)])
                if mode == "primary" and isBusy:
                    found = {minutes: run.took for minutes, run in zip(OUTAGES, runs, strict=True)}
                    series[profile.name] = [(x, y, y, y) for x, y in found.items() if y < math.inf]
    print(table([f"{AFTER[0]:,} bit/s", *(f"{minutes} min" for minutes in OUTAGES)], rows))
    print(f"direct link: first connection {first:,} bytes, resumption {again:,}\n")
    if options.plot:
        chart = svg(series, "minutes of outage", "seconds until both sites are equal", isProportional=False)
        (options.plot / "link-outages.svg").write_text(chart)


def _outage(run: Outage, again: int) -> str:
    """Return the seconds, and the kilobytes: raw, deflated, and on a direct link that resumes its session."""
    if not run.sizes[False]:
        return "not noticed"
    kinds = run.sizes[False], run.sizes[True], run.direct + again
    took = f"{run.took:,.0f} s" if run.took < math.inf else "over an hour"
    return f"{took}; {' / '.join(f'{each / 1_000:,.1f}' for each in kinds)}"


def parseArguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--size", type=int, action="append", help="occupants at the remote site (5, 20, 100)")
    parser.add_argument("--rate", type=int, action="append", help="bit/s (75, 300, 2400, 9600, 64000)")
    parser.add_argument("--delay", type=float, default=0.0, help="of the link, in seconds (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the hour (%(default)s)")
    parser.add_argument("--part", choices=("bytes", "times", "outages"), help="only one of the tables")
    parser.add_argument("--plot", type=pathlib.Path, metavar="DIR", help="for link-*.svg")
    return parser.parse_args()


def bytesPart(options: argparse.Namespace) -> bool:
    """Print the tables of the bytes; return false if the room has not worked."""
    runs = {
        (variant.name, remote): Run(variant, Hour(remote, options.seed))
        for remote in options.size
        for variant in VARIANTS
    }
    print(sizesTable(runs, options.size))
    print("\n".join(goals(runs)) + "\n")
    shown = OCCUPANTS if OCCUPANTS in options.size else options.size[-1]
    print(partsTable([(name, run) for (name, remote), run in runs.items() if remote == shown]))
    if options.plot:
        (options.plot / "link-bytes.svg").write_text(drawSizes(runs, options.size))
    broken = [
        f"{name}, {remote} users" for (name, remote), run in runs.items() if run.unseen or run.errors or run.outside
    ]
    for each in broken:
        print(f"{each}: errors, joins without an answer, or messages that were not seen", file=sys.stderr)
    return not broken


def timesPart(options: argparse.Namespace) -> None:
    """Print the tables of the times."""
    runs = {
        (variant.name, rate, isDeflated): Run(
            variant, Hour(OCCUPANTS, options.seed), rate, isDeflated, options.delay
        )
        for isDeflated in (False, True)
        for variant in VARIANTS
        for rate in options.rate
    }
    for isDeflated, how in ((False, "raw"), (True, "deflated")):
        rows = [
            [variant.name, *(seconds(runs[variant.name, rate, isDeflated], MESSAGES) for rate in options.rate)]
            for variant in VARIANTS
        ]
        print(table([f"s, {how}", *(f"{rate:,} bit/s" for rate in options.rate)], rows))
    if options.plot:
        (options.plot / "link-times.svg").write_text(drawTimes(runs, options.rate))


def main() -> int:
    """Run, print, and return the exit status."""
    options = parseArguments()
    options.size, options.rate = options.size or list(SIZES), options.rate or list(RATES)
    began = time.process_time()
    works = options.part not in (None, "bytes") or bytesPart(options)
    if options.part in (None, "times"):
        timesPart(options)
    if options.part in (None, "outages"):
        outagesPart(options)
    print(f"{time.process_time() - began:.0f} s of CPU")
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
