"""Values of the reliable channel between two nodes (docs/fmuc-resync.md)."""

from __future__ import annotations

from enum import Enum

from attrs import define, frozen

# Maximum time in seconds for which a joining node stays without users.
MAX_KEEP = 3_600


class ChannelState(Enum):
    """State of a channel, as one of its two nodes sees it."""

    OPEN = "stanzas are sent when they are stored"
    LOST = "stanzas are kept; an exchange of numbers opens the channel again"


@frozen
class Header:
    """
    The element C{r} of a stanza, or C{f} of an error.

    @ivar epoch: the epoch of both numbers.
    @ivar number: number of the stanza; C{None} for an acknowledgement alone.
    @ivar received: number up to which the sender has received and stored everything.
    """

    epoch: int
    number: int | None
    received: int


@frozen
class Position:
    """
    A place between the stanzas of one node.

    @ivar epoch: the epoch of the number.
    @ivar number: number of the last stanza before it.
    """

    epoch: int
    number: int


@frozen
class Report:
    """
    The element C{probe} or C{resume}: the numbers of one node, in a request or its answer.

    @ivar epoch: 0 if the node has none.
    @ivar sent: the highest number that the node may have sent.
    @ivar received: as in L{Header}.
    @ivar isResume: True in an exchange by which a node that could neither send nor receive opens the channel.
    @ivar upTo: number of the last stanza that the node has kept, in such an exchange.
    """

    epoch: int
    sent: int
    received: int
    isResume: bool
    upTo: int = 0


@frozen(kw_only=True)
class Pace:
    """
    The times of a channel, in seconds, and its limits. The defaults are those of a fast link.

    @ivar ackDelay: wait before an acknowledgement is sent alone.
    @ivar first: wait for an acknowledgement while no round trip was measured.
    @ivar least: minimum wait for an acknowledgement.
    @ivar most: maximum wait, and the interval of attempts while the channel is lost.
    @ivar silence: after it, a node that is asked to watch the channel sends a probe.
    @ivar attempts: requests without an answer after which the channel is lost.
    @ivar window: maximum number of stanzas on their way; not more than C{accepted}.
    @ivar accepted: the same for the other node. It is a constant of the protocol.
    @ivar held: maximum number of bytes of stanzas that wait for earlier ones.
    @ivar stanzas: maximum number of stanzas in the outbox.
    @ivar bytes: their maximum size.
    @ivar age: time that the oldest of them may have waited before further ones are refused.
    """

    ackDelay: float = 2.0
    first: float = 5.0
    least: float = 4.5
    most: float = 30.0
    silence: float = 60.0
    attempts: int = 3
    window: int = 64
    accepted: int = 64
    held: int = 1024 * 1024
    stanzas: int = 1_000
    bytes: int = 1024 * 1024
    age: float = 86_400.0


@define
class Tally:
    """
    Counts of the channels of a service.

    @ivar repeated: stanzas that were sent again.
    @ivar full: stanzas that were refused because an outbox was full.
    @ivar size: bytes of memory of all outboxes, as of the last second.
    """

    repeated: int = 0
    full: int = 0
    size: int = 0


@frozen
class Mark:
    """The point of a channel up to which its records were taken."""

    epoch: int
    assigned: int
    received: int


# Output of a channel.


@frozen
class SendStanza:
    """Send a stanza of the outbox, with a header; the header alone if the stanza was withdrawn and is empty."""

    header: Header
    stanza: bytes


@frozen
class SendAck:
    """Send a header alone."""

    header: Header


@frozen
class Ask:
    """Send a report as a request; L{gateway.fmuc.channel.core.Channel.answered} gets the answer."""

    id: str
    report: Report


@frozen
class Opened:
    """The channel is open."""


@frozen
class Delivered:
    """
    Everything that both nodes had kept when the channel opened was delivered: the rooms can be compared.

    @ivar seconds: time since the request that has opened it.
    """

    seconds: float


@frozen
class Lost:
    """The channel is lost: the other node does not answer."""


@frozen
class Renewed:
    """
    A new epoch has begun, because one of the nodes has lost its state: what was acknowledged may be missing there,
    and what was not acknowledged is sent again.
    """


Output = SendStanza | SendAck | Ask | Opened | Delivered | Lost | Renewed
