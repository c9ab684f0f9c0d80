"""
The pairs of files in docs/servers/ on real servers: everything that they configure works.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import DOCS, ROOT, blocks
from tests.live.clients import Implementation, echo
from tests.live.gateway import Gateway
from tests.live.processes import freePort, need
from tests.live.servers import Ejabberd, NewerEjabberd, NewerProsody, Prosody, Server

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Mixin
else:
    _Mixin = object

DOMAIN = "example.com"
SECRET = "the secret"
# The implementing client, and nodes of another site, which does not exist here.
MISSING = ("implementation@example.com", "mirror.example.net", "rooms.example.net")


def shown(name: str, language: str) -> str:
    """Return the one block of a page in a language."""
    [text] = [each.text for each in blocks(DOCS / "servers" / name) if each.language == language]
    return text


class PageProsody(Prosody):
    """Prosody with the file of the page; its paths and ports are those of the test."""

    def configure(self) -> None:
        super().configure()
        page = shown("prosody.md", "lua").replace("5347", str(self.componentPort))
        page = re.sub(r"(?m)^(?:pidfile|log|certificates) = .*\n", "", page)
        own = (
            "run_as_root = true",
            "daemonize = false",
            f'pidfile = "{self.directory}/prosody.pid"',
            f'data_path = "{self.directory}/data"',
            f'log = {{ info = "{self.directory}/prosody.log" }}',
            "c2s_require_encryption = false",
            "allow_unencrypted_plain_auth = true",
            'interfaces = { "127.0.0.1" }',
            f"c2s_ports = {{ {self.clientPort} }}",
            f"s2s_ports = {{ {freePort()} }}",
        )
        (self.directory / "prosody.cfg.lua").write_text("\n".join((*own, page)))


class PageNewerProsody(NewerProsody, PageProsody):
    """The newer Prosody."""


class PageEjabberd(Ejabberd):
    """ejabberd with the file of the page."""

    def configure(self) -> None:
        super().configure()
        config = yaml.safe_load(shown("ejabberd.md", "yaml"))
        ports = {5222: self.clientPort, 5269: freePort(), 5347: self.componentPort, 5281: self.apiPort}
        for listener in config["listen"]:
            listener.update({"port": ports[listener["port"]], "ip": "127.0.0.1"})
            # The test has no certificate.
            if listener.pop("starttls_required", False):
                listener["starttls"] = False
        del config["certfiles"], config["s2s_use_starttls"]
        (self.directory / "ejabberd.yml").write_text(yaml.safe_dump(config))


class PageNewerEjabberd(NewerEjabberd, PageEjabberd):
    """The newer ejabberd."""


class _NotFound(BaseHTTPRequestHandler):
    """A web application that knows no user."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class PairCase(_Mixin):
    """
    A mix-in: the scenario.

    @cvar page: name of the page.
    """

    serverClass: ClassVar[type[Server]]
    page: ClassVar[str]

    def setUp(self) -> None:
        need(self.serverClass.missing())
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), _NotFound)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        self.addCleanup(self.web.server_close)
        self.addCleanup(self.web.shutdown)
        folder = Path(tempfile.mkdtemp(prefix="documented-"))
        self.server = self.serverClass(folder, ("implementation",), {}, domain=DOMAIN)
        self.addCleanup(self.server.remove)

    def configure(self) -> Gateway:
        """Return a gateway with the page's file, not started; its ports are those of the test."""
        folder = self.server.directory
        gateway = Gateway(folder, 0, "", "", {})
        text = shown(self.page, "toml").replace("5347", str(self.server.componentPort))
        text = text.replace("8000", str(self.web.server_address[1]))
        text = text.replace("[http]", f'[http]\nlisten = "tcp:{gateway.httpPort}:interface=127.0.0.1"')
        if isinstance(self.server, Ejabberd):
            text = text.replace("5281", str(self.server.apiPort))
        gateway.config.write_text(text)
        for name, content in (("component.secret", SECRET), (gateway.config.name, text)):
            (folder / name).write_text(content)
            (folder / name).chmod(0o600)
        self.addCleanup(gateway.stop)
        return gateway

    def problems(self) -> list[str]:
        """Run C{xmpp-gateway check}; return the problems."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "check"],
            cwd=self.server.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        self.assertIn("answers with status 404", done.stdout)
        return [line.strip() for line in done.stdout.splitlines() if "PROBLEM: " in line]

    def test_pair(self) -> None:
        """
        All components connect, and the server grants everything. Only the implementing client is missing, until it
        is online, and the other site.
        """
        gateway = self.configure()
        self.server.start()

        async def run() -> None:
            await self.server.ready(120)
            found = await asyncio.to_thread(self.problems)
            # The page says that such a server drops iqs to rooms.
            missing = (*MISSING, *["conference.example.com"] * self.server.dropsIqs)
            self.assertEqual([each for each in found if not any(name in each for name in missing)], [])
            self.assertEqual([name for name in missing if not any(name in each for each in found)], [])
            gateway.start()
            await gateway.ready(120)
            client = Implementation(self.server, "implementation", "one", echo)
            await client.login()
            try:
                async with asyncio.timeout(20):
                    while "requests: 1" not in (await gateway.get("/status"))[1]:
                        await asyncio.sleep(0.2)
            finally:
                await client.close()

        try:
            asyncio.run(run())
        except BaseException:
            for program in (self.server, gateway):
                sys.stderr.write(f"{program.log()}\n")
            raise


class ProsodyPairTests(PairCase, SynchronousTestCase):
    """With Prosody."""

    serverClass, page = PageProsody, "prosody.md"


class NewerProsodyPairTests(ProsodyPairTests):
    """With the newer Prosody."""

    serverClass = PageNewerProsody


class EjabberdPairTests(PairCase, SynchronousTestCase):
    """With ejabberd."""

    serverClass, page = PageEjabberd, "ejabberd.md"


class NewerEjabberdPairTests(EjabberdPairTests):
    """With the newer ejabberd."""

    serverClass = PageNewerEjabberd
