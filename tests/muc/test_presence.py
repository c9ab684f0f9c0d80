"""Order and content of presence to local users (XEP-0045 section 7)."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.fmuc.wire import read
from tests.muc.test_local import CRONE, HAG, ROOM, LocalCase, presence, status, user

VCARD = "<x xmlns='vcard-temp:x:update'><photo/></x>"


def names(stanza: ElementTree.Element) -> list[str]:
    """Return the names of the elements of a stanza, in their order."""
    return [child.tag for child in stanza]


class ContentTests(LocalCase):
    """The room's own element comes first, and an old nick takes nothing along."""

    def test_first(self) -> None:
        """The element x of muc#user comes before all that the occupant has sent, among it another x."""
        sent = self.join(HAG, "hag", show=f"<show>dnd</show>{VCARD}")
        found = [stanza for stanza in read(sent) if stanza.get("from") == f"{ROOM}/hag"]
        self.assertEqual(len(found), 2)
        for stanza in found:
            self.assertEqual(
                names(stanza),
                [
                    "{http://jabber.org/protocol/muc#user}x",
                    "{jabber:component:accept}show",
                    "{vcard-temp:x:update}x",
                    "{urn:xmpp:occupant-id:0}occupant-id",
                ],
            )

    def test_oldNick(self) -> None:
        """Section 7.6: the unavailable presence has the new nick and 303, and nothing of the old presence."""
        self.join(HAG, "hag", show=f"<show>dnd</show>{VCARD}")
        sent = self.service.take(f"<presence from='{HAG}' to='{ROOM}/oldhag'><status>x</status></presence>")
        new = " nick='oldhag'"
        self.assertSent(
            sent,
            presence("hag", HAG, user("none", "participant", status(303, 110), inside=new), "unavailable"),
            presence("oldhag", HAG, "<status>x</status>" + user("none", "participant", status(110))),
            presence("hag", CRONE, user("none", "participant", status(303), HAG, new), "unavailable"),
            presence("oldhag", CRONE, "<status>x</status>" + user("none", "participant", jid=HAG)),
        )


class IdTests(LocalCase):
    """
    The id of a presence is that of the own presence which answers it, and of no other.

    Section 7.2.2: "For tracking purposes, the room might also reflect the original 'id' value". Clients wait for
    it.
    """

    def sent(self, nick: str, inside: str = "", kind: str = "", identifier: str = "i1") -> list[tuple[str, ...]]:
        """Return the sender's nick, the recipient, the type and the id of each presence that a presence causes."""
        given = f" type='{kind}'" if kind else ""
        xml = f"<presence from='{HAG}' to='{ROOM}/{nick}' id='{identifier}'{given}>{inside}</presence>"
        found = [stanza for stanza in read(self.service.take(xml)) if stanza.tag.endswith("presence")]
        values = [[stanza.get(name, "") for name in ("from", "to", "type", "id")] for stanza in found]
        return [(sender.partition("/")[2], *rest) for sender, *rest in values]

    def test_each(self) -> None:
        """Join, change, another join, a new nick, and leave."""
        muc = "<x xmlns='http://jabber.org/protocol/muc'/>"
        join = [("crone", HAG, "", ""), ("hag", CRONE, "", ""), ("hag", HAG, "", "i1")]
        self.assertEqual(self.sent("hag", muc), join)
        change = [("hag", CRONE, "", ""), ("hag", HAG, "", "i1")]
        self.assertEqual(self.sent("hag", "<show>dnd</show>"), change)
        self.assertEqual(self.sent("hag", "<show>dnd</show>" + muc), [join[0], join[2]])
        old, new = ("unavailable", ""), ("", "i1")
        self.assertEqual(
            self.sent("new"),
            [("hag", CRONE, *old), ("hag", HAG, *old), ("new", CRONE, "", ""), ("new", HAG, *new)],
        )
        left = sorted(self.sent("new", kind="unavailable"))
        self.assertEqual(left, [("new", CRONE, *old), ("new", HAG, "unavailable", "i1")])

    def test_long(self) -> None:
        """A leave with an id that is too long is a leave."""
        self.join(HAG, "hag")
        gone = self.sent("hag", kind="unavailable", identifier="i" * 1001)
        self.assertEqual({each[2:] for each in gone}, {("unavailable", "")})
        self.assertNotIn("hag", self.room.occupants)
