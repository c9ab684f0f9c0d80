"""
C{/roster_admin/refresh}: the application says whose contacts have changed, and hears how it went.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred, gatherResults
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from gateway.interfaces import RosterItem
from gateway.roster.core import Finished, RefreshFailed, checkUser
from gateway.roster.refresher import Refresher

# Bytes of a request's body.
_MOST_BYTES = 1024 * 1024

_SIGNATURE = b"sha256="

# What an option may be; some languages write a truth so.
_VALUES = {"1": True, "true": True, "0": False, "false": False}


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
        return _User(self._refresher, self._secret, path) if path else self

    def answer(self, request: Request, body: bytes) -> bytes | int:
        shown = request.getHeader(b"content-type") or b"application/json"
        kind = shown.decode(errors="replace").partition(";")[0].strip().lower()
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


def _refresh(request: Request, refresher: Refresher, names: list[Any]) -> bytes | int:
    """Refresh these, each once, and answer when all are done."""
    try:
        isDry, isForced = _options(request)
    except ValueError:
        return _answered(request, 400, "of options there are ?dry_run=1 and ?force=1; 0 is the default of both")
    refreshes: dict[str, Deferred[Finished]] = {}
    wrong: dict[str, str] = {}
    for name in names:
        try:
            user = checkUser(name)
        except RefreshFailed as failure:
            shown = name if isinstance(name, str) else json.dumps(name)
            wrong[shown[:100]] = str(failure)
            continue
        if user not in refreshes:
            refreshes[user] = refresher.wouldChange(user) if isDry else refresher.refresh(user, isForced)
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def done(finished: list[Finished]) -> None:
        if not gone:
            code, answer = _summary(dict(zip(refreshes, finished, strict=True)), wrong, isDry)
            request.write(_json(request, code, answer))
            request.finish()

    gatherResults(refreshes.values()).addCallback(done)
    return NOT_DONE_YET


def _summary(finished: Mapping[str, Finished], wrong: Mapping[str, str], isDry: bool) -> tuple[int, dict[str, Any]]:
    """
    The answer in the form of mod_http_roster_admin, and what has failed.

    @param wrong: what are no user names.
    """
    failed = {user: each.reason for user, each in finished.items() if each.reason}
    updated, errors = len(finished) - len(failed), len(failed) + len(wrong)
    isFailure = errors > 0 and updated == 0
    answer: dict[str, Any] = {
        "status": "error" if isFailure else "ok",
        "message": "roster update failed" if isFailure else "roster update complete",
        "updated": updated,
        "errors": errors,
        "failed": {**wrong, **failed},
    }
    if isDry:
        answer["message"] = "roster update would fail" if isFailure else "nothing was changed: this would be"
        answer["changes"] = {
            user: [_described(item) for item in each.items] for user, each in finished.items() if not each.reason
        }
    return (500 if isFailure else 200), answer


def _described(item: RosterItem) -> dict[str, Any]:
    if item.subscription == "remove":
        return {"jid": item.jid, "subscription": "remove"}
    groups = sorted(item.groups)
    return {"jid": item.jid, "name": item.name, "groups": groups, "subscription": item.subscription}


def _options(request: Request) -> tuple[bool, bool]:
    """
    Whether it is a dry run, and whether it is forced.

    @raise ValueError: if somebody may have meant the other.
    """
    # Not the request's arguments: Twisted passes over one that has no value.
    options = parse_qsl(request.uri.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)
    found = {"dry_run": "0", "force": "0", **{name: value.lower() for name, value in options}}
    if len(found) != 2 or len(options) > len(dict(options)) or not {*found.values()} <= _VALUES.keys():
        raise ValueError
    return _VALUES[found["dry_run"]], _VALUES[found["force"]]


def _isSigned(request: Request, body: bytes, secret: bytes) -> bool:
    shown = request.getHeader(b"x-hub-signature-256") or b""
    right = _SIGNATURE + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
    return hmac.compare_digest(shown.lower(), right)


def _answered(request: Request, code: int, message: str) -> bytes:
    return _json(request, code, {"status": "error", "message": message, "updated": 0, "errors": 0})


def _json(request: Request, code: int, answer: dict[str, Any]) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(answer).encode() + b"\n"
