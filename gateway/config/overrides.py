"""
Keys that hold secrets, from the environment of the process in place of the configuration file: variables, and the
credentials of systemd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from attrs import Attribute, fields, frozen, resolve_types

from gateway.config.repairs import isLike, meant
from gateway.config.tables import (
    SECRET_ENDINGS,
    DatabaseUrl,
    EmbeddedTable,
    Filename,
    HttpTable,
    PeerTable,
    ServerTable,
    StateTable,
    Url,
    keyOf,
)
from gateway.state import files

_PREFIX = "GATEWAY_"
_SEPARATOR = "__"
# Names of variables have these characters only.
_OTHERS = re.compile(r"[^A-Z0-9]")
_FILE = "_file"
_TEXTS = {str, Filename, Url, DatabaseUrl}
# Tables without a name of their own; all others have one: [peers."mirror.example.net"].
_SINGLE = {"server": ServerTable, "state": StateTable, "http": HttpTable, "embedded": EmbeddedTable}
_VARIABLES = f"{_PREFIX}TABLE{_SEPARATOR}KEY, for a key with a secret, or with its file, in a table of the file"
_CREDENTIALS = "TABLE.KEY, for a key with a secret, or with its file, in a table of the file"

# As L{gateway.config.problems.Problems.add}.
_Add = Callable[..., None]


@frozen
class _Key:
    """
    A key that can be set from outside of the file.

    @ivar table: the path of its table, such as C{("proxy", "proxy.example.com")}.
    """

    table: tuple[str, ...]
    name: str

    def __str__(self) -> str:
        kind, *names = self.table
        return ".".join([kind, *(f'"{each}"' for each in names), self.name])

    @property
    def isFile(self) -> bool:
        return self.name.endswith(_FILE)

    @property
    def twin(self) -> _Key:
        """The key that holds the same secret in the other way: C{secret_file} for C{secret}."""
        return _Key(self.table, self.name.removesuffix(_FILE) if self.isFile else self.name + _FILE)

    @property
    def variable(self) -> str:
        parts = (*self.table, self.name)
        return _PREFIX + _SEPARATOR.join(_OTHERS.sub("_", part.upper()) for part in parts)

    @property
    def credential(self) -> str:
        return ".".join((*self.table, self.name.removesuffix(_FILE)))


class Overrides:
    """
    Puts values from the environment into a document.

    @ivar origins: where the values are from, by their keys.
    @param named: the types of the tables with names, by kind.
    @param add: adds a problem.
    """

    def __init__(self, document: dict[str, Any], named: Mapping[str, Any], add: _Add) -> None:
        self.origins: dict[str, str] = {}
        self._document = document
        self._kinds = {**_SINGLE, "peers": PeerTable, **named}
        self._add = add
        # A credential is a file, so a key that names one comes first.
        self._keys = sorted(self._found(_secretsIn), key=lambda key: not key.isFile)

    def apply(self, environment: Mapping[str, str]) -> None:
        """Apply variables, then the credentials of keys that no variable sets."""
        byVariable: dict[str, list[_Key]] = {}
        for key in self._keys:
            byVariable.setdefault(key.variable, []).append(key)
        for name in sorted(environment):
            if name in byVariable:
                [key, *others] = byVariable[name]
                if others:
                    self._add(name, f"a name of {key} and of {others[0]}", "a name of one key", "use a credential")
                else:
                    self._put(key, environment[name], name)
            elif _isOwn(name, byVariable):
                self._add(name, "an unknown name", _VARIABLES, self._advice(name, byVariable))
        if folder := environment.get("CREDENTIALS_DIRECTORY"):
            self._applyCredentials(Path(folder))

    def explained(self, problem: str) -> str:
        """Return a problem with the origin of the value, if that is not the file."""
        key = problem.partition(": ")[0]
        return f"{problem}; the value is from {self.origins[key]}" if key in self.origins else problem

    def _found(self, keysOf: Callable[[Any], Iterable[str]]) -> Iterator[_Key]:
        """Yield keys of all tables in the document."""
        for kind, table in self._kinds.items():
            content = self._document.get(kind)
            if not isinstance(content, dict):
                continue
            named = [(kind, name) for name, inner in content.items() if isinstance(inner, dict)]
            for path in [(kind,)] if kind in _SINGLE else named:
                yield from (_Key(path, key) for key in keysOf(table))

    def _put(self, key: _Key, value: str, origin: str) -> None:
        table = self._document
        for name in key.table:
            table = table[name]
        # Of two variables for one secret, the reader reports both.
        if str(key.twin) not in self.origins and key.twin in self._keys:
            table.pop(key.twin.name, None)
        table[key.name] = value
        self.origins[str(key)] = origin

    def _applyCredentials(self, folder: Path) -> None:
        byName: dict[str, _Key] = {}
        for key in self._keys:
            byName.setdefault(key.credential, key)
        try:
            found = sorted(each.name for each in folder.iterdir())
        except OSError as error:
            self._add("CREDENTIALS_DIRECTORY", f"{folder}: {error.strerror}", "a readable folder")
            return
        for name in found:
            if name in byName:
                key = byName[name]
                if not {str(key), str(key.twin)} & self.origins.keys():
                    self._put(key, self._credential(key, folder / name), f"the credential {name}")
            elif name.partition(".")[0] in self._kinds and "." in name:
                self._add(f"the credential {name}", "an unknown name", _CREDENTIALS, self._advice(name, byName))

    def _credential(self, key: _Key, path: Path) -> str:
        if key.isFile:
            return str(path)
        try:
            return files.readLine(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._add(f"the credential {path.name}", f"{path}: {reason}", "a readable file with one line")
            return "unreadable"

    def _advice(self, name: str, names: Mapping[str, object]) -> str:
        """Return what to do about an unknown name."""
        kind = re.split(r"\.|__", name.removeprefix(_PREFIX))[0].lower()
        if kind in _SINGLE and kind not in self._document:
            return f"add [{kind}] to the file"
        for key in self._found(_keysIn):
            if name in (key.variable, key.credential):
                return f"write {key.name} in the file: it is no secret"
        return meant(name, names) or "remove it, or write the key in the file"


def _isOwn(name: str, names: Iterable[str]) -> bool:
    """True if a variable is one of ours, also if it is spelled with one underscore in place of two."""
    return name.startswith(_PREFIX) and (_SEPARATOR in name or any(isLike(name, each) for each in names))


def _keysIn(table: Any) -> list[str]:
    return [keyOf(each.name) for each in fields(table)]


def _secretsIn(table: Any) -> Iterator[str]:
    """Yield the keys of a table that are a text with a secret, or the name of a file with one."""
    for each in fields(resolve_types(table)):
        if {each.type, *get_args(each.type)} & _TEXTS and _isSecret(each):
            yield keyOf(each.name)


def _isSecret(attribute: Attribute[Any]) -> bool:
    return attribute.repr is False or keyOf(attribute.name).endswith((*SECRET_ENDINGS, _FILE))
