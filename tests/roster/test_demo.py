"""The built-in application of the embedded host."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from gateway.pieces import Pieces
from gateway.roster import demo
from gateway.roster.demo import Contacts
from gateway.testing import request


class ContactsTests(SynchronousTestCase):
    """/demo/contacts/, over the HTTP stack in memory."""

    def setUp(self) -> None:
        root = Resource()
        root.putChild(b"contacts", Contacts("h", Pieces(Clock())))
        self.clock = MemoryReactorClock()
        self.site = Site(root, reactor=self.clock)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, str]:
        """Return status, decoded JSON and headers."""
        answer = request(self.site, self.clock, method, f"/contacts/{path}", body, **headers)
        assert answer.status is not None
        return answer.status, answer.body, str(answer.headers)

    def test_decided(self) -> None:
        """The gateway gets the document that was stored, until it is removed."""
        contacts = {"bob@h": {"name": "B\u00f6b"}}
        self.assertEqual(self.ask("GET", "alice")[0], 404)
        self.assertEqual(self.ask("PUT", "Alice", json.dumps(contacts).encode())[0], 200)
        self.assertEqual(self.ask("GET", "alice")[:2], (200, contacts))
        self.assertEqual(self.ask("GET", "")[:2], (200, {"alice": contacts}))
        self.assertEqual(self.ask("DELETE", "alice")[0], 200)
        self.assertEqual((self.ask("GET", "alice")[0], self.ask("DELETE", "alice")[0]), (404, 404))
        self.assertEqual(self.ask("GET", "")[:2], (200, {}))

    def test_tag(self) -> None:
        """An unchanged document is not sent again."""
        self.ask("PUT", "alice", b"{}")
        _, _, head = self.ask("GET", "alice")
        [tag] = [line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("etag:")]
        self.assertEqual(self.ask("GET", "alice", If_None_Match=tag)[0], 304)
        self.ask("PUT", "alice", b'{"bob@h": {}}')
        self.assertEqual(self.ask("GET", "alice", If_None_Match=tag)[0], 200)

    def test_refused(self) -> None:
        """A document that the gateway could not apply is refused with the reason."""
        self.ask("PUT", "alice", b'{"bob@h": {}}')
        for body, part in (
            (b"", "not JSON"),
            (b"[{}]", "a list"),
            (b'{"alice@h": {}}', "own JID"),
            (b'{"carol@h": {}, "bob@h": 3}', "a number"),
            (b"\xff", "UTF-8"),
        ):
            code, answer, _ = self.ask("PUT", "alice", body)
            self.assertEqual(code, 400, body)
            self.assertIn(part, answer["message"])
        self.assertEqual(self.ask("GET", "alice")[1], {"bob@h": {}})
        self.assertEqual(self.ask("PUT", "alice", b" " * (1024 * 1024 + 1))[0], 413)
        for name in ("a%40b", "%FF", "a%20b"):
            self.assertEqual(self.ask("PUT", name, b"{}")[0], 404, name)

    def test_bounded(self) -> None:
        """The number of users is bounded; known users can still change."""
        self.patch(demo, "_MAX_USERS", 2)
        codes = [self.ask("PUT", name, b"{}")[0] for name in ("a", "b", "c", "a")]
        self.assertEqual(codes, [200, 200, 507, 200])
        self.patch(demo, "_MAX_TOTAL_BYTES", 100)
        codes = [self.ask("PUT", name, b"{}" + b" " * size)[0] for name, size in (("a", 50), ("b", 50), ("a", 1))]
        self.assertEqual(codes, [200, 507, 200])
        self.assertEqual(self.ask("GET", "")[1], {"a": {}, "b": {}})

    def test_fault(self) -> None:
        """An internal error is answered, and logged."""
        self.patch(demo, "readingDocument", lambda *_: None)
        self.assertEqual(self.ask("PUT", "alice", b"{}")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
