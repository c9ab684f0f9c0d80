"""The programs under test, each in a process of its own, and what the system says about that process."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import traffic

_HERE = pathlib.Path(__file__).resolve().parent

_CONFIG = """\
state_dir = "state"

[server]
endpoint = "tcp:127.0.0.1:{port}"
secret = "secret"
domain = "example.com"

[http]
listen = "tcp:{http}:interface=127.0.0.1"

[proxy."{component}"]
target = "{target}"
forward = ["iq", "message", "presence"]
outbound = true
timeout = {timeout}
"""


def _gateway(directory: pathlib.Path, port: int, timeout: int) -> list[str]:
    """The gateway as an operator runs it, with everything of the proxy switched on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        http = free.getsockname()[1]
    names = {"component": traffic.COMPONENT.decode(), "target": traffic.TARGET.decode()}
    config = directory / "gateway.toml"
    config.write_text(_CONFIG.format(port=port, http=http, timeout=timeout, **names))
    twistd = pathlib.Path(sys.executable).parent / "twistd"
    return [str(twistd), "-n", "--pidfile=", "gateway", "--config", str(config)]


def _script(port: int, name: str, *how: str) -> list[str]:
    names = traffic.COMPONENT.decode(), traffic.TARGET.decode()
    return [sys.executable, str(_HERE / name), str(port), *names, *how]


_SCRIPTS = {
    "wokkel": ("wokkel_relay.py", "plain"),
    "wokkel-interned": ("wokkel_relay.py", "interned"),
    "wokkel-lean": ("wokkel_relay.py", "lean"),
    "slixmpp": ("slixmpp_relay.py",),
}
COMPONENTS = ("gateway", *_SCRIPTS)


class Contestant:
    """A running component; a context manager that ends the process and shows its log if something failed.

    @param port: where the fake server listens, on the loopback.
    @param timeout: seconds after which the gateway gives an exchange up (the others always take 30).
    """

    def __init__(self, name: str, port: int, timeout: int = 30) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gateway-bench-")
        directory = pathlib.Path(self._directory.name)
        command = _gateway(directory, port, timeout) if name == "gateway" else _script(port, *_SCRIPTS[name])
        self._log = directory / "log"
        paths = [str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._name = name

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt):
            tail = self._log.read_text(errors="replace")[-4000:]
            print(f"--- {self._name} failed; the end of its log:\n{tail}---", file=sys.stderr)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def cpu(self) -> float:
        """Seconds of CPU, user and system, of the whole process so far."""
        # The POSIX CPU-time clock of another process, in nanoseconds: /proc/PID/stat counts in 10 ms.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def memory(self, field: str) -> float:
        """MiB of a line of /proc/PID/status: `VmRSS` now, `VmHWM` at its peak."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)
