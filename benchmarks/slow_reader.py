"""
A server that stops reading under full load: the component's memory, and lost requests.

The fake server reads nothing for a time, and writes requests as long as the component reads them. Then it reads
again. Each request that was written must be answered exactly once, by a result or by an error; otherwise the exit
status is 1.
"""

import argparse
import json
import pathlib
import sys
import time
from typing import Any

from contestants import RELAYS, Contestant, relay
from fakeserver import Broken, Exchanges, FakeServer

_QUEUE = 1 << 16  # bytes of requests kept ready for the socket
_BATCH = 50
# Small, so that the component, and not the kernel, holds the unread bytes.
_RECEIVE_BUFFER = 1 << 16


def stall(server: FakeServer, exchanges: Exchanges, contestant: Contestant, seconds: float) -> float:
    """Write and never read. Return the component's peak of resident memory meanwhile, in MiB."""
    peak = 0.0
    deadline = time.monotonic() + seconds
    sample = 0.0
    while (now := time.monotonic()) < deadline:
        if now >= sample:
            peak = max(peak, contestant.memory("VmRSS"))
            sample = now + 0.2
        while server.queued - server.written < _QUEUE:
            exchanges.begin(_BATCH)
        server.step(0.2, reading=False)
    return max(peak, contestant.memory("VmRSS"))


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One component, from start to end.

    @raise Broken: if a request was lost or answered twice, or the component closed the stream.
    """
    server = FakeServer(_RECEIVE_BUFFER)
    try:
        with relay(name, server.port, options.timeout) as contestant:
            server.accept()
            exchanges = Exchanges(server)
            exchanges.checkOnce()
            exchanges.begin(options.open)
            exchanges.replenish(options.warmup, 60.0)
            before = contestant.memory("VmRSS")
            begun, written = exchanges.begun, server.written
            peak = stall(server, exchanges, contestant, options.seconds)
            written = server.written - written
            stalled = exchanges.begun - begun
            # Write everything that was begun to its end; then each request must be answered.
            resumed = time.monotonic()
            exchanges.drain(options.timeout + 15.0)
            drained = time.monotonic() - resumed
            exchanges.expectSilence(2.0)
            return {
                "stall": options.seconds,
                "before": before,
                "growth": peak - before,
                "peak": contestant.memory("VmHWM"),
                "written": written / (1 << 20),
                "requests": stalled,
                "total": exchanges.begun,
                "results": exchanges.results,
                "errors": exchanges.errors.total(),
                "conditions": dict(exchanges.errors),
                "drained": drained,
            }
    finally:
        server.close()


def parseArguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the stall (%(default)s)")
    parser.add_argument("--warmup", type=int, default=20_000, help="exchanges before the stall (%(default)s)")
    parser.add_argument("--open", type=int, default=1_000, help="exchanges open before it (%(default)s)")
    parser.add_argument("--timeout", type=int, default=30, help="the gateway's, in seconds (%(default)s)")
    parser.add_argument("--only", choices=RELAYS, default="gateway", help="%(default)s")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the figures")
    return parser.parse_args()


def main() -> int:
    """Run, print, and return the exit status."""
    options = parseArguments()
    try:
        figures = run(options.only, options)
    except Broken as reason:
        print(f"{options.only}: {reason}", file=sys.stderr)
        return 1
    print(
        "{stall:.0f} s without reading: resident memory {before:.1f} MiB, at the highest {growth:.1f} more"
        " (peak of the whole run {peak:.1f})\n"
        "the component was offered {requests} requests meanwhile and took {written:.2f} MiB;"
        " the last answer came {drained:.1f} s after\n"
        "{total} requests in all: {results} results, {errors} errors {conditions}, none lost, none answered twice"
        "".format(**figures)
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
