"""The changes that C{make mutants} tries."""

from __future__ import annotations

import ast

from twisted.trial.unittest import SynchronousTestCase

from tests.mutants import ROOT, WIRING, Mutant, mutants, testsOf


def broken(source: str) -> set[str]:
    """Return a source with each of its changes."""
    data = source.encode()
    return {_with(data, each).decode().removesuffix("\n") for each in mutants(data)}


def _with(data: bytes, mutant: Mutant) -> bytes:
    return data[: mutant.start] + mutant.new + data[mutant.start + len(mutant.old) :]


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
                for mutant in found:
                    ast.parse(_with(source, mutant))
                self.assertIn("tests.effects", testsOf(name)[0])
