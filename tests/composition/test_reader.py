"""The configuration file: values, and error messages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from attrs import fields_dict, frozen
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway.composition.reader import Config, load, readSecret
from gateway.config.tables import (
    ComponentTable,
    ConfigError,
    EmbeddedTable,
    HttpTable,
    PrivilegesTable,
    Seconds,
    elided,
)
from gateway.delegation.plugin import DelegationPlugin
from gateway.delegation.tables import DelegationTable
from gateway.fmuc.plugin import MirrorPlugin, RoomsPlugin
from gateway.fmuc.tables import MirrorTable, RoomsTable
from gateway.interfaces import IServicePlugin
from gateway.proxy.plugin import ProxyPlugin
from gateway.proxy.tables import ProxyTable
from gateway.roster.plugin import RosterPlugin
from gateway.roster.tables import RosterTable
from tests.quick import QuickCase

ROOT = Path(__file__).resolve().parents[2]
SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n'
PROXY = '[proxy."proxy.example.com"]\ntarget = "implementation@example.com"\n'


def gateway(lines: str) -> str:
    """Return a table with these privileges for one component of the embedded host."""
    return f"[embedded.components]\n'gw.localhost' = 'x'\n[embedded.privileges.'gw.localhost']\n{lines}\n"


@frozen(kw_only=True)
class EchoTable(ComponentTable):
    """The table of a plugin of other software."""

    times: int = 1


@implementer(IServicePlugin)
class EchoPlugin:
    """A plugin of other software."""

    kind = "echo"
    table = EchoTable

    def makeService(self, jid: str, table: Any, composition: Any) -> Any:
        raise NotImplementedError


PLUGINS = [
    ProxyPlugin(),
    DelegationPlugin(),
    RosterPlugin(),
    RoomsPlugin(),
    MirrorPlugin(),
    EchoPlugin(),
]


class ConfigCase(SynchronousTestCase):
    """A folder with a configuration file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def read(self, text: str) -> Config:
        path = self.folder / "gateway.toml"
        path.write_bytes(text.encode(errors="surrogateescape"))
        return load(path, PLUGINS, MemoryReactorClock())

    def problems(self, text: str) -> list[str]:
        return self.assertRaises(ConfigError, self.read, text).problems  # type: ignore[no-any-return]  # trial has no type for it

    def file(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        return path


class RightTests(ConfigCase):
    """Valid files."""

    def test_examples(self) -> None:
        """
        The file of docs/running.md works, and the example file with every option switched on, which shows all
        options with their defaults.
        """
        for name in ("component.secret", "http.token"):
            self.file(name, "hidden\n")
        [page] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "running.md").read_text(), re.DOTALL)
        self.assertEqual(len(self.read(page).services), 1)
        example = (ROOT / "gateway.example.toml").read_text()
        config = self.read(re.sub(r"(?m)^# (?=\w+ = )", "", example))
        proxy, delegation, roster, rooms, mirror = config.services
        defaults = ProxyTable(target="implementation@example.com")
        for service, kind in (
            (proxy, ProxyTable),
            (delegation, DelegationTable),
            (roster, RosterTable),
            (rooms, RoomsTable),
            (mirror, MirrorTable),
        ):
            [section] = re.findall(rf'(?ms)^\[{service.kind}\."[^"]*"\]\n(.*?)(?:^\[|\Z)', example)
            own = set(fields_dict(kind)) - set(fields_dict(ComponentTable)) - {"namespaces"}
            self.assertEqual(set(re.findall(r"(?m)^(?:# )?(\w+) = ", section)), own)
        for key in set(fields_dict(ProxyTable)) - {"key_file", "standby"}:
            self.assertEqual(getattr(proxy.table, key), getattr(defaults, key), key)
        # It is that of [server].
        self.assertIs(proxy.table.standby, False)
        token = str(self.folder / "http.token")
        self.assertEqual(config.http, HttpTable(token_file=token, hosts=frozenset({"gateway.example.com"})))

    def test_embeddedExamples(self) -> None:
        """The examples in docs/embedded.md: first the defaults, then the optional tables."""
        examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "embedded.md").read_text(), re.DOTALL)
        self.assertEqual(len(examples), 2)
        self.assertEqual(self.read(examples[0]).embedded, EmbeddedTable())
        config = self.read("".join(examples))
        assert config.embedded is not None and config.embedded.accounts is not None
        self.assertEqual(list(config.embedded.accounts), ["alice", "implementation"])
        self.assertEqual((list(config.embedded.components), config.services), (["echo.localhost"], ()))

    def test_privileges(self) -> None:
        """The example in docs/privilege.md for the embedded host, which has the same form as Prosody's."""
        examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "privilege.md").read_text(), re.DOTALL)
        [example] = [each for each in examples if "[build-system]" not in each]
        embedded = self.read(example).embedded
        assert embedded is not None
        expected = PrivilegesTable(
            roster="both", message="outgoing", presence="roster", iq={"urn:xmpp:test:1": "both"}
        )
        self.assertEqual(embedded.privileges, {"gw.localhost": expected})
        for text, push in (("push = false", False), ("push = true", True), ("", None)):
            embedded = self.read(gateway(text)).embedded
            assert embedded is not None
            self.assertEqual(embedded.privileges, {"gw.localhost": PrivilegesTable(push=push)})
        # A service is a component as well.
        own = "[embedded.privileges]\n'Proxy.example.com' = { roster = 'get' }\n"
        embedded = self.read(PROXY + own).embedded
        assert embedded is not None
        self.assertEqual(list(embedded.privileges), ["proxy.example.com"])

    def test_defaults(self) -> None:
        """The smallest valid file, and the defaults."""
        config = self.read(SERVER + PROXY)
        self.assertEqual(config.state_dir, self.folder / "state")
        self.assertIsNone(config.http)
        self.assertEqual(config.server.max_stanza_size, 4 * 1024 * 1024)
        self.assertEqual(config.server.max_outgoing_stanza_size, 512 * 1024)
        self.assertEqual(config.server.answer_budget, 1024 * 1024)
        [service] = config.services
        self.assertEqual((service.kind, service.jid), ("proxy", "proxy.example.com"))
        self.assertEqual(service.table, ProxyTable(target="implementation@example.com"))
        self.assertIsInstance(service.plugin, ProxyPlugin)

    def test_everything(self) -> None:
        """All keys of the proxy and of the server."""
        token = self.file("token", "t0ken\n")
        config = self.read(
            'state_dir = "/var/lib/x"\n'
            '[server]\nendpoint = "tls:xmpp.example.com:5347"\nsecret = "a"\ndomain = "EXAMPLE.com"\n'
            "max_stanza_size = 65536\n"
            f'[http]\nlisten = "tcp:80:interface=192.0.2.1"\ntoken_file = "{token}"\n'
            '[proxy."PROXY.example.com"]\ntarget = "Impl@Example.com"\nbalance = "sticky"\nresources = "x*"\n'
            'forward = ["message", "presence"]\noutbound = true\ntimeout = 5\nkey_file = "keys/one"\n'
            'shared = true\nendpoint = "unix:/run/xmpp"\nsecret = "b"\n'
        )
        self.assertEqual(config.state_dir, Path("/var/lib/x"))
        self.assertEqual(config.server.domain, "example.com")
        [service] = config.services
        self.assertEqual(service.jid, "proxy.example.com")
        self.assertEqual(
            service.table,
            ProxyTable(
                target="impl@example.com",
                balance="sticky",
                resources="x*",
                forward=frozenset({"message", "presence"}),
                outbound=True,
                timeout=Seconds(5.0),
                key_file=str(self.folder / "keys/one"),
                shared=True,
                endpoint="unix:/run/xmpp",
                secret="b",
            ),
        )

    def test_oddDomains(self) -> None:
        """Domains that servers accept are valid wherever a domain or a JID is."""
        for domain in ("chat_srv.lan", "[2001:db8::1]", "-x-.lan"):
            server = SERVER + f'domain = "{domain}"\n'
            config = self.read(
                f'{server}[proxy."proxy_.lan"]\ntarget = "impl_x@{domain}"\n'
                f'[rooms."rooms.lan"]\npeers = ["{domain}"]\n'
            )
            assert config.server is not None
            self.assertEqual(config.server.domain, domain)
            proxy, rooms = config.services
            self.assertEqual((proxy.jid, proxy.table.target), ("proxy_.lan", f"impl_x@{domain}"))
            self.assertEqual(rooms.table.peers, {domain})
        for domain in ("example.com:5222", "exam ple.com", "'example.com'", "<example.com>", "a..b", "a/b"):
            self.assertIn("server.domain", self.problems(f'{SERVER}domain = "{domain}"\n{PROXY}')[0])

    def test_embedded(self) -> None:
        """Without [server]: the embedded host with its defaults; without a service as well: the demonstration."""
        for text, domain in (("", "localhost"), ('[embedded]\ndomain = "Other.test"\n', "other.test")):
            config = self.read(text)
            assert config.embedded is not None
            self.assertEqual((config.server, config.embedded.domain), (None, domain))
            self.assertEqual(config.embedded.c2s, "tcp:5222:interface=127.0.0.1")
            self.assertEqual(config.embedded.component, "tcp:5347:interface=127.0.0.1")
            self.assertEqual((config.embedded.accounts, config.embedded.components), (None, {}))
            proxy, delegation, roster, rooms, mirror = config.services
            self.assertEqual((proxy.kind, proxy.jid), ("proxy", f"proxy.{domain}"))
            assert isinstance(proxy.table, ProxyTable) and isinstance(delegation.table, DelegationTable)
            self.assertEqual(proxy.table.target, f"implementation@{domain}")
            self.assertEqual((delegation.jid, delegation.table.servers), (f"delegate.{domain}", {domain}))
            assert isinstance(roster.table, RosterTable)
            self.assertEqual((roster.jid, roster.table.domain), (f"roster.{domain}", domain))
            assert isinstance(rooms.table, RoomsTable) and isinstance(mirror.table, MirrorTable)
            self.assertEqual((rooms.jid, rooms.table.peers), (f"rooms.{domain}", {mirror.jid}))
            self.assertEqual((mirror.jid, mirror.table.allow), (f"mirror.{domain}", {rooms.jid}))
            self.assertIsNone(config.embedded.privileges)
        config = self.read('[embedded.accounts]\nAlice = "pw"\n[echo."e.localhost"]\n')
        assert config.embedded is not None
        self.assertEqual(config.embedded.accounts, {"alice": "pw"})
        self.assertEqual([service.jid for service in config.services], ["e.localhost"])
        # A host for components that are not part of the gateway.
        config = self.read('[embedded.components]\n"c.test" = "s3cret"\n')
        self.assertEqual(config.services, ())

    def test_noFile(self) -> None:
        """No file is the same as an empty file in the working directory."""
        config = load(None, [ProxyPlugin(), DelegationPlugin(), EchoPlugin()], MemoryReactorClock())
        self.assertEqual([service.jid for service in config.services], ["proxy.localhost", "delegate.localhost"])
        self.assertEqual(config.state_dir, Path.cwd() / "state")

    def test_relative(self) -> None:
        """Relative file names refer to the folder of the configuration file, whatever the working directory."""
        self.file("secret", "from a file\n")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir("/")
        config = self.read(
            'state_dir = "s"\n' + SERVER.replace('secret = "s3cret"', 'secret_file = "secret"') + PROXY
        )
        self.assertEqual(config.state_dir, self.folder / "s")
        self.assertEqual(config.server.secret, "from a file")

    def test_own(self) -> None:
        """A service with its own endpoint and secret needs no [server]."""
        config = self.read(PROXY + 'endpoint = "tcp:localhost:5347"\nsecret = "x"\n')
        self.assertEqual(config.services[0].table.secret, "x")

    def test_thirdParty(self) -> None:
        """The table of another plugin is read into the plugin's class, and any number of services is made."""
        config = self.read(SERVER + PROXY + '[echo."e1.example.com"]\ntimes = 3\n[echo."e2.example.com"]\n')
        self.assertEqual(
            [(service.kind, service.jid) for service in config.services],
            [("proxy", "proxy.example.com"), ("echo", "e1.example.com"), ("echo", "e2.example.com")],
        )
        self.assertEqual(config.services[1].table, EchoTable(times=3))

    def test_noSecretInRepr(self) -> None:
        """The repr of a configuration contains no secret."""
        self.file("other", "hidden2")
        config = self.read(SERVER.replace("s3cret", "hidden1") + PROXY + 'secret_file = "other"\n')
        self.assertNotIn("hidden", repr(config))
        self.assertEqual(config.services[0].table.secret, "hidden2")


class WrongTests(ConfigCase):
    """Invalid files: key, value found, values allowed."""

    def assertSays(self, text: str, *parts: str) -> None:
        """Check that there is one problem, with these parts."""
        [problem] = self.problems(text)
        for part in parts:
            self.assertIn(part, problem)

    def test_unquoted(self) -> None:
        """Missing quotes in a table's name are reported; values are shown in TOML's spelling."""
        found = self.problems(SERVER + '[proxy.proxy.example.com]\ntarget = [true, "x"]\n')
        self.assertIn('quote a name that contains dots: [proxy."proxy.example.com"]', "".join(found))
        found = self.problems(SERVER + 'domain = "example.com"\n[proxy."example.com"]\ntarget = "a@b"\n')
        self.assertIn("""proxy."example.com": found the server's own domain""", "".join(found))
        found = self.problems(SERVER + '[proxy."proxy.example.com"]\ntarget = [true, "x"]\n')
        self.assertIn('.target: found [true, "x"]', "".join(found))

    def test_table(self) -> None:
        """Each error gets one line, with the key and the allowed values."""
        whole = SERVER + PROXY
        table: dict[str, tuple[str, ...]] = {
            whole + 'target2 = "x"\n': (
                'proxy."proxy.example.com".target2: found an unknown key',
                "target, balance",
            ),
            whole.replace("@example.com", "@example.com/a"): (
                '.target: found "implementation@example.com/a"',
                "a JID",
            ),
            whole.replace("implementation@", ""): ('.target: found "example.com"', "without a resource"),
            whole.replace("implementation@", "a b@"): ('.target: found "a b@example.com"', "without a resource"),
            whole.replace("implementation@example", "implementation@.."): (".target: found",),
            SERVER + '[proxy."proxy.example.com"]\n': (".target: found nothing", "a JID without a resource"),
            whole + 'balance = "best"\n': ('.balance: found "best"', '"random", "round-robin"'),
            whole + "balance = []\n": (".balance: found []", '"least-pending", "sticky"'),
            whole + "resources = 3\n": (".resources: found 3", "a string"),
            whole + 'forward = "iq"\n': ('.forward: found "iq"', 'a list, each item one of "iq"'),
            whole + 'forward = ["iq", "pubsub"]\n': (
                '.forward: found "pubsub" in the list; allowed: for each item: one of "iq", "message"',
            ),
            whole + "forward = [[]]\n": (".forward: found [] in the list",),
            whole + '[http]\nhosts = ["a.b", "a b"]\n': ('http.hosts: found "a b" in the list', "a host name"),
            whole + 'outbound = "yes"\n': ('.outbound: found "yes"', "true or false"),
            whole + "outbound = 1\n": (".outbound: found 1", "true or false"),
            whole + "timeout = 0\n": (".timeout: found 0", "seconds over 0"),
            whole + "timeout = -1.5\n": (".timeout: found -1.5",),
            whole + "timeout = nan\n": (".timeout: found nan",),
            whole + "timeout = inf\n": (".timeout: found inf",),
            whole + "timeout = true\n": (".timeout: found true",),
            whole + 'timeout = "30"\n': ('.timeout: found "30"',),
            whole + 'key_file = ""\n': (".key_file: found", "the name of a file"),
            whole + 'key_file = "a\\u0000b"\n': (".key_file: found", "the name of a file"),
            whole + 'endpoint = "nonsense:x"\n': ('.endpoint: found "nonsense:x"', "tcp:127.0.0.1:5347"),
            whole + 'endpoint = "tcp:host:port"\n': (".endpoint: found",),
            whole + 'endpoint = "tcp:127.0.0.1:99999"\n': (".endpoint: found", "a port from 1 to 65535"),
            whole + 'endpoint = "tcp:host=127.0.0.1:port=0"\n': (".endpoint: found", "a port from 1 to 65535"),
            whole + 'endpoint = "tls:example.com:65536"\n': (".endpoint: found", "a port from 1 to 65535"),
            whole + f'endpoint = "unix:/{"x" * 103}"\n': (
                ".endpoint: found",
                "a socket whose path has at most 103 bytes",
            ),
            whole + 'endpoint = "unix:"\n': (".endpoint: found", "unix:/run/x"),
            whole + 'endpoint = "ssl:example.com:5347"\n': ('.endpoint: found "ssl:', "tls:example.com:5347"),
            whole + 'secret = ""\n': (".secret: found an empty string",),
            whole + "[http]\nport = 80\n": ("http.port: found an unknown key", "listen, token_file"),
            whole + '[http]\nlisten = "tcp:x"\n': ("http.listen: found", "tcp:5290:interface=127.0.0.1"),
            "http = 80\n" + whole: ("http: found 80", "a table"),
            "state_dir = 3\n" + whole: ("state_dir: found 3", "the name of a file"),
            "sever = 3\n" + whole: (
                "sever: found an unknown key",
                "delegation, echo, embedded, http, log, mirror, peers, proxy, rooms, roster, server, state, ",
            ),
            "echo = 3\n" + whole: ("echo: found 3", '[echo."echo.example.com"]'),
            whole + "[echo]\nx = 3\n": (
                'echo."x": found 3',
                'a table for each component, such as [echo."echo.example',
            ),
            whole + '[echo."a@b.c"]\n': ('echo."a@b.c"', "a domain, as the table's name"),
            whole + '[echo."b.c/d"]\n': ('echo."b.c/d"', "a domain"),
            whole + '[echo.""]\n': ('echo.""', "a domain"),
            whole + '[echo."b..c"]\n': ('echo."b..c"', "a domain"),
            whole + '[echo."@b.c"]\n': ('echo."@b.c"', "a domain"),
            whole.replace('"s3cret"\n', '"s3cret"\nmax_stanza_size = 10\n'): (
                "server.max_stanza_size: found 10",
                "1024",
            ),
            whole.replace('"s3cret"\n', '"s3cret"\nanswer_budget = true\n'): (
                "server.answer_budget: found true",
                "1024",
            ),
            whole.replace('"s3cret"\n', '"s3cret"\nmax_outgoing_stanza_size = 262143\n'): (
                "server.max_outgoing_stanza_size: found 262143",
                "262144",
            ),
            whole.replace('"s3cret"\n', '"s3cret"\ndomain = "a@b"\n'): ('server.domain: found "a@b"', "a domain"),
            whole.replace("tcp:", "ssl:"): ('server.endpoint: found "ssl:', "tls:"),
            "server = 3\n" + PROXY: ("server: found 3", "a table"),
            SERVER: ("no service is configured",),
        }
        for text, parts in table.items():
            with self.subTest(parts[0]):
                self.assertSays(text, *parts)

    def test_allAtOnce(self) -> None:
        """All errors are reported, not only the first."""
        problems = self.problems(
            "colour = 1\n"
            '[server]\nendpoint = "x"\nsecrt = "y"\n'
            '[http]\nlisten = "tcp:1:interface=0.0.0.0"\n'
            '[proxy."p.example.com"]\ntarget = 1\ntimeout = 0\nbalanse = "x"\n'
            '[echo."e.example.com"]\ntimes = "x"\n'
        )
        keys = {problem.split(": ")[0] for problem in problems}
        self.assertEqual(
            keys,
            {
                "colour",
                "server.endpoint",
                "server.secrt",
                "http.token_file",
                'proxy."p.example.com".target',
                'proxy."p.example.com".timeout',
                'proxy."p.example.com".balanse',
                'echo."e.example.com".times',
            },
        )
        self.assertEqual(len(problems), len(keys))

    def test_unreachable(self) -> None:
        """A service needs an endpoint and a secret, in its own table or in [server]."""
        found = self.problems("[server]\n" + PROXY)
        self.assertEqual([problem.split(":")[0].rpartition(".")[2] for problem in found], ["endpoint", "secret"])
        self.assertSays("[server]\n" + PROXY + 'endpoint = "tcp:a:1"\n', "neither this key nor secret_file nor")
        self.assertSays(PROXY + 'endpoint = "tcp:a:1"\n', ".secret: found nothing", "an endpoint of its own")

    def test_embedded(self) -> None:
        """Errors in the tables of the embedded host; no password is shown."""
        table = {
            SERVER + PROXY + "[embedded]\n": ("embedded: found [embedded] and [server]; allowed: one of them",),
            '[embedded]\ndomain = "a@b"\n': ('embedded.domain: found "a@b"', "a domain"),
            '[embedded]\nc2s = "5222"\n': ('embedded.c2s: found "5222"', "tcp:5290:interface"),
            "[embedded]\nport = 1\n": (
                "embedded.port: found an unknown key",
                "c2s, component, accounts, components",
            ),
            '[embedded.accounts]\n"a@b" = "hidden"\n': ("embedded.accounts: found a table", 'alice = "..."'),
            '[embedded.accounts]\nalice = ""\n': ("embedded.accounts: found a table",),
            '[embedded.accounts]\nalice = "hidden"\nAlice = "hidden"\n': ("embedded.accounts: found a table",),
            "[embedded.accounts]\nalice = 1\n": ("embedded.accounts: found a table",),
            '[embedded.components]\n"a@b" = "hidden"\n': ("embedded.components: found a table", "component JIDs"),
            '[proxy.localhost]\ntarget = "a@localhost"\n': ('proxy."localhost": found the embedded host\'s own',),
        }
        for text, parts in table.items():
            self.assertSays(text, *parts)
            self.assertNotIn("hidden", str(self.problems(text)))

    def test_privileges(self) -> None:
        """Errors in privileges, by key; each grant is for a component, and each component has one."""
        table = {
            "privileges = 3\n": (".privileges: found 3", "a table"),
            "[embedded.privileges]\n'gw.localhost' = 3\n": ('.privileges."gw.localhost": found 3', "a table"),
            "[embedded.privileges]\n'a@b' = {}\n": ('.privileges."a@b": found "a@b"', "a domain"),
            gateway('roster = "all"'): ('."gw.localhost".roster: found "all"', '"none", "get", "set", "both"'),
            gateway('message = "both"'): ('.message: found "both"', '"outgoing"'),
            gateway('presence = "all"'): ('.presence: found "all"', '"managed_entity"'),
            gateway('push = "no"'): ('.push: found "no"', "true or false"),
            gateway("rooster = 1"): ('."gw.localhost".rooster: found an unknown key', "roster, push, message"),
            gateway("iq = []"): ('."gw.localhost".iq: found []', "a table"),
            gateway('iq = { "urn:1" = "all" }'): ('."gw.localhost".iq."urn:1": found "all"', '"both"'),
            gateway('presence = "roster"'): ('.presence: found "roster" with roster = "none"', '"get" or "both"'),
            gateway('presence = "roster"\nroster = "set"'): ('with roster = "set"',),
            "[embedded.privileges]\n'other.localhost' = {}\n": (
                "found an unknown component",
                "[embedded.components]",
            ),
            gateway("") + "[embedded.privileges.'GW.localhost']\n": ("the same component is listed twice",),
        }
        for text, parts in table.items():
            self.assertSays(("" if text.startswith("[") else "[embedded]\n") + text, *parts)

    def test_oneOnEach(self) -> None:
        """Two services on one JID, also if they are of different kinds or differ in case."""
        self.assertSays(SERVER + PROXY + '[echo."Proxy.EXAMPLE.com"]\n', '"proxy.example.com" is configured twice')

    def test_wrongAndTwice(self) -> None:
        """A second service on a JID is reported even if the first one is invalid."""
        wrong = PROXY.replace("implementation@example.com", "x")
        self.assertEqual(len(self.problems(SERVER + wrong + '[echo."proxy.example.com"]\n')), 2)

    def test_unreadable(self) -> None:
        """A missing file, a folder, a binary file, no TOML: one line, no traceback."""
        for path in (self.folder / "none", self.folder):
            error = self.assertRaises(ConfigError, load, path, [], Clock())
            self.assertIn("cannot be read", str(error))
        self.assertSays("\udcff\udcfe", "is not TOML")
        self.assertSays("[server\n", "is not TOML", "line 1")
        self.assertSays('a = "x"\na = "y"\n', "is not TOML")
        for deep in ("a = " + "[" * 10_000, "a = " + "{a = " * 10_000):
            self.assertSays(deep, "nested hundreds of levels deep")


class ElidedTests(QuickCase):
    """URLs in messages."""

    def test_elided(self) -> None:
        """User, password and query are removed, wherever they are and whatever they contain."""
        for url, shown in (
            ("http://h:80/a/%s", "http://h:80/a/%s"),
            ("http://user:hidden@h/%s?key=hidden", "http://...@h/%s?..."),
            ("http://hidden@h/%s#hidden", "http://...@h/%s?..."),
            ("http://user:hi/dd?en@h@h2/%s", "http://...@h2/%s"),
            ("user:hidden@h/%s", "...@h/%s"),
            ("http:/user:hidden@h/%s", "http:/...@h/%s"),
            (":user:hidden@h", "...@h"),
            ("at http://u:hidden@h/ and http://v:hidden@i/?hidden or", "at http://...@h/ and http://...@i/?... or"),
            ("mail@h: no user", "mail@h: no user"),
        ):
            self.assertEqual(elided(url), shown)

    def test_long(self) -> None:
        """A long word is handled fast, whatever it contains."""
        for part in ("a", ":", "@", "/", "//", "a:", "//:", "//a:", "//a@", "a:b@", "?"):
            with self.quickly(part):
                elided(part * (16_000 // len(part)))


class SecretTests(ConfigCase):
    """Secrets and their files."""

    def withSecret(self, lines: str) -> str:
        return f'[server]\nendpoint = "tcp:127.0.0.1:5347"\n{lines}\n{PROXY}'

    def test_file(self) -> None:
        """The one line of the file is the secret, without leading and trailing white space."""
        self.file("s", "  päss word \n\n")
        self.assertEqual(self.read(self.withSecret('secret_file = "s"')).server.secret, "päss word")
        self.assertEqual(readSecret(str(self.folder / "s")), "päss word")

    def test_mark(self) -> None:
        """A byte order mark, which some editors write, is not part of a secret or of the configuration."""
        (self.folder / "s").write_bytes(b"\xef\xbb\xbfhidden\n")
        self.assertEqual(readSecret(str(self.folder / "s")), "hidden")
        path = self.file("gateway.toml", "")
        path.write_bytes(b"\xef\xbb\xbf" + self.withSecret('secret_file = "s"').encode())
        self.assertEqual(load(path, [ProxyPlugin()], MemoryReactorClock()).server.secret, "hidden")  # type: ignore[union-attr]  # there is one
        (self.folder / "s").write_bytes(b"\xef\xbb\xbf\n")
        self.assertRaises(ValueError, readSecret, str(self.folder / "s"))

    def test_wrongFiles(self) -> None:
        """Empty, several lines, not text, missing, a folder: reported by key, without the content."""
        self.file("empty", "\n")
        self.file("two", "hidden\nhidden\n")
        (self.folder / "binary").write_bytes(b"\xff\xfehidden")
        (self.folder / "zero").write_bytes(b"hidden\0hidden")
        self.file("long", "hidden" * 1000)
        (self.folder / "folder").mkdir()
        os.mkfifo(self.folder / "pipe")
        for name in ("empty", "two", "binary", "zero", "long", "missing", "folder", "pipe"):
            with self.subTest(name):
                [problem] = self.problems(self.withSecret(f'secret_file = "{name}"'))
                self.assertTrue(problem.startswith(f"server.secret_file: found {self.folder / name}: "), problem)
                self.assertNotIn("hidden", problem)

    def test_unreadableFile(self) -> None:
        """A file that belongs to another user."""
        self.file("s", "hidden").chmod(0)
        if os.geteuid() == 0:
            # Root can read every file; a folder causes the same error.
            (self.folder / "s").unlink()
            (self.folder / "s").mkdir()
        [problem] = self.problems(self.withSecret('secret_file = "s"'))
        self.assertIn("a readable file that contains one line with a secret", problem)

    def test_both(self) -> None:
        """Only one of the two keys is allowed."""
        self.file("s", "hidden2")
        [problem] = self.problems(self.withSecret('secret = "hidden"\nsecret_file = "s"'))
        self.assertIn("both secret and secret_file; allowed: one of them", problem)
        self.assertNotIn("hidden", problem)

    def test_neverShown(self) -> None:
        """A secret with a wrong type or in a wrong place is not printed."""
        for text in (
            self.withSecret('secret = ["hidden"]'),
            self.withSecret('secret = {x = "hidden"}'),
            self.withSecret('password = "hidden"'),
            self.withSecret('secrets = "hidden"'),
            self.withSecret('secret = "hidden') + "\n",
            self.withSecret('secret = "hidden" "hidden"'),
            self.withSecret('secret = "hidden"\nsecret = "hidden"'),
            SERVER + PROXY + 'secret = ["hidden"]\n',
            SERVER + '[proxy]\nsecret = "hidden"\n',
            SERVER + PROXY + 'token = "hidden"\n',
            'secret = "hidden"\n' + SERVER + PROXY,
        ):
            with self.subTest(text):
                self.assertNotIn("hidden", "\n".join(self.problems(text)))


class HttpTests(ConfigCase):
    """Access to the HTTP server."""

    def http(self, listen: str, more: str = "") -> str:
        return f"{SERVER}{PROXY}[http]\nlisten = '{listen}'\n{more}"

    def test_loopback(self) -> None:
        """A listener that only this machine can reach needs no token."""
        for listen in (
            "tcp:5290:interface=127.0.0.1",
            "tcp:interface=127.3.2.1:port=0",
            "tcp:5290:interface=localhost",
            r"tcp6:5290:interface=\:\:1",
            "unix:/run/gateway.http",
        ):
            with self.subTest(listen):
                http = self.read(self.http(listen)).http
                assert http is not None
                self.assertEqual(http.listen, listen)

    def test_others(self) -> None:
        """A listener that others can reach needs a token, whatever its spelling."""
        for listen in (
            "tcp:5290",
            "tcp:5290:interface=0.0.0.0",
            "tcp:5290:interface=127.0.0.1.example.com",
            "tcp:5290:interface=1127.0.0.1",
            "tcp:5290:interface=",
            r"tcp6:5290:interface=\:\:",
            "tcp:5290:backlog=127",
            "tcp:5290:interface=127.0.0.1:interface=0.0.0.0",
        ):
            with self.subTest(listen):
                [problem] = self.problems(self.http(listen))
                self.assertTrue(problem.startswith("http.token_file: found nothing"), problem)

    def test_impossible(self) -> None:
        """Impossible listeners: an invalid port, or a socket in a missing folder."""
        (self.folder / "a:b").mkdir()
        for listen in (
            "tcp:99999:interface=127.0.0.1",
            "tcp:interface=127.0.0.1:port=65536",
            "TCP:-1:interface=127.0.0.1",
            "tcp:127.0.0.1:99999",
            r"tcp6:70000:interface=\:\:1",
            "unix:/nope/x",
            "unix:address=/nope/x:mode=660",
            "unix:" + "x" * 200,
            "unix:/tmp/" + "x" * 99,
            "unix:",
            f"unix:{self.folder / 'a'}:b/x",
        ):
            with self.subTest(listen):
                [problem] = self.problems(self.http(listen))
                self.assertTrue(problem.startswith("http.listen: found "), problem)
                self.assertIn("a port up to 65535, or a socket in an existing folder whose path has", problem)
                self.assertNotIn("did you mean", problem)
        # Relative, because the absolute path may be too long.
        socket = os.path.relpath(self.folder / "a:b" / "x").replace(":", r"\:")
        self.read(self.http(f"unix:{socket}:mode=660"))
        self.read(self.http("unix:/tmp/" + "x" * 98))

    def test_token(self) -> None:
        """With a token any listener is allowed; the token's file must contain one."""
        self.file("token", "t0ken")
        self.file("empty", "")
        self.read(self.http("tcp:5290", 'token_file = "token"\n'))
        for name in ("empty", "missing"):
            [problem] = self.problems(self.http("tcp:5290:interface=127.0.0.1", f'token_file = "{name}"\n'))
            self.assertTrue(problem.startswith("http.token_file: found "), problem)
