"""Entity tags over a restart: only those of documents that are applied completely."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreBroken, StoreFull
from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster import store
from gateway.roster.fetch import Fetched
from gateway.roster.refresher import Refresher
from gateway.roster.store import MIGRATIONS, EntityTags
from gateway.state.database import Database
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import SqliteBackend
from tests.state.support import StartedReactor, closeAll

SOURCE = "0.1.0 h http://localhost/contacts/%s?key=s3cret"


class TagsCase(SynchronousTestCase):
    """A store that outlives its users."""

    def setUp(self) -> None:
        self.store = MemoryStore(MIGRATIONS)
        self.clock = Clock()

    def process(self, source: str = SOURCE) -> EntityTags:
        """The next process."""
        return EntityTags(self.clock, self.store, source)

    def stored(self) -> dict[str, str]:
        """Return the tags that the next process would find."""
        found: dict[str, str] = self.store.atStart(
            lambda cursor: dict(cursor.execute("SELECT name, tag FROM tags ORDER BY name").fetchall())
        )
        return found


class EntityTagsTests(TagsCase):
    """Tags, and what is stored of them."""

    def test_kept(self) -> None:
        """The next process finds what this one remembers last."""
        tags = self.process()
        tags.remember("ann", '"1"')
        tags.remember("ann", '"2"')
        tags.remember("bob", '"1"')
        tags.remember("cay", '"1"')
        tags.remember("bob", None)
        tags = self.process()
        self.assertEqual([tags.get(name) for name in ("ann", "bob", "cay", "dan")], ['"2"', None, '"1"', None])

    def test_forgotten(self) -> None:
        """A tag is removed from the store before the Deferred fires."""
        tags = self.process()
        tags.remember("ann", '"1"')
        self.successResultOf(ensureDeferred(tags.forget("ann")))
        self.assertEqual((tags.get("ann"), self.stored()), (None, {}))

    def test_unchanged(self) -> None:
        """A tag that is known is not written again: an unchanged document costs nothing."""
        tags = self.process()
        tags.remember("ann", '"1"')
        written = []
        write = self.store.write
        self.patch(self.store, "write", lambda *arguments: (written.append(arguments), write(*arguments))[1])
        tags.remember("ann", '"1"')
        tags.remember("bob", None)
        self.successResultOf(ensureDeferred(tags.forget("bob")))
        self.assertEqual(written, [])
        tags.remember("ann", '"2"')
        self.assertEqual(len(written), 1)

    def test_otherSource(self) -> None:
        """Tags of another application, domain or release are not used, and removed; an address is not stored."""
        self.process().remember("ann", '"1"')
        self.assertIsNone(self.process("0.2.0 h http://localhost/contacts/%s").get("ann"))
        self.assertIsNone(self.process().get("ann"))
        self.process().remember("ann", '"1"')
        found = self.store.atStart(lambda cursor: cursor.execute("SELECT * FROM tags").fetchall())
        self.assertNotIn("s3cret", str(found))

    def test_bounded(self) -> None:
        """The store has no more tags than the memory; if it has, none of them is used."""
        self.patch(store, "_MAX_TAGS", 3)
        tags = self.process()
        for number in range(5):
            tags.remember(str(number), '"x"')
        tags.remember("4", "x" * 2_000)
        self.assertEqual(self.stored(), {"2": '"x"', "3": '"x"'})
        tags.remember("5", '"x"')
        self.patch(store, "_MAX_TAGS", 2)
        tags = self.process()
        self.assertEqual(([tags.get(name) for name in "235"], self.stored()), ([None] * 3, {}))

    def test_full(self) -> None:
        """If a tag cannot be removed, it is removed with all others as soon as the store works."""
        tags = self.process()
        for name in ("ann", "bob"):
            tags.remember(name, '"1"')
        self.store.fault = StoreFull("the disk is full")
        # The roster is changed all the same.
        self.successResultOf(ensureDeferred(tags.forget("ann")))
        self.store.fault = None
        self.assertEqual((tags.get("ann"), tags.get("bob")), (None, '"1"'))
        tags.remember("cay", '"1"')
        self.assertEqual(self.stored(), {"cay": '"1"'})
        tags.remember("ann", '"2"')
        self.assertEqual(self.stored(), {"ann": '"2"', "cay": '"1"'})

    def test_hung(self) -> None:
        """A refresh does not wait for ever if the disk does not respond; the tag is removed afterwards."""
        clock, hung = Clock(), Deferred[None]()
        tags = EntityTags(clock, self.store, SOURCE)
        tags.remember("ann", '"1"')
        write = self.patch(self.store, "write", lambda *arguments: hung)
        forgetting = ensureDeferred(tags.forget("ann"))
        clock.advance(14)
        self.assertNoResult(forgetting)
        clock.advance(1)
        self.successResultOf(forgetting)
        write.restore()
        tags.remember("bob", '"1"')
        self.assertEqual((self.stored(), clock.getDelayedCalls()), ({"bob": '"1"'}, []))

    def test_broken(self) -> None:
        """If the store cannot be read, its tags are removed before a roster is changed."""
        self.process().remember("ann", '"1"')
        self.store.fault = StoreBroken("it is locked")
        tags = self.process()
        self.assertIsNone(tags.get("ann"))
        self.store.fault = None
        self.successResultOf(ensureDeferred(tags.forget("ann")))
        self.assertEqual(self.stored(), {})

    def test_memory(self) -> None:
        """Without a store, tags are kept in memory."""
        tags = EntityTags(Clock())
        tags.remember("ann", '"1"')
        self.assertEqual(tags.get("ann"), '"1"')
        self.successResultOf(ensureDeferred(tags.forget("ann")))
        self.assertIsNone(tags.get("ann"))

    def test_file(self) -> None:
        """The same in a file."""
        closeAll(self)
        path, reactor = Path(self.mktemp()), StartedReactor()
        tags = EntityTags(reactor, Database(SqliteBackend(path, MIGRATIONS), reactor), SOURCE)
        reactor.run()
        tags.remember("ann", '"1"')
        tags.remember("bob", '"1"')
        tags.remember("bob", None)
        reactor.shutDown()
        tags = EntityTags(Clock(), Database(SqliteBackend(path, MIGRATIONS), MemoryReactorClock()), SOURCE)
        self.assertEqual((tags.get("ann"), tags.get("bob")), ('"1"', None))


class ServerLostTests(TagsCase):
    """The server may have crashed, and lost what it had answered."""

    def setUp(self) -> None:
        super().setUp()
        self.tags = self.process()

    def change(self, name: str, tag: str) -> None:
        """Apply a document that changes the user's roster."""
        self.successResultOf(ensureDeferred(self.tags.forget(name)))
        self.tags.remember(name, tag)

    def test_recent(self) -> None:
        """Only the tags of those whose rosters were changed in the last minute are forgotten, also in the store."""
        for seconds, name in ((0, "ann"), (0, "bob"), (10, "cay"), (50, "dan")):
            self.clock.advance(seconds)
            self.change(name, '"1"')
        self.clock.advance(5)
        self.tags.remember("ann", '"1"')
        self.change("bob", '"2"')
        self.assertEqual(self.tags.serverLost(), 3)
        self.assertEqual([self.tags.get(name) for name in ("ann", "bob", "cay", "dan")], ['"1"', None, None, None])
        self.assertEqual(self.stored(), {"ann": '"1"'})
        self.assertEqual(self.tags.serverLost(), 0)

    def test_loaded(self) -> None:
        """Tags of an earlier process are older."""
        self.change("ann", '"1"')
        self.tags = self.process()
        self.assertEqual((self.tags.serverLost(), self.tags.get("ann")), (0, '"1"'))

    def test_many(self) -> None:
        """New tags are bounded as all are, and removed from the store with one change."""
        self.patch(store, "_MAX_TAGS", 3)
        for number in range(5):
            self.change(str(number), '"1"')
        written = []
        write = self.store.write
        self.patch(self.store, "write", lambda *arguments: (written.append(arguments), write(*arguments))[1])
        self.assertEqual((self.tags.serverLost(), len(written), self.stored()), (3, 1, {}))


class World:
    """An application and a server; a process may be killed between two changes of a roster."""

    def __init__(self) -> None:
        self.roster: dict[str, RosterItem] = {}
        self.document: dict[str, dict[str, str]] = {}
        self.tags = EntityTags(Clock())
        self.room = 1_000

    async def fetch(self, name: str, isUnconditional: bool = False) -> Fetched:
        document = json.dumps(self.document)
        tag = None if isUnconditional else self.tags.get(name)
        return Fetched(None if tag == document else document.encode(), document)

    def remember(self, name: str, tag: str | None) -> None:
        self.tags.remember(name, tag)

    async def forget(self, name: str) -> None:
        await self.tags.forget(name)

    def serverLost(self) -> int:
        return self.tags.serverLost()

    async def get(self, user: str) -> list[RosterItem]:
        return list(self.roster.values())

    def set(self, user: str, item: RosterItem, before: RosterItem) -> Deferred[None]:
        # After the last one nothing happens any more, as after a kill.
        if self.room:
            self.room -= 1
            self.roster[item.jid] = item
        done: Deferred[None] = Deferred()
        if self.room:
            done.callback(None)
        return done


class RestartTests(TagsCase):
    """Refreshes by several processes."""

    def refresh(self, world: World, room: int = 1_000) -> None:
        """Refresh by a new process, which is killed after so many changes."""
        world.tags, world.room = self.process(), room
        Refresher("h", world, world, 2, Pieces(MemoryReactorClock())).refresh("john")  # type: ignore[arg-type]  # a stand-in

    def test_killed(self) -> None:
        """
        If a process is killed between two changes, and the document is the former one again by the next start, the
        roster is compared: it is not as the former document has it.
        """
        world = World()
        first = {f"c{number}@h": {"name": "first"} for number in range(3)}
        second = {f"c{number}@h": {"name": "second"} for number in range(3)}
        world.document = first
        self.refresh(world)
        self.assertEqual(list(self.stored()), ["john"])
        world.document = second
        self.refresh(world, room=1)
        self.assertEqual(sorted(item.name for item in world.roster.values()), ["first", "first", "second"])
        self.assertEqual(self.stored(), {})
        world.document = first
        self.refresh(world)
        self.assertEqual({item.name for item in world.roster.values()}, {"first"})

    def test_crashed(self) -> None:
        """If the server crashes and has lost a change, the next refresh of the same document makes it again."""
        world = World()
        world.document = {"marie@h": {"name": "Marie"}}
        world.tags = self.process()
        refresher = Refresher("h", world, world, 2, Pieces(MemoryReactorClock()))  # type: ignore[arg-type]  # a stand-in
        refresher.refresh("john")
        world.roster.clear()
        refresher.refresh("john")
        self.assertEqual(world.roster, {})
        self.assertEqual(refresher.serverLost(), 1)
        refresher.refresh("john")
        self.assertEqual(list(world.roster), ["marie@h"])

    def test_unchanged(self) -> None:
        """An unchanged document is compared neither by this process nor by the next: a client's change stays."""
        world = World()
        world.document = {"marie@h": {"name": "Marie"}}
        self.refresh(world)
        world.roster["marie@h"] = RosterItem(jid="marie@h", name="Mum", subscription="both")
        self.refresh(world)
        self.assertEqual(world.roster["marie@h"].name, "Mum")
