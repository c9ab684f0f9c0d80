"""
The tables of the configuration, and checks of their values.

A plugin derives its table from L{ComponentTable}, with attributes of the types that this package exports.
"""

from typing import TYPE_CHECKING

from gateway._deprecated import renamed
from gateway.config.tables import (
    BareJid,
    Bytes,
    ClientEndpoint,
    ComponentTable,
    ConfigError,
    Count,
    Domain,
    Filename,
    Host,
    Jids,
    LargeBytes,
    Namespace,
    Passwords,
    Seconds,
    Secrets,
    ServerEndpoint,
    Url,
)
from gateway.config.values import checkDomain

__all__ = [
    "ComponentTable",
    "ConfigError",
    "BareJid",
    "Bytes",
    "ClientEndpoint",
    "Count",
    "Domain",
    "Filename",
    "Host",
    "Jids",
    "LargeBytes",
    "Namespace",
    "Passwords",
    "Seconds",
    "Secrets",
    "ServerEndpoint",
    "Url",
    "checkDomain",
]

# Hidden from type checkers, which would accept any name otherwise.
if not TYPE_CHECKING:
    _READER = "gateway.composition.reader"
    _OLD_NAMES = {name: f"{_READER}.{name}" for name in ("Config", "Service", "load", "readSecret")}
    __getattr__ = renamed(__name__, _OLD_NAMES)
