"""A row of the table of effects, and the list of all keys of the configuration."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from attrs import fields, frozen, has, resolve_types

from gateway.composition.reader import Config
from gateway.composition.service import findPlugins
from gateway.config.tables import keyOf
from tests.effects.world import Gateway

# Fields of the configuration that are not keys of the file.
NO_KEYS = {"folder", "file", "services", "origins"}

# In a configuration, stands for the text with the key.
HERE = "@@"


@frozen
class Effect:
    """
    The effect of one key.

    @ivar key: its name in L{allKeys}.
    @ivar file: a configuration that contains L{HERE} once.
    @ivar seen: observes, from outside, a gateway that runs on the configuration.
    @ivar values: by the text that replaces L{HERE}: the expected observation. For a file that is refused, this is
        the list of the keys that the errors name.
    @ivar also: other keys that have to change with this one.
    """

    key: str
    file: str
    seen: Callable[[Gateway], object]
    values: dict[str, object]
    also: tuple[str, ...] = ()

    def text(self, value: str) -> str:
        """Return the configuration with this value."""
        assert self.file.count(HERE) == 1, self.file
        return self.file.replace(HERE, value)

    def changes(self) -> set[str]:
        """Return the keys in which the configurations differ."""
        first, *others = [tomllib.loads(self.text(value)) for value in self.values]
        return {key for other in others for key in _differences(first, other, None, "")}


def tables() -> dict[str, type]:
    """Return the types of all top-level tables, by name; those of services by kind."""
    resolve_types(Config)
    found = {each.kind: each.table for each in findPlugins() if type(each).__module__.startswith("gateway.")}
    for attribute in fields(Config):
        if attribute.name not in NO_KEYS and (table := _tableIn(attribute.type)):
            found[attribute.name] = table
    return found


def allKeys() -> dict[str, Any]:
    """
    Return the types of all keys, by dotted path; without the names that operators choose, such as component JIDs.
    """
    found: dict[str, Any] = {}
    for attribute in fields(resolve_types(Config)):
        if attribute.name not in NO_KEYS and _tableIn(attribute.type) is None:
            found[attribute.name] = attribute.type
    for name, table in tables().items():
        found.update(_keys(table, name))
    return found


def words(kind: Any) -> set[str]:
    """Return the words that a key of this type allows, if its type lists them; none for a table."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return set() if _tableIn(kind) else {word for each in get_args(kind) for word in words(each)}


def _keys(table: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for attribute in fields(resolve_types(table)):
        key = f"{prefix}.{keyOf(attribute.name)}"
        yield key, attribute.type
        if inner := _tableIn(attribute.type):
            yield from _keys(inner, key)


def _tableIn(kind: Any) -> type | None:
    """Return the type of the table that a key of this type contains, directly or as entries of a map."""
    if isinstance(kind, type) and has(kind):
        return kind
    return next((found for each in get_args(kind) if (found := _tableIn(each))), None)


def _isMap(kind: Any) -> bool:
    return any(get_origin(each) is dict for each in (kind, *get_args(kind)) if each is not NoneType)


def _differences(one: Any, other: Any, kind: Any, key: str) -> Iterator[str]:
    """
    Return the keys that differ.

    @param kind: the type of both; C{None} for the whole file.
    """
    if one == other:
        return
    table = None if kind is None else _tableIn(kind)
    if not isinstance(one, dict) or not isinstance(other, dict) or (kind is not None and table is None):
        yield key
        return
    for name in one.keys() | other.keys():
        inner: Any
        if kind is None:
            inner, path = tables().get(name), name
            # A service's table is one of several, by the component's name; so is a peer's.
            known = {each.name: each.type for each in fields(Config)}
            if inner is not None and (name not in known or _isMap(known[name])):
                inner = typing.cast(Any, dict)[str, inner]
        elif _isMap(kind):
            inner, path = table, key
        else:
            assert table is not None
            inner, path = {keyOf(each.name): each.type for each in fields(table)}.get(name), f"{key}.{name}"
        yield from _differences(one.get(name), other.get(name), inner or str, path)
