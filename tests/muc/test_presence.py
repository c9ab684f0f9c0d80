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
