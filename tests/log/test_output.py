"""The destination of the log: its format, levels and file, and their changes while the process runs."""

from __future__ import annotations

import json
import os
import signal
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.service import Application
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.python.syslog import SyslogObserver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.config.tables import ConfigError, LogTable
from gateway.log.lines import asJson, asText
from gateway.log.output import AppendFile, LogOutput, Standard, TwistdFile
from gateway.log.printable import MAX_LINE, makePrintable
from gateway.tap import ConfiguredLog, Process

NODAEMON = {"syslog": 0, "prefix": "twisted", "logfile": None, "nodaemon": True}


class Broken(StringIO):
    """A full disk, until it is mended."""

    isFull = True

    def write(self, text: str) -> int:
        if self.isFull:
            raise OSError(28, "No space left on device")
        return super().write(text)


class OutputCase(SynchronousTestCase):
    """A log publisher, as twistd has it, with an output."""

    options: dict[str, Any] | None = NODAEMON

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.stdout = StringIO()
        self.make(self.options)

    def make(self, options: dict[str, Any] | None, **keys: Any) -> None:
        """Make the output for these options of twistd and keys of C{[log]}, and attach it as twistd does."""
        self.output = LogOutput(Standard(options, self.stdout))
        self.log = ConfiguredLog(self.output)
        self.log.begin(LogTable(**keys))
        self.application = Application("test")
        self.output.attach(self.application)
        self.publisher = LogPublisher(makePrintable, self.output)
        self.patch(LogOutput, "_log", Logger("gateway.log.output", observer=self.publisher))
        self.patch(ConfiguredLog, "_log", Logger("gateway.tap", observer=self.publisher))

    def logger(self, name: str = "gateway.stream.link.Link") -> Logger:
        return Logger(name, observer=self.publisher)

    def written(self, name: str = "") -> list[str]:
        """Return the lines of a file, or of standard output."""
        return ((self.folder / name).read_text() if name else self.stdout.getvalue()).splitlines()


class DestinationTests(OutputCase):
    """The destination of lines."""

    def test_interface(self) -> None:
        """It is an observer, which twistd finds as a component of the application."""
        verifyObject(ILogObserver, self.output)
        self.assertIs(self.application.getComponent(ILogObserver), self.output)
        self.assertTrue(self.output.isAttached)

    def test_stdout(self) -> None:
        """By default a line is as twistd writes it."""
        self.logger().info("hello {name}", name="x")
        [line] = self.written()
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"
        self.assertRegex(line, rf"^{time} \[gateway\.stream\.link\.Link#info\] hello x$")
        self.assertFalse(self.output.reopen())

    def test_file(self) -> None:
        """A file takes the lines instead, after those that it has; the group can read it, others cannot."""
        (self.folder / "old.log").write_text("before\n")
        self.make(NODAEMON, file=str(self.folder / "old.log"))
        self.logger().info("hello")
        self.assertEqual((len(self.written("old.log")), self.written()), (2, []))
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.make(NODAEMON, file=str(self.folder / "new.log"))
        self.assertEqual((self.folder / "new.log").stat().st_mode & 0o777, 0o640)

    def test_logfile(self) -> None:
        """twistd's own file, named or by default, is rotated as before; C{[log] file} is not used then."""
        name = str(self.folder / "twistd.log")
        self.patch(os, "getcwd", lambda: str(self.folder))
        for options, file, notes in (
            ({"logfile": name, "nodaemon": True}, None, []),
            ({"logfile": None, "nodaemon": False}, None, []),
            ({"logfile": name, "nodaemon": False}, "x.log", ["log.file is not used"]),
        ):
            self.make(NODAEMON | options, file=file and str(self.folder / file))
            self.logger().info("first")
            self.assertTrue(self.output.reopen())
            self.logger().info("second")
            self.assertIn("first", self.written("twistd.log.1")[-1])
            [line] = self.written("twistd.log")
            self.assertIn("second", line)
            found = self.output.notes(False, file, not file)
            self.assertEqual([each.partition(": ")[0] for each in found], notes)
            (self.folder / "twistd.log").unlink()
        self.assertFalse((self.folder / "x.log").exists())

    def test_noOther(self) -> None:
        """With a file, the default file of twistd is not created."""
        self.patch(os, "getcwd", lambda: str(self.folder))
        self.make(NODAEMON | {"nodaemon": False}, file=str(self.folder / "mine.log"))
        self.assertEqual([each.name for each in self.folder.iterdir()], ["mine.log"])

    def test_syslog(self) -> None:
        """The system's log takes text, from the level on."""
        sent: list[str] = []
        self.patch(SyslogObserver, "openlog", lambda *given: None)
        self.patch(SyslogObserver, "syslog", lambda *given: sent.append(given[-1]))
        self.make(NODAEMON | {"syslog": 1}, format="json", level="warn")
        self.logger().info("no")
        self.logger().warn("yes")
        self.assertEqual(sent, ["[-] yes"])
        self.assertIn("--syslog writes text", self.output.notes(True, None, False)[0])

    def test_unattached(self) -> None:
        """An application's own observer is kept; so is twistd's where its options are not known, without a file."""
        for interface in (ILogObserver, legacy.ILogObserver):
            application = Application("other")
            application.setComponent(interface, print)
            output = LogOutput(Standard(NODAEMON, self.stdout))
            output.use(False, "info", {}, None)
            output.attach(application)
            self.assertFalse(output.isAttached)
            self.assertEqual(output.notes(False, None, True), [])
            self.assertEqual(len(output.notes(False, None, False)), 1)
        for options in (None, NODAEMON | {"logger": "x"}, {"logLevel": "info"}):
            self.make(options, level="warn")
            self.assertFalse(self.output.isAttached)
            self.assertFalse(self.output.reopen())
            self.assertIs(self.application.getComponent(ILogObserver, None), None)
            self.make(options, file=str(self.folder / "some.log"))
            self.assertTrue(self.output.isAttached)
            self.logger().info("hello")
            self.assertIn("hello", self.written("some.log")[-1])

    def test_process(self) -> None:
        """The gateway's parent attaches it when it becomes part of the application."""
        log = ConfiguredLog(LogOutput(Standard(NODAEMON, self.stdout)))
        log.begin(LogTable())
        application = Application("gateway")
        Process(self.folder, Clock(), log=log).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), log.output)

    def test_unusable(self) -> None:
        """A file that cannot be opened is an error by its key; a pipe that nobody reads does not block."""
        os.mkfifo(self.folder / "pipe")
        for name in ("none/x.log", ".", "pipe"):
            error = self.assertRaises(ConfigError, self.make, NODAEMON, file=str(self.folder / name))
            self.assertTrue(error.problems[0].startswith(f"log.file: {self.folder / name}"), error.problems)


class ReopenTests(OutputCase):
    """SIGUSR1, after another program has renamed the file."""

    def setUp(self) -> None:
        super().setUp()
        self.make(NODAEMON, file=str(self.folder / "a.log"))

    def test_renamed(self) -> None:
        """Lines go to the renamed file until the signal, then to a new one; none is lost."""
        self.logger().info("one")
        (self.folder / "a.log").rename(self.folder / "a.log.1")
        self.logger().info("two")
        self.assertTrue(self.log.reopen())
        self.logger().info("three")
        self.assertEqual([line.split()[-1] for line in self.written("a.log.1")], ["one", "two"])
        self.assertEqual([line.split()[-1] for line in self.written("a.log")], ["three"])

    def test_fails(self) -> None:
        """If the new file cannot be opened, the old one is used further, and says so."""
        (self.folder / "a.log").rename(self.folder / "b.log")
        (self.folder / "a.log").mkdir()
        self.assertTrue(self.log.reopen())
        self.logger().info("two")
        self.assertIn("cannot be opened again", self.written("b.log")[0])
        self.assertIn("two", self.written("b.log")[1])

    def test_twistds(self) -> None:
        """twistd's file is opened again if it was renamed, and rotated otherwise."""
        file = TwistdFile.fromFullPath(str(self.folder / "t.log"))
        self.addCleanup(file.close)
        file.write("one\n")
        (self.folder / "t.log").rename(self.folder / "elsewhere")
        file.reopen()
        file.write("two\n")
        file.reopen()
        names = {each.name: each.read_text() for each in self.folder.glob("[te]*")}
        self.assertEqual(names, {"elsewhere": "one\n", "t.log.1": "two\n", "t.log": ""})

    def test_signal(self) -> None:
        """The process does this at SIGUSR1; without a file, the signal is ignored and logged."""

        class Now(Clock):
            """Runs calls of a signal handler at once."""

            def callFromThread(self, call: Any, *arguments: object) -> None:
                call(*arguments)

        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.patch(Process, "_log", Logger("gateway.tap.Process", observer=self.publisher))
        process = Process(self.folder, Now(), log=self.log)
        process.startService()
        (self.folder / "a.log").rename(self.folder / "b.log")
        signal.raise_signal(signal.SIGUSR1)
        self.assertTrue((self.folder / "a.log").exists())
        self.assertEqual(self.written("a.log"), [])
        self.log.change(LogTable())
        signal.raise_signal(signal.SIGUSR1)
        self.assertIn("SIGUSR1 is ignored: there is no log file to open again.", self.written()[-1])
        self.successResultOf(process.stopService())


class LevelTests(OutputCase):
    """C{level} and C{levels}."""

    def levels(self, name: str) -> list[str]:
        """Return the levels that are written for a logger."""
        before = len(self.written())
        for level in ("debug", "info", "warn", "error", "critical"):
            getattr(self.logger(name), level)(level)
        return [line.split()[-1] for line in self.written()[before:]]

    def test_levels(self) -> None:
        """The longest name that a logger's name begins with decides; otherwise C{level} does."""
        self.make(NODAEMON, level="warn", levels={"gateway.roster": "debug", "gateway.roster.lock": "critical"})
        self.assertEqual(self.levels("gateway.proxy.handler.ProxyHandler"), ["warn", "error", "critical"])
        self.assertEqual(len(self.levels("gateway.roster")), 5)
        self.assertEqual(len(self.levels("gateway.roster.handler.RosterHandler")), 5)
        self.assertEqual(self.levels("gateway.roster.lock.Lock"), ["critical"])
        self.assertEqual(len(self.levels("gateway.rosters")), 3)

    def test_default(self) -> None:
        """By default all but debug lines are written; those of Twisted and of print are, too."""
        self.assertEqual(self.levels("any"), ["info", "warn", "error", "critical"])

    def test_changed(self) -> None:
        """All settings can be changed while the process runs. If the file cannot be opened, none is."""
        self.log.change(LogTable(level="debug"))
        self.assertEqual(len(self.levels("x")), 5)
        self.log.change(LogTable(format="json", file=str(self.folder / "x.log"), level="error"))
        self.assertEqual(self.levels("x"), [])
        self.assertEqual(json.loads(self.written("x.log")[0])["level"], "error")
        self.log.change(LogTable(file=str(self.folder / "none" / "x.log")))
        lines = [json.loads(line) for line in self.written("x.log")]
        self.assertIn("none/x.log: No such file or directory; the settings", lines[-1]["message"])
        self.log.change(LogTable())
        self.assertEqual(len(self.levels("x")), 4)


class FaultTests(OutputCase):
    """Lines that cannot be written."""

    def test_full(self) -> None:
        """They are lost, nothing is raised, and their number is logged when lines can be written again."""
        self.stdout = broken = Broken()
        self.make(NODAEMON)
        for _ in range(3):
            self.logger().info("lost")
        broken.isFull = False
        self.logger().info("written")
        self.logger().info("again")
        lines = [line.partition("] ")[2] for line in self.written()]
        self.assertEqual(lines, ["written", "3 lines could not be written to the log.", "again"])

    def test_device(self) -> None:
        """The same for a file, such as a device that is always full."""
        if not os.path.exists("/dev/full"):
            return
        file = AppendFile(Path("/dev/full"))
        self.addCleanup(file.close)
        self.assertRaises(OSError, file.write, "x\n")


class JsonTests(OutputCase):
    """C{format = "json"}."""

    def setUp(self) -> None:
        super().setUp()
        self.make(NODAEMON, format="json")

    def one(self) -> dict[str, Any]:
        [line] = self.written()
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())
        found: dict[str, Any] = json.loads(line)
        return found

    def test_fields(self) -> None:
        """A line has time, level, part, message, and the fields of the event that JSON can write."""
        fields = {"event": "link.lost", "jid": "é.example.com", "n": 3, "f": 0.12345, "isUp": False}
        self.logger().warn("{jid}: {n}", names=("a", "b"), x=object(), **fields)
        found = self.one()
        self.assertRegex(found.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        expected = {"level": "warn", "part": "gateway.stream.link.Link", "message": "é.example.com: 3"}
        expected |= {"event": "link.lost", "jid": "é.example.com"}
        self.assertEqual(found, expected | {"n": 3, "f": 0.123, "isUp": False, "names": ["a", "b"]})

    def test_hostile(self) -> None:
        """Untrusted text stays in one line, as it is, and has a bounded length."""
        text = "\x1b[2J\x7f\u202e\n{}\"\\\ud800" + "x" * 2 * MAX_LINE
        self.logger().info("{text}", text=text)
        found = self.one()
        self.assertEqual(found["text"], text[:MAX_LINE])
        self.assertTrue(found["message"].startswith(r"\x1b[2J\x7f\u202e"))

    def test_reserved(self) -> None:
        """A field of an event cannot take the place of one that each line has."""
        self.logger().info("x", traceback="forged", message="forged", time=1, part="forged")
        found = self.one()
        self.assertEqual((found["message"], found["part"]), ("x", "gateway.stream.link.Link"))
        self.assertEqual((len(found), found["time"] == 1), (4, False))

    def test_failure(self) -> None:
        """A traceback is a field of its own, also if its text was made printable."""
        for text in ("oops", "oops \x1b[2J"):
            self.stdout.truncate(0)
            self.stdout.seek(0)
            try:
                raise ValueError(text)
            except ValueError:
                self.logger().failure("It failed: {why_}", failure=Failure(), why_=text)
            found = self.one()
            self.assertEqual(found["message"], f"It failed: {text}".replace("\x1b", r"\x1b"))
            self.assertTrue(found["traceback"].startswith("Traceback (most recent call last):\n"), found)
            self.assertIn("ValueError: oops", found["traceback"])
            self.assertEqual(found["level"], "critical")

    def test_bare(self) -> None:
        """Events without a level or a text are written or left out like text."""
        for event in ({"log_format": "x"}, {"log_format": ""}, {}):
            self.assertEqual(bool(asJson(dict(event))), bool(asText(dict(event))))

