"""The pages of the documentation, and their blocks of code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# All of its blocks are messages, and a test of its own compares them with the gateway's.
GENERATED = DOCS / "mistakes.md"
PAGES = tuple(
    each
    for each in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "benchmarks" / "README.md")
    if each != GENERATED
)
# Instructions for one server, with the whole configuration of the gateway on the same page.
PAIRS = tuple(each for each in PAGES if each.parent.name in ("howto", "servers"))

_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@frozen
class Block:
    """
    A block of code.

    @ivar line: number of its first line, the one that names the language.
    @ivar text: its lines, without their common indentation.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """The place, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
        for found in _FENCE.finditer(text)
    ]


def isShown(file: str) -> bool:
    """Return True if a page has the whole content of this file."""
    return any(f"\n`{file}`:\n" in page.read_text() for page in PAGES)


def allBlocks(language: str) -> Iterator[Block]:
    """Yield the blocks of all pages in one language."""
    for page in PAGES:
        yield from (each for each in blocks(page) if each.language == language)


def indented(page: Path) -> list[str]:
    """Return the places of indented blocks, which name no language."""
    without = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text())
    return [
        f"{page.relative_to(ROOT)}:{without.count(chr(10), 0, found.end()) + 1}"
        for found in re.finditer(r"\n\n(?= {4,}\S)", without)
    ]
