"""Invitations through mirrors (XEP-0045 section 7.8.2): the joined room decides."""

from __future__ import annotations

from itertools import product

from gateway import ns
from gateway.errors import (
    BadRequest,
    GatewayError,
    Malformed,
    NoAnswer,
    NoHandler,
    NoSuchAddress,
    NotEntitled,
    NotInTheRoom,
    OnlyInTheRoom,
    ResourceLimit,
    StoreFull,
    TooManyPending,
)
from gateway.fmuc.values import Dialect
from gateway.muc.values import ADMIN, MEMBER, NONE, OUTCAST, OWNER
from gateway.testing import stanzas
from tests.fmuc.chain import BOTTOM, MIDDLE, NODES, TOP
from tests.fmuc.support import MUC, RoomCase, Service, mirror, refused, rooms
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.fmuc.test_others import fmuc
from tests.fmuc.test_properties import asking, info
from tests.muc.test_local import user

HECATE, HERMES = "hecate@a.example", "hermes@c.example"
TRUSTED = "mirror.example"
PASSWORD = "<password>cauldronburn</password>"


def x(inside: str) -> str:
    """Return the element C{x} of C{muc#user}."""
    return f"<x xmlns='{ns.MUC_USER}'>{inside}</x>" if inside else f"<x xmlns='{ns.MUC_USER}'/>"


def inviting(*guests: str, who: str = ANN, room: str = HERE, reason: str = "") -> str:
    """Return an occupant's message."""
    inside = "".join(f"<invite to='{guest}'>{reason}</invite>" for guest in guests)
    return f"<message from='{who}' to='{room}' id='i'>{x(inside)}</message>"


def invitation(guest: str, more: str = "", room: str = HERE, nick: str = "ann", reason: str = "") -> str:
    """Return the invitation that a room sends."""
    invite = f"<invite from='{room}/{nick}'>{reason}</invite>"
    return f"<message from='{room}' to='{guest}'>{x(invite + more)}</message>"


class InvitationCase(RoomCase):
    """A room with a mirror that ann and ben are in."""

    def sites(self, affiliation: str, administrators: str = TRUSTED, users: str = "*") -> list[Site]:
        """Return a site for each protocol and mode; ann has the affiliation."""
        found = []
        for dialect, replica in WAYS:
            site = Site(dialect, replica, administrators, users)
            site.join(OWN, "own")
            affiliations = site.above.rooms.rooms[ABOVE].affiliations
            affiliations[ANN.partition("/")[0]] = affiliation
            affiliations[BEN.partition("/")[0]] = MEMBER
            for who, nick in ((ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            site.shown.clear()
            site.counted()
            found.append(site)
        return found

    def close(self, site: Site, invites: bool = False) -> None:
        """Make the room members-only."""
        settings = site.above.rooms.rooms[ABOVE].settings
        settings.membersOnly, settings.invites = True, invites

    def affiliation(self, site: Site, guest: str = HECATE) -> str:
        return site.above.rooms.rooms[ABOVE].affiliation(guest)

    def assertShown(self, site: Site, *expected: str) -> None:
        """Users are sent exactly these stanzas."""
        sent = "".join(text for _, text in site.shown)
        site.shown.clear()
        self.assertSent(sent.encode(), *expected)

    def assertRefusal(self, site: Site, error: type[GatewayError], who: str = ANN) -> None:
        self.assertShown(site, refused("message", HERE, who, error, "id='i' "))


class AskingTests(InvitationCase):
    """A mirror asks whether its occupant may invite users who may join through it, and invites them."""

    def test_open(self) -> None:
        """
        Everybody in an open room may invite, without "administering_peers" as well. The invitation names the
        mirror, and has the room's password. One request and one answer cross the link for all guests of a message.
        Nobody becomes a member: "Invitations sent through an open room MUST NOT trigger the addition".
        """
        for administrators in ("", TRUSTED):
            for site in self.sites(NONE, administrators):
                site.above.rooms.rooms[ABOVE].settings.password = "cauldronburn"
                reason = "<reason>Hey</reason>"
                site.take(site.mirror, inviting(HECATE, f"{HERMES}/r", reason=reason))
                guests = (HECATE, f"{HERMES}/r")
                self.assertShown(site, *(invitation(each, PASSWORD, reason=reason) for each in guests))
                self.assertEqual(site.counted(), (1, 1))
                self.assertEqual(self.affiliation(site), NONE)

    def test_wire(self) -> None:
        """The request is an iq of the occupant, with the element that the occupant has sent."""
        for site in self.sites(ADMIN):
            sent = site.mirror.take(inviting(HECATE, reason="<reason>Hey</reason>"))
            identifier = sent.partition(b" id='")[2].partition(b"'")[0].decode()
            self.assertTrue(identifier.startswith("invite-"))
            ours = x(f"<invite to='{HECATE}'><reason>Hey</reason></invite>")
            self.assertSent(sent, f"<iq from='{HERE}/ann' to='{ABOVE}' id='{identifier}' type='set'>{ours}</iq>")
            result = f"<iq from='{ABOVE}' to='{HERE}/ann' id='{identifier}' type='result'"
            self.assertSent(site.above.take(sent), f"{result}/>")
            self.assertSent(site.mirror.take(f"{result}/>"), invitation(HECATE, reason="<reason>Hey</reason>"))
            self.assertSent(site.mirror.take(f"{result}/>"))

    def test_admin(self) -> None:
        """
        Section 9.5: an admin or owner who invites through the mirror makes the guest a member of a members-only
        room, however the JID is spelled. So the guest may enter, through the mirror as well.
        """
        for affiliation in (ADMIN, OWNER):
            for site in self.sites(affiliation):
                self.close(site)
                site.take(site.mirror, inviting("Hecate@A.Example/broom"))
                self.assertShown(site, invitation("Hecate@A.Example/broom"))
                self.assertEqual(self.affiliation(site), MEMBER)
                site.join(f"{HECATE}/broom", "hecate")
                self.assertIn("code='110'", site.seen(f"{HECATE}/broom"))

    def test_member(self) -> None:
        """
        A member of a members-only room may not invite, unless C{muc#roomconfig_allowinvites} says so; then the
        guest becomes a member. Members may always be invited, and a banned user only by an admin.
        """
        for site in self.sites(MEMBER):
            self.close(site)
            site.take(site.mirror, inviting(HECATE))
            self.assertRefusal(site, NotEntitled)
            site.take(site.mirror, inviting(BEN))
            self.assertShown(site, invitation(BEN))
            self.close(site, invites=True)
            site.take(site.mirror, inviting(HECATE))
            self.assertShown(site, invitation(HECATE))
            self.assertEqual(self.affiliation(site), MEMBER)
            site.above.rooms.rooms[ABOVE].affiliations[HERMES] = OUTCAST
            site.take(site.mirror, inviting("new@a.example", HERMES))
            self.assertRefusal(site, NotEntitled)
            self.assertEqual(self.affiliation(site, "new@a.example"), NONE)

    def test_notTrusted(self) -> None:
        """Without "administering_peers", nobody becomes a member: the node could name an admin who is not there."""
        for site in self.sites(OWNER, ""):
            self.close(site, invites=True)
            site.take(site.mirror, inviting(HECATE))
            self.assertRefusal(site, OnlyInTheRoom)
            self.assertEqual(self.affiliation(site), NONE)
            site.take(site.mirror, inviting(BEN))
            self.assertShown(site, invitation(BEN))

    def test_refused(self) -> None:
        """Bad addresses, too many guests and users who are not in the mirror are refused by the mirror itself."""
        for site in self.sites(ADMIN):
            for who, guests, why in (
                ("eve@a.example/5", (HECATE,), NotInTheRoom),
                (ANN, ("@",), Malformed),
                (ANN, (HECATE,) * 21, ResourceLimit),
            ):
                site.take(site.mirror, inviting(*guests, who=who))
                self.assertRefusal(site, why, who)
            self.assertEqual(site.counted(), (0, 0))

    def test_otherRequests(self) -> None:
        """
        The room answers occupants of its nodes alone, and reads invitations alone: no declines, not too many, no
        bad addresses. A local user has no such request.
        """
        guest = f"<invite to='{HECATE}'/>"
        for site in self.sites(ADMIN):
            for sender, inside, why in (
                (f"{HERE}/ann", "", BadRequest),
                (f"{HERE}/ann", f"<decline to='{ABOVE}/own'/>", BadRequest),
                (f"{HERE}/ann", f"{guest}<decline to='{ABOVE}/own'/>", BadRequest),
                (f"{HERE}/ann", guest * 21, ResourceLimit),
                (f"{HERE}/ann", guest * 101, BadRequest),
                (f"{HERE}/ann", "<invite/>", Malformed),
                (f"{HERE}/own", guest, NoHandler),
                (HERE, guest, NoHandler),
                (OWN, guest, NoHandler),
            ):
                sent = site.above.take(f"<iq from='{sender}' to='{ABOVE}' id='q' type='set'>{x(inside)}</iq>")
                self.assertSent(sent, refused("iq", ABOVE, sender, why, "id='q' "))

    def test_full(self) -> None:
        """If the room cannot keep another member, or store one, nobody is invited."""
        for site in self.sites(ADMIN):
            self.close(site)
            room = site.above.rooms.rooms[ABOVE]
            for number in range(room.bounds.affiliations - len(room.affiliations) - 1):
                room.affiliations[f"m{number}@a.example"] = MEMBER
            site.take(site.mirror, inviting(HECATE, HERMES))
            self.assertRefusal(site, ResourceLimit)
            room.durability.isOn, room.durability.fault = True, StoreFull
            site.take(site.mirror, inviting(HECATE))
            self.assertRefusal(site, StoreFull)
            room.durability.fault = None
            site.take(site.mirror, inviting(HECATE))
            self.assertShown(site, invitation(HECATE))

    def test_noAnswer(self) -> None:
        """
        Without an answer in time there is an error. Only the joined room answers, once, and the requests of one
        user are bounded.
        """
        [site, *_] = self.sites(ADMIN)
        sent = site.mirror.take(inviting(HECATE))
        identifier = sent.partition(b" id='")[2].partition(b"'")[0].decode()
        result = f"<iq from='{ABOVE}' to='{HERE}/ann' id='{identifier}' type='result'/>"
        for other in (
            result.replace(f"from='{ABOVE}'", "from='eve@evil.example'"),
            result.replace(f"from='{ABOVE}'", f"from='{ABOVE}/own'"),
            result.replace(identifier, "invite-1"),
            result.replace("/ann", "/ben"),
        ):
            self.assertSent(site.mirror.take(other))
        self.assertSent(site.mirror.tick(31), refused("message", HERE, ANN, NoAnswer, "id='i' "))
        self.assertSent(site.mirror.take(result))
        for _ in range(10_000):
            sent = site.mirror.take(inviting(HECATE))
            if b"invite-" not in sent:
                break
        self.assertSent(sent, refused("message", HERE, ANN, TooManyPending, "id='i' "))

    def test_chain(self) -> None:
        """
        A mirror that is mirrored itself passes request, message and answer on if it trusts its joining node with
        administration: the room cannot know that it does not. A guest who may join through the inviting occupant's
        mirror is invited to that.
        """
        for trusted, (dialect, replica) in product(("", "bottom.example"), WAYS):
            services = {
                TOP: rooms("top.example", "middle.example", administrators="middle.example"),
                MIDDLE: mirror("middle.example", dialect, replica, "bottom.example", administrators=trusted),
                BOTTOM: mirror("bottom.example", dialect, replica, users="a.example"),
            }
            self.deliver(services, f"<presence from='{OWN}' to='{TOP}/own'>{MUC}</presence>")
            services[TOP].rooms.rooms[TOP].affiliations[ANN.partition("/")[0]] = ADMIN
            services[TOP].rooms.rooms[TOP].settings.membersOnly = True
            services[TOP].rooms.rooms[TOP].settings.password = "cauldronburn"
            muc = f"<x xmlns='{ns.MUC}'>{PASSWORD}</x>"
            self.deliver(services, f"<presence from='{ANN}' to='{BOTTOM}/ann'>{muc}</presence>")
            for guest, room in ((HECATE, BOTTOM), (HERMES, TOP)):
                sent = self.deliver(services, inviting(guest, room=BOTTOM))
                if trusted:
                    self.assertSent(sent, invitation(guest, PASSWORD, room))
                else:
                    self.assertSent(sent, refused("message", BOTTOM, ANN, OnlyInTheRoom, "id='i' "))
                affiliation = services[TOP].rooms.rooms[TOP].affiliation(guest)
                self.assertEqual(affiliation, MEMBER if trusted else NONE)
            decline = x(f"<decline to='{TOP}/ann'/>")
            sent = self.deliver(services, f"<message from='{HERMES}/r' to='{TOP}'>{decline}</message>")
            told = x(f"<decline from='{HERMES}'/>")
            self.assertSent(sent, f"<message from='{BOTTOM}' to='{ANN}'>{told}</message>")

    def deliver(self, services: dict[str, Service], xml: str) -> bytes:
        """Deliver a stanza, and all that it causes. Return what users are sent."""
        shown, waiting = b"", [xml.encode()]
        while waiting:
            for stanza in stanzas(waiting.pop(0)):
                there = (stanza.recipient or "").partition("/")[0]
                text = stanza.readdressed(f" from='{stanza.sender}' to='{stanza.recipient}'".encode())
                if there in NODES:
                    waiting.append(services[there].take(text))
                else:
                    shown += text
        return shown


class SubmittedTests(InvitationCase):
    """The joined room invites users who may not join through the mirror."""

    def test_other(self) -> None:
        """
        Such a user is invited by the room, to the room. Another guest of the same message is invited to the mirror.
        Whoever may not invite gets the room's error, and stays in the room.
        """
        for site in self.sites(ADMIN, users="a.example"):
            self.close(site)
            site.above.rooms.rooms[ABOVE].settings.password = "cauldronburn"
            site.take(site.mirror, inviting(HERMES, "hecate@A.Example"))
            self.assertShown(site, invitation(HERMES, PASSWORD, ABOVE), invitation("hecate@A.Example", PASSWORD))
            self.assertEqual([self.affiliation(site, each) for each in (HERMES, HECATE)], [MEMBER, MEMBER])
            site.take(site.mirror, inviting("other@c.example", who=BEN))
            self.assertRefusal(site, NotEntitled, BEN)
            self.assertIn("ben", site.above.rooms.rooms[ABOVE].occupants)
            self.assertIn("ben", site.mirror.rooms.rooms[HERE].occupants)
        for site in self.sites(ADMIN, "", users="a.example"):
            self.close(site)
            site.take(site.mirror, inviting(HERMES))
            self.assertRefusal(site, OnlyInTheRoom)

    def test_wire(self) -> None:
        """
        The message is the occupant's, with an id by which its error is recognised. It has no element C{fmuc}, and
        neither has a decline: Openfire would show both to all occupants.
        """
        for site in self.sites(ADMIN, users="a.example"):
            sent = site.mirror.take(inviting(HERMES, reason="<reason>Hey</reason>"))
            ours = x(f"<invite to='{HERMES}'><reason>Hey</reason></invite>")
            self.assertSent(sent, f"<message from='{HERE}/ann' to='{ABOVE}' id='form-t:i'>{ours}</message>")
            decline = x(f"<decline to='{ABOVE}/ann'/>")
            sent = site.above.take(f"<message from='{HERMES}/r' to='{ABOVE}'>{decline}</message>")
            told = x(f"<decline from='{HERMES}'/>")
            self.assertSent(sent, f"<message from='{ABOVE}' to='{HERE}/ann'>{told}</message>")

    def test_decline(self) -> None:
        """The room tells the inviting occupant, behind the mirror, that the guest has declined."""
        for site in self.sites(ADMIN, users="a.example"):
            words = "<reason>No</reason>"
            decline = f"<decline to='{ABOVE}/ann'>{words}</decline>"
            site.take(site.above, f"<message from='{HERMES}/r' to='{ABOVE}'>{x(decline)}</message>")
            told = x(f"<decline from='{HERMES}'>{words}</decline>")
            self.assertShown(site, f"<message from='{HERE}' to='{ANN}'>{told}</message>")
            # The mirror's guests decline in the mirror, which tells its own occupants alone.
            for nick, crossed in (("own", (0, 0)), ("ann", (0, 0))):
                site.counted()
                decline = f"<decline to='{HERE}/{nick}'/>"
                site.take(site.mirror, f"<message from='{HECATE}/r' to='{HERE}'>{x(decline)}</message>")
                self.assertEqual(site.counted(), crossed)
            told = x(f"<decline from='{HECATE}'/>")
            self.assertShown(site, f"<message from='{HERE}' to='{ANN}'>{told}</message>")

    def test_notAnOccupant(self) -> None:
        """A node invites in the name of its own occupants alone. Its declines are nobody's."""
        for site in self.sites(ADMIN, users="a.example"):
            for nick in ("own", "nobody"):
                sender = f"{HERE}/{nick}"
                sent = site.above.take(inviting(HERMES, who=sender, room=ABOVE))
                self.assertSent(sent, refused("message", ABOVE, sender, NotInTheRoom, "id='i'"))
            decline = x(f"<decline to='{ABOVE}/own'/>")
            site.take(site.above, f"<message from='{HERE}/ann' to='{ABOVE}'>{decline}</message>")
            self.assertShown(site)


class OtherSoftwareTests(InvitationCase):
    """A joined room that does not know the request, such as Openfire's."""

    def answered(self, features: tuple[str, ...], affiliation: str, error: type[GatewayError]) -> bytes:
        """Return what a mirror sends for an invitation after the room's error."""
        service = mirror("mirror.example")
        service.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        own = fmuc(ANN) + user(affiliation, "participant", jid=f"{ABOVE}/ann")
        service.take(f"<presence from='{ABOVE}/ann' to='{HERE}/ann'>{own}</presence>")
        service.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc(ABOVE)}<subject/></message>")
        if features:
            service.take(asking(ANN))
            service.take(f"<iq from='{ABOVE}' to='{HERE}' id='info-t-1' type='result'>{info(*features)}</iq>")
        sent = service.take(inviting(HECATE))
        identifier = sent.partition(b" id='")[2].partition(b"'")[0].decode()
        return service.take(refused("iq", ABOVE, f"{HERE}/ann", error, f"id='{identifier}' "))

    def test_unknown(self) -> None:
        """
        The mirror invites itself, without a password. If the room has said that it is members-only, only an admin
        or owner invites.
        """
        for error in (BadRequest, NoHandler):
            for features, affiliation, isAllowed in (
                ((), NONE, True),
                (("muc_open",), NONE, True),
                (("muc_membersonly",), MEMBER, False),
                (("muc_membersonly",), ADMIN, True),
                (("muc_membersonly",), OWNER, True),
            ):
                expected = refused("message", HERE, ANN, NotEntitled, "id='i' ")
                sent = self.answered(features, affiliation, error)
                self.assertSent(sent, invitation(HECATE) if isAllowed else expected)

    def test_notThere(self) -> None:
        """
        Openfire does not know the mirror's occupant, and sends no invitation. The inviting user gets its error, and
        stays in the mirror.
        """
        for dialect in Dialect:
            service = mirror("mirror.example", dialect, users="a.example")
            service.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
            own = (fmuc(ANN) if dialect is Dialect.XEP_0289 else "") + user(NONE, "participant")
            service.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{own}</presence>")
            service.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'><subject/></message>")
            sent = service.take(inviting(HERMES))
            self.assertIn(b"id='form-t:i'", sent)
            error = refused("message", ABOVE, f"{HERE}/ann", NotInTheRoom, "id='form-t:i' ")
            self.assertSent(service.take(error), refused("message", HERE, ANN, NotInTheRoom, "id='i' "))
            self.assertIn("ann", service.rooms.rooms[HERE].occupants)

    def test_refused(self) -> None:
        """Another error is the room's answer."""
        for error in (NotEntitled, OnlyInTheRoom, NoSuchAddress):
            sent = self.answered((), OWNER, error)
            self.assertSent(sent, refused("message", HERE, ANN, error, "id='i' "))
