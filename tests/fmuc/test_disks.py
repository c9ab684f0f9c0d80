"""Rooms in a file whose disk is full, or that is locked, corrupt, missing, taken over or of another release."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.config.tables import ConfigError
from gateway.fmuc import compose
from gateway.muc.store import MIGRATIONS, restore
from gateway.state.migrations import migrate
from gateway.state.sqlite import SqliteSession
from gateway.testing import MemoryGateway
from tests.disks import smallDisk
from tests.fmuc.durable import ROOM, C
from tests.fmuc.test_configured import submitted
from tests.fmuc.test_restart import administered, asked, join, said

ANN, BEN, EVE = (f"{name}@example.com/1" for name in ("ann", "ben", "eve"))
_BUSY, _FAILED = "resource-constraint", "internal-server-error"


def banned(number: int) -> str:
    """Return a request that bans a user."""
    return asked(ANN, administered(f"<item affiliation='outcast' jid='b{number}@x.example'/>"))


class DiskCase(SynchronousTestCase):
    """A gateway with a room and two occupants, whose file is on a disk of its own."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.state = self.folder / "state"
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        self.assertNotIn("log_failure", event)
        self.lines.append(f"{event.get('event')} {formatEvent(event)}")

    @property
    def file(self) -> Path:
        """The file of the rooms."""
        return self.state / f"{C}.rooms"

    def start(self) -> None:
        """Start a gateway; an earlier one was killed."""
        text = f'state_dir = "{self.state}"\n[http]\n[rooms."{C}"]\narchive_messages = 100\n'
        self.gateway = MemoryGateway(self.folder, text)
        self.addCleanup(self.gateway.stop)
        self.server = self.gateway.server(C)

    def begin(self) -> None:
        """Start a gateway; Ann makes a persistent room, bans a user, and says something; Ben is in, too."""
        self.start()
        self.ask(join(ANN, "ann"))
        self.ask(asked(ANN, submitted(persistentroom="1")))
        self.ask(join(BEN, "ben"))
        self.ask(banned(0))
        self.assertEqual(self.shown(said(ANN, "before")), ["before", "before"])

    def ask(self, xml: str) -> list[str]:
        """Return what stanzas cause at once: bodies, error conditions, or the type."""
        return [_described(each) for each in self.server.ask(xml)]

    def later(self, seconds: float) -> list[str]:
        """Let time pass, and return what the room has sent, but for its pings."""
        self.gateway.wait(seconds)
        found = [each for each in self.server.received() if (each.get("from") or "").startswith(ROOM)]
        return [_described(each) for each in found if each.get("type") != "get"]

    def shown(self, xml: str) -> list[str]:
        return [each for each in self.ask(xml) if each != "None"]

    def status(self) -> str:
        return self.gateway.request("GET", "/status").text

    def restored(self) -> tuple[list[str], set[str]]:
        """Kill the gateway; return the messages that a new occupant gets, and the bans."""
        self.start()
        self.assertEqual(self.shown(said(BEN, "still in")), ["still in", "still in"])
        texts = [each for each in self.ask(join(EVE, "eve")) if each in ("before", "x", "y", "z", "again")]
        [listed] = self.server.ask(asked(ANN, administered("<item affiliation='outcast'/>"), "get"))
        return texts, {each.get("jid", "") for each in listed.iter() if each.get("jid")}


def _described(element: ElementTree.Element) -> str:
    body = element.findtext("{*}body")
    if body:
        return str(body)
    for each in element.iter():
        if "xmpp-stanzas" in each.tag and not each.tag.endswith("text"):
            return str(each.tag.rpartition("}")[2])
    return str(element.get("type"))


class RunningTests(DiskCase):
    """Faults while the gateway runs."""

    def suffers(
        self, cause: Callable[[], object], cure: Callable[[], object], condition: str, reason: str
    ) -> None:
        """
        While the cause lasts, messages, joins and changes are refused, and nobody sees them; the operator reads the
        reason. Then all works again by itself, and everything that was shown or answered outlives a kill.
        """
        cause()
        self.assertNotIn("x", self.shown(said(ANN, "x")))
        seen = self.later(1) + self.shown(said(BEN, "y", 2)) + self.ask(banned(1)) + self.ask(join(EVE, "eve"))
        seen += self.later(20)
        self.assertEqual([each for each in seen if each != condition], [], "nothing but errors")
        self.assertEqual(len(seen), 4)
        self.assertIn(reason, self.status())
        self.assertIn("new ones are refused until the store works", self.status())
        self.assertIn(reason, "\n".join(self.lines))
        # One line a minute about the file, and no others.
        self.assertLessEqual(sum("does not work" in each for each in self.lines), 1)
        cure()
        self.later(8)
        self.assertNotIn(reason, self.status())
        self.assertNotIn("not stored", self.status())
        self.assertEqual(self.shown(said(ANN, "z", 3)), ["z", "z"])
        self.assertEqual(self.ask(banned(2)), ["result"])
        self.assertEqual(self.restored(), (["before", "z"], {"b0@x.example", "b2@x.example"}))

    def test_full(self) -> None:
        """A full disk."""
        disk = self.stack.enter_context(smallDisk(self.state, "400k"))
        self.begin()
        self.suffers(disk.fill, disk.free, _BUSY, "the disk is full: free some space")

    def test_locked(self) -> None:
        """The lock of another process, for more than 20 seconds."""
        self.begin()
        other = self.stack.enter_context(closing(sqlite3.connect(self.file, isolation_level=None)))
        self.suffers(
            lambda: other.execute("BEGIN EXCLUSIVE"),
            lambda: other.execute("ROLLBACK"),
            _BUSY,
            "another process has locked it: end that process",
        )

    def test_lockedShortly(self) -> None:
        """The lock of another process for eight seconds: what came first is delayed, and not refused."""
        self.begin()
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            self.assertEqual(self.shown(said(ANN, "x")), [])
            self.assertEqual(self.later(7), [])
            other.execute("ROLLBACK")
        self.assertEqual(self.later(2), ["x", "x"])
        self.assertEqual(self.restored(), (["before", "x"], {"b0@x.example"}))

    def test_folderGone(self) -> None:
        """The folder is moved away, and comes back."""
        self.begin()
        elsewhere = self.folder / "elsewhere"
        self.suffers(
            lambda: self.state.rename(elsewhere),
            lambda: elsewhere.rename(self.state),
            _FAILED,
            "No such file or directory",
        )

    def test_folderNew(self) -> None:
        """The folder is lost, and a new one is made: the rooms are stored again, with everything."""
        self.begin()
        self.suffers(
            lambda: self.state.rename(self.folder / "lost"),
            lambda: self.state.mkdir(mode=0o700),
            _FAILED,
            "No such file or directory",
        )
        [line] = [each for each in self.lines if each.startswith("rooms.stored_again")]
        self.assertIn(f"{C}.rooms: its file is a new one", line)

    def test_fileRemoved(self) -> None:
        """The file is removed: the next change stores all rooms again, with the same secret of the ids."""
        self.begin()
        secret = "SELECT value FROM secrets WHERE name = 'ids'"
        before = self.found(secret)
        for each in self.state.glob(f"{C}.rooms*"):
            each.unlink()
        self.assertEqual(self.shown(said(ANN, "x")), ["x", "x"])
        self.assertEqual(self.found(secret), before)
        archived = [row[0] for row in self.found("SELECT payload FROM archive ORDER BY number")]
        self.assertEqual(archived, ["<body>before</body>", "<body>x</body>"])
        self.assertEqual(self.restored(), (["before", "x"], {"b0@x.example"}))

    def test_corrupt(self) -> None:
        """
        The file is overwritten. If it is moved away, as the remedy says, the gateway stores all again by itself.
        """
        self.begin()

        def overwrite() -> None:
            for each in self.state.glob(f"{C}.rooms*"):
                size = each.stat().st_size
                each.write_bytes(b"x" * max(size, 5_000))

        def remove() -> None:
            for each in self.state.glob(f"{C}.rooms*"):
                each.unlink()

        self.suffers(overwrite, remove, _FAILED, "stop the gateway, move the file away")

    def test_taken(self) -> None:
        """
        A second gateway with the same folder takes the file over. The first one stores nothing any longer, says so,
        and shows nothing.
        """
        self.begin()
        first, server = self.gateway, self.server
        self.start()
        self.assertEqual(self.shown(said(BEN, "z")), ["z", "z"])
        self.gateway, self.server = first, server
        self.assertEqual(self.shown(said(ANN, "x")), [])
        self.assertEqual(self.later(1) + self.later(12), [_FAILED])
        self.assertEqual(self.ask(said(ANN, "y") + banned(1)), [_FAILED, _FAILED])
        self.later(20)
        [line] = [each for each in self.lines if each.startswith("rooms.store_taken")]
        self.assertIn(f"{C}.rooms: another gateway has taken it over", line)
        self.assertIn("stop one of two gateways with the same component and the same state_dir", self.status())
        self.assertEqual(self.restored(), (["before", "z"], {"b0@x.example"}))

    def test_takenFirst(self) -> None:
        """A second gateway takes the file over before it reads the rooms: then the first one can store nothing."""
        self.begin()
        first, heard = self.server, list[str]()

        def restored(*arguments: Any) -> None:
            restore(*arguments)
            heard.extend(_described(each) for each in first.ask(said(ANN, "x")))

        with mock.patch.object(compose, "restore", restored):
            self.start()
        self.assertEqual(heard, [])
        self.assertEqual(self.restored(), (["before"], {"b0@x.example"}))

    def found(self, statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(statement).fetchall()


class StartTests(DiskCase):
    """Faults at the start: an error of the configuration that names the file and the remedy, and no change."""

    def refused(self) -> str:
        before = self.file.read_bytes()
        problem, *_ = self.assertRaises(ConfigError, self.start).problems
        self.assertEqual(self.file.read_bytes(), before)
        self.assertIn("state_dir: ", problem)
        self.assertIn(str(self.state), problem)
        return problem

    def ended(self) -> bytes:
        """Let a gateway make a room with many messages, and stop; return the content of the file."""
        self.begin()
        for number in range(60):
            self.ask(said(ANN, "y" * 1_000, number))
        self.gateway.stop()
        return self.file.read_bytes()

    def test_corrupt(self) -> None:
        """The header or a page in the middle is overwritten, or the file is too short."""
        whole = self.ended()
        pages = len(whole) // 4096 // 2 * 4096
        for content, reason in (
            (b"x" * 100 + whole[100:], "file is not a database"),
            (whole[:pages] + b"\xff" * 4096 + whole[pages + 4096 :], "is corrupt"),
            (whole[:pages], "malformed"),
        ):
            with self.subTest(reason=reason):
                self.file.write_bytes(content)
                problem = self.refused()
                self.assertIn(reason, problem)
                self.assertIn("restore a backup", problem)
        self.file.write_bytes(whole)
        self.start()
        self.assertEqual(self.shown(said(BEN, "z")), ["z", "z"])

    def test_newer(self) -> None:
        """A file of a newer release."""
        self.ended()
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("PRAGMA user_version = 99")
        self.assertIn("a newer release of the gateway has changed it (schema version 99;", self.refused())

    def test_older(self) -> None:
        """A file of an older release gets the new tables, and its rooms are there."""
        whole = self.ended()
        with closing(sqlite3.connect(self.file)) as connection:
            kept = connection.execute("SELECT * FROM records").fetchall()
            secret = connection.execute("SELECT * FROM secrets WHERE name = 'ids'").fetchall()
        self.file.unlink()
        for version in (1, 2):
            with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
                migrate(SqliteSession(connection), MIGRATIONS[:version])
                connection.executemany("INSERT OR REPLACE INTO secrets VALUES (?, ?)", secret)
                if version > 1:
                    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", kept)
        self.assertNotEqual(self.file.read_bytes(), whole)
        self.start()
        self.assertEqual(self.shown(said(BEN, "z")), ["z", "z"])
        self.assertEqual(self.restored(), (["z"], {"b0@x.example"}))

    def test_shortLog(self) -> None:
        """
        After a kill, a part of the write-ahead log is missing: the last transactions are lost, and no more.
        """
        self.begin()
        for number in range(30):
            self.ask(said(ANN, f"{number}", number))
        log = Path(f"{self.file}-wal").read_bytes().rstrip(b"\0")
        copied = self.folder / "copy"
        copied.mkdir()
        (copied / self.file.name).write_bytes(self.file.read_bytes())
        (copied / f"{self.file.name}-wal").write_bytes(log[: len(log) * 9 // 10])
        self.state = copied
        self.start()
        texts = [int(each) for each in self.ask(join(EVE, "eve")) if re.fullmatch("[0-9]+", each)]
        self.assertEqual(texts, list(range(texts[0], texts[-1] + 1)))
        self.assertGreater(len(texts), 2)
        self.assertLess(texts[-1], 29)

    def test_locked(self) -> None:
        """The lock of another process."""
        self.ended()
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            problem = self.refused()
            self.assertIn(f"{self.file}: another process has locked it: end that process", problem)
            other.execute("ROLLBACK")
        self.start()
        self.assertEqual(self.shown(said(BEN, "z")), ["z", "z"])

    def test_readOnly(self) -> None:
        """A read-only disk."""
        disk = self.stack.enter_context(smallDisk(self.state, "1m"))
        self.begin()
        self.gateway.stop()
        disk.remount("ro")
        self.assertIn("it is on a disk that is mounted read-only: choose another folder", self.refused())
        disk.remount("rw")
        self.start()
        self.assertEqual(self.shown(said(BEN, "z")), ["z", "z"])
        self.gateway.stop()

    def test_full(self) -> None:
        """A disk that is full at the first start."""
        disk = self.stack.enter_context(smallDisk(self.state, "64k"))
        disk.fill()
        [problem] = self.assertRaises(ConfigError, self.start).problems
        self.assertIn(f"{self.file}: the disk is full: free some space", problem)
        disk.free()
