"""Rules of what a server's grants allow (XEP-0356)."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import NotGranted
from gateway.privilege.core import Permissions, PrivilegedIq
from tests.privilege.support import JULIET, PRIVILEGE, SERVER

PUBSUB = "http://jabber.org/protocol/pubsub"
RIGHT = PrivilegedIq(JULIET, "set", "jabber:client", "", "set", PUBSUB)


def grants(**given: object) -> Permissions:
    """Return the permissions of a server that grants this."""
    return Permissions(SERVER, PRIVILEGE, **given)  # type: ignore[arg-type]  # each test gives what fits


class CoreCase(SynchronousTestCase):
    """Refusals and their reasons."""

    def assertRefused(self, words: str, check: object, *arguments: object) -> None:
        refusal = self.assertRaises(NotGranted, check, *arguments)
        self.assertIn(words, str(refusal))


class RosterTests(CoreCase):
    """Sections 4.1 to 4.4."""

    def test_types(self) -> None:
        """Each of the four types allows its own requests and nothing else."""
        allowed = {"none": "", "get": "get", "set": "set", "both": "get set"}
        for kind, kinds in allowed.items():
            for wanted in ("get", "set"):
                if wanted in kinds:
                    self.assertIsNone(grants(roster=kind).checkRoster(JULIET, wanted))
                else:
                    words = f'capulet.lit does not grant to {wanted} rosters (roster is "{kind}")'
                    self.assertRefused(words, grants(roster=kind).checkRoster, JULIET, wanted)

    def test_user(self) -> None:
        """Only bare JIDs of the server's own users are allowed."""
        for other in (SERVER, f"{JULIET}/balcony", "juliet@montague.lit", "", f"@{SERVER}", "juliet@x.capulet.lit"):
            words = f"{other!r} is not the bare JID of a user of capulet.lit"
            self.assertRefused(words, grants(roster="both").checkRoster, other, "get")

    def test_nothing(self) -> None:
        """Without an advertisement nothing is granted, and the reason says so."""
        self.assertRefused("has advertised no privileges", Permissions(SERVER).checkRoster, JULIET, "get")

    def test_pushes(self) -> None:
        """
        Pushes come by default with "get" and "both", and never with "none" and "set", with any C{push} attribute.
        """
        table = {
            ("none", None): False,
            ("none", True): False,
            ("get", None): True,
            ("get", False): False,
            ("set", None): False,
            ("set", True): False,
            ("both", None): True,
            ("both", True): True,
            ("both", False): False,
        }
        for (kind, push), pushes in table.items():
            self.assertIs(grants(roster=kind, push=push).pushes, pushes, (kind, push))


class MessageTests(CoreCase):
    """Section 5.1."""

    def test_allowed(self) -> None:
        """The bare JIDs of users, and the server itself."""
        for sender in (JULIET, SERVER):
            self.assertIsNone(grants(message="outgoing").checkMessage(sender))

    def test_refused(self) -> None:
        """
        A resource, another server, a subdomain, or an empty address is refused; and every address without a grant.
        """
        for sender in (f"{JULIET}/balcony", f"{SERVER}/x", "romeo@montague.lit", "x.capulet.lit", ""):
            self.assertRefused("is not the bare JID of a user", grants(message="outgoing").checkMessage, sender)
        self.assertRefused('message is "none"', grants(roster="both").checkMessage, JULIET)


class IqTests(CoreCase):
    """Section 6.3: the server's checks, in their order."""

    def assertIqRefused(self, words: str, granted: str = "set", **change: str) -> None:
        permissions = grants(iq={PUBSUB: granted})
        self.assertIsNone(grants(iq={PUBSUB: "both"}).checkIq(RIGHT))
        self.assertRefused(words, permissions.checkIq, evolve(RIGHT, **change))

    def test_recipient(self) -> None:
        """The 'to' attribute of the top-level iq is not a bare JID of a managed entity."""
        for user in (f"{JULIET}/balcony", "romeo@montague.lit", SERVER, ""):
            self.assertIqRefused("is not the bare JID of a user", user=user)

    def test_namespace(self) -> None:
        """The permission is not granted for the payload's namespace."""
        self.assertIqRefused("requests of 'urn:other'", payload="urn:other")
        self.assertIqRefused("requests of 'http://jabber.org/protocol/pubsub'", granted="none")
        self.assertRefused("advertised no", Permissions(SERVER).checkIq, RIGHT)

    def test_type(self) -> None:
        """The permission is not granted for this type of request."""
        self.assertIqRefused(
            "to get 'http://jabber.org/protocol/pubsub' (it is granted as \"set\")", innerKind="get"
        )
        self.assertIqRefused('(it is granted as "get")', granted="get")
        for kind in ("result", "error", "none", "both", ""):
            self.assertIqRefused("it is granted as", granted="both", kind=kind, innerKind=kind)

    def test_content(self) -> None:
        """The namespace of the encapsulated iq is not "jabber:client"."""
        for namespace in ("", "jabber:component:accept", PRIVILEGE):
            self.assertIqRefused("the encapsulated iq is in", namespace=namespace)

    def test_sender(self) -> None:
        """The 'from' attribute of the encapsulated iq exists, and is another entity."""
        self.assertIsNone(grants(iq={PUBSUB: "set"}).checkIq(evolve(RIGHT, sender=JULIET)))
        for sender in (f"{JULIET}/balcony", "nurse@capulet.lit", SERVER):
            self.assertIqRefused(f"the encapsulated iq is from {sender}", sender=sender)

    def test_types(self) -> None:
        """The types of both iqs are not the same."""
        self.assertIqRefused("the encapsulated iq is a set, the one around it a get", kind="get")


class PresenceTests(CoreCase):
    """Sections 7.1, 7.4 and 8."""

    def test_rosterNeedsRoster(self) -> None:
        """Presence of contacts needs the permission to read rosters; else it is rejected."""
        for kind, feed in {"none": "none", "set": "none", "get": "roster", "both": "roster"}.items():
            self.assertEqual(grants(roster=kind, presence="roster").feed, feed)
            self.assertEqual(grants(roster=kind, presence="managed_entity").feed, "managed_entity")

    def test_shown(self) -> None:
        """
        Only the first available and the first unavailable presence of a resource is shown; of contacts only with
        "roster".
        """
        roster = grants(roster="get", presence="roster")
        managed = grants(presence="managed_entity")
        for permissions, own in ((roster, True), (roster, False), (managed, True)):
            self.assertTrue(permissions.showsPresence(None, own, False))
            self.assertFalse(permissions.showsPresence(None, own, True))
            self.assertTrue(permissions.showsPresence("unavailable", own, True))
            self.assertFalse(permissions.showsPresence("unavailable", own, False))
            for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"):
                for shown in (True, False):
                    self.assertFalse(permissions.showsPresence(kind, own, shown))
        self.assertFalse(managed.showsPresence(None, False, False))
        for nothing in (grants(), grants(presence="roster")):
            self.assertFalse(nothing.showsPresence(None, True, False))
