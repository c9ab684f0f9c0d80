"""The twistd command, each time in a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from gateway.tap import Options

ROOT = Path(__file__).resolve().parent.parent
# Nobody listens on the discard port: a process that connected would say so in its log.
RIGHT = """
[server]
endpoint = "tcp:127.0.0.1:9"
secret = "hidden"
[proxy."proxy.example.com"]
target = "implementation@example.com"
"""


class TapTests(SynchronousTestCase):
    """C{--check}, and what keeps the gateway from starting."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str, name: str = "gateway.toml") -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it in the folder; it must end by itself."""
        return subprocess.run(
            [sys.executable, "-m", "twisted", "gateway", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_right(self) -> None:
        """Exit with 0, having made, connected and shown nothing."""
        path = self.write(RIGHT, "mine.toml")
        done = self.twistd("--config", path, "--check")
        self.assertEqual((done.returncode, done.stdout), (0, f"{path}: the configuration is right.\n"), done.stderr)
        self.assertEqual(done.stderr, "")
        self.assertEqual([each.name for each in self.folder.iterdir()], ["mine.toml"])

    def test_wrong(self) -> None:
        """Exit with 1, and every reason, without a traceback or a secret."""
        self.write(RIGHT.replace("implementation@", "").replace("tcp:", "ssl:"))
        done = self.twistd("--check")
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith("gateway.toml: 2 things to put right:\n  server.endpoint: "))
        self.assertEqual(len(done.stderr.splitlines()), 3)
        self.assertNotIn("hidden", done.stdout + done.stderr)

    def test_beyondTheFile(self) -> None:
        """... those too that only a look at the machine tells, each by its key; nothing is made."""
        self.write(RIGHT + 'key_file = "key"\n')
        (self.folder / "key").write_text("hidden")
        (self.folder / "state").write_text("")
        done = self.twistd("--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 things to put right:\n  state_dir: ", done.stderr)
        self.assertIn('  proxy."proxy.example.com".key_file: ', done.stderr)
        self.assertNotIn("hidden", done.stdout + done.stderr)
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), ["gateway.toml", "key", "state"])

    def test_everything(self) -> None:
        """... at once with what is wrong in the file itself: also in a table that has a key too many."""
        self.write(RIGHT + 'key_file = "gateway.toml"\ntimeouts = 3\n[http]\nlisten = "tcp:x"\n')
        (self.folder / "state").write_text("")
        done = self.twistd("--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("4 things to put right:\n", done.stderr)
        for key in ('proxy."proxy.example.com".timeouts', "http.listen", "state_dir", ".key_file"):
            self.assertIn(f"{key}: ", done.stderr)

    def test_start(self) -> None:
        """Without C{--check} the same reasons keep it from starting; those of a plugin too."""
        self.write(RIGHT + 'key_file = "gateway.toml"\n')
        done = self.twistd()
        self.assertEqual(done.returncode, 1)
        self.assertIn("gateway.toml: 1 thing to put right:\n", done.stderr)
        self.assertIn('proxy."proxy.example.com".key_file: ', done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_noFile(self) -> None:
        """Without a file there is the embedded default; a file that is named must be there."""
        done = self.twistd("--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, "The embedded default: the configuration is right.\n")
        done = self.twistd("--config", "elsewhere.toml", "--check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("elsewhere.toml cannot be read: No such file or directory", done.stderr)


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def test_defaults(self) -> None:
        """No option is needed, and none takes a secret."""
        options = Options()
        options.parseOptions([])
        self.assertEqual(dict(options), {"config": None, "check": 0})

    def test_unknown(self) -> None:
        """What is no option is refused."""
        self.assertRaises(UsageError, Options().parseOptions, ["--secret", "x"])
        self.assertRaises(UsageError, Options().parseOptions, ["gateway.toml"])
