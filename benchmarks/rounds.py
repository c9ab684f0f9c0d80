"""
Contestants in turns, round by round: the figures of a round, and the tables of all rounds.

Each contestant is a process of its own; the process that measures is its server.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from fakeserver import Broken, OpenExchanges

# cpu: us for one exchange; rate: exchanges/s; peak: MiB; exchanges: number of counted ones
Figures = dict[str, float]
Rounds = dict[str, list[Figures]]
Pairs = tuple[tuple[str, str], ...]


class Measured(Protocol):
    """One contestant, or several that work together."""

    def cpu(self) -> float:
        """Return the seconds of CPU so far."""

    def memory(self, field: str) -> float:
        """Return the MiB in a line of /proc/PID/status."""


def count(contestant: Measured, books: OpenExchanges, options: argparse.Namespace) -> Figures:
    """
    Run the round of a contestant that was checked: warm up, count, drain.

    @raise Broken: if an exchange was lost or wrong.
    """
    books.begin(options.open)
    books.replenish(options.warmup, options.seconds)
    cpu, started = contestant.cpu(), time.perf_counter()
    exchanges = books.replenish(options.exchanges, options.seconds)
    cpu, elapsed = contestant.cpu() - cpu, time.perf_counter() - started
    books.drain(10.0)
    return {
        "cpu": cpu / exchanges * 1e6,
        "rate": exchanges / elapsed,
        "peak": contestant.memory("VmHWM"),
        "exchanges": exchanges,
    }


def spread(values: list[float], digits: int) -> str:
    """Return median and extremes."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def ratios(rounds: Rounds, pairs: Pairs) -> dict[str, list[float]]:
    """
    Return the CPU of one contestant divided by another's, for each round: figures of one round have the same
    conditions.
    """
    return {
        f"{one}/{other}": [a["cpu"] / b["cpu"] for a, b in zip(rounds[one], rounds[other], strict=True)]
        for one, other in pairs
        if one in rounds and other in rounds
    }


def table(rows: list[tuple[str, ...]], markdown: bool) -> str:
    """Return aligned columns; with `markdown`, a Markdown table. The first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))


def report(rounds: Rounds, pairs: Pairs, unit: str, markdown: bool) -> str:
    """Return the figures and the ratios."""
    heading = ("contestant", f"CPU us/{unit}", f"{unit}s/s", "peak MiB", f"{unit}s/round")
    rows = [
        (
            name,
            spread([f["cpu"] for f in figures], 1),
            spread([f["rate"] for f in figures], 0),
            spread([f["peak"] for f in figures], 1),
            f"{statistics.median(f['exchanges'] for f in figures):.0f}",
        )
        for name, figures in rounds.items()
    ]
    parts = [table([heading, *rows], markdown)]
    if compared := ratios(rounds, pairs):
        lines = [(name, spread(values, 2)) for name, values in compared.items()]
        parts.append(table([("CPU ratio", "median (min..max)"), *lines], markdown))
    return "\n\n".join(parts)


def parseArguments(description: str, names: list[str], exchanges: int, open_: int) -> argparse.Namespace:
    """
    Parse the command line.

    @param exchanges: default number of exchanges that are counted; C{open_}: number that are open at a time.
    """
    parser = newParser(description, names, 5)
    parser.add_argument("--exchanges", type=int, default=exchanges, help="counted in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="a round counts no longer (%(default)s)")
    parser.add_argument("--warmup", type=int, default=3_000, help="exchanges before the count (%(default)s)")
    parser.add_argument("--open", type=int, default=open_, help="exchanges open at a time (%(default)s)")
    return parser.parse_args()


def newParser(description: str, names: list[str], turns: int) -> argparse.ArgumentParser:
    """Return a parser with the common options."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=turns, help="(%(default)s)")
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="every round's figures")
    return parser


def run(
    measures: Mapping[str, Callable[[], Figures]],
    pairs: Pairs,
    unit: str,
    sizes: Mapping[str, float],
    options: argparse.Namespace,
) -> int:
    """
    Run the rounds and print the tables. Return the exit status.

    @param measures: for each contestant, the function that runs one round of it.
    @param pairs: contestants whose CPU is compared.
    @param unit: the name of an exchange.
    @param sizes: mean bytes of an exchange's parts, for the figures in JSON.
    """
    rounds = gather(
        {name: measures[name] for name in measures if not options.only or name in options.only}, options
    )
    if not rounds:
        return 1
    print(report(rounds, pairs, unit, options.markdown))
    if options.json:
        compared = ratios(rounds, pairs)
        result = {"bytes": dict(sizes), "open": options.open, "rounds": rounds, "ratios": compared}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def gather(measures: Mapping[str, Callable[[], Figures]], options: argparse.Namespace) -> Rounds:
    """Run the rounds, in turns. Return nothing if one of them failed, after printing the reason."""
    rounds: Rounds = {name: [] for name in measures}
    failed = False
    for turn in range(1, options.rounds + 1):
        for name, figures in rounds.items():
            try:
                figures.append(measures[name]())
            except Broken as reason:
                print(f"round {turn}, {name}: {reason}", file=sys.stderr)
                failed = True
                continue
            print(f"round {turn}, {name}: {figures[-1]['cpu']:.1f} us", file=sys.stderr)
    return {} if failed else rounds
