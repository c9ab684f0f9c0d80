"""Choices of a room's owners (XEP-0045 section 10.2): a field of the form, and a feature of disco#info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from gateway.errors import NotAcceptable
from gateway.muc.room import Settings

BOOLEANS: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}
# Characters of a name or a password.
MAX_TEXT = 1_000


_NO_LABELS: Mapping[str, str] = {}


@frozen
class Option:
    """
    One field of the configuration form.

    @ivar var: name of the field.
    @ivar setting: attribute of L{Settings}.
    @ivar kind: type of the field.
    @ivar features: feature of disco#info if the setting is true, and if it is false (section 15.3); empty for none.
    @ivar label: as section 10.1.3 has it, if the field is the specification's.
    @ivar values: the allowed values of the field, each with the value of the attribute; C{None} for any text.
    @ivar labels: labels of these values; a value without one is its own label.
    """

    var: str
    setting: str
    kind: str
    label: str
    features: tuple[str, str] = ("", "")
    values: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = _NO_LABELS

    def value(self, settings: Settings) -> str:
        """Return the current value of the field."""
        value = getattr(settings, self.setting)
        if self.values is None:
            return str(value)
        return str(int(value)) if self.kind == "boolean" else next(k for k, v in self.values.items() if v == value)

    def current(self, settings: Settings) -> tuple[str, ...]:
        """Return all current values of the field."""
        return (self.value(settings),)

    def readAll(self, settings: Settings, values: tuple[str, ...]) -> Settings:
        """As L{read}, with all values of the field; without one, nothing changes."""
        return self.read(settings, values[0]) if values else settings

    def read(self, settings: Settings, value: str) -> Settings:
        """
        Return settings with a submitted value.

        @raise NotAcceptable: if the value is not allowed (section 10.2).
        """
        if len(value) > MAX_TEXT or (self.values is not None and value not in self.values):
            raise NotAcceptable
        found: Any = value if self.values is None else self.values[value]
        return evolve(settings, **{self.setting: found})

    def feature(self, settings: Settings) -> str:
        """Return the feature of disco#info; empty for none."""
        return self.features[0 if getattr(settings, self.setting) else 1]


def boolean(var: str, setting: str, label: str, features: tuple[str, str] = ("", "")) -> Option:
    """Return an option that is on or off."""
    return Option(var, setting, "boolean", label, features, BOOLEANS)
