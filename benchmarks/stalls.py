"""
Measures the time for which one input blocks a gateway.

Each input of `hostile.py` is sent to a fresh gateway, several times, while another connection requests /healthz
every 5 ms. Every input must have its right answer; the exit status is 1 if one had not, or if the gateway was
blocked, or grew, by more than is allowed.
"""

import argparse
import json
import multiprocessing
import pathlib
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import rounds
from contestants import Contestant, freePort
from fakeserver import Broken, FakeServer
from hostile import DELEGATE, INPUTS, ROOMS, ROSTER, SERVER, TOKEN, Application, Input, World

# Seconds between two requests, of quiet before an input, and after its last answer.
_EVERY, _QUIET, _AFTER = 0.005, 1.0, 0.3

_CONFIG = """\
state_dir = "state"

[server]
endpoint = "tcp:127.0.0.1:{rooms}"
secret = "secret"
domain = "{server}"

[http]
listen = "tcp:{http}:interface=127.0.0.1"
token_file = "token"

[rooms."{ROOMS}"]

[delegation."{DELEGATE}"]
endpoint = "tcp:127.0.0.1:{delegate}"
servers = ["{server}"]

[delegation."{DELEGATE}".namespaces]
"jabber:iq:private" = {{ handler = "private-storage" }}

[roster."{ROSTER}"]
endpoint = "tcp:127.0.0.1:{roster}"
domain = "{server}"
url = "http://127.0.0.1:{application}/%s"
"""


class Turn(NamedTuple):
    """
    One input once.

    @ivar stall: seconds of the slowest answer, less C{quiet}.
    @ivar quiet: the median of the answers before.
    @ivar noise: the slowest of them.
    @ivar taken: seconds until all of the input was answered.
    @ivar peak: peak of resident memory in MiB; C{growth}: the increase since before.
    """

    stall: float
    quiet: float
    noise: float
    taken: float
    peak: float
    growth: float


class Probe:
    """Requests /healthz, in a process of its own."""

    def __init__(self, port: int) -> None:
        self._pipe, inside = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_ask, args=(port, inside), daemon=True)
        self._process.start()
        inside.close()
        self.taken()

    def taken(self) -> list[float]:
        """Return the seconds of each answer since the last call; wait for one that is pending."""
        self._pipe.send(None)
        answers = self._pipe.recv()
        if isinstance(answers, str):
            raise Broken(answers)
        return list(answers)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _ask(port: int, pipe: Connection) -> None:
    answers: list[float] = []
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=120)
        while True:
            started = time.perf_counter()
            connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"ok\n"):
                data = connection.recv(1 << 16)
                answer += data
                if not data or len(answer) > 4_096:
                    raise OSError(f"/healthz says {answer!r:.300}")
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise OSError(f"/healthz says {answer!r:.300}")
            answers.append(time.perf_counter() - started)
            if pipe.poll(max(0.0, _EVERY - answers[-1])):
                pipe.recv()
                pipe.send(answers)
                answers = []
    except EOFError:
        return
    except OSError as error:
        pipe.recv()
        pipe.send(f"/healthz: {error}")


def measure(hostile: Input, turns: int, python: str) -> list[Turn]:
    """
    Send one input to a fresh gateway, several times.

    @param python: the Python that has the gateway installed.
    @raise Broken: if it is not answered, or a link is lost.
    """
    rooms, delegate, roster = FakeServer(), FakeServer(), FakeServer()
    application, http = Application(), freePort()
    config = _CONFIG.format(
        rooms=rooms.port,
        delegate=delegate.port,
        roster=roster.port,
        application=application.port,
        http=http,
        server=SERVER,
        ROOMS=ROOMS,
        DELEGATE=DELEGATE,
        ROSTER=ROSTER,
    )
    twistd = str(pathlib.Path(python).parent / "twistd")
    command = [twistd, "-n", "--pidfile=", "gateway", "--config", "gateway.toml"]
    # The installed gateway of that Python, which may be another than the one next to this file.
    other = {} if python == sys.executable else {"PYTHONPATH": "."}
    contestant = Contestant("gateway", command, {"gateway.toml": config, "token": TOKEN}, http, other)
    try:
        with contestant:
            for server, component in ((rooms, ROOMS), (delegate, DELEGATE), (roster, ROSTER)):
                server.accept(component.encode())
                # This writes queued output.
                server.step(0.1)
            world = World(rooms, delegate, roster, application, http)
            hostile.prepare(world)
            probe = Probe(http)
            try:
                return [_turn(hostile, world, number, contestant, probe) for number in range(turns)]
            finally:
                probe.close()
    finally:
        application.close()
        for server in (rooms, delegate, roster):
            server.close()


def _turn(hostile: Input, world: World, number: int, contestant: Contestant, probe: Probe) -> Turn:
    probe.taken()
    time.sleep(_QUIET)
    quiet = probe.taken()
    contestant.resetPeak()
    before, started = contestant.memory("VmRSS"), time.perf_counter()
    hostile.send(world, number)
    taken = time.perf_counter() - started
    time.sleep(_AFTER)
    slowest, usual, peak = max(probe.taken()), statistics.median(quiet), contestant.memory("VmHWM")
    # Each link must still be up.
    for server in (world.rooms, world.delegate, world.roster):
        server.step(0)
    return Turn(max(0.0, slowest - usual), usual, max(quiet), taken, peak, peak - before)


def judged(hostile: Input, turns: list[Turn], limit: float) -> str:
    """
    Return the fault that was found; empty if there is none.

    A stall by the gateway is in each turn, one by the machine is not: the smallest is used.
    """
    problems = []
    if min(turn.stall for turn in turns) > limit:
        problems.append("stalls")
    if min(turn.growth for turn in turns) > hostile.growth:
        problems.append("grows")
    return ", ".join(problems)


def report(measured: dict[str, list[Turn] | str], limit: float, markdown: bool) -> str:
    """Return the table."""
    rows = [("input", "once", "longest stall ms", "quiet ms (slowest)", "answered s", "peak MiB (+)", "")]
    for name, turns in measured.items():
        if isinstance(turns, str):
            rows.append((name, INPUTS[name].seen, "-", "-", "-", "-", turns))
            continue
        stalls = sorted(turn.stall * 1e3 for turn in turns)
        noise = max(turn.noise for turn in turns)
        rows.append(
            (
                name,
                INPUTS[name].seen,
                f"{stalls[0]:.0f} ({stalls[0]:.0f}..{stalls[-1]:.0f})",
                f"{statistics.median(turn.quiet for turn in turns) * 1e3:.1f} ({noise * 1e3:.0f})",
                f"{statistics.median(turn.taken for turn in turns):.2f}",
                f"{max(turn.peak for turn in turns):.0f} (+{max(turn.growth for turn in turns):.0f})",
                judged(INPUTS[name], turns, limit) or "ok",
            )
        )
    return rounds.table(rows, markdown)


def main() -> int:
    """Try each input and print the table. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=3, help="of each input (%(default)s)")
    parser.add_argument("--limit", type=float, default=100.0, help="ms that a stall may take (%(default)s)")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="whose gateway is tried")
    parser.add_argument("--only", action="append", choices=list(INPUTS), help="may be repeated")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="every turn's figures")
    options = parser.parse_args()
    measured: dict[str, list[Turn] | str] = {}
    failed = False
    for name in options.only or INPUTS:
        try:
            turns = measure(INPUTS[name], options.turns, options.python)
        except (Broken, OSError) as reason:
            measured[name] = f"failed: {reason!s:.120}"
            failed = True
        else:
            measured[name] = turns
            failed = failed or bool(judged(INPUTS[name], turns, options.limit / 1e3))
        print(report({name: measured[name]}, options.limit / 1e3, False).splitlines()[-1], file=sys.stderr)
    print(report(measured, options.limit / 1e3, options.markdown))
    if options.json:
        told = {
            name: turns if isinstance(turns, str) else [turn._asdict() for turn in turns]
            for name, turns in measured.items()
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
