"""The twistd command, mostly in a process of its own, as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StartFailed
from gateway.stream.survey import NOTE
from gateway.tap import Options, Process, _make, _quitUnlessMayDrop, ignoreEarlySignal, useMonotonicClock

ROOT = Path(__file__).resolve().parent.parent
# No process listens on the discard port: a process that tries to connect would log an error.
RIGHT = """
[server]
endpoint = "tcp:127.0.0.1:9"
secret = "hidden"
[proxy."proxy.example.com"]
target = "implementation@example.com"
"""


class TapTests(SynchronousTestCase):
    """C{--check}, and the reasons that prevent the gateway from starting."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str, name: str = "gateway.toml") -> str:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o600)
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

    def check(self, path: str) -> subprocess.CompletedProcess[str]:
        """Check a file as the process does, in this one."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        ended = self.assertRaises(SystemExit, Options().parseOptions, ["--config", path, "--check"])
        return subprocess.CompletedProcess("", ended.code, out.getvalue(), err.getvalue())

    def test_right(self) -> None:
        """Exit with 0, and create, connect to and reveal nothing."""
        path = self.write(RIGHT, "mine.toml")
        done = self.twistd("--config", path, "--check")
        said = f"{NOTE}\n{path}: OK\n"
        self.assertEqual((done.returncode, done.stdout), (0, said), done.stderr)
        self.assertEqual(done.stderr, "")
        self.assertEqual([each.name for each in self.folder.iterdir()], ["mine.toml"])

    def test_warnings(self) -> None:
        """A file that others can read causes a warning of C{--check}, which exits with 0."""
        path = self.write(RIGHT + 'key_file = "key"\n', "mine.toml")
        (self.folder / "mine.toml").chmod(0o644)
        (self.folder / "state").mkdir(mode=0o700)
        (self.folder / "state").chmod(0o755)
        (self.folder / "key").write_text("00" * 32)
        (self.folder / "key").chmod(0o644)
        done = self.check(path)
        said = f"{NOTE}\n{path}: OK\n"
        self.assertEqual((done.returncode, done.stdout), (0, said), done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 3, lines)
        for name, mode in (("state", "0755"), ("key", "0644"), ("mine.toml", "0644")):
            where = self.folder / name
            warning = f"{where} has mode {mode}: every user of this machine can access it; run chmod o= {where}"
            self.assertIn(f"warning: {warning}", lines)

    def test_notes(self) -> None:
        """The requirements on the server's configuration are printed, line by line."""
        roster = '[roster."r.example.com"]\ndomain = "example.com"\nurl = "http://localhost/%s"\nlock = true\n'
        path = self.write(RIGHT + roster, "mine.toml")
        done = self.check(path)
        first, *_, last = done.stdout.splitlines()
        note = 'roster."r.example.com".lock: the server must delegate rosters. In Prosody\'s configuration:'
        self.assertEqual((done.returncode, first), (0, note), done.stderr)
        self.assertIn('\n    VirtualHost "example.com"\n', done.stdout)
        self.assertEqual(last, f"{path}: OK")

    def test_printable(self) -> None:
        """Text of the file cannot control the operator's screen, or look like a separate line."""
        path = self.write(RIGHT.replace("implementation@", "\u202e\\u001b[2J\\n  forged: @"))
        done = self.check(path)
        [_, line] = done.stderr.split("\n")[:-1]
        self.assertIn(r'found "\u202e\x1b[2J\n  forged: @example.com"', line)

    def test_wrong(self) -> None:
        """Exit with 1, and all errors, without a traceback or a secret."""
        path = self.write(RIGHT.replace("implementation@", "").replace("tcp:", "ssl:"))
        done = self.check(path)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith(f"{path}: 2 errors:\n  server.endpoint: "))
        self.assertEqual(len(done.stderr.splitlines()), 3)
        self.assertNotIn("hidden", done.stdout + done.stderr)

    def test_beyondTheFile(self) -> None:
        """Errors beyond the file are reported as well, each by its key; nothing is created."""
        path = self.write(RIGHT + 'key_file = "key"\n')
        (self.folder / "key").write_text("hidden")
        (self.folder / "state").write_text("")
        done = self.check(path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 errors:\n  state_dir: ", done.stderr)
        self.assertIn('  proxy."proxy.example.com".key_file: ', done.stderr)
        self.assertNotIn("hidden", done.stdout + done.stderr)
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), ["gateway.toml", "key", "state"])

    def test_everything(self) -> None:
        """They are reported together with errors in the file, also for a table with an unknown key."""
        path = self.write(RIGHT + 'key_file = "gateway.toml"\ntimeouts = 3\n[http]\nlisten = "tcp:x"\n')
        (self.folder / "state").write_text("")
        done = self.check(path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("4 errors:\n", done.stderr)
        for key in ('proxy."proxy.example.com".timeouts', "http.listen", "state_dir", ".key_file"):
            self.assertIn(f"{key}: ", done.stderr)

    def test_start(self) -> None:
        """Without C{--check} the same errors prevent the start; those that plugins find as well."""
        self.write(RIGHT + 'key_file = "gateway.toml"\n')
        done = self.twistd()
        self.assertEqual(done.returncode, 1)
        self.assertIn("gateway.toml: 1 error:\n", done.stderr)
        self.assertIn('proxy."proxy.example.com".key_file: ', done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_origins(self) -> None:
        """C{--check} tells which keys are from the environment, without their values."""
        self.patch(os, "environ", {**os.environ, "GATEWAY_SERVER__SECRET": "s3cret"})
        done = self.check(self.write(RIGHT))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("server.secret: from GATEWAY_SERVER__SECRET\n"), done.stdout)
        self.assertNotIn("s3cret", done.stdout + done.stderr)

    def test_variable(self) -> None:
        """GATEWAY_CONFIG names the file if C{--config} does not; an empty one does not."""
        path = self.write(RIGHT, "mine.toml")
        embedded = f"the embedded default, because {os.getcwd()} has no gateway.toml"
        for value, expected in ((path, path), ("", embedded), (f"{path}.no", "")):
            self.patch(os, "environ", {**os.environ, "GATEWAY_CONFIG": value})
            out = StringIO()
            self.patch(sys, "stdout", out)
            self.patch(sys, "stderr", StringIO())
            self.assertRaises(SystemExit, Options().parseOptions, ["--check"])
            self.assertIn(f"{expected}: OK\n" if expected else "", out.getvalue())

    def test_noFile(self) -> None:
        """Without a file there is the embedded default; a named file must exist."""
        done = self.twistd("--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, "^the embedded default, because /.* has no gateway.toml: OK\n$")
        done = self.check("elsewhere.toml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("elsewhere.toml cannot be read: No such file or directory", done.stderr)


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def test_defaults(self) -> None:
        """No option is required, and none takes a secret."""
        options = Options()
        options.parseOptions([])
        self.assertEqual(dict(options), {"config": None, "check": 0})

    def test_otherUser(self) -> None:
        """Only root can let twistd change user or group: others get the error at once, not in the background."""
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "getegid", lambda: 100)
        for uid, gid, refused in ((0, None, True), (None, 0, True), (1000, 100, False), (None, None, False)):
            options = Options()
            options.parent = {"uid": uid, "gid": gid}
            if refused:
                self.assertIn("only root", str(self.assertRaises(SystemExit, _quitUnlessMayDrop, options)))
            else:
                _quitUnlessMayDrop(options)
        self.patch(os, "geteuid", lambda: 0)
        options.parent = {"uid": 5, "gid": 5}
        _quitUnlessMayDrop(options)
        _quitUnlessMayDrop(Options())

    def test_unknown(self) -> None:
        """Unknown options are refused."""
        self.assertRaises(UsageError, Options().parseOptions, ["--secret", "x"])
        self.assertRaises(UsageError, Options().parseOptions, ["gateway.toml"])


class ClockTests(SynchronousTestCase):
    """The clock for intervals, on each kind of reactor: setting the machine's clock does not change it."""

    def reactors(self) -> list[ReactorBase]:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        made: list[ReactorBase] = [SelectReactor(), PollReactor(), EPollReactor(), AsyncioSelectorReactor(loop)]
        for reactor in made:
            self.addCleanup(self.close, reactor)
        return made

    def close(self, reactor: Any) -> None:
        for reader in list(reactor._internalReaders):
            reactor.removeReader(reader)
            reader.connectionLost(None)
        if hasattr(reactor, "_poller") and hasattr(reactor._poller, "close"):
            reactor._poller.close()

    def test_set(self) -> None:
        """After the wall clock was set, each call keeps its remaining time, also calls made before."""
        for step in (-3600.0, 3600.0):
            for reactor in self.reactors():
                wall = [1e9]
                reactor.seconds = lambda wall=wall: wall[0]
                early, put = reactor.callLater(20, int), reactor.callLater(30, int)
                reactor.callLater(50, int).cancel()
                useMonotonicClock(reactor)
                late = reactor.callLater(40, int)
                wall[0] += step
                for call, left in ((early, 20), (put, 30), (late, 40)):
                    self.assertApproximates(call.getTime() - reactor.seconds(), left, 1)
                self.assertApproximates(reactor.timeout(), 20, 1)
                put.reset(10)
                early.delay(5)
                self.assertApproximates(put.getTime() - reactor.seconds(), 10, 1)
                self.assertApproximates(early.getTime() - reactor.seconds(), 25, 1)
                self.assertApproximates(reactor.timeout(), 10, 1)
                for call in (early, put, late):
                    call.cancel()

    def test_made(self) -> None:
        """The gateway uses this clock, its services get the wall clock as well, and metrics are recorded."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "gateway.toml").write_text(RIGHT + '[rooms."rooms.example.com"]\n')
        reactor, wall = self.reactors()[0], [1e9]
        reactor.seconds = lambda: wall[0]
        process = _make(folder / "gateway.toml", reactor)
        wall[0] -= 3600
        self.assertApproximates(reactor.seconds(), 1e9, 10)
        self.assertIsInstance(process, Process)
        [gateway] = process
        [handler] = gateway.getServiceNamed("rooms:rooms.example.com")
        self.assertIs(handler._wallClock, time.time)
        self.assertTrue(handler.parent.metrics.isRecording)
        self.assertIn(b"metrics", gateway.webServer()._root.children)

    def test_out_of_reach(self) -> None:
        """The HTTP server is made at once if twistd then changes the root folder or the user."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "gateway.toml").write_text(RIGHT)
        unchanged = {"chroot": None, "uid": None}
        for options, isMade in (
            (None, False),
            (unchanged, False),
            ({**unchanged, "chroot": "/srv"}, True),
            ({**unchanged, "uid": 0}, True),
        ):
            process = _make(folder / "gateway.toml", self.reactors()[0], options)
            [gateway] = process
            self.assertEqual(gateway._web is not None, isMade, options)

    def test_twice(self) -> None:
        """A second call changes nothing."""
        reactor = self.reactors()[0]
        useMonotonicClock(reactor)
        before = reactor.seconds()
        useMonotonicClock(reactor)
        self.assertApproximates(reactor.seconds(), before, 1)

    def test_others(self) -> None:
        """A reactor that is not one of Twisted's, such as one for tests, keeps its clock."""
        clock = Clock()
        useMonotonicClock(clock)
        self.assertEqual(clock.seconds(), 0)


class Failing(Service):
    """A service that cannot start."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def startService(self) -> None:
        raise self.error


class Stopping(Service):
    """A service that takes time to stop."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        return self.stopped


class Threads(Clock):
    """A clock that runs calls from a signal handler at once."""

    def callFromThread(self, call: Callable[..., object], *arguments: object, **others: object) -> None:
        call(*arguments, **others)


class ProcessTests(SynchronousTestCase):
    """Signals, and failures at the start, in this process."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.process = Process(self.folder, Threads())
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "gateway.tap.Process":
            self.logged.append(str(event["log_format"]).format(**event))

    def raised(self, name: str) -> str:
        """Return the lines that are logged for a signal."""
        number = getattr(signal, name)
        self.assertTrue(callable(signal.getsignal(number)), f"{name} would end the process")
        self.logged.clear()
        signal.raise_signal(number)
        [line] = self.logged
        return line

    def test_signals(self) -> None:
        """While the gateway runs, signals are logged and do not end it; afterwards the handlers are restored."""
        names = ("SIGHUP", "SIGUSR1", "SIGUSR2")
        for name in names:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        self.process.startService()
        for name in names:
            self.assertTrue(self.raised(name).startswith(f"{name} is ignored: "))
        self.successResultOf(self.process.stopService())
        self.assertEqual([signal.getsignal(getattr(signal, name)) for name in names], [signal.SIG_DFL] * 3)

    def test_others(self) -> None:
        """An existing handler is kept: nohup's, or the one by which twistd rotates its log."""
        heard: list[int] = []
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
        self.process.startService()
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR1)
        self.assertEqual((self.logged, heard), ([], [signal.SIGUSR1]))

    def test_early(self) -> None:
        """SIGHUP does not end a process that has not started yet; an existing handler is kept."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ignoreEarlySignal()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        ignoreEarlySignal()
        self.assertTrue(callable(signal.getsignal(signal.SIGHUP)), "SIGHUP would end the process")
        signal.raise_signal(signal.SIGHUP)
        self.process.startService()
        self.assertIn("SIGHUP is ignored", self.raised("SIGHUP"))

    def test_reload(self) -> None:
        """SIGHUP calls the function that reloads, but not during the stop."""
        calls: list[str] = []
        self.process = Process(self.folder, Threads(), lambda: calls.append("reload"))
        stopping = Stopping()
        stopping.setServiceParent(self.process)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.process.startService()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual((calls, self.logged), (["reload"], []))
        stopped = self.process.stopService()
        self.assertIn("already stopping", self.raised("SIGHUP"))
        stopping.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(calls, ["reload"])
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)

    def test_again(self) -> None:
        """A stop signal during the stop is logged."""
        stopping = Stopping()
        stopping.setServiceParent(self.process)
        self.process.startService()
        before = signal.getsignal(signal.SIGTERM)
        stopped = self.process.stopService()
        for name in ("SIGTERM", "SIGINT"):
            self.assertIn("already stopping", self.raised(name))
        self.assertNoResult(stopped)
        stopping.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_failed(self) -> None:
        """Any exception of a service at the start ends the process, in a form that twistd reports to its parent."""
        for error in (
            SystemExit("that is all"),
            OSError(28, "No space left"),
            StartFailed("some.key: that is all"),
        ):
            process = Process(self.folder, Threads())
            Failing(error).setServiceParent(process)
            self.logged.clear()
            raised = self.assertRaises(StartFailed, process.startService)
            self.assertIsInstance(raised, Exception)
            self.assertIn(str(error), str(raised))
            self.assertEqual(len(self.logged), 1)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit, OSError)), 2)

    def test_stateDir(self) -> None:
        """A state folder that has disappeared prevents the start."""
        self.folder.rmdir()
        raised = self.assertRaises(StartFailed, self.process.startService)
        self.assertTrue(str(raised).startswith("state_dir: not writable by uid "), raised)
