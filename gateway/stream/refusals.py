"""
Answers, counts and logs the refused stanzas of a link.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from attrs import evolve
from twisted.logger import Logger

from gateway import ns
from gateway.errors import BadRequest, GatewayError, TooLarge
from gateway.reports import StatusItem
from gateway.stream.core import Event, Limits, Splitter
from gateway.stream.interfaces import IRawHandler, IRefusalHandler
from gateway.stream.refused import WORDS, StanzaRefused, bounce, substitute
from gateway.stream.stanzas import Nonza, Stanza, errorReply
from gateway.xml.context import COMPONENT
from gateway.xml.write import route

# Seconds between two lines in the log.
_REPORT_EVERY = 60.0


class Port(typing.Protocol):
    """The part of the link that this uses."""

    jid: str
    now: float

    def sendAll(self, data: bytes) -> bool:
        """Send serialised stanzas."""

    def stanzaReceived(self, stanza: Stanza) -> None:
        """Show a stanza to the handlers. Must not raise."""


class Refusals:
    """
    @ivar counts: number of refused stanzas by direction and reason.
    @param later: calls a function soon, but not at once.
    """

    _log = Logger()

    def __init__(self, port: Port, later: Callable[[Callable[[], object]], object]) -> None:
        self._port = port
        self._later = later
        self.counts: Counter[tuple[str, str]] = Counter()
        self._told: Counter[tuple[str, str]] = Counter()
        self._tellAt = 0.0
        self._last = ""

    def incoming(self, refused: StanzaRefused, handlers: Iterable[IRawHandler]) -> None:
        """Handle a refused incoming stanza: a handler answers it, or its sender gets the error."""
        self._note("from the server", refused)
        for handler in handlers:
            if IRefusalHandler.providedBy(handler):
                try:
                    if IRefusalHandler(handler).stanzaRefused(refused):
                        return
                except Exception:
                    jid = self._port.jid
                    self._log.failure(
                        "{component}: a handler failed at {refused!r}.",
                        event="link.refusal_failed",
                        component=jid,
                        refused=refused,
                    )
        answer = bounce(refused.stanza, refused.why, self._port.jid)
        instead = substitute(refused.stanza, refused.why)
        if answer is not None:
            self._send(answer)
        elif instead is not None:
            self._port.stanzaReceived(instead)

    def outgoing(self, data: bytes, limits: Limits) -> bool:
        """
        Send those of several stanzas that are within the server's limit, and refuse the others.

        @return: true if there was room for the stanzas that are sent.
        """
        splitter = Splitter(ns.COMPONENT_ACCEPT, evolve(limits, stanzaSize=limits.outgoingSize))
        splitter.feed(COMPONENT.header)
        hasRoom = True
        events: list[Event | None] = [*splitter.feed(data)]
        for event in events or [None]:
            if isinstance(event, Stanza):
                hasRoom = self._port.sendAll(event.whole) and hasRoom
            elif isinstance(event, StanzaRefused):
                hasRoom = self._outgoing(event) and hasRoom
            else:
                # It is not a stanza, or not a whole one: it would end the stream.
                nothing = Nonza("data", None, None, None, None, None, b"<data>", COMPONENT, 0)
                self._outgoing(StanzaRefused(nothing, BadRequest, len(data), b""))
        return hasRoom

    def _outgoing(self, refused: StanzaRefused) -> bool:
        self._note("to the server", refused)
        answer = bounce(refused.stanza, refused.why, self._port.jid)
        instead = substitute(refused.stanza, refused.why)
        if answer is not None:
            # Not now: the caller is in the middle of sending.
            self._later(partial(self._port.stanzaReceived, answer))
        elif instead is not None:
            return self._send(instead)
        return True

    def unreachable(self, data: bytes, why: type[GatewayError]) -> None:
        """Answer a stanza of the component's own, as a server does whose recipient cannot be reached."""
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        splitter.feed(COMPONENT.header)
        for event in splitter.feed(data):
            if isinstance(event, Stanza) and event.type != "error" and (event.name, event.type) != ("iq", "result"):
                for answer in splitter.feed(errorReply(event, why)):
                    if isinstance(answer, Stanza):
                        # Not now: the caller is in the middle of sending.
                        self._later(partial(self._port.stanzaReceived, answer))

    def tick(self) -> None:
        """Log the new counts, at most once a minute."""
        if self.counts == self._told or self._port.now < self._tellAt:
            return
        self._tellAt = self._port.now + _REPORT_EVERY
        new = "; ".join(f"{count} {name}" for name, count in sorted(_named(self.counts - self._told).items()))
        self._told = Counter(self.counts)
        jid = self._port.jid
        self._log.warn(
            "{component}: refused stanzas: {new}; the last: {last}{limits}.",
            event="link.stanzas_refused",
            component=jid,
            new=new,
            last=self._last,
            limits=_limits(self.counts),
        )

    def report(self) -> Iterator[StatusItem]:
        """For the status page."""
        if self.counts:
            text = f"refused stanzas: {{refused}}{_limits(self.counts)}"
            yield StatusItem("link.refused", text, {"refused": _named(self.counts)})

    def _note(self, direction: str, refused: StanzaRefused) -> None:
        self.counts[direction, WORDS[refused.why]] += 1
        self._last = refused.inWords()
        self.tick()

    def _send(self, stanza: Stanza) -> bool:
        return self._port.sendAll(stanza.readdressed(route(stanza.sender or "", stanza.recipient or "")))


def _limits(counts: Counter[tuple[str, str]]) -> str:
    """Return the keys of the limits, if stanzas were over them."""
    isOver = any(reason == WORDS[TooLarge] for _, reason in counts)
    return "; the limits are max_stanza_size and max_outgoing_stanza_size of [server]" if isOver else ""


def _named(counts: Counter[tuple[str, str]]) -> dict[str, int]:
    return {f"{direction}, {reason}": count for (direction, reason), count in counts.items()}
