"""Rooms of other software that speaks XEP-0289, such as Openfire, which omits parts of it."""

from __future__ import annotations

import json

from gateway import ns
from gateway.errors import NotPrivate
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.nodes import JoiningNode
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused, rooms
from tests.muc.test_local import status, user
from tests.reports import sentences

ABOVE = "coven@chat.example"
HERE = r"coven\40chat.example@mirror.example"
FAR = "cave@far.example"
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
        self.assertIn("joined (primary: it sends nothing back), 0 bytes to it, 0 from it, Openfire", shown)

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


class PrivateMessageTests(RoomCase):
    """
    Openfire shows a private message from another node to all its occupants. It is recognised by its presence: items
    with the occupant's own address, forwarded joins, joins whose items name no user.
    """

    PRIVATE = "<body>Psst</body>"

    def private(self, sender: str, recipient: str) -> str:
        return f"<message from='{sender}' to='{recipient}' type='chat' id='p'>{self.PRIVATE}</message>"

    def joined(self, isOpenfire: bool, *found: str) -> Service:
        """
        Return a mirror with ann, whose joined room has own; it has sent these presences of own. A room of Openfire
        is asked whether it is anonymous.
        """
        service = mirror("mirror.example")
        service.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        asked = f"<iq from='{HERE}' to='{ABOVE}' id='room-t-1' type='get'><query xmlns='{ns.DISCO_INFO}'/></iq>"
        for each in found:
            sent = service.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{fmuc(OWN)}{each}</presence>")
            self.assertSent(sent, *[asked] * (isOpenfire and each is found[0]))
        subject = f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>"
        service.take(subject)
        return service

    def test_joinedNode(self) -> None:
        """The sender gets an error, and nothing crosses the link. The other direction works."""
        real, unknown = user("none", "participant", jid=OWN), user("none", "participant")
        for found, isShown in (
            ((user("none", "participant", jid=f"{ABOVE}/own"),), True),
            ((MUC + unknown, real), True),
            ((real,), False),
            ((unknown,), False),
        ):
            service = self.joined(isShown, *found)
            sent = service.take(self.private(ANN, f"{HERE}/own"))
            if isShown:
                self.assertSent(sent, refused("message", f"{HERE}/own", ANN, NotPrivate, "id='p' "))
            else:
                head = f"<message from='{HERE}/ann' to='{ABOVE}/own' type='chat' id='p'>{fmuc(ANN)}"
                self.assertSent(sent, f"{head}{self.PRIVATE}</message>")
            # A join of the joined room itself, not of its user.
            join = f"{fmuc('eve@b.example/1')}{MUC}{unknown}"
            sent = service.take(f"<presence from='{ABOVE}/eve' to='{HERE}/eve'>{join}</presence>")
            self.assertIn(b"<reject>", sent)
            back = f"<message from='{ABOVE}/own' to='{HERE}/ann' type='chat' id='p'>{fmuc(OWN)}{self.PRIVATE}"
            marked = f"<x xmlns='{ns.MUC_USER}'/>{self.PRIVATE}"
            expected = f"<message from='{HERE}/own' to='{ANN}' type='chat' id='p'>{marked}</message>"
            self.assertSent(service.take(f"{back}</message>"), expected)

    def test_joiningNode(self) -> None:
        """The same if Openfire has joined a room, also after a restart of the gateway."""
        for jid, isShown in (("", True), (BEN, False)):
            service = rooms("chat.example", "far.example")
            service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
            join = f"{fmuc(BEN)}{MUC}{user('none', 'participant', jid=jid)}"
            service.take(f"<presence from='{FAR}/ben' to='{ABOVE}/ben'>{join}</presence>")
            sent = service.take(self.private(OWN, f"{ABOVE}/ben"))
            refusal = refused("message", f"{ABOVE}/ben", OWN, NotPrivate, "id='p' ")
            crossed = f"<message from='{ABOVE}/own' to='{FAR}/ben' type='chat' id='p'>{fmuc(OWN)}{self.PRIVATE}"
            self.assertSent(sent, refusal if isShown else f"{crossed}</message>")
            # A decline is the room's own message.
            x = f"<x xmlns='{ns.MUC_USER}'><decline %s='%s'/></x>"
            sent = service.take(f"<message from='{ANN}' to='{ABOVE}'>{x % ('to', f'{ABOVE}/ben')}</message>")
            told = x % ("from", ANN.partition("/")[0])
            self.assertSent(sent, f"<message from='{ABOVE}' to='{FAR}/ben'>{told}</message>")
            node = service.rooms.node(ABOVE, FAR)
            assert isinstance(node, JoiningNode)
            record = node.record()
            self.assertEqual(JoiningNode.restored(FAR, record).isOpenfire, isShown)
            # A record of an earlier release.
            old = json.dumps(json.loads(record)[:5])
            self.assertFalse(JoiningNode.restored(FAR, old).isOpenfire)
