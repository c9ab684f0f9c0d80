"""The server's side of a configuration: whole blocks, and their parts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.checks import components, findPlugins
from gateway.config import load
from gateway.config.values import addressOf
from gateway.interfaces import IServerConfiguration
from gateway.requirements import (
    Address,
    Component,
    Delegation,
    ForeignSenders,
    Privilege,
    RosterApi,
    ejabberd,
    openfire,
    prosody,
)
from gateway.requirements.servers import SERVERS, recognise
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
        self.assertIn("there is no [server] in this configuration", done.stderr)

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

    def test_plugins(self) -> None:
        """All shipped plugins name their requirements, and no requirement is without an effect on some server."""
        for plugin in findPlugins():
            verifyObject(IServerConfiguration, plugin)
        found = components(load(CONFIG, findPlugins(), MemoryReactorClock()))
        kinds = {type(each) for component in found for each in component.requirements}
        self.assertLessEqual({Delegation, Privilege, ForeignSenders, RosterApi}, kinds)


class ServerTests(SynchronousTestCase):
    """Single rules of the servers."""

    def component(self, jid: str, *requirements: Delegation | Privilege | RosterApi, **others: object) -> Component:
        return Component(jid=jid, requirements=requirements, **others)  # type: ignore[arg-type]

    def test_quoted(self) -> None:
        """Strings of Lua and YAML can contain anything."""
        self.assertEqual(prosody.quoted('a"b\\c\n\x7fé'), '"a\\"b\\\\c\\010\\127é"')
        self.assertEqual(json.loads(ejabberd.quoted('a"b\\c\té')), 'a"b\\c\té')
        for text in ("true", "No", "~", "1", "a: b", "null"):
            self.assertEqual(ejabberd.scalar(text), f'"{text}"')
        self.assertEqual(ejabberd.scalar("proxy.example.com"), "proxy.example.com")

    def test_names(self) -> None:
        """Rules have short names, unless two components would share one or the server has it."""
        jids = ("a.x.org", "b.x.org", "b.y-z.org", "local.x.org")
        names = ejabberd.ruleNames([Component(jid=each) for each in jids])
        self.assertEqual(
            names,
            {
                "a.x.org": "a",
                "b.x.org": "gateway_b_x_org",
                "b.y-z.org": "gateway_b_y_z_org",
                "local.x.org": "gateway_local_x_org",
            },
        )

    def test_sharedRule(self) -> None:
        """One kind of privilege has one rule in ejabberd, which may allow several components."""
        grants = [self.component(f"{name}.x.org", Privilege("x.org", "message", "outgoing")) for name in "ab"]
        lines = "\n".join(ejabberd.part(grants))
        self.assertIn("gateway_message_outgoing: [{allow: a}, {allow: b}]", lines)
        self.assertIn("mod_privilege: {message: {outgoing: gateway_message_outgoing}}", lines)
        self.assertNotIn("presence", lines)

    def test_others(self) -> None:
        """If mod_privilege is loaded, each component gets a privilege: without one, its requests are dropped."""
        grant = self.component("a.x.org", Privilege("x.org", "message", "outgoing"))
        lines = "\n".join(ejabberd.part([grant, self.component("p.x.org")]))
        self.assertIn("presence: {managed_entity: p}", lines)
        self.assertEqual(list(ejabberd.part([self.component("p.x.org")])), [])

    def test_modules(self) -> None:
        """Prosody tells a component its grants only if the modules are loaded on the component as well."""
        for requirement, module in (
            (Delegation("x.org", "urn:1"), "delegation"),
            (Privilege("x.org", "roster", "get"), "privilege"),
        ):
            lines = list(prosody.part([self.component("c.x.org", requirement)]))
            self.assertEqual(lines.count(f'    modules_enabled = {{ "{module}" }};'), 2)
        lines = list(prosody.part([self.component("c.x.org")]))
        self.assertEqual([line for line in lines if "VirtualHost" in line or "modules" in line], [])

    def test_addresses(self) -> None:
        """Listeners are those of the endpoints."""
        for endpoint, address in (
            ("tcp:127.0.0.1:5347", Address(port=5347)),
            ("tcp:host=xmpp.x.org:port=1", Address(host="xmpp.x.org", port=1)),
            ("tls:xmpp.x.org:5348", Address(host="xmpp.x.org", port=5348, isTls=True)),
            ("unix:/run/x", Address(socket="/run/x", host="127.0.0.1")),
            ("tcp:5290:interface=127.0.0.1", Address(port=5290)),
            ("tcp:5290", Address(host="", port=5290)),
            (r"tcp:5290:interface=\:\:1", Address(host="::1", port=5290)),
        ):
            self.assertEqual(addressOf(endpoint), address, endpoint)
        far = [self.component("c.x.org", address=addressOf("tcp:xmpp.x.org:5347"))]
        self.assertIn('component_interfaces = { "*" }', prosody.block(far))
        self.assertIn('ip: "::"', ejabberd.block(far))
        tls = [self.component("c.x.org", address=addressOf("tls:xmpp.x.org:5347"))]
        self.assertIn("Prosody has no TLS for components", prosody.block(tls))
        self.assertIn("    tls: true\n", ejabberd.block(tls))
        unix = [self.component("c.x.org", address=addressOf("unix:/run/x"))]
        self.assertIn('port: "unix:/run/x"', ejabberd.block(unix))
        self.assertIn("UNIX socket", prosody.block(unix))
        self.assertIn("UNIX socket", openfire.block(unix))

    def test_openfire(self) -> None:
        """Openfire takes subdomains of its own domain only, and grants nothing."""
        block = openfire.block([self.component(each, server="x.org") for each in ("a.b.x.org", "c.y.org")])
        self.assertIn("Subdomain: a.b\n", block)
        self.assertIn("c.y.org cannot be used: Openfire appends its own domain", block)
        block = openfire.block([self.component("c.x.org", Delegation("x.org", "urn:1"), server="x.org")])
        self.assertRegex(block, re.compile("grants neither .*the delegation of urn:1 by x.org", re.DOTALL))

    def test_recognised(self) -> None:
        """A server is recognised by its name; versions follow it, and the case differs."""
        for name, key in (("Prosody 13.0.7", "prosody"), ("ejabberd", "ejabberd"), ("Openfire Server", "openfire")):
            self.assertIs(recognise(name), SERVERS[key])
        self.assertIsNone(recognise("Tigase"))
        self.assertIsNone(recognise(""))
