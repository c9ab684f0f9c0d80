"""
Old names of public classes and of modules, which stay available for one release.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# New names of modules by old names.
_MOVED = {
    "gateway.builder": "gateway.composition.builder",
    "gateway.checks": "gateway.composition.checks",
    "gateway.database": "gateway.state.database",
    "gateway.faults": "gateway.state.faults",
    "gateway.files": "gateway.state.files",
    "gateway.guide": "gateway.tour.guide",
    "gateway.jids": "gateway.addresses.jids",
    "gateway.listener": "gateway.http.listener",
    "gateway.monitor": "gateway.http",
    "gateway.printable": "gateway.log.printable",
    "gateway.seldom": "gateway.log.seldom",
    "gateway.service": "gateway.composition.service",
    "gateway.stringprep": "gateway.addresses.stringprep",
    "gateway.tables": "gateway.config.tables",
    "gateway.values": "gateway.config.values",
    "gateway.web": "gateway.http.agent",
}


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """
    Return a C{__getattr__} for a module (PEP 562): it finds classes and functions by their old names, and warns.

    @param module: the module's name.
    @param names: new names by old names; with the module, if that is another one.
    """

    def getByOldName(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # An import from a package looks a name up twice. The first caller is importlib: do not warn there.
        if sys._getframe(1).f_globals.get("__name__") != "importlib._bootstrap":
            message = f"{module}.{name} is deprecated; use {names[name]}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        place, _, new = names[name].rpartition(".")
        found: object = getattr(import_module(place or module), new)
        return found

    return getByOldName


class MovedModules(MetaPathFinder, Loader):
    """
    Imports modules by their old names as well, with a warning, as the same module objects.

    It precedes Python's own finders, which would load a module of a moved package a second time.

    @param moved: new names by old names. Modules of a moved package need no entries of their own.
    """

    def __init__(self, moved: Mapping[str, str]) -> None:
        self._moved = moved

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if self._newName(fullname) is None else ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the moved module into the place of the new, empty one."""
        old = module.__name__
        new = self._newName(old)
        assert new is not None
        warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)

    def _newName(self, name: str) -> str | None:
        package, _, module = name.rpartition(".")
        return self._moved.get(name) or (f"{self._moved[package]}.{module}" if package in self._moved else None)


def install() -> None:
    """Make the old names of modules importable."""
    sys.meta_path.insert(0, MovedModules(_MOVED))
