"""The access rules of the HTTP server."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from gateway.http.access import Gate
from gateway.http.agent import isFromPage

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 5290)
LOOPBACK_6 = IPv6Address("TCP", "::1", 5290)
MAPPED = IPv6Address("TCP", "::ffff:127.0.0.1", 5290)
ELSEWHERE = IPv4Address("TCP", "192.0.2.7", 5290)
UNIX = UNIXAddress(b"/run/http")


class GateTests(SynchronousTestCase):
    """Requests."""

    def code(self, gate: Gate, address: IAddress = LOOPBACK, path: str = "/status", **headers: str) -> int:
        """Return the status of the refusal, 0 if there is none."""
        found = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        refusal = gate.refusal(path.encode(), found, address)
        return 0 if refusal is None else refusal.code

    def test_hosts(self) -> None:
        """Host must be the address of the listener, or a name of a loopback address, with its port."""
        for address, ours, others in (
            (
                LOOPBACK,
                ("127.0.0.1:5290", "localhost:5290", "LOCALHOST:5290", "localhost", "127.0.0.1", "localhost.:5290"),
                ("evil.example", "evil.example:5290", "localhost:5291", "192.0.2.7:5290", "127.0.0.2", "[::1]", ""),
            ),
            (LOOPBACK_6, ("[::1]:5290", "localhost:5290"), ("::1", "[::2]:5290", "127.0.0.1:5290", "[::1]x")),
            (MAPPED, ("127.0.0.1:5290", "localhost"), ("[::1]",)),
            (ELSEWHERE, ("192.0.2.7:5290",), ("localhost:5290", "127.0.0.1", "192.0.2.7.evil.example")),
            (UNIX, ("localhost", "any.example"), ("two words", "a@b")),
        ):
            for host in ours:
                self.assertEqual(self.code(Gate(), address, host=host), 0, (host, address))
            for host in others:
                self.assertEqual(self.code(Gate(), address, host=host), 421, (host, address))

    def test_hostsOfOwn(self) -> None:
        """http.hosts adds names; a refusal names this key, and shows only printable ASCII of the Host header."""
        gate = Gate(hosts=frozenset({"gateway.example.com", "other.example:8080"}))
        for host in ("gateway.example.com", "Gateway.example.com:443", "other.example:8080", "127.0.0.1"):
            self.assertEqual(self.code(gate, host=host), 0, host)
        for host in ("other.example", "other.example:80", "x.gateway.example.com"):
            self.assertEqual(self.code(gate, host=host), 421, host)
        refusal = gate.refusal(b"/", Headers({"host": ["e\u202evil\x85<"]}), LOOPBACK)
        assert refusal is not None
        self.assertIn("http.hosts", refusal.text)
        self.assertTrue(refusal.text.removesuffix("\n").isprintable())
        self.assertTrue(refusal.text.isascii())

    def test_noHost(self) -> None:
        """Only an HTTP/1.0 request may lack Host, because no browser sends one; two Host headers are refused."""
        for hosts, old, new in (([], 0, 400), (["127.0.0.1"], 0, 0), (["127.0.0.1", "127.0.0.1"], 400, 400)):
            for isOld, code in ((True, old), (False, new)):
                refusal = Gate().refusal(b"/", Headers({"host": hosts}), LOOPBACK, isOld)
                self.assertEqual(0 if refusal is None else refusal.code, code, (hosts, isOld))

    def test_pages(self) -> None:
        """Requests from pages of other sites are refused, whichever header shows their origin."""
        gate = Gate(hosts=frozenset({"gateway.example.com"}))
        host = "127.0.0.1:5290"
        for origin, code in (
            (f"http://{host}", 0),
            ("https://gateway.example.com", 0),
            ("HTTPS://Gateway.Example.Com", 0),
            ("http://localhost:5290", 403),
            ("https://gateway.example.com:3000", 403),
            ("http://127.0.0.1:3000", 403),
            ("http://127.0.0.1", 403),
            ("https://evil.example", 403),
            ("null", 403),
            ("", 403),
            ("http://[", 403),
            ("\xff", 403),
        ):
            self.assertEqual(self.code(gate, host=host, origin=origin), code, origin)
        for site, code in (("none", 0), ("same-origin", 0), ("same-site", 403), ("cross-site", 403), ("new", 403)):
            self.assertEqual(self.code(gate, host=host, sec_fetch_site=site), code, site)
        self.assertEqual(self.code(gate, UNIX, host="any.example", origin="http://other.example"), 403)

    def test_token(self) -> None:
        """The token is checked first: without it the answer reveals nothing else."""
        gate = Gate("s3cret", free=frozenset({b"/healthz"}))
        for shown in ("", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer", "Bearer \u00e4"):
            self.assertEqual(self.code(gate, host="evil.example", authorization=shown), 401, shown)
        self.assertEqual(self.code(gate, host="127.0.0.1", authorization="bearer s3cret"), 0)
        self.assertEqual(self.code(gate, host="evil.example", authorization="Bearer s3cret"), 421)
        self.assertNotIn("s3cret", repr(gate))

    def test_free(self) -> None:
        """Free paths are served under any host name, but only with their exact spelling."""
        gate = Gate("s3cret", free=frozenset({b"/healthz"}))
        for path in ("/healthz", "/healthz?verbose"):
            self.assertEqual(self.code(gate, path=path, host="10.1.2.3:8080"), 0, path)
        for path in ("/healthz/", "//healthz", "/%68ealthz", "/healthz/../status", "/status?/healthz", "*", ""):
            self.assertEqual(self.code(gate, path=path, host="127.0.0.1"), 401, path)


class PageTests(SynchronousTestCase):
    """GET requests of browsers and of other clients."""

    def test_pages(self) -> None:
        """A page is distinguished from a program, and from a user who types the address."""
        for headers, fromPage in (
            ({}, False),
            ({"user-agent": "curl/8"}, False),
            ({"user-agent": "Mozilla/5.0", "sec-fetch-site": "none"}, False),
            ({"user-agent": "Mozilla/5.0", "sec-fetch-site": "cross-site"}, True),
            ({"sec-fetch-site": "same-origin"}, True),
            ({"user-agent": "Mozilla/5.0 (an old one)"}, True),
            ({"referer": "http://evil.example/"}, True),
            ({"origin": "null"}, True),
        ):
            found = Headers({name: [value] for name, value in headers.items()})
            self.assertEqual(isFromPage(found), fromPage, headers)
