"""
The status page at C{/}: the state of all components, and what to do about each trouble. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from gateway import __version__
from gateway.http.access import LOGIN, LOGOUT, Gate
from gateway.http.answers import answerLater
from gateway.http.health import text
from gateway.http.html import SCRIPT, answer, document, flat, setHeaders
from gateway.http.live import Events, Live
from gateway.http.login import Login, Logout
from gateway.http.served import Branch
from gateway.http.view import Content, View

_FAULT = "The page could not be made: see the log. /status has the same as text.\n"


def makePages(view: View, live: Live, gate: Callable[[], Gate], utc: Callable[[], float]) -> dict[bytes, Resource]:
    """
    Return the resources of the page by their names.

    @param gate: returns the gate, which knows the token.
    @param utc: returns the seconds since 1970.
    """
    parts = Branch()
    parts.putChild(b"events", Events(live))
    parts.putChild(b"live.js", Script())
    parts.putChild(LOGIN.rpartition(b"/")[2], Login(gate, utc))
    parts.putChild(LOGOUT.rpartition(b"/")[2], Logout(gate))
    return {b"": Page(view, gate), b"page": parts}


class Script(Resource):
    """The script of the page."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        setHeaders(request, b"text/javascript; charset=utf-8")
        return SCRIPT


class Page(Resource):
    """The page itself."""

    isLeaf = True

    def __init__(self, view: View, gate: Callable[[], Gate]) -> None:
        super().__init__()
        self._view = view
        self._gate = gate

    def render_GET(self, request: Request) -> int:
        return answerLater(request, self._answer(request), lambda request: text(request, 500, _FAULT))

    async def _answer(self, request: Request) -> bytes:
        html = _pageOf(await self._view.content(), self._gate().token is not None)
        request.setHeader(b"content-length", b"%d" % len(html))
        return answer(request, 200, html)


def _pageOf(content: Content, hasSession: bool) -> bytes:
    """
    Return the page.

    @param hasSession: true if the browser had to log in.
    """
    leave = tags.form(tags.button("Log out", type="submit"), method="post", action=LOGOUT.decode().lstrip("/"))
    header = tags.header(
        tags.h1("XMPP gateway"),
        tags.span(f"version {__version__}", class_="kind"),
        leave if hasSession else "",
    )
    state: Tag = tags.p(content.verdict, id="verdict", role="status")
    loaded = tags.p("Reload this page to see newer values.", id="live", role="status")
    body = (
        tags.a("Skip to the components", href="#sections", class_="skip"),
        header,
        Tag("main")(state, loaded, tags.div("\0", id="sections")),
    )
    opening, _, closing = flat(*body).partition(b"\0")
    whole = b"".join([opening, *content.sections.values(), closing])
    return document(content.title, whole, "page/live.js")
