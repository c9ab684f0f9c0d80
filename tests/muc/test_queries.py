"""Iq requests to rooms."""

from __future__ import annotations

from gateway import ns
from gateway.errors import (
    BadRequest,
    GatewayError,
    LastOwner,
    Malformed,
    NickInUse,
    NoHandler,
    NoSuchAddress,
    NoSuchNode,
    NotAcceptable,
    NotAllowed,
    NotAMirror,
    NotEntitled,
    NotInTheRoom,
    NotMirrored,
    OwnersOnly,
    ResourceLimit,
)
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.properties import WAIT
from gateway.muc.configuration import OPTIONS
from gateway.muc.room import Settings
from gateway.testing import stanzas
from tests.fmuc.support import MUC, Service, elsewhere, mirror, refused, rooms, withoutIds
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, LocalCase, presence, said, status, user

SERVICE = "chat.shakespeare.lit"
MIRROR = r"coven\40chat.shakespeare.lit@mirror.example"
PING = f"<ping xmlns='{ns.PING}'/>"


class QueryCase(LocalCase):
    """Sends requests."""

    def ask(self, who: str, to: str, payload: str, kind: str = "get", service: Service | None = None) -> bytes:
        iq = f"<iq from='{who}' to='{to}' id='1' type='{kind}'>{payload}</iq>"
        return (service or self.service).take(iq)

    def assertAnswered(self, sent: bytes, who: str, to: str, payload: str, *more: str) -> None:
        """The result and further stanzas are sent."""
        self.assertSent(sent, f"<iq from='{to}' to='{who}' id='1' type='result'>{payload}</iq>", *more)

    def assertRefusedBy(self, sent: bytes, who: str, to: str, why: type[GatewayError]) -> None:
        self.assertSent(sent, refused("iq", to, who, why, "id='1'"))


class DiscoTests(QueryCase):
    """Section 6."""

    def features(self, sent: bytes) -> set[str]:
        [query] = [each for stanza in stanzas(sent) for each in stanza.element.elements()]
        return {each["var"] for each in query.elements() if each.name == "feature"}

    def test_service(self) -> None:
        """The service announces its features and its public rooms."""
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertIn(ns.MUC, self.features(self.ask(HAG, SERVICE, info)))
        self.service.rooms.open("lobby", Settings(name="The <lobby>", persistent=True))
        self.service.rooms.open("cellar", Settings(public=False, persistent=True))
        found = f"<item jid='{ROOM}' name='coven'/><item jid='lobby@{SERVICE}' name='The &lt;lobby&gt;'/>"
        self.assertAnswered(
            self.ask(HAG, SERVICE, f"<query xmlns='{ns.DISCO_ITEMS}'/>"),
            HAG,
            SERVICE,
            f"<query xmlns='{ns.DISCO_ITEMS}'>{found}</query>",
        )
        self.assertIn("muc_hidden", self.features(self.ask(HAG, f"cellar@{SERVICE}", info)))

    def test_room(self) -> None:
        """A room announces its features and the number of occupants; only occupants see the list of occupants."""
        self.join(HAG, "hag")
        sent = self.ask(WISE, ROOM, f"<query xmlns='{ns.DISCO_INFO}'/>")
        self.assertLessEqual({ns.MUC, ns.SELF_PING, "muc_open", "muc_semianonymous"}, self.features(sent))
        label = "Current Number of Occupants in Room"
        count = f"<field var='muc#roominfo_occupants' type='text-single' label='{label}'><value>2</value></field>"
        self.assertIn(count.encode(), sent)
        self.room.settings.membersOnly = self.room.settings.nonAnonymous = self.room.settings.moderated = True
        self.room.settings.password = "x"
        sent = self.ask(WISE, ROOM, f"<query xmlns='{ns.DISCO_INFO}'/>")
        expected = {"muc_membersonly", "muc_nonanonymous", "muc_moderated", "muc_passwordprotected"}
        self.assertLessEqual(expected, self.features(sent))
        items = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
        self.assertAnswered(self.ask(WISE, ROOM, items), WISE, ROOM, items)
        found = f"<item jid='{ROOM}/crone'/><item jid='{ROOM}/hag'/>"
        self.assertAnswered(self.ask(HAG, ROOM, items), HAG, ROOM, items.replace("/>", f">{found}</query>"))

    def test_nodes(self) -> None:
        """The nodes by which clients ask about a room are answered; other nodes are not found."""
        query = f"<query xmlns='{ns.DISCO_INFO}' node='x-roomuser-item'/>"
        self.assertAnswered(self.ask(HAG, ROOM, query), HAG, ROOM, query)
        # No namespace is discarded: "it MUST return a <service-unavailable/> error" (section 17.1.1).
        query = f"<query xmlns='{ns.DISCO_INFO}' node='{ns.MUC_TRAFFIC}'/>"
        self.assertRefusedBy(self.ask(HAG, ROOM, query), HAG, ROOM, NoHandler)
        for address in (ROOM, SERVICE):
            for space in (ns.DISCO_INFO, ns.DISCO_ITEMS):
                sent = self.ask(HAG, address, f"<query xmlns='{space}' node='other'/>")
                self.assertRefusedBy(sent, HAG, address, NoSuchNode)

    def test_nothing(self) -> None:
        """A room that does not exist is not found."""
        for space in (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.MUC_ADMIN, ns.MUC_OWNER):
            sent = self.ask(HAG, f"no@{SERVICE}", f"<query xmlns='{space}'/>")
            self.assertRefusedBy(sent, HAG, f"no@{SERVICE}", NoSuchAddress)

    def test_mirror(self) -> None:
        """A mirror exists for each room that may be mirrored, before a user joins; it lists none."""
        service = mirror("mirror.example")
        info, items = (f"<query xmlns='{space}'/>" for space in (ns.DISCO_INFO, ns.DISCO_ITEMS))
        asked = f"<iq from='{MIRROR}' to='{ROOM}' id='info-t-1' type='get'>{info}</iq>"
        self.assertSent(self.ask(HAG, MIRROR, info, service=service), asked)
        sent = service.tick(WAIT)
        self.assertIn(ns.MUC, self.features(sent))
        self.assertIn(f"name='{ROOM}'".encode(), sent)
        service.take(f"<presence from='{HAG}' to='{MIRROR}/hag'>{MUC}</presence>")
        for address in ("mirror.example", MIRROR):
            self.assertAnswered(self.ask(WISE, address, items, service=service), WISE, address, items)
        service.rooms._mirroring = Mirroring(allow=frozenset(("other.example",)))
        self.assertRefusedBy(self.ask(HAG, MIRROR, info, service=service), HAG, MIRROR, NotMirrored)
        for odd in ("plain@mirror.example", r"a\40b\40c\2fd@mirror.example", r"\40x@mirror.example"):
            self.assertRefusedBy(self.ask(HAG, odd, info, service=service), HAG, odd, NotAMirror)


class PingTests(QueryCase):
    """XEP-0410."""

    def test_self(self) -> None:
        """An occupant of that nick gets a result; a user who is not an occupant gets an error."""
        self.assertAnswered(self.ask(CRONE, f"{ROOM}/crone", PING), CRONE, f"{ROOM}/crone", "")
        self.assertRefusedBy(self.ask(HAG, f"{ROOM}/hag", PING), HAG, f"{ROOM}/hag", NotInTheRoom)
        self.assertRefusedBy(self.ask(CRONE, f"{ROOM}/hag", PING), CRONE, f"{ROOM}/hag", NoSuchAddress)
        self.assertRefusedBy(self.ask(HAG, f"no@{SERVICE}/x", PING), HAG, f"no@{SERVICE}/x", NotInTheRoom)

    def test_others(self) -> None:
        """The service and rooms answer for themselves; only occupants may send requests to occupants."""
        self.join(HAG, "hag")
        version = f"<query xmlns='{ns.VERSION}'/>"
        self.assertRefusedBy(self.ask(WISE, f"{ROOM}/hag", version), WISE, f"{ROOM}/hag", NotInTheRoom)
        self.assertRefusedBy(self.ask(WISE, ROOM, version), WISE, ROOM, NoHandler)
        for address in (SERVICE, ROOM):
            self.assertAnswered(self.ask(WISE, address, PING), WISE, address, "")

    def test_empty(self) -> None:
        """A request without a payload is unreadable."""
        self.assertRefusedBy(self.ask(WISE, ROOM, ""), WISE, ROOM, BadRequest)


class AdministrationTests(QueryCase):
    """Sections 8 and 9."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")

    def administer(self, who: str, items: str, kind: str = "set") -> bytes:
        return self.ask(who, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{items}</query>", kind)

    def test_kick(self) -> None:
        """Example 89 and the following ones: with reason and actor, and 307."""
        sent = self.administer(CRONE, "<item nick='hag' role='none'><reason>Avaunt!</reason></item>")
        inside = "<actor nick='crone'/><reason>Avaunt!</reason>"

        def out(jid: str, codes: str) -> str:
            item = f"<item affiliation='none' role='none'{jid}>{inside}</item>"
            return f"<x xmlns='{ns.MUC_USER}'>{item}{codes}</x>"

        self.assertAnswered(
            sent,
            CRONE,
            ROOM,
            "",
            presence("hag", HAG, out("", status(307, 110)), "unavailable"),
            presence("hag", CRONE, out(f" jid='{HAG}'", status(307)), "unavailable"),
        )

    def test_ban(self) -> None:
        """By JID or by nick, with 301; the user cannot join again until the ban is lifted."""
        for who in ("jid='hag66@shakespeare.lit'", "nick='hag'"):
            sent = self.administer(CRONE, f"<item {who} affiliation='outcast'/>").decode()
            self.assertIn("<status code='301'/><status code='110'/>", sent)
            self.assertIn(b"<forbidden", self.join(HAG, "hag"))
            listed = self.administer(CRONE, "<item affiliation='outcast'/>", "get")
            self.assertIn(b"<item affiliation='outcast' jid='hag66@shakespeare.lit'/>", listed)
            self.administer(CRONE, "<item jid='hag66@shakespeare.lit' affiliation='none'/>")
            self.assertIn(b"code='110'", self.join(HAG, "hag"))

    def test_roles(self) -> None:
        """Voice and moderator status are given and revoked, and lists show it."""
        for role in ("visitor", "participant", "moderator"):
            sent = self.administer(CRONE, f"<item nick='hag' role='{role}'/>")
            self.assertIn(f"role='{role}'".encode(), sent)
            listed = self.administer(CRONE, f"<item role='{role}'/>", "get").decode()
            self.assertIn(f"role='{role}' jid='{HAG}' nick='hag'", listed)
        self.join(WISE, "wise")
        self.assertIn(b"code='307'", self.administer(HAG, "<item nick='wise' role='none'/>"))

    def test_affiliations(self) -> None:
        """Members, admins, owners."""
        for affiliation in ("member", "admin", "owner"):
            sent = self.administer(CRONE, f"<item jid='{HAG}' affiliation='{affiliation}'/>")
            self.assertIn(f"affiliation='{affiliation}'".encode(), sent)
        self.assertEqual(self.room.affiliations["hag66@shakespeare.lit"], "owner")
        self.administer(HAG, "<item jid='crone1@shakespeare.lit' affiliation='none'/>")
        self.assertNotIn("crone1@shakespeare.lit", self.room.affiliations)
        self.room.settings.membersOnly = True
        self.administer(HAG, "<item jid='crone1@shakespeare.lit' affiliation='member'/>")
        self.assertIn(b"code='321'", self.administer(HAG, "<item nick='crone' affiliation='none'/>"))

    def test_notAllowed(self) -> None:
        """A user without the right is refused, and no change is done if one of them is not allowed."""
        self.join(WISE, "wise")
        admin = "<item nick='hag' affiliation='admin'/>"
        self.administer(CRONE, admin)
        cases = (
            (WISE, "<item nick='hag' role='none'/>", NotEntitled),
            (HAG, "<item nick='crone' role='none'/>", NotAllowed),
            (HAG, "<item jid='wise@shakespeare.lit' affiliation='owner'/>", OwnersOnly),
            (HAG, "<item nick='wise' role='none'/><item nick='crone' role='none'/>", NotAllowed),
            (HAG, "<item nick='nobody' role='none'/>", NoSuchAddress),
            (HAG, "<item nick='nobody' affiliation='member'/>", NotAcceptable),
            (CRONE, "<item jid='crone1@shakespeare.lit' affiliation='none'/>", LastOwner),
            (HAG, "<item jid='@' affiliation='member'/>", Malformed),
            (HAG, "<item nick='wise' role='king'/>", BadRequest),
            (HAG, "<item nick='wise'/>", BadRequest),
            (HAG, "", BadRequest),
            (HAG, "<item jid='a@b' affiliation='member'/>" * 1_001, ResourceLimit),
        )
        for who, items, why in cases:
            self.assertRefusedBy(self.administer(who, items), who, ROOM, why)
        self.assertEqual(set(self.room.occupants), {"crone", "hag", "wise"})
        self.assertRefusedBy(self.administer(WISE, "<item role='visitor'/>", "get"), WISE, ROOM, NotEntitled)
        self.assertRefusedBy(self.administer(HAG, "<item affiliation='none'/>", "get"), HAG, ROOM, NotAcceptable)

    def test_moderatorOnly(self) -> None:
        """
        A moderator by role, without an affiliation, may give and take voice, but no affiliation: of others, or the
        own one (section 9).
        """
        self.join(WISE, "wise")
        self.administer(CRONE, "<item nick='wise' role='moderator'/>")
        before = dict(self.room.affiliations)
        for jid in ("hag66@shakespeare.lit", "wise@shakespeare.lit", "other@shakespeare.lit"):
            for affiliation in ("member", "outcast", "admin", "none"):
                sent = self.administer(WISE, f"<item jid='{jid}' affiliation='{affiliation}'/>")
                self.assertRefusedBy(sent, WISE, ROOM, NotEntitled)
        self.assertEqual(self.room.affiliations, before)
        self.assertIn(b"visitor", self.administer(WISE, "<item nick='hag' role='visitor'/>"))

    def test_mirror(self) -> None:
        """In a mirror all of it is not allowed to users who are not in it yet."""
        service = mirror("mirror.example")
        service.take(f"<presence from='{HAG}' to='{MIRROR}/hag'>{MUC}</presence>")
        for space, kind in ((ns.MUC_ADMIN, "set"), (ns.MUC_ADMIN, "get"), (ns.MUC_OWNER, "get")):
            payload = f"<query xmlns='{space}'><item nick='x' role='none'/></query>"
            sent = self.ask(HAG, MIRROR, payload, kind, service)
            self.assertSent(sent, elsewhere(MIRROR, "coven@chat.shakespeare.lit", HAG, "1"))


class ConfigurationTests(QueryCase):
    """Section 10."""

    def own(self, who: str, inside: str, kind: str = "set") -> bytes:
        return self.ask(who, ROOM, f"<query xmlns='{ns.MUC_OWNER}'>{inside}</query>", kind)

    def submit(self, who: str = CRONE, **values: str) -> bytes:
        fields = "".join(
            f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in values.items()
        )
        return self.own(who, f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>")

    def test_instant(self) -> None:
        """Section 10.1.2: an empty form changes nothing; nor does a cancelled one."""
        for kind in ("submit", "cancel"):
            sent = self.own(CRONE, f"<x xmlns='{ns.DATA}' type='{kind}'/>")
            self.assertAnswered(sent, CRONE, ROOM, "")
        self.assertEqual(self.room.settings, Settings())

    def test_form(self) -> None:
        """The form has all options, with their current values."""
        self.room.settings.name = "A <dark> cave"
        sent = self.own(CRONE, "", "get").decode()
        for field in OPTIONS:
            self.assertIn(f"var='{field.var}' type='{field.kind}'", sent)
        self.assertIn("<value>A &lt;dark&gt; cave</value>", sent)
        self.assertIn("<value>moderators</value><option label='Moderators Only'>", sent)

    def test_changes(self) -> None:
        """Changes are applied, and the occupants are told of the change."""
        self.join(HAG, "hag")
        sent = self.submit(
            roomname="Cave", persistentroom="1", moderatedroom="true", changesubject="0", publicroom="0"
        )
        code = f"<x xmlns='{ns.MUC_USER}'>{status(104)}</x>"
        self.assertAnswered(sent, CRONE, ROOM, "", said("", HAG, code), said("", CRONE, code))
        expected = Settings(name="Cave", persistent=True, moderated=True, changeSubject=False, public=False)
        self.assertEqual(self.room.settings, expected)
        self.assertIn(f"{status(104)}{status(172)}".encode(), self.submit(whois="anyone"))
        self.assertIn(f"jid='{CRONE}'".encode(), self.join(WISE, "wise"))
        self.assertIn(f"{status(104)}{status(173)}".encode(), self.submit(whois="moderators"))
        for who, nick in ((WISE, "wise"), (HAG, "hag"), (CRONE, "crone")):
            self.leave(who, nick)
        self.assertIn(ROOM, self.service.rooms.rooms)
        self.assertIn(user("none", "visitor", status(110)).encode(), self.join(HAG, "hag"))

    def test_password(self) -> None:
        """A required password must be set; one that is not required is removed."""
        self.submit(passwordprotectedroom="1", roomsecret="cauldron")
        self.assertIn(b"<not-authorized", self.join(HAG, "hag"))
        self.submit(passwordprotectedroom="0")
        self.assertEqual(self.room.settings.password, "")
        self.assertRefusedBy(self.submit(passwordprotectedroom="1"), CRONE, ROOM, NotAcceptable)

    def test_membersOnly(self) -> None:
        """Users who are not members are removed, with 322."""
        self.join(HAG, "hag")
        sent = withoutIds(self.submit(membersonly="1"))
        self.assertIn(presence("hag", HAG, user("none", "none", status(322, 110)), "unavailable").encode(), sent)
        self.assertEqual(set(self.room.occupants), {"crone"})

    def test_refused(self) -> None:
        """Users who are not owners, and values that are not allowed, are refused."""
        self.join(HAG, "hag")
        self.assertRefusedBy(self.submit(HAG, roomname="x"), HAG, ROOM, NotEntitled)
        self.assertRefusedBy(self.own(HAG, "", "get"), HAG, ROOM, NotEntitled)
        self.assertRefusedBy(self.own(HAG, "<destroy/>"), HAG, ROOM, NotEntitled)
        self.assertRefusedBy(self.own(CRONE, ""), CRONE, ROOM, BadRequest)
        for name, value in (("moderatedroom", "perhaps"), ("whois", "nobody"), ("roomname", "x" * 1_001)):
            sent = self.submit(roomsecret="x", **{name: value})
            self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertEqual(self.room.settings, Settings())

    def test_destroy(self) -> None:
        """
        Section 10.9: each occupant is told of the own removal only, with all that the owner has given; the room is
        destroyed, and then the owner's request is answered.
        """
        self.join(HAG, "hag")
        self.room.settings.persistent = True
        given = "<password>fair</password><reason>Macbeth comes</reason>"
        destroyed = f"<destroy jid='heath@{SERVICE}'>{given}</destroy>"
        self.assertSent(
            self.own(CRONE, destroyed),
            presence("hag", HAG, user("none", "none", status(110) + destroyed), "unavailable"),
            presence("crone", CRONE, user("owner", "none", status(110) + destroyed), "unavailable"),
            f"<iq from='{ROOM}' to='{CRONE}' id='1' type='result'/>",
        )
        self.assertEqual(self.service.rooms.rooms, {})

    def test_destroyRefused(self) -> None:
        """A password that is too long is refused, and the room stays."""
        sent = self.own(CRONE, f"<destroy><password>{'x' * 1001}</password></destroy>")
        self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertIn("crone", self.room.occupants)

    def test_opened(self) -> None:
        """A room that exists from the start has no owner, and the first occupant does not become one."""
        service = rooms(SERVICE)
        service.rooms.open("lobby", Settings(persistent=True))
        for who, nick in ((HAG, "hag"), (WISE, "hag")):
            sent = service.take(f"<presence from='{who}' to='lobby@{SERVICE}/{nick}'>{MUC}</presence>")
        self.assertSent(sent, refused("presence", f"lobby@{SERVICE}/hag", WISE, NickInUse, MUC))
        self.assertEqual(service.rooms.rooms[f"lobby@{SERVICE}"].affiliations, {})
