"""What address translation costs: whole exchanges through one component, the gateway beside others, in turns.

This process is the fake server: all users and the implementing client. Each contestant is a process of its
own. Every exchange is checked; the exit status is 1 if one was lost or wrong.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import contestants
import traffic
from fakeserver import Broken, Exchanges, FakeServer

CONTESTANTS = (*contestants.COMPONENTS, "floor")
RATIOS = (
    ("wokkel", "gateway"),
    ("wokkel-interned", "gateway"),
    ("wokkel-lean", "gateway"),
    ("slixmpp", "gateway"),
    ("gateway", "floor"),
)

# cpu: us for one exchange; rate: exchanges/s; peak: MiB; exchanges: how many were counted
Figures = dict[str, float]


def measureFloor(options: argparse.Namespace) -> Figures:
    """One round of the floor, which needs no server."""
    script = pathlib.Path(__file__).resolve().with_name("floor.py")
    command = [sys.executable, str(script), str(options.exchanges)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    return {
        "cpu": figures["cpu"] * 1e6,
        "rate": 1 / figures["elapsed"],
        "peak": figures["peak"],
        "exchanges": options.exchanges,
    }


def measureComponent(name: str, options: argparse.Namespace) -> Figures:
    """One round of a component: start, prove, warm up, count, drain, end.

    @raise Broken: if an exchange was lost or wrong.
    """
    server = FakeServer()
    try:
        with contestants.Contestant(name, server.port) as contestant:
            server.accept()
            exchanges = Exchanges(server)
            exchanges.prove()
            exchanges.begin(options.open)
            exchanges.replenish(options.warmup, options.seconds)
            cpu, started = contestant.cpu(), time.perf_counter()
            count = exchanges.replenish(options.exchanges, options.seconds)
            cpu, elapsed = contestant.cpu() - cpu, time.perf_counter() - started
            exchanges.drain(10.0)
            if exchanges.errors:
                raise Broken(f"errors for answers: {dict(exchanges.errors)}")
            return {
                "cpu": cpu / count * 1e6,
                "rate": count / elapsed,
                "peak": contestant.memory("VmHWM"),
                "exchanges": count,
            }
    finally:
        server.close()


def spread(values: list[float], digits: int) -> str:
    """Median and extremes."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def ratios(rounds: dict[str, list[Figures]]) -> dict[str, list[float]]:
    """CPU of one contestant over another's, round by round: neighbours in time share the machine's mood."""
    return {
        f"{one}/{other}": [a["cpu"] / b["cpu"] for a, b in zip(rounds[one], rounds[other], strict=True)]
        for one, other in RATIOS
        if one in rounds and other in rounds
    }


def table(rows: list[tuple[str, ...]], markdown: bool) -> str:
    """Aligned columns; with `markdown`, as a Markdown table. The first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))


def report(rounds: dict[str, list[Figures]], markdown: bool) -> str:
    """The figures and the ratios, for people."""
    heading = ("contestant", "CPU us/exchange", "exchanges/s", "peak MiB", "exchanges/round")
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
    if compared := ratios(rounds):
        lines = [(name, spread(values, 2)) for name, values in compared.items()]
        parts.append(table([("CPU ratio", "median (min..max)"), *lines], markdown))
    return "\n\n".join(parts)


def parseArguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--exchanges", type=int, default=30_000, help="counted in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="a round counts no longer (%(default)s)")
    parser.add_argument("--warmup", type=int, default=3_000, help="exchanges before the count (%(default)s)")
    parser.add_argument("--open", type=int, default=1_000, help="exchanges open at a time (%(default)s)")
    parser.add_argument("--only", action="append", choices=CONTESTANTS, help="may be repeated")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="every round's figures")
    return parser.parse_args()


def main() -> int:
    """Run the rounds, print the tables. Returns the exit status."""
    options = parseArguments()
    names = [name for name in CONTESTANTS if not options.only or name in options.only]
    rounds: dict[str, list[Figures]] = {name: [] for name in names}
    requestSize, answerSize = traffic.meanSizes()
    print(
        f"{options.rounds} rounds, {options.open} exchanges open; an exchange is {requestSize:.0f} + "
        f"{answerSize:.0f} bytes in (request + answer), and about as many out\n"
    )
    failed = False
    for turn in range(1, options.rounds + 1):
        for name in names:
            try:
                figures = measureFloor(options) if name == "floor" else measureComponent(name, options)
            except Broken as reason:
                print(f"round {turn}, {name}: {reason}", file=sys.stderr)
                failed = True
                continue
            print(f"round {turn}, {name}: {figures['cpu']:.1f} us", file=sys.stderr)
            rounds[name].append(figures)
    if failed:
        return 1
    print(report(rounds, options.markdown))
    if options.json:
        sizes = {"request": requestSize, "answer": answerSize}
        result = {"bytes": sizes, "open": options.open, "rounds": rounds, "ratios": ratios(rounds)}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
