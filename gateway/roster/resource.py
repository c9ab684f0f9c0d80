"""
C{/roster_admin/refresh}: the application says whose contacts have changed, and hears how it went.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gateway.interfaces import RosterItem
from gateway.roster.core import Finished, RefreshFailed, checkUser
from gateway.roster.refresher import Refresher

# Bytes of a request's body.
_MOST_BYTES = 1024 * 1024

_SIGNATURE = "sha256="


class _Guarded(Resource):
    """Knows what may be done, and who has signed for it."""

    allowed: bytes

    def __init__(self, refresher: Refresher, secret: bytes | None) -> None:
        super().__init__()
        self._refresher = refresher
        self._secret = secret

    def render(self, request: Request) -> bytes | int:
        if request.method not in self.allowed.split(b", "):
            request.setHeader(b"allow", self.allowed)
            return _answered(
                request, 405, "POST an array of user names to .../refresh, or GET .../refresh/USERNAME"
            )
        content: Any = request.content
        body: bytes = content.read(_MOST_BYTES + 1)
        if len(body) > _MOST_BYTES:
            return _answered(request, 413, f"a body has at most {_MOST_BYTES} bytes")
        if self._secret is not None and not _isSigned(request, body, self._secret):
            return _answered(
                request, 401, "the body is not signed: X-Hub-Signature-256: sha256=HMAC in hexadecimal"
            )
        return self.answer(request, body)

    def answer(self, request: Request, body: bytes) -> bytes | int:
        """Answer what may be asked."""
        raise NotImplementedError


class RefreshResource(_Guarded):
    """
    C{POST} with a JSON array of user names refreshes them; C{GET} of a name below it, that one.

    @param secret: what a body must be signed with, be it empty; C{None} if it need not be.
    """

    allowed = b"POST"

    def __init__(self, refresher: Refresher, secret: str | None = None) -> None:
        super().__init__(refresher, None if secret is None else secret.encode())

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _User(self._refresher, self._secret, path)

    def answer(self, request: Request, body: bytes) -> bytes | int:
        kind = (request.getHeader("content-type") or "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _answered(request, 415, f"the body is {kind}, not application/json")
        try:
            names = json.loads(body)
        except (ValueError, RecursionError) as error:
            return _answered(request, 400, f"the body is not JSON: {error}" if body else "there is no body")
        if not isinstance(names, list):
            return _answered(request, 400, "the body is not an array of user names")
        return _refresh(request, self._refresher, names)


class _User(_Guarded):
    isLeaf = True
    allowed = b"GET, HEAD"

    def __init__(self, refresher: Refresher, secret: bytes | None, name: bytes) -> None:
        super().__init__(refresher, secret)
        self._name = name

    def answer(self, request: Request, body: bytes) -> bytes | int:
        if request.postpath and request.postpath != [b""]:
            return _answered(request, 404, "a user name is one part of the path, URL-encoded")
        try:
            return _refresh(request, self._refresher, [self._name.decode()])
        except UnicodeDecodeError:
            return _answered(request, 400, "the user name is not UTF-8")


def _refresh(request: Request, refresher: Refresher, names: list[Any]) -> int:
    """Refresh these, each once, and answer when all are done."""
    isDry, isForced = _isAsked(request, b"dry_run"), _isAsked(request, b"force")
    refreshes: dict[str, Deferred[Finished]] = {}
    for name in names:
        try:
            user = checkUser(name)
        except RefreshFailed as failure:
            shown = name if isinstance(name, str) else json.dumps(name)
            refreshes.setdefault(shown[:100], succeed(Finished(reason=str(failure))))
            continue
        if user not in refreshes:
            refreshes[user] = refresher.wouldChange(user) if isDry else refresher.refresh(user, isForced)
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def done(finished: list[Finished]) -> None:
        if not gone:
            code, answer = _summary(dict(zip(refreshes, finished, strict=True)), isDry)
            request.write(_json(request, code, answer))
            request.finish()

    gatherResults(refreshes.values()).addCallback(done)
    return NOT_DONE_YET


def _summary(finished: Mapping[str, Finished], isDry: bool) -> tuple[int, dict[str, Any]]:
    """The answer in the form of mod_http_roster_admin, and what has failed."""
    failed = {user: each.reason for user, each in finished.items() if each.reason}
    isFailure = bool(failed) and len(failed) == len(finished)
    answer: dict[str, Any] = {
        "status": "error" if isFailure else "ok",
        "message": "roster update failed" if isFailure else "roster update complete",
        "updated": len(finished) - len(failed),
        "errors": len(failed),
        "failed": failed,
    }
    if isDry:
        answer["message"] = "nothing was changed: this is what would be"
        answer["changes"] = {
            user: [_described(item) for item in each.items] for user, each in finished.items() if not each.reason
        }
    return (500 if isFailure else 200), answer


def _described(item: RosterItem) -> dict[str, Any]:
    if item.subscription == "remove":
        return {"jid": item.jid, "subscription": "remove"}
    groups = sorted(item.groups)
    return {"jid": item.jid, "name": item.name, "groups": groups, "subscription": item.subscription}


def _isAsked(request: Request, name: bytes) -> bool:
    arguments: dict[bytes, list[bytes]] = request.args or {}
    return arguments.get(name, [b""])[-1] in (b"1", b"true")


def _isSigned(request: Request, body: bytes, secret: bytes) -> bool:
    shown = request.getHeader("x-hub-signature-256") or ""
    right = _SIGNATURE + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(shown.encode(), right.encode())


def _answered(request: Request, code: int, message: str) -> bytes:
    return _json(request, code, {"status": "error", "message": message, "updated": 0, "errors": 0})


def _json(request: Request, code: int, answer: dict[str, Any]) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(answer).encode() + b"\n"
