"""A private PostgreSQL cluster of this test process, started at the first use, and a database for each test."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.live.processes import Program, freePort, need

_USER = "postgres"
# A language whose order differs from that of bytes: stores must not depend on it.
_ORDER = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
_SETTINGS = ("fsync=off", "max_connections=200", "listen_addresses=127.0.0.1", "log_statement=none")
_numbers = count()


class Cluster(Program):
    """
    The server, as a user who is not root.

    @ivar port: its TCP port on the loopback; it stays the same.
    """

    name = "postgresql"

    def __init__(self) -> None:
        self._programs = _programs()
        need(None if self._programs else "PostgreSQL is not installed")
        super().__init__(Path(tempfile.mkdtemp(prefix="pg-")))
        atexit.register(self._remove)
        if os.geteuid() == 0:
            shutil.chown(self.directory, _USER, _USER)
        self.port = freePort()
        self._data = self.directory / "data"
        made = [f"{self._programs}/initdb", "-D", str(self._data), "-U", "gateway", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*_user(), *made, "--no-sync", *_ORDER], check=True, capture_output=True, timeout=60, cwd="/"
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.begin()
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.running() and time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def begin(self) -> None:
        """Start it."""
        settings = [f"-c{each}" for each in (*_SETTINGS, f"port={self.port}")]
        argv = [*_user(), f"{self._programs}/postgres", "-D", str(self._data), "-k", str(self.directory), *settings]
        self._run(argv, {})

    def answers(self) -> bool:
        """True if it accepts connections."""
        ready = [f"{self._programs}/pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(ready, check=False, timeout=10).returncode == 0

    def stopFast(self) -> None:
        """Stop it as C{systemctl stop postgresql} does: connections are ended, transactions rolled back."""
        self.child.send_signal(signal.SIGINT)
        self.child.wait(30)

    def _remove(self) -> None:
        if self.running():
            # At once, but with the segments of shared memory.
            self.child.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(10)
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as another program; return its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make an empty database, and return its name."""
        name = f"test{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return name


@cache
def cluster() -> Cluster:
    """Return the cluster of this process."""
    return Cluster()


def _programs() -> str:
    """Return the folder of PostgreSQL's programs; empty if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[4]))
    path = str(found[-1]) if found else shutil.which("initdb") or ""
    return path.removesuffix("/initdb")


def _user() -> list[str]:
    """Return the beginning of a command that PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--pdeathsig", "KILL", "--"]
