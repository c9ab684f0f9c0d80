"""The pages that are made from the code are current, and complete."""

from __future__ import annotations

import re

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from docs import generated, results
from gateway.config.tables import ComponentTable, keyOf
from tests.docs.pages import DOCS, ROOT
from tests.effects.effect import allKeys

# The pages that explain the options of each table in their own words.
EXPLAINED = {
    **{kind: f"{kind}.md" for kind in ("proxy", "delegation", "roster", "peers", "http")},
    **dict.fromkeys(("rooms", "mirror"), "fmuc.md"),
    "log": "logs.md",
    "server": "connection.md",
}
# What trial prints. The first test prints something itself, and the last one is repeated.
_OUTPUT = """\
    test_early ...                                                         [OK]
tests.live.test_proxy
  EmbeddedProxyTests
    test_a ... a line, [OK]?
another one
                                                                           [OK]
    test_b ...                                                           [FAIL]
    test_c ...                                                        [SKIPPED]
  ProsodyProxyTests
    test_a ...                                                        [SKIPPED]
tests.live.test_standby
  RoomsTests
    test_a ...                                                          [ERROR]
    test_a ...                                                             [OK]
===============================================================================
[FAIL]
    test_b ...                                                             [OK]
"""
_ROW = re.compile(r"(?m)^\| `(\w+)` \| \S.* \| \S.* \| \S.* \|$")


class GeneratedTests(SynchronousTestCase):
    """C{python -m docs.generated} writes the pages anew."""

    maxDiff = None

    def test_pages(self) -> None:
        """Each page is as the program makes it."""
        for name, page in generated.PAGES.items():
            self.assertEqual((DOCS / name).read_text(), page(), name)

    def test_everyKey(self) -> None:
        """The page of options has each key, with a meaning, allowed values and a default."""
        parts = re.split(r"(?m)^##+ ", (DOCS / "options.md").read_text())
        found = {part.partition("\n")[0].strip("`"): set(_ROW.findall(part)) for part in parts}
        common = {each.name for each in fields(ComponentTable)}
        for each in generated.sections():
            own = {keyOf(one.name) for one in fields(each.table)}
            isService = issubclass(each.table, ComponentTable)
            self.assertEqual(found[each.title] | (common if isService else set()), own, each.title)
        listed = set().union(*found.values())
        self.assertEqual({key.rpartition(".")[2] for key in allKeys()} - listed, set())

    def test_explained(self) -> None:
        """The page of a service explains each key of its table as well."""
        common = {each.name for each in fields(ComponentTable)}
        for kind, name in EXPLAINED.items():
            text = (DOCS / name).read_text()
            keys = {key.partition(".")[2] for key in allKeys() if key.startswith(f"{kind}.")} - common
            self.assertEqual({key for key in keys if key.rpartition(".")[2] not in text}, set(), name)

    def test_liveTests(self) -> None:
        """Each module of live tests that uses a server belongs to a feature, and each feature has some."""
        listed = [module for each in generated.FEATURES for module in each.modules]
        self.assertEqual(len(listed), len(set(listed)))
        used = {module for module, servers in generated.tried().items() if servers}
        self.assertEqual(used - set(listed), set())
        for each in generated.FEATURES:
            for module in each.recorded:
                self.assertTrue((ROOT / "tests" / f"{module.replace('.', '/')}.py").is_file(), module)


class ResultsTests(SynchronousTestCase):
    """The results of live tests decide about the table of compatibility."""

    def test_read(self) -> None:
        """Each test has its last result, whatever it prints before; a skipped one has none."""
        passed = {
            ("proxy", "EmbeddedProxyTests", "test_a"): True,
            ("proxy", "EmbeddedProxyTests", "test_b"): False,
            ("standby", "RoomsTests", "test_a"): True,
        }
        self.assertEqual(results.read(_OUTPUT.splitlines()), passed)
        counted = {"proxy": {"Embedded": (1, 1)}, "standby": {"Prosody": (1, 0), "Ejabberd": (1, 0)}}
        self.assertEqual(results.count(passed, generated.cases()), counted)

    def test_cells(self) -> None:
        """A failure of any module stands in the cell; without a result for a module, there is no "yes"."""
        for second, expected in (((1, 0), "yes"), ((1, 2), "2 failed"), ((0, 0), "not run")):
            self.assertEqual(results.cell([(3, 0), second]), expected)

    def test_table(self) -> None:
        """If a result changes, the table does, for this feature and this server."""
        good = {module: dict.fromkeys(kinds, (1, 0)) for module, kinds in generated.tried().items()}
        bad = {**good, "systemd": {**good["systemd"], "Prosody": (1, 1)}, "postgresql": {}}
        before, after = (generated.compatibility(each).splitlines() for each in (good, bad))
        changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        cells = [tuple(line.split(" | ")[1] for line in pair) for pair in changed]
        self.assertEqual(cells, [("yes", "not run"), ("yes", "1 failed")])

    def test_recorded(self) -> None:
        """Recorded results belong to tests that exist."""
        found = generated.tried()
        for module, each in results.load().items():
            self.assertLessEqual(each.keys(), found[module], module)
