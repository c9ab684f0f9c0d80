"""
Several sessions of one user with one nick (XEP-0045 section 7.2.8): "the service SHOULD allow entry to the user, so
that the user has two (or more) in-room "sessions" with the same roomnick, one for each resource".
"""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadNick,
    Banned,
    MembersOnly,
    NickInUse,
    NotInTheRoom,
    ResourceLimit,
    RoomFull,
    WrongPassword,
)
from gateway.muc.room import Bounds
from gateway.muc.values import OUTCAST
from tests.fmuc.support import MUC, refused, rooms
from tests.muc.test_local import CRONE, HAG, NO_SUBJECT, ROOM, LocalCase, presence, said, status, user

PHONE, PAD = "hag66@shakespeare.lit/phone", "hag66@shakespeare.lit/pad"
AWAY, BUSY = "<show>away</show>", "<show>dnd</show>"
OWN = user("none", "participant", status(110))
SEEN = user("none", "participant", jid=HAG)
PING = f"<ping xmlns='{ns.PING}'/>"


class SessionsCase(LocalCase):
    """A room with a crone, and a hag whose pda and phone have joined with one nick; the phone is busy."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag", show=AWAY)
        self.joined = self.join(PHONE, "hag", show=BUSY)

    def send(self, who: str, nick: str, inside: str = "", more: str = "") -> bytes:
        """Send a presence."""
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'{more}>{inside}</presence>")

    def ask(self, who: str, payload: str, kind: str = "set", nick: str = "") -> bytes:
        """Send an iq request."""
        address = f"{ROOM}/{nick}" if nick else ROOM
        return self.service.take(f"<iq from='{who}' to='{address}' type='{kind}' id='q'>{payload}</iq>")

    def administer(self, item: str) -> bytes:
        """The crone changes a role or an affiliation."""
        return self.ask(CRONE, f"<query xmlns='{ns.MUC_ADMIN}'><item {item}/></query>")


def done(who: str = CRONE) -> str:
    """Return an empty answer."""
    return f"<iq from='{ROOM}' to='{who}' type='result' id='q'/>"


class EnteringTests(SessionsCase):
    """The second client of a user."""

    def test_entered(self) -> None:
        """
        It gets the occupants, its own presence with 110, and the subject. The others see no join; they and the
        first session get the presence, which is new.
        """
        self.assertSent(
            self.joined,
            presence("hag", CRONE, SEEN + BUSY),
            presence("hag", HAG, OWN + BUSY),
            presence("crone", PHONE, user("owner", "moderator")),
            presence("hag", PHONE, OWN + BUSY),
            said("", PHONE, NO_SUBJECT),
        )
        self.assertEqual(list(self.room.occupants), ["crone", "hag"])
        self.assertEqual((self.room.localCount, len(self.room.users)), (2, 3))

    def test_samePresence(self) -> None:
        """If the presence is the same, nobody else is told anything."""
        self.say(CRONE, "<body>double, double</body>")
        sent = self.join(PAD, "hag", show=BUSY)
        delayed = f"<delay xmlns='{ns.DELAY}' from='{ROOM}' stamp='1970-01-12T13:46:40Z'/>"
        self.assertSent(
            sent,
            presence("crone", PAD, user("owner", "moderator")),
            presence("hag", PAD, OWN + BUSY),
            said("crone", PAD, f"<body>double, double</body>{delayed}"),
            said("", PAD, NO_SUBJECT),
        )

    def test_nonAnonymous(self) -> None:
        """In a non-anonymous room, code 100 warns each session. The JID is that of the first one."""
        self.leave(PHONE, "hag")
        self.room.settings.nonAnonymous = True
        for occupant in self.room.occupants.values():
            occupant.nonAnonymous = True
        warned = user("none", "participant", status(100, 110), jid=HAG)
        self.assertSent(
            self.join(PHONE, "hag", show=AWAY),
            presence("crone", PHONE, user("owner", "moderator", jid=CRONE)),
            presence("hag", PHONE, warned + AWAY),
            said("", PHONE, NO_SUBJECT),
        )

    def test_otherUsers(self) -> None:
        """Another user gets "conflict", however similar the JID."""
        for who in ("hag66@shakespeare.example/pda", "hag@shakespeare.lit/pda", "shakespeare.lit/pda"):
            self.assertSent(self.join(who, "hag"), refused("presence", f"{ROOM}/hag", who, NickInUse, MUC))

    def test_spelling(self) -> None:
        """A server may keep the spelling of a login: the user is the same."""
        who = "HAG66@Shakespeare.lit/pad"
        self.join(who, "hag", show=BUSY)
        self.assertEqual(self.room.occupants["hag"].localJids, (HAG, PHONE, who))

    def test_demands(self) -> None:
        """A session needs what every join needs (sections 7.2.5 to 7.2.7)."""
        for key, value, error in (("password", "secret", WrongPassword), ("membersOnly", True, MembersOnly)):
            before = getattr(self.room.settings, key)
            setattr(self.room.settings, key, value)
            self.assertSent(self.join(PAD, "hag"), refused("presence", f"{ROOM}/hag", PAD, error, MUC))
            setattr(self.room.settings, key, before)
        self.room.affiliations["hag66@shakespeare.lit"] = OUTCAST
        self.assertSent(self.join(PAD, "hag"), refused("presence", f"{ROOM}/hag", PAD, Banned, MUC))

    def test_full(self) -> None:
        """Section 7.2.9: the maximum is one of occupants; a session takes no further place."""
        self.room.settings.maxUsers = 2
        who = "wise@shakespeare.lit/tower"
        self.assertSent(self.join(who, "wise"), refused("presence", f"{ROOM}/wise", who, RoomFull, MUC))
        self.join(PAD, "hag")
        self.assertIn(PAD, self.room.users)
        count = "<value>2</value>"
        query = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertIn(count.encode(), self.ask(PAD, query, "get"))

    def test_bounded(self) -> None:
        """An occupant has a limited number of sessions."""
        self.service = rooms("chat.shakespeare.lit", bounds=Bounds(sessions=2))
        for who in (CRONE, f"{CRONE}2"):
            self.join(who, "crone")
        third = f"{CRONE}3"
        self.assertSent(self.join(third, "crone"), refused("presence", f"{ROOM}/crone", third, ResourceLimit, MUC))
        self.leave(CRONE, "crone")
        self.join(third, "crone")
        self.assertIn(third, self.service.rooms.rooms[ROOM].users)

    def test_owner(self) -> None:
        """A further session of the owner creates nothing: no code 201, and the role is the same."""
        phone = "crone1@shakespeare.lit/phone"
        self.assertSent(
            self.join(phone, "crone"),
            presence("hag", phone, SEEN + BUSY),
            presence("crone", phone, user("owner", "moderator", status(110))),
            said("", phone, NO_SUBJECT),
        )

    def test_again(self) -> None:
        """Section 7.2.1: a session that joins again gets the full state, and the other one nothing."""
        self.assertSent(
            self.join(HAG, "hag", show=BUSY),
            presence("crone", HAG, user("owner", "moderator")),
            presence("hag", HAG, OWN + BUSY),
            said("", HAG, NO_SUBJECT),
        )


class PresenceTests(SessionsCase):
    """Changes and leaves (sections 7.7 and 7.14), and new nicks (section 7.6)."""

    def test_change(self) -> None:
        """The latest presence is that of the occupant. The id of the stanza is for its sender alone."""
        self.assertSent(
            self.send(HAG, "hag", "<show>xa</show>", " id='p'"),
            presence("hag", CRONE, SEEN + "<show>xa</show>"),
            presence("hag", PHONE, OWN + "<show>xa</show>"),
            presence("hag", HAG, OWN + "<show>xa</show>").replace(" to=", " id='p' to="),
        )
        # A new occupant sees it, too.
        self.assertIn(b"<show>xa</show>", self.join("wise@shakespeare.lit/tower", "wise"))

    def test_leave(self) -> None:
        """If one leaves it is told so; the others see the presence of the one that stays."""
        gone = user("none", "none", status(110)) + "<status>bye</status>"
        self.assertSent(
            self.send(PHONE, "hag", "<status>bye</status>", " type='unavailable' id='p'"),
            presence("hag", PHONE, gone, "unavailable").replace(" to=", " id='p' to="),
            presence("hag", CRONE, SEEN + AWAY),
            presence("hag", HAG, OWN + AWAY),
        )
        self.assertNotIn(PHONE, self.room.users)
        self.assertSent(
            self.leave(HAG, "hag"),
            presence("hag", HAG, user("none", "none", status(110)), "unavailable"),
            presence("hag", CRONE, user("none", "none", jid=HAG), "unavailable"),
        )

    def test_leaveOfTheOther(self) -> None:
        """If the one that leaves has not sent the latest presence, only moderators see that the JID is another."""
        self.assertSent(
            self.leave(HAG, "hag"),
            presence("hag", HAG, user("none", "none", status(110)), "unavailable"),
            presence("hag", CRONE, user("none", "participant", jid=PHONE) + BUSY),
            presence("hag", PHONE, OWN + BUSY),
        )
        self.join(PAD, "hag", show=BUSY)
        self.assertSent(
            self.leave(PAD, "hag"), presence("hag", PAD, user("none", "none", status(110)) + "", "unavailable")
        )

    def test_unreachable(self) -> None:
        """Section 16.1.2: an error of one session removes that session, by presence or message."""
        error = f"<error type='cancel'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.join(PAD, "hag", show=BUSY)
        self.assertSent(
            self.service.take(f"<message from='{PAD}' to='{ROOM}/crone' type='error'>{error}</message>"),
            presence("hag", PAD, user("none", "none", status(333, 110)) + BUSY, "unavailable"),
        )
        self.assertSent(
            self.send(PHONE, "hag", error, " type='error'"),
            presence("hag", PHONE, user("none", "none", status(333, 110)) + BUSY, "unavailable"),
            presence("hag", CRONE, SEEN + AWAY),
            presence("hag", HAG, OWN + AWAY),
        )
        self.assertSent(
            self.send(HAG, "hag", error, " type='error'"),
            presence("hag", HAG, user("none", "none", status(333, 110)) + AWAY, "unavailable"),
            presence("hag", CRONE, user("none", "none", status(333), jid=HAG) + AWAY, "unavailable"),
        )

    def test_nick(self) -> None:
        """Section 7.6: if one changes the nick, all have the new one."""
        old = user("none", "participant", status(303, 110), inside=" nick='new'")
        others = user("none", "participant", status(303), HAG, " nick='new'")
        self.assertSent(
            self.send(HAG, "new", "<show>xa</show>", " id='p'"),
            presence("hag", HAG, old, "unavailable"),
            presence("hag", PHONE, old, "unavailable"),
            presence("hag", CRONE, others, "unavailable"),
            presence("new", CRONE, SEEN + "<show>xa</show>"),
            presence("new", PHONE, OWN + "<show>xa</show>"),
            presence("new", HAG, OWN + "<show>xa</show>").replace(" to=", " id='p' to="),
        )
        self.assertEqual({occupant.nick for occupant in self.room.users.values()}, {"crone", "new"})
        heard = self.service.take(f"<message from='{CRONE}' to='{ROOM}/new'><body>x</body></message>")
        self.assertEqual(heard.count(b"<body>x</body>"), 2)
        content = "<body>x</body>"
        self.assertSent(self.say(CRONE, content), *(said("crone", each, content) for each in (CRONE, PHONE, HAG)))

    def test_nickRefused(self) -> None:
        """A nick that another occupant has, also of the same user, and one that is not valid."""
        self.join(PAD, "pad")
        for nick, error in (("crone", NickInUse), ("hag", NickInUse), (" pad", BadNick)):
            self.assertSent(self.send(PAD, nick), refused("presence", f"{ROOM}/{nick}", PAD, error))


class MessageTests(SessionsCase):
    """ "it MUST route in-room messages to all of the user's resources and allow all [...] to send messages"."""

    def test_toAll(self) -> None:
        """A message comes once to each session, also one of the other session; with the id of its sender."""
        for who, nick in ((CRONE, "crone"), (PHONE, "hag"), (HAG, "hag")):
            sent = self.service.take(
                f"<message from='{who}' to='{ROOM}' type='groupchat' id='m'><body>x</body></message>"
            )
            content = "<body>x</body>"
            told = [said(nick, each, content).replace(" type=", " id='m' type=") for each in (CRONE, HAG, PHONE)]
            self.assertSent(sent, *told)

    def test_subject(self) -> None:
        """So does a subject."""
        sent = self.say(PHONE, "<subject>fair</subject>")
        self.assertSent(sent, *(said("hag", each, "<subject>fair</subject>") for each in (CRONE, HAG, PHONE)))

    def test_private(self) -> None:
        """ "It is RECOMMENDED to route to all resources". The sender's own other sessions get no copy of theirs."""
        mark = f"<x xmlns='{ns.MUC_USER}'/>"
        sent = self.service.take(
            f"<message from='{CRONE}' to='{ROOM}/hag' type='chat' id='m'><body>x</body></message>"
        )
        told = [
            f"<message from='{ROOM}/crone' to='{each}' type='chat' id='m'><body>x</body>{mark}</message>"
            for each in (HAG, PHONE)
        ]
        self.assertSent(sent, *told)
        sent = self.service.take(
            f"<message from='{PHONE}' to='{ROOM}/crone' type='chat' id='m'><body>x</body></message>"
        )
        answer = f"<message from='{ROOM}/hag' to='{CRONE}' type='chat' id='m'><body>x</body>{mark}</message>"
        self.assertSent(sent, answer)

    def test_privateError(self) -> None:
        """An error of a private message comes to all sessions: one of them has sent the message."""
        error = f"<error type='cancel'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error>"
        sent = self.service.take(f"<message from='{CRONE}' to='{ROOM}/hag' type='error' id='m'>{error}</message>")
        told = [
            f"<message from='{ROOM}/crone' to='{each}' type='error' id='m'>{error}</message>"
            for each in (HAG, PHONE)
        ]
        self.assertSent(sent, *told)

    def test_copies(self) -> None:
        """The limit of all copies of one message counts sessions."""
        self.room.bounds = Bounds(copies=40)
        self.assertIn(b"policy-violation", self.say(PHONE, "<body>hello</body>"))
        self.leave(PHONE, "hag")
        self.assertNotIn(b"policy-violation", self.say(HAG, "<body>hello</body>"))

    def test_invitation(self) -> None:
        """Section 7.8.2: each may invite, and a decline comes to all of them."""
        words = f"<x xmlns='{ns.MUC_USER}'><decline to='{ROOM}/hag'/></x>"
        sent = self.service.take(f"<message from='wise@shakespeare.lit/x' to='{ROOM}'>{words}</message>")
        self.assertSent(
            sent,
            *(
                f"<message from='{ROOM}' to='{each}'><x xmlns='{ns.MUC_USER}'>"
                "<decline from='wise@shakespeare.lit'/></x></message>"
                for each in (HAG, PHONE)
            ),
        )

    def test_gone(self) -> None:
        """A session that has left is no occupant."""
        self.leave(PHONE, "hag")
        content = "<body>x</body>"
        self.assertSent(self.say(PHONE, content), refused("message", ROOM, PHONE, NotInTheRoom))


class ModerationTests(SessionsCase):
    """Changes by moderators, admins and owners come to all sessions."""

    def test_kick(self) -> None:
        """Section 8.2."""
        gone = user("none", "none", status(307, 110)).replace(
            "/><status", "><actor nick='crone'/></item><status", 1
        )
        others = gone.replace("<status code='110'/>", "").replace("role='none'", f"role='none' jid='{HAG}'")
        self.assertSent(
            self.administer("nick='hag' role='none'"),
            presence("hag", HAG, gone + BUSY, "unavailable"),
            presence("hag", PHONE, gone + BUSY, "unavailable"),
            done(),
            presence("hag", CRONE, others + BUSY, "unavailable"),
        )
        self.assertEqual(list(self.room.users), [CRONE])

    def test_ban(self) -> None:
        """Section 9.1: two nicks of one user, one of them with two sessions."""
        self.join(PAD, "pad")
        sent = self.administer("jid='hag66@shakespeare.lit' affiliation='outcast'")
        for who in (HAG, PHONE, PAD):
            self.assertEqual(sent.count(f"to='{who}'".encode()), 1)
        self.assertEqual(list(self.room.users), [CRONE])

    def test_role(self) -> None:
        """Section 8.4: a new role is that of all sessions; a moderator sees real JIDs."""
        told = user("member", "participant", status(110)).replace(
            "/><status", "><actor nick='crone'/></item><status"
        )
        others = told.replace("<status code='110'/>", "").replace("role=", f"jid='{HAG}' role=")
        self.assertSent(
            self.administer("jid='hag66@shakespeare.lit' affiliation='member'"),
            done(),
            presence("hag", CRONE, others + BUSY),
            presence("hag", HAG, told + BUSY),
            presence("hag", PHONE, told + BUSY),
        )
        self.administer("nick='hag' role='moderator'")
        sent = self.send(CRONE, "crone", BUSY)
        seen = presence("crone", "{}", user("owner", "moderator", jid=CRONE) + BUSY)
        own = presence("crone", CRONE, user("owner", "moderator", status(110)) + BUSY)
        self.assertSent(sent, own, seen.format(HAG), seen.format(PHONE))

    def test_destroyed(self) -> None:
        """Section 10.9."""
        sent = self.ask(CRONE, f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>")
        gone = [user(affiliation, "none", status(110) + "<destroy/>") for affiliation in ("owner", "none")]
        self.assertSent(
            sent,
            presence("crone", CRONE, gone[0], "unavailable"),
            presence("hag", HAG, gone[1] + BUSY, "unavailable"),
            presence("hag", PHONE, gone[1] + BUSY, "unavailable"),
            done(),
        )
        self.assertNotIn(ROOM, self.service.rooms.rooms)

    def test_list(self) -> None:
        """Section 8.5: the user is listed once."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'>"
        self.assertSent(
            self.ask(CRONE, f"{query}<item role='participant'/></query>", "get"),
            f"<iq from='{ROOM}' to='{CRONE}' type='result' id='q'>{query}"
            f"<item affiliation='none' role='participant' jid='{HAG}' nick='hag'/></query></iq>",
        )

    def test_stopped(self) -> None:
        """Section 11.2: the end of the service."""
        sent = self.service.shutDown()
        self.assertEqual([sent.count(f"to='{who}'".encode()) for who in (CRONE, HAG, PHONE)], [1, 1, 1])


class QueryTests(SessionsCase):
    """Requests of each session, and to the occupant."""

    def test_selfPing(self) -> None:
        """XEP-0410: each session pings the nick, until it has left."""
        for who in (HAG, PHONE):
            answer = f"<iq from='{ROOM}/hag' to='{who}' type='result' id='q'/>"
            self.assertSent(self.ask(who, PING, "get", "hag"), answer)
        self.leave(PHONE, "hag")
        refusal = refused("iq", f"{ROOM}/hag", PHONE, NotInTheRoom, " id='q'")
        self.assertSent(self.ask(PHONE, PING, "get", "hag"), refusal)

    def test_iq(self) -> None:
        """Section 16.4: the session whose presence is shown answers; its capabilities are the known ones."""
        version = "<query xmlns='jabber:iq:version'/>"
        for who in (PHONE, HAG):
            self.send(who, "hag", f"<show>{'dnd' if who == PHONE else 'xa'}</show>")
            self.assertSent(
                self.ask(CRONE, version, "get", "hag"),
                f"<iq from='{ROOM}/crone' to='{who}' type='get' id='q'>{version}</iq>",
            )
            self.service.take(f"<iq from='{who}' to='{ROOM}/crone' type='result' id='q'/>")

    def test_items(self) -> None:
        """Section 6.6: each occupant is one item."""
        sent = self.ask(PHONE, f"<query xmlns='{ns.DISCO_ITEMS}'/>", "get")
        self.assertEqual(sent.count(b"<item "), 2)
