"""
Checks of the single values of the configuration, and their descriptions for error messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from attrs import fields, frozen, has, resolve_types
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override
from twisted.internet.endpoints import clientFromString, serverFromString

from gateway import ns
from gateway.addresses import jids
from gateway.config.tables import (
    AnyDomain,
    BareJid,
    Bytes,
    ClientEndpoint,
    Count,
    DatabaseUrl,
    Domain,
    Duration,
    Filename,
    Fingerprints,
    Host,
    Jids,
    LargeBytes,
    LogPart,
    Namespace,
    Passwords,
    PeerEndpoint,
    PeerListener,
    Seconds,
    Secrets,
    ServerEndpoint,
    Url,
    keyOf,
)
from gateway.requirements import Address
from gateway.state.urls import isUrl

# Twisted's kinds of endpoints that have a port.
_WITH_PORT = ("tcp", "tcp6", "ssl", "tls")
_MAX_PORT = 65535
# Bytes in the name of a UNIX socket, on every system.
_MAX_SOCKET_NAME = 103
# A host, which is a name or an IPv6 address in brackets, and optionally a port.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]+)?")

_LOG_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")

_SHA256 = re.compile(r"[0-9a-f]{64}")

# The host of a client endpoint.
_HOST_NAME = re.compile(r"[^\s/@]+")

# Descriptions of the allowed values, by type, for error messages.
_DESCRIPTIONS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    BareJid: 'a JID without a resource, such as "user@example.com"',
    Domain: 'a domain, such as "example.com"',
    AnyDomain: 'a domain, such as "example.com", or "*" for all',
    Host: 'a host name or address, with or without a port, such as "gateway.example.com" or "[::1]:8080"',
    Namespace: "a namespace, but not that of delegation itself",
    Jids: 'a JID or a list of JIDs, such as "pubsub.example.com" or ["one@example.com", "two@example.com"]',
    Seconds: "a number of seconds over 0",
    Duration: 'a time with its unit, such as "30s", "5m" or "1h"',
    Bytes: "a number of bytes, 1024 or more",
    LargeBytes: "a number of bytes, 262144 or more",
    Count: "a whole number, 1 or more",
    LogPart: 'the name of a logger, or its beginning up to a dot, such as "gateway.roster"',
    Url: 'a URL without user and password, such as "http://127.0.0.1:8000/contacts/%s" or "https://..."',
    DatabaseUrl: 'the URL of a PostgreSQL database, such as "postgresql:///gateway" or '
    '"postgresql://gateway@db.example.com/gateway?sslmode=verify-full", with special characters written as %40',
    Filename: "the name of a file, as a string",
    Passwords: 'a table of unique user names with non-empty passwords, such as alice = "..."',
    Secrets: 'a table of unique component JIDs with non-empty secrets, such as "echo.example.com" = "..."',
    ClientEndpoint: 'a Twisted client endpoint, such as "tcp:127.0.0.1:5347", "tls:example.com:5347" or '
    f'"unix:/run/x"; a port from 1 to 65535, or a socket whose path has at most {_MAX_SOCKET_NAME} bytes',
    Fingerprints: 'what `xmpp-gateway peers` prints at the other side, "sha256:" and 64 hexadecimal digits; or a '
    "list of such fingerprints",
    PeerEndpoint: 'a Twisted client endpoint, such as "tls:gateway.example.net:5299" or "unix:/run/modem"; a port '
    "from 1 to 65535",
    PeerListener: 'a Twisted server endpoint, such as "tls:5299" or "tls:5299:interface=192.0.2.1"; a port up to '
    "65535",
    ServerEndpoint: 'a Twisted server endpoint, such as "tcp:5290:interface=127.0.0.1" or '
    '"unix:/run/gateway.http"; a port up to 65535, or a socket in an existing folder '
    f"whose path has at most {_MAX_SOCKET_NAME} bytes",
}


def _origin(kind: Any) -> Any:
    """Return C{get_origin}, with a looser type than the library's own, which excludes some uses here."""
    return get_origin(kind)


def describe(kind: Any) -> str:
    """Return a description of the values of this type."""
    origin = _origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(kind))
    if origin is frozenset:
        [item] = get_args(kind)[:1]
        example = ', such as ["one", "two"]' if item is str else ""
        return f"a list, each item {describe(item)}{example}"
    if origin is dict:
        return f"a table, each entry {describe(get_args(kind)[1])}"
    if origin in (Union, UnionType):
        return " or ".join(describe(each) for each in get_args(kind) if each is not NoneType)
    if has(kind) or origin is dict:
        return "a table"
    return _DESCRIPTIONS.get(kind, f"a value for {getattr(kind, '__name__', kind)}")


@frozen
class Values:
    """
    Converts TOML values to the types of the tables.

    @ivar folder: the folder that relative file names refer to.
    @ivar reactor: only used to parse endpoint strings.
    """

    folder: Path
    reactor: Any

    def structure(self, value: Any, kind: Any) -> Any:
        """Return a value as the type that it is declared with. Raise an exception if it is invalid."""
        token = _reading.set(self)
        try:
            return _converter().structure(value, kind)
        finally:
            _reading.reset(token)


# For the checks of file names and endpoints. A converter compiles a function for each table, so there is one for
# all files.
_reading: ContextVar[Values] = ContextVar("reading")


def _checkFilename(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return str(_reading.get().folder / value)


def _checkClientEndpoint(value: Any) -> str:
    # "ssl:" would not check the name in the certificate; "tls:" does.
    if not isinstance(value, str) or value.startswith("ssl:"):
        raise ValueError
    clientFromString(_reading.get().reactor, value)
    _checkPort(value, 1, lowest=1)
    _socketName(value)
    return value


def _checkServerEndpoint(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    serverFromString(_reading.get().reactor, value)
    _checkPort(value, 0, lowest=0)
    # The folder of a listening socket must exist, because nothing creates it.
    if not Path(_socketName(value)).parent.is_dir():
        raise ValueError
    return value


def _checkPeerEndpoint(value: Any) -> str:
    return _checkOwnTls(_checkClientEndpoint(value))


def _checkPeerListener(value: Any) -> str:
    _checkServerEndpoint(re.sub("^tls:", "tcp:", _checkString(value)))
    return str(value)


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    # A check returns the converted value, or raises ValueError.
    for kind, check in {
        str: _checkString,
        bool: _checkBool,
        BareJid: _checkBareJid,
        Domain: checkDomain,
        AnyDomain: _checkString,
        Host: _checkHost,
        Seconds: _checkSeconds,
        Duration: _checkString,
        Bytes: _checkBytes,
        LargeBytes: _checkLargeBytes,
        LogPart: _checkLogPart,
        Count: _checkCount,
        Url: _checkUrl,
        DatabaseUrl: _checkDatabaseUrl,
        Filename: _checkFilename,
        ClientEndpoint: _checkClientEndpoint,
        ServerEndpoint: _checkServerEndpoint,
        PeerEndpoint: _checkPeerEndpoint,
        PeerListener: _checkPeerListener,
        Fingerprints: _checkFingerprints,
        Jids: _checkJids,
        Namespace: _checkNamespace,
        Passwords: _checkPasswords,
        Secrets: _checkSecrets,
    }.items():
        converter.register_structure_hook(kind, _hook(check))
    _addContainers(converter)
    converter.register_structure_hook_factory(_hasOtherKeys, partial(_structureByKeys, converter))
    return converter


def _hasOtherKeys(kind: Any) -> bool:
    return isinstance(kind, type) and has(kind) and any(keyOf(each.name) != each.name for each in fields(kind))


def _structureByKeys(converter: Converter, kind: Any) -> Any:
    """Return a hook for a table whose attributes differ from their keys."""
    resolve_types(kind)
    renamed: dict[str, Any] = {each.name: override(rename=keyOf(each.name)) for each in fields(kind)}
    return make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **renamed)


def _split(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """Return kind, positional and named arguments of an endpoint string, in which a backslash quotes."""
    quoted = re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", endpoint)
    kind, *words = (re.sub(r"\\(.)", r"\1", word) for word in quoted)
    named = dict(word.split("=", 1) for word in words if "=" in word)
    return kind.lower(), [word for word in words if "=" not in word], named


def _checkOwnTls(endpoint: str) -> str:
    """Check an endpoint string: with the TLS of direct links, it has no options of Twisted's TLS."""
    kind, positional, named = _split(endpoint)
    if kind == "tls" and (len(positional) + len(named) > 2 or named.keys() - {"host", "port"}):
        raise ValueError
    return endpoint


def addressOf(endpoint: str) -> Address:
    """Return the address of a valid client or server endpoint string."""
    kind, positional, named = _split(endpoint)
    if kind == "unix":
        return Address(socket=_socketName(endpoint))
    if "interface" in named or (positional and positional[0].isdecimal()):
        # A server endpoint: the port comes first.
        port = named.get("port") or positional[0]
        return Address(host=named.get("interface", ""), port=int(port))
    host = named.get("host") or [*positional, ""][0]
    port = named.get("port") or [*positional, "", ""][1]
    return Address(host=host, port=int(port) if port.isdecimal() else None, isTls=kind in ("ssl", "tls"))


def _checkPort(endpoint: str, position: int, lowest: int) -> None:
    """Check a port number, and the host before it. Twisted itself would only fail when it connects or listens."""
    kind, positional, named = _split(endpoint)
    if kind in _WITH_PORT:
        if position and not _HOST_NAME.fullmatch(named.get("host") or [*positional, ""][0]):
            raise ValueError
        port = named.get("port") or [*positional, "", ""][position]
        if not port.isdecimal() or not lowest <= int(port) <= _MAX_PORT:
            raise ValueError


def _socketName(endpoint: str) -> str:
    """
    Return the file name of a UNIX socket, an empty string for another kind of endpoint; check its length, which
    Twisted does not.
    """
    kind, positional, named = _split(endpoint)
    if kind != "unix":
        return ""
    name = named.get("address") or named.get("path") or [*positional, ""][0]
    if not 0 < len(os.fsencode(name)) <= _MAX_SOCKET_NAME:
        raise ValueError
    return name


def _addContainers(converter: Converter) -> None:
    """Register the checks for types that contain other types."""

    def checkSet(value: Any, kind: Any) -> frozenset[Any]:
        if not isinstance(value, list):
            raise ValueError
        return frozenset(converter.structure(item, get_args(kind)[0]) for item in value)

    for origin, check in {Literal: _checkLiteral, frozenset: checkSet}.items():
        converter.register_structure_hook_func(partial(_isOf, origin), check)


def _isOf(origin: Any, kind: Any) -> bool:
    return _origin(kind) is origin


def _hook(check: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, kind: check(value)


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


def _checkBytes(value: Any, least: int = 1024) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError
    return value


def _checkLargeBytes(value: Any) -> int:
    return _checkBytes(value, 256 * 1024)


def _checkCount(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError
    return value


def _checkLogPart(value: Any) -> str:
    if not _LOG_PART.fullmatch(_checkString(value)):
        raise ValueError
    # The gateway's loggers have the names of modules, and of classes in them.
    if value.startswith("gateway.") and not any(map(_isModule, (value, value.rpartition(".")[0]))):
        raise ValueError
    return str(value)


def _isModule(name: str) -> bool:
    try:
        return name != "gateway" and find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _checkUrl(value: Any) -> str:
    # "%s" is not valid in a URL, so replace it by a name.
    parts = urlsplit(_checkString(value).replace("%s", "x"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not value.isascii():
        raise ValueError
    # The user name must not determine the host, and HTTP clients do not send a user and password from the URL.
    if "%s" in urlsplit(value).netloc or "@" in parts.netloc:
        raise ValueError
    return str(value)


def _checkDatabaseUrl(value: Any) -> str:
    if not isUrl(_checkString(value)):
        raise ValueError
    return str(value)


def _checkBareJid(value: Any) -> str:
    jid = jids.prepared(_checkString(value))
    if "/" in jid or not jids.split(jid)[0]:
        raise ValueError
    return jid


def checkDomain(value: Any) -> str:
    """
    Return a domain in the form that a server would write.

    @raise ValueError: if it is not valid.
    """
    domain = jids.prepared(_checkString(value))
    if "/" in domain or "@" in domain:
        raise ValueError
    return domain


def _checkHost(value: Any) -> str:
    # It must have the form of a Host header, which browsers write in lower case and in ASCII.
    parts = urlsplit(f"//{_checkString(value)}")
    if not parts.hostname or parts.netloc != value or "@" in value or parts.port == 0 or not _HOST.fullmatch(value):
        raise ValueError
    return str(value).lower()


def _checkNamespace(value: Any) -> str:
    namespace = _checkString(value)
    if namespace in (ns.DELEGATION_2, ns.DELEGATION_1):
        raise ValueError
    return namespace


def _checkJids(value: Any) -> tuple[str, ...]:
    found = tuple(jids.prepared(_checkString(each)) for each in (value if isinstance(value, list) else [value]))
    if not found or len(set(found)) != len(found):
        raise ValueError
    return found


def _checkFingerprints(value: Any) -> frozenset[str]:
    found = [_checkFingerprint(_checkString(each)) for each in (value if isinstance(value, list) else [value])]
    if not found:
        raise ValueError
    return frozenset(found)


def _checkFingerprint(text: str) -> str:
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    if not _SHA256.fullmatch(digits):
        raise ValueError
    return f"sha256:{digits}"


def _checkPasswords(value: Any) -> dict[str, str]:
    return _checkWords(value, jids.preparedLocal)


def _checkSecrets(value: Any) -> dict[str, str]:
    return _checkWords(value, checkDomain)


def _checkWords(value: Any, checkName: Callable[[str], str]) -> dict[str, str]:
    """Check a table of names, each with a string that is not empty."""
    if not isinstance(value, dict):
        raise ValueError
    words = {checkName(name): _checkString(word) for name, word in value.items()}
    if len(words) != len(value) or "" in words.values():
        raise ValueError
    return words


def _checkLiteral(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or value not in get_args(kind):
        raise ValueError
    return value
