"""
Pages in HTML for people: the frame of each page, its style, and headers that forbid everything else.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from twisted.web.server import Request
from twisted.web.template import Flattenable, Tag, flattenString, tags

_DOCTYPE = b"<!DOCTYPE html>\n"

# The style is in the page, so that it needs no further request, which might need a token. It has none of the
# characters that HTML escapes, because it must not be escaped in a style element; a test checks this.
_STYLE = files("gateway.http").joinpath("style.css").read_text("utf-8")
SCRIPT = files("gateway.http").joinpath("live.js").read_bytes()

# Allow only this style, and scripts, events and forms of this server. No other page may show it in a frame.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
).encode()

_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    # Not "no-referrer": then browsers do not name the origin of a form.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def flat(*content: Flattenable) -> bytes:
    """Return content as HTML. All text in it is escaped. It contains no Deferreds."""
    found: list[bytes] = []
    flattenString(None, content).addCallback(found.append)
    [html] = found
    return html


def document(title: str, body: bytes, script: str | None = None) -> bytes:
    """
    Return a whole page.

    @param body: the content of its body.
    @param script: the address of its script.
    """
    head: Tag = tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(title),
        tags.style(_STYLE),
    )
    if script is not None:
        head(tags.script(src=script, defer="defer"))
    opening, _, closing = flat(tags.html(head, tags.body("\0"), lang="en")).partition(b"\0")
    return _DOCTYPE + opening + body + closing


def answer(request: Request, code: int, html: bytes) -> bytes:
    """Answer with a page."""
    request.setResponseCode(code)
    setHeaders(request, b"text/html; charset=utf-8")
    return html


def setHeaders(request: Request, kind: bytes) -> None:
    """Set the headers of a page, or of a part of it."""
    request.setHeader(b"content-type", kind)
    for name, value in _HEADERS:
        request.setHeader(name, value)
