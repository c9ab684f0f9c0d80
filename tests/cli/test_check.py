"""Trying the services of a configuration, with a server in memory; live tests do so with real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.cli.findings import Finding, Observed, findings, written
from gateway.cli.web import Answer
from gateway.reports import StatusItem
from gateway.requirements import Address, Component, Delegation, ForeignSenders, Privilege, RosterApi
from gateway.requirements.servers import SERVERS
from gateway.testing import MemoryGateway
from tests.cli.support import Reachable, call

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\ndomain = "x.org"\n'
PROXY = '[proxy."p.x.org"]\ntarget = "imp@x.org"\n'
PRIVATE = """
[delegation."d.x.org"]
servers = ["x.org"]
[delegation."d.x.org".namespaces]
"jabber:iq:private" = { handler = "private-storage" }
"""
ROSTER = '[roster."r.x.org"]\ndomain = "x.org"\nurl = "http://127.0.0.1:8000/%s"\n'


@define
class Granted:
    """Privileges that a server grants."""

    version: str = ns.PRIVILEGE
    roster: str = "none"
    message: str = "none"
    feed: str = "none"
    pushes: bool = False
    iq: dict[str, str] = field(factory=dict)


NEEDED = (
    Delegation("x.org", "urn:1"),
    Delegation("x.org", "urn:2", ("node",)),
    Privilege("x.org", "roster", "both"),
    Privilege("x.org", "presence", "managed_entity"),
    Privilege("x.org", "message", "outgoing"),
    Privilege("x.org", "iq", "set", "urn:3"),
    ForeignSenders(),
)
COMPONENT = Component(
    jid="c.x.org", kind="test", secret="s3cret", address=Address(port=5347), server="x.org", requirements=NEEDED
)
GOOD: dict[str, Any] = {
    "isConnected": True,
    "delegated": frozenset({("x.org", "urn:1"), ("x.org", "urn:2")}),
    "permissions": {"x.org": Granted(roster="both", message="outgoing", feed="roster", iq={"urn:3": "both"})},
    "maySendForOthers": True,
}


class FindingTests(SynchronousTestCase):
    """The rules."""

    def problems(self, observed: dict[str, Any], server: str | None = "prosody") -> list[Finding]:
        found = findings(COMPONENT, Observed(**observed), None if server is None else SERVERS[server])
        return [each for each in found if each.isProblem]

    def test_good(self) -> None:
        """If everything is granted, there is no problem; what works is named."""
        found = list(findings(COMPONENT, Observed(**GOOD), SERVERS["prosody"]))
        self.assertEqual([each for each in found if each.isProblem], [])
        self.assertEqual(found[0].text, "connected")
        self.assertIn("the delegation of urn:1 by x.org", [each.text for each in found])

    def test_each(self) -> None:
        """Each single requirement that is missing is named, and the lines are those of it alone."""
        granted = GOOD["permissions"]["x.org"]
        for missing, change, lines in (
            (NEEDED[0], {"delegated": frozenset({("x.org", "urn:2")})}, '["urn:1"] = { jid = "c.x.org" }'),
            (NEEDED[1], {"delegated": frozenset({("x.org", "urn:1")})}, 'filtering = { "node" } }'),
            (NEEDED[2], {"roster": "get"}, '["c.x.org"] = { roster = "both" }'),
            (NEEDED[3], {"feed": "none"}, '["c.x.org"] = { presence = "managed_entity" }'),
            (NEEDED[4], {"message": "none"}, '["c.x.org"] = { message = "outgoing" }'),
            (NEEDED[5], {"iq": {"urn:3": "get"}}, '["c.x.org"] = { iq = { ["urn:3"] = "set" } }'),
            (NEEDED[6], {"maySendForOthers": False}, "validate_from_addresses = false;"),
        ):
            changed = dict(GOOD)
            if change.keys() & GOOD.keys():
                changed |= change
            else:
                values = {name: getattr(granted, name) for name in ("roster", "message", "feed", "iq")}
                changed["permissions"] = {"x.org": Granted(**(values | change))}
            [found] = self.problems(changed)
            self.assertEqual(found.text, f"missing: {missing}")
            text = "\n".join(found.lines)
            self.assertIn(lines, text)
            for other in NEEDED[:2]:
                if other is not missing:
                    self.assertNotIn(f'"{other.namespace}"', text)
            self.assertNotIn("secret", text)

    def test_snippet(self) -> None:
        """The lines for a grant are among those of the whole block."""
        for server in ("prosody", "ejabberd"):
            block = SERVERS[server].block([COMPONENT])
            [found] = self.problems(GOOD | {"delegated": frozenset()}, server)
            for line in found.lines:
                if "modules_enabled" not in line:
                    self.assertIn(line, block)

    def test_irrelevant(self) -> None:
        """A grant that a server cannot make, or that it does not need, is not missing."""
        component = Component(
            jid="r.x.org",
            requirements=(
                Privilege("x.org", "roster", "both"),
                Privilege("x.org", "presence", "roster"),
                Privilege("x.org", "iq", "set", ns.ROSTER),
                RosterApi("http://127.0.0.1:5280/api"),
            ),
        )
        granted = {"x.org": Granted(feed="managed_entity")}
        observed = Observed(isConnected=True, permissions=granted)
        for server, count in (("ejabberd", 0), ("prosody", 1)):
            found = [each for each in findings(component, observed, SERVERS[server]) if each.isProblem]
            self.assertEqual(len(found), count, server)

    def test_api(self) -> None:
        """If ejabberd's API does not answer, it is missing, with the reason and all lines; Prosody needs none."""
        api = RosterApi("http://127.0.0.1:5280/api")
        component = Component(jid="r.x.org", address=Address(port=5347), requirements=(api,))
        way = StatusItem("roster.way", "rosters cannot be set: refused\nadvice", {}, isProblem=True)
        observed = Observed(isConnected=True, items=(way,))
        [found] = [each for each in findings(component, observed, SERVERS["ejabberd"]) if each.isProblem]
        self.assertEqual(found.text, "missing: ejabberd's HTTP API for rosters (rosters cannot be set: refused)")
        for line in ("  - port: 5280", "api_permissions:", "#   mod_admin_extra: {}"):
            self.assertIn(line, found.lines)
        self.assertNotIn("    module: ejabberd_service", found.lines)
        [found] = [each for each in findings(component, observed, SERVERS["prosody"]) if each.isProblem]
        self.assertEqual(found, Finding("rosters cannot be set: refused", True, ("advice",)))

    def test_unknown(self) -> None:
        """If the kind of the server is not known, the command that prints the lines is named."""
        [found] = self.problems(GOOD | {"delegated": frozenset()}, None)
        self.assertEqual(found.lines, ("see xmpp-gateway snippet prosody|ejabberd|openfire --host c.x.org",))

    def test_refused(self) -> None:
        """A component that the server does not accept needs its whole section, without the secret."""
        [found] = self.problems({"isConnected": False, "trouble": "the server does not know this component"})
        self.assertEqual(found.text, "not connected: the server does not know this component")
        text = "\n".join(found.lines)
        self.assertIn('Component "c.x.org" {', text)
        self.assertIn("component_ports", text)
        self.assertNotIn("s3cret", text)

    def test_items(self) -> None:
        """Problems that the services report are findings, except those that the requirements cover."""
        items = (
            StatusItem("delegation.missing", "covered", {}, isProblem=True),
            StatusItem("other", "wrong\n    do this", {}, isProblem=True),
            StatusItem("server.software", "x.org is Prosody", {}),
            StatusItem("presence.unused", "x.org grants presence", {}),
            StatusItem("delegation.pending", "open requests: 0", {}),
        )
        found = list(findings(COMPONENT, Observed(**GOOD, items=items), SERVERS["prosody"]))
        self.assertEqual([each for each in found if each.isProblem], [Finding("wrong", True, ("    do this",))])
        for fact in ("x.org is Prosody", "x.org grants presence"):
            self.assertIn(fact, [each.text for each in found])
        self.assertNotIn("open requests: 0", [each.text for each in found])

    def test_conflict(self) -> None:
        """A connection that another process shares is a problem."""
        [found] = self.problems(GOOD | {"trouble": "another gateway is connected"})
        self.assertEqual(found.text, "connected, but another gateway is connected")

    def test_written(self) -> None:
        """Lines to print."""
        found = [Finding("connected"), Finding("missing: a", True, ("x = 1",))]
        self.assertEqual(
            list(written(COMPONENT, found, SERVERS["prosody"])),
            [
                "c.x.org (test)",
                "  ok: connected",
                "  PROBLEM: missing: a",
                "    in the configuration of Prosody:",
                "      x = 1",
            ],
        )


class World(MemoryGateway):
    """A server in memory for the gateway that the command itself runs; it can answer the gateway's requests."""

    def __init__(self) -> None:
        self.refuses = False
        self.reactor = MemoryReactorClock()
        self._sides = {}
        self._others = []
        self._answered = 0
        self.software: tuple[str, str] | None = ("Prosody", "13.0.7")
        self.grants: dict[str, str] = {}
        self.connected: list[str] = []
        self.status = 404
        # The implementing client that answers; the domain that cannot be reached.
        self.client = ""
        self.far = ""
        # A service of ordinary rooms.
        self.conference = ""

    def serve(self) -> None:
        """Accept connections, and answer; called as time passes."""
        self._connect()
        for jid, side in self._sides.items():
            if jid not in self.connected:
                self.connected.append(jid)
                if jid in self.grants:
                    side.send(self.grants[jid])
            for each in side.received():
                self._answer(jid, side, each)
        for call_ in self.calls():
            call_.reply({}, self.status)

    def _answer(self, jid: str, side: Any, each: Any) -> None:
        kind, to, sender = each.get("type"), each.get("to", ""), each.get("from") or jid
        if not each.tag.endswith("iq") or ("@" in to and to != self.client) or not len(each):
            return
        asked = each[0].tag
        head = f"from='{to}' to='{sender}' id='{each.get('id')}'"
        if to == jid:
            # The server routes the component's own request, and the answer to it, to the component.
            payload = f"<query xmlns='{ns.DISCO_INFO}'/>"
            side.send(f"<iq type='{kind}' from='{sender}' to='{to}' id='{each.get('id')}'>{payload}</iq>")
        elif kind != "get":
            return
        elif to.partition("/")[0] == self.far:
            error = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
            side.send(f"<iq type='error' {head}>{error}</iq>")
        elif asked == f"{{{ns.VERSION}}}query" and self.software:
            name, version = self.software
            payload = f"<query xmlns='{ns.VERSION}'><name>{name}</name><version>{version}</version></query>"
            side.send(f"<iq type='result' {head}>{payload}</iq>")
        elif asked == f"{{{ns.DISCO_INFO}}}query":
            identity = "<identity category='server' type='im' name='ejabberd'/>"
            if to == self.conference:
                identity = f"<identity category='conference' type='text'/><feature var='{ns.MUC}'/>"
            payload = f"<query xmlns='{ns.DISCO_INFO}'>{identity}</query>"
            side.send(f"<iq type='result' {head}>{payload}</iq>")
        else:
            error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
            side.send(f"<iq type='error' {head}>{error}</iq>")


def delegating(jid: str, namespace: str) -> str:
    """Return the advertisement of a delegation."""
    return (
        f"<message from='x.org' to='{jid}'><delegation xmlns='urn:xmpp:delegation:2'>"
        f"<delegated namespace='{namespace}'/></delegation></message>"
    )


class CheckTests(SynchronousTestCase):
    """C{xmpp-gateway check}."""

    def setUp(self) -> None:
        self.world = World()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def check(self, tables: str, *arguments: str, gateway: Any = None) -> Any:
        path = self.folder / "gateway.toml"
        path.write_text(tables)
        path.chmod(0o600)
        return call("check", "--config", str(path), *arguments, gateway=gateway, world=self.world)

    def test_invalid(self) -> None:
        """Errors of the file are printed, and nothing is connected."""
        done = self.check(SERVER + PROXY.replace("target", "tarqet"))
        self.assertEqual(done.exit_code, 1)
        self.assertIn("2 errors:", done.stderr)
        self.assertEqual(self.world.connected, [])

    def test_delegation(self) -> None:
        """A delegation that is granted, and one that is not, with the lines for this server."""
        self.world.grants["d.x.org"] = delegating("d.x.org", ns.PRIVATE)
        done = self.check(SERVER + PRIVATE)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  ok: connected\n", done.stdout)
        self.assertIn(f"  ok: the delegation of {ns.PRIVATE} by x.org\n", done.stdout)
        self.assertIn("  ok: x.org is Prosody 13.0.7\n", done.stdout)
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), ["gateway.toml"])
        self.world = World()
        done = self.check(SERVER + PRIVATE)
        self.assertEqual(done.exit_code, 1)
        self.assertIn(f"  PROBLEM: missing: the delegation of {ns.PRIVATE} by x.org\n", done.stdout)
        self.assertIn("    in the configuration of Prosody:\n", done.stdout)
        self.assertIn('["jabber:iq:private"] = { jid = "d.x.org" }', done.stdout)
        self.assertNotIn("ejabberd", done.stdout)

    def test_recognised(self) -> None:
        """A server that does not say its version is recognised by its identity; or it is named."""
        self.world.software = None
        done = self.check(SERVER + PRIVATE)
        self.assertIn("    in the configuration of ejabberd:\n", done.stdout)
        self.assertIn('"jabber:iq:private": {access: d}', done.stdout)
        self.world = World()
        done = self.check(SERVER + PRIVATE, "--server", "ejabberd")
        self.assertIn("    in the configuration of ejabberd:\n", done.stdout)

    def test_down(self) -> None:
        """If nothing listens at the endpoint, that is the finding for each component."""
        self.world.refuses = True
        done = self.check(SERVER + PRIVATE + PROXY)
        self.assertEqual(done.exit_code, 1)
        self.assertEqual(done.stdout.count("  PROBLEM: not connected: "), 2)
        self.assertIn("--host p.x.org", done.stdout)

    def test_proxy(self) -> None:
        """A proxy that nobody implements is a problem."""
        done = self.check(SERVER + PROXY)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("  PROBLEM: resources of imp@x.org that get requests: 0: log in to imp@x.org", done.stdout)
        self.world = World()
        self.world.grants["p.x.org"] = "<presence from='imp@x.org/a' to='p.x.org'/>"
        self.world.client = "imp@x.org/a"
        done = self.check(SERVER + PROXY)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  ok: resources of imp@x.org that get requests: 1\n", done.stdout)

    def test_proxyRequest(self) -> None:
        """A request through the proxy is answered by the implementing client, or not at all."""
        self.world.grants["p.x.org"] = "<presence from='imp@x.org/a' to='p.x.org'/>"
        self.world.client = "imp@x.org/a"
        done = self.check(SERVER + PROXY)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  ok: imp@x.org answers a request with a result\n", done.stdout)
        self.world = World()
        self.world.grants["p.x.org"] = "<presence from='imp@x.org/a' to='p.x.org'/>"
        self.world.client = "imp@x.org/b"
        done = self.check(SERVER + PROXY)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("  PROBLEM: imp@x.org does not answer a request (disco#info) within 10 s\n", done.stdout)

    def test_nodes(self) -> None:
        """Domains of other nodes can be reached, or cannot."""
        rooms = '[rooms."r.x.org"]\npeers = ["near.org", "far.org"]\n'
        self.world.far = "far.org"
        done = self.check(SERVER + rooms)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("  ok: near.org can be reached\n", done.stdout)
        self.assertIn("  PROBLEM: far.org cannot be reached (remote-server-not-found): ", done.stdout)

    def test_backing(self) -> None:
        """The domain in backing is a service of rooms, something else, or does not answer."""
        rooms = '[rooms."r.x.org"]\nbacking = "conf.x.org"\n'
        self.world.conference = "conf.x.org"
        done = self.check(SERVER + rooms)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  ok: conf.x.org is a service of rooms\n", done.stdout)
        self.world = World()
        done = self.check(SERVER + rooms)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("  PROBLEM: conf.x.org is no service of rooms: its disco#info has no ", done.stdout)
        self.world = World()
        self.world.far = "conf.x.org"
        done = self.check(SERVER + rooms)
        self.assertEqual(done.exit_code, 1)
        self.assertIn(
            "  PROBLEM: conf.x.org does not answer a request (disco#info): remote-server-not-found; backing names",
            done.stdout,
        )

    def test_roster(self) -> None:
        """Privileges and the web application."""
        self.world.grants["r.x.org"] = (
            f"<message from='x.org' to='r.x.org'><privilege xmlns='{ns.PRIVILEGE}'>"
            "<perm access='roster' type='both'/><perm access='presence' type='managed_entity'/>"
            "</privilege></message>"
        )
        done = self.check(SERVER + ROSTER)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("  ok: the web application at http://127.0.0.1:8000/%s answers with status 404", done.stdout)
        self.world = World()
        self.world.status = 500
        done = self.check(SERVER + ROSTER)
        self.assertEqual(done.exit_code, 1)
        self.assertRegex(done.stdout, "  PROBLEM: the web application at .* answers with status 500")
        self.assertIn('the privilege roster = "both" of x.org', done.stdout)

    def test_running(self) -> None:
        """If a gateway runs, it is asked, and nothing is connected."""

        class Running(Reachable):
            def __init__(self) -> None:
                self.requests = []
                self.headers = []

            async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
                items = [{"text": "x.org is Prosody", "problem": False}, {"text": "bad\n  do", "problem": True}]
                link = {"component": "p.x.org", "kind": "proxy", "state": "connected", "problem": False}
                return Answer(200, json.dumps({"links": [link | {"items": items}], "files": []}))

        done = self.check(SERVER + PROXY, gateway=Running())
        self.assertEqual(done.exit_code, 1)
        self.assertIn("A gateway runs at http://127.0.0.1:5290; it reports:\n", done.stdout)
        self.assertIn("p.x.org (proxy)\n  ok: connected\n  ok: x.org is Prosody\n  PROBLEM: bad\n", done.stdout)
        self.assertEqual(self.world.connected, [])
        done = self.check(SERVER + PROXY + PRIVATE, gateway=Running())
        self.assertIn("  PROBLEM: d.x.org is not a component of this gateway: restart it", done.stdout)

    def test_embedded(self) -> None:
        """On the embedded host, only the file is checked."""
        done = self.check("[embedded]\n")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("On the embedded host, there is nothing else to check.", done.stdout)
