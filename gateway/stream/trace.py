"""
The stanzas of a link in the log, for an operator who looks for the cause of a fault.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway.stream.interfaces import IRawHandler
from gateway.stream.stanzas import Stanza

# The logger, which C{[log] levels} can name. Its lines are written at the level C{debug} only.
NAME = "gateway.stream.trace"

_log = Logger(NAME)

# Bytes of a stanza that are logged.
_MAX_SHOWN = 4000


@implementer(IRawHandler)
class Tracer(XMPPHandler):
    """Logs stanzas, with their content, and takes none. It is on a link only while stanzas are to be logged."""

    pending = 0

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def stanzaReceived(self, stanza: Stanza) -> bool:
        _log.debug(
            "{component} received: {stanza}",
            event="link.received",
            component=self._component,
            stanza=_shown(stanza.whole),
        )
        return False

    def sent(self, data: bytes, others: int = 0) -> None:
        """
        Log output.

        @param others: number of further recipients of the same stanza.
        """
        _log.debug(
            "{component} sent: {stanza}{more}",
            event="link.sent",
            component=self._component,
            stanza=_shown(data),
            more=f" (and {others} copies to other recipients)" if others else "",
        )

    def traced(self, write: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return a function that logs output and writes it."""

        def writeAndLog(data: bytes) -> bool:
            self.sent(data)
            return write(data)

        return writeAndLog

    def tick(self, now: float) -> None:
        """Do nothing."""

    def drain(self) -> None:
        """Do nothing."""

    def drained(self) -> None:
        """Do nothing."""


def _shown(data: bytes) -> str:
    text = data[:_MAX_SHOWN].decode("utf-8", "replace")
    return text if len(data) <= _MAX_SHOWN else f"{text}... ({len(data)} bytes)"
