"""Occupant ids (XEP-0421) and stanza ids (XEP-0359) through mirrors: they are the same on both sides."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway import ns
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.ids import Ids, occupantId
from tests.fmuc.support import MUC, RoomCase, Service, mirror
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.fmuc.test_properties import asking, info
from tests.fmuc.wire import fmuc, read

OCCUPANT_ID, STANZA_ID = f"{{{ns.OCCUPANT_ID}}}occupant-id", f"{{{ns.SID}}}stanza-id"
BODY = "{jabber:component:accept}body"
FAR = r"coven\5c40chat.example\40mirror.example@far.example"
IDS = Ids(b"above")
STORE = f"<store xmlns='{ns.HINTS}'/>"


def idOf(user: str) -> str:
    """Return the id that the joined node gives a user."""
    return occupantId(IDS.salt(ABOVE), user.partition("/")[0])


def given(identifier: str) -> str:
    """Return an element C{occupant-id}."""
    return f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='{identifier}'/>"


def assigned(by: str, identifier: str) -> str:
    """Return an element C{stanza-id}."""
    return f"<stanza-id xmlns='{ns.SID}' by='{by}' id='{identifier}'/>"


class Joined(Site):
    """Two sites, with the room's owner, and two users of the mirror."""

    def __init__(self, dialect: Dialect, replica: bool) -> None:
        super().__init__(dialect, replica)
        self.above = Service(Rooms("chat.example", None, frozenset(("mirror.example",)), ids=IDS))
        self.join(OWN, "own")
        self.join(ANN, "ann")
        self.join(BEN, "ben")

    def say(self, who: str, inside: str, nick: str = "") -> None:
        """Send a message, to all or to one occupant."""
        service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
        address, kind = (f"{room}/{nick}", "chat") if nick else (room, "groupchat")
        self.take(service, f"<message from='{who}' to='{address}' type='{kind}'>{inside}</message>")

    def show(self, who: str, nick: str, inside: str) -> None:
        """Send a presence."""
        service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
        self.take(service, f"<presence from='{who}' to='{room}/{nick}'>{inside}</presence>")

    def read(self, who: str) -> list[Element]:
        """Return what a user was sent since the last call."""
        return read(self.seen(who).encode())


class MirrorTests(RoomCase):
    """Both protocols, in both modes."""

    def assertIds(self, found: list[Element]) -> None:
        """Each stanza from an occupant has one occupant id: that which the joined node gives this user."""
        users = {"own": OWN, "ann": ANN, "ben": BEN}
        for stanza in found:
            nick = stanza.get("from", "").partition("/")[2]
            ids = [each.get("id") for each in stanza.iter(OCCUPANT_ID)]
            self.assertEqual(ids, [idOf(users[nick])] if nick else [], stanza.attrib)

    def test_occupants(self) -> None:
        """All see the same id of an occupant: in presence, messages, private messages, history and at a leave."""
        for way in WAYS:
            site = Joined(*way)
            for who, nick, there in ((OWN, "own", "ann"), (ANN, "ann", "own"), (BEN, "ben", "ann")):
                site.say(who, "<body>x</body>")
                site.say(who, "<subject>x</subject>")
                site.show(who, nick, "<show>away</show>")
                site.say(who, "<body>x</body>", there)
            site.leave(ANN, "ann")
            site.join(ANN, "ann")
            for who in (OWN, ANN, BEN):
                found = site.read(who)
                self.assertGreater(len(found), 10)
                self.assertIds(found)
            history = Joined(*way)
            history.say(OWN, "<body>x</body>")
            history.say(ANN, "<body>y</body>")
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                history.leave(who, nick)
                history.seen(who)
            # The mirror is told the history anew. Its sender, ann, is no occupant now.
            history.join(BEN, "ben")
            found = history.read(BEN)
            self.assertEqual([each.findtext(BODY) for each in found if each.findtext(BODY)], ["x", "y"], way)
            self.assertIds(found)

    def test_disco(self) -> None:
        """A mirror announces both kinds of ids, as the room does."""
        for way in WAYS:
            site = Joined(*way)
            site.take(site.mirror, asking(ANN))
            found = site.seen(ANN)
            for feature in (ns.OCCUPANT_ID, ns.SID):
                self.assertEqual(found.count(f"<feature var='{feature}'/>"), 1)

    def test_unannounced(self) -> None:
        """
        XEP-0421 section 4: the id "MUST be attached to every message and every presence", and be stable. By the
        ProtoXEP, a mirror depends on the room for that: it announces ids if the room does. The service of such
        mirrors "MUST NOT specify the feature". By XEP-0289, the room names each user, so the mirror can give ids.
        """
        announced = f"<feature var='{ns.OCCUPANT_ID}'/>"
        for dialect in Dialect:
            service = mirror("mirror.example", dialect)
            isAlways = dialect is Dialect.XEP_0289
            found = service.take(asking(ANN, "mirror.example"))
            self.assertEqual(found.decode().count(announced), isAlways)
            for features, number in (((), isAlways), ((ns.OCCUPANT_ID,), True)):
                service = mirror("mirror.example", dialect)
                service.take(asking(ANN))
                told = info("muc_open", *features)
                found = service.take(f"<iq from='{ABOVE}' to='{HERE}' id='info-t-1' type='result'>{told}</iq>")
                self.assertEqual(found.decode().count(announced), number)
                self.assertIn(b"muc_open", found)
            service = mirror("mirror.example", dialect)
            service.take(asking(ANN))
            self.assertEqual(service.tick(11).decode().count(announced), isAlways)

    def test_forged(self) -> None:
        """Ids that users of either side bring are replaced on both."""
        forged = given("forged") + assigned(ABOVE, "forged") + assigned(HERE, "forged")
        for way in WAYS:
            site = Joined(*way)
            for who, nick, there in ((OWN, "own", "ann"), (ANN, "ann", "own"), (BEN, "ben", "ann")):
                site.say(who, f"<body>x</body>{forged}")
                site.say(who, f"<body>x</body>{forged}", there)
                site.show(who, nick, f"<show>away</show>{given('forged')}")
            own = {OWN: ABOVE, ANN: HERE, BEN: HERE}
            for who, room in own.items():
                found = site.read(who)
                self.assertIds(found)
                for stanza in found:
                    ids = [each.get("id") for each in stanza.findall(STANZA_ID) if each.get("by") == room]
                    self.assertNotIn("forged", ids, way)

    def test_stanzas(self) -> None:
        """
        Each side sees the stanza id in the name of the room that it is in, and the same id; so what refers to a
        message (XEP-0424, 0444, 0461) finds it on the other side. It is the same in the history of both.
        """
        for way in WAYS:
            site = Joined(*way)
            for who, inside in (
                (OWN, "<body>x</body>"),
                (ANN, "<body>y</body>"),
                (BEN, "<body>z</body>"),
                (ANN, f"<reactions xmlns='urn:xmpp:reactions:0' id='x'/>{STORE}"),
            ):
                for each in (OWN, ANN, BEN):
                    site.seen(each)
                site.say(who, inside)
                found = {each: site.read(each) for each in (OWN, ANN, BEN)}
                ids = set()
                for each, room in ((OWN, ABOVE), (ANN, HERE), (BEN, HERE)):
                    [stanza] = found[each]
                    [one] = stanza.findall(STANZA_ID)
                    self.assertEqual(one.get("by"), room)
                    ids.add(one.get("id"))
                self.assertEqual(len(ids), 1, way)
            rooms = (site.above.rooms.rooms[ABOVE], site.mirror.rooms.rooms[HERE])
            above, here = ([message.stanzaId for message in room.history] for room in rooms)
            self.assertEqual(above, here)
            self.assertEqual(len(set(above)), 4)
            # The history that the joined node sends a mirror has the ids, too.
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.leave(who, nick)
            site.seen(ANN)
            site.join(ANN, "ann")
            found_ = [each.get("id") for stanza in site.read(ANN) for each in stanza.findall(STANZA_ID)]
            self.assertEqual(found_, above)

    def test_noStore(self) -> None:
        """XEP-0334: no history, on both sides."""
        for way in WAYS:
            site = Joined(*way)
            for who in (OWN, ANN):
                site.seen(BEN)
                site.say(who, f"<body>x</body><no-store xmlns='{ns.HINTS}'/>")
                self.assertEqual(site.seen(BEN).count("<body>"), 1)
            for room in (site.above.rooms.rooms[ABOVE], site.mirror.rooms.rooms[HERE]):
                self.assertEqual(len(room.history), 0)

    def test_sessions(self) -> None:
        """XEP-0045 section 7.2.8: a user's clients at the room and in a mirror are one occupant, with one id."""
        for way in WAYS:
            site = Joined(*way)
            site.take(site.above, f"<presence from='eve@a.example/1' to='{ABOVE}/eve'>{MUC}</presence>")
            site.take(site.mirror, f"<presence from='eve@a.example/2' to='{HERE}/eve'>{MUC}</presence>")
            ids = {service.rooms.rooms[room].occupants["eve"].id for service, room in self.rooms(site)}
            self.assertEqual(ids, {idOf("eve@a.example")}, way)

    def rooms(self, site: Site) -> tuple[tuple[Service, str], ...]:
        """Return both services, and the room of each."""
        return (site.above, ABOVE), (site.mirror, HERE)

    def test_links(self) -> None:
        """
        A live message crosses the link without the occupant id, which the other node knows by the presence; with a
        stanza id in one direction only.
        """
        for dialect, replica in WAYS:
            site = Joined(dialect, replica)
            up = site.mirror.take(
                f"<message from='{ANN}' to='{HERE}' type='groupchat'><body>x</body></message>"
            )
            [toAbove] = [each for each in read(up) if each.get("to", "").startswith(ABOVE)]
            self.assertEqual(toAbove.findall(OCCUPANT_ID), [])
            shown = [(each.get("by"), each.get("id")) for each in toAbove.findall(STANZA_ID)]
            # In primary mode the mirror has shown the message with an id.
            self.assertEqual([by for by, _ in shown], [] if replica else [HERE])
            down = site.above.take(
                f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>x</body></message>"
            )
            [toMirror] = [each for each in read(down) if each.get("to") == HERE]
            self.assertEqual(toMirror.findall(OCCUPANT_ID), [])
            self.assertEqual([each.get("by") for each in toMirror.findall(STANZA_ID)], [ABOVE])

    def test_otherJoining(self) -> None:
        """
        Ids that a joining node names are replaced: it decides neither who is who, nor takes the id of another
        message. Only a new id that it has shown its message with is taken over.
        """
        site = Joined(Dialect.XEP_0289, False)
        room, above = site.above.rooms.rooms[ABOVE], site.above
        lie = given(idOf(OWN))
        above.take(f"<presence from='{HERE}/ann' to='{ABOVE}/ann'>{fmuc(ANN)}<show>xa</show>{lie}</presence>")
        self.assertEqual(room.occupants["ann"].id, idOf(ANN))
        site.say(OWN, "<body>first</body>")
        site.say(OWN, "<subject>s</subject>")
        assert room.subject is not None
        [message] = room.history
        for identifier, isTaken in (
            ("new", True),
            (message.stanzaId, False),
            (room.subject.stanzaId, False),
            ("new", False),
            ("x" * 128, True),
            ("x" * 129, False),
            ("", False),
        ):
            inside = f"{fmuc(ANN)}<body>x</body>{lie}{assigned(HERE, identifier)}"
            above.take(f"<message from='{HERE}/ann' to='{ABOVE}' type='groupchat'>{inside}</message>")
            *_, last = room.history
            self.assertEqual(last.stanzaId == identifier, isTaken, identifier)
            self.assertTrue(last.stanzaId)
            self.assertEqual(last.occupantId, idOf(ANN))

    def test_usersGiveNone(self) -> None:
        """A user's own bare JID is no room: an id in its name is not taken over."""
        site = Joined(Dialect.XEP_0289, True)
        for who, service, room in ((OWN, site.above, ABOVE), (ANN, site.mirror, HERE)):
            site.say(who, f"<body>x</body>{assigned(who.partition('/')[0], 'mine')}")
            self.assertNotIn("mine", [message.stanzaId for message in service.rooms.rooms[room].history])

    def test_chain(self) -> None:
        """A mirror of a mirror: one id of each occupant and message at all three nodes, whoever speaks."""
        for dialect, replica in WAYS:
            line = Line(dialect, replica)
            people = {OWN: (ABOVE, "own"), ANN: (HERE, "ann"), BEN: (FAR, "ben"), "eve@a.example/1": (FAR, "eve")}
            for who, (room, nick) in people.items():
                line.take(room, f"<presence from='{who}' to='{room}/{nick}'>{MUC}</presence>")
            for who, (room, _) in people.items():
                line.shown.clear()
                line.take(room, f"<message from='{who}' to='{room}' type='groupchat'><body>x</body></message>")
                senders = {each.get("id") for one in line.shown for each in one.findall(OCCUPANT_ID)}
                self.assertEqual(senders, {idOf(who)})
                ids = [(one.get("from", ""), each) for one in line.shown for each in one.findall(STANZA_ID)]
                self.assertEqual([each.get("by") for _, each in ids], [room.partition("/")[0] for room, _ in ids])
                self.assertEqual((len(ids), len({each.get("id") for _, each in ids})), (4, 1))


class Line:
    """
    A room, its mirror, and a mirror of that.

    @ivar shown: stanzas to users.
    """

    def __init__(self, dialect: Dialect, replica: bool) -> None:
        everything = frozenset(("*",))
        mode = Mode.REPLICA if replica else Mode.PRIMARY
        mirroring = Mirroring(dialect=dialect, mode=mode, allow=everything, users=everything)
        self.shown: list[Element] = []
        self._services = {
            ABOVE: Service(Rooms("chat.example", None, frozenset(("mirror.example",)), ids=IDS)),
            HERE: Service(Rooms("mirror.example", mirroring, frozenset(("far.example",)))),
            FAR: Service(Rooms("far.example", mirroring, frozenset())),
        }

    def take(self, room: str, xml: str | bytes) -> None:
        """Deliver a stanza, and all stanzas that it causes."""
        for stanza in read(self._services[room].take(xml)):
            there = stanza.get("to", "").partition("/")[0]
            if there in self._services:
                self.take(there, ElementTree.tostring(stanza))
            else:
                self.shown.append(stanza)


class OtherRoomTests(RoomCase):
    """A joined node that gives no ids."""

    def setUp(self) -> None:
        everything = frozenset(("*",))
        mirroring = Mirroring(allow=everything, users=everything)
        self.ids = Ids(b"here")
        self.mirror = Service(Rooms("mirror.example", mirroring, frozenset(), ids=self.ids))
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")

    def take(self, stanza: str) -> list[Element]:
        return read(self.mirror.take(stanza))

    def own(self, user: str) -> str:
        return occupantId(self.ids.salt(HERE), user.partition("/")[0])

    def enter(self, more: str = "") -> list[Element]:
        """Return what a user is sent whom the joined node admits, besides one other occupant."""
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        for nick, who in (("own", OWN), ("ann", ANN)):
            self.mirror.take(f"<presence from='{ABOVE}/{nick}' to='{HERE}'>{fmuc(who)}{item}{more}</presence>")
        return self.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc('')}<subject/></message>")

    def test_byRealJid(self) -> None:
        """XEP-0289 names the user, so the mirror gives an id of its own; it gives stanza ids, too."""
        found = {each.get("from"): each for each in self.enter() if each.tag.endswith("presence")}
        for nick, who in (("own", OWN), ("ann", ANN)):
            [one] = found[f"{HERE}/{nick}"].findall(OCCUPANT_ID)
            self.assertEqual(one.get("id"), self.own(who))
        body = f"{fmuc(OWN)}<body>x</body>"
        [sent] = self.take(f"<message from='{ABOVE}/own' to='{HERE}' type='groupchat'>{body}</message>")
        self.assertEqual([each.get("id") for each in sent.iter(OCCUPANT_ID)], [self.own(OWN)])
        [one] = sent.findall(STANZA_ID)
        self.assertEqual((one.get("by"), len(one.get("id", ""))), (HERE, 16))

    def test_history(self) -> None:
        """A nick in the history may be another user's than the present occupant's: that one's id would be a lie."""
        delay = f"<delay xmlns='{ns.DELAY}' from='{ABOVE}' stamp='2026-01-01T00:00:00Z'/>"
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        self.mirror.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{fmuc(OWN)}{item}</presence>")
        for user, expected in ((fmuc(BEN), [self.own(BEN)]), ("", [])):
            inside = f"{user}<body>x</body>{delay}"
            self.mirror.take(f"<message from='{ABOVE}/own' to='{HERE}' type='groupchat'>{inside}</message>")
            *_, message = self.mirror.rooms.rooms[HERE].history
            self.assertEqual([message.occupantId] if message.occupantId else [], expected)

    def test_otherUser(self) -> None:
        """A nick passes to another user: so does the id, whether the joined node gives it or not."""
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        self.enter()
        for user, more, expected in (
            (BEN, "", self.own(BEN)),
            ("ben@a.example/other", "", self.own(BEN)),
            (OWN, given("theirs"), "theirs"),
            (OWN, "", "theirs"),
            (BEN, "", self.own(BEN)),
        ):
            inside = f"{fmuc(user)}{item}{more}"
            [sent] = self.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{inside}</presence>")
            self.assertEqual([each.get("id") for each in sent.iter(OCCUPANT_ID)], [expected])

    def test_unusable(self) -> None:
        """Ids that are empty or too long (XEP-0421 section 4.1) are none."""
        for bad in ("", "x" * 129):
            self.setUp()
            found = [each for each in self.enter(given(bad)) if each.tag.endswith("presence")]
            ids = {each.get("id") for stanza in found for each in stanza.iter(OCCUPANT_ID)}
            self.assertEqual(ids, {self.own(OWN), self.own(ANN)})

    def test_unknown(self) -> None:
        """
        By the ProtoXEP, a room does not name its users. Somebody else may take the nick of one who has left, so an
        occupant without an id gets none.
        """
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x>"
        for nick in ("own", "ann"):
            self.mirror.take(f"<presence from='{ABOVE}/{nick}' to='{HERE}'>{item}</presence>")
        found = self.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>")
        ids = {
            stanza.get("from"): [each.get("id") for each in stanza.iter(OCCUPANT_ID)]
            for stanza in found
            if stanza.tag.endswith("presence")
        }
        self.assertEqual(ids, {f"{HERE}/own": [], f"{HERE}/ann": [self.own(ANN)]})
        [sent] = self.take(f"<message from='{ABOVE}/own' to='{HERE}' type='groupchat'><body>x</body></message>")
        self.assertEqual(list(sent.iter(OCCUPANT_ID)), [])
