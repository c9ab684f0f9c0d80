"""/status and its protection, over the whole HTTP stack in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from zope.interface import implementer

from gateway import __version__
from gateway.http.access import Gate
from gateway.http.site import QuietSite
from gateway.http.status import Status, prefersJson
from gateway.interfaces import IStatusProvider
from gateway.reports import StatusItem
from tests.http.test_health import FakeFile


@implementer(IStatusProvider)
class FakeHandler:
    """A handler with a report."""

    def report(self) -> list[StatusItem]:
        return [
            StatusItem("test.health", "all is {state}", {"state": "well"}),
            StatusItem("test.hope", "but\nnot for long"),
        ]


class FakeLink:
    """A link with handlers, one of which reports."""

    def __init__(self, jid: str, trouble: str = "") -> None:
        self.jid = jid
        self.trouble = trouble
        self.conflict = self.standby = ""
        self.ready = not trouble

    def __iter__(self) -> Iterator[object]:
        return iter([object(), FakeHandler()])


@implementer(IStatusProvider)
class ReportingLink(FakeLink):
    """A link with a report of its own."""

    def report(self) -> list[StatusItem]:
        return [StatusItem("test.own", "of the link")]


@implementer(IStatusProvider)
class OldHandler:
    """A handler of an older plugin."""

    def report(self) -> list[str]:
        return ["{all} is well", "but\nnot for long"]


class StatusTests(SynchronousTestCase):
    """Requests of an operator."""

    def ask(
        self, links: list[FakeLink], token: str | None = None, *headers: str, files: Sequence[FakeFile] = ()
    ) -> tuple[int, str, str]:
        """Return status code, headers and body of the answer to GET /status."""
        root = Resource()
        root.putChild(b"status", Status(links, files))
        transport = StringTransport()
        channel = QuietSite(root, Gate(token), MemoryReactorClock()).buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        lines = ["GET /status HTTP/1.1", "Host: 10.0.0.1", "Connection: close", *headers, "", ""]
        channel.dataReceived("\r\n".join(lines).encode())
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        return int(head.split()[1]), head.lower(), body

    def test_own(self) -> None:
        """The link's own report comes first."""
        _, _, body = self.ask([ReportingLink("a.example.com")])
        self.assertEqual(body, "a.example.com: connected\n  of the link\n  all is well\n  but\n  not for long\n")

    def test_texts(self) -> None:
        """A provider may return texts for one more release; each class that does is named in a warning."""
        link = FakeLink("a.example.com")
        self.patch(FakeLink, "__iter__", lambda link: iter([OldHandler()]))
        self.assertEqual(self.ask([link])[2], "a.example.com: connected\n  {all} is well\n  but\n  not for long\n")
        told = {each["message"] for each in self.flushWarnings()}
        self.assertEqual(
            told, {"OldHandler.report() returned a text; it should return gateway.reports.StatusItem"}
        )

    def test_failed(self) -> None:
        """A handler that fails to report, or whose sentence lacks a value, does not hide the others."""
        link = FakeLink("a.example.com")
        lacking = StatusItem("test.y", "{missing}")
        for failing in (
            lambda: 1 / 0,
            lambda: [StatusItem("test.x", "fine"), lacking],
            lambda: [StatusItem("test.x", "fine", {"inside": (lacking,)})],
        ):
            handler: Any = FakeHandler()
            handler.report = failing
            self.patch(FakeLink, "__iter__", lambda link, handler=handler: iter([handler, FakeHandler()]))
            failed = "  FakeHandler failed to report: see the log\n"
            rest = "  all is well\n  but\n  not for long\n"
            self.assertEqual(self.ask([link])[2], f"a.example.com: connected\n{failed}{rest}")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, KeyError)), 3)

    def test_links(self) -> None:
        """Each link with its state, followed by the reports of its handlers."""
        status, _, body = self.ask([FakeLink("a.example.com"), FakeLink("b.example.com", "the server is away")])
        reports = "  all is well\n  but\n  not for long\n"
        self.assertEqual(status, 200)
        self.assertEqual(
            body,
            f"a.example.com: connected\n{reports}\nb.example.com: not connected: the server is away\n{reports}",
        )

    def test_conflict(self) -> None:
        """A connected link shows its conflict; while it is not connected it does not."""
        links = [FakeLink("a.example.com"), FakeLink("b.example.com", "the server is away")]
        for link in links:
            link.conflict = "another gateway is connected"
        lines = [line for line in self.ask(links)[2].splitlines() if line and line[0] != " "]
        self.assertEqual(
            lines,
            [
                "a.example.com: connected, but another gateway is connected",
                "b.example.com: not connected: the server is away",
            ],
        )

    def test_files(self) -> None:
        """After the links there is a line for each file."""
        files = [FakeFile("a.private"), FakeFile("b.private", "the disk is full")]
        body = self.ask([FakeLink("a.example.com")], None, files=files)[2]
        self.assertEqual(body.split("\n\n")[1], "a.private: works\nb.private: the disk is full\n")
        self.assertEqual(self.ask([], None, files=files[:1])[2], "There are no links.\n\na.private: works\n")

    def test_printable(self) -> None:
        """Text from outside cannot control a screen, and adds no lines except those of a report."""
        body = self.ask([FakeLink("a.example.com", "\x1b[2J\u2028x\ny")])[2]
        self.assertEqual(body.split("\n")[0], "a.example.com: not connected: \\x1b[2J\\u2028x\\ny")

    def test_json(self) -> None:
        """A program that asks for JSON gets values."""
        links = [ReportingLink("a.example.com"), FakeLink("b.example.com", "the server is away")]
        inner = StatusItem("x.inner", "{n} in", {"n": 1}, isProblem=True)
        about = {"all": (inner,), "names": ("x", "y"), "counts": {"z": 1.5}, "bad": float("nan"), "is": True}
        self.patch(ReportingLink, "report", lambda link: [StatusItem("x.y", "{names}", about)])
        headers = "Accept: application/json"
        status, head, body = self.ask(links, None, headers, files=[FakeFile("a.private")])
        self.assertEqual(status, 200)
        self.assertIn("content-type: application/json\r\n", head + "\r\n")
        self.assertIn("vary: accept\r\n", head + "\r\n")
        document = json.loads(body)
        self.assertEqual(document["version"], __version__)
        first, second = document["links"]
        item, health, _ = first.pop("items")
        state = {"component": "a.example.com", "kind": None, "connected": True, "state": "connected"}
        self.assertEqual(first, {**state, "problem": False})
        self.assertEqual((second["connected"], second["problem"]), (False, True))
        self.assertEqual(second["state"], "not connected: the server is away")
        self.assertEqual(
            item["values"],
            {
                "all": [{"name": "x.inner", "text": "1 in", "problem": True, "values": {"n": 1}}],
                "names": ["x", "y"],
                "counts": {"z": 1.5},
                "bad": "nan",
                "is": True,
            },
        )
        expected = {"name": "test.health", "text": "all is well", "problem": False, "values": {"state": "well"}}
        self.assertEqual(health, expected)
        self.assertEqual([each["name"] for each in document["files"]], ["file"])

    def test_accept(self) -> None:
        """Text is the default; JSON has to be named, and to be liked no less than text."""
        for accept, isJson in (
            ("application/json", True),
            ("application/json, text/plain, */*", True),
            ("Application/JSON; q=0.9, */*; q=0.1", True),
            ("*/*", False),
            ("text/html,*/*;q=0.8", False),
            ("application/*", False),
            ("application/json;q=0", False),
            ("application/json;q=0.5, text/plain", False),
            ("application/json;q=0.5, text/*;q=0.6", False),
            ("application/json;q=x", False),
            (";;,,", False),
        ):
            self.assertEqual(prefersJson(Headers({"accept": [accept]})), isJson, accept)
        self.assertFalse(prefersJson(Headers()))

    def test_none(self) -> None:
        """Without links the page says so."""
        self.assertEqual(self.ask([])[2], "There are no links.\n")

    def test_token(self) -> None:
        """With a token, only requests with the token are answered; the refusal explains how to send it."""
        links = [FakeLink("a.example.com")]
        for headers in (
            (),
            ("Authorization: Bearer wrong",),
            ("Authorization: Basic s3cret",),
            ("Authorization: s3cret",),
            ("Authorization: Bearer",),
            ("Authorization: Bearer \u00e4",),
        ):
            status, head, body = self.ask(links, "s3cret", *headers)
            self.assertEqual(status, 401, headers)
            self.assertIn("www-authenticate: bearer", head)
            self.assertNotIn("a.example.com", body)
        self.assertEqual(self.ask(links, "s3cret", "Authorization: bearer s3cret")[0], 200)
