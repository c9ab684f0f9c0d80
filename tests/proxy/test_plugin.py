"""The proxy's table, its service, and its key file."""

from __future__ import annotations

import json
import secrets
import stat
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.config.tables import BareJid, ComponentTable, ConfigError, Filename
from gateway.interfaces import (
    IConfigCheck,
    IConfigWarnings,
    IDelegationPlugin,
    IServiceEnvironment,
    IServicePlugin,
    IStore,
)
from gateway.proxy.compose import loadKey
from gateway.proxy.exchanges import OpenExchange
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.plugin import ProxyPlugin
from gateway.proxy.sharing import SharingHandler
from gateway.proxy.tables import ProxyTable
from gateway.state import faults
from gateway.state.memory import MemoryStore
from gateway.state.migrations import Migrations
from gateway.stream.link import Link
from gateway.testing import MemoryServer
from tests.proxy.support import stanza

C, T = "proxy.example.com", "implementation@example.com"


class FakeServiceBuilder:
    """A builder whose links have servers in memory."""

    def __init__(self, stateDir: str) -> None:
        self.stateDir = stateDir
        self.stateKey = "state_dir"
        self.reactor = MemoryReactorClock()
        self.wallClock = lambda: 5e8
        self.asked: list[tuple[str, ComponentTable]] = []
        self.stores: dict[str, Any] = {}

    def link(self, jid: str, table: ComponentTable) -> Link:
        self.asked.append((jid, table))
        return MemoryServer(jid).link

    def store(self, name: str, migrations: Migrations) -> IStore:
        return self.stores.setdefault(name, MemoryStore(migrations))  # type: ignore[no-any-return]  # of any kind


class PluginCase(SynchronousTestCase):
    """A state folder, and a builder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.composition = FakeServiceBuilder(str(self.folder))

    def compose(self, **keys: Any) -> Any:
        self.table = ProxyTable(target=keys.pop("target", T), **keys)
        return ProxyPlugin().makeService(C, self.table, self.composition)  # type: ignore[arg-type]  # a stand-in


class ProxyPluginTests(PluginCase):
    """The service."""

    def test_interfaces(self) -> None:
        """The plugin provides the interfaces that third parties implement."""
        verifyObject(IServicePlugin, ProxyPlugin())
        self.assertTrue(IPlugin.providedBy(ProxyPlugin()))
        self.assertEqual(ProxyPlugin.kind, "proxy")

    def test_service(self) -> None:
        """The service is the link, with one handler."""
        link = self.compose()
        self.assertEqual(self.composition.asked, [(C, self.table)])
        [handler] = link
        self.assertIsInstance(handler, ProxyHandler)

    def test_decisions(self) -> None:
        """The rules and the pool use the values of the table."""
        [handler] = link = self.compose(
            timeout=7.0,
            outbound=True,
            forward=frozenset({"message"}),
            resources="x*",
            balance="sticky",
        )
        translator = handler._translator
        rules = translator._rules
        self.assertEqual((rules.timeout, rules.outbound, rules.shared), (7.0, True, False))
        [handler] = self.compose(shared=True)
        self.assertTrue(handler._translator._rules.shared)
        self.assertEqual((handler._link.shared, link.shared), (True, False))
        self.assertEqual(handler._offset(), 5e8 - handler._link.now)
        self.assertNotIsInstance(handler, SharingHandler)
        self.composition.stateKey = "state.url"
        [alone], [handler] = self.compose(), self.compose(shared=True, outbound=True)
        self.assertNotIsInstance(alone, SharingHandler)
        self.assertIsInstance(handler, SharingHandler)
        common = handler._translator._rules
        self.assertEqual((common.shared, common.outbound, handler._link.shared), (False, True, True))
        self.assertEqual(handler._offset(), 5e8 - handler._link.now)
        self.assertEqual(list(self.composition.stores), [f"{C}.proxy", f"{C}.shared"])
        [handler] = link
        self.assertEqual(rules.forward, {"message"})
        self.assertEqual([translator.available(f"{T}/{name}") for name in "xy"], [True, False])
        self.assertEqual(translator._pool._choose.__name__, "_chooseSticky")

    def test_sameTokens(self) -> None:
        """A token stays the same over a restart; a gateway with another state has other tokens."""
        tokens = [next(iter(self.compose()))._translator._correspondents.getOrMake("u@d/r", C).alias for _ in "12"]
        self.assertEqual(tokens[0], tokens[1])
        self.composition.stateDir = self.mktemp()
        Path(self.composition.stateDir).mkdir()
        [handler] = self.compose()
        self.assertNotEqual(handler._translator._correspondents.getOrMake("u@d/r", C).alias, tokens[0])

    def test_exchanges(self) -> None:
        """Each component leaves its open exchanges in a store of its own."""
        for name in (C, "other.example.com"):
            link: Any = ProxyPlugin().makeService(name, ProxyTable(target=BareJid(T)), self.composition)  # type: ignore[arg-type]  # a stand-in
            link.now = 0.0
            [handler] = link
            handler._translator.available(f"{T}/a")
            handler.stanzaReceived(stanza(f"<iq from='u@d/r' to='{name}' type='set' id='1'><q/></iq>"))
            handler.drained()
        self.assertEqual(set(self.composition.stores), {"other.example.com.proxy", f"{C}.proxy"})
        for name, store in self.composition.stores.items():
            found = store.atStart(lambda cursor: cursor.execute("SELECT address FROM exchanges").fetchall())
            self.assertEqual(found, [(name.removesuffix(".proxy"),)])

    def test_oldExchanges(self) -> None:
        """Open exchanges in the file of an older release are taken over."""
        old = self.folder / f"{C}.exchanges"
        left = OpenExchange("u@d/r", C, "1", f"{T}/a", 5e8, ())
        old.write_text(json.dumps([asdict(left)]))
        [handler] = self.compose()
        self.assertFalse(old.exists())
        self.assertEqual(handler._kept.take(), [left])

    def test_keyFile(self) -> None:
        """The key file has the path in the table, or else the component's name in the state folder."""
        self.compose()
        elsewhere = self.folder / "elsewhere"
        self.compose(key_file=Filename(str(elsewhere)))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["elsewhere", f"{C}.key"])


@implementer(IServiceEnvironment)
class FakeServiceEnvironment:
    """A configuration with another component."""

    components = frozenset({C, "other.example.com"})

    def __init__(self, stateDir: str, stateKey: str = "state_dir") -> None:
        self.stateDir = stateDir
        self.stateKey = stateKey

    def delegationPlugins(self) -> dict[str, IDelegationPlugin]:
        return {}

    def storeProblem(self, name: str, migrations: Migrations) -> str:
        return faults.problem(Path(self.stateDir, name), migrations)


class CheckTests(PluginCase):
    """Checks before the service is made."""

    stateKey = "state_dir"

    def check(self, stateDir: str = "", **keys: Any) -> list[str]:
        before = sorted(self.folder.iterdir())
        table = ProxyTable(target=keys.pop("target", T), **keys)
        environment = FakeServiceEnvironment(stateDir or str(self.folder), self.stateKey)
        found = ProxyPlugin().check(C, table, environment)
        self.assertEqual(sorted(self.folder.iterdir()), before)
        return found

    def test_interface(self) -> None:
        """It provides the interface for checks."""
        verifyObject(IConfigCheck, ProxyPlugin())

    def test_right(self) -> None:
        """No problem: key and folder do not exist yet, or exist."""
        self.assertEqual(self.check(), [])
        self.assertEqual(self.check(str(self.folder / "later")), [])
        self.compose()
        self.assertEqual(self.check(), [])
        self.assertEqual(self.check(key_file=Filename(str(self.folder / "other"))), [])

    def test_exchanges(self) -> None:
        """A file of open exchanges that cannot be used is a warning: the proxy works without it."""
        verifyObject(IConfigWarnings, ProxyPlugin())
        environment, table = FakeServiceEnvironment(str(self.folder)), ProxyTable(target=T)
        self.assertEqual(ProxyPlugin().warnings(C, table, environment), [])
        (self.folder / f"{C}.exchanges").write_text("[1")
        [warning] = ProxyPlugin().warnings(C, table, environment)
        self.assertIn(f"{self.folder / C}.exchanges is not a file of open exchanges", warning)
        (self.folder / f"{C}.proxy").write_bytes(b"no database" * 100)
        _, warning = ProxyPlugin().warnings(C, table, environment)
        self.assertIn(f"{self.folder / C}.proxy cannot be used: file is not a database", warning)
        self.assertEqual(self.check(), [])

    def test_target(self) -> None:
        """A target on a component has no resources; a target on this component would be a loop."""
        for domain in (C, "other.example.com"):
            [problem] = self.check(target=f"x@{domain}")
            self.assertTrue(problem.startswith(f'target: found "x@{domain}"'), problem)

    def test_standby(self) -> None:
        """Gateways of which one serves the component need the same key, and do not all serve it."""
        self.assertEqual(self.check(standby=True, key_file=self.mktemp()), [])
        [shared] = self.check(standby=True, shared=True, key_file=self.mktemp())
        self.assertTrue(shared.startswith("shared: found true with standby = true"), shared)
        [key] = self.check(standby=True)
        self.assertTrue(key.startswith("key_file: found nothing with standby = true"), key)

    def test_shared(self) -> None:
        """Options that need open exchanges cannot be combined with C{shared}, which stores none."""
        self.assertEqual(self.check(shared=True, balance="sticky"), [])
        outbound, balance = self.check(shared=True, balance="least-pending", outbound=True)
        self.assertTrue(outbound.startswith("outbound: found true with shared = true"), outbound)
        self.assertTrue(balance.startswith('balance: found "least-pending" with shared = true'), balance)
        # In a database that the gateways share there are open exchanges.
        self.stateKey = "state.url"
        self.assertEqual(self.check(shared=True, balance="least-pending", outbound=True), [])

    def test_key(self) -> None:
        """A key file with other content, or that cannot be read or made, is reported by its key."""
        garbage = self.folder / "garbage"
        garbage.write_text("oops")
        for path, words in (
            (garbage, "is not a seal key"),
            (self.folder, "cannot be read"),
            (garbage / "key", "cannot be read"),
            (self.folder / "none" / "key", "cannot be created: its folder does not exist"),
        ):
            [problem] = self.check(key_file=Filename(str(path)))
            self.assertTrue(problem.startswith(f"key_file: {path} "), problem)
            self.assertIn(words, problem)

    def test_keyFolder(self) -> None:
        """Another folder than the state folder must exist, and be writable."""
        there = Path(self.mktemp())
        there.mkdir()
        self.assertEqual(self.check(key_file=Filename(str(there / "key"))), [])
        [problem] = self.check(key_file=Filename("/proc/key"))
        self.assertTrue(problem.startswith("key_file: /proc/key does not exist and cannot be created: "), problem)
        self.assertNotIn("its folder does not exist", problem)


class KeyTests(PluginCase):
    """The key file."""

    def test_made(self) -> None:
        """It is made once, long enough, readable by its owner only, and then kept."""
        path = self.folder / "key"
        key = loadKey(path)
        self.assertEqual(len(key), 32)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        written = path.read_bytes()
        self.assertEqual(loadKey(path), key)
        self.assertEqual(path.read_bytes(), written)
        self.assertNotEqual(loadKey(self.folder / "other"), key)

    def test_madeMeanwhile(self) -> None:
        """If two gateways make a key at the same time, both use the first one."""
        path = self.folder / "key"

        def token(size: int) -> bytes:
            if not path.exists():
                path.write_text("11" * size)
            return bytes(size)

        self.patch(secrets, "token_bytes", token)
        self.assertEqual(loadKey(path), b"\x11" * 32)
        self.assertEqual(path.read_text(), "11" * 32)

    def test_readOnly(self) -> None:
        """A key that another process made, as for a shared component, is read, and not changed."""
        path = self.folder / "key"
        path.write_text("00" * 32)
        path.chmod(0o440)
        self.assertEqual(loadKey(path), bytes(32))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o440)

    def test_broken(self) -> None:
        """A file without a valid key is reported, and neither used, shown nor overwritten."""
        for content in (b"", b"\n", b"hidden", b"ab", b"ab" * 31, b"ab" * 33, b"\xff\xfe", b"zz" * 32):
            with self.subTest(content):
                path = self.folder / "key"
                path.write_bytes(content)
                error = self.assertRaises(ConfigError, loadKey, path)
                self.assertIn(f"key_file: {path} is not a seal key", str(error))
                self.assertNotIn("hidden", str(error))
                self.assertEqual(path.read_bytes(), content)

    def test_unusable(self) -> None:
        """If a key can neither be read nor made, the reason is reported."""
        self.assertIn("No such file", str(self.assertRaises(ConfigError, loadKey, self.folder / "none" / "key")))
        self.assertIn("directory", str(self.assertRaises(ConfigError, loadKey, self.folder)))
