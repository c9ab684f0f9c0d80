"""HTTP for the target C{http}: requests to all addresses, and changes of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from random import Random

from tests.fuzz.seeds import SIGNATURE_SECRET, TOKEN

# What a web application answers comes after the requests.
BETWEEN = b"\0\0"

_LINE = b"\r\n"
_BODIES = (b'["ann"]', b'["ann", "bob", ""]', b"[1]", b"[]", b"{", b"x" * 5_000, b"token=%b" % TOKEN, b"token=x&a=b")


def _signed(body: bytes) -> bytes:
    return b"X-Hub-Signature-256: sha256=" + hmac.new(SIGNATURE_SECRET, body, hashlib.sha256).hexdigest().encode()


_ADMIN = b"/roster_admin/example.com"
_PATHS = (
    *(b"/", b"/status", b"/metrics", b"/healthz", b"/readyz", b"/readyz?serves=proxy.example.com", b"/page"),
    *(b"/page/events", b"/page/live.js", b"/page/login", b"/page/logout", b"/roster_admin", b"//", b"*", b"/%2e%2e/"),
    *(b"/roster_admin/refresh", b"/roster_admin/refresh/ann", _ADMIN + b"/refresh", _ADMIN + b"/refresh/%C3%A9"),
    *(_ADMIN + b"/results", _ADMIN + b"/results/x", b"/roster_admin/example.net/refresh", b"http://localhost/status"),
)
_QUERIES = (b"dry_run=1", b"force=true", b"dry_run=0&force=0", b"serves=rooms.example.com", b"a=%ff&a", b"=", b"")
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"get")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"")
_HEADERS = (
    *(b"Host: localhost", b"Host: 127.0.0.1:5290", b"Host: [::1]", b"Host: evil.example", b"Connection: close"),
    *(b"Authorization: Bearer " + TOKEN, b"authorization: bearer x", b"Authorization: Basic YTpi"),
    *(b"Content-Type: application/json", b"Content-Type: application/x-www-form-urlencoded", b"Expect: 100-continue"),
    *(b"Content-Length: 7", b"Content-Length: -1", b"Content-Length: 9999999999999", b"Transfer-Encoding: chunked"),
    *(b"Prefer: respond-async, wait=1", b"Accept: text/html", b"Accept: application/json", b"User-Agent: Mozilla/5"),
    *(b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Site: same-origin", b"Origin: null", b"Origin: https://localhost"),
    *(b"Cookie: gateway_1=1.2", b"Last-Event-ID: 1", b"If-None-Match: *", b" folded", b"Upgrade: h2c"),
    *(b"Range: bytes=0-1", b"X-Signature-Time: 1", b"X-Hub-Signature-256: sha256=0", _signed(_BODIES[0])),
)
_ANSWERS = (
    *(b"", b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 302 x\r\nLocation: /\r\n\r\n", b"x\r\n\r\n"),
    b'HTTP/1.1 200 x\r\nContent-Length: 19\r\n\r\n{"bob@example.com":0}',
    b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x\r\n\r\n{}",
    b"HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
)
_KEY = b"Authorization: Bearer " + TOKEN


def _written(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = (b"Content-Length: %d" % len(body),) if body else ()
    return _LINE.join((method + b" " + path + b" HTTP/1.1", b"Host: localhost", *headers, *length, b"", body))


_JSON = b"Content-Type: application/json"
_FORM = b"Content-Type: application/x-www-form-urlencoded"
REQUESTS = (
    *(_written(b"GET", each, _KEY) for each in _PATHS),
    _written(b"POST", _ADMIN + b"/refresh?dry_run=1", _KEY, _JSON, body=_BODIES[0]) + BETWEEN + _ANSWERS[4],
    _written(b"POST", _ADMIN + b"/refresh", _KEY, _JSON, b"Prefer: respond-async", body=_BODIES[0]),
    _written(b"POST", b"/roster_admin/example.net/refresh", _KEY, _JSON, _signed(_BODIES[0]), body=_BODIES[0]),
    _written(b"POST", b"/page/login", _FORM, body=b"token=%b" % TOKEN),
    _written(b"POST", b"/page/logout", _FORM, body=b"a=b"),
    _written(b"GET", b"/", b"Accept: text/html"),
    _written(b"GET", b"/healthz") * 3,
    b"GET /healthz HTTP/1.0\r\n\r\nGET /readyz?serves=x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)


def mutated(data: bytes, byBytes: Callable[[bytes], bytes], random: Random) -> bytes:
    """
    Return changed input for the target C{http}: requests with some lines changed, or any bytes.

    @param byBytes: changes bytes.
    """
    if not random.randrange(4):
        return byBytes(data)
    sent, _, answered = data.partition(BETWEEN)
    head, _, body = sent.partition(_LINE * 2)
    lines = head.split(_LINE)
    for _ in range(random.randrange(1, 4)):
        match random.randrange(8):
            case 0:
                lines[0] = b" ".join((random.choice(_METHODS), _path(random), random.choice(_VERSIONS)))
            case 1 | 2:
                lines.insert(random.randrange(len(lines)) + 1, random.choice(_HEADERS))
            case 3 if len(lines) > 1:
                del lines[random.randrange(1, len(lines))]
            case 4:
                body = random.choice(_BODIES)
                lines = [each for each in lines if not each.lower().startswith(b"content-length")]
                lines.append(b"Content-Length: %d" % len(body))
            case 5:
                answered = random.choice(_ANSWERS)
            case 6:
                body += random.choice(REQUESTS).partition(BETWEEN)[0]
            case _:
                place = random.randrange(len(lines))
                lines[place] = byBytes(lines[place] or b"x")
    return _LINE.join((*lines, b"", body)) + (BETWEEN + answered if answered else b"")


def _path(random: Random) -> bytes:
    return random.choice(_PATHS) + (b"?" + random.choice(_QUERIES) if not random.randrange(3) else b"")
