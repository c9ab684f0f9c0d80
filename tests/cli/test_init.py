"""The configuration from answers to a few questions."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition.checks import findPlugins
from gateway.composition.reader import load
from tests.cli.support import call


class InitTests(SynchronousTestCase):
    """C{xmpp-gateway init}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def init(self, *arguments: str, text: str | None = None) -> Any:
        return call("init", str(self.folder), *arguments, text=text)

    def document(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "gateway.toml").read_text())

    def test_asked(self) -> None:
        """Questions with their defaults; three files that only their owner can read, and the next steps."""
        text = "\nexample.com\n\n\nn\nn\nn\nn\nbot@example.com\n"
        done = self.init(text=text)
        self.assertEqual(done.exit_code, 0, done.output)
        document = self.document()
        self.assertEqual(document["server"]["endpoint"], "tcp:127.0.0.1:5347")
        self.assertEqual(document["proxy"], {"proxy.example.com": {"target": "bot@example.com"}})
        self.assertEqual(
            sorted(each.name for each in self.folder.iterdir()),
            ["component.secret", "gateway.prosody.cfg.lua", "gateway.toml"],
        )
        self.assertEqual({stat.S_IMODE(each.stat().st_mode) for each in self.folder.iterdir()}, {0o600})
        secret = (self.folder / "component.secret").read_text().strip()
        block = (self.folder / "gateway.prosody.cfg.lua").read_text()
        self.assertIn(f'component_secret = "{secret}"', block)
        self.assertIn(f"xmpp-gateway check --config {self.folder}/gateway.toml", done.stdout)

    def test_again(self) -> None:
        """An answer that cannot be right is refused with what is allowed, and the question is asked again."""
        answers = ["n", "n", "n", "y", "y", "a b", "m.example.net", "b, c d", ", ", "b.example.net, *"]
        text = "\n".join(["exa mple", "example.com", "tcp:x", "tcp:127.0.0.1:1", *answers]) + "\n"
        done = self.init("--server=prosody", text=text)
        self.assertEqual(done.exit_code, 0, done.output)
        for found, allowed in (("exa mple", "a d"), ("tcp:x", "a Tw"), ("a b", "a d"), ("nothing", "a d")):
            self.assertIn(f"Error: found {found}; allowed: {allowed}", done.output)
        document = self.document()
        self.assertEqual(document["rooms"]["rooms.example.com"]["peers"], ["m.example.net"])
        self.assertEqual(document["mirror"]["mirror.example.com"]["allow"], ["b.example.net", "*"])

    def test_template(self) -> None:
        """A file of a package, which has only state_dir, is replaced and state_dir is kept; no other file is."""
        self.folder.mkdir()
        file = self.folder / "gateway.toml"
        arguments = ("--yes", "--server=prosody", "--domain=example.com")
        for text in ("", "state_dir = 1\n", 'state_dir = "a"\n[http]\n', "no TOML"):
            file.write_text(text)
            done = self.init(*arguments)
            self.assertEqual(done.exit_code, 1)
            self.assertIn(f"{file} exists already", done.output)
        there = str(self.folder.absolute() / "own state")
        file.write_text(f"# A comment.\nstate_dir = '{there}'\n")
        self.assertEqual(self.init(*arguments).exit_code, 0)
        document = self.document()
        self.assertEqual(document["state_dir"], there)
        self.assertIn("proxy", document)

    def test_variable(self) -> None:
        """The folder of the file that GATEWAY_CONFIG names is the default, and the next steps need no --config."""
        self.folder = self.folder.absolute()
        self.patch(os, "environ", {**os.environ, "GATEWAY_CONFIG": str(self.folder / "gateway.toml")})
        done = call("init", "--yes", "--server=prosody", "--domain=example.com")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("\n  2. xmpp-gateway check\n  3. start the service: ", done.output)
        self.assertEqual(self.document()["server"]["domain"], "example.com")

    def test_optional(self) -> None:
        """Rooms need no mirrors."""
        for arguments, text in (((), "\n\n"), (("--yes",), None)):
            rooms = ("--server=prosody", "--domain=example.com", "--service=rooms", "--force")
            done = self.init(*rooms, *arguments, text=text)
            self.assertEqual(done.exit_code, 0, done.output)
            self.assertEqual(self.document()["rooms"], {"rooms.example.com": {"peers": []}})

    def test_all(self) -> None:
        """All services, without questions, for each kind of server: the file is valid."""
        services = [f"--service={name}" for name in ("proxy", "delegation", "roster", "rooms", "mirror")]
        peers = ("--answer=rooms.peers=m.example.net, n.example.net", "--answer=mirror.allow=rooms.example.net")
        for kind in ("prosody", "ejabberd", "openfire"):
            arguments = (f"--server={kind}", "--domain=example.com", "--yes", "--force", *services, *peers)
            done = self.init(*arguments)
            self.assertEqual(done.exit_code, 0, done.output)
            config = load(self.folder / "gateway.toml", findPlugins(), MemoryReactorClock())
            self.assertEqual(len(config.services), 5)
            document = self.document()
            self.assertEqual(document["rooms"]["rooms.example.com"]["peers"], ["m.example.net", "n.example.net"])
            self.assertEqual("api" in document["roster"]["roster.example.com"], kind == "ejabberd")
        self.assertEqual(document["server"]["endpoint"], "tcp:127.0.0.1:5275")

    def test_kept(self) -> None:
        """Existing files are kept, unless they may be replaced; the secret is kept in any case."""
        arguments = ("--server=prosody", "--domain=example.com", "--yes")
        self.init(*arguments)
        before = {each.name: each.read_text() for each in self.folder.iterdir()}
        # Before any question.
        done = self.init(*arguments[:1], text="")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("exists already: choose another folder, or give --force", done.stderr)
        self.assertEqual({each.name: each.read_text() for each in self.folder.iterdir()}, before)
        done = self.init(*arguments, "--service=mirror", "--answer=mirror.allow=r.example.net", "--force")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual((self.folder / "component.secret").read_text(), before["component.secret"])
        self.assertIn("mirror", self.document())

    def test_wrong(self) -> None:
        """An answer that cannot be right: its error is that of the configuration, and nothing is written."""
        done = self.init("--server=prosody", "--domain=example.com", "--yes", "--answer=proxy.target=nobody")
        self.assertEqual(done.exit_code, 1)
        self.assertIn('gateway.toml: 1 error:\n  proxy."proxy.example.com".target: found "nobody"', done.stderr)
        self.assertFalse(self.folder.exists())
        # What only the service itself can check.
        rooms = ("--service=rooms", "--answer=rooms.peers=rooms.example.com")
        done = self.init("--server=prosody", "--domain=example.com", "--yes", *rooms)
        self.assertIn("which is this service", done.stderr)
        self.assertEqual(done.exit_code, 1)
        self.assertFalse(self.folder.exists())
        quote = 'exa"mple.com'
        done = self.init("--server=prosody", f"--domain={quote}", "--yes", "--answer=proxy.target=a@example.com")
        self.assertEqual(done.exit_code, 1)
        self.assertFalse(self.folder.exists())

    def test_usage(self) -> None:
        """Answers to no question, answers without a value, and questions without a default."""
        for arguments, reason in (
            (("--domain=example.com", "--answer=x.y=1"), "x.y answers no question; questions: "),
            (("--domain=example.com", "--answer=x"), "found x; allowed: KEY=VALUE"),
            ((), "domain has no default: give --domain or --answer domain=VALUE"),
            (
                ("--domain=example.com", "--service=mirror"),
                "mirror.allow has no default: give --answer mirror.allow=VALUE (Domains whose rooms ",
            ),
        ):
            done = self.init("--yes", *arguments)
            self.assertEqual(done.exit_code, 2, done.output)
            self.assertIn(reason, done.stderr)

    def test_yesOrNo(self) -> None:
        """An answer that is neither yes nor no is refused with what is allowed, and asked again."""
        text = "maybe\nYES\nn\nn\nn\nn\nbot@example.com\n"
        done = self.init("--server=prosody", "--domain=example.com", text=f"\n{text}")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn("proxy: a component in front of a client account? [Y/n]", done.output)
        self.assertIn("Error: found maybe; allowed: y or n\n", done.output)
        self.assertEqual(list(self.document()), ["server", "http", "proxy"])

    def test_hidden(self) -> None:
        """Data that users have stored stay visible where the server allows it; elsewhere, init says what to do."""
        for kind, imports in (("prosody", True), ("ejabberd", None), ("openfire", None)):
            service = ("--domain=example.com", "--yes", "--force", "--service=delegation")
            done = self.init(f"--server={kind}", *service)
            [table] = self.document()["delegation"].values()
            self.assertEqual(table["namespaces"]["jabber:iq:private"].get("import"), imports)
            self.assertEqual("What the server had stored" in done.stdout, not imports, done.stdout)
            # The server's side fits to it.
            [block] = [each.read_text() for each in self.folder.glob(f"gateway.{kind}.*")]
            self.assertEqual('["jabber:iq:private"] = "get"' in block, bool(imports))

    def test_none(self) -> None:
        """A gateway without a service is none."""
        done = self.init("--server=prosody", "--domain=example.com", text="\nn\nn\nn\nn\nn\n")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("no service was chosen", done.stderr)
