"""The commands that use a running gateway, and those that only print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

import gateway
from gateway.cli import manual
from gateway.cli.command import COMMANDS, commands
from gateway.cli.web import Answer, RunningGateway, Unreachable
from gateway.composition.reader import Config
from gateway.config.tables import HttpTable, ServerEndpoint
from gateway.testing import MemoryGateway
from tests.cli.support import Reachable, call

ROOT = Path(__file__).resolve().parent.parent.parent
SNIPPETS = Path(__file__).parent / "snippets"
PROXY = '[proxy."proxy.example.com"]\ntarget = "implementation@example.com"\n'
ROSTER = '[roster."{0}"]\ndomain = "{1}"\nurl = "http://localhost/%s"\n'


class Case(SynchronousTestCase):
    """A gateway in memory, and its configuration file."""

    def start(self, tables: str = PROXY) -> Reachable:
        made = MemoryGateway(self.mktemp(), tables)
        self.addCleanup(made.stop)
        self.memory = made
        self.file = str(made.folder / "gateway.toml")
        return Reachable(made)


class PrintTests(SynchronousTestCase):
    """Commands that need no gateway."""

    def test_version(self) -> None:
        """The versions of the gateway and of its parts."""
        done = call("version")
        self.assertEqual(done.exit_code, 0)
        self.assertIn(f"xmpp-gateway {gateway.__version__}\n", done.stdout)
        self.assertRegex(done.stdout, r"\ntwisted \d")

    def test_help(self) -> None:
        """Each command describes itself in a sentence, and is listed in the order of the table."""
        shown = call("--help").stdout
        places = [shown.index(f"\n  {each.name} ") for each in COMMANDS]
        self.assertEqual(places, sorted(places))
        for each in COMMANDS:
            self.assertTrue((each.help and each.help.split("\n")[0].endswith((".", ","))) or "\n" in str(each.help))

    def test_documentation(self) -> None:
        """docs/commands.md lists all commands."""
        page = (ROOT / "docs" / "commands.md").read_text()
        rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        listed = {name for row in rows for name in re.findall(r"`(\w+)", row)}
        self.assertLessEqual({str(each.name) for each in COMMANDS}, listed)

    def test_completion(self) -> None:
        """A script for each shell names the command."""
        for shell in ("bash", "zsh", "fish"):
            done = call("completion", shell)
            self.assertEqual(done.exit_code, 0, done.output)
            self.assertIn("_XMPP_GATEWAY_COMPLETE", done.stdout)
        self.assertEqual(call("completion", "ksh").exit_code, 2)

    def test_manual(self) -> None:
        """The manual page in docs/ is that of the commands; to renew it, write `xmpp-gateway manual` there."""
        page = manual.page(commands)
        self.assertEqual((ROOT / "docs" / "xmpp-gateway.1").read_text(), page)
        self.assertEqual(call("manual").stdout, page)
        for each in COMMANDS:
            self.assertIn(f".SS {each.name} ", page)
        self.assertEqual([line for line in page.split("\n") if line.startswith("'")], [])

    def test_manualOfAny(self) -> None:
        """Text that roff would read as a request is printed as it is."""

        @click.command
        def odd() -> None:
            r""".x a\b-c"""

        self.assertIn("\n\\&.x a\\eb\\-c\n", manual.page(odd))


class RunTests(SynchronousTestCase):
    """The gateway itself; tests/test_packaging.py runs it as a process."""

    def test_arguments(self) -> None:
        """Options are those of the verb of twistd, which stays in the foreground and writes no pid file."""
        ran: list[list[str]] = []
        self.patch(twistd, "run", lambda: ran.append(sys.argv))
        self.patch(sys, "argv", [])
        for arguments in ((), ("--config", "x"), ("--check",)):
            self.assertEqual(call("run", *arguments).exit_code, 0)
            self.assertEqual(ran.pop(), ["twistd", "--nodaemon", "--pidfile=", "gateway", *arguments])


class ProcessTests(SynchronousTestCase):
    """The command in a process of its own."""

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def test_exit(self) -> None:
        """Errors are on standard error, without a traceback, and the exit status is 1."""
        file = Path(self.mktemp())
        file.write_text('[embedded]\n[http]\nlisten = "tcp:9:interface=127.0.0.1"\n')
        with self.begin("status", "--config", str(file)) as process:
            out, err = process.communicate(timeout=30)
        self.assertEqual((process.returncode, out), (1, b""))
        self.assertTrue(err.startswith(b"no gateway answers at http://127.0.0.1:9: "), err)
        self.assertEqual(err.count(b"\n"), 1)

    def test_pipe(self) -> None:
        """If the reader of the output ends, the command ends without a word."""
        with self.begin("snippet", "prosody", "--config", str(SNIPPETS / "gateway.toml")) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
            self.assertEqual(process.wait(30), 1)


class StatusTests(Case):
    """C{xmpp-gateway status}."""

    def test_text(self) -> None:
        """The text of /status; the exit status is that of /readyz."""
        running = self.start()
        self.memory.server("proxy.example.com")
        self.memory.wait(1)
        done = call("status", "--config", self.file, gateway=running)
        self.assertEqual((done.exit_code, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("proxy.example.com: connected\n"), done.stdout)
        self.memory.refuses = True
        self.memory.server("proxy.example.com").lose()
        done = call("status", "--config", self.file, gateway=running)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("Not ready:\nproxy.example.com: ", done.stderr)

    def test_json(self) -> None:
        """With --json, the gateway is asked for JSON."""
        running = self.start()
        call("status", "--json", "--config", self.file, gateway=running)
        self.assertEqual(running.headers[0]["accept"], "application/json")

    def test_none(self) -> None:
        """If no gateway answers, that is the error."""
        self.start()
        done = call("status", "--config", self.file)
        self.assertEqual((done.exit_code, done.stdout, done.stderr), (1, "", "no gateway answers\n"))


class RefreshTests(Case):
    """C{xmpp-gateway refresh}."""

    def application(self, document: object, status: int = 200) -> None:
        """Answer requests of the gateway for contacts whenever it sends some."""
        wait = self.memory.wait

        def waiting(seconds: float) -> None:
            wait(seconds)
            for each in self.memory.calls():
                each.reply(document, status)
            wait(1)

        self.patch(self.memory, "wait", waiting)

    def test_failed(self) -> None:
        """Users who could not be refreshed are printed with the reason, and the exit status is 1."""
        running = self.start(ROSTER.format("roster.example.com", "example.com"))
        self.application({})
        done = call("refresh", "ann", "tom", "--config", self.file, gateway=running)
        self.assertEqual(done.exit_code, 1)
        self.assertIn("roster update failed; users: 0, failed: 2\n", done.stdout)
        self.assertIn("  ann: ", done.stderr)
        self.assertIn("  tom: ", done.stderr)
        self.assertEqual(running.requests[0], ("POST", "/roster_admin/example.com/refresh"))
        self.assertEqual(running.requests[1][0], "GET")
        self.assertEqual(running.headers[0]["prefer"], "respond-async")

    def test_shown(self) -> None:
        """A result has its numbers; the changes of a dry run are a line each."""
        items = [
            {"jid": "bob@x.org", "name": "Böb", "groups": ["A", "B"], "subscription": "both"},
            {"jid": "eve@x.org", "subscription": "remove"},
        ]
        running = self.start(ROSTER.format("roster.example.com", "example.com"))
        document = {"message": "dry run", "status": "ok", "updated": 2, "errors": 0, "offline": ["tom"]}
        changes = {"ann": items, "joe": [], "max": items[1:] * 21}

        async def answered(method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
            return Answer(200, json.dumps({**document, "changes": changes}))

        self.patch(running, "request", answered)
        done = call("refresh", "ann", "--dry-run", "--config", self.file, gateway=running)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(
            done.stdout.splitlines()[:4],
            [
                "dry run; users: 2, offline, not refreshed now: 1",
                '  ann: set bob@x.org: name Böb, groups ["A", "B"], subscription both',
                "  ann: remove eve@x.org",
                "  joe: no change",
            ],
        )
        self.assertTrue(done.stdout.endswith("  max: ... and 1 further changes\n"), done.stdout)

    def test_options(self) -> None:
        """Options are those of the HTTP resource; names can come from standard input."""
        running = self.start(ROSTER.format("roster.example.com", "example.com"))
        sent: list[bytes] = []
        request = running.request

        async def recorded(method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
            sent.append(body)
            return await request(method, path, body, **headers)

        self.patch(running, "request", recorded)
        self.application({})
        arguments = ("refresh", "ann", "--dry-run", "--force", "--stdin", "--config", self.file)
        call(*arguments, gateway=running, text="tom\n\n eve \n")
        self.assertEqual(running.requests[0][1], "/roster_admin/example.com/refresh?dry_run=1&force=1")
        self.assertEqual(json.loads(sent[0]), ["ann", "tom", "eve"])

    def test_signed(self) -> None:
        """If the gateway requires signatures, the requests have them."""
        table = ROSTER.format("roster.example.com", "example.com") + 'signature_secret = "hush"\n'
        running = self.start(table)
        self.application({})
        arguments = ("refresh", "ann", "--dry-run", "--config", self.file)
        done = call(*arguments, gateway=running, reactor=self.memory.reactor)
        self.assertIn("  ann: ", done.stderr)
        self.assertNotIn("signature", done.output)

    def test_usage(self) -> None:
        """Wrong calls: no user; no roster; several domains and none named."""
        running = self.start()
        self.assertEqual(call("refresh", "--config", self.file, gateway=running).exit_code, 2)
        done = call("refresh", "ann", "--config", self.file, gateway=running)
        self.assertIn("no [roster] table", done.stderr)
        two = ROSTER.format("one.example.com", "example.com") + ROSTER.format("two.example.net", "example.net")
        running = self.start(two)
        done = call("refresh", "ann", "--config", self.file, gateway=running)
        self.assertIn("--domain: found nothing; allowed: example.com, example.net", done.stderr)
        self.application({})
        call("refresh", "ann", "--domain", "example.net", "--config", self.file, gateway=running)
        self.assertEqual(running.requests, [("POST", "/roster_admin/example.net/refresh"), running.requests[1]])


class WebTests(TestCase):
    """The connection to a running gateway, over real sockets."""

    async def listening(self, listen: str, site: Site) -> str:
        port: Any = await serverFromString(reactor, listen).listen(site)
        self.addCleanup(port.stopListening)
        return listen.replace(":0:", f":{port.getHost().port}:") if listen.startswith("tcp") else listen

    def running(self, listen: str, token: str | None = None) -> RunningGateway:
        http = HttpTable(listen=ServerEndpoint(listen), token_file=token)
        config = Config(state_dir=Path(), server=None, embedded=None, http=http, services=())
        return RunningGateway(config, reactor)

    async def test_request(self) -> None:
        """A request has the token, and the answer its status and headers; over TCP and over a UNIX socket."""
        seen: list[Any] = []

        class Page(Resource):
            isLeaf = True

            def render_POST(self, request: Request) -> bytes:
                assert request.content is not None
                seen.append((request.uri, request.getHeader(b"authorization"), request.content.read()))
                request.setResponseCode(202)
                request.setHeader(b"x-test", b"yes")
                return b'{"a": 1}'

        token = Path(self.mktemp())
        token.write_text("hush\n")
        site = Site(Page())
        for listen in ("tcp:0:interface=127.0.0.1", f"unix:{Path(self.mktemp()).name[:20]}"):
            gateway = self.running(await self.listening(listen, site), str(token))
            answer = await Deferred.fromCoroutine(gateway.request("POST", "/x?y=1", b"body"))
            self.assertEqual((answer.status, answer.document, answer.headers["x-test"]), (202, {"a": 1}, "yes"))
        self.assertEqual(seen, [(b"/x?y=1", b"Bearer hush", b"body")] * 2)

    async def test_refused(self) -> None:
        """No gateway, a wrong token, and a port that is not known."""
        listen = await self.listening("tcp:0:interface=127.0.0.1", Site(Resource()))
        closed = self.running("tcp:1:interface=127.0.0.1")
        with self.assertRaisesRegex(Unreachable, "http://127.0.0.1:1: Connection refused. Start it with twistd"):
            await Deferred.fromCoroutine(closed.request("GET", "/status"))
        self.assertFalse(await Deferred.fromCoroutine(closed.isThere()))
        with self.assertRaisesRegex(Unreachable, "port 0"):
            await Deferred.fromCoroutine(self.running("tcp:0:interface=127.0.0.1").request("GET", "/status"))

        class Closed(Resource):
            isLeaf = True

            def render_GET(self, request: Request) -> bytes:
                request.setResponseCode(401)
                return b"The token of http.token_file is required"

        listen = await self.listening("tcp:0:interface=127.0.0.1", Site(Closed()))
        with self.assertRaisesRegex(Unreachable, "refuses this command: The token"):
            await Deferred.fromCoroutine(self.running(listen).request("GET", "/status"))
