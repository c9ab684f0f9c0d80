"""How each server is told, and what it may answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError

from gateway.errors import NotGranted
from gateway.interfaces import RosterItem
from gateway.roster.apply import EjabberdApplier, PrivilegeApplier
from gateway.roster.core import RefreshFailed

JOHN = "john@example.com"
MARIE = RosterItem(jid="marie@example.com", name="M & N", groups=frozenset({"B", "A"}), subscription="both")


class ApplierCase(SynchronousTestCase):
    """What appliers give."""

    def result(self, work: Any) -> Any:
        return self.successResultOf(ensureDeferred(work))

    def reason(self, work: Any) -> str:
        return str(self.failureResultOf(ensureDeferred(work), RefreshFailed).value)


class FakePrivileges:
    """Privileges, as far as they matter."""

    def __init__(self, outcome: Callable[[], Deferred[Any]]) -> None:
        self._outcome = outcome
        self.asked: list[tuple[Any, ...]] = []

    def getRoster(self, user: str) -> Deferred[Any]:
        self.asked.append((user,))
        return self._outcome()

    def setRoster(self, user: str, items: list[RosterItem]) -> Deferred[Any]:
        self.asked.append((user, *items))
        return self._outcome()


class FakeLink:
    """What goes out."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendRaw(self, data: bytes) -> None:
        self.sent.append(data)


class PrivilegeTests(ApplierCase):
    """By privilege."""

    def make(self, outcome: Callable[[], Deferred[Any]], probes: bool = False) -> PrivilegeApplier:
        self.privileges: Any = FakePrivileges(outcome)
        self.link: Any = FakeLink()
        return PrivilegeApplier(self.privileges, self.link, probes)

    def test_asks(self) -> None:
        """A roster is read whole, and set contact by contact."""
        applier = self.make(lambda: succeed([MARIE]))
        self.assertEqual(self.result(applier.get(JOHN)), [MARIE])
        self.result(applier.set(JOHN, MARIE))
        self.assertEqual(self.privileges.asked, [(JOHN,), (JOHN, MARIE)])
        self.assertEqual(self.link.sent, [])

    def test_failures(self) -> None:
        """What is not granted, and what the server refuses, is said."""
        for error, part in (
            (NotGranted("example.com does not grant it"), "does not grant it"),
            (StanzaError("item-not-found"), "the server says item-not-found"),
        ):
            applier = self.make(lambda error=error: fail(error))  # type: ignore[misc]
            self.assertIn(
                f"could not be read: {'' if 'server' in part else 'example.com '}", self.reason(applier.get(JOHN))
            )
            reason = self.reason(applier.set(JOHN, MARIE))
            self.assertIn("marie@example.com could not be set", reason)
            self.assertIn(part, reason)

    def test_probes(self) -> None:
        """Who may see whom now is probed, among the server's own users; nobody without being asked to."""
        for subscription, probes in (("both", 2), ("to", 1), ("from", 1), ("none", 0), ("remove", 0)):
            applier = self.make(lambda: succeed(None), True)
            self.result(applier.set(JOHN, RosterItem(jid="marie@example.com", subscription=subscription)))
            self.assertEqual(len(self.link.sent), probes, subscription)
        applier = self.make(lambda: succeed(None), True)
        self.result(applier.set(JOHN, RosterItem(jid="marie@example.net", subscription="both")))
        self.assertEqual(self.link.sent, [])
        self.result(applier.set(JOHN, RosterItem(jid="marie@example.com", subscription="to")))
        self.assertEqual(
            self.link.sent, [b"<presence from='john@example.com' to='marie@example.com' type='probe'/>"]
        )


class EjabberdTests(ApplierCase):
    """By ejabberd's HTTP API."""

    def make(self, code: int, answer: Any) -> EjabberdApplier:
        self.asked: list[tuple[str, dict[str, str]]] = []

        def respond(method: bytes, url: str, params: Any, headers: Any, data: bytes) -> tuple[int, Any, bytes]:
            self.asked.append((url, json.loads(data)))
            self.assertEqual((method, headers[b"Content-Type"]), (b"POST", [b"application/json"]))
            return code, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

        client: Any = StubTreq(StringStubbingResource(respond))
        return EjabberdApplier("http://127.0.0.1:5280/api/", client, Clock(), 5.0)

    def test_get(self) -> None:
        """A row for each group, as 23.01 has it, or a list of them."""
        rows = [
            {"jid": MARIE.jid, "nick": MARIE.name, "subscription": "both", "ask": "undefined", "group": group}
            for group in "AB"
        ]
        newer = [
            {"jid": MARIE.jid, "nick": MARIE.name, "subscription": "both", "pending": "none", "groups": ["A", "B"]}
        ]
        for answer in (rows, newer):
            applier = self.make(200, answer)
            self.assertEqual(self.result(applier.get(JOHN)), [MARIE])
            self.assertEqual(
                self.asked, [("http://127.0.0.1:5280/api/get_roster", {"user": "john", "server": "example.com"})]
            )
        nobody = [{"jid": "x@y", "nick": "", "subscription": "none", "ask": "none", "group": ""}]
        self.assertEqual(self.result(self.make(200, nobody).get(JOHN)), [RosterItem(jid="x@y")])

    def test_set(self) -> None:
        """A contact is added as it is, or deleted."""
        applier = self.make(200, 0)
        self.result(applier.set(JOHN, MARIE))
        self.result(applier.set(JOHN, RosterItem(jid="marie@example.com", subscription="remove")))
        whose = {"localuser": "john", "localhost": "example.com", "user": "marie", "host": "example.com"}
        self.assertEqual(
            self.asked,
            [
                (
                    "http://127.0.0.1:5280/api/add_rosteritem",
                    {**whose, "nick": "M & N", "group": "A;B", "subs": "both"},
                ),
                ("http://127.0.0.1:5280/api/delete_rosteritem", whose),
            ],
        )

    def test_group(self) -> None:
        """A group that the API would take for two is refused."""
        applier = self.make(200, 0)
        reason = self.reason(applier.set(JOHN, RosterItem(jid="x@y", groups=frozenset({"a;b"}))))
        self.assertIn("'a;b'", reason)
        self.assertEqual(self.asked, [])

    def test_failures(self) -> None:
        """Whatever the API answers instead is the reason."""
        self.assertIn("status 403", self.reason(self.make(403, {"status": "error"}).get(JOHN)))
        self.assertIn("status 500", self.reason(self.make(500, b"oops").set(JOHN, MARIE)))
        self.assertIn("with 1", self.reason(self.make(200, 1).set(JOHN, MARIE)))
        for answer in (b"nonsense", [3], [{}], {"a": 1}, 7, None):
            self.assertTrue(self.reason(self.make(200, answer).get(JOHN)), answer)
