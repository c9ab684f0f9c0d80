"""
The form by which a browser gets a session for the status page, if a token is set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from gateway.http.access import LOGIN, SESSION, Gate
from gateway.http.html import answer, document, flat

_WRONG = "This is not the token."
# Attributes of the cookie. SameSite: pages of other sites cannot send it. HttpOnly: no script can read it.
_ATTRIBUTES = b"; Path=/; HttpOnly; SameSite=Strict"


@cache
def loginForm(isWrong: bool = False) -> bytes:
    """
    Return the page with the form.

    @param isWrong: true if the token that was sent is wrong.
    """
    field = tags.input(
        id="token",
        name="token",
        type="password",
        autocomplete="current-password",
        required="required",
        autofocus="autofocus",
        **{"aria-describedby": "hint"},
    )
    problem = tags.p(_WRONG, id="wrong", role="alert", class_="problem") if isWrong else ""
    if isWrong:
        field(**{"aria-invalid": "true", "aria-describedby": "wrong hint"})
    # A password manager stores the token under this name.
    user = tags.input(name="user", type="text", value="gateway", autocomplete="username", hidden="hidden")
    form = tags.form(
        user,
        tags.label("Token", for_="token"),
        field,
        tags.p("The content of the file that http.token_file names.", id="hint", class_="hint"),
        tags.button("Log in", type="submit"),
        method="post",
        # Relative to the address of this page: / for the first form, /page/login after a wrong token.
        action="login" if isWrong else LOGIN.decode().lstrip("/"),
    )
    title = "Log in: XMPP gateway"
    return document(("Wrong token: " if isWrong else "") + title, flat(Tag("main")(tags.h1(title), problem, form)))


class Login(Resource):
    """
    Starts a session: sets a cookie, and goes to the page.

    @param gate: returns the gate, which knows the token.
    @param utc: returns the seconds since 1970.
    """

    isLeaf = True

    def __init__(self, gate: Callable[[], Gate], utc: Callable[[], float]) -> None:
        super().__init__()
        self._gate = gate
        self._utc = utc

    def render_POST(self, request: Request) -> bytes:
        gate = self._gate()
        if gate.token is None:
            return _toPage(request)
        if not gate.isToken(_tokenIn(request)):
            return answer(request, 401, loginForm(isWrong=True))
        return _toPage(request, gate.cookie + b"=" + gate.session(self._utc()), SESSION)


class Logout(Resource):
    """Removes the cookie of a session, and goes to the page, which then has the form."""

    isLeaf = True

    def __init__(self, gate: Callable[[], Gate]) -> None:
        super().__init__()
        self._gate = gate

    def render_POST(self, request: Request) -> bytes:
        return _toPage(request, self._gate().cookie + b"=", 0)


def _tokenIn(request: Request) -> bytes:
    content: Any = request.content
    try:
        fields = parse_qs(content.read(), max_num_fields=10)
    except ValueError:
        return b""
    token: bytes = fields.get(b"token", [b""])[0]
    return token.strip()


def _toPage(request: Request, cookie: bytes = b"", age: int = 0) -> bytes:
    """
    Answer a form: go to the page.

    @param age: seconds until the browser removes the cookie.
    """
    if cookie:
        # The browser knows whether it uses TLS, which a reverse proxy may have ended.
        isSecure = (request.getHeader(b"origin") or b"").lower().startswith(b"https:")
        whole = cookie + _ATTRIBUTES + b"; Max-Age=%d" % age + (b"; Secure" if isSecure else b"")
        request.responseHeaders.addRawHeader(b"set-cookie", whole)
    request.setResponseCode(303)
    request.setHeader(b"location", b"../")
    request.setHeader(b"cache-control", b"no-store")
    return b""
