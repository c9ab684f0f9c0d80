"""The table and the composition of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from wokkel.disco import DiscoHandler
from zope.interface.verify import verifyObject

from gateway.composition.reader import Config, load
from gateway.composition.service import check, findPlugins, makeService, notes
from gateway.config.tables import ConfigError
from gateway.delegation.handler import ManagingHandler
from gateway.interfaces import IServerRequirements, ITourStop
from gateway.roster.demo import Contacts
from gateway.roster.handler import DiscoInfo, PresenceWatcher
from gateway.roster.interested import InterestedClients
from gateway.roster.plugin import RosterPlugin
from gateway.roster.resource import RefreshResource, ResultsResource
from gateway.stream.survey import NOTE
from tests.effects.world import Gateway

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "x"\ndomain = "example.com"\n'
ROSTER = '[roster."{}"]\ndomain = "{}"\nurl = "http://localhost/contacts/%s"\n'


class PluginTests(SynchronousTestCase):
    """Configurations."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.reactor = MemoryReactorClock()

    def config(self, text: str) -> Config:
        path = self.folder / "gateway.toml"
        path.write_text(SERVER + text)
        return load(path, [RosterPlugin()], self.reactor)

    def test_composed(self) -> None:
        """Each service has a link and an HTTP address; the first one also has the address without a domain."""
        text = ROSTER.format("r1.example.com", "example.com") + ROSTER.format("r2.example.com", "example.net")
        gateway = makeService(self.config(text), self.reactor)
        self.assertEqual(
            [service.name for service in gateway][1:], ["roster:r1.example.com", "roster:r2.example.com"]
        )
        admin = gateway.webServer().site.resource.children[b"roster_admin"]
        self.assertEqual(set(admin.children), {b"refresh", b"results", b"example.com", b"example.net"})
        for served in (admin, admin.children[b"example.com"], admin.children[b"example.net"]):
            self.assertIsInstance(served.children[b"refresh"], RefreshResource)
            self.assertIsInstance(served.children[b"results"], ResultsResource)

    def test_first(self) -> None:
        """The first service in the file has the address without a domain."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        text = "".join(
            ROSTER.format(f"{name}.example.com", f"{name}.example").replace("/contacts/", f":8000/{name}/")
            for name in ("one", "two")
        )
        gateway = Gateway(folder, SERVER + text)
        self.addCleanup(gateway.stop)
        found = []
        for user, path in (("a", "refresh"), ("b", "one.example/refresh"), ("c", "two.example/refresh")):
            gateway.request("POST", f"/roster_admin/{path}", f'["{user}"]'.encode())
            found += [call.path for call in gateway.calls()]
        self.assertEqual(found, ["/one/a", "/one/b", "/two/c"])

    def test_twoOfOneDomain(self) -> None:
        """Two services for the same domain are refused: each would undo the other's changes."""
        text = ROSTER.format("r1.example.com", "example.com") + ROSTER.format("r2.example.com", "example.com")
        error = self.assertRaises(ConfigError, check, self.config(text))
        allowed = 'one [roster] for each; remove this one or [roster."r1.example.com"]'
        found = f'found "example.com" a second time; allowed: {allowed}'
        self.assertEqual(error.problems, [f'roster."r2.example.com".domain: {found}'])

    def test_demonstration(self) -> None:
        """Without C{url} the embedded host uses the built-in application; with a real server C{url} is needed."""
        path = self.folder / "embedded.toml"
        text = "[roster.'roster.localhost']\ndomain = 'localhost'\n"
        path.write_text(text)
        gateway = makeService(load(path, [RosterPlugin()], self.reactor), self.reactor)
        served = gateway.webServer().site.resource.children
        self.assertIsInstance(served[b"demo"].children[b"contacts"], Contacts)
        # Two services share it.
        path.write_text(text + text.replace("localhost", "other.localhost"))
        gateway = makeService(load(path, [RosterPlugin()], self.reactor), self.reactor)
        demo = gateway.webServer().site.resource.children[b"demo"]
        shared = [(path, each._domain) for path, each in demo.children.items()]
        self.assertEqual(shared, [(b"contacts", "localhost")])
        self.assertIn("url: found nothing", self.problems('[roster."r.example.com"]\ndomain = "example.com"\n'))
        [plugin] = [each for each in findPlugins() if each.kind == "roster"]
        self.assertTrue(verifyObject(ITourStop, plugin))
        self.assertEqual(plugin.demoTables("h"), {"roster.h": {"domain": "h"}})

    def test_connectionLost(self) -> None:
        """Without a link no user is known to be online; ejabberd's feed does not have all online users."""
        api = 'apply = "ejabberd-api"\napi = "http://localhost/api"\n'
        for more, isFeedComplete in (("", True), (api, False)):
            gateway = makeService(self.config(ROSTER.format("r.example.com", "example.com") + more), self.reactor)
            link = gateway.getServiceNamed("roster:r.example.com")
            [watcher] = [each for each in link if isinstance(each, PresenceWatcher)]
            self.assertEqual(watcher._isFeedComplete, isFeedComplete)
            watcher._online["ann"] = {"x"}
            link._lane.disconnected(Failure(ConnectionLost()))
            self.assertEqual(watcher._online, {})

    def test_lock(self) -> None:
        """Only with C{lock} the component answers for rosters; it always answers disco."""
        for lock, managing in (("false", 0), ("true", 1)):
            gateway = makeService(
                self.config(ROSTER.format("r.example.com", "example.com") + f"lock = {lock}\n"), self.reactor
            )
            handlers = list(gateway.getServiceNamed("roster:r.example.com"))
            self.assertEqual(sum(isinstance(each, ManagingHandler) for each in handlers), managing)
            self.assertEqual(sum(isinstance(each, DiscoHandler) for each in handlers), 1)
            self.assertEqual(sum(isinstance(each, DiscoInfo) for each in handlers), 1)

    def test_pushing(self) -> None:
        """The gateway pushes locked rosters if neither ejabberd nor the embedded host does."""
        roster = ROSTER.format("r.example.com", "example.com")
        api = 'api = "http://127.0.0.1:5280/api"\n'
        for text, pushing in (
            (f"{roster}lock = true\n", [True]),
            (f"{roster}lock = true\n{api}", [False]),
            (roster, []),
        ):
            gateway = makeService(self.config(text), self.reactor)
            self.assertEqual(self.pushing(gateway, "r.example.com"), pushing, text)
        self.assertEqual(self.pushing(makeService(self.embedded(), self.reactor), "r.localhost"), [False])

    def pushing(self, gateway: Any, jid: str) -> list[bool]:
        handlers = gateway.getServiceNamed(f"roster:{jid}")
        return [each._privileges is not None for each in handlers if isinstance(each, InterestedClients)]

    def embedded(self) -> Config:
        """Locked rosters on the embedded host."""
        path = Path(self.mktemp())
        path.write_text('[roster."r.localhost"]\ndomain = "localhost"\nlock = true\n[embedded]\n')
        return load(path, [RosterPlugin()], self.reactor)

    def test_notes(self) -> None:
        """C{--check} prints the grants that the server needs."""
        [plugin] = [each for each in findPlugins() if each.kind == "roster"]
        verifyObject(IServerRequirements, plugin)
        roster = ROSTER.format("r.example.com", "example.com")
        self.assertEqual(notes(self.config(roster)), [NOTE])
        [note, _] = notes(self.config(f"{roster}lock = true\n"))
        self.assertTrue(note.startswith('roster."r.example.com".lock: the server must delegate rosters.'), note)
        self.assertIn('["r.example.com"] = { roster = "both"', note)
        self.assertIn('iq = { ["jabber:iq:roster"] = "set" }', note)
        self.assertEqual(notes(self.config(f'{roster}lock = true\napi = "http://127.0.0.1:5280/api"\n')), [NOTE])
        [note, _] = notes(self.config(f"{roster}probes = true\n"))
        self.assertIn('Component "r.example.com" needs validate_from_addresses = false', note)
        self.assertEqual(notes(self.embedded()), [])

    def test_secret(self) -> None:
        """The secret of signatures does not appear in texts about the configuration."""
        config = self.config(ROSTER.format("r.example.com", "example.com") + 'signature_secret = "hidden"\n')
        self.assertEqual(config.services[0].table.signature_secret, "hidden")  # type: ignore[attr-defined]  # its own
        self.assertNotIn("hidden", repr(config))
        text = ROSTER.format("r.example.com", "example.com").replace("/%s", "/%s?key=hidden")
        config = self.config(text + 'apply = "ejabberd-api"\napi = "http://h/api?key=hidden"\n')
        self.assertIn("hidden", config.services[0].table.url)  # type: ignore[attr-defined]  # its own
        self.assertNotIn("hidden", repr(config))

    def problems(self, text: str) -> str:
        error = self.assertRaises(ConfigError, lambda: check(self.config(text)))
        return str(error)

    def test_wrong(self) -> None:
        """An invalid value is reported with its key."""
        right = ROSTER.format("r.example.com", "example.com")
        for more, part in (
            ('apply = "ejabberd-api"\n', "api: found nothing"),
            ('apply = "privilege"\napi = "http://localhost/api"\n', 'api: found with apply = "privilege"'),
            ('api = "http://localhost/api"\nprobes = true\n', "probes: found true"),
            ('apply = "ejabberd-api"\napi = "http://localhost/api"\nprobes = true\n', "probes: found true"),
            ('api = "localhost"\n', "a URL"),
            ('signature_secret = ""\n', "signature_secret: found an empty string"),
            ('offline = "never"\n', 'offline: found "never"'),
            ('apply = "ejabberd-api"\napi = "http://h/api"\noffline = "skip"\n', 'allowed: "apply" with api'),
            ("concurrency = 0\n", "a whole number, 1 or more"),
            ("max_removals = -1\n", "a whole number"),
        ):
            self.assertIn(part, self.problems(right + more), more)
        for url in ("http://localhost/contacts/", "http://localhost/%s/%s"):
            text = right.replace("http://localhost/contacts/%s", url)
            self.assertIn("with %s once", self.problems(text))
        for url in (
            "http://localhost/contacts?key=hidden",
            "http://localhost/%s/%s?key=hidden&hidden",
            "http://hidden:hidden@localhost/%s",
            "http://hidden@localhost/%s",
            "http://hidden:hid/hidden@localhost/%s",
            "hidden:hidden@localhost/%s",
            "localhost/%s?hidden",
            "http://localhost/%s%s#hidden?hidden",
            "ftp://localhost/%s?key=hidden",
        ):
            problems = self.problems(right.replace("http://localhost/contacts/%s", url))
            self.assertIn("url: found", problems, url)
            self.assertNotIn("hid", problems, url)
            self.assertIn("localhost", problems)
            self.assertNotIn("hid", self.problems(right + f'apply = "ejabberd-api"\napi = "x{url}"\n'))
        for line in ('ulr = "http://h/%s?key=hidden"', '[roster]\nurl = "http://h/%s?key=hidden"'):
            self.assertNotIn("hidden", self.problems(right + line + "\n"))
        # A user's name must not change the host, and the password would not be sent.
        for url in (
            "ftp://x/%s",
            "http:///%s",
            "contacts/%s",
            "http://\u00e4/%s",
            "http://%s.example.com/contacts",
            "http://me:pass@localhost/%s",
            "http://localhost:0/%s",
        ):
            text = right.replace("http://localhost/contacts/%s", url)
            self.assertIn("url: found", self.problems(text))
