"""Clients with a locked roster, and pushes of its changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.errors import NotGranted
from gateway.interfaces import IStatusProvider, RosterItem
from gateway.privilege.core import Permissions
from gateway.roster import interested
from gateway.roster.interested import InterestedClients
from tests.proxy.support import stanza
from tests.reports import sentences

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
        """Return the clients that have got pushes since the last call."""
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
        verifyObject(IStatusProvider, self.clients)

    def test_given(self) -> None:
        """Each client that was sent the roster gets pushes, until it leaves; no other does."""
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
        """
        A client that was online before the gateway gets pushes, too: an earlier process may have sent it the
        roster.
        """
        self.shows("john@h/a", wasThere=True)
        self.shows("john@elsewhere/a", wasThere=True)
        self.assertEqual(self.told(), ["john@h/a"])
        self.assertEqual(self.told("john@elsewhere"), [])
        # A stamp on later presence, by the client itself, does not count.
        self.shows("john@h/b")
        self.shows("john@h/b", wasThere=True)
        self.assertEqual(self.told(), ["john@h/a"])

    def test_connectionLost(self) -> None:
        """All clients are forgotten; the server sends the presence of those online again."""
        self.clients.onRosterGiven("john@h/a", True)
        self.clients.onRosterGiven("john@h/b", True)
        self.clients.connectionLost(Failure(ConnectionDone()))
        self.shows("john@h/b", wasThere=True)
        self.assertEqual(self.told(), ["john@h/b"])

    def test_refused(self) -> None:
        """
        A client is forgotten if a push to it is answered with an error, unless it is online: then the error is its
        own.
        """
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
        """A client's first presence after it got a fresh roster needs no refresh."""
        self.clients.onRosterGiven("john@h/a", True)
        self.assertEqual([self.clients.takeFresh("john@h/a") for _ in "12"], [True, False])
        self.clients.onRosterGiven("john@h/b", False)
        self.assertFalse(self.clients.takeFresh("john@h/b"))
        self.assertFalse(self.clients.takeFresh("nobody@h/a"))
        # A client that is already available needs no refresh for its first presence.
        self.shows("john@h/c")
        self.clients.onRosterGiven("john@h/c", True)
        self.assertFalse(self.clients.takeFresh("john@h/c"))

    def test_serverPushes(self) -> None:
        """Nothing is sent if the server pushes by itself."""
        self.clients = InterestedClients("r.h", "h", None, self.clock)
        self.clients.connectionInitialized()
        self.clock.advance(10)
        self.clients.onRosterGiven("john@h/a", True)
        self.assertEqual(self.told(), [])
        self.assertEqual(
            sentences(self.clients.report()), ["locked rosters were given to 1 clients; the server pushes changes"]
        )

    def test_notGranted(self) -> None:
        """If the server does not grant pushes, the lines to configure are logged, once for each connection."""
        self.privileges.iq = {}
        self.clients.onRosterGiven("john@h/a", True)
        with capturedLogs() as logs:
            self.clients.connectionInitialized()
            self.assertEqual(sentences(self.clients.report()), [])
            self.clock.advance(3)
            self.assertEqual(self.told(), [])
        [line] = [event["missed"] for event in logs]
        self.assertEqual(sentences(self.clients.report()), [line])
        granted = 'roster = "both", presence = "roster", iq = { ["jabber:iq:roster"] = "set" }'
        self.assertIn(f'["r.h"] = {{ {granted} }};', line)
        self.assertRegex(line, r'delegations = \{\s+\["jabber:iq:roster"\] = \{ jid = "r.h" \};')
        self.assertIn("set api under [roster]", line)
        # Only that of the server, if it is known.
        for software, isProsody in (("Prosody 0.12.3", True), ("ejabberd 26.07", False)):
            self.clients.parent = SimpleNamespace(software=software)
            [line] = sentences(self.clients.report())
            self.assertEqual(("VirtualHost" in line, "set api" in line), (isProsody, not isProsody))
        self.clients.parent = None
        # Nothing is logged about a connection that is lost.
        with capturedLogs() as logs:
            self.clients.connectionInitialized()
            self.clients.connectionLost(Failure(ConnectionDone()))
            self.clock.advance(3)
        self.assertEqual(logs, [])
        self.assertEqual(sentences(self.clients.report()), [])

    def test_granted(self) -> None:
        """The status has the number of clients that get pushes, and of pushes."""
        for granted in ("set", "both"):
            self.privileges.iq = {"jabber:iq:roster": granted}
            with capturedLogs() as logs:
                self.clients.connectionInitialized()
                self.clock.advance(3)
            self.assertEqual(logs, [])
        self.clients.onRosterGiven("john@h/a", True)
        self.told()
        self.assertEqual(sentences(self.clients.report()), ["changes are pushed to 1 clients; 1 pushes were sent"])
        self.privileges.iq = {"jabber:iq:roster": "get"}
        self.assertIn("does not grant roster pushes", sentences(self.clients.report())[0])

    def test_congested(self) -> None:
        """A push without room in the output is logged, seldom, and not counted."""
        self.privileges.hasRoom = False
        self.clients.connectionInitialized()
        self.clock.advance(3)
        self.clients.onRosterGiven("john@h/a", True)
        with capturedLogs() as logs:
            self.told()
            self.told()
        self.assertEqual([event["jid"] for event in logs], ["john@h/a"])
        self.assertIn("; 0 pushes", sentences(self.clients.report())[0])

    def test_bounded(self) -> None:
        """The number of users, and of clients of each, is bounded; the latest are kept."""
        self.patch(interested, "_MAX_USERS", 2)
        self.patch(interested, "_MAX_CLIENTS", 2)
        for jid in ("a@h/1", "b@h/1", "c@h/1", "b@h/2", "b@h/1", "b@h/3"):
            self.clients.onRosterGiven(jid, False)
        self.assertEqual(
            {user: list(clients) for user, clients in self.clients._users.items()},
            {"c@h": ["c@h/1"], "b@h": ["b@h/1", "b@h/3"]},
        )
