"""The routing of stanzas (RFC 6121 section 8)."""

from __future__ import annotations

from gateway.errors import RecipientUnavailable, ResourceLimit, UnknownServer
from tests.embedded.support import CoreCase, Recorder

NEVER = "<message type='error'/>"


class MessageTests(CoreCase):
    """Messages: the table of RFC 6121 section 8.5.4."""

    TYPES = (None, "normal", "chat", "groupchat", "headline", "error")

    def outcomes(self, to: str, *peers: Recorder) -> dict[str | None, str]:
        """Return the outcome by type: C{E} for an error, else the numbers of its recipients, C{-} for none."""
        found = {}
        for kind in self.TYPES:
            given = "" if kind is None else f" type='{kind}'"
            error = self.send(f"<message{given}/>", to)
            got = "".join(str(number) for number, peer in enumerate(peers) if peer.taken())
            self.assertIn(error, (None, RecipientUnavailable))
            self.assertFalse(error and got, f"{kind}: both delivered and refused")
            # Errors for types that must not be answered are dropped by the connection.
            found[kind] = ("E" if error else got or "-") if kind != "error" else got or "-"
        return found

    def test_nobody(self) -> None:
        """To an unknown account: an error, whatever the resource."""
        for to in ("nobody@h", "nobody@h/r"):
            self.assertEqual(
                self.outcomes(to),
                {None: "E", "normal": "E", "chat": "E", "groupchat": "E", "headline": "E", "error": "-"},
            )

    def test_offline(self) -> None:
        """To an account that is offline: an error, except that a headline to its bare JID is dropped."""
        expected = {None: "E", "normal": "E", "chat": "E", "groupchat": "E", "headline": "-", "error": "-"}
        self.assertEqual(self.outcomes("bob@h"), expected)
        self.assertEqual(self.outcomes("bob@h/r"), expected)

    def test_negative(self) -> None:
        """A resource with negative priority gets only stanzas to its full JID."""
        _, bob = self.rules.online("bob@h/r", "<presence><priority>-1</priority></presence>")
        expected = {None: "E", "normal": "E", "chat": "E", "groupchat": "E", "headline": "-", "error": "-"}
        self.assertEqual(self.outcomes("bob@h", bob), expected)
        self.assertEqual(self.outcomes("bob@h/other", bob), expected)
        self.assertEqual(self.outcomes("bob@h/r", bob), dict.fromkeys(self.TYPES, "0"))

    def test_unavailable(self) -> None:
        """A resource without presence gets only stanzas to its full JID."""
        _, bob = self.rules.bind("bob@h/r")
        expected = {None: "E", "normal": "E", "chat": "E", "groupchat": "E", "headline": "-", "error": "-"}
        self.assertEqual(self.outcomes("bob@h", bob), expected)
        self.assertEqual(self.outcomes("bob@h/r", bob), dict.fromkeys(self.TYPES, "0"))

    def test_several(self) -> None:
        """To a bare JID: to all resources with non-negative priority; a groupchat message or an error to none."""
        peers = [
            self.rules.online(f"bob@h/{number}", f"<presence><priority>{priority}</priority></presence>")[1]
            for number, priority in enumerate((0, 5, -5))
        ]
        for peer in peers:
            peer.taken()
        self.assertEqual(
            self.outcomes("bob@h", *peers),
            {None: "01", "normal": "01", "chat": "01", "groupchat": "E", "headline": "01", "error": "-"},
        )

    def test_resourceGone(self) -> None:
        """A chat message to an offline resource goes to the other ones; other types do not."""
        _, bob = self.rules.online("bob@h/r")
        self.assertEqual(
            self.outcomes("bob@h/gone", bob),
            {None: "E", "normal": "E", "chat": "0", "groupchat": "E", "headline": "-", "error": "-"},
        )

    def test_addresses(self) -> None:
        """A delivered stanza has the full address of its sender, and the recipient as sent."""
        _, bob = self.rules.online("bob@h/r")
        self.send("<message type='chat'/>", "bob@h")
        self.send("<message type='chat'/>", "bob@h/r")
        self.assertEqual(bob.taken(), ["message chat alice@h/a > bob@h", "message chat alice@h/a > bob@h/r"])
        self.assertEqual(self.atAlice.waited, [bob, bob])

    def test_toNobody(self) -> None:
        """Without a recipient it is for the sender's own account (RFC 6120 section 10.3.1)."""
        _, other = self.rules.online("alice@h/b")
        self.atAlice.taken()
        self.send("<message/>", "")
        self.assertEqual(self.atAlice.taken() + other.taken(), ["message available alice@h/a > alice@h"] * 2)

    def test_host(self) -> None:
        """The host itself accepts no messages."""
        for to in ("h", "h/resource"):
            self.assertIs(self.send("<message/>", to), RecipientUnavailable)

    def test_priorities(self) -> None:
        """A priority is between -128 and 127; an invalid one counts as 0."""
        for given, expected in (("5", 5), ("-300", -128), ("300", 127), ("x", 0), ("", 0), (" 3 ", 3)):
            self.send(f"<presence><status/><priority>{given}</priority></presence>", "")
            self.assertEqual(self.alice.priority, expected, given)


class IqTests(CoreCase):
    """Requests and answers (RFC 6121 sections 8.5.2.1.3 and 8.5.3)."""

    TYPES = ("get", "set", "result", "error")

    def test_resource(self) -> None:
        """An iq to an online resource is delivered; one to an offline resource is refused."""
        _, bob = self.rules.bind("bob@h/r")
        for kind in self.TYPES:
            self.assertIsNone(self.send(f"<iq type='{kind}' id='1'/>", "bob@h/r"))
            self.assertEqual(bob.taken(), [f"iq {kind} alice@h/a > bob@h/r"])
            self.assertIs(self.send(f"<iq type='{kind}' id='1'/>", "bob@h/gone"), RecipientUnavailable)
        self.assertEqual(bob.taken() + self.rules.served, [])

    def test_account(self) -> None:
        """A request to an account is answered by the host, never delivered to a resource; an answer is dropped."""
        _, bob = self.rules.online("bob@h/r")
        self.rules.grant("bob@h", "alice@h")
        for kind in self.TYPES:
            self.assertIsNone(self.send(f"<iq type='{kind}' id='1'/>", "bob@h"))
        self.assertEqual(self.rules.served, ["alice@h/a > bob@h"] * 2)
        self.assertEqual(bob.taken(), [])

    def test_known(self) -> None:
        """Only the account itself and its subscribers may learn that the account exists."""
        for to in ("", "alice@h"):
            self.assertIsNone(self.send("<iq type='get' id='1'/>", to))
        self.assertIs(self.send("<iq type='get' id='1'/>", "bob@h"), RecipientUnavailable)
        self.rules.grant("bob@h", "alice@h")
        self.assertIsNone(self.send("<iq type='get' id='1'/>", "bob@h"))
        self.assertEqual(self.rules.served, [*["alice@h/a > alice@h"] * 2, "alice@h/a > bob@h"])

    def test_host(self) -> None:
        """A request to the host is answered; the host has no resources, and drops answers."""
        self.assertIsNone(self.send("<iq type='set' id='1'/>", "h"))
        self.assertIsNone(self.send("<iq type='result' id='1'/>", "h"))
        self.assertEqual(self.rules.served, ["alice@h/a > h"])
        self.assertIs(self.send("<iq type='get' id='1'/>", "h/r"), RecipientUnavailable)

    def test_nobody(self) -> None:
        """A request to an unknown account is refused; an answer to it is dropped."""
        for kind in ("get", "set"):
            for to in ("nobody@h", "nobody@h/r"):
                self.assertIs(self.send(f"<iq type='{kind}' id='1'/>", to), RecipientUnavailable)
        self.assertIsNone(self.send("<iq type='result' id='1'/>", "nobody@h"))


class ElsewhereTests(CoreCase):
    """Components, and other domains."""

    def test_toComponent(self) -> None:
        """All stanzas for a component's domain go to it, with any localpart, resource and type, unchanged."""
        for to in ("c.h", "node@c.h", "c.h/r", "node@c.h/r"):
            for xml in ("<iq type='get' id='1'/>", "<message/>", "<presence/>", NEVER):
                self.assertIsNone(self.send(xml, to))
            heard = self.rules.component.taken()
            self.assertEqual([line.split(" ", 2)[2] for line in heard], [f"alice@h/a > {to}"] * 4)

    def test_notConnected(self) -> None:
        """A component that is not connected, and an unknown domain: two different errors."""
        for xml in ("<iq type='get' id='1'/>", "<message/>", "<presence/>"):
            self.assertIs(self.send(xml, "x@off.h"), RecipientUnavailable)
            self.assertIs(self.send(xml, "x@elsewhere"), UnknownServer)
            self.assertIs(self.send(xml, "sub.c.h"), UnknownServer)

    def test_fromComponent(self) -> None:
        """A component may send to accounts, resources, the host and other components, from any of its addresses."""
        _, bob = self.rules.online("bob@h/r")
        for to in ("bob@h", "bob@h/r"):
            self.assertIsNone(self.fromComponent("<message type='chat'/>", to, "n@c.h/r"))
            self.assertEqual(bob.taken(), [f"message chat n@c.h/r > {to}"])
        self.assertIsNone(self.fromComponent("<iq type='get' id='1'/>", "h"))
        self.assertEqual(self.rules.served, ["c.h > h"])
        other = self.router.components["other.h"] = Recorder()
        self.assertIsNone(self.fromComponent("<message/>", "other.h"))
        self.assertEqual(other.taken(), ["message available c.h > other.h"])
        self.assertIs(self.fromComponent("<message/>", "elsewhere"), UnknownServer)
        self.assertIs(self.fromComponent("<iq type='get' id='1'/>", "bob@h/gone"), RecipientUnavailable)

    def test_presence(self) -> None:
        """Presence of a component goes to all resources of an account, or to one."""
        _, bob = self.rules.online("bob@h/r")
        _, silent = self.rules.bind("bob@h/silent")
        self.fromComponent("<presence/>", "bob@h")
        self.fromComponent("<presence type='unavailable'/>", "bob@h/silent")
        self.fromComponent("<presence/>", "nobody@h")
        self.assertEqual(bob.taken(), ["presence available c.h > bob@h"])
        self.assertEqual(silent.taken(), ["presence unavailable c.h > bob@h/silent"])

    def test_subscription(self) -> None:
        """A component subscribes, is approved, sees the account; repeats its request; is denied."""
        self.fromComponent("<presence type='subscribe'/>", "alice@h")
        self.assertEqual(self.atAlice.taken(), ["presence subscribe c.h > alice@h"])
        self.send("<presence type='subscribed'/>", "c.h")
        self.assertEqual(self.atAlice.taken(), ["push c.h from"])
        self.assertEqual(
            self.rules.component.taken(),
            ["presence subscribed alice@h > c.h", "presence available alice@h/a > c.h"],
        )
        self.fromComponent("<presence type='subscribe'/>", "alice@h")
        self.assertEqual(self.rules.component.taken(), ["presence subscribed alice@h > c.h"])
        self.send("<presence type='unsubscribed'/>", "c.h")
        self.assertEqual(
            self.rules.component.taken(),
            ["presence unsubscribed alice@h > c.h", "presence unavailable alice@h/a > c.h"],
        )

    def test_probes(self) -> None:
        """A subscribed component gets presence by a probe; another one gets unsubscribed."""
        self.fromComponent("<presence type='probe'/>", "alice@h")
        self.fromComponent("<presence type='probe'/>", "nobody@h")
        self.assertEqual(
            self.rules.component.taken(),
            ["presence unsubscribed alice@h > c.h", "presence unsubscribed nobody@h > c.h"],
        )
        self.rules.grant("alice@h", "c.h")
        self.rules.grant("bob@h", "c.h")
        self.rules.online("alice@h/b")
        self.rules.component.taken()
        for to in ("alice@h", "alice@h/b", "alice@h/gone", "bob@h", "h"):
            self.fromComponent("<presence type='probe'/>", to)
        self.assertEqual(
            self.rules.component.taken(),
            [
                "presence available alice@h/a > c.h",
                "presence available alice@h/b > c.h",
                "presence available alice@h/b > c.h",
                "presence unavailable alice@h/gone > c.h",
                "presence unavailable bob@h > c.h",
            ],
        )

    def test_absent(self) -> None:
        """A contact on a component that is not connected has no effect."""
        item = self.rules.account("bob@h").roster.set("off.h", "", ())
        item.to = item.from_ = True
        session, bob = self.rules.online("bob@h/r")
        self.router.unbind(session)
        self.router.removeContact(session.account, "off.h")
        self.assertEqual(bob.taken(), [])


class BindTests(CoreCase):
    """Login and logout of resources."""

    def test_bound(self) -> None:
        """Sixty-four resources for an account; a resource that replaces another one does not count."""
        account = self.alice.account
        for number in range(63):
            self.router.bind(account, f"alice@h/{number}", Recorder())
        self.assertRaises(ResourceLimit, self.router.bind, account, "alice@h/more", Recorder())
        session, old = self.router.bind(account, "alice@h/a", Recorder())
        self.assertIs(old, self.alice)
        self.assertIs(account.sessions["alice@h/a"], session)

    def test_conflict(self) -> None:
        """The end of a replaced session does not affect the session that replaced it."""
        self.rules.befriend("alice@h", "bob@h")
        _, bob = self.rules.online("bob@h/r")
        session, _ = self.router.bind(self.alice.account, "alice@h/a", Recorder())
        self.router.unbind(self.alice)
        self.assertEqual(bob.taken(), ["presence unavailable alice@h/a > bob@h"])
        self.assertIs(self.alice.account.sessions["alice@h/a"], session)
