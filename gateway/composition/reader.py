"""
Read the TOML file into frozen values, and report all errors at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from gateway.config import syntax
from gateway.config.overrides import Overrides
from gateway.config.problems import Problems, shown, shownUnlessSecret
from gateway.config.repairs import meant, repaired
from gateway.config.tables import (
    ClientEndpoint,
    ComponentTable,
    ConfigError,
    Domain,
    EmbeddedTable,
    Filename,
    HttpTable,
    LogTable,
    PeerTable,
    ServerTable,
    StateTable,
    elided,
)
from gateway.config.values import Values, checkDomain, describe
from gateway.interfaces import IServicePlugin, ITourStop
from gateway.state import files

# Some editors begin a file with a byte order mark, which is not part of the content.
_ENCODING = "utf-8-sig"

_LOOPBACK = re.compile(r"127(\.\d+){3}|localhost|::1|0:0:0:0:0:0:0:1")


@frozen(kw_only=True)
class Service:
    """One C{[kind."component JID"]} table."""

    kind: str
    jid: str
    table: ComponentTable
    plugin: IServicePlugin


@frozen(kw_only=True)
class Config:
    """
    The whole configuration.

    @ivar file: the configuration file; C{None} if there is none.
    @ivar state_dir: the folder of durable state and keys, which only the gateway's user can read.
    @ivar server: C{None} if the gateway runs on the embedded host. Exactly one of C{server} and C{embedded} is set.
    @ivar http: C{None} if the file has no such table: then the default is used if its port is free.
    @ivar origins: the keys whose values are not from the file, each with the origin: the name of an environment
        variable, or of a credential.
    """

    file: Path | None = None
    state_dir: Path
    server: ServerTable | None
    embedded: EmbeddedTable | None
    http: HttpTable | None
    state: StateTable = field(factory=StateTable)
    log: LogTable = field(factory=LogTable)
    peers: dict[Domain, PeerTable] = field(factory=dict)
    services: tuple[Service, ...]
    origins: dict[str, str] = field(factory=dict, eq=False)


def configurationName(path: Path | None) -> str:
    """
    Return the name of a configuration for messages.

    @param path: C{None} for the embedded default; then the name says which folder has no configuration file.
    """
    return str(path or f"the embedded default, because {Path.cwd()} has no gateway.toml")


def load(
    path: Path | None,
    plugins: Iterable[IServicePlugin],
    reactor: Any,
    check: Callable[[Config], list[str]] = lambda config: [],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """
    Read a configuration file.

    @param path: C{None} if there is no file: the embedded default, in the working directory.
    @param reactor: only used to parse endpoint strings; nothing is connected.
    @param check: called with the configuration; returns further problems. If the file has errors, the configuration
        is the part that could be read.
    @param environment: of the process; it may set keys that hold secrets.
    @raise ConfigError: with all problems.
    """
    if path is None:
        return _Reader(Path.cwd(), plugins, reactor, check).read({}, environment)
    try:
        text = path.read_text(_ENCODING)
    except FileNotFoundError as error:
        advice = "xmpp-gateway init writes one, and --config names another one"
        raise ConfigError([f"{path} cannot be read: {error.strerror}; {advice}"]) from error
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}{files.remedy(error)}"]) from error
    except UnicodeDecodeError as error:
        found = f"{path} is not TOML: byte {error.start} is not UTF-8"
        raise ConfigError([f"{found}; save the file in UTF-8"]) from error
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([f"{path} is not TOML: {error}; {syntax.advice(text, str(error))}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path} cannot be read: lists or tables are nested hundreds of levels deep"]) from error
    return _Reader(path.parent.absolute(), plugins, reactor, check, path).read(document, environment)


class _Reader:
    """Turns one document into a L{Config} and collects the problems found."""

    def __init__(
        self,
        folder: Path,
        plugins: Iterable[IServicePlugin],
        reactor: Any,
        check: Callable[[Config], list[str]],
        file: Path | None = None,
    ) -> None:
        self._check = check
        self._file = file
        self._folder = folder
        self._plugins = {plugin.kind: plugin for plugin in plugins}
        self._problems = Problems(Values(folder, reactor))

    def read(self, document: dict[str, Any], environment: Mapping[str, str]) -> Config:
        named = {kind: plugin.table for kind, plugin in self._plugins.items()}
        overrides = Overrides(document, named, self._problems.add)
        overrides.apply(environment)
        known = {"state_dir", "state", "server", "embedded", "http", "log", "peers", *self._plugins}
        for key in document.keys() - known:
            allowed = f"one of {', '.join(sorted(known))}, or the kind of an installed plugin"
            advice = meant(key, known) or "remove it, or install the plugin that has this kind"
            self._problems.add(key, "an unknown key", allowed, advice)
        stateDir = self._problems.structure("state_dir", document.get("state_dir", "state"), Filename)
        state = self._problems.structure("state", document.get("state", {}), StateTable)
        http = self._problems.structure("http", document["http"], HttpTable) if "http" in document else None
        log = self._problems.structure("log", document.get("log", {}), LogTable)
        server, embedded = self._hosts(document)
        if embedded is not None and not embedded.components and not self._plugins.keys() & document.keys():
            document |= self._demonstration(embedded)
        services = self._services(document, server, embedded, state or StateTable())
        if embedded is not None:
            self._checkPrivileges(embedded, services, document.get("embedded", {}).get("privileges", {}))
        if http is not None:
            self._checkToken(http)
        peers = self._peers(document.get("peers", {}), server, embedded, services)
        if not services and not self._problems.found and embedded is None:
            self._problems.found.append('no service is configured: add a table such as [proxy."proxy.example.com"]')
        config = Config(
            file=self._file,
            state_dir=Path(stateDir or self._folder),
            server=server,
            embedded=embedded,
            http=http,
            state=state or StateTable(),
            log=log or LogTable(),
            peers=peers,
            services=services,
            origins=overrides.origins,
        )
        if server or embedded:
            self._problems.found += self._check(config)
        if self._problems.found:
            raise ConfigError(list(map(overrides.explained, self._problems.found)))
        return config

    def _hosts(self, document: dict[str, Any]) -> tuple[ServerTable | None, EmbeddedTable | None]:
        """Read the table of the host that components connect to: a server or the embedded host."""
        if "server" not in document:
            return None, self._problems.structure("embedded", document.get("embedded", {}), EmbeddedTable)
        if "embedded" in document:
            self._problems.add(
                "embedded",
                "[embedded] and [server]",
                "one of them; the embedded host is for tests",
                "remove [embedded] to use your server",
            )
        server = self._problems.structure("server", document["server"], ServerTable)
        return (None if server is None else self._withSecret("server", server)), None

    def _demonstration(self, embedded: EmbeddedTable) -> dict[str, Any]:
        """Return the demonstration services, which run if neither a server nor a service is configured."""
        demonstrated = [each for each in self._plugins.values() if ITourStop.providedBy(each)]
        return {each.kind: ITourStop(each).demoTables(embedded.domain) for each in demonstrated}

    def _services(
        self,
        document: dict[str, Any],
        server: ServerTable | None,
        embedded: EmbeddedTable | None,
        state: StateTable,
    ) -> tuple[Service, ...]:
        services: dict[str, Service | None] = {}
        for kind, plugin in self._plugins.items():
            tables = document.get(kind, {})
            if not isinstance(tables, dict):
                self._problems.add(kind, shown(tables), f'tables, such as [{kind}."{kind}.example.com"]')
                continue
            for name, content in tables.items():
                key = f'{kind}."{name}"'
                if not isinstance(content, dict):
                    allowed = f'a table for each component, such as [{kind}."{kind}.example.com"]'
                    self._problems.add(key, shownUnlessSecret(key, content), allowed)
                    continue
                table = self._problems.structure(key, content, plugin.table)
                try:
                    jid = checkDomain(name)
                except ValueError:
                    allowed = "the component's JID, a domain, as the table's name"
                    repair = repaired(name, str, checkDomain)
                    advice = "" if repair is None else f'did you mean [{kind}."{elided(repair)}"]?'
                    self._problems.add(key, shown(name), allowed, advice)
                    continue
                if jid in services:
                    self._problems.found.append(
                        f'{key}: "{jid}" is configured twice; each JID may have one service; rename or remove one'
                    )
                    continue
                services[jid] = None
                if embedded is not None and jid == embedded.domain:
                    self._problems.add(
                        key, "the embedded host's own domain", "another one, such as a subdomain of it"
                    )
                if server is not None and jid == server.domain:
                    self._problems.add(key, "the server's own domain", "another one, such as a subdomain of it")
                if table is not None:
                    table = self._withStandby(key, self._withSecret(key, table), server, state)
                    if server is not None:
                        self._checkReachable(key, table, server)
                    elif embedded is not None and table.endpoint is not None and table.secret is None:
                        self._problems.add(
                            f"{key}.secret", "nothing", "a secret, which an endpoint of its own requires"
                        )
                    services[jid] = Service(kind=kind, jid=jid, table=table, plugin=plugin)
        return tuple(service for service in services.values() if service is not None)

    def _checkPrivileges(
        self, embedded: EmbeddedTable, services: tuple[Service, ...], written: dict[str, Any]
    ) -> None:
        """Check the rules of XEP-0356 section 7.4, and that each grant names a different, existing component."""
        if embedded.privileges is None:
            return
        if len(written) != len(embedded.privileges):
            self._problems.found.append(
                "embedded.privileges: the same component is listed twice, in different spellings"
            )
        components = {*embedded.components, *(service.jid for service in services)}
        for entity, table in embedded.privileges.items():
            key = f'embedded.privileges."{entity}"'
            if table.presence == "roster" and table.roster not in ("get", "both"):
                found = f'"roster" with roster = "{table.roster}"'
                self._problems.add(f"{key}.presence", found, '"roster" together with roster = "get" or "both"')
            if entity not in components and not self._problems.found:
                self._problems.add(key, "an unknown component", "a service, or one of [embedded.components]")

    def _peers(
        self,
        written: Any,
        server: ServerTable | None,
        embedded: EmbeddedTable | None,
        services: tuple[Service, ...],
    ) -> dict[Domain, PeerTable]:
        """Read the tables of peers, and check that each domain is of one of them, and of nobody else."""
        peers = self._problems.structure("peers", written, dict[Domain, PeerTable])
        if peers is None:
            return {}
        if len(peers) != len(written):
            self._problems.found.append("peers: the same domain is listed twice, in different spellings")
        own = {each.jid for each in services}
        own |= {each.domain for each in (server, embedded) if each is not None and each.domain is not None}
        owners: dict[str, str] = {}
        for name, table in peers.items():
            key = f'peers."{name}"'
            if (table.endpoint is None) == (table.listen is None):
                found = "neither endpoint nor listen" if table.endpoint is None else "endpoint and listen"
                self._problems.add(key, found, "one of them: one side connects, the other one listens")
            for domain in sorted({name, *table.domains}):
                if domain in own:
                    self._problems.add(
                        f"{key}.domains", f'"{domain}", which is a domain here', "domains of the other gateway"
                    )
                elif domain in owners:
                    found = f'"{domain}", also of {owners[domain]}'
                    self._problems.add(f"{key}.domains", found, "each domain once")
                owners[domain] = key
        self._checkKeys(peers)
        return peers

    def _checkKeys(self, peers: dict[Domain, PeerTable]) -> None:
        """
        Check that one port has one own key, and knows each of its peers by another key; and that another gateway is
        connected to once with a key: it would end the first of two connections.
        """
        known: dict[tuple[str, str], str] = {}
        ports: dict[str, Domain] = {}
        for name, table in peers.items():
            place = f"endpoint, {table.key_file}"
            if table.listen is not None:
                place = table.listen
                first = ports.setdefault(place, name)
                if table.key_file != peers[first].key_file:
                    allowed = f'the one of peers."{first}", which listens on the same address'
                    self._problems.add(f'peers."{name}".key_file', repr(table.key_file), allowed)
            for each in sorted(table.fingerprint):
                other = known.setdefault((place, each), name)
                if other != name:
                    found = f'{each}, also of peers."{other}"'
                    allowed = "a key of one peer; name further domains of a gateway in domains"
                    self._problems.add(f'peers."{name}".fingerprint', found, allowed)

    def _checkReachable(self, key: str, table: ComponentTable, server: ServerTable) -> None:
        """Check that a component has an endpoint and a secret, either its own or those of C{[server]}."""
        if table.endpoint is None and server.endpoint is None:
            advice = f"add it to [server], or to [{key}] for another server"
            found = "neither this key nor server.endpoint"
            self._problems.add(f"{key}.endpoint", found, describe(ClientEndpoint), advice)
        if table.secret is None and server.secret is None:
            self._problems.add(
                f"{key}.secret",
                "neither this key nor secret_file nor server.secret",
                "the secret of this component in the server's configuration",
                f"add it to [{key}], or to [server] for all components",
            )

    def _withStandby(self, key: str, table: Any, server: ServerTable | None, state: StateTable) -> Any:
        """Return the table with the C{standby} of C{[server]}, if it has none of its own."""
        if table.standby is None and server is not None:
            table = evolve(table, standby=server.standby)
        if table.standby and state.url is None:
            advice = "add [state] with the url of a PostgreSQL database that all of these gateways use"
            self._problems.add(f"{key}.standby", "true without state.url", "true with state.url", advice)
        if table.standby and server is None and table.endpoint is None:
            self._problems.add(f"{key}.standby", "true on the embedded host", "true with a server")
        return table

    def _withSecret(self, key: str, table: Any) -> Any:
        """Return the table with the secret from its C{secret_file}."""
        if table.secret_file is None:
            if table.secret == "":
                allowed = "the secret of the component in the server's configuration"
                self._problems.add(f"{key}.secret", "an empty string", allowed)
            return table
        if table.secret is not None:
            advice = "remove secret, if the file has it"
            self._problems.add(f"{key}.secret_file", "both secret and secret_file", "one of them", advice)
        secret = self._readSecret(f"{key}.secret_file", table.secret_file)
        return evolve(table, secret=secret or "unreadable")

    def _checkToken(self, http: HttpTable) -> None:
        if http.token_file is not None:
            self._readSecret("http.token_file", http.token_file)
        elif not _isLocal(http.listen):
            self._problems.add(
                "http.token_file",
                "nothing",
                "a file with a token: other machines can reach http.listen",
                "add it, or listen on this machine only: tcp:PORT:interface=127.0.0.1",
            )

    def _readSecret(self, key: str, path: str) -> str:
        try:
            return readSecret(path)
        except (OSError, ValueError) as error:
            reason, advice = str(error), ""
            if isinstance(error, OSError):
                reason, advice = error.strerror or reason, files.remedy(error).removeprefix("; ")
            allowed = "a readable file that contains one line with a secret"
            self._problems.add(key, f"{path}: {reason}", allowed, advice)
            return ""


def readSecret(path: str) -> str:
    """
    Return the one line of a file with a secret.

    @raise OSError: if the file cannot be read.
    @raise ValueError: if it has no secret.
    """
    return files.readLine(Path(path))


def _isLocal(endpoint: str) -> bool:
    """True if only this machine can connect to this listening endpoint."""
    if endpoint.startswith("unix:"):
        return True
    interfaces = re.findall(r"(?:^|:)interface=((?:\\.|[^:])*)", endpoint)
    return bool(interfaces) and all(_LOOPBACK.fullmatch(each.replace("\\", "")) for each in interfaces)
