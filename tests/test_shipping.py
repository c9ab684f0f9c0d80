"""
The files for packages and containers agree with the gateway and with its documentation.

The distributions have tests in C{test_packaging}, the unit in C{live/test_systemd}; packaging/try-debian builds and
installs the Debian package.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

import gateway
from gateway.composition import checks
from gateway.composition.reader import load

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
CONTAINER = PACKAGING / "container"
PAGE = (ROOT / "docs" / "install.md").read_text()


class DebianTests(SynchronousTestCase):
    """The Debian package."""

    def test_python(self) -> None:
        """The package asks for the same Python as the distributions."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        least = setup["options"]["python_requires"].removeprefix(">=")
        self.assertIn(f"python3 (>= {least})", (ROOT / "debian" / "control").read_text())

    def test_configuration(self) -> None:
        """A first configuration has only the folder of the state, so that C{xmpp-gateway init} replaces it."""
        tmpfiles = (PACKAGING / "systemd" / "tmpfiles.conf").read_text()
        file = "f /etc/xmpp-gateway/gateway.toml 0600 xmpp-gateway xmpp-gateway - "
        [made] = re.findall(f"(?m)^{re.escape(file)}(.+)$", tmpfiles)
        document = {"state_dir": "/var/lib/xmpp-gateway"}
        self.assertEqual(tomllib.loads(made.replace("\\n", "\n")), document)
        self.assertEqual(tomllib.loads((PACKAGING / "gateway.toml").read_text()), document)
        for place in ("systemd/tmpfiles.conf", "systemd/sysusers.conf", "container/Containerfile"):
            self.assertIn(document["state_dir"], (PACKAGING / place).read_text())

    def test_commands(self) -> None:
        """packaging/try-debian runs the five commands of the page; only C{init} has no terminal there."""
        [page] = re.findall(r"(?m)^```sh\n(apt install [^`]*)^```$", PAGE)
        script = (PACKAGING / "five-commands").read_text().partition("set -eux\n")[2]
        script = script.replace("apt-get install -q -y --no-install-recommends", "apt install")
        script = re.sub("(?m)^(xmpp-gateway init) .*$", r"\1", script)
        self.assertEqual([line.strip() for line in page.splitlines()], script.splitlines())
        self.assertEqual(len(script.splitlines()), 5)

    def test_wrapper(self) -> None:
        """The command of the package names the configuration file, as the unit does."""
        name = "/etc/xmpp-gateway/gateway.toml"
        self.assertIn(f'"GATEWAY_CONFIG", "{name}"', (ROOT / "debian" / "bin" / "xmpp-gateway").read_text())
        self.assertIn(f"GATEWAY_CONFIG={name}\n", (PACKAGING / "systemd" / "xmpp-gateway.service").read_text())


class ContainerTests(SynchronousTestCase):
    """The container, and the one beside Prosody."""

    def setUp(self) -> None:
        self.lines = (CONTAINER / "Containerfile").read_text().splitlines()

    def arguments(self, instruction: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.lines if line.startswith(f"{instruction} ")]

    def test_lint(self) -> None:
        """A linter finds nothing to improve."""
        linter = Path(sys.executable).with_name("hadolint")
        command = [linter, CONTAINER / "Containerfile"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_user(self) -> None:
        """The process is not root: the last user is a number, which a cluster can check."""
        [user] = self.arguments("USER")
        self.assertRegex(user, "^[1-9][0-9]+:[1-9][0-9]+$")

    def test_stages(self) -> None:
        """The tools that build the gateway are not in the image; both stages have a Python of the tests."""
        build, image = self.arguments("FROM")
        self.assertTrue(build.endswith(" AS build"))
        self.assertEqual(build.removesuffix(" AS build"), image)
        self.assertTrue(image.startswith("python:3.14-"))

    def test_copies(self) -> None:
        """All that is copied from the checkout exists, and is all that the installation needs."""
        copied = [word for line in self.arguments("COPY") if "--from" not in line for word in line.split()[:-1]]
        names = {name for name in copied if not name.startswith("--")}
        self.assertEqual([name for name in names if not (ROOT / name).exists()], [])
        self.assertLessEqual({"setup.cfg", "pyproject.toml", "constraints.txt", "gateway", "twisted"}, names)

    def test_health(self) -> None:
        """The container is healthy while C{xmpp-gateway status} succeeds; some runtimes ignore HEALTHCHECK."""
        check = '["CMD", "xmpp-gateway", "status"]'
        compose = (CONTAINER / "compose.yaml").read_text()
        self.assertIn(f"test: {check}\n", compose)
        [found] = self.arguments("HEALTHCHECK")
        self.assertTrue(found.endswith('CMD ["xmpp-gateway", "status"]'))

    def test_compose(self) -> None:
        """Its configuration is valid with the secret of the environment, and Prosody has the same component."""
        compose = (CONTAINER / "compose.yaml").read_text()
        [variable] = re.findall(r"(GATEWAY_\w+): \$\{COMPONENT_SECRET", compose)
        environment = {variable: "s3cret"}
        config = load(
            CONTAINER / "gateway.toml", checks.findPlugins(), MemoryReactorClock(), environment=environment
        )
        [component] = checks.components(config)
        prosody = (CONTAINER / "prosody.cfg.lua").read_text()
        self.assertEqual(component.secret, "s3cret")
        self.assertEqual((component.address.host, component.address.port), ("prosody", 5347))
        self.assertIn(f'Component "{component.jid}"\n    component_secret = ENV_COMPONENT_SECRET\n', prosody)
        self.assertIn(f'VirtualHost "{component.server}"\n', prosody)
        self.assertIn("\n  prosody:\n", compose)


class PageTests(SynchronousTestCase):
    """The variables and credentials of docs/install.md."""

    def test_environment(self) -> None:
        """Each row of the table works: the variable and the credential set the key."""
        rows = re.findall(r"(?m)^\| `\[([^\]]*)\] (\w+)`[^|]*\| `(\w+)=[^`]*` \| (?:`(\S+)`)? ?\|$", PAGE)
        self.assertGreater(len(rows), 6)
        tables = (
            '[server]\nendpoint = "tcp:127.0.0.1:9"\n[http]\n[state]\n'
            '[proxy."proxy.example.com"]\ntarget = "bot@example.com"\n'
            '[roster."roster.example.com"]\ndomain = "example.com"\nurl = "http://localhost/%s"\n'
            f'[peers."rooms.example.net"]\nlisten = "tls:5299"\nfingerprint = "sha256:{"1b" * 32}"\n'
        )
        folder = Path(self.mktemp()).absolute()
        (folder / "credentials").mkdir(parents=True)
        for name in ("file", *(f"credentials/{name}" for *_, name in rows if name)):
            (folder / name).write_text("postgresql:///gateway" if name.endswith("url") else "secret")
        (folder / "gateway.toml").write_text(tables)

        def origins(environment: dict[str, str]) -> dict[str, str]:
            file = folder / "gateway.toml"
            return load(file, checks.findPlugins(), MemoryReactorClock(), environment=environment).origins

        for table, key, variable, _ in rows:
            value = "file" if key.endswith("_file") else "postgresql:///gateway" if key == "url" else "secret"
            secret = {} if table == "server" else {"GATEWAY_SERVER__SECRET": "x"}
            self.assertEqual(origins({variable: value, **secret})[f"{table}.{key}"], variable)
        found = origins({"CREDENTIALS_DIRECTORY": str(folder / "credentials")})
        for table, key, _, name in rows:
            if name:
                self.assertEqual(found[f"{table}.{key}"], f"the credential {name}")


class ReleaseTests(SynchronousTestCase):
    """The version, which is a fact of the package, and the changelogs of this release and of the next."""

    def test_version(self) -> None:
        """The newest parts of the changelogs, and the examples of the documentation, have the gateway's version."""
        for name, pattern in (
            ("CHANGELOG.md", r"(?m)\A## xmpp-gateway (\S+) \("),
            ("debian/changelog", r"\Axmpp-gateway \((\S+)\) "),
            ("docs/logs.md", r"(?m)^xmpp-gateway (\S+) starts"),
            ("docs/status.md", r'(?m)^ "version": "(.*)"'),
        ):
            found = re.findall(pattern, (ROOT / name).read_text())
            self.assertEqual(found, [gateway.__version__], name)

    def test_draft(self) -> None:
        """towncrier makes the next part of all fragments, each of which has a known kind."""
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version=next", "--date=2027-01-01"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("## xmpp-gateway next (2027-01-01)\n", done.stdout)
        types = tomllib.loads((ROOT / "towncrier.toml").read_text())["tool"]["towncrier"]["type"]
        shown = {kind["directory"]: kind["showcontent"] for kind in types}
        for path in (ROOT / "newsfragments").glob("[0-9]*"):
            kind = path.name.split(".")[1]
            self.assertIn(kind, shown, path.name)
            if shown[kind]:
                self.assertIn(" ".join(path.read_text().split())[:60], " ".join(done.stdout.split()), path.name)
