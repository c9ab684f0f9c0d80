"""
Whole stanzas between rooms of the gateway and the ordinary rooms behind them, as Prosody (0.12 and 13) and ejabberd
(23 and 26) write theirs.
"""

from __future__ import annotations

from xml.etree import ElementTree

from gateway import ns
from gateway.errors import NoHandler, NoSuchAddress
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SOURCE, backed
from tests.fmuc.support import MUC, RoomCase, refused
from tests.fmuc.wire import fmuc, seedJoin

BOB, CAROL = "bob@north-users.example/b", "carol@users.example/c"
BOBS, CAROLS = rf"bob\40north-users.example@{COMPONENT}/bob", rf"carol\40users.example@{COMPONENT}/carol"
DAN, DANS = "dan@users.example/d", rf"dan\40users.example@{COMPONENT}/dan"
USER = f"xmlns='{ns.MUC_USER}'"
ITEM = f"<x {USER}><item affiliation='none' role='participant'/></x>"
CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"
DELAY = f"<delay xmlns='{ns.DELAY}' from='{SOURCE}' stamp='2026-11-30T04:53:35Z'/>"


def presence(to: str, nick: str, inside: str = ITEM, kind: str = "") -> str:
    """Return a presence of the ordinary room."""
    return f"<presence from='{SOURCE}/{nick}' to='{to}'{kind and f' type={kind!r}'}>{inside}</presence>"


def own(to: str, nick: str, standing: str = "affiliation='none' role='participant'", codes: str = "110") -> str:
    """Return a puppet's own presence."""
    status = "".join(f"<status code='{code}'/>" for code in codes.split())
    return presence(to, nick, f"<x {USER}><item {standing} jid='{to}'/>{status}</x>")


def error(condition: str) -> str:
    """Return the content of an error."""
    return f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"


def leaveOf(address: str, nick: str) -> str:
    """Return the leave of a puppet."""
    return f"<presence from='{address}' to='{SOURCE}/{nick}' type='unavailable'/>"


def message(to: str, nick: str, inside: str, kind: str = "groupchat") -> str:
    """Return a message of the ordinary room."""
    sender = f"{SOURCE}/{nick}" if nick else SOURCE
    return f"<message from='{sender}' to='{to}' type='{kind}' id='m'>{inside}</message>"


class BackedCase(RoomCase):
    """An ordinary room; Bob is in by the ProtoXEP, and Carol directly."""

    def setUp(self) -> None:
        self.wire = backed(isStored=False)
        self.wire.link.ready = True

    def take(self, xml: str) -> bytes:
        """Return what the rooms send."""
        return self.wire.settled(xml)

    def enter(self) -> None:
        """Let Bob, by the ProtoXEP, and then Carol, directly, join; the ordinary room answers."""
        self.take(seedJoin(ROOM, "bob", NORTH, BOB))
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol'>{MUC}</presence>")
        self.take(presence(BOBS, "carol") + own(CAROLS, "carol") + message(CAROLS, "", "<subject/>"))


class StanzaTests(BackedCase):
    """Stanzas that are received, and all that are sent because of them."""

    def test_first(self) -> None:
        """XEP-0045 section 7.2: the first join asks for the whole history, with password, presence and status."""
        self.assertSent(
            self.take(
                f"<presence from='{CAROL}' to='{ROOM}/carol' id='j' xml:lang='en'>"
                f"<x xmlns='{ns.MUC}'><history maxstanzas='0'/><password>open</password></x>"
                f"<status>here</status>{CAPS}</presence>"
            ),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol' xml:lang='en'>"
            f"<x xmlns='{ns.MUC}'><password>open</password></x><status>here</status>{CAPS}</presence>",
        )
        # ejabberd sends the room's own presence first; Prosody names the occupants' ids.
        answer = f"<presence from='{SOURCE}' to='{CAROLS}' id='1'>{CAPS}</presence>"
        answer += presence(CAROLS, "ann", f"<x {USER}><item affiliation='owner' role='moderator'/></x>{CAPS}")
        answer += own(CAROLS, "carol")
        given = f"<stanza-id xmlns='{ns.SID}' by='{SOURCE}' id='s'/>"
        answer += message(CAROLS, "ann", f"<body>When</body>{DELAY}{given}")
        self.assertSent(self.take(answer))
        self.assertSent(
            self.take(message(CAROLS, "ann", f"<subject>Heath</subject>{DELAY}")),
            f"<presence from='{ROOM}/ann' to='{CAROL}'><x {USER}><item affiliation='owner' role='moderator'/></x>"
            f"{CAPS}</presence>",
            f"<presence from='{ROOM}/carol' to='{CAROL}' id='j' xml:lang='en'><x {USER}>"
            "<item affiliation='none' role='participant'/><status code='110'/></x>"
            f"<status>here</status>{CAPS}</presence>",
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><subject>Heath</subject>"
            f"{DELAY.replace(SOURCE, ROOM)}</message>",
        )

    def test_further(self) -> None:
        """A further join asks for no history: the mirror has it. The listener's copies of it are not shown."""
        self.take(seedJoin(ROOM, "bob", NORTH, BOB))
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.assertSent(
            self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>"),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol'>"
            f"<x xmlns='{ns.MUC}'><history maxstanzas='0'/></x></presence>",
        )
        self.assertSent(self.take(presence(BOBS, "carol") + presence(CAROLS, "bob")))
        self.assertSent(
            self.take(own(CAROLS, "carol")),
            f"<presence from='{ROOM}/carol' to='{NORTH}'>{ITEM}</presence>",
            f"<presence from='{ROOM}/bob' to='{CAROL}'>{ITEM}</presence>",
            f"<presence from='{ROOM}/carol' to='{CAROL}' id='j'><x {USER}>"
            "<item affiliation='none' role='participant'/><status code='110'/></x></presence>",
            f"<message from='{ROOM}' to='{CAROL}' type='groupchat' id='m'><subject/></message>",
        )
        self.assertSent(self.take(message(CAROLS, "", "<subject/>")))

    def test_open(self) -> None:
        """Section 7.2.4: a room that shows real JIDs to all says so by 100, after the other occupants."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        ann = f"<x {USER}><item affiliation='owner' role='moderator' jid='ann@local.example/a'/></x>"
        self.assertSent(
            self.take(
                presence(CAROLS, "ann", ann)
                + own(CAROLS, "carol", codes="100 110")
                + message(CAROLS, "", "<subject/>")
            ),
            f"<presence from='{ROOM}/ann' to='{CAROL}'>{ann}</presence>",
            f"<presence from='{ROOM}/carol' to='{CAROL}' id='j'><x {USER}>"
            f"<item affiliation='none' role='participant' jid='{CAROL}'/><status code='100'/>"
            "<status code='110'/></x></presence>",
            f"<message from='{ROOM}' to='{CAROL}' type='groupchat' id='m'><subject/></message>",
        )

    def test_seed(self) -> None:
        """The ProtoXEP's join, and the answer in its own words."""
        self.assertSent(
            self.take(seedJoin(ROOM, "bob", NORTH, BOB)),
            f"<presence from='{BOBS}' to='{SOURCE}/bob'>{MUC}</presence>",
        )
        self.assertSent(
            self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>")),
            f"<presence from='{ROOM}/bob' to='{NORTH}'>{ITEM}</presence>",
            f"<message from='{ROOM}' to='{NORTH}' type='groupchat' id='m'><subject/></message>",
        )

    def test_isode(self) -> None:
        """The same by XEP-0289."""
        join = (
            f"<presence from='{NORTH}/bob' to='{ROOM}/bob'>{fmuc(BOB, '<replica/>')}{MUC}"
            f"<x {USER}><item affiliation='none' role='participant' jid='{BOB}'/></x></presence>"
        )
        self.assertSent(self.take(join), f"<presence from='{BOBS}' to='{SOURCE}/bob'>{MUC}</presence>")
        self.assertSent(
            self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>")),
            f"<presence from='{ROOM}/bob' to='{NORTH}'>{fmuc(BOB, '<replica/>')}{ITEM}</presence>",
            f"<message from='{ROOM}' to='{NORTH}' type='groupchat' id='m'>"
            f"<fmuc xmlns='{ns.FMUC}'/><subject/></message>",
        )

    def test_talk(self) -> None:
        """Section 7.4: a message goes up as the user's puppet's, with its id, and comes back once."""
        self.enter()
        self.assertSent(
            self.take(f"<message from='{CAROL}' to='{ROOM}' type='groupchat' id='m'><body>Hail</body></message>"),
            f"<message from='{CAROLS}' to='{SOURCE}' type='groupchat' id='m'><body>Hail</body></message>",
        )
        hail = "<body>Hail</body>"
        self.assertSent(
            self.take(message(BOBS, "carol", hail) + message(CAROLS, "carol", hail)),
            f"<message from='{ROOM}/carol' to='{NORTH}' type='groupchat' id='m'>{hail}</message>",
            f"<message from='{ROOM}/carol' to='{CAROL}' type='groupchat' id='m'>{hail}</message>",
        )

    def test_disguise(self) -> None:
        """Elements of federation that an occupant of the ordinary room writes are left out."""
        self.enter()
        left = f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc><r xmlns='{ns.CHANNEL}' n='1 1 1'/>"
        left += f"<echo xmlns='{ns.RESUME}' d='x'/><resume xmlns='{ns.RESUME}' first='true'/>"
        self.assertSent(
            self.take(message(BOBS, "ann", f"<body>x</body>{left}{DELAY}")),
            f"<message from='{ROOM}/ann' to='{NORTH}' type='groupchat' id='m'><body>x</body></message>",
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>x</body></message>",
        )
        self.assertSent(
            self.take(presence(BOBS, "ann", ITEM + left)),
            f"<presence from='{ROOM}/ann' to='{NORTH}'>{ITEM}</presence>",
            f"<presence from='{ROOM}/ann' to='{CAROL}'>{ITEM}</presence>",
        )

    def test_subject(self) -> None:
        """Section 8.1: a subject, in both directions."""
        self.enter()
        subject = "<subject>Cauldron</subject>"
        self.assertSent(
            self.take(f"<message from='{CAROL}' to='{ROOM}' type='groupchat' id='m'>{subject}</message>"),
            f"<message from='{CAROLS}' to='{SOURCE}' type='groupchat' id='m'>{subject}</message>",
        )
        self.assertSent(
            self.take(message(BOBS, "carol", subject) + message(CAROLS, "carol", subject)),
            f"<message from='{ROOM}/carol' to='{NORTH}' type='groupchat' id='m'>{subject}</message>",
            f"<message from='{ROOM}/carol' to='{CAROL}' type='groupchat' id='m'>{subject}</message>",
        )

    def test_private(self) -> None:
        """Section 7.5: private messages, and their errors, in both directions."""
        self.enter()
        self.take(presence(BOBS, "ann"))
        body, mark = "<body>psst</body>", f"<x {USER}/>"
        self.assertSent(
            self.take(f"<message from='{CAROL}' to='{ROOM}/ann' type='chat' id='p'>{body}</message>"),
            f"<message from='{CAROLS}' to='{SOURCE}/ann' type='chat' id='p'>{mark}{body}</message>",
        )
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertSent(
            self.take(f"<message from='{SOURCE}/ann' to='{CAROLS}' type='error' id='p'>{error}</message>"),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='error' id='p'>{error}</message>",
        )
        self.assertSent(
            self.take(message(CAROLS, "ann", body + mark, "chat")),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='chat' id='m'>{mark}{body}</message>",
        )
        self.assertSent(
            self.take(message(BOBS, "ann", body + mark, "chat")),
            f"<message from='{ROOM}/ann' to='{NORTH}/bob' type='chat' id='m'>{body}</message>",
        )
        self.assertSent(
            self.take(f"<message from='{NORTH}/bob' to='{ROOM}/ann' type='error' id='p'>{error}</message>"),
            f"<message from='{BOBS}' to='{SOURCE}/ann' type='error' id='p'>{error}</message>",
        )

    def test_refusals(self) -> None:
        """Each refusal comes back as it is, to the user who has asked (section 7.2), and no other."""
        self.enter()
        for kind, condition in (
            ("auth", "forbidden"),
            ("auth", "not-authorized"),
            ("auth", "registration-required"),
            ("cancel", "conflict"),
            ("cancel", "item-not-found"),
            ("cancel", "not-allowed"),
            ("cancel", "not-acceptable"),
            ("wait", "service-unavailable"),
            ("modify", "jid-malformed"),
            ("cancel", "gone"),
        ):
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>why</text>"
            error = f"<error type='{kind}'><{condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"
            address = rf"dan\40users.example@{COMPONENT}/dan"
            self.assertSent(
                self.take(f"<presence from='dan@users.example/d' to='{ROOM}/dan' id='j'>{MUC}</presence>"),
                f"<presence from='{address}' to='{SOURCE}/dan'>"
                f"<x xmlns='{ns.MUC}'><history maxstanzas='0'/></x></presence>",
            )
            self.assertSent(
                self.take(presence(address, "dan", f"{MUC}{error}", "error")),
                f"<presence from='{ROOM}/dan' to='dan@users.example/d' type='error' id='j'>{MUC}{error}</presence>",
            )
            eve = rf"eve\40north-users.example@{COMPONENT}/eve"
            self.take(seedJoin(ROOM, "eve", NORTH, "eve@north-users.example/e"))
            self.assertSent(
                self.take(presence(eve, "eve", f"{MUC}{error}", "error")),
                f"<presence from='{ROOM}' to='{NORTH}/eve' type='error'>{MUC}{error}</presence>",
            )

    def test_conflict(self) -> None:
        """
        A nick that a local user takes while a join by it is on its way: the listener's copy waits for the answer.
        """
        self.enter()
        self.take(f"<presence from='dan@users.example/d' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertSent(self.take(presence(BOBS, "dan", ITEM + CAPS)))
        error = f"<error type='cancel'><conflict xmlns='{ns.STANZA_ERRORS}'/></error>"
        address = rf"dan\40users.example@{COMPONENT}/dan"
        self.assertSent(
            self.take(presence(address, "dan", error, "error")),
            f"<presence from='{ROOM}/dan' to='dan@users.example/d' type='error' id='j'>{MUC}{error}</presence>",
            f"<presence from='{ROOM}/dan' to='{NORTH}'>{ITEM}{CAPS}</presence>",
            f"<presence from='{ROOM}/dan' to='{CAROL}'>{ITEM}{CAPS}</presence>",
        )

    def test_renamed(self) -> None:
        """Section 7.2.3: the room gives another nick (210), which a mirror cannot show: the join is refused."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        text = "The room gives you another nick: join as caroline."
        error = (
            f"<error type='cancel'><conflict xmlns='{ns.STANZA_ERRORS}'/>"
            f"<text xmlns='{ns.STANZA_ERRORS}'>{text}</text></error>"
        )
        self.assertSent(
            self.take(own(CAROLS, "caroline", codes="110 210")),
            f"<presence from='{CAROLS}' to='{SOURCE}/caroline' type='unavailable'/>",
            f"<presence from='{ROOM}/carol' to='{CAROL}' type='error' id='j'>{MUC}{error}</presence>",
        )

    def test_kick(self) -> None:
        """Section 8.2: codes, actor and reason; the copies of the others are left out."""
        self.enter()
        item = "<item affiliation='none' role='none'><actor nick='ann'/><reason>go</reason></item>"
        kicked = f"<x {USER}>{item}<status code='307'/></x>"
        self.assertSent(
            self.take(
                presence(CAROLS, "bob", kicked, "unavailable")
                + presence(BOBS, "bob", kicked.replace("<status", "<status code='110'/><status"), "unavailable")
            ),
            f"<presence from='{ROOM}/bob' to='{NORTH}' type='unavailable'>{kicked}</presence>",
            f"<presence from='{ROOM}/bob' to='{CAROL}' type='unavailable'>{kicked}</presence>",
        )
        # Carol listens now.
        self.assertSent(
            self.take(message(CAROLS, "ann", "<body>so</body>")),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>so</body></message>",
        )

    def test_configured(self) -> None:
        """Section 10.2.1: codes of a new configuration; after 172 the real JIDs are shown."""
        self.enter()
        told = f"<x {USER}><status code='104'/><status code='172'/></x>"
        self.assertSent(
            self.take(message(BOBS, "", told) + message(CAROLS, "", told)),
            f"<message from='{ROOM}' to='{NORTH}' type='groupchat' id='m'>{told}</message>",
            f"<message from='{ROOM}' to='{CAROL}' type='groupchat' id='m'>{told}</message>",
        )
        jid = "ann@local.example/a"
        shown = f"<x {USER}><item affiliation='owner' role='moderator' jid='{jid}'/></x>"
        self.assertSent(
            self.take(presence(BOBS, "ann", shown)),
            f"<presence from='{ROOM}/ann' to='{NORTH}'>{shown}</presence>",
            f"<presence from='{ROOM}/ann' to='{CAROL}'>{shown}</presence>",
        )

    def test_moderator(self) -> None:
        """A moderator's puppet sees real JIDs in a semi-anonymous room; they are not shown to all."""
        self.enter()
        moderator = "<item affiliation='none' role='moderator'/>"
        self.take(
            presence(BOBS, "bob", f"<x {USER}>{moderator}<status code='110'/></x>")
            + presence(CAROLS, "bob", f"<x {USER}>{moderator}</x>")
        )
        shown = f"<x {USER}><item affiliation='owner' role='moderator' jid='ann@local.example/a'/></x>"
        hidden = f"<x {USER}><item affiliation='owner' role='moderator'/></x>"
        self.assertSent(
            self.take(presence(BOBS, "ann", shown)),
            f"<presence from='{ROOM}/ann' to='{NORTH}'>{hidden}</presence>",
            f"<presence from='{ROOM}/ann' to='{CAROL}'>{hidden}</presence>",
        )

    def test_invitations(self) -> None:
        """Section 7.8.2: the ordinary room invites; it tells a decline."""
        self.enter()
        invite = f"<x {USER}><invite to='eve@users.example'><reason>come</reason></invite></x>"
        [sent] = self.wire.elements(f"<message from='{CAROL}' to='{ROOM}' id='i'>{invite}</message>")
        self.assertEqual((sent.get("from"), sent.get("to")), (CAROLS, SOURCE))
        self.assertEqual([each.get("to") for each in sent.iter(f"{{{ns.MUC_USER}}}invite")], ["eve@users.example"])
        self.take(f"<message from='{NORTH}/bob' to='{ROOM}'>{invite}</message>")
        decline = f"<x {USER}><decline from='eve@users.example'><reason>no</reason></decline></x>"
        self.assertSent(
            self.take(f"<message from='{SOURCE}' to='{CAROLS}'>{decline}</message>"),
            f"<message from='{ROOM}' to='{CAROL}'>{decline}</message>",
        )

    def test_inquiry(self) -> None:
        """A mirror's question whether its user may invite gets the answer of other software."""
        self.enter()
        invites = f"<x {USER}><invite to='eve@users.example'/></x>"
        self.assertSent(
            self.take(f"<iq from='{NORTH}/bob' to='{ROOM}' type='set' id='i'>{invites}</iq>"),
            refused("iq", ROOM, f"{NORTH}/bob", NoHandler, "id='i' "),
        )

    def test_administration(self) -> None:
        """Section 9: a user is named by the puppet; other users, and requests by nick, are as they are."""
        self.enter()
        self.assertSent(
            self.take(
                f"<iq from='{CAROL}' to='{ROOM}' type='set' id='a'><query xmlns='{ns.MUC_ADMIN}'>"
                "<item jid='BOB@north-users.example/x' affiliation='outcast'><reason>spam</reason></item>"
                "<item jid='eve@users.example' affiliation='member'/></query></iq>"
            ),
            f"<iq from='{CAROLS}' to='{SOURCE}' type='set' id='a'><query xmlns='{ns.MUC_ADMIN}'>"
            f"<item jid='{BOBS.partition('/')[0]}' affiliation='outcast'><reason>spam</reason></item>"
            "<item jid='eve@users.example' affiliation='member'/></query></iq>",
        )
        self.assertSent(
            self.take(f"<iq from='{SOURCE}' to='{CAROLS}' type='result' id='a'/>"),
            f"<iq from='{ROOM}' to='{CAROL}' type='result' id='a'/>",
        )
        kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='bob' role='none'/></query>"
        self.assertSent(
            self.take(f"<iq from='{CAROL}' to='{ROOM}' type='set' id='b'>{kick}</iq>"),
            f"<iq from='{CAROLS}' to='{SOURCE}' type='set' id='b'>{kick}</iq>",
        )

    def test_pings(self) -> None:
        """XEP-0410: servers that forward self-pings, and rooms that ask their occupants, are answered."""
        self.enter()
        ping = f"<ping xmlns='{ns.PING}'/>"
        for sender in (f"{SOURCE}/carol", SOURCE):
            self.assertSent(
                self.take(f"<iq from='{sender}' to='{CAROLS}' type='get' id='p'>{ping}</iq>"),
                f"<iq from='{CAROLS}' to='{sender}' type='result' id='p'/>",
            )
        self.assertSent(
            self.take(f"<iq from='{SOURCE}' to='{CAROLS}' type='get' id='p'><query xmlns='jabber:iq:last'/></iq>"),
            refused("iq", CAROLS, SOURCE, NoHandler, "id='p' "),
        )

    def test_ghosts(self) -> None:
        """A puppet that nobody needs is taken out, once a minute; other addresses get nothing."""
        ghost = rf"old\40users.example@{COMPONENT}/old"
        leave = f"<presence from='{ghost}' to='{SOURCE}/old' type='unavailable'/>"
        self.assertSent(self.take(message(ghost, "ann", "<body>x</body>") * 2), leave)
        self.assertSent(self.take(presence(ghost, "ann")))
        self.wire.tickBytes(61)
        self.assertSent(self.take(presence(ghost, "ann")), leave)
        for recipient in (ROOM, f"{ROOM}/ann", COMPONENT, f"ann@{COMPONENT}/ann"):
            self.assertSent(self.take(message(recipient, "ann", "<body>x</body>") + presence(recipient, "ann")))
        self.assertSent(self.take(presence(ghost, "old", ITEM, "unavailable")))

    def test_manyGhosts(self) -> None:
        """No more than a thousand of them are remembered."""
        for number in (*range(1001), 0):
            address = rf"u{number}\40users.example@{COMPONENT}/u"
            self.assertSent(self.take(message(address, "ann", "<body>x</body>")), leaveOf(address, "u"))
        self.assertSent(self.take(message(address, "ann", "<body>x</body>")))

    def test_ghostAgain(self) -> None:
        """The user joins again within that minute, which is refused; the ordinary room has admitted them though."""
        self.take(message(DANS, "ann", "<body>x</body>"))
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.take(presence(DANS, "dan", error("not-allowed"), "error"))
        self.assertSent(self.take(message(DANS, "ann", "<body>x</body>")), leaveOf(DANS, "dan"))

    def test_unreadable(self) -> None:
        """A stanza that cannot be read is dropped, and counted; the others are not affected."""
        self.enter()
        wrong = f"<x {USER}><item affiliation='king' role='participant'/></x>"
        self.assertSent(self.take(presence(BOBS, "ann", wrong)))
        self.assertEqual(sum(self.wire.handler.dropped.values()), 1)


    def test_account(self) -> None:
        """
        Rooms send requests for vCards to the bare JID: the answer comes from there, also an error, and with two
        nicks of one user. Requests to the full JID are others. An account that is in no room is not asked.
        """
        self.enter()
        self.take(presence(BOBS, "ann"))
        again = CAROLS.replace("/carol", "/caro")
        self.take(f"<presence from='{CAROL}2' to='{ROOM}/caro'>{MUC}</presence>")
        self.take(own(again, "caro"))
        account, card = CAROLS.partition("/")[0], f"<vCard xmlns='{ns.VCARD}'/>"
        for leaving, asked in (("", "carol"), (CAROL, "caro")):
            if leaving:
                self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
                self.take(presence(CAROLS, "carol", kind="unavailable"))
            for kind, inside in (("result", card), ("error", error("item-not-found"))):
                self.assertSent(
                    self.take(f"<iq from='{SOURCE}/ann' to='{account}' id='q' type='get'>{card}</iq>"),
                    f"<iq from='{ROOM}/ann' to='carol@users.example' id='q' type='get'>{card}</iq>",
                )
                self.assertSent(
                    self.take(
                        f"<iq from='carol@users.example' to='{ROOM}/ann' id='q' type='{kind}'>{inside}</iq>"
                    ),
                    f"<iq from='{account}' to='{SOURCE}/ann' id='q' type='{kind}'>{inside}</iq>",
                )
            full = f"{account}/{asked}"
            ping = f"<query xmlns='{ns.VERSION}'/>"
            device = CAROL + ("2" if leaving else "")
            self.assertSent(
                self.take(f"<iq from='{SOURCE}/ann' to='{full}' id='q' type='get'>{ping}</iq>"),
                f"<iq from='{ROOM}/ann' to='{device}' id='q' type='get'>{ping}</iq>",
            )
            self.assertSent(
                self.take(f"<iq from='{device}' to='{ROOM}/ann' id='q' type='result'/>"),
                f"<iq from='{full}' to='{SOURCE}/ann' id='q' type='result'/>",
            )
        stranger = DANS.partition("/")[0]
        self.assertSent(
            self.take(f"<iq from='{SOURCE}/ann' to='{stranger}' id='q' type='get'>{card}</iq>"),
            refused("iq", stranger, f"{SOURCE}/ann", NoSuchAddress, "id='q' "),
        )


class ArchiveCase(RoomCase):
    """Carol's puppet, which is alone, has joined again, and has asked the archive for what was missed."""

    def setUp(self) -> None:
        self.wire = backed(isStored=False)
        self.wire.link.ready = True
        self.wire.settled(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.wire.settled(own(CAROLS, "carol") + message(CAROLS, "", "<subject/>"))
        self.wire.settled(message(CAROLS, "ann", f"<body>known</body>{self.given('k')}"))
        self.wire.handler.connectionInitialized()
        since = "<history since='1970-01-12T13:45:40Z'/>"
        self.assertSent(
            self.wire.settled(),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol'><x xmlns='{ns.MUC}'>{since}</x></presence>",
        )
        [asked] = self.wire.elements(own(CAROLS, "carol"))
        self.query = asked.get("id", "")
        self.assertSent(ElementTree.tostring(asked), self.asked())

    def asked(self, after: str = "k") -> str:
        """Return the query of a page."""
        page = f"<set xmlns='{ns.RSM}'><max>100</max><after>{after}</after></set>"
        return (
            f"<iq from='{CAROLS}' to='{SOURCE}' type='set' id='{self.query}'>"
            f"<query xmlns='{ns.MAM}' queryid='{self.query}'>{page}</query></iq>"
        )

    @staticmethod
    def given(identifier: str) -> str:
        """Return a stanza id of the ordinary room."""
        return f"<stanza-id xmlns='{ns.SID}' by='{SOURCE}' id='{identifier}'/>"

    def result(self, body: str, sender: str = SOURCE, inside: str = "") -> str:
        """Return a message of the archive; its id there is its body."""
        content = inside or f"<body>{body}</body>"
        stanza = (
            f"<message xmlns='jabber:client' from='{SOURCE}/ann' type='groupchat' id='{body}' xml:lang='en'>"
            f"<x {USER}><item affiliation='none' jid='ann@local.example/a' role='participant'/></x>"
            f"{content}</message>"
        )
        delay = f"<delay xmlns='{ns.DELAY}' stamp='2026-11-30T04:53:35Z'/>"
        forwarded = f"<forwarded xmlns='{ns.FORWARD}'>{delay}{stanza}</forwarded>"
        return (
            f"<message from='{sender}' to='{CAROLS}'>"
            f"<result xmlns='{ns.MAM}' queryid='{self.query}' id='{body}'>{forwarded}</result></message>"
        )

    def fin(self, last: str, isComplete: bool = True) -> str:
        """Return the end of a page."""
        complete = " complete='true'" if isComplete else ""
        page = f"<set xmlns='{ns.RSM}'>{last and f'<last>{last}</last>'}</set>"
        return (
            f"<iq from='{SOURCE}' to='{CAROLS}' type='result' id='{self.query}'>"
            f"<fin xmlns='{ns.MAM}'{complete}>{page}</fin></iq>"
        )

    def history(self, body: str, identifier: str = "") -> str:
        """Return a message of the history."""
        return message(CAROLS, "ann", f"<body>{body}</body>{DELAY}{self.given(identifier or body)}")

    def shown(self, *bodies: str) -> list[str]:
        """Return messages that were missed, as Carol gets them."""
        delay = DELAY.replace(SOURCE, ROOM)
        return [
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='{body}' xml:lang='en'>"
            f"<body>{body}</body>{delay}</message>"
            for body in bodies
        ]


class ArchiveTests(ArchiveCase):
    """XEP-0313: the archive of an ordinary room tells what was missed."""

    def test_complete(self) -> None:
        """
        The archive has more than the history, whose messages have no ids in ejabberd; new messages follow, and
        nothing comes twice.
        """
        subject, live = message(CAROLS, "", "<subject/>"), "<body>live</body>"
        heard = message(CAROLS, "ann", f"<body>3</body>{DELAY}") + subject
        heard += message(CAROLS, "ann", f"<body>4</body>{self.given('4')}") + message(CAROLS, "ann", live)
        self.assertSent(self.wire.settled(heard))
        results = "".join(map(self.result, ("k", "1", "2", "3", "4")))
        self.assertSent(self.wire.settled(results))
        self.assertSent(
            self.wire.settled(self.fin("4")),
            *self.shown("1", "2", "3", "4"),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'>{live}</message>",
        )
        self.assertSent(
            self.wire.settled(message(CAROLS, "ann", "<body>5</body>")),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>5</body></message>",
        )

    def test_pages(self) -> None:
        """A long archive comes in pages; the subject waits for the last one."""
        self.wire.settled(message(CAROLS, "", "<subject/>") + self.result("1"))
        [asked] = self.wire.elements(self.fin("1", isComplete=False))
        self.query = asked.get("id", "")
        self.assertSent(ElementTree.tostring(asked), self.asked("1"))
        self.wire.settled(self.result("2"))
        self.assertSent(self.wire.settled(self.fin("2")), *self.shown("1", "2"))

    def test_endless(self) -> None:
        """An archive that always has a further page is left after some of them."""
        self.wire.settled(message(CAROLS, "", "<subject/>"))
        count = 1
        while found := self.wire.elements(self.result(f"r{count}") + self.fin(f"r{count}", isComplete=False)):
            if found[0].tag.endswith("}message"):
                break
            self.query, count = found[0].get("id", ""), count + 1
        self.assertEqual(count, 10)
        self.assertEqual(len(found), 10)

    def test_none(self) -> None:
        """A room without an archive, and one that does not answer: the history is taken."""
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        heard = self.history("1") + message(CAROLS, "", "<subject/>")
        expected = self.shown("1")[0].replace(" xml:lang='en'", "").replace("id='1'", "id='m'")
        self.wire.settled(heard)
        self.assertSent(
            self.wire.settled(f"<iq from='{SOURCE}' to='{CAROLS}' type='error' id='{self.query}'>{error}</iq>"),
            expected,
        )
        self.setUp()
        self.wire.settled(heard)
        self.assertSent(self.wire.tickBytes(3))
        self.assertSent(self.wire.tickBytes(2), expected)

    def test_forged(self) -> None:
        """Results of an occupant, of another query, and unreadable ones are no results; nor is a subject."""
        self.wire.settled(message(CAROLS, "", "<subject/>"))
        subject = self.result("s", inside="<subject>old</subject>")
        self.wire.settled(self.result("1", f"{SOURCE}/ann") + self.result("2").replace("queryid='", "queryid='x"))
        self.wire.settled(self.result("3").replace("stamp='2026", "stamp='x") + subject)
        other = self.result("4").replace(f"from='{SOURCE}/ann'", "from='other@example/ann'")
        self.assertSent(self.wire.settled(other))
        self.assertSent(self.wire.settled(self.fin("4")))

    def test_left(self) -> None:
        """The listener leaves before the end: another one joins anew later, and nothing waits for the archive."""
        self.wire.settled(message(CAROLS, "", "<subject/>") + message(CAROLS, "ann", "<body>x</body>"))
        gone = f"<x {USER}><item affiliation='none' role='none'/><status code='307'/><status code='110'/></x>"
        sent = self.wire.settled(presence(CAROLS, "carol", gone, "unavailable"))
        self.assertIn(b"<body>x</body>", sent)
        self.assertIn(b"<status code='307'/>", sent)
