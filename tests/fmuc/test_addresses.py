"""Addresses that servers accept, in rooms and mirrors: the same rules apply to them."""

from __future__ import annotations

from gateway import ns
from tests.fmuc.support import MUC
from tests.fmuc.wire import WireCase, mirror, rooms, to

R, OWNER = "coven@rooms.example", "own@a.example/1"
ABOVE, MIRROR = "coven@chat_srv.lan", r"coven\40chat_srv.lan@mirror.example"
# Full JIDs of senders that Prosody or ejabberd accepts.
ODD = (
    "max@chat_srv.lan/x",
    "max@-x-.lan/x",
    "u@[2001:db8::1]/x",
    "u@h.example/\U0001f44d",
    "\U0001f44d@h.example/x",
    "u@\U0001f44d.example/x",
)


class OddAddressTests(WireCase):
    """Users with such addresses."""

    def setUp(self) -> None:
        self.wire = rooms("rooms.example")
        self.wire.join(R, "own", OWNER)

    def administer(self, item: str) -> list[str]:
        """Send one change in the owner's name."""
        return self.wire.ask(R, OWNER, f"<query xmlns='{ns.MUC_ADMIN}'><item {item}/></query>", "set")

    def test_member(self) -> None:
        """Each user can become a member, is one after joining, and is in the list."""
        for odd in ODD:
            with self.subTest(odd):
                bare = odd.partition("/")[0]
                self.assertIn(f"iq {R} > {OWNER} result", self.administer(f"jid='{bare}' affiliation='member'"))
                self.assertEqual(self.wire.room(R).affiliations[bare], "member")
                self.assertIn("member/participant 110", "".join(to(odd, self.wire.join(R, "odd", odd))))
                self.wire.leave(R, "odd", odd)

    def test_ban(self) -> None:
        """Each user can be banned while an occupant, and then cannot join again."""
        for odd in ODD:
            with self.subTest(odd):
                bare = odd.partition("/")[0]
                self.assertTrue(to(odd, self.wire.join(R, "odd", odd)))
                sent = self.administer(f"jid='{bare}' affiliation='outcast'")
                self.assertIn(f"iq {R} > {OWNER} result", sent)
                self.assertIn("301", "".join(to(odd, sent)))
                self.assertIn("forbidden", "".join(self.wire.join(R, "odd", odd)))

    def test_banDomain(self) -> None:
        """A whole domain can be banned."""
        for domain in ("chat_srv.lan", "[2001:db8::1]"):
            self.wire.join(R, "odd", f"u@{domain}/x")
            sent = self.administer(f"jid='{domain}' affiliation='outcast'")
            self.assertIn("301", "".join(to(f"u@{domain}/x", sent)))

    def test_invite(self) -> None:
        """Each user can be invited."""
        for odd in ODD:
            bare = odd.partition("/")[0]
            x = f"<x xmlns='{ns.MUC_USER}'><invite to='{bare}'/></x>"
            sent = self.wire.take(f"<message from='{OWNER}' to='{R}' id='1'>{x}</message>")
            self.assertTold(sent, f"message {R} > {bare} muc#user")

    def test_dangerous(self) -> None:
        """A user who could not be banned cannot join, directly or through a node."""
        for odd in (
            "u@a:5222/x",
            "u@*/x",
            "u@a'b/x".replace("'", "&apos;"),
            "u@h.example/\u202e",
            "u\u2066@h.example/x",
        ):
            sent = self.wire.join(R, "odd", odd)
            self.assertTold(sent, f"presence {R}/odd > {odd.replace('&apos;', chr(39))} error jid-malformed")
            node = rooms("rooms.example", "mirror.example")
            node.nodeJoins(R, "odd", r"coven\40rooms.example@mirror.example", odd)
            self.assertEqual(node.rooms.rooms, {})
        self.assertEqual(list(self.wire.room(R).occupants), ["own"])

    def test_nick(self) -> None:
        """A nick may be an emoji, but may not contain an invisible code point."""
        sent = self.wire.join(R, "\U0001f44d", "u@h.example/1")
        self.assertIn("110", "".join(to("u@h.example/1", sent)))
        for nick in ("own\u2066", "own\u2064", "ow\U000e0101n", "own\u202e"):
            self.assertIn("error", "".join(to("v@h.example/1", self.wire.join(R, nick, "v@h.example/1"))), nick)

    def test_mirrored(self) -> None:
        """A room on such a domain can be mirrored, by a user of such a domain, with such a nick."""
        for odd in ODD:
            with self.subTest(odd):
                wire = mirror("mirror.example")
                sent = wire.take(f"<presence from='{odd}' to='{MIRROR}/\U0001f44d'>{MUC}</presence>")
                self.assertEqual([f"{ABOVE}/\U0001f44d"], [each.split()[3] for each in sent])

    def test_node(self) -> None:
        """Such a user can join through a node."""
        for odd in ODD:
            with self.subTest(odd):
                wire = rooms("rooms.example", "mirror.example")
                wire.join(R, "own", OWNER)
                node = r"coven\40rooms.example@mirror.example"
                sent = wire.nodeJoins(R, "odd", node, odd)
                self.assertTrue(to(OWNER, sent), sent)
                self.assertEqual(wire.room(R).occupants["odd"].realJid, odd)
