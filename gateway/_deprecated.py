"""
Old names of public classes, which stay available for one release.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """
    Return the C{__getattr__} of a module (PEP 562) that has classes by their old names as well, with a warning.

    @param module: the module's name.
    @param names: new names by old names.
    """

    def getByOldName(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = f"{module}.{name} is deprecated; use {names[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        found: object = getattr(sys.modules[module], names[name])
        return found

    return getByOldName
