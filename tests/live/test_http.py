"""
The HTTP server of a gateway in a process of its own: commands of the documentation, and clients that send
unfinished bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gateway import Gateway
from tests.live.processes import Value, freePort, need, toml

DOCS = Path(__file__).resolve().parents[2] / "docs" / "roster.md"


class EmbeddedGateway(Gateway):
    """A gateway on the embedded host."""

    def __init__(self, directory: Path, tables: Mapping[str, Mapping[str, Value]]) -> None:
        super().__init__(directory, 0, "", "localhost", {})
        own: dict[str, Mapping[str, Value]] = {
            "embedded": {key: f"tcp:{freePort()}:interface=127.0.0.1" for key in ("c2s", "component")},
            "http": {"listen": f"tcp:{self.httpPort}:interface=127.0.0.1", **tables.get("http", {})},
        }
        self.config.write_text(toml({"state_dir": str(directory / "state")}, {**tables, **own}))


class HttpTests(SynchronousTestCase):
    """A gateway on the embedded host."""

    def run_(self, tables: Mapping[str, Mapping[str, Value]]) -> EmbeddedGateway:
        folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.addCleanup(shutil.rmtree, folder)
        gateway = EmbeddedGateway(folder, tables)
        self.addCleanup(gateway.stop)
        gateway.start()
        asyncio.run(gateway.ready())
        return gateway

    def typed(self, gateway: Gateway, lines: str) -> Any:
        """Return the JSON that commands of the documentation print in a shell."""
        need(next((f"{each} is not installed" for each in ("curl", "openssl") if not shutil.which(each)), None))
        lines = lines.replace(":5290", f":{gateway.httpPort}")
        shown = subprocess.run(["/bin/sh", "-ec", lines], capture_output=True, timeout=30, check=True)
        return json.loads(shown.stdout)

    def test_documentation(self) -> None:
        """docs/roster.md: each command with curl works as described."""
        lines = re.findall(r"^(curl [^$\n]*)$", DOCS.read_text(), re.MULTILINE)
        asking, later, *trying = lines
        self.assertEqual([line.split()[-1].rpartition("/")[2] for line in trying], ["alice", "refresh", "alice"])
        gateway = self.run_({})
        answer = self.typed(gateway, asking)
        self.assertEqual((answer["status"], answer["errors"], {*answer["failed"]}), ("error", 2, {"john", "marie"}))
        begun = self.typed(gateway, later)
        self.assertEqual((begun["status"], begun["users"]), ("running", 2))
        for _ in range(50):
            answer = self.typed(gateway, f"curl http://127.0.0.1:5290{begun['result']}")
            if answer["status"] != "running":
                break
            time.sleep(0.1)
        self.assertEqual((answer["status"], answer["errors"], {*answer["failed"]}), ("error", 2, {"john", "marie"}))
        decided, refreshed, forgotten = (self.typed(gateway, line) for line in trying)
        self.assertIn("POST /roster_admin/refresh", decided["next"])
        self.assertEqual((refreshed["status"], refreshed["updated"], refreshed["errors"]), ("ok", 1, 0))
        self.assertEqual(forgotten, {})

    def test_signed(self) -> None:
        """The example of a signed request works, for this user alone; and each part of it is necessary."""
        [example] = re.findall(r"```sh\n(secret=.*?)```", DOCS.read_text(), re.DOTALL)
        gateway = self.run_(
            {"roster.'roster.localhost'": {"domain": "localhost", "signature_secret": "s3cret"}},
        )
        self.assertIn("does not know the user", self.typed(gateway, example)["failed"]["alice"])
        for wrong in (
            example.replace("'s3cret'", "'another'"),
            example.replace('$path"\n', '$path&force=0"\n'),
            example.replace(':5290$path"', ':5290/roster_admin/refresh/bob?dry_run=1"'),
            example.replace("$(date +%s)", "$(($(date +%s) - 400))"),
            example.replace("GET", "PUT"),
        ):
            self.assertNotEqual(wrong, example)
            self.assertIn("signature is missing, wrong or too old", self.typed(gateway, wrong)["message"], wrong)

    def test_unfinished(self) -> None:
        """
        With 150 unfinished bodies of a megabyte, the gateway answers others, and grows by less than their size.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "token").write_text("t0ken")
        head = "POST /roster_admin/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
        for table, most in (({}, 60), ({"token_file": str(folder / "token")}, 10)):
            gateway = self.run_({"http": table})
            before = gateway.residentMiB()
            sent = 0
            for _ in range(150):
                caller = socket.create_connection(("127.0.0.1", gateway.httpPort))
                self.addCleanup(caller.close)
                with contextlib.suppress(OSError):
                    caller.sendall(head.encode() + b"x" * 1_000_000)
                    sent += 1
            self.assertEqual(asyncio.run(gateway.get("/healthz"))[0], 200)
            self.assertGreater(sent, 10)
            self.assertLess(gateway.peakMiB() - before, most)
