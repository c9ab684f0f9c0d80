"""Stanzas against the rules, or at a bad time, of occupants of ordinary rooms, of their services, and of users."""

from __future__ import annotations

import re

from gateway import ns
from gateway.errors import BadRequest
from gateway.fmuc.ordinary.puppets import isLoop
from gateway.stream.core import Splitter
from gateway.stream.refused import StanzaRefused
from gateway.xml.context import COMPONENT as CONTEXT
from gateway.xml.read import MAX_COST
from tests.fmuc.backed import COMPONENT, NORTH, ROOM, SERVICE, SOURCE, SOUTH, backed
from tests.fmuc.support import MUC, RoomCase, refused
from tests.fmuc.test_backing import ANN, BOB, CAROL, opened
from tests.fmuc.test_backing_stanzas import BOBS, CAROLS, DELAY, ITEM, USER, leaveOf, message, own, presence
from tests.fmuc.wire import WireCase, fmuc, seedJoin, to

DAN = "dan@south-users.example/d"
DANS = rf"dan\40south-users.example@{COMPONENT}/dan"
# Carol as in the other tests of whole stanzas.
CAROL_HERE = "carol@users.example/c"
DEEP = "<a xmlns='x'>" * 100 + "</a>" * 100
OCCUPANT = f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='%s'/>"
GIVEN = f"<stanza-id xmlns='{ns.SID}' by='%s' id='%s'/>"


class HostileTests(RoomCase):
    """Whole stanzas: Bob by the ProtoXEP, Dan by XEP-0289, Carol directly."""

    def setUp(self) -> None:
        self.wire = backed(isStored=False)
        self.wire.link.ready = True

    def take(self, xml: str) -> bytes:
        """Return what the rooms send."""
        return self.wire.settled(xml)

    def enter(self, inside: str = "") -> None:
        """Let all three join; the service writes these elements in their presence."""
        self.take(seedJoin(ROOM, "bob", NORTH, BOB))
        self.take(presence(BOBS, "ann", ITEM + OCCUPANT % "a"))
        self.take(self.own(BOBS, "bob", inside) + message(BOBS, "", "<subject/>"))
        item = f"<x {USER}><item affiliation='none' role='participant' jid='{DAN}'/></x>"
        join = f"<presence from='{SOUTH}/dan' to='{ROOM}/dan'>{fmuc(DAN, '<replica/>')}{MUC}{item}</presence>"
        self.take(join + self.own(DANS, "dan", inside))
        join = f"<presence from='{CAROL_HERE}' to='{ROOM}/carol'>{MUC}</presence>"
        self.take(join + self.own(CAROLS, "carol", inside))

    def own(self, address: str, nick: str, inside: str) -> str:
        """Return a puppet's own presence."""
        return own(address, nick).replace("</presence>", f"{inside}</presence>")

    def shown(self, inside: str, seed: str = "", name: str = "message") -> tuple[str, ...]:
        """Return what Ann's stanza becomes for each of the three; C{seed} is the content that the ProtoXEP has."""
        more = " type='groupchat' id='m'" if name == "message" else ""
        empty = f"<fmuc xmlns='{ns.FMUC}'/>"
        return tuple(
            f"<{name} from='{ROOM}/ann' to='{whom}'{more}>{first}{each}</{name}>"
            for whom, first, each in (
                (NORTH, "", seed or inside),
                (SOUTH, empty, inside),
                (CAROL_HERE, "", inside),
            )
        )

    def refuse(self, xml: str) -> bytes:
        """Let the stream refuse a stanza; return what is sent because of it."""
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        splitter.feed(CONTEXT.header)
        [refused] = [each for each in splitter.feed(xml.encode()) if isinstance(each, StanzaRefused)]
        self.wire.link.stanzaRefused(refused)
        return self.wire.settled()

    def test_refused(self) -> None:
        """
        A stanza to all that the stream refuses is dropped: each puppet would answer it with an error, and the room
        would remove the puppet. A private message, and a request, have their error.
        """
        self.enter()
        for address in (BOBS, CAROLS):
            self.assertSent(self.refuse(presence(address, "ann", ITEM + DEEP)))
            self.assertSent(self.refuse(message(address, "ann", DEEP)))
        dropped = self.wire.handler.dropped["of ordinary rooms that cannot be read"]
        self.assertEqual(dropped, 4)
        text = f"<text xmlns='{ns.STANZA_ERRORS}'>The elements of the stanza are nested too deep.</text>"
        error = f"<error type='modify'><policy-violation xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"
        self.assertSent(
            self.refuse(message(BOBS, "ann", DEEP, "chat")),
            f"<message from='{BOBS}' to='{SOURCE}/ann' type='error' id='m'>{error}</message>",
        )
        self.assertSent(
            self.refuse(f"<iq from='{SOURCE}/ann' to='{BOBS}' type='get' id='q'>{DEEP}</iq>"),
            f"<iq from='{BOBS}' to='{SOURCE}/ann' type='error' id='q'>{error}</iq>",
        )

    def test_subscriptions(self) -> None:
        """Presence of other types (RFC 6121 section 3) is none of a room, and so is that of the service."""
        self.enter()
        for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"):
            for nick in ("eve", "bob"):
                self.assertSent(self.take(presence(BOBS, nick, "", kind)))
        self.assertSent(self.take(f"<presence from='{SERVICE}' to='{BOBS}'/>"))
        self.assertNotIn("eve", self.wire.room(ROOM).occupants)

    def test_stanzaIds(self) -> None:
        """XEP-0359 section 3: an occupant's stanza id in the name of the room is removed."""
        self.enter()
        hail = "<body>Hail</body>"
        forged = GIVEN % (ROOM, "forged")
        sent = self.take(message(BOBS, "ann", f"{forged}{hail}{forged}{GIVEN % (SOURCE, 'real')}"))
        self.assertSent(sent, *self.shown(hail))
        self.assertEqual(sent.count(f"by='{ROOM}' id='real'".encode()), 3)
        self.assertNotIn(b"forged", sent)

    def test_occupantIds(self) -> None:
        """
        XEP-0421 section 3: a room that gives no occupant ids does not remove those that its occupants write. They
        are not believed, in presence, messages and history, also before the room has told that.
        """
        self.enter()
        self.assertEqual(self.wire.room(ROOM).occupants["ann"].id, "")
        forged = OCCUPANT % "forged"
        for sent in (
            self.take(message(BOBS, "ann", f"<body>x</body>{forged}")),
            self.take(presence(BOBS, "ann", ITEM + forged)),
            self.take(presence(BOBS, "eve", ITEM + forged)),
        ):
            self.assertEqual(sent.count(b"from='"), 3, sent)
            self.assertNotIn(b"forged", sent)

    def test_ownIds(self) -> None:
        """The ids of a room that gives some are passed on."""
        self.enter(OCCUPANT % "mine")
        self.assertEqual(self.wire.room(ROOM).occupants["ann"].id, "a")
        sent = self.take(message(BOBS, "ann", f"<body>x</body>{OCCUPANT % 'b'}"))
        # Nodes know it from Ann's presence.
        self.assertEqual(sent.count(b"id='b'"), 1)

    def test_self(self) -> None:
        """XEP-0045 section 7.2.2: code 110 that another occupant writes is no new nick of the puppet."""
        self.enter()
        forged = f"<x {USER}><status code='110'/></x>"
        self.assertSent(self.take(presence(BOBS, "ann", ITEM + forged)), *self.shown(ITEM, name="presence"))
        self.assertIn("bob", self.wire.room(ROOM).occupants)

    def test_errors(self) -> None:
        """An error from another occupant's address is no answer to a puppet's presence."""
        self.enter()
        error = f"<error type='cancel'><conflict xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertSent(self.take(presence(BOBS, "ann", error, "error")))
        self.assertIn("bob", self.wire.room(ROOM).occupants)

    def test_delay(self) -> None:
        """
        A service that sends no subject: a message without a delay ends the history. Later delays are those of the
        senders: the message is shown, and it is new.
        """
        self.take(f"<presence from='{CAROL_HERE}' to='{ROOM}/carol'>{MUC}</presence>")
        self.take(presence(CAROLS, "ann") + own(CAROLS, "carol") + message(CAROLS, "ann", "<body>new</body>"))
        for _ in range(4):
            self.wire.tickBytes(10)
        self.assertSent(
            self.take(message(CAROLS, "ann", f"<body>late</body>{DELAY}")),
            f"<message from='{ROOM}/ann' to='{CAROL_HERE}' type='groupchat' id='m'><body>late</body></message>",
        )

    def test_end(self) -> None:
        """
        XEP-0313 section 4.3: an end of the archive that cannot be read ends the query, and what has come meanwhile
        is shown.
        """
        self.enter()
        self.take(message(BOBS, "ann", f"<body>1</body>{GIVEN % (SOURCE, 'one')}"))
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        sent = self.take(presence(BOBS, "ann") + self.own(BOBS, "bob", "")).decode()
        [asked] = re.findall("id='(missed-[^']*)' type", sent)
        self.assertSent(self.take(message(BOBS, "", "<subject/>") + message(BOBS, "ann", "<body>2</body>")))
        fin = f"<fin xmlns='{ns.MAM}'>{'<a/>' * MAX_COST}</fin>"
        sent = self.take(f"<iq from='{SOURCE}' to='{BOBS}' type='result' id='{asked}'>{fin}</iq>").decode()
        self.assertEqual(sent.count("<body>2</body>"), 3)

    def test_long(self) -> None:
        """The id of an archive's last message is no longer than ids are: no query follows with a longer one."""
        self.enter()
        query = self.rejoin()
        last = f"<set xmlns='{ns.RSM}'><last>{'x' * 129}</last></set>"
        fin = f"<fin xmlns='{ns.MAM}'>{last}</fin>"
        self.assertSent(self.take(f"<iq from='{SOURCE}' to='{BOBS}' type='result' id='{query}'>{fin}</iq>"))

    def rejoin(self) -> str:
        """Let the mirror join anew; return the id of the query of the archive."""
        self.take(message(BOBS, "ann", f"<body>1</body>{GIVEN % (SOURCE, 'one')}"))
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        [found] = re.findall("id='(missed-[^']*)' type", self.take(self.own(BOBS, "bob", "")).decode())
        return str(found)

    def test_large(self) -> None:
        """Large messages while the archive is asked do not wait without bound."""
        self.enter()
        self.rejoin()
        self.take(message(BOBS, "", "<subject/>"))
        body = f"<body>{'x' * 150_000}</body>"
        for _ in range(4 * 1024 * 1024 // 150_000):
            self.assertSent(self.take(message(BOBS, "ann", body)))
        self.assertGreater(len(self.take(message(BOBS, "ann", body))), 4 * 1024 * 1024)

    def test_largeHistory(self) -> None:
        """Nor does a large history."""
        self.enter()
        self.rejoin()
        body = f"<body>{'x' * 150_000}</body>{DELAY}"
        for number in range(100):
            self.take(message(BOBS, "ann", f"{body}{GIVEN % (SOURCE, f'h{number}')}"))
        sent = self.take(message(BOBS, "", "<subject/>"))
        self.assertEqual(sent.count(b"<body>"), 3 * (4 * 1024 * 1024 // 150_030))

    def test_pings(self) -> None:
        """XEP-0410: an answer to a self-ping comes from the address that was asked, even if others know the id."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        sent = self.take(self.own(BOBS, "bob", "") + message(BOBS, "", "<subject/>")).decode()
        [asked] = re.findall(f"<iq from='{re.escape(CAROLS)}' to='{SOURCE}/carol' id='([^']*)'", sent)
        forged = f"<iq from='{SOURCE}/ann' to='{CAROLS}' type='result' id='{asked}'/>"
        self.assertSent(self.take(forged))
        self.assertSent(self.take(presence(CAROLS, "ann", f"<x {USER}><status code='110'/></x>")))
        gone = f"<error type='cancel'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertSent(
            self.take(f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='error' id='{asked}'>{gone}</iq>"),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol'>"
            f"<x xmlns='{ns.MUC}'><history maxstanzas='0'/></x></presence>",
        )

    def test_otherRooms(self) -> None:
        """A user has one address in all ordinary rooms: another room cannot answer for this one."""
        self.enter()
        hall = SOURCE.replace("lobby", "hall")
        self.take(f"<presence from='{CAROL_HERE}' to='{ROOM.replace('lobby', 'hall')}/carol'>{MUC}</presence>")
        answer = self.own(CAROLS, "carol", "") + message(CAROLS, "", "<subject/>")
        self.take(answer.replace(SOURCE, hall))
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        sent = self.take(self.own(BOBS, "bob", "") + message(BOBS, "", "<subject/>")).decode()
        [asked] = re.findall(f"<iq from='{re.escape(CAROLS)}' to='{SOURCE}/carol' id='([^']*)'", sent)
        gone = f"<error type='cancel'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error>"
        answer = f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='error' id='{asked}'>{gone}</iq>"
        self.assertSent(self.take(answer.replace(SOURCE, hall)))
        self.assertIn(f"<presence from='{CAROLS}' to='{SOURCE}/carol'>".encode(), self.take(answer))

    def test_nameless(self) -> None:
        """A room that is no occupant gives no nick."""
        self.take(f"<presence from='{CAROL_HERE}' to='{ROOM}/carol'>{MUC}</presence>")
        forged = f"<presence from='{SOURCE}' to='{CAROLS}'><x {USER}><status code='110'/></x></presence>"
        self.assertSent(self.take(forged))

    def test_delays(self) -> None:
        """XEP-0203 section 4: of several delays, that of the room tells when a message was sent."""
        forged = f"<delay xmlns='{ns.DELAY}' from='eve@local.example' stamp='2126-11-30T04:53:35Z'/>"
        for delays in (forged + DELAY, DELAY + forged, DELAY.replace(SOURCE, f"{SOURCE}/ann") + forged):
            self.setUp()
            self.take(f"<presence from='{CAROL_HERE}' to='{ROOM}/carol'>{MUC}</presence>")
            self.take(self.own(CAROLS, "carol", ""))
            sent = self.take(message(CAROLS, "ann", f"<body>x</body>{delays}") + message(CAROLS, "", "<subject/>"))
            self.assertIn(DELAY.replace(SOURCE, ROOM).encode(), sent)
            self.assertNotIn(b"2126", sent)

    def test_noId(self) -> None:
        """RFC 6120 section 8.2.3: a request must have an id."""
        self.enter()
        ping = f"<ping xmlns='{ns.PING}'/>"
        self.assertSent(
            self.take(f"<iq from='{SOURCE}' to='{CAROLS}' type='get'>{ping}</iq>"),
            refused("iq", CAROLS, SOURCE, BadRequest),
        )

    def test_abandoned(self) -> None:
        """A puppet that nobody needs, because the room has ended, leaves; then nothing of it is kept."""
        self.enter()
        gone = f"<x {USER}><item affiliation='none' role='none'/><destroy/></x>"
        self.take(presence(BOBS, "bob", gone, "unavailable"))
        self.assertEqual(self.wire.rooms.rooms, {})
        # The others are not told. One of them is heard of before.
        self.assertSent(self.take(presence(CAROLS, "carol")), leaveOf(CAROLS, "carol"))
        self.assertSent(self.wire.tickBytes(1), leaveOf(DANS, "dan"))
        self.assertSent(self.wire.tickBytes(11))
        assert self.wire.backing is not None
        self.assertEqual(self.wire.backing.count, 0)

    def test_named(self) -> None:
        """A user whose name is that of the component is no puppet."""
        self.assertFalse(isLoop(COMPONENT, f"{COMPONENT}@users.example/r"))
        self.assertTrue(isLoop(COMPONENT, rf"x\40{COMPONENT}@users.example/r"))


class NickTests(WireCase):
    """Nicks that are taken again, within the time for which the answer to a leave is awaited."""

    def setUp(self) -> None:
        self.site = opened()
        self.site.join(NORTH, "carol", CAROL)

    def checkQuiet(self) -> None:
        """Nothing happens for a while."""
        for _ in range(15):
            self.assertEqual(self.site.tick(1), [])

    def test_sameUser(self) -> None:
        """XEP-0045 section 7.14: a user leaves and is back in a moment, and stays."""
        for room in (NORTH, SOUTH, ROOM):
            self.site.join(room, "dan", DAN)
            self.site.leave(room, "dan", DAN)
            self.assertIn(f"presence {room}/dan > {DAN} none/participant 110", self.site.join(room, "dan", DAN))
            self.checkQuiet()
            self.site.leave(room, "dan", DAN)

    def test_other(self) -> None:
        """The nick of a user who has left is taken by another one, here or there, who stays."""
        for room, there in ((SOURCE, NORTH), (ROOM, NORTH), (NORTH, SOUTH)):
            self.site.join(there, "dan", DAN)
            self.site.leave(there, "dan", DAN)
            found = self.site.join(room, "dan", BOB)
            self.assertIn(f"presence {NORTH}/dan none/participant", to(CAROL, found))
            self.checkQuiet()
            self.site.leave(room, "dan", BOB)

    def test_said(self) -> None:
        """The owner of the ordinary room, too, may join the room here, by another nick: each message comes once."""
        self.site.join(ROOM, "ann2", ANN)
        found = self.site.say(SOURCE, ANN, "x")
        self.assertEqual(
            sorted(each.split(" > ")[0] for each in found),
            sorted(f"message {room}/ann" for room in (SOURCE, ROOM, NORTH)),
        )
