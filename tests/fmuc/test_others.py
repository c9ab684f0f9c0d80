"""Rooms of other software that speaks XEP-0289, such as Openfire, which omits parts of it."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.handler import RoomsHandler
from tests.fmuc.support import MUC, RoomCase, mirror
from tests.muc.test_local import status, user
from tests.reports import sentences

ABOVE = "coven@chat.example"
HERE = r"coven\40chat.example@mirror.example"
ANN, BEN, OWN = "ann@a.example/1", "ben@a.example/2", "own@b.example/3"


def fmuc(real: str) -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>"


class OpenfireTests(RoomCase):
    """A joined node that knows one mode, and does not show the joining node its own occupants."""

    def setUp(self) -> None:
        self.mirror = mirror("mirror.example")
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        # Its items contain the occupant's own address.
        item = user("owner", "moderator", jid=f"{ABOVE}/own")
        self.mirror.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{fmuc(OWN)}{item}</presence>")
        self.joined = self.mirror.take(
            f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>"
        )
        self.room = self.mirror.rooms.rooms[HERE]

    def test_joined(self) -> None:
        """
        The joining user is admitted when the subject arrives, without a presence of the own; no JID is made up.
        """
        self.assertSent(
            self.joined,
            f"<presence from='{HERE}/own' to='{ANN}'>{user('owner', 'moderator')}</presence>",
            f"<presence from='{HERE}/ann' to='{ANN}'>{user('none', 'participant', status(110))}</presence>",
            f"<message from='{HERE}' to='{ANN}' type='groupchat'><subject/></message>",
        )
        self.assertEqual(self.room.occupants["own"].realJid, OWN)

    def test_atOnce(self) -> None:
        """Messages that it does not send back are not awaited; one that comes back is not shown twice."""
        body = "<body>x</body>"
        sent = self.mirror.take(f"<message from='{ANN}' to='{HERE}' type='groupchat' id='1'>{body}</message>")
        self.assertSent(
            sent,
            f"<message from='{HERE}/ann' to='{ABOVE}' type='groupchat' id='1'>{fmuc(ANN)}{body}</message>",
            f"<message from='{HERE}/ann' to='{ANN}' type='groupchat' id='1'>{body}</message>",
        )
        back = f"<message from='{ABOVE}/ann' to='{HERE}' type='groupchat' id='1'>{fmuc(ANN)}{body}</message>"
        self.assertSent(self.mirror.take(back))
        sent = self.mirror.take(f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
        self.assertNotIn(f"to='{BEN}'".encode(), sent)
        sent = self.mirror.take(f"<iq from='{ABOVE}' to='{HERE}/ben' id='join-t-1' type='result'/>")
        self.assertIn(b"code='110'", sent)
        shown = "".join(sentences(RoomsHandler(self.mirror.rooms).report()))
        self.assertIn("joined (primary: it sends nothing back)", shown)

    def test_anew(self) -> None:
        """The next first join asks again."""
        gone = f"<presence from='{ANN}' to='{HERE}/ann' type='unavailable'/>"
        self.assertIn(b"type='unavailable'", self.mirror.take(gone))
        left = f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc>"
        self.mirror.take(f"<presence from='{ABOVE}' to='{HERE}'>{left}</presence>")
        self.assertEqual(self.mirror.rooms.rooms, {})
        sent = self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        self.assertIn(b"<replica/>", sent)

    def test_rejected(self) -> None:
        """Its rejections are to the full JID, without an error element."""
        reject = f"<fmuc xmlns='{ns.FMUC}'><reject>no</reject></fmuc>"
        self.mirror.take(f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
        sent = self.mirror.take(f"<presence from='{ABOVE}' to='{HERE}/ben'>{reject}</presence>")
        self.assertIn(f"from='{HERE}/ben' to='{BEN}' type='error'".encode(), sent)
        self.assertNotIn("ben", self.room.occupants)
