"""The corners of Prosody's mod_http_roster_admin, each from the POST to the roster."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet import error
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from gateway.interfaces import RosterItem
from gateway.pieces import Pieces
from gateway.roster.failures import RefreshFailed
from gateway.roster.fetch import WebApplication
from gateway.roster.refresher import Refresher
from gateway.roster.resource import RefreshResource, RefreshService
from gateway.roster.results import Results
from gateway.testing import request

MARIE = "marie@h"
JOHN = "john@h"


class Server:
    """Rosters in memory. It makes no difference if a user is online."""

    def __init__(self) -> None:
        self.rosters: dict[str, dict[str, RosterItem]] = {}
        self.sets = 0

    async def get(self, user: str) -> list[RosterItem]:
        return list(self._roster(user).values())

    async def set(self, user: str, item: RosterItem, before: RosterItem) -> None:
        self.sets += 1
        roster = self._roster(user)
        if item.subscription == "remove":
            del roster[item.jid]
        else:
            roster[item.jid] = item

    def _roster(self, user: str) -> dict[str, RosterItem]:
        if user not in self.rosters:
            raise RefreshFailed("there is no such user")
        return self.rosters[user]


@frozen
class Says:
    """The application's answer."""

    value: Any
    code: int = 200


class Application:
    """An HTTP client that asks the test's application."""

    def __init__(self, says: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self._says = says
        self._stub = StubTreq(StringStubbingResource(self._respond))

    def get(self, url: str, **more: Any) -> Deferred[Any]:
        self.asked.append(url.rpartition("/")[2])
        match self._says.get(self.asked[-1]):
            case Exception() as reason:
                return fail(reason)
            case "silence":
                return Deferred()
        found: Deferred[Any] = self._stub.get(url, **{**more, "reactor": None, "unbuffered": False})
        return found

    def _respond(self, method: bytes, url: str, params: Any, headers: Any, data: bytes) -> Any:
        says = self._says.get(url.rpartition("/")[2], Says({}, 404))
        return says.code, {}, json.dumps(says.value).encode()


class CornerTests(SynchronousTestCase):
    """Effects of one POST."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.says: dict[str, Any] = {}
        self.application: Any = Application(self.says)
        self.server = Server()
        web = WebApplication("http://app/contacts/%s", self.application, self.clock, 10.0)
        refresher = Refresher("h", web, self.server, 32, Pieces(self.clock))
        root, admin = Resource(), Resource()
        seconds = self.clock.seconds
        service = RefreshService(refresher, Pieces(self.clock), Results(seconds), seconds)
        admin.putChild(b"refresh", RefreshResource(service))
        root.putChild(b"roster_admin", admin)
        self.reactor = MemoryReactorClock()
        self.site = Site(root, reactor=self.reactor)
        self.old = RosterItem(jid="old@h", name="Old", subscription="both")
        self.server.rosters[JOHN] = {self.old.jid: self.old}

    def post(self, *names: str) -> tuple[int, dict[str, Any]]:
        """Request a refresh, let time pass until the answer, and return status and answer."""
        body = json.dumps(names).encode()
        answer = request(self.site, self.reactor, "POST", "/roster_admin/refresh", body)
        for _ in range(40):
            if answer.status is None:
                self.clock.advance(1)
        assert answer.status is not None
        return answer.status, answer.body

    def assertRoster(self, *items: RosterItem, user: str = JOHN) -> None:
        self.assertEqual(self.server.rosters[user], {item.jid: item for item in items})

    def assertRefused(self, *parts: str, name: str = "john") -> None:
        """A refresh fails for this reason, and the roster is as it was."""
        code, answer = self.post(name)
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (500, "error", 0, 1))
        for part in parts:
            self.assertIn(part, answer["failed"][name])
        self.assertRoster(self.old)
        self.assertEqual(self.server.sets, 0)

    def test_nobody(self) -> None:
        """An empty array is answered at once: nothing is updated, and nothing has failed."""
        code, answer = self.post()
        self.assertEqual((code, answer), (200, {**answer, "status": "ok", "updated": 0, "errors": 0, "failed": {}}))
        self.assertEqual((self.application.asked, self.clock.seconds()), ([], 0))

    def test_unknownUser(self) -> None:
        """A user whom the server does not know has failed, even with a document; others have not."""
        self.says.update(ghost=Says({MARIE: {}}), john=Says({}))
        code, answer = self.post("ghost", "john")
        self.assertEqual((code, answer["status"], answer["updated"], answer["errors"]), (200, "ok", 1, 1))
        self.assertEqual(answer["failed"], {"ghost": "there is no such user"})
        self.assertEqual(set(self.server.rosters), {JOHN})

    def test_strangeUser(self) -> None:
        """A user whom the application does not know keeps the roster."""
        self.assertRefused("does not know the user", "404")

    def test_offlineUser(self) -> None:
        """A user need not be online, or ever have been."""
        self.says["john"] = Says({MARIE: {"name": "Marie"}})
        self.assertEqual(self.post("john")[1]["updated"], 1)
        self.assertRoster(RosterItem(jid=MARIE, name="Marie", subscription="both"))

    def test_names(self) -> None:
        """Names that are not ASCII, or escaped (XEP-0106), are URL-encoded; contacts may have such names, too."""
        for name, encoded in (
            ("jörg", "j%C3%B6rg"),
            ("o\\40brien", "o%5C40brien"),
            ("d\\27artagnan", "d%5C27artagnan"),
        ):
            self.server.rosters[f"{name}@h"] = {}
            self.says[encoded] = Says({f"{name}s@h": {"name": name, "groups": [f"<{name}>"]}})
            code, answer = self.post(name.upper() if name == "jörg" else name)
            self.assertEqual((code, answer["updated"], self.application.asked[-1]), (200, 1, encoded))
            groups = frozenset({f"<{name}>"})
            contact = RosterItem(jid=f"{name}s@h", name=name, groups=groups, subscription="both")
            self.assertRoster(contact, user=f"{name}@h")

    def test_groups(self) -> None:
        """Groups are a list or an object; the other form of the same groups is no change."""
        contact = RosterItem(jid=MARIE, groups=frozenset("AB"), subscription="both")
        for groups, sets in ((["A", "B"], 2), ({"A": True, "B": True, "C": False}, 0), (["B", "A", "A"], 0)):
            self.says["john"] = Says({MARIE: {"groups": groups}})
            self.server.sets = 0
            self.assertEqual(self.post("john")[1]["updated"], 1)
            self.assertRoster(contact)
            self.assertEqual(self.server.sets, sets)

    def test_timeout(self) -> None:
        """A refresh ends even if the application does not answer."""
        self.says["john"] = "silence"
        self.assertRefused("did not answer within 10 s; 3 tries")
        self.assertLess(self.clock.seconds(), 35)

    def test_refused(self) -> None:
        """If the application cannot be reached, it is asked again, and then this is the reason."""
        self.says["john"] = error.ConnectionRefusedError()
        self.assertRefused("cannot be reached", "refused", "3 tries")
        self.assertEqual(self.application.asked, ["john"] * 3)

    def test_404(self) -> None:
        """A body with status 404 is not a document, and the application is not asked again."""
        self.says["john"] = Says({MARIE: {}}, 404)
        self.assertRefused("status 404")
        self.assertEqual(self.application.asked, ["john"])

    def test_500(self) -> None:
        """A body with status 500 is not a document; the application is asked again."""
        self.says["john"] = Says({MARIE: {}}, 500)
        self.assertRefused("status 500; 3 tries")
        self.assertEqual(self.application.asked, ["john"] * 3)

    def assertSkipped(self, odd: str, about: Any, *parts: str) -> None:
        """
        An invalid contact is reported, the others are applied, and the server's item for the invalid one stays.
        """
        there = RosterItem(jid="odd@h", name="Odd", subscription="both")
        self.server.rosters[JOHN] = {self.old.jid: self.old, there.jid: there}
        self.says["john"] = Says({MARIE: {}, odd: about})
        code, answer = self.post("john")
        self.assertEqual((code, answer["updated"], answer["failed"]), (200, 1, {}))
        self.assertEqual(answer["skipped"].keys(), {"john"})
        self.assertEqual(answer["skipped"]["john"].keys(), {odd})
        for part in parts:
            self.assertIn(part, answer["skipped"]["john"][odd])
        marie = RosterItem(jid=MARIE, subscription="both")
        self.assertRoster(marie, *([there] if odd.lower().startswith("odd@h") else []))

    def test_resource(self) -> None:
        """A contact with a resource is invalid."""
        self.assertSkipped("odd@h/home", {}, "a resource")

    def test_self(self) -> None:
        """A user's own JID is invalid, in any spelling."""
        for own in (JOHN, "John@H"):
            self.assertSkipped(own, {}, "the user's own")

    def test_noDot(self) -> None:
        """A word that is not an address is not a contact."""
        self.assertSkipped("localhost", {"name": "x"}, "neither a user name nor a dot")

    def test_odd(self) -> None:
        """A contact with invalid values is not removed."""
        for about in (3, [1], {"name": 3}, {"subscription": "friend"}, {"groups": [3]}):
            self.assertSkipped("Odd@H", about, "its ")

    def test_repeated(self) -> None:
        """Skipped contacts are reported by each refresh."""
        self.assertSkipped("odd@h", 3, "a number")
        self.assertSkipped("odd@h", 3, "a number")

    def test_broken(self) -> None:
        """A key that may stand for any contact removes none."""
        for name, about in (("marie@@h", {}), ("error", "timeout after 1 row")):
            self.server.rosters[JOHN] = {self.old.jid: self.old}
            self.says["john"] = Says({MARIE: {}, name: about})
            code, answer = self.post("john")
            self.assertEqual((code, list(answer["skipped"]["john"])), (200, [name]))
            self.assertRoster(self.old, RosterItem(jid=MARIE, subscription="both"))

    def test_unknownKeys(self) -> None:
        """An unknown key is ignored."""
        self.says["john"] = Says({MARIE: {"nmae": "x", "name": "Marie"}})
        self.assertEqual(self.post("john")[1]["updated"], 1)
        self.assertRoster(RosterItem(jid=MARIE, name="Marie", subscription="both"))

    def test_briefContact(self) -> None:
        """A contact's value is an object, its name, or empty."""
        self.says["john"] = Says({MARIE: "Marie", "b@h": None, "c@h": []})
        self.assertEqual(self.post("john")[1]["updated"], 1)
        names = (MARIE, "Marie"), ("b@h", ""), ("c@h", "")
        self.assertRoster(*(RosterItem(jid=jid, name=name, subscription="both") for jid, name in names))

    def test_emptyObject(self) -> None:
        """An empty object means no contacts."""
        self.says["john"] = Says({})
        self.assertEqual(self.post("john")[1]["updated"], 1)
        self.assertRoster()

    def test_emptyList(self) -> None:
        """An empty list means no contacts, too: some languages write it for an empty object."""
        self.says["john"] = Says([])
        self.assertEqual(self.post("john")[1]["updated"], 1)
        self.assertRoster()

    def test_noObject(self) -> None:
        """Other values, and objects without a valid contact, change nothing."""
        for value in (None, "", 0, False, [MARIE], [[]], {MARIE: [1]}):
            self.says["john"] = Says(value)
            self.assertRefused("not an object")
        for value in ({"error": {}}, {"error": "x"}, {"contacts": {MARIE: {}}}):
            self.says["john"] = Says(value)
            self.assertRefused("neither a user name nor a dot")
