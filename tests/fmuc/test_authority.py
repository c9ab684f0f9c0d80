"""Lists, moderation and administration through a mirror (XEP-0045 sections 8 to 10)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import GatewayError, NoAnswer, NotAMirror, NotEntitled, NotMirrored, OnlyInTheRoom
from gateway.muc.values import ADMIN, MEMBER, OWNER
from tests.fmuc.support import RoomCase, canonical, elsewhere, refused
from tests.fmuc.test_configured import message, submitted
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import status, user

EVE = "eve@a.example/5"
KICK = "<item nick='ben' role='none'><reason>Avaunt!</reason></item>"
MINE = f"<query xmlns='{ns.MUC_OWNER}'/>"


def admin(inside: str) -> str:
    """Return a request of administration."""
    return f"<query xmlns='{ns.MUC_ADMIN}'>{inside}</query>"


def asked(affiliation: str) -> str:
    """Return a request for a list."""
    return admin(f"<item affiliation='{affiliation}'/>")


class AuthorityCase(RoomCase):
    """A room with a mirror that ann and ben are in, and a stanza of ann."""

    def sites(self, affiliation: str, administrators: str = "") -> list[Site]:
        """Return a site for each protocol and mode."""
        found = []
        for dialect, replica in WAYS:
            site = Site(dialect, replica, administrators)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].affiliations[ANN.partition("/")[0]] = affiliation
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            for who in (OWN, ANN, BEN):
                site.seen(who)
            site.counted()
            found.append(site)
        return found

    def ask(self, site: Site, payload: str, kind: str = "get", who: str = ANN, room: str = HERE) -> None:
        site.take(site.mirror, f"<iq from='{who}' to='{room}' id='q' type='{kind}'>{payload}</iq>")

    def assertAnswered(self, site: Site, payload: str, *before: str) -> None:
        """Ann gets a result, after other stanzas."""
        result = f"<iq from='{HERE}' to='{ANN}' id='q' type='result'>{payload}</iq>"
        self.assertSent(site.seen(ANN).encode(), *before, result)

    def assertRefusal(self, site: Site, error: type[GatewayError], who: str = ANN) -> None:
        self.assertSent(site.seen(who).encode(), refused("iq", HERE, who, error, "id='q' "))


class ListTests(AuthorityCase):
    """Sections 9.5, 10.5 and 10.8."""

    def test_private(self) -> None:
        """
        Members of a members-only, non-anonymous room get the three lists through the mirror, as in the room: an
        OMEMO client needs them. A request crosses the link once, in each direction.
        """
        for site in self.sites(MEMBER):
            room = site.above.rooms.rooms[ABOVE]
            room.settings.membersOnly = room.settings.nonAnonymous = True
            for affiliation, jid in ((OWNER, OWN), (MEMBER, ANN)):
                self.ask(site, asked(affiliation))
                item = f"<item affiliation='{affiliation}' jid='{jid.partition('/')[0]}'/>"
                self.assertAnswered(site, admin(item))
                self.assertEqual(site.counted(), (1, 1))
            self.ask(site, asked(ADMIN))
            self.assertAnswered(site, f"<query xmlns='{ns.MUC_ADMIN}'/>")

    def test_open(self) -> None:
        """Rights are the room's: others than admins get no list of an open room."""
        for site in self.sites(MEMBER):
            self.ask(site, asked(OWNER))
            self.assertRefusal(site, NotEntitled)
        for site in self.sites(ADMIN):
            self.ask(site, asked(MEMBER))
            self.assertAnswered(site, f"<query xmlns='{ns.MUC_ADMIN}'/>")
            self.ask(site, admin("<item role='participant'/>"))
            item = f"<item affiliation='none' role='participant' nick='ben' jid='{BEN}'/>"
            self.assertAnswered(site, admin(item))

    def test_bans(self) -> None:
        """
        The room gives the list of bans to admins in a mirror that it trusts with administration: another node could
        name an admin whom it does not have.
        """
        ban = f"<item affiliation='outcast' jid='{EVE.partition('/')[0]}'/>"
        for administrators in ("", HERE.partition("@")[2]):
            for site in self.sites(ADMIN, administrators):
                site.above.rooms.rooms[ABOVE].affiliations[EVE.partition("/")[0]] = "outcast"
                self.ask(site, asked("outcast"))
                if administrators:
                    self.assertAnswered(site, admin(ban))
                else:
                    self.assertRefusal(site, OnlyInTheRoom)

    def test_outside(self) -> None:
        """
        An owner who is not in the mirror gets no list and no form there, and cannot submit one. The error names the
        room, which is to be asked, or the user joins the mirror. It is the same if nobody is in the mirror. An
        occupant of the room asks the room, too.
        """
        for site in self.sites(OWNER):
            site.above.rooms.rooms[ABOVE].affiliations[EVE.partition("/")[0]] = OWNER
            for isEmpty in (False, True):
                for kind, payload in (
                    ("get", asked(OWNER)),
                    ("get", MINE),
                    ("set", submitted(roomname="x")),
                    ("set", admin(KICK)),
                    ("get", f"<query xmlns='{ns.REGISTER}'/>"),
                ):
                    self.ask(site, payload, kind, EVE)
                    self.assertSent(site.seen(EVE).encode(), elsewhere(HERE, ABOVE, EVE, "q"))
                self.assertEqual(site.counted(), (0, 0))
                if not isEmpty:
                    site.leave(ANN, "ann")
                    site.leave(BEN, "ben")
                    site.counted()
            for address, error in (
                ("other@mirror.example", NotAMirror),
                (r"other\40mirror.example@mirror.example", NotMirrored),
            ):
                self.ask(site, MINE, who=EVE, room=address)
                self.assertSent(site.seen(EVE).encode(), refused("iq", address, EVE, error, "id='q' "))
        for site in self.sites(OWNER):
            for payload in (asked(OWNER), MINE):
                self.ask(site, payload, who=f"{ABOVE}/own")
            self.assertEqual(site.counted(), (2, 0))

    def test_reservedNick(self) -> None:
        """
        Section 7.12: the room tells an occupant of a mirror the occupant's own reserved nick; others that there is
        none. The mirror alone says that to a user who is not in it.
        """
        query = f"<query xmlns='{ns.DISCO_INFO}' node='x-roomuser-item'"
        for site in self.sites(MEMBER):
            site.above.rooms.rooms[ABOVE].registrations.nicks[ANN.partition("/")[0]] = "annie"
            self.ask(site, f"{query}/>")
            identity = "<identity category='conference' type='text' name='annie'/>"
            self.assertAnswered(site, f"{query}>{identity}</query>")
            self.assertEqual(site.counted(), (1, 1))
            for who, crossed in ((BEN, (1, 1)), (EVE, (0, 0))):
                self.ask(site, f"{query}/>", who=who)
                self.assertSent(
                    site.seen(who).encode(), f"<iq from='{HERE}' to='{who}' id='q' type='result'>{query}/></iq>"
                )
                self.assertEqual(site.counted(), crossed)

    def test_noAnswer(self) -> None:
        """Without an answer in time there is an error. Only the room's answer counts, and only once."""
        [site, *_] = self.sites(OWNER)
        up = site.mirror.take(f"<iq from='{ANN}' to='{HERE}' id='q' type='get'>{asked(OWNER)}</iq>")
        self.assertSent(up, f"<iq from='{HERE}/ann' to='{ABOVE}' id='q' type='get'>{asked(OWNER)}</iq>")
        result = f"<iq from='{ABOVE}' to='{HERE}/ann' id='q' type='result'/>"
        for other in (
            result.replace(f"from='{ABOVE}'", "from='eve@evil.example'"),
            result.replace("'q'", "'p'"),
            result.replace("/ann", "/ben"),
        ):
            self.assertSent(site.mirror.take(other))
        self.assertSent(site.mirror.tick(31), refused("iq", HERE, ANN, NoAnswer, "id='q' "))
        self.assertSent(site.mirror.take(result))


class ChangeTests(AuthorityCase):
    """Requests that change the room."""

    def test_notTrusted(self) -> None:
        """Without "administering_peers" the room refuses changes, and the form, whoever the node says asks."""
        for site in self.sites(OWNER):
            for kind, payload in (("set", admin(KICK)), ("get", MINE), ("set", submitted(roomname="x"))):
                self.ask(site, payload, kind)
                self.assertRefusal(site, OnlyInTheRoom)
            self.assertEqual((site.seen(OWN), site.seen(BEN)), ("", ""))

    def test_kick(self) -> None:
        """An owner in the mirror kicks: the user is removed everywhere, with reason and actor (section 8.2)."""
        for site in self.sites(OWNER, "mirror.example"):
            self.ask(site, admin(KICK), "set")
            inside = "><actor nick='ann'/><reason>Avaunt!</reason></item"
            item = user("none", "none", status(307, 110)).replace("/><status", f"{inside}><status", 1)
            gone = f"<presence from='{HERE}/ben' to='{BEN}' type='unavailable'>{item}</presence>"
            self.assertSent(site.seen(BEN).encode(), gone)
            self.assertNotIn("ben", site.above.rooms.rooms[ABOVE].occupants)
            self.assertNotIn("ben", site.mirror.rooms.rooms[HERE].occupants)
            seen = canonical(site.seen(ANN))
            self.assertEqual(sorted("307" in each for each in seen), [False, True])
            self.assertIn(canonical(f"<iq from='{HERE}' to='{ANN}' id='q' type='result'/>")[0], seen)
            self.assertIn("<actor nick='ann'/>", site.seen(OWN))

    def test_rights(self) -> None:
        """The node's word is enough for the name, not for the rights: a member kicks nobody."""
        for site in self.sites(MEMBER, "mirror.example"):
            for kind, payload in (("set", admin(KICK)), ("get", MINE)):
                self.ask(site, payload, kind)
                self.assertRefusal(site, NotEntitled)
            # Nobody gets rights by the owner's nick, or by the address of the room.
            for nick in ("", "/own"):
                item = admin(KICK)
                sent = site.above.take(f"<iq from='{HERE}{nick}' to='{ABOVE}' id='q' type='set'>{item}</iq>")
                self.assertSent(sent, refused("iq", ABOVE, f"{HERE}{nick}", NotEntitled, "id='q' "))

    def test_configuration(self) -> None:
        """An owner in the mirror gets and submits the form of the room (section 10.2)."""
        for site in self.sites(OWNER, "mirror.example"):
            self.ask(site, MINE)
            self.assertIn("muc#roomconfig_roomname", site.seen(ANN))
            self.ask(site, submitted(roomname="Cave"), "set")
            self.assertEqual(site.above.rooms.rooms[ABOVE].settings.name, "Cave")
            seen = canonical(site.seen(ANN))
            answer = f"<iq from='{HERE}' to='{ANN}' id='q' type='result'/>"
            self.assertEqual(sorted(seen), sorted(canonical(answer + message(HERE, ANN, 104))))
            self.ask(site, f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>", "set")
            self.assertEqual((site.above.rooms.rooms, site.mirror.rooms.rooms), ({}, {}))
