"""The server's side of a configuration: whole blocks, and their parts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.composition.checks import components, findPlugins
from gateway.composition.reader import load
from gateway.interfaces import IServerConfiguration
from gateway.requirements import Delegation, ForeignSenders, Privilege, RosterApi
from gateway.requirements.servers import SERVERS
from tests.cli.support import call

FOLDER = Path(__file__).parent / "snippets"
CONFIG = FOLDER / "gateway.toml"


class SnippetTests(SynchronousTestCase):
    """C{xmpp-gateway snippet}."""

    def test_golden(self) -> None:
        """
        The whole block for each kind of server. To renew one, look at what has changed:
        xmpp-gateway snippet SERVER --config tests/cli/snippets/gateway.toml
        """
        for server in SERVERS:
            done = call("snippet", server, "--config", str(CONFIG))
            self.assertEqual(done.exit_code, 0, done.output)
            self.assertEqual(done.stdout, (FOLDER / f"{server}.txt").read_text(), server)

    def test_hidden(self) -> None:
        """Secrets can be left out."""
        for server in SERVERS:
            shown = call("snippet", server, "--config", str(CONFIG)).stdout
            hidden = call("snippet", server, "--hide-secrets", "--config", str(CONFIG)).stdout
            self.assertIn("other", shown)
            self.assertNotIn('"other"', hidden)
            self.assertNotIn("s3", hidden)

    def test_chosen(self) -> None:
        """A block of one component has nothing of others; an unknown component is an error."""
        done = call("snippet", "prosody", "--host", "proxy.example.com", "--config", str(CONFIG))
        self.assertIn('Component "proxy.example.com"', done.stdout)
        self.assertNotIn("delegat", done.stdout)
        done = call("snippet", "prosody", "--host", "pub.example.com", "--config", str(CONFIG))
        self.assertEqual(done.exit_code, 1)
        self.assertIn('--host: found "pub.example.com"; allowed: proxy.example.com, ', done.stderr)

    def test_embedded(self) -> None:
        """The embedded host has no such configuration."""
        path = Path(self.mktemp())
        path.write_text("[embedded]\n")
        done = call("snippet", "prosody", "--config", str(path))
        self.assertEqual((done.exit_code, done.stdout), (1, ""))
        self.assertIn(f"{path}: it has no [server]", done.stderr)

    def test_errors(self) -> None:
        """All errors of the configuration file are printed."""
        path = Path(self.mktemp())
        path.write_text('[server]\nendpoint = "tcp:x"\n[proxy."p.example.com"]\n')
        done = call("snippet", "prosody", "--config", str(path))
        self.assertEqual(done.exit_code, 1)
        self.assertIn(f"{path}: 2 errors:\n", done.stderr)
        self.assertIn('proxy."p.example.com".target: found nothing', done.stderr)

    def test_lua(self) -> None:
        """The block for Prosody is a Lua program, and its strings have the right values."""
        lua = shutil.which("lua5.4") or shutil.which("lua")
        if lua is None:
            raise SkipTest("lua is not installed")
        block = call("snippet", "prosody", "--config", str(CONFIG)).stdout
        program = (
            "local function section(name)\n"
            "  return function(t) io.write(name, '=', t.component_secret or '', '\\n') end\nend\n"
            f"VirtualHost, Component = section, section\n{block}\nio.write(component_ports[1], '\\n')"
        )
        done = subprocess.run([lua, "-"], input=program, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.stderr, "")
        self.assertIn('proxy.example.com=s3"c\\ret\n', done.stdout)
        self.assertTrue(done.stdout.endswith("\n5348\n"), done.stdout)

    def test_standby(self) -> None:
        """Prosody lets a new connection of a component with C{standby} end the former one."""
        path = Path(self.mktemp())
        with mock.patch("gateway.state.places.urlProblem", return_value=""):
            path.write_text(
                '[state]\nurl = "postgresql:///x"\n[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s"\n'
                '[rooms."a.example"]\nstandby = true\n[rooms."b.example"]\n'
            )
            block = call("snippet", "prosody", "--config", str(path)).stdout
            other = call("snippet", "ejabberd", "--config", str(path)).stdout
        first, _, second = block.partition('Component "b.example"')
        self.assertIn('    component_conflict_resolve = "kick_old";\n', first)
        self.assertNotIn("kick_old", second + other)

    def test_plugins(self) -> None:
        """All shipped plugins name their requirements, and no requirement is without an effect on some server."""
        for plugin in findPlugins():
            verifyObject(IServerConfiguration, plugin)
        found = components(load(CONFIG, findPlugins(), MemoryReactorClock()))
        kinds = {type(each) for component in found for each in component.requirements}
        self.assertLessEqual({Delegation, Privilege, ForeignSenders, RosterApi}, kinds)
