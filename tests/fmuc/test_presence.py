"""Order and content of presence through mirrors, in both protocols and modes."""

from __future__ import annotations

from tests.fmuc.support import RoomCase
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.fmuc.wire import read
from tests.muc.test_local import status, user
from tests.muc.test_presence import VCARD, names


class ContentTests(RoomCase):
    """As in a room itself (XEP-0045 section 7)."""

    def test_first(self) -> None:
        """The element x of muc#user comes first, on either side of the link."""
        for way in WAYS:
            site = Site(*way)
            for who, nick in ((OWN, "own"), (ANN, "ann"), (BEN, "ben")):
                site.join(who, nick)
            for service, who, room, nick in ((site.mirror, ANN, HERE, "ann"), (site.above, OWN, ABOVE, "own")):
                for each in (OWN, ANN, BEN):
                    site.seen(each)
                site.take(service, f"<presence from='{who}' to='{room}/{nick}'><show>dnd</show>{VCARD}</presence>")
                for each in (OWN, ANN, BEN):
                    [stanza] = read(site.seen(each).encode())
                    first, *rest = names(stanza)
                    self.assertEqual(first, "{http://jabber.org/protocol/muc#user}x", way)
                    self.assertEqual(rest, ["{jabber:component:accept}show", "{vcard-temp:x:update}x"])

    def test_oldNick(self) -> None:
        """Section 7.6: a new nick in the joined node: 303, the role as before, and nothing of the old presence."""
        for way in WAYS:
            site = Site(*way)
            site.join(OWN, "own")
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'><show>dnd</show>{VCARD}</presence>")
            site.join(ANN, "ann")
            site.seen(ANN)
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/new'/>")
            old = user("owner", "moderator", status(303), inside=" nick='new'")
            self.assertSent(
                site.seen(ANN).encode(),
                f"<presence from='{HERE}/own' to='{ANN}' type='unavailable'>{old}</presence>",
                f"<presence from='{HERE}/new' to='{ANN}'>{user('owner', 'moderator')}</presence>",
            )
