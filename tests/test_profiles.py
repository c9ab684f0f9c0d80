"""The profiles of the property tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import settings
from twisted.trial.unittest import SynchronousTestCase

from tests.profiles import PROFILE, steady, thorough

ROOT = Path(__file__).resolve().parent.parent
SHOW = "from tests.profiles import steady, thorough; print(steady.max_examples, thorough.max_examples)"


class ProfileTests(SynchronousTestCase):
    """The number of examples is chosen in one place."""

    def examples(self, **environment: str) -> list[int]:
        """Return the usual and the larger number of examples of a process."""
        kept = {name: value for name, value in os.environ.items() if name != "EXAMPLES"}
        command = [sys.executable, "-c", SHOW]
        done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=True)
        return [int(each) for each in done.stdout.split()]

    def test_chosen(self) -> None:
        """The environment chooses the profile; without it the quick one is used."""
        self.assertEqual(self.examples(), [20, 60])
        self.assertEqual(self.examples(EXAMPLES="long"), [100, 300])

    def test_loaded(self) -> None:
        """The tests of this process use it, and examples are the same at each run."""
        expected = settings.get_profile(PROFILE)
        self.assertEqual(steady.max_examples, expected.max_examples)
        self.assertEqual(thorough.max_examples, 3 * expected.max_examples)
        self.assertTrue(steady.derandomize and thorough.derandomize)
        self.assertIsNone(steady.deadline)

    def test_everywhere(self) -> None:
        """No other module has a number of its own; and each test with examples uses the profile."""
        for path in ROOT.glob("tests/**/*.py"):
            source = path.read_text()
            if path.name not in ("profiles.py", "test_profiles.py"):
                self.assertNotIn("max_examples", source, path)
                if re.search(r"^ *@given", source, re.MULTILINE):
                    self.assertIn("from tests.profiles import", source, path)

    def test_make(self) -> None:
        """The whole check tries the larger number."""
        self.assertRegex((ROOT / "Makefile").read_text(), r"(?m)^test: export EXAMPLES = long$")
