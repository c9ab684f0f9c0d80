"""Old names of public classes."""

from __future__ import annotations

from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway import errors, guide, interfaces

# Old names and new ones.
INTERFACES = {
    "IChecked": "IConfigCheck",
    "IComposition": "IServiceBuilder",
    "IDemonstration": "ITourStop",
    "INoted": "IServerRequirements",
    "IReporting": "IStatusProvider",
    "ISurroundings": "IServiceEnvironment",
    "IWarned": "IConfigWarnings",
}
ERRORS = {
    "NickIsKept": "NickChangeForbidden",
    "NotThere": "RecipientUnavailable",
    "TooMuch": "ResourceLimit",
    "Unhandled": "NoHandler",
    "Unreadable": "BadRequest",
}
RENAMED: dict[ModuleType, dict[str, str]] = {
    interfaces: INTERFACES,
    errors: ERRORS,
    guide: {"Disappointed": "TourFailed"},
}


class DeprecatedTests(SynchronousTestCase):
    """Names of the release before."""

    def test_names(self) -> None:
        """Each old name is the same object as the new one, with a warning that names the new one."""
        for module, names in RENAMED.items():
            for old, new in names.items():
                self.assertIs(getattr(module, old), getattr(module, new))
                [warning] = self.flushWarnings([self.test_names])
                self.assertEqual(warning["category"], DeprecationWarning)
                self.assertEqual(warning["message"], f"{module.__name__}.{old} is deprecated; use {new}")

    def test_import(self) -> None:
        """An import by an old name works; a plugin with it provides the new interface."""
        from gateway.interfaces import IChecked  # type: ignore[attr-defined]  # only at run time

        self.assertEqual(len(self.flushWarnings([self.test_import])), 1)
        provider = implementer(IChecked)(type("Plugin", (), {}))()
        self.assertTrue(interfaces.IConfigCheck.providedBy(provider))

    def test_unknown(self) -> None:
        """Another name is an AttributeError, as usual; new names warn of nothing."""
        for module, names in RENAMED.items():
            self.assertFalse(hasattr(module, "IUnknown"))
            for new in names.values():
                getattr(module, new)
        self.assertEqual(self.flushWarnings(), [])
