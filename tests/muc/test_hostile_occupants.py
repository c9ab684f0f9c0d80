"""Hostile occupants of a room: forged answers and ids, tables that fill, forms that cost much."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadRequest,
    HasVoice,
    NickInUse,
    NotAcceptable,
    NotEntitled,
    NotInTheRoom,
    ResourceLimit,
    RoomLocked,
)
from gateway.fmuc.core import Rooms
from gateway.muc.room import Bounds
from gateway.testing import stanzas
from tests.fmuc.support import MUC, refused, rooms
from tests.fmuc.test_costs import OWN, CostCase, R
from tests.fmuc.wire import Wire
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, LocalCase
from tests.muc.test_queries import QueryCase
from tests.muc.test_register import FORM_TYPE, RegisterCase

HAG_, WISE_ = (each.partition("/")[0] for each in (HAG, WISE))
CARD = f"<vCard xmlns='{ns.VCARD}'/>"
# Other spellings of the room's address, and an address within the room.
SPELLINGS = (
    ROOM,
    "COVEN@chat.shakespeare.lit",
    "coven@CHAT.Shakespeare.LIT",
    "coven@chat.shakespeare.lit.",
    f"{ROOM}/crone",
    "&#99;oven@chat.shakespeare.lit",
    "\N{FULLWIDTH LATIN SMALL LETTER C}oven@chat.shakespeare.lit",
)


def admin(*items: str) -> str:
    """Return a request of administration."""
    return f"<query xmlns='{ns.MUC_ADMIN}'>{''.join(f'<item {each}/>' for each in items)}</query>"


def form(namespace: str, **fields: str) -> str:
    """Return a submitted form; in names of fields, C{__} stands for C{#}."""
    kind = f"<field var='FORM_TYPE'><value>{namespace}</value></field>"
    content = "".join(
        f"<field var='{var.replace('__', '#')}'><value>{value}</value></field>" for var, value in fields.items()
    )
    return f"<x xmlns='{ns.DATA}' type='submit'>{kind}{content}</x>"


class ReservedTests(RegisterCase):
    """Reserved nicks (XEP-0045 sections 7.10 and 9.5)."""

    def test_sameNick(self) -> None:
        """One list that reserves a nick for two users is "conflict": both would have it."""
        items = [f"jid='{who}' affiliation='member' nick='third'" for who in (HAG_, WISE_)]
        self.assertRefusedBy(self.ask(CRONE, ROOM, admin(*items), "set"), CRONE, ROOM, NickInUse)
        self.assertEqual((self.room.registrations.nicks, len(self.room.affiliations)), ({}, 1))
        # The same user may be named twice.
        self.assertAnswered(self.ask(CRONE, ROOM, admin(items[0], items[0]), "set"), CRONE, ROOM, "")
        freed = admin(f"jid='{HAG_}' affiliation='none'", f"jid='{WISE_}' affiliation='none'")
        self.assertAnswered(self.ask(CRONE, ROOM, freed, "set"), CRONE, ROOM, "")
        self.assertEqual((self.room.registrations.nicks, self.room.registrations.users), ({}, {}))

    def test_banned(self) -> None:
        """Requests of a domain that is banned then do not keep others from asking."""
        for number in range(100):
            self.register(f"u{number}@flood.example/x", f"n{number}")
        self.assertRefusedBy(self.register(HAG, "third"), HAG, ROOM, ResourceLimit)
        self.ask(CRONE, ROOM, admin("jid='flood.example' affiliation='outcast'"), "set")
        self.assertIn(b"type='result'", self.register(HAG, "third"))
        self.assertEqual(self.room.registrations.requests, {HAG_: "third"})

    def test_forOthers(self) -> None:
        """A form cannot name another user, and an approval of a request that nobody made gives nothing."""
        fields = (
            "<field var='muc#register_roomnick'><value>third</value></field>"
            f"<field var='x-muc#register_jid'><value>{WISE_}</value></field>"
            "<field var='muc#register_allow'><value>1</value></field>"
        )
        request = f"<query xmlns='{ns.REGISTER}'><x xmlns='{ns.DATA}' type='submit'>{FORM_TYPE}{fields}</x></query>"
        self.ask(HAG, ROOM, request, "set")
        self.assertEqual(self.room.registrations.requests, {HAG_: "third"})
        self.assertRejected(self.answer(HAG, HAG_, "third"), HAG, NotEntitled)
        self.assertEqual(self.room.affiliations.get(HAG_), None)


class AnswerTests(QueryCase):
    """Requests between occupants (section 16.4)."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")
        self.join(WISE, "wise")

    def answer(self, sender: str, recipient: str, kind: str = "result", identifier: str = "1") -> bytes:
        iq = f"<iq from='{sender}' to='{recipient}' id='{identifier}' type='{kind}'>"
        error = f"<error type='cancel' by='{CRONE}'><gone xmlns='{ns.STANZA_ERRORS}'/></error>"
        return self.service.take(f"{iq}{error if kind == 'error' else CARD}</iq>")

    def test_forged(self) -> None:
        """Only the account that was asked can answer, to the address that asks, with the same id, and once."""
        self.ask(HAG, f"{ROOM}/crone", CARD)
        asked = CRONE.partition("/")[0]
        for sender, recipient, identifier in (
            (WISE, f"{ROOM}/hag", "1"),
            (HAG, f"{ROOM}/hag", "1"),
            (CRONE, f"{ROOM}/hag", "1"),
            (f"{asked}/other", f"{ROOM}/hag", "1"),
            ("CRONE1@shakespeare.lit", f"{ROOM}/hag", "1"),
            (ROOM, f"{ROOM}/hag", "1"),
            (f"{ROOM}/crone", f"{ROOM}/hag", "1"),
            (asked, ROOM, "1"),
            (asked, f"{ROOM}/wise", "1"),
            (asked, f"{ROOM}/crone", "1"),
            (asked, f"{ROOM}/hag", "2"),
        ):
            for kind in ("result", "error"):
                self.assertEqual(self.answer(sender, recipient, kind, identifier), b"")
        answered = f"<iq from='{ROOM}/crone' to='{HAG}' id='1' type='result'>{CARD}</iq>"
        self.assertSent(self.answer(asked, f"{ROOM}/hag"), answered)
        self.assertEqual(self.answer(asked, f"{ROOM}/hag"), b"")
        self.assertEqual(set(self.room.occupants), {"crone", "hag", "wise"})

    def test_error(self) -> None:
        """An error removes nobody, and its attribute C{by} does not tell the real JID."""
        self.ask(HAG, f"{ROOM}/crone", CARD)
        sent = self.answer(CRONE.partition("/")[0], f"{ROOM}/hag", "error")
        self.assertNotIn(b"crone1", sent)
        self.assertIn(b"<gone", sent)
        self.assertIn("crone", self.room.occupants)

    def test_sameId(self) -> None:
        """Two clients with one nick and the same id: the second one is refused, the first one gets its answer."""
        phone = f"{HAG_}/phone"
        self.join(phone, "hag")
        self.ask(HAG, f"{ROOM}/crone", CARD)
        sent = self.ask(phone, f"{ROOM}/crone", CARD)
        self.assertIn(f"to='{phone}'".encode(), sent)
        self.assertIn(b"type='error'", sent)
        answered = f"<iq from='{ROOM}/crone' to='{HAG}' id='1' type='result'>{CARD}</iq>"
        self.assertSent(self.answer(CRONE.partition("/")[0], f"{ROOM}/hag"), answered)

    def test_outside(self) -> None:
        """Nobody outside can ask. A new owner of the nick does not get the answer to a former one."""
        eve = "eve@else.example/1"
        self.assertRefusedBy(self.ask(eve, f"{ROOM}/crone", CARD), eve, f"{ROOM}/crone", NotInTheRoom)
        self.ask(HAG, f"{ROOM}/crone", CARD)
        self.leave(HAG, "hag")
        self.join(eve, "hag")
        sent = self.answer(CRONE.partition("/")[0], f"{ROOM}/hag")
        self.assertSent(sent, f"<iq from='{ROOM}/crone' to='{HAG}' id='1' type='result'>{CARD}</iq>")


class IdTests(LocalCase):
    """Ids (XEP-0359, XEP-0421)."""

    def test_spellings(self) -> None:
        """A stanza id in the name of the room is removed, however the room's JID is spelled."""
        self.join(HAG, "hag")
        for by in SPELLINGS:
            forged = f"<stanza-id xmlns='{ns.SID}' by='{by}' id='forged'/>"
            prefixed = f"<s:stanza-id xmlns:s='{ns.SID}' by='{by}' id='forged'/>"
            for each in (forged, prefixed, forged * 5 + prefixed * 20):
                sent = self.say(HAG, f"<body>x</body>{each}")
                self.assertNotIn(b"forged", sent, by)
                self.assertEqual(sent.count(b"stanza-id"), 2, by)
                direct = f"<message from='{HAG}' to='{ROOM}/crone' type='chat'><body>x</body>{each}</message>"
                self.assertNotIn(b"forged", self.service.take(direct), by)

    def test_occupantIds(self) -> None:
        """Occupant ids that others bring are removed from presence and messages."""
        forged = "<{0}occupant-id xmlns{1}='" + ns.OCCUPANT_ID + "' id='forged'/>"
        content = forged.format("", "") + forged.format("o:", ":o")
        sent = self.join(HAG, "hag", show=content)
        sent += self.say(HAG, f"<body>x</body>{content}")
        sent += self.service.take(f"<presence from='{HAG}' to='{ROOM}/old'>{content}</presence>")
        sent += self.service.take(
            f"<message from='{HAG}' to='{ROOM}/crone' type='chat'><body>x</body>{content}</message>"
        )
        sent += self.service.take(f"<presence from='{HAG}' to='{ROOM}/old' type='unavailable'>{content}</presence>")
        self.assertNotIn(b"forged", sent)


class VoiceTests(QueryCase):
    """Voice requests (sections 7.13 and 8.6)."""

    def send(self, who: str, content: str) -> bytes:
        return self.service.take(f"<message from='{who}' to='{ROOM}' id='a'>{content}</message>")

    def test_forged(self) -> None:
        """A visitor cannot approve, and cannot ask for another role; nor can a moderator give another one."""
        self.room.settings.moderated = True
        self.join(HAG, "hag")
        allowed = {"muc__jid": HAG, "muc__roomnick": "hag", "muc__request_allow": "1"}
        approval = form(ns.MUC_REQUEST, muc__role="participant", **allowed)
        for who, content, why in (
            (HAG, approval, NotEntitled),
            (WISE, approval, NotEntitled),
            (HAG, form(ns.MUC_REQUEST, muc__role="moderator"), BadRequest),
            (WISE, form(ns.MUC_REQUEST, muc__role="participant"), NotInTheRoom),
            (CRONE, form(ns.MUC_REQUEST, muc__role="participant"), HasVoice),
            (CRONE, form(ns.MUC_REQUEST, muc__role="moderator", **allowed), BadRequest),
        ):
            self.assertSent(self.send(who, content), refused("message", ROOM, who, why, "id='a'"))
        self.assertEqual(self.room.occupants["hag"].standing.role, "visitor")


class GhostTests(LocalCase):
    """Pings of the room."""

    def test_memory(self) -> None:
        """A user who comes and goes, each time by another JID, does not fill the memory until the next pings."""
        self.service = rooms("chat.shakespeare.lit", bounds=Bounds(silence=1_800.0))
        self.join(CRONE, "crone")
        self.service.tick(1)
        for number in range(1_000):
            self.join(f"eve@else.example/{number}", "eve")
            self.leave(f"eve@else.example/{number}", "eve")
        ghosts = self.service.rooms.ghosts
        [sweep] = ghosts._sweeps.values()
        self.assertLess(len(sweep.heard), 110)
        # The crone, who has sent something, is not asked.
        self.service.take(f"<message from='{CRONE}' to='{ROOM}' type='groupchat'><body>x</body></message>")
        for number in range(300):
            self.join(f"eve@else.example/{number}", "eve")
            self.leave(f"eve@else.example/{number}", "eve")
        self.assertEqual(self.service.tick(1_800), b"")

    def test_forged(self) -> None:
        """Nobody answers for another: not by an id that is known or guessed, nor from another room."""
        self.service = rooms("chat.shakespeare.lit", bounds=Bounds(silence=600.0))
        self.join(CRONE, "crone")
        self.join(HAG, "hag")
        self.service.tick(1)
        asked = {each.recipient: each for each in stanzas(self.service.tick(600.0))}
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        for sender in (HAG, f"{CRONE.partition('/')[0]}", f"{ROOM}/crone", "CRONE1@shakespeare.lit/desktop"):
            for room in (ROOM, "other@chat.shakespeare.lit", f"{ROOM}/crone"):
                iq = f"<iq from='{sender}' to='{room}' id='{asked[CRONE].id}' type='error'>{error}</iq>"
                self.assertEqual(self.service.take(iq), b"")
        self.assertEqual(set(self.service.rooms.rooms[ROOM].occupants), {"crone", "hag"})


class LockedTests(QueryCase):
    """Rooms that wait for their owner (section 10.1)."""

    def test_waiting(self) -> None:
        """A locked room gives others nothing, and the places of locked rooms are those of their creators."""
        self.service = rooms("chat.shakespeare.lit", bounds=Bounds(locked=300.0, rooms=8, made=3))
        self.join(CRONE, "crone")
        room = self.service.rooms.rooms[ROOM]
        sent = self.join(HAG, "hag")
        self.assertSent(sent, refused("presence", f"{ROOM}/hag", HAG, RoomLocked, MUC))
        for namespace in (ns.REGISTER, ns.MUC_OWNER):
            self.assertIn(b"type='error'", self.ask(HAG, ROOM, f"<query xmlns='{namespace}'/>"))
        self.assertNotIn(b"<item", self.ask(HAG, "chat.shakespeare.lit", f"<query xmlns='{ns.DISCO_ITEMS}'/>"))
        self.assertEqual(set(room.occupants), {"crone"})
        joins = [f"<presence from='{HAG}' to='r{n}@chat.shakespeare.lit/x'>{MUC}</presence>" for n in range(5)]
        self.assertEqual([b"code='201'" in self.service.take(each) for each in joins], [True] * 3 + [False] * 2)
        # Other accounts of the same domain, in other spellings, share its places.
        others = ("a@shakespeare.lit/1", "b@shakespeare.lit/1", "c@shakespeare.lit/1", "d@shakespeare.lit/1")
        for who in others:
            self.service.take(f"<presence from='{who}' to='{who[0]}@chat.shakespeare.lit/x'>{MUC}</presence>")
        self.assertLess(len(self.service.rooms.rooms), 8)
        self.service.tick(301)
        self.assertEqual([each.lockedUntil for each in self.service.rooms.rooms.values() if each.lockedUntil], [])


class MaxUsersTests(QueryCase):
    """The maximum number of occupants (section 10.2)."""

    def test_odd(self) -> None:
        """Odd numbers are refused, and change nothing."""
        for value in ("0", "-1", "1e3", "5001", "9" * 5_000, "\N{ARABIC-INDIC DIGIT TWO}", " 7", "None", "0x10"):
            given = form(ns.MUC_ROOM_CONFIG, muc__roomconfig_maxusers=value, muc__roomconfig_roomname="x")
            sent = self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_OWNER}'>{given}</query>", "set")
            self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertEqual((self.room.settings.maxUsers, self.room.settings.name), (0, ""))


class SessionTests(LocalCase):
    """Several sessions of one user (section 7.2.8)."""

    def test_spellings(self) -> None:
        """Ten sessions, in any spelling of the user's JID; another user whose JID looks alike is "conflict"."""
        self.join(HAG, "hag")
        for number in range(9):
            spelled = HAG_.upper() if number % 2 else HAG_
            self.join(f"{spelled}/{number}", "hag")
        self.assertEqual(len(self.room.occupants["hag"].sessions), 10)
        late = f"{HAG_}/late"
        self.assertSent(self.join(late, "hag"), refused("presence", f"{ROOM}/hag", late, ResourceLimit, MUC))
        alike = "h\N{CYRILLIC SMALL LETTER A}g66@shakespeare.lit/pda"
        self.assertSent(self.join(alike, "hag"), refused("presence", f"{ROOM}/hag", alike, NickInUse, MUC))
        # A ban ends all of them.
        query = admin(f"jid='{HAG_}' affiliation='outcast'")
        sent = self.service.take(f"<iq from='{CRONE}' to='{ROOM}' id='1' type='set'>{query}</iq>")
        self.assertEqual(sent.count(b"code='110'"), 10)
        self.assertEqual((set(self.room.users), self.room.shared), ({CRONE}, {}))


class FormCostTests(CostCase):
    """A form whose every value would be sent to all occupants."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire(Rooms("chat.example", None, frozenset()))
        self.wire.join(R, "own", OWN)
        for number in range(1_000):
            self.wire.enter(R, f"n{number}", f"u{number}@b.example/1")

    def test_admins(self) -> None:
        """A list of 1,000 admins is a request with too many changes; nothing is changed."""
        for count, condition in ((1_000, b"<resource-constraint"), (100, b"type='result'"), (0, b"type='result'")):
            values = "".join(f"<value>u{number}@b.example</value>" for number in range(count))
            field = f"<field var='muc#roomconfig_roomadmins'>{values}</field>"
            sent = self.ask(OWN, ns.MUC_OWNER, f"<x xmlns='{ns.DATA}' type='submit'>{field}</x>")
            self.assertIn(condition, sent)
            admins = [each for each in self.wire.room(R).affiliations.values() if each == "admin"]
            self.assertEqual(len(admins), count % 1_000)
