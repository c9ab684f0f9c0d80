"""The table of a managing entity: the services that it makes, and the errors of bad tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from wokkel.disco import DiscoHandler
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.composition.reader import Config, load
from gateway.config.tables import ConfigError, Domain, Jids, Namespace
from gateway.delegation.advice import howToGrant, importAdvice
from gateway.delegation.delegations import Delegation
from gateway.delegation.handler import ManagingHandler
from gateway.delegation.plugin import DelegationPlugin, PrivateStoragePlugin
from gateway.delegation.private import PrivateStorage
from gateway.delegation.readthrough import ReadThrough
from gateway.delegation.tables import DelegationTable, NamespaceTable
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IDelegatedNamespace,
    IDelegationPlugin,
    IImportingPlugin,
    IServicePlugin,
    ITourStop,
)
from gateway.state import faults
from gateway.state.database import Database
from gateway.state.migrations import Migrations
from gateway.state.sqlite import SqliteBackend
from tests.delegation.support import COMPONENT, HOST, PUBSUB, FakeNamespace
from tests.proxy.test_plugin import FakeServiceBuilder

ROOT = Path(__file__).resolve().parent.parent.parent
SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n'
TABLE = f'[delegation."{COMPONENT}"]\nservers = ["{HOST}"]\n'
NAMESPACES = f'[delegation."{COMPONENT}".namespaces]\n'


class FakePlugin:
    """Makes handlers, and keeps the namespaces that it made them for."""

    name = "fake"

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def makeHandler(self, jid: str, link: Any, composition: Any) -> FakeNamespace:
        self.made.append((jid, link))
        return FakeNamespace(lambda request: None, frozenset({PUBSUB, "urn:2"}))


class ServiceBuilder(FakeServiceBuilder):
    """A builder with two plugins."""

    isEmbedded = False

    def __init__(self, stateDir: str) -> None:
        super().__init__(stateDir)
        self.fake = FakePlugin()
        self.lent: object = None
        self.arrived: list[str] = []

    def delegationPlugins(self) -> dict[str, Any]:
        return {"fake": self.fake, "private-storage": PrivateStoragePlugin()}

    def store(self, name: str, migrations: Migrations) -> Database:
        return Database(SqliteBackend(Path(self.stateDir, name), migrations), self.reactor)

    def hasStore(self, name: str) -> bool:
        return Path(self.stateDir, name).exists()

    def storeProblem(self, name: str, migrations: Migrations) -> str:
        return faults.problem(Path(self.stateDir, name), migrations)

    def privileges(self, link: Any, servers: Any) -> None:
        self.privileged = link, servers

    def lend(self, privileges: Any, server: str, entities: Any) -> Any:
        self.lent = server, set(entities)
        return self.arrived.append


class ComposeCase(SynchronousTestCase):
    """A state folder, and a builder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.composition: Any = ServiceBuilder(str(self.folder))

    def table(
        self, servers: tuple[str, ...] = (HOST,), lent: tuple[str, ...] = (), **namespaces: NamespaceTable
    ) -> DelegationTable:
        """Return a table with these namespaces; C{a} to C{z} stand for C{urn:a} and so on."""
        spelled = {"pubsub": PUBSUB, "private": ns.PRIVATE}
        return DelegationTable(
            servers=frozenset(map(Domain, servers)),
            lend_privileges=frozenset(map(Domain, lent)),
            namespaces={Namespace(spelled.get(name, f"urn:{name}")): each for name, each in namespaces.items()},
        )

    def compose(self, **given: Any) -> Any:
        return DelegationPlugin().makeService(COMPONENT, self.table(**given), self.composition)

    def problems(self, **given: Any) -> list[str]:
        """Return the problems that the check finds, or else those that making the service raises."""
        found = DelegationPlugin().check(COMPONENT, self.table(**given), self.composition)
        if not found:
            error: Any = self.assertRaises(ConfigError, self.compose, **given)
            found = error.problems
        return list(found)


def handled(name: str) -> NamespaceTable:
    """Return a namespace with a handler."""
    return NamespaceTable(handler=name)


class ComposedTests(ComposeCase):
    """The services that are made."""

    def test_interfaces(self) -> None:
        """The plugins provide the interfaces that third parties implement."""
        verifyObject(IServicePlugin, DelegationPlugin())
        verifyObject(ITourStop, DelegationPlugin())
        verifyObject(IConfigCheck, DelegationPlugin())
        verifyObject(IDelegationPlugin, PrivateStoragePlugin())
        verifyObject(IImportingPlugin, PrivateStoragePlugin())
        verifyObject(IConfigWarnings, DelegationPlugin())
        for plugin in (DelegationPlugin(), PrivateStoragePlugin()):
            self.assertTrue(IPlugin.providedBy(plugin))
        self.assertEqual((DelegationPlugin.kind, PrivateStoragePlugin.name), ("delegation", "private-storage"))

    def managing(self, link: Any) -> Any:
        [found] = [each for each in link if isinstance(each, ManagingHandler)]
        self.assertEqual(len([each for each in link if isinstance(each, DiscoHandler)]), 1)
        return found

    def test_handlers(self) -> None:
        """One handler serves all of its namespaces and is made with the link; each namespace has its own route."""
        more: Any = {"2": handled("fake")}
        link = self.compose(pubsub=handled("fake"), private=handled("private-storage"), **more)
        routes = self.managing(link)._routes
        self.assertEqual(set(routes), {PUBSUB, "urn:2", ns.PRIVATE})
        self.assertIs(routes[PUBSUB].handler, routes["urn:2"].handler)
        self.assertIsInstance(routes[ns.PRIVATE].handler, PrivateStorage)
        self.assertEqual(self.composition.fake.made, [(COMPONENT, link)])
        self.assertEqual(self.composition.privileged, (link, {HOST}))
        self.assertEqual([each.delegation for each in routes.values()], [None] * 3)

    def test_onward(self) -> None:
        """Forwarded namespaces with their managing entities, and those that are not forwarded."""
        link = self.compose(
            pubsub=NamespaceTable(handler="fake", jid=Jids(("a.x", "b@y")), filtering=frozenset({"node"})),
            z=NamespaceTable(jid=Jids(("a.x",))),
        )
        routes = self.managing(link)._routes
        self.assertEqual(routes[PUBSUB].delegation, Delegation(PUBSUB, ("a.x", "b@y"), frozenset({"node"})))
        self.assertIsNotNone(routes[PUBSUB].handler)
        self.assertEqual(routes["urn:z"].delegation, Delegation("urn:z", ("a.x",)))
        self.assertIsNone(routes["urn:z"].handler)

    def test_lent(self) -> None:
        """
        Privileges are advertised to a managing entity that is lent them, once it is available; by default there are
        none.
        """
        handedOn = NamespaceTable(jid=Jids(("a.x", "b.x")))
        self.compose(z=handedOn)
        self.assertIsNone(self.composition.lent)
        link = self.compose(lent=("a.x",), z=handedOn)
        self.assertEqual(self.composition.lent, (HOST, {"a.x"}))
        forwarder = self.managing(link)._forwarder
        forwarder._setAvailable(forwarder._contacts["a.x"], "a.x")
        self.assertEqual(self.composition.arrived, ["a.x"])

    def test_privateFile(self) -> None:
        """The file is in the state folder, has the component's name, and only its owner can read it."""
        self.compose(private=handled("private-storage"))
        [path] = self.folder.iterdir()
        self.assertEqual((path.name, path.stat().st_mode & 0o777), (f"{COMPONENT}.private", 0o600))
        made = PrivateStoragePlugin().makeHandler(COMPONENT, None, self.composition)  # type: ignore[arg-type]  # unused
        verifyObject(IDelegatedNamespace, made)

    def test_importing(self) -> None:
        """Only with C{import = true} a handler on the link asks the server."""
        for imports in (False, True):
            table = NamespaceTable(handler="private-storage", import_=imports)
            link = self.compose(private=table)
            sources = [each for each in link if isinstance(each, ReadThrough)]
            self.assertEqual(len(sources), imports)
            handler = self.managing(link)._routes[ns.PRIVATE].handler
            self.assertEqual([handler._source], sources or [None])

    def test_demonstration(self) -> None:
        """The demonstration of the embedded host can be composed."""
        [(jid, table)] = DelegationPlugin().demoTables("localhost").items()
        self.assertEqual((jid, table["servers"]), ("delegate.localhost", ["localhost"]))
        self.assertEqual(table["namespaces"], {ns.PRIVATE: {"handler": "private-storage"}})


class ProblemTests(ComposeCase):
    """Errors in the table."""

    def test_nothing(self) -> None:
        """Missing servers and missing namespaces are both reported."""
        one, two = self.problems(servers=())
        self.assertIn("servers: found none", one)
        # A component without delegations by an administrator needs no server.
        table = evolve(self.table(servers=()), users=frozenset({Domain("x.lit")}))
        [problem] = DelegationPlugin().check(COMPONENT, table, self.composition)
        self.assertIn("namespaces: found none", problem)
        self.assertIn("namespaces: found none", two)

    def test_each(self) -> None:
        """Each error names its key and the allowed values."""
        jid = Jids(("a.x",))
        filtering = frozenset({"node"})
        for given, said in (
            ({"x": NamespaceTable()}, 'namespaces."urn:x": found neither handler nor jid'),
            (
                {"x": handled("nobody")},
                'namespaces."urn:x".handler: found "nobody"; allowed: the name of a plugin: fake, private-storage',
            ),
            (
                {"pubsub": NamespaceTable(handler="fake", jid=jid)},
                f'namespaces."{PUBSUB}".handler: found together with jid; allowed: both only with filtering',
            ),
            (
                {"pubsub": NamespaceTable(handler="fake", filtering=filtering)},
                f'namespaces."{PUBSUB}".filtering: found without jid',
            ),
            (
                {"x": NamespaceTable(jid=Jids(("a.x", COMPONENT)))},
                'namespaces."urn:x".jid: found the component itself; allowed: other managing entities',
            ),
            ({"x": handled("fake")}, 'namespaces."urn:x".handler: found fake, which only serves '),
            (
                {"pubsub": NamespaceTable(handler="fake", import_=True)},
                f'namespaces."{PUBSUB}".import: found true with handler = "fake"; allowed: with a handler',
            ),
            (
                {"x": NamespaceTable(jid=jid, import_=True)},
                'namespaces."urn:x".import: found true with no handler; allowed: with a handler that supports it',
            ),
            (
                {"x": NamespaceTable(jid=jid), "lent": ("a.x", "b.x")},
                'lend_privileges: found "b.x"; allowed: components that are a jid in namespaces',
            ),
            ({"pubsub": handled("fake"), "lent": (COMPONENT,)}, f'lend_privileges: found "{COMPONENT}"; allowed: '),
            (
                {"x": NamespaceTable(jid=jid), "lent": ("a.x",), "servers": (HOST, "montaigu.lit")},
                "lend_privileges: found 2 servers; allowed: one, the server whose privileges are lent",
            ),
        ):
            with self.subTest(said):
                [problem] = self.problems(**given)
                self.assertIn(said, problem)

    def test_all(self) -> None:
        """All errors are reported at once."""
        found = self.problems(x=NamespaceTable(), z=handled("nobody"), y=NamespaceTable(jid=Jids((COMPONENT,))))
        self.assertEqual(len(found), 3)

    def test_privateNamespace(self) -> None:
        """Private storage for another namespace is reported before anything is made, so also by C{--check}."""
        table = self.table(private=handled("private-storage"), x=handled("private-storage"))
        found = f"found private-storage, which only serves {ns.PRIVATE}; correct the namespace or the handler"
        problems = DelegationPlugin().check(COMPONENT, table, self.composition)
        self.assertEqual(problems, [f'namespaces."urn:x".handler: {found}'])

    def test_file(self) -> None:
        """A private storage file that cannot be used is an error of the table; a missing file is not."""
        path = self.folder / f"{COMPONENT}.private"
        table = self.table(private=handled("private-storage"))
        self.assertEqual(DelegationPlugin().check(COMPONENT, table, self.composition), [])
        self.assertFalse(path.exists())
        path.write_bytes(b"something else, and long enough to be read" * 100)
        [problem] = DelegationPlugin().check(COMPONENT, table, self.composition)
        self.assertTrue(problem.startswith(f"state_dir: {path} cannot be used: file is not a database"), problem)
        table = self.table(pubsub=handled("fake"))
        self.assertEqual(DelegationPlugin().check(COMPONENT, table, self.composition), [])


class WarningTests(ComposeCase):
    """Warnings before the first start."""

    def warnings(self, **given: Any) -> list[str]:
        return DelegationPlugin().warnings(COMPONENT, self.table(**given), self.composition)

    def test_hidden(self) -> None:
        """
        Until the first start, a warning says that the server's data will be hidden, and names the documentation.
        """
        [found] = self.warnings(private=handled("private-storage"))
        self.assertIn(f'namespaces."{ns.PRIVATE}": users will no longer see the data that they have stored', found)
        self.assertIn('set "import = true"; otherwise see docs/delegation.md, "What the server had stored"', found)
        self.assertIn("### What the server had stored\n", (ROOT / "docs" / "delegation.md").read_text())
        self.assertEqual(list(self.folder.iterdir()), [])
        self.compose(private=handled("private-storage"))
        self.assertEqual(self.warnings(private=handled("private-storage")), [])

    def test_advice(self) -> None:
        """
        The advice to delegate private storage warns of that first; the advice for other namespaces has no warning.
        """
        found = howToGrant(COMPONENT, HOST, {ns.PRIVATE: ()})
        self.assertTrue(found.startswith(f"Delegating {ns.PRIVATE} hides the data that users have stored"), found)
        self.assertTrue(howToGrant(COMPONENT, HOST, {PUBSUB: ()}).startswith("In Prosody's configuration:"))

    def test_adviceForServer(self) -> None:
        """If the server is known, the advice has its lines only."""
        both = howToGrant(COMPONENT, HOST, {PUBSUB: ()})
        self.assertIn("\nor in ejabberd's:\n", both)
        for software, begins in (
            ("Prosody 13.0.7", "In Prosody's configuration:\n"),
            ("ejabberd 26.07", "In ejabberd's configuration:\n"),
            ("Openfire 5", "Openfire cannot delegate"),
            ("xmpp-gateway embedded host 1", "The embedded host delegates for its own domain only"),
        ):
            found = howToGrant(COMPONENT, HOST, {PUBSUB: ()}, software)
            self.assertTrue(found.startswith(begins), found)
            lines = found.split("\n")[1:]
            self.assertTrue(set(lines) < set(both.split("\n")), found)
            self.assertEqual("mod_delegation" in found, software.startswith("ejabberd"))
        self.assertEqual(howToGrant(COMPONENT, HOST, {PUBSUB: ()}, "Metronome 4"), both)
        for software, isAsked in (("", True), ("Prosody 0.12.3", True), ("ejabberd 23.01", False)):
            found = importAdvice(COMPONENT, HOST, software)
            self.assertEqual("VirtualHost" in found, isAsked)
            self.assertEqual("cannot be asked" in found, not software.startswith("Prosody"))

    def test_none(self) -> None:
        """No warning with import, for other namespaces, or on the embedded host."""
        self.assertEqual(self.warnings(private=NamespaceTable(handler="private-storage", import_=True)), [])
        self.assertEqual(self.warnings(pubsub=handled("fake"), private=handled("nobody")), [])
        self.composition.isEmbedded = True
        self.assertEqual(self.warnings(private=handled("private-storage")), [])


class ConfigTests(SynchronousTestCase):
    """The table in a configuration file."""

    def read(self, text: str) -> Config:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "gateway.toml"
        path.write_text(text)
        return load(path, [DelegationPlugin()], MemoryReactorClock())

    def problems(self, text: str) -> list[str]:
        error: Any = self.assertRaises(ConfigError, self.read, SERVER + text)
        return list(error.problems)

    def table(self, text: str) -> Any:
        [service] = self.read(SERVER + text).services
        self.assertEqual((service.kind, service.jid), ("delegation", COMPONENT))
        return service.table

    def test_everything(self) -> None:
        """Every key; one JID or several; short names of namespaces."""
        table = self.table(
            f'[delegation."{COMPONENT.upper()}"]\nservers = ["Capulet.lit", "montaigu.lit"]\nusers = ["x.lit"]\n'
            'lend_privileges = ["A.x"]\n'
            f'[delegation."{COMPONENT.upper()}".namespaces]\n'
            f'"{ns.PRIVATE}" = {{ handler = "private-storage", import = true }}\n'
            '"urn:1" = { jid = "A.x", filtering = ["node", "b"] }\n'
            '"urn:2" = { jid = ["b@Y/z", "a.x"] }\n'
        )
        self.assertEqual(
            table,
            DelegationTable(
                servers=frozenset({Domain(HOST), Domain("montaigu.lit")}),
                users=frozenset({Domain("x.lit")}),
                lend_privileges=frozenset({Domain("a.x")}),
                namespaces={
                    Namespace(ns.PRIVATE): NamespaceTable(handler="private-storage", import_=True),
                    Namespace("urn:1"): NamespaceTable(jid=Jids(("a.x",)), filtering=frozenset({"node", "b"})),
                    Namespace("urn:2"): NamespaceTable(jid=Jids(("b@y/z", "a.x"))),
                },
            ),
        )

    def test_problems(self) -> None:
        """Invalid values are reported with their key."""
        key = f'delegation."{COMPONENT}"'
        entry = f'{key}.namespaces."urn:x"'
        for text, said in (
            (TABLE.replace(f'["{HOST}"]', "1"), f"{key}.servers: found 1; allowed: a list, each item a domain"),
            (TABLE.replace(f'["{HOST}"]', '["a@b"]'), f"{key}.servers: found "),
            (TABLE + "lend_privileges = 'a.x'\n", f'{key}.lend_privileges: found "a.x"; allowed: a list, each'),
            (TABLE + "lend_privileges = ['u@a.x']\n", f"{key}.lend_privileges: found "),
            (TABLE + "server = 'x'\n", f"{key}.server: found an unknown key; allowed: one of "),
            (TABLE + "namespaces = 1\n", f"{key}.namespaces: found 1; allowed: a table"),
            (TABLE + NAMESPACES + '"urn:x" = 1\n', f"{entry}: found 1; allowed: a table"),
            (TABLE + NAMESPACES + '"urn:x" = { handler = 1 }\n', f"{entry}.handler: found 1; allowed: a string"),
            (
                TABLE + NAMESPACES + '"urn:x" = { jid = "a@" }\n',
                f'{entry}.jid: found "a@"; allowed: a JID or a list',
            ),
            (
                TABLE + NAMESPACES + '"urn:x" = { jid = ["a.x", "A.x"] }\n',
                f'{entry}.jid: found ["a.x", "A.x"]; allowed: a JID or a list',
            ),
            (TABLE + NAMESPACES + '"urn:x" = { jid = [] }\n', f"{entry}.jid: found []; allowed: a JID or a list"),
            (
                TABLE + NAMESPACES + '"urn:x" = { jids = "a" }\n',
                f"{entry}.jids: found an unknown key; allowed: one of ",
            ),
            (TABLE + NAMESPACES + '"urn:x" = { filtering = "a" }\n', f"{entry}.filtering: found "),
            (
                TABLE + NAMESPACES + '"urn:x" = { handler = "a", import = 1 }\n',
                f"{entry}.import: found 1; allowed: true or false",
            ),
            (
                TABLE + NAMESPACES + '"urn:x" = { handler = "a", import_ = true }\n',
                f"{entry}.import_: found an unknown key; allowed: one of handler, jid, filtering, import",
            ),
        ):
            with self.subTest(text):
                problems = self.problems(text)
                self.assertEqual(len(problems), 1, problems)
                self.assertIn(said, problems[0])

    def test_ownNamespace(self) -> None:
        """Section 8, rule 5: the XEP's own namespace "MUST NOT be delegated", neither to the gateway nor by it."""
        for version in (ns.DELEGATION_1, ns.DELEGATION_2):
            [problem] = self.problems(TABLE + NAMESPACES + f'"{version}" = {{ jid = "a.x" }}\n')
            self.assertIn(version, problem)
            self.assertIn("a namespace, but not that of delegation itself", problem)
            error: Any = self.assertRaises(
                ConfigError, self.read, f'[embedded.delegations]\n"{version}" = {{ jid = "a.x" }}\n'
            )
            [problem] = error.problems
            self.assertIn("embedded.delegations", problem)
            self.assertIn(version, problem)

    def test_documented(self) -> None:
        """
        docs/delegation.md: its first table works, its list of options is complete, and its embedded table works.
        """
        said = (ROOT / "docs" / "delegation.md").read_text()
        first, embedded, *_ = re.findall(r"```toml\n(.*?)```", said, re.DOTALL)
        [service] = self.read(SERVER + first).services
        self.assertEqual(service.jid, "delegate.example.com")
        namespaces: Any = service.table
        self.assertEqual(set(namespaces.namespaces), {ns.PRIVATE, "urn:xmpp:mam:2"})
        host = self.read("[embedded]\n" + embedded).embedded
        assert host is not None and host.delegations is not None
        self.assertEqual(len(host.delegations), 3)
        rows = re.findall(r"(?m)^\| (`[^|]*`) \|", said)
        listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        self.assertLessEqual(
            {
                *("servers", "users", "namespaces", "handler", "jid", "filtering", "import"),
                *("endpoint", "secret", "secret_file"),
            },
            listed,
        )
