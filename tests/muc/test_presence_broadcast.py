"""Roles whose presence is broadcast (XEP-0045 sections 5.1, 7.2.2 and 10.1.3), in rooms and through mirrors."""

from __future__ import annotations

from gateway import ns
from gateway.errors import NotAcceptable
from gateway.fmuc.values import Dialect
from gateway.muc import presence_broadcast, welcome
from gateway.testing import stanzas
from tests.fmuc.durable import ROOM as STORED
from tests.fmuc.durable import DurableCase
from tests.fmuc.support import MUC, written
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_configuration import CHANGED, FormCase, field
from tests.muc.test_local import CRONE, HAG, NO_SUBJECT, ROOM, WISE, presence, said, status, user

VAR = "presencebroadcast"
AWAY = "<show>away</show>"
VISITOR = user("none", "visitor")
SELF = user("none", "visitor", status(110))
BODY = "<body>x</body>"


class HiddenCase(FormCase):
    """A moderated room without presence of visitors; the hag is one, and wise is a member."""

    def setUp(self) -> None:
        super().setUp()
        self.submit(field("moderatedroom", "1"), field(VAR, "moderator", "participant"))
        self.room.affiliations["wise@shakespeare.lit"] = "member"
        self.join(WISE, "wise")
        self.joined = self.join(HAG, "hag")

    def administer(self, item: str) -> bytes:
        """The crone changes a role or an affiliation; her answer is left out."""
        sent = self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'><item {item}/></query>", "set")
        return b"".join(
            each.readdressed(f" from='{each.sender}' to='{each.recipient}'".encode())
            for each in stanzas(sent)
            if each.name != "iq"
        )


class HiddenTests(HiddenCase):
    """The presence of a visitor."""

    def test_join(self) -> None:
        """Section 7.2.2: the others learn nothing of the join; the visitor gets those who are shown, and itself."""
        self.assertSent(
            self.joined,
            presence("crone", HAG, user("owner", "moderator")),
            presence("wise", HAG, user("member", "participant")),
            presence("hag", HAG, SELF),
            said("", HAG, NO_SUBJECT),
        )
        sent = self.join("x@x.example/1", "x")
        self.assertNotIn(f"{ROOM}/hag".encode(), sent)

    def test_changes(self) -> None:
        """Section 7.7: a new status, and section 7.6: a new nick, are sent to the visitor only."""
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/hag'>{AWAY}</presence>")
        self.assertSent(sent, presence("hag", HAG, AWAY + SELF))
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/hex'>{AWAY}</presence>")
        renamed = f"<item affiliation='none' role='visitor' nick='hex'/>{status(303, 110)}"
        self.assertSent(
            sent,
            presence("hag", HAG, f"<x xmlns='{ns.MUC_USER}'>{renamed}</x>", "unavailable"),
            presence("hex", HAG, AWAY + SELF),
        )

    def test_left(self) -> None:
        """Section 7.14: nobody else learns of the leave."""
        left = user("none", "none", status(110))
        self.assertSent(self.leave(HAG, "hag"), presence("hag", HAG, left, "unavailable"))

    def test_removed(self) -> None:
        """Sections 8.2 and 9.1: of a kick and a ban only the visitor is told, and the moderator by the answer."""
        for item, affiliation, code in (
            ("nick='hag' role='none'", "none", 307),
            ("jid='hag66@shakespeare.lit' affiliation='outcast'", "outcast", 301),
        ):
            sent = self.administer(item)
            by = f"<item affiliation='{affiliation}' role='none'><actor nick='crone'/></item>{status(code, 110)}"
            self.assertSent(sent, presence("hag", HAG, f"<x xmlns='{ns.MUC_USER}'>{by}</x>", "unavailable"))
            self.join(HAG, "hag")

    def test_roles(self) -> None:
        """Section 8.3: voice shows an occupant to all; section 8.4: without it, the occupant leaves their view."""
        by = "<actor nick='crone'/>"
        item = "<item affiliation='none' role='participant'{}>" + by + "</item>"
        seen = f"<x xmlns='{ns.MUC_USER}'>{item.format('')}"
        jid = f" jid='{HAG}'"
        self.assertSent(
            self.administer("nick='hag' role='participant'"),
            presence("hag", CRONE, f"<x xmlns='{ns.MUC_USER}'>{item.format(jid)}</x>"),
            presence("hag", WISE, f"{seen}</x>"),
            presence("hag", HAG, f"{seen}{status(110)}</x>"),
        )
        own = f"<item affiliation='none' role='visitor'>{by}</item>{status(110)}"
        self.assertSent(
            self.administer("nick='hag' role='visitor'"),
            presence("hag", CRONE, user("none", "none", jid=HAG), "unavailable"),
            presence("hag", WISE, user("none", "none"), "unavailable"),
            presence("hag", HAG, f"<x xmlns='{ns.MUC_USER}'>{own}</x>"),
        )
        self.assertEqual(len(stanzas(self.leave(HAG, "hag"))), 1)

    def test_affiliations(self) -> None:
        """A new member has voice, and is shown."""
        sent = self.administer("jid='hag66@shakespeare.lit' affiliation='member'")
        self.assertEqual({each.recipient for each in stanzas(sent)}, {CRONE, WISE, HAG})
        self.assertEqual(len(stanzas(self.leave(HAG, "hag"))), 3)

    def test_sessions(self) -> None:
        """Section 7.2.8: another client of the visitor is told of it, and sees no other visitors."""
        self.join("x@x.example/1", "x")
        phone = "hag66@shakespeare.lit/phone"
        sent = self.join(phone, "hag", show=AWAY)
        self.assertEqual({each.recipient for each in stanzas(sent)}, {HAG, phone})
        self.assertNotIn(f"{ROOM}/x'".encode(), sent)
        sent = self.leave(HAG, "hag")
        self.assertEqual({each.recipient for each in stanzas(sent)}, {HAG, phone})

    def test_private(self) -> None:
        """Section 7.5: private messages reach a hidden occupant by the nick, and come from one."""
        for sender, nick, to in ((CRONE, "crone", "hag"), (HAG, "hag", "crone")):
            sent = self.service.take(f"<message from='{sender}' to='{ROOM}/{to}' type='chat'>{BODY}</message>")
            recipient = HAG if to == "hag" else CRONE
            mark = f"<x xmlns='{ns.MUC_USER}'/>"
            self.assertSent(
                sent, f"<message from='{ROOM}/{nick}' to='{recipient}' type='chat'>{mark}{BODY}</message>"
            )

    def test_messages(self) -> None:
        """A hidden occupant with voice may speak, and is answered."""
        self.submit(field(VAR, "moderator"))
        sent = self.say(WISE, BODY)
        self.assertSent(sent, *(said("wise", each, BODY) for each in (CRONE, WISE, HAG)))

    def test_items(self) -> None:
        """Section 6.5: the list of occupants has those whose presence the user is sent, and the user."""
        query = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
        for who, nicks in ((WISE, ("crone", "wise")), (HAG, ("crone", "wise", "hag"))):
            items = "".join(f"<item jid='{ROOM}/{nick}'/>" for nick in nicks)
            self.assertAnswered(
                self.ask(who, ROOM, query), who, ROOM, f"<query xmlns='{ns.DISCO_ITEMS}'>{items}</query>"
            )

    def test_lists(self) -> None:
        """Section 8.5: moderators find hidden visitors in the list of visitors."""
        sent = self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'><item role='visitor'/></query>")
        self.assertIn(b"nick='hag'", sent.replace(b'"', b"'"))

    def test_portions(self) -> None:
        """The portions of a large room have no hidden occupants; one who is shown meanwhile is sent at once."""
        self.patch(welcome, "PORTION", 1)
        other = "x@x.example/1"
        self.join(other, "x")
        rooms = self.service.rooms
        first = b"".join(map(written, rooms.portion()))
        self.assertSent(first, presence("crone", other, user("owner", "moderator")))
        sent = self.administer("nick='hag' role='participant'")
        self.assertIn(other, {each.recipient for each in stanzas(sent)})
        sent = self.administer("nick='wise' role='visitor'")
        self.assertNotIn(other, {each.recipient for each in stanzas(sent)})
        rest = b""
        while rooms.arriving:
            rest += b"".join(map(written, rooms.portion()))
        self.assertSent(rest, presence("x", other, SELF), said("", other, NO_SUBJECT))


class FormTests(FormCase):
    """The field of the form (section 10.1.3)."""

    def test_form(self) -> None:
        """The form has all roles as its default and as its choices; an empty list is a value, too."""
        roles = ["moderator", "participant", "visitor"]
        self.assertEqual(self.fields()[VAR], ("list-multi", roles, roles))
        for given, values in ((("visitor", "moderator"), ["moderator", "visitor"]), ((), [])):
            self.assertAnswered(self.submit(field(VAR, *given)), CRONE, ROOM, "", said("", CRONE, CHANGED))
            self.assertEqual(self.fields()[VAR], ("list-multi", values, roles))
        self.submit(field("roomname", "x"))
        self.assertEqual(self.fields()[VAR][1], [])

    def test_refused(self) -> None:
        """Other values are not accepted, and with them the whole form."""
        for given in (("owner",), ("moderator", "none"), ("",), ("x" * 5_000,)):
            sent = self.submit(field("roomname", "x"), field(VAR, *given))
            self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertEqual(self.room.settings.name, "")

    def test_changed(self) -> None:
        """A change of the option shows and hides occupants; they themselves are told of the new configuration."""
        self.join(HAG, "hag")
        left, back = user("none", "none", jid=HAG), user("none", "participant", jid=HAG)
        changed = [said("", each, CHANGED) for each in (CRONE, HAG)]
        sent = self.submit(field(VAR, "moderator"))
        self.assertAnswered(sent, CRONE, ROOM, "", presence("hag", CRONE, left, "unavailable"), *changed)
        sent = self.submit(field(VAR, "moderator", "participant"))
        self.assertAnswered(sent, CRONE, ROOM, "", presence("hag", CRONE, back), *changed)

    def test_bounded(self) -> None:
        """Of many occupants, some are hidden at once, and the others with their next presence."""
        self.join(HAG, "hag")
        self.join(WISE, "wise")
        self.patch(presence_broadcast, "_MAX_COPIES", 3)
        sent = self.submit(field(VAR, "moderator"))
        self.assertEqual(sent.count(b"unavailable"), 2)
        self.assertEqual([each.isHidden for each in self.room.occupants.values()], [False, True, False])
        sent = self.service.take(f"<presence from='{WISE}' to='{ROOM}/wise'>{AWAY}</presence>")
        self.assertEqual(sent.count(b"unavailable"), 2)
        self.assertNotIn(b"away", b"".join(each.raw for each in stanzas(sent) if each.recipient == CRONE))


class MirrorTests(FormCase):
    """Mirrors of such a room, in both dialects and modes."""

    def site(self, dialect: Dialect, replica: bool) -> Site:
        """A room without presence of participants, with its owner, and Ann in its mirror."""
        site = Site(dialect, replica)
        site.join(OWN, "own")
        site.above.rooms.rooms[ABOVE].settings.presenceBroadcast = ("moderator",)
        site.join(ANN, "ann")
        return site

    def test_hidden(self) -> None:
        """A mirror is sent the presences that are broadcast, and those of its own occupants."""
        for way in WAYS:
            site = self.site(*way)
            self.assertNotIn(f"{ABOVE}/ann", site.seen(OWN))
            seen = site.seen(ANN)
            self.assertIn(f"from='{HERE}/own'", seen)
            self.assertIn(f"from='{HERE}/ann'", seen)
            self.assertIn("'110'", seen)
            site.take(site.above, f"<presence from='{BEN}' to='{ABOVE}/ben'>{MUC}</presence>")
            self.assertEqual(site.seen(ANN), "")
            site.take(site.above, f"<message from='{BEN}' to='{ABOVE}' type='groupchat'>{BODY}</message>")
            self.assertIn(f"from='{HERE}/ben'", site.seen(ANN))
            site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'>{AWAY}</presence>")
            self.assertIn(AWAY, site.seen(ANN))
            self.assertNotIn(AWAY, site.seen(OWN))
            site.leave(ANN, "ann")
            self.assertIn("unavailable", site.seen(ANN))
            self.assertNotIn("unavailable", site.seen(OWN))

    def test_ids(self) -> None:
        """The occupant id of a hidden sender comes with the message: the mirror has had no presence."""
        for way in WAYS:
            site = self.site(*way)
            site.take(site.above, f"<presence from='{BEN}' to='{ABOVE}/ben'>{MUC}</presence>")
            site.seen(BEN), site.seen(ANN)
            site.take(site.above, f"<message from='{BEN}' to='{ABOVE}' type='groupchat'>{BODY}</message>")
            [here, there] = [site.seen(each).partition("<occupant-id")[2].partition("/>")[0] for each in (ANN, BEN)]
            self.assertEqual(here, there)
            self.assertIn(" id=", here)

    def test_roles(self) -> None:
        """A new role moves occupants into and out of the view of the other node's occupants."""
        for way in WAYS:
            site = self.site(*way)
            site.take(site.above, f"<presence from='{BEN}' to='{ABOVE}/ben'>{MUC}</presence>")
            for who in (OWN, ANN, BEN):
                site.seen(who)
            for nick, other in (("ben", ANN), ("ann", OWN)):
                for role, expected in (("moderator", "role='moderator'"), ("participant", "type='unavailable'")):
                    query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='{nick}' role='{role}'/></query>"
                    site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='r' type='set'>{query}</iq>")
                    self.assertIn(expected, site.seen(other).replace('"', "'"), (way, nick, role))
                    own = site.seen({"ben": BEN, "ann": ANN}[nick])
                    self.assertIn(f"role='{role}'", own)
                    self.assertNotIn("unavailable", own)


class StoredTests(DurableCase):
    """The option and its effect outlive a restart."""

    def test_restart(self) -> None:
        """After a restart, hidden occupants are hidden, and shown ones are shown."""
        for nick in ("own", "ann"):
            self.take(f"<presence from='{nick}@a.example/1' to='{STORED}/{nick}'>{MUC}</presence>")
        form = f"<x xmlns='{ns.DATA}' type='submit'>{field(VAR, 'moderator')}</x>"
        query = f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>"
        self.take(f"<iq from='own@a.example/1' to='{STORED}' id='1' type='set'>{query}</iq>")
        before = self.room.settings
        self.kill()
        self.assertEqual(self.room.settings, before)
        hidden = {nick for nick, each in self.room.occupants.items() if each.isHidden}
        self.assertEqual(hidden, {"ann"})
        sent = self.take(f"<presence from='ben@a.example/1' to='{STORED}/ben'>{MUC}</presence>")
        self.assertEqual(len([each for each in sent if f"{STORED}/ann" in each]), 0)
        self.assertEqual(len([each for each in sent if f"{STORED}/own" in each]), 1)

    def test_bounded(self) -> None:
        """
        An occupant whose presence is still shown, because the room is large, is shown after a restart as well: the
        others are told when this occupant leaves.
        """
        for nick in ("own", "ann", "ben"):
            self.take(f"<presence from='{nick}@a.example/1' to='{STORED}/{nick}'>{MUC}</presence>")
        self.patch(presence_broadcast, "_MAX_COPIES", 3)
        form = f"<x xmlns='{ns.DATA}' type='submit'>{field(VAR, 'moderator')}</x>"
        query = f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>"
        self.take(f"<iq from='own@a.example/1' to='{STORED}' id='1' type='set'>{query}</iq>")
        self.kill()
        hidden = [nick for nick, each in self.room.occupants.items() if each.isHidden]
        self.assertEqual(len(hidden), 1)
        shown = "ann" if hidden == ["ben"] else "ben"
        for nick, told in ((hidden[0], 1), (shown, 2)):
            sent = self.take(f"<presence type='unavailable' from='{nick}@a.example/1' to='{STORED}/{nick}'/>")
            self.assertEqual(len(sent), told, nick)
