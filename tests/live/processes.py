"""Child processes of the live tests: private, logged to a file, and ended with the test process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

# Linux ends the child when the thread that started it ends: also after a kill -9, when no atexit handler runs.
_TIED = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []

# Blocks of ports below those of connections, by default from 32,768.
_BLOCKS = range(10_000, 32_000, 100)
# Sockets whose names claim the blocks of this process, and the ports of these blocks that are left.
_claims: list[socket.socket] = []
_left: list[int] = []

_children: set[subprocess.Popen[bytes]] = set()


@atexit.register
def _endAll() -> None:
    for child in list(_children):
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    _children.discard(child)


def freePort() -> int:
    """
    Return a TCP port on the loopback that is free, and stays free while a server is restarted: the system gives
    connections others, and no test process on this machine is given it a second time.
    """
    while True:
        if not _left:
            _claimPorts()
        port = _left.pop()
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def _claimPorts() -> None:
    """Claim a block of ports, until this process ends."""
    for block in random.sample(_BLOCKS, len(_BLOCKS)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0xmpp-gateway-tests-{block}")
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            _left.extend(range(block, block + _BLOCKS.step))
            return
    raise AssertionError("test processes have claimed all ports")


def need(missing: str | None) -> None:
    """
    Skip the test if something is missing on this machine.

    @param missing: a description of it.
    @raise SkipTest: something is missing; with REQUIRE_INTEROP=1 in the environment an AssertionError.
    """
    if missing:
        if os.environ.get("REQUIRE_INTEROP") == "1":
            raise AssertionError(missing)
        raise SkipTest(missing)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> float:
    """
    Wait until `condition` is true, checking every 50 ms.

    @return: the seconds that it took.
    @raise AssertionError: it was not true within `seconds`; `what` names the condition.
    """
    started = time.monotonic()
    while not await condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def holds(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait with L{until} for a synchronous condition."""

    async def computed() -> bool:
        return condition()

    return await until(computed, seconds, what)


Value = str | int | bool | list[str]

# The gateway as an operator starts it, and its environment; it reads the gateway.toml of its directory.
TWISTD = (
    [sys.executable, str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "gateway"],
    {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONUNBUFFERED": "1"},
)


def toml(keys: Mapping[str, Value], tables: Mapping[str, Mapping[str, Value]]) -> str:
    """Return a TOML document: keys, then tables."""
    lines = [f"{_toml(key)} = {_toml(value)}" for key, value in keys.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


class Program:
    """
    One program in a directory of its own: started, killed and started again with the same ports and data.

    `start` must be called in the main thread, because the child ends with its thread. It does not wait; subclasses
    wait for readiness.
    """

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory / f"{self.name}.out"
        self._child: subprocess.Popen[bytes] | None = None

    def _run(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        with self.output.open("ab") as output:
            self._child = subprocess.Popen(
                [*_TIED, *argv],
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        _children.add(self._child)

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, f"{self.name} was never started"
        return self._child

    def running(self) -> bool:
        """True if the process is running."""
        return self._child is not None and self._child.poll() is None

    def residentMiB(self) -> float:
        """Return its resident memory now, in MiB."""
        return self._memory("VmRSS")

    def peakMiB(self) -> float:
        """Return its peak of resident memory, in MiB."""
        return self._memory("VmHWM")

    def _memory(self, key: str) -> float:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(rf"{key}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def kill9(self) -> None:
        """End it as a power cut would, and reap it."""
        _end(self.child)

    def memory(self) -> int:
        """Return its peak of memory, in bytes (VmHWM)."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def terminate(self, seconds: float = 10) -> int:
        """End it with SIGTERM; return its exit code. AssertionError if it does not end in time."""
        self.child.terminate()
        await holds(lambda: not self.running(), seconds, f"end of {self.name} after SIGTERM")
        _children.discard(self.child)
        return self.child.wait()

    def stop(self) -> None:
        """End it in any state."""
        if self._child is not None:
            _end(self._child)

    def logFiles(self) -> list[Path]:
        """Return log files that help to explain a failure, the most useful last."""
        return [self.output]

    def log(self, lines: int = 60) -> str:
        """Return the last lines of each log file."""
        parts = []
        for path in self.logFiles():
            with contextlib.suppress(FileNotFoundError):
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append("\n".join([f"--- {path.name}", *tail]))
        return "\n".join(parts)


async def outcome(argv: Sequence[str], directory: Path, seconds: float) -> tuple[int, str]:
    """
    Run a program of the gateway to its end.

    @return: its exit code, and its output.
    @raise TimeoutError: it took longer, and was ended.
    """
    child = await asyncio.create_subprocess_exec(
        *_TIED,
        *argv,
        cwd=directory,
        env={**os.environ, **TWISTD[1]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, output.decode()
