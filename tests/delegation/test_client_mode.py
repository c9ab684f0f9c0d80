"""Client mode (XEP-0355 section 5), the managing entity's side."""

from __future__ import annotations

from gateway import ns
from gateway.delegation.managing import Route
from gateway.errors import Forbidden
from gateway.metrics.names import DELEGATION_USERS
from tests.delegation.support import (
    COMPONENT,
    HOST,
    PUBSUB,
    Case,
    FakeNamespace,
    answer,
    errorXml,
    meaning,
    reply,
    request,
    wrapper,
)
from tests.metrics import RecordingMetrics
from tests.reports import sentences

USER = f"juliet@{HOST}"
OTHER = f"romeo@{HOST}"
ASKED = f"<query xmlns='{ns.DELEGATION_2}' to='{USER}'><delegate namespace='{PUBSUB}'/></query>"


def granted(user: str, *namespaces: str) -> str:
    """Return the message with the delegations of one user (section 5.1, example 15)."""
    inside = "".join(f"<delegated namespace='{each}'/>" for each in namespaces)
    return (
        f"<message from='{HOST}' to='{COMPONENT}' id='6789'><delegation xmlns='{ns.DELEGATION_2}' to='{user}'>"
        f"{inside}</delegation></message>"
    )


class ClientModeTests(Case):
    """A managing entity without delegations by an administrator."""

    def setUp(self) -> None:
        super().setUp()
        self.namespace = FakeNamespace(lambda request: None)
        self.make({PUBSUB: Route(self.namespace, None)}, servers=(), users=(HOST,))
        self.taken()

    def forward(self, requester: str, to: str | None = None, identifier: str = "d1") -> None:
        inner = request(f"<pubsub xmlns='{PUBSUB}'/>", requester=requester, to=to)
        self.server.send(wrapper(inner, identifier))

    def subscribe(self, user: str = USER, kind: str = "subscribe") -> None:
        self.server.send(f"<presence from='{user}' to='{COMPONENT}' type='{kind}'/>")

    def test_asks(self) -> None:
        """Section 5.1, example 12: after a user has subscribed, the user's server is asked for this user."""
        self.subscribe()
        subscribed, asked = self.taken()
        self.assertEqual([subscribed], meaning(f"<presence from='{COMPONENT}' to='{USER}' type='subscribed'/>"))
        identifier = asked[1].pop("id")
        [wanted] = meaning(f"<iq from='{COMPONENT}' to='{HOST}' type='get' id='x'>{ASKED}</iq>")
        wanted[1].pop("id")
        self.assertEqual(asked, wanted)
        self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' type='result' id='{identifier}'/>")
        self.assertIn(f"{COMPONENT}: the server of {USER} asks the user for delegations.", self.logged)

    def test_askedOnce(self) -> None:
        """
        If a user subscribes repeatedly, one request at a time is open, because all users share the table of open
        requests.
        """
        for kind in ("result", "error", "result"):
            self.subscribe()
            _, asked = self.taken()
            for user in (USER, f"{USER}/balcony"):
                self.subscribe(user)
                self.assertSent(f"<presence from='{COMPONENT}' to='{USER}' type='subscribed'/>")
            self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' type='{kind}' id='{asked[1]['id']}'/>")

    def test_refused(self) -> None:
        """If a server does not support client mode, its error is reported to the operator."""
        self.subscribe()
        identifier = self.taken()[1][1]["id"]
        self.server.send(
            f"<iq from='{HOST}' to='{COMPONENT}' type='error' id='{identifier}'>"
            f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error></iq>"
        )
        self.assertTrue(any("service-unavailable" in line and USER in line for line in self.logged))

    def test_thirdParties(self) -> None:
        """Only servers of the configured domains are asked, and only for subscriptions to the component itself."""
        self.subscribe("juliet@montaigu.lit")
        self.server.send(f"<presence from='{USER}' to='node@{COMPONENT}' type='subscribe'/>")
        self.assertSent()

    def test_nextSession(self) -> None:
        """
        Section 8, rule 2: "delegations will be asked on each new session": a presence probe for a subscriber that
        is online again starts a new request, unless the user has granted it already.
        """
        for grants, asked in (((), 1), ((PUBSUB,), 0), ((), 1)):
            self.server.send(granted(USER, *grants))
            self.subscribe(kind="probe")
            found = self.taken()
            self.assertEqual(len(found), asked)
            for each in found:
                self.server.send(f"<iq from='{HOST}' to='{COMPONENT}' type='result' id='{each[1]['id']}'/>")

    def test_status(self) -> None:
        """The status page and the metrics count the users who delegate by themselves."""
        metrics = RecordingMetrics()
        self.handler.measure(metrics)
        self.assertEqual(sentences(self.handler.report()), ["open requests: 0"])
        self.assertEqual(metrics.value(DELEGATION_USERS), 0)
        self.server.send(granted(USER, PUBSUB))
        shown = sentences(self.handler.report())
        self.assertEqual(shown, ["users who delegate by themselves, in client mode: 1", "open requests: 0"])
        self.assertEqual(metrics.value(DELEGATION_USERS), 1)

    def test_otherPresence(self) -> None:
        """Other presence of a subscriber is not answered."""
        for kind in ("", "type='unavailable'", "type='subscribed'", "type='unsubscribed'", "type='error'"):
            self.server.send(f"<presence from='{USER}/balcony' to='{COMPONENT}' {kind}/>")
        self.assertSent()

    def test_unsubscribes(self) -> None:
        """An unsubscription is confirmed; nothing is asked."""
        self.subscribe(kind="unsubscribe")
        self.assertSent(f"<presence from='{COMPONENT}' to='{USER}' type='unsubscribed'/>")

    def test_granted(self) -> None:
        """
        Section 5.2: requests in namespaces that a user has granted are answered: to the server if the user sends
        them, to the user if anybody else does.
        """
        self.server.send(granted(USER, PUBSUB))
        mine = f"{USER}/balcony"
        for requester, to in ((mine, None), (mine, HOST), ("nurse@other.lit/x", USER)):
            self.forward(requester, to)
            sender = to or USER
            self.assertSent(answer(reply(to=requester, sender=sender)))

    def test_notGranted(self) -> None:
        """
        Requests in namespaces that the user has not granted, or has revoked, are refused; after a reconnection all
        are.
        """
        refusal = answer(reply(errorXml(Forbidden), "error", f"{OTHER}/x", sender=OTHER))
        self.server.send(granted(USER, PUBSUB))
        self.forward(f"{OTHER}/x")
        self.assertSent(refusal)
        self.server.send(granted(OTHER, PUBSUB))
        self.forward(f"{OTHER}/x")
        self.assertSent(answer(reply(to=f"{OTHER}/x", sender=OTHER)))
        self.server.send(granted(OTHER))
        self.forward(f"{OTHER}/x")
        self.assertSent(refusal)
        self.server.send(granted(OTHER, PUBSUB))
        self.server.lose()
        self.server.clock.pump([0.5] * 10)
        self.server.accept()
        self.taken()
        self.forward(f"{OTHER}/x")
        self.assertSent(refusal)

    def test_forged(self) -> None:
        """A server's grants apply only to a named user of its own domain."""
        self.server.send(granted(USER, PUBSUB).replace(f" to='{USER}'", ""))
        self.forward(f"{USER}/balcony")
        self.assertSent(answer(reply(errorXml(Forbidden), "error", f"{USER}/balcony", sender=USER)))
        self.assertNotIn("delegates", "".join(self.logged))

    def test_forgedForAnother(self) -> None:
        """A server cannot grant namespaces for a user of another server, even if that server's users are served."""
        self.make({PUBSUB: Route(self.namespace, None)}, servers=(), users=(HOST, "montaigu.lit"))
        self.taken()
        romeo = "romeo@montaigu.lit"
        inner = request(f"<pubsub xmlns='{PUBSUB}'/>", requester=f"{romeo}/x", to=romeo)
        refusal = reply(errorXml(Forbidden), "error", f"{romeo}/x", sender=romeo)
        self.server.send(granted(romeo, PUBSUB))
        self.server.send(wrapper(inner, server="montaigu.lit"))
        self.assertSent(answer(refusal, to="montaigu.lit"))
        self.server.send(granted(romeo, PUBSUB).replace(f"from='{HOST}'", "from='montaigu.lit'"))
        self.server.send(wrapper(inner, server="montaigu.lit"))
        self.assertSent(answer(reply(to=f"{romeo}/x", sender=romeo), to="montaigu.lit"))

    def test_thirdParty(self) -> None:
        """Grants of a server whose users are not served are ignored, so that it cannot fill the table of grants."""
        romeo = "romeo@montaigu.lit"
        self.server.send(granted(romeo, PUBSUB).replace(f"from='{HOST}'", "from='montaigu.lit'"))
        self.assertFalse(self.handler._grants.grantedBy(romeo, PUBSUB))
        self.assertSent()
