"""
The cost of a delegated iq for its managing entity (XEP-0355): the gateway and others in turns, all echoing.

This process is the delegating server. Each contestant is a process of its own. Every answer is checked; the exit
status is 1 if one was lost or wrong.
"""

import argparse
import sys
from functools import partial

import contestants
import forwards
import rounds
from fakeserver import FakeServer

RATIOS = tuple(
    (other, gateway)
    for gateway in ("gateway", "gateway-tree", "gateway-domish")
    for other in ("wokkel", "wokkel-interned", "wokkel-lean", "slixmpp")
)


def measure(name: str, options: argparse.Namespace) -> rounds.Figures:
    """
    Measure one round of a managing entity: start, check, count, end.

    @raise Broken: if an answer was lost or wrong.
    """
    server = FakeServer()
    try:
        with contestants.managingEntity(name, server.port) as contestant:
            server.accept(forwards.COMPONENT)
            books = forwards.Forwards(server)
            books.checkOnce()
            figures = rounds.count(contestant, books, options)
            books.expectSilence(0.2)
            return figures
    finally:
        server.close()


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    options = rounds.parseArguments(__doc__, list(contestants.ENTITIES), 20_000, 500)
    size = forwards.meanSize()
    print(f"{options.rounds} rounds, {options.open} requests open; a forwarded iq is {size:.0f} bytes\n")
    measures = {name: partial(measure, name, options) for name in contestants.ENTITIES}
    return rounds.run(measures, RATIOS, "iq", {"request": size}, options)


if __name__ == "__main__":
    sys.exit(main())
