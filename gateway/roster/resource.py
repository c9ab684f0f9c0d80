"""
C{/roster_admin/refresh}: requests of the application for refreshes. The result is the answer, or, if the
application does not wait, a document at C{/roster_admin/results}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from attrs import define
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.http.answers import MAX_BODY, answerLater, isFromPage
from gateway.pieces import Pieces
from gateway.roster.batch import Batch, Postpone, encodeAnswer
from gateway.roster.document import MAX_NAMES, readingNames
from gateway.roster.failures import INTERNAL_ERROR, RefreshFailed
from gateway.roster.refresher import Refresher
from gateway.roster.results import LIFETIME, Results
from gateway.roster.signature import SIGNATURE, TIME, isSigned, isSignedBody

# Characters of a wrong option in the answer.
_SHOWN = 100
# Values of an option; some languages write true and false.
_VALUES = {"1": True, "true": True, "0": False, "false": False}

_USAGE = "POST an array of user names to .../refresh, or GET .../refresh/USERNAME"


_UNSIGNED = (
    "the signature is missing, wrong or too old: X-Hub-Signature-256 must cover method, path with query, "
    "X-Signature-Time (seconds since 1970, at most 300 away from now) and the body; docs/roster.md has an example"
)
_UNSIGNED_BODY = (
    "the signature is missing or wrong: X-Hub-Signature-256 must be sha256= and the HMAC-SHA-256 of the body in "
    "hexadecimal; docs/roster.md has another form, which has a time"
)


class _Refused(Exception):
    """
    The answer is an error.

    @ivar code: the HTTP status.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@define
class RefreshService:
    """
    The service behind a resource.

    @ivar pieces: runs long computations.
    @ivar secret: secret of the requests' signatures; C{None} if they need none.
    @ivar results: answers for callers that do not wait.
    @ivar wallClock: seconds since 1970 UTC.
    @ivar postpone: as for L{Batch}.
    """

    refresher: Refresher
    pieces: Pieces
    results: Results
    wallClock: Callable[[], float]
    secret: bytes | None = None
    postpone: Postpone | None = None


class _JsonResource(Resource):
    """
    Answers each request once, in JSON.

    @ivar allowed: the only method.
    @ivar usage: description of valid requests, for people.
    """

    allowed: bytes
    usage = _USAGE

    def __init__(self, service: RefreshService) -> None:
        super().__init__()
        self._service = service

    def render(self, request: Request) -> int:
        return answerLater(request, self._answer(request), _internalError)

    async def _answer(self, request: Request) -> bytes:
        try:
            if request.method != self.allowed:
                request.setHeader(b"allow", self.allowed)
                raise _Refused(405, self.usage)
            code, answer = await self.respond(request, self._signedBody(request))
        except _Refused as error:
            return _errorAnswer(request, error.code, str(error))
        return _respond(request, code, answer)

    async def respond(self, request: Request, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        raise NotImplementedError

    def _signedBody(self, request: Request) -> bytes:
        content: Any = request.content
        body: bytes = content.read(MAX_BODY + 1)
        # Free memory: the body is not needed again, and the answer may take a while.
        content.seek(0)
        content.truncate()
        if len(body) > MAX_BODY:
            raise _Refused(413, f"the body has more than {MAX_BODY} bytes")
        if self._service.secret is not None:
            self.checkSignature(request, body, self._service.secret)
        return body

    def checkSignature(self, request: Request, body: bytes, secret: bytes) -> None:
        """Refuse a request without a valid signature."""
        shown, time = request.getHeader(SIGNATURE) or b"", request.getHeader(TIME) or b""
        if not isSigned(shown, time, request.method, request.uri, body, secret, self._service.wallClock()):
            raise _Refused(401, _UNSIGNED)


class _Refresh(_JsonResource):
    """Refreshes users."""

    _log = Logger()

    async def respond(self, request: Request, body: bytes) -> tuple[int, bytes]:
        service = self._service
        names = await self.names(request, body)
        isDry, isForced = _options(request)
        if isForced and request.method != b"POST":
            raise _Refused(400, f"force is an option of POST only: {_USAGE}")
        if len(names) > MAX_NAMES:
            raise _Refused(413, f"the body has more than {MAX_NAMES} user names")
        isAsync = request.method == b"POST" and _prefersAsync(request)
        if (isAsync and service.results.isFull) or not service.refresher.announce(len(names)):
            request.setHeader(b"retry-after", b"60")
            raise _Refused(503, "too many users are waiting for a refresh already; ask again later")
        batch = Batch(service.refresher, service.pieces, isDry, isForced, service.postpone)
        if isAsync:
            return self._runAsync(request, batch, names)
        await batch.run(names)
        return 500 if batch.isFailure else 200, await service.pieces.run(batch.encode())

    def _runAsync(self, request: Request, batch: Batch, names: list[Any]) -> tuple[int, bytes]:
        """
        > The "respond-async" preference indicates that the client prefers the server to respond asynchronously to a
        > response  (RFC 7240 section 4.1)
        """
        results = self._service.results

        def progress() -> dict[str, Any]:
            message = f"{batch.done} of {len(names)} users are done"
            return {"status": "running", "message": message, "done": batch.done, "users": len(names)}

        async def run() -> bytes:
            await batch.run(names)
            return await self._service.pieces.run(batch.encode())

        def failed(failure: Failure) -> bytes:
            self._log.failure("A request for refreshes has failed.", failure, event="roster.request_failed")
            return _encodeError(INTERNAL_ERROR)

        key = results.begin(progress)
        ensureDeferred(run()).addErrback(failed).addCallback(partial(results.complete, key))
        # From the request's own path: a service has one path with its domain, and perhaps one without.
        path = request.path.rstrip(b"/").rpartition(b"/")[0] + b"/results/" + key.encode()
        request.setHeader(b"location", path)
        request.setHeader(b"preference-applied", b"respond-async")
        return 202, encodeAnswer({**progress(), "result": path.decode("latin-1")})

    async def names(self, request: Request, body: bytes) -> list[Any]:
        """Return the names of the users to refresh."""
        raise NotImplementedError


class RefreshResource(_Refresh):
    """C{POST} refreshes the users in a JSON array of names. A child resource refreshes one user by C{GET}."""

    allowed = b"POST"

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _User(self._service, path) if path else self

    def checkSignature(self, request: Request, body: bytes, secret: bytes) -> None:
        # GitHub's form signs the body alone, so it does not cover options.
        if request.getHeader(TIME) is None and b"?" not in request.uri:
            if not isSignedBody(request.getHeader(SIGNATURE) or b"", body, secret):
                raise _Refused(401, _UNSIGNED_BODY)
        else:
            super().checkSignature(request, body, secret)

    async def names(self, request: Request, body: bytes) -> list[Any]:
        shown = (request.getHeader(b"content-type") or b"").decode(errors="replace")
        kind = shown.partition(";")[0].strip().lower()
        if kind != "application/json":
            found = "is missing" if not shown else f"is {kind[:100]!a}"
            raise _Refused(415, f"the content type {found}; it must be application/json")
        try:
            return await self._service.pieces.run(readingNames(body))
        except RefreshFailed as error:
            raise _Refused(400, str(error)) from error


class _User(_Refresh):
    isLeaf = True
    allowed = b"GET"

    def __init__(self, service: RefreshService, name: bytes) -> None:
        super().__init__(service)
        self._name = name

    async def names(self, request: Request, body: bytes) -> list[Any]:
        if isFromPage(request.requestHeaders):
            # Any web page can make a browser send a GET.
            raise _Refused(403, f"a web page may not send this request: {_USAGE}")
        if request.postpath and request.postpath != [b""]:
            raise _Refused(404, "the user name must be one part of the path, URL-encoded")
        try:
            return [self._name.decode()]
        except UnicodeDecodeError as error:
            raise _Refused(400, "the user name is not UTF-8") from error


def _respond(request: Request, code: int, answer: bytes) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(answer))
    return answer


def _errorAnswer(request: Request, code: int, message: str) -> bytes:
    """Answer with the reason for which nothing was done."""
    return _respond(request, code, _encodeError(message))


def _encodeError(message: str) -> bytes:
    return encodeAnswer({"status": "error", "message": message, "updated": 0, "errors": 0})


def _internalError(request: Request) -> bytes:
    return _errorAnswer(request, 500, INTERNAL_ERROR)


class ResultsResource(_JsonResource):
    """Progress or answer of a request without waiting: C{GET} of a child resource, the result's identifier."""

    allowed = b"GET"
    usage = "GET .../results/ID"

    def __init__(self, service: RefreshService, key: str = "") -> None:
        super().__init__(service)
        self._key = key
        self.isLeaf = bool(key)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return ResultsResource(self._service, path.decode("latin-1")) if path else self

    async def respond(self, request: Request, body: bytes) -> tuple[int, bytes]:
        result = None if request.postpath else self._service.results.find(self._key)
        if result is None:
            raise _Refused(
                404,
                f"there is no such result. A result is kept for {LIFETIME:g} s after the end of its request, for "
                "a shorter time if there are many, and not after the gateway stops",
            )
        if result.answer is not None:
            return 200, result.answer
        request.setHeader(b"retry-after", b"1")
        return 202, encodeAnswer(result.progress())


def _prefersAsync(request: Request) -> bool:
    """True if the caller prefers not to wait (RFC 7240)."""
    shown = request.requestHeaders.getRawHeaders(b"prefer") or []
    return any(each.partition(b";")[0].strip().lower() == b"respond-async" for each in b",".join(shown).split(b","))


def _options(request: Request) -> tuple[bool, bool]:
    """Return isDry and isForced; refuse all other options and values."""
    # Not from request.args: Twisted drops options without a value.
    options = parse_qsl(request.uri.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)
    found = {"dry_run": "0", "force": "0"}
    for name, value in options:
        if name not in found or value.lower() not in _VALUES or len(options) > len(dict(options)):
            shown = f"{name}={value}"[:_SHOWN]
            raise _Refused(400, f"wrong option {shown!r}; valid: dry_run=0|1, force=0|1 (default 0), each once")
        found[name] = value.lower()
    return _VALUES[found["dry_run"]], _VALUES[found["force"]]
