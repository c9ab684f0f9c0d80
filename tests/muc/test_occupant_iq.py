"""Requests of occupants to occupants, and their answers (XEP-0045 section 16.4)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    AlreadyOpen,
    BadRequest,
    GatewayError,
    NoAnswer,
    NoSuchAddress,
    NotAllowed,
    NotInTheRoom,
    OverBudget,
    Stopping,
    TooManyPending,
)
from gateway.fmuc.values import Dialect
from gateway.muc.occupant_iq import OccupantIqs
from tests.fmuc import wire
from tests.fmuc.support import RoomCase, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, LocalCase
from tests.reports import sentences

VERSION = f"<query xmlns='{ns.VERSION}'/>"
NAMED = f"<query xmlns='{ns.VERSION}'><name>Cauldron</name></query>"
CARD = f"<vCard xmlns='{ns.VCARD}'/>"
PAYLOADS = (
    VERSION,
    f"<ping xmlns='{ns.PING}'/>",
    f"<query xmlns='{ns.DISCO_INFO}' node='a'/>",
    f"<query xmlns='{ns.DISCO_ITEMS}'/>",
    "<time xmlns='urn:xmpp:time'/>",
)


def iq(sender: str, recipient: str, payload: str = VERSION, kind: str = "get", key: str = "1") -> str:
    """Return an iq."""
    return f"<iq from='{sender}' to='{recipient}' id='{key}' type='{kind}'>{payload}</iq>"


class OccupantIqTests(LocalCase):
    """Two occupants of a semi-anonymous room; neither sees the other's real JID."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")
        self.join(WISE, "wise")

    def take(self, xml: str) -> bytes:
        return self.service.take(xml)

    def assertRefusedBy(self, sent: bytes, who: str, to: str, why: type[GatewayError], key: str = "1") -> None:
        self.assertSent(sent, refused("iq", to, who, why, f"id='{key}'"))

    def test_forwarded(self) -> None:
        """
        "the service SHOULD forward the stanza to the recipient's real JID. However, the MUC service MUST NOT reveal
        the sender's real JID": the request comes from the sender's address in the room, and the answer from the
        recipient's.
        """
        for payload in PAYLOADS:
            self.assertSent(self.take(iq(HAG, f"{ROOM}/wise", payload)), iq(f"{ROOM}/hag", WISE, payload))
            sent = self.take(iq(WISE, f"{ROOM}/hag", NAMED, "result"))
            self.assertSent(sent, iq(f"{ROOM}/wise", HAG, NAMED, "result"))
        change = "<query xmlns='urn:x'><value>1</value></query>"
        self.assertSent(self.take(iq(HAG, f"{ROOM}/wise", change, "set")), iq(f"{ROOM}/hag", WISE, change, "set"))
        self.assertSent(self.take(iq(WISE, f"{ROOM}/hag", "", "result")), iq(f"{ROOM}/wise", HAG, "", "result"))

    def test_card(self) -> None:
        """A vCard is kept by the user's server: the request goes to the bare JID, which answers."""
        account = WISE.partition("/")[0]
        for card in (CARD, f"<vcard xmlns='{ns.VCARD_4}'/>"):
            self.assertSent(self.take(iq(HAG, f"{ROOM}/wise", card)), iq(f"{ROOM}/hag", account, card))
            # The client itself was not asked.
            self.assertSent(self.take(iq(WISE, f"{ROOM}/hag", card, "result")))
            sent = self.take(iq(account, f"{ROOM}/hag", card, "result"))
            self.assertSent(sent, iq(f"{ROOM}/wise", HAG, card, "result"))

    def test_own(self) -> None:
        """Only a ping to the own nick is answered by the room (XEP-0410); other requests are forwarded."""
        self.assertSent(self.take(iq(HAG, f"{ROOM}/hag")), iq(f"{ROOM}/hag", HAG))

    def test_error(self) -> None:
        """An error is the answer, too. "MUST NOT [...] reveal the recipient's real JID": C{by} is left out."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        condition = f"<service-unavailable xmlns='{ns.STANZA_ERRORS}'/><text xmlns='{ns.STANZA_ERRORS}'>No.</text>"
        error = f"<error type='cancel' by='{WISE}'>{condition}</error>"
        sent = self.take(iq(WISE, f"{ROOM}/hag", VERSION + error, "error"))
        expected = f"<error type='cancel'>{condition}</error>"
        self.assertSent(sent, iq(f"{ROOM}/wise", HAG, expected, "error"))
        # An error that says nothing.
        self.take(iq(HAG, f"{ROOM}/wise"))
        sent = self.take(iq(WISE, f"{ROOM}/hag", "", "error"))
        expected = f"<error type='cancel'><undefined-condition xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertSent(sent, iq(f"{ROOM}/wise", HAG, expected, "error"))

    def test_server(self) -> None:
        """A server that cannot reach the recipient's server may name it: its text is left out."""
        for condition in ("remote-server-not-found", "remote-server-timeout"):
            self.take(iq(HAG, f"{ROOM}/wise"))
            found = f"<{condition} xmlns='{ns.STANZA_ERRORS}'/>"
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>no connection to {WISE.partition('@')[2]}</text>"
            error = f"<error type='cancel'>{found}{text}</error>"
            expected = f"<error type='cancel'>{found}</error>"
            sent = self.take(iq(WISE, f"{ROOM}/hag", error, "error"))
            self.assertSent(sent, iq(f"{ROOM}/wise", HAG, expected, "error"))

    def test_oneAnswer(self) -> None:
        """An answer must come from the occupant that was asked, with the request's id, and only once."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        for answer in (
            iq(CRONE, f"{ROOM}/hag", NAMED, "result"),
            iq(WISE, f"{ROOM}/hag", NAMED, "result", "2"),
            iq(WISE, f"{ROOM}/crone", NAMED, "result"),
            iq(WISE, ROOM, NAMED, "error"),
        ):
            self.assertSent(self.take(answer))
        answer = iq(WISE, f"{ROOM}/hag", NAMED, "result")
        self.assertSent(self.take(answer), iq(f"{ROOM}/wise", HAG, NAMED, "result"))
        self.assertSent(self.take(answer))
        self.assertSent(self.service.tick(60.0))

    def test_sameId(self) -> None:
        """While a request with this id is open at the same occupant, another one is C{conflict}."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        self.assertRefusedBy(self.take(iq(HAG, f"{ROOM}/wise")), HAG, f"{ROOM}/wise", AlreadyOpen)
        self.assertSent(self.take(iq(HAG, f"{ROOM}/crone")), iq(f"{ROOM}/hag", CRONE))
        self.assertSent(self.take(iq(CRONE, f"{ROOM}/wise")), iq(f"{ROOM}/crone", WISE))

    def test_noAnswer(self) -> None:
        """Without an answer in 30 seconds the request ends with an error; a later answer is not forwarded."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        self.assertSent(self.service.tick(29.0))
        self.assertRefusedBy(self.service.tick(1.0), HAG, f"{ROOM}/wise", NoAnswer)
        self.assertSent(self.take(iq(WISE, f"{ROOM}/hag", NAMED, "result")))

    def test_left(self) -> None:
        """An occupant who leaves after the request may still answer; then the nick is not found."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        self.leave(WISE, "wise")
        sent = self.take(iq(WISE, f"{ROOM}/hag", NAMED, "result"))
        self.assertSent(sent, iq(f"{ROOM}/wise", HAG, NAMED, "result"))
        self.assertRefusedBy(self.take(iq(HAG, f"{ROOM}/wise")), HAG, f"{ROOM}/wise", NoSuchAddress)

    def test_outsiders(self) -> None:
        """Users who are not occupants are refused: disco with C{bad-request} (section 6.6)."""
        outsider = "x@y.example/z"
        self.assertRefusedBy(self.take(iq(outsider, f"{ROOM}/wise")), outsider, f"{ROOM}/wise", NotInTheRoom)
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertRefusedBy(self.take(iq(outsider, f"{ROOM}/wise", info)), outsider, f"{ROOM}/wise", BadRequest)

    def test_option(self) -> None:
        """The owners may switch requests between occupants off; they are C{not-allowed} then."""
        field = "<field var='muc#roomconfig_allow_query_users'><value>0</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{field}</x></query>"
        self.take(iq(CRONE, ROOM, form, "set"))
        self.assertRefusedBy(self.take(iq(HAG, f"{ROOM}/wise")), HAG, f"{ROOM}/wise", NotAllowed)

    def test_bounds(self) -> None:
        """The table is bounded, and no user takes more than a part of it; a refused request takes no place."""
        self.service.rooms.iqs = iqs = OccupantIqs(8)
        for number in range(3):
            self.take(iq(HAG, f"{ROOM}/wise", key=str(number)))
        for _ in range(3):
            self.assertRefusedBy(self.take(iq(HAG, f"{ROOM}/x", key="x")), HAG, f"{ROOM}/x", NoSuchAddress, "x")
        taken = len(iqs)
        self.assertLess(taken, 3)
        self.assertRefusedBy(self.take(iq(HAG, f"{ROOM}/wise", key="9")), HAG, f"{ROOM}/wise", TooManyPending, "9")
        self.service.tick(30.0)
        self.assertEqual(len(iqs), 0)
        for number in range(taken):
            sent = self.take(iq(HAG, f"{ROOM}/wise", key=str(number)))
            self.assertSent(sent, iq(f"{ROOM}/hag", WISE, key=str(number)))

    def test_shutDown(self) -> None:
        """If the service stops, open requests end with an error."""
        self.take(iq(HAG, f"{ROOM}/wise"))
        first, end, _ = self.service.shutDown().partition(b"</iq>")
        self.assertRefusedBy(first + end, HAG, f"{ROOM}/wise", Stopping)
        self.assertEqual(len(self.service.rooms.iqs), 0)


class BudgetTests(RoomCase):
    """Large answers."""

    def test_charged(self) -> None:
        """Large answers are charged to the user who has asked; over the budget, an error is the answer."""
        rooms = wire.rooms("chat.shakespeare.lit")
        for who, nick in ((HAG, "hag"), (WISE, "wise")):
            rooms.enter(ROOM, nick, who)
        card = f"<vCard xmlns='{ns.VCARD}'><NOTE>{'x' * 200_000}</NOTE></vCard>"
        for number in range(7):
            rooms.bytes(iq(HAG, f"{ROOM}/wise", CARD, key=str(number)))
        account = WISE.partition("/")[0]
        answers = [rooms.bytes(iq(account, f"{ROOM}/hag", card, "result", str(number))) for number in range(7)]
        self.assertSent(answers[0], iq(f"{ROOM}/wise", HAG, card, "result", "0"))
        self.assertSent(answers[6], refused("iq", f"{ROOM}/wise", HAG, OverBudget, "id='6'"))

    def test_reported(self) -> None:
        """The status shows open requests."""
        rooms = wire.rooms("chat.shakespeare.lit")
        for who, nick in ((HAG, "hag"), (WISE, "wise")):
            rooms.enter(ROOM, nick, who)
        line = "open requests to occupants and joined rooms: 1"
        self.assertNotIn(line, sentences(rooms.handler.report()))
        rooms.bytes(iq(HAG, f"{ROOM}/wise"))
        self.assertIn(line, sentences(rooms.handler.report()))

    def test_notTaken(self) -> None:
        """Other answers are left to other handlers."""
        rooms = wire.rooms("chat.shakespeare.lit")
        self.assertRaises(AssertionError, rooms.bytes, iq(WISE, f"{ROOM}/hag", "", "result"))


class MirrorTests(RoomCase):
    """Requests cross the link, in both protocols and modes."""

    def check(self, site: Site, asker: str, nick: str, asked: str, there: str) -> None:
        """Check a request and its answer; C{asked} has the nick C{there}."""
        here, near = (HERE if who != OWN else ABOVE for who in (asker, asked))
        side = {HERE: site.mirror, ABOVE: site.above}
        site.take(side[here], iq(asker, f"{here}/{there}", key="q"))
        self.assertSent(site.seen(asked).encode(), iq(f"{near}/{nick}", asked, key="q"))
        site.take(side[near], iq(asked, f"{near}/{nick}", NAMED, "result", "q"))
        self.assertSent(site.seen(asker).encode(), iq(f"{here}/{there}", asker, NAMED, "result", "q"))
        self.assertEqual([len(each.rooms.iqs) for each in (site.mirror, site.above)], [0, 0])

    def site(self, way: tuple[Dialect, bool]) -> Site:
        site = Site(*way)
        for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
            site.join(who, nick)
        site.shown.clear()
        site.counted()
        return site

    def test_both(self) -> None:
        """From a mirror to the room, from the room to a mirror, and inside of a mirror without the link."""
        for way in WAYS:
            site = self.site(way)
            self.check(site, ANN, "ann", OWN, "own")
            self.check(site, OWN, "own", ANN, "ann")
            self.assertEqual(site.counted(), (2, 2))
            self.check(site, ANN, "ann", BEN, "ben")
            self.assertEqual(site.counted(), (0, 0))

    def test_card(self) -> None:
        """The node of the occupant asks the account."""
        for way in WAYS:
            site = self.site(way)
            site.take(site.above, iq(OWN, f"{ABOVE}/ann", CARD))
            account = ANN.partition("/")[0]
            self.assertSent(site.seen(account).encode(), iq(f"{HERE}/own", account, CARD))

    def test_lost(self) -> None:
        """If the other node answers nothing, or with an error, the user gets one error."""
        for way in WAYS:
            site = self.site(way)
            sent = site.mirror.take(iq(ANN, f"{HERE}/own"))
            self.assertSent(sent, iq(f"{HERE}/ann", f"{ABOVE}/own"))
            sent = site.mirror.tick(30.0)
            self.assertSent(sent, refused("iq", f"{HERE}/own", ANN, NoAnswer, "id='1'"))
            site.above.take(f"<presence from='{OWN}' to='{ABOVE}/own' type='unavailable'/>")
            site.take(site.mirror, iq(ANN, f"{HERE}/own"))
            self.assertSent(site.seen(ANN).encode(), refused("iq", f"{HERE}/own", ANN, NoSuchAddress, "id='1'"))

    def test_notForOthers(self) -> None:
        """A node asks for its own occupants only."""
        site = self.site(WAYS[0])
        for sender in (f"{HERE}/own", f"{HERE}/none", HERE):
            sent = site.above.take(iq(sender, f"{ABOVE}/own"))
            self.assertSent(sent, refused("iq", f"{ABOVE}/own", sender, NotInTheRoom, "id='1'"))
        sent = site.above.take(iq(f"{HERE}/ann", f"{ABOVE}/ben"))
        self.assertSent(sent, refused("iq", f"{ABOVE}/ben", f"{HERE}/ann", NoSuchAddress, "id='1'"))
