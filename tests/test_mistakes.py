"""
Usual mistakes, and the messages about them: each is exactly as docs/mistakes.md shows it.

C{python -m tests.test_mistakes > docs/mistakes.md} writes the page anew; read the difference, because each message
has to say what to do.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway.composition import checks, service
from gateway.composition.reader import Config, Service
from gateway.config.repairs import repaired, similar
from gateway.config.syntax import advice
from gateway.config.tables import ComponentTable, ConfigError, HttpTable, ServerTable
from gateway.config.values import checkDomain
from gateway.interfaces import IConfigCheck, IServicePlugin
from gateway.state import files
from tests.mistakes import MISTAKES, Mistake, messageOf
from tests.troubles import TROUBLES, Seen, Trouble, seen

PAGE = Path(__file__).parent.parent / "docs" / "mistakes.md"
HEAD = """# Usual mistakes

Each mistake has the whole message that it causes, so that you can search for the message. A test compares this page
with the gateway's messages.

- [In the configuration file](#in-the-configuration-file): `twistd gateway --check` and `xmpp-gateway check` print
  all errors of a file at once, and so does a start.
- [At run time](#at-run-time): the log, the problems on `/status`, which the status page shows as well, and the
  answer that a user or a program gets. `xmpp-gateway check` prints the lines that are missing in the server's
  configuration. Advice is shown as for a server that is not known yet; later it has that server's lines only.
"""
CONFIGURATION = """
## In the configuration file

Lines that are not shown are right. The file is `/etc/gateway/gateway.toml`, the gateway's uid 990.
"""
RUNNING = """
## At run time

The components of [gateway.example.toml](../gateway.example.toml) on the server `example.com`. The log repeats an
outage every five minutes, with the number of tries; see [logs.md](logs.md).
"""


def indented(text: str) -> str:
    """Return a block of code."""
    return "".join(f"    {line}\n" if line else "\n" for line in text.rstrip("\n").split("\n"))


def written(mistake: Mistake, message: str) -> str:
    """Return the part of the page about a mistake in the file."""
    lines = mistake.lines.encode(errors="surrogateescape").decode(errors="replace")
    lines += "".join(f"{name}={value}\n" for name, value in mistake.environment.items())
    shown = f"\n{indented(lines)}\n" if lines else "\n"
    return f"\n#### {mistake.title}\n{shown}{'gives' if lines else 'It gives'}\n\n{indented(message)}"


def observed(trouble: Trouble, found: Seen) -> str:
    """Return the part of the page about a mistake at run time."""
    parts = [f"\n#### {trouble.title}\n"]
    for name, texts in (("The log", found.log), ("`/status`", found.status), ("The answer", (found.answer,))):
        text = "\n".join(texts).rstrip("\n")
        if text:
            parts.append(f"\n{name}:\n\n{indented(text)}")
    return "".join(parts)


def page(folder: Path) -> str:
    """Return the whole page."""
    parts = [HEAD, CONFIGURATION]
    folders = subfolders(folder)
    for group, mistakes in MISTAKES.items():
        parts.append(f"\n### {group}\n")
        parts += [written(each, messageOf(each, next(folders))) for each in mistakes]
    parts.append(RUNNING)
    group = ""
    for trouble in TROUBLES:
        if trouble.group != group:
            group = trouble.group
            parts.append(f"\n### {group}\n")
        parts.append(observed(trouble, seen(trouble, next(folders))))
    return "".join(parts)


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield empty folders, but for a token."""
    number = 0
    while True:
        made = folder / str(number)
        made.mkdir(mode=0o700)
        (made / "http.token").write_text("t0ken\n")
        (made / "http.token").chmod(0o600)
        yield made
        number += 1


def sections(text: str) -> dict[str, str]:
    """Return the parts of a page by their headings."""
    found = re.split(r"(?m)^(#{1,4} .*)\n", text)
    return dict(zip(found[1::2], found[2::2], strict=True))


class PageTests(SynchronousTestCase):
    """The messages."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(mode=0o700)
        self.addCleanup(os.umask, os.umask(0o077))

    def test_page(self) -> None:
        """Each message is as the page shows it."""
        expected, found = sections(PAGE.read_text()), sections(page(self.folder))
        for heading in found:
            self.assertEqual(found[heading], expected.get(heading), heading)
        self.assertEqual(list(found), list(expected))

    def test_titles(self) -> None:
        """No two parts have the same title, so that all are compared and can be linked to."""
        titles = [each.title for mistakes in MISTAKES.values() for each in mistakes]
        titles += [each.title for each in TROUBLES]
        self.assertEqual(len(set(titles)), len(titles))

    def test_noneEmpty(self) -> None:
        """Each mistake in the file has a message."""
        self.assertNotIn("", messages(self.folder))

    def test_noSecret(self) -> None:
        """No message shows a secret."""
        self.assertNotIn("s3cret", "".join(messages(self.folder)))
        self.assertNotIn("123456", "".join(messages(self.folder / "second")))


def messages(folder: Path) -> Iterator[str]:
    """Yield the messages about mistakes in the file."""
    folder.mkdir(exist_ok=True)
    folders = subfolders(folder)
    for mistakes in MISTAKES.values():
        for each in mistakes:
            yield messageOf(each, next(folders))


@frozen(kw_only=True)
class BrokenTable(ComponentTable):
    """The table of a plugin with a fault."""


@implementer(IServicePlugin, IConfigCheck)
class BrokenPlugin:
    """
    A plugin with a fault.

    @ivar isFine: true if only its service cannot be made.
    """

    kind = "broken"
    table = BrokenTable

    def __init__(self, isFine: bool) -> None:
        self.isFine = isFine

    def check(self, jid: str, table: Any, environment: Any) -> list[str]:
        if not self.isFine:
            raise ValueError("odd")
        return []

    def makeService(self, jid: str, table: Any, composition: Any) -> Any:
        raise ValueError("odd")


class PluginTests(SynchronousTestCase):
    """A plugin that raises an exception."""

    def config(self, isFine: bool) -> Config:
        table = BrokenTable(endpoint="tcp:127.0.0.1:5347", secret="x")  # type: ignore[arg-type]  # as in a file
        broken = Service(kind="broken", jid="b.example.com", table=table, plugin=BrokenPlugin(isFine))
        folder = Path(self.mktemp()).absolute()
        return Config(state_dir=folder, server=ServerTable(), embedded=None, http=HttpTable(), services=(broken,))

    def assertReported(self, error: Any) -> None:
        """Check the problem and the traceback in the log."""
        advice = "this is a fault of the plugin: report it to its author, with the traceback in the log"
        self.assertEqual(error.problems, [f'broken."b.example.com": the plugin failed: ValueError: odd; {advice}'])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_check(self) -> None:
        """A check that fails is an error of the table, and the log has the traceback."""
        self.assertReported(self.assertRaises(ConfigError, checks.check, self.config(isFine=False)))

    def test_made(self) -> None:
        """So is a service that cannot be made."""
        config = self.config(isFine=True)
        self.assertReported(self.assertRaises(ConfigError, service.makeService, config, MemoryReactorClock()))


class AdviceTests(SynchronousTestCase):
    """Advice about values and lines in other cases than those of the page."""

    def test_similar(self) -> None:
        """The name that is most like a wrong one, in any case and with any separators; nothing for other names."""
        names = ("round-robin", "random", "target", "timeout")
        for wrong, right in (("RoundRobin", "round-robin"), ("tagret", "target"), ("time out", "timeout")):
            self.assertEqual(similar(wrong, names), right)
        for wrong in ("listen", "", "t" * 100_000):
            self.assertIsNone(similar(wrong, names))

    def test_repaired(self) -> None:
        """Nothing is found for values that are far from a right one, whatever they are."""
        self.assertEqual(repaired("https://example.com:5222/x", str, checkDomain), "example.com")
        values: tuple[Any, ...] = ([], {}, True, None, "", "a b", "x" * 100_000, "http://[")
        for wrong in values:
            self.assertIsNone(repaired(wrong, str, checkDomain))

    def test_syntax(self) -> None:
        """Lines with other errors; no advice shows a value."""
        for line, expected in (
            ("secret =", "write a value after secret ="),
            ("a secret = x", "a line is a table"),
            ("outbound = Yes", "write true or false"),
            ("secret = s3cret", 'write a text in quotes: secret = "..."'),
            ("a b", "a line is a table"),
            ("= 1", "a line is a table"),
            ("x = [1", "end the list with ]"),
            ('x = """', "close the quotes"),
            ("x = 1979-02-31", "compare the line with gateway.example.toml"),
        ):
            error = self.assertRaises(ValueError, __import__("tomllib").loads, line)
            found = advice(line, str(error))
            self.assertIn(expected, found, (line, error))
            self.assertNotIn("s3cret", found)

    def test_remedy(self) -> None:
        """The remedy for a file depends on the reason; an unknown reason has none."""
        user = f"the gateway's user (uid {os.geteuid()})"
        for code, expected in (
            (errno.EACCES, f"; give it to {user}, with chown or chmod"),
            (errno.ENOSPC, "; free some space on the disk"),
            (errno.EROFS, "; it is on a disk that is mounted read-only: choose another folder"),
            (errno.EIO, ""),
        ):
            self.assertEqual(files.remedy(OSError(code, os.strerror(code))), expected)


def main() -> Iterable[str]:
    """Yield the page."""
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        yield page(Path(folder))


if __name__ == "__main__":
    sys.stdout.writelines(main())
