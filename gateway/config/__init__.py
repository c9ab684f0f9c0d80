"""
The configuration: its tables, checks of their values, and the reader of the TOML file.

A plugin derives its table from L{ComponentTable}, with attributes of the types that this package exports.
"""

from gateway.config.reader import Config, Service, load, readSecret
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
    "Config",
    "Service",
    "load",
    "readSecret",
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
