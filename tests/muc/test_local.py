"""Rooms as users see them who join directly (XEP-0045 section 7)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadNick,
    BadRequest,
    Banned,
    Malformed,
    MembersOnly,
    NickInUse,
    NoNick,
    NoSuchAddress,
    NotEntitled,
    NotInTheRoom,
    NoVoice,
    ResourceLimit,
    RoomFull,
    WrongPassword,
)
from gateway.muc.room import Bounds
from gateway.muc.values import OUTCAST
from tests.fmuc.support import MUC, RoomCase, refused, rooms

ROOM = "coven@chat.shakespeare.lit"
CRONE, HAG, WISE = "crone1@shakespeare.lit/desktop", "hag66@shakespeare.lit/pda", "wise@shakespeare.lit/tower"
NO_SUBJECT = "<subject/>"


def user(affiliation: str, role: str, more: str = "", jid: str = "", inside: str = "") -> str:
    """Return the C{muc#user} element of an occupant."""
    real = f" jid='{jid}'" if jid else ""
    return f"<x xmlns='{ns.MUC_USER}'><item affiliation='{affiliation}' role='{role}'{real}{inside}/>{more}</x>"


def status(*codes: int) -> str:
    """Return status codes."""
    return "".join(f"<status code='{code}'/>" for code in codes)


def presence(nick: str, recipient: str, content: str, kind: str = "") -> str:
    """Return an occupant's presence."""
    given = f" type='{kind}'" if kind else ""
    return f"<presence from='{ROOM}/{nick}' to='{recipient}'{given}>{content}</presence>"


def said(nick: str, recipient: str, content: str) -> str:
    """Return a message to all, as one occupant gets it."""
    sender = f"{ROOM}/{nick}" if nick else ROOM
    return f"<message from='{sender}' to='{recipient}' type='groupchat'>{content}</message>"


class LocalCase(RoomCase):
    """A room that the first crone has created."""

    def setUp(self) -> None:
        self.service = rooms("chat.shakespeare.lit")
        self.made = self.join(CRONE, "crone")
        self.room = self.service.rooms.rooms[ROOM]

    def join(self, who: str, nick: str, inside: str = "", show: str = "") -> bytes:
        muc = f"<x xmlns='{ns.MUC}'>{inside}</x>"
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'>{show}{muc}</presence>")

    def leave(self, who: str, nick: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}' type='unavailable'/>")

    def say(self, who: str, content: str) -> bytes:
        return self.service.take(f"<message from='{who}' to='{ROOM}' type='groupchat'>{content}</message>")


class EnteringTests(LocalCase):
    """Section 7.2."""

    def test_created(self) -> None:
        """The creator of a room is its owner and moderator; it is an instant room: code 201."""
        own = presence("crone", CRONE, user("owner", "moderator", status(201, 110)))
        self.assertSent(self.made, own, said("", CRONE, NO_SUBJECT))

    def test_order(self) -> None:
        """
        A new occupant is sent the occupants, the own presence with 110, then the subject; the others see the new
        occupant, and moderators the real JID.
        """
        self.assertSent(
            self.join(HAG, "hag", show="<show>away</show>"),
            presence("crone", HAG, user("owner", "moderator")),
            presence("hag", HAG, "<show>away</show>" + user("none", "participant", status(110))),
            said("", HAG, NO_SUBJECT),
            presence("hag", CRONE, "<show>away</show>" + user("none", "participant", jid=HAG)),
        )

    def test_nonAnonymous(self) -> None:
        """In a non-anonymous room, code 100 says so (section 7.2.3)."""
        self.room.settings.nonAnonymous = self.room.occupants["crone"].nonAnonymous = True
        self.assertSent(
            self.join(HAG, "hag"),
            presence("crone", HAG, user("owner", "moderator", jid=CRONE)),
            presence("hag", HAG, user("none", "participant", status(100, 110), jid=HAG)),
            said("", HAG, NO_SUBJECT),
            presence("hag", CRONE, user("none", "participant", jid=HAG)),
        )

    def test_noNick(self) -> None:
        """A join without a nick is "jid-malformed" (section 7.2.1), whether the room exists or not."""
        for room in (ROOM, "new@chat.shakespeare.lit"):
            sent = self.service.take(f"<presence from='{HAG}' to='{room}'>{MUC}</presence>")
            self.assertSent(sent, refused("presence", room, HAG, NoNick, MUC))

    def test_conflict(self) -> None:
        """A nick belongs to one user (section 7.2.8), who may join again after the client has lost its state."""
        self.assertSent(self.join(HAG, "crone"), refused("presence", f"{ROOM}/crone", HAG, NickInUse, MUC))
        again = presence("crone", CRONE, user("owner", "moderator", status(110)))
        self.assertSent(self.join(CRONE, "crone"), again, said("", CRONE, NO_SUBJECT))

    def test_badNick(self) -> None:
        """Nicks are bounded and normalised."""
        for nick in ("x" * 257, "x" * 1_023, "\N{FULLWIDTH LATIN SMALL LETTER A}", "\N{NO-BREAK SPACE}"):
            self.assertSent(self.join(HAG, nick), refused("presence", f"{ROOM}/{nick}", HAG, BadNick, MUC))

    def test_spaces(self) -> None:
        """
        Nicks that differ in spaces only are the same; only the spelling without extra spaces is accepted (RFC
        8266).
        """
        for nick in ("hag ", " hag", "old  hag", " ", "  "):
            self.assertSent(self.join(HAG, nick), refused("presence", f"{ROOM}/{nick}", HAG, BadNick, MUC))
        self.join(HAG, "old hag")
        self.assertIn("old hag", self.room.occupants)
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/old hag '/>")
        self.assertSent(sent, refused("presence", f"{ROOM}/old hag ", HAG, BadNick))

    def test_spellings(self) -> None:
        """So are other spellings of one resource: other widths, ligatures, decomposed or invisible characters."""
        for nick in ("\uff48ag", "\ufb01g", "o\u0308l", "ha\u00adg", "ha\u200dg", "hag\u00a0"):
            self.assertSent(self.join(HAG, nick), refused("presence", f"{ROOM}/{nick}", HAG, BadNick, MUC))
        # Another case is another nick (RFC 6122 appendix B).
        self.join(HAG, "Crone")
        self.assertLessEqual({"crone", "Crone"}, set(self.room.occupants))

    def test_password(self) -> None:
        """Section 7.2.5."""
        self.room.settings.password = "cauldron"
        for inside in ("", "<password>broom</password>"):
            self.assertSent(
                self.join(HAG, "hag", inside), refused("presence", f"{ROOM}/hag", HAG, WrongPassword, MUC)
            )
        self.assertIn(b"code='110'", self.join(HAG, "hag", "<password>cauldron</password>"))

    def test_membersOnly(self) -> None:
        """Section 7.2.6: members may enter."""
        self.room.settings.membersOnly = True
        self.assertSent(self.join(HAG, "hag"), refused("presence", f"{ROOM}/hag", HAG, MembersOnly, MUC))
        self.room.affiliations["hag66@shakespeare.lit"] = "member"
        self.assertIn(b"code='110'", self.join(HAG, "hag"))

    def test_banned(self) -> None:
        """Section 7.2.7."""
        self.room.affiliations["hag66@shakespeare.lit"] = OUTCAST
        self.assertSent(self.join(HAG, "hag"), refused("presence", f"{ROOM}/hag", HAG, Banned, MUC))

    def test_full(self) -> None:
        """Section 7.2.9: owners may enter beyond the limit."""
        service = self.service = rooms("chat.shakespeare.lit", bounds=Bounds(occupants=2))
        for who, nick in ((CRONE, "crone"), (HAG, "hag")):
            self.join(who, nick)
        self.assertSent(self.join(WISE, "wise"), refused("presence", f"{ROOM}/wise", WISE, RoomFull, MUC))
        self.leave(CRONE, "crone")
        self.join(WISE, "wise")
        self.assertIn(b"code='110'", self.join(CRONE, "crone"))
        self.assertEqual(len(service.rooms.rooms[ROOM].occupants), 3)

    def test_notJoining(self) -> None:
        """
        Presence without the element C{x} of C{muc} is not a join: its sender believes to be an occupant and is
        kicked (section 7.2.17), whether the room exists or not.
        """
        for room in (ROOM, "gone@chat.shakespeare.lit"):
            sent = self.service.take(f"<presence from='{HAG}' to='{room}/hag'/>")
            why = "<item affiliation='none' role='none'><reason>You are not in the room.</reason></item>"
            self.assertSent(
                sent,
                f"<presence from='{room}/hag' to='{HAG}' type='unavailable'>"
                f"<x xmlns='{ns.MUC_USER}'>{why}{status(307, 333, 110)}</x></presence>",
            )


class HistoryTests(LocalCase):
    """Sections 7.2.13 to 7.2.15."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(4):
            self.say(CRONE, f"<body>m{number}</body>")
            self.service.now += 100

    def heard(self, limits: str, count: int = 4) -> list[str]:
        """Return the history that is sent for these limits."""
        sent = self.join(HAG, "hag", f"<history {limits}/>" if limits else "").decode()
        self.leave(HAG, "hag")
        return [f"m{number}" for number in range(count) if f"<body>m{number}</body>" in sent]

    def test_delayed(self) -> None:
        """Each message has its original time, stated by the room itself."""
        delay = f"<delay xmlns='urn:xmpp:delay' from='{ROOM}' stamp='1970-01-12T13:51:40Z'/>"
        self.assertSent(
            self.join(HAG, "hag", "<history maxstanzas='1'/>"),
            presence("crone", HAG, user("owner", "moderator")),
            presence("hag", HAG, user("none", "participant", status(110))),
            said("crone", HAG, "<body>m3</body>" + delay),
            said("", HAG, NO_SUBJECT),
            presence("hag", CRONE, user("none", "participant", jid=HAG)),
        )

    def test_limits(self) -> None:
        """Any combination of the four limits; unreadable values mean no limit."""
        everything = ["m0", "m1", "m2", "m3"]
        self.assertEqual(self.heard(""), everything)
        self.assertEqual(self.heard("maxstanzas='2'"), ["m2", "m3"])
        self.assertEqual(self.heard("maxstanzas='0'"), [])
        self.assertEqual(self.heard("maxchars='0'"), [])
        self.assertEqual(self.heard("maxchars='500'"), ["m3"])
        self.assertEqual(self.heard("seconds='250'"), ["m2", "m3"])
        self.assertEqual(self.heard("since='1970-01-12T13:49:00Z'"), ["m2", "m3"])
        self.assertEqual(self.heard("seconds='350' maxstanzas='1'"), ["m3"])
        for odd in ("maxstanzas='many'", "seconds='-1'", "since='yesterday'", "maxchars='99999999999'"):
            self.assertEqual(self.heard(odd), everything, odd)

    def test_clockSetBack(self) -> None:
        """
        The clock is set back an hour: later messages have no earlier stamp, and C{since} finds each message once.
        """
        self.service.rooms.utcClock.offset -= 3600
        self.say(CRONE, "<body>m4</body>")
        self.service.now += 100
        self.say(CRONE, "<body>m5</body>")
        stamps = [said.delay.stamp for said in self.room.history if said.delay is not None]
        self.assertEqual(stamps, [1e6, 1e6 + 100, 1e6 + 200, 1e6 + 300, 1e6 + 300, 1e6 + 300])
        self.assertEqual(self.heard("since='1970-01-12T13:51:40Z'", 6), ["m3", "m4", "m5"])
        self.assertEqual(self.heard("since='1970-01-12T13:51:41Z'", 6), [])

    def test_clockSetForward(self) -> None:
        """The clock is set forward an hour: the order stays, and C{seconds} counts by the new time."""
        self.service.rooms.utcClock.offset += 3600
        self.say(CRONE, "<body>m4</body>")
        self.assertEqual(self.heard("", 5), ["m0", "m1", "m2", "m3", "m4"])
        self.assertEqual(self.heard("since='1970-01-12T14:00:00Z'", 5), ["m4"])
        self.assertEqual(self.heard("seconds='200'", 5), ["m4"])

    def test_clockWasWrong(self) -> None:
        """A clock that was years ahead for a moment does not spoil later stamps."""
        self.service.rooms.utcClock.offset += 1e8
        self.say(CRONE, "<body>m4</body>")
        self.service.rooms.utcClock.offset -= 1e8
        self.say(CRONE, "<body>m5</body>")
        *_, last = self.room.history
        assert last.delay is not None
        self.assertEqual(last.delay.stamp, 1e6 + 400)
        self.assertEqual(self.heard("since='1970-01-12T13:53:20Z'", 6), ["m4", "m5"])
        self.assertEqual(self.heard("since='1970-01-12T13:53:21Z'", 6), ["m4"])

    def test_bounded(self) -> None:
        """The stored messages and bytes are bounded."""
        for number in range(200):
            self.say(CRONE, f"<body>n{number}</body>")
        self.assertEqual([len(self.room.history), self.room.bounds.messages], [50, 50])
        for _ in range(10):
            self.say(CRONE, f"<body>{'x' * 60_000}</body>")
        self.assertEqual(len(self.room.history), 4)

    def test_lasting(self) -> None:
        """Chat states are not stored; messages with the hint C{store} are."""
        self.say(CRONE, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
        self.assertEqual(self.heard("maxstanzas='1'"), ["m3"])
        self.say(CRONE, "<x xmlns='urn:example'/><store xmlns='urn:xmpp:hints'/>")
        self.assertEqual(self.heard("maxstanzas='1'"), [])

    def test_subject(self) -> None:
        """The newest subject is sent last, from the user who set it; it is not part of the history."""
        self.say(CRONE, "<subject>Fair is foul</subject>")
        sent = self.join(HAG, "hag", "<history maxstanzas='0'/>")
        delay = f"<delay xmlns='urn:xmpp:delay' from='{ROOM}' stamp='1970-01-12T13:53:20Z'/>"
        self.assertSent(
            sent,
            presence("crone", HAG, user("owner", "moderator")),
            presence("hag", HAG, user("none", "participant", status(110))),
            said("crone", HAG, "<subject>Fair is foul</subject>" + delay),
            presence("hag", CRONE, user("none", "participant", jid=HAG)),
        )


class SpeakingTests(LocalCase):
    """Sections 7.4, 7.5 and 8.1."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")

    def test_toAll(self) -> None:
        """
        All occupants get the message, including the sender, with its id and payload, without elements that only a
        room may send.
        """
        kept = "<body>Double, &lt;double&gt;</body><x xmlns='urn:example'><y/></x>"
        spoofed = f"<x xmlns='{ns.MUC_USER}'/><fmuc xmlns='{ns.FMUC}' from='a@b/c'/><delay xmlns='{ns.DELAY}'/>"
        sent = self.service.take(
            f"<message from='{HAG}' to='{ROOM}' id='m1' type='groupchat'>{kept}{spoofed}</message>"
        )
        self.assertSent(sent, *(said("hag", to, kept).replace(" to=", " id='m1' to=") for to in (CRONE, HAG)))

    def test_visitor(self) -> None:
        """An occupant without voice is refused."""
        self.room.settings.moderated = True
        self.join(WISE, "wise")
        self.assertSent(self.say(WISE, "<body>x</body>"), refused("message", ROOM, WISE, NoVoice))

    def test_subject(self) -> None:
        """The settings decide who may change the subject; a message with a body is not a subject."""
        subject = "<subject>Toil</subject>"
        self.assertSent(self.say(HAG, subject), *(said("hag", to, subject) for to in (CRONE, HAG)))
        self.room.settings.changeSubject = False
        self.assertSent(self.say(HAG, subject), refused("message", ROOM, HAG, NoVoice))
        both = subject + "<body>and trouble</body>"
        self.assertSent(self.say(HAG, both), *(said("hag", to, both) for to in (CRONE, HAG)))
        self.assertIn(b"code='110'", self.join(WISE, "wise"))
        assert self.room.subject is not None
        self.assertEqual(self.room.subject.payload.raw, subject.encode())

    def test_thirdParty(self) -> None:
        """
        A user who is not an occupant cannot send messages, to all or to one; nor to a room that does not exist.
        """
        self.assertSent(self.say(WISE, "<body>x</body>"), refused("message", ROOM, WISE, NotInTheRoom))
        for recipient, why in ((f"{ROOM}/hag", NotInTheRoom), ("no@chat.shakespeare.lit", NoSuchAddress)):
            sent = self.service.take(f"<message from='{WISE}' to='{recipient}' id='1'><body>x</body></message>")
            self.assertSent(sent, refused("message", recipient, WISE, why, "id='1'"))

    def test_private(self) -> None:
        """A private message is delivered to one occupant; to nobody, or to all at once, it is refused."""
        body = "<body>Psst</body>"
        sent = self.service.take(f"<message from='{HAG}' to='{ROOM}/crone' type='chat'>{body}</message>")
        marked = f"{body}<x xmlns='{ns.MUC_USER}'/>"
        self.assertSent(sent, f"<message from='{ROOM}/hag' to='{CRONE}' type='chat'>{marked}</message>")
        for nick, kind, why in (("nobody", "chat", NoSuchAddress), ("crone", "groupchat", BadRequest)):
            sent = self.service.take(f"<message from='{HAG}' to='{ROOM}/{nick}' type='{kind}'>{body}</message>")
            self.assertSent(sent, refused("message", f"{ROOM}/{nick}", HAG, why))

    def test_notGroupchat(self) -> None:
        """Other messages to the room are refused (section 17.2)."""
        sent = self.service.take(f"<message from='{HAG}' to='{ROOM}' type='chat'><body>x</body></message>")
        self.assertSent(sent, refused("message", ROOM, HAG, BadRequest))


class InvitingTests(LocalCase):
    """Section 7.8.2."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")

    def write(self, who: str, inside: str) -> bytes:
        x = f"<x xmlns='{ns.MUC_USER}'>{inside}</x>"
        return self.service.take(f"<message from='{who}' to='{ROOM}' id='1'>{x}</message>")

    def invited(self, to: str, inside: str) -> str:
        return f"<message from='{ROOM}' to='{to}'><x xmlns='{ns.MUC_USER}'>{inside}</x></message>"

    def test_invite(self) -> None:
        """
        The invitation comes from the room, in the name of the occupant, with the password; one for each invited
        user.
        """
        self.room.settings.password = "cauldronburn"
        sent = self.write(
            HAG, "<invite to='hecate@shakespeare.lit'><reason>Hey</reason></invite><invite to='b@c'/>"
        )
        password = "<password>cauldronburn</password>"
        self.assertSent(
            sent,
            self.invited(
                "hecate@shakespeare.lit", f"<invite from='{ROOM}/hag'><reason>Hey</reason></invite>{password}"
            ),
            self.invited("b@c", f"<invite from='{ROOM}/hag'/>{password}"),
        )

    def test_decline(self) -> None:
        """A decline is sent to the occupant whom it names, and to nobody else."""
        sent = self.write("hecate@shakespeare.lit/broom", f"<decline to='{ROOM}/hag'><reason>No</reason></decline>")
        words = "<decline from='hecate@shakespeare.lit'><reason>No</reason></decline>"
        self.assertSent(sent, self.invited(HAG, words))
        for nobody in (f"{ROOM}/x", "hag66@shakespeare.lit", WISE):
            self.assertSent(self.write(WISE, f"<decline to='{nobody}'/>"))

    def test_membersOnly(self) -> None:
        """In a members-only room, admins invite, and invited users become members."""
        self.room.settings.membersOnly = True
        self.assertSent(self.write(HAG, "<invite to='b@c'/>"), refused("message", ROOM, HAG, NotEntitled, "id='1'"))
        self.assertSent(
            self.write(CRONE, "<invite to='b@c/d'/>"), self.invited("b@c/d", f"<invite from='{ROOM}/crone'/>")
        )
        self.assertEqual(self.room.affiliations["b@c"], "member")
        self.assertSent(self.write(HAG, "<invite to='b@c'/>"), self.invited("b@c", f"<invite from='{ROOM}/hag'/>"))

    def test_allowed(self) -> None:
        """
        Section 9.5: the owners may open "invitation privileges to any member of a members-only room"; invited users
        become members. Others than members still may not invite, and a member invites no banned user.
        """
        self.room.settings.membersOnly = True
        form = (
            f"<field var='FORM_TYPE'><value>{ns.MUC_ROOM_CONFIG}</value></field>"
            "<field var='muc#roomconfig_allowinvites'><value>1</value></field>"
        )
        query = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{form}</x></query>"
        self.service.take(f"<iq from='{CRONE}' to='{ROOM}' id='f' type='set'>{query}</iq>")
        refusal = refused("message", ROOM, HAG, NotEntitled, "id='1'")
        self.assertSent(self.write(HAG, "<invite to='b@c'/>"), refusal)
        hag = HAG.partition("/")[0]
        self.room.affiliations[hag] = "member"
        self.assertSent(
            self.write(HAG, "<invite to='b@c/d'/>"), self.invited("b@c/d", f"<invite from='{ROOM}/hag'/>")
        )
        self.assertEqual(self.room.affiliations["b@c"], "member")
        self.room.affiliations["bad@c"] = "outcast"
        self.assertSent(self.write(HAG, "<invite to='new@c'/><invite to='bad@c'/>"), refusal)
        self.assertNotIn("new@c", self.room.affiliations)

    def test_refused(self) -> None:
        """A user who is not an occupant cannot invite; invalid JIDs and too many users cannot be invited."""
        for who, inside, why in (
            (WISE, "<invite to='b@c'/>", NotInTheRoom),
            (HAG, "<invite to='@'/>", Malformed),
            (HAG, "<invite/>", Malformed),
            (HAG, "<invite to='b@c'/>" * 21, ResourceLimit),
            (HAG, "", BadRequest),
        ):
            self.assertSent(self.write(who, inside), refused("message", ROOM, who, why, "id='1'"))


class ChangingTests(LocalCase):
    """Sections 7.6, 7.7 and 7.14, and users who vanish."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")

    def test_status(self) -> None:
        """A change of presence is sent to all."""
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/hag'><show>xa</show></presence>")
        self.assertSent(
            sent,
            presence("hag", HAG, "<show>xa</show>" + user("none", "participant", status(110))),
            presence("hag", CRONE, "<show>xa</show>" + user("none", "participant", jid=HAG)),
        )

    def test_nick(self) -> None:
        """The old nick is unavailable with 303, the new one available."""
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/oldhag'/>")
        new = " nick='oldhag'"
        self.assertSent(
            sent,
            presence("hag", HAG, user("none", "participant", status(303, 110), inside=new), "unavailable"),
            presence("oldhag", HAG, user("none", "participant", status(110))),
            presence("hag", CRONE, user("none", "participant", status(303), HAG, new), "unavailable"),
            presence("oldhag", CRONE, user("none", "participant", jid=HAG)),
        )

    def test_nickInUse(self) -> None:
        """A nick that is taken or invalid is refused."""
        for nick, why in (("crone", NickInUse), ("x" * 300, BadNick)):
            sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/{nick}'/>")
            self.assertSent(sent, refused("presence", f"{ROOM}/{nick}", HAG, why))

    def test_leaving(self) -> None:
        """All are told of a leave, with its status text; the last leave ends the room."""
        sent = self.service.take(
            f"<presence from='{HAG}' to='{ROOM}/hag' type='unavailable'><status>gone</status></presence>"
        )
        words = "<status>gone</status>"
        self.assertSent(
            sent,
            presence("hag", HAG, words + user("none", "none", status(110)), "unavailable"),
            presence("hag", CRONE, words + user("none", "none", jid=HAG), "unavailable"),
        )
        self.leave(CRONE, "crone")
        self.assertEqual(self.service.rooms.rooms, {})

    def test_ghost(self) -> None:
        """A delivery error removes the user (section 16.1.2); other errors do not."""
        error = "<error type='cancel'><{} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        for name, condition in (("message", "not-acceptable"), ("presence", "forbidden")):
            xml = f"<{name} from='{HAG}' to='{ROOM}' type='error'>{error.format(condition)}</{name}>"
            self.assertSent(self.service.take(xml))
        for name in ("message", "presence"):
            xml = f"<{name} from='{HAG}' to='{ROOM}' type='error'>{error.format('recipient-unavailable')}</{name}>"
            self.assertIn(presence("hag", CRONE, "", "unavailable")[:50].encode(), self.service.take(xml))
            self.assertNotIn("hag", self.room.occupants)
            self.join(HAG, "hag")

    def test_shutDown(self) -> None:
        """
        When the service ends, each occupant is told of the own removal with 332 (section 11.2), and of no other.
        """
        sent = self.service.shutDown()
        self.assertSent(
            sent,
            presence("crone", CRONE, user("owner", "none", status(332, 110)), "unavailable"),
            presence("hag", HAG, user("none", "none", status(332, 110)), "unavailable"),
        )
