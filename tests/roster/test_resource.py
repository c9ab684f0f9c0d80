"""C{/roster_admin/refresh}, over the whole HTTP stack in memory."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from twisted.internet.defer import Deferred, FirstError, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from gateway.http.access import Gate
from gateway.http.site import QuietSite
from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster import batch, resource, results
from gateway.roster.core import Finished
from gateway.roster.resource import RefreshResource, RefreshService, ResultsResource
from gateway.roster.results import Results


def whole(path: str) -> str:
    """Return a path from the root."""
    return path if path.startswith("/roster_admin/") else f"/roster_admin/refresh{path}"


class SlowClock(MemoryReactorClock):
    """
    A clock that may advance at each look.

    @ivar step: seconds.
    """

    step = 0.0

    def seconds(self) -> float:
        self.rightNow += self.step
        now: float = super().seconds()
        return now


class FakeRefresher:
    """Refreshes as the test says."""

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

    def dryRun(self, name: str) -> Deferred[Finished]:
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
        self.service = service = RefreshService(
            refreshing, Pieces(self.clock), Results(self.clock.seconds), lambda: self.now, secret
        )
        admin.putChild(b"refresh", RefreshResource(service))
        admin.putChild(b"results", ResultsResource(service))
        root.putChild(b"roster_admin", admin)
        self.site = QuietSite(root, Gate(), self.clock)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> StringTransport:
        self.transport = transport = StringTransport()
        self.channel = channel = self.site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        lines = [f"{method} {whole(path)} HTTP/1.1", "Host: 10.0.0.1", "Connection: close"]
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
        """The answer of mod_http_roster_admin, once all users are done."""
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
        """Failures are reported; only if all users have failed the answer is an error."""
        self.refresher.outcomes["aaron"] = Finished(reason="no answer")
        code, answer, _ = self.post(["john", "aaron"])
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 1, 1))
        self.assertEqual(answer["failed"], {"aaron": "no answer"})
        code, answer, _ = self.post(["aaron"])
        self.assertEqual((code, answer["status"], answer["errors"]), (500, "error", 1))

    def test_skipped(self) -> None:
        """
        Invalid contacts are reported by user, within bounds; the user counts as updated or failed all the same.
        """
        self.patch(batch, "_MAX_SKIPPED", 3)
        odd = {"a@x": "odd", "b@x": "odd"}
        for name, reason in (("john", ""), ("aaron", "x"), ("zoe", "")):
            self.refresher.outcomes[name] = Finished(reason=reason, skipped=odd)
        self.refresher.concurrency = 1
        code, answer, _ = self.post(["mary", "john", "aaron", "zoe"])
        self.assertEqual((code, answer["updated"], answer["failed"]), (200, 3, {"aaron": "x"}))
        self.assertEqual(answer["skipped"], {"john": odd, "aaron": {"a@x": "odd"}, "zoe": {"...": "2 or more"}})
        _, answer, _ = self.post(["john"], "?dry_run=1")
        self.assertEqual((answer["skipped"], answer["changes"]), ({"john": odd}, {"john": []}))

    def test_offline(self) -> None:
        """Users who are not online may be left out, and are listed; a dry run includes them."""
        told: list[tuple[str, bool]] = []

        def postpone(name: str, isForced: bool) -> bool:
            told.append((name, isForced))
            return name != "on"

        self.service.postpone = postpone
        names = [f"u{number}" for number in range(120)]
        code, answer, _ = self.post(["on", *names], "?force=1")
        self.assertEqual((code, answer["updated"], answer["errors"]), (200, 1, 0))
        self.assertEqual((answer["offline"], self.refresher.asked), (names, [("on", True)]))
        self.assertEqual(told, [(name, True) for name in ("on", *names)])
        code, answer, _ = self.post(["off", 3])
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 0, 1))
        self.refresher.asked.clear()
        _, answer, _ = self.post(["off"], "?dry_run=1")
        self.assertEqual((answer["updated"], self.refresher.asked), (1, [("off", "dry")]))
        self.assertNotIn("offline", answer)

    def later(self, names: Any, path: str = "", prefer: str = "respond-async") -> str:
        """Return the address of the result."""
        code, answer, head = self.post(names, path, Prefer=prefer)
        self.assertEqual((code, answer["status"]), (202, "running"), answer)
        self.assertIn("\r\npreference-applied: respond-async", head)
        self.assertIn(f"\r\nlocation: {answer['result'].lower()}", head)
        found: str = answer["result"]
        self.assertTrue(found.startswith("/roster_admin/results/"))
        return found

    def get(self, path: str) -> tuple[int, dict[str, Any], str]:
        return self.answer(self.send("GET", path))

    def test_later(self) -> None:
        """A caller that does not wait is answered at once; progress and the answer are at an address."""
        self.refresher.waiting["john"] = Deferred()
        self.refresher.outcomes["mary"] = Finished(reason="x")
        path = self.later(["mary", "john", "zoe", "mary", 3])
        code, answer, head = self.get(path)
        self.assertEqual((code, answer["status"], answer["done"], answer["users"]), (202, "running", 4, 5))
        self.assertIn("\r\nretry-after: 1", head)
        self.refresher.waiting["john"].callback(Finished())
        for _ in range(2):
            code, answer, _ = self.get(path)
            self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 2, 2))
            self.assertEqual(answer["failed"], {"3": "a user name is a string, not a number", "mary": "x"})
        self.assertEqual(self.refresher.announced, 0)

    def test_laterFailed(self) -> None:
        """If all have failed, the answer says so, with status 200."""
        self.refresher.outcomes["mary"] = Finished(reason="x")
        code, answer, _ = self.get(self.later(["mary"], "?dry_run=1", "wait=5, Respond-Async;x=y"))
        self.assertEqual((code, answer["status"], answer["failed"]), (200, "error", {"mary": "x"}))

    def test_laterBug(self) -> None:
        """An internal error ends the request, too."""

        def fail(name: str, isForced: bool) -> bool:
            raise ZeroDivisionError

        self.service.postpone = fail
        code, answer, _ = self.get(self.later(["mary"]))
        self.assertEqual((code, answer["status"]), (200, "error"))
        self.assertIn("internal error", answer["message"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_notLater(self) -> None:
        """Other preferences, and those of a GET or an invalid request, are ignored."""
        for prefer in ("wait=5", "respond-asynchronously", "return=respond-async", "x;respond-async"):
            self.assertEqual(self.post(["mary"], Prefer=prefer)[0], 200, prefer)
        self.assertEqual(self.answer(self.send("GET", "/mary", Prefer="respond-async"))[0], 200)
        self.assertEqual(self.post({}, Prefer="respond-async")[0], 400)

    def test_noResult(self) -> None:
        """An unknown result is an error with a text; a known one cannot be changed."""
        path = self.later([])
        for other in ("/roster_admin/results", "/roster_admin/results/", path[:-1], f"{path}/x", f"{path}%FF"):
            code, answer, _ = self.get(other)
            self.assertEqual((code, answer["status"]), (404, "error"), other)
            self.assertIn("kept for 3600 s", answer["message"])
        code, answer, head = self.post([], path)
        self.assertEqual((code, answer["message"]), (405, "GET .../results/ID"))
        self.assertIn("\r\nallow: get", head)

    def test_laterFull(self) -> None:
        """
        The number of requests under way is bounded; the next one is refused, and not announced. Complete ones make
        room.
        """
        self.patch(results, "_MAX_RESULTS", 2)
        self.refresher.waiting["john"] = Deferred()
        first = self.later([])
        for _ in range(2):
            self.later(["john"])
        self.assertEqual(self.get(first)[0], 404)
        code, _, head = self.post(["mary"], Prefer="respond-async")
        self.assertEqual((code, self.refresher.announced), (503, 0))
        self.assertIn("\r\nretry-after: 60", head)
        self.assertEqual(self.post(["mary"])[0], 200)

    def test_nobody(self) -> None:
        """An empty array is answered at once, and is no error."""
        code, answer, _ = self.post([])
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 0, 0))

    def test_twice(self) -> None:
        """A user who is listed twice, in any spelling, counts once."""
        _, answer, _ = self.post(["john", "John", "john"])
        self.assertEqual((answer["updated"], self.refresher.asked), (1, [("john", False)]))

    def test_wrongNames(self) -> None:
        """An invalid user name is not fetched, and is reported."""
        code, answer, _ = self.post(["john", "a@b", "", 3, None])
        self.assertEqual((code, answer["updated"], answer["errors"]), (200, 1, 4))
        self.assertEqual(set(answer["failed"]), {"a@b", "", "3", "null"})
        self.assertEqual(self.refresher.asked, [("john", False)])

    def test_namesLikeOthers(self) -> None:
        """
        An invalid user name does not keep a user from being refreshed, even if it looks like that user's name.
        """
        for names, user in (([3, "3"], "3"), ([None, "null"], "null"), (["x" * 2000, "x" * 100], "x" * 100)):
            for order in (names, names[::-1]):
                self.refresher.asked.clear()
                code, answer, _ = self.post(order)
                self.assertEqual((code, answer["updated"], answer["errors"]), (200, 1, 1))
                self.assertEqual(self.refresher.asked, [(user, False)])

    def test_waits(self) -> None:
        """The answer comes when the last user is done; a caller that has left gets none."""
        for isGone in (False, True):
            waiting = self.refresher.waiting["john"] = Deferred()
            transport = self.send("POST", "", b'["john", "aaron"]')
            self.assertEqual(transport.value(), b"")
            if isGone:
                self.channel.connectionLost(ConnectionError())
            waiting.callback(Finished())
            self.assertEqual(bool(transport.value()), not isGone)

    def test_options(self) -> None:
        """Force, and a dry run, which lists the changes."""
        self.post(["john"], "?force=1")
        changes = (
            RosterItem(jid="a@h", name="A", groups=frozenset("G")),
            RosterItem(jid="b@h", subscription="remove"),
        )
        self.refresher.outcomes["john"] = Finished(changes)
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

    def test_force(self) -> None:
        """A GET never forces anything, and HEAD does nothing at all."""
        for path in ("/john?force=1", "/john?force=true&dry_run=0"):
            code, answer, _ = self.answer(self.send("GET", path))
            self.assertEqual((code, self.refresher.asked), (400, []))
            self.assertIn("POST", answer["message"])
        self.assertEqual(self.answer(self.send("GET", "/john?force=0"))[0], 200)
        self.refresher.asked.clear()
        for path in ("", "/john", "/john?dry_run=1"):
            self.assertEqual(self.send("HEAD", path).value().split()[1], b"405")
        self.assertEqual(self.refresher.asked, [])

    def test_pages(self) -> None:
        """A web page cannot cause a refresh: not by an image, a link, a form, fetch or a beacon."""
        for headers in (
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "same-origin"},
            {"Referer": "http://evil.example/"},
            {"Origin": "null"},
            {"User_Agent": "Mozilla/5.0"},
        ):
            self.assertEqual(self.send("GET", "/john", **headers).value().split()[1], b"403", headers)
        for headers in (
            {"Content_Type": "-", "Origin": "http://evil.example"},
            {"Content_Type": "application/json", "Origin": "http://evil.example"},
            {"Content_Type": "-", "Sec_Fetch_Site": "same-site"},
        ):
            self.assertEqual(self.send("POST", "", b'["john"]', **headers).value().split()[1], b"403", headers)
        for kind in ("-", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            self.assertEqual(self.post(["john"], Content_Type=kind)[0], 415, kind)
        self.assertEqual(self.refresher.asked, [])
        self.assertEqual(self.answer(self.send("GET", "/john", Sec_Fetch_Site="none"))[0], 200)

    def test_names(self) -> None:
        """Names that mean another path in a URL, before or after they are prepared, are invalid."""
        dots = [".", "..", "\uff0e", "\uff0e\uff0e", "\u2024"]
        _, answer, _ = self.post([*dots, "x" * 1_024, "\ufdfa" * 1_000, "..."])
        self.assertEqual((answer["errors"], self.refresher.asked), (7, [("...", False)]))
        for path in ("/.", "/..", "/%2e%2E"):
            self.assertIn(self.answer(self.send("GET", path))[0], (404, 500), path)
        self.assertEqual(self.refresher.asked, [("...", False)])

    def test_mark(self) -> None:
        """A byte order mark is ignored."""
        self.assertEqual(self.post(b'\xef\xbb\xbf["john"]')[0], 200)
        self.assertEqual(self.post(b'\xff\xfe["john"]')[0], 400)
        self.assertEqual(self.refresher.asked, [("john", False)])

    def test_many(self) -> None:
        """A long list does not block the process: each turn is short, and few refreshes are open."""
        names = [f"u{number}" for number in range(2_000)]
        self.clock.step = 0.001
        transport = self.send("POST", "", json.dumps(names).encode())
        turns, asked = 0, len(self.refresher.asked)
        while not transport.value():
            [call, *_] = [each for each in self.clock.calls if each.getTime() <= self.clock.rightNow]
            self.clock.calls.remove(call)
            call.func(*call.args)
            turns += 1
            self.assertLess(len(self.refresher.asked) - asked, 20)
            asked = len(self.refresher.asked)
        self.assertEqual(self.answer(transport)[1]["updated"], 2_000)
        self.assertGreater(turns, 100)
        self.assertEqual(self.refresher.announced, 0)
        self.clock.step = 0
        self.refresher.asked.clear()
        self.refresher.waiting.update({name: Deferred() for name in names})
        self.send("POST", "", json.dumps(names).encode())
        self.assertEqual(len(self.refresher.asked), self.refresher.concurrency)

    def test_full(self) -> None:
        """If too many users wait, a request is refused; the number of names in a request is bounded."""
        self.refresher.room = 2
        code, answer, head = self.post(["a", "b", "c"])
        self.assertEqual((code, self.refresher.asked), (503, []))
        self.assertIn("retry-after", head)
        self.assertIn("too many users", answer["message"])
        self.patch(resource, "MAX_NAMES", 2)
        self.assertEqual(self.post(["a", "b", "c"])[0], 413)
        self.assertEqual(self.post(["a", "b"])[0], 200)
        self.assertEqual(self.refresher.announced, 0)

    def test_manyChanges(self) -> None:
        """The changes that a dry run lists are bounded; users with further changes have failed."""
        self.patch(batch, "_MAX_CHANGES", 150)
        for name, count in (("a", 100), ("b", 100), ("c", 50)):
            items = tuple(RosterItem(jid=f"{number}@h") for number in range(count))
            self.refresher.outcomes[name] = Finished(items)
        _, answer, _ = self.post(["a", "b", "c"], "?dry_run=1")
        self.assertEqual({user: len(items) for user, items in answer["changes"].items()}, {"a": 100, "c": 50})
        self.assertEqual((answer["updated"], answer["errors"], [*answer["failed"]]), (2, 1, ["b"]))

    def test_fault(self) -> None:
        """An internal error is answered, and logged."""
        self.refresher.outcomes["a"] = None  # type: ignore[assignment]  # nothing that it ever is
        code, answer, _ = self.post(["a"])
        self.assertEqual((code, answer["status"], answer["updated"]), (500, "error", 0))
        self.assertIn("internal error", answer["message"])
        self.assertEqual(len(self.flushLoggedErrors(FirstError)), 1)

    def test_controls(self) -> None:
        """No answer has a control character, or one that changes how others are displayed."""
        transport = self.send("POST", "", json.dumps(["a@\x00\x85\u202e\u2028", "ok"], ensure_ascii=False).encode())
        body = transport.value().partition(b"\r\n\r\n")[2].decode()
        self.assertTrue(body.rstrip("\n").isprintable() and body.isascii(), body)
        message = self.post([], Content_Type="x\x01\u202e")[1]["message"]
        self.assertTrue(message.isprintable(), message)

    def test_optionValues(self) -> None:
        """An option is on or off; a request with another value is refused."""
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
        for query, shown in (("forse=1", "forse=1"), ("x=%01" + "y" * 200, "x=\\x01" + "y" * 97)):
            message = self.post(["john"], f"?{query}")[1]["message"]
            self.assertTrue(message.startswith(f"wrong option '{shown}'; valid: "), message)
        self.assertEqual(self.refresher.asked, [])

    def test_headers(self) -> None:
        """A header with invalid text does no harm."""
        self.assertEqual(self.post([], Content_Type="\udcff")[0], 415)
        self.assertEqual(self.post([], Content_Type="-")[0], 415)
        self.assertEqual(self.post([], X_Hub_Signature_256="\udcff")[0], 200 if self.secret is None else 401)

    def test_wrong(self) -> None:
        """An error in a request is reported, with the right status."""
        for value, headers, code, part in (
            (b"", {}, 400, "the body is empty"),
            (b"{", {}, 400, "not JSON"),
            (b"[" * 100_000, {}, 400, "too long in one place"),
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
                signed = f"{method}\n{whole(path)}\n{self.now:.0f}\n".encode() + body
                headers["X_Signature_Time"] = f"{self.now:.0f}"
            signature = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
            headers["X_Hub_Signature_256"] = f"sha256={signature}"
        return super().send(method, path, body, **headers)

    def test_signed(self) -> None:
        """The signature's hexadecimal digits may be capitals."""
        signature = hmac.new(b"s3cret", b"[]", hashlib.sha256).hexdigest().upper()
        self.assertEqual(self.post([], X_Hub_Signature_256=f"sha256={signature}")[0], 200)

    def test_unsigned(self) -> None:
        """Without a valid signature nothing is done."""
        for signature in ("", "sha256=", "x", "sha256=" + "0" * 64):
            for code, answer, _ in (
                self.post(["john"], X_Hub_Signature_256=signature),
                self.post(["john"], "?dry_run=1", X_Hub_Signature_256=signature),
                self.answer(self.send("GET", "/john", X_Hub_Signature_256=signature)),
                self.answer(self.send("GET", "/roster_admin/results/x", X_Hub_Signature_256=signature)),
            ):
                self.assertEqual(code, 401)
                self.assertIn("X-Hub-Signature-256", answer["message"])
        self.assertEqual(self.refresher.asked, [])

    def sign(self, *lines: str) -> str:
        return "sha256=" + hmac.new(b"s3cret", "\n".join(lines).encode(), hashlib.sha256).hexdigest()

    def test_covered(self) -> None:
        """A signature is valid for one method, path and query, for five minutes; not for another user or option."""
        path = "/roster_admin/refresh/john?dry_run=1"
        time = f"{self.now:.0f}"
        signed = {"X_Hub_Signature_256": self.sign("GET", path, time, ""), "X_Signature_Time": time}
        self.assertEqual(self.answer(self.send("GET", "/john?dry_run=1", **signed))[0], 200)
        self.refresher.asked.clear()
        for method, other in (
            ("GET", "/john"),
            ("GET", "/mary?dry_run=1"),
            ("GET", "/john?dry_run=0"),
            ("GET", "/john?dry_run=1&force=0"),
            ("GET", "/%6aohn?dry_run=1"),
            ("POST", "?dry_run=1"),
            ("POST", "?force=1"),
            ("POST", ""),
        ):
            self.assertEqual(self.answer(self.send(method, other, **signed))[0], 401, (method, other))
        for shown in (f"{self.now + 1:.0f}", f"+{time}", f" {time}x", "", "1e9", "9" * 5_000):
            refused = self.answer(self.send("GET", "/john?dry_run=1", **{**signed, "X_Signature_Time": shown}))
            self.assertEqual(refused[0], 401, shown)
        for seconds, code in ((301, 401), (-301, 401), (299, 200), (-299, 200)):
            self.now = int(time) + seconds
            self.assertEqual(self.answer(self.send("GET", "/john?dry_run=1", **signed))[0], code, seconds)

    def test_emptyBody(self) -> None:
        """The signature of an empty body, which is the same for all users and times, is invalid."""
        for headers in ({}, {"X_Signature_Time": f"{self.now:.0f}"}):
            refused = self.send("GET", "/john", X_Hub_Signature_256=self.sign(""), **headers)
            self.assertEqual(self.answer(refused)[0], 401)
        self.assertEqual(self.refresher.asked, [])

    def test_signedOptions(self) -> None:
        """GitHub's signature, of the body alone, permits no options: it would be valid for all options."""
        body = json.dumps(["john"])
        self.assertEqual(self.post(["john"], X_Hub_Signature_256=self.sign(body))[0], 200)
        for query in ("?force=1", "?dry_run=1", "?"):
            self.assertEqual(self.post(["john"], query, X_Hub_Signature_256=self.sign(body))[0], 401, query)
        time = f"{self.now:.0f}"
        signature = self.sign("POST", "/roster_admin/refresh?force=1", time, body)
        headers = {"X_Hub_Signature_256": signature, "X_Signature_Time": time}
        self.refresher.asked.clear()
        self.assertEqual(self.post(["john"], "?force=1", **headers)[0], 200)
        self.assertEqual(self.refresher.asked, [("john", True)])
        self.assertEqual(self.post(["mary"], "?force=1", **headers)[0], 401)
