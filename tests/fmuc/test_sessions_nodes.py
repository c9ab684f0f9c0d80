"""
Several sessions of one user with one nick (XEP-0045 section 7.2.8), at several nodes: in two mirrors, and in a
mirror and the room itself.
"""

from __future__ import annotations

from gateway import ns
from gateway.errors import NickInUse
from gateway.fmuc.values import Dialect
from tests.fmuc.both import (
    AWAY,
    BODY,
    BUSY,
    NO_ONE,
    PERSON,
    PHONE,
    SELF,
    Both,
    fmuc,
    gone,
    joinOf,
    leaveOf,
    message,
    presence,
)
from tests.fmuc.support import MUC, RoomCase, mirror, refused, rooms, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.muc.test_local import status, user


class TwoWaysTests(RoomCase):
    """One client in the room itself, and one in the mirror."""

    def both(self, way: tuple[Dialect, bool], first: str = ABOVE) -> Both:
        """Return a site with Ann in the room, and with her phone in the mirror."""
        # In the ProtoXEP a mirror knows the users of a semi-anonymous room by their nicks only.
        site = Both(*way, nonAnonymous=way[0] is Dialect.PROTOXEP)
        ways = [(ANN, ABOVE), (PHONE, HERE)]
        for who, room in ways if first == ABOVE else reversed(ways):
            site.told()
            site.enter(who, room)
        return site

    def hidden(self, sent: bytes) -> bytes:
        """Return stanzas without real JIDs and code 100, which depend on the room."""
        for jid in (OWN, BEN, ANN, PHONE):
            sent = sent.replace(f" jid='{jid}'".encode(), b"")
        return sent.replace(b"<status code='100'/>", b"")

    def test_entered(self) -> None:
        """Nobody sees a join, on either side. The second client gets everything."""
        for way in WAYS:
            site = self.both(way)
            found = self.hidden(site.told(OWN, ANN, PHONE))
            self.assertSent(
                found,
                presence("own", PHONE, user("owner", "moderator")),
                presence("ben", PHONE, PERSON),
                presence("ann", PHONE, SELF),
                message("", PHONE, "<subject/>"),
            )
            # The users of the mirror get the presence, which is the same.
            self.assertSent(self.hidden(site.told(BEN)), presence("ann", BEN, PERSON))
            room = site.above.rooms.rooms[ABOVE]
            self.assertEqual((len(room.occupants), room.localCount), (3, 2))
            self.assertEqual(len(site.mirror.rooms.rooms[HERE].occupants), 3)

    def test_enteredOtherwise(self) -> None:
        """The same if the mirror's client is the first one."""
        for way in WAYS:
            site = self.both(way, HERE)
            found = self.hidden(site.told())
            self.assertSent(
                found,
                presence("own", ANN, user("owner", "moderator"), room=ABOVE),
                presence("ben", ANN, PERSON, room=ABOVE),
                presence("ann", ANN, SELF, room=ABOVE),
                message("", ANN, "<subject/>", ABOVE),
            )

    def test_messages(self) -> None:
        """Each message comes once to each client, on both sides, from either client, in either order."""
        for way in WAYS:
            for first in (ABOVE, HERE):
                site = self.both(way, first)
                site.told()
                for who, room, nick in (
                    (OWN, ABOVE, "own"),
                    (BEN, HERE, "ben"),
                    (ANN, ABOVE, "ann"),
                    (PHONE, HERE, "ann"),
                ):
                    site.say(who, room)
                    self.assertSent(
                        site.told(),
                        *(message(nick, each, BODY, ABOVE) for each in (OWN, ANN)),
                        *(message(nick, each, BODY) for each in (BEN, PHONE)),
                    )

    def test_private(self) -> None:
        """A private message comes to both, from either side."""
        mark = BODY + f"<x xmlns='{ns.MUC_USER}'/>"
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}/ann' type='chat'>{BODY}</message>")
            self.assertSent(
                site.told(),
                f"<message from='{ABOVE}/own' to='{ANN}' type='chat'>{mark}</message>",
                f"<message from='{HERE}/own' to='{PHONE}' type='chat'>{mark}</message>",
            )

    def test_privateToOneself(self) -> None:
        """A private message to the own nick comes to the clients elsewhere; a node sends nothing back to itself."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.take(site.mirror, f"<message from='{PHONE}' to='{HERE}/ann' type='chat'>{BODY}</message>")
            sent = site.told()
            self.assertEqual((sent.count(BODY.encode()), PHONE.encode() in sent), (1, True), way)
            node = f"<message from='{HERE}/ann' to='{ABOVE}/ann' type='chat'>{BODY}</message>"
            self.assertSent(
                withoutIds(site.above.take(node)),
                f"<message from='{ABOVE}/ann' to='{ANN}' type='chat'>{BODY}<x xmlns='{ns.MUC_USER}'/></message>",
            )

    def test_presence(self) -> None:
        """The latest presence is shown on both sides."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.send(PHONE, HERE, BUSY)
            self.assertSent(
                self.hidden(site.told()),
                presence("ann", OWN, PERSON + BUSY, room=ABOVE),
                presence("ann", ANN, SELF + BUSY, room=ABOVE),
                presence("ann", BEN, PERSON + BUSY),
                presence("ann", PHONE, SELF + BUSY),
            )

    def test_leaveOfTheMirrored(self) -> None:
        """
        The mirror's client leaves: in the room nobody sees a leave. The mirror has removed its occupant, and shows
        the one of the room.
        """
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.send(PHONE, HERE, kind="unavailable")
            self.assertSent(
                self.hidden(site.told()),
                presence("ann", PHONE, gone(), "unavailable"),
                presence("ann", BEN, NO_ONE, "unavailable"),
                presence("ann", BEN, PERSON),
            )
            # The nick is still hers there.
            site.enter("eve@a.example/x", HERE)
            self.assertIn(b"<conflict", site.told("eve@a.example/x"))
            site.say(ANN, ABOVE)
            self.assertEqual(site.told().count(BODY.encode()), 3)
            # She may return.
            site.enter(PHONE, HERE)
            self.assertIn(presence("ann", PHONE, SELF).encode(), self.hidden(site.told(PHONE)))

    def test_leaveOfTheDirect(self) -> None:
        """The room's client leaves, then the mirror's: only then does everybody see a leave."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.send(ANN, ABOVE, kind="unavailable")
            # The presence is sent again, because of the JID; in primary mode the mirror has shown its own.
            again = [presence("ann", BEN, PERSON), presence("ann", PHONE, SELF)]
            self.assertSent(
                self.hidden(site.told()),
                presence("ann", ANN, gone(), "unavailable", ABOVE),
                presence("ann", OWN, PERSON, room=ABOVE),
                *(again if way != (Dialect.XEP_0289, False) else ()),
            )
            site.say(PHONE, HERE)
            self.assertEqual(site.told().count(BODY.encode()), 3)
            site.send(PHONE, HERE, kind="unavailable")
            self.assertSent(
                self.hidden(site.told()),
                presence("ann", PHONE, gone(), "unavailable"),
                presence("ann", BEN, NO_ONE, "unavailable"),
                presence("ann", OWN, NO_ONE, "unavailable", ABOVE),
            )
            self.assertNotIn("ann", site.mirror.rooms.rooms[HERE].occupants)

    def test_lastOfTheMirror(self) -> None:
        """If the client was the mirror's last user, the mirror leaves the room, and the other client stays."""
        for way in WAYS:
            site = self.both(way)
            site.leave(BEN, "ben")
            site.send(PHONE, HERE, kind="unavailable")
            self.assertEqual(site.mirror.rooms.rooms, {})
            room = site.above.rooms.rooms[ABOVE]
            self.assertEqual((list(room.users), room.nodes.joiningNodes), ([OWN, ANN], {}))

    def test_firstOfTheMirror(self) -> None:
        """The mirror's first user may be such a client: then it gets the others, and its own presence last."""
        for way in WAYS:
            site = Both(*way)
            site.enter(ANN, ABOVE)
            site.leave(BEN, "ben")
            site.told()
            site.enter(PHONE, HERE)
            self.assertSent(
                site.told(),
                presence("own", PHONE, user("owner", "moderator")),
                presence("ann", PHONE, SELF),
                message("", PHONE, "<subject/>"),
            )

    def test_kick(self) -> None:
        """A kick comes to both, in whichever order they have joined."""
        for way in WAYS:
            for first in (ABOVE, HERE):
                site = self.both(way, first)
                site.told()
                site.ask("nick='ann' role='none'")
                left = gone(307).replace("/><status", "><actor nick='own'/></item><status", 1)
                self.assertSent(
                    self.hidden(site.told(ANN, PHONE)),
                    presence("ann", ANN, left, "unavailable", ABOVE),
                    presence("ann", PHONE, left, "unavailable"),
                )
                self.assertEqual([list(each.rooms.rooms) for each in (site.above, site.mirror)], [[ABOVE], [HERE]])

    def test_destroyed(self) -> None:
        """So does the destruction of the room."""
        for way in WAYS:
            site = self.both(way)
            site.leave(BEN, "ben")
            site.told()
            query = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
            site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' type='set' id='q'>{query}</iq>")
            left = user("none", "none", status(110) + "<destroy/>")
            self.assertSent(
                self.hidden(site.told(ANN, PHONE)),
                presence("ann", ANN, left, "unavailable", ABOVE),
                presence("ann", PHONE, left, "unavailable"),
            )
            self.assertEqual((site.above.rooms.rooms, site.mirror.rooms.rooms), ({}, {}))

    def test_nodeLost(self) -> None:
        """If the mirror cannot be reached any longer, the room's client stays."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            # It has lost its state, and does not join again.
            site.mirror = mirror("mirror.example", *way)
            site.take(site.above, f"<presence from='{HERE}' to='{ABOVE}/ann' type='error'/>")
            self.assertSent(
                self.hidden(site.told(OWN, ANN)),
                *(
                    presence("ben", who, user("none", "none", status(333)), "unavailable", ABOVE)
                    for who in (OWN, ANN)
                ),
            )
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own", "ann"])
            self.assertEqual(site.above.rooms.rooms[ABOVE].nodes.joiningNodes, {})

    def test_nick(self) -> None:
        """The nick of an occupant who is connected through a mirror cannot be changed."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.send(ANN, ABOVE, nick="new")
            self.assertIn(b"<not-acceptable", site.told(ANN))
            self.assertIn("ann", site.above.rooms.rooms[ABOVE].occupants)

    def test_unknown(self) -> None:
        """ProtoXEP: a mirror of a semi-anonymous room does not know whose the nick is, and refuses the join."""
        for replica in (True, False):
            site = Both(Dialect.PROTOXEP, replica)
            site.enter(ANN, ABOVE)
            site.told()
            site.enter(PHONE, HERE)
            self.assertSent(site.told(PHONE), refused("presence", f"{HERE}/ann", PHONE, NickInUse, MUC))

    def test_sameClient(self) -> None:
        """One client cannot be in the room twice with one nick: a peer may not name a user who is there."""
        for way in WAYS:
            site = Both(*way, nonAnonymous=True)
            site.enter(ANN, ABOVE)
            site.told()
            site.enter(ANN, HERE)
            self.assertIn(b"type='error'", site.told(ANN), way)
            self.assertEqual(set(site.mirror.rooms.rooms[HERE].users), {BEN})


class RoomToMirrorTests(RoomCase):
    """Stanzas of the room to mirrors, if one of the sessions is there."""

    def setUp(self) -> None:
        self.service = rooms("chat.example", "mirror.example")
        for who, nick in ((OWN, "own"), (ANN, "ann")):
            self.service.take(f"<presence from='{who}' to='{ABOVE}/{nick}'>{MUC}</presence>")

    def node(self, dialect: Dialect, who: str, content: str, kind: str = "") -> str:
        """Return a presence of Ann to the mirror."""
        given = f" type='{kind}'" if kind else ""
        real = fmuc(who) if dialect is Dialect.XEP_0289 else ""
        return f"<presence from='{ABOVE}/ann' to='{HERE}'{given}>{real}{content}</presence>"

    def test_each(self) -> None:
        """
        The mirror is told of the session there, by its JID; when that leaves, of the user as one of the room. Local
        users see only new presence.
        """
        for dialect, replica in WAYS:
            self.setUp()
            returns = replica or dialect is Dialect.PROTOXEP
            other = joinOf(dialect, BEN, replica).replace("/ann'", "/ben'")
            self.service.take(other)
            answer = [self.node(dialect, PHONE, PERSON)] if returns else []
            found = withoutIds(self.service.take(joinOf(dialect, PHONE, replica)))
            self.assertSent(found, *answer)
            # A new presence there.
            update = joinOf(dialect, PHONE, replica, BUSY).replace(MUC, "")
            shown = (
                presence("ann", OWN, user("none", "participant", jid=ANN) + BUSY, room=ABOVE),
                presence("ann", ANN, SELF + BUSY, room=ABOVE),
            )
            answer = [self.node(dialect, PHONE, PERSON + BUSY)] if returns else []
            self.assertSent(withoutIds(self.service.take(update)), *shown, *answer)
            left = [self.node(dialect, PHONE, NO_ONE, "unavailable")] if returns else []
            self.assertSent(
                withoutIds(self.service.take(leaveOf(dialect, PHONE))),
                presence("ann", OWN, user("none", "participant", jid=ANN), room=ABOVE),
                presence("ann", ANN, SELF, room=ABOVE),
                *left,
                self.node(dialect, ANN, PERSON),
            )

    def test_answers(self) -> None:
        """A join with a new presence has one answer. A node that gets none may ask for the occupant id."""
        for dialect, replica in WAYS:
            self.setUp()
            self.service.take(joinOf(dialect, BEN, replica).replace("/ann'", "/ben'"))
            sent = self.service.take(joinOf(dialect, PHONE, replica, BUSY))
            returns = replica or dialect is Dialect.PROTOXEP
            self.assertEqual(sent.count(f"to='{HERE}'".encode()), int(returns), (dialect, replica))
        self.service.take(leaveOf(Dialect.XEP_0289, PHONE))
        asks = joinOf(Dialect.XEP_0289, PHONE, False).replace("/fmuc'", "/fmuc'", 1)
        asks = asks.replace(f"from='{PHONE}'></fmuc>", f"from='{PHONE}'><occupant-id/></fmuc>", 1)
        self.assertSent(withoutIds(self.service.take(asks)), self.node(Dialect.XEP_0289, PHONE, PERSON))

    def test_ids(self) -> None:
        """The id of a presence is for its sender: not for the node of another session, nor for a local one."""
        for dialect in Dialect:
            self.setUp()
            self.service.take(joinOf(dialect, PHONE, True))
            own = f"<presence from='{ANN}' to='{ABOVE}/ann' id='i'>{AWAY}</presence>"
            sent = self.service.take(own)
            self.assertEqual((sent.count(b" id='i'"), sent.count(f" to='{ANN}' id='i'".encode())), (1, 1))
            update = joinOf(dialect, PHONE, True, BUSY).replace(MUC, "")
            sent = self.service.take(update.replace("<presence ", "<presence id='j' ", 1))
            self.assertEqual((sent.count(b" id='j'"), sent.count(f" to='{HERE}' id='j'".encode())), (1, 1))

    def test_otherUser(self) -> None:
        """A node cannot take the session of another user over: another bare JID is refused."""
        for dialect, replica in WAYS:
            self.setUp()
            self.service.take(joinOf(dialect, PHONE, replica))
            eve = joinOf(dialect, "eve@a.example/x", replica)
            self.assertIn(b"<forbidden", self.service.take(eve))
            other = "room@mirror.example"
            self.service.take(joinOf(dialect, BEN, replica).replace("/ann'", "/ben'").replace(HERE, other))
            self.assertIn(b"<conflict", self.service.take(eve.replace(HERE, other)))

    def test_twoMirrors(self) -> None:
        """Two mirrors with a session each, and none in the room: each leaves for itself."""
        other = "room@mirror.example"
        for dialect, replica in WAYS:
            self.setUp()
            self.service.take(f"<presence from='{ANN}' to='{ABOVE}/ann' type='unavailable'/>")
            self.service.take(joinOf(dialect, ANN, replica).replace(HERE, other))
            self.service.take(joinOf(dialect, PHONE, replica))
            room = self.service.rooms.rooms[ABOVE]
            self.assertEqual(list(room.occupants), ["own", "ann"])
            sender = HERE if dialect is Dialect.PROTOXEP else f"{HERE}/ann"
            real = fmuc(PHONE) if dialect is Dialect.XEP_0289 else ""
            said = f"<message from='{HERE}/ann' to='{ABOVE}' type='groupchat'>{real}{BODY}</message>"
            sent = self.service.take(said)
            self.assertEqual(sent.count(f"to='{other}'".encode()), 1, sender)
            self.assertEqual(sent.count(f"to='{HERE}'".encode()), int(replica or dialect is Dialect.PROTOXEP))
            self.service.take(leaveOf(dialect, ANN).replace(HERE, other))
            self.assertEqual(list(room.nodes.joiningNodes), [HERE])
            sent = self.service.take(leaveOf(dialect, PHONE))
            left = presence("ann", OWN, user("none", "none", jid=PHONE), "unavailable", ABOVE)
            self.assertIn(left, withoutIds(sent).decode())
            self.assertEqual((list(room.occupants), room.nodes.joiningNodes), (["own"], {}))

    def test_nodeAnew(self) -> None:
        """A mirror that was restarted joins again with the same client: the room's own session stays."""
        for dialect, replica in WAYS:
            self.setUp()
            self.service.take(joinOf(dialect, PHONE, replica))
            self.service.take(joinOf(Dialect.XEP_0289, PHONE, replica))
            room = self.service.rooms.rooms[ABOVE]
            self.assertEqual(room.occupants["ann"].localJids, (ANN,))
            self.assertEqual(list(room.nodes.joiningNodes), [HERE])
