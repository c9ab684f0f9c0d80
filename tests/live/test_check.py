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
        for key in ("mod_delegation", "mod_http_api", "mod_admin_extra"):
            del base["modules"][key]
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
        self.folder = Path(tempfile.mkdtemp(prefix="check-"))
        self.server = self.serverClass(self.folder, ("alice", "implementation"), {})
        self.addCleanup(self.server.remove)
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
        thread = threading.Thread(target=self.web.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.web.server_close)
        self.addCleanup(self.web.shutdown)

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run C{xmpp-gateway}; return its exit code and its output."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertNotIn("Traceback", done.stderr)
        return done.returncode, done.stdout + done.stderr

    def rosterTable(self) -> dict[str, Value]:
        """Return the table of the rosters."""
        raise NotImplementedError

    def configure(self) -> None:
        """Write the gateway's configuration."""
        tables: dict[str, Mapping[str, Value]] = {
            "server": {
                "endpoint": f"tcp:127.0.0.1:{self.server.componentPort}",
                "secret": "s3cret",
                "domain": DOMAIN,
            },
            "http": {"listen": f"tcp:{freePort()}:interface=127.0.0.1"},
            f'delegation."{DELEGATE}"': {"servers": [DOMAIN]},
            f'delegation."{DELEGATE}".namespaces."{PRIVATE}"': {"handler": "private-storage"},
            f'roster."{ROSTER}"': {
                "domain": DOMAIN,
                "url": f"http://127.0.0.1:{self.web.server_address[1]}/%s",
                **self.rosterTable(),
            },
        }
        (self.folder / "gateway.toml").write_text(toml({}, tables))
        (self.folder / "gateway.toml").chmod(0o600)

    def restart(self, block: str) -> None:
        """Restart the server with another block."""
        self.server.stop()
        self.server.block = block
        self.server.configure()
        self.server.start()
        asyncio.run(self.server.ready())

    def test_pieces(self) -> None:
        """With each piece missing in turn, the problems are those of this piece; with all of them there is none."""
        self.configure()
        code, block = self.command("snippet", self.kind)
        self.assertEqual(code, 0, block)
        for name, (change, expected) in self.pieces.items():
            broken = change(block)
            self.assertNotEqual(broken, block, name)
            self.restart(broken)
            code, printed = self.command("check")
            problems = [line.strip() for line in printed.splitlines() if line.startswith("  PROBLEM: ")]
            self.assertEqual(code, 1, f"{name}\n{printed}")
            self.assertEqual(len(problems), len(expected), f"{name}\n{printed}")
            for problem, text in zip(problems, expected, strict=True):
                self.assertIn(text, problem, f"{name}\n{printed}")
            advice = [line.strip() for line in printed.splitlines() if line.startswith("      ")]
            self.assertNotEqual(advice, [], f"{name}\n{printed}")
            for line in advice:
                if not re.search("secret|password|modules_enabled|mod_privilege|^acl|access_rules|^--|^#", line):
                    self.assertIn(line.split(" = {")[0], block, f"{name}\n{printed}")
        self.restart(block)
        code, printed = self.command("check")
        self.assertEqual(code, 0, printed)
        self.assertIn("answers with status 404", printed)

    def test_init(self) -> None:
        """From C{init} to a running gateway; then C{check} asks that one."""
        endpoint = f"--endpoint=tcp:127.0.0.1:{self.server.componentPort}"
        arguments = (f"--server={self.kind}", f"--domain={DOMAIN}", endpoint, "--service=delegation")
        code, printed = self.command("init", "--yes", *arguments)
        self.assertEqual(code, 0, printed)
        file = self.folder / "gateway.toml"
        # Another gateway may use the default port.
        listen = f'[http]\nlisten = "tcp:{freePort()}:interface=127.0.0.1"'
        file.write_text(file.read_text().replace("[http]", listen))
        [written] = self.folder.glob(f"gateway.{self.kind}.*")
        self.restart(written.read_text())
        code, printed = self.command("check")
        self.assertEqual(code, 0, printed)
        self.assertIn(f"ok: the delegation of {PRIVATE} by {DOMAIN}", printed)
        gateway = Gateway(Path(tempfile.mkdtemp(dir=self.folder)), 0, "", "", {})
        gateway.config = file
        gateway.httpPort = int(re.findall("tcp:([0-9]+):interface", file.read_text())[-1])
        self.addCleanup(gateway.stop)
        gateway.start()
        asyncio.run(gateway.ready())
        code, printed = self.command("status")
        self.assertEqual(code, 0, printed)
        self.assertIn(f"{DELEGATE}: connected", printed)
        code, printed = self.command("state", "backup", "backup.tar")
        self.assertEqual(code, 0, printed)
        code, printed = self.command("state", "restore", "backup.tar")
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
        without('"delegation", '),
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

    def rosterTable(self) -> dict[str, Value]:
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

    def rosterTable(self) -> dict[str, Value]:
        assert isinstance(self.server, Ejabberd)
        return {"api": f"http://127.0.0.1:{self.server.apiPort}/api"}


class NewerEjabberdCheckTests(EjabberdCheckTests):
    """With the newer ejabberd."""

    serverClass = SnippedNewerEjabberd
