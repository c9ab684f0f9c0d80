"""A whole gateway whose stores are on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway import state
from gateway.cli.check import _stateFor
from gateway.composition import service
from gateway.config.tables import ConfigError
from gateway.state.postgresql_session import schemaOf
from gateway.testing import MemoryGateway
from tests.cli.support import call
from tests.state.cluster import cluster

TABLES = """
[delegation."delegate.example.com"]
servers = ["example.com"]
[delegation."delegate.example.com".namespaces]
"jabber:iq:private" = { handler = "private-storage" }
[proxy."proxy.example.com"]
target = "implementation@example.com"
[roster."roster.example.com"]
domain = "example.com"
url = "http://localhost/%s"
[rooms."rooms.example.com"]
[mirror."mirror.example.com"]
allow = ["*"]
users = ["example.com"]
"""
STORES = {
    "delegate.example.com.private",
    "proxy.example.com.proxy",
    "roster.example.com.roster",
    "rooms.example.com.rooms",
    "mirror.example.com.rooms",
}


class DatabaseTests(SynchronousTestCase):
    """C{[state] url}."""

    def setUp(self) -> None:
        self.database = cluster().database()
        self.url = cluster().url(self.database)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def text(self, url: str) -> str:
        return f'[state]\nurl = "{url}"\n{TABLES}'

    def schemas(self) -> set[str]:
        """Return the schemas of stores."""
        query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'gateway%'"
        return {name for (name,) in cluster().sql(query, self.database)}

    def test_stores(self) -> None:
        """All stores are in the database, and keys in the folder; the next process goes on with them."""
        for _ in range(2):
            gateway = MemoryGateway(self.folder, self.text(self.url))
            self.assertEqual({each.name for each in gateway.service.databases}, STORES)
            gateway.stop()
            self.assertEqual(self.schemas(), set(map(schemaOf, STORES)))
            self.assertEqual([each.name for each in (self.folder / "state").iterdir()], ["proxy.example.com.key"])
        found = cluster().sql(f'TABLE "{schemaOf("rooms.example.com.rooms")}".secrets', self.database)
        self.assertIn("ids", dict(found))

    def test_commands(self) -> None:
        """A backup names pg_dump, and an upgrade tells the versions."""
        gateway = MemoryGateway(self.folder, self.text(self.url))
        gateway.stop()
        file, archive = str(self.folder / "gateway.toml"), str(self.folder / "backup.tar")
        done = call("state", "backup", archive, "--config", file)
        self.assertIn(f"back up postgresql://{self.url.partition('@')[2]} with pg_dump.\n", done.stdout)
        cluster().sql(f'DROP SCHEMA "{schemaOf("delegate.example.com.private")}" CASCADE', self.database)
        done = call("state", "upgrade", "--config", file)
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn(f"{self.database}, delegate.example.com.private: version 0 is now 1\n", done.stdout)

    def test_check(self) -> None:
        """The command that tries a configuration does not use the database: another gateway may have its rooms."""
        MemoryGateway(self.folder, self.text(self.url)).stop()
        config = service.read(self.folder / "gateway.toml", MemoryReactorClock())
        with _stateFor(config) as own:
            self.assertIsNone(own.state.url)
            self.assertNotEqual(own.state_dir, config.state_dir)

    def test_refused(self) -> None:
        """A newer store, a server that does not run and a missing psycopg are found before the start."""
        gateway = MemoryGateway(self.folder, self.text(self.url))
        gateway.stop()
        schema = schemaOf("rooms.example.com.rooms")
        role = f'ALTER DATABASE {self.database} SET search_path = "{schema}"'
        cluster().sql(role)
        cluster().sql("UPDATE gateway_store SET version = 99", self.database)
        newer = 'rooms."rooms.example.com".state.url: rooms.example.com.rooms cannot be used: a newer release'
        self.assertIn(newer, self.problems(self.url))
        away = self.problems("postgresql://user:s3cret@127.0.0.1:1/x")
        self.assertIn("state.url: PostgreSQL cannot be reached (connection", away)
        self.assertEqual(len(away.splitlines()), 1, away)
        self.assertNotIn("s3cret", away)
        with mock.patch.dict("sys.modules", {"gateway.state.postgresql": None}), mock.patch.dict(vars(state)):
            del vars(state)["postgresql"]
            missing = self.problems(self.url)
        self.assertIn('install it with pip install "xmpp-gateway[postgresql]"', missing)

    def problems(self, url: str) -> str:
        """Return the errors of a configuration."""
        path = self.folder / "other.toml"
        path.write_text(f'{self.text(url)}[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "x"\n')
        return str(self.assertRaises(ConfigError, service.read, path, MemoryReactorClock()))

    def test_shown(self) -> None:
        """Values that are not URLs may be passwords: they are not shown."""
        said = "state.url: found a value that is not shown; allowed: the URL of a PostgreSQL database"
        for url in (
            "host=x password=s3cret",
            "postgresql://u:p@s3cret@h/x",
            "mysql://u:s3cret@h/x",
            "postgresql:s3cret",
        ):
            found = self.problems(url)
            self.assertIn(said, found)
            self.assertNotIn("s3cret", found)
