"""The pages that are made from the code are current, and complete."""

from __future__ import annotations

import re

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from docs import generated
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
