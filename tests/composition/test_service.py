"""The composition of the gateway, on a reactor in memory."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from twisted.application.service import MultiService, Service
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.composition import checks
from gateway.composition.reader import Config, load
from gateway.composition.reader import Service as ConfiguredService
from gateway.composition.service import ServiceBuilder, check, findPlugins, makeService, read, warnings
from gateway.config.tables import (
    BareJid,
    ClientEndpoint,
    ComponentTable,
    ConfigError,
    DatabaseUrl,
    EmbeddedTable,
    StateTable,
)
from gateway.embedded.host import EmbeddedHost
from gateway.errors import NotGranted
from gateway.http.health import Health
from gateway.interfaces import (
    IConfigCheck,
    IPermissions,
    IPrivileges,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
)
from gateway.proxy.plugin import ProxyPlugin
from gateway.roster.plugin import RosterPlugin
from gateway.state import files
from gateway.stream.link import Link
from tests.disks import smallDisk
from tests.http.test_health import FakeFile

FILE = """
[server]
endpoint = "tcp:xmpp.example.com:5347"
secret = "s3cret"
max_stanza_size = 70000
answer_budget = 80000
max_outgoing_stanza_size = 300000
[proxy."p1.example.com"]
target = "implementation@example.com"
[proxy."p2.example.com"]
target = "implementation@example.com"
endpoint = "unix:/run/own"
secret = "its own"
"""


@implementer(IServicePlugin)
class OtherPlugin:
    """A plugin of other software; its services are made by the test."""

    kind = "strange"
    table = ComponentTable

    def __init__(self, made: Any) -> None:
        self.made = made

    def makeService(self, jid: str, table: ComponentTable, composition: IServiceBuilder) -> Any:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made(composition) if callable(self.made) else self.made


@implementer(IServicePlugin, IConfigCheck)
class CheckedPlugin(OtherPlugin):
    """A plugin whose check finds a problem, and that records its arguments."""

    wrong = ["key: wrong"]

    def check(self, jid: str, table: ComponentTable, environment: IServiceEnvironment) -> list[str]:
        self.made.append((jid, table, environment.stateDir, environment.components))
        return self.wrong


@implementer(IPrivileges)
class FakePrivileges:
    """Privileges that are not those of a link."""


class CrowdedReactor(MemoryReactorClock):
    """A reactor on a machine whose ports are all in use."""

    def listenTCP(self, *arguments: Any, **others: Any) -> Any:
        raise CannotListenError("127.0.0.1", 5290, OSError(98, "Address already in use"))


class ServiceCase(SynchronousTestCase):
    """A folder, a reactor, and a configuration to change."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.reactor = MemoryReactorClock()
        self.logged: list[str] = []

    def config(self, more: str = "") -> Config:
        path = self.folder / "gateway.toml"
        path.write_text(FILE + more)
        return load(path, [ProxyPlugin()], self.reactor)

    def strange(self, *made: Any) -> Config:
        """A configuration whose services are these."""
        config = self.config()
        services = [
            ConfiguredService(
                kind="strange", jid=f"s{number}.example.com", table=ComponentTable(), plugin=OtherPlugin(each)
            )
            for number, each in enumerate(made)
        ]
        return evolve(config, services=tuple(services))

    def start(self, gateway: MultiService) -> None:
        gateway.startService()
        self.addCleanup(gateway.stopService)


class MakeServiceTests(ServiceCase):
    """The composition."""

    def test_names(self) -> None:
        """Each part has a name, under one service."""
        gateway = makeService(self.config(), self.reactor)
        self.assertEqual(
            {service.name for service in gateway}, {"proxy:p1.example.com", "proxy:p2.example.com", "http"}
        )
        self.assertIsInstance(gateway.getServiceNamed("proxy:p1.example.com"), Link)

    def test_notStarted(self) -> None:
        """Nothing connects or listens before the start."""
        makeService(self.config(), self.reactor)
        self.assertEqual(self.reactor.tcpClients + self.reactor.unixClients + self.reactor.tcpServers, [])

    def test_started(self) -> None:
        """After the start each link connects to its own endpoint, and HTTP listens on loopback only."""
        self.start(makeService(self.config(), self.reactor))
        [(host, port, *_)] = self.reactor.tcpClients
        self.assertEqual((host, port), ("xmpp.example.com", 5347))
        [(path, *_)] = self.reactor.unixClients
        self.assertEqual(path, "/run/own")
        [(port, _, _, interface)] = self.reactor.tcpServers
        self.assertEqual((port, interface), (5290, "127.0.0.1"))

    def test_refused(self) -> None:
        """An address in use is reported by its configuration key, in every table."""
        gateway = makeService(self.config(), self.reactor)
        self.start(gateway)
        for name, client, where in (
            ("p1", self.reactor.tcpClients[0][2], "tcp:xmpp.example.com:5347"),
            ("p2", self.reactor.unixClients[0][1], "unix:/run/own"),
        ):
            client.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            link: Any = gateway.getServiceNamed(f"proxy:{name}.example.com")
            self.assertIn(f"nothing listens at {where}: ", link.trouble)

    def test_http(self) -> None:
        """HTTP listens on the configured address and serves both resources; /readyz includes every link."""
        self.start(makeService(self.config('[http]\nlisten = "tcp:81:interface=127.0.0.2"\n'), self.reactor))
        [(port, site, _, interface)] = self.reactor.tcpServers
        self.assertEqual((port, interface), (81, "127.0.0.2"))
        answers = {}
        for path in ("/healthz", "/readyz"):
            transport = StringTransport()
            channel = site.buildProtocol(transport.getPeer())
            channel.makeConnection(transport)
            channel.dataReceived(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answers[path] = transport.value()
        self.assertIn(b" 200 ", answers["/healthz"])
        self.assertIn(b" 503 ", answers["/readyz"])
        self.assertIn(b"p1.example.com: connecting\np2.example.com: connecting\n", answers["/readyz"])

    def test_httpFiles(self) -> None:
        """/readyz and /status include every file that a plugin has made."""
        full = FakeFile("x.db", "the disk is full")
        config = self.strange(lambda composition: composition.databases.append(full) or Service())
        self.start(makeService(config, self.reactor))
        [(_, site, _, _)] = self.reactor.tcpServers
        for path, code in (("/readyz", 503), ("/status", 200)):
            transport = StringTransport(hostAddress=IPv4Address("TCP", "127.0.0.1", 5290))
            channel = site.buildProtocol(transport.getPeer())
            channel.makeConnection(transport)
            channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            self.assertIn(f" {code} ".encode(), transport.value())
            self.assertIn(b"x.db: the disk is full\n", transport.value())

    def test_stateFolder(self) -> None:
        """The folder is readable for the gateway only, and holds keys and stores; a second start keeps all."""
        config = self.config()
        makeService(config, self.reactor)
        self.assertEqual(stat.S_IMODE(config.state_dir.stat().st_mode), 0o700)
        kept = {path.name: path.read_bytes() for path in config.state_dir.iterdir()}
        kinds = ("key", "proxy")
        self.assertEqual(set(kept), {f"{name}.example.com.{kind}" for name in ("p1", "p2") for kind in kinds})
        makeService(self.config(), self.reactor)
        self.assertEqual({path.name: path.read_bytes() for path in config.state_dir.iterdir()}, kept)

    def test_stateFolderUnusable(self) -> None:
        """A file in the place of the folder or of its parent is a configuration error, not a traceback."""
        for name in ("gateway.toml", "gateway.toml/state"):
            config = evolve(self.config(), state_dir=self.folder / name)
            error = self.assertRaises(ConfigError, makeService, config, self.reactor)
            self.assertIn(f"state_dir: {self.folder / name} cannot be created", str(error))

    def test_checked(self) -> None:
        """A check reports the problems that would prevent the start, each by its table, and creates nothing."""
        config = self.config()
        check(config)
        garbage = self.folder / "state"
        garbage.write_text("")
        error = self.assertRaises(ConfigError, check, config)
        found = f"state_dir: {garbage} cannot be created: {garbage} is not a folder"
        self.assertIn(f"{found}; choose another name, or move it away", error.problems)
        garbage.unlink()
        asked: list[Any] = []
        plugin = CheckedPlugin(asked)
        service = ConfiguredService(kind="strange", jid="s.example.com", table=ComponentTable(), plugin=plugin)
        config = evolve(config, services=(*config.services, service))
        error = self.assertRaises(ConfigError, check, config)
        self.assertEqual(error.problems, ['strange."s.example.com".key: wrong'])
        self.assertEqual(
            asked.pop(),
            (
                "s.example.com",
                ComponentTable(),
                str(self.folder / "state"),
                {"p1.example.com", "p2.example.com", "s.example.com"},
            ),
        )
        self.assertEqual([path.name for path in self.folder.iterdir()], ["gateway.toml"])

    def test_checkedOnce(self) -> None:
        """Reading a file checks it, once; making its services does not check it again."""
        asked: list[Any] = []
        plugin = CheckedPlugin(asked)
        self.patch(checks, "findPlugins", lambda: [ProxyPlugin(), plugin])
        path = self.folder / "gateway.toml"
        path.write_text(FILE + '[strange."s.example.com"]\n')
        error = self.assertRaises(ConfigError, read, path, self.reactor)
        self.assertEqual(error.problems, ['strange."s.example.com".key: wrong'])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["gateway.toml"])
        path.write_text(FILE + '[strange."s.example.com"]\nwrong = 1\n')
        error = self.assertRaises(ConfigError, read, path, self.reactor)
        self.assertEqual(error.problems[1:], ['strange."s.example.com".key: wrong'])
        self.assertIn("found an unknown key", error.problems[0])
        plugin.wrong = []
        path.write_text(FILE + '[strange."s.example.com"]\n')
        asked.clear()
        self.patch(plugin, "makeService", lambda *arguments: MultiService())
        makeService(read(path, self.reactor), self.reactor)
        self.assertEqual(len(asked), 1)

    def test_checkedEmbedded(self) -> None:
        """A target on a component of the embedded host is refused like one on any component."""
        path = self.folder / "gateway.toml"
        path.write_text(
            '[embedded.components]\n"echo.localhost" = "x"\n[proxy."p.localhost"]\ntarget = "a@echo.localhost"\n'
        )
        error = self.assertRaises(ConfigError, check, load(path, [ProxyPlugin()], self.reactor))
        self.assertIn('proxy."p.localhost".target: found "a@echo.localhost"', str(error))

    def test_stateFolderReadOnly(self) -> None:
        """A folder that cannot be written to is reported, whether it exists or not; for root as well."""
        config = self.config()
        for folder in ("/proc/nope", "/proc/nope/state", "/proc"):
            error = self.assertRaises(ConfigError, check, evolve(config, state_dir=Path(folder)))
            new = "" if folder == "/proc" else f"{folder} cannot be created: "
            self.assertTrue(str(error).startswith(f"state_dir: {new}/proc is not writable for the gateway's user "))
        with smallDisk(self.folder / "state", "64k") as disk:
            self.assertEqual(check(config), None)
            disk.remount("ro")
            error = self.assertRaises(ConfigError, check, config)
            self.assertIn(f"{disk.path} is not writable for the gateway's user (uid {os.geteuid()})", str(error))
            self.assertIn(": Read-only file system; ", str(error))

    def test_fullDisk(self) -> None:
        """A full disk at the first start leaves no incomplete files; with free space the next start works."""
        config = self.config()
        with smallDisk(self.folder / "state", "256k") as disk:
            disk.fill()
            error = self.assertRaises(ConfigError, makeService, config, self.reactor)
            self.assertIn(".key cannot be created: No space left on device", str(error))
            self.assertEqual([path.name for path in config.state_dir.iterdir()], ["filling"])
            disk.free()
            makeService(config, self.reactor)
            makeService(self.config(), self.reactor)

    def test_fullDiskEmbedded(self) -> None:
        """The same for the certificate of the embedded host."""
        path = self.folder / "gateway.toml"
        path.write_text("")
        config = load(path, [ProxyPlugin()], self.reactor)
        with smallDisk(self.folder / "state", "256k") as disk:
            disk.fill()
            error = self.assertRaises(ConfigError, makeService, config, self.reactor)
            self.assertRegex(str(error), "^state_dir: .* cannot be used: No space left on device")
            self.assertEqual([path.name for path in config.state_dir.iterdir()], ["filling"])
            disk.free()
            makeService(config, self.reactor)

    def test_warnings(self) -> None:
        """Files that every user of the machine can read are reported, once; files for the group are not."""
        (self.folder / "token").write_text("x")
        (self.folder / "token").chmod(0o640)
        config = self.config('key_file = "own.key"\n[http]\ntoken_file = "token"\n')
        self.assertEqual(warnings(config), self.readable("gateway.toml"))
        (self.folder / "gateway.toml").chmod(0o640)
        self.assertEqual(warnings(config), [])
        for name in ("token", "own.key", "state/p1.example.com.key"):
            (self.folder / name).parent.mkdir(exist_ok=True, mode=0o755)
            (self.folder / name).write_text("00" * 32)
            (self.folder / name).chmod(0o644)
        expected = ("state", "state/p1.example.com.key", "own.key", "token")
        self.assertEqual(warnings(config), self.readable(*expected))
        (self.folder / "state" / "p2.example.com.exchanges").write_text("[")
        (self.folder / "state" / "p2.example.com.exchanges").chmod(0o600)
        broken = 'proxy."p2.example.com": ' + str(self.folder / "state" / "p2.example.com.exchanges")
        self.assertEqual(warnings(config)[-1], f"{broken} is not a file of open exchanges: they are lost")
        (self.folder / "state" / "p2.example.com.exchanges").unlink()
        # A folder that is closed to others protects its files.
        (self.folder / "state").chmod(0o750)
        self.assertEqual(warnings(config), self.readable("own.key", "token"))
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        globalLogPublisher.addObserver(self.observe)
        makeService(config, self.reactor)
        self.assertEqual(self.logged, self.readable("own.key", "token"))

    def observe(self, event: Any) -> None:
        if event.get("log_namespace") == "gateway.composition.service":
            self.logged.append(formatEvent(event))

    def readable(self, *names: str) -> list[str]:
        """Return the report about these files."""
        modes = {name: "0755" if name == "state" else "0644" for name in names}
        return [
            f"{self.folder / name} has mode {mode}: every user of this machine can access it; run chmod o= "
            f"{self.folder / name}"
            for name, mode in modes.items()
        ]

    def test_warningsDatabase(self) -> None:
        """The file with a database's password should be readable for few."""
        for name, isSecret in (("u@h/x?sslmode=a", False), ("u:p@h/x", True), ("h/x?password=p", True)):
            url = DatabaseUrl(f"postgresql://{name}")
            config = evolve(self.config(), server=None, services=(), state=StateTable(url=url))
            found = [each for each in warnings(config) if "gateway.toml" in each]
            self.assertEqual(found, self.readable("gateway.toml") if isSecret else [])

    def test_warnings_url(self) -> None:
        """A configuration file is reported if a URL has a query, which may be a secret, and not for other URLs."""
        path = self.folder / "gateway.toml"
        for query, expected in (("", []), ("?key=abc", self.readable("gateway.toml"))):
            path.write_text(
                "[server]\nendpoint = 'tcp:127.0.0.1:5347'\nsecret_file = 'component.secret'\n"
                f"[roster.'roster.example.com']\ndomain = 'example.com'\nurl = 'http://localhost/%s{query}'\n"
            )
            files.write(self.folder / "component.secret", b"s3cret\n")
            self.assertEqual(warnings(load(path, [RosterPlugin()], self.reactor)), expected)

    def test_stores(self) -> None:
        """A store is in the state folder, and included in /readyz; without the folder it is a ConfigError."""
        config = self.config()
        composition = ServiceBuilder(config, None, lambda: Agent(self.reactor), self.reactor)
        error = self.assertRaises(ConfigError, composition.store, "x", ())
        self.assertIn(f"state_dir: {config.state_dir / 'x'} cannot be created: No such file", str(error))
        config.state_dir.mkdir()
        made = composition.store("x", ())
        self.assertEqual(composition.databases, [made])
        self.assertEqual(composition.databases[0].place, str(config.state_dir / "x"))
        self.assertIs(composition.store("x", ()), made)
        self.assertEqual(len(composition.databases), 1)

    def test_database(self) -> None:
        """The deprecated way to get a store: its statements run at each opening, and it has no version."""
        config = self.config()
        config.state_dir.mkdir()
        composition = ServiceBuilder(config, None, lambda: Agent(self.reactor), self.reactor)
        for tables in (("kept",), ("kept", "added")):
            made = composition.database("x", tuple(f"CREATE TABLE IF NOT EXISTS {name} (y)" for name in tables))
            [warning] = self.flushWarnings([self.test_database])
            self.assertEqual(warning["message"], "IServiceBuilder.database is deprecated; use store")
            self.assertEqual(made.atStart(lambda cursor: cursor.execute("PRAGMA user_version").fetchone()), (0,))
            made.atStart(lambda cursor: cursor.execute("INSERT INTO kept VALUES (1)"))
        self.assertEqual(made.atStart(lambda cursor: cursor.execute("SELECT * FROM kept").fetchall()), [(1,), (1,)])
        self.assertEqual(made.atStart(lambda cursor: cursor.execute("SELECT * FROM added").fetchall()), [])
        self.assertIn(made, composition.databases)

    def test_newerStore(self) -> None:
        """A store of a newer release prevents the start; if the service works without it, that is a warning."""
        path = self.folder / "gateway.toml"
        path.write_text(
            f'{FILE}[delegation."d.example.com"]\nservers = ["example.com"]\n'
            '[delegation."d.example.com".namespaces]\n"jabber:iq:private" = { handler = "private-storage" }\n'
        )
        config = load(path, findPlugins(), self.reactor)
        config.state_dir.mkdir(mode=0o700)
        for name in ("d.example.com.private", "p1.example.com.proxy"):
            with closing(sqlite3.connect(config.state_dir / name)) as connection:
                connection.execute("PRAGMA user_version = 9")
            (config.state_dir / name).chmod(0o600)
        error = self.assertRaises(ConfigError, check, config)
        reason = "cannot be used: a newer release of the gateway has changed it (schema version 9; this "
        [problem] = error.problems
        path = config.state_dir / "d.example.com.private"
        self.assertTrue(problem.startswith(f'delegation."d.example.com".state_dir: {path} {reason}'), problem)
        [*_, warning] = warnings(config)
        path = config.state_dir / "p1.example.com.proxy"
        self.assertTrue(warning.startswith(f'proxy."p1.example.com": {path} {reason}'), warning)

    def test_everyProblem(self) -> None:
        """The problems that plugins find are all reported, each by its table."""
        wrong = self.strange(ConfigError(["a: x", "b: y"]), Service(), ConfigError(["c: z"]))
        error = self.assertRaises(ConfigError, makeService, wrong, self.reactor)
        self.assertEqual(
            error.problems,
            [
                'strange."s0.example.com".a: x',
                'strange."s0.example.com".b: y',
                'strange."s2.example.com".c: z',
            ],
        )

    def test_brokenKey(self) -> None:
        """An invalid key file prevents the start: with another key all tokens would change."""
        config = self.config()
        config.state_dir.mkdir()
        (config.state_dir / "p2.example.com.key").write_text("oops")
        error = self.assertRaises(ConfigError, makeService, config, self.reactor)
        [problem] = error.problems
        self.assertTrue(problem.startswith('proxy."p2.example.com".key_file: '), problem)


class HttpServiceTests(ServiceCase):
    """A port that is in use."""

    def test_default(self) -> None:
        """If the default port is in use and not configured, the gateway runs without it."""
        gateway = makeService(self.strange(running := Service()), CrowdedReactor())
        self.start(gateway)
        self.assertTrue(running.running)

    def test_configured(self) -> None:
        """If a configured port is in use, the process ends with the reason."""
        config = self.config('[http]\nlisten = "tcp:5290:interface=127.0.0.1"\n')
        gateway = makeService(evolve(config, services=()), CrowdedReactor())
        error = self.assertRaises(SystemExit, gateway.startService)
        self.assertIn(
            "http.listen: Address already in use: cannot listen on tcp:5290:interface=127.0.0.1", str(error)
        )

    def whole(self, lines: str, listen: str = "tcp:5290:interface=127.0.0.1") -> Any:
        """Return the HTTP server with all services, on the embedded host."""
        path = self.folder / "gateway.toml"
        path.write_text(f'[http]\nlisten = "{listen}"\n{lines}')
        self.patch(sys, "stdout", StringIO())
        gateway = makeService(load(path, findPlugins(), self.reactor), self.reactor)
        return gateway.getServiceNamed("http")._factory

    def ask(self, site: Any, path: str, *headers: str, method: str = "GET") -> int:
        """Return the status of an answer."""
        transport = StringTransport(hostAddress=IPv4Address("TCP", "127.0.0.1", 5290))
        channel = site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        channel.dataReceived("\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode())
        channel.connectionLost(Failure(error.ConnectionDone()))
        return int(transport.value().split()[1])

    def paths(self, resource: Any, path: str = "") -> set[str]:
        """Return all paths, and for each resource one below it."""
        found = {path or "/", f"{path}/", f"{path}/unknown"}
        for name, child in resource.children.items():
            found |= self.paths(child, f"{path}/{name.decode()}")
        return found

    def test_token(self) -> None:
        """With a token, every path except two is 401 without it, and so is every path below, with any method."""
        (self.folder / "token").write_text("s3cret\n")
        site = self.whole('token_file = "token"\n')
        paths = self.paths(site.resource)
        served = {"/status", "/roster_admin/refresh", "/roster_admin/refresh/", "/demo/contacts/"}
        self.assertTrue(served | {"/healthz", "/readyz"} < paths, paths)
        paths |= {"/roster_admin/refresh/alice", "/demo/contacts/alice", "*", "/healthz/", "/%68ealthz", "//readyz"}
        host = "Host: 127.0.0.1:5290"
        for path in paths - {"/healthz", "/readyz"}:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                for wrong in ((), ("Authorization: Bearer wrong",)):
                    self.assertEqual(self.ask(site, path, host, *wrong, method=method), 401, (path, method))
        token = "Authorization: Bearer s3cret"
        for path, code in (("/status", 200), ("/demo/contacts/", 200), ("/demo/contacts/alice", 404), ("/a", 404)):
            self.assertEqual(self.ask(site, path, host, token), code, path)
        self.assertEqual((self.ask(site, "/healthz", host), self.ask(site, "/readyz", host)), (200, 503))

    def test_names(self) -> None:
        """Without a token only programs of this machine are served: no page, and no other name of the listener."""
        site = self.whole('hosts = ["Gateway.example.com"]\n')
        for host, code in (
            ("127.0.0.1:5290", 200),
            ("localhost:5290", 200),
            ("gateway.example.com", 200),
            ("evil.example:5290", 421),
        ):
            for path in ("/status", "/demo/contacts/"):
                self.assertEqual(self.ask(site, path, f"Host: {host}"), code, (host, path))
            self.assertEqual(self.ask(site, "/healthz", f"Host: {host}"), 200)
        for headers in (("Origin: http://evil.example",), ("Sec-Fetch-Site: cross-site",)):
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                refused = self.ask(site, "/demo/contacts/alice", "Host: localhost:5290", *headers, method=method)
                self.assertEqual(refused, 403, (method, headers))

    def test_stop(self) -> None:
        """Stopping closes the port, and does nothing if none is open."""
        for reactor in (MemoryReactorClock(), CrowdedReactor()):
            http = makeService(self.strange(Service()), reactor).getServiceNamed("http")
            http.startService()
            http.stopService()
            self.assertFalse(http.running)

    def test_later(self) -> None:
        """Without C{[http]}, the server is made at the first connection. It serves what services have then."""

        def make(composition: IServiceBuilder) -> Service:
            composition.serve("pages").putChild(b"page", Health())
            return Service()

        gateway = makeService(self.strange(make), self.reactor)
        self.start(gateway)
        [(_, factory, *_)] = self.reactor.tcpServers
        self.assertIsNone(gateway._web)
        codes = [self.ask(factory, path, "Host: localhost") for path in ("/healthz", "/pages/page")]
        self.assertEqual(codes, [200, 200])

    def test_clock(self) -> None:
        """An endless request is ended by the gateway's own clock."""
        self.start(makeService(self.config(), self.reactor))
        [(_, site, *_)] = self.reactor.tcpServers
        transport = StringTransport()
        channel = site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        channel.dataReceived(b"GET / HTTP/1.1\r\n")
        self.reactor.pump([1.0] * 70)
        self.assertTrue(transport.disconnecting or transport.disconnected)


class EmbeddedTests(ServiceCase):
    """The composition without a server."""

    def setUp(self) -> None:
        super().setUp()
        self.shown = StringIO()
        self.patch(sys, "stdout", self.shown)

    def embedded(self) -> Config:
        path = self.folder / "gateway.toml"
        path.write_text('[embedded]\nc2s = "tcp:1:interface=127.0.0.1"\ncomponent = "tcp:2:interface=127.0.0.1"\n')
        return load(path, [ProxyPlugin()], self.reactor)

    def test_names(self) -> None:
        """The host starts first, so that the links can connect to it."""
        gateway = makeService(self.embedded(), self.reactor)
        self.assertEqual([service.name for service in gateway], ["http", "embedded", "proxy:proxy.localhost"])

    def test_wallClock(self) -> None:
        """Its certificate is valid at the time of day."""
        makeService(self.embedded(), self.reactor, lambda: 2e9)
        pem = (self.folder / "state" / "embedded.pem").read_bytes()
        made = x509.load_pem_x509_certificate(pem).not_valid_before_utc.timestamp()
        self.assertTrue(made < 2e9 < made + 2 * 86_400, made)

    def test_fullDisk(self) -> None:
        """A disk that has become full is logged, without a password, and the host still runs."""
        gateway = makeService(self.embedded(), self.reactor)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        logged: list[str] = []
        observer = lambda event: logged.append(formatEvent(event))  # noqa: E731  # a name to remove it by
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(files.os, "fsync", full)
        self.start(gateway)
        self.assertEqual(len(self.reactor.tcpServers), 3)
        [line] = [line for line in logged if "cannot be stored" in line]
        self.assertIn("(No space left on device)", line)
        self.assertEqual([path.name for path in (self.folder / "state").glob("embedded*")], ["embedded.pem"])

    def test_listens(self) -> None:
        """It listens on the configured addresses; its services are printed, but not logged."""
        gateway = makeService(self.embedded(), self.reactor)
        self.assertEqual(self.reactor.tcpServers, [])
        self.start(gateway)
        self.assertEqual(
            [(port, interface) for port, _, _, interface in self.reactor.tcpServers],
            [(5290, "127.0.0.1"), (1, "127.0.0.1"), (2, "127.0.0.1")],
        )
        shown = self.shown.getvalue()
        self.assertIn("proxy       proxy.localhost", shown)
        self.assertRegex(shown, "alice@localhost  password [^ ]{8,}\n")

    def test_link(self) -> None:
        """A link connects to the host with a random secret, or to the endpoint of its own table."""
        own = ComponentTable(endpoint=ClientEndpoint("tcp:example.com:3"), secret="its own")
        config = self.embedded()
        host = EmbeddedHost(EmbeddedTable(), {}, self.folder, self.reactor, self.shown.write)
        composition = ServiceBuilder(config, host, lambda: Agent(self.reactor), self.reactor)
        here = composition.link("a.localhost", ComponentTable())
        given = composition.link("b.localhost", ComponentTable(secret="given"))
        there = composition.link("c.example.com", own)
        self.assertEqual(host.secrets, {"a.localhost": here._secret, "b.localhost": "given"})
        self.assertGreater(len(here._secret), 20)
        self.assertEqual((here.domain, given.domain, there.domain), ("localhost", "localhost", None))
        self.assertEqual(there._secret, "its own")


class CompositionTests(ServiceCase):
    """The object that plugins build services with."""

    def test_interface(self) -> None:
        """It provides its interface."""
        composition = ServiceBuilder(self.config(), None, lambda: Agent(self.reactor), self.reactor)
        verifyObject(IServiceBuilder, composition)
        verifyObject(IServiceEnvironment, composition)
        self.assertEqual(composition.stateDir, str(self.folder / "state"))
        self.assertIs(composition.reactor, self.reactor)
        self.assertEqual(composition.wallClock(), self.reactor.seconds())

    def test_wallClock(self) -> None:
        """The wall clock differs from the reactor's clock if there are two."""
        composition = ServiceBuilder(self.config(), None, lambda: Agent(self.reactor), self.reactor, lambda: 5e8)
        self.assertEqual(composition.wallClock(), 5e8)

    def test_instances(self) -> None:
        """Each link detects other gateways by a unique name."""
        composition = ServiceBuilder(self.config(), None, lambda: Agent(self.reactor), self.reactor)
        marks = {composition.link("a.example.com", ComponentTable(secret="x"))._instances.mark(1) for _ in range(3)}  # type: ignore[union-attr]  # it has one
        self.assertEqual(len(marks), 3)

    def test_link(self) -> None:
        """A link has the secret of its table, otherwise the common one, and the common limit; it is recorded."""
        config = self.config()
        composition = ServiceBuilder(config, None, lambda: Agent(self.reactor), self.reactor)
        links = [composition.link(service.jid, service.table) for service in config.services]
        self.assertEqual([link._secret for link in links], ["s3cret", "its own"])
        self.assertEqual({(link.limits.stanzaSize, link.limits.outgoingSize) for link in links}, {(70000, 300000)})
        for link in links:
            link.budget.charge("bad@example.com", 80_000, 0.0)
            self.assertEqual(link.budget.isOver("bad@example.com", 1.0), False)
            self.assertEqual(link.budget.isOver("bad@example.com", 0.0), True)
        self.assertEqual(composition.links, links)

    def test_answers(self) -> None:
        """The old name of serveDelegatedNamespaces does the same, with a warning."""
        composition = ServiceBuilder(self.config(), None, lambda: Agent(self.reactor), self.reactor)
        calls: list[object] = []
        self.patch(composition, "serveDelegatedNamespaces", lambda *arguments: calls.append(arguments))
        old: Any = composition
        old.answers(link := object(), ["example.com"], handler := object())
        self.assertEqual(calls, [(link, ["example.com"], handler)])
        [warning] = self.flushWarnings([self.test_answers])
        self.assertEqual(warning["category"], DeprecationWarning)
        self.assertIn("serveDelegatedNamespaces", warning["message"])

    def test_privileges(self) -> None:
        """Privileges are those of the link's component, from the named servers only."""
        config = self.config()
        composition = ServiceBuilder(config, None, lambda: Agent(self.reactor), self.reactor)
        link = composition.link("p.example.com", config.services[0].table)
        privileges = composition.privileges(link, ["example.com"])
        self.assertTrue(verifyObject(IPrivileges, privileges))
        self.assertIn(privileges, list(link))
        self.assertEqual(privileges.permissions("example.com").version, "")
        self.assertRaises(NotGranted, privileges.permissions, "example.net")
        self.assertTrue(verifyObject(IPermissions, privileges.permissions("example.com")))
        composition.lend(privileges, "example.com", ["m.example.com"])("m.example.com")
        self.assertRaises(TypeError, composition.lend, FakePrivileges(), "example.com", ["m.example.com"])


class FindPluginsTests(SynchronousTestCase):
    """Finding plugins."""

    def test_ours(self) -> None:
        """The proxy is found like a plugin of other software, and provides its interface."""
        [found] = [plugin for plugin in findPlugins() if plugin.kind == "proxy"]
        verifyObject(IServicePlugin, found)
        self.assertEqual(found.table(target=BareJid("a@b")).target, "a@b")
