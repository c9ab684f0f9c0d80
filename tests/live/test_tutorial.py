"""docs/tutorial.md: its commands, configuration and programs, with Prosody; on other ports and paths."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import DOCS, ROOT, blocks
from tests.live.gateway import Gateway
from tests.live.processes import need
from tests.live.servers import NewerProsody, Prosody

PAGE = DOCS / "tutorial.md"
SECONDS = 180  # deadline of each command


class TutorialProsody(Prosody):
    """Prosody with accounts of the page, TLS, and the block of C{xmpp-gateway init} at its end."""

    block = ""

    def configure(self) -> None:
        super().configure()
        for name, password in re.findall(r"prosodyctl register (\w+) localhost (\S+)", PAGE.read_text()):
            stored = f'return {{ ["password"] = "{password}" }};\n'
            (self.directory / "data" / "localhost" / "accounts" / f"{name}.dat").write_text(stored)
        file = self.directory / "prosody.cfg.lua"
        before = file.read_text().partition("VirtualHost")[0].replace('"saslauth"', '"saslauth", "tls"')
        kept = [line for line in before.splitlines() if not line.startswith("component_")]
        [openssl] = re.findall(r"^openssl (?:.*\\\n)*.*", PAGE.read_text(), re.MULTILINE)
        subprocess.run(["sh", "-c", openssl], cwd=self.directory, capture_output=True, check=True)
        certificate, key = self.directory / "localhost.crt", self.directory / "localhost.key"
        kept += [f'ssl = {{ certificate = "{certificate}", key = "{key}" }}', 'VirtualHost "localhost"']
        file.write_text("\n".join([*kept, self.block]))


class TutorialNewerProsody(NewerProsody, TutorialProsody):
    """The newer Prosody."""


class ProsodyTutorialTests(SynchronousTestCase):
    """With Prosody."""

    serverClass: ClassVar[type[TutorialProsody]] = TutorialProsody

    def setUp(self) -> None:
        need(self.serverClass.missing())
        folder = Path(tempfile.mkdtemp(prefix="tutorial-"))
        self.server = self.serverClass(folder, ("implementation", "alice"), {})
        self.addCleanup(self.server.remove)
        self.blocks = blocks(PAGE)

    def shown(self, language: str, containing: str = "") -> str:
        """Return the one block in a language that contains a text."""
        [text] = [each.text for each in self.blocks if each.language == language and containing in each.text]
        return text

    def command(self, *arguments: str) -> str:
        """Run C{xmpp-gateway} in the server's folder; return its output."""
        argv = [sys.executable, "-m", "gateway.cli", *arguments]
        done = subprocess.run(
            argv,
            cwd=self.server.directory,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def program(self, name: str, containing: str) -> list[str]:
        """Write a program of the page; return the command that runs it."""
        port = self.server.clientPort
        text = self.shown("python", containing).replace(".connect()", f'.connect("127.0.0.1", {port})')
        (self.server.directory / name).write_text(text)
        return [sys.executable, name]

    def configured(self) -> Gateway:
        """Run C{init} as on the page, and give the server its block; return the gateway, not started."""
        [init] = [line for line in self.shown("sh", "xmpp-gateway init").splitlines() if " init " in line]
        endpoint = f"tcp:127.0.0.1:{self.server.componentPort}"
        self.command(*shlex.split(init)[1:], f"--endpoint={endpoint}")
        folder = self.server.directory
        text = (folder / "gateway.toml").read_text()
        whole = text.replace(endpoint, "tcp:127.0.0.1:5347")
        self.assertIn(self.shown("toml"), whole)
        self.server.block = (folder / "gateway.prosody.cfg.lua").read_text()
        self.server.configure()
        gateway = Gateway(Path(tempfile.mkdtemp(dir=folder)), 0, "", "", {})
        gateway.config = folder / "gateway.toml"
        gateway.config.write_text(
            text.replace("[http]", f'[http]\nlisten = "tcp:{gateway.httpPort}:interface=127.0.0.1"')
        )
        self.addCleanup(gateway.stop)
        return gateway

    def test_tutorial(self) -> None:
        """From C{init} to the answers that alice gets."""
        gateway = self.configured()
        self.server.start()
        asyncio.run(self.server.ready(120))
        printed = self.command("check")
        for line in self.shown("text", "PROBLEM").splitlines():
            self.assertIn(line.removesuffix("…"), printed)
        self.assertEqual(printed.count("PROBLEM"), 2, printed)
        gateway.start()
        asyncio.run(gateway.ready(120))
        bot = subprocess.Popen(self.program("bot.py", "my bot"), cwd=self.server.directory, stderr=subprocess.PIPE)
        try:
            asyncio.run(self.online(gateway))
            asked = subprocess.run(
                self.program("ask.py", "alice"),
                cwd=self.server.directory,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            self.assertEqual(asked.stdout, self.shown("text", "my bot"), asked.stderr)
        finally:
            bot.kill()
            bot.communicate()
        self.assertTrue((self.server.directory / "state" / "delegate.localhost.private").is_file())

    async def online(self, gateway: Gateway) -> None:
        """Wait until the gateway sees the bot."""
        async with asyncio.timeout(SECONDS):
            while "that get requests: 1" not in (await gateway.get("/status"))[1]:
                await asyncio.sleep(0.2)


class NewerProsodyTutorialTests(ProsodyTutorialTests):
    """With the newer Prosody."""

    serverClass = TutorialNewerProsody
