"""
C{xmpp-gateway check} and C{snippet} with real servers: for each single piece of configuration that is missing,
C{check} names it, and the lines that C{snippet} prints mend it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import call
from tests.live.gateway import Gateway
from tests.live.processes import Value, freePort, need, toml
from tests.live.servers import DOMAIN, Ejabberd, NewerEjabberd, NewerProsody, Prosody, Server

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Mixin
else:
    _Mixin = object

ROOT = Path(__file__).resolve().parents[2]
DELEGATE, ROSTER = f"delegate.{DOMAIN}", f"roster.{DOMAIN}"
PRIVATE = "jabber:iq:private"

# Servers that run at the same time.
_TOGETHER = 4

# A change of the block that takes one piece away, and the problems that are printed then.
Piece = tuple[Callable[[str], str], tuple[str, ...]]


def without(pattern: str) -> Callable[[str], str]:
    """Return a function that removes the first match of a pattern."""
    return lambda block: re.sub(pattern, "", block, count=1, flags=re.MULTILINE | re.DOTALL)


class Snipped(Server):
    """A mix-in: a server whose components are configured by a block of lines, in place of those of other tests."""

    block = ""


class SnippedProsody(Snipped, Prosody):
    """Prosody with the block at the end of its configuration."""

    def configure(self) -> None:
        super().configure()
        file = self.directory / "prosody.cfg.lua"
        before = file.read_text().partition("VirtualHost")[0]
        kept = [line for line in before.splitlines() if not line.startswith("component_")]
        file.write_text("\n".join([*kept, f'VirtualHost "{DOMAIN}"', self.block]))


class SnippedEjabberd(Snipped, Ejabberd):
    """ejabberd with the block in a file that its configuration includes; both have listeners, rules and modules."""

    def configure(self) -> None:
        super().configure()
        file = self.directory / "ejabberd.yml"
        base = json.loads(file.read_text())
        base["listen"] = base["listen"][:1]
        base["acl"] = {"mine": {"server": "example.org"}}
        base["access_rules"] = {"mine": {"allow": "mine"}}
        base["api_permissions"] = {"mine": {"who": "mine", "what": "status"}}
        del base["modules"]["mod_delegation"]
        included = self.directory / "gateway.yml"
        included.write_text(self.block)
        file.write_text(json.dumps({**base, "include_config_file": str(included)}, indent=1))


class SnippedNewerProsody(NewerProsody, SnippedProsody):
    """The newer Prosody."""


class SnippedNewerEjabberd(NewerEjabberd, SnippedEjabberd):
    """The newer ejabberd."""


class _NotFound(BaseHTTPRequestHandler):
    """A web application that knows no user."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class CheckCase(_Mixin):
    """
    A mix-in: the scenarios.

    @cvar kind: the name of the kind of server.
    @cvar pieces: by name.
    """

    serverClass: ClassVar[type[Snipped]]
    kind: ClassVar[str]
    pieces: ClassVar[Mapping[str, Piece]]

    def setUp(self) -> None:
        need(self.serverClass.missing())
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
        thread = threading.Thread(target=self.web.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.web.server_close)
        self.addCleanup(self.web.shutdown)

    def newServer(self) -> Snipped:
        """Return a new server, not started; its folder is that of the gateway as well."""
        server = self.serverClass(Path(tempfile.mkdtemp(prefix="check-")), ("alice",), {})
        self.addCleanup(server.remove)
        return server

    def begin(self, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start C{xmpp-gateway}."""
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for it; return its exit code and its output."""
        try:
            printed, _ = process.communicate(timeout=90)
        finally:
            process.kill()
        self.assertNotIn("Traceback", printed)
        return process.returncode, printed

    def command(self, folder: Path, *arguments: str) -> tuple[int, str]:
        """Run C{xmpp-gateway}; return its exit code and its output."""
        return self.end(self.begin(folder, *arguments))

    def rosterTable(self, server: Snipped) -> dict[str, Value]:
        """Return the table of the rosters."""
        raise NotImplementedError

    def configure(self, server: Snipped) -> str:
        """Write the gateway's configuration; return the server's side of it."""
        tables: dict[str, Mapping[str, Value]] = {
            "server": {
                "endpoint": f"tcp:127.0.0.1:{server.componentPort}",
                "secret": "s3cret",
                "domain": DOMAIN,
            },
            "http": {"listen": f"tcp:{freePort()}:interface=127.0.0.1"},
            f'delegation."{DELEGATE}"': {"servers": [DOMAIN]},
            f'delegation."{DELEGATE}".namespaces."{PRIVATE}"': {"handler": "private-storage"},
            f'roster."{ROSTER}"': {
                "domain": DOMAIN,
                "url": f"http://127.0.0.1:{self.web.server_address[1]}/%s",
                **self.rosterTable(server),
            },
        }
        file = server.directory / "gateway.toml"
        file.write_text(toml({}, tables))
        file.chmod(0o600)
        done = call("snippet", self.kind, "--config", str(file))
        self.assertEqual(done.exit_code, 0, done.output)
        return done.stdout

    def restart(self, server: Snipped, block: str) -> None:
        """Restart a server with another block."""
        server.stop()
        server.block = block
        server.configure()
        server.start()
        asyncio.run(server.ready())

    def test_pieces(self) -> None:
        """With each piece missing in turn, the problems are those of this piece; with all of them there is none."""
        names = [*self.pieces, ""]
        # Several at a time: check waits for some seconds until it calls something missing.
        for some in (names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER)):
            begun = []
            for name in some:
                server = self.newServer()
                block = self.configure(server)
                broken = self.pieces[name][0](block) if name else block
                self.assertEqual(broken != block, bool(name), name)
                self.restart(server, broken)
                begun.append((name, block, server, self.begin(server.directory, "check")))
            for name, block, server, process in begun:
                code, printed = self.end(process)
                server.stop()
                self.assertEqual(code, 1 if name else 0, f"{name}\n{printed}")
                self.assertIn("answers with status 404", printed)
                self._compare(block, self.pieces[name][1] if name else (), f"{name}\n{printed}", printed)

    def _compare(self, block: str, expected: tuple[str, ...], about: str, printed: str) -> None:
        """Compare the problems with the expected ones, and the lines to add with the block."""
        problems = [line.strip() for line in printed.splitlines() if line.startswith("  PROBLEM: ")]
        self.assertEqual(len(problems), len(expected), about)
        for problem, text in zip(problems, expected, strict=True):
            self.assertIn(text, problem, about)
        advice = [line.strip() for line in printed.splitlines() if line.startswith("      ")]
        self.assertEqual(advice != [], expected != (), about)
        for line in advice:
            if not re.search("secret|password|modules_enabled|mod_privilege|^acl|access_rules|^--|^#", line):
                self.assertIn(line.split(" = {")[0], block, about)

    def test_init(self) -> None:
        """From C{init} to a running gateway; then C{check} asks that one."""
        server = self.newServer()
        folder = server.directory
        endpoint = f"--endpoint=tcp:127.0.0.1:{server.componentPort}"
        arguments = (f"--server={self.kind}", f"--domain={DOMAIN}", endpoint, "--service=delegation")
        code, printed = self.command(folder, "init", "--yes", *arguments)
        self.assertEqual(code, 0, printed)
        file = folder / "gateway.toml"
        # Another gateway may use the default port.
        listen = f'[http]\nlisten = "tcp:{freePort()}:interface=127.0.0.1"'
        file.write_text(file.read_text().replace("[http]", listen))
        [written] = folder.glob(f"gateway.{self.kind}.*")
        self.restart(server, written.read_text())
        code, printed = self.command(folder, "check")
        self.assertEqual(code, 0, printed)
        self.assertIn(f"ok: the delegation of {PRIVATE} by {DOMAIN}", printed)
        gateway = Gateway(Path(tempfile.mkdtemp(dir=folder)), 0, "", "", {})
        gateway.config = file
        gateway.httpPort = int(re.findall("tcp:([0-9]+):interface", file.read_text())[-1])
        self.addCleanup(gateway.stop)
        gateway.start()
        asyncio.run(gateway.ready())
        code, printed = self.command(folder, "status")
        self.assertEqual(code, 0, printed)
        self.assertIn(f"{DELEGATE}: connected", printed)
        code, printed = self.command(folder, "state", "backup", "backup.tar")
        self.assertEqual(code, 0, printed)
        code, printed = self.command(folder, "state", "restore", "backup.tar")
        self.assertEqual(code, 1, printed)
        self.assertIn("stop it first", printed)


PROSODY_PIECES: Mapping[str, Piece] = {
    "the component": (without(rf'^Component "{DELEGATE}".*?^}}$'), ("not connected: ",)),
    "the secret": (lambda block: block.replace("s3cret", "other", 1), ("rejects the secret",)),
    "a delegation": (without(rf'^ *\["{PRIVATE}"\].*?$'), (f"missing: the delegation of {PRIVATE} by {DOMAIN}",)),
    "another delegation": (
        without(r'^ *\["jabber:iq:roster"\] = \{ jid.*?$'),
        (f"missing: the delegation of jabber:iq:roster by {DOMAIN}",),
    ),
    "the module on the host": (
        without(r'"delegation", (?=[^\n]*\n    delegations)'),
        (f"missing: the delegation of {PRIVATE}", "missing: the delegation of jabber:iq:roster"),
    ),
    "the module on the component": (
        without(r'^    modules_enabled = \{ "delegation" \};$'),
        (f"missing: the delegation of {PRIVATE} by {DOMAIN}",),
    ),
    "the privilege for pushes": (
        without(r', iq = \{ \["jabber:iq:roster"\] = "set" \}'),
        (f'missing: the privilege iq = "set" for jabber:iq:roster of {DOMAIN}',),
    ),
    "the presence of users": (
        without(r', presence = "roster"'),
        (f'missing: the privilege presence = "roster" of {DOMAIN}',),
    ),
    "all privileges": (
        without(rf'^ *\["{ROSTER}"\] = {{ roster.*?$'),
        (f'missing: the privilege roster = "both" of {DOMAIN}; the privilege presence',),
    ),
    "stanzas from users' addresses": (
        without("^ *validate_from_addresses.*?$"),
        ("missing: stanzas of the component from addresses of users",),
    ),
}


class ProsodyCheckTests(CheckCase, SynchronousTestCase):
    """With Prosody."""

    serverClass = SnippedProsody
    kind = "prosody"
    pieces = PROSODY_PIECES

    def rosterTable(self, server: Snipped) -> dict[str, Value]:
        return {"lock": True, "probes": True}


class NewerProsodyCheckTests(ProsodyCheckTests):
    """With the newer Prosody."""

    serverClass = SnippedNewerProsody


EJABBERD_PIECES: Mapping[str, Piece] = {
    "the component": (without(rf'^ *"{DELEGATE}": {{password.*?$'), ("not connected: ",)),
    "a delegation": (
        without(rf'^  mod_delegation:\n    namespaces:\n *"{PRIVATE}": {{access.*?$'),
        (f"missing: the delegation of {PRIVATE} by {DOMAIN}",),
    ),
    "the presence of users": (
        without("^  mod_privilege:.*?$"),
        (f'missing: the privilege presence = "managed_entity" of {DOMAIN}',),
    ),
    "the API": (
        without(r"^  - port: [0-9]+\n[^\n]*\n    module: ejabberd_http$.*?mod_http_api\}$"),
        ("missing: ejabberd's HTTP API for rosters",),
    ),
    "the permission of the API": (without(", get_roster"), ("missing: ejabberd's HTTP API for rosters",)),
}


class EjabberdCheckTests(CheckCase, SynchronousTestCase):
    """With ejabberd."""

    serverClass = SnippedEjabberd
    kind = "ejabberd"
    pieces = EJABBERD_PIECES

    def rosterTable(self, server: Snipped) -> dict[str, Value]:
        assert isinstance(server, Ejabberd)
        return {"api": f"http://127.0.0.1:{server.apiPort}/api"}


class NewerEjabberdCheckTests(EjabberdCheckTests):
    """With the newer ejabberd."""

    serverClass = SnippedNewerEjabberd
