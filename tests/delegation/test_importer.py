"""The command that imports private data: each kind of source, repeated imports, and bad sources."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.delegation import exports, importer
from gateway.delegation.private import MAX_ELEMENT_SIZE
from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.delegation.stored import Entry
from gateway.state import places
from gateway.state.database import Database
from gateway.state.migrations import migrate
from gateway.state.sqlite import SqliteBackend, SqliteSession
from tests.delegation.test_stored import DOMAIN, EXPORT, USER
from tests.state.cluster import cluster

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = ("urn:1", "a")
OLD, NEW = "<a xmlns='urn:1'>old</a>", "<a xmlns='urn:1'>new</a>"
# OLD, as Prosody stores it.
LUA = '["a:urn:1"] = { ["name"] = "a"; ["attr"] = { ["xmlns"] = "urn:1"; }; "old"; };'
JSON = '{"name":"a","attr":{"xmlns":"urn:1"},"__array":["old"]}'
PROSODY = (
    'CREATE TABLE "prosody" ("host" TEXT NOT NULL, "user" TEXT NOT NULL, "store" TEXT NOT NULL, '
    '"key" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL)'
)


# Runs a command, and prints its peak memory.
MEASURED = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(ended.returncode)
"""


class ImporterCase(SynchronousTestCase):
    """A storage, and a folder for the sources."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.storage = self.folder / "c.example.private"
        with closing(sqlite3.connect(self.storage)) as made:
            migrate(SqliteSession(made), MIGRATIONS)

    def run_(self, *arguments: object, code: int = 0) -> list[str]:
        """Run the command; return the lines that it prints."""
        said: list[str] = []
        found = importer.main([str(each) for each in arguments], said.append)
        self.assertEqual(found, code, said)
        return "".join(said).splitlines()

    def imported(self, *sources: object, code: int = 0) -> list[str]:
        return self.run_(self.storage, DOMAIN, *sources, code=code)

    def stored(self) -> dict[tuple[str, str, str], str]:
        with closing(sqlite3.connect(self.storage)) as opened:
            return {tuple(row[:3]): row[3] for row in opened.execute("SELECT * FROM private")}

    def store(self, xml: str, user: str = USER) -> None:
        with closing(sqlite3.connect(self.storage, isolation_level=None)) as opened:
            opened.execute("INSERT OR REPLACE INTO private VALUES (?, ?, ?, ?)", (user, *KEY, xml))

    def prosody(self, name: str, content: str | bytes) -> Path:
        """Write a user's file in Prosody's data folder."""
        path = self.folder / "data" / "capulet%2elit" / "private" / f"{name}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def database(self, *rows: tuple[Any, ...]) -> Path:
        """Write Prosody's SQLite file."""
        path = self.folder / "prosody.sqlite"
        with closing(sqlite3.connect(path)) as made:
            made.execute(PROSODY)
            made.executemany("INSERT INTO prosody VALUES (?, ?, ?, ?, ?, ?)", rows)
            made.commit()
        return path

    def file(self, content: str | bytes, name: str = "export.xml") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def counted(imported: int = 0, present: int = 0, kept: int = 0, skipped: int = 0) -> str:
    """Return the last line, with the counts."""
    return importer.Counts(imported, present, kept, skipped).inWords()


class SourceTests(ImporterCase):
    """Each kind of source."""

    def test_folder(self) -> None:
        """Prosody's data folder: names of users and the domain are escaped; other domains and files are ignored."""
        self.prosody("juliet", f"return {{ {LUA} }};\n")
        self.prosody("o%27neill%2e%c3%a4", f"return {{ {LUA} }};\n")
        self.prosody("empty", "return {};\n")
        (self.prosody("juliet", f"return {{ {LUA} }};\n").parent / "juliet.dat~").write_text("half")
        other = self.folder / "data" / "other%2elit" / "private"
        other.mkdir(parents=True)
        (other / "juliet.dat").write_text("broken")
        lines = self.imported(self.folder / "data")
        self.assertEqual(
            (lines[0].rpartition(": skipped: ")[0].rpartition("/")[2], lines[1:]),
            ("o%27neill%2e%c3%a4.dat", [counted(1, skipped=1)]),
        )
        self.prosody("o%27neill%2e%c3%a4", "").unlink()
        self.prosody("neill%2e%c3%a4", f"return {{ {LUA} }};\n")
        self.assertEqual(self.imported(self.folder / "data"), [counted(1, 1)])
        self.assertEqual(self.stored(), {(USER, *KEY): OLD, (f"neill.\u00e4@{DOMAIN}", *KEY): OLD})

    def test_database(self) -> None:
        """Prosody's SQLite file: only the domain's users and the store of private data are read."""
        source = self.database(
            (DOMAIN, "juliet", "private", "a:urn:1", "json", JSON),
            ("other.lit", "juliet", "private", "a:urn:1", "json", JSON),
            (DOMAIN, "juliet", "accounts", "password", "string", "secret"),
        )
        self.assertEqual(self.imported(source), [counted(1)])
        self.assertEqual(self.stored(), {(USER, *KEY): OLD})

    def test_export(self) -> None:
        """A file that ejabberd has exported."""
        self.assertEqual(self.imported(self.file(EXPORT)), [counted(3)])
        self.assertEqual(len(self.stored()), 3)

    def test_several(self) -> None:
        """Several sources at once. An unreadable source does not stop the others, and sets the exit code."""
        self.prosody("juliet", f"return {{ {LUA} }};\n")
        missing = self.folder / "missing"
        lines = self.imported(missing, self.folder / "data", self.file(EXPORT), code=1)
        self.assertEqual(lines, [f"{missing} cannot be read: No such file or directory", counted(4)])


class AgainTests(ImporterCase):
    """Elements that are stored here already."""

    def test_idempotent(self) -> None:
        """The second time nothing is imported."""
        source = self.file(EXPORT)
        self.imported(source)
        before = self.stored()
        self.assertEqual(self.imported(source), [counted(0, 3)])
        self.assertEqual(self.stored(), before)

    def test_newer(self) -> None:
        """An element that the user has stored here since then is kept, and is named."""
        self.store(NEW)
        self.prosody("juliet", f"return {{ {LUA} }};\n")
        for _ in range(2):
            self.assertEqual(
                self.imported(self.folder / "data"),
                [f"{USER}: a in urn:1: the user has stored a different one, which is kept", counted(kept=1)],
            )
            self.assertEqual(self.stored(), {(USER, *KEY): NEW})

    def test_same(self) -> None:
        """The same element in another spelling, as it was stored by a read-through, is not different."""
        self.store('<a c="2" b="1" xmlns="urn:1"></a>')
        element = '{ ["name"] = "a"; ["attr"] = { ["xmlns"] = "urn:1"; b="1", c="2" } }'
        self.prosody("juliet", f'return {{ ["a:urn:1"] = {element} }};')
        self.assertEqual(self.imported(self.folder / "data"), [counted(present=1)])

    def test_trial(self) -> None:
        """A dry run reports, and stores nothing."""
        said = f"This is a dry run: nothing is stored. {counted(3)}"
        self.assertEqual(self.run_("--dry-run", self.storage, DOMAIN, self.file(EXPORT)), [said])
        self.assertEqual(self.stored(), {})

    def test_asked(self) -> None:
        """An element that was remembered as missing on the server is imported all the same."""
        with closing(sqlite3.connect(self.storage, isolation_level=None)) as opened:
            opened.execute("INSERT INTO asked VALUES (?, ?, ?)", ("romeo@capulet.lit", *KEY))
        self.assertEqual(self.imported(self.file(EXPORT)), [counted(3)])

    def test_room(self) -> None:
        """An element over the user's quota is skipped; the others are imported."""
        many = "".join(f"<e{number} xmlns='urn:1'/>" for number in range(1_002))
        lines = self.imported(self.file(EXPORT.replace("<e xmlns='urn:empty'/>", many)))
        self.assertEqual(lines[-1], counted(1_001, skipped=3))
        self.assertEqual(len(lines), 4)
        self.assertIn(f"{USER}: e999 in urn:1: the user's storage is full: the limit is 1,000 elements", lines[0])


class BadTests(ImporterCase):
    """Sources and elements that cannot be imported."""

    def skipped(self, *contents: str | bytes) -> list[str]:
        """Return the reasons for which these files of Prosody's users are skipped."""
        for number, content in enumerate(contents):
            self.prosody(f"u{number}", content)
        self.prosody("juliet", f"return {{ {LUA} }};\n")
        *lines, last = self.imported(self.folder / "data")
        self.assertEqual(self.stored(), {(USER, *KEY): OLD})
        self.assertIn(last, (counted(1, skipped=len(lines)), counted(0, 1, skipped=len(lines))))
        return [line.partition(": skipped: ")[2] for line in sorted(lines)]

    def test_code(self) -> None:
        """Code in Prosody's files is never run; the file with it is skipped."""
        mark = self.folder / "mark"
        found = self.skipped(
            f'os.execute("touch {mark}")\nreturn {{}}',
            f'return {{ x = io.open("{mark}", "w") }}',
            f"return {{}} os.execute('touch {mark}')",
            "while true do end",
        )
        self.assertEqual(len(found), 4)
        self.assertEqual([each for each in found if "it is not a data file of Prosody: line 1" not in each], [])
        self.assertFalse(mark.exists())

    def test_broken(self) -> None:
        """Broken and unusual files, and bad entries in good ones."""
        found = self.skipped("", "return 1;", b"\xff\0", f"return {{ {LUA}", 'return { ["b:urn:1"] = "x" }')
        self.assertEqual(len(found), 5)
        found = self.skipped(
            f"return {{ {LUA.replace('a:urn:1', 'b:urn:1')} }}",
            f"return {{ {LUA.replace('a:urn:1', 'a')} }}",
            f"return {{ {LUA.replace('urn:1', 'jabber:client')} }}",
            f"return {{ {LUA.replace('old', chr(92) + '000')} }}",
            f"return {{ {LUA[12:]} }}",
        )
        self.assertIn("it is the element a in the namespace urn:1, so the key is wrong", found)
        self.assertEqual(len(found), 5)

    def test_large(self) -> None:
        """Files and elements that are too large."""
        found = self.skipped(
            b"return {" + b" " * (8 * 1024 * 1024) + b"}",
            f"return {{ {LUA.replace('old', 'x' * MAX_ELEMENT_SIZE)} }}",
        )
        self.assertEqual(found, ["it is too large to be stored", "it has over 8388608 bytes"][::-1])

    def test_files(self) -> None:
        """A folder, a link, a pipe without a writer and files with unusual names are skipped."""
        path = self.prosody("x", "")
        path.unlink()
        path.mkdir()
        right = self.file(f"return {{ {LUA} }}", "right")
        (path.parent / "l.dat").symlink_to(right)
        os.mkfifo(path.parent / "p.dat")
        for name in ("a%2fb", "a%40b", "a%00b", "%ff", "", "a%20b"):
            (path.parent / f"{name}.dat").write_text(f"return {{ {LUA} }}")
        *lines, last = self.imported(self.folder / "data")
        self.assertEqual((last, len(lines)), (counted(skipped=9), 9))
        self.assertEqual(self.stored(), {})

    def test_database(self) -> None:
        """Bad rows, and files that are not a database of Prosody."""
        deep = "[" * 200_000
        rows = [
            (DOMAIN, "u", "private", "a:urn:1", kind, value)
            for kind, value in (
                *(
                    ("json", each)
                    for each in ("", "1", "{", "null", deep, '{"name":"\ud800"}'.encode("utf-8", "replace"))
                ),
                *(("xml", JSON), ("string", JSON), ("json", b"\xff"), ("json", " " * 9_000_000)),
                ("json", '{"name":"a","attr":{"xmlns":"urn:1"},"__array":["\\ud800"]}'),
            )
        ]
        rows.append((DOMAIN, "a/b", "private", "a:urn:1", "json", JSON))
        rows.append((DOMAIN, "u", "private", "", "json", JSON))
        rows.append((DOMAIN, "juliet", "private", "a:urn:1", "json", JSON))
        *lines, last = self.imported(self.database(*rows))
        self.assertEqual((last, len(lines)), (counted(1, skipped=len(rows) - 1), len(rows) - 1))
        [line, _] = self.imported(self.storage, code=1)
        self.assertIn("it is not a readable database of Prosody: no such table: prosody", line)
        [line, _] = self.imported(self.file(b"SQLite format 3\0" + b"x" * 5_000), code=1)
        self.assertIn("it is not a readable database of Prosody", line)

    def test_export(self) -> None:
        """From truncated XML the elements before its end are imported."""
        lines = self.imported(self.file(EXPORT[: EXPORT.index("<user name='romeo'")]), code=1)
        self.assertEqual(lines[1], counted(2))
        self.assertIn("cannot be read: it is not well-formed XML", lines[0])

    def test_names(self) -> None:
        """Invalid user names, and names with control characters for a terminal."""
        for name in ("a/b", "a@b", "", "a b", "\u202eb"):
            xml = EXPORT.replace("'romeo'", f"'{name}'")
            lines = self.imported(self.file(xml))
            self.assertEqual(len(lines), 2, name)
            self.assertTrue(lines[0].isprintable())

    def test_wrongSource(self) -> None:
        """A source of unknown kind is an error, which names the known kinds."""
        empty = self.folder / "empty"
        empty.mkdir()
        [line, _] = self.imported(empty, code=1)
        missing = f"{empty}/capulet%2elit/private"
        self.assertIn(f"there is no folder {missing}. The source must be Prosody's data folder", line)
        for content in ("", "text", b"\0" * 100, "<a/>"):
            [line, _] = self.imported(self.file(content), code=1)
            self.assertIn("export.xml cannot be read: it ", line)

    def test_wrongDomain(self) -> None:
        """An invalid domain, and a domain without data."""
        self.assertEqual(self.run_(self.storage, "a@b", self.file(EXPORT), code=1), ["a@b is not a domain"])
        lines = self.run_(self.storage, "Other.LIT", self.file(EXPORT))
        self.assertEqual(lines, [f"{DOMAIN}: skipped: its domain is not other.lit", counted(skipped=1)])

    def test_wrongStorage(self) -> None:
        """A storage that does not exist is not created; another kind of database is not changed."""
        wanted = "expected COMPONENT.private in the gateway's state_dir"
        missing = self.folder / "missing.private"
        [line] = self.run_(missing, DOMAIN, self.file(EXPORT), code=1)
        self.assertIn(f"{missing} does not exist: {wanted}", line)
        self.assertFalse(missing.exists())
        [line] = self.run_(self.folder, DOMAIN, self.file(EXPORT), code=1)
        self.assertIn(wanted, line)
        prosody = self.database()
        before = prosody.read_bytes()
        [line] = self.run_(prosody, DOMAIN, self.file(EXPORT), code=1)
        self.assertIn(f"is not a private storage: {wanted}", line)
        self.assertEqual(prosody.read_bytes(), before)
        [line] = self.run_(self.file("text" * 2_000), DOMAIN, self.file(EXPORT), code=1)
        self.assertIn("cannot be used", line)

    def test_newerStorage(self) -> None:
        """The storage of a newer release is not changed."""
        with closing(sqlite3.connect(self.storage)) as connection:
            connection.execute("PRAGMA user_version = 99")
        before = self.storage.read_bytes()
        [line] = self.run_(self.storage, DOMAIN, self.file(EXPORT), code=1)
        self.assertIn("a newer release of the gateway has changed it (schema version 99", line)
        self.assertEqual(self.storage.read_bytes(), before)

    def test_usage(self) -> None:
        """Missing arguments end the command with its usage."""
        self.patch(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115  # closed by the cleanup
        self.addCleanup(sys.stderr.close)
        error = self.assertRaises(SystemExit, importer.main, [str(self.storage)], lambda text: None)
        self.assertEqual(error.code, 2)


class PostgresTests(ImporterCase):
    """A storage in PostgreSQL."""

    def test_stored(self) -> None:
        """Elements are stored once; a dry run stores nothing; a storage that does not exist is named."""
        url, name = cluster().url(cluster().database()), self.storage.name
        [line] = self.run_(f"{url}#{name}", DOMAIN, self.file(EXPORT), code=1)
        self.assertIn(f", {name} cannot be used: it does not exist: the gateway creates it when it starts", line)
        store = Database(places.backend(url, name, MIGRATIONS), MemoryReactorClock())
        store.atStart(lambda cursor: None)
        expected = self.imported(self.file(EXPORT))
        dry = self.run_("--dry-run", f"{url}#{name}", DOMAIN, self.file(EXPORT))
        self.assertEqual(dry[-1], f"This is a dry run: nothing is stored. {expected[-1]}")
        self.assertEqual(self.run_(f"{url}#{name}", DOMAIN, self.file(EXPORT)), expected)
        rows = store.atStart(lambda cursor: cursor.execute("SELECT * FROM private").fetchall())
        self.assertEqual({row[:3]: row[3] for row in rows}, self.stored())
        self.assertIn("already stored: ", self.run_(f"{url}#{name}", DOMAIN, self.file(EXPORT))[-1])
        self.assertEqual(store.atStart(lambda cursor: cursor.execute("SELECT * FROM private").fetchall()), rows)


class LockTests(ImporterCase):
    """An import while a gateway runs."""

    def test_locked(self) -> None:
        """If the database stays locked the import ends; it says how much is stored, and can be repeated."""
        self.patch(importer, "_LOCK_TIMEOUT", 0.1)
        source = self.file(EXPORT)
        with closing(sqlite3.connect(self.storage, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            lines = self.imported(source, code=1)
            self.assertEqual(lines[0], counted())
            self.assertIn("another process has locked it", lines[1])
        self.assertEqual(self.imported(source), [counted(3)])

    def test_transactions(self) -> None:
        """The lock is held for a hundred elements at a time, and not while files are read."""
        self.patch(importer, "_MAX_AT_ONCE", 2)
        seen: list[tuple[int, bool]] = []

        def found() -> Any:
            for number in range(5):
                with closing(sqlite3.connect(self.storage, timeout=0, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    seen.append((other.execute("SELECT count(*) FROM private").fetchone()[0], True))
                    other.execute("ROLLBACK")
                yield Entry(f"u{number}@{DOMAIN}", KEY, OLD)

        self.patch(exports, "read", lambda source, domain: found())
        self.assertEqual(self.imported("any"), [counted(5)])
        self.assertEqual([count for count, _ in seen], [0, 0, 2, 2, 4])


class RunningTests(TestCase):
    """A gateway's own storage, open during the import."""

    @inlineCallbacks
    def test_open(self) -> Any:
        """The gateway sees imported elements at once, and the command sees elements that the gateway has stored."""
        path = Path(self.mktemp()).absolute()
        database = Database(SqliteBackend(path, MIGRATIONS), reactor)
        self.addCleanup(database.close)
        store = PrivateFile(database)
        yield store.put(USER, {KEY: NEW}, 1_000, 10)
        source = path.with_suffix(".xml")
        source.write_text(EXPORT.replace("name='romeo'", "name='juliet'"))
        said: list[str] = []
        code = importer.main([str(path), DOMAIN, str(source)], said.append)
        self.assertEqual((code, said[-1]), (0, f"{counted(2, kept=1)}\n"))
        self.assertEqual((yield store.get(USER, KEY)), NEW)
        self.assertEqual((yield store.get(USER, ("urn:empty", "e"))), "<e xmlns='urn:empty'/>")


class MemoryTests(ImporterCase):
    """Limits of memory."""

    def test_memory(self) -> None:
        """A file of 30 MB needs no more memory than a small one."""
        user = "<user name='u%d'><query xmlns='jabber:iq:private'><a xmlns='urn:1'>%s</a></query></user>"
        source = self.folder / "large.xml"
        with open(source, "w") as file:
            file.write(f"<host xmlns='urn:xmpp:pie:0' jid='{DOMAIN}'>")
            file.writelines(user % (number, "x" * 6_500) for number in range(5_000))
            file.write("</host>")
        self.assertGreater(source.stat().st_size, 30_000_000)
        command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "gateway.delegation.importer"]
        command += [str(self.storage), DOMAIN, str(source)]
        ended = subprocess.run(command, cwd=ROOT, timeout=120, capture_output=True, text=True, check=False)
        said, _, memory = ended.stdout.partition("\n")
        self.assertEqual((ended.returncode, said), (0, counted(5_000)), ended.stderr)
        # KiB.
        self.assertLess(int(memory), 150 * 1024)
