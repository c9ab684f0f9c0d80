"""
The Debian package, built and tried in fresh roots of Debian: five commands beside Prosody, the unit in its sandbox,
upgrade, removal and purge. C{packaging/try-debian} does all of it; the roots need Debian's packages and those of
Python, so the network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import need

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "try-debian"
SECONDS = 1_200  # deadline for one release of Debian


class PackageTests(SynchronousTestCase):
    """The package on two releases of Debian."""

    def setUp(self) -> None:
        need(None if os.geteuid() == 0 else "the user is not root")
        need(None if shutil.which("debootstrap") else "debootstrap is not installed")

    def works(self, suite: str) -> None:
        """Try the package on a release; the new roots are removed."""
        folder = Path(self.mktemp()).absolute()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        with subprocess.Popen(
            [SCRIPT, suite],
            env={**os.environ, "TRY_ROOT": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=SECONDS)
            finally:
                # Also the system that it has booted.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        self.assertEqual(process.returncode, 0, printed[-6000:])
        self.assertIn("A purge leaves nothing.", printed)

    def test_bookworm(self) -> None:
        """Debian 12, whose Python packages are older than what the gateway needs."""
        self.works("bookworm")

    def test_forky(self) -> None:
        """A newer Debian."""
        self.works("forky")
