"""
The interface of stores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from zope.interface import Attribute, Interface

from gateway.reports import StatusItem

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

T = TypeVar("T")


class IStore(Interface):
    """
    Durable state of one service: tables that transactions read and write.

    An interaction is a function that gets a cursor (DB-API 2.0, with C{?} for parameters) and further arguments,
    and returns values. It may run in another thread, and a second time if the transaction that it shares with
    others has failed: so it does nothing but use the cursor, and neither begins nor ends a transaction. Its SQL is
    of the subset in docs/architecture.md. Interactions run in the order of the calls.

    A Deferred may be cancelled: then nothing is stored, unless the commit has begun. It fails with the exception of
    the interaction, or with L{gateway.errors.StoreFull}, L{gateway.errors.StoreBusy},
    L{gateway.errors.StoreBroken} or L{gateway.errors.TooManyPending}. Then nothing of the interaction is stored.
    """

    name: str = Attribute("The name of the store.")
    trouble: str = Attribute("The reason why it does not work, and a remedy; empty while it works.")

    def read(interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Call an interaction that does not write.

        @return: fires with its result.
        """

    def write(interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Like L{read}, for an interaction that may write. The Deferred fires after the commit. A commit that has
        begun has no deadline, but some databases end it seconds later. If the connection to the database is lost
        during a commit, the Deferred may fail with L{gateway.errors.StoreBroken} although the change is stored.
        """

    def writeAtOnce(interaction: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Like L{write}, but if the store has nothing to do, begin now, not at the end of the reactor turn. A caller
        that has collected its changes uses it: no later request of the turn shares their commit.
        """

    def atStart(interaction: Callable[..., T], *arguments: object) -> T:
        """
        Like L{write}, but block, and return the result. Only for use while a service is made, before any other
        request.
        """

    def report() -> StatusItem:
        """Return the state, for /status; it has one line."""

    def close() -> None:
        """End the store. Waiting requests fail and are not stored; later ones fail at once."""
