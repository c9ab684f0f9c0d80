"""Presence, subscriptions and roster changes (RFC 6121 sections 2.5, 3 and 4)."""

from __future__ import annotations

from gateway.embedded.roster import Item
from gateway.errors import BadRequest, NoSuchAddress, NotAcceptable, NotAllowed, RecipientUnavailable, ResourceLimit
from tests.embedded.support import CoreCase


class PresenceTests(CoreCase):
    """Available and unavailable presence (RFC 6121 section 4)."""

    def test_initial(self) -> None:
        """Initial presence goes to subscribers and own resources; the presence of contacts comes back."""
        self.rules.befriend("alice@h", "bob@h")
        _, bob = self.rules.online("bob@h/r")
        _, other = self.rules.online("alice@h/b")
        _, silent = self.rules.bind("alice@h/silent")
        self.atAlice.taken(), bob.taken()
        session, peer = self.rules.bind("alice@h/new")
        self.send("<presence/>", "", session)
        self.assertEqual(bob.taken(), ["presence available alice@h/new > bob@h"])
        self.assertEqual(other.taken(), ["presence available alice@h/new > alice@h"])
        self.assertEqual(silent.taken(), [])
        self.assertEqual(
            peer.taken(),
            [
                "presence available alice@h/new > alice@h",
                "presence available alice@h/a > alice@h/new",
                "presence available alice@h/b > alice@h/new",
                "presence available bob@h/r > alice@h/new",
            ],
        )

    def test_later(self) -> None:
        """Later presence goes to the same recipients, without probes."""
        self.rules.befriend("alice@h", "bob@h")
        _, bob = self.rules.online("bob@h/r")
        self.atAlice.taken()
        self.send("<presence><show>away</show></presence>", "")
        self.assertEqual(bob.taken(), ["presence available alice@h/a > bob@h"])
        self.assertEqual(self.atAlice.taken(), ["presence available alice@h/a > alice@h"])

    def test_oneWay(self) -> None:
        """Subscriptions have a direction."""
        self.rules.account("alice@h").roster.set("bob@h", "", ()).from_ = True
        self.rules.account("bob@h").roster.set("alice@h", "", ()).to = True
        _, bob = self.rules.bind("bob@h/r")
        session = self.rules.account("bob@h").sessions["bob@h/r"]
        self.send("<presence/>", "", session)
        self.assertEqual(
            bob.taken(), ["presence available bob@h/r > bob@h", "presence available alice@h/a > bob@h/r"]
        )
        self.assertEqual(self.atAlice.taken(), [])

    def test_component(self) -> None:
        """A component in the roster is probed in the account's name; a subscribed component gets presence."""
        item = self.rules.account("bob@h").roster.set("n@c.h", "", ())
        item.to = item.from_ = True
        session, _ = self.rules.online("bob@h/r")
        self.assertEqual(
            self.rules.component.taken(), ["presence available bob@h/r > n@c.h", "presence probe bob@h > n@c.h"]
        )
        self.router.unbind(session)
        self.assertEqual(self.rules.component.taken(), ["presence unavailable bob@h/r > n@c.h"])

    def test_unavailable(self) -> None:
        """Unavailable presence goes to all who saw the resource, with its content, once."""
        self.rules.befriend("alice@h", "bob@h")
        _, bob = self.rules.online("bob@h/r")
        _, other = self.rules.online("alice@h/b")
        bob.taken(), self.atAlice.taken()
        for _ in range(2):
            self.send("<presence type='unavailable'><status>bye</status></presence>", "")
        self.router.unbind(self.alice)
        self.assertEqual(bob.taken(), ["presence unavailable alice@h/a > bob@h"])
        self.assertEqual(other.taken(), ["presence unavailable alice@h/a > alice@h"])
        self.assertEqual(self.atAlice.taken(), [])

    def test_lost(self) -> None:
        """A lost connection has the same effect."""
        self.rules.befriend("alice@h", "bob@h")
        _, bob = self.rules.online("bob@h/r")
        bob.taken()
        self.router.unbind(self.alice)
        self.assertEqual(bob.taken(), ["presence unavailable alice@h/a > bob@h"])
        error = self.send("<iq type='get' id='1'/>", "alice@h/a", self.rules.bind("bob@h/x")[0])
        self.assertIs(error, RecipientUnavailable)

    def test_back(self) -> None:
        """Presence after an unavailable one is initial presence again."""
        self.rules.befriend("alice@h", "bob@h")
        self.rules.online("bob@h/r")
        self.send("<presence type='unavailable'/>", "")
        self.atAlice.taken()
        self.send("<presence/>", "")
        self.assertIn("presence available bob@h/r > alice@h/a", self.atAlice.taken())

    def test_refused(self) -> None:
        """Refused: presence that is too large, or without a recipient and of a type that needs one."""
        for xml in (f"<presence>{'x' * 17_000}</presence>", "<presence type='probe'/>", "<presence type='error'/>"):
            self.assertIs(self.send(xml, ""), NotAcceptable)

    def test_strange(self) -> None:
        """Presence with a namespace that prevents building a tree is delivered like any other."""
        self.assertIsNone(self.send("<presence><x xmlns='a b'/></presence>", ""))
        self.assertEqual(self.atAlice.taken(), ["presence available alice@h/a > alice@h"])

    def test_probe(self) -> None:
        """A client's own probe is answered like any other."""
        self.rules.grant("bob@h", "alice@h")
        self.rules.online("bob@h/r")
        self.atAlice.taken()
        self.send("<presence type='probe'/>", "bob@h")
        self.assertEqual(self.atAlice.taken(), ["presence available bob@h/r > alice@h/a"])
        self.send("<presence type='probe'/>", "alice@h/a")
        self.assertEqual(self.atAlice.taken(), ["presence available alice@h/a > alice@h/a"])


class DirectedTests(CoreCase):
    """Directed presence (RFC 6121 section 4.6)."""

    def setUp(self) -> None:
        super().setUp()
        _, self.bob = self.rules.online("bob@h/r")

    def test_lost(self) -> None:
        """Recipients of directed presence get the sender's unavailable presence, once."""
        _, other = self.rules.online("bob@h/other")
        self.bob.taken()
        for _ in range(2):
            self.send("<presence/>", "bob@h/r")
        self.send("<presence/>", "n@c.h")
        self.bob.taken(), self.rules.component.taken()
        self.router.unbind(self.alice)
        self.assertEqual(self.bob.taken(), ["presence unavailable alice@h/a > bob@h/r"])
        self.assertEqual(self.rules.component.taken(), ["presence unavailable alice@h/a > n@c.h"])
        self.assertEqual(other.taken(), [])

    def test_tookLeave(self) -> None:
        """Recipients that already got unavailable presence do not get it again."""
        self.send("<presence/>", "bob@h/r")
        self.send("<presence type='unavailable'/>", "bob@h/r")
        self.bob.taken()
        self.router.unbind(self.alice)
        self.assertEqual(self.bob.taken(), [])

    def test_goodbye(self) -> None:
        """Broadcast unavailable presence goes to them as well, also from a resource that was never available."""
        session, _ = self.rules.bind("carol@h/c")
        self.send("<presence/>", "bob@h/r", session)
        self.send("<presence type='unavailable'/>", "", session)
        self.router.unbind(session)
        self.assertEqual(
            self.bob.taken(),
            ["presence available carol@h/c > bob@h/r", "presence unavailable carol@h/c > bob@h/r"],
        )

    def test_early(self) -> None:
        """A contact that got directed presence before the broadcast also gets the unavailable presence."""
        self.rules.befriend("bob@h", "carol@h")
        session, _ = self.rules.bind("carol@h/c")
        self.send("<presence/>", "bob@h", session)
        self.router.unbind(session)
        self.assertEqual(
            self.bob.taken(), ["presence available carol@h/c > bob@h", "presence unavailable carol@h/c > bob@h"]
        )

    def test_notKept(self) -> None:
        """Directed presence is not a broadcast: probes do not show it."""
        session, _ = self.rules.bind("carol@h/c")
        self.rules.grant("carol@h", "bob@h")
        self.send("<presence/>", "bob@h/r", session)
        self.bob.taken()
        self.send("<presence type='probe'/>", "carol@h", self.rules.account("bob@h").sessions["bob@h/r"])
        self.assertEqual(self.bob.taken(), ["presence unavailable carol@h > bob@h/r"])

    def test_bound(self) -> None:
        """A resource has at most a thousand such recipients; others are refused, and those get the end."""
        for number in range(1_000):
            self.assertIsNone(self.send("<presence/>", f"n{number}@c.h"))
        self.assertIs(self.send("<presence/>", "more@c.h"), ResourceLimit)
        self.assertIsNone(self.send("<presence type='unavailable'/>", "n0@c.h"))
        self.assertIsNone(self.send("<presence/>", "more@c.h"))
        self.rules.component.taken()
        self.router.unbind(self.alice)
        self.assertEqual(len(self.rules.component.taken()), 1_000)

    def test_error(self) -> None:
        """Presence of type error goes to the addressed resource."""
        self.send("<presence type='error'/>", "bob@h/r")
        self.assertEqual(self.bob.taken(), ["presence error alice@h/a > bob@h/r"])


class SubscriptionTests(CoreCase):
    """Subscriptions from request to removal (RFC 6121 sections 2.5 and 3)."""

    def setUp(self) -> None:
        super().setUp()
        self.bobs, self.bob = self.rules.online("bob@h/r")

    def test_whole(self) -> None:
        """A request, its approval, the resulting presence, and the end by the subscriber."""
        self.send("<presence type='subscribe'/>", "bob@h/any")
        self.assertEqual(self.atAlice.taken(), ["push bob@h none ask"])
        self.assertEqual(self.bob.taken(), ["presence subscribe alice@h > bob@h"])
        self.send("<presence type='subscribed'/>", "alice@h", self.bobs)
        self.assertEqual(self.bob.taken(), ["push alice@h from"])
        self.assertEqual(
            self.atAlice.taken(),
            [
                "presence subscribed bob@h > alice@h",
                "push bob@h to",
                "presence available bob@h/r > alice@h",
            ],
        )
        self.send("<presence type='unsubscribe'/>", "bob@h")
        self.assertEqual(self.bob.taken(), ["presence unsubscribe alice@h > bob@h", "push alice@h none"])
        self.assertEqual(self.atAlice.taken(), ["push bob@h none", "presence unavailable bob@h/r > alice@h"])

    def test_refused(self) -> None:
        """A denied request leaves nothing in the roster of the denier."""
        self.send("<presence type='subscribe'/>", "bob@h")
        self.send("<presence type='unsubscribed'/>", "alice@h", self.bobs)
        self.assertEqual(len(self.bobs.account.roster), 0)
        self.assertEqual(
            self.atAlice.taken(),
            ["push bob@h none ask", "presence unsubscribed bob@h > alice@h", "push bob@h none"],
        )
        self.assertEqual(self.bob.taken(), ["presence subscribe alice@h > bob@h"])

    def test_revoked(self) -> None:
        """A subscriber whose subscription is cancelled gets unavailable presence."""
        self.rules.befriend("alice@h", "bob@h")
        self.send("<presence type='unsubscribed'/>", "alice@h", self.bobs)
        self.assertEqual(self.bob.taken(), ["push alice@h to"])
        self.assertEqual(
            self.atAlice.taken(),
            ["presence unsubscribed bob@h > alice@h", "push bob@h from", "presence unavailable bob@h/r > alice@h"],
        )

    def test_offline(self) -> None:
        """A request waits for its account, and is delivered at each initial presence until it is answered."""
        self.send("<presence type='subscribe'/>", "carol@h")
        self.send("<presence type='subscribe'/>", "carol@h")
        session, carol = self.rules.bind("carol@h/c")
        self.assertEqual(carol.taken(), [])
        request, own = "presence subscribe alice@h > carol@h", "presence available carol@h/c > carol@h"
        self.send("<presence/>", "", session)
        self.send("<presence/>", "", session)
        self.assertEqual(carol.taken(), [own, request, own])
        self.router.unbind(session)
        session, carol = self.rules.bind("carol@h/c")
        self.send("<presence/>", "", session)
        self.assertEqual(carol.taken(), [own, request])
        self.send("<presence type='subscribed'/>", "alice@h", session)
        self.router.unbind(session)
        session, carol = self.rules.bind("carol@h/c")
        self.send("<presence/>", "", session)
        self.assertEqual(carol.taken(), [own])

    def test_interested(self) -> None:
        """All resources that have requested the roster get pushes, available or not, and no others do."""
        _, second = self.rules.bind("alice@h/b")
        _, deaf = self.rules.bind("alice@h/deaf", interested=False)
        self.router.setContact(self.alice.account, Item("bob@h", "Bob"))
        self.assertEqual(self.atAlice.taken() + second.taken(), ["push bob@h none"] * 2)
        self.assertEqual(deaf.taken(), [])

    def test_nobody(self) -> None:
        """A request to an unknown account only changes the own roster, so it does not reveal accounts."""
        self.assertIsNone(self.send("<presence type='subscribe'/>", "nobody@h"))
        self.assertIsNone(self.send("<presence type='subscribe'/>", "carol@h"))
        self.assertEqual(self.atAlice.taken(), ["push nobody@h none ask", "push carol@h none ask"])
        for kind in ("subscribed", "unsubscribe", "unsubscribed"):
            self.assertIsNone(self.send(f"<presence type='{kind}'/>", "mallory@h"))
        self.assertEqual(self.atAlice.taken(), [])

    def test_senseless(self) -> None:
        """A subscription to the own account, or without a recipient, is refused."""
        self.assertIs(self.send("<presence type='subscribe'/>", "alice@h/other"), NotAllowed)
        self.assertIs(self.send("<presence type='subscribe'/>", ""), BadRequest)
        self.assertEqual(len(self.alice.account.roster), 0)

    def test_removal(self) -> None:
        """Removing a contact ends both directions in both rosters, and each becomes unavailable for the other."""
        self.rules.befriend("alice@h", "bob@h")
        self.router.removeContact(self.alice.account, "bob@h")
        self.assertEqual(self.atAlice.taken(), ["push bob@h remove", "presence unavailable bob@h/r > alice@h"])
        self.assertEqual(
            self.bob.taken(),
            [
                "presence unsubscribe alice@h > bob@h",
                "push alice@h to",
                "presence unsubscribed alice@h > bob@h",
                "push alice@h none",
                "presence unavailable alice@h/a > bob@h",
            ],
        )
        self.assertEqual(len(self.alice.account.roster), 0)
        self.assertRaises(NoSuchAddress, self.router.removeContact, self.alice.account, "bob@h")

    def test_removalOfOneWho(self) -> None:
        """Removing a contact denies its open request; a contact with an unanswered request gets unsubscribe."""
        for pending, kinds in ((True, ["unsubscribed"]), (False, ["unsubscribe"])):
            item = self.alice.account.roster.set("n@c.h", "", ())
            item.pending, item.ask = "subscribe" if pending else None, not pending
            self.router.removeContact(self.alice.account, "n@c.h")
            self.assertEqual(self.rules.component.taken(), [f"presence {kind} alice@h > n@c.h" for kind in kinds])

    def test_removalAtComponent(self) -> None:
        """A contact on a component is notified as well, and sees all resources become unavailable."""
        item = self.alice.account.roster.set("c.h", "", ())
        item.to = item.from_ = True
        self.router.removeContact(self.alice.account, "c.h")
        self.assertEqual(
            self.rules.component.taken(),
            [
                "presence unsubscribe alice@h > c.h",
                "presence unsubscribed alice@h > c.h",
                "presence unavailable alice@h/a > c.h",
            ],
        )

    def test_setContact(self) -> None:
        """The own account cannot be a contact; a full roster refuses further contacts."""
        self.assertRaises(NotAllowed, self.router.setContact, self.alice.account, Item("alice@h"))
        for number in range(1_000):
            self.router.setContact(self.alice.account, Item(f"n{number}@c.h"))
        self.assertRaises(ResourceLimit, self.router.setContact, self.alice.account, Item("more@c.h"))
        self.assertIs(self.send("<presence type='subscribe'/>", "more@c.h"), ResourceLimit)
        self.assertEqual(self.rules.component.taken(), [])

    def test_full(self) -> None:
        """A request to an account with the maximum number of open requests is ignored, like an unanswered one."""
        for number in range(1_000):
            self.rules.account("bob@h").roster.inbound("subscribe", f"n{number}@c.h", "subscribe")
        self.assertIsNone(self.send("<presence type='subscribe'/>", "bob@h"))
        self.assertEqual(self.bob.taken(), [])
        self.assertEqual(self.atAlice.taken(), ["push bob@h none ask"])
