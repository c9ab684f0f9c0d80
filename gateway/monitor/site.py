"""
The HTTP server itself: quiet, and bounded in what it takes.
"""

from __future__ import annotations

from io import BytesIO

from twisted.web import http
from twisted.web.server import Request, Site

# Bytes that are kept of a body. One more than anybody takes, so that who reads it sees that it is too long.
_KEPT = 1024 * 1024 + 1


class _Body(BytesIO):
    """What comes is counted on, but not kept."""

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes are all that comes
        super().write(data[: _KEPT - self.tell()])
        return len(data)


class BoundedRequest(Request):
    """Keeps the beginning of a body in memory, and nothing on disk."""

    def gotLength(self, length: int | None) -> None:
        self.content = _Body()


class QuietSite(Site):
    """Says nothing of each request: health is asked for every few seconds, and the log is for people."""

    noisy = False
    requestFactory = BoundedRequest

    def log(self, request: http.Request) -> None:
        """Not in the log."""
