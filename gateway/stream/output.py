"""The output of a link: to the server, by a direct link, or into the outbox while there is no connection."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.reports import StatusItem
from gateway.stream.component import ComponentProtocol
from gateway.stream.core import Limits
from gateway.stream.lease import Lease
from gateway.stream.outbox import Outbox
from gateway.stream.outflow import Copies
from gateway.stream.refusals import Refusals
from gateway.stream.trace import Tracer


class Detour(typing.Protocol):
    """Another way for some of the stanzas of a component."""

    def send(self, data: bytes) -> bool | None:
        """Take serialised stanzas. Return C{None} if they go to the server; otherwise, true if there was room."""

    def flowsSince(self, domain: str) -> float:
        """
        Return the seconds on the reactor's clock since which stanzas to a domain have not waited for a connection;
        infinite if they wait now, negative infinity if they do not go this way.
        """

    def report(self) -> Iterator[StatusItem]:
        """For C{/status}."""


class Output:
    """
    Output of one component. L{gateway.stream.link.Link} connects it.

    @ivar jid: the component's JID.
    @ivar limits: limits of a stanza, in both directions.
    @ivar lease: nothing is handled and no connection is made when it is over, and nothing is sent soon after.
    @ivar now: seconds on the link's clock, which is monotonic, as of the last chunk or tick.
    @ivar ready: true if stanzas flow.
    @ivar outbox: the stanzas that wait for the connection.
    @ivar lost: number of stanzas that could not be sent, by reason: C{late} or C{full}.
    @ivar refusals: stanzas that the stream refused.
    @ivar detour: takes stanzas that do not go to the server; C{None} for none. Stanzas to many recipients
        (L{sendCopies}) always go to the server.
    """

    refusals: Refusals

    _log = Logger()

    def __init__(self, reactor: IReactorTime, jid: str, limits: Limits, lease: Lease) -> None:
        self._reactor = reactor
        self.jid = jid
        self.limits = limits
        self.lease = lease
        self.now = reactor.seconds()
        self.ready = False
        self.outbox = Outbox()
        self.lost: Counter[str] = Counter()
        self._reportedFull = 0
        self.detour: Detour | None = None
        self._protocol: ComponentProtocol | None = None
        self._write: Callable[[bytes], bool] | None = None
        self._tracer: Tracer | None = None

    def sendRaw(self, data: bytes) -> bool:
        """
        Send serialised stanzas; while the link is down they wait, bounded in number, size and time.

        A stanza over the server's limit would end the stream. It is refused as if the recipient had done so; if it
        is an answer, the recipient gets an error in its place.

        @return: true if there was room.
        """
        if len(data) > self.limits.outgoingSize:
            return self.refusals.outgoing(data, self.limits)
        write = self._write
        if self.detour is not None:
            return self.sendAll(data)
        # As sendAll, without the call: all stanzas of a proxy pass here.
        return (write is not None and write(data)) or self.sendAll(data)

    def sendAll(self, data: bytes) -> bool:
        """Send serialised stanzas of any size."""
        if self.detour is not None and not self._isSilent():
            taken = self.detour.send(data)
            if taken is not None:
                if self._tracer is not None:
                    self._tracer.sent(data)
                return taken or self._drop()
        return self.sendToServer(data)

    def sendToServer(self, data: bytes) -> bool:
        """Send serialised stanzas of any size to the server, whoever they are for."""
        write = self._write
        if write(data) if write is not None else self.outbox.put(data, self.now):
            return True
        return self._drop()

    def flowsSince(self, domain: str) -> float:
        """Return since when stanzas to a domain have not waited for a direct link, as L{Detour.flowsSince}."""
        return -inf if self.detour is None else self.detour.flowsSince(domain)

    def sendSeveral(self, stanzas: Sequence[bytes]) -> None:
        """Send at least one stanza; many small ones are sent as one."""
        isPlain = self._write is not None and self._tracer is None
        if isPlain and max(map(len, stanzas)) <= self.limits.outgoingSize:
            self.sendAll(b"".join(stanzas))
        else:
            for each in stanzas:
                self.sendRaw(each)

    def together(self, act: Callable[[], object]) -> None:
        """Call a function that sends many stanzas, and write them at once."""
        if self._protocol is None:
            act()
        else:
            self._protocol.together(act)

    def sendCopies(self, copies: Copies) -> bool:
        """Send one stanza to many recipients. It is kept once, not once for each. Otherwise as L{sendRaw}."""
        # All of them together are rarely larger than one may be, so that their sizes need not be compared.
        most = self.limits.outgoingSize
        if copies.size > most and copies.largest > most:
            return not [n for n in range(len(copies.recipients)) if not self.sendRaw(copies.written(n, n + 1))]
        protocol = self._protocol
        if self._write is not None and protocol is not None and not self._isSilent():
            if self._tracer is not None:
                self._tracer.sent(copies.written(0, 1), len(copies.recipients) - 1)
            return protocol.writeCopies(copies) or self._drop()
        return self.sendAll(copies.written())

    def _drop(self) -> bool:
        if self.lost["full"] == self._reportedFull:
            self._log.warn(
                "{component}: too much output waits for {what}; stanzas are dropped until some of it is sent.",
                event="link.output_full",
                component=self.jid,
                what="the server to read" if self.ready else "the link to come back",
            )
        self.lost["full"] += 1
        return False

    def _reportDropped(self, late: int) -> None:
        full = self.lost["full"] - self._reportedFull
        if late or (full and self.ready):
            self.lost["late"] += late
            self._log.warn(
                "{component}: {late} stanzas waited too long for the link and were dropped; "
                "{full} were dropped because the queue was full.",
                event="link.output_dropped",
                component=self.jid,
                late=late,
                full=full,
            )
            self._reportedFull += full

    @property
    def isCongested(self) -> bool:
        """True if much output waits, so that work that can wait should wait."""
        protocol = self._protocol
        return protocol is not None and protocol.unsentBytes > protocol.pauseAboveBytes

    @property
    def isBusy(self) -> bool:
        """True if any output waits; also while the link is down."""
        protocol = self._protocol
        return self._write is None or protocol is None or protocol.stalled or protocol.unsentBytes > 0

    @property
    def unsentBytes(self) -> int:
        """Bytes of output that wait for the server to read."""
        return 0 if self._protocol is None else self._protocol.unsentBytes

    def _writerOf(self, protocol: ComponentProtocol) -> Callable[[bytes], bool]:
        write = protocol.write if self._tracer is None else self._tracer.traced(protocol.write)
        return write if self.lease.silentAt == inf else lambda data: self._isSilent() or write(data)

    def _isSilent(self) -> bool:
        """True if another gateway may serve the component: what this one sends is dropped as if it were sent."""
        silentAt = self.lease.silentAt
        return silentAt != inf and self._reactor.seconds() >= silentAt

    def _settled(self, protocol: ComponentProtocol) -> None:
        """Send the outbox, if this connection is still the current one."""
        if protocol is self._protocol and self.ready and not self._isSilent():
            self._write = self._writerOf(protocol)
            kept = self.outbox.takeAll()
            if self._tracer is not None:
                for data in kept:
                    self._tracer.sent(data)
            protocol.writeAll(kept)
