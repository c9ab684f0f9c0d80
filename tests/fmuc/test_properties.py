"""Service discovery of mirrors: the properties of the joined room (XEP-0045 section 6.4)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import NoSuchAddress, NotMirrored, Stopping, TooManyPending
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.properties import KEEP, WAIT
from gateway.fmuc.values import Dialect
from tests.fmuc.support import MUC, RoomCase, mirror, refused
from tests.fmuc.test_configured import message
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import user
from tests.reports import sentences

INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
SERVED = (
    *(ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.MUC, ns.MUC_STABLE_ID, ns.OCCUPANT_ID, ns.VCARD),
    *(ns.SELF_PING, ns.SID),
)
OPEN = ("muc_unsecured", "muc_open", "muc_unmoderated", "muc_semianonymous", "muc_persistent", "muc_public")
PRIVATE = ("muc_membersonly", "muc_nonanonymous", "muc_passwordprotected", "muc_moderated", "muc_hidden")
COUNT = "Current Number of Occupants in Room"


def field(var: str, value: str, more: str = "") -> str:
    """Return a field of a form."""
    return f"<field var='{var}'{more}><value>{value}</value></field>"


def asking(who: str, room: str = HERE, identifier: str = "d") -> str:
    """Return a request."""
    return f"<iq from='{who}' to='{room}' id='{identifier}' type='get'>{INFO}</iq>"


def info(*features: str, name: str = ABOVE, fields: str = "", more: str = "") -> str:
    """Return the payload of an answer."""
    found = "".join(f"<feature var='{each}'/>" for each in features) + more
    if fields:
        kind = field("FORM_TYPE", ns.MUC_ROOM_INFO, " type='hidden'")
        found += f"<x xmlns='{ns.DATA}' type='result'>{kind}{fields}</x>"
    identity = f"<identity category='conference' type='text' name='{name}'/>"
    return f"<query xmlns='{ns.DISCO_INFO}'>{identity}{found}</query>"


def counted(number: int) -> str:
    """Return the field of the number of occupants."""
    return field("muc#roominfo_occupants", str(number), f" type='text-single' label='{COUNT}'")


class JoinedTests(RoomCase):
    """A mirror and its joined room, both of the gateway."""

    def features(self, text: str) -> set[str]:
        return {each for each in (*OPEN, *PRIVATE) if f"var='{each}'" in text}

    def test_private(self) -> None:
        """
        A mirror shows what the room is: name, description, and each property, before anybody joins and afterwards.
        One request and one answer cross the link, and no further ones for a while.
        """
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            settings = site.above.rooms.rooms[ABOVE].settings
            settings.membersOnly = settings.nonAnonymous = settings.moderated = True
            settings.name, settings.description, settings.password, settings.public = "Cave", "dark", "x", False
            site.counted()
            for who in (ANN, BEN):
                site.take(site.mirror, asking(who))
                seen = site.seen(who)
                self.assertIn("name='Cave'", seen)
                self.assertEqual(self.features(seen), set(PRIVATE))
                self.assertIn("<value>dark</value>", seen)
            self.assertEqual(site.counted(), (1, 1))

    def test_changed(self) -> None:
        """A change of the configuration is seen at once: a client asks when it is told of the change."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann")):
                site.join(who, nick)
            site.take(site.mirror, asking(ANN))
            self.assertIn("muc_open", site.seen(ANN))
            site.above.rooms.rooms[ABOVE].settings.membersOnly = True
            site.take(site.mirror, asking(ANN))
            self.assertIn("muc_open", site.seen(ANN))
            site.take(site.mirror, message(ABOVE, HERE, 104))
            site.seen(ANN)
            site.take(site.mirror, asking(ANN))
            self.assertIn("muc_membersonly", site.seen(ANN))

    def test_missing(self) -> None:
        """A room that does not exist is not found, also through its mirror."""
        site = Site()
        site.take(site.mirror, asking(ANN))
        self.assertSent(site.seen(ANN).encode(), refused("iq", HERE, ANN, NoSuchAddress, "id='d'"))

    def test_service(self) -> None:
        """
        The service of mirrors is not the identity by which clients find a service to make rooms at. It has the
        feature: Smack joins a room only if the room's domain has it.
        """
        site = Site()
        for service, jid, identity in (
            (site.mirror, "mirror.example", "category='component' type='generic'"),
            (site.above, "chat.example", "category='conference' type='text'"),
        ):
            sent = service.take(asking(ANN, jid)).decode()
            self.assertIn(f"<identity {identity} ", sent)
            self.assertIn(f"<feature var='{ns.MUC}'/>", sent)


class AnswerTests(RoomCase):
    """A mirror, and all answers of its joined room."""

    def setUp(self) -> None:
        self.mirror = mirror("mirror.example")

    def told(self, payload: str, number: int = 1, kind: str = "result") -> bytes:
        """Return what an answer causes."""
        return self.mirror.take(
            f"<iq from='{ABOVE}' to='{HERE}' id='info-t-{number}' type='{kind}'>{payload}</iq>"
        )

    def assertAsked(self, sent: bytes, number: int = 1) -> None:
        """The joined room is asked."""
        self.assertSent(sent, f"<iq from='{HERE}' to='{ABOVE}' id='info-t-{number}' type='get'>{INFO}</iq>")

    def result(self, who: str, payload: str, identifier: str = "d") -> str:
        return f"<iq from='{HERE}' to='{who}' id='{identifier}' type='result'>{payload}</iq>"

    def enter(self) -> None:
        """Let ann join the mirror."""
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'><replica/></fmuc>"
        item = user("none", "participant")
        self.mirror.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc}{item}</presence>")
        self.mirror.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>")

    def test_whole(self) -> None:
        """
        Known properties and fields of the room are passed on, once; the mirror has its own features, and its own
        number of occupants.
        """
        self.assertAsked(self.mirror.take(asking(ANN)))
        given = info(
            *OPEN,
            *OPEN,
            *(ns.REGISTER, "urn:x:other", ns.MUC_ROOM_CONFIG),
            name="Cave",
            fields=counted(7) + field("muc#roominfo_description", "dark") + field("other", "x"),
        )
        kept = info(*SERVED, *OPEN, ns.REGISTER, name="Cave", fields=field("muc#roominfo_description", "dark"))
        self.assertSent(self.told(given), self.result(ANN, kept))
        self.assertSent(self.mirror.take(asking(BEN)), self.result(BEN, kept))
        self.enter()
        fields = field("muc#roominfo_description", "dark") + counted(1)
        whole = info(*SERVED, *OPEN, ns.REGISTER, name="Cave", fields=fields)
        self.assertSent(self.mirror.take(asking(BEN)), self.result(BEN, whole))
        self.mirror.tick(KEEP)
        self.assertAsked(self.mirror.take(asking(BEN)), 2)

    def test_together(self) -> None:
        """All who ask meanwhile get the answer; the room is asked once."""
        self.assertAsked(self.mirror.take(asking(ANN)))
        self.assertSent(self.mirror.take(asking(BEN, identifier="e")))
        self.assertSent(self.mirror.take(asking(ANN, identifier="f")))
        kept = info(*SERVED, *OPEN)
        expected = [self.result(who, kept, each) for who, each in ((ANN, "d"), (BEN, "e"), (ANN, "f"))]
        self.assertSent(self.told(info(*OPEN, name="")), *expected)
        self.assertSent(self.told(info(*PRIVATE)))
        self.assertEqual(len(self.mirror.rooms.properties), 0)

    def test_unknown(self) -> None:
        """
        Without an answer, or with one that cannot be read, nothing is claimed; a client would not encrypt in a room
        that is called open.
        """
        unreachable = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        nothing = self.result(ANN, info(*SERVED))
        for kind, payload in (
            ("error", unreachable),
            ("result", ""),
            ("result", "<query xmlns='urn:x:other'/>"),
            ("result", info(*(f"f{number}" for number in range(600)))),
        ):
            self.setUp()
            self.mirror.take(asking(ANN))
            self.assertSent(self.told(payload, kind=kind), nothing)
        self.setUp()
        self.mirror.take(asking(ANN))
        self.assertSent(self.mirror.tick(WAIT), nothing)
        self.assertAsked(self.mirror.take(asking(ANN)), 2)
        # Somebody is in: the room exists, and some of it is known.
        self.setUp()
        self.enter()
        self.mirror.rooms.rooms[HERE].settings.nonAnonymous = True
        self.mirror.take(asking(ANN))
        missing = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        whole = info(*SERVED, "muc_nonanonymous", fields=counted(1))
        self.assertSent(self.told(missing, kind="error"), self.result(ANN, whole))

    def test_only(self) -> None:
        """Only the room's answer counts, and only users and nodes that may join can cause a request."""
        self.mirror.take(asking(ANN))
        for sender in ("eve@evil.example/x", f"{ABOVE}/own", "chat.example"):
            iq = f"<iq from='{sender}' to='{HERE}' id='info-t-1' type='result'>{info(*OPEN)}</iq>"
            self.assertSent(self.mirror.take(iq))
        self.assertSent(self.told(info(*OPEN), 2))
        self.assertIsNone(self.mirror.rooms.properties.known(HERE))
        limited = Mirroring(allow=frozenset(("*",)), users=frozenset(("a.example",)))
        self.mirror.rooms._mirroring = limited
        eve = "eve@evil.example/x"
        self.assertSent(self.mirror.take(asking(eve)), refused("iq", HERE, eve, NotMirrored, "id='d'"))
        self.mirror.rooms._peers = frozenset(("evil.example",))
        self.assertSent(self.mirror.take(asking("m@evil.example")))

    def test_bounded(self) -> None:
        """One user has a share of the requests that wait, and not all of them; few rooms are remembered."""
        answers = [self.mirror.take(asking(ANN, identifier=str(number))) for number in range(300)]
        self.assertLess(sum(not each for each in answers), 260)
        error = refused("iq", HERE, ANN, TooManyPending, "id='299'")
        self.assertSent(answers[-1], error)
        refusals = sum(b"error" in each for each in answers)
        self.assertEqual(len(self.mirror.rooms.properties), len(answers) - refusals)
        for number in range(1, 1_200):
            room = f"r{number}"
            here = HERE.replace("coven", room)
            sent = self.mirror.take(asking(BEN, here))
            self.assertIn(b"type='get'", sent)
            addresses = f"from='{room}@chat.example' to='{here}'"
            self.mirror.take(f"<iq {addresses} id='info-t-{number + 1}' type='result'>{info(*OPEN)}</iq>")
        self.assertIsNone(self.mirror.rooms.properties.known(HERE.replace("coven", "r1")))
        self.assertIsNotNone(self.mirror.rooms.properties.known(HERE.replace("coven", "r1199")))

    def test_stop(self) -> None:
        """Requests that wait at the stop get an error."""
        self.mirror.take(asking(ANN))
        self.assertSent(self.mirror.shutDown(), refused("iq", HERE, ANN, Stopping, "id='d'"))

    def test_realJids(self) -> None:
        """
        A room that calls itself semi-anonymous is so, although Openfire then shows real JIDs to its nodes; one that
        calls itself non-anonymous shows them all.
        """
        shown = f"<fmuc xmlns='{ns.FMUC}' from='{OWN}'/>{user('owner', 'moderator', jid=OWN)}"
        for kind, jid, isFirst in (
            ("muc_semianonymous", "", False),
            ("muc_nonanonymous", OWN, False),
            ("muc_semianonymous", "", True),
            ("muc_nonanonymous", OWN, True),
        ):
            self.setUp()
            steps = [self.enter, lambda: self.mirror.take(asking(ANN)), lambda kind=kind: self.told(info(kind))]
            # Most clients ask before they join.
            for step in [*steps[1:], steps[0]] if isFirst else steps:
                step()
            self.assertEqual(self.mirror.rooms.rooms[HERE].settings.nonAnonymous, bool(jid))
            sent = self.mirror.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{shown}</presence>")
            item = user("owner", "moderator", jid=jid)
            self.assertIn(item.encode(), sent)


class ChainTests(RoomCase):
    """A mirror of a mirror."""

    def test_asked(self) -> None:
        """The question goes to the room at the end, and the answer comes back."""
        for dialect in Dialect:
            middle = mirror("mirror.example", dialect, peers="low.example")
            low = mirror("low.example", dialect)
            jid = r"coven\5c40chat.example\40mirror.example@low.example"
            asked = low.take(asking(ANN, jid))
            up = middle.take(asked)
            self.assertSent(up, f"<iq from='{HERE}' to='{ABOVE}' id='info-t-1' type='get'>{INFO}</iq>")
            payload = info(*PRIVATE, ns.OCCUPANT_ID, name="Cave")
            answer = f"<iq from='{ABOVE}' to='{HERE}' id='info-t-1' type='result'>{payload}</iq>"
            sent = low.take(middle.take(answer))
            expected = info(*SERVED, *PRIVATE, name="Cave")
            self.assertSent(sent, f"<iq from='{jid}' to='{ANN}' id='d' type='result'>{expected}</iq>")


class MeasuredTests(RoomCase):
    """The status page and the metrics."""

    def test_pending(self) -> None:
        """Requests that wait for a joined room are counted."""
        service = mirror("mirror.example")
        service.take(asking(ANN) + asking(BEN))
        self.assertEqual(service.rooms.pending, 2)
        shown = "".join(sentences(RoomsHandler(service.rooms).report()))
        self.assertIn("open requests to occupants and joined rooms: 2", shown)
        service.tick(WAIT)
        self.assertEqual(service.rooms.pending, 0)
