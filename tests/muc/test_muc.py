"""XEP-0045 by its sentences, where no example covers them: stanzas to users, and rights."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.properties import WAIT
from gateway.muc.room import Bounds
from tests.fmuc.wire import WireCase, mirror, read, rooms, to

R = "coven@chat.shakespeare.lit"
M = r"coven\40chat.shakespeare.lit@mirror.example"
SOURCE = "coven@chat.shakespeare.lit"
# From the examples: an owner, an admin, two members, one user without affiliation.
CRONE, WISE = "crone1@shakespeare.lit/desktop", "wiccarocks@shakespeare.lit/laptop"
HAG, ELDER, HECATE = "hag66@shakespeare.lit/pda", "elder@shakespeare.lit/1", "hecate@shakespeare.lit/broom"
PEOPLE = {"owner": CRONE, "admin": WISE, "member": HAG, "elder": ELDER, "nobody": HECATE}


def bare(jid: str) -> str:
    """Return the bare JID."""
    return jid.partition("/")[0]


class RoomCase(WireCase):
    """All of them are occupants, by nicks that name their affiliations."""

    def setUp(self) -> None:
        self.wire = rooms("chat.shakespeare.lit", bounds=Bounds(occupants=20))
        self.wire.join(R, "owner", CRONE)
        room = self.wire.room(R)
        room.affiliations[bare(WISE)] = "admin"
        room.affiliations[bare(HAG)] = room.affiliations[bare(ELDER)] = "member"
        for nick, jid in list(PEOPLE.items())[1:]:
            self.wire.join(R, nick, jid)

    def administer(self, who: str, *items: str, kind: str = "set") -> list[str]:
        """Send one request."""
        inside = "".join(f"<item {item}/>" for item in items)
        return self.wire.ask(R, who, f"<query xmlns='{ns.MUC_ADMIN}'>{inside}</query>", kind)

    def assertDone(self, who: str, *items: str) -> list[str]:
        """The request is done, and its answer comes before its effects (sections 8.2 to 9.7: "must then")."""
        sent = self.administer(who, *items)
        self.assertTrue(to(who, sent))
        self.assertEqual(to(who, sent)[0], f"iq {R} result")
        return sent

    def assertRefused(self, condition: str, who: str, *items: str, kind: str = "set") -> None:
        """The request is refused, and no part of it is done."""
        room = self.wire.room(R)
        before = (dict(room.affiliations), {nick: each.standing for nick, each in room.occupants.items()})
        sent = self.administer(who, *items, kind=kind)
        self.assertTold(sent, f"iq {R} > {who} error {condition}")
        self.assertEqual(
            before, (room.affiliations, {nick: each.standing for nick, each in room.occupants.items()})
        )

    def configure(self, **values: str) -> list[str]:
        """Send a request in the owner's name."""
        fields = "".join(
            f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in values.items()
        )
        form = f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>"
        return self.wire.ask(R, CRONE, f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", "set")


class RoleTests(RoomCase):
    """Sections 5.1 and 8: moderators."""

    def setUp(self) -> None:
        super().setUp()
        # A moderator without affiliation, and a member.
        for nick in ("nobody", "member"):
            self.assertDone(CRONE, f"nick='{nick}' role='moderator'")

    def test_kick(self) -> None:
        """Section 8.2: an occupant of a higher affiliation cannot be kicked; table 5.1.1: nor another moderator."""
        for who, nick in (
            (HECATE, "elder"),
            (HECATE, "owner"),
            (HAG, "admin"),
            (WISE, "owner"),
            (HECATE, "member"),
        ):
            self.assertRefused("not-allowed", who, f"nick='{nick}' role='none'")
        for who, nick in ((HAG, "elder"), (WISE, "member"), (CRONE, "admin")):
            self.assertDone(who, f"nick='{nick}' role='none'")

    def test_kicked(self) -> None:
        """A kicked user may join again at once, with the same affiliation; messages before that are refused."""
        self.assertDone(CRONE, "nick='elder' role='none'")
        self.assertTold(self.wire.say(R, ELDER, "x"), f"message {R} > {ELDER} error not-acceptable")
        [*_, own, _] = to(ELDER, self.wire.join(R, "elder", ELDER))
        self.assertEqual(own, f"presence {R}/elder member/participant 110")

    def test_voice(self) -> None:
        """Sections 8.3 and 8.4: not from "a user whose affiliation is at or above the moderator's level"."""
        self.wire.join(R, "x", "x@y/z")
        for who in (HECATE, HAG):
            self.assertDone(who, "nick='x' role='visitor'")
            self.assertDone(who, "nick='x' role='participant'")
        self.assertRefused("not-allowed", HAG, "nick='elder' role='visitor'")
        for who in (HAG, WISE, CRONE):
            for nick in ("owner", "admin"):
                self.assertRefused("not-allowed", who, f"nick='{nick}' role='visitor'")
        self.assertDone(WISE, "nick='elder' role='visitor'")
        self.assertTold(self.wire.say(R, ELDER, "x"), f"message {R} > {ELDER} error forbidden")
        self.assertDone(HAG, "nick='elder' role='participant'")
        self.assertEqual(len(self.wire.say(R, ELDER, "x")), 6)

    def test_moderation(self) -> None:
        """Sections 9.6 and 9.7: admins give and revoke moderator status; not of an admin or owner."""
        self.assertRefused("forbidden", HAG, "nick='elder' role='moderator'")
        for who in (HECATE, HAG, WISE):
            self.assertRefused("not-allowed", who, "nick='owner' role='participant'")
        self.assertRefused("not-allowed", CRONE, "nick='admin' role='participant'")
        self.assertDone(WISE, "nick='elder' role='moderator'")
        sent = self.assertDone(WISE, "nick='elder' role='participant'")
        self.assertEqual(to(ELDER, sent), [f"presence {R}/elder member/participant actor=admin 110"])

    def test_notModerators(self) -> None:
        """Section 8: all others "MUST be denied", whether they are occupants or not."""
        for who in (ELDER, "outsider@shakespeare.lit/1"):
            for item in ("nick='nobody' role='none'", "nick='nobody' role='visitor'"):
                self.assertRefused("forbidden", who, item)

    def test_both(self) -> None:
        """Section 16.4: a role and an affiliation at once is "bad-request"."""
        self.assertRefused("bad-request", CRONE, "nick='elder' role='visitor' affiliation='none'")
        self.assertRefused("bad-request", CRONE, "nick='elder' role='visitor'", "nick='elder'")


class AffiliationTests(RoomCase):
    """Sections 5.2, 9 and 10: admins and owners."""

    def test_ban(self) -> None:
        """Section 9.1: "a user cannot be banned by an admin with a lower affiliation", nor by themselves."""
        self.assertRefused("not-allowed", WISE, f"jid='{bare(CRONE)}' affiliation='outcast'")
        for who in (CRONE, WISE):
            self.assertRefused("conflict", who, f"jid='{bare(who)}' affiliation='outcast'")
        self.wire.room(R).affiliations["another@shakespeare.lit"] = "admin"
        self.assertRefused("not-allowed", WISE, "jid='another@shakespeare.lit' affiliation='outcast'")
        self.assertRefused("forbidden", HAG, f"jid='{bare(HECATE)}' affiliation='outcast'")
        # Section 9.2: if one change is not allowed, none is done.
        self.assertRefused(
            "not-allowed", WISE, "jid='x@y' affiliation='outcast'", f"jid='{bare(CRONE)}' affiliation='outcast'"
        )
        sent = self.assertDone(WISE, f"jid='{HECATE}' affiliation='outcast'")
        self.assertEqual(to(HECATE, sent), [f"presence {R}/nobody unavailable outcast/none actor=admin 301 110"])
        self.assertEqual(to(HAG, sent), [f"presence {R}/nobody unavailable outcast/none actor=admin 301"])
        self.assertIn("forbidden", self.wire.join(R, "nobody", f"{bare(HECATE)}/other")[0])

    def test_banDomain(self) -> None:
        """
        Section 9.2: a ban matches the user's domain, too; users with an affiliation of their own are not affected.
        """
        sent = self.assertDone(CRONE, "jid='shakespeare.lit' affiliation='outcast'")
        self.assertEqual(set(self.wire.room(R).occupants), {"owner", "admin", "member", "elder"})
        self.assertEqual(to(HECATE, sent), [f"presence {R}/nobody unavailable outcast/none actor=owner 301 110"])
        self.assertIn("forbidden", self.wire.join(R, "x", "x@shakespeare.lit/1")[0])
        self.assertIn("result", self.administer(CRONE, "jid='shakespeare.lit' affiliation='none'")[0])
        self.assertIn("110", " ".join(self.wire.join(R, "x", "x@shakespeare.lit/1")))

    def test_lastOwner(self) -> None:
        """Section 10.6: "conflict" for the last owner, by every kind of change; in one step or in several."""
        gone = f"jid='{bare(CRONE)}' affiliation='{{}}'"
        for affiliation in ("none", "member", "admin"):
            self.assertRefused("conflict", CRONE, gone.format(affiliation))
        second = f"jid='{bare(WISE)}' affiliation='{{}}'"
        self.assertDone(CRONE, second.format("owner"))
        self.assertRefused("conflict", CRONE, gone.format("none"), second.format("none"))
        sent = self.assertDone(WISE, gone.format("admin"))
        self.assertEqual(to(HAG, sent), [f"presence {R}/owner admin/moderator actor=admin"])

    def test_succession(self) -> None:
        """ "a service SHOULD allow an owner to revoke his or her own owner status if there are other owners"."""
        self.assertDone(CRONE, f"jid='{bare(WISE)}' affiliation='owner'", f"jid='{bare(CRONE)}' affiliation='none'")
        self.assertEqual(self.wire.room(R).affiliations[bare(WISE)], "owner")
        self.assertRefused("forbidden", CRONE, f"jid='{bare(WISE)}' affiliation='none'")

    def test_adminsAndOwners(self) -> None:
        """Sections 10.3 to 10.8: only owners change admins and owners."""
        for affiliation in ("admin", "owner"):
            self.assertRefused("forbidden", WISE, f"jid='{bare(HAG)}' affiliation='{affiliation}'")
        self.assertRefused("forbidden", WISE, f"jid='{bare(WISE)}' affiliation='owner'")
        for jid in (bare(CRONE), bare(WISE)):
            for affiliation in ("member", "none"):
                self.assertRefused("forbidden", WISE, f"jid='{jid}' affiliation='{affiliation}'")
        # Section 10.5: an unchanged entry of the list is none of theirs, either.
        self.assertRefused("forbidden", WISE, f"jid='{bare(CRONE)}' affiliation='owner'")
        sent = self.assertDone(CRONE, f"jid='{bare(HAG)}' affiliation='admin'")
        self.assertEqual(to(HAG, sent), [f"presence {R}/member admin/moderator actor=owner 110"])
        sent = self.assertDone(CRONE, f"jid='{bare(HAG)}' affiliation='none'")
        self.assertEqual(to(ELDER, sent), [f"presence {R}/member none/participant actor=owner"])

    def test_unchanged(self) -> None:
        """Section 9.8: a list of moderators with entries that change nothing is done, and only the rest is told."""
        for who in (WISE, CRONE):
            unchanged = ("nick='owner' role='moderator'", "nick='admin' role='moderator'")
            sent = self.assertDone(who, *unchanged, "nick='elder' role='moderator'")
            self.assertEqual(len(sent), 1 + len(PEOPLE))
            self.assertEqual(len(self.assertDone(who, *unchanged)), 1)
            self.assertDone(who, "nick='elder' role='participant'")
        # But status is not revoked.
        self.assertRefused("not-allowed", WISE, "nick='owner' role='moderator'", "nick='owner' role='participant'")

    def test_lists(self) -> None:
        """Table 5.2.1, sections 8.5, 9.2, 9.5, 9.8, 10.5 and 10.8: rights to see lists."""
        self.assertDone(CRONE, "nick='nobody' role='moderator'")
        everybody = (CRONE, WISE, HAG, HECATE, "outsider@shakespeare.lit/1")
        may = {
            "affiliation='owner'": {CRONE},
            "affiliation='admin'": {CRONE},
            "affiliation='outcast'": {CRONE, WISE},
            "affiliation='member'": {CRONE, WISE},
            "role='moderator'": {CRONE, WISE},
            "role='participant'": {CRONE, WISE, HECATE},
        }
        for item, allowed in may.items():
            for who in everybody:
                [sent] = self.administer(who, item, kind="get")
                self.assertEqual(
                    sent, f"iq {R} > {who} " + ("result" if who in allowed else "error forbidden"), item
                )

    def test_memberList(self) -> None:
        """Section 9.5: in a non-anonymous room members may see the list; in a members-only one all occupants."""
        item = "affiliation='member'"
        self.configure(whois="anyone")
        for who, answer in ((HAG, "result"), (HECATE, "error forbidden")):
            self.assertTold(self.administer(who, item, kind="get"), f"iq {R} > {who} {answer}")

    def test_notIn(self) -> None:
        """Admins and owners need not be occupants."""
        for nick, who in (("owner", CRONE), ("admin", WISE)):
            self.wire.leave(R, nick, who)
        self.assertDone(WISE, "nick='elder' role='none'")
        self.assertDone(CRONE, "jid='x@y' affiliation='admin'")

    def test_severalAtOnce(self) -> None:
        """Several changes of one user are done in order, even if the first one removes the occupant."""
        self.assertDone(CRONE, "nick='elder' affiliation='outcast'", "nick='elder' affiliation='member'")
        self.assertEqual(self.wire.room(R).affiliations[bare(ELDER)], "member")
        self.assertNotIn("", self.wire.room(R).affiliations)
        self.assertNotIn("elder", self.wire.room(R).occupants)

    def test_domainsStanding(self) -> None:
        """An affiliation of a domain, other than a ban, does not apply to its users."""
        for affiliation in ("member", "none"):
            sent = self.assertDone(CRONE, f"jid='shakespeare.lit' affiliation='{affiliation}'")
            self.assertEqual(len(sent), 1)
        self.assertEqual(self.wire.room(R).occupants["nobody"].standing.affiliation, "none")

    def test_bounded(self) -> None:
        """The number of affiliations is limited; if a request exceeds it, none of it is done."""
        self.wire.room(R).bounds = Bounds(affiliations=6)
        self.assertRefused("resource-constraint", CRONE, *(f"jid='x{n}@y' affiliation='member'" for n in range(4)))
        self.assertDone(CRONE, *(f"jid='x{n}@y' affiliation='member'" for n in range(2)))
        self.assertDone(CRONE, "jid='x0@y' affiliation='none'", "jid='x9@y' affiliation='member'")


class EnteringTests(RoomCase):
    """Section 7.2."""

    def test_again(self) -> None:
        """
        Section 7.2.1: a user who joins again is sent "exactly the same stanzas"; the others are told only if the
        presence has changed.
        """
        self.wire.say(R, CRONE, "before")
        self.wire.leave(R, "elder", ELDER)
        first = self.wire.join(R, "elder", ELDER)
        again = self.wire.join(R, "elder", ELDER)
        self.assertEqual(to(ELDER, again), to(ELDER, first))
        self.assertEqual(len(again), len(to(ELDER, again)))
        sent = self.wire.take(
            f"<presence from='{ELDER}' to='{R}/elder'><show>away</show><x xmlns='{ns.MUC}'/></presence>"
        )
        self.assertEqual(to(HAG, sent), [f"presence {R}/elder member/participant show=away"])

    def test_astray(self) -> None:
        """Section 7.2.17, also in a mirror."""
        sent = f"presence {{}}/elder > {ELDER} unavailable none/none reason=You are not in the room. 307 333 110"
        wire = mirror("mirror.example")
        for _ in range(2):
            self.assertTold(wire.take(f"<presence from='{ELDER}' to='{M}/elder'/>"), sent.format(M))
            wire.join(M, "hag", HAG)
        # Section 16.3: "silently ignore unavailable presence received from a user who has a role of none".
        for room in (M, "none@mirror.example"):
            self.assertTold(wire.leave(room, "elder", ELDER))

    def test_asking(self) -> None:
        """A user who sends another presence while the join waits is admitted with that; so is one behind a node."""
        for replica in (True, False):
            wire = mirror("mirror.example", replica=replica)
            away = "<presence from='{0}' to='{1}/{2}'><show>away</show></presence>"
            for nick, who in (("elder", ELDER), ("hag", HAG)):
                wire.join(M, nick, who)
                self.assertTold(wire.take(away.format(who, M, nick)))
            said = f"<fmuc xmlns='{ns.FMUC}' from='{ELDER}'>{'<replica/>' if replica else ''}</fmuc>"
            item = f"<x xmlns='{ns.MUC_USER}'><item/></x>"
            wire.take(f"<presence from='{SOURCE}/elder' to='{M}'>{said}{item}</presence>")
            sent = wire.take(f"<message from='{SOURCE}' to='{M}' type='groupchat'><subject/></message>")
            up = [each for each in sent if f"> {SOURCE}/" in each]
            self.assertIn(
                f"presence {M}/elder > {SOURCE}/elder none/participant jid={ELDER} fmuc={ELDER} show=away", up
            )
            self.assertTrue(any(f"{SOURCE}/hag" in each and each.endswith("show=away") for each in up), up)
            self.assertIn(f"presence {M}/elder none/participant 110 show=away", to(ELDER, sent))

    def test_askingAgain(self) -> None:
        """A second join while the first waits has no effect of its own."""
        wire = mirror("mirror.example")
        self.assertEqual(len(wire.join(M, "elder", ELDER)), 1)
        self.assertTold(wire.join(M, "elder", ELDER))
        self.assertTold(wire.join(M, "hag", HAG))
        self.assertTold(wire.join(M, "hag", HAG))
        self.assertTold(wire.join(M, "other", ELDER), f"presence {M}/other > {ELDER} error not-acceptable")
        self.assertTold(wire.join(M, "hag", ELDER), f"presence {M}/hag > {ELDER} error conflict")

    def test_types(self) -> None:
        """Section 16.3: presence with a type is neither a join nor a leave."""
        for kind in ("probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "error", "odd"):
            self.wire.take(f"<presence from='x@y/z' to='{R}/x' type='{kind}'><x xmlns='{ns.MUC}'/></presence>")
            self.wire.take(f"<presence from='{ELDER}' to='{R}/elder' type='{kind}'/>")
        self.assertEqual(set(self.wire.room(R).occupants), set(PEOPLE))

    def test_full(self) -> None:
        """Section 7.2.9: a full room is "service-unavailable", a mirror as well."""
        self.wire.room(R).bounds = Bounds(occupants=5)
        self.assertTold(self.wire.join(R, "x", "x@y/z"), f"presence {R}/x > x@y/z error service-unavailable")
        wire = mirror("mirror.example", bounds=Bounds(occupants=1))
        wire.join(M, "hag", HAG)
        wire.take(f"<presence from='{SOURCE}/hag' to='{M}'><x xmlns='{ns.MUC_USER}'><item/></x></presence>")
        wire.take(f"<message from='{SOURCE}' to='{M}' type='groupchat'><subject/></message>")
        self.assertTold(wire.join(M, "x", "x@y/z"), f"presence {M}/x > x@y/z error service-unavailable")

    def test_moderated(self) -> None:
        """Section 5.1.2: in a moderated room a user without affiliation is a visitor, a member is not."""
        self.configure(moderatedroom="1")
        for nick, jid, standing in (("x", "x@y/z", "none/visitor"), ("m", "m@y/z", "member/participant")):
            self.wire.room(R).affiliations["m@y"] = "member"
            self.assertIn(f"presence {R}/{nick} {standing} 110", to(jid, self.wire.join(R, nick, jid)))


class InvitationTests(RoomCase):
    """Section 7.8.2, beyond test_local."""

    def invite(self, who: str, whom: str) -> list[str]:
        """Invitations through the room."""
        inside = f"<x xmlns='{ns.MUC_USER}'><invite to='{whom}'/></x>"
        return self.wire.take(f"<message from='{who}' to='{R}'>{inside}</message>")

    def test_spelled(self) -> None:
        """An invited user may enter a members-only room, however the invitation spells the JID."""
        self.configure(membersonly="1")
        self.invite(CRONE, "Guest@Shakespeare.lit/Home")
        self.assertEqual(self.wire.room(R).affiliations["guest@shakespeare.lit"], "member")
        self.assertIn("110", " ".join(self.wire.join(R, "guest", "guest@shakespeare.lit/home")))

    def test_banned(self) -> None:
        """A user whose domain is banned does not become a member by an invitation, whoever sends it."""
        self.configure(membersonly="1")
        self.assertDone(CRONE, "jid='evil.lit' affiliation='outcast'")
        self.assertTold(self.invite(HAG, "x@evil.lit"), f"message {R} > {HAG} error forbidden")
        self.invite(CRONE, "x@evil.lit")
        self.assertNotIn("x@evil.lit", self.wire.room(R).affiliations)
        self.assertIn("forbidden", self.wire.join(R, "x", "x@evil.lit/1")[0])

    def test_members(self) -> None:
        """
        Section 9.5: a user who is added to a members-only room's list is invited; an occupant or a known user is
        not.
        """
        self.configure(membersonly="1")
        sent = self.assertDone(CRONE, "jid='new@shakespeare.lit' affiliation='member'")
        self.assertEqual(to("new@shakespeare.lit", sent), [f"message {R} muc#user"])
        for known in (bare(ELDER), "new@shakespeare.lit"):
            sent = self.assertDone(CRONE, f"jid='{known}' affiliation='member'")
            self.assertEqual(to(known, sent), [])


class SpeakingTests(RoomCase):
    """Sections 7.4, 7.5, 7.2.15 and 8.1."""

    def test_privately(self) -> None:
        """Section 7.5: "The service SHOULD add the <x/> element", and does so once."""
        own = f"<x xmlns='{ns.MUC_USER}'/>"
        for kind in (" type='chat'", " type='normal'", ""):
            for inside in ("<body>x</body>", f"<body>x</body>{own}"):
                [sent] = self.wire.elements(f"<message from='{HAG}' to='{R}/elder'{kind}>{inside}</message>")
                self.assertEqual(len(sent.findall(f"{{{ns.MUC_USER}}}x")), 1)
                # The body, that element, and the occupant id.
                self.assertEqual(len(sent), 3)

    def test_subjectCleared(self) -> None:
        """Section 7.2.15: "The <delay/> SHOULD be included if the subject was actively cleared"."""
        self.wire.take(f"<message from='{CRONE}' to='{R}' type='groupchat'><subject/></message>")
        self.wire.leave(R, "elder", ELDER)
        self.assertEqual(to(ELDER, self.wire.join(R, "elder", ELDER))[-1], f"message {R}/owner subject= delayed")

    def test_subjectAndBody(self) -> None:
        """Section 7.2.15: a subject with a body is a message, and part of the history."""
        both = "<subject>s</subject><body>b</body>"
        self.wire.take(f"<message from='{CRONE}' to='{R}' type='groupchat'>{both}</message>")
        self.assertIsNone(self.wire.room(R).subject)
        self.assertEqual(len(self.wire.room(R).history), 1)

    def test_ids(self) -> None:
        """Section 7.4: all get the same id, or none."""
        for given in ("", " id='one'"):
            sent = self.wire.elements(
                f"<message from='{HAG}' to='{R}' type='groupchat'{given}><body>x</body></message>"
            )
            self.assertEqual({each.get("id") for each in sent}, {"one" if given else None})
            self.assertEqual(len(sent), 5)

    def test_subjectSlow(self) -> None:
        """A subject from the joined node that arrives late is the subject all the same."""
        wire = mirror("mirror.example")
        wire.join(M, "hag", HAG)
        wire.take(f"<presence from='{SOURCE}/hag' to='{M}'><x xmlns='{ns.MUC_USER}'><item/></x></presence>")
        self.assertIn(f"message {M} subject=", to(HAG, wire.tick(10)))
        delay = f"<delay xmlns='{ns.DELAY}' from='{SOURCE}' stamp='2001-01-01T00:00:00Z'/>"
        old = f"<message from='{SOURCE}/x' to='{M}' type='groupchat'>{{}}{delay}</message>"
        self.assertTold(wire.take(old.format("<body>old</body>")))
        self.assertTold(
            wire.take(old.format("<subject>slow</subject>")), f"message {M}/x > {HAG} subject=slow delayed"
        )
        self.assertTold(wire.take(old.format("<subject>slow</subject>")))


class QueryTests(RoomCase):
    """Section 6, and requests for others."""

    def test_occupants(self) -> None:
        """
        Section 6.6: disco to an occupant from a non-occupant "MUST" be "bad-request". By other requests a user is
        told not to be an occupant (XEP-0410). Those of occupants are forwarded.
        """
        outsider = "x@y/z"
        for space in (ns.DISCO_INFO, ns.DISCO_ITEMS):
            query = f"<query xmlns='{space}'/>"
            for nick in ("elder", "none"):
                self.assertTold(
                    self.wire.ask(f"{R}/{nick}", outsider, query), f"iq {R}/{nick} > {outsider} error bad-request"
                )
            self.assertTold(self.wire.ask(f"{R}/elder", HAG, query), f"iq {R}/member > {ELDER} get")
            self.wire.take(f"<iq from='{ELDER}' to='{R}/member' id='q' type='result'/>")
        card = "<vCard xmlns='vcard-temp'/>"
        self.assertTold(self.wire.ask(f"{R}/elder", HAG, card), f"iq {R}/member > {bare(ELDER)} get")
        self.assertTold(self.wire.ask(f"{R}/x", outsider, card), f"iq {R}/x > {outsider} error not-acceptable")

    def test_features(self) -> None:
        """Section 7.4: ids are kept, which the service and its rooms announce; no feature is announced twice."""
        query = f"<query xmlns='{ns.DISCO_INFO}'/>"
        for wire, service, room in (
            (self.wire, "chat.shakespeare.lit", R),
            (mirror("mirror.example"), "mirror.example", M),
        ):
            for address in (service, room):
                [sent] = wire.elements(f"<iq from='{HAG}' to='{address}' id='q' type='get'>{query}</iq>")
                if address == M:
                    # The joined room is asked, and does not answer.
                    [sent] = read(wire.tickBytes(WAIT))
                features = [each.get("var") for each in sent.iter(f"{{{ns.DISCO_INFO}}}feature")]
                self.assertIn(ns.MUC_STABLE_ID, features)
                self.assertIn(ns.MUC, features)
                self.assertEqual(len(features), len(set(features)))

    def test_selfPing(self) -> None:
        """
        XEP-0410: a result while the user is an occupant, "not-acceptable" afterwards, whether the room exists or
        not.
        """
        ping = f"<ping xmlns='{ns.PING}'/>"
        self.assertTold(self.wire.ask(f"{R}/elder", ELDER, ping), f"iq {R}/elder > {ELDER} result")
        self.assertDone(CRONE, "nick='elder' role='none'")
        for room in (R, "none@chat.shakespeare.lit"):
            self.assertTold(
                self.wire.ask(f"{room}/elder", ELDER, ping), f"iq {room}/elder > {ELDER} error not-acceptable"
            )
