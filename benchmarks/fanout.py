"""What it costs that many hear what one says: the gateway's rooms beside Prosody's and ejabberd's own, in turns.

All occupants are addresses of one component. This process is that, and for the gateway the server as well.
Every presence and every delivery is counted; the exit status is 1 if anything was lost or came twice.
"""

import argparse
import json
import sys
import time
from functools import partial

import contestants
import occupants
import rounds
from fakeserver import FakeServer

SIZES = (200, 1_000)
RATIOS = (("ejabberd", "gateway"), ("prosody", "gateway"))


def measure(name: str, size: int, deliveries: int) -> rounds.Figures:
    """One round of a contestant with so many occupants: start, join, talk, end.

    @raise Broken: if anything was lost, or came twice.
    """
    if name == "gateway":
        server = FakeServer()
        try:
            with contestants.rooms(name, server.port) as contestant:
                server.accept(occupants.ROOMS.encode())
                return _measured(contestant, server, size, deliveries)
        finally:
            server.close()
    port = contestants.free()
    with contestants.rooms(name, port) as contestant:
        link = occupants.Component(port)
        try:
            return _measured(contestant, link, size, deliveries)
        finally:
            link.close()


def _measured(contestant: contestants.Contestant, link: FakeServer, size: int, deliveries: int) -> rounds.Figures:
    crowd = occupants.Crowd(link, size)
    before, cpu = contestant.memory("VmRSS"), contestant.cpu()
    crowd.join()
    joins, memory = contestant.cpu() - cpu, contestant.memory("VmRSS") - before
    messages = max(4, deliveries // size)
    crowd.talk(max(4, messages // 10))
    cpu, started = contestant.cpu(), time.perf_counter()
    crowd.talk(messages)
    cpu, elapsed = contestant.cpu() - cpu, time.perf_counter() - started
    return {
        "cpu": cpu / messages / size * 1e6,
        "rate": messages * size / elapsed,
        "joins": joins,
        "memory": memory * 1024 / size,
        "peak": contestant.memory("VmHWM"),
        "exchanges": messages,
    }


def report(figures: dict[tuple[str, int], list[rounds.Figures]], markdown: bool) -> str:
    """The tables, for people."""
    heading = (
        "contestant",
        "occupants",
        "CPU us/delivery",
        "deliveries/s",
        "CPU s, all joins",
        "KiB/occupant",
        "messages",
    )
    rows = [
        (
            name,
            str(size),
            rounds.spread([f["cpu"] for f in each], 2),
            rounds.spread([f["rate"] for f in each], 0),
            rounds.spread([f["joins"] for f in each], 2),
            rounds.spread([f["memory"] for f in each], 1),
            f"{each[0]['exchanges']:.0f}",
        )
        for (name, size), each in figures.items()
    ]
    parts = [rounds.table([heading, *rows], markdown)]
    compared = [
        (f"{pair}, {size} occupants", rounds.spread(ratio, 1))
        for size in {size for _, size in figures}
        for pair, ratio in rounds.ratios(
            {name: each for (name, s), each in figures.items() if s == size}, RATIOS
        ).items()
    ]
    if compared:
        parts.append(rounds.table([("CPU ratio", "median (min..max)"), *compared], markdown))
    return "\n\n".join(parts)


def main() -> int:
    """Run the rounds, print the tables. Returns the exit status."""
    parser = rounds.newParser(__doc__, list(contestants.MUCS), 3)
    parser.add_argument("--size", type=int, action="append", help=f"occupants; may be repeated {SIZES}")
    parser.add_argument("--deliveries", type=int, default=100_000, help="counted in a round (%(default)s)")
    options: argparse.Namespace = parser.parse_args()
    chosen = {
        f"{name}, {size} occupants": (name, size)
        for size in options.size or SIZES
        for name in options.only or contestants.MUCS
    }
    gathered = rounds.gather(
        {each: partial(measure, *chosen[each], options.deliveries) for each in chosen}, options
    )
    if not gathered:
        return 1
    print(report({chosen[each]: found for each, found in gathered.items()}, options.markdown))
    if options.json:
        options.json.write_text(json.dumps({"rounds": gathered}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
