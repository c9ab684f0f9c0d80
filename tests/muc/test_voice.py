"""Voice requests (XEP-0045 section 7.13) and their approval (section 8.6)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadRequest,
    GatewayError,
    HasVoice,
    NoModerator,
    NoSuchAddress,
    NotEntitled,
    NotInTheRoom,
    OnlyInTheRoom,
    RecipientUnavailable,
)
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.values import Standing
from tests.fmuc.support import RoomCase, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, LocalCase, presence, status

FORM_TYPE = f"<field var='FORM_TYPE' type='hidden'><value>{ns.MUC_REQUEST}</value></field>"


def field(var: str, value: str) -> str:
    """Return a field of a submitted form."""
    return f"<field var='{var}'><value>{value}</value></field>"


def submitted(inside: str, kind: str = "submit") -> str:
    """Return a submitted form of C{muc#request}."""
    return f"<x xmlns='{ns.DATA}' type='{kind}'>{FORM_TYPE}{inside}</x>"


REQUEST = submitted(field("muc#role", "participant"))


def answer(nick: str, jid: str, allow: str = "true", role: str = "participant") -> str:
    """Return a moderator's answer."""
    return submitted(
        field("muc#role", role)
        + field("muc#jid", jid)
        + field("muc#roomnick", nick)
        + field("muc#request_allow", allow)
    )


def question(moderator: str, nick: str, jid: str, room: str = ROOM) -> str:
    """Return the message to a moderator (example "Voice Request Approval Form")."""
    role = "<value>participant</value><option label='Participant'><value>participant</value></option>"
    fields = (
        f"<field var='muc#role' type='list-single' label='Requested role'>{role}</field>"
        f"<field var='muc#jid' type='jid-single' label='User ID'><value>{jid}</value></field>"
        f"<field var='muc#roomnick' type='text-single' label='Room Nickname'><value>{nick}</value></field>"
        "<field var='muc#request_allow' type='boolean' label='Grant voice to this person?'>"
        "<value>false</value></field>"
    )
    words = (
        "<title>Voice request</title>"
        "<instructions>Choose whether this person may speak to all in the room.</instructions>"
    )
    form = f"<x xmlns='{ns.DATA}' type='form'>{words}{FORM_TYPE}{fields}</x>"
    return f"<message from='{room}' to='{moderator}'>{form}</message>"


class VoiceTests(LocalCase):
    """A moderated room with two moderators and a visitor."""

    def setUp(self) -> None:
        super().setUp()
        self.room.settings.moderated = True
        self.room.affiliations[WISE.partition("/")[0]] = "admin"
        self.join(WISE, "wise")
        self.join(HAG, "hag")

    def send(self, who: str, form: str, kind: str = "") -> bytes:
        given = f" type='{kind}'" if kind else ""
        return self.service.take(f"<message from='{who}' to='{ROOM}' id='v'{given}>{form}</message>")

    def assertRefusedBy(self, sent: bytes, who: str, why: type[GatewayError]) -> None:
        self.assertSent(sent, refused("message", ROOM, who, why, "id='v'"))

    def test_request(self) -> None:
        """Each moderator who is in the room is asked, with the real JID and the nick; nobody else."""
        self.join("other@shakespeare.lit/x", "other")
        for kind in ("", "normal"):
            expected = [question(each, "hag", HAG) for each in (CRONE, WISE)]
            self.assertSent(self.send(HAG, REQUEST, kind), *expected)

    def test_approved(self) -> None:
        """ "the service shall grant voice to the occupant and send a presence update"."""
        self.send(HAG, REQUEST)
        sent = self.send(WISE, answer("hag", HAG))
        by = "<actor nick='wise'/>"

        def changed(jid: str = "", codes: str = "") -> str:
            item = f"<item affiliation='none' role='participant'{jid}>{by}</item>"
            return f"<x xmlns='{ns.MUC_USER}'>{item}{codes}</x>"

        self.assertSent(
            sent,
            presence("hag", HAG, changed(codes=status(110))),
            presence("hag", CRONE, changed(f" jid='{HAG}'")),
            presence("hag", WISE, changed(f" jid='{HAG}'")),
        )
        self.assertIn(b"<body>x</body>", self.say(HAG, "<body>x</body>"))
        # The other moderator approves, too, or denies.
        for allow in ("true", "1", "false"):
            self.assertSent(self.send(CRONE, answer("hag", HAG, allow)))
        self.assertEqual(self.room.occupants["hag"].standing.role, "participant")

    def test_denied(self) -> None:
        """A request that is not granted, or a form that is cancelled, changes nothing."""
        for form in (answer("hag", HAG, "false"), answer("hag", HAG, ""), submitted("", "cancel")):
            self.assertSent(self.send(CRONE, form))
        self.assertEqual(self.room.occupants["hag"].standing.role, "visitor")

    def test_mayApprove(self) -> None:
        """Only moderators, admins and owners answer requests; admins need not be in the room."""
        self.assertRefusedBy(self.send(HAG, answer("hag", HAG)), HAG, NotEntitled)
        outsider = "x@y.example/z"
        self.assertRefusedBy(self.send(outsider, answer("hag", HAG)), outsider, NotEntitled)
        self.leave(WISE, "wise")
        self.assertIn(b"participant", self.send(WISE, answer("hag", HAG)))

    def test_gone(self) -> None:
        """If the user has left, and another one has the nick, voice is given to nobody."""
        self.send(HAG, REQUEST)
        self.leave(HAG, "hag")
        self.assertRefusedBy(self.send(CRONE, answer("hag", HAG)), CRONE, NoSuchAddress)
        self.join("other@shakespeare.lit/x", "hag")
        self.assertRefusedBy(self.send(CRONE, answer("hag", HAG)), CRONE, NoSuchAddress)
        self.assertEqual(self.room.occupants["hag"].standing.role, "visitor")

    def test_refused(self) -> None:
        """Requests of other users than visitors, and for other roles, are refused."""
        self.assertRefusedBy(self.send("x@y.example/z", REQUEST), "x@y.example/z", NotInTheRoom)
        self.assertRefusedBy(self.send(CRONE, REQUEST), CRONE, HasVoice)
        for form in (
            submitted(field("muc#role", "moderator")),
            submitted(""),
            submitted(field("muc#role", "participant"), "form"),
            REQUEST.replace(ns.MUC_REQUEST, "urn:x"),
        ):
            self.assertRefusedBy(self.send(HAG, form), HAG, BadRequest)
        self.assertRefusedBy(self.send(CRONE, answer("hag", HAG, role="moderator")), CRONE, BadRequest)
        for nick, who in (("wise", WISE), ("crone", CRONE)):
            self.leave(who, nick)
        self.assertRefusedBy(self.send(HAG, REQUEST), HAG, NoModerator)

    def test_announced(self) -> None:
        """The room announces voice requests."""
        sent = self.service.take(
            f"<iq from='{HAG}' to='{ROOM}' id='1' type='get'><query xmlns='{ns.DISCO_INFO}'/></iq>"
        )
        self.assertIn(f"var='{ns.MUC_REQUEST}'".encode(), sent)


class MirrorTests(RoomCase):
    """Requests of visitors in mirrors, in both protocols and modes."""

    def site(self, way: tuple[Dialect, bool], administrators: str = "") -> Site:
        site = Site(*way, administrators)
        site.join(OWN, "own")
        site.above.rooms.rooms[ABOVE].settings.moderated = True
        site.join(ANN, "ann")
        site.join(BEN, "ben")
        site.shown.clear()
        return site

    def test_request(self) -> None:
        """The moderators in the joined room are asked, and their answer reaches the mirror."""
        for way in WAYS:
            site = self.site(way)
            site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' id='v'>{REQUEST}</message>")
            self.assertSent(site.seen(OWN).encode(), question(OWN, "ann", ANN, ABOVE))
            site.take(site.above, f"<message from='{OWN}' to='{ABOVE}'>{answer('ann', ANN)}</message>")
            self.assertEqual(site.mirror.rooms.rooms[HERE].occupants["ann"].standing, Standing())
            self.assertIn("role='participant'", site.seen(ANN))

    def test_refused(self) -> None:
        """
        Errors of the joined room reach the user, who stays in the mirror; so do those of a node that does not know
        such forms.
        """
        for way in WAYS:
            site = self.site(way)
            site.leave(OWN, "own")
            site.shown.clear()
            for given in ("id='v'", ""):
                site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' {given}>{REQUEST}</message>")
                self.assertSent(site.seen(ANN).encode(), refused("message", HERE, ANN, NoModerator, given))
            for why in (RecipientUnavailable, NotInTheRoom):
                sent = site.mirror.take(f"<message from='{ANN}' to='{HERE}' id='v'>{REQUEST}</message>")
                self.assertIn(b"id='form-t:v'", sent)
                error = refused("message", ABOVE, f"{HERE}/ann", why, "id='form-t:v'")
                self.assertSent(site.mirror.take(error), refused("message", HERE, ANN, why, "id='v'"))
            self.assertEqual(set(site.mirror.rooms.rooms[HERE].occupants), {"ann", "ben"})

    def test_noForm(self) -> None:
        """A user's message is no form, whatever its id: an error for it that says that the link is lost counts."""
        for way in WAYS:
            site = self.site(way)
            error = refused("message", ABOVE, f"{HERE}/ann", RecipientUnavailable, "id='form:v'")
            sent = site.mirror.take(error)
            self.assertIn(b"id='form:v'", sent)
            self.assertIs(site.mirror.rooms.federation(HERE).uplink.state, UplinkState.LOST)

    def test_notByMirror(self) -> None:
        """The room takes no answer of a mirror's user, if its operator does not trust the mirror with that."""
        for way in WAYS:
            site = self.site(way)
            site.above.rooms.rooms[ABOVE].affiliations[BEN.partition("/")[0]] = "owner"
            form = answer("ann", ANN)
            site.take(site.mirror, f"<message from='{BEN}' to='{HERE}' id='v'>{form}</message>")
            self.assertSent(site.seen(BEN).encode(), refused("message", HERE, BEN, OnlyInTheRoom, "id='v'"))
            self.assertEqual(site.above.rooms.rooms[ABOVE].occupants["ann"].standing.role, "visitor")

    def test_byMirror(self) -> None:
        """If the operator trusts the mirror, its moderators are asked, and may answer."""
        for way in WAYS:
            site = self.site(way, "mirror.example")
            site.take(
                site.above,
                f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'><query xmlns='{ns.MUC_ADMIN}'>"
                "<item nick='ben' role='moderator'/></query></iq>",
            )
            site.leave(OWN, "own")
            site.shown.clear()
            site.take(site.mirror, f"<message from='{ANN}' to='{HERE}' id='v'>{REQUEST}</message>")
            self.assertSent(site.seen(ANN).encode())
            self.assertSent(site.seen(BEN).encode(), question(BEN, "ann", ANN, HERE))
            site.take(site.mirror, f"<message from='{BEN}' to='{HERE}'>{answer('ann', ANN)}</message>")
            self.assertIn("role='participant'", site.seen(ANN))
            self.assertEqual(site.mirror.rooms.rooms[HERE].occupants["ann"].standing, Standing())

    def test_outsiders(self) -> None:
        """Only occupants of a mirror may send it forms; messages without a form are refused."""
        site = self.site(WAYS[0])
        outsider = "x@y.example/z"
        sent = site.mirror.take(f"<message from='{outsider}' to='{HERE}' id='v'>{REQUEST}</message>")
        self.assertSent(sent, refused("message", HERE, outsider, NotInTheRoom, "id='v'"))
        sent = site.mirror.take(f"<message from='{ANN}' to='{HERE}' id='v'><body>x</body></message>")
        self.assertSent(sent, refused("message", HERE, ANN, BadRequest, "id='v'"))

    def test_ofNobody(self) -> None:
        """A node sends requests for its own occupants only."""
        site = self.site(WAYS[0])
        for sender in (f"{HERE}/own", f"{HERE}/none"):
            sent = site.above.take(f"<message from='{sender}' to='{ABOVE}' id='v'>{REQUEST}</message>")
            self.assertSent(sent, refused("message", ABOVE, sender, NotInTheRoom, "id='v'"))
