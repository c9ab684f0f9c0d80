"""The lines of each kind of server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import SkipTest
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from gateway.config.values import addressOf
from gateway.requirements import (
    Address,
    Component,
    Delegation,
    Privilege,
    RosterApi,
    ejabberd,
    openfire,
    prosody,
)
from gateway.requirements.servers import SERVERS, recognise


class ServerTests(SynchronousTestCase):
    """Single rules of the servers."""

    def component(self, jid: str, *requirements: Delegation | Privilege | RosterApi, **others: object) -> Component:
        return Component(jid=jid, requirements=requirements, **others)  # type: ignore[arg-type]  # each test gives what fits

    def test_quoted(self) -> None:
        """Strings of Lua and YAML can contain anything."""
        self.assertEqual(prosody.quoted('a"b\\c\n\x7fé'), '"a\\"b\\\\c\\010\\127é"')
        self.assertEqual(json.loads(ejabberd.quoted('a"b\\c\té')), 'a"b\\c\té')
        for text in ("true", "No", "~", "1", "a: b", "null"):
            self.assertEqual(ejabberd.scalar(text), f'"{text}"')
        self.assertEqual(ejabberd.scalar("proxy.example.com"), "proxy.example.com")

    def test_names(self) -> None:
        """Rules have short names, unless two components would share one or the server has it."""
        jids = ("a.x.org", "b.x.org", "b.y-z.org", "local.x.org", "announce.x.org")
        names = ejabberd.ruleNames([Component(jid=each) for each in jids])
        self.assertEqual(
            names,
            {
                "a.x.org": "a",
                "b.x.org": "gateway_b_x_org",
                "b.y-z.org": "gateway_b_y_z_org",
                "local.x.org": "gateway_local_x_org",
                "announce.x.org": "gateway_announce_x_org",
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

    def test_shipped(self) -> None:
        """The lines for ejabberd's API go with its shipped configuration: no module twice, no port twice."""
        lines = "\n".join(ejabberd.part([self.component("r.x.org", RosterApi(None))]))
        self.assertNotRegex(lines, r"(?m)^ *mod_(http_api|admin_extra):")
        self.assertIn("#   mod_http_api: {}\n#   mod_admin_extra: {}", lines)
        [port] = re.findall(r"port: (\d+)", lines)
        self.assertNotIn(port, ("1883", "3478", "5222", "5223", "5269", "5280", "5443", "5478"))
        self.assertEqual(str(urlsplit(ejabberd.API).port), port)

    def test_apiPort(self) -> None:
        """Without a port in its address, the API is at the port of the scheme."""
        for url, port in (("http://127.0.0.1/api", 80), ("https://127.0.0.1/api", 443)):
            self.assertIn(f"  - port: {port}", list(ejabberd.part([self.component("r.x.org", RosterApi(url))])))

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

    def test_lostLists(self) -> None:
        """
        Prosody itself warns if a list of the block replaces that of a host: it does so only outside of braces. The
        global settings belong to no section.
        """
        component = self.component("c.x.org", Delegation("x.org", "urn:1"), secret="s", address=Address(port=1))
        block = prosody.block([component])
        self.assertIn("\n-- ATTENTION: if a VirtualHost below has a list", block)
        heads = re.findall(r"^(\w+|\})(?: .*?)?(\{?)$", block, re.MULTILINE)
        order = [("Component", "{"), ("}", ""), ("component_ports", ""), ("component_interfaces", "")]
        self.assertEqual(heads, [*order, ("VirtualHost", "")])
        self.assertNotIn("ATTENTION", prosody.block([self.component("c.x.org", secret="s")]))
        if shutil.which("prosodyctl") is None:
            raise SkipTest("prosodyctl is not installed")
        # A short path: Prosody 0.12 cannot warn in a file whose path has over 60 characters, and does not start.
        folder = Path(tempfile.mkdtemp(prefix="lists-"))
        self.addCleanup(shutil.rmtree, folder)
        for own, isLost in (('modules_enabled = { "time" }', True), ('name = "x"', False)):
            file = folder / "prosody.cfg.lua"
            log = 'log = { warn = "*console" }'
            file.write_text(f'data_path = "{folder}"\n{log}\nVirtualHost "x.org"\n    {own}\n{block}')
            command = ["prosodyctl", "--root", "--config", str(file), "check", "config"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            self.assertIn("Checking config", done.stdout, done.stderr)
            self.assertEqual("Duplicate option 'modules_enabled'" in done.stdout + done.stderr, isLost)

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
