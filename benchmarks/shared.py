"""
The cost of an exchange through a proxy whose gateways share their open exchanges in PostgreSQL, beside one that is
alone.

This process is the fake server, as in `relay.py`, and starts a PostgreSQL server with the usual flushes. All
stanzas come to one gateway, which delivers the answers from its memory: only the requests wait for the database.
"""

import argparse
import pathlib
import sys
from functools import partial

import contestants
import rounds
import traffic
from fakeserver import Broken, Exchanges, FakeServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tests.state import cluster  # needs the path

NAMES = ["alone", "shared"]


def measure(name: str, options: argparse.Namespace) -> rounds.Figures:
    """
    Measure one round.

    @raise Broken: if an exchange was lost or wrong.
    """
    server = FakeServer()
    url = cluster.cluster().url(cluster.cluster().database()) if name == "shared" else ""
    try:
        with contestants.relay("gateway", server.port, url=url) as contestant:
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
    options = rounds.parseArguments(__doc__, NAMES, 10_000, 200)
    cluster._SETTINGS = tuple(each for each in cluster._SETTINGS if each != "fsync=off")
    request, answer = traffic.meanSizes()
    print(f"{options.rounds} rounds, {options.open} exchanges open\n")
    measures = {name: partial(measure, name, options) for name in NAMES}
    sizes = {"request": request, "answer": answer}
    return rounds.run(measures, (("shared", "alone"),), "exchange", sizes, options)


if __name__ == "__main__":
    sys.exit(main())
