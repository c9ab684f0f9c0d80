"""
Open exchanges in the tables that the gateways of one component share.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Entry:
    """
    One open exchange: one request that is owed an answer.

    @ivar number: differs from those of all other exchanges.
    @ivar sender: the sender of the answer that is expected: a resource of the target, or a user.
    @ivar recipient: its recipient.
    @ivar backFrom: the sender of that answer when it is delivered.
    @ivar backTo: the recipient of that answer when it is delivered.
    @ivar deadline: seconds since 1970 UTC.
    @ivar isOutbound: true if the implementing client has started it.
    """

    number: int
    sender: str
    recipient: str
    id: str
    backFrom: str
    backTo: str
    deadline: float
    isOutbound: bool = field(default=False, converter=bool)
