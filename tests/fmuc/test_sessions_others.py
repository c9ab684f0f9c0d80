"""Several sessions of one user: the JID by which other nodes know them, other software, and chains of nodes."""

from __future__ import annotations

from gateway.fmuc.values import Dialect
from tests.fmuc import wire
from tests.fmuc.both import (
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
from tests.fmuc.chain import BOTTOM, MIDDLE, TOP
from tests.fmuc.support import MUC, RoomCase, mirror, rooms, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.fmuc.wire import Net, WireCase
from tests.muc.test_local import status, user


class ReplacedTests(RoomCase):
    """The first of two clients in a mirror leaves: its node tells of the other one, by the other one's JID."""

    def test_joined(self) -> None:
        """The room takes the new JID over, and ignores the leave of the old one; the client may join the room."""
        for way in WAYS:
            site = Both(*way, nonAnonymous=way[0] is Dialect.PROTOXEP)
            site.enter(ANN, HERE)
            site.enter(PHONE, HERE)
            site.send(ANN, HERE, kind="unavailable")
            occupant = site.above.rooms.rooms[ABOVE].occupants["ann"]
            self.assertEqual((occupant.realJid, occupant.sessions), (PHONE, ()))
            site.told()
            site.enter(ANN, ABOVE)
            self.assertNotIn(b"type='error'", site.told(ANN))
            self.assertEqual(occupant.localJids, (ANN,))
            for who, room in ((ANN, ABOVE), (PHONE, HERE)):
                site.say(who, room)
                self.assertEqual(site.told().count(BODY.encode()), 4)
            # A kick ends both.
            site.ask("nick='ann' role='none'")
            self.assertNotIn(PHONE, site.mirror.rooms.rooms[HERE].users)

    def test_otherNodes(self) -> None:
        """In the room itself it is the same: each node is told, and one that keeps sessions also of the leave."""
        node = "room@other.example"
        for replica in (True, False):
            service = rooms("chat.example", "other.example")
            for who in (ANN, PHONE):
                service.take(f"<presence from='{who}' to='{ABOVE}/ann'>{MUC}</presence>")
            mode = "<replica/>" if replica else ""
            item = user("none", "participant", jid=BEN)
            service.take(f"<presence from='{node}/b' to='{ABOVE}/b'>{fmuc(BEN, mode)}{MUC}{item}</presence>")
            sent = service.take(f"<presence from='{ANN}' to='{ABOVE}/ann' type='unavailable'/>")
            seen = fmuc(PHONE) + user("owner", "moderator")
            told = [f"<presence from='{ABOVE}/ann' to='{node}'>{seen}</presence>"]
            if not replica:
                left = fmuc(ANN) + user("owner", "none")
                told.append(f"<presence from='{ABOVE}/ann' to='{node}' type='unavailable'>{left}</presence>")
            own = user("owner", "none", status(110))
            self.assertSent(
                withoutIds(sent),
                f"<presence from='{ABOVE}/ann' to='{ANN}' type='unavailable'>{own}</presence>",
                f"<presence from='{ABOVE}/ann' to='{PHONE}'>{user('owner', 'moderator', status(110))}</presence>",
                *told,
            )

    def test_otherMirrors(self) -> None:
        """A mirror's new JID is told to the other nodes."""
        node = "room@other.example"
        service = rooms("chat.example", "mirror.example", "other.example")
        service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        item = user("none", "participant", jid=BEN)
        service.take(f"<presence from='{node}/b' to='{ABOVE}/b'>{fmuc(BEN)}{MUC}{item}</presence>")
        service.take(joinOf(Dialect.XEP_0289, ANN, True))
        sent = service.take(joinOf(Dialect.XEP_0289, PHONE, True).replace(MUC, ""))
        self.assertSent(
            withoutIds(sent),
            presence("ann", OWN, user("none", "participant", jid=PHONE), room=ABOVE),
            f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(PHONE)}{PERSON}</presence>",
            f"<presence from='{ABOVE}/ann' to='{node}'>{fmuc(PHONE)}{PERSON}</presence>",
            f"<presence from='{ABOVE}/ann' to='{node}' type='unavailable'>{fmuc(ANN)}{NO_ONE}</presence>",
        )

    def test_sameClient(self) -> None:
        """A client may join the room itself while its leave from the mirror is on its way."""
        for dialect, replica in WAYS:
            service = rooms("chat.example", "mirror.example")
            service.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
            service.take(joinOf(dialect, ANN, replica))
            sent = service.take(f"<presence from='{ANN}' to='{ABOVE}/ann'>{MUC}</presence>")
            self.assertNotIn(b"type='error'", sent)
            occupant = service.rooms.rooms[ABOVE].occupants["ann"]
            said = f"<message from='{ANN}' to='{ABOVE}' type='groupchat'>{BODY}</message>"
            self.assertEqual(service.take(said).count(BODY.encode()), 3)
            service.take(f"<presence from='{ANN}' to='{ABOVE}/ann' type='unavailable'/>")
            self.assertEqual((occupant.localJids, [each.jid for each in occupant.nodes]), ((), [HERE]))
            service.take(f"<presence from='{ANN}' to='{ABOVE}/ann'>{MUC}</presence>")
            service.take(leaveOf(dialect, ANN))
            self.assertEqual((occupant.localJids, occupant.nodes), ((ANN,), ()))

    def test_joining(self) -> None:
        """A mirror takes the new JID of an occupant of the room over, and ignores the leave of the old one."""
        service = mirror("mirror.example", replica=False)
        service.take(f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
        service.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(ANN)}{PERSON}</presence>")
        service.take(f"<presence from='{ABOVE}/ben' to='{HERE}'>{fmuc(BEN)}{PERSON}</presence>")
        service.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>")
        new = f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(PHONE)}{PERSON}</presence>"
        self.assertSent(withoutIds(service.take(new)), presence("ann", BEN, PERSON))
        gone = "<presence from='{}/ann' to='{}' type='unavailable'>{}</presence>"
        self.assertSent(service.take(gone.format(ABOVE, HERE, fmuc(ANN) + NO_ONE)))
        last = service.take(gone.format(ABOVE, HERE, fmuc(PHONE) + NO_ONE))
        self.assertSent(withoutIds(last), presence("ann", BEN, NO_ONE, "unavailable"))


class OtherServiceTests(RoomCase):
    """A joined node, such as Openfire, that tells its mirrors of each session of an occupant."""

    def setUp(self) -> None:
        self.mirror = mirror("mirror.example")
        self.mirror.take(f"<presence from='{PHONE}' to='{HERE}/ann'>{MUC}</presence>")
        self.mirror.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(PHONE)}{PERSON}</presence>")
        self.mirror.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>")

    def test_otherSession(self) -> None:
        """Presence of another session of the user changes nothing, also if it leaves; that of another user does."""
        for content, kind in ((PERSON + BUSY, ""), (NO_ONE, " type='unavailable'")):
            inside = f"{fmuc(ANN)}{content}"
            sent = self.mirror.take(f"<presence from='{ABOVE}/ann' to='{HERE}'{kind}>{inside}</presence>")
            self.assertEqual(sent, b"")
        self.assertEqual(list(self.mirror.rooms.rooms[HERE].users), [PHONE])
        sent = self.mirror.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(BEN)}{PERSON}</presence>")
        self.assertIn(b"<conflict", sent)

    def test_firstJid(self) -> None:
        """
        The joined node finds an occupant by the JID that joined. If that client leaves, another one has joined, and
        then the old one leaves.
        """
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        said = f"<message from='{ANN}' to='{HERE}' type='groupchat'>{BODY}</message>"
        self.assertSent(
            withoutIds(self.mirror.take(said)),
            f"<message from='{HERE}/ann' to='{ABOVE}' type='groupchat'>{fmuc(PHONE)}{BODY}</message>",
            message("ann", PHONE, BODY),
            message("ann", ANN, BODY),
        )
        item = user("none", "participant", jid=ANN)
        self.assertSent(
            withoutIds(self.mirror.take(f"<presence from='{PHONE}' to='{HERE}/ann' type='unavailable'/>")),
            presence("ann", PHONE, gone(), "unavailable"),
            presence("ann", ANN, SELF),
            f"<presence from='{HERE}/ann' to='{ABOVE}/ann'>{fmuc(ANN)}{item}</presence>",
            leaveOf(Dialect.XEP_0289, PHONE),
        )
        self.assertSent(
            withoutIds(self.mirror.take(said)),
            f"<message from='{HERE}/ann' to='{ABOVE}' type='groupchat'>{fmuc(ANN)}{BODY}</message>",
            message("ann", ANN, BODY),
        )
        self.assertSent(
            withoutIds(self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann' type='unavailable'/>")),
            leaveOf(Dialect.XEP_0289, ANN),
            presence("ann", ANN, gone(), "unavailable"),
        )


class ChainTests(WireCase):
    """A chain of three nodes: at a mirror each occupant is connected in one way."""

    def chain(self, dialect: Dialect, replica: bool) -> Net:
        """Return a room, a mirror of it, and a mirror of that."""
        return Net(
            {
                TOP: wire.rooms("top.example", "middle.example"),
                MIDDLE: wire.mirror("middle.example", dialect, replica, peers=("bottom.example",)),
                BOTTOM: wire.mirror("bottom.example", dialect, replica),
            }
        )

    def test_ends(self) -> None:
        """A client in the room, and one in the last mirror: messages of each come to both, and each leaves."""
        for replica in (True, False):
            net = self.chain(Dialect.XEP_0289, replica)
            net.join(TOP, "ann", ANN)
            net.join(BOTTOM, "ann", PHONE)
            self.assertEqual([len(each.rooms.rooms[room].occupants) for room, each in net.wires.items()], [1, 1, 1])
            for room, who in ((TOP, ANN), (BOTTOM, PHONE)):
                found = net.say(room, who, "x")
                told = [f"message {TOP}/ann > {ANN} body=x", f"message {BOTTOM}/ann > {PHONE} body=x"]
                self.assertEqual(sorted(found), sorted(told), replica)
            found = net.take(BOTTOM, f"<presence from='{PHONE}' to='{BOTTOM}/ann' type='unavailable'/>")
            self.assertTold(found, f"presence {BOTTOM}/ann > {PHONE} unavailable owner/none 110")
            self.assertEqual([len(each.rooms.rooms) for each in net.wires.values()], [1, 0, 0])

    def test_middle(self) -> None:
        """
        A local user of the middle node and a user of the last one cannot share a nick: a message that comes back
        does not tell whose it was.
        """
        for dialect, replica in WAYS:
            net = self.chain(dialect, replica)
            net.join(TOP, "own", OWN)
            net.join(MIDDLE, "ann", ANN)
            found = net.join(BOTTOM, "ann", PHONE)
            self.assertIn("conflict", " ".join(found))
            self.assertEqual([each for each in found if ANN in each or OWN in each], [])
            net = self.chain(dialect, replica)
            net.join(TOP, "own", OWN)
            net.join(BOTTOM, "ann", PHONE)
            self.assertIn("conflict", " ".join(net.join(MIDDLE, "ann", ANN)))
