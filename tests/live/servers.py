"""Private XMPP servers on loopback ports: Prosody and ejabberd with one small interface."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from attrs import frozen

from tests.live.processes import TWISTD, Program, Value, freePort, need, toml, until

# Makes the root of a newer Debian, and runs programs in it.
NEWER = Path(__file__).resolve().parents[2] / ".ci" / "newer"
NEWER_ROOT = Path(os.environ.get("NEWER_ROOT") or "/var/cache/xmpp-gateway/newer")

# Modules for Prosody.
CONTRIB = Path(__file__).resolve().parents[2] / "contrib" / "prosody"

PASSWORD = "pencil"

# If they are among its components, each server grants these all privileges that it can (XEP-0356).
PRIVILEGED = "privileged.localhost"
ASKING = "asking.localhost"
PRIVILEGES: Mapping[str, Value] = {"roster": "both", "message": "outgoing", "presence": "roster"}
# ASKING may send this on behalf of users, too. PRIVILEGED may not: if ejabberd grants this to one component, the
# iqs of all components to its domain pass.
ASKED = "urn:xmpp:test:asked"
ROSTER = "jabber:iq:roster"
# IMPORTING may send this, and the server has such a storage of its own.
IMPORTING = "importing.localhost"
PRIVATE = "jabber:iq:private"
ASKABLE = {ASKING: ASKED, IMPORTING: PRIVATE}
# The server sends these the presence of its users; the second one that of their contacts, too.
FED = "fed.localhost"
FED_ALL = "fedall.localhost"
FEEDS: Mapping[str, Mapping[str, Value]] = {
    FED: {"presence": "managed_entity"},
    FED_ALL: {"roster": "get", "presence": "roster"},
}
DOMAIN = "localhost"
# Among a server's components, those without a secret are not components but the server's own services of rooms
# (XEP-0045).
CONFERENCE = f"conference.{DOMAIN}"

# A server's delegations, by namespace: jid, the managing entity, and optionally filtering, a list of attributes.
Delegations = Mapping[str, Mapping[str, Value]]


@frozen
class Federation:
    """
    The connections of a server with other servers, without encryption.

    @ivar port: port for those of other servers.
    @ivar routes: ports on which it reaches the others, by domain.
    @ivar dns: port of a DNS server that tells the same.
    """

    port: int
    routes: Mapping[str, int]
    dns: int


class Server(Program):
    """
    A private server: one domain, accounts with L{PASSWORD}, XEP-0114 components on one port, and their delegations.

    No shapers, no rate limits. Ports and data stay the same from one start to the next.
    """

    program: ClassVar[str]
    # The file system that it runs in.
    root: ClassVar[Path] = Path("/")
    # True if it nests the disco of a managing entity only at its first connection, and then drops that of others.
    nestsOnce: ClassVar[bool] = False
    # True if a new connection of a component ends the one before it.
    kicksOld: ClassVar[bool] = False
    # Bytes of the longest domain that it accepts.
    longestDomain: ClassVar[int] = 1023
    # True if clients have the limits of stanzas of the shipped configuration; and their rate.
    shippedLimits: ClassVar[bool] = False
    shippedShaper: ClassVar[bool] = False
    # Its error for a stanza to a component that is not connected.
    absent: ClassVar[str]
    # By privilege: true if it sets rosters, and subscriptions in them; true if it sends requests on behalf of
    # users, and the answers of clients come back.
    setsRosters: ClassVar[bool] = True
    setsSubscriptions: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    relaysAnswers: ClassVar[bool] = True
    # True if it answers a request on behalf of a user itself, also in a namespace that it delegates.
    answersItself: ClassVar[bool] = False
    # True if, when it grants any privilege, it drops iqs between components to addresses without a resource.
    dropsIqs: ClassVar[bool] = False
    _shared: ClassVar[dict[str, Server]] = {}

    def __init__(
        self,
        directory: Path,
        accounts: Sequence[str],
        components: Mapping[str, str],
        delegations: Delegations | None = None,
        domain: str = DOMAIN,
        federation: Federation | None = None,
    ) -> None:
        super().__init__(directory)
        self.domain = domain
        self.federation = federation
        self.accounts = accounts
        self.components = components
        self.delegations = delegations or {}
        every: dict[str, Mapping[str, Value]] = dict.fromkeys((PRIVILEGED, ASKING, IMPORTING), PRIVILEGES)
        self.privileged = {jid: granted for jid, granted in (every | FEEDS).items() if jid in components}
        self.clientPort = freePort()
        self.componentPort = freePort()
        self.configure()

    @classmethod
    def missing(cls) -> str | None:
        """Return the reason why this server cannot run here, or None."""
        return None if shutil.which(cls.program) else f"{cls.name} is not installed"

    @classmethod
    def shared(cls, accounts: Sequence[str], components: Mapping[str, str], delegations: Delegations) -> Self:
        """
        Return the one running instance of this class and configuration in the test process; the first call starts
        it.

        @raise SkipTest: the program is missing, and need not be there.
        """
        need(cls.missing())
        key = repr((cls, accounts, components, delegations))
        server = Server._shared.get(key)
        if server is None:
            directory = Path(tempfile.mkdtemp(prefix=f"{cls.name}-"))
            server = Server._shared[key] = cls(directory, accounts, components, delegations)
            atexit.register(server.remove)
        if not server.running():
            server.start()
            asyncio.run(server.ready())
        assert isinstance(server, cls)
        return server

    @property
    def certificate(self) -> Path | None:
        """Return the certificate that clients must trust, and use with STARTTLS; C{None} for plain text."""
        return None

    def password(self, user: str) -> str:
        """Return the user's password."""
        return PASSWORD

    def remove(self) -> None:
        """Stop it and delete all its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def configure(self) -> None:
        """Write the configuration; called once, with the chosen ports."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the process; L{ready} waits for it."""
        raise NotImplementedError

    async def ready(self, seconds: float = 20) -> None:
        """Wait until clients and components are answered."""

        async def answers() -> bool:
            assert self.running(), f"{self.name} ended by itself\n{self.log()}"
            return all([await _answers(port) for port in (self.clientPort, self.componentPort)])

        await until(answers, seconds, f"{self.name} is ready")


# Prosody would ask DNS on port 53.
_ROUTES = """\
module:set_global();
local basic, service = require "net.resolvers.basic", require "net.resolvers.service";
local routes = module:get_option("test_routes");
local new = service.new;
function service.new(name, kind, ...)
    local port = kind == "xmpp-server" and routes[name];
    if port then return basic.new("127.0.0.1", port, ...); end
    return new(name, kind, ...);
end
"""
# Seconds for the set-up of a connection between servers, at 2,400 bit/s. If a component is gone for a moment, a
# set-up may come to nothing without an error. Prosody keeps all stanzas of the pair meanwhile, by default for 90.
_SET_UP_WITHIN = 30
_LARGE = ("c2s_stanza_size_limit = 1024 * 1024", "component_stanza_size_limit = 1024 * 1024")


class Prosody(Server):
    """Prosody in the foreground."""

    name = "prosody"
    program = "prosody"
    absent = "remote-server-timeout"
    nestsOnce = True
    answersItself = True
    # Modules of this project.
    contributed: ClassVar[Sequence[str]] = ()

    def configure(self) -> None:
        accounts = self.directory / "data" / _stored(self.domain) / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (self.directory / "certs").mkdir(exist_ok=True)
        for account in self.accounts:
            (accounts / f"{_stored(account)}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}" }};\n')
        shared = ["roster", "saslauth", "disco", "ping", "version", "posix"]
        shared += ["private"] * (IMPORTING in self.components)
        dialback = ["dialback"] * (self.federation is not None)
        shared += [*dialback, "test_routes"] if dialback else []
        lines = [
            "run_as_root = true",
            "daemonize = false",
            f'pidfile = "{self.directory}/prosody.pid"',
            f'data_path = "{self.directory}/data"',
            f'log = {{ info = "{self.directory}/prosody.log" }}',
            f"modules_enabled = {_lua(shared)}",
            *([f'plugin_paths = {{ "{CONTRIB}" }}'] if self.contributed else []),
            *self._federated(),
            'authentication = "internal_plain"',
            "c2s_require_encryption = false",
            "allow_unencrypted_plain_auth = true",
            'c2s_interfaces = { "127.0.0.1" }',
            f"c2s_ports = {{ {self.clientPort} }}",
            'component_interfaces = { "127.0.0.1" }',
            f"component_ports = {{ {self.componentPort} }}",
            *(() if self.shippedLimits else _LARGE),
            f'VirtualHost "{self.domain}"',
            f"  modules_enabled = {_lua(['delegation', 'privilege', *self.contributed])}",
            "  privileged_entities = {",
        ]
        for jid, privileges in self.privileged.items():
            granted = [f"{key} = {_lua(value)}" for key, value in privileges.items()]
            asks = {ASKABLE[jid]: "both"} if jid in ASKABLE else {}
            if self.delegations.get(ROSTER, {}).get("jid") == jid:
                # It tells clients of changes itself.
                asks = {**asks, ROSTER: "set"}
            written = "; ".join(f'["{namespace}"] = "{kind}"' for namespace, kind in asks.items())
            granted += [f"iq = {{ {written} }}"] * bool(asks)
            lines.append(f'    ["{jid}"] = {{ {"; ".join(granted)} }};')
        lines += ["  }", "  delegations = {"]
        for namespace, delegated in self.delegations.items():
            entries = "; ".join(f"{key} = {_lua(value)}" for key, value in delegated.items())
            lines.append(f'    ["{namespace}"] = {{ {entries} }};')
        lines.append("  }")
        managing = [delegated["jid"] for delegated in self.delegations.values()]
        for jid, secret in self.components.items():
            if not secret:
                lines += [f'Component "{jid}" "muc"', '  modules_enabled = { "muc_mam" }']
                continue
            lines += [f'Component "{jid}"', f'  component_secret = "{secret}"']
            # Without these it is authenticated, but never told its delegations and privileges.
            modules = ["delegation"] * (jid in managing) + ["privilege"] * (jid in self.privileged) + dialback
            lines.append(f"  modules_enabled = {_lua(modules)}")
            if self.kicksOld:
                lines.append('  component_conflict_resolve = "kick_old"')
            if jid in self.privileged:
                # It may send users' presence to each other in their names.
                lines.append("  validate_from_addresses = false")
        (self.directory / "prosody.cfg.lua").write_text("\n".join(lines) + "\n")

    def _federated(self) -> list[str]:
        """Return the settings for connections with other servers."""
        if self.federation is None:
            return ['modules_disabled = { "s2s", "offline" }']
        plugins = self.directory / "plugins"
        plugins.mkdir()
        (plugins / "mod_test_routes.lua").write_text(_ROUTES)
        routes = "; ".join(f'["{name}"] = {port}' for name, port in self.federation.routes.items())
        return [
            f'plugin_paths = {{ "{plugins}" }}',
            'modules_disabled = { "tls", "offline" }',
            's2s_interfaces = { "127.0.0.1" }',
            f"s2s_ports = {{ {self.federation.port} }}",
            "s2s_require_encryption = false",
            "s2s_secure_auth = false",
            f"s2s_timeout = {_SET_UP_WITHIN}",
            f"test_routes = {{ {routes} }}",
        ]

    def start(self) -> None:
        self._run(["prosody", "--config", f"{self.directory}/prosody.cfg.lua", "-F"], {})

    def logFiles(self) -> list[Path]:
        return [self.output, self.directory / "prosody.log"]


class DelayingProsody(Prosody):
    """Prosody that saves rosters with a delay."""

    name = "prosody-delaying"
    contributed = ("roster_save_delay",)


class Ejabberd(Server):
    """
    ejabberd in an Erlang machine outside of any cluster, so it needs no epmd.

    @ivar apiPort: the port of its HTTP API.
    """

    name = "ejabberd"
    program = "erl"
    # It looks for the component among other servers, which are forbidden here.
    absent = "forbidden"
    setsRosters = False
    asks = False
    # Its domain_balancing, by component.
    balancing: ClassVar[Mapping[str, Mapping[str, str | int]]] = {}
    # True if it drops requests of components without grants, when others have grants.
    dropsRequests: ClassVar[bool] = False
    # Further entries of mod_privilege.
    morePrivileges: ClassVar[Mapping[str, Any]] = {}
    # True if its API takes groups as a list; else as a string with semicolons between them.
    listsGroups: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if cls.libraries() else f"{cls.name} is not installed")

    @classmethod
    def libraries(cls) -> str | None:
        """Return the directory of ejabberd's own libraries, for the Erlang machine; None if there is none."""
        found = sorted(cls.root.glob("usr/lib/*/ejabberd-*/ebin"))
        return f"/{found[0].parent.parent.relative_to(cls.root)}" if found else None

    def configure(self) -> None:
        # Only to components.
        delegations = {
            key: str(each["jid"]) for key, each in self.delegations.items() if each["jid"] in self.components
        }
        trusted = [*{*delegations.values()}, *self.privileged]
        conferences = [jid for jid, secret in self.components.items() if not secret]
        mod_privilege: dict[str, Any] = {}
        for jid, privileges in self.privileged.items():
            for key, value in privileges.items():
                mod_privilege.setdefault(key, {})[str(value)] = jid
            if jid in ASKABLE and self.asks:
                mod_privilege["iq"] = {ASKABLE[jid]: {"both": jid}}
        mod_privilege |= self.morePrivileges
        self.apiPort = freePort()
        listener = {"ip": "127.0.0.1", "access": "all", "shaper": "none", "max_fsm_queue": 1_000_000}
        clients: dict[str, Any] = {**listener, "port": self.clientPort, "module": "ejabberd_c2s", "starttls": False}
        if self.shippedLimits:
            clients["max_stanza_size"] = 262_144
        if self.shippedShaper:
            clients["shaper"] = "normal"
        # By default five connections may wait, and the sixth is delayed by a second.
        config = {
            "hosts": [self.domain],
            "loglevel": "info",
            "auth_method": "internal",
            "s2s_access": "none",
            "disable_sasl_mechanisms": ["digest-md5", "X-OAUTH2"],
            "shaper": {"normal": {"rate": 3_000, "burst_size": 20_000}},
            "shaper_rules": {"max_user_sessions": 1000},
            "listen": [
                clients,
                {
                    "ip": "127.0.0.1",
                    "port": self.apiPort,
                    "module": "ejabberd_http",
                    "backlog": 128,
                    "request_handlers": {"/api": "mod_http_api"},
                },
                {
                    **listener,
                    "port": self.componentPort,
                    "module": "ejabberd_service",
                    # Else a connection of one component becomes the route of all of them.
                    "global_routes": False,
                    "hosts": {
                        jid: {"password": secret} for jid, secret in self.components.items() if secret
                    },
                },
            ],
            "acl": {jid: {"server": jid} for jid in trusted},
            "access_rules": {jid: {"allow": jid} for jid in trusted},
            "api_permissions": {"loopback": {"who": {"ip": "127.0.0.1/8"}, "what": "*"}},
            "modules": {
                **{name: {} for name in ("mod_disco", "mod_ping", "mod_version", "mod_roster", "mod_caps")},
                **{name: {} for name in ("mod_http_api", "mod_admin_extra")},
                "mod_delegation": {
                    # It accepts filtering, and does not apply it.
                    "namespaces": {namespace: {"access": jid} for namespace, jid in delegations.items()}
                },
                # If it is loaded, it inspects the iqs of all components.
                **({"mod_privilege": mod_privilege} if mod_privilege else {}),
                **({"mod_private": {}} if IMPORTING in self.components else {}),
                **(_ejabberdRooms(conferences) if conferences else {}),
            },
        }
        if self.balancing:
            config["domain_balancing"] = self.balancing
        if self.federation is not None:
            config |= {"s2s_access": "others", "s2s_use_starttls": False, "s2s_max_retry_delay": 1}
            config["negotiation_timeout"] = _SET_UP_WITHIN
            # It looks for a component that is not connected among other servers. The DNS leads it to itself, and it
            # would deliver such stanzas later, after newer ones.
            config["acl"]["own"] = {"server": [*self.components]}
            config["access_rules"]["others"] = [{"deny": "own"}, {"allow": "all"}]
            config["listen"].append({"port": self.federation.port, "ip": "127.0.0.1", "module": "ejabberd_s2s_in"})
            config["modules"]["mod_s2s_dialback"] = {}
            lines = ('{resolv_conf, ""}', '{hosts_file, ""}', "{lookup, [dns]}")
            server = f"{{nameserver, {{127,0,0,1}}, {self.federation.dns}}}"
            self._inetrc.write_text("".join(f"{line}.\n" for line in (*lines, server)))
        # JSON is YAML.
        (self.directory / "ejabberd.yml").write_text(json.dumps(config, indent=1))

    @property
    def _marker(self) -> Path:
        return self.directory / "registered"

    @property
    def _inetrc(self) -> Path:
        return self.directory / "inetrc"

    def start(self) -> None:
        self._marker.unlink(missing_ok=True)
        register = "".join(
            f'ejabberd_auth:try_register({_erlang(account)},<<"{self.domain}">>,<<"{PASSWORD}">>),'
            for account in self.accounts
        )
        argv = ["erl", "+K", "true", "-noinput", "-mnesia", "dir", f'"{self.directory}/spool"']
        argv += ["-kernel", "inetrc", f'"{self._inetrc}"'] if self.federation is not None else []
        argv += ["-ejabberd", "log_rotate_count", "0", "-s", "ejabberd"]
        argv += ["-eval", f'{register} file:write_file("{self._marker}", "").']
        self._run(
            argv,
            {
                "ERL_LIBS": self.libraries() or "",
                "HOME": str(self.directory),
                "EJABBERD_CONFIG_PATH": f"{self.directory}/ejabberd.yml",
                "EJABBERD_LOG_PATH": f"{self.directory}/ejabberd.log",
                "ERL_CRASH_DUMP_BYTES": "0",
            },
        )

    async def ready(self, seconds: float = 30) -> None:
        async def registered() -> bool:
            assert self.running(), f"{self.name} ended by itself\n{self.log()}"
            return self._marker.exists()

        await until(registered, seconds, f"{self.name} has its accounts")
        await super().ready(seconds)

    def logFiles(self) -> list[Path]:
        return [self.output, self.directory / "ejabberd.log"]


class Newer(Server):
    """A mix-in: the same server of a newer Debian, in a file system of its own."""

    root = NEWER_ROOT

    @classmethod
    def missing(cls) -> str | None:
        return _newerMissing()

    def _run(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        super()._run([str(NEWER), *argv], environment)


@functools.cache
def _newerMissing() -> str | None:
    """Return the reason why the newer Debian cannot be used here, or None."""
    if not NEWER_ROOT.is_dir():
        return f"there is no newer Debian in {NEWER_ROOT}; .ci/newer makes it"
    tried = subprocess.run([NEWER, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"the newer Debian cannot be entered: {tried.stderr.strip()}"


class NewerProsody(Newer, Prosody):
    """Prosody 13."""

    name = "newer-prosody"
    longestDomain = 253


class NewerDelayingProsody(Newer, DelayingProsody):
    """Prosody 13 that saves rosters with a delay."""

    name = "newer-prosody-delaying"
    longestDomain = 253


class NewerEjabberd(Newer, Ejabberd):
    """ejabberd 26."""

    name = "newer-ejabberd"
    listsGroups = True
    dropsRequests = True
    setsRosters = True
    setsSubscriptions = False
    asks = True
    relaysAnswers = False
    dropsIqs = True


class PassingEjabberd(NewerEjabberd):
    """ejabberd 26 with the entry that the gateway advises."""

    morePrivileges: ClassVar[Mapping[str, Any]] = {"iq": {"urn:xmpp:ping": {"get": "none"}}}
    dropsRequests = False


class BalancingEjabberd(Ejabberd):
    """ejabberd that gives all stanzas of a sender to one of the connections of a component."""

    balancing: ClassVar[Mapping[str, Mapping[str, str | int]]] = {
        f"proxy.{DOMAIN}": {"type": "bare_source", "component_number": 3}
    }


class NewerBalancingEjabberd(NewerEjabberd):
    """The newer one likewise."""

    balancing = BalancingEjabberd.balancing


class KickingProsody(Prosody):
    """Prosody, with the line for components that have C{standby}."""

    kicksOld = True


class NewerKickingProsody(NewerProsody):
    """The newer one likewise."""

    kicksOld = True


# The next generation of each server that has one.
GENERATIONS: Mapping[type[Server], type[Server]] = {
    Prosody: NewerProsody,
    DelayingProsody: NewerDelayingProsody,
    KickingProsody: NewerKickingProsody,
    Ejabberd: NewerEjabberd,
    BalancingEjabberd: NewerBalancingEjabberd,
}


class Embedded(Server):
    """The embedded host of the gateway, in a process of its own."""

    name = "embedded"
    program = sys.executable
    absent = "service-unavailable"

    @property
    def certificate(self) -> Path | None:
        return self.directory / "state" / "embedded.pem"

    def configure(self) -> None:
        self.config = self.directory / "gateway.toml"
        self.config.write_text(toml({"state_dir": "state"}, self.tables()))

    def tables(self) -> dict[str, Mapping[str, Value]]:
        """Return the configuration without its top-level keys."""
        return {
            "embedded": {"c2s": listening(self.clientPort), "component": listening(self.componentPort)},
            "embedded.accounts": dict.fromkeys(self.accounts, PASSWORD),
            "embedded.components": self.components,
            **{f'embedded.delegations."{key}"': delegated for key, delegated in self.delegations.items()},
            **self._privileges(),
            "http": {"listen": listening(freePort())},
        }

    def _privileges(self) -> dict[str, Mapping[str, Value]]:
        tables: dict[str, Mapping[str, Value]] = {}
        for jid, privileges in self.privileged.items():
            tables[f'embedded.privileges."{jid}"'] = privileges
            if jid in ASKABLE:
                tables[f'embedded.privileges."{jid}".iq'] = {ASKABLE[jid]: "both"}
        return tables

    def start(self) -> None:
        self._run(*TWISTD)


def _stored(name: str) -> str:
    """Return the name of Prosody's file for a user."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02x}" for byte in name.encode())


def _lua(value: Value) -> str:
    """Return a string or a list of strings as Lua."""
    return f"{{ {', '.join(map(_lua, value))} }}" if isinstance(value, list) else f'"{value}"'


class EmbeddedDefault(Embedded):
    """The embedded default on other ports: three accounts with generated passwords, one of each service."""

    name = "default"

    def tables(self) -> dict[str, Mapping[str, Value]]:
        tables = super().tables()
        return {name: tables[name] for name in ("embedded", "http")}

    def password(self, user: str) -> str:
        found: str = json.loads((self.directory / "state" / "embedded.json").read_text())["accounts"][user]
        return found


class EmbeddedProxy(Embedded):
    """The embedded host with a proxy, and with accounts of the configuration: no built-in client."""

    name = "embedded-proxy"

    def tables(self) -> dict[str, Mapping[str, Value]]:
        served = f"proxy.{DOMAIN}"
        tables = super().tables()
        others = {jid: secret for jid, secret in self.components.items() if jid != served}
        target = {"target": f"implementation@{DOMAIN}"}
        return {**tables, "embedded.components": others, f'proxy."{served}"': target}


def _ejabberdRooms(hosts: Sequence[str]) -> dict[str, Any]:
    """Return the modules of services of rooms with archives."""
    return {"mod_muc": {"hosts": hosts, "default_room_options": {"mam": True}}, "mod_mam": {}}


def listening(port: int) -> str:
    """Return a server endpoint string for a port on the loopback."""
    return f"tcp:{port}:interface=127.0.0.1"


def _erlang(text: str) -> str:
    """Return a text as an Erlang binary."""
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


async def _answers(port: int) -> bool:
    """True if a server on this port answers a stream header."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(
            f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
        )
        return bool(await asyncio.wait_for(reader.read(1), 2))
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
