"""Untrusted text in the log: all observers of Twisted write lines that cannot control a screen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    Logger,
    LogPublisher,
    eventAsText,
    globalLogPublisher,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.log.printable import MAX_EVENT, MAX_LINE, makePrintable, printable
from tests.profiles import steady

ROOT = Path(__file__).resolve().parents[2]

# Clearing the screen, a C1 control, reversed text, line ends, invisible marks, half of a surrogate pair,
# and a character.
HOSTILE = "\x1b[2J\x9b31m\x7f\u202egnp.exe\u2066\u200f\u061c\u2028\u2029\x85\r\t\0\ufeff\u200b\ud800\U000e0041"
ESCAPED = r"\x1b[2J\x9b31m\x7f\u202egnp.exe\u2066\u200f\u061c\u2028\u2029\x85\r\t\x00\ufeff\u200b\ud800\U000e0041"

# A gateway as an application file that logs untrusted text in each of the possible ways.
APPLICATION = r"""
import sys
from pathlib import Path
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.logger import Logger
from twisted.python import log
from gateway.tap import Options, makeService

HOSTILE = "HERE"
class Hostile(Service):
    def startService(self):
        reactor.callLater(0, self.write)
    def write(self):
        Logger(namespace="one").info("one {x}", x=HOSTILE)
        Logger(namespace="two").info("two {x!r}", x=HOSTILE)
        log.msg("three " + HOSTILE)
        print("four " + HOSTILE.replace("\ud800", ""))
        try:
            raise ValueError("five " + HOSTILE)
        except ValueError:
            Logger(namespace="five").failure("five " + HOSTILE.replace("{", ""))
            log.err()
        Logger(namespace="six").info("six {x}", x="line\n2026-01-01T00:00:00+0000 [forged#info] forged")
        reactor.stop()
options = Options()
options.parseOptions(["--config", "gateway.toml"])
application = Application("x")
makeService(options).setServiceParent(application)
Hostile().setServiceParent(application)
"""
SYSLOG = "import os, syslog; syslog.syslog = lambda *given: os.write(1, (given[-1] + chr(10)).encode())"
CONFIG = """
[server]
endpoint = "tcp:127.0.0.1:9"
secret = "x"
[http]
listen = "unix:http"
[proxy."proxy.example.com"]
target = "implementation@example.com"
"""


class PrintableTests(SynchronousTestCase):
    """One line of text."""

    def test_escaped(self) -> None:
        """Each such character is shown as Python would write it."""
        self.assertEqual(printable(HOSTILE), ESCAPED)
        self.assertEqual(printable("a\nb"), r"a\nb")

    def test_kept(self) -> None:
        """Text in any script is kept, and emoji."""
        text = "Grüße, Привет, مرحبا, שלום, 你好, नमस्ते, \U0001f600 \\x1b {x} %s"
        self.assertEqual(printable(text), text)

    def test_all(self) -> None:
        """All controls, line ends, surrogates and bidi controls are escaped; visible characters are kept."""
        directions = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for number in range(sys.maxunicode + 1):
            character = chr(number)
            category = unicodedata.category(character)
            isEscaped = printable(character) != character
            if category in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in directions:
                self.assertTrue(isEscaped, hex(number))
            elif category not in ("Cf", "Cn"):
                self.assertFalse(isEscaped, hex(number))

    def test_bounded(self) -> None:
        """A line has a maximum length, and the number of omitted characters is shown."""
        self.assertEqual(printable("x" * MAX_LINE), "x" * MAX_LINE)
        shown = printable("x" * 10_000_000)
        self.assertEqual(shown, "x" * MAX_LINE + "... (10000000 characters)")

    @steady
    @given(st.text())
    def test_idempotent(self, text: str) -> None:
        """Escaped text is printable, and can be written in UTF-8."""
        self.assertEqual(printable(printable(text)), printable(text))
        printable(text).encode()


class ObserverTests(SynchronousTestCase):
    """The first observer of the log."""

    def setUp(self) -> None:
        self.written = StringIO()
        self.json = StringIO()
        self.legacy: list[dict[str, Any]] = []
        self.publisher = LogPublisher(
            makePrintable,
            textFileLogObserver(self.written),
            jsonFileLogObserver(self.json),
            LegacyLogObserverWrapper(self.legacy.append),  # type: ignore[arg-type]  # as Twisted itself does
        )
        self.log = Logger(namespace="n", observer=self.publisher)

    def lines(self) -> list[str]:
        """Return the lines of the text log, without their times; check that all observers have the same text."""
        text = self.written.getvalue()
        for line in text.split("\n"):
            self.assertEqual(printable(line.removeprefix("\t")), line.removeprefix("\t"))
        old = [log.textFromEventDict(event) or "" for event in self.legacy]
        for line in "\n".join(old).split("\n"):
            self.assertEqual(printable(line), line)
        for record in self.json.getvalue().split("\x1e"):
            if record:
                shown = eventAsText(json.loads(record), includeTimestamp=False, includeSystem=False)
                self.assertEqual("\n".join(map(printable, shown.split("\n"))), shown)
        return [line.partition(" ")[2] for line in text.split("\n")[:-1]]

    def test_interface(self) -> None:
        """It is an observer."""
        verifyObject(ILogObserver, makePrintable)

    def test_values(self) -> None:
        """All ways for a value to get into a message."""
        self.log.info("{x} and {x!r} and {y[0]}", x=HOSTILE, y=[HOSTILE])
        [line] = self.lines()
        self.assertTrue(line.startswith(f"[n#info] {ESCAPED} and '"), line)

    def test_untouched(self) -> None:
        """A printable event is not changed."""
        self.log.info("{x} of {y}", x=1, y="Grüße")
        self.assertEqual(self.lines(), ["[n#info] 1 of Grüße"])
        self.assertEqual(self.legacy[0]["log_format"], "{x} of {y}")

    def test_failure(self) -> None:
        """The text of exceptions and of their causes in tracebacks; the level is kept."""
        try:
            raise KeyError(HOSTILE) from ValueError(f"a\n{HOSTILE}")
        except KeyError:
            self.log.failure("{x} failed", x=HOSTILE)
        found = "\n".join(self.lines())
        self.assertIn(f"[n#critical] {ESCAPED} failed", found)
        self.assertIn("most recent call last", found)
        self.assertTrue(self.legacy[0]["isError"])

    def test_failureUntouched(self) -> None:
        """A printable traceback is kept as a failure that observers can use."""
        failure = Failure(ValueError("x"))
        self.log.failure("failed", failure)
        self.assertIs(self.legacy[0]["log_failure"], failure)

    def test_system(self) -> None:
        """The name of the system that logs is escaped as well."""
        self.log.info("x", log_system=HOSTILE)
        self.assertEqual(self.written.getvalue().partition(" ")[2], f"[{ESCAPED}] x\n")
        self.assertEqual(self.legacy[0]["system"], ESCAPED)

    def test_legacy(self) -> None:
        """Twisted's legacy messages, in each of their forms."""
        first = makePrintable
        globalLogPublisher.addObserver(first)
        self.addCleanup(globalLogPublisher.removeObserver, first)
        after = FileLogObserver(self.written, lambda event: eventAsText(event, includeTimestamp=False) + "\n")
        for observer in (after, LegacyLogObserverWrapper(self.legacy.append)):  # type: ignore[arg-type]  # see above
            globalLogPublisher.addObserver(observer)
            self.addCleanup(globalLogPublisher.removeObserver, observer)
        log.msg(HOSTILE, HOSTILE)
        log.msg(format="%(x)s", x=HOSTILE)
        log.err(ValueError(HOSTILE), HOSTILE)
        self.assertEqual(self.written.getvalue().count(ESCAPED), 5)
        self.lines()
        self.flushLoggedErrors()

    def test_newLines(self) -> None:
        """A message of several lines cannot look like several events: further lines begin with a tab."""
        self.log.info("{x}", x="a\n\tb\n2026-01-01T00:00:00+0000 [n#info] c")
        lines = self.written.getvalue().split("\n")
        self.assertEqual(lines[1:], ["\t\\tb", "\t2026-01-01T00:00:00+0000 [n#info] c", ""])

    def test_bounded(self) -> None:
        """The length of an event is limited, in one line or in many; the end of a traceback is kept."""
        self.log.info("{x}", x="x" * 10_000_000)
        self.assertLess(len(self.written.getvalue()), 3 * MAX_LINE)
        self.written.truncate(0)
        self.log.info("{x}", x="\n" * 10_000_000 + "end")
        self.assertLess(len(self.written.getvalue()), 3 * MAX_EVENT)
        self.assertTrue(self.written.getvalue().endswith("\tend\n"))

    def test_unformattable(self) -> None:
        """A value that cannot be formatted does not hide the rest."""

        class Broken:
            def __repr__(self) -> str:
                raise ValueError(HOSTILE)

        self.log.info("{x!r} {y}", x=Broken(), y=HOSTILE)
        self.lines()


class ProcessTests(SynchronousTestCase):
    """The gateway as an operator runs it."""

    def twistd(self, prelude: str, *arguments: str) -> str:
        """Run it in a folder of its own until it ends; return its output, or that in the file C{log}."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "gateway.toml").write_text(CONFIG)
        (folder / "gateway.tac").write_text(APPLICATION.replace('"HERE"', ascii(HOSTILE)))
        run = f"{prelude}; from twisted.scripts.twistd import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", run, "-n", "--pidfile=", "-y", "gateway.tac", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        written = folder / "log"
        return (written.read_bytes() if written.exists() else done.stdout).decode()

    def assertPrintable(self, written: str) -> None:
        lines = written.split("\n")
        for line in lines:
            # Twisted's own mark of a continued line.
            text = re.sub(r"^(\[[^]]*\] )?\t", r"\1", line)
            self.assertEqual(printable(text), text)
        for word in ("one", "two", "three", "four", "five"):
            self.assertTrue(re.search(rf"{word} .*\\u202e", written), word + written)
        # Not a separate event.
        self.assertFalse([line for line in lines if line.startswith("2026-01-01T00:00:00+0000")])

    def test_terminal(self) -> None:
        """On the standard output."""
        self.assertPrintable(self.twistd("pass"))

    def test_file(self) -> None:
        """In a file."""
        self.assertPrintable(self.twistd("pass", "--logfile", "log"))

    def test_syslog(self) -> None:
        """To syslog, which the standard output replaces here."""
        self.assertPrintable(self.twistd(SYSLOG, "--syslog"))
