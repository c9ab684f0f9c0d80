"""
Ordinary rooms (XEP-0045) behind the rooms of the gateway. Here the ordinary room is one of the gateway's own, which
knows nothing of federation.
"""

from __future__ import annotations

from gateway import ns
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SERVICE, SOURCE, SOUTH, Site, site
from tests.fmuc.wire import WireCase, to, told

ANN, BOB, CAROL, DAN = (
    "ann@local.example/a",
    "bob@north-users.example/b",
    "carol@north-users.example/c",
    "dan@elsewhere.example/d",
)
BOB_THERE, CAROL_THERE = (rf"{name}\40north-users.example@{COMPONENT}/{name}" for name in ("bob", "carol"))
DAN_THERE = rf"dan\40elsewhere.example@{COMPONENT}/dan"
FORM = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>"


def opened(isStored: bool = True) -> Site:
    """Return a site where Ann, who owns the ordinary room, is in it."""
    found = site(isStored)
    found.join(SOURCE, "ann", ANN)
    found.ask(SOURCE, ANN, FORM, "set")
    found.crossed.clear()
    return found


def admin(nick: str, role: str = "none", reason: str = "") -> str:
    """Return a request to change a role."""
    item = f"<item nick='{nick}' role='{role}'><reason>{reason}</reason></item>"
    return f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"


class OccupantTests(WireCase):
    """Each federated occupant is an occupant of the ordinary room."""

    def setUp(self) -> None:
        self.site = opened()

    def test_join(self) -> None:
        """XEP-0045 section 7.2: the order of a join, in the room itself and in a mirror; the address is escaped."""
        self.assertTold(
            self.site.join(NORTH, "bob", BOB),
            f"presence {SOURCE}/bob > {ANN} none/participant jid={BOB_THERE}",
            f"presence {NORTH}/ann > {BOB} owner/moderator",
            f"presence {NORTH}/bob > {BOB} none/participant 110",
            f"message {NORTH} > {BOB} subject=",
        )
        self.assertTold(
            self.site.join(ROOM, "dan", DAN),
            rf"presence {SOURCE}/dan > {ANN} none/participant jid=dan\40elsewhere.example@{COMPONENT}/dan",
            f"presence {ROOM}/ann > {DAN} owner/moderator",
            f"presence {ROOM}/bob > {DAN} none/participant",
            f"presence {ROOM}/dan > {DAN} none/participant 110",
            f"message {ROOM} > {DAN} subject=",
            f"presence {NORTH}/dan > {BOB} none/participant",
        )

    def test_talk(self) -> None:
        """Messages in both directions; each crosses to a mirror once, however many puppets get it."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        self.site.join(ROOM, "dan", DAN)
        self.site.crossed.clear()
        for sender, there, body in ((ANN, SOURCE, "1"), (BOB, NORTH, "2"), (DAN, ROOM, "3")):
            nick = sender.partition("@")[0]
            found = self.site.say(there, sender, body)
            self.assertCountEqual(
                found,
                [
                    f"message {room}/{nick} > {user} body={body}"
                    for room, user in ((SOURCE, ANN), (NORTH, BOB), (NORTH, CAROL), (ROOM, DAN))
                ],
            )
        copies = [text for one, other, text in self.site.crossed if (one, other) == (COMPONENT, "north.example")]
        self.assertEqual(len(copies), 3)

    def test_private(self) -> None:
        """XEP-0045 section 7.5: private messages in both directions go to their one recipient."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        for sender, there, recipient, to_ in ((ANN, SOURCE, CAROL, NORTH), (CAROL, NORTH, ANN, SOURCE)):
            nick, nickThere = (each.partition("@")[0] for each in (sender, recipient))
            self.assertTold(
                self.site.send(
                    f"<message from='{sender}' to='{there}/{nickThere}' type='chat' id='p'><body>x</body></message>"
                ),
                f"message {to_}/{nick} > {recipient} chat muc#user body=x",
            )

    def test_presence(self) -> None:
        """Section 7.7: changes of presence in both directions."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        self.assertCountEqual(
            self.site.send(f"<presence from='{BOB}' to='{NORTH}/bob'><show>away</show></presence>"),
            [
                f"presence {SOURCE}/bob > {ANN} none/participant jid={BOB_THERE} show=away",
                f"presence {NORTH}/bob > {BOB} none/participant 110 show=away",
                f"presence {NORTH}/bob > {CAROL} none/participant show=away",
            ],
        )
        self.assertCountEqual(
            self.site.send(f"<presence from='{ANN}' to='{SOURCE}/ann'><show>dnd</show></presence>"),
            [
                f"presence {SOURCE}/ann > {ANN} owner/moderator 110 show=dnd",
                f"presence {NORTH}/ann > {BOB} owner/moderator show=dnd",
                f"presence {NORTH}/ann > {CAROL} owner/moderator show=dnd",
            ],
        )

    def test_sessions(self) -> None:
        """Section 7.2.8: of two clients in one mirror, the first one leaves. Users of the other mirror see all."""
        other = CAROL.replace("/c", "/other")
        self.site.join(SOUTH, "dan", DAN)
        for client in (CAROL, other):
            self.site.join(NORTH, "carol", client)
        status = "<status>here</status>"
        self.site.leave(NORTH, "carol", CAROL)
        shown = self.site.send(f"<presence from='{other}' to='{NORTH}/carol'>{status}</presence>")
        self.assertTold(to(DAN, shown), f"presence {SOUTH}/carol none/participant status=here")
        kicked = self.site.ask(SOURCE, ANN, admin("carol"), "set")
        self.assertTold(to(DAN, kicked), f"presence {SOUTH}/carol unavailable none/none actor=ann 307 status=here")

    def test_sessionUntold(self) -> None:
        """The same; what tells the other mirror of the second client is lost. It is told when that one leaves."""
        other = CAROL.replace("/c", "/other")
        self.site.join(SOUTH, "dan", DAN)
        for client in (CAROL, other):
            self.site.join(NORTH, "carol", client)
        self.site.away = {SERVICE}
        self.site.leave(NORTH, "carol", CAROL)
        self.site.away = set()
        left = self.site.leave(NORTH, "carol", other)
        self.assertTold(to(DAN, left), f"presence {SOUTH}/carol unavailable none/none")

    def test_nick(self) -> None:
        """Section 7.6: an occupant of the ordinary room changes the nick."""
        self.site.join(NORTH, "bob", BOB)
        found = self.site.send(f"<presence from='{ANN}' to='{SOURCE}/anna'/>")
        self.assertTold(
            to(BOB, found),
            f"presence {NORTH}/ann unavailable owner/moderator nick=anna 303",
            f"presence {NORTH}/anna owner/moderator",
        )

    def test_leave(self) -> None:
        """Sections 7.14: everybody leaves, in both directions; an empty mirror gets nothing."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        self.assertCountEqual(
            self.site.leave(NORTH, "bob", BOB),
            [
                f"presence {NORTH}/bob > {BOB} unavailable none/none 110",
                f"presence {NORTH}/bob > {CAROL} unavailable none/none",
                f"presence {SOURCE}/bob > {ANN} unavailable none/none jid={BOB_THERE}",
            ],
        )
        self.assertEqual(len(self.site.say(SOURCE, ANN, "still there")), 2)
        self.site.leave(NORTH, "carol", CAROL)
        self.site.crossed.clear()
        self.assertTold(self.site.say(SOURCE, ANN, "alone"), f"message {SOURCE}/ann > {ANN} body=alone")
        self.assertEqual(self.site.crossed, [])
        self.assertEqual(self.site.wires[COMPONENT].rooms.rooms, {})

    def test_listener(self) -> None:
        """If the listener leaves, or is kicked, the next puppet continues: nothing is missing or repeated."""
        users = {f"u{number}": f"u{number}@north-users.example/r" for number in range(4)}
        for nick, user in users.items():
            self.site.join(NORTH, nick, user)
        for number, nick in enumerate(list(users)[:3]):
            self.assertEqual(self.heard(str(number)), sorted(users))
            user = users.pop(nick)
            if number == 1:
                self.site.ask(SOURCE, ANN, admin(nick, reason="go"), "set")
            else:
                self.site.leave(NORTH, nick, user)
        self.assertEqual(self.heard("last"), sorted(users))

    def heard(self, body: str) -> list[str]:
        """Let Ann say something; return the nicks of the users of the mirror who get it, with repeats."""
        found = [each for each in self.site.say(SOURCE, ANN, body) if each.startswith(f"message {NORTH}")]
        return sorted(each.split(" > ")[1].partition("@")[0] for each in found)


class RefusalTests(WireCase):
    """The refusals of the ordinary room, and its moderators."""

    def setUp(self) -> None:
        self.site = opened()

    def test_conflict(self) -> None:
        """Section 7.2.8: another user has the nick; the mirror need not ask."""
        self.assertTold(self.site.join(ROOM, "ann", DAN), f"presence {ROOM}/ann > {DAN} error conflict")
        self.assertTold(self.site.join(NORTH, "ann", BOB), f"presence {NORTH}/ann > {BOB} error conflict")
        self.site.join(ROOM, "dan", DAN)
        self.assertTold(self.site.join(NORTH, "ann", BOB), f"presence {NORTH}/ann > {BOB} error conflict")
        eve = "eve@local.example/e"
        self.assertTold(self.site.join(SOURCE, "dan", eve), f"presence {SOURCE}/dan > {eve} error conflict")

    def test_kick(self) -> None:
        """Section 8.2: a moderator of the ordinary room kicks a federated occupant."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        why = "none/none actor=ann reason=go 307"
        self.assertCountEqual(
            self.site.ask(SOURCE, ANN, admin("bob", reason="go"), "set"),
            [
                f"iq {SOURCE} > {ANN} result",
                f"presence {SOURCE}/bob > {ANN} unavailable none/none jid={BOB_THERE} actor=ann reason=go 307",
                f"presence {NORTH}/bob > {BOB} unavailable {why} 110",
                f"presence {NORTH}/bob > {CAROL} unavailable {why}",
            ],
        )
        found = self.site.join(NORTH, "bob", BOB)
        self.assertIn(f"presence {NORTH}/bob > {BOB} none/participant 110", found)

    def test_ban(self) -> None:
        """Section 9.1: a ban of a puppet's address; the user cannot enter again, by whatever nick."""
        self.site.join(NORTH, "bob", BOB)
        address = BOB_THERE.partition("/")[0]
        item = f"<item jid='{address}' affiliation='outcast'><reason>spam</reason></item>"
        found = self.site.ask(SOURCE, ANN, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>", "set")
        self.assertIn(f"presence {NORTH}/bob > {BOB} unavailable outcast/none actor=ann reason=spam 301 110", found)
        for nick in ("bob", "robert"):
            self.assertTold(self.site.join(NORTH, nick, BOB), f"presence {NORTH}/{nick} > {BOB} error forbidden")

    def test_voice(self) -> None:
        """Section 8.4: a role is taken away; the message of a visitor is refused by the ordinary room."""
        self.site.join(NORTH, "bob", BOB)
        found = self.site.ask(SOURCE, ANN, admin("bob", "visitor"), "set")
        self.assertIn(f"presence {NORTH}/bob > {BOB} none/visitor actor=ann 110", found)

    def test_locked(self) -> None:
        """Section 10.1.3: a new room that is locked; and one that is opened for a user who cannot configure it."""
        other = f"new@{SERVICE}"
        self.site.join(other, "ann", ANN)
        mirrored = NORTH.replace("lobby", "new")
        self.assertTold(
            self.site.join(mirrored, "bob", BOB), f"presence {mirrored}/bob > {BOB} error item-not-found"
        )
        mirrored = NORTH.replace("lobby", "made")
        found = self.site.join(mirrored, "bob", BOB)
        self.assertIn(f"presence {mirrored}/bob > {BOB} owner/moderator 201 110", found)
        found = self.site.join(f"made@{SERVICE}", "ann", ANN)
        self.assertIn(f"presence made@{SERVICE}/ann > {ANN} none/participant 110", found)

    def test_password(self) -> None:
        """Section 7.2.6: the password is passed on; without it, the error is the room's."""
        form = (
            f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE'><value>{ns.MUC_ROOM_CONFIG}</value></field>"
            "<field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
            "<field var='muc#roomconfig_roomsecret'><value>open</value></field></x></query>"
        )
        self.site.ask(SOURCE, ANN, form, "set")
        self.assertTold(self.site.join(NORTH, "bob", BOB), f"presence {NORTH}/bob > {BOB} error not-authorized")
        found = self.site.join(NORTH, "bob", BOB, f"<x xmlns='{ns.MUC}'><password>open</password></x>")
        self.assertIn(f"presence {NORTH}/bob > {BOB} none/participant 110", found)

    def test_destroyed(self) -> None:
        """Section 10.9: everybody is told, once."""
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        destroy = f"<destroy jid='new@{SERVICE}'><reason>old</reason></destroy>"
        found = self.site.ask(SOURCE, ANN, f"<query xmlns='{ns.MUC_OWNER}'>{destroy}</query>", "set")
        self.assertEqual(len(found), 4)
        for nick, user in (("bob", BOB), ("carol", CAROL)):
            self.assertTold(
                to(user, found),
                f"presence {NORTH}/{nick} unavailable none/none 110 destroy=new@{SERVICE}:old",
            )
        self.assertEqual(self.site.wires[COMPONENT].rooms.rooms, {})

    def test_loop(self) -> None:
        """A puppet is no user of these rooms, nor is one that stands for a puppet."""
        user = rf"bob\5c40north-users.example\40{COMPONENT}@other.example/x"
        self.assertTold(self.site.join(ROOM, "x", user), f"presence {ROOM}/x > {user} error not-allowed")
        wire = self.site.wires[COMPONENT]
        wire.nodeJoins(ROOM, "x", SOUTH, BOB_THERE)
        self.assertTold(
            told(wire.settled()),
            f"presence {ROOM} > {SOUTH}/x not-allowed fmuc={BOB_THERE}reject",
        )

    def test_addresses(self) -> None:
        """Addresses of puppets are those of no rooms."""
        room = rf"bob\40north-users.example@{COMPONENT}"
        self.assertTold(self.site.join(room, "x", DAN), f"presence {room}/x > {DAN} error item-not-found")


class RequestTests(WireCase):
    """Iq requests, in both directions."""

    def setUp(self) -> None:
        self.site = opened()
        self.site.join(NORTH, "bob", BOB)

    def test_toPuppet(self) -> None:
        """Section 16.4: a local occupant asks a federated one; the answer comes from the occupant's address."""
        query = "<query xmlns='jabber:iq:version'/>"
        self.assertTold(self.site.ask(f"{SOURCE}/bob", ANN, query), f"iq {NORTH}/ann > {BOB} get")
        self.assertTold(
            self.site.send(f"<iq from='{BOB}' to='{NORTH}/ann' id='q' type='result'>{query}</iq>"),
            f"iq {SOURCE}/bob > {ANN} result",
        )

    def test_fromPuppet(self) -> None:
        """The same in the other direction, and an error."""
        query = "<query xmlns='jabber:iq:version'/>"
        self.assertTold(self.site.ask(f"{NORTH}/ann", BOB, query), f"iq {SOURCE}/bob > {ANN} get")
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertTold(
            self.site.send(f"<iq from='{ANN}' to='{SOURCE}/bob' id='q' type='error'>{error}</iq>"),
            f"iq {NORTH}/ann > {BOB} error item-not-found",
        )

    def test_lists(self) -> None:
        """Section 9.5: a list of the ordinary room, by way of the mirror."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='owner'/></query>"
        self.assertTold(self.site.ask(NORTH, BOB, query), f"iq {NORTH} > {BOB} error forbidden")
        self.site.join(ROOM, "dan", DAN)
        self.site.ask(SOURCE, ANN, admin("dan", "moderator"), "set")
        found = self.site.ask(ROOM, DAN, admin("bob"), "set")
        self.assertIn(f"iq {ROOM} > {DAN} result", found)
        self.assertIn(f"presence {NORTH}/bob > {BOB} unavailable none/none actor=dan 307 110", found)

    def test_voice(self) -> None:
        """Section 7.13: a request for voice; the moderator of the ordinary room is asked."""
        self.site.ask(SOURCE, ANN, admin("bob", "visitor"), "set")
        form = (
            f"<message from='{BOB}' to='{NORTH}' id='v'><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE'><value>{ns.MUC_REQUEST}</value></field>"
            "<field var='muc#role'><value>participant</value></field></x></message>"
        )
        self.assertTold(self.site.send(form), f"message {SOURCE} > {ANN}")


class ReturnTests(WireCase):
    """Losses of stanzas, and returns after them."""

    def setUp(self) -> None:
        self.site = opened()
        self.site.join(NORTH, "bob", BOB)
        self.site.join(NORTH, "carol", CAROL)
        self.site.join(ROOM, "dan", DAN)
        self.site.crossed.clear()

    def sent(self) -> list[str]:
        """Return what puppets have sent, and forget it."""
        found = [text for one, other, text in self.site.crossed if (one, other) == (COMPONENT, SERVICE)]
        self.site.crossed.clear()
        return found

    def forget(self, *puppets: str) -> None:
        """Let the ordinary room remove puppets, because their server returns stanzas; nobody tells them."""
        error = f"<error type='cancel'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.site.away = {COMPONENT}
        for puppet in puppets:
            self.site.send(f"<message from='{puppet}' to='{SOURCE}' type='error'>{error}</message>")
        self.site.away = set()

    def checkTalk(self) -> None:
        """Everybody hears everybody, once."""
        for number, (user, room) in enumerate(((ANN, SOURCE), (BOB, NORTH), (CAROL, NORTH), (DAN, ROOM))):
            nick = user.partition("@")[0]
            self.assertCountEqual(
                self.site.say(room, user, f"talk {number}"),
                [
                    f"message {there}/{nick} > {who} body=talk {number}"
                    for there, who in ((SOURCE, ANN), (NORTH, BOB), (NORTH, CAROL), (ROOM, DAN))
                ],
            )

    def quiet(self, found: list[str]) -> list[str]:
        """Return what users are shown; pings find those who are gone."""
        return [each for each in found if not each.startswith("iq ")]

    def test_reconnected(self) -> None:
        """A new connection, and nothing was lost: one puppet joins again; nobody sees anything of it."""
        self.assertEqual(self.quiet(self.site.connect(COMPONENT)), [])
        self.assertTold(
            self.sent(),
            f"presence {BOB_THERE} > {SOURCE}/bob",
            f"iq {CAROL_THERE} > {SOURCE}/carol get",
            f"iq {DAN_THERE} > {SOURCE}/dan get",
        )
        self.checkTalk()

    def test_restarted(self) -> None:
        """The same after the process was killed: the ghosts of the ordinary room are taken over."""
        self.assertEqual(self.quiet(self.site.restart()), [])
        self.assertTold(
            self.sent(),
            f"presence {BOB_THERE} > {SOURCE}/bob",
            f"iq {CAROL_THERE} > {SOURCE}/carol get",
            f"iq {DAN_THERE} > {SOURCE}/dan get",
        )
        self.checkTalk()

    def test_presence(self) -> None:
        """
        A user's presence waits until it is known that the puppet is in. Of others, Prosody returns it as
        C{not-acceptable}, which looks like a refused join; for ejabberd it is a join.
        """
        for number in range(30):
            self.site.join(ROOM, f"u{number}", f"u{number}@elsewhere.example/u")
        last = rf"u29\40elsewhere.example@{COMPONENT}/u29"
        self.forget(last)
        self.site.connect(COMPONENT)
        self.sent()
        address = f"from='u29@elsewhere.example/u' to='{ROOM}/u29'"
        for show in ("away", "xa"):
            self.site.send(f"<presence {address}><show>{show}</show></presence>")
        self.assertEqual(self.sent(), [])
        shown = [each for _ in range(20) for each in self.site.tick(1)]
        own = [each for each in self.sent() if "/u29 " in f"{each} " and each.startswith("presence")]
        self.assertEqual(own, [f"presence {last} > {SOURCE}/u29", f"presence {last} > {SOURCE}/u29 show=xa"])
        self.assertIn(f"presence {NORTH}/u29 > {BOB} none/participant show=xa", shown)

    def test_sessions(self) -> None:
        """
        The process is killed before the ordinary room has returned the presence of another client of a user: it is
        known by which client the user is in, and what that one has told.
        """
        other = CAROL.replace("/c", "/other")
        self.site.join(NORTH, "carol", other)
        self.site.away = {SERVICE}
        self.site.leave(NORTH, "carol", CAROL)
        self.site.away = set()
        self.site.restart()
        self.site.leave(NORTH, "carol", other)
        self.assertEqual(sorted(self.site.wires[COMPONENT].room(ROOM).occupants), ["ann", "bob", "dan"])

    def test_sessionsHere(self) -> None:
        """The same of a user who is in the room here."""
        other, status = DAN.replace("/d", "/other"), "<status>here</status>"
        self.site.join(ROOM, "dan", other)
        self.site.away = {SERVICE}
        self.site.send(f"<presence from='{DAN}' to='{ROOM}/dan'>{status}</presence>")
        self.site.away = set()
        self.site.restart()
        self.site.leave(ROOM, "dan", other)
        self.assertIn(status.encode(), self.site.wires[SERVICE].room(SOURCE).occupants["dan"].payload.raw)

    def test_missed(self) -> None:
        """Messages that were missed come from the history, once."""
        self.site.away = {COMPONENT}
        self.site.say(SOURCE, ANN, "missed")
        self.site.away = set()
        self.assertCountEqual(
            self.quiet(self.site.connect(COMPONENT)),
            [
                f"message {NORTH}/ann > {BOB} body=missed",
                f"message {NORTH}/ann > {CAROL} body=missed",
                f"message {ROOM}/ann > {DAN} body=missed delayed",
            ],
        )
        self.checkTalk()

    def test_removed(self) -> None:
        """Puppets that the ordinary room has removed meanwhile join again; users here see only what was missed."""
        self.site.restart(isConnected=False)
        self.forget(CAROL_THERE, BOB_THERE)
        found = self.quiet(self.site.connect(COMPONENT))
        self.assertCountEqual(
            found,
            [
                f"presence {SOURCE}/bob > {ANN} none/participant jid={BOB_THERE}",
                f"presence {SOURCE}/carol > {ANN} none/participant jid={CAROL_THERE}",
            ],
        )
        self.assertTold(
            self.sent(),
            f"presence {BOB_THERE} > {SOURCE}/bob",
            f"iq {CAROL_THERE} > {SOURCE}/carol get",
            f"iq {DAN_THERE} > {SOURCE}/dan get",
            f"presence {CAROL_THERE} > {SOURCE}/carol",
        )
        self.checkTalk()

    def test_password(self) -> None:
        """Puppets that were removed join again with the passwords of their users."""
        secret = f"<x xmlns='{ns.MUC}'><password>open</password></x>"
        form = (
            f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE'><value>{ns.MUC_ROOM_CONFIG}</value></field>"
            "<field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
            "<field var='muc#roomconfig_roomsecret'><value>open</value></field></x></query>"
        )
        self.site.ask(SOURCE, ANN, form, "set")
        eve, address = "eve@north-users.example/e", rf"eve\40north-users.example@{COMPONENT}/eve"
        self.site.join(NORTH, "eve", eve, secret)
        self.forget(address)
        self.site.crossed.clear()
        found = self.quiet(self.site.connect(COMPONENT))
        self.assertEqual(to(eve, found), [])
        joins = [each for each in self.sent() if each.startswith("presence") and "/eve" in each]
        self.assertTold(joins, f"presence {address} > {SOURCE}/eve")
        self.assertEqual(len(self.site.say(SOURCE, ANN, "x")), 5)

    def test_banned(self) -> None:
        """A user who was banned meanwhile is put out with the reason of the ordinary room; the next one listens."""
        self.site.away = {COMPONENT}
        address = BOB_THERE.partition("/")[0]
        item = f"<item jid='{address}' affiliation='outcast'/>"
        self.site.ask(SOURCE, ANN, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>", "set")
        self.site.away = set()
        found = self.quiet(self.site.connect(COMPONENT))
        why = "reason=You are banned from this room. 307"
        self.assertTold(to(BOB, found), f"presence {NORTH}/bob unavailable none/none {why} 110")
        self.assertIn(f"presence {ROOM}/bob > {DAN} unavailable", " ".join(found))
        self.assertEqual(len(self.site.say(SOURCE, ANN, "after")), 3)

    def test_left(self) -> None:
        """A user leaves meanwhile, whose leave is lost: the mirror tells it while the occupants are joined anew."""
        self.site = opened(isStored=False)
        for wire in self.site.wires.values():
            wire.link.ready = True
        for room, nick, user in ((NORTH, "bob", BOB), (NORTH, "carol", CAROL), (ROOM, "dan", DAN)):
            self.site.join(room, nick, user)
        for nick, user in (("bob", BOB), ("carol", CAROL)):
            self.site.away = {COMPONENT}
            self.site.leave(NORTH, nick, user)
            self.site.away = set()
            self.assertIn(f"presence {ROOM}/{nick} > {DAN} unavailable none/none", self.site.connect(COMPONENT))
            self.site.tick(5)
            self.assertEqual(len(self.site.say(SOURCE, ANN, "x")), 3)
            self.site.join(NORTH, nick, user)
        self.checkTalk()

    def test_nickTaken(self) -> None:
        """A local user has the nick of a puppet that was removed: that one is put out, and the local user shown."""
        self.forget(CAROL_THERE)
        eve = "eve@local.example/e"
        self.site.away = {COMPONENT}
        self.site.join(SOURCE, "carol", eve)
        self.site.away = set()
        found = self.quiet(self.site.connect(COMPONENT))
        self.assertIn("307 110", to(CAROL, found)[0])
        self.assertIn(f"presence {NORTH}/carol > {BOB} none/participant", found)
        self.assertIn(f"presence {ROOM}/carol > {DAN} none/participant", found)
        self.assertEqual(len(self.site.say(SOURCE, eve, "mine")), 4)

    def test_serviceRestarted(self) -> None:
        """
        The ordinary service has forgotten everything, and no connection was lost: the error for a message tells it.
        The room is made anew, and opened, and the message is sent once more.
        """
        self.site.wires[SERVICE] = site().wires[SERVICE]
        shown = self.quiet(self.site.say(NORTH, BOB, "said"))
        self.assertEqual([each for each in shown if "error" in each], [])
        self.assertEqual(shown.count(f"message {NORTH}/bob > {CAROL} body=said"), 1)
        shown += self.site.tick(1)
        self.assertEqual([each for each in shown if "unavailable" in each and "/ann >" not in each], [])
        found = self.quiet(self.site.join(SOURCE, "ann", ANN))
        self.assertIn(f"presence {SOURCE}/ann > {ANN} none/participant 110", found)
        self.checkTalk()

    def test_silence(self) -> None:
        """The same without a message: after a silence, the listener asks whether it is in (XEP-0410)."""
        self.forget(BOB_THERE)
        for _ in range(31):
            self.site.tick(10)
        self.assertIn(f"iq {BOB_THERE} > {SOURCE}/bob get", self.sent())
        self.checkTalk()
        for _ in range(31):
            self.site.tick(10)
        self.assertEqual([each for each in self.sent() if "presence" in each], [])

    def test_forgotten(self) -> None:
        """
        The listener is not in any longer, and was told nothing: other puppets have got messages meanwhile, which
        come from the history.
        """
        self.forget(BOB_THERE)
        shown = []
        for number in range(4):
            shown += self.site.say(SOURCE, ANN, f"m{number}")
        self.checkTalk()
        for user in (BOB, CAROL, DAN):
            bodies = [word for each in to(user, shown) for word in each.split() if word.startswith("body=")]
            self.assertEqual(bodies, [f"body=m{number}" for number in range(4)], user)

    def test_unreachable(self) -> None:
        """
        The ordinary service is away: users stay and are told, and its occupants are shown as away until it is back,
        or until C{gone_after} has passed.
        """
        everybody = ((NORTH, BOB), (NORTH, CAROL), (ROOM, DAN))
        for isGone in (False, True):
            self.site.away = {SERVICE}
            found = self.site.connect(COMPONENT)
            for _ in range(50):
                found += self.site.tick(10)
            lost, back = f"The link to {SOURCE} is down since", f"The link to {SOURCE} is up again."
            refused = "UTC; what you say is refused until it is back."
            told = [each for each in self.quiet(found) if each.startswith("message ")]
            self.assertEqual([lost in each and refused in each for each in told], [True] * 3)
            self.assertCountEqual(
                [each for each in self.quiet(found) if each not in told],
                [f"presence {room}/ann > {user} owner/moderator show=away" for room, user in everybody],
            )
            self.assertTold(self.site.say(ROOM, DAN, "x"), f"message {ROOM} > {DAN} error recipient-unavailable")
            if isGone:
                self.assertCountEqual(
                    self.quiet([each for _ in range(20) for each in self.site.tick(10)]),
                    [f"presence {room}/ann > {user} unavailable owner/none" for room, user in everybody],
                )
            self.site.away = set()
            self.assertCountEqual(
                self.quiet([each for _ in range(10) for each in self.site.tick(10)]),
                [
                    *(f"message {room} > {user} body={back}" for room, user in everybody),
                    *(f"presence {room}/ann > {user} owner/moderator" for room, user in everybody),
                ],
            )
            self.checkTalk()

    def test_many(self) -> None:
        """Many puppets are restored some at a time, and all within seconds; nobody is put out."""
        count = 50
        for number in range(count):
            self.site.join(ROOM, f"u{number}", f"u{number}@elsewhere.example/u")
        self.forget(*(rf"u{number}\40elsewhere.example@{COMPONENT}/u{number}" for number in range(0, count, 2)))
        self.site.crossed.clear()
        found = self.site.connect(COMPONENT)
        counts = [len([each for each in self.sent() if each.startswith("iq ")])]
        for _ in range(20):
            found += self.site.tick(1)
            counts.append(len([each for each in self.sent() if each.startswith("iq ") and " get" in each]))
        self.assertLessEqual(max(counts), 20)
        self.assertEqual(sum(counts), count + 2)
        self.assertEqual([each for each in self.quiet(found) if not each.startswith(f"presence {SOURCE}")], [])
        self.assertEqual(len(self.site.wires[SERVICE].rooms.rooms[SOURCE].occupants), count + 4)

    def test_kickedMeanwhile(self) -> None:
        """A puppet that is kicked while it waits for its turn does not come back."""
        for number in range(30):
            self.site.join(ROOM, f"u{number}", f"u{number}@elsewhere.example/u")
        self.site.connect(COMPONENT)
        self.site.ask(SOURCE, ANN, admin("u29"), "set")
        shown = [each for _ in range(30) for each in self.site.tick(1)]
        self.assertEqual([each for each in shown if "/u29 " in each], [])
        self.assertNotIn("u29", self.site.wires[COMPONENT].room(ROOM).occupants)
