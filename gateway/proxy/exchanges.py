"""
What is open: requests that were handed on and have no answer yet.
"""

from __future__ import annotations

from attrs import frozen

from gateway.proxy.actions import Relay
from gateway.proxy.correspondents import Correspondent
from gateway.proxy.pool import Resource
from gateway.stream.stanzas import Stanza


class Exchange:
    """
    A request that was handed to a resource.

    @ivar copies: how many more were sent with the same id between the same addresses, each to be answered.
    @ivar kept: the request, if it may be tried a second time.
    """

    __slots__ = ("correspondent", "resource", "deadline", "copies", "kept")

    def __init__(
        self, correspondent: Correspondent, resource: Resource, deadline: float, kept: Stanza | None
    ) -> None:
        self.correspondent = correspondent
        self.resource = resource
        self.deadline = deadline
        self.copies = 0
        self.kept = kept


@frozen
class OpenExchange:
    """
    An exchange as it outlives the process.

    @ivar deadline: in seconds, on a clock that goes on.
    """

    requester: str
    address: str
    id: str
    resource: str
    deadline: float
    copies: int


@frozen
class Outbound:
    """A request that the implementing client started."""

    back: Relay
    deadline: float
