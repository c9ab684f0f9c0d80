"""
C{/page/events}: the changes of the status page, as server-sent events (HTML Living Standard, section 9.2).
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from gateway.http.health import text
from gateway.http.html import setHeaders
from gateway.http.view import Content, View

# Maximum number of streams: they count as connections of the server, which closes none of them for new ones.
MAX_LISTENERS = 16

# Seconds that a stream lasts. The browser then makes a new request, for which the gate checks its session again.
LIFETIME = 600.0

# Seconds that a browser may leave the end of an event unread.
STALL = 30.0

# Seconds after which a stream without events gets a comment: reverse proxies close connections that are silent.
_SILENCE = 30.0
_COMMENT = b":\n\n"

# Milliseconds until a browser connects again.
_RETRY = 2000


@implementer(IPushProducer)
class Listener:
    """
    One stream. While the browser does not read, it gets nothing; after that, all of the newest content.

    @ivar since: the time of the request.
    @ivar seen: the content that it has; C{None} if it has none.
    @ivar stalledAt: the time since which the browser does not read; C{None} if it does.
    """

    def __init__(self, request: Request, live: Live) -> None:
        self._request: Any = request
        self._live = live
        self.since = live.now
        self.seen: Content | None = None
        self.stalledAt: float | None = None
        self._wroteAt = live.now
        request.notifyFinish().addBoth(lambda _: live.remove(self))
        request.registerProducer(self, True)

    def pauseProducing(self) -> None:
        if self.stalledAt is None:
            self.stalledAt = self._live.now

    def resumeProducing(self) -> None:
        self.stalledAt = None

    def stopProducing(self) -> None:
        """Do nothing: the request is about to report the end of the connection."""

    def write(self, data: bytes) -> None:
        """Write an event."""
        self._wroteAt = self._live.now
        self._request.write(data)

    def breakSilence(self) -> None:
        """Write a comment if nothing was written for long, and the browser reads."""
        if self.stalledAt is None and self._live.now - self._wroteAt >= _SILENCE:
            self.write(_COMMENT)

    def end(self) -> None:
        """End the stream as it should; the browser connects again."""
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """Close the connection of a browser that does not read."""
        self._request.channel.timeoutConnection()


class Live:
    """Sends the changes of the page to all who look at it."""

    _log = Logger()

    def __init__(self, view: View, clock: IReactorTime) -> None:
        self._view = view
        self._clock = clock
        self._listeners: dict[Listener, None] = {}
        # The content that was sent last.
        self._sent: Content | None = None
        self._isMaking = False

    @property
    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return self._clock.seconds()

    def stop(self) -> None:
        """End all streams."""
        for listener in tuple(self._listeners):
            listener.end()

    def listen(self, request: Request) -> bool:
        """Send events to a request; return false if there is no room for it."""
        if len(self._listeners) >= MAX_LISTENERS:
            return False
        listener = Listener(request, self)
        self._listeners[listener] = None
        listener.write(b"retry: %d\n\n" % _RETRY)
        self._refresh()
        return True

    def remove(self, listener: Listener) -> None:
        """Forget a stream that has ended."""
        self._listeners.pop(listener, None)

    def tick(self) -> None:
        """Send what has changed; this is called after each sample."""
        now = self.now
        for each in tuple(self._listeners):
            if each.stalledAt is not None and now - each.stalledAt >= STALL:
                each.abort()
            elif now - each.since >= LIFETIME:
                each.end()
            else:
                each.breakSilence()
        if self._listeners:
            self._refresh()

    def _refresh(self) -> None:
        """Send what has changed to each listener that reads."""
        if self._isMaking:
            return
        self._isMaking = True
        making: Deferred[Content] = self._view.content()
        making.addCallback(self._send).addErrback(self._failed).addCallback(self._refreshed)

    def _send(self, content: Content) -> None:
        before = self._sent
        if before == content:
            content = before
        self._sent = content
        change = whole = b""
        for listener in tuple(self._listeners):
            if listener.stalledAt is not None or listener.seen is content:
                continue
            if listener.seen is not None and listener.seen is before:
                change = change or eventOf(content, before)
                listener.write(change)
            else:
                whole = whole or eventOf(content, None)
                listener.write(whole)
            listener.seen = content

    def _failed(self, failure: Any) -> None:
        self._log.failure("The status page could not be made.", failure, event="http.page_failed")

    def _refreshed(self, result: object) -> None:
        self._isMaking = False


def eventOf(content: Content, before: Content | None) -> bytes:
    """
    Return the event that turns one content of the page into another.

    @param before: the content that the browser has; C{None} if that is not known.
    """
    known = {} if before is None else before.sections
    changed = {name: html.decode() for name, html in content.sections.items() if known.get(name) != html}
    about = {"title": content.title, "text": content.verdict, "order": list(content.sections), "changed": changed}
    # JSON has no line feeds outside of its strings, and escapes those in them.
    return b"data: " + json.dumps(about).encode() + b"\n\n"


class Events(Resource):
    """The stream of events; 503 if there are too many."""

    isLeaf = True

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live

    def render_HEAD(self, request: Request) -> bytes:
        setHeaders(request, b"text/event-stream")
        return b""

    def render_GET(self, request: Request) -> int | bytes:
        setHeaders(request, b"text/event-stream")
        # nginx would wait for more.
        request.setHeader(b"x-accel-buffering", b"no")
        if self._live.listen(request):
            return NOT_DONE_YET
        request.setHeader(b"retry-after", b"30")
        return text(request, 503, f"{MAX_LISTENERS} pages are open already; close one of them.\n")
