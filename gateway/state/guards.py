"""
Conditions for the changes of a store, for processes that share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class Guard:
    """
    A row in another store of the same database; without it a store is not changed.

    Nobody can remove the row, or change a unique value of it, between a change and its commit. So a process whose
    row was taken away can change nothing, however late its transaction begins, and whatever its clock says.

    @ivar holder: the process whose row it is, so that another one can end its sessions.
    @ivar store: the name of the other store.
    @ivar values: the values of the row, by column.
    @ivar reason: for the operator, why a change was refused.
    """

    holder: str
    store: str
    table: str
    values: Mapping[str, str]
    reason: str


class Locks:
    """
    The sessions that keep the rows of guards, because they have changes that are not committed. There are none in a
    database that one process uses.
    """

    def endSessions(self, cursor: Any, holder: str) -> None:
        """
        End all sessions with stores that are guarded for a process. Their transactions are not stored.

        @param cursor: of the same database.
        """

    def isFree(self, cursor: Any, guard: Guard) -> bool:
        """
        True if the row of a guard is there and no session keeps it. Then it is kept for the cursor's transaction,
        which can change it without a wait.
        """
        return True
