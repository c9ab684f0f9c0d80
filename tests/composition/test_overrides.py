"""Keys with secrets from the environment of the process: variables, and credentials of systemd."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition import checks
from gateway.composition.changes import linkSettings
from gateway.composition.reader import Config, load
from gateway.config.tables import ConfigError, HttpTable

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:9"\n'
PROXY = '[proxy."proxy.example.com"]\ntarget = "bot@example.com"\n'
ROSTER = '[roster."roster.example.com"]\ndomain = "example.com"\nurl = "http://localhost/%s"\n'


class OverridesTests(SynchronousTestCase):
    """The values of the environment take the place of those of the file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(mode=0o700)
        self.credentials = self.folder / "credentials"

    def read(self, text: str, **environment: str) -> Config:
        file = self.folder / "gateway.toml"
        file.write_text(text)
        file.chmod(0o644)
        return load(file, checks.findPlugins(), MemoryReactorClock(), environment=environment)

    def put(self, **credentials: str) -> str:
        """Write credentials, with underscores for the dots in their names, and return their folder."""
        self.credentials.mkdir(exist_ok=True)
        for name, content in credentials.items():
            (self.credentials / name.replace("_", ".")).write_text(content)
        return str(self.credentials)

    def problems(self, text: str, **environment: str) -> list[str]:
        return self.assertRaises(ConfigError, self.read, text, **environment).problems

    def secretOf(self, config: Config) -> str | None:
        return linkSettings(config.server, config.services[0].table).secret

    def test_variable(self) -> None:
        """A secret from a variable needs no key in the file, or replaces either key for it."""
        (self.folder / "old").write_text("old")
        for line in ("", 'secret = "old"\n', 'secret_file = "old"\n'):
            config = self.read(SERVER + line + PROXY, GATEWAY_SERVER__SECRET="new", HOME="/root")
            self.assertEqual(self.secretOf(config), "new")
            self.assertEqual(checks.origins(config), ["server.secret: from GATEWAY_SERVER__SECRET"])

    def test_file(self) -> None:
        """The same for a variable that names a file; a relative name is one in the folder of the configuration."""
        (self.folder / "new").write_text("new\n")
        for line in ("", 'secret = "old"\n', 'secret_file = "missing"\n'):
            config = self.read(SERVER + line + PROXY, GATEWAY_SERVER__SECRET_FILE="new")
            self.assertEqual(self.secretOf(config), "new")

    def test_component(self) -> None:
        """In the name of a component, each character that is no letter or digit is written as an underscore."""
        environment = {"GATEWAY_PROXY__PROXY_EXAMPLE_COM__SECRET": "own", "GATEWAY_SERVER__SECRET": "common"}
        config = self.read(SERVER + PROXY + ROSTER, **environment)
        secrets = {each.jid: linkSettings(config.server, each.table).secret for each in config.services}
        self.assertEqual(secrets, {"proxy.example.com": "own", "roster.example.com": "common"})

    def test_all(self) -> None:
        """The keys of other tables, which are texts with a secret or names of files."""
        for name in ("token", "key"):
            (self.folder / name).write_text("t0ken")
        environment = {
            "GATEWAY_SERVER__SECRET": "s",
            "GATEWAY_HTTP__TOKEN_FILE": "token",
            "GATEWAY_STATE__URL": "postgresql:///gateway",
            "GATEWAY_PROXY__PROXY_EXAMPLE_COM__KEY_FILE": "key",
            "GATEWAY_ROSTER__ROSTER_EXAMPLE_COM__SIGNATURE_SECRET": "signed",
            "GATEWAY_ROSTER__ROSTER_EXAMPLE_COM__URL": "https://app.example.com/%s?key=1",
            "GATEWAY_PEERS__ROOMS_EXAMPLE_NET__KEY_FILE": "peer",
        }
        peers = f'[peers."rooms.example.net"]\nlisten = "tls:5299"\nfingerprint = "sha256:{"1b" * 32}"\n'
        config = self.read(SERVER + "[http]\n[state]\n" + PROXY + ROSTER + peers, **environment)
        self.assertEqual(config.http, HttpTable(token_file=str(self.folder / "token")))  # type: ignore[arg-type]
        self.assertEqual(config.state.url, "postgresql:///gateway")
        self.assertEqual(sorted(config.origins.values()), sorted(environment))

    def test_twoWays(self) -> None:
        """Two variables for one secret are an error, as two keys of the file are."""
        [problem] = self.problems(SERVER + PROXY, GATEWAY_SERVER__SECRET="a", GATEWAY_SERVER__SECRET_FILE="b")[:1]
        self.assertIn("server.secret_file: found both secret and secret_file; allowed: one of them", problem)

    def test_unknown(self) -> None:
        """An unknown name is an error, with the name that was probably meant."""
        for name, advice in (
            ("GATEWAY_SERVER__SECRET_FIEL", "did you mean GATEWAY_SERVER__SECRET_FILE?"),
            ("GATEWAY_SERVER_SECRET_FILE", "did you mean GATEWAY_SERVER__SECRET_FILE?"),
            ("GATEWAY_PROXY__PROXY_EXAMPLE_ORG__SECRET", "did you mean GATEWAY_PROXY__PROXY_EXAMPLE_COM__SECRET?"),
            ("GATEWAY_STATE__URL", "add [state] to the file"),
            ("GATEWAY_SERVER__ENDPOINT", "write endpoint in the file: it is no secret"),
            ("GATEWAY_OTHER__THING", "remove it, or write the key in the file"),
        ):
            [problem] = self.problems(SERVER + 'secret = "s"\n' + PROXY, **{name: "s3cret"})
            self.assertTrue(problem.startswith(f"{name}: found an unknown name; allowed: GATEWAY_TABLE__KEY, "))
            self.assertTrue(problem.endswith(f"; {advice}"), problem)
            self.assertNotIn("s3cret", problem)

    def test_others(self) -> None:
        """Variables of other software are not the gateway's: those of CGI, and of Kubernetes for a service."""
        others = {"GATEWAY_INTERFACE": "CGI/1.1", "GATEWAY_PORT_80_TCP": "x", "GATEWAY_CONFIG": "y", "A__B": "z"}
        self.assertEqual(self.read(SERVER + 'secret = "s"\n' + PROXY, **others).origins, {})

    def test_ambiguous(self) -> None:
        """A variable that stands for two components is an error; their credentials differ."""
        text = SERVER + 'secret = "s"\n' + PROXY + PROXY.replace("proxy.ex", "proxy-ex")
        [problem] = self.problems(text, GATEWAY_PROXY__PROXY_EXAMPLE_COM__SECRET="x")
        self.assertIn('a name of proxy."proxy.example.com".secret and of proxy."proxy-example.com".secret', problem)
        config = self.read(text, CREDENTIALS_DIRECTORY=self.put(proxy_proxy_example_com_secret="own"))
        self.assertEqual(self.secretOf(config), "own")

    def test_problem(self) -> None:
        """An error about a value from the environment names the variable."""
        [problem] = self.problems(SERVER + PROXY, GATEWAY_SERVER__SECRET_FILE="missing")
        self.assertTrue(problem.startswith("server.secret_file: found "), problem)
        self.assertTrue(problem.endswith("; the value is from GATEWAY_SERVER__SECRET_FILE"), problem)

    def test_credentials(self) -> None:
        """A credential is the file of a key, or the value of a key without a file."""
        folder = self.put(server_secret="s\n", http_token="t", state_url="postgresql:///gateway\n", other="x")
        config = self.read(SERVER + "[http]\n[state]\n" + PROXY, CREDENTIALS_DIRECTORY=folder)
        self.assertEqual(self.secretOf(config), "s")
        self.assertEqual(config.state.url, "postgresql:///gateway")
        assert config.http is not None
        self.assertEqual(config.http.token_file, f"{folder}/http.token")
        self.assertIn("server.secret_file: from the credential server.secret", checks.origins(config))

    def test_credentialAndVariable(self) -> None:
        """A variable has precedence over a credential."""
        folder = self.put(server_secret="s")
        config = self.read(SERVER + PROXY, CREDENTIALS_DIRECTORY=folder, GATEWAY_SERVER__SECRET="v")
        self.assertEqual(self.secretOf(config), "v")

    def test_wrongCredentials(self) -> None:
        """An unknown name, an unreadable value, and a missing folder are errors."""
        text = SERVER + 'secret = "s"\n[state]\n' + PROXY
        [problem] = self.problems(text, CREDENTIALS_DIRECTORY=self.put(server_secert="x"))
        self.assertIn("the credential server.secert: found an unknown name; allowed: TABLE.KEY, ", problem)
        self.assertTrue(problem.endswith("; did you mean server.secret?"), problem)
        (self.credentials / "server.secert").unlink()
        problems = self.problems(text, CREDENTIALS_DIRECTORY=self.put(state_url="two\nlines"))
        self.assertIn("the credential state.url: found ", problems[0])
        [problem] = self.problems(text, CREDENTIALS_DIRECTORY=str(self.folder / "none"))
        self.assertIn("CREDENTIALS_DIRECTORY: found ", problem)

    def test_warnings(self) -> None:
        """The file that others can read is reported only if it has a secret itself."""
        config = self.read(SERVER + PROXY, GATEWAY_SERVER__SECRET="s")
        self.assertEqual(checks.warnings(config), [])
        config = self.read(SERVER + 'secret = "s"\n' + PROXY)
        self.assertEqual(len(checks.warnings(config)), 1)

    def test_process(self) -> None:
        """L{checks.read} uses the environment of the process, unless another one is given."""
        self.patch(os, "environ", {**os.environ, "GATEWAY_SERVER__SECRET": "p"})
        file = self.folder / "gateway.toml"
        file.write_text(SERVER + PROXY)
        self.assertEqual(self.secretOf(checks.read(file, MemoryReactorClock())), "p")
        self.assertRaises(ConfigError, checks.read, file, MemoryReactorClock(), {})
