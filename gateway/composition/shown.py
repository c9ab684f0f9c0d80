"""
The settings of a configuration for the log, without secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from attrs import NOTHING, Factory, fields, has

from gateway.composition.reader import Config, Service
from gateway.config.problems import shown
from gateway.config.tables import SECRET_ENDINGS, DatabaseUrl, LogTable, StateTable, Url, keyOf


def settings(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the name of each table, and those of its settings that are not the default ones."""
    for name in ("state", "server", "embedded", "http", "log"):
        table = getattr(config, name)
        if table not in (None, StateTable(), LogTable()):
            yield name, tableSettings(table)
    for domain, peer in config.peers.items():
        yield f'peers."{domain}"', tableSettings(peer)
    yield from map(serviceSettings, config.services)


def serviceSettings(service: Service) -> tuple[str, str]:
    """Return the same for one service."""
    return f'{service.kind}."{service.jid}"', tableSettings(service.table)


def tableSettings(table: Any) -> str:
    """Return the settings of a table as TOML spells them; secrets are left out."""
    found = []
    for each in fields(type(table)):
        value = getattr(table, each.name)
        if value == _default(each.default):
            continue
        # repr=False marks a secret, except for URLs: they are shown without the password that they may contain.
        isHidden = each.repr is False and not {Url, DatabaseUrl} & {each.type, *get_args(each.type)}
        isSecret = isHidden or keyOf(each.name).endswith(SECRET_ENDINGS)
        found.append(f"{keyOf(each.name)} = {'(not shown)' if isSecret else _inToml(value)}")
    return ", ".join(found) or "the defaults"


def _default(default: Any) -> Any:
    if isinstance(default, Factory):  # type: ignore[arg-type]  # a class, for which the stubs have a function
        return default.factory()
    return None if default is NOTHING else default


def _inToml(value: Any) -> str:
    if has(type(value)):
        return f"{{ {tableSettings(value)} }}"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{shown(name)} = {_inToml(each)}' for name, each in value.items())} }}"
    if isinstance(value, frozenset | set):
        return shown(sorted(value))
    return shown(list(value) if isinstance(value, tuple) else value)
