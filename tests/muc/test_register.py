"""Registration with a room (XEP-0045 sections 7.10 and 7.12), approval (9.9), nicks in the member list (9.5)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadNick,
    BadRequest,
    GatewayError,
    Malformed,
    NickInUse,
    NoSuchAddress,
    NotAcceptable,
    NotAllowed,
    NotEntitled,
    NotRegistered,
    ResourceLimit,
    RoomLocked,
)
from gateway.muc import register
from tests.fmuc.support import MUC, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, presence, said, status, user
from tests.muc.test_queries import SERVICE, QueryCase

HAG_, WISE_, CRONE_ = (each.partition("/")[0] for each in (HAG, WISE, CRONE))
FORM_TYPE = f"<field var='FORM_TYPE' type='hidden'><value>{ns.MUC_REGISTER}</value></field>"
QUERY = f"<query xmlns='{ns.REGISTER}'/>"
FORM = (
    "<instructions>Fill in the form to register with this room.</instructions>"
    f"<x xmlns='{ns.DATA}' type='form'><title>Registration with {ROOM}</title>{FORM_TYPE}"
    "<field var='muc#register_roomnick' type='text-single' label='Desired Nickname'><required/></field></x>"
)


def query(inside: str) -> str:
    """Return the payload of a request or a result."""
    return f"<query xmlns='{ns.REGISTER}'>{inside}</query>"


def submitted(nick: str | None, kind: str = "submit") -> str:
    """Return a submitted form of C{muc#register}."""
    field = "" if nick is None else f"<field var='muc#register_roomnick'><value>{nick}</value></field>"
    return query(f"<x xmlns='{ns.DATA}' type='{kind}'>{FORM_TYPE}{field}</x>")


def question(admin: str, who: str, nick: str) -> str:
    """Return the message to an admin (example "Registration Request Approval Form")."""
    words = (
        "<title>Registration request</title>"
        "<instructions>Choose whether this person may register with the room.</instructions>"
    )
    fields = (
        f"<field var='x-muc#register_jid' type='jid-single' label='User ID'><value>{who}</value></field>"
        "<field var='muc#register_roomnick' type='text-single' label='Desired Nickname'>"
        f"<value>{nick}</value></field>"
        "<field var='muc#register_allow' type='boolean' label='Allow this person to register with the room?'>"
        "<value>0</value></field>"
    )
    form = f"<x xmlns='{ns.DATA}' type='form'>{words}{FORM_TYPE}{fields}</x>"
    return f"<message from='{ROOM}' to='{admin}'>{form}</message>"


def decision(who: str, nick: str, allow: str = "1") -> str:
    """Return an admin's answer."""
    fields = (
        f"<field var='x-muc#register_jid'><value>{who}</value></field>"
        f"<field var='muc#register_roomnick'><value>{nick}</value></field>"
        f"<field var='muc#register_allow'><value>{allow}</value></field>"
    )
    return f"<x xmlns='{ns.DATA}' type='submit'>{FORM_TYPE}{fields}</x>"


class RegisterCase(QueryCase):
    """Registers users."""

    def register(self, who: str, nick: str | None) -> bytes:
        return self.ask(who, ROOM, submitted(nick), "set")

    def answer(self, admin: str, who: str, nick: str, allow: str = "1") -> bytes:
        form = decision(who, nick, allow)
        return self.service.take(f"<message from='{admin}' to='{ROOM}' id='a'>{form}</message>")

    def assertRejected(self, sent: bytes, who: str, why: type[GatewayError]) -> None:
        self.assertSent(sent, refused("message", ROOM, who, why, "id='a'"))


class AtOnceTests(RegisterCase):
    """Everybody may register, and becomes a member at once."""

    def setUp(self) -> None:
        super().setUp()
        self.room.settings.registration = register.EVERYBODY

    def test_registered(self) -> None:
        """The form; then "the room MUST inform the user"; then a registered user is told the own nick."""
        self.assertAnswered(self.ask(HAG, ROOM, QUERY), HAG, ROOM, query(FORM))
        self.assertAnswered(self.register(HAG, "thirdwitch"), HAG, ROOM, "")
        known = query("<registered/><username>thirdwitch</username>")
        self.assertAnswered(self.ask(HAG, ROOM, QUERY), HAG, ROOM, known)
        self.assertEqual(self.room.affiliations[HAG_], "member")

    def test_occupant(self) -> None:
        """ "it MUST send updated presence from this individual to all occupants"."""
        self.join(HAG, "hag")
        self.assertAnswered(
            self.register(HAG, "thirdwitch"),
            HAG,
            ROOM,
            "",
            presence("hag", HAG, user("member", "participant", status(110))),
            presence("hag", CRONE, user("member", "participant", jid=HAG)),
        )

    def test_membersOnly(self) -> None:
        """
        With the registration a user may enter a members-only room, and is invited as a new member (9.5). The
        invitation does not tell the password: nobody has decided that this user may know it.
        """
        self.room.settings.membersOnly, self.room.settings.password = True, "cauldronburn"
        invitation = (
            f"<message from='{ROOM}' to='{HAG_}'><x xmlns='{ns.MUC_USER}'><invite from='{ROOM}'/></x></message>"
        )
        self.assertAnswered(self.register(HAG, "thirdwitch"), HAG, ROOM, "", invitation)
        self.assertIn(b"<not-authorized ", self.join(HAG, "thirdwitch"))
        self.room.settings.password = ""
        self.assertIn(b"affiliation='member'", self.join(HAG, "thirdwitch"))

    def test_reserved(self) -> None:
        """
        Section 7.12: another user with the reserved nick is "conflict", in a join and in a change; its user may
        take any nick. The disco node tells the nick.
        """
        node = f"<query xmlns='{ns.DISCO_INFO}' node='x-roomuser-item'"
        self.register(HAG, "thirdwitch")
        identity = "<identity category='conference' type='text' name='thirdwitch'/>"
        self.assertAnswered(self.ask(HAG, ROOM, f"{node}/>"), HAG, ROOM, f"{node}>{identity}</query>")
        self.assertAnswered(self.ask(WISE, ROOM, f"{node}/>"), WISE, ROOM, f"{node}/>")
        nick = f"{ROOM}/thirdwitch"
        self.assertSent(self.join(WISE, "thirdwitch"), refused("presence", nick, WISE, NickInUse, MUC))
        self.join(WISE, "wise")
        sent = self.service.take(f"<presence from='{WISE}' to='{nick}'/>")
        self.assertSent(sent, refused("presence", nick, WISE, NickInUse))
        self.assertIn(b"code='110'", self.join(HAG, "other"))
        self.assertIn(b"code='303'", self.service.take(f"<presence from='{HAG}' to='{nick}'/>"))

    def test_conflict(self) -> None:
        """ "If the desired room nickname is already reserved for that room": also if another occupant has it."""
        self.register(HAG, "thirdwitch")
        for nick in ("thirdwitch", "crone"):
            self.assertRefusedBy(self.register(WISE, nick), WISE, ROOM, NickInUse)
        self.assertNotIn(WISE_, self.room.affiliations)
        self.assertAnswered(self.register(CRONE, "crone"), CRONE, ROOM, "")

    def test_change(self) -> None:
        """A registered user may take another nick; the former one is free."""
        self.register(HAG, "thirdwitch")
        self.register(HAG, "fourthwitch")
        self.assertAnswered(self.register(WISE, "thirdwitch"), WISE, ROOM, "")
        self.assertEqual(self.room.registrations.nicks, {HAG_: "fourthwitch", WISE_: "thirdwitch"})

    def test_unregister(self) -> None:
        """XEP-0077 section 3.2: the nick is free, and a member none; an owner stays one."""
        remove = query("<remove/>")
        self.assertRefusedBy(self.ask(HAG, ROOM, remove, "set"), HAG, ROOM, NotRegistered)
        self.register(HAG, "thirdwitch")
        self.register(CRONE, "first")
        for who in (HAG, CRONE):
            self.assertAnswered(self.ask(who, ROOM, remove, "set"), who, ROOM, "")
        self.assertEqual(self.room.affiliations, {CRONE_: "owner"})
        self.assertEqual((self.room.registrations.nicks, self.room.registrations.users), ({}, {}))

    def test_membershipLost(self) -> None:
        """If an admin revokes the membership, or bans the user, the nick is free."""
        for affiliation in ("none", "outcast"):
            self.register(HAG, "thirdwitch")
            item = f"<item jid='{HAG_}' affiliation='{affiliation}'/>"
            self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>", "set")
            self.assertEqual((self.room.registrations.nicks, self.room.registrations.users), ({}, {}))

    def test_cancelled(self) -> None:
        """A cancelled form is no request."""
        self.assertAnswered(self.ask(HAG, ROOM, submitted("x", "cancel"), "set"), HAG, ROOM, "")
        self.assertEqual(self.room.registrations.nicks, {})

    def test_bad(self) -> None:
        """ "If the user did not include a valid data form, the room MUST return a <bad-request/> error"."""
        for inside in (
            "",
            "<username>x</username>",
            f"<x xmlns='{ns.DATA}'/>",
            f"<x xmlns='{ns.DATA}' type='submit'/>",
            f"<x xmlns='{ns.DATA}' type='form'>{FORM_TYPE}</x>",
        ):
            self.assertRefusedBy(self.ask(HAG, ROOM, query(inside), "set"), HAG, ROOM, BadRequest)
        for nick in (None, ""):
            self.assertRefusedBy(self.register(HAG, nick), HAG, ROOM, NotAcceptable)
        for nick in ("x" * 257, " x", "\N{FULLWIDTH LATIN SMALL LETTER A}"):
            self.assertRefusedBy(self.register(HAG, nick), HAG, ROOM, BadNick)
        odd = "\N{ZERO WIDTH JOINER}@a.example/1"
        self.assertRefusedBy(self.register(odd, "x"), odd, ROOM, Malformed)
        nowhere = f"no@{SERVICE}"
        self.assertRefusedBy(self.ask(HAG, nowhere, QUERY), HAG, nowhere, NoSuchAddress)

    def test_full(self) -> None:
        """The number of affiliations is bounded."""
        self.room.affiliations |= {f"u{number}@a.example": "member" for number in range(5_000)}
        self.assertRefusedBy(self.register(HAG, "x"), HAG, ROOM, ResourceLimit)
        self.assertEqual(self.room.registrations.nicks, {})

    def test_destroyed(self) -> None:
        """With the room, its registrations end."""
        self.register(HAG, "thirdwitch")
        self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>", "set")
        self.assertEqual(self.room.registrations.nicks, {})


class ApprovalTests(RegisterCase):
    """The default: owners and admins decide."""

    def test_asked(self) -> None:
        """Owners and admins who are in the room are asked; if there are none, all of them by bare JID."""
        self.room.affiliations |= {WISE_: "admin", "m@a.example": "member"}
        sent = self.register(HAG, "thirdwitch")
        self.assertAnswered(sent, HAG, ROOM, "", question(CRONE, HAG_, "thirdwitch"))
        # The same request again is known.
        self.assertAnswered(self.register(HAG, "thirdwitch"), HAG, ROOM, "")
        self.room.settings.persistent = True
        self.leave(CRONE, "crone")
        sent = self.register(HAG, "third")
        asked = [question(who, HAG_, "third") for who in (CRONE_, WISE_)]
        self.assertAnswered(sent, HAG, ROOM, "", *asked)
        self.assertNotIn(HAG_, self.room.affiliations)
        self.assertAnswered(self.ask(HAG, ROOM, QUERY), HAG, ROOM, query(FORM))

    def test_approved(self) -> None:
        """ "the service shall register the user with the room". Admins need not be in the room."""
        self.room.affiliations[WISE_] = "admin"
        self.join(HAG, "hag")
        self.register(HAG, "thirdwitch")
        self.assertSent(
            self.answer(WISE, HAG_, "thirdwitch"),
            presence("hag", HAG, user("member", "participant", status(110))),
            presence("hag", CRONE, user("member", "participant", jid=HAG)),
        )
        self.assertEqual(self.room.registrations.nicks, {HAG_: "thirdwitch"})
        # Another admin answers later.
        self.assertRejected(self.answer(CRONE, HAG_, "thirdwitch"), CRONE, NoSuchAddress)

    def test_password(self) -> None:
        """A user whose registration was approved is invited with the password of a members-only room."""
        self.room.settings.membersOnly, self.room.settings.password = True, "cauldronburn"
        self.register(HAG, "thirdwitch")
        inside = f"<invite from='{ROOM}'/><password>cauldronburn</password>"
        invitation = f"<message from='{ROOM}' to='{HAG_}'><x xmlns='{ns.MUC_USER}'>{inside}</x></message>"
        self.assertSent(self.answer(CRONE, HAG_, "thirdwitch"), invitation)

    def test_denied(self) -> None:
        """A denied request ends; the user may ask again, and then the admins are asked again."""
        self.register(HAG, "thirdwitch")
        self.assertSent(self.answer(CRONE, HAG_, "thirdwitch", "0"))
        self.assertEqual(self.room.registrations.requests, {})
        sent = self.register(HAG, "thirdwitch")
        self.assertAnswered(sent, HAG, ROOM, "", question(CRONE, HAG_, "thirdwitch"))

    def test_withdrawn(self) -> None:
        """A user may take a request back."""
        self.register(HAG, "thirdwitch")
        self.assertAnswered(self.ask(HAG, ROOM, query("<remove/>"), "set"), HAG, ROOM, "")
        self.assertRejected(self.answer(CRONE, HAG_, "thirdwitch"), CRONE, NoSuchAddress)

    def test_refused(self) -> None:
        """Answers of others, for others, or for another nick, are refused; so is a nick that is taken meanwhile."""
        self.register(HAG, "thirdwitch")
        self.assertRejected(self.answer(HAG, HAG_, "thirdwitch"), HAG, NotEntitled)
        self.assertRejected(self.answer(CRONE, WISE_, "thirdwitch"), CRONE, NoSuchAddress)
        self.assertRejected(self.answer(CRONE, HAG_, "other"), CRONE, NoSuchAddress)
        self.join(WISE, "thirdwitch")
        self.assertRejected(self.answer(CRONE, HAG_, "thirdwitch"), CRONE, NickInUse)
        self.room.affiliations["shakespeare.lit"] = "outcast"
        self.leave(WISE, "thirdwitch")
        self.assertRejected(self.answer(CRONE, HAG_, "thirdwitch"), CRONE, NotAllowed)
        self.assertEqual(self.room.registrations.nicks, {})

    def test_members(self) -> None:
        """A member, admin or owner needs no approval for a nick."""
        self.room.affiliations[HAG_] = "member"
        self.assertAnswered(self.register(HAG, "thirdwitch"), HAG, ROOM, "")
        self.assertAnswered(self.register(CRONE, "first"), CRONE, ROOM, "")
        self.assertEqual(self.room.registrations.nicks, {HAG_: "thirdwitch", CRONE_: "first"})

    def test_nobodyToAsk(self) -> None:
        """In a room without owners and admins nobody can approve."""
        self.room.affiliations.clear()
        self.room.occupants["crone"].standing = self.room.occupants["crone"].standing.__class__()
        self.assertRefusedBy(self.register(HAG, "x"), HAG, ROOM, NotAllowed)

    def test_bounds(self) -> None:
        """The number of open requests is bounded."""
        for number in range(100):
            self.register(f"u{number}@a.example/x", f"n{number}")
        self.assertRefusedBy(self.register(HAG, "x"), HAG, ROOM, ResourceLimit)
        # One of these users may still ask for another nick.
        self.assertIn(b"result", self.register("u0@a.example/x", "another"))


class OptionTests(RegisterCase):
    """The owners' choice."""

    def test_nobody(self) -> None:
        """If registration is off, "the room MUST return a <not-allowed/> error"; outcasts never register."""
        field = "<field var='x-muc#roomconfig_registration'><value>nobody</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{field}</x></query>"
        code = f"<x xmlns='{ns.MUC_USER}'>{status(104)}</x>"
        self.assertAnswered(self.ask(CRONE, ROOM, form, "set"), CRONE, ROOM, "", said("", CRONE, code))
        for sent in (
            self.ask(HAG, ROOM, QUERY),
            self.register(HAG, "x"),
            self.ask(HAG, ROOM, query("<remove/>"), "set"),
        ):
            self.assertRefusedBy(sent, HAG, ROOM, NotAllowed)
        self.room.settings.registration = register.EVERYBODY
        self.room.affiliations["shakespeare.lit"] = "outcast"
        self.assertRefusedBy(self.ask(HAG, ROOM, QUERY), HAG, ROOM, NotAllowed)

    def test_locked(self) -> None:
        """A room that waits for its owner's first form does not exist for others (section 10.1.1)."""
        self.room.lockedUntil = self.service.now + 60
        self.assertRefusedBy(self.ask(HAG, ROOM, QUERY), HAG, ROOM, RoomLocked)
        self.assertRefusedBy(self.register(HAG, "x"), HAG, ROOM, RoomLocked)
        self.assertAnswered(self.register(CRONE, "first"), CRONE, ROOM, "")

    def test_announced(self) -> None:
        """The room announces registration."""
        self.assertIn(f"var='{ns.REGISTER}'".encode(), self.ask(HAG, ROOM, f"<query xmlns='{ns.DISCO_INFO}'/>"))


class MemberListTests(RegisterCase):
    """Section 9.5: reserved nicks in the list of members."""

    def administer(self, items: str, kind: str = "set") -> bytes:
        return self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{items}</query>", kind)

    def test_nick(self) -> None:
        """An admin may set and unset a reserved nick; the list has it."""
        item = f"<item jid='{HAG_}' affiliation='member'"
        self.administer(f"{item} nick='thirdwitch'/>")
        listed = f"<query xmlns='{ns.MUC_ADMIN}'>{item} nick='thirdwitch'/></query>"
        self.assertAnswered(self.administer("<item affiliation='member'/>", "get"), CRONE, ROOM, listed)
        # Without the attribute, the nick stays.
        self.administer(f"{item}/>")
        self.assertEqual(self.room.registrations.nicks, {HAG_: "thirdwitch"})
        sent = self.administer(f"<item jid='{WISE_}' affiliation='member' nick='thirdwitch'/>")
        self.assertRefusedBy(sent, CRONE, ROOM, NickInUse)
        self.administer(f"{item} nick=''/>")
        self.assertEqual(self.room.registrations.nicks, {})
        self.assertRefusedBy(self.administer(f"{item} nick='{'x' * 257}'/>"), CRONE, ROOM, BadNick)

    def test_banned(self) -> None:
        """The requests of users who are banned end, also by a ban of their domain: others may ask then."""
        users = [f"u{number}@a.example/x" for number in range(99)]
        for number, who in enumerate((HAG, *users)):
            self.register(who, f"n{number}")
        self.administer(f"<item jid='{HAG_}' affiliation='outcast'/>")
        self.assertEqual(len(self.room.registrations.requests), 99)
        self.administer("<item jid='a.example' affiliation='outcast'/>")
        self.assertEqual(self.room.registrations.requests, {})

    def test_twice(self) -> None:
        """One request cannot reserve one nick for two users; nothing of it is done."""
        items = "".join(f"<item jid='{who}' affiliation='member' nick='witch'/>" for who in (HAG_, WISE_))
        self.assertRefusedBy(self.administer(items), CRONE, ROOM, NickInUse)
        self.assertEqual((self.room.registrations.nicks, HAG_ in self.room.affiliations), ({}, False))
        item = f"<item jid='{HAG_}' affiliation='member' nick='witch'/>"
        self.assertAnswered(self.administer(item * 2), CRONE, ROOM, "")


class MirrorTests(RegisterCase):
    """Registrations and mirrors, in both protocols and modes."""

    def test_reserved(self) -> None:
        """The joined room refuses a reserved nick to a mirror's user, and admits the user who has registered."""
        for way in WAYS:
            site = Site(*way)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].settings.registration = register.EVERYBODY
            iq = f"<iq from='{ANN}' to='{ABOVE}' id='1' type='set'>{submitted('ann')}</iq>"
            self.assertSent(site.above.take(iq), f"<iq from='{ABOVE}' to='{ANN}' id='1' type='result'/>")
            other = "other@a.example/1"
            site.take(site.mirror, f"<presence from='{other}' to='{HERE}/ann'>{MUC}</presence>")
            seen = site.seen(other)
            self.assertIn(f"<presence from='{HERE}/ann' to='{other}' type='error'>", seen)
            self.assertIn("<conflict ", seen)
            site.join(ANN, "ann")
            self.assertIn("affiliation='member'", site.seen(ANN))

    def test_approval(self) -> None:
        """An admin who is asked by the room may answer through a mirror that may pass on changes."""
        for administrators, affiliation in (("", "none"), ("mirror.example", "member")):
            site = Site(*WAYS[0], administrators)
            site.join(OWN, "own")
            room = site.above.rooms.rooms[ABOVE]
            room.affiliations[ANN.partition("/")[0]] = "admin"
            site.join(ANN, "ann")
            site.above.take(f"<iq from='{HAG}' to='{ABOVE}' id='1' type='set'>{submitted('hag')}</iq>")
            site.seen(ANN)
            site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' id='a'>{decision(HAG_, 'hag')}</message>")
            self.assertEqual("not-allowed" in site.seen(ANN), affiliation == "none")
            self.assertEqual(room.affiliation(HAG), affiliation)

    def test_there(self) -> None:
        """Users register with the room itself, and through mirrors that may pass on changes."""
        for administrators, kind in (("", "error"), ("mirror.example", "result")):
            for way in WAYS:
                site = Site(*way, administrators)
                site.join(OWN, "own")
                site.above.rooms.rooms[ABOVE].settings.registration = register.EVERYBODY
                site.join(ANN, "ann")
                site.seen(ANN)
                site.take(site.mirror, f"<iq from='{ANN}' to='{HERE}' id='1' type='set'>{submitted('ann')}</iq>")
                seen = site.seen(ANN)
                self.assertIn(f"<iq from='{HERE}' to='{ANN}' id='1' type='{kind}'", seen)
                self.assertEqual("not-allowed" in seen, kind == "error")
                affiliation = site.above.rooms.rooms[ABOVE].affiliation(ANN)
                self.assertEqual(affiliation, "none" if kind == "error" else "member")
