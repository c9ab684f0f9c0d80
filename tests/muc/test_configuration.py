"""Fields of the configuration form: number of occupants, owners and admins, logging (XEP-0045 section 10.2)."""

from __future__ import annotations

from gateway import ns
from gateway.errors import LastOwner, NotAcceptable, NotEntitled, RoomFull
from gateway.muc.room import Settings
from gateway.testing import stanzas
from tests.fmuc.support import MUC, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, presence, said, status, user
from tests.muc.test_queries import QueryCase

ACCOUNT = {each: each.partition("/")[0] for each in (CRONE, HAG, WISE)}
CHANGED = f"<x xmlns='{ns.MUC_USER}'>{status(104)}</x>"


def field(name: str, *values: str) -> str:
    """Return a field of a submitted form."""
    inside = "".join(f"<value>{value}</value>" for value in values)
    return f"<field var='muc#roomconfig_{name}'>{inside}</field>"


class FormCase(QueryCase):
    """Sends forms."""

    def submit(self, *fields: str, who: str = CRONE) -> bytes:
        form = f"<x xmlns='{ns.DATA}' type='submit'>{''.join(fields)}</x>"
        return self.ask(who, ROOM, f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", "set")

    def fields(self) -> dict[str, tuple[str, list[str], list[str]]]:
        """Return type, values and options of the form's fields."""
        [iq] = stanzas(self.ask(CRONE, ROOM, f"<query xmlns='{ns.MUC_OWNER}'/>"))
        [query] = iq.element.elements()
        [form] = query.elements()
        found = {}
        for each in form.elements():
            if each.name == "field":
                values = [str(value) for value in each.elements() if value.name == "value"]
                options = [str(next(option.elements())) for option in each.elements() if option.name == "option"]
                found[each["var"].removeprefix("muc#roomconfig_")] = (each.getAttribute("type"), values, options)
        return found


class MaxUsersTests(FormCase):
    """Section 7.2.9."""

    def test_full(self) -> None:
        """In a full room, other users are "service-unavailable"; owners and admins may still enter."""
        self.assertAnswered(self.submit(field("maxusers", "1")), CRONE, ROOM, "", said("", CRONE, CHANGED))
        self.assertSent(self.join(HAG, "hag"), refused("presence", f"{ROOM}/hag", HAG, RoomFull, MUC))
        self.room.affiliations[ACCOUNT[WISE]] = "admin"
        self.assertIn(status(110).encode(), self.join(WISE, "wise"))
        self.submit(field("maxusers", "none"))
        self.assertIn(status(110).encode(), self.join(HAG, "hag"))

    def test_form(self) -> None:
        """The form offers numbers and no limit, and the current number; disco#info tells a limit."""
        kind, values, options = self.fields()["maxusers"]
        self.assertEqual((kind, values), ("list-single", ["none"]))
        self.assertLessEqual({"10", "100", "none"}, set(options))
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertNotIn(b"maxusers", self.ask(HAG, ROOM, info))
        self.submit(field("maxusers", "7"))
        _, values, options = self.fields()["maxusers"]
        self.assertEqual(values, ["7"])
        self.assertIn("7", options)
        self.assertIn(b"label='Maximum Number of Occupants'><value>7</value></field>", self.ask(HAG, ROOM, info))

    def test_refused(self) -> None:
        """Other values are not accepted; nobody is removed by a lower number."""
        self.join(HAG, "hag")
        for value in ("0", "-1", "many", "1.5", "5001", "9" * 5_000, "\N{SUPERSCRIPT TWO}", ""):
            self.assertRefusedBy(self.submit(field("maxusers", value)), CRONE, ROOM, NotAcceptable)
        self.submit(field("maxusers", "5000"))
        self.submit(field("maxusers", "1"))
        self.assertEqual(set(self.room.occupants), {"crone", "hag"})

    def test_mirrors(self) -> None:
        """The joined room counts all occupants; its refusal reaches the mirror's user."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            site.join(OWN, "own")
            site.above.rooms.rooms[ABOVE].settings.maxUsers = 1
            site.join(ANN, "ann")
            self.assertSent(site.seen(ANN).encode(), refused("presence", f"{HERE}/ann", ANN, RoomFull, MUC))


class LoggingTests(FormCase):
    """Nothing is logged, and nobody is led to believe otherwise."""

    def test_honest(self) -> None:
        """The form does not offer logging; a request for it is refused, and with it the whole form."""
        self.assertNotIn("enablelogging", self.fields())
        self.assertAnswered(self.submit(field("enablelogging", "0")), CRONE, ROOM, "")
        for value in ("1", "true"):
            sent = self.submit(field("roomname", "x"), field("enablelogging", value))
            self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertEqual(self.room.settings, Settings())


class OwnersTests(FormCase):
    """The lists of owners and admins (sections 10.1.3 and 10.2)."""

    def setUp(self) -> None:
        super().setUp()
        self.join(HAG, "hag")

    def lists(self) -> tuple[list[str], list[str]]:
        fields = self.fields()
        return fields["roomowners"][1], fields["roomadmins"][1]

    def test_lists(self) -> None:
        """The form shows both lists; a change reaches all occupants by presence."""
        self.assertEqual(self.lists(), ([ACCOUNT[CRONE]], []))
        sent = self.submit(field("roomadmins", ACCOUNT[HAG]))
        by = "><actor nick='crone'/></item></x>"
        self.assertAnswered(
            sent,
            CRONE,
            ROOM,
            "",
            presence("hag", CRONE, user("admin", "moderator", jid=HAG).replace("/></x>", by)),
            presence("hag", HAG, user("admin", "moderator", status(110)).replace("/><status", f"{by[:-4]}<status")),
        )
        self.submit(field("roomowners", ACCOUNT[CRONE], ACCOUNT[WISE].upper() + "/x"))
        self.assertEqual(self.lists(), ([ACCOUNT[CRONE], ACCOUNT[WISE]], [ACCOUNT[HAG]]))

    def test_removed(self) -> None:
        """A former admin is a member, a former owner an admin, unless the form lists the admins without them."""
        self.room.affiliations |= {ACCOUNT[HAG]: "admin", ACCOUNT[WISE]: "owner"}
        self.submit(field("roomadmins"))
        self.assertEqual(self.room.affiliations[ACCOUNT[HAG]], "member")
        self.submit(field("roomowners", ACCOUNT[CRONE]))
        self.assertEqual(self.room.affiliations[ACCOUNT[WISE]], "admin")
        self.room.affiliations |= {ACCOUNT[HAG]: "owner", ACCOUNT[WISE]: "owner"}
        self.submit(field("roomowners", ACCOUNT[CRONE]), field("roomadmins", ACCOUNT[WISE]))
        self.assertEqual(self.room.affiliations[ACCOUNT[WISE]], "admin")
        self.assertEqual(self.room.affiliations[ACCOUNT[HAG]], "member")

    def test_both(self) -> None:
        """A user in both lists is an owner; a list of admins alone does not demote an owner."""
        self.submit(field("roomowners", ACCOUNT[CRONE], ACCOUNT[HAG]), field("roomadmins", ACCOUNT[HAG]))
        self.assertEqual(self.lists(), ([ACCOUNT[CRONE], ACCOUNT[HAG]], []))
        self.submit(field("roomadmins", ACCOUNT[CRONE]))
        self.assertEqual(self.lists(), ([ACCOUNT[CRONE], ACCOUNT[HAG]], []))

    def test_unchanged(self) -> None:
        """A form that is returned as it was changes nothing, and nobody is told."""
        lists = (field("roomowners", ACCOUNT[CRONE]), field("roomadmins"))
        self.assertAnswered(self.submit(*lists, field("maxusers", "none")), CRONE, ROOM, "")

    def test_membersOnly(self) -> None:
        """Users who become admins by the form that makes the room members-only stay."""
        self.submit(field("membersonly", "1"), field("roomadmins", ACCOUNT[HAG]))
        self.assertEqual(set(self.room.occupants), {"crone", "hag"})

    def test_refused(self) -> None:
        """The last owner stays ("conflict", section 10.2); other values than JIDs are refused; all or nothing."""
        self.assertRefusedBy(self.submit(field("roomname", "x"), field("roomowners")), CRONE, ROOM, LastOwner)
        for odd in ("@", "a@b@c", "x" * 5_000):
            sent = self.submit(field("roomname", "x"), field("roomadmins", ACCOUNT[HAG], odd))
            self.assertRefusedBy(sent, CRONE, ROOM, NotAcceptable)
        self.assertEqual(self.room.settings, Settings())
        self.assertEqual(self.room.affiliations, {ACCOUNT[CRONE]: "owner"})

    def test_long(self) -> None:
        """Lists that would make the form too large are left out of it; then the form changes neither."""
        self.room.affiliations |= {f"{'x' * 100}{number}@a.example": "admin" for number in range(1_000)}
        self.assertNotIn("roomadmins", self.fields())
        self.submit(field("roomname", "x"))
        self.assertEqual(len(self.room.affiliations), 1_001)


class ListTests(FormCase):
    """Lists of users for members (section 9.5)."""

    def list(self, who: str, affiliation: str) -> bytes:
        item = f"<item affiliation='{affiliation}'/>"
        return self.ask(who, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>")

    def test_members(self) -> None:
        """
        In a members-only, non-anonymous room members may list owners, admins and members, but not outcasts; clients
        encrypt for all of them. Elsewhere they may not.
        """
        self.join(HAG, "hag")
        self.room.affiliations |= {ACCOUNT[HAG]: "member", ACCOUNT[WISE]: "admin"}
        listed = {"owner": CRONE, "admin": WISE, "member": HAG}
        for membersOnly, nonAnonymous in ((False, False), (True, False), (False, True)):
            self.room.settings.membersOnly, self.room.settings.nonAnonymous = membersOnly, nonAnonymous
            for affiliation in ("owner", "admin"):
                self.assertRefusedBy(self.list(HAG, affiliation), HAG, ROOM, NotEntitled)
        self.room.settings.membersOnly = True
        for affiliation, who in listed.items():
            item = f"<item affiliation='{affiliation}' jid='{ACCOUNT[who]}'/>"
            sent = self.list(HAG, affiliation)
            self.assertAnswered(sent, HAG, ROOM, f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>")
            outsider = "x@y.example/z"
            self.assertRefusedBy(self.list(outsider, affiliation), outsider, ROOM, NotEntitled)
        self.assertRefusedBy(self.list(HAG, "outcast"), HAG, ROOM, NotEntitled)
