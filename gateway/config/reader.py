"""
Read the TOML file into frozen values, and report all errors at once, each with its key, the value found and the
values allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from attrs import evolve, fields_dict, frozen, has
from cattrs import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from gateway.config.tables import (
    ClientEndpoint,
    ComponentTable,
    ConfigError,
    EmbeddedTable,
    Filename,
    HttpTable,
    ServerTable,
    elided,
    keyOf,
)
from gateway.config.values import checkDomain, describe, makeConverter
from gateway.interfaces import IServicePlugin, ITourStop
from gateway.state import files

T = TypeVar("T")

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
    @ivar folder: the folder that relative file names refer to.
    @ivar server: C{None} if the gateway runs on the embedded host. Exactly one of C{server} and C{embedded} is set.
    @ivar http: C{None} if the file has no such table: then the default is used if its port is free.
    """

    file: Path | None = None
    folder: Path
    state_dir: Path
    server: ServerTable | None
    embedded: EmbeddedTable | None
    http: HttpTable | None
    services: tuple[Service, ...]


def load(path: Path | None, plugins: Iterable[IServicePlugin], reactor: Any) -> Config:
    """
    Read a configuration file.

    @param path: C{None} if there is no file: the embedded default, in the working directory.
    @param reactor: only used to parse endpoint strings; nothing is connected.
    @raise ConfigError: with all problems, and the part of the configuration that could be read.
    """
    if path is None:
        return _Reader(Path.cwd(), plugins, reactor).read({})
    try:
        document = tomllib.loads(path.read_text(_ENCODING))
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path} is not TOML: {error}"]) from error
    return _Reader(path.parent.absolute(), plugins, reactor, path).read(document)


class _Reader:
    """Turns one document into a L{Config} and collects the problems found."""

    def __init__(
        self, folder: Path, plugins: Iterable[IServicePlugin], reactor: Any, file: Path | None = None
    ) -> None:
        self._file = file
        self._folder = folder
        self._plugins = {plugin.kind: plugin for plugin in plugins}
        self._reactor = reactor
        self._problems: list[str] = []
        self._converter = makeConverter(folder, reactor)

    def read(self, document: dict[str, Any]) -> Config:
        known = {"state_dir", "server", "embedded", "http", *self._plugins}
        for key in document.keys() - known:
            allowed = f"one of {', '.join(sorted(known))}, or the kind of an installed plugin"
            self._problem(key, "an unknown key", allowed)
        stateDir = self._structure("state_dir", document.get("state_dir", "state"), Filename)
        http = self._structure("http", document["http"], HttpTable) if "http" in document else None
        server, embedded = self._hosts(document)
        if embedded is not None and not embedded.components and not self._plugins.keys() & document.keys():
            document |= self._demonstration(embedded)
        services = self._services(document, server, embedded)
        if embedded is not None:
            self._checkPrivileges(embedded, services, document.get("embedded", {}).get("privileges", {}))
        if http is not None:
            self._checkToken(http)
        if not services and not self._problems and embedded is None:
            self._problems.append('no service is configured: add a table such as [proxy."proxy.example.com"]')
        config = Config(
            file=self._file,
            folder=self._folder,
            state_dir=Path(stateDir or self._folder),
            server=server,
            embedded=embedded,
            http=http,
            services=services,
        )
        if self._problems:
            raise ConfigError(self._problems, config if server or embedded else None)
        return config

    def _hosts(self, document: dict[str, Any]) -> tuple[ServerTable | None, EmbeddedTable | None]:
        """Read the table of the host that components connect to: a server or the embedded host."""
        if "server" not in document:
            return None, self._structure("embedded", document.get("embedded", {}), EmbeddedTable)
        if "embedded" in document:
            self._problem("embedded", "[embedded] and [server]", "one of them; the embedded host is for trying out")
        server = self._structure("server", document["server"], ServerTable)
        return (None if server is None else self._withSecret("server", server)), None

    def _demonstration(self, embedded: EmbeddedTable) -> dict[str, Any]:
        """Return the demonstration services, which run if neither a server nor a service is configured."""
        demonstrated = [each for each in self._plugins.values() if ITourStop.providedBy(each)]
        return {each.kind: ITourStop(each).demoTables(embedded.domain) for each in demonstrated}

    def _services(
        self, document: dict[str, Any], server: ServerTable | None, embedded: EmbeddedTable | None
    ) -> tuple[Service, ...]:
        services: dict[str, Service | None] = {}
        for kind, plugin in self._plugins.items():
            tables = document.get(kind, {})
            if not isinstance(tables, dict):
                self._problem(kind, _show(tables), f'tables, such as [{kind}."{kind}.example.com"]')
                continue
            for name, content in tables.items():
                key = f'{kind}."{name}"'
                if not isinstance(content, dict):
                    allowed = f'a table for each component, such as [{kind}."{kind}.example.com"]'
                    self._problem(key, _found(key, content), allowed)
                    continue
                table = self._structure(key, content, plugin.table)
                try:
                    jid = checkDomain(name)
                except ValueError:
                    self._problem(key, _show(name), "the component's JID, a domain, as the table's name")
                    continue
                if jid in services:
                    self._problems.append(f'{key}: "{jid}" is configured twice; each JID may have one service')
                    continue
                services[jid] = None
                if embedded is not None and jid == embedded.domain:
                    self._problem(key, "the embedded host's own domain", "another one, such as a subdomain of it")
                if server is not None and jid == server.domain:
                    self._problem(key, "the server's own domain", "another one, such as a subdomain of it")
                if table is not None:
                    table = self._withSecret(key, table)
                    if server is not None:
                        self._checkReachable(key, table, server)
                    elif embedded is not None and table.endpoint is not None and table.secret is None:
                        self._problem(f"{key}.secret", "nothing", "a secret, which an endpoint of its own requires")
                    services[jid] = Service(kind=kind, jid=jid, table=table, plugin=plugin)
        return tuple(service for service in services.values() if service is not None)

    def _checkPrivileges(
        self, embedded: EmbeddedTable, services: tuple[Service, ...], written: dict[str, Any]
    ) -> None:
        """Check the rules of XEP-0356 section 7.4, and that each grant names a different, existing component."""
        if embedded.privileges is None:
            return
        if len(written) != len(embedded.privileges):
            self._problems.append("embedded.privileges: the same component is listed twice, in different spellings")
        components = {*embedded.components, *(service.jid for service in services)}
        for entity, table in embedded.privileges.items():
            key = f'embedded.privileges."{entity}"'
            if table.presence == "roster" and table.roster not in ("get", "both"):
                found = f'"roster" beside roster = "{table.roster}"'
                self._problem(f"{key}.presence", found, '"roster" together with roster = "get" or "both"')
            if entity not in components and not self._problems:
                self._problem(key, "an unknown component", "a service, or one of [embedded.components]")

    def _checkReachable(self, key: str, table: ComponentTable, server: ServerTable) -> None:
        """Check that a component has an endpoint and a secret, either its own or those of C{[server]}."""
        if table.endpoint is None and server.endpoint is None:
            self._problem(f"{key}.endpoint", "neither this nor server.endpoint", describe(ClientEndpoint))
        if table.secret is None and server.secret is None:
            self._problem(
                f"{key}.secret",
                "neither this nor server.secret, nor a secret_file",
                "the secret of this component in the server's configuration",
            )

    def _withSecret(self, key: str, table: Any) -> Any:
        """Return the table with the secret from its C{secret_file}."""
        if table.secret_file is None:
            if table.secret == "":
                self._problem(f"{key}.secret", "an empty string", "a secret")
            return table
        if table.secret is not None:
            self._problem(f"{key}.secret_file", "both secret and secret_file", "one of them")
        secret = self._readSecret(f"{key}.secret_file", table.secret_file)
        return evolve(table, secret=secret or "unreadable")

    def _checkToken(self, http: HttpTable) -> None:
        if http.token_file is not None:
            self._readSecret("http.token_file", http.token_file)
        elif not _isLocal(http.listen):
            self._problem("http.token_file", "nothing", "a file with a token: other machines can reach http.listen")

    def _readSecret(self, key: str, path: str) -> str:
        try:
            return readSecret(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._problem(key, f"{path}: {reason}", "a readable file that contains one line with a secret")
            return ""

    def _structure(self, key: str, value: Any, kind: Callable[..., T]) -> T | None:
        try:
            structured: T = self._converter.structure(value, kind)  # type: ignore[arg-type]  # a NewType is a type too
        except Exception as error:
            self._explain(key, value, kind, error)
            return self._known(value, kind)
        return structured

    def _known(self, value: Any, kind: Callable[..., T]) -> T | None:
        """Return the table without unknown keys, so that its values can be checked; C{None} if one is wrong too."""
        if not isinstance(value, dict) or not isinstance(kind, type) or not has(kind):
            return None
        known = {key: value[key] for key in value.keys() & set(map(keyOf, fields_dict(kind)))}
        try:
            structured: T = self._converter.structure(known, kind)  # type: ignore[assignment]  # of the kind it is told
        except Exception:
            return None
        return structured

    def _explain(self, key: str, value: Any, kind: Any, error: BaseException) -> None:
        """Turn an error of cattrs into problems, one for each wrong value."""
        if get_origin(kind) in (Union, UnionType):
            [kind] = [each for each in get_args(kind) if each is not NoneType]
        if isinstance(error, IterableValidationError):
            self._explainEntries(key, value, kind, error)
        elif get_origin(kind) is frozenset and isinstance(value, list):
            self._explainItems(key, value, *get_args(kind))
        elif not isinstance(error, ClassValidationError):
            self._problem(key, _found(key, value), describe(kind))
        elif not isinstance(value, dict):
            self._problem(key, _show(value), "a table")
        else:
            self._explainTable(key, value, kind, error)

    def _explainEntries(self, key: str, value: Any, kind: Any, error: IterableValidationError) -> None:
        name, content = get_args(kind)
        for each, about in error.group_exceptions()[0]:
            path = f'{key}."{about.index}"'
            if about.type is content:
                self._explain(path, value[about.index], content, each)
            else:
                self._problem(path, _show(about.index), describe(name))

    def _explainItems(self, key: str, value: list[Any], kind: Any) -> None:
        for each in value:
            try:
                self._converter.structure(each, kind)
            except Exception:
                self._problem(key, f"{_show(each)} in the list", f"for each item: {describe(kind)}")

    def _explainTable(self, key: str, value: dict[str, Any], kind: Any, error: ClassValidationError) -> None:
        fields = fields_dict(kind)
        noted, others = error.group_exceptions()
        for each, note in noted:
            field = fields[note.name]
            name = keyOf(note.name)
            path = f"{key}.{name}"
            if isinstance(each, KeyError) and name not in value:
                self._problem(path, "nothing", describe(field.type))
            else:
                self._explain(path, value.get(name), field.type, each)
        for each in others:
            if isinstance(each, ForbiddenExtraKeysError):
                for extra in sorted(each.extra_fields):
                    allowed = f"one of {', '.join(map(keyOf, fields))}" + _unquoted(f"{key}.{extra}", value[extra])
                    self._problem(f"{key}.{extra}", "an unknown key", allowed)
            else:
                self._problem(key, _show(value), "a table")

    def _problem(self, key: str, found: str, allowed: str) -> None:
        self._problems.append(f"{key}: found {found}; allowed: {allowed}")


def readSecret(path: str) -> str:
    """
    Return the one line of a file with a secret.

    @raise OSError: if the file cannot be read.
    @raise ValueError: if it holds no secret.
    """
    return files.readLine(Path(path))


def _found(key: str, value: Any) -> str:
    """Return the value of a key for an error message, unless it may be a secret."""
    # A secret that is written below [proxy] by mistake looks like the name of a service: do not show it either.
    return "something else (not shown)" if key.rstrip('"').endswith("secret") else _show(value)


def _unquoted(key: str, value: Any) -> str:
    """Return a hint if a table's name may lack its quotes: without them TOML reads each dot as a nested table."""
    while isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        [(name, value)] = value.items()
        key += f".{name}"
    kind, _, name = key.replace('"', "").partition(".")
    return f'; quote a name that contains dots: [{kind}."{name}"]' if isinstance(value, dict) else ""


def _show(value: Any) -> str:
    """Return a value as TOML spells it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        shown = f"[{', '.join(map(_show, value[:20]))}]"
    else:
        shown = f'"{elided(value)}"' if isinstance(value, str) else str(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _isLocal(endpoint: str) -> bool:
    """True if only this machine can connect to this listening endpoint."""
    if endpoint.startswith("unix:"):
        return True
    interfaces = re.findall(r"(?:^|:)interface=((?:\\.|[^:])*)", endpoint)
    return bool(interfaces) and all(_LOOPBACK.fullmatch(each.replace("\\", "")) for each in interfaces)
