"""/healthz and /readyz, over the whole HTTP stack, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from gateway.http.health import Health, Readiness
from gateway.interfaces import IStatusProvider
from gateway.reports import StatusItem


class FakeLink:
    """A link with a given state."""

    def __init__(self, jid: str, trouble: str) -> None:
        self.jid = jid
        self.trouble = trouble
        self.conflict = self.standby = ""

    @property
    def ready(self) -> bool:
        return not self.trouble


@implementer(IStatusProvider)
class ReportingLink(FakeLink):
    """A link with items in its report."""

    def __init__(self, jid: str, trouble: str = "", items: Sequence[StatusItem] = ()) -> None:
        super().__init__(jid, trouble)
        self.items = list(items)

    def __iter__(self) -> Iterator[object]:
        return iter([object()])

    def report(self) -> list[StatusItem]:
        return self.items


class FakeFile:
    """A file with a given state."""

    def __init__(self, name: str, trouble: str = "") -> None:
        self.name = name
        self.trouble = trouble

    def report(self) -> StatusItem:
        return StatusItem("file", "{file}: {state}", {"file": self.name, "state": self.trouble or "works"})


class HealthTests(SynchronousTestCase):
    """Requests of an operator's tools."""

    def setUp(self) -> None:
        self.links = [FakeLink("a.example.com", ""), FakeLink("b.example.com", ""), FakeLink("c.example.com", "")]
        root = Resource()
        root.putChild(b"healthz", Health())
        self.files = [FakeFile("a.private"), FakeFile("b.private")]
        root.putChild(b"readyz", Readiness(self.links, self.files))
        self.reactor = MemoryReactorClock()
        self.site = Site(root, reactor=self.reactor)

    def ask(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        """Return status, header and body of the answer to one request."""
        transport = StringTransport()
        channel = self.site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        self.assertTrue(transport.disconnecting)
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        header = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), header, body

    def test_alive(self) -> None:
        """/healthz is 200 whatever the state of the links."""
        self.links[0].trouble = "connecting"
        status, header, body = self.ask("/healthz")
        self.assertEqual((status, body), (200, "ok\n"))
        self.assertEqual(header["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(header["cache-control"], "no-store")

    def test_ready(self) -> None:
        """/readyz is 200 if every link is connected."""
        self.assertEqual(self.ask("/readyz")[::2], (200, "ok\n"))

    def test_noLinks(self) -> None:
        """Without links /readyz is 200."""
        self.links.clear()
        self.assertEqual(self.ask("/readyz")[0], 200)

    def test_notReady(self) -> None:
        """503 names each link that is not connected, with the reason; then it is 200 again."""
        self.links[0].trouble = "the server rejects the secret"
        self.links[2].trouble = "Verbindung abgelehnt: ä"
        status, header, body = self.ask("/readyz")
        self.assertEqual(status, 503)
        self.assertEqual(
            body, "a.example.com: the server rejects the secret\nc.example.com: Verbindung abgelehnt: ä\n"
        )
        self.assertEqual(header["cache-control"], "no-store")
        self.assertEqual(int(header["content-length"]), len(body.encode()))
        self.links[0].trouble = self.links[2].trouble = ""
        self.assertEqual(self.ask("/readyz")[0], 200)

    def test_serves(self) -> None:
        """A component that this gateway does not serve is 503 for the one who asks for it: a load balancer."""
        self.links[1].standby = "gw2 serves it"
        self.links[1].trouble = ""
        self.patch(FakeLink, "ready", property(lambda link: not link.trouble and not link.standby))
        self.assertEqual(self.ask("/readyz")[::2], (200, "ok\n"))
        self.assertEqual(self.ask("/readyz?serves=a.example.com")[::2], (200, "ok\n"))
        for name in ("b.example.com", "x.example.com"):
            body = f"{name}: this gateway does not serve it\n"
            self.assertEqual(self.ask(f"/readyz?serves={name}")[::2], (503, body))
        self.assertEqual(self.ask("/readyz?serves=a.example.com&serves=b.example.com")[0], 400)

    def test_conflict(self) -> None:
        """A connected link with a conflict is reported as well."""
        self.links[1].conflict = "another gateway is connected"
        self.assertEqual(self.ask("/readyz")[::2], (503, "b.example.com: another gateway is connected\n"))
        self.links[1].conflict = ""
        self.assertEqual(self.ask("/readyz")[0], 200)

    def test_files(self) -> None:
        """503 names each file that does not work, with the reason, but without its folder: /readyz is public."""
        self.files[1].trouble = "the disk is full: free some space"
        self.links[0].trouble = "connecting"
        status, _, body = self.ask("/readyz")
        self.assertEqual(
            (status, body), (503, "a.example.com: connecting\nb.private: the disk is full: free some space\n")
        )
        self.files[1].trouble = self.links[0].trouble = ""
        self.assertEqual(self.ask("/readyz")[0], 200)

    def test_printable(self) -> None:
        """Text from outside cannot control a screen, and adds no line."""
        self.links[0].trouble = "the server says \x1b[2J\u202e\nb.example.com: forged"
        self.assertEqual(
            self.ask("/readyz")[2], "a.example.com: the server says \\x1b[2J\\u202e\\nb.example.com: forged\n"
        )

    def test_head(self) -> None:
        """HEAD has the same status and header."""
        self.links[1].trouble = "connecting"
        for path, expected in (("/healthz", 200), ("/readyz", 503)):
            status, header, body = self.ask(path, "HEAD")
            self.assertEqual((status, body), (expected, ""))
            self.assertIn("content-type", header)

    def test_otherMethods(self) -> None:
        """Other methods: 405 with the allowed ones; 501 for those that twisted.web does not know."""
        for path in ("/healthz", "/readyz"):
            status, header, _ = self.ask(path, "POST")
            self.assertEqual((status, set(header["allow"].split(", "))), (405, {"get", "head"}))
            for method in ("PUT", "DELETE", "NONSENSE"):
                self.assertEqual(self.ask(path, method)[0], 501)

    def test_unknown(self) -> None:
        """404 for all other paths, without a traceback."""
        for path in ("/", "/nothing", "/healthzz", "/../etc/passwd", "/%00", "/healthz%2f..", "//healthz"):
            status, _, body = self.ask(path)
            self.assertEqual(status, 404, path)
            self.assertNotIn("Traceback", body)

    def test_below(self) -> None:
        """There are no paths below these."""
        for path in ("/healthz/x", "/readyz/x"):
            self.assertEqual(self.ask(path)[0], 404, path)

    def test_full(self) -> None:
        """With full=1, /readyz is 503 as well while a service cannot do its work; it names the item only."""
        missing = StatusItem("x.missing", "alice@example.com", isProblem=True)
        failure = StatusItem("x.failure", "of bob", isProblem=True, isOfOneUser=True)
        link = ReportingLink("d.example.com", "", [StatusItem("x.fine", "fine"), failure])
        self.links[:] = [link]
        self.assertEqual(self.ask("/readyz?full=1")[::2], (200, "ok\n"))
        link.items.append(missing)
        self.assertEqual(self.ask("/readyz?full=1")[::2], (503, "d.example.com: x.missing: see /status\n"))
        for path in ("/readyz", "/readyz?full=0"):
            self.assertEqual(self.ask(path)[::2], (200, "ok\n"))
        link.trouble = "connecting"
        self.assertEqual(self.ask("/readyz?full=1")[::2], (503, "d.example.com: connecting\n"))

    def test_options(self) -> None:
        """An unknown or malformed option of /readyz is an error: a probe would not look at what it should."""
        for query in ("ful=1", "full=yes", "full=", "full=1&full=1", "full=1&x=1"):
            status, _, body = self.ask(f"/readyz?{query}")
            expected = "unknown or malformed option; valid: full=0|1, serves=COMPONENT\n"
            self.assertEqual((status, body), (400, expected), query)

    def test_query(self) -> None:
        """A query changes nothing."""
        self.assertEqual(self.ask("/healthz?x=1")[0], 200)
