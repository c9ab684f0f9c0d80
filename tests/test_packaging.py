"""
The distributions, their installation and use, away from the checkout and without network.

Each distribution is installed into a new environment, which sees the dependencies of the one that runs the tests,
but not a gateway that may be installed there.
"""

import configparser
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import HeaderParser
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

import gateway

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Mixin
else:
    _Mixin = object

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 30  # deadline of each process
COMMAND = "xmpp-gateway"
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
CONFIGURATION = """
[server]
endpoint = "tcp:127.0.0.1:1"
secret = "s3cret"
domain = "localhost"

[http]
listen = "tcp:0:interface=127.0.0.1"

[proxy."proxy.localhost"]
target = "implementation@localhost"
"""


@cache
def tree() -> Path:
    """Return a copy of a fresh clone, so that no old files are built; made once, in trial's directory."""
    made = ["__pycache__", ".*_cache", "dropin.cache"]
    top = [".git", ".venv*", ".hypothesis", "_trial_temp*", "build", "dist", "*.egg-info"]
    run = ["gateway.toml", "state", "twistd.*"]

    def ignored(directory: str, found: list[str]) -> set[str]:
        patterns = [*made, *top, *run] if Path(directory) == ROOT else made
        return ignore_patterns(*patterns)(directory, found)

    base = Path(tempfile.mkdtemp(dir=".", prefix="packaging-")).absolute()
    return copytree(ROOT, base / "tree", ignore=ignored)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a module of Python to its end; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(done.stdout)
    return done.stdout


@cache
def distributions() -> Path:
    """Return a directory with both: C{build} makes the sdist, and then the wheel from the sdist."""
    into = tree().parent / "dist"
    source = copytree(tree(), tree().with_suffix(".source"))
    run("build", "--no-isolation", "--outdir", str(into), cwd=source)
    return into


def build(kind: str) -> Path:
    """Return the "wheel" or the "sdist"."""
    (built,) = distributions().glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return built


@cache
def install(kind: str) -> Path:
    """Make a new environment with the wheel or the sdist; return its directory."""
    environment = tree().parent / f"{kind}.environment"
    venv.create(environment, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    # A .pth file in a directory that another .pth file names has no effect, so an editable install is not seen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    python = str(environment / "bin" / "python")
    run("pip", "--disable-pip-version-check", "--python", python, "install", *options, str(build(kind)))
    return environment


def names(requirements: str) -> set[str]:
    """Return the names of the required distributions, normalised as by package indexes."""
    found = re.findall(r"^[A-Za-z0-9][\w.-]*", requirements, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


class DistributionTests(SynchronousTestCase):
    """The content of the two distributions."""

    def inWheel(self) -> tuple[set[str], Message]:
        """Return the names of the wheel's files, and the headers of its METADATA."""
        with zipfile.ZipFile(build("wheel")) as wheel:
            files = {name for name in wheel.namelist() if not name.endswith("/")}
            (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
            return files, HeaderParser().parsestr(wheel.read(metadata).decode())

    def test_sdist(self) -> None:
        """The source distribution is the whole checkout, so that the tests run from it, except for git's file."""
        here = {str(path.relative_to(tree())) for path in tree().rglob("*") if path.is_file()}
        with tarfile.open(build("sdist")) as archive:
            packed = {name.partition("/")[2] for name in archive.getnames()}
        self.assertEqual(here - packed, {".gitignore"})

    def test_wheel(self) -> None:
        """The wheel has the files of the package, the file in Twisted's namespace, its records, nothing else."""
        package = {str(path.relative_to(tree())) for path in tree().glob("gateway/**/*") if path.is_file()}
        self.assertLessEqual({"gateway/py.typed", "gateway/tap.py", "gateway/proxy/core.py"}, package)
        files, _ = self.inWheel()
        installed = {name for name in files if ".dist-info/" not in name}
        page = f"xmpp_gateway-{gateway.__version__}.data/data/share/man/man1/xmpp-gateway.1"
        self.assertEqual(installed, package | {"twisted/plugins/xmpp_gateway.py", page})

    def test_metadata(self) -> None:
        """Name, licence, Python and dependencies are as decided; the version is the package's own."""
        files, metadata = self.inWheel()
        self.assertEqual(metadata["Name"], "xmpp-gateway")
        self.assertEqual(metadata["Version"], gateway.__version__)
        self.assertEqual(metadata["License"], "MIT")
        self.assertTrue(any(name.endswith("/LICENSE") for name in files))
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        always = (line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line)
        wanted = {
            *{
                "attrs",
                "backports-zstd",
                "cattrs",
                "click",
                "cryptography",
                "prometheus-client",
                "pyopenssl",
                "scramp",
                "service-identity",
                "treq",
                "twisted",
                "wokkel",
            }
        }
        self.assertEqual(names("\n".join(always)), wanted)

    def test_twine(self) -> None:
        """A package index accepts both, and shows the description."""
        files = [str(build(kind)) for kind in ("wheel", "sdist")]
        printed = run("twine", "check", "--strict", *files)
        self.assertEqual(printed.count("PASSED"), 2, printed)

    def test_constraints(self) -> None:
        """All requirements of setup.cfg, extras included, have one exact version in constraints.txt."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        asked = names(setup["options"]["install_requires"])
        for extra in setup["options.extras_require"].values():
            asked |= names(extra)
        self.assertLessEqual({"wokkel", "slixmpp"}, asked)
        constraints = (ROOT / "constraints.txt").read_text()
        fixed = re.findall(r"^([\w.-]+)==[\w.]+$", constraints, re.MULTILINE)
        self.assertLessEqual(asked, names("\n".join(fixed)))


class Installation(_Mixin):
    """
    A mix-in for a SynchronousTestCase: the installation of a distribution.

    @cvar kind: the distribution.
    """

    kind = "wheel"

    def setUp(self) -> None:
        """Make a directory that contains only a configuration."""
        self.environment = install(self.kind)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        (self.directory / "gateway.toml").write_text(CONFIGURATION)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command there, which is one of the environment, or code and arguments for its Python."""
        program, *arguments = command
        own = self.environment / "bin" / program
        python = self.environment / "bin" / "python"
        return subprocess.Popen(
            [own, *arguments] if program == COMMAND else [python, "-c", program, *arguments],
            cwd=self.directory,
            env={"PATH": os.defpath, "HOME": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self, *command: str) -> tuple[int, str]:
        """Run a process to its end; return the exit status and its output."""
        with self.start(*command) as process:
            try:
                printed, _ = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
        self.assertNotIn("Traceback", printed)
        return process.returncode, printed

    @contextmanager
    def running(self, *command: str) -> Iterator[HTTPConnection]:
        """Run a gateway for the length of the block, with a connection to its HTTP server, which starts last."""
        said = []
        with self.start(*command) as process:
            deadline = threading.Timer(SECONDS, process.kill)
            deadline.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    said.append(line)
                    if listening := re.search(r"http\.listen starting on (\d+)", line):
                        http = HTTPConnection("127.0.0.1", int(listening[1]), timeout=SECONDS)
                        yield http
                        http.close()
                        process.terminate()
            finally:
                deadline.cancel()
                process.kill()
        log = "".join(said)
        self.assertIn("http.listen starting on", log)
        self.assertIn("Server Shut Down", log)
        self.assertNotIn("Traceback", log)
        # After its shutdown, twistd ends itself with the signal that it was sent.
        self.assertEqual(process.returncode, -signal.SIGTERM, log)

    def test_location(self) -> None:
        """The tests of this class run the installed distribution, not the checkout."""
        status, printed = self.output("import gateway; print(gateway.__file__)")
        self.assertEqual(status, 0, printed)
        self.assertTrue(printed.startswith(str(self.environment)), printed)

    def test_run(self) -> None:
        """All ways to run the gateway run the same services, and end well."""
        for command in (
            (TWISTD, "--pidfile=", "-n", "gateway", "--config", "gateway.toml"),
            (TWISTD, "--pidfile=", "-ny", str(tree() / "gateway.tac")),
            (COMMAND, "run"),
        ):
            with self.running(*command) as http:
                http.request("GET", "/healthz")
                healthy = http.getresponse()
                healthy.read()
                self.assertEqual(healthy.status, 200)
                http.request("GET", "/readyz")
                ready = http.getresponse()
                self.assertEqual(ready.status, 503)
                self.assertIn("proxy.localhost", ready.read().decode())


class SdistTests(Installation, SynchronousTestCase):
    """The installation of the source distribution."""

    kind = "sdist"


class InstalledTests(Installation, SynchronousTestCase):
    """The installation of an operator, from the wheel; it runs from any directory."""

    def test_verb(self) -> None:
        """`twistd --help` lists the verb, both with a new plugin cache and with an existing one."""
        for stale in self.environment.rglob("dropin.cache"):
            stale.unlink()
        for _ in range(2):
            status, printed = self.output(TWISTD, "--help")
            self.assertEqual(status, 0, printed)
            self.assertRegex(printed, r"(?m)^    gateway  ")

    def test_command(self) -> None:
        """The installed command `xmpp-gateway` prints the server's side, and asks a running gateway."""
        status, printed = self.output(COMMAND, "snippet", "prosody")
        self.assertEqual(status, 0, printed)
        self.assertIn('Component "proxy.localhost" {\n    component_secret = "s3cret";', printed)
        status, printed = self.output(COMMAND, "status")
        self.assertEqual(status, 1, printed)
        self.assertIn("http.listen has port 0", printed)
        with self.running(COMMAND, "run") as http:
            text = CONFIGURATION.replace("tcp:0:", f"tcp:{http.port}:")
            (self.directory / "running.toml").write_text(text)
            status, printed = self.output(COMMAND, "status", "--config", "running.toml")
        self.assertEqual(status, 1, printed)
        self.assertIn("proxy.localhost: not connected: nothing listens at tcp:127.0.0.1:1", printed)
        self.assertIn("Not ready:", printed)

    def test_check(self) -> None:
        """`twistd gateway --check` reports errors by its exit status, and names the wrong key."""
        status, printed = self.output(TWISTD, "-n", "gateway", "--config", "gateway.toml", "--check")
        self.assertEqual(status, 0, printed)
        (self.directory / "bad.toml").write_text(CONFIGURATION.replace("target", "tarqet"))
        status, printed = self.output(TWISTD, "-n", "gateway", "--config", "bad.toml", "--check")
        self.assertEqual(status, 1, printed)
        self.assertIn("tarqet", printed)

    def test_embedded(self) -> None:
        """Without a server there is the embedded host, and the tour runs through its services to the end."""
        ports = dict.fromkeys(("c2s", "component"), "tcp:0:interface=127.0.0.1")
        lines = [f'{key} = "{port}"' for key, port in ports.items()]
        http = '[http]\nlisten = "tcp:0:interface=127.0.0.1"\n'
        (self.directory / "gateway.toml").write_text("\n".join(["[embedded]", *lines, http]))
        tour = "import runpy; runpy.run_module('gateway.tour', run_name='__main__')"
        status, printed = self.output(tour)
        self.assertEqual(status, 1, printed)
        self.assertIn("first start a gateway here, with twistd -n gateway", printed)
        with self.running(COMMAND, "run"):
            status, printed = self.output(tour)
        self.assertEqual(status, 0, printed)
        self.assertIn("proxy: proxy.localhost", printed)
        status, printed = self.output(tour)
        self.assertEqual(status, 1, printed)
        self.assertIn("no gateway listens at", printed)

