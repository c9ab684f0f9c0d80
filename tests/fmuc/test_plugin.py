"""The tables of the configuration, and their services."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.composition.reader import Config, load
from gateway.composition.service import check, findPlugins, makeService
from gateway.config.tables import ConfigError
from gateway.fmuc.core import Rooms
from gateway.fmuc.plugin import MirrorPlugin, RoomsPlugin
from gateway.fmuc.profiles import PROFILES
from gateway.fmuc.values import Dialect, Mode
from gateway.interfaces import IConfigCheck, IRawHandler, IServicePlugin, ITourStop
from gateway.stream.core import Limits

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "x"\ndomain = "example.com"\n'
MIRROR = '[mirror."m.example.com"]\nallow = ["chat.example"]\nusers = ["Example.COM"]\n'
ROOMS = '[rooms."r.example.com"]\n'


class PluginTests(SynchronousTestCase):
    """Configurations."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def config(self, text: str) -> Config:
        path = self.folder / "gateway.toml"
        path.write_text(text)
        return load(path, [MirrorPlugin(), RoomsPlugin()], MemoryReactorClock())

    def rooms(self, text: str) -> Rooms:
        """Return the rooms of the only service of a configuration."""
        gateway = makeService(self.config(text), MemoryReactorClock())
        [service] = [each for each in gateway if each.name.startswith(("mirror:", "rooms:"))]
        [handler] = [each for each in service if IRawHandler.providedBy(each)]
        return handler._rooms

    def test_wallClock(self) -> None:
        """Stamps are by the wall clock, also after it was set; deadlines are by the link's clock."""
        wall = [5e8]
        reactor = MemoryReactorClock()
        gateway = makeService(self.config(SERVER + ROOMS), reactor, lambda: wall[0])
        link = gateway.getServiceNamed("rooms:r.example.com")
        [handler] = [each for each in link if IRawHandler.providedBy(each)]
        link._tick()
        self.assertEqual(handler._rooms.utcClock.utc(link.now), 5e8)
        wall[0] -= 3600
        reactor.advance(2)
        link._tick()
        self.assertEqual(handler._rooms.utcClock.utc(link.now), 5e8 - 3600)
        self.assertEqual(link.now, 2)

    def problems(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, lambda: check(self.config(SERVER + text))))

    def test_interfaces(self) -> None:
        """Both are plugins like those of third parties, and are found."""
        for plugin in (MirrorPlugin(), RoomsPlugin()):
            for interface in (IServicePlugin, IConfigCheck, ITourStop):
                verifyObject(interface, plugin)
        self.assertLessEqual({"mirror", "rooms"}, {plugin.kind for plugin in findPlugins()})

    def test_mirror(self) -> None:
        """The options reach the rules; domains are prepared."""
        rooms = self.rooms(SERVER + MIRROR)
        mirroring = rooms._mirroring
        assert mirroring is not None
        self.assertEqual((mirroring.dialect, mirroring.mode), (Dialect.XEP_0289, Mode.REPLICA))
        self.assertEqual((mirroring.allow, mirroring.users), ({"chat.example"}, {"example.com"}))
        self.assertEqual((rooms.jid, rooms._peers), ("m.example.com", frozenset()))

    def test_roomsPerUser(self) -> None:
        """The operator decides how many rooms one user may create, for both kinds."""
        for table in (MIRROR, ROOMS):
            self.assertEqual(self.rooms(SERVER + table)._bounds.made, 100)
            self.assertEqual(self.rooms(SERVER + table + "max_rooms_per_user = 7\n")._bounds.made, 7)
            with self.assertRaises(ConfigError) as caught:
                self.config(SERVER + table + "max_rooms_per_user = 0\n")
            self.assertIn("max_rooms_per_user: found 0", str(caught.exception))
        mirroring = self.rooms(
            SERVER + MIRROR + 'mode = "primary"\nprotocol = "protoxep"\npeers = ["*"]\n'
        )._mirroring
        assert mirroring is not None
        self.assertEqual((mirroring.dialect, mirroring.mode), (Dialect.PROTOXEP, Mode.PRIMARY))

    def test_creators(self) -> None:
        """By default local users may create rooms; everybody, if the server's own domain is unknown."""
        self.assertEqual(self.rooms(SERVER + ROOMS).creators, {"example.com", ".example.com"})
        below = {"chat.example.org", ".chat.example.org"}
        for jid, more in (("r.chat.example.org", below), ("example.org", set())):
            found = self.rooms(SERVER + f'[rooms."{jid}"]\n').creators
            self.assertEqual(found, {"example.com", ".example.com"} | more)
        self.assertIn(".localhost", self.rooms(SERVER + '[rooms."r.localhost"]\n').creators)
        self.assertEqual(self.rooms(SERVER + ROOMS + 'endpoint = "tcp:127.0.0.1:5348"\n').creators, {"*"})
        given = 'create = ["Example.NET", "Tom@Example.org."]\n'
        self.assertEqual(self.rooms(SERVER + ROOMS + given).creators, {"example.net", "tom@example.org"})
        self.assertEqual(self.rooms(SERVER + ROOMS + "create = []\n").creators, frozenset())
        self.assertEqual(self.rooms(SERVER + MIRROR).creators, {"*"})
        peers = 'peers = ["Mirror.example.org"]\n'
        found = self.rooms(SERVER + ROOMS + peers).creators
        self.assertEqual(found, {"example.com", ".example.com", "mirror.example.org"})
        self.assertEqual(self.rooms(SERVER + ROOMS + peers + "create = []\n").creators, frozenset())
        found = self.problems(ROOMS + 'create = ["a b", "tom@example.org/desk", "@x", "*"]\n')
        for each in ("a b", "tom@example.org/desk", "@x"):
            self.assertIn(f'create: found "{each}"; allowed: domains and bare JIDs of users, or "*" for all', found)
        self.assertEqual(found.count("found"), 3)

    def test_times(self) -> None:
        """Times that would remove users who are only silent are refused."""
        for table, keys in ((MIRROR, ("ping_after",)), (ROOMS, ("ping_after", "idle_timeout"))):
            for key in keys:
                found = self.problems(f"{table}{key} = 59\n")
                self.assertIn(f"{key}: found 59; allowed: 60 seconds or more", found)
                check(self.config(f"{SERVER}{table}{key} = 60\n"))

    def test_archives(self) -> None:
        """Archives are on by default; 0 switches them off, and other numbers are refused."""
        for table in (MIRROR, ROOMS):
            for keys, number in (("", 10_000), ("archive_days = 0", 0), ("archive_messages = 0", 0)):
                self.assertEqual(self.rooms(f"{SERVER}{table}{keys}\n")._bounds.archived, number)
            for key, most in (("archive_days", 36_500), ("archive_messages", 1_000_000)):
                for number in (-1, most + 1):
                    found = self.problems(f"{table}{key} = {number}\n")
                    self.assertIn(f"{key}: found {number}; allowed: 0 (no archive) to {most}", found)
                check(self.config(f"{SERVER}{table}{key} = {most}\n"))

    def test_profiles(self) -> None:
        """A profile is one of the table; those of single domains are of domains that may be mirrored."""
        mirror = '[mirror."m.example.com"]\nusers = ["example.com"]\nallow = {}\n{}\n'
        for wrong in ("", "5", "m", "-5m", "5 m", "5d", "1.5m", "3601s", "61m", "2h", "9999999s"):
            found = self.problems(mirror.format('["r.example"]', f'keep = "{wrong}"'))
            self.assertIn(f'keep: found "{wrong}"; allowed: "0s" (off) to "1h", such as "5m"', found)
        found = self.problems(mirror.format('["r.example"]', 'keep = "5m"\nprotocol = "protoxep"'))
        self.assertIn('keep: found "5m", but protocol = "protoxep" cannot; allowed: "0s"', found)
        found = self.problems(mirror.format('["r.example"]', 'profile = "slow"'))
        self.assertIn('profile: found "slow"; allowed: one of "broadband", "satellite", "hf"', found)
        found = self.problems(mirror.format('["r.example"]', 'profiles = {"r.example" = "slow"}'))
        self.assertIn('found "slow"', found)
        found = self.problems(mirror.format('["r.example"]', 'profiles = {"other.example" = "hf"}'))
        self.assertIn('profiles: found "other.example"; allowed: domains that are in allow', found)
        self.assertIn("a b", self.problems(mirror.format('["*"]', 'profiles = {"a b" = "hf"}')))
        for allow in ('["R.example"]', '["*"]'):
            given = mirror.format(allow, 'profiles = {"r.EXAMPLE" = "hf"}')
            self.assertEqual(self.rooms(SERVER + given)._mirroring.profiles, {"r.example": PROFILES["hf"]})

    def test_home(self) -> None:
        """The server's own domain is known to the rooms, unless the component is on another server."""
        for table in (MIRROR, ROOMS):
            self.assertEqual(self.rooms(SERVER + table).home, "example.com")
            self.assertEqual(self.rooms(SERVER + table + 'endpoint = "tcp:127.0.0.1:5348"\n').home, "")

    def test_largest(self) -> None:
        """The limit of a stanza is that of rooms, or a smaller one of the configuration."""
        for size, largest in ((1_000_000, 256 * 1024), (70_000, 70_000)):
            for table in (MIRROR, ROOMS):
                text = SERVER.replace("[server]\n", f"[server]\nmax_stanza_size = {size}\n") + table
                gateway = makeService(self.config(text), MemoryReactorClock())
                [link] = [each for each in gateway if each.name.startswith(("mirror:", "rooms:"))]
                self.assertEqual(link.limits, Limits(stanzaSize=largest))

    def test_rooms(self) -> None:
        """Without peers there are none; on a real server no room exists before a user creates it."""
        rooms = self.rooms(SERVER + ROOMS)
        self.assertEqual((rooms._mirroring, rooms._peers, rooms.rooms), (None, frozenset(), {}))
        self.assertEqual(self.rooms(SERVER + ROOMS + 'peers = ["m.example.net"]')._peers, {"m.example.net"})

    def test_ids(self) -> None:
        """
        XEP-0421 section 4.1: occupant ids are the same after a restart. Each service has a secret of its own in a
        store. One that cannot be used is reported, and the gateway does not start with other ids.
        """
        for table, jid in ((MIRROR, "m.example.com"), (ROOMS, "r.example.com")):
            first, again = (self.rooms(SERVER + table)._ids.salt("room@x") for _ in range(2))
            self.assertEqual(first, again)
            path = self.folder / "state" / f"{jid}.rooms"
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            path.rename(path.with_suffix(".old"))
            self.assertNotEqual(self.rooms(SERVER + table)._ids.salt("room@x"), first)
            for content in (b"no database", b""):
                path.unlink()
                path.write_bytes(content)
                if content:
                    self.assertIn(f"state_dir: {path}", self.problems(table))
                    self.assertRaises(ConfigError, self.rooms, SERVER + table)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
                connection.execute("INSERT INTO secrets VALUES ('ids', 'abc')")
                connection.execute("PRAGMA user_version = 1")
                connection.commit()
            error = self.assertRaises(ConfigError, self.rooms, SERVER + table)
            self.assertIn(f"{jid}.rooms: the secret of the ids is not one of 32 bytes", str(error))
            path.unlink()

    def test_problems(self) -> None:
        """Options that cannot work are reported, all of them."""
        found = self.problems(
            '[mirror."m.example.com"]\nallow = ["m.example.com", "a b"]\nusers = []\n'
            'peers = ["x@y", "m.example.com"]\n'
            '[rooms."r.example.com"]\npeers = ["a/b", "r.example.com"]\nbacking = "m.example.com"\n'
            '[rooms."s.example.com"]\npeers = ["c.example.com"]\nbacking = "c.example.com"\n'
        )
        for text in (
            'mirror."m.example.com".allow: found "m.example.com", which is this mirror',
            'mirror."m.example.com".allow: found "a b"',
            'mirror."m.example.com".users: found nothing',
            'mirror."m.example.com".peers: found "x@y"',
            'mirror."m.example.com".peers: found "m.example.com", which is this mirror',
            'rooms."r.example.com".peers: found "r.example.com", which is this service',
            'rooms."r.example.com".peers: found "a/b"',
            'rooms."r.example.com".backing: found "m.example.com", which is a service of this gateway; allowed:',
            'rooms."s.example.com".peers: found "c.example.com", which is in backing; allowed: other domains',
        ):
            self.assertIn(text, found)
        self.assertIn("allow", self.problems('[mirror."m.example.com"]\nusers = ["a"]\n'))
        found = self.problems(MIRROR + 'mode = "master"\nprotocol = "xep-0045"\n')
        self.assertIn("mode", found)
        self.assertIn("protocol", found)

    def test_administering(self) -> None:
        """Nodes that may administer are peers, and are named one by one."""
        for table in (MIRROR, ROOMS):
            given = 'peers = ["M.example.net", "n.example"]\nadministering_peers = ["m.example.NET"]\n'
            self.assertEqual(self.rooms(SERVER + table + given)._administrators, {"m.example.net"})
            self.assertEqual(self.rooms(SERVER + table)._administrators, frozenset())
            given = 'peers = {}\nadministering_peers = ["*", "a b", "other.example"]\n'
            found = self.problems(table + given.format('["*"]'))
            for domain in ("*", "a b"):
                self.assertIn(f'administering_peers: found "{domain}"; allowed: domains that are in peers', found)
            self.assertNotIn("other.example", found)
            self.assertIn('found "other.example"', self.problems(table + given.format('["m.example"]')))

    def test_usersAreNoRooms(self) -> None:
        """A domain is one of users or one of rooms, in any spelling; "*" names none."""
        mirror = '[mirror."m.example.com"]\nusers = ["Example.COM"]\nallow = {}\npeers = {}\n'
        found = self.problems(mirror.format('["example.com"]', '["EXAMPLE.com", "n.example.com"]'))
        for key in ("allow", "peers"):
            self.assertIn(f'mirror."m.example.com".{key}: found "example.com", which is in users', found)
        self.assertEqual(found.count("found"), 2)
        check(self.config(SERVER + mirror.format('["*"]', '["*"]').replace("Example.COM", "*")))

    def test_demonstration(self) -> None:
        """The embedded default has rooms with a lobby, and a mirror that may mirror them."""
        plugins = {plugin.kind: plugin for plugin in findPlugins()}
        tables = {kind: ITourStop(plugins[kind]).demoTables("h") for kind in ("rooms", "mirror")}
        self.assertEqual(tables["rooms"], {"rooms.h": {"peers": ["mirror.h"]}})
        self.assertEqual(tables["mirror"], {"mirror.h": {"allow": ["rooms.h"], "users": ["h"]}})
        rooms = self.rooms('[rooms."rooms.localhost"]\npeers = ["mirror.localhost"]\n')
        [lobby] = rooms.rooms.values()
        self.assertEqual((lobby.jid, lobby.settings.persistent), ("lobby@rooms.localhost", True))
        self.assertEqual(lobby.settings.name, "The lobby")
