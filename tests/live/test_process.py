"""The gateway as a process: in the foreground, in the background, and from its .tac file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import PROXY, LiveTests, proxy, scenario
from tests.live.clients import ECHO, Implementation, silent
from tests.live.processes import TWISTD, freePort, holds, toml
from tests.live.servers import Prosody

ROOT = Path(__file__).resolve().parents[2]
TWISTD_ITSELF = [sys.executable, str(Path(sys.executable).parent / "twistd")]
# The options of twistd, for each way of running the gateway.
WAYS = {
    "foreground": ["-n", "gateway"],
    "background": ["gateway"],
    "tac": ["-ny", "gateway.tac"],
    "tac in the background": ["-y", "gateway.tac"],
}
LOG, PID = "twistd.log", "twistd.pid"


class ProcessTests(SynchronousTestCase):
    """Starts that fail, and signals. No server is needed for either."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.newFolder()
        self.addCleanup(self.end)
        self.http = freePort()

    def newFolder(self) -> None:
        """Use a new folder, for another way."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copy(ROOT / "gateway.tac", self.folder)

    def configure(self, **keys: str) -> None:
        tables = {
            "server": {"endpoint": "tcp:127.0.0.1:9", "secret": "hidden", "domain": "localhost"},
            "http": {"listen": f"tcp:{self.http}:interface=127.0.0.1"},
            'proxy."proxy.localhost"': {"target": "implementation@localhost"},
        }
        (self.folder / "gateway.toml").write_text(toml({"state_dir": "state", **keys}, tables))

    def twistd(self, *options: str) -> tuple[int, str]:
        """Run it until it, or its parent, exits; return its exit code, and its output."""
        output = self.folder / "output"
        with output.open("wb") as file:
            done = subprocess.run(
                [*TWISTD_ITSELF, *options],
                cwd=self.folder,
                env={**os.environ, **TWISTD[1]},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=30,
                check=False,
            )
        return done.returncode, output.read_text()

    def end(self) -> None:
        """End a process that still runs in the background."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((self.folder / PID).read_text())
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)

    def until(self, found: str, path: Path) -> None:
        """Wait until a file contains this text."""
        deadline = time.monotonic() + 20
        while not (path.exists() and found in path.read_text()):
            self.assertLess(time.monotonic(), deadline, path.read_text() if path.exists() else found)
            time.sleep(0.05)

    def test_portTaken(self) -> None:
        """A port in use: exit code 1 and the reason at once, in the log too, and no pid file is left."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.http))
            other.listen()
            for way, options in WAYS.items():
                self.newFolder()
                self.configure()
                code, output = self.twistd(*options)
                self.assertEqual(code, 1, (way, output))
                self.assertIn("http.listen: Address already in use: cannot listen on tcp:", output, way)
                self.assertNotIn("Traceback", output, way)
                if "background" in way:
                    reason = f"tcp:{self.http}:interface=127.0.0.1"
                    self.assertIn(f"cannot listen on {reason}", (self.folder / LOG).read_text())
                self.assertFalse((self.folder / PID).exists(), way)

    def test_pidFile(self) -> None:
        """A pid file of a living process, and a configuration with an error: the same."""
        self.configure()
        (self.folder / PID).write_text(str(os.getpid()))
        code, output = self.twistd("gateway")
        self.assertEqual(code, 1, output)
        self.assertIn("Another twistd server is running", output)
        (self.folder / PID).unlink()
        self.configure(state_dir="gateway.toml")
        code, output = self.twistd("gateway")
        self.assertEqual(code, 1, output)
        self.assertIn("state_dir: ", output)

    def test_otherUser(self) -> None:
        """A state folder that the user of --uid cannot write to: the same."""
        if os.geteuid() != 0:
            code, output = self.twistd("--uid", "0", "gateway")
            self.assertEqual((code, "only root" in output), (1, True), output)
            return
        for way in ("foreground", "background"):
            self.newFolder()
            self.folder.chmod(0o755)
            self.configure()
            code, output = self.twistd("--uid", "nobody", *WAYS[way])
            self.assertEqual(code, 1, (way, output))
            self.assertIn("state_dir: not writable by uid 65534, or missing: ", output)

    def test_otherRoot(self) -> None:
        """A state folder that does not exist below the root folder of --chroot: the same."""
        if os.geteuid() != 0:
            return
        # In the background twistd itself needs a /dev/null there.
        self.configure()
        code, output = self.twistd("--chroot", str(self.folder), "--pidfile", "/other.pid", "-n", "gateway")
        self.assertEqual(code, 1, output)
        self.assertIn("state_dir: not writable by uid 0, or missing: ", output)

    def test_signals(self) -> None:
        """SIGHUP reloads the file, SIGUSR1 rotates twistd's log file, SIGUSR2 is ignored; none ends the process."""
        for way in ("background", "tac in the background"):
            self.newFolder()
            self.configure()
            self.assertEqual(self.twistd(*WAYS[way])[0], 0, way)
            log = self.folder / LOG
            self.until("nothing listens at", log)
            pid = int((self.folder / PID).read_text())
            os.kill(pid, signal.SIGHUP)
            self.until("gateway.toml was reloaded: no service differs.", log)
            os.kill(pid, signal.SIGUSR2)
            self.until("SIGUSR2 is ignored", log)
            os.kill(pid, signal.SIGUSR1)
            self.until("SIGUSR2 is ignored", self.folder / f"{LOG}.1")
            os.kill(pid, signal.SIGTERM)
            self.until("Server Shut Down", log)
            self.assertNotIn("Traceback", log.read_text() + (self.folder / f"{LOG}.1").read_text())

    def test_reload(self) -> None:
        """C{xmpp-gateway reload} waits for the result: what was changed, or why the gateway refuses the change."""
        self.configure()
        self.assertEqual(self.twistd(*WAYS["background"])[0], 0)
        self.until("nothing listens at", self.folder / LOG)
        file = self.folder / "gateway.toml"
        text = file.read_text()
        rooms = '\n[rooms."rooms.localhost"]\n'
        for written, code, said in (
            (text + rooms, 0, "Reloaded.\n  added: rooms.localhost\n"),
            (text + rooms, 0, "Reloaded: no service differs.\n"),
            (text.replace('"state"', '"other"'), 1, "state_dir: has changed, which requires a restart\n"),
            (text.replace("proxy.localhost", "p.localhost"), 0, "added: p.localhost\n  removed: proxy.localhost, "),
        ):
            file.write_text(written)
            done = subprocess.run(
                [sys.executable, "-m", "gateway.cli", "reload"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual(done.returncode, code, done.stdout)
            self.assertIn(said, done.stdout)
        os.kill(int((self.folder / PID).read_text()), signal.SIGTERM)
        self.untilGone(self.folder / PID)

    def test_logFile(self) -> None:
        """
        The file of [log] takes the place of twistd.log. SIGUSR1 opens it again after it was renamed, and SIGHUP
        changes its settings.
        """
        for way in ("background", "tac in the background"):
            self.newFolder()
            self.configure()
            config, log, old = (self.folder / name for name in ("gateway.toml", "gateway.log", "gateway.log.1"))
            text = config.read_text()
            config.write_text(text + '\n[log]\nfile = "gateway.log"\nformat = "json"\n')
            self.assertEqual(self.twistd(*WAYS[way])[0], 0, way)
            self.until('"event": "link.lost"', log)
            self.assertFalse((self.folder / LOG).exists(), way)
            pid = int((self.folder / PID).read_text())
            log.rename(old)
            os.kill(pid, signal.SIGUSR1)
            self.until("", log)
            config.write_text(text + '\n[log]\nfile = "gateway.log"\nlevel = "error"\n')
            os.kill(pid, signal.SIGHUP)
            self.until('"event": "reload.done"', log)
            events = [json.loads(line).get("event") for line in (old.read_text() + log.read_text()).splitlines()]
            self.assertIn("gateway.starts", events)
            self.assertIn("gateway.table", events)
            os.kill(pid, signal.SIGUSR2)
            config.write_text(text + "[")
            os.kill(pid, signal.SIGHUP)
            self.until("[gateway.composition.reload.Reloader#error] ", log)
            self.assertNotIn("SIGUSR2", log.read_text())
            self.assertNotIn("hidden", old.read_text() + log.read_text())
            os.kill(pid, signal.SIGTERM)
            self.untilGone(self.folder / PID)

    def test_logfileOption(self) -> None:
        """The options of twistd take precedence over the file of [log], and the log says so."""
        self.configure()
        with (self.folder / "gateway.toml").open("a") as config:
            config.write('\n[log]\nfile = "gateway.log"\n')
        self.assertEqual(self.twistd("--logfile", "other.log", "gateway")[0], 0)
        log = self.folder / "other.log"
        self.until("log.file is not used: twistd was told where to log", log)
        self.until("nothing listens at", log)
        self.assertFalse((self.folder / "gateway.log").exists())
        os.kill(int((self.folder / PID).read_text()), signal.SIGTERM)
        self.until("Server Shut Down", log)

    def untilGone(self, path: Path) -> None:
        """Wait until a file does not exist any longer."""
        deadline = time.monotonic() + 20
        while path.exists():
            self.assertLess(time.monotonic(), deadline, str(path))
            time.sleep(0.05)


class SignalsTests(LiveTests, SynchronousTestCase):
    """Signals to a gateway in the foreground that has open requests."""

    serverClass = Prosody

    @scenario(40)
    async def test_foreground(self) -> None:
        """Its log goes to standard output, so there is no file to rotate; the gateway keeps serving."""
        gateway = await self.startGateway(proxy(PROXY))
        for name in ("SIGUSR1", "SIGUSR2"):
            gateway.child.send_signal(getattr(signal, name))
            await holds(lambda name=name: f"{name} is ignored: " in gateway.log(), 5, f"the log speaks of {name}")
        self.assertEqual((await gateway.get("/readyz"))[0], 200)
        self.assertEqual(await gateway.terminate(), -signal.SIGTERM)

    @scenario(40)
    async def test_secondTime(self) -> None:
        """A second signal during a stop changes nothing, and is no error."""
        gateway = await self.startGateway(proxy(PROXY))
        implementation = await self.login(Implementation(self.server, "implementation", "a", silent))
        alice = await self.user("alice")
        while not implementation.requests:
            identifier = alice.sendIq(PROXY, f"<hold xmlns='{ECHO}'/>")
            await asyncio.sleep(0.2)
        request = await implementation.asked(identifier)
        gateway.child.terminate()
        await holds(lambda: "Received SIGTERM" in gateway.log(), 5, "it stops")
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            gateway.child.send_signal(getattr(signal, name))
            await holds(lambda name=name: f"{name} is ignored: " in gateway.log(), 4, f"the log speaks of {name}")
        implementation.answer(request)
        answer = await alice.expectId(identifier, "the answer to what was open")
        self.assertEqual(answer.get("type"), "result")
        await holds(lambda: not gateway.running(), 10, "its end")
        self.assertEqual(gateway.child.wait(), -signal.SIGTERM)
        self.assertNotIn("Traceback", gateway.log(1000))
