"""
Several sessions of one user with one nick (XEP-0045 section 7.2.8), in one mirror: the joined node sees one
occupant.
"""

from __future__ import annotations

from gateway import ns
from gateway.errors import NickChangeForbidden, NickInUse, NotInTheRoom, ResourceLimit, WrongPassword
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.room import Bounds
from tests.fmuc.both import AWAY, BODY, BUSY, NO_ONE, PERSON, PHONE, SELF, Both, fmuc, gone, message, presence
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused, rooms, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS
from tests.muc.test_local import status, user


class OneMirrorTests(RoomCase):
    """Two clients in one mirror, in both protocols and modes. The joined node sees one occupant."""

    def both(self, way: tuple[Dialect, bool], content: str = "") -> Both:
        """Return a site whose mirror Ann has joined with two clients, the second one with this presence."""
        site = Both(*way)
        site.enter(ANN, HERE)
        site.counted()
        site.told()
        site.enter(PHONE, HERE, content)
        return site

    def test_entered(self) -> None:
        """The second one gets the occupants, its presence and the subject; nothing crosses the link."""
        for way in WAYS:
            site = self.both(way)
            self.assertEqual(site.counted(), (0, 0), way)
            self.assertSent(
                site.told(),
                presence("own", PHONE, user("owner", "moderator")),
                presence("ben", PHONE, PERSON),
                presence("ann", PHONE, SELF),
                message("", PHONE, "<subject/>"),
            )

    def test_presence(self) -> None:
        """A new presence of the second one is sent to all, once, and crosses the link once in each direction."""
        for way in WAYS:
            site = self.both(way, BUSY)
            self.assertEqual(site.counted(), (1, int(way != (Dialect.XEP_0289, False))), way)
            found = site.told(OWN, BEN)
            self.assertSent(
                found,
                presence("ann", OWN, user("none", "participant", jid=ANN) + BUSY, room=ABOVE),
                presence("ann", BEN, PERSON + BUSY),
            )
            self.assertIn(presence("ann", ANN, SELF + BUSY).encode(), site.told(ANN))
            self.assertTrue(site.told(PHONE).count(BUSY.encode()), way)
            site.send(ANN, HERE, AWAY)
            self.assertSent(
                site.told(BEN, ANN, PHONE),
                *(presence("ann", who, what + AWAY) for who, what in ((BEN, PERSON), (ANN, SELF), (PHONE, SELF))),
            )

    def test_messages(self) -> None:
        """Each gets each message once, and each may send; a private message comes to both."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            for who, room, nick in ((OWN, ABOVE, "own"), (ANN, HERE, "ann"), (PHONE, HERE, "ann")):
                site.say(who, room)
                self.assertSent(
                    site.told(),
                    message(nick, OWN, BODY, ABOVE),
                    *(message(nick, each, BODY) for each in (BEN, ANN, PHONE)),
                )
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}/ann' type='chat'>{BODY}</message>")
            content = BODY + f"<x xmlns='{ns.MUC_USER}'/>"
            self.assertSent(
                site.told(),
                *(f"<message from='{HERE}/own' to='{who}' type='chat'>{content}</message>" for who in (ANN, PHONE)),
            )

    def test_leave(self) -> None:
        """
        If one leaves nobody sees a leave. If it was the first one the presence is sent again, with the JID of the
        other one; otherwise nothing crosses the link. The last one leaves the room.
        """
        for first, last in ((ANN, PHONE), (PHONE, ANN)):
            for way in WAYS:
                site = self.both(way)
                site.told()
                site.counted()
                site.send(first, HERE, kind="unavailable")
                again = [
                    presence("ann", OWN, user("none", "participant", jid=PHONE), room=ABOVE),
                    presence("ann", BEN, PERSON),
                    presence("ann", PHONE, SELF),
                ]
                left = presence("ann", first, gone(), "unavailable")
                self.assertSent(site.told(first, OWN, BEN, last), left, *(again if first == ANN else ()))
                if first == ANN:
                    isReturned = way != (Dialect.XEP_0289, False)
                    self.assertEqual(site.counted(), (1, 1) if isReturned else (2, 0), way)
                else:
                    self.assertEqual(site.counted(), (0, 0), way)
                site.say(last, HERE)
                heard = site.told()
                self.assertEqual((heard.count(BODY.encode()), heard.count(first.encode())), (3, 0))
                site.send(last, HERE, kind="unavailable")
                self.assertSent(
                    site.told(),
                    presence("ann", last, gone(), "unavailable"),
                    presence("ann", BEN, NO_ONE, "unavailable"),
                    presence("ann", OWN, user("none", "none", jid=last), "unavailable", ABOVE),
                )
                self.assertNotIn("ann", site.above.rooms.rooms[ABOVE].occupants)

    def test_leaveOfThePresence(self) -> None:
        """If the one with the latest presence leaves, all see the presence of the other one."""
        for way in WAYS:
            site = self.both(way, BUSY)
            site.told()
            site.send(PHONE, HERE, kind="unavailable")
            self.assertSent(
                site.told(PHONE, ANN, BEN, OWN),
                presence("ann", PHONE, gone(), "unavailable"),
                presence("ann", ANN, SELF),
                presence("ann", BEN, PERSON),
                presence("ann", OWN, user("none", "participant", jid=ANN), room=ABOVE),
            )

    def test_kick(self) -> None:
        """A kick in the room comes to both."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.ask("nick='ann' role='none'")
            actor = "<actor nick='own'/>"
            left = gone(307).replace("/><status", f">{actor}</item><status", 1)
            seen = user("none", "none", status(307)).replace("/><status", f">{actor}</item><status", 1)
            self.assertSent(
                site.told(ANN, PHONE, BEN),
                *(presence("ann", who, left, "unavailable") for who in (ANN, PHONE)),
                presence("ann", BEN, seen, "unavailable"),
            )

    def test_unreachable(self) -> None:
        """An error of one removes that one."""
        error = f"<error type='cancel'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.send(PHONE, HERE, error, "error")
            self.assertSent(site.told(), presence("ann", PHONE, gone(333), "unavailable"))
            self.assertEqual(site.counted(), (0, 0))

    def test_lost(self) -> None:
        """If the joined node cannot be reached, both stay, and are told."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            error = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
            site.take(site.mirror, f"<message from='{ABOVE}' to='{HERE}/ann' type='error'>{error}</message>")
            found = site.told(ANN, PHONE)
            self.assertNotIn(b"unavailable'", found)
            found = site.mirror.tick(121)
            self.assertNotIn(b"unavailable'", found)
            for who in (ANN, PHONE):
                told = f"to='{who}' type='groupchat'><body>The link to {ABOVE} is down"
                self.assertEqual(found.count(told.encode()), 1, way)

    def test_errors(self) -> None:
        """An error for a message, and a removal because of a conflict, come to both."""
        why = f"<error type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/></error>"
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.take(site.mirror, f"<message from='{ABOVE}' to='{HERE}/ann' type='error'>{why}</message>")
            self.assertSent(
                site.told(),
                *(f"<message from='{HERE}' to='{who}' type='error'>{why}</message>" for who in (ANN, PHONE)),
            )
            site.take(site.mirror, f"<presence from='{ABOVE}' to='{HERE}/ann' type='error'>{why}</presence>")
            refusal = f"<presence from='{HERE}/ann' to='{{}}' type='error'>{MUC}{why}</presence>"
            left = gone(307).replace("/><status", "><reason>forbidden</reason></item><status", 1)
            for who in (ANN, PHONE):
                self.assertSent(site.told(who), presence("ann", who, left, "unavailable"), refusal.format(who))

    def test_selfPing(self) -> None:
        """XEP-0410: each pings the nick in the mirror."""
        ping = f"<ping xmlns='{ns.PING}'/>"
        for way in WAYS:
            site = self.both(way)
            for who in (ANN, PHONE):
                site.told()
                site.take(site.mirror, f"<iq from='{who}' to='{HERE}/ann' type='get' id='q'>{ping}</iq>")
                self.assertSent(site.told(), f"<iq from='{HERE}/ann' to='{who}' type='result' id='q'/>")
            site.send(PHONE, HERE, kind="unavailable")
            site.told()
            site.take(site.mirror, f"<iq from='{PHONE}' to='{HERE}/ann' type='get' id='q'>{ping}</iq>")
            refusal = refused("iq", f"{HERE}/ann", PHONE, NotInTheRoom, " id='q'")
            self.assertSent(site.told(), refusal)

    def test_bounded(self) -> None:
        """A mirror has the same limit."""
        everything = frozenset(("*",))
        for way in WAYS:
            site = Both(*way)
            mirroring = Mirroring(
                dialect=way[0], mode=list(Mode)[way[1]], allow=everything, users=everything
            )
            site.mirror = Service(Rooms("mirror.example", mirroring, frozenset(), Bounds(sessions=2)))
            for who in (BEN, ANN, PHONE):
                site.enter(who, HERE, nick="ann" if who != BEN else "ben")
            site.told()
            third = "ann@a.example/3"
            site.enter(third, HERE)
            self.assertSent(site.told(third), refused("presence", f"{HERE}/ann", third, ResourceLimit, MUC))

    def test_others(self) -> None:
        """Another user is refused at once, as before."""
        for way in WAYS:
            site = self.both(way)
            site.told()
            site.enter("eve@a.example/x", HERE)
            refusal = refused("presence", f"{HERE}/ann", "eve@a.example/x", NickInUse, MUC)
            self.assertSent(site.told("eve@a.example/x"), refusal)
            self.assertEqual(site.counted(), (0, 0))


class WaitingTests(RoomCase):
    """Two clients that join before the joined node has answered, as after a restart of the gateway."""

    def waiting(self, dialect: Dialect, replica: bool) -> tuple[Service, Service, bytes]:
        """Return a mirror with two joins of Ann that wait, the room, and what was sent to it."""
        service, above = mirror("mirror.example", dialect, replica), rooms("chat.example", "mirror.example")
        above.take(f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        up = b"".join(
            service.take(f"<presence from='{who}' to='{HERE}/ann' id='{number}'>{MUC}</presence>")
            for number, who in enumerate((ANN, PHONE))
        )
        return service, above, up

    def down(self, above: Service, sent: bytes) -> bytes:
        """Return what the room answers to the mirror."""
        found = above.take(sent).split(b"<presence ")
        return b"".join(b"<presence " + each for each in found if f"to='{HERE}".encode() in each)

    def test_admitted(self) -> None:
        """One join is sent, and its answer admits both."""
        for way in WAYS:
            service, above, up = self.waiting(*way)
            self.assertEqual(up.count(b"<presence"), 1)
            entered = [
                each
                for number, who in enumerate((ANN, PHONE))
                for each in (
                    presence("own", who, user("owner", "moderator")),
                    presence("ann", who, SELF).replace(" to=", f" id='{number}' to="),
                    message("", who, "<subject/>"),
                )
            ]
            self.assertSent(withoutIds(service.take(self.down(above, up))), *entered)

    def test_refused(self) -> None:
        """A rejection is one of both, with the id of each."""
        for way in WAYS:
            service, above, up = self.waiting(*way)
            above.rooms.rooms[ABOVE].settings.password = "secret"
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>not-authorized</text>"
            answers = [
                refused("presence", f"{HERE}/ann", who, WrongPassword, f" id='{number}'{MUC}")
                for number, who in enumerate((ANN, PHONE))
            ]
            sent = service.take(self.down(above, up)).replace(text.encode(), b"")
            self.assertSent(sent, *answers)

    def test_noAnswer(self) -> None:
        """So is none in time."""
        for way in WAYS:
            service, _, _ = self.waiting(*way)
            found = service.tick(2 * BROADBAND.answer + 1)
            self.assertEqual([found.count(f"to='{who}'".encode()) for who in (ANN, PHONE)], [1, 1], way)

    def test_otherUser(self) -> None:
        """Another user who asks for the nick meanwhile gets "conflict"; one client waits with one nick."""
        for way in WAYS:
            service, _, _ = self.waiting(*way)
            ask = f"<presence from='{BEN}' to='{HERE}/ann'>{MUC}</presence>"
            self.assertSent(service.take(ask), refused("presence", f"{HERE}/ann", BEN, NickInUse, MUC))
            other = "ann@a.example/3"
            service.take(f"<presence from='{other}' to='{HERE}/other'>{MUC}</presence>")
            sent = service.take(f"<presence from='{other}' to='{HERE}/ann'>{MUC}</presence>")
            self.assertSent(sent, refused("presence", f"{HERE}/ann", other, NickChangeForbidden, MUC))

    def test_bounded(self) -> None:
        """The clients that wait are limited, too."""
        for way in WAYS:
            service, _, _ = self.waiting(*way)
            for number in range(Bounds().sessions - 2):
                who = f"ann@a.example/x{number}"
                self.assertEqual(service.take(f"<presence from='{who}' to='{HERE}/ann'>{MUC}</presence>"), b"")
            sent = service.take(f"<presence from='{BEN.replace('ben', 'ann')}' to='{HERE}/ann'>{MUC}</presence>")
            self.assertIn(b"<resource-constraint", sent)

    def test_knownAbove(self) -> None:
        """A nick that the user has in the room is asked for, even if the mirror itself is joining."""
        for replica in (True, False):
            service = mirror("mirror.example", replica=replica)
            service.take(f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
            self.assertEqual(service.take(f"<presence from='{PHONE}' to='{HERE}/ann'>{MUC}</presence>"), b"")
            self.assertEqual(
                service.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(ANN)}{PERSON}</presence>"), b""
            )
            service.take(f"<presence from='{ABOVE}/ben' to='{HERE}'>{fmuc(BEN)}{PERSON}</presence>")
            end = f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>"
            sent = service.take(end).decode()
            self.assertIn(f"from='{HERE}/ann' to='{ABOVE}/ann'", sent)
            self.assertNotIn("<conflict", sent)

    def test_secondLeaves(self) -> None:
        """If the second one leaves before the answer, it is not admitted."""
        for way in WAYS:
            service, above, up = self.waiting(*way)
            leave = f"<presence from='{PHONE}' to='{HERE}/ann' type='unavailable'/>"
            self.assertEqual(service.take(leave), b"")
            found = service.take(self.down(above, up))
            self.assertEqual((found.count(ANN.encode()) > 0, found.count(PHONE.encode())), (True, 0), way)

    def test_firstLeaves(self) -> None:
        """If the first one leaves before the answer, the second one joins anew."""
        for way in WAYS:
            site = Both(*way)
            site.leave(BEN, "ben")
            up = site.mirror.take(
                "".join(f"<presence from='{who}' to='{HERE}/ann'>{MUC}</presence>" for who in (ANN, PHONE))
                + f"<presence from='{ANN}' to='{HERE}/ann' type='unavailable'/>"
            )
            site.told()
            site.take(site.above, up)
            for _ in range(3):
                site.tick(BROADBAND.answer + 1)
            self.assertIn(presence("ann", PHONE, SELF).encode(), site.told(PHONE), way)
            self.assertEqual(site.told(ANN), b"")
            self.assertEqual(set(site.mirror.rooms.rooms[HERE].users), {PHONE})
            self.assertEqual(list(site.above.rooms.rooms[ABOVE].occupants), ["own", "ann"])

    def test_changes(self) -> None:
        """The second one may change its presence, or ask again, before the answer."""
        for way in WAYS:
            service, above, up = self.waiting(*way)
            again = f"<presence from='{PHONE}' to='{HERE}/ann'>{MUC}</presence>"
            self.assertEqual(service.take(again), b"")
            self.assertEqual(service.take(again.replace(MUC, BUSY)), b"")
            found = service.take(self.down(above, up))
            # The presence is sent to the room; in primary mode it is shown at once.
            self.assertEqual(found.count(f"<presence from='{HERE}/ann' to='{PHONE}'".encode()), 1)
            self.assertIn(BUSY.encode(), found)
