"""Old names of public classes and of modules."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import gateway
from gateway import config, errors, interfaces
from gateway.addresses import jids
from gateway.composition import reader
from gateway.http import site
from gateway.tour import guide

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
MOVED = {
    "gateway.database": "gateway.state.database",
    "gateway.faults": "gateway.state.faults",
    "gateway.files": "gateway.state.files",
    "gateway.guide": "gateway.tour.guide",
    "gateway.jids": "gateway.addresses.jids",
    "gateway.listener": "gateway.http.listener",
    "gateway.monitor": "gateway.http",
    "gateway.monitor.access": "gateway.http.access",
    "gateway.monitor.health": "gateway.http.health",
    "gateway.monitor.site": "gateway.http.site",
    "gateway.monitor.status": "gateway.http.status",
    "gateway.printable": "gateway.log.printable",
    "gateway.seldom": "gateway.log.seldom",
    "gateway.stringprep": "gateway.addresses.stringprep",
    "gateway.tables": "gateway.config.tables",
    "gateway.values": "gateway.config.values",
    "gateway.web": "gateway.http.agent",
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


class MovedTests(SynchronousTestCase):
    """Modules by the names of the release before."""

    def setUp(self) -> None:
        """Forget imports by old names."""
        self.forget()
        self.addCleanup(self.forget)

    def forget(self) -> None:
        for old in MOVED:
            sys.modules.pop(old, None)
            if old.count(".") == 1:
                vars(gateway).pop(old.removeprefix("gateway."), None)

    def test_modules(self) -> None:
        """Each old name is the same module as the new one, with a warning that names both."""
        for old, new in MOVED.items():
            module = import_module(new)
            self.assertIs(import_module(old), module)
            warning = self.flushWarnings()[-1]
            self.assertEqual(warning["category"], DeprecationWarning)
            self.assertEqual(warning["message"], f"{old} is deprecated; use {new}")
            # The module itself does not change.
            self.assertEqual((module.__name__, module.__spec__ and module.__spec__.name), (new, new))

    def test_statements(self) -> None:
        """Each form of import works, and the warning is at the importing line."""
        scope: dict[str, object] = {}
        for statement in (
            "from gateway import jids",
            "from gateway.tables import ComponentTable",
            "import gateway.monitor.site as site",
        ):
            exec(compile(statement, f"<{statement}>", "exec"), scope)  # noqa: S102  # the statements above
            self.assertEqual({each["filename"] for each in self.flushWarnings()}, {f"<{statement}>"})
        self.assertIs(scope["jids"], jids)
        self.assertIs(scope["ComponentTable"], config.ComponentTable)
        self.assertIs(scope["site"], site)

    def test_unknown(self) -> None:
        """A name that no module had is an ImportError, as usual; so is one in a package that moved."""
        for name in ("gateway.unknown", "gateway.monitor.unknown", "gateway.http.unknown"):
            self.assertRaises(ModuleNotFoundError, import_module, name)

    def test_config(self) -> None:
        """The package of the configuration has the names of the module that it was, with a warning."""
        for name in ("Config", "Service", "load", "readSecret"):
            self.assertIs(getattr(config, name), getattr(reader, name))
            [warning] = self.flushWarnings()
            message = f"gateway.config.{name} is deprecated; use gateway.composition.reader.{name}"
            self.assertEqual((warning["category"], warning["message"]), (DeprecationWarning, message))
