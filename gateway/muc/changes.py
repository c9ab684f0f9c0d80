"""Marks of what has changed in a room since its records were taken last."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from gateway.errors import GatewayError


class Tracked(dict[str, str]):
    """
    A table that remembers the keys whose values have changed. Reading it costs the same as a dict.

    @ivar changed: these keys; the values mean nothing.
    """

    __slots__ = ("changed",)

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, None] = {}

    def __setitem__(self, key: str, value: str) -> None:
        self.changed[key] = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.changed[key] = None
        super().__delitem__(key)

    # The table is used with a default only.
    def pop(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]  # see above
        """Remove a key and return its value."""
        if key in self:
            self.changed[key] = None
        return super().pop(key, default)

    def clear(self) -> None:
        """Remove all keys."""
        self.changed.update(dict.fromkeys(self))
        super().clear()


@define
class Changes:
    """
    The state of one room as its records have it.

    @ivar nicks: occupants who have come, changed or gone; the values mean nothing.
    @ivar nodes: True if a joining node has come, changed or gone.
    @ivar head: settings, subject, vCard, whether the room is locked, and the begin of the history; C{None} if there
        is no record of the room.
    @ivar messages: number of messages of the history that were recorded.
    @ivar recordedNodes: records of the joining nodes, by JID.
    """

    nicks: dict[str, None] = field(factory=dict)
    nodes: bool = False
    head: tuple[object, ...] | None = None
    messages: int = 0
    recordedNodes: Mapping[str, str] = field(factory=dict)


@define
class Durability:
    """
    Durability of the rooms of one service.

    @ivar isOn: True if the rooms are stored.
    @ivar hasArchive: True if the archives have the messages of the history, so that these need no records.
    @ivar refuses: True if changes that cannot be stored are refused. A mirror refuses nothing: the room decides.
    @ivar fault: the reason why nothing can be stored now; C{None} while the store works.
    """

    isOn: bool = False
    hasArchive: bool = False
    refuses: bool = True
    fault: type[GatewayError] | None = None

    def check(self) -> None:
        """
        Refuse a change that would have to be stored before anybody is told.

        @raise GatewayError: if nothing can be stored now.
        """
        if self.isOn and self.refuses and self.fault is not None:
            raise self.fault
