"""Plain technical English in docstrings, comments, messages and documentation, as far as a program can check it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
# A docstring begins with a verb or a noun.
BEGINNING = re.compile(r"(?:What|Whether|Who|Whom|Whose|How|Where|Which)(?:ever)?\b")
BEGUN = re.compile(rf'"""\s*{BEGINNING.pattern}')
# Between two parts of a text.
CONCATENATION = re.compile(r"""["']\s*[fr]?["']""")
# A user is "they", or "the user".
PRONOUN = re.compile(r"\b(?:he|him|his|himself)\b", re.IGNORECASE)
# Idioms, and words that have a technical term.
IDIOM = re.compile(
    r"\b(?:is no more|are no more|is said|are said|gives up|given up|puts? to right|strangers?|is ours|are ours"
    r"|at odds|by its own doing|nodes? (?:above|below)|cannot be had|takes? leave|the room above"
    r"|hand(?:s|ed)? on|in vain|gave up|as ever|thrown out)\b",
    re.IGNORECASE,
)
# Limits are called MAX_..., deadlines TIMEOUT.
NAME = re.compile(r"\b(?:_?MOST_|_?LONGEST_|_?LARGEST\b|_?PATIENCE\b)")
# Specifications are quoted as they are: in quotation marks, or after ">".
QUOTATION = re.compile(r'"[^"]*"|^\s*> .*$', re.MULTILINE)


def filesOf(*patterns: str) -> list[Path]:
    """Return the files that are checked."""
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path != Path(__file__)]


MODULES = filesOf("gateway/**/*.py", "tests/**/*.py", "benchmarks/*.py", "docs/*.py", "gateway.tac")
PAGES = filesOf("README.md", "docs/**/*.md", "benchmarks/README.md", "gateway.example.toml", "newsfragments/[0-9]*")


@frozen
class Words:
    """
    The words of a module.

    @ivar comments: all comments.
    @ivar strings: all strings: docstrings, log lines, errors, and others.
    """

    docstrings: list[str]
    comments: list[str]
    strings: list[str]


def wordsOf(source: str) -> Words:
    """Return the words of a module; none if no pattern finds anything in its source, which most modules pass."""
    joined = CONCATENATION.sub("", source)
    if not any(pattern.search(text) for pattern in (PRONOUN, IDIOM, BEGUN) for text in (source, joined)):
        return Words([], [], [])
    nodes = list(ast.walk(ast.parse(source)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return Words(
        [text for node in nodes if isinstance(node, documented) and (text := ast.get_docstring(node))],
        [token.string for token in tokens if token.type == tokenize.COMMENT],
        [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)],
    )


def wrong(pattern: re.Pattern[str], texts: Iterable[str]) -> list[str]:
    """Return the parts of texts, outside of quotations, that a pattern finds."""
    return [found.group() for text in texts for found in pattern.finditer(QUOTATION.sub("", text))]


class WordsTests(SynchronousTestCase):
    """The words of all modules and pages."""

    def assertNone(self, found: dict[Path, list[str]]) -> None:
        self.assertEqual({str(path.relative_to(ROOT)): each for path, each in found.items() if each}, {})

    def test_files(self) -> None:
        """Modules of each folder and all pages are checked."""
        for each in ("gateway/composition/service.py", "tests/live/case.py", "benchmarks/relay.py"):
            self.assertIn(ROOT / each, MODULES)
        for each in ("README.md", "docs/architecture.md", "benchmarks/README.md"):
            self.assertIn(ROOT / each, PAGES)

    def test_finds(self) -> None:
        """The patterns find examples, but not in quotations."""
        source = '"""What it is."""\n# he does\nx = "the node above"\ndef f():\n    """> he\n    "his" room"""\n'
        words = wordsOf(source)
        self.assertTrue(BEGINNING.match(words.docstrings[0]))
        self.assertEqual(wrong(PRONOUN, words.comments), ["he"])
        self.assertEqual(wrong(IDIOM, words.strings), ["node above"])
        self.assertEqual(wrong(PRONOUN, words.docstrings), [])
        names = NAME.findall("_MOST_X PATIENCE LONGEST_Y LARGEST MOST")
        self.assertEqual(names, ["_MOST_", "PATIENCE", "LONGEST_", "LARGEST"])

    def test_words(self) -> None:
        """
        No docstring begins with a question word. No docstring, comment or page calls a user "he". No old idiom in
        docstrings, comments, messages and pages.
        """
        found = {path: wrong(PRONOUN, [text := path.read_text()]) + wrong(IDIOM, [text]) for path in PAGES}
        for path in MODULES:
            words = wordsOf(path.read_text())
            found[path] = [
                *filter(BEGINNING.match, words.docstrings),
                *wrong(PRONOUN, words.docstrings + words.comments),
                *wrong(IDIOM, words.strings + words.comments),
            ]
        self.assertNone(found)

    def test_names(self) -> None:
        """Limits and deadlines have the usual names."""
        self.assertNone({path: NAME.findall(path.read_text()) for path in MODULES})
