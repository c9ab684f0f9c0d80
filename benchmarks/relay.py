"""
The cost of address translation: whole exchanges through one component, the gateway and others in turns.

This process is the fake server: all users and the implementing client. Each contestant is a process of its own.
Every exchange is checked; the exit status is 1 if one was lost or wrong.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from functools import partial

import contestants
import rounds
import traffic
from fakeserver import Broken, Exchanges, FakeServer

CONTESTANTS = [*contestants.RELAYS, "floor"]
RATIOS = (
    ("wokkel", "gateway"),
    ("wokkel-interned", "gateway"),
    ("wokkel-lean", "gateway"),
    ("slixmpp", "gateway"),
    ("gateway", "floor"),
)


def measureFloor(options: argparse.Namespace) -> rounds.Figures:
    """Measure one round of the lower limit, which needs no server."""
    script = pathlib.Path(__file__).resolve().with_name("floor.py")
    command = [sys.executable, str(script), str(options.exchanges)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    return {
        "cpu": figures["cpu"] * 1e6,
        "rate": 1 / figures["elapsed"],
        "peak": figures["peak"],
        "exchanges": options.exchanges,
    }


def measureComponent(name: str, options: argparse.Namespace) -> rounds.Figures:
    """
    Measure one round of a component: start, check, count, end.

    @raise Broken: if an exchange was lost or wrong.
    """
    server = FakeServer()
    try:
        with contestants.relay(name, server.port) as contestant:
            server.accept()
            exchanges = Exchanges(server)
            exchanges.checkOnce()
            figures = rounds.count(contestant, exchanges, options)
            if exchanges.errors:
                raise Broken(f"errors for answers: {dict(exchanges.errors)}")
            return figures
    finally:
        server.close()


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    options = rounds.parseArguments(__doc__, CONTESTANTS, 30_000, 1_000)
    request, answer = traffic.meanSizes()
    print(
        f"{options.rounds} rounds, {options.open} exchanges open; an exchange is {request:.0f} + "
        f"{answer:.0f} bytes in (request + answer), and about as many out\n"
    )
    measures = {name: partial(measureComponent, name, options) for name in contestants.RELAYS}
    measures["floor"] = partial(measureFloor, options)
    return rounds.run(measures, RATIOS, "exchange", {"request": request, "answer": answer}, options)


if __name__ == "__main__":
    sys.exit(main())
