"""The gateway as an operator runs it: `twistd -n gateway --config FILE`, in a directory of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.live.processes import TWISTD, Program, Value, freePort, toml, until


class Gateway(Program):
    """
    One gateway with its configuration file.

    @ivar httpPort: the port of its HTTP listener.
    @ivar prelude: Python code to run first in its process: for deadlines that are too long for a test.
    @ivar environment: additional variables of its process.
    """

    name = "gateway"

    def __init__(
        self,
        directory: Path,
        componentPort: int,
        secret: str,
        domain: str,
        tables: Mapping[str, Mapping[str, Value]],
    ) -> None:
        super().__init__(directory)
        self.httpPort = freePort()
        self.prelude = ""
        self.environment: dict[str, str] = {}
        self.config = directory / "gateway.toml"
        self._path = directory / "path"
        sections: dict[str, Mapping[str, Value]] = {
            "server": {"endpoint": f"tcp:127.0.0.1:{componentPort}", "secret": secret, "domain": domain},
            "http": {"listen": f"tcp:{self.httpPort}:interface=127.0.0.1"},
            **tables,
        }
        self.config.write_text(toml({"state_dir": str(directory / "state")}, sections))

    def addPlugins(self, module: Path) -> None:
        """Give the gateway the plugins of this module, as third parties do: in a folder of their own."""
        folder = self._path / "gateway" / "plugins"
        folder.mkdir(parents=True)
        shutil.copy(module, folder)

    def start(self) -> None:
        """Start the process; L{ready} waits for it."""
        argv, environment = TWISTD
        if self.prelude:
            run = f"{self.prelude}; from twisted.scripts.twistd import run; run()"
            argv = [sys.executable, "-c", run, *argv[2:]]
        path = os.pathsep.join([environment["PYTHONPATH"], str(self._path)])
        self._run([*argv, "--config", str(self.config)], environment | {"PYTHONPATH": path} | self.environment)

    async def ready(self, seconds: float = 15) -> float:
        """Wait until every configured link is up; return the seconds."""

        async def up() -> bool:
            assert self.running(), f"the gateway ended by itself\n{self.log()}"
            return (await self.get("/readyz"))[0] == 200

        return await until(up, seconds, "the gateway is ready")

    async def get(self, path: str) -> tuple[int, str]:
        """GET a path of its HTTP listener: status and body; status 0 while nothing listens."""
        return await self._ask(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, seconds: float = 30, more: str = "") -> tuple[int, str]:
        """
        POST JSON: the same; status 0 also if the gateway ends before it answers.

        @param more: further headers, each with its line break.
        """
        head = f"POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{more}"
        return await self._ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, seconds)

    async def _ask(self, request: bytes, seconds: float = 5) -> tuple[int, str]:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.httpPort)
        except OSError:
            return 0, ""
        try:
            writer.write(request)
            answer = (await asyncio.wait_for(reader.read(), seconds)).decode()
        except OSError:
            return 0, ""
        finally:
            writer.close()
        if not answer:
            return 0, ""
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body
