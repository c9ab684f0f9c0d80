"""Clients with a locked roster: who is told of its changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.errors import NotGranted
from gateway.interfaces import IReporting, RosterItem
from gateway.privilege.core import Permissions
from gateway.roster import interested
from gateway.roster.interested import InterestedClients
from tests.proxy.support import stanza

MARIE = RosterItem(jid="marie@h", subscription="both")


class FakePrivileges:
    """Pushes, and whether they are granted."""

    def __init__(self) -> None:
        self.iq = {"jabber:iq:roster": "set"}
        self.pushed: list[tuple[str, str, RosterItem]] = []
        self.refused: list[Callable[[], object]] = []
        self.hasRoom = True

    def permissions(self, server: str) -> Permissions:
        return Permissions(server, "urn:xmpp:privilege:2", "both", iq=self.iq)

    def pushRoster(self, user: str, resource: str, item: RosterItem, refused: Callable[[], object]) -> bool:
        if not self.iq:
            raise NotGranted("no")
        self.pushed.append((user, resource, item))
        self.refused.append(refused)
        return self.hasRoom

    def taken(self) -> list[str]:
        """The resources that were told since."""
        pushed, self.pushed = self.pushed, []
        return [resource for _, resource, _ in pushed]


class InterestedTests(SynchronousTestCase):
    """Clients of one domain."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.privileges: Any = FakePrivileges()
        self.clients = InterestedClients("r.h", "h", self.privileges, self.clock)

    def shows(self, jid: str, kind: str = "", wasThere: bool = False) -> None:
        delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-29T10:00:00Z'/>" if wasThere else ""
        type_ = f" type='{kind}'" if kind else ""
        self.clients.onPresence(stanza(f"<presence from='{jid}'{type_}>{delay}</presence>"))

    def told(self, user: str = "john@h") -> list[str]:
        self.clients.onContactSet(user, MARIE)
        return sorted(self.privileges.taken())

    def test_interface(self) -> None:
        verifyObject(IReporting, self.clients)

    def test_given(self) -> None:
        """Each client that was given the roster is told, and no other, until it goes."""
        self.shows("john@h/never")
        for jid in ("john@h/a", "john@h/b", "mary@h/c"):
            self.clients.onRosterGiven(jid, True)
        self.shows("john@h/a")
        self.assertEqual(self.told(), ["john@h/a", "john@h/b"])
        self.shows("john@h/a", "unavailable")
        self.shows("john@h/x", "unavailable")
        self.assertEqual(self.told(), ["john@h/b"])
        self.assertEqual(self.told("nobody@h"), [])

    def test_before(self) -> None:
        """So is each that was online before the gateway, which may have been given it by another process."""
        self.shows("john@h/a", wasThere=True)
        self.shows("john@elsewhere/a", wasThere=True)
        self.assertEqual(self.told(), ["john@h/a"])
        self.assertEqual(self.told("john@elsewhere"), [])
        # A client that says so itself when it is here already was not.
        self.shows("john@h/b")
        self.shows("john@h/b", wasThere=True)
        self.assertEqual(self.told(), ["john@h/a"])

    def test_connectionLost(self) -> None:
        """The server shows all who are online again; the others are gone."""
        self.clients.onRosterGiven("john@h/a", True)
        self.clients.onRosterGiven("john@h/b", True)
        self.clients.connectionLost(Failure(ConnectionDone()))
        self.shows("john@h/b", wasThere=True)
        self.assertEqual(self.told(), ["john@h/b"])

    def test_refused(self) -> None:
        """A client for which an error comes back is forgotten, unless it is online: then it is its own error."""
        self.clients.onRosterGiven("john@h/a", True)
        self.shows("john@h/b")
        self.clients.onRosterGiven("john@h/b", True)
        self.clients.onRosterGiven("john@h/c", True)
        self.told()
        for refused in self.privileges.refused:
            refused()
            refused()
        self.assertEqual(self.told(), ["john@h/b"])
        self.shows("john@h/b", "unavailable")
        self.privileges.refused[-1]()
        self.assertEqual(self.clients._users, {})

    def test_fresh(self) -> None:
        """A client's first presence after it has got what the application says is no reason to ask that again."""
        self.clients.onRosterGiven("john@h/a", True)
        self.assertEqual([self.clients.takeFresh("john@h/a") for _ in "12"], [True, False])
        self.clients.onRosterGiven("john@h/b", False)
        self.assertFalse(self.clients.takeFresh("john@h/b"))
        self.assertFalse(self.clients.takeFresh("nobody@h/a"))
        # One that asks later asks for itself.
        self.shows("john@h/c")
        self.clients.onRosterGiven("john@h/c", True)
        self.assertFalse(self.clients.takeFresh("john@h/c"))

    def test_serverPushes(self) -> None:
        """Nothing is sent if the server tells clients itself."""
        self.clients = InterestedClients("r.h", "h", None, self.clock)
        self.clients.connectionInitialized()
        self.clock.advance(10)
        self.clients.onRosterGiven("john@h/a", True)
        self.assertEqual(self.told(), [])
        self.assertEqual(
            list(self.clients.report()), ["locked rosters were given to 1 clients; the server pushes changes"]
        )

    def test_notGranted(self) -> None:
        """If the server does not grant it, the operator reads what to write, once a connection."""
        self.privileges.iq = {}
        self.clients.onRosterGiven("john@h/a", True)
        with capturedLogs() as logs:
            self.clients.connectionInitialized()
            self.assertEqual(list(self.clients.report()), [])
            self.clock.advance(3)
            self.assertEqual(self.told(), [])
        [line] = [event["missed"] for event in logs]
        self.assertEqual(list(self.clients.report()), [line])
        granted = 'roster = "both", presence = "roster", iq = { ["jabber:iq:roster"] = "set" }'
        self.assertIn(f'["r.h"] = {{ {granted} }};', line)
        self.assertIn('delegations = { ["jabber:iq:roster"] = { jid = "r.h" } }', line)
        self.assertIn("set api under [roster]", line)
        # Of a connection that is gone nothing is said.
        with capturedLogs() as logs:
            self.clients.connectionInitialized()
            self.clients.connectionLost(Failure(ConnectionDone()))
            self.clock.advance(3)
        self.assertEqual(logs, [])
        self.assertEqual(list(self.clients.report()), [])

    def test_granted(self) -> None:
        """The status says how many clients are told, and how many pushes there were."""
        for granted in ("set", "both"):
            self.privileges.iq = {"jabber:iq:roster": granted}
            with capturedLogs() as logs:
                self.clients.connectionInitialized()
                self.clock.advance(3)
            self.assertEqual(logs, [])
        self.clients.onRosterGiven("john@h/a", True)
        self.told()
        self.assertEqual(list(self.clients.report()), ["changes are pushed to 1 clients; 1 pushes were sent"])
        self.privileges.iq = {"jabber:iq:roster": "get"}
        self.assertIn("does not grant roster pushes", next(self.clients.report()))

    def test_congested(self) -> None:
        """A push for which there is no room is said, seldom, and is not counted."""
        self.privileges.hasRoom = False
        self.clients.connectionInitialized()
        self.clock.advance(3)
        self.clients.onRosterGiven("john@h/a", True)
        with capturedLogs() as logs:
            self.told()
            self.told()
        self.assertEqual([event["jid"] for event in logs], ["john@h/a"])
        self.assertIn("; 0 pushes", next(self.clients.report()))

    def test_bounded(self) -> None:
        """So many users, and so many clients of each: those that came last."""
        self.patch(interested, "_MAX_USERS", 2)
        self.patch(interested, "_MAX_CLIENTS", 2)
        for jid in ("a@h/1", "b@h/1", "c@h/1", "b@h/2", "b@h/1", "b@h/3"):
            self.clients.onRosterGiven(jid, False)
        self.assertEqual(
            {user: list(clients) for user, clients in self.clients._users.items()},
            {"c@h": ["c@h/1"], "b@h": ["b@h/1", "b@h/3"]},
        )
