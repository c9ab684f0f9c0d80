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
_BODIES = (
    *(b'["ann"]', b'["ann", "bob", ""]', b"[1]", b"[]", b"{", b"x" * 5_000),
    *(b"token=%b" % TOKEN, b"token=x&a=b"),
)


def _signed(body: bytes) -> bytes:
    return b"X-Hub-Signature-256: sha256=" + hmac.new(SIGNATURE_SECRET, body, hashlib.sha256).hexdigest().encode()


_ADMIN = b"/roster_admin/example.com"
_PATHS = tuple(
    rb"""/ /status /metrics /healthz /readyz /readyz?serves=proxy.example.com /page /page/events /page/live.js
    /page/login /page/logout /roster_admin /roster_admin/refresh /roster_admin/refresh/ann /roster_admin/example.com
    /roster_admin/example.com/refresh /roster_admin/example.com/refresh/%C3%A9 /roster_admin/example.com/results
    /roster_admin/example.com/results/x /roster_admin/example.net/refresh // * /%2e%2e/ http://localhost/status
    """.split()
)
_QUERIES = (b"dry_run=1", b"force=true", b"dry_run=0&force=0", b"serves=rooms.example.com", b"a=%ff&a", b"=", b"")
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"get")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"")
_KEY = b"Authorization: Bearer " + TOKEN
_HEADERS = (
    *rb"""Host: localhost
Host: 127.0.0.1:5290
Host: [::1]
Host: evil.example
Connection: close
authorization: bearer x
Authorization: Basic YTpi
Content-Type: application/json
Content-Type: application/x-www-form-urlencoded
Content-Length: 7
Content-Length: -1
Content-Length: 9999999999999
Transfer-Encoding: chunked
Expect: 100-continue
Prefer: respond-async, wait=1
Accept: text/html
Accept: application/json
User-Agent: Mozilla/5
Sec-Fetch-Site: cross-site
Sec-Fetch-Site: same-origin
Origin: null
Origin: https://localhost
Cookie: gateway_1=1.2
Last-Event-ID: 1
If-None-Match: *
 folded
Upgrade: h2c
Range: bytes=0-1
X-Signature-Time: 1
X-Hub-Signature-256: sha256=0""".split(b"\n"),
    _signed(_BODIES[0]),
    _KEY,
)
_ANSWERS = (
    *(b"", b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 302 x\r\nLocation: /\r\n\r\n", b"x\r\n\r\n"),
    b'HTTP/1.1 200 x\r\nContent-Length: 21\r\n\r\n{"bob@example.com":{}}',
    b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x\r\n\r\n{}",
    b"HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
)


def _written(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = (b"Content-Length: %d" % len(body),) if body else ()
    return _LINE.join((method + b" " + path + b" HTTP/1.1", b"Host: localhost", *headers, *length, b"", body))


_JSON = b"Content-Type: application/json"
_FORM = b"Content-Type: application/x-www-form-urlencoded"
REQUESTS = (
    *(_written(method, each, _KEY) for each in _PATHS for method in (b"GET", b"HEAD")),
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
