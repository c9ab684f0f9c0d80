"""The configuration form and disco#info for people (XEP-0045 sections 6.4 and 10.1.3)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from attrs import evolve

from gateway import ns
from gateway.errors import NotAcceptable
from gateway.muc import register
from tests.fmuc.wire import read
from tests.muc.test_local import CRONE, HAG, ROOM
from tests.muc.test_queries import ConfigurationTests as Base
from tests.muc.test_queries import QueryCase

_DATA = f"{{{ns.DATA}}}"


class FormTests(QueryCase):
    """Labels, and the description."""

    own, submit = Base.own, Base.submit

    def form(self, sent: bytes) -> Element:
        """Return the form of an answer."""
        [stanza] = read(sent)
        return next(stanza.iter(f"{_DATA}x"))

    def test_labels(self) -> None:
        """Each field and each option has a label, also a number that the form does not offer."""
        self.submit(maxusers="7")
        form = self.form(self.own(CRONE, "", "get"))
        fields = [each for each in form.findall(f"{_DATA}field") if each.get("type") != "hidden"]
        self.assertGreater(len(fields), 9)
        options = [each for field in fields for each in field.findall(f"{_DATA}option")]
        self.assertGreater(len(options), 9)
        for each in fields + options:
            self.assertTrue(each.get("label"), each.attrib)
        self.assertEqual(
            {each.findtext(f"{_DATA}value"): each.get("label") for each in options if not each[0].text.isdigit()},
            {
                "moderators": "Moderators Only",
                "anyone": "Anyone",
                "none": "None",
                "nobody": "Nobody",
                "approval": "Anyone, with Approval by an Admin",
                "everybody": "Anyone",
                "moderator": "Moderator",
                "participant": "Participant",
                "visitor": "Visitor",
            },
        )
        self.assertEqual(form.findtext(f"{_DATA}title"), f"Configuration of {ROOM}")
        self.assertTrue(form.findtext(f"{_DATA}instructions"))

    def test_stored(self) -> None:
        """The form has the current values of settings that were read from elsewhere: equal ones, not the same."""
        settings = evolve(self.room.settings, registration=b"everybody".decode())
        self.assertEqual(register.OPTION.value(settings), "everybody")

    def test_description(self) -> None:
        """The description is in the form, and in disco#info if it is set; a long one is refused."""
        text = "The place for all good witches!"
        info = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.assertNotIn(b"muc#roominfo_description", self.ask(HAG, ROOM, info))
        self.submit(roomdesc=text)
        found = f"label='Short Description of Room'><value>{text}</value></field>"
        self.assertIn(
            f"<field var='muc#roomconfig_roomdesc' type='text-single' {found}".encode(), self.own(CRONE, "", "get")
        )
        self.assertIn(
            f"<field var='muc#roominfo_description' type='text-single' {found}".encode(), self.ask(HAG, ROOM, info)
        )
        self.assertRefusedBy(self.submit(roomdesc="x" * 1001), CRONE, ROOM, NotAcceptable)
        self.assertEqual(self.room.settings.description, text)
        for each in self.form(self.ask(HAG, ROOM, info)).findall(f"{_DATA}field")[1:]:
            self.assertTrue(each.get("label"), each.attrib)
