"""A process imports only what its configuration needs. Each is observed from outside."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

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
    "fmuc.channel_values",
    "peers",
    "peers.identity",
}
CLIENT = {"treq", "twisted.web.client"}
HTTP = {"twisted.web.http", "twisted.web.server"}


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
    folder.mkdir()
    log = folder / "imports"
    with socket.create_server(("127.0.0.1", 0)) as server, log.open("wb") as written:
        server.settimeout(SECONDS)
        tables = SERVER.format(port=server.getsockname()[1]) + tables
        (folder / "gateway.toml").write_text(tables)
        command = ["-X", "importtime", "-c", TWISTD, "-n", "--pidfile=", "gateway", "--config", "gateway.toml"]
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=written
        )
        try:
            with ExitStack() as connections:
                connections.enter_context(accepted(server))
                before = log.stat().st_size if later else 0
                if later:
                    (folder / "gateway.toml").write_text(tables + later)
                    process.send_signal(signal.SIGHUP)
                    connections.enter_context(accepted(server))
                process.send_signal(signal.SIGTERM)
                process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
    lines = log.read_bytes()[before:].decode()
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
        """A proxy needs no other feature, no HTTP server or client, and no direct links."""
        modules = self.imported(PROXY)
        self.assertIn("gateway.proxy.core", modules)
        others = ("delegation", "privilege", "roster", "muc", "fmuc", "embedded", "peers", "tour", "cli", "testing")
        self.assertEqual(of(others, modules) - ALWAYS, set())
        self.assertEqual(of(("http",), modules), {"http", "http.listener"})
        self.assertEqual(modules & (CLIENT | HTTP), set())

    def test_rooms(self) -> None:
        """Rooms need no proxy; with C{[http]} there is a server, but no client."""
        modules = self.imported(ROOMS + '[http]\nlisten = "tcp:0:interface=127.0.0.1"\n')
        self.assertIn("gateway.fmuc.core", modules)
        others = ("proxy", "delegation", "privilege", "roster", "embedded", "peers", "tour", "cli", "testing")
        self.assertEqual(of(others, modules) - ALWAYS, set())
        self.assertLessEqual(HTTP, modules)
        self.assertEqual(modules & CLIENT, set())

    def test_reload(self) -> None:
        """The modules of a service that a reload adds are imported then, and those of no other."""
        modules = self.imported(PROXY, ROOMS)
        self.assertLessEqual({"gateway.fmuc.compose", "gateway.fmuc.core", "gateway.muc.room"}, modules)
        self.assertEqual(of(("proxy", "delegation", "privilege", "roster", "http", "peers"), modules), set())
