"""
The cost of an exchange through a proxy whose gateways share their open exchanges in PostgreSQL, beside one that is
alone.

This process is the fake server, as in `relay.py`, and starts a PostgreSQL server with the usual flushes. For
`shared`, all stanzas come to one gateway, which delivers the answers from its memory: only requests wait for the
database. For `crossed`, there are two gateways: the requests come to one of them, and all answers to the other one.
So each answer waits for the database as well. The CPU is that of both.
"""

import argparse
import contextlib
import pathlib
import select
import sys
import tempfile
import time
from functools import partial

import contestants
import rounds
import traffic
from fakeserver import Broken, Exchanges, FakeServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tests.state import cluster  # needs the path

NAMES = ["alone", "shared", "crossed"]
# Seconds until both gateways have registered, and know the resources.
_SETTLE = 2.5


class Crossed(Exchanges):
    """Exchanges whose requests come to one gateway, and whose answers to another one."""

    def __init__(self, first: FakeServer, second: FakeServer) -> None:
        super().__init__(first)
        self._both = [first, second]
        self._rests = [b"", b""]

    def pump(self, seconds: float) -> int:
        before = self.completed
        waiting = [each._socket for each in self._both]
        unwritten = [each._socket for each in self._both if each.queued > each.written]
        select.select(waiting, unwritten, [], seconds)
        for number, server in enumerate(self._both):
            self._server, self._rest = server, self._rests[number]
            self.take(server.step(0))
            self._rests[number] = self._rest
        self._server = self._both[0]
        return self.completed - before

    def _answer(self, n: int, attributes: dict[bytes, bytes]) -> None:
        reading, self._server = self._server, self._both[1]
        super()._answer(n, attributes)
        self._server = reading


class Pair:
    """The figures of two gateways."""

    def __init__(self, *both: contestants.Contestant) -> None:
        self._both = both

    def cpu(self) -> float:
        """Return the seconds of CPU of both so far."""
        return sum(each.cpu() for each in self._both)

    def memory(self, field: str) -> float:
        """Return the MiB of the larger one."""
        return max(each.memory(field) for each in self._both)


def crossed(options: argparse.Namespace) -> rounds.Figures:
    """
    Measure one round with two gateways.

    @raise Broken: if an exchange was lost or wrong.
    """
    url = cluster.cluster().url(cluster.cluster().database())
    with contextlib.ExitStack() as stack:
        servers = [FakeServer(), FakeServer()]
        for each in servers:
            stack.callback(each.close)
        key = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()), "key")
        key.write_text("0" * 64)
        both = []
        for each in servers:
            both.append(stack.enter_context(contestants.relay("gateway", each.port, url=url, key=str(key))))
            each.accept()
        exchanges = Crossed(*servers)
        settled = time.monotonic() + _SETTLE
        while time.monotonic() < settled:
            exchanges.pump(0.1)
        exchanges.checkOnce()
        return checked(exchanges, rounds.count(Pair(*both), exchanges, options))


def checked(exchanges: Exchanges, figures: rounds.Figures) -> rounds.Figures:
    """
    Return figures.

    @raise Broken: if there were errors.
    """
    if exchanges.errors:
        raise Broken(f"errors for answers: {dict(exchanges.errors)}")
    return figures


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
            return checked(exchanges, rounds.count(contestant, exchanges, options))
    finally:
        server.close()


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    options = rounds.parseArguments(__doc__, NAMES, 10_000, 200)
    cluster._SETTINGS = tuple(each for each in cluster._SETTINGS if each != "fsync=off")
    request, answer = traffic.meanSizes()
    print(f"{options.rounds} rounds, {options.open} exchanges open\n")
    measures = {name: partial(measure, name, options) for name in NAMES[:2]}
    measures["crossed"] = partial(crossed, options)
    sizes = {"request": request, "answer": answer}
    return rounds.run(measures, (("shared", "alone"), ("crossed", "shared")), "exchange", sizes, options)


if __name__ == "__main__":
    sys.exit(main())
