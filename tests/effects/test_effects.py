"""The table of effects is complete, and each of its rows holds."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.config.tables import ConfigError
from tests.effects import connections, delegation, embedded, fmuc, log, peers, proxy, roster
from tests.effects.effect import Effect, allKeys, tables, words
from tests.effects.world import Gateway

MODULES = (connections, log, embedded, proxy, delegation, roster, fmuc, peers)
EFFECTS: tuple[Effect, ...] = tuple(effect for module in MODULES for effect in module.EFFECTS)


class CompleteTests(SynchronousTestCase):
    """The table of effects has all keys, and each row is about its key."""

    def test_everyKey(self) -> None:
        """Each key has a row. A new key needs a new row, in the module of its table."""
        self.assertEqual(set(allKeys()) - {effect.key for effect in EFFECTS}, set())

    def test_noOther(self) -> None:
        """Each row is about a key that exists."""
        self.assertEqual({effect.key for effect in EFFECTS} - set(allKeys()), set())

    def test_everyKind(self) -> None:
        """The keys that all services share are tried with each kind of service."""
        others = {"state", "server", "embedded", "http", "log", "peers"}
        self.assertEqual(set(connections.MINIMAL), set(tables()) - others)

    def test_twoValues(self) -> None:
        """The configurations of a row differ in its key alone, and so do the observations."""
        for effect in EFFECTS:
            with self.subTest(effect.key):
                self.assertEqual(effect.changes(), {effect.key, *effect.also})
                self.assertGreater(len({repr(seen) for seen in effect.values.values()}), 1)

    def test_everyWord(self) -> None:
        """If a key allows only certain words, each of them is tried."""
        for key, kind in allKeys().items():
            tried = " ".join(value for effect in EFFECTS if effect.key == key for value in effect.values)
            with self.subTest(key):
                self.assertEqual({word for word in words(kind) if f'"{word}"' not in tried}, set())


class EffectTests(SynchronousTestCase):
    """Each observation is the expected one."""

    maxDiff = None

    def gateway(self, text: str) -> Gateway:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        gateway = Gateway(folder, text)
        self.addCleanup(gateway.stop)
        return gateway

    def check(self, effect: Effect) -> None:
        # The embedded host announces itself.
        self.patch(sys, "stdout", io.StringIO())
        for value, expected in effect.values.items():
            try:
                seen = effect.seen(self.gateway(effect.text(value)))
            except ConfigError as error:
                seen = [problem.partition(":")[0] for problem in error.problems]
            self.assertEqual(seen, expected, f"{effect.key}: {value}")


def _addTests() -> None:
    """Make a test of each row, so that a failing row is named and does not stop the others."""
    for number, effect in enumerate(EFFECTS):

        def test(self: EffectTests, effect: Effect = effect) -> None:
            self.check(effect)

        test.__doc__ = f"C{{{effect.key}}}."
        setattr(EffectTests, f"test_{number:03}_{effect.key.replace('.', '_')}", test)


_addTests()
