"""The access rules of the HTTP server."""

from __future__ import annotations

import math

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from gateway.http.access import SESSION, Gate
from gateway.http.answers import isFromPage

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


NOW = 1_700_000_000.0


class SessionTests(SynchronousTestCase):
    """Sessions of browsers, which the form to log in starts."""

    gate = Gate("s3cret")

    def code(self, path: str = "/", method: str = "GET", utc: float = NOW, cookie: bytes | None = None) -> int:
        """Return the status of the refusal, 0 if there is none."""
        if cookie is None:
            cookie = self.gate.cookie + b"=" + self.gate.session(NOW)
        headers = Headers({"host": ["localhost"], "cookie": [b"a=b; " + cookie]})
        refusal = self.gate.refusal(path.encode(), headers, LOOPBACK, False, method.encode(), utc)
        return 0 if refusal is None else refusal.code

    def test_pages(self) -> None:
        """A session admits to the page and its parts, for reading; everything else needs the token itself."""
        for path in ("/", "/?x", "/status", "/page/events", "/page/live.js"):
            for method, code in (("GET", 0), ("HEAD", 0), ("POST", 401), ("PUT", 401), ("DELETE", 401)):
                self.assertEqual(self.code(path, method), code, (path, method))
        for path in ("/metrics", "/roster_admin/refresh", "/roster_admin/refresh/alice", "/page", "//", "/page/x"):
            self.assertEqual(self.code(path), 401, path)

    def test_ends(self) -> None:
        """A session ends after twelve hours; one that would last longer was not made by this gateway."""
        for after, code in ((-1.0, 401), (0.0, 0), (SESSION - 1.0, 0), (SESSION, 401), (math.inf, 401)):
            self.assertEqual(self.code(utc=NOW + after), code, after)

    def test_forged(self) -> None:
        """The code covers the time, and depends on the token."""
        ends, code = self.gate.session(NOW).split(b".")
        later = b"%d" % (int(ends) - 1)
        changed = later + b"." + code, ends + b"." + code[:-1]
        for value in (b"", b".", ends, ends + b".", b"." + code, code, *changed):
            self.assertEqual(self.code(cookie=self.gate.cookie + b"=" + value), 401, value)
        for text in (b"x", b"\xff", b"1e9", b"-1"):
            forged = text + b"." + self.gate._code(text)
            self.assertEqual(self.code(cookie=self.gate.cookie + b"=" + forged), 401, text)
        other = Gate("other")
        self.assertEqual(self.code(cookie=other.cookie + b"=" + other.session(NOW)), 401)
        self.assertEqual(self.code(cookie=self.gate.cookie + b"=" + other.session(NOW)), 401)
        self.assertNotEqual(self.gate.cookie, other.cookie)

    def test_noToken(self) -> None:
        """The codes of a gateway without a token, which anybody could compute, admit to no other gateway."""
        self.assertEqual(self.code(cookie=self.gate.cookie + b"=" + Gate().session(NOW)), 401)

    def test_elsewhere(self) -> None:
        """A session does not make a page of another site one of ours."""
        for name, value, code in (
            ("host", "evil.example", 421),
            ("origin", "http://localhost:3000", 403),
            ("sec-fetch-site", "same-site", 403),
        ):
            cookie = self.gate.cookie + b"=" + self.gate.session(NOW)
            headers = Headers({"host": ["localhost"], "cookie": [cookie]})
            headers.setRawHeaders(name, [value])
            refusal = self.gate.refusal(b"/", headers, LOOPBACK, utc=NOW)
            assert refusal is not None
            self.assertEqual(refusal.code, code)

    def test_forms(self) -> None:
        """The forms need no token, but only small ones are read, and those of other sites are not."""
        small = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8", "content-length": "4096"}
        for path, change, code in (
            ("/page/login", {}, 0),
            ("/page/logout", {}, 0),
            ("/page/login?x", {}, 0),
            ("/page/login/", {}, 401),
            ("/", {}, 401),
            ("/page/login", {"content-length": "4097"}, 401),
            ("/page/login", {"content-length": "99999"}, 401),
            ("/page/login", {"content-length": "x"}, 401),
            ("/page/login", {"transfer-encoding": "chunked"}, 401),
            ("/page/login", {"content-type": "text/plain"}, 401),
            ("/page/login", {"origin": "http://evil.example"}, 403),
            ("/page/login", {"host": "evil.example"}, 421),
        ):
            headers = Headers({name: [value] for name, value in ({"host": "localhost"} | small | change).items()})
            refusal = self.gate.refusal(path.encode(), headers, LOOPBACK, method=b"POST", utc=NOW)
            self.assertEqual(0 if refusal is None else refusal.code, code, (path, change))
        headers = Headers({name: [value] for name, value in ({"host": "localhost"} | small).items()})
        for method in (b"GET", b"PUT"):
            self.assertIsNotNone(self.gate.refusal(b"/page/login", headers, LOOPBACK, method=method))

    def test_form(self) -> None:
        """Only a browser that asks for the page itself gets the form."""
        for path, method, accept, isLogin in (
            (b"/", b"GET", "text/html,application/xhtml+xml,*/*;q=0.8", True),
            (b"/", b"HEAD", "text/html", True),
            (b"/", b"POST", "text/html", False),
            (b"/", b"GET", "*/*", False),
            (b"/status", b"GET", "text/html", False),
        ):
            headers = Headers({"host": ["localhost"], "accept": [accept]})
            refusal = self.gate.refusal(path, headers, LOOPBACK, method=method)
            assert refusal is not None
            self.assertEqual((refusal.code, refusal.isLogin), (401, isLogin), (path, method, accept))


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
