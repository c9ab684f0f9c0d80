"""The example projects of the documentation: they install with pip as they are shown, and their own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.documented import PAGES, project

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120  # deadline of each process
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"

CONFIGURATION = """
[server]
endpoint = "tcp:127.0.0.1:5347"
secret = "secret"
domain = "example.com"

[version."version.example.com"]
software = "Example"

[greeter."greeter.example.com"]
server = "example.com"

[delegation."delegate.example.com"]
servers = ["example.com"]
namespaces = { "urn:example:greeting" = { handler = "greeter" } }
"""


def run(folder: Path, *command: str, path: Path | None = None) -> str:
    """
    Run Python in a folder, with the gateway of this tree; return its output.

    @param path: a further folder to import from.
    """
    places = [str(each) for each in (ROOT, path) if each is not None]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stdout)
    return done.stdout


def installed() -> tuple[Path, Path]:
    """Write the projects and install them; return the folder with them, by page, and that with the modules."""
    sources = Path(mkdtemp(dir=".", prefix="examples-")).absolute()
    target = sources / "installed"
    for page in PAGES:
        for name, text in project(page).items():
            file = sources / page / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target))
    run(sources, "-m", "pip", "install", *options, *(f"./{page}" for page in PAGES))
    return sources, target


class ExampleTests(SynchronousTestCase):
    """All of them in one environment."""

    def test_whole(self) -> None:
        """Each has a plugin, the file that pip needs, and a test."""
        for page in PAGES:
            names = sorted(name.rpartition("/")[0] or name for name in project(page))
            self.assertEqual(len(names), 3, page)
            self.assertEqual(names[:2], ["gateway/plugins", "pyproject.toml"])
            self.assertRegex(names[2], r"^test_\w+\.py$")

    def test_installed(self) -> None:
        """pip installs the plugins and nothing else, the gateway finds them, and their own tests pass."""
        sources, target = installed()
        modules = {str(each.relative_to(target)) for each in target.rglob("*.py")}
        self.assertEqual(modules, {name for page in PAGES for name in project(page) if "/" in name})
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "gateway.toml").write_text(CONFIGURATION)
        check = ("-c", TWISTD, "-n", "gateway", "--config", "gateway.toml", "--check")
        self.assertIn("gateway.toml: OK", run(folder, *check, path=target))
        # It is the plugins that make these tables valid.
        self.assertRaises(AssertionError, run, folder, *check)
        # Their tests pass, as the documentation says how to run them, with the installed plugins.
        modules: dict[str, int] = {}
        for page in PAGES:
            [name] = [name for name in project(page) if name.startswith("test_")]
            (folder / name).write_text((sources / page / name).read_text())
            modules[name.removesuffix(".py")] = project(page)[name].count("def test_")
        self.assertEqual(len(modules), len(PAGES))
        self.assertTrue(all(modules.values()))
        output = run(folder, "-m", "twisted.trial", *modules, path=target)
        self.assertIn(f"PASSED (successes={sum(modules.values())})", output)
