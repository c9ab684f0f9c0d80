"""Openfire at both ends of a chain: a mirror of an Openfire room is mirrored by another one. Recorded traffic."""

from __future__ import annotations

from gateway import ns
from gateway.errors import ERRORS, BadRequest
from tests.fmuc.openfire import MUC, PHOTO, Openfire, fmuc, item
from tests.fmuc.support import RoomCase, mirror
from tests.fmuc.test_openfire_joined import BOB, BODY, HERE, ROOM, heard, shown

LOW = "outmm@conference.localhost"
CAROL, DAVE = "carol@localhost/low", "dave@localhost/low"
ANN, TOM = "ann@localhost/top", "tom@localhost/top"


class ChainTests(RoomCase):
    """XEP-0289 section 6: Ann is in the upper room, Bob in the mirror, Carol in the lower room."""

    def setUp(self) -> None:
        self.service = mirror("mirror.localhost", peers="conference.localhost", users="localhost")
        self.top = Openfire(ROOM, HERE, False, {"ann": ANN, "tom": TOM})
        self.low = Openfire(LOW, HERE, True, {"carol": CAROL, "dave": DAVE})
        self.fences = 0
        self.take(f"<presence from='{BOB}' to='{HERE}/bob'>{MUC}</presence>")
        self.take(self.top.answer(["ann"]) + self.top.described("room-t-1"))
        self.joined = self.joins("carol")

    def take(self, xml: str) -> bytes:
        return self.service.take(xml)

    def joins(self, nick: str) -> bytes:
        """A user joins the lower room; the upper room answers the fence alone."""
        real, self.fences = self.low.users[nick], self.fences + 1
        fence = f"join-t-{self.fences}"
        self.assertSent(
            self.take(self.low.announced(nick)),
            f"<presence from='{HERE}/{nick}' to='{ROOM}/{nick}'>{fmuc(real, '<occupant-id/>')}{MUC}{item(jid=real)}"
            "</presence>",
            f"<iq from='{HERE}/{nick}' to='{ROOM}' id='{fence}' type='get'><ping xmlns='{ns.PING}'/></iq>",
        )
        self.assertSent(self.take(self.low.presence(nick)))
        said = ERRORS[BadRequest]
        error = f"<error type='{said.kind}'><bad-request xmlns='{ns.STANZA_ERRORS}'/></error>"
        return self.take(f"<iq type='error' id='{fence}' from='{ROOM}' to='{HERE}/{nick}'>{error}</iq>")

    def toNode(self, nick: str, real: str, inside: str, kind: str = "") -> str:
        given = f" type='{kind}'" if kind else ""
        return f"<presence from='{HERE}/{nick}' to='{LOW}'{given}>{fmuc(real)}{inside}</presence>"

    def test_join(self) -> None:
        """The lower room is sent everybody, and the subject; the upper one is sent Carol's presence."""
        self.assertIn(f"from='{HERE}/ann' to='{LOW}'".encode(), self.joined)
        self.assertIn(f"from='{HERE}/bob' to='{LOW}'".encode(), self.joined)
        self.assertIn(f"from='{HERE}/carol' to='{BOB}'".encode(), self.joined)
        self.assertIn(b"<subject/>", self.joined)
        self.assertIn(f"from='{HERE}/carol' to='{ROOM}/carol'".encode(), self.joined)

    def test_talk(self) -> None:
        """Each speaks, and everybody is sent it once; nothing goes back to the node that it comes from."""
        body = BODY % "ann speaks"
        self.assertSent(
            self.take(self.top.said("ann", "ann", body)),
            heard("ann", BOB, "ann", body),
            f"<message from='{HERE}/ann' to='{LOW}' type='groupchat' id='ann'>{fmuc(ANN)}{body}</message>",
        )
        body = BODY % "carol speaks"
        self.assertSent(
            self.take(self.low.said("carol", "car", body)),
            f"<message from='{HERE}/carol' to='{ROOM}' type='groupchat' id='car'>{fmuc(CAROL)}{body}</message>",
            heard("carol", BOB, "car", body),
        )
        body = BODY % "bob speaks"
        self.assertSent(
            self.take(f"<message from='{BOB}' to='{HERE}' type='groupchat' id='bob'>{body}</message>"),
            f"<message from='{HERE}/bob' to='{ROOM}' type='groupchat' id='bob'>{fmuc(BOB)}{body}</message>",
            f"<message from='{HERE}/bob' to='{LOW}' type='groupchat' id='bob'>{fmuc(BOB)}{body}</message>",
            heard("bob", BOB, "bob", body),
        )

    def test_further(self) -> None:
        """Further users below and above."""
        self.assertIn(f"from='{HERE}/dave' to='{BOB}'".encode(), self.joins("dave"))
        self.assertSent(self.take(self.top.announced("tom")))
        self.assertSent(
            self.take(self.top.presence("tom")),
            shown("tom", BOB, PHOTO + item()),
            self.toNode("tom", TOM, PHOTO + item()),
        )

    def test_kick(self) -> None:
        """The upper room kicks Carol: the lower one removes her, and has left then; the upper one is told."""
        kick = item("none", more="><actor nick='ann'/><reason>enough</reason>|307")
        self.assertSent(
            self.take(self.top.kicked(CAROL, "ann")),
            shown("carol", BOB, PHOTO + kick, "unavailable"),
            self.toNode("carol", CAROL, PHOTO + kick, "unavailable"),
            f"<presence from='{HERE}' to='{LOW}'>{fmuc('', '<left/>')}</presence>",
            f"<presence from='{HERE}/carol' to='{ROOM}/carol' type='unavailable'>{fmuc(CAROL)}{PHOTO}"
            f"{item('none', jid=CAROL)}</presence>",
        )
        self.assertSent(self.take(self.low.left("carol")))

    def test_nick(self) -> None:
        """ProtoXEP: nicks do not change through a mirror: the user leaves, and joins by the new nick."""
        self.joins("dave")
        sent = self.take(self.low.renamed("carol", "carol2"))
        self.assertIn(f"from='{HERE}/carol' to='{ROOM}/carol' type='unavailable'".encode(), sent)
        self.assertIn(f"from='{HERE}/carol2' to='{ROOM}/carol2'".encode(), sent)
        self.assertNotIn(b"303", sent)

    def test_leave(self) -> None:
        """All leave: each of both rooms is told."""
        sent = self.take(self.low.left("carol"))
        self.assertIn(f"<presence from='{HERE}' to='{LOW}'>{fmuc('', '<left/>')}</presence>".encode(), sent)
        self.assertIn(f"from='{HERE}/carol' to='{ROOM}/carol' type='unavailable'".encode(), sent)
        sent = self.take(f"<presence from='{BOB}' to='{HERE}/bob' type='unavailable'/>")
        self.assertIn(f"from='{HERE}/bob' to='{ROOM}/bob' type='unavailable'".encode(), sent)
        self.assertSent(self.take(self.top.confirmsLeft()))
        self.assertEqual(self.service.rooms.rooms, {})
