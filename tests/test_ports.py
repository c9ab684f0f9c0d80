"""The ports of the servers of live tests."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import freePort

_PROGRAM = "from tests.live.processes import freePort; print(*(freePort() for _ in range(300)))"


class PortTests(SynchronousTestCase):
    """Tests run at the same time, and each has servers that start a while after their ports were chosen."""

    def test_different(self) -> None:
        """No two calls of this process or of others return the same port."""
        given = [freePort() for _ in range(300)]
        root = Path(__file__).parent.parent
        found = subprocess.run(
            [sys.executable, "-c", _PROGRAM], cwd=root, check=True, capture_output=True, text=True, timeout=60
        )
        given += map(int, found.stdout.split())
        self.assertEqual(len(given), 600)
        self.assertEqual(len(set(given)), 600)

    def test_taken(self) -> None:
        """A port that another server has is left out."""
        first = freePort()
        with socket.socket() as server:
            # Ports are given in descending order.
            server.bind(("127.0.0.1", first - 1))
            self.assertNotEqual(freePort(), first - 1)
