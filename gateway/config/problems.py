"""
The errors of a configuration: one line for each, with its key, the value found and the values allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from attrs import fields_dict, has
from cattrs import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from gateway.config.repairs import meant, repaired
from gateway.config.tables import EmbeddedTable, HttpTable, LogTable, ServerTable, StateTable, elided, keyOf
from gateway.config.values import Values, describe

T = TypeVar("T")


class Problems:
    """
    Structures values of a TOML document, and collects their errors.

    @ivar found: one line for each error.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self.found: list[str] = []

    def add(self, key: str, found: str, allowed: str, advice: str = "") -> None:
        """
        Add an error.

        @param advice: the remedy, if the allowed values do not show it.
        """
        self.found.append(f"{key}: found {found}; allowed: {allowed}{advice and '; '}{advice}")

    def structure(self, key: str, value: Any, kind: Callable[..., T]) -> T | None:
        """
        Return the value of a key as the type that it is declared with.

        @return: after an error C{None}; if only unknown keys of a table are wrong, the table without them.
        """
        try:
            structured: T = self._values.structure(value, kind)
        except Exception as error:
            self._explain(key, value, kind, error)
            return self._known(value, kind)
        return structured

    def _known(self, value: Any, kind: Callable[..., T]) -> T | None:
        """Return the table without unknown keys, to check its other values; C{None} if one of them is wrong too."""
        if not isinstance(value, dict) or not isinstance(kind, type) or not has(kind):
            return None
        known = {key: value[key] for key in value.keys() & set(map(keyOf, fields_dict(kind)))}
        try:
            structured: T = self._values.structure(known, kind)
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
        elif get_origin(kind) is dict and not isinstance(value, dict):
            self.add(key, shownUnlessSecret(key, value), describe(kind), f'write each entry as [{key}."NAME"]')
        elif not isinstance(error, ClassValidationError):
            self.add(key, shownUnlessSecret(key, value), describe(kind), self._advice(key, value, kind))
        elif not isinstance(value, dict):
            self.add(key, shown(value), "a table")
        else:
            self._explainTable(key, value, kind, error)

    def _explainEntries(self, key: str, value: Any, kind: Any, error: IterableValidationError) -> None:
        name, content = get_args(kind)
        for each, about in error.group_exceptions()[0]:
            path = f'{key}."{about.index}"'
            if about.type is content:
                self._explain(path, value[about.index], content, each)
            else:
                self.add(path, shown(about.index), describe(name), "correct or remove this entry")

    def _explainItems(self, key: str, value: list[Any], kind: Any) -> None:
        for each in value:
            try:
                self._values.structure(each, kind)
            except Exception:
                advice = self._advice(key, each, kind)
                self.add(key, f"{shown(each)} in the list", f"for each item: {describe(kind)}", advice)

    def _advice(self, key: str, value: Any, kind: Any) -> str:
        """Return the value that was probably meant, as advice; empty if none is found."""
        right = repaired(value, kind, partial(self._values.structure, kind=kind))
        if right is None:
            return ""
        return "write it in quotes" if isSecret(key) else f"did you mean {shown(right)}?"

    def _explainTable(self, key: str, value: dict[str, Any], kind: Any, error: ClassValidationError) -> None:
        fields = fields_dict(kind)
        noted, others = error.group_exceptions()
        for each, note in noted:
            field = fields[note.name]
            name = keyOf(note.name)
            path = f"{key}.{name}"
            if isinstance(each, KeyError) and name not in value:
                self.add(path, "nothing", describe(field.type), f"add it to [{key}]")
            else:
                self._explain(path, value.get(name), field.type, each)
        for each in others:
            if isinstance(each, ForbiddenExtraKeysError):
                for extra in sorted(each.extra_fields):
                    names = list(map(keyOf, fields))
                    advice = _unquoted(f"{key}.{extra}", value[extra]) or _place(extra, names)
                    self.add(f"{key}.{extra}", "an unknown key", f"one of {', '.join(names)}", advice)
            else:
                self.add(key, shown(value), "a table")


def shownUnlessSecret(key: str, value: Any) -> str:
    """Return the value of a key for an error message, unless it may be a secret."""
    # A secret that is written below [proxy] by mistake looks like the name of a service: do not show it either.
    return "a value that is not shown" if isSecret(key) else shown(value)


def isSecret(key: str) -> bool:
    """True if the value of this key may be a secret."""
    return key.rstrip('"').endswith("secret") or key in ("state", "state.url")


def _unquoted(key: str, value: Any) -> str:
    """Return a hint if a table's name may lack its quotes: without them TOML reads each dot as a nested table."""
    while isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        [(name, value)] = value.items()
        key += f".{name}"
    kind, _, name = key.replace('"', "").partition(".")
    return f'quote a name that contains dots: [{kind}."{name}"]' if isinstance(value, dict) else ""


def _place(key: str, names: list[str]) -> str:
    """Return the name that was probably meant instead of an unknown key, or the place where the key belongs."""
    if key == "state_dir":
        return "state_dir belongs at the top of the file, above the first [table]"
    tables = {
        "server": ServerTable,
        "state": StateTable,
        "http": HttpTable,
        "log": LogTable,
        "embedded": EmbeddedTable,
    }
    for table, kind in tables.items():
        if key in fields_dict(kind):
            return f"{key} is a key of [{table}]"
    return meant(key, names)


def shown(value: Any) -> str:
    """Return a value as TOML spells it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        text = f"[{', '.join(map(shown, value[:20]))}]"
    else:
        text = f'"{elided(value)}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
