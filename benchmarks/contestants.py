"""The programs under test, each in a process of its own, and the system's figures about that process."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import forwards
import rosters
import traffic

_HERE = pathlib.Path(__file__).resolve().parent

_SERVER = """\
state_dir = "state"

[server]
endpoint = "tcp:127.0.0.1:{port}"
secret = "secret"
domain = "{domain}"
max_stanza_size = {largest}

[http]
listen = "tcp:{http}:interface=127.0.0.1"

"""

# All options of the proxy are on.
_PROXY = """\
[proxy."{component}"]
target = "{target}"
forward = ["iq", "message", "presence"]
outbound = true
timeout = {timeout}
"""

_DELEGATION = """\
[delegation."{component}"]
servers = ["{server}"]

[delegation."{component}".namespaces]
"""

_ROSTER = """\
[roster."{component}"]
domain = "{server}"
url = "{url}"
"""

_ROOMS = """\
[rooms."{component}"]
"""

_RELAYS = {
    "wokkel": ("wokkel_relay.py", "plain"),
    "wokkel-interned": ("wokkel_relay.py", "interned"),
    "wokkel-lean": ("wokkel_relay.py", "lean"),
    "slixmpp": ("slixmpp_relay.py",),
}
RELAYS = ("gateway", *_RELAYS)
_ENTITIES = {
    "wokkel": ("wokkel_delegation.py", "plain"),
    "wokkel-interned": ("wokkel_delegation.py", "interned"),
    "wokkel-lean": ("wokkel_delegation.py", "lean"),
    "slixmpp": ("slixmpp_delegation.py",),
}
# The name of a plugin in `echo.py`.
_HANDLERS = {"gateway": "echo", "gateway-tree": "tree", "gateway-domish": "domish"}
ENTITIES = (*_HANDLERS, *_ENTITIES)
# The way in which addresses are read.
_LOOPS = {"wokkel": "plain", "wokkel-lean": "lean"}
REFRESHERS = ("gateway", *_LOOPS)
# Bytes. A roster comes in one stanza, and those of the benchmark are large.
_MAX_STANZA = 8 * 1024 * 1024


def relay(name: str, port: int, timeout: int = 30, url: str = "", key: str = "") -> "Contestant":
    """
    Start one of L{RELAYS}.

    @param port: the fake server's port on the loopback.
    @param timeout: seconds after which the gateway fails an exchange (the others always take 30).
    @param url: of the database in which the gateway shares its exchanges with others; empty for none.
    @param key: path of the file with the seal's key; empty for one of its own.
    """
    component, target = traffic.COMPONENT.decode(), traffic.TARGET.decode()
    if name == "gateway":
        shared = f'shared = true\n[state]\nurl = "{url}"\n' if url else ""
        keyFile = f'key_file = "{key}"\n' if key else ""
        table = _PROXY.format(component=component, target=target, timeout=timeout)
        return _gateway(port, table + keyFile + shared)
    script, *how = _RELAYS[name]
    return _script(name, script, str(port), component, target, *how)


def proxy(port: int, component: str, target: str) -> "Contestant":
    """Return the gateway with a proxy, on a real server."""
    return _gateway(port, _PROXY.format(component=component, target=target, timeout=30))


def managingEntity(name: str, port: int) -> "Contestant":
    """
    Start one of L{ENTITIES}: it echoes delegated requests.

    @param port: the fake server's port on the loopback.
    """
    component, server = forwards.COMPONENT.decode(), forwards.SERVER.decode()
    namespaces = [each.decode() for each in forwards.NAMESPACES]
    if handler := _HANDLERS.get(name):
        served = "".join(f'"{each}" = {{ handler = "{handler}" }}\n' for each in namespaces)
        return _gateway(port, _DELEGATION.format(component=component, server=server) + served, _HERE / "echo.py")
    script, *how = _ENTITIES[name]
    return _script(name, script, str(port), component, server, *how, *namespaces)


def refresher(name: str, port: int, application: int) -> "Contestant":
    """
    Start one of L{REFRESHERS}: it refreshes rosters on request at its HTTP port.

    @param port: the fake server's port on the loopback.
    @param application: the web application's port.
    """
    url = f"http://127.0.0.1:{application}/contacts/%s"
    if name == "gateway":
        table = _ROSTER.format(component=rosters.COMPONENT, server=rosters.SERVER, url=url)
        return _gateway(port, table, largest=_MAX_STANZA)
    arguments = (str(port), rosters.COMPONENT, rosters.SERVER, url, _LOOPS[name])
    return _script(name, "wokkel_roster.py", *arguments, http=freePort())


def rosterGateway(port: int, url: str, isLocked: bool = False, api: str = "") -> "Contestant":
    """
    Return the gateway with rosters, on a real server.

    @param url: of the web application.
    @param api: of ejabberd.
    """
    table = _ROSTER.format(component=rosters.COMPONENT, server=rosters.SERVER, url=url)
    more = "lock = true\n" * isLocked + (f'api = "{api}"\n' if api else "")
    return _gateway(port, table + more, largest=_MAX_STANZA)


def rooms(port: int, component: str, isArchived: bool, isDurable: bool = True) -> "Contestant":
    """
    Return the gateway with rooms of its own.

    @param port: the fake server's port on the loopback.
    @param isDurable: False for rooms that are in memory only.
    """
    table = _ROOMS.format(component=component) + "archive_days = 0\n" * (not isArchived)
    return _gateway(port, table, program=None if isDurable else _HERE / "rooms_in_memory.py")


def backedRooms(port: int, component: str, backing: str, server: "Contestant") -> "Contestant":
    """
    Return the gateway with rooms that stand for ordinary ones, on a real server, which ends with it.

    @param backing: domain of the ordinary rooms.
    """
    table = _ROOMS.format(component=component) + f'backing = "{backing}"\n'
    return _gateway(port, table, beside=server)


def archivedRooms(port: int, component: str, store: pathlib.Path) -> "Contestant":
    """
    Return the gateway with rooms of its own, and with large archives.

    @param port: the fake server's port on the loopback.
    @param store: a file with rooms and archives; it is moved.
    """
    table = _ROOMS.format(component=component) + "archive_messages = 1_000_000\n"
    return _gateway(port, table, stores={f"state/{component}.rooms": store})


def freePort() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _gateway(
    port: int,
    table: str,
    plugin: pathlib.Path | None = None,
    largest: int = 256 * 1024,
    program: pathlib.Path | None = None,
    stores: Mapping[str, pathlib.Path] | None = None,
    beside: "Contestant | None" = None,
) -> "Contestant":
    """
    Return the gateway as an operator runs it.

    @param program: is run in the place of C{twistd}.
    @param stores: files that are moved into its working directory.
    @param beside: another process, which ends with it.
    """
    http = freePort()
    config = _SERVER.format(port=port, http=http, domain=forwards.SERVER.decode(), largest=largest) + table
    files: dict[str, str | pathlib.Path] = {"gateway.toml": config}
    if plugin is not None:
        files[f"gateway/plugins/{plugin.name}"] = plugin.read_text()
    twistd = pathlib.Path(sys.executable).parent / "twistd"
    started = [str(twistd)] if program is None else [sys.executable, str(program)]
    command = [*started, "-n", "--pidfile=", "gateway", "--config", "gateway.toml"]
    return Contestant("gateway", command, {**files, **(stores or {})}, http, beside=beside)


def _script(name: str, script: str, *arguments: str, http: int = 0) -> "Contestant":
    last = [str(http)] if http else []
    return Contestant(name, [sys.executable, str(_HERE / script), *arguments, *last], http=http)


class Contestant:
    """
    A running component; a context manager that ends the process, and shows its log if something failed.

    @param files: files in its working directory, which is also on the module path: texts, or files that are moved.
    @param environment: additional environment variables.
    @param beside: another running one, which ends with this one.
    @ivar directory: its working directory.
    @ivar http: the port for HTTP requests; 0 if it has none.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        files: Mapping[str, str | pathlib.Path] | None = None,
        http: int = 0,
        environment: Mapping[str, str] | None = None,
        beside: "Contestant | None" = None,
    ) -> None:
        self.http = http
        self._beside = beside
        self._directory = tempfile.TemporaryDirectory(prefix="gateway-bench-")
        directory = self.directory = pathlib.Path(self._directory.name)
        for path, content in (files or {}).items():
            directory.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                directory.joinpath(path).write_text(content)
            else:
                shutil.move(content, directory / path)
        self._log = directory / "log"
        paths = [str(_HERE.parent), str(directory), os.environ.get("PYTHONPATH", "")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
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
        if self._beside is not None:
            self._beside.__exit__(kind, error, traceback)

    @property
    def pid(self) -> int:
        """Id of its process."""
        return self._process.pid

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, of the whole process so far."""
        # The POSIX CPU-time clock of another process, in nanoseconds: /proc/PID/stat counts in 10 ms.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def memory(self, field: str) -> float:
        """Return the MiB in a line of /proc/PID/status: `VmRSS` now, `VmHWM` at its peak."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)

    def resetPeak(self) -> None:
        """Reset `VmHWM`."""
        pathlib.Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
