"""
The TOML file as frozen values; every error in it at once, each with its key, what was found, what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from attrs import evolve, fields_dict, frozen, has
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from twisted.internet.endpoints import clientFromString, serverFromString

from gateway import jids
from gateway.interfaces import IServicePlugin
from gateway.tables import (
    BareJid,
    Bytes,
    ClientEndpoint,
    ComponentTable,
    ConfigError,
    Domain,
    Filename,
    HttpTable,
    Seconds,
    ServerEndpoint,
    ServerTable,
)

T = TypeVar("T")

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
    Everything that an operator may decide.

    @ivar folder: what relative file names are relative to.
    @ivar http: C{None} where the file does not speak of it; the default then, if its port is free.
    """

    folder: Path
    state_dir: Path
    server: ServerTable
    http: HttpTable | None
    services: tuple[Service, ...]


def load(path: Path, plugins: Iterable[IServicePlugin], reactor: Any) -> Config:
    """
    Read a configuration file.

    @param reactor: only what endpoint strings are tried on; nothing is connected.
    @raise ConfigError: with all that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path} is not TOML: {error}"]) from error
    return _Reader(path.parent.absolute(), plugins, reactor).read(document)


# How each kind of value is described to who wrote another.
_DESCRIPTIONS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    BareJid: 'a JID without a resource, as "user@example.com"',
    Domain: 'a domain, as "example.com"',
    Seconds: "a number of seconds over 0",
    Bytes: "a number of bytes, 1024 or more",
    Filename: "the name of a file, as a string",
    ClientEndpoint: 'a Twisted client endpoint, as "tcp:127.0.0.1:5347", "tls:example.com:5347" or "unix:/run/x"',
    ServerEndpoint: 'a Twisted server endpoint, as "tcp:5290:interface=127.0.0.1" or "unix:/run/gateway.http"',
}


def _origin(kind: Any) -> Any:
    """What a generic type is made of; the library's own type for this leaves out what we ask for."""
    return get_origin(kind)


def _describe(kind: Any) -> str:
    """What a value of this type looks like."""
    origin = _origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(kind))
    if origin is frozenset:
        return f"a list, each item {_describe(get_args(kind)[0])}"
    if origin in (Union, UnionType):
        return " or ".join(_describe(each) for each in get_args(kind) if each is not NoneType)
    return "a table" if has(kind) else _DESCRIPTIONS.get(kind, f"a value for {getattr(kind, '__name__', kind)}")


class _Reader:
    """Turns one document into a L{Config}, gathering problems on the way."""

    def __init__(self, folder: Path, plugins: Iterable[IServicePlugin], reactor: Any) -> None:
        self._folder = folder
        self._plugins = {plugin.kind: plugin for plugin in plugins}
        self._reactor = reactor
        self._problems: list[str] = []
        self._converter = Converter(forbid_extra_keys=True)
        # A check gives what it made of the value, or raises ValueError.
        for kind, check in {
            str: _checkString,
            bool: _checkBool,
            BareJid: _checkBareJid,
            Domain: _checkDomain,
            Seconds: _checkSeconds,
            Bytes: _checkBytes,
            Filename: self._checkFilename,
            ClientEndpoint: self._checkClientEndpoint,
            ServerEndpoint: self._checkServerEndpoint,
        }.items():
            self._converter.register_structure_hook(kind, _hook(check))
        self._converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _checkLiteral)
        self._converter.register_structure_hook_func(lambda kind: _origin(kind) is frozenset, self._checkSet)

    def read(self, document: dict[str, Any]) -> Config:
        known = {"state_dir", "server", "http", *self._plugins}
        for key in document.keys() - known:
            self._problem(key, "unknown", f"one of {', '.join(sorted(known))}")
        stateDir = self._structure("state_dir", document.get("state_dir", "state"), Filename)
        http = self._structure("http", document["http"], HttpTable) if "http" in document else None
        server = self._structure("server", document.get("server", {}), ServerTable)
        if server is not None:
            server = self._withSecret("server", server)
        services = self._services(document, server)
        if http is not None:
            self._checkToken(http)
        if not services and not self._problems:
            self._problems.append('no service is configured: there is no table such as [proxy."proxy.example.com"]')
        if self._problems:
            raise ConfigError(self._problems)
        assert stateDir is not None and server is not None
        return Config(folder=self._folder, state_dir=Path(stateDir), server=server, http=http, services=services)

    def _services(self, document: dict[str, Any], server: ServerTable | None) -> tuple[Service, ...]:
        services: dict[str, Service | None] = {}
        for kind, plugin in self._plugins.items():
            tables = document.get(kind, {})
            if not isinstance(tables, dict):
                self._problem(kind, _show(tables), f'tables, as [{kind}."{kind}.example.com"]')
                continue
            for name, content in tables.items():
                key = f'{kind}."{name}"'
                table = self._structure(key, content, plugin.table)
                try:
                    jid = _checkDomain(name)
                except ValueError:
                    self._problem(key, _show(name), "the component's JID, a domain, in the table's name")
                    continue
                if jid in services:
                    self._problem(key, f"a second service on {jid}", "one service on each JID")
                    continue
                services[jid] = None
                if table is not None:
                    table = self._withSecret(key, table)
                    if server is not None:
                        self._checkReachable(key, table, server)
                    services[jid] = Service(kind=kind, jid=jid, table=table, plugin=plugin)
        return tuple(service for service in services.values() if service is not None)

    def _checkReachable(self, key: str, table: ComponentTable, server: ServerTable) -> None:
        """Every component needs a server and a secret, its own or the common ones."""
        if table.endpoint is None and server.endpoint is None:
            self._problem(f"{key}.endpoint", "neither this nor server.endpoint", _describe(ClientEndpoint))
        if table.secret is None and server.secret is None:
            self._problem(
                f"{key}.secret",
                "neither this nor server.secret, nor a secret_file",
                "what the server's configuration has as this component's secret",
            )

    def _withSecret(self, key: str, table: Any) -> Any:
        """The table with the secret that its C{secret_file} holds."""
        if table.secret_file is None:
            if table.secret == "":
                self._problem(f"{key}.secret", "an empty string", "a secret")
            return table
        if table.secret is not None:
            self._problem(f"{key}.secret_file", "a secret beside it", "one of secret and secret_file")
        secret = self._readSecret(f"{key}.secret_file", table.secret_file)
        return evolve(table, secret=secret or "unreadable")

    def _checkToken(self, http: HttpTable) -> None:
        if http.token_file is not None:
            self._readSecret("http.token_file", http.token_file)
        elif not _isLocal(http.listen):
            self._problem("http.token_file", "nothing", "a file with a token: http.listen is not loopback alone")

    def _readSecret(self, key: str, path: str) -> str:
        try:
            return readSecret(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._problem(key, f"{path}: {reason}", "a readable file that holds a secret and nothing else")
            return ""

    def _structure(self, key: str, value: Any, kind: Callable[..., T]) -> T | None:
        try:
            structured: T = self._converter.structure(value, kind)  # type: ignore[arg-type]  # a NewType is a type too
        except Exception as error:
            self._explain(key, value, kind, error)
            return None
        return structured

    def _explain(self, key: str, value: Any, kind: Any, error: BaseException) -> None:
        """Turn what cattrs raises into problems, one for each leaf."""
        if not isinstance(error, ClassValidationError):
            # Also where somebody wrote it under [proxy], which makes it a service's name.
            secret = key.rstrip('"').endswith("secret")
            self._problem(key, "something else (not shown)" if secret else _show(value), _describe(kind))
            return
        if not isinstance(value, dict):
            self._problem(key, _show(value), "a table")
            return
        fields = fields_dict(kind)
        noted, others = error.group_exceptions()
        for each, note in noted:
            field = fields[note.name]
            path = f"{key}.{note.name}"
            if isinstance(each, KeyError) and note.name not in value:
                self._problem(path, "nothing", _describe(field.type))
            else:
                self._explain(path, value.get(note.name), field.type, each)
        for each in others:
            if isinstance(each, ForbiddenExtraKeysError):
                for extra in sorted(each.extra_fields):
                    self._problem(f"{key}.{extra}", "unknown", f"one of {', '.join(fields)}")
            else:
                self._problem(key, _show(value), "a table")

    def _problem(self, key: str, found: str, allowed: str) -> None:
        self._problems.append(f"{key}: found {found}; allowed: {allowed}")

    # Checks that need more than the value.

    def _checkFilename(self, value: Any) -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError
        return str(self._folder / value)

    def _checkClientEndpoint(self, value: Any) -> str:
        # ssl: would not check the certificate's name; tls: does.
        if not isinstance(value, str) or value.startswith("ssl:"):
            raise ValueError
        clientFromString(self._reactor, value)
        return value

    def _checkServerEndpoint(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        serverFromString(self._reactor, value)
        return value

    def _checkSet(self, value: Any, kind: Any) -> frozenset[Any]:
        if not isinstance(value, list):
            raise ValueError
        return frozenset(self._converter.structure(item, get_args(kind)[0]) for item in value)


def readSecret(path: str) -> str:
    """
    The one line of a secret's file.

    @raise OSError: if it cannot be read.
    @raise ValueError: if it holds no secret.
    """
    secret = Path(path).read_text("utf-8").strip()
    if not secret or "\n" in secret:
        raise ValueError("it does not hold exactly one line")
    return secret


def _hook(check: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, kind: check(value)


def _show(value: Any) -> str:
    """A value as its writer knows it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _isLocal(endpoint: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if endpoint.startswith("unix:"):
        return True
    interfaces = re.findall(r"(?:^|:)interface=((?:\\.|[^:])*)", endpoint)
    return bool(interfaces) and all(_LOOPBACK.fullmatch(each.replace("\\", "")) for each in interfaces)


def _checkString(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _checkBool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _checkSeconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ValueError
    return float(value)


def _checkBytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1024:
        raise ValueError
    return value


def _checkBareJid(value: Any) -> str:
    jid = jids.prepared(_checkString(value))
    if "/" in jid or not jids.split(jid)[0]:
        raise ValueError
    return jid


def _checkDomain(value: Any) -> str:
    domain = jids.prepared(_checkString(value))
    if "/" in domain or "@" in domain:
        raise ValueError
    return domain


def _checkLiteral(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or value not in get_args(kind):
        raise ValueError
    return value
