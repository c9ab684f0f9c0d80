"""
Requests to the HTTP server, and later answers to them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import NOT_DONE_YET, Request

_log = Logger()

# Bytes of a request body that a resource accepts at most.
MAX_BODY = 1024 * 1024


def answerLater(
    request: Request, answering: Coroutine[Any, Any, bytes], fault: Callable[[Request], bytes]
) -> int:
    """
    Answer a request with the body that a coroutine returns, unless the caller has disconnected by then.

    @param fault: makes the body if the coroutine raises. A request without an answer would occupy one of the few
        connections.
    @return: the value that C{render} must return.
    """
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def failed(failure: Failure) -> bytes:
        _log.failure("A request could not be answered.", failure, event="http.request_failed")
        return fault(request)

    def answer(body: bytes) -> None:
        if not gone:
            request.write(body)
            request.finish()

    ensureDeferred(answering).addErrback(failed).addCallback(answer)
    return NOT_DONE_YET


def isFromPage(headers: Headers) -> bool:
    """
    True if a GET comes from a page in a browser; false if it comes from a program, or if a user typed the address.
    """
    sites = headers.getRawHeaders(b"sec-fetch-site")
    if sites:
        return sites != [b"none"]
    # Older browsers do not send Sec-Fetch-Site. They send Origin or Referer, unless the page forbids it; and all of
    # them have "Mozilla" in User-Agent.
    if headers.hasHeader(b"origin") or headers.hasHeader(b"referer"):
        return True
    return any(b"mozilla/" in agent.lower() for agent in headers.getRawHeaders(b"user-agent") or ())
