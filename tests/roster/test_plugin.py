"""The table, and how the service is composed."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.config import Config, load
from gateway.roster.plugin import RosterPlugin
from gateway.roster.resource import RefreshResource
from gateway.service import check, makeService
from gateway.tables import ConfigError

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
        """Each service has a link, and its address over HTTP; the first has one without a name too."""
        text = ROSTER.format("r1.example.com", "example.com") + ROSTER.format("r2.example.com", "example.net")
        gateway = makeService(self.config(text), self.reactor)
        self.assertEqual(
            [service.name for service in gateway][:2], ["roster:r1.example.com", "roster:r2.example.com"]
        )
        http = gateway.getServiceNamed("http")
        admin = http._factory.resource.children[b"roster_admin"]
        self.assertEqual(set(admin.children), {b"refresh", b"example.com", b"example.net"})
        for refresh in (admin.children[b"refresh"], admin.children[b"example.net"].children[b"refresh"]):
            self.assertIsInstance(refresh, RefreshResource)

    def problems(self, text: str) -> str:
        error = self.assertRaises(ConfigError, lambda: check(self.config(text)))
        return str(error)

    def test_wrong(self) -> None:
        """What is wrong is said by its key."""
        right = ROSTER.format("r.example.com", "example.com")
        for more, part in (
            ('apply = "ejabberd-api"\n', 'api: allowed: with apply = "ejabberd-api"'),
            ('api = "http://localhost/api"\n', "api: allowed"),
            ('apply = "ejabberd-api"\napi = "http://localhost/api"\nprobes = true\n', "probes: found true"),
            ('api = "localhost"\n', "an address"),
            ("concurrency = 0\n", "a whole number, 1 or more"),
            ("max_removals = -1\n", "a whole number"),
        ):
            self.assertIn(part, self.problems(right + more), more)
        for url in ("http://localhost/contacts/", "http://localhost/%s/%s"):
            text = right.replace("http://localhost/contacts/%s", url)
            self.assertIn("with %s once", self.problems(text))
        for url in ("ftp://x/%s", "http:///%s", "contacts/%s", "http://\u00e4/%s"):
            text = right.replace("http://localhost/contacts/%s", url)
            self.assertIn("url: found", self.problems(text))
