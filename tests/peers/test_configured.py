"""The tables C{[peers]} of a configuration: their errors, a reload, the key, and the command."""

from __future__ import annotations

import os
import re
import tomllib
from hashlib import sha256
from pathlib import Path

from attrs import fields
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition.changes import compare
from gateway.composition.reader import Config
from gateway.composition.reload import Reloader
from gateway.composition.service import read, warnings
from gateway.config.tables import ConfigError, PeerTable
from gateway.peers import identity
from gateway.testing import MemoryGateway
from tests.cli.support import call as command
from tests.effects.connections import SERVER
from tests.effects.peers import COMPONENT, FIRST, KEYS, KNOWN, LISTENS, SECOND, call

OTHER = f'[peers."two.example"]\nlisten = "tls:5299"\nfingerprint = "{SECOND}"\n'
CONNECTS = LISTENS.replace("listen = ", "endpoint = ").replace("tls:", "tls:there.example:")
TWICE = '[peers."two.example"]\nendpoint = "tls:192.0.2.1:5299"\n'


class ErrorTests(SynchronousTestCase):
    """Each error names the key, the value and what is allowed."""

    def problems(self, tables: str) -> list[str]:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        path.write_text(tables)
        try:
            read(path, MemoryReactorClock())
        except ConfigError as error:
            return error.problems
        return []

    def test_right(self) -> None:
        """Tables without errors."""
        self.assertEqual(self.problems(f"{LISTENS}{KNOWN}{OTHER}"), [])
        colons = ":".join(FIRST.removeprefix("sha256:")[at : at + 2].upper() for at in range(0, 64, 2))
        self.assertEqual(self.problems(f'{LISTENS}fingerprint = "{colons}"\n'), [])
        self.assertEqual(self.problems(f'{CONNECTS}{KNOWN}{TWICE}{KNOWN}key_file = "other.pem"\n'), [])

    def test_example(self) -> None:
        """The table in gateway.example.toml has all keys, and is right."""
        example = (Path(__file__).parents[2] / "gateway.example.toml").read_text()
        table = "\n".join(re.findall(r"^#   (\S.*)$", example, re.MULTILINE)).replace("sha256:...", FIRST)
        self.assertEqual(self.problems(f'{SERVER}[rooms."{COMPONENT}"]\n{table}\n'), [])
        [keys] = tomllib.loads(table)["peers"].values()
        self.assertEqual({*keys, "endpoint"}, {each.name for each in fields(PeerTable)})

    def test_wrong(self) -> None:
        """One error for each mistake."""
        one, two = 'peers."one.example"', 'peers."two.example"'
        for table, key, words in (
            (f'{CONNECTS.replace(":5299", "")}{KNOWN}', f"{one}.endpoint", 'mean "tls:there.example:5299"?'),
            (f"{LISTENS}", f"{one}.fingerprint", "found nothing; allowed: what `xmpp-gateway peers` prints"),
            (f'{LISTENS}fingerprint = "sha256:12"\n', f"{one}.fingerprint", 'found "sha256:12"'),
            (f"{LISTENS}fingerprint = []\n", f"{one}.fingerprint", "found []"),
            (f'{LISTENS}{KNOWN}endpoint = "tls:h:1"\n', one, "found endpoint and listen; allowed: one of them"),
            (f"{LISTENS}{KNOWN}".replace("listen", "#"), one, "found neither endpoint nor listen"),
            (f'{LISTENS}{KNOWN}profile = "slow"\n', f"{one}.profile", 'found "slow"; allowed: one of "broadband"'),
            (f'{LISTENS}{KNOWN}fallback = "xmpp"\n', f"{one}.fallback", 'found "xmpp"'),
            (f'{LISTENS}{KNOWN}port = 1\n', f"{one}.port", "an unknown key"),
            (f'{LISTENS}{KNOWN}domains = ["{COMPONENT}"]\n', f"{one}.domains", "which is a domain here"),
            (f'{LISTENS}{KNOWN}domains = ["two.example"]\n{OTHER}', f"{two}.domains", "each domain once"),
            (f"{LISTENS}{KNOWN}{OTHER.replace(SECOND, FIRST)}", f"{two}.fingerprint", "a key of one peer"),
            (f'{LISTENS}{KNOWN}key_file = "a.pem"\n{OTHER}', f"{two}.key_file", f"the one of {one}, which listens"),
            (f"{CONNECTS}{KNOWN}{TWICE}{KNOWN}", f"{two}.fingerprint", "a key of one peer"),
            (f'{LISTENS.replace("tls:5299", "tls:x")}{KNOWN}', f"{one}.listen", 'found "tls:x"'),
            (f'{SERVER}[rooms."{COMPONENT}"]\n[peers."one.example"]\nendpoint = "tls:h:1:trustRoots=/x"\n{KNOWN}',
             f"{one}.endpoint", "a Twisted client endpoint"),
            (f'{SERVER}[rooms."{COMPONENT}"]\n[peers."a@b"]\nlisten = "tls:1"\n{KNOWN}', 'peers."a@b"', "a domain"),
            (f'{SERVER}[rooms."{COMPONENT}"]\n[peers."{COMPONENT}"]\nlisten = "tls:1"\n{KNOWN}',
             f'peers."{COMPONENT}".domains', "which is a domain here"),
            (f'peers = 1\n{SERVER}[rooms."{COMPONENT}"]\n', "peers", "found 1; allowed: a table"),
            (f'{LISTENS}{KNOWN}key_file = "none/there"\n', f"{one}.key_file", "its folder does not exist"),
        ):  # fmt: skip
            problems = self.problems(table)
            self.assertEqual(len(problems), 1, (table, problems))
            self.assertEqual(problems[0].partition(": ")[0], key)
            self.assertIn(words, problems[0])

    def test_key(self) -> None:
        """A key file without a key that can be used is an error, and it is left as it is."""
        pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for content in (b"", b"x" * 10_000, pem):
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            (folder / "own.pem").write_bytes(content)
            path = folder / "gateway.toml"
            path.write_text(f'{LISTENS}{KNOWN}key_file = "own.pem"\n')
            with self.assertRaises(ConfigError) as raised:
                read(path, MemoryReactorClock())
            [problem] = raised.exception.problems
            self.assertIn('peers."one.example".key_file', problem)
            self.assertIn("is not a private key of type Ed25519", problem)
            self.assertEqual((folder / "own.pem").read_bytes(), content)


class KeyTests(SynchronousTestCase):
    """The key and its certificate."""

    def test_made(self) -> None:
        """It is made once, for its owner only, and is the same after a restart."""
        path = Path(self.mktemp()).absolute()
        made = identity.load(path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(identity.load(path).fingerprint, made.fingerprint)
        self.assertNotEqual(identity.load(Path(self.mktemp()).absolute()).fingerprint, made.fingerprint)

    def test_fingerprint(self) -> None:
        """The fingerprint is the digest of the public key, as other programs make it."""
        der = KEYS["first"].key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.assertEqual(FIRST, f"sha256:{sha256(der).hexdigest()}")

    def test_small(self) -> None:
        """The certificate crosses slow links."""
        self.assertLess(len(KEYS["first"].certificate.public_bytes(Encoding.DER)), 200)

    def test_cannotBeMade(self) -> None:
        """A folder that is not there is named."""
        with self.assertRaises(identity.KeyProblem) as raised:
            identity.load(Path(self.mktemp(), "none", "own.pem"))
        self.assertIn("cannot be created: No such file", str(raised.exception))


class CheckTests(SynchronousTestCase):
    """Mistakes that C{--check} finds with the files and the other tables."""

    def read(self, text: str) -> Config:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        path.write_text(text)
        path.chmod(0o600)
        (folder / "state").mkdir(0o700)
        self.own = identity.load(folder / "state" / identity.KEY_FILE).fingerprint
        path.write_text(text.replace("OWN", self.own))
        return read(path, MemoryReactorClock())

    def test_ownFingerprint(self) -> None:
        """The table that this gateway has printed for the other side is refused here."""
        error = self.assertRaises(ConfigError, self.read, f'{LISTENS}fingerprint = "OWN"\n')
        [problem] = error.problems
        self.assertIn('peers."one.example".fingerprint: found the fingerprint of this gateway', problem)

    def test_unused(self) -> None:
        """A domain with which no service exchanges stanzas, such as the name of a host, is a warning."""
        rooms = f'{SERVER}[rooms."{COMPONENT}"]\npeers = [PEERS]\n'
        link = f'[peers."one.example"]\nlisten = "tls:5299"\ndomains = ["two.example"]\n{KNOWN}'
        expected = [
            f'peers."one.example": no service of this gateway has "{each}" in peers or allow: the link needs the '
            "domain of a component of the other gateway, not the name of its host"
            for each in ("one.example", "two.example")
        ]
        for peers, found in (
            ('"three.example"', expected),
            ('"one.example"', expected[1:]),
            ('"one.example", "two.example"', []),
            ('"*"', []),
        ):
            self.assertEqual(warnings(self.read(rooms.replace("PEERS", peers) + link)), found)


class ReloadTests(SynchronousTestCase):
    """Changes while the gateway runs."""

    def make(self, text: str) -> MemoryGateway:
        gateway = MemoryGateway(self.mktemp(), text)
        self.addCleanup(gateway.stop)
        self.gateway = gateway
        return gateway

    def reload(self, text: str) -> None:
        path = self.gateway.folder / "gateway.toml"
        path.write_text(text)
        self.successResultOf(self.gateway.service.apply(read(path, self.gateway.reactor)))

    def status(self) -> str:
        return self.gateway.request("GET", "/status").text

    def test_added(self) -> None:
        """A link is added to a gateway without any, and removed."""
        gateway = self.make(f'{SERVER}[rooms."{COMPONENT}"]\n')
        self.assertNotIn("direct link", self.status())
        self.reload(f"{LISTENS}{KNOWN}")
        caller = call(gateway, KEYS["first"])
        self.assertIsNotNone(caller.connection)
        self.assertIn("direct link to one.example: up", self.status())
        self.reload(f'{SERVER}[rooms."{COMPONENT}"]\n')
        caller.turn()
        self.assertIsNone(caller.connection)
        self.assertEqual(caller.reason, "the other gateway stops")

    def test_signal(self) -> None:
        """At SIGHUP, /status names the links that were changed."""
        gateway = self.make(f'{SERVER}[rooms."{COMPONENT}"]\n')
        path = gateway.folder / "gateway.toml"
        path.write_text(f"{LISTENS}{KNOWN}")
        self.successResultOf(Reloader(path, gateway.reactor, gateway.service).reload())
        self.assertIn(": peers: one.example", self.status())
        self.assertIsNotNone(call(gateway, KEYS["first"]).connection)

    def test_kept(self) -> None:
        """Other links, and the services, are not affected."""
        gateway = self.make(f"{LISTENS}{KNOWN}")
        caller = call(gateway, KEYS["first"])
        self.reload(f"{LISTENS}{KNOWN}{OTHER}")
        caller.turn()
        self.assertIsNotNone(caller.connection)
        self.assertIsNotNone(call(gateway, KEYS["second"]).connection)
        gateway.server(COMPONENT)
        caller.say(f"<iq from='a@one.example' to='{COMPONENT}' type='get' id='q'><q xmlns='urn:q'/></iq>")
        self.assertEqual(len(caller.stanzas), 1)

    def test_changed(self) -> None:
        """A key that is not configured any longer is disconnected, and the log names the links that differ."""
        gateway = self.make(f"{LISTENS}{KNOWN}")
        caller = call(gateway, KEYS["first"])
        before = gateway.service.config
        self.reload(f'{LISTENS}fingerprint = "{SECOND}"\n')
        self.assertEqual(compare(before, gateway.service.config).peers, ("one.example",))
        caller.turn()
        self.assertIsNone(caller.connection)
        self.assertIsNone(call(gateway, KEYS["first"]).connection)
        self.assertIsNotNone(call(gateway, KEYS["second"]).connection)

    def test_renewed(self) -> None:
        """A new key in the same file is used after a reload."""
        gateway = self.make(f'{LISTENS}{KNOWN}key_file = "own.pem"\n')
        first = call(gateway, KEYS["first"]).accepts
        (gateway.folder / "own.pem").unlink()
        self.reload(f'{LISTENS}{KNOWN}key_file = "own.pem"\n')
        self.assertNotIn(call(gateway, KEYS["first"]).accepts, (None, first))

    def test_stop(self) -> None:
        """At a stop the last stanzas of the services still pass, and the peer is told."""
        gateway = self.make(f"{LISTENS}{KNOWN}")
        gateway.server(COMPONENT)
        caller = call(gateway, KEYS["first"])
        [link] = gateway.service.links
        last = f"<presence from='a@{COMPONENT}' to='b@one.example' type='unavailable'/>"
        self.patch(link._raw[-1], "drained", lambda: link.sendRaw(last.encode()))
        gateway.service.stopService()
        for _ in range(20):
            gateway.wait(0.5)
            caller.turn()
        self.assertEqual((caller.stanzas, caller.reason), ([last], "the other gateway stops"))

    def test_refused(self) -> None:
        """Stanzas of a domain that is not configured here are a problem, and the status says what to do."""
        gateway = self.make(f"{LISTENS}{KNOWN}")
        gateway.server(COMPONENT)
        caller = call(gateway, KEYS["first"])
        self.assertNotIn("peer.", gateway.request("GET", "/readyz?full=1").text)
        caller.say(f"<message from='a@other.example' to='{COMPONENT}'/>")
        refused = "one.example that were refused: 1 from a domain that is not the peer's; name the components"
        self.assertIn(refused, self.status())
        ready = gateway.request("GET", "/readyz?full=1").text
        self.assertIn(f"{COMPONENT}: peer.refused: see /status", ready)

    def test_metrics(self) -> None:
        """Metrics of the link."""
        gateway = self.make(f"{LISTENS}{KNOWN}")
        gateway.server(COMPONENT)
        caller = call(gateway, KEYS["first"])
        caller.say(f"<iq from='a@one.example' to='{COMPONENT}' type='get' id='q'><q xmlns='urn:q'/></iq>")
        page = gateway.request("GET", "/metrics").text
        for line in (
            'xmpp_gateway_peer_up{peer="one.example"} 1.0',
            'xmpp_gateway_peer_connections_total{peer="one.example"} 1.0',
            'xmpp_gateway_peer_stanzas_total{direction="received",peer="one.example"} 1.0',
            'xmpp_gateway_peer_stanzas_total{direction="sent",peer="one.example"} 1.0',
        ):
            self.assertIn(line, page)


class CommandTests(SynchronousTestCase):
    """C{xmpp-gateway peers}."""

    def test_fingerprint(self) -> None:
        """It makes the key, and prints its fingerprint with the table for the other side."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "gateway.toml"
        path.write_text(f'{SERVER}[rooms."{COMPONENT}"]\n[rooms."d.example.com"]\n')
        done = command("peers", "-c", str(path))
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(done.stderr, f"{folder}/state/peers.key: a new key was made\n")
        own = identity.read(folder / "state" / "peers.key").fingerprint
        self.assertIn(f'[peers."{COMPONENT}"]\ndomains = ["d.example.com"]\nfingerprint = "{own}"\n', done.stdout)
        again = command("peers", "-c", str(path))
        self.assertEqual((again.stdout, again.stderr), (done.stdout, ""))

    def test_noFile(self) -> None:
        """Without a configuration file, the key is that of the embedded default, which is reported."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        done = command("peers")
        self.assertEqual(done.exit_code, 0, done.output)
        warning = (
            f"warning: this is for the embedded default, because {folder} has no gateway.toml; --config names the "
            "file of a gateway"
        )
        self.assertEqual(
            done.stderr.splitlines(), [warning, f"{folder}/state/peers.key: a new key was made"]
        )
        self.assertIn('[peers."rooms.localhost"]', done.stdout)

    def test_broken(self) -> None:
        """A key that cannot be used is reported."""
        folder = Path(self.mktemp()).absolute()
        (folder / "state").mkdir(parents=True)
        (folder / "state" / "peers.key").write_text("x")
        path = folder / "gateway.toml"
        path.write_text(f'{SERVER}[rooms."{COMPONENT}"]\n')
        done = command("peers", "-c", str(path))
        self.assertEqual(done.exit_code, 1)
        self.assertIn("is not a private key", done.output)
