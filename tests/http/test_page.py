"""The status page, with its forms and events, of a whole gateway in memory."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition import service
from gateway.http.html import SCRIPT, flat
from gateway.http.live import LIFETIME, MAX_LISTENERS, STALL
from gateway.http.plots import duration, plots, size
from gateway.http.reports import Report
from gateway.http.sections import MAX_ITEMS, component, listed
from gateway.http.view import View
from gateway.metrics import NO_METRICS
from gateway.metrics.samples import History, Sample
from gateway.reports import StatusItem
from gateway.testing import MemoryGateway
from gateway.testing.http import Response
from tests.metrics import RecordingMetrics

PROXY = "proxy.example.com"
TARGET = "implementation@example.com"
FILE = f"""
[proxy."{PROXY}"]
target = "{TARGET}"
[rooms."rooms.example.com"]
"""
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

# Elements without an end tag.
VOID = {"meta", "input", "br", "link"}


class Outline(html.parser.HTMLParser):
    """
    Reads HTML, and checks that each element ends.

    @ivar elements: name and attributes of each element, in their order.
    @ivar text: the text.
    """

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements with this name."""
        return [attributes for name, attributes in self.elements if name == tag]


def events(response: Response) -> list[dict[str, Any]]:
    """Return the events that a stream has sent, and forget them."""
    transport = response._transport
    found = re.findall(rb"data: (.*)\n\n", transport.value())
    transport.clear()
    return [json.loads(each) for each in found]


class PageCase(SynchronousTestCase):
    """A gateway and its page."""

    http = ""
    metrics: Any = NO_METRICS

    def setUp(self) -> None:
        make = service.makeService
        self.patch(service, "makeService", lambda config, reactor, **_: make(config, reactor, metrics=self.metrics))
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "token").write_text("s3cret\n")
        self.gateway = MemoryGateway(str(folder), self.http + FILE)
        self.addCleanup(self.gateway.stop)
        self.gateway.wait(1)

    def page(self, **headers: str) -> Response:
        response = self.gateway.request("GET", "/", **BROWSER, **headers)
        self.gateway.wait(0.5)
        return response


class PageTests(PageCase):
    """The page of a gateway without a token."""

    def test_page(self) -> None:
        """The page has a section for each component, with the sentences of its report."""
        response = self.page()
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers["content-type"], "text/html; charset=utf-8")
        text = response.text
        outline = Outline(text)
        sections = [each["id"] for each in outline.named("section")]
        self.assertEqual(sections, ["summary", f"c-{PROXY}", "c-rooms.example.com", "files"])
        self.assertIn("2 of 2 components are connected. 1 problem.", outline.text)
        self.assertIn(f"Problem: resources of {TARGET} that get requests: 0", outline.text)
        self.assertIn(f"log in to {TARGET} with the client", outline.text)
        self.assertIn("rooms: 0; occupants: 0", outline.text)
        self.assertNotIn("Log out", outline.text)

    def test_down(self) -> None:
        """A component that is down has the reason, and a name in the summary that needs no colour."""
        self.gateway.refuses = True
        self.gateway.server(PROXY).lose()
        self.gateway.wait(3)
        text = Outline(self.page().text).text
        self.assertIn("1 of 2 components are connected", text)
        self.assertIn("Problem: not connected: An error occurred while connecting: refused", text)

    def test_outage(self) -> None:
        """An outage of several components is one problem, in the summary; the sections refer to it."""
        self.gateway.refuses = True
        for jid in (PROXY, "rooms.example.com"):
            self.gateway.server(jid).lose()
        self.gateway.wait(3)
        text = Outline(self.page().text).text
        self.assertIn(f"Problem: {PROXY}, rooms.example.com: not connected: An error occurred", text)
        self.assertEqual(text.count("Problem: "), 1)
        self.assertIn("0 of 2 components are connected. 1 problem.", text)
        self.assertEqual(text.count("Not connected, as others: see the summary."), 2)

    def test_policy(self) -> None:
        """Nothing from elsewhere, nothing inline but the style, and the page has nothing that this forbids."""
        response = self.page()
        policy = response.headers["content-security-policy"]
        self.assertIn("default-src 'none'; script-src 'self'; style-src 'sha256-", policy)
        self.assertNotIn("unsafe", policy)
        for name, value in (
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ):
            self.assertEqual(response.headers[name], value)
        outline = Outline(response.text)
        [style] = re.findall("<style>(.*)</style>", response.text, re.DOTALL)
        self.assertFalse(re.search("[<>&]", style), "characters that would be escaped")
        self.assertNotRegex(style, r"url\(|@import")
        for _, attributes in outline.elements:
            self.assertFalse([each for each in attributes if each == "style" or each.startswith("on")])
        [script] = outline.named("script")
        self.assertEqual(script["src"], "page/live.js")
        links = [each["href"] for each in outline.named("a")]
        self.assertFalse([each for each in links if re.match("[a-z]+:|//", each or "")], links)

    def test_accessible(self) -> None:
        """Each part has what a screen reader and a keyboard need."""
        outline = Outline(self.page().text)
        self.assertEqual(outline.named("html")[0]["lang"], "en")
        self.assertEqual(len(outline.named("main")), 1)
        self.assertEqual(len(outline.named("h1")), 1)
        identifiers = [each["id"] for _, each in outline.elements if "id" in each]
        self.assertEqual(len(identifiers), len(set(identifiers)))
        for _, each in outline.elements:
            for name in ("aria-labelledby", "aria-describedby", "for"):
                for target in (each.get(name) or "").split():
                    self.assertIn(target, identifiers)
        for each in outline.named("a"):
            self.assertIn((each["href"] or "").removeprefix("#"), identifiers)
        self.assertEqual([each["role"] for _, each in outline.elements if "role" in each], ["status"] * 2)

    def test_head(self) -> None:
        """HEAD has the same header, and no body."""
        response = self.gateway.request("HEAD", "/")
        self.assertEqual(response.status, 200)
        self.assertGreater(int(response.headers["content-length"]), 1000)

    def test_methods(self) -> None:
        """The page changes nothing: it has no other method."""
        for path in ("/", "/page/events", "/page/live.js"):
            self.assertEqual(self.gateway.request("POST", path).status, 405, path)

    def test_withoutGet(self) -> None:
        """Without a GET there is no HEAD: 405 for forms, 404 for an address that only has others below it."""
        for method in ("GET", "HEAD"):
            for path in ("/page/login", "/page/logout"):
                response = self.gateway.request(method, path)
                self.assertEqual((response.status, response.headers["allow"]), (405, "POST"), (method, path))
            for path in ("/page", "/page/"):
                self.assertEqual(self.gateway.request(method, path).status, 404, (method, path))
        below = "Below /page there are: events, live.js, login, logout\n"
        self.assertIn(below, self.gateway.request("GET", "/page").text)

    def test_script(self) -> None:
        """The script is served as a script."""
        response = self.gateway.request("GET", "/page/live.js")
        self.assertEqual(response.headers["content-type"], "text/javascript; charset=utf-8")
        self.assertEqual(response.text.encode(), SCRIPT)

    def test_fault(self) -> None:
        """If the page cannot be made, the answer has no traceback, and the next one can be made again."""
        good = View._make
        self.patch(View, "_make", lambda view: (1 / 0 for _ in "x"))
        response = self.page()
        self.assertEqual(response.status, 500)
        self.assertIn("see the log", response.text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(View, "_make", good)
        self.assertEqual(self.page().status, 200)

    def test_login(self) -> None:
        """Without a token there is nothing to log in to."""
        response = self.gateway.request("POST", "/page/login", b"token=", **FORM)
        self.assertEqual((response.status, response.headers["location"]), (303, "../"))
        self.assertIs(response.headers["set-cookie"], None)

    def test_json(self) -> None:
        """/status as JSON has the kinds of services."""
        document = self.gateway.request("GET", "/status", Accept="application/json").body
        self.assertEqual([each["kind"] for each in document["links"]], ["proxy", "rooms"])

    def test_ready(self) -> None:
        """/readyz?full=1 is 503 until somebody implements the proxy."""
        self.assertEqual(self.gateway.request("GET", "/readyz").status, 200)
        response = self.gateway.request("GET", "/readyz?full=1")
        self.assertEqual((response.status, response.text), (503, f"{PROXY}: proxy.resources: see /status\n"))
        self.gateway.server(PROXY).send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.assertEqual(self.gateway.request("GET", "/readyz?full=1").status, 200)


class MeasuredTests(PageCase):
    """The page of a gateway that records metrics."""

    def setUp(self) -> None:
        self.metrics = RecordingMetrics()
        super().setUp()

    def test_plots(self) -> None:
        """A component has plots and totals of its stanzas; if it has had exchanges, also of their latency."""
        server = self.gateway.server(PROXY)
        server.send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.gateway.wait(10)
        server.received()
        server.send(f"<iq type='get' id='1' from='a@b.example/c' to='{PROXY}'><x xmlns='urn:x'/></iq>")
        [request] = [each for each in server.received() if each.get("id") == "1"]
        self.gateway.reactor.advance(0.25)
        server.send(f"<iq type='result' id='1' from='{TARGET}/a' to='{request.get('from')}'/>")
        self.gateway.wait(10)
        text = Outline(self.page().text).text
        self.assertIn("Latency: 250 ms on average most recently (solid), 250 ms at most (dashed)", text)
        self.assertEqual((text.count("Stanzas per second"), text.count("Latency")), (2, 1))
        self.assertRegex(text, r"\d+ stanzas and \d\S* \w+ in both directions since the start")

    def test_removed(self) -> None:
        """A component that was removed is neither on the page nor in the samples."""
        stream = self.gateway.request("GET", "/page/events", Connection="keep-alive")
        self.gateway.wait(6)
        events(stream)
        self.gateway.service.remove(PROXY)
        self.gateway.wait(15)
        self.assertEqual(events(stream)[-1]["order"][:2], ["summary", "c-rooms.example.com"])
        self.assertIs(self.gateway.service.samples.history(PROXY), None)


class LoginTests(PageCase):
    """The page of a gateway with a token."""

    http = '[http]\ntoken_file = "token"\n'

    def login(self, token: str = "s3cret", **headers: str) -> Response:
        return self.gateway.request("POST", "/page/login", f"token={token}".encode(), **FORM, **headers)

    def cookie(self) -> str:
        return str(self.login().headers["set-cookie"]).partition(";")[0]

    def test_form(self) -> None:
        """A browser gets a form with a label, under the same policy; a program gets the text."""
        response = self.page()
        self.assertEqual(response.status, 401)
        self.assertIn("default-src 'none'", response.headers["content-security-policy"])
        outline = Outline(response.text)
        [form] = outline.named("form")
        self.assertEqual((form["method"], form["action"]), ("post", "page/login"))
        _, field = outline.named("input")
        self.assertEqual((field["type"], field["id"]), ("password", outline.named("label")[0]["for"]))
        self.assertNotIn(PROXY, response.text)
        self.assertNotIn("script", response.text)
        other = self.gateway.request("GET", "/")
        self.assertEqual(other.headers["content-type"], "text/plain; charset=utf-8")
        self.assertIn("Authorization: Bearer", other.text)

    def test_login(self) -> None:
        """The right token gives a cookie, which only this site sends back, and no script reads."""
        response = self.login()
        self.assertEqual((response.status, response.headers["location"]), (303, "../"))
        cookie, *attributes = str(response.headers["set-cookie"]).split("; ")
        self.assertEqual(attributes, ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200"])
        self.assertNotIn("s3cret", cookie)
        page = self.page(Cookie=cookie)
        self.assertEqual(page.status, 200)
        self.assertIn(PROXY, page.text)
        self.assertIn("Log out", page.text)
        self.assertEqual(self.gateway.request("GET", "/status", Cookie=cookie).status, 200)
        self.assertEqual(self.gateway.request("GET", "/", Authorization="Bearer s3cret").status, 200)

    def test_secure(self) -> None:
        """If the browser uses TLS, the cookie is for TLS only."""
        origin = "https://127.0.0.1:5290"
        self.assertTrue(str(self.login(Origin=origin).headers["set-cookie"]).endswith("; Secure"))

    def test_wrong(self) -> None:
        """A wrong token gives the form again, which says so, and no cookie."""
        for token in ("", "wrong", "s3cre", "%00", "%ff", "s3cret%00", "&" * 100, "s3cret;x"):
            response = self.login(token)
            self.assertEqual(response.status, 401, token)
            self.assertIs(response.headers["set-cookie"], None)
            outline = Outline(response.text)
            self.assertIn("This is not the token", outline.text)
            self.assertEqual(outline.named("form")[0]["action"], "login")
            self.assertEqual(outline.named("input")[1]["aria-invalid"], "true")

    def test_space(self) -> None:
        """White space around a token that was copied does not count."""
        self.assertEqual(self.login("+s3cret%0A").status, 303)

    def test_foreign(self) -> None:
        """A page of another site cannot log in."""
        self.assertEqual(self.login(Origin="http://evil.example").status, 403)

    def test_ends(self) -> None:
        """After twelve hours the cookie is of no use, nor with another token."""
        cookie = self.cookie()
        self.gateway.reactor.advance(12 * 3600)
        self.assertEqual(self.page(Cookie=cookie).status, 401)

    def test_renewed(self) -> None:
        """A new token ends all sessions, and is the one to log in with."""
        cookie = self.cookie()
        site: Any = self.gateway.service.getServiceNamed("http")._factory
        site.gate = evolve(site.gate, token="new")
        self.assertEqual(self.page(Cookie=cookie).status, 401)
        self.assertEqual([self.login(each).status for each in ("s3cret", "new")], [401, 303])

    def test_logout(self) -> None:
        """Logging out removes the cookie."""
        cookie = self.cookie()
        response = self.gateway.request("POST", "/page/logout", b"", **FORM, Cookie=cookie)
        self.assertEqual((response.status, response.headers["location"]), (303, "../"))
        name, *attributes = str(response.headers["set-cookie"]).split("; ")
        self.assertEqual(name, cookie.partition("=")[0] + "=")
        self.assertIn("Max-Age=0", attributes)

    def test_only(self) -> None:
        """A session does not admit to the resources of services, nor to their changes."""
        cookie = self.cookie()
        for path in ("/roster_admin/refresh/alice", "/page/login", "/x"):
            self.assertEqual(self.gateway.request("GET", path, Cookie=cookie).status, 401)
        self.assertEqual(self.gateway.request("POST", "/", Cookie=cookie).status, 401)


class EventsTests(PageCase):
    """The events of the page."""

    def setUp(self) -> None:
        super().setUp()
        # Until then, reports change by themselves.
        self.gateway.wait(15)

    def listen(self) -> Response:
        response = self.gateway.request("GET", "/page/events", Connection="keep-alive")
        self.gateway.reactor.advance(0)
        return response

    def test_whole(self) -> None:
        """The first event has all sections, in their order."""
        response = self.listen()
        self.assertEqual(response.status, 200)
        head = response._transport.value().partition(b"\r\n\r\n")[0].decode().lower()
        self.assertIn("content-type: text/event-stream", head)
        self.assertIn("x-accel-buffering: no", head)
        [event] = events(response)
        self.assertEqual(event["order"], ["summary", f"c-{PROXY}", "c-rooms.example.com", "files"])
        self.assertEqual(list(event["changed"]), event["order"])
        self.assertEqual((event["title"], event["text"].count("1 problem")), ("1 problem: XMPP gateway", 1))

    def test_changes(self) -> None:
        """Later events only have the sections that have changed; if none has, there is no event."""
        response = self.listen()
        events(response)
        self.gateway.wait(10)
        self.assertEqual(events(response), [])
        self.gateway.server(PROXY).send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.gateway.wait(5)
        [event] = events(response)
        self.assertEqual(list(event["changed"]), ["summary", f"c-{PROXY}"])
        self.assertEqual(event["title"], "XMPP gateway")
        self.assertIn("that get requests: 1", event["changed"][f"c-{PROXY}"])

    def test_silence(self) -> None:
        """If nothing changes, a comment shows that the stream lives."""
        response = self.listen()
        events(response)
        self.gateway.wait(25)
        self.assertEqual(response._transport.value(), b"")
        self.gateway.wait(10)
        self.assertEqual(response._transport.value(), b"3\r\n:\n\n\r\n")

    def test_late(self) -> None:
        """A later stream begins with all sections; earlier ones still get changes only."""
        first = self.listen()
        events(first)
        self.gateway.server(PROXY).send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.gateway.wait(2)
        second = self.listen()
        self.assertEqual([len(event["changed"]) for event in events(second)], [4])
        self.assertEqual([len(event["changed"]) for event in events(first)], [2])

    def test_bound(self) -> None:
        """The number of streams is bounded; a stream that ends makes room."""
        streams = [self.listen() for _ in range(MAX_LISTENERS)]
        refused = self.listen()
        self.assertEqual((refused.status, refused.headers["retry-after"]), (503, "30"))
        streams[3]._transport.lose(ConnectionError())
        self.assertEqual(self.listen().status, 200)
        self.assertEqual(self.listen().status, 503)

    def test_lifetime(self) -> None:
        """A stream ends after some minutes; the browser then comes again, if its session still lasts."""
        response = self.listen()
        self.gateway.wait(LIFETIME - 10)
        self.assertFalse(response._transport.value().endswith(b"0\r\n\r\n"))
        self.gateway.wait(15)
        self.assertTrue(response._transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(len(self.gateway.service._web.live._listeners), 0)

    def test_stall(self) -> None:
        """A browser that does not read gets nothing more until it reads, then all; or it is disconnected."""
        responses = [self.listen(), self.listen()]
        producers = [each._transport.producer for each in responses]
        for each, producer in zip(responses, producers, strict=True):
            events(each)
            producer.pauseProducing()
        self.gateway.server(PROXY).send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.gateway.wait(STALL - 10)
        self.assertEqual([events(each) for each in responses], [[], []])
        producers[0].resumeProducing()
        self.gateway.wait(5)
        self.assertEqual([len(event["changed"]) for event in events(responses[0])], [4])
        self.gateway.wait(15)
        self.assertEqual([each._transport.aborted for each in responses], [False, True])
        self.assertEqual(len(self.gateway.service._web.live._listeners), 1)

    def test_fault(self) -> None:
        """If the page cannot be made once, the stream goes on."""
        response = self.listen()
        events(response)
        good = View._make
        self.patch(View, "_make", lambda view: (1 / 0 for _ in "x"))
        self.gateway.wait(5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(View, "_make", good)
        self.gateway.server(PROXY).send(f"<presence from='{TARGET}/a' to='{PROXY}'/>")
        self.gateway.wait(5)
        self.assertEqual(len(events(response)), 1)

    def test_stop(self) -> None:
        """When the gateway stops, streams end, and no timer is left."""
        response = self.listen()
        self.gateway.stop()
        self.assertTrue(response._transport.value().endswith(b"0\r\n\r\n"))
        self.assertIs(self.gateway.service._nextSample, None)

    def test_head(self) -> None:
        """HEAD opens no stream."""
        self.assertEqual(self.gateway.request("HEAD", "/page/events").status, 200)
        self.assertEqual(len(self.gateway.service._web.live._listeners), 0)


def reported(*items: StatusItem) -> Report:
    """Return the report of a connected component."""
    return Report("c.example.com", True, "connected", False, items)


def section(items: Iterable[StatusItem], history: History | None = None) -> str:
    """Return the section of a component as HTML."""
    return flat(component(reported(*items), "proxy", history, 1000.0)).decode()


class SectionTests(SynchronousTestCase):
    """The sections."""

    def test_escaped(self) -> None:
        """Texts from outside are text, and cannot control the screen."""
        bad = "<script>alert('&')</script>\x1b[2J\u202e"
        about = {"x": bad, bad: bad, "m": {bad: 1}}
        items = [StatusItem("x.y", "{x}", about), StatusItem("x.y", "{x}", about), StatusItem("x.z", "{x}", about)]
        for isProblem in (False, True):
            report = Report(bad, False, bad, True, (*items, StatusItem("x.p", "{x}", {"x": bad}, isProblem)))
            found = flat(component(report, bad, None, 0.0)).decode()
            self.assertNotIn("<script", found)
            self.assertIn("&lt;script&gt;", found)
        file = StatusItem("file", "{x}", {"x": bad}, True)
        self.assertNotIn("<script", flat(listed("files", "Files", [file])).decode())

    def test_unprintable(self) -> None:
        """No control characters, and none that change the direction of text."""
        bad = "a\x1b[2J\u202e\x00b"
        about = {"x": bad, "m": {bad: 1}, "t": (bad,)}
        items = [StatusItem("x.y", "{x}", about), StatusItem("x.y", "{x}", about), StatusItem("x.z", "{x}", about)]
        items.append(StatusItem("x.p", "{x}", {"x": bad, "advice": f"do\n  {bad}"}, isProblem=True))
        self.assertNotRegex(section(items), "[\x00-\x09\x0b-\x1f\u202e]")

    def test_advice(self) -> None:
        """Lines for a configuration are a block that the keyboard reaches; advice is shown once."""
        lines = "    VirtualHost \"x\"\n      modules"
        item = StatusItem("x.y", "{s} lacks it. {advice}", {"s": "S", "advice": f"Add:\n{lines}\nor:\n  z"}, True)
        outline = Outline(section([item]))
        self.assertEqual([each["tabindex"] for each in outline.named("pre")], ["0", "0"])
        self.assertEqual(outline.text.count('VirtualHost "x"\n  modules'), 1)
        self.assertIn("Problem: S lacks it. Add:", outline.text)
        lines = Outline(section([StatusItem("x.y", "one\ntwo\nthree", {}, True)]))
        self.assertEqual(len(lines.named("p")), 3)
        self.assertIn("onetwothree", lines.text)
        hidden = StatusItem("x.y", "bad", {"advice": "Restart it."}, True)
        self.assertIn("Restart it.", Outline(section([hidden])).text)

    def test_table(self) -> None:
        """Several items of a name are a table with headers; a nested item is its sentence."""
        node = StatusItem("x.node", "to {n}", {"n": "there"})
        items = [
            StatusItem("rooms.federated", "{room}", {"room": f"r{number}", "sent_bytes": 1234, "nodes": (node,)})
            for number in range(3)
        ]
        html = section(items)
        outline = Outline(html)
        self.assertEqual([each["scope"] for each in outline.named("th")], ["col"] * 3 + ["row"] * 3)
        cells = re.findall("<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html)
        self.assertEqual(cells[:3], ["Room", "Sent bytes", "Nodes"])
        self.assertEqual(cells[3:6], ["r0", "1,234", '<span class="part">to there</span>'])

    def test_few(self) -> None:
        """Items with one value or none, or with different values, are sentences."""
        for values in ({}, {"n": 1}):
            found = section([StatusItem("x.y", "one", values), StatusItem("x.y", "two", values)])
            self.assertEqual((len(Outline(found).named("table")), len(Outline(found).named("li"))), (0, 2))
        items = [StatusItem("x.y", "one", {"a": 1, "b": 2}), StatusItem("x.y", "two", {"a": 1, "c": 2})]
        self.assertEqual(Outline(section(items)).named("table"), [])

    def test_load(self) -> None:
        """Numbers by name that the sentence does not have are a list."""
        item = StatusItem("proxy.resources", "{online} online", {"online": 2, "open_by_resource": {"a": 3, "b": 0}})
        text = Outline(section([item])).text
        self.assertIn("2 online", text)
        self.assertIn("Open by resource:a: 3b: 0", text)

    def test_bounded(self) -> None:
        """The number of items is bounded; the rest is on /status."""
        items = [StatusItem(f"x.y{number}", "item", {}) for number in range(MAX_ITEMS + 5)]
        text = Outline(section(items)).text
        self.assertEqual(text.count("item"), MAX_ITEMS)
        self.assertIn("5 more are on /status", text)
        rows = [StatusItem("x.y", "{n}", {"n": number, "m": 0}) for number in range(MAX_ITEMS + 5)]
        self.assertEqual(len(Outline(section(rows)).named("tr")), MAX_ITEMS + 1)

    def test_plots(self) -> None:
        """The plots have their numbers as text, and are hidden from screen readers."""
        history = History(duration="Time of it.")
        for number in range(10):
            history.samples.append(Sample(950.0 + 5 * number, float(number), 0.02 if number % 4 else None, 1.5))
        outline = Outline(section([], history))
        self.assertIn("Stanzas per second: 9.0 now, 9.0 at most", outline.text)
        self.assertIn("Latency: 20 ms on average most recently (solid), 1.5 s at most (dashed)", outline.text)
        self.assertEqual([each["aria-hidden"] for each in outline.named("svg")], ["true"] * 2)
        paths = [str(each["d"]) for each in outline.named("path")]
        self.assertEqual([path.count("M") for path in paths], [1, 1, 1])
        for path in paths:
            for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path):
                self.assertTrue(0 <= float(x) <= 300 and 0 <= float(y) <= 60, path)

    def test_gap(self) -> None:
        """A pause in the samples is a gap in the line; old samples are not drawn."""
        history = History()
        for at in (0.0, 900.0, 905.0, 950.0):
            history.samples.append(Sample(at, 0.0))
        [figure] = plots(history, 1000.0)
        path = str(Outline(flat(figure).decode()).named("path")[0]["d"])
        self.assertEqual(path, "M266.7 59.0h0L268.3 59.0M283.3 59.0h0")

    def test_oneSample(self) -> None:
        """One sample is no line."""
        history = History()
        history.samples.append(Sample(0.0, 1.0))
        self.assertEqual(plots(history, 1.0), [])

    def test_units(self) -> None:
        """Durations and sizes for people."""
        durations = [duration(each) for each in (0.0, 0.0004, 0.0234, 1.25, 75.0)]
        self.assertEqual(durations, ["under 0.1 ms", "0.4 ms", "23 ms", "1.2 s", "75 s"])
        sizes = [size(each) for each in (0, 1023, 1536, 20 * 2**20, 3 * 2**50)]
        self.assertEqual(sizes, ["0 bytes", "1023 bytes", "1.5 KiB", "20 MiB", "3072 TiB"])
