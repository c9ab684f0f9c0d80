"""Openfire as the joining node: its room mirrors one of the gateway. Openfire's half is recorded traffic."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    ERRORS,
    BadRequest,
    Banned,
    GatewayError,
    Loop,
    NickInUse,
    NotAPeer,
    NotPrivate,
    NoVoice,
)
from gateway.fmuc.nodes import JoiningNode
from tests.fmuc.openfire import MUC, PHOTO, Openfire, fmuc, item
from tests.fmuc.support import RoomCase, mirror, refused, rooms

ROOM, THERE = "lobby@rooms.localhost", "outmm@conference.localhost"
ANN, TOM = "ann@localhost/gw", "tom@localhost/gw"
NICKS = ("bob", "carol", "dave", "erin", "adm")
THEIRS = {nick: f"{nick}@localhost/of" for nick in NICKS}
BODY = "<body>%s</body>"


def reason(error: type[GatewayError]) -> str:
    """Return the text of an error."""
    return ERRORS[error].text or ERRORS[error].condition


class OpenfireCase(RoomCase):
    """Ann owns the gateway's room, and Tom is in it; Bob joins Openfire's room, the first one."""

    def setUp(self) -> None:
        self.service = rooms("rooms.localhost", "conference.localhost", administrators="")
        self.openfire = Openfire(THERE, ROOM, True, dict(THEIRS))
        self.join(ANN)
        self.join(TOM)
        self.answer = self.take(self.openfire.announced("bob"))
        self.take(self.openfire.presence("bob"))
        self.room = self.service.rooms.rooms[ROOM]

    def take(self, xml: str) -> bytes:
        return self.service.take(xml)

    def join(self, who: str) -> bytes:
        nick = who.partition("@")[0]
        return self.take(f"<presence from='{who}' to='{ROOM}/{nick}'>{MUC}</presence>")

    def administers(self, inside: str) -> bytes:
        """Ann administers the room."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'>{inside}</query>"
        return self.take(f"<iq from='{ANN}' to='{ROOM}' type='set' id='k'>{query}</iq>")

    def toOpenfire(self, sent: bytes) -> bytes:
        """Return the stanzas to Openfire among those that were sent."""
        found = [each + b">" for each in sent.split(b">") if each]
        stanza, kept = b"", []
        for each in found:
            stanza += each
            isEnd = each.startswith((b"</presence", b"</message", b"</iq")) or (
                each.startswith((b"<presence", b"<message", b"<iq")) and each.endswith(b"/>")
            )
            if isEnd:
                kept.append(stanza)
                stanza = b""
        return b"".join(each for each in kept if f" to='{THERE}".encode() in each.partition(b">")[0])

    def assertToOpenfire(self, sent: bytes, *expected: str) -> None:
        self.assertSent(self.toOpenfire(sent), *expected)

    def presence(self, nick: str, to: str, inside: str, kind: str = "") -> str:
        given = f" type='{kind}'" if kind else ""
        return f"<presence from='{ROOM}/{nick}' to='{to}'{given}>{inside}</presence>"

    def groupchat(self, nick: str, to: str, identifier: str, inside: str) -> str:
        return f"<message from='{ROOM}/{nick}' to='{to}' type='groupchat' id='{identifier}'>{inside}</message>"

    def removed(self, nick: str, error: type[GatewayError], real: str = "") -> str:
        """Return the rejection of a user whom Openfire has let in: it removes the user, and nobody else."""
        words = reason(error)
        kick = item("none", more=f"><reason>{words}</reason>|307")
        inside = fmuc(real or THEIRS[nick], f"<reject>{words}</reject>") + kick
        return self.presence(nick, THERE, inside, "unavailable")

    @property
    def occupants(self) -> list[str]:
        return sorted(self.room.occupants)


class JoinTests(OpenfireCase):
    """XEP-0289 section 6.1: joins, and their refusals."""

    def test_first(self) -> None:
        """The answer to the first join; the user's own presence follows, and is no other join."""
        self.assertToOpenfire(
            self.answer,
            self.presence("ann", THERE, fmuc(ANN) + item("moderator", "owner")),
            self.presence("tom", THERE, fmuc(TOM) + item()),
            self.presence("bob", THERE, fmuc(THEIRS["bob"]) + item()),
            f"<message from='{ROOM}' to='{THERE}' type='groupchat'>{fmuc()}<subject/></message>",
        )
        self.assertEqual(self.occupants, ["ann", "bob", "tom"])
        self.assertSent(
            self.take(self.openfire.presence("bob")),
            self.presence("bob", ANN, PHOTO + item(jid=THEIRS["bob"])),
            self.presence("bob", TOM, PHOTO + item()),
        )

    def test_second(self) -> None:
        """A further user: Openfire has shown the user already, so nothing crosses."""
        self.assertSent(
            self.take(self.openfire.announced("carol")),
            self.presence("carol", ANN, item(jid=THEIRS["carol"])),
            self.presence("carol", TOM, item()),
        )
        self.assertToOpenfire(self.take(self.openfire.presence("carol")))
        self.assertEqual(self.occupants, ["ann", "bob", "carol", "tom"])

    def test_withoutNick(self) -> None:
        """A join has a nick in its C{to}: the announcement to a bare JID makes nobody an occupant."""
        openfire = Openfire(THERE, ROOM, False, dict(THEIRS))
        self.assertSent(self.take(openfire.announced("carol")))
        self.assertEqual(self.occupants, ["ann", "bob", "tom"])

    def test_firstRefused(self) -> None:
        """
        Section 6.1: a first join is rejected as the specification has it, but without the user's JID: if Openfire
        counts as joined still, it would make an occupant without a nick. The next user's join is another first one.
        """
        service = rooms("rooms.localhost", "conference.localhost")
        service.take(f"<presence from='{ANN}' to='{ROOM}/ann'>{MUC}</presence>")
        ban = f"<query xmlns='{ns.MUC_ADMIN}'><item jid='dave@localhost' affiliation='outcast'/></query>"
        service.take(f"<iq from='{ANN}' to='{ROOM}' type='set' id='b1'>{ban}</iq>")
        words = reason(Banned)
        error = (
            f"<error type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/>"
            f"<text xmlns='{ns.STANZA_ERRORS}'>{words}</text></error>"
        )
        self.assertSent(
            service.take(self.openfire.announced("dave")),
            f"<presence from='{ROOM}' to='{THERE}/dave'>{fmuc('', f'<reject>{words}</reject>')}{error}</presence>",
        )
        self.assertSent(service.take(self.openfire.left("dave")))
        sent = service.take(self.openfire.joined("bob"))
        self.assertIn(b"<subject/>", self.toOpenfire(sent))
        # The nick of an occupant of the room.
        self.openfire.users["ann"] = "carol@localhost/of"
        sent = service.take(self.openfire.announced("ann"))
        self.assertSent(sent, self.removed("ann", NickInUse, "carol@localhost/of"))

    def test_notAPeer(self) -> None:
        """Section 6.1: the node itself is rejected."""
        service = rooms("rooms.localhost")
        self.assertSent(
            service.take(self.openfire.announced("bob")),
            f"<presence from='{ROOM}' to='{THERE}'>{fmuc('', f'<reject>{reason(NotAPeer)}</reject>')}</presence>",
        )

    def test_laterRefused(self) -> None:
        """
        A banned user joins after another: the user is removed by an unavailable presence, once for both presences
        of the join, and Openfire's room goes on.
        """
        self.take(self.openfire.joined("carol"))
        self.administers("<item jid='carol@localhost' affiliation='outcast'/>")
        self.take(self.openfire.left("carol"))
        for _ in range(2):
            self.assertSent(self.take(self.openfire.announced("carol")), self.removed("carol", Banned))
            self.assertSent(self.take(self.openfire.presence("carol")))
            # Openfire confirms it.
            self.assertSent(self.take(self.openfire.left("carol")))
        self.assertEqual(self.occupants, ["ann", "bob", "tom"])
        self.assertToOpenfire(
            self.take(f"<message from='{ANN}' to='{ROOM}' type='groupchat' id='m'>{BODY % 'x'}</message>"),
            self.groupchat("ann", THERE, "m", fmuc(ANN) + BODY % "x"),
        )
        # Openfire has not confirmed it yet, and the user tries again.
        self.take(self.openfire.announced("carol"))
        self.assertSent(self.take(self.openfire.announced("carol")), self.removed("carol", Banned))
        # The ban ends.
        self.administers("<item jid='carol@localhost' affiliation='none'/>")
        self.assertToOpenfire(self.take(self.openfire.joined("carol")))
        self.assertEqual(self.occupants, ["ann", "bob", "carol", "tom"])

    def test_manyRefused(self) -> None:
        """The number of refused users that are remembered is bounded."""
        node = self.service.rooms.node(ROOM, THERE)
        assert isinstance(node, JoiningNode)
        for number in range(150):
            self.openfire.users["ann"] = f"u{number}@localhost/of"
            self.take(self.openfire.announced("ann"))
            self.openfire.users[f"  {number}"] = f"v{number}@localhost/of"
            self.take(self.openfire.announced(f"  {number}"))
        self.assertEqual(len(node.refused), 100)

    def test_circular(self) -> None:
        """An Openfire room joins the mirror of itself, which has joined it: the loop is refused."""
        here = r"outmm\40conference.localhost@mirror.localhost"
        service = mirror("mirror.localhost", peers="conference.localhost")
        openfire = Openfire(THERE, here, True, dict(THEIRS))
        service.take(f"<presence from='{ANN}' to='{here}/ann'>{MUC}</presence>")
        words = reason(Loop)
        error = (
            f"<error type='cancel'><not-allowed xmlns='{ns.STANZA_ERRORS}'/>"
            f"<text xmlns='{ns.STANZA_ERRORS}'>{words}</text></error>"
        )
        self.assertSent(
            service.take(openfire.announced("carol")),
            f"<presence from='{here}' to='{THERE}/carol'>{fmuc('', f'<reject>{words}</reject>')}{error}</presence>",
        )


class TalkTests(OpenfireCase):
    """XEP-0289 sections 6.2 and 6.6."""

    def test_talk(self) -> None:
        """
        A message to the sender's nick is one for the room. It is not sent back (primary-primary), and that of the
        room's user crosses once.
        """
        self.take(self.openfire.joined("carol"))
        said = self.openfire.said("bob", "m2", BODY % "from below")
        self.assertSent(
            self.take(said), *(self.groupchat("bob", to, "m2", BODY % "from below") for to in (ANN, TOM))
        )
        said = f"<message from='{ANN}' to='{ROOM}' type='groupchat' id='m1'>{BODY % 'from above'}</message>"
        self.assertSent(
            self.take(said),
            *(self.groupchat("ann", to, "m1", BODY % "from above") for to in (ANN, TOM)),
            self.groupchat("ann", THERE, "m1", fmuc(ANN) + BODY % "from above"),
        )

    def test_subject(self) -> None:
        """The same for the subject (XEP-0045 section 8.1)."""
        subject = "<subject>topic by bob</subject>"
        shown = [self.groupchat("bob", to, "s3", subject) for to in (ANN, TOM)]
        self.assertSent(self.take(self.openfire.said("bob", "s3", subject)), *shown)
        subject = "<subject>topic by ann</subject>"
        sent = self.take(f"<message from='{ANN}' to='{ROOM}' type='groupchat' id='s2'>{subject}</message>")
        self.assertToOpenfire(sent, self.groupchat("ann", THERE, "s2", fmuc(ANN) + subject))

    def test_othersNick(self) -> None:
        """XEP-0045 section 7.5: a message of type groupchat to another occupant is a C{bad-request}."""
        said = self.openfire.said("bob", "m2", BODY % "x").replace(f"to='{ROOM}/bob'", f"to='{ROOM}/ann'")
        self.assertSent(
            self.take(said), refused("message", f"{ROOM}/ann", f"{THERE}/bob", BadRequest, "id='m2' ")
        )

    def test_private(self) -> None:
        """Openfire shows private messages to its whole room: they are refused, with the reason, or allowed."""
        private = f"<message from='{ANN}' to='{ROOM}/bob' type='chat' id='p2'>{BODY % 'psst'}</message>"
        refusal = refused("message", f"{ROOM}/bob", ANN, NotPrivate, "id='p2' ")
        self.assertSent(self.take(private), refusal)
        federation = self.service.rooms.federation(ROOM)
        assert federation is not None
        federation.exposesPrivate = True
        crossed = f"<message from='{ROOM}/ann' to='{THERE}/bob' type='chat' id='p2'>{fmuc(ANN)}{BODY % 'psst'}"
        self.assertSent(self.take(private), f"{crossed}</message>")

    def test_presence(self) -> None:
        """Changes of presence (section 6.3)."""
        shown = "<show>dnd</show><status>bob is busy</status>"
        self.assertSent(
            self.take(self.openfire.presence("bob", shown)),
            self.presence("bob", ANN, shown + PHOTO + item(jid=THEIRS["bob"])),
            self.presence("bob", TOM, shown + PHOTO + item()),
        )
        sent = self.take(f"<presence from='{ANN}' to='{ROOM}/ann'><show>away</show></presence>")
        away = fmuc(ANN) + "<show>away</show>" + item("moderator", "owner")
        self.assertToOpenfire(sent, self.presence("ann", THERE, away))

    def test_leave(self) -> None:
        """Section 6.4: the last user's leave ends the federation, and is confirmed."""
        self.take(self.openfire.joined("carol"))
        self.assertSent(
            self.take(self.openfire.left("carol")),
            self.presence("carol", ANN, item("none", jid=THEIRS["carol"]), "unavailable"),
            self.presence("carol", TOM, item("none"), "unavailable"),
        )
        sent = self.take(self.openfire.left("bob"))
        left = f"<presence from='{ROOM}' to='{THERE}'>{fmuc('', '<left/>')}</presence>"
        self.assertToOpenfire(sent, left)
        said = self.take(f"<message from='{ANN}' to='{ROOM}' type='groupchat'>{BODY % 'x'}</message>")
        self.assertToOpenfire(said)
        self.assertIn(b"<subject/>", self.toOpenfire(self.take(self.openfire.joined("bob"))))

    def test_nick(self) -> None:
        """
        XEP-0045 section 7.6: the nick changes, also that of the node's only user: the federation goes on. In the
        recording, the user left and joined.
        """
        self.assertSent(
            self.take(self.openfire.renamed("bob", "bob2")),
            self.presence("bob", ANN, item(jid=THEIRS["bob"], more=" nick='bob2'>|303"), "unavailable"),
            self.presence("bob", TOM, item(more=" nick='bob2'>|303"), "unavailable"),
            *[self.presence("bob2", ANN, PHOTO + item(jid=THEIRS["bob"]))] * 2,
            *[self.presence("bob2", TOM, PHOTO + item())] * 2,
        )
        said = self.openfire.said("bob2", "m", BODY % "x")
        self.assertSent(self.take(said), *(self.groupchat("bob2", to, "m", BODY % "x") for to in (ANN, TOM)))
        # A nick of the room's own: the user leaves it, and Openfire removes the other one.
        self.take(self.openfire.joined("carol"))
        sent = self.take(self.openfire.renamed("carol", "tom"))
        self.assertToOpenfire(sent, self.removed("tom", NickInUse, THEIRS["carol"]))
        self.assertEqual(self.occupants, ["ann", "bob2", "tom"])
        # The nick is free later, and the user changes to it.
        self.take(self.openfire.left("tom"))
        self.take(f"<presence from='{TOM}' to='{ROOM}/tom' type='unavailable'/>")
        self.take(self.openfire.joined("carol") + self.openfire.renamed("carol", "tom"))
        away = "<show>away</show>"
        sent = self.take(self.openfire.presence("tom", away))
        self.assertSent(sent, self.presence("tom", ANN, away + PHOTO + item(jid=THEIRS["carol"])))


class AdministrationTests(OpenfireCase):
    """XEP-0289 section 6.5, XEP-0045 sections 8 and 9."""

    def setUp(self) -> None:
        super().setUp()
        self.take(self.openfire.joined("dave"))

    def test_kick(self) -> None:
        """Ann kicks dave; Openfire's confirmation causes nothing, and its room goes on."""
        kick = item("none", more="><actor nick='ann'/><reason>enough</reason>|307")
        sent = self.administers("<item nick='dave' role='none'><reason>enough</reason></item>")
        inside = fmuc(THEIRS["dave"]) + PHOTO + kick
        self.assertToOpenfire(sent, self.presence("dave", THERE, inside, "unavailable"))
        self.assertSent(self.take(self.openfire.left("dave")))
        self.assertEqual(self.occupants, ["ann", "bob", "tom"])

    def test_ban(self) -> None:
        """The same for a ban, with 301."""
        sent = self.administers("<item jid='dave@localhost' affiliation='outcast'><reason>banned</reason></item>")
        kick = item("none", "outcast", more="><actor nick='ann'/><reason>banned</reason>|301")
        inside = fmuc(THEIRS["dave"]) + PHOTO + kick
        self.assertToOpenfire(sent, self.presence("dave", THERE, inside, "unavailable"))
        self.assertSent(self.take(self.openfire.left("dave")))

    def test_last(self) -> None:
        """The last user of Openfire is kicked: it has left the federation, and what it confirms causes nothing."""
        self.administers("<item nick='dave' role='none'/>")
        sent = self.administers("<item nick='bob' role='none'/>")
        kick = item("none", more="><actor nick='ann'/>|307")
        inside = fmuc(THEIRS["bob"]) + PHOTO + kick
        left = f"<presence from='{ROOM}' to='{THERE}'>{fmuc('', '<left/>')}</presence>"
        self.assertToOpenfire(sent, self.presence("bob", THERE, inside, "unavailable"), left)
        self.assertSent(self.take(self.openfire.left("dave") + self.openfire.left("bob")))

    def test_voice(self) -> None:
        """Openfire is told, and ignores it; so the message of a user without voice is returned to its sender."""
        sent = self.administers("<item nick='dave' role='visitor'/>")
        inside = fmuc(THEIRS["dave"]) + PHOTO + item("visitor", more="><actor nick='ann'/>|")
        self.assertToOpenfire(sent, self.presence("dave", THERE, inside))
        self.assertSent(
            self.take(self.openfire.said("dave", "m", BODY % "x")),
            refused("message", f"{ROOM}/dave", f"{THERE}/dave", NoVoice, "id='m' "),
        )

    def test_theirModerators(self) -> None:
        """
        A moderator of Openfire's room removes a user there: the user has left, not the moderator. The room's own
        users are not removed by it, and roles there are not taken over.
        """
        self.take(self.openfire.joined("adm"))
        sent = self.take(self.openfire.kicked(THEIRS["dave"], "adm"))
        self.assertToOpenfire(sent)
        reasoned = "><reason>enough</reason>|"
        self.assertSent(
            sent,
            self.presence("dave", ANN, PHOTO + item("none", jid=THEIRS["dave"], more=reasoned), "unavailable"),
            self.presence("dave", TOM, PHOTO + item("none", more=reasoned), "unavailable"),
        )
        self.assertSent(self.take(self.openfire.kicked(TOM, "adm") + self.openfire.banned(TOM, "adm")))
        self.assertSent(self.take(self.openfire.role(THEIRS["bob"], "moderator")))
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "tom"])


class ModeratorTests(OpenfireCase):
    """Openfire names its moderators in the items of their joins, as XEP-0289 section 6.1 has it."""

    def test_recognised(self) -> None:
        """A node of moderators alone is recognised when one of them speaks: to the own nick."""
        self.take(self.openfire.left("bob"))
        join = self.openfire.announced("adm")
        named = join.replace(item(), item("moderator", "owner", THEIRS["adm"]))
        self.assertNotEqual(named, join)
        self.take(named)
        node = self.service.rooms.node(ROOM, THERE)
        assert isinstance(node, JoiningNode)
        self.assertFalse(node.isOpenfire)
        self.take(self.openfire.said("adm", "m", BODY % "x"))
        self.assertTrue(node.isOpenfire)


class RestartTests(OpenfireCase):
    """Openfire is restarted, or the gateway."""

    def test_openfire(self) -> None:
        """Openfire has forgotten its users: the first one who joins again gets everything, the others are out."""
        self.take(self.openfire.joined("carol"))
        sent = self.take(self.openfire.announced("bob"))
        self.assertEqual(self.occupants, ["ann", "bob", "tom"])
        self.assertToOpenfire(
            sent,
            self.presence("ann", THERE, fmuc(ANN) + item("moderator", "owner")),
            self.presence("tom", THERE, fmuc(TOM) + item()),
            self.presence("bob", THERE, fmuc(THEIRS["bob"]) + item()),
            f"<message from='{ROOM}' to='{THERE}' type='groupchat'>{fmuc()}<subject/></message>",
        )
        self.assertToOpenfire(self.take(self.openfire.presence("bob")))
        said = self.openfire.said("bob", "x2", BODY % "hello ann")
        self.assertSent(
            self.take(said), *(self.groupchat("bob", to, "x2", BODY % "hello ann") for to in (ANN, TOM))
        )

    def test_gateway(self) -> None:
        """A killed gateway has Openfire's users still, and knows that it is Openfire."""
        node = self.service.rooms.node(ROOM, THERE)
        assert isinstance(node, JoiningNode)
        self.assertTrue(JoiningNode.restored(THERE, node.record()).isOpenfire)
