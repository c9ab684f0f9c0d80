"""Reading and setting of rosters on each kind of server, and the answers of these servers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from attrs import evolve
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.words.protocols.jabber.error import StanzaError

from gateway.errors import ERRORS, NotGranted, TooLarge
from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.privilege.core import Permissions
from gateway.roster import api
from gateway.roster.api import ApiUnusable, EjabberdApplier
from gateway.roster.apply import PrivilegeApplier
from gateway.roster.failures import RefreshFailed, RosterTooLarge
from tests.proxy.support import stanza

JOHN = "john@example.com"
MARIE = RosterItem(jid="marie@example.com", name="M & N", groups=frozenset({"B", "A"}), subscription="both")
NOBODY = RosterItem(jid="marie@example.com")


class ApplierCase(SynchronousTestCase):
    """Helpers for results of appliers."""

    def result(self, work: Any) -> Any:
        return self.successResultOf(ensureDeferred(work))

    def reason(self, work: Any) -> str:
        return str(self.failureResultOf(ensureDeferred(work), RefreshFailed).value)


class FakePrivileges:
    """The privileges that appliers use."""

    def __init__(self, outcome: Callable[[], Deferred[Any]]) -> None:
        self._outcome = outcome
        self.asked: list[tuple[Any, ...]] = []
        self.observer: Any = None
        self.feed = "roster"

    def permissions(self, server: str) -> Permissions:
        return Permissions(server, "v", "both", presence=self.feed)

    def watchPresence(self, observer: Any) -> None:
        self.observer = observer

    def getRoster(self, user: str) -> Deferred[Any]:
        self.asked.append((user,))
        return self._outcome()

    def setRoster(self, user: str, items: list[RosterItem]) -> Deferred[Any]:
        self.asked.append((user, *items))
        return self._outcome()


class FakeServer:
    """Findings about the server."""

    software = ""

    @property
    def isEjabberd(self) -> bool:
        return "ejabberd" in self.software


class FakeLink:
    """A link that records what is sent."""

    jid = "roster.example.com"
    ready = True
    trouble = ""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendRaw(self, data: bytes) -> None:
        self.sent.append(data)


class PrivilegeTests(ApplierCase):
    """Rosters by privilege."""

    def make(self, outcome: Callable[[], Deferred[Any]], probes: bool = False) -> PrivilegeApplier:
        self.privileges: Any = FakePrivileges(outcome)
        self.link: Any = FakeLink()
        self.server = FakeServer()
        applier = PrivilegeApplier(self.privileges, self.link, self.server, probes)
        applier._isVerified = True
        return applier

    def test_asks(self) -> None:
        """A roster is read as a whole, and set contact by contact."""
        applier = self.make(lambda: succeed([MARIE]))
        self.assertEqual(self.result(applier.get(JOHN)), [MARIE])
        self.result(applier.set(JOHN, MARIE, NOBODY))
        self.assertEqual(self.privileges.asked, [(JOHN,), (JOHN, MARIE)])
        self.assertEqual(self.link.sent, [])

    def test_failures(self) -> None:
        """The reason names a missing grant, and an error of the server or the API."""
        for error, part in (
            (NotGranted("example.com does not grant it"), "does not grant it"),
            (StanzaError("item-not-found"), "the server says item-not-found"),
        ):
            applier = self.make(lambda error=error: fail(error))  # type: ignore[misc]  # mypy infers no type for a lambda with a default
            self.assertIn(
                f"could not be read: {'' if 'server' in part else 'example.com '}", self.reason(applier.get(JOHN))
            )
            reason = self.reason(applier.set(JOHN, MARIE, NOBODY))
            self.assertIn("marie@example.com could not be set", reason)
            self.assertIn(part, reason)

    def test_tooLarge(self) -> None:
        """If the link refuses a roster as too large, the failure has a type of its own and names the option."""
        said = ERRORS[TooLarge]
        applier = self.make(lambda: fail(StanzaError(said.condition, text=said.text)))
        failure = self.failureResultOf(ensureDeferred(applier.get(JOHN)), RosterTooLarge)
        reason = "the roster could not be read: it is larger than max_stanza_size under [server] allows"
        self.assertEqual(str(failure.value), reason)

    def test_noServer(self) -> None:
        """An error that the link makes is not reported as the server's."""
        for condition, part in (
            ("remote-server-timeout", "the server did not answer in time"),
            ("remote-server-not-found", "the connection to the server was lost"),
            ("resource-constraint", "too many requests wait for the server"),
        ):
            applier = self.make(lambda condition=condition: fail(StanzaError(condition)))  # type: ignore[misc]  # mypy infers no type for a lambda with a default
            self.assertEqual(self.reason(applier.get(JOHN)), f"the roster could not be read: {part}")
        applier = self.make(lambda: fail(NotGranted("example.com has advertised no privileges")))
        self.link.ready, self.link.trouble = False, "nothing listens at tcp:h:5347"
        self.assertEqual(
            self.reason(applier.get(JOHN)),
            "the roster could not be read: there is no connection to the server: nothing listens at tcp:h:5347",
        )

    def verifying(self, keep: Callable[[RosterItem, RosterItem | None], RosterItem | None]) -> PrivilegeApplier:
        """
        Return an applier for a server without contacts.

        @param keep: called with the item that is set and the one before; returns the server's item after it.
        """
        applier = self.make(lambda: succeed(None))
        self.roster: dict[str, RosterItem] = {}
        privileges = self.privileges

        def get(user: str) -> Deferred[Any]:
            privileges.asked.append((user,))
            return succeed(list(self.roster.values()))

        def set_(user: str, items: list[RosterItem]) -> Deferred[Any]:
            [item] = items
            privileges.asked.append((user, item))
            kept = keep(item, self.roster.pop(item.jid, None))
            if kept is not None:
                self.roster[item.jid] = kept
            return succeed(None)

        privileges.getRoster, privileges.setRoster = get, set_
        applier.connectionLost()
        return applier

    def test_verified(self) -> None:
        """The first set of a connection that changes a subscription is verified, and no other."""
        applier = self.verifying(lambda item, there: item)
        self.assertIn("not verified yet", str(applier.report()))
        self.result(applier.set(JOHN, evolve(MARIE, subscription="none"), NOBODY))
        self.assertEqual(len(self.privileges.asked), 1)
        self.result(applier.set(JOHN, MARIE, NOBODY))
        self.assertEqual(self.privileges.asked[2:], [(JOHN,)])
        self.assertIn("keeps subscriptions", str(applier.report()))
        self.result(applier.set(JOHN, evolve(MARIE, subscription="to"), MARIE))
        self.assertEqual(len(self.privileges.asked), 4)
        applier.connectionLost()
        self.result(applier.set(JOHN, MARIE, NOBODY))
        self.assertEqual(self.privileges.asked[-1], (JOHN,))

    def test_notKept(self) -> None:
        """A server that answers with a result but keeps the old subscription is detected."""
        applier = self.verifying(lambda item, there: evolve(item, subscription="none"))
        reason = self.reason(applier.set(JOHN, MARIE, NOBODY))
        self.assertIn("set to both, but the server has none: ", reason)
        self.assertIn("set api under [roster]", reason)
        self.assertIn("set api under [roster]", str(applier.report()))
        # Nothing else is tried on this connection.
        self.privileges.asked.clear()
        self.assertIn("set api under [roster]", self.reason(applier.set(JOHN, MARIE, NOBODY)))
        self.assertEqual(self.privileges.asked, [])

    def test_changedMeanwhile(self) -> None:
        """If somebody else has changed the contact meanwhile, the refresh fails, and the server is not blamed."""
        for other in (None, evolve(MARIE, subscription="from")):
            applier = self.verifying(lambda item, there, other=other: other)  # type: ignore[misc]  # mypy infers no type for a lambda with a default
            there = other.subscription if other else "no such contact"
            reason = self.reason(applier.set(JOHN, MARIE, NOBODY))
            self.assertEqual(reason, f"marie@example.com was set to both, but the server has {there}")
            self.assertEqual(applier.problem, "")

    def test_loopback(self) -> None:
        """
        If the server delegates the component's own requests to it, this is the reason, not the error that follows.
        """
        applier = self.make(lambda: fail(StanzaError("forbidden")))
        self.assertIn("the server says forbidden", self.reason(applier.get(JOHN)))
        applier.onLoopback()
        for work in (applier.get(JOHN), applier.set(JOHN, MARIE, NOBODY)):
            reason = self.reason(work)
            self.assertIn("delegates the component's own requests", reason)
            self.assertIn("set api under [roster]", reason)

    def test_older(self) -> None:
        """ejabberd before 24.10 answers each set with this error: the reason has the remedy."""
        applier = self.make(lambda: fail(StanzaError("internal-server-error")))
        self.assertIn("set api under [roster]", self.reason(applier.set(JOHN, MARIE, NOBODY)))

    def shown(self, before: str, now: str, jid: str = MARIE.jid) -> list[bytes]:
        """Return the presence that is sent after John's contact has changed from one subscription to another."""
        self.link.sent.clear()
        items = [RosterItem(jid=jid, subscription=subscription) for subscription in (now, before)]
        self.result(self.applier.set(JOHN, *items))
        return list(self.link.sent)

    def test_probes(self) -> None:
        """After a successful set, users of the server who may see each other are shown to each other."""
        self.applier = self.make(lambda: succeed(None), True)
        probe = b"<presence from='%b' to='%b' type='probe'/>"
        self.privileges.feed = "none"
        toMarie, toJohn = (probe % (JOHN.encode(), MARIE.jid.encode()), probe % (MARIE.jid.encode(), JOHN.encode()))
        self.assertEqual(self.shown("none", "both"), [toJohn, toMarie])
        self.assertEqual(self.shown("none", "both", "marie@example.net"), [])
        self.privileges.feed = "roster"
        self.assertEqual(self.shown("none", "both"), [])
        for jid in (f"{JOHN}/a", f"{MARIE.jid}/b"):
            self.privileges.observer(stanza(f"<presence from='{jid}'/>"))
        self.assertEqual(self.shown("none", "both"), [toJohn])
        gone = b"<presence from='john@example.com/a' to='marie@example.com' type='unavailable'/>"
        self.assertEqual(self.shown("from", "none"), [gone])
        self.applier.connectionLost()
        self.applier._isVerified = True
        self.assertEqual(self.shown("none", "both"), [])
        # A set that has failed does not show the contact, so the next one has to.
        self.privileges.observer(stanza(f"<presence from='{MARIE.jid}/b'/>"))
        self.privileges.observer(stanza(f"<presence from='{JOHN}/a'/>"))
        self.privileges._outcome = lambda: fail(StanzaError("forbidden"))
        self.reason(self.applier.set(MARIE.jid, RosterItem(jid=JOHN, subscription="from"), RosterItem(jid=JOHN)))
        self.privileges._outcome = lambda: succeed(None)
        self.assertEqual(self.shown("none", "to"), [probe % (f"{JOHN}/a".encode(), MARIE.jid.encode())])

    def test_underWay(self) -> None:
        """If a set that will show a contact is under way, a set of the other side does not show it as well."""
        self.applier = self.make(lambda: succeed(None), True)
        for jid in (f"{MARIE.jid}/b", f"{JOHN}/a"):
            self.privileges.observer(stanza(f"<presence from='{jid}'/>"))
        waiting: Deferred[Any] = Deferred()
        self.privileges._outcome = lambda: waiting
        both, nobody = (RosterItem(jid=JOHN, subscription=each) for each in ("both", "none"))
        setting = ensureDeferred(self.applier.set(MARIE.jid, both, nobody))
        self.privileges._outcome = lambda: succeed(None)
        toJohn = b"<presence from='marie@example.com' to='john@example.com' type='probe'/>"
        self.assertEqual(self.shown("none", "both"), [toJohn])
        self.link.sent.clear()
        waiting.callback(None)
        self.successResultOf(setting)
        toMarie = b"<presence from='john@example.com' to='marie@example.com' type='probe'/>"
        self.assertEqual(self.link.sent, [toMarie])

    def test_noProbes(self) -> None:
        """Without C{probes} nothing is sent in users' names, and presence is not watched."""
        self.applier = self.make(lambda: succeed(None))
        self.assertIsNone(self.privileges.observer)
        self.assertEqual(self.shown("none", "both") + self.shown("both", "none"), [])


class EjabberdTests(ApplierCase):
    """Rosters by ejabberd's HTTP API."""

    # An argument that the server does not know.
    refused = ""

    def make(self, code: int, answer: Any, more: dict[str, str] | None = None) -> EjabberdApplier:
        self.asked: list[tuple[str, dict[str, Any]]] = []

        def respond(method: bytes, url: str, params: Any, headers: Any, data: bytes) -> tuple[int, Any, bytes]:
            self.asked.append((url, json.loads(data)))
            self.assertEqual((method, headers[b"Content-Type"]), (b"POST", [b"application/json"]))
            self.assertEqual(headers[b"Host"], [b"example.com"])
            if self.refused in self.asked[-1][1]:
                return 400, {}, b'"Request have unknown arguments"'
            return code, more or {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

        client: Any = StubTreq(StringStubbingResource(respond))
        return EjabberdApplier("http://127.0.0.1:5280/api/", client, Clock(), 5.0, Pieces(Clock()))

    def test_largeAnswer(self) -> None:
        """Reading of an answer stops at the limit."""
        self.patch(api, "_MAX_BYTES", 100)
        self.assertEqual(self.result(self.make(200, []).get(JOHN)), [])
        self.assertIn("API has 101 bytes; at most 100", self.reason(self.make(200, b" " * 101).get(JOHN)))
        # The limit also holds for a small compressed answer.
        bomb = gzip.compress(b" " * 1_000_000)
        self.patch(api, "_MAX_BYTES", len(bomb))
        for times, part in ((1, f"API has over {len(bomb)} bytes"), (2, "API is compressed more than once")):
            applier = self.make(200, bomb, {"content-encoding": ", ".join(["gzip"] * times)})
            self.assertIn(part, self.reason(applier.get(JOHN)))

    def test_get(self) -> None:
        """A contact has a row for each group, as in 23.01, or a list of groups."""
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
                self.asked, [("http://example.com:5280/api/get_roster", {"user": "john", "server": "example.com"})]
            )
        nobody = [{"jid": "x@y", "nick": "", "subscription": "none", "ask": "none", "group": ""}]
        self.assertEqual(self.result(self.make(200, nobody).get(JOHN)), [RosterItem(jid="x@y")])

    def test_set(self) -> None:
        """A contact is added or deleted. The roster of a contact on the same server does not change."""
        applier = self.make(200, 0)
        base = "http://example.com:5280/api"
        whose = {"localuser": "john", "localhost": "example.com", "user": "marie", "host": "example.com"}
        added = {**whose, "nick": "M & N", "groups": ["A", "B"], "subs": "both"}
        self.result(applier.set(JOHN, MARIE, NOBODY))
        self.assertEqual(self.asked, [(f"{base}/add_rosteritem", added)])
        # Its groups do not matter: it is deleted next.
        ended = {**added, "groups": [], "subs": "none"}
        for before, host, first in (
            (MARIE, "example.com", [(f"{base}/add_rosteritem", ended)]),
            (evolve(MARIE, groups=frozenset({"a;b"})), "example.com", [(f"{base}/add_rosteritem", ended)]),
            (NOBODY, "example.com", []),
            (MARIE, "example.net", []),
        ):
            self.asked.clear()
            jid = f"marie@{host}"
            self.result(applier.set(JOHN, RosterItem(jid=jid, subscription="remove"), evolve(before, jid=jid)))
            self.assertEqual(self.asked, [*first, (f"{base}/delete_rosteritem", {**whose, "host": host})])

    def test_groups(self) -> None:
        """
        A server before 24.02 refuses a list of groups; after that it gets a string, until it refuses that form.
        """
        applier = self.make(200, 0)

        def forms() -> list[Any]:
            self.asked.clear()
            self.result(applier.set(JOHN, MARIE, NOBODY))
            return [each.get("groups", each.get("group")) for _, each in self.asked]

        self.refused = "groups"
        self.assertEqual(forms(), [["A", "B"], "A;B"])
        self.assertEqual(forms(), ["A;B"])
        self.refused = "group"
        self.assertEqual(forms(), ["A;B", ["A", "B"]])
        self.assertEqual(forms(), [["A", "B"]])
        # Other arguments may be the reason.
        self.refused = "nick"
        self.assertIn("status 400", self.reason(applier.set(JOHN, MARIE, NOBODY)))
        self.refused = ""
        self.assertEqual(forms(), [["A", "B"]])

    def test_group(self) -> None:
        """A group that the API would split in two is refused, for servers that would split it."""
        item = RosterItem(jid="x@y", groups=frozenset({"a;b"}))
        applier = self.make(200, 0)
        self.result(applier.set(JOHN, item, NOBODY))
        self.assertEqual(self.asked[-1][1]["groups"], ["a;b"])
        self.refused = "groups"
        applier = self.make(200, 0)
        for _ in "12":
            self.assertIn("'a;b'", self.reason(applier.set(JOHN, item, NOBODY)))
        self.assertEqual([each["groups"] for _, each in self.asked], [["a;b"]] * 2)

    def test_brokenOff(self) -> None:
        """An incomplete answer is reported in words, not as an exception's name."""

        class Client:
            """Loses every answer."""

            def post(self, url: str, **more: Any) -> Deferred[Any]:
                return fail(ResponseNeverReceived([Failure(ConnectionDone())]))

        client: Any = Client()
        reason = self.reason(EjabberdApplier("http://h/api", client, Clock(), 5.0, Pieces(Clock())).get(JOHN))
        self.assertEqual(reason, "the roster could not be read: the answer of ejabberd's API is incomplete")

    def test_silent(self) -> None:
        """
        If the API does not answer in time, further calls fail at once for ten seconds, so that a request for many
        users ends. If another call is answered meanwhile, the first one is only late.
        """
        clock = Clock()
        calls: list[Deferred[Any]] = []

        class Client:
            def post(self, url: str, **more: Any) -> Deferred[Any]:
                calls.append(Deferred())
                return calls[-1]

        client: Any = Client()
        api = EjabberdApplier("http://h/api", client, clock, 5.0, Pieces(clock))

        def ask() -> Deferred[Any]:
            return ensureDeferred(api.get(JOHN))

        asked = [ask() for _ in range(3)]
        clock.advance(5)
        for each in asked:
            self.assertIn("did not answer within 5 s", str(self.failureResultOf(each, ApiUnusable).value))
        for _ in range(100):
            self.assertIn("did not answer within 5 s", self.reason(ask()))
        self.assertEqual(len(calls), 3)
        clock.advance(10)
        asked = [ask(), ask()]
        self.assertEqual(len(calls), 5)
        calls[-1].errback(ConnectionRefusedError("refused"))
        self.failureResultOf(asked[1], ApiUnusable)
        # A refusal costs nothing.
        asked.append(ask())
        self.assertEqual(len(calls), 6)
        clock.advance(5)
        self.failureResultOf(asked[0], ApiUnusable)
        self.failureResultOf(asked[2], ApiUnusable)
        self.failureResultOf(ask(), ApiUnusable)
        # Another server has an API of its own.
        api.connectionLost()
        self.assertNoResult(late := ask())
        # Another call is answered meanwhile.
        api._setProblem("")
        clock.advance(5)
        self.failureResultOf(late, ApiUnusable)
        self.assertNoResult(last := ask())
        clock.advance(5)
        self.failureResultOf(last, ApiUnusable)

    def test_failures(self) -> None:
        """Any other answer of the API is the reason of the failure."""
        self.assertIn("status 403", self.reason(self.make(403, {"status": "error"}).get(JOHN)))
        forbidden = {"code": 32, "message": "No right.", "status": "error"}
        reason = "answered get_roster with status 403: No right. (for the listener, modules and api_permissions"
        self.assertIn(reason, self.reason(self.make(403, forbidden).get(JOHN)))
        self.assertIn("status 500", self.reason(self.make(500, b"oops").set(JOHN, MARIE, NOBODY)))
        self.assertIn("with 1", self.reason(self.make(200, 1).set(JOHN, MARIE, NOBODY)))
        for answer in (b"nonsense", [3], [{}], {"a": 1}, 7, None):
            self.assertTrue(self.reason(self.make(200, answer).get(JOHN)), answer)
