"""A process imports only what its configuration needs. Each is observed from outside."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from twisted.trial.unittest import SynchronousTestCase

from tests.state.cluster import cluster

SECONDS = 60
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
SERVER = """
[server]
endpoint = "tcp:127.0.0.1:{port}"
secret = "secret"
"""
PROXY = '[proxy."proxy.example.com"]\ntarget = "implementation@example.com"\n'
ROOMS = '[rooms."rooms.example.com"]\n'
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='example.com' id='1'>"
)
SERVICES = ("proxy", "delegation", "roster", "fmuc")
# The plugins, and what reads the tables of the configuration.
ALWAYS = {
    *(f"{name}{module}" for name in SERVICES for module in ("", ".plugin", ".tables")),
    "roster.advice",
    "fmuc.channel",
    "fmuc.channel.values",
    "peers",
    "peers.identity",
}
# Programs of their own, and what tests need.
APART = ("tour", "cli", "testing")
CLIENT = {"treq", "twisted.web.client"}
HTTP = {"twisted.web.http", "twisted.web.server"}
POSTGRESQL = {"psycopg", "gateway.state.postgresql"}
# Services that ask the builder for all of its parts, on gateways of which one serves them.
STANDBY = """
standby = true
[state]
url = "{url}"
[log]
file = "log"
[roster."roster.example.com"]
domain = "example.com"
url = "http://127.0.0.1:1/%s"
lock = true
[delegation."delegate.example.com"]
servers = ["example.com"]
lend_privileges = ["entity.example.com"]
namespaces."urn:example" = {{ jid = "entity.example.com" }}
"""


def accepted(server: socket.socket) -> socket.socket:
    """Accept a component, until its link is up. Return its connection."""
    connection, _ = server.accept()
    connection.settimeout(SECONDS)
    connection.sendall(HEADER)
    found = b""
    while b"</handshake>" not in found:
        found += connection.recv(4096)
    connection.sendall(b"<handshake/>")
    # A presence or a query: the link is up.
    while not re.search(rb"<(presence|iq) ", found):
        found += connection.recv(4096)
    return connection


def imported(folder: Path, tables: str, later: str = "") -> set[str]:
    """
    Start a gateway, accept its component, and end it.

    @param later: the table of one more component, which a reload adds then; it is accepted, too.
    @return: the names of all modules that it has imported; with C{later}, only those that it has imported since.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as ending:
        server.settimeout(SECONDS)
        tables = SERVER.format(port=server.getsockname()[1]) + tables
        process = ending.enter_context(started(folder, tables))
        ending.enter_context(accepted(server))
        before = size(folder) if later else 0
        if later:
            (folder / "gateway.toml").write_text(tables + later)
            process.send_signal(signal.SIGHUP)
            ending.enter_context(accepted(server))
        end(process)
    return importedSince(folder, before)


@contextmanager
def started(folder: Path, tables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a gateway; kill it at the end."""
    folder.mkdir()
    (folder / "gateway.toml").write_text(tables)
    command = ["-X", "importtime", "-c", TWISTD, "-n", "--pidfile=", "gateway", "--config", "gateway.toml"]
    with (folder / "imports").open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=written
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a gateway as an operator does."""
    process.send_signal(signal.SIGTERM)
    process.wait(SECONDS)


def size(folder: Path) -> int:
    """Return the number of bytes that a gateway has written about its imports."""
    return (folder / "imports").stat().st_size


def importedSince(folder: Path, before: int) -> set[str]:
    """Return the names of the modules that a gateway has imported after some bytes."""
    lines = (folder / "imports").read_bytes()[before:].decode()
    return set(re.findall(r"^import time:.*\| +(\S+)$", lines, re.MULTILINE))


def of(packages: tuple[str, ...], modules: set[str]) -> set[str]:
    """Return the modules of some packages of the gateway, without its name."""
    found = {name.removeprefix("gateway.") for name in modules if name.startswith("gateway.")}
    return {name for name in found if name.split(".")[0] in packages}


class ImportTests(SynchronousTestCase):
    """The modules of processes with one component."""

    def imported(self, tables: str, later: str = "") -> set[str]:
        return imported(Path(self.mktemp()).absolute(), tables, later)

    def test_proxy(self) -> None:
        """A proxy needs no other feature, no HTTP server or client, no direct links, standby or PostgreSQL."""
        modules = self.imported(PROXY)
        self.assertIn("gateway.proxy.core", modules)
        others = ("delegation", "privilege", "roster", "muc", "fmuc", "embedded", "peers", "standby")
        self.assertEqual(of((*others, *APART), modules) - ALWAYS, set())
        self.assertEqual(of(("http",), modules), {"http", "http.listener"})
        self.assertEqual(modules & (CLIENT | HTTP | POSTGRESQL), set())

    def test_rooms(self) -> None:
        """Rooms need no proxy; with C{[http]} there is a server, but no client."""
        modules = self.imported(ROOMS + '[http]\nlisten = "tcp:0:interface=127.0.0.1"\n')
        self.assertIn("gateway.fmuc.core", modules)
        others = ("proxy", "delegation", "privilege", "roster", "embedded", "peers", "standby")
        self.assertEqual(of((*others, *APART), modules) - ALWAYS, set())
        self.assertLessEqual(HTTP, modules)
        self.assertEqual(modules & (CLIENT | POSTGRESQL), set())

    def test_reload(self) -> None:
        """The modules of a service that a reload adds are imported then, and those of no other."""
        modules = self.imported(PROXY, ROOMS)
        self.assertLessEqual({"gateway.fmuc.compose", "gateway.fmuc.core", "gateway.muc.room"}, modules)
        self.assertEqual(of(("proxy", "delegation", "privilege", "roster", "http", "peers"), modules), set())

    def test_standby(self) -> None:
        """
        A gateway that waits has imported everything for a takeover: by then there may be another release in the
        place of its own.
        """
        url = cluster().url(cluster().database())
        first, second = (Path(self.mktemp()).absolute() for _ in range(2))
        with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as ending:
            server.settimeout(SECONDS)
            tables = SERVER.format(port=server.getsockname()[1]).rstrip() + STANDBY.format(url=url)
            serving = ending.enter_context(started(first, tables))
            for _ in range(2):
                ending.enter_context(accepted(server))
            ending.enter_context(started(second, tables))
            deadline = monotonic() + SECONDS
            while not (second / "log").exists() or (second / "log").read_text().count(": standby: ") < 2:
                self.assertLess(monotonic(), deadline, "it waits for neither component")
                sleep(0.1)
            before = size(second)
            end(serving)
            for _ in range(2):
                ending.enter_context(accepted(server))
        self.assertLessEqual({"gateway.standby.core", *POSTGRESQL}, importedSince(second, 0))
        late = {name for name in importedSince(second, before) if name.startswith("gateway.")}
        # Not a module, but a plugin: Twisted tries to import it.
        self.assertEqual(late - {"gateway.plugins.shipped.privateStorage"}, set())
