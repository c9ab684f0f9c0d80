"""/roster_admin/refresh, over the whole HTTP stack in memory."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from gateway.interfaces import RosterItem
from gateway.monitor.access import Gate
from gateway.monitor.site import QuietSite
from gateway.pieces import Pieces
from gateway.roster.core import Finished, Summary
from gateway.roster.resource import Refreshing, RefreshResource


class SlowClock(MemoryReactorClock):
    """
    A clock on which each look takes its time, if it is told so.

    @ivar step: seconds.
    """

    step = 0.0

    def seconds(self) -> float:
        self.rightNow += self.step
        now: float = super().seconds()
        return now


class FakeRefresher:
    """Refreshes as it is told."""

    concurrency = 2

    def __init__(self) -> None:
        self.announced = 0
        self.room = 100_000
        self.asked: list[tuple[str, bool | str]] = []
        self.outcomes: dict[str, Finished] = {}
        self.waiting: dict[str, Deferred[Finished]] = {}

    def announce(self, count: int) -> bool:
        self.announced += count if count <= self.room else 0
        return count <= self.room

    def refresh(self, name: str, isForced: bool = False) -> Deferred[Finished]:
        self.asked.append((name, isForced))
        return self.waiting.get(name) or succeed(self.outcomes.get(name, Finished()))

    def wouldChange(self, name: str) -> Deferred[Finished]:
        self.asked.append((name, "dry"))
        return succeed(self.outcomes.get(name, Finished()))


class RefreshTests(SynchronousTestCase):
    """Requests of an application."""

    secret: str | None = None

    def setUp(self) -> None:
        self.refresher = FakeRefresher()
        admin, root = Resource(), Resource()
        refreshing: Any = self.refresher
        self.clock = SlowClock()
        self.now = 1_700_000_000.0
        secret = None if self.secret is None else self.secret.encode()
        service = Refreshing(refreshing, Pieces(self.clock), lambda: self.now, secret)
        admin.putChild(b"refresh", RefreshResource(service))
        root.putChild(b"roster_admin", admin)
        self.site = QuietSite(root, Gate(), self.clock)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> StringTransport:
        self.transport = transport = StringTransport()
        self.channel = channel = self.site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        lines = [f"{method} /roster_admin/refresh{path} HTTP/1.1", "Host: 10.0.0.1", "Connection: close"]
        lines += [f"Content-Length: {len(body)}"] if body else []
        if method == "POST":
            headers.setdefault("Content_Type", "application/json")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value != "-"]
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode(errors="surrogateescape") + body)
        return transport

    def answer(self, transport: StringTransport) -> tuple[int, dict[str, Any], str]:
        head, _, body = transport.value().partition(b"\r\n\r\n")
        if b"chunked" in head:
            size, _, rest = body.partition(b"\r\n")
            body = rest[: int(size, 16)]
        return int(head.split()[1]), json.loads(body or b"{}"), head.decode().lower()

    def post(self, value: Any, path: str = "", **headers: str) -> tuple[int, dict[str, Any], str]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.answer(self.send("POST", path, body, **headers))

    def test_post(self) -> None:
        """The seed's answer, once all are done."""
        code, answer, head = self.post(["john", "aaron"])
        self.assertEqual(code, 200)
        self.assertEqual(
            answer,
            {"status": "ok", "message": "roster update complete", "updated": 2, "errors": 0, "failed": {}},
        )
        self.assertIn("content-type: application/json", head)
        self.assertEqual(self.refresher.asked, [("john", False), ("aaron", False)])

    def test_get(self) -> None:
        """One user, URL-encoded."""
        code, answer, _ = self.answer(self.send("GET", "/j%C3%B6hn"))
        self.assertEqual((code, answer["updated"]), (200, 1))
        self.assertEqual(self.refresher.asked, [("jöhn", False)])

    def test_some(self) -> None:
        """Some failures are told; only when all have failed it is an error."""
        self.refresher.outcomes["aaron"] = Finished(reason="no answer")
        code, answer, _ = self.post(["john", "aaron"])
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 1, 1))
        self.assertEqual(answer["failed"], {"aaron": "no answer"})
        code, answer, _ = self.post(["aaron"])
        self.assertEqual((code, answer["status"], answer["errors"]), (500, "error", 1))

    def test_nobody(self) -> None:
        """An empty array is answered at once, and is no error."""
        code, answer, _ = self.post([])
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 0, 0))

    def test_twice(self) -> None:
        """Who stands there twice, in whatever spelling, counts once."""
        _, answer, _ = self.post(["john", "John", "john"])
        self.assertEqual((answer["updated"], self.refresher.asked), (1, [("john", False)]))

    def test_names(self) -> None:
        """What is no user name is not fetched, and is told."""
        code, answer, _ = self.post(["john", "a@b", "", 3, None])
        self.assertEqual((code, answer["updated"], answer["errors"]), (200, 1, 4))
        self.assertEqual(set(answer["failed"]), {"a@b", "", "3", "null"})
        self.assertEqual(self.refresher.asked, [("john", False)])

    def test_namesLikeOthers(self) -> None:
        """What is no user name keeps no user from being refreshed, however it is written."""
        for names, user in (([3, "3"], "3"), ([None, "null"], "null"), (["x" * 2000, "x" * 100], "x" * 100)):
            for order in (names, names[::-1]):
                self.refresher.asked.clear()
                code, answer, _ = self.post(order)
                self.assertEqual((code, answer["updated"], answer["errors"]), (200, 1, 1))
                self.assertEqual(self.refresher.asked, [(user, False)])

    def test_waits(self) -> None:
        """The answer comes when the last one is done; to somebody who is gone, none."""
        for isGone in (False, True):
            waiting = self.refresher.waiting["john"] = Deferred()
            transport = self.send("POST", "", b'["john", "aaron"]')
            self.assertEqual(transport.value(), b"")
            if isGone:
                self.channel.connectionLost(ConnectionError())
            waiting.callback(Finished())
            self.assertEqual(bool(transport.value()), not isGone)

    def test_options(self) -> None:
        """Force, and a dry run, which tells what would change."""
        self.post(["john"], "?force=1")
        changes = (
            RosterItem(jid="a@h", name="A", groups=frozenset("G")),
            RosterItem(jid="b@h", subscription="remove"),
        )
        self.refresher.outcomes["john"] = Finished(Summary(1, 0, 1), changes)
        _, answer, _ = self.post(["john"], "?dry_run=1")
        self.assertEqual(self.refresher.asked, [("john", True), ("john", "dry")])
        self.assertEqual(
            answer["changes"],
            {
                "john": [
                    {"jid": "a@h", "name": "A", "groups": ["G"], "subscription": "none"},
                    {"jid": "b@h", "subscription": "remove"},
                ]
            },
        )

    def test_optionValues(self) -> None:
        """An option is on or off; nothing is done where somebody may have meant the other."""
        for query, asked in (
            ("dry_run=True", "dry"),
            ("dry_run=true&force=0", "dry"),
            ("dry_run=0", False),
            ("force=false&dry_run=False", False),
            ("force=TRUE", True),
        ):
            self.assertEqual(self.post(["john"], f"?{query}")[0], 200, query)
            self.assertEqual(self.refresher.asked.pop(), ("john", asked), query)
        for query in ("dry_run", "dry_run=", "dry_run=yes", "dry_run=0&dry_run=1", "dryrun=1", "force=2", "%ff=1"):
            for found, answer, _ in (
                self.post(["john"], f"?{query}"),
                self.answer(self.send("GET", f"/john?{query}")),
            ):
                self.assertEqual(found, 400, query)
                self.assertIn("dry_run=0|1", answer["message"])
        self.assertEqual(self.refresher.asked, [])

    def test_headers(self) -> None:
        """Nor do bytes in a header matter that are no text."""
        self.assertEqual(self.post([], Content_Type="\udcff")[0], 415)
        self.assertEqual(self.post([], Content_Type="-")[0], 415)
        self.assertEqual(self.post([], X_Hub_Signature_256="\udcff")[0], 200 if self.secret is None else 401)

    def test_wrong(self) -> None:
        """What is wrong with a request is said, with the right status."""
        for value, headers, code, part in (
            (b"", {}, 400, "no body"),
            (b"{", {}, 400, "not JSON"),
            (b"[" * 100_000, {}, 400, "not JSON"),
            ({"a": 1}, {}, 400, "not an array"),
            (b" " * (1024 * 1024 + 1), {}, 413, "1048576 bytes"),
            ([], {"Content_Type": "text/plain"}, 415, "text/plain"),
        ):
            found, answer, _ = self.post(value, **headers)
            self.assertEqual(found, code, part)
            self.assertIn(part, answer["message"])
        self.assertEqual(self.refresher.asked, [])
        for method, path, allowed in (
            ("GET", "", "post"),
            ("PUT", "", "post"),
            ("POST", "/john", "get"),
            ("HEAD", "/john", "get"),
            ("DELETE", "/john", "get"),
        ):
            found, _, head = self.answer(self.send(method, path, b"[]"))
            self.assertEqual(found, 405)
            self.assertIn(f"allow: {allowed}", head)
        self.assertEqual(self.post(["john"], "/")[1]["updated"], 1)
        self.assertEqual(self.answer(self.send("GET", "/"))[0], 405)
        for path in ("/a/b", "/%ff"):
            self.assertIn(self.answer(self.send("GET", path))[0], (400, 404))
        self.assertEqual(
            self.answer(self.send("POST", "", b"[]", Content_Type="application/json; charset=utf-8"))[0], 200
        )


class SignedTests(RefreshTests):
    """With a secret, every body must be signed."""

    secret = "s3cret"

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> StringTransport:
        if "X_Hub_Signature_256" not in headers:
            if method == "POST" and "?" not in path:
                signed = body
            else:
                signed = f"{method}\n/roster_admin/refresh{path}\n{self.now:.0f}\n".encode() + body
                headers["X_Signature_Time"] = f"{self.now:.0f}"
            signature = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
            headers["X_Hub_Signature_256"] = f"sha256={signature}"
        return super().send(method, path, body, **headers)

    def test_signed(self) -> None:
        """Hexadecimal is the same in capitals."""
        signature = hmac.new(b"s3cret", b"[]", hashlib.sha256).hexdigest().upper()
        self.assertEqual(self.post([], X_Hub_Signature_256=f"sha256={signature}")[0], 200)

    def test_unsigned(self) -> None:
        """Without the right signature nothing is done."""
        for signature in ("", "sha256=", "x", "sha256=" + "0" * 64):
            code, answer, _ = self.post(["john"], X_Hub_Signature_256=signature)
            self.assertEqual(code, 401)
            self.assertIn("X-Hub-Signature-256", answer["message"])
        self.assertEqual(self.refresher.asked, [])
