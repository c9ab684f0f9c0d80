"""The web site of the documentation: `make docs`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.docs.pages import DOCS, ROOT

SECONDS = 120  # deadline of the build


class SiteTests(SynchronousTestCase):
    """The site as it is built."""

    def build(self, builder: str, *options: str) -> Path:
        """Run a builder of Sphinx; return the folder that it has made. There is no warning."""
        if importlib.util.find_spec("sphinx") is None:
            raise SkipTest("Sphinx is not installed")
        target = Path(self.mktemp()).absolute()
        common = ("--quiet", "--fail-on-warning", "--keep-going", "-b", builder, "-d", f"{target}.doctrees")
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *common, *options, str(DOCS), str(target)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return target

    def test_build(self) -> None:
        """Each link within the site leads to a page and a heading; all pages are in it."""
        target = self.build("html")
        pages = {str(each.relative_to(DOCS).with_suffix(".html")) for each in DOCS.rglob("*.md")}
        built = {str(each.relative_to(target)) for each in target.rglob("*.html")}
        self.assertLessEqual(pages, built)
        self.assertIn('id="server"', (target / "options.html").read_text())
        self.assertIn("_images/status.png", (target / "index.html").read_text())

    def test_links(self) -> None:
        """`make docs-links` finds the links to other sites; the test asks none of them."""
        target = self.build("linkcheck", "-D", "linkcheck_ignore=^https?:")
        self.assertIn("https://xmpp.org/extensions/xep-0114.html", (target / "output.json").read_text())
