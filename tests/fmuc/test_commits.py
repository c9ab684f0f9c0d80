"""Tests for L{gateway.fmuc.commits}."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StoreBroken, StoreBusy, StoreFull
from gateway.fmuc import commits
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.values import Header, Opened, SendStanza
from gateway.fmuc.commits import Commits, Refusal
from gateway.fmuc.profiles import BROADBAND
from gateway.muc.actions import ForgetArchive, ToArchive
from gateway.muc.archive_store import page
from gateway.muc.archive_values import ArchivedMessage, ArchiveQuery, Retention
from gateway.muc.changes import Durability
from gateway.muc.channel_store import loadChannels
from gateway.muc.records import MESSAGE, Record, removal
from gateway.muc.store import loadRecords
from tests.fmuc.durable import HeldStore

ROOM = "room@chat.example"


def record(value: str | None, name: str = "") -> Record:
    """Return a record of the room."""
    return (ROOM, "room", name), value


class CommitsTests(SynchronousTestCase):
    """L{Commits}."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.durability = Durability(isOn=True)
        self.commits = Commits(self.store, self.durability, lambda call: call(), Retention(100, 1e9))
        self.sent: list[str] = []

    def put(self, output: str, *records: Record, size: int = 1) -> None:
        self.commits.put(records, lambda: self.sent.append(output), size, 0.0)

    def say(self, output: str, slot: int) -> None:
        """Put a message, which can be refused."""
        key = (ROOM, MESSAGE, str(slot))
        step = ToArchive(ArchivedMessage(room=ROOM, id=output, utc=0, nick=""))
        self.commits.put(
            [(key, output)],
            lambda: self.sent.append(output),
            1,
            0.0,
            [step],
            Refusal(
                partial(self.undo, output),
                lambda why: self.sent.append(f"refuse {output}: {why.__name__}"),
            ),
        )

    def undo(self, output: str) -> tuple[Record, ...]:
        self.sent.append(f"undo {output}")
        return ()

    def archived(self) -> list[str]:
        """Return the ids in the archive."""
        query = ArchiveQuery(room=ROOM, queryId=None, seesAll=True, seesOpen=True, limit=100)
        return [each.id for each in self.store.atStart(page, query).messages]

    def stored(self) -> dict[str, str]:
        return {name: value for _, _, name, value in self.store.atStart(loadRecords)}

    def test_removed(self) -> None:
        """A room that was removed and made again while the store failed has the later records only."""
        self.store.fault = StoreFull()
        self.put("1", record("old"), record("old", "other"))
        self.put("2", removal(ROOM))
        self.put("3", record("new"))
        self.store.fault = None
        self.commits.tick(1.0)
        self.assertEqual((self.stored(), self.sent, len(self.commits)), ({"": "new"}, ["1", "2", "3"], 0))

    def test_later(self) -> None:
        """Records that come during a commit that fails are written with its records, and replace them."""
        self.store.isHeld = True
        self.put("1", record("a"), record("b", "other"))
        self.put("2", record("c"))
        self.store.isHeld = False
        self.store.fault = StoreFull()
        self.store.commit()
        self.assertEqual((self.durability.fault, self.commits.unstored, self.sent), (StoreFull, 2, []))
        self.store.fault = None
        self.commits.tick(1.0)
        self.assertEqual((self.stored(), self.sent), ({"": "c", "other": "b"}, ["1", "2"]))
        self.assertIs(self.durability.fault, None)

    def test_worksAgain(self) -> None:
        """After a failure that took long, output waits for the commit again."""
        self.store.fault = StoreFull()
        self.put("1", record("a"))
        self.commits.tick(10.0)
        self.put("2", record("b"))
        self.assertEqual(self.sent, ["1", "2"])
        self.store.fault = None
        self.commits.tick(11.0)
        self.store.isHeld = True
        self.put("3", record("c"))
        self.assertEqual(self.sent, ["1", "2"])
        self.store.commit()
        self.assertEqual(self.sent, ["1", "2", "3"])

    def test_bounded(self) -> None:
        """More output than the bound does not wait for its records, and they are stored later."""
        self.patch(commits, "_MAX_WAITING", 10)
        self.store.isHeld = True
        self.put("1", record("a"), size=6)
        self.assertEqual(self.sent, [])
        self.put("2", record("b"), size=6)
        self.assertEqual(self.sent, ["1", "2"])
        self.assertIs(self.durability.fault, StoreBusy)
        self.store.isHeld = False
        self.commits.tick(1.0)
        self.put("3", record("c"), size=6)
        self.assertEqual((self.stored(), self.sent), ({"": "c"}, ["1", "2", "3"]))

    def test_manyRecords(self) -> None:
        """If too many records wait for a broken store, the whole state is stored in their place."""
        self.patch(commits, "_MAX_RECORDS", 3)
        state = {"room": "a", "x": "x"}
        self.commits = Commits(
            self.store,
            self.durability,
            lambda call: call(),
            whole=lambda: ([record(value, name) for name, value in state.items()], ()),
        )
        self.put("1", record("old", "gone"), record("a", "room"))
        self.store.fault = StoreFull()
        self.put("2", record("x", "x"), record(None, "gone"))
        self.commits.tick(11.0)
        for number in range(20):
            self.put("3", record(None, f"{number}"))
            self.assertLessEqual(self.commits.unstored, 5)
            self.commits.tick(12.0 + number)
        self.assertEqual(len(self.sent), 22)
        self.store.fault = None
        self.commits.tick(40.0)
        self.assertEqual((self.stored(), self.commits.unstored), (state, 0))
        # So do records that come during a commit.
        self.store.isHeld = True
        self.put("4", record("y", "y"))
        state.update({f"{number}": "z" for number in range(5)}, y="y")
        for number in range(5):
            self.put("5", record("z", f"{number}"))
        self.store.commit()
        self.store.isHeld = False
        self.store.commit()
        self.assertEqual((self.stored(), len(self.commits)), (state, 0))

    def test_whenStored(self) -> None:
        """A call comes after the commit of its records, and after their output; never because the store fails."""
        self.store.fault = StoreFull()
        self.put("1", record("a"))
        self.commits.whenStored(lambda: self.sent.append("stored"))
        self.commits.tick(10.0)
        self.put("2", record("b"))
        self.assertEqual(self.sent, ["1", "2"])
        self.store.fault = None
        self.commits.tick(11.0)
        self.assertEqual(self.sent, ["1", "2", "stored"])
        self.put("3", record("c"))
        self.commits.whenStored(lambda: self.sent.append("stored at once"))
        self.assertEqual(self.sent[3:], ["3", "stored at once"])

    def test_whenStoredLater(self) -> None:
        """A call does not come with a commit that began before its records."""
        self.store.isHeld = True
        self.put("1", record("a"))
        self.put("2", record("b"))
        self.commits.whenStored(lambda: self.sent.append("stored"))
        self.store.commit()
        self.assertEqual(self.sent, ["1"])
        self.store.commit()
        self.assertEqual(self.sent, ["1", "2", "stored"])

    def test_channel(self) -> None:
        """
        A channel whose records share the commit of a room's: what is sent to the other node waits for the store,
        however long it fails, and a killed process has both changes or none.
        """
        channel: Channel[str] = Channel(ROOM, "peer@b.example", BROADBAND.pace, "t")
        channel.begin(1, 0.0)
        channel.send(b"<message/>", 0.0)
        records, mark = channel.take()
        self.store.fault = StoreFull()
        self.commits.put([record("shown"), *records], lambda: self.sent.append("shown"), 1, 0.0)
        self.commits.whenStored(partial(channel.stored, mark, 20.0))
        self.commits.tick(20.0)
        self.assertEqual((self.sent, channel.outputs), (["shown"], [Opened()]))
        self.store.fault = None
        self.assertEqual((self.stored(), self.store.atStart(loadChannels)), ({}, []))
        self.commits.tick(21.0)
        self.assertEqual(channel.outputs[1:], [SendStanza(Header(1, 1, 0), b"<message/>")])
        self.assertEqual(self.stored(), {"": "shown"})
        [stored] = self.store.atStart(loadChannels)
        self.assertEqual((stored.value, stored.outgoing), ("[1, 0, 0]", {1: "<message/>"}))

    def test_whenStoredFaults(self) -> None:
        """A call that raises does not keep the following."""
        self.store.isHeld = True
        self.put("1", record("a"))
        self.commits.whenStored(lambda: self.sent.remove("other"))
        self.commits.whenStored(lambda: self.sent.append("stored"))
        self.store.isHeld = False
        self.store.commit()
        self.assertEqual((self.sent, len(self.flushLoggedErrors(ValueError))), (["1", "stored"], 1))

    def test_end(self) -> None:
        """At the end of the link all output is sent, but for a message that was not stored."""
        self.store.isHeld = True
        self.put("1", record("a"))
        self.put("2")
        self.say("3", 0)
        self.commits.end()
        self.assertEqual(self.sent, ["undo 3", "1", "2", "refuse 3: StoreBusy"])

    def test_refused(self) -> None:
        """
        Messages that wait for ten seconds are refused, whether the store fails or does not respond, and are stored
        nowhere. The newest one is undone first. Other output is sent in its order.
        """
        for isHeld, fault in ((False, StoreFull), (True, StoreBusy)):
            self.sent.clear()
            self.store.isHeld, self.store.fault = isHeld, None if isHeld else fault()
            self.say("1", 0)
            self.put("2", record("left"))
            self.say("3", 1)
            self.commits.tick(9.0)
            self.assertEqual(self.sent, [])
            self.commits.tick(10.0)
            name = fault.__name__
            self.assertEqual(self.sent, ["undo 3", "undo 1", f"refuse 1: {name}", "2", f"refuse 3: {name}"])
            self.store.isHeld, self.store.fault = False, None
            self.store.commit()
            self.commits.tick(11.0)
            self.assertEqual((self.stored(), self.archived(), self.commits.lost), ({"": "left"}, [], 0))
            self.assertEqual((self.durability.fault, len(self.commits)), (None, 0))
            self.say("4", 0)
            self.assertEqual(self.sent[-1], "4")
            self.commits.put([removal(ROOM)], lambda: None, 1, 0.0, [ForgetArchive(ROOM)])

    def test_archiveEnds(self) -> None:
        """The archive of a room that has ended is removed, though the answer is an error, and steps are dropped."""
        self.patch(commits, "_MAX_STEPS", 2)
        self.say("1", 0)
        self.assertEqual(self.archived(), ["1"])
        self.store.fault = StoreFull()
        refusal = Refusal(tuple, lambda why: self.sent.append(why.__name__))
        self.commits.put([removal(ROOM)], lambda: None, 1, 0.0, [ForgetArchive(ROOM)], refusal)
        self.commits.tick(10.0)
        self.assertEqual(self.sent, ["1", "StoreFull"])
        others = [ToArchive(ArchivedMessage(room="x", id=f"{each}", utc=0, nick="")) for each in range(5)]
        self.commits.put([], lambda: None, 1, 11.0, others)
        self.assertEqual((self.commits.lost, self.commits.unstored), (3, 4))
        self.store.fault = None
        self.commits.tick(12.0)
        self.assertEqual((self.archived(), self.stored()), ([], {}))

    def test_undone(self) -> None:
        """The records of what a refusal restores are stored in the place of those of the change."""
        self.store.fault = StoreFull()
        refusal = Refusal(lambda: [record("before")], lambda why: None)
        self.commits.put([record("after")], lambda: None, 1, 0.0, (), refusal)
        self.commits.tick(10.0)
        self.store.fault = None
        self.commits.tick(11.0)
        self.assertEqual(self.stored(), {"": "before"})

    def test_stored(self) -> None:
        """A message whose commit succeeded before is not refused."""
        self.store.isHeld = True
        self.say("1", 0)
        self.say("2", 1)
        self.store.commit()
        self.commits.tick(10.0)
        self.assertEqual(self.sent, ["1", "undo 2", "refuse 2: StoreBusy"])
        self.store.isHeld = False
        self.store.commit()
        self.assertEqual((self.stored(), self.archived()), ({"0": "1"}, ["1"]))

    def test_faults(self) -> None:
        """Output that raises does not keep the following; a fault of the program is that of a broken store."""

        def fail() -> None:
            raise ValueError

        self.store.isHeld = True
        self.commits.put([record("a")], fail, 1, 0.0)
        self.put("2")
        self.store.isHeld = False
        self.store.commit()
        self.assertEqual((self.sent, len(self.flushLoggedErrors(ValueError))), (["2"], 1))
        self.put("3", ((ROOM, "room", object()), "a"))  # type: ignore[arg-type]  # the fault
        self.assertIs(self.durability.fault, StoreBroken)
        self.assertEqual((self.sent, len(self.flushLoggedErrors())), (["2"], 1))
