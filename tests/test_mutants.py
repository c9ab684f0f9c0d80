"""The changes that C{make mutants} tries."""

from __future__ import annotations

import ast
from itertools import groupby
from operator import itemgetter

from twisted.trial.unittest import SynchronousTestCase

from tests import mutants as module
from tests.mutants import ROOT, WIRING, Mutant, chosen, mutants, testsOf


def broken(source: str) -> set[str]:
    """Return a source with each of its changes."""
    data = source.encode()
    return {_with(data, each).decode().removesuffix("\n") for each in mutants(data)}


def _with(data: bytes, mutant: Mutant) -> bytes:
    return data[: mutant.start] + mutant.new + data[mutant.start + len(mutant.old) :]


def assertValid(source: bytes, found: list[Mutant]) -> None:
    """A source is valid Python with any of these changes."""
    # All at once, except for those within each other: each of them is valid if the whole is.
    while found:
        rest = []
        end, changed = len(source) + 1, source
        for mutant in sorted(found, key=lambda each: each.start, reverse=True):
            if mutant.start + len(mutant.old) <= end:
                changed, end = _with(changed, mutant), mutant.start
            else:
                rest.append(mutant)
        ast.parse(changed)
        found = rest


class MutantTests(SynchronousTestCase):
    """The changes of a source."""

    def test_conditions(self) -> None:
        """A condition, or a part of it, becomes constant."""
        self.assertEqual(
            broken("if a and b: c"),
            {"if True: c", "if False: c", "if True and b: c", "if a and True: c"},
        )
        self.assertEqual(
            broken("x = é or b if c else d"),
            {
                "x = é or b if True else d",
                "x = é or b if False else d",
                "x = False or b if c else d",
                "x = é or False if c else d",
            },
        )
        self.assertEqual(broken("def f(): return a == b"), {"def f(): return True", "def f(): return False"})

    def test_calls(self) -> None:
        """A call or a named argument is removed, except for logging."""
        self.assertEqual(broken("f(a, b=c, d=e)"), {"pass", "f(a,  d=e)", "f(a, b=c, )"})
        self.assertEqual(broken("log.info('x', b=c)"), set())
        self.assertEqual(broken("@frozen(kw_only=True)\nclass A: pass"), set())

    def test_keys(self) -> None:
        """A configured key gets its default."""
        [found] = broken("f(table.domain)") - {"pass"}
        self.assertIn("['domain'].default", found)

    def test_files(self) -> None:
        """Each file exists, and is valid Python with any of its changes."""
        for name in WIRING:
            with self.subTest(name):
                source = (ROOT / name).read_bytes()
                found = mutants(source)
                self.assertGreater(len(found), 10)
                assertValid(source, found)
                self.assertIn(["tests.effects"], testsOf(name))


class ChosenTests(SynchronousTestCase):
    """The mutations of L{tests.mutations}."""

    def test_valid(self) -> None:
        """Each text is once in its file, and its replacement is valid Python. Change both if the code changes."""
        found = chosen()
        self.assertGreater(len(found), 60)
        self.assertEqual(len(set(found)), len(found))
        for name, each in groupby(sorted(found, key=itemgetter(0)), key=itemgetter(0)):
            with self.subTest(name):
                changes = [mutant for _, mutant in each]
                self.assertEqual([mutant for mutant in changes if mutant.old == mutant.new], [])
                assertValid((ROOT / name).read_bytes(), changes)

    def test_gone(self) -> None:
        """A text that is not in its file any longer, or not only once, is an error that names it."""
        for text, count in (("no such text", "0 times"), ("import", "times")):
            self.patch(module, "RULES", {"gateway/composition/service.py": ((text, "pass"),)})
            error = self.assertRaises(ValueError, chosen)
            self.assertIn(f"{text}", str(error))
            self.assertIn(count, str(error))

    def test_packages(self) -> None:
        """Each package with rules has some."""
        packages = {name.split("/")[1] for name, _ in chosen()}
        wanted = {"composition", "http", "stream", "proxy", "delegation", "privilege", "roster", "muc", "fmuc"}
        self.assertLessEqual(wanted | {"embedded"}, packages)
