"""Rooms without other nodes: muc/ works by itself, and asks other nodes only by its port."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import GatewayError, NickChangeForbidden, NickInUse, OnlyInTheRoom
from gateway.muc import from_user
from gateway.muc.actions import Action, SendError, ToUsers
from gateway.muc.administration import Change, applyChanges, checkEntitled
from gateway.muc.configuration import configure
from gateway.muc.forms import Form
from gateway.muc.occupant import Occupant
from gateway.muc.port import NoOtherNodes
from gateway.muc.service import RoomService
from gateway.muc.values import (
    NO_ROLE,
    JoinRequest,
    Message,
    OccupantPresence,
    Payload,
    Presence,
    RoomMessage,
    stanzaError,
)

JID = "rooms.example"
ROOM = f"den@{JID}"
ANN, BEN = "ann@a.example/1", "ben@b.example/1"


class Elsewhere(NoOtherNodes):
    """Another node that decides: it is asked, and answers nothing yet."""

    isMirror = True
    isIdle = False

    def __init__(self) -> None:
        self.asked: list[object] = []

    def requestJoin(self, request: JoinRequest, now: float) -> bool:
        self.asked.append(request.nick)
        return True

    def submitPresence(self, occupant: Occupant, payload: Payload, now: float) -> bool:
        self.asked.append(payload.raw)
        return True

    def submitMessage(self, message: RoomMessage, now: float) -> bool:
        self.asked.append(message.payload.raw)
        return True

    def left(self, occupant: Occupant, now: float) -> None:
        self.asked.append(f"{occupant.nick} has left")


class AloneTests(SynchronousTestCase):
    """A service that knows of no other nodes."""

    def setUp(self) -> None:
        self.service = RoomService(JID)

    def join(self, user: str, nick: str) -> list[Action]:
        return from_user.presence(self.service, user, f"{ROOM}/{nick}", Presence(joins=True), 0.0)

    def say(self, user: str, body: bytes) -> list[Action]:
        room, stanza = self.service.rooms.get(ROOM), Message(kind="groupchat", payload=Payload(body))
        return from_user.message(self.service, room, user, ROOM, stanza, 0.0)

    def test_sessions(self) -> None:
        """A nick is one user's, who may have it with several clients."""
        self.join(ANN, "ann")
        refusals = [each for each in self.join(BEN, "ann") if isinstance(each, SendError)]
        self.assertEqual([each.stanzaError for each in refusals], [stanzaError(NickInUse)])
        self.join("ann@a.example/2", "ann")
        self.assertEqual(self.service.rooms[ROOM].occupants["ann"].localJids, (ANN, "ann@a.example/2"))

    def test_life(self) -> None:
        """A room is made by the first join, carries messages, and ends with the last leave."""
        self.join(ANN, "ann")
        self.join(BEN, "ben")
        [message] = self.say(ANN, b"<body>x</body>")
        assert isinstance(message, ToUsers)
        self.assertEqual(message.recipients, (ANN.encode(), BEN.encode()))
        room = self.service.rooms[ROOM]
        self.assertEqual((len(room.history), room.affiliation(ANN)), (1, "owner"))
        for user, nick in ((ANN, "ann"), (BEN, "ben")):
            from_user.presence(self.service, user, f"{ROOM}/{nick}", Presence(unavailable=True), 0.0)
        self.assertEqual(self.service.rooms, {})

    def test_recipients(self) -> None:
        """A message goes to the sessions that are there at that time, whatever has changed since the last one."""

        def leave(user: str, nick: str) -> None:
            from_user.presence(self.service, user, f"{ROOM}/{nick}", Presence(unavailable=True), 0.0)

        second = "ann@a.example/2"
        self.join(ANN, "ann")
        for change, expected in (
            (lambda: self.join(BEN, "ben"), [ANN, BEN]),
            (lambda: self.join(second, "ann"), [ANN, second, BEN]),
            (lambda: leave(second, "ann"), [ANN, BEN]),
            (lambda: leave(BEN, "ben"), [ANN]),
        ):
            self.say(ANN, b"<body>x</body>")
            change()
            [message] = self.say(ANN, b"<body>x</body>")
            assert isinstance(message, ToUsers)
            self.assertEqual(sorted(message.recipients), [user.encode() for user in expected])

    def test_refused(self) -> None:
        """A refusal is raised by the rule, and becomes one error; of several changes none is made then."""
        self.join(ANN, "ann")
        [error] = self.say(BEN, b"<body>x</body>")
        assert isinstance(error, SendError)
        self.assertEqual((error.recipient, error.stanzaError.condition), (BEN, "not-acceptable"))
        room = self.service.rooms[ROOM]
        self.join(BEN, "ben")
        self.assertRaises(GatewayError, checkEntitled, room, BEN)
        changes = [Change(nick="ben", role=NO_ROLE), Change(nick="nobody", role=NO_ROLE)]
        self.assertRaises(GatewayError, applyChanges, room, ANN, changes)
        self.assertEqual((set(room.occupants), room.takeActions()), ({"ann", "ben"}, []))

    def test_actions(self) -> None:
        """Actions belong to the room, and are returned once; another room has none of them."""
        self.join(ANN, "ann")
        room = self.service.rooms[ROOM]
        room.log("line")
        first = room.takeActions()
        self.assertEqual((len(first), room.takeActions()), (1, []))
        room.log("another")
        self.assertEqual(len(first), 1)

    def test_decidedElsewhere(self) -> None:
        """If another node decides, it is asked, and nothing is shown before it answers."""
        self.join(ANN, "ann")
        room = self.service.rooms[ROOM]
        room.nodes = there = Elsewhere()
        self.assertEqual(self.join(BEN, "ben"), [])
        self.assertEqual(self.say(ANN, b"<body>x</body>"), [])
        shown = Presence(payload=Payload(b"<show>away</show>"))
        self.assertEqual(from_user.presence(self.service, ANN, f"{ROOM}/ann", shown, 0.0), [])
        self.assertEqual(set(room.occupants), {"ann"})
        self.assertRaises(OnlyInTheRoom, configure, room, ANN, Form())
        self.assertRaises(OnlyInTheRoom, checkEntitled, room, ANN)
        [error] = from_user.presence(self.service, ANN, f"{ROOM}/other", Presence(), 0.0)
        assert isinstance(error, SendError)
        self.assertEqual(error.stanzaError, stanzaError(NickChangeForbidden))
        [last] = from_user.presence(self.service, ANN, f"{ROOM}/ann", Presence(unavailable=True), 0.0)
        assert isinstance(last, ToUsers) and isinstance(last.stanza, OccupantPresence)
        self.assertTrue(last.stanza.change.unavailable)
        self.assertEqual(there.asked, ["ben", b"<body>x</body>", b"<show>away</show>", "ann has left"])
        # The other node still needs it.
        self.assertEqual(set(self.service.rooms), {ROOM})
