"""Order and content of presence through mirrors, in both protocols and modes."""

from __future__ import annotations

from xml.etree.ElementTree import tostring

from gateway.fmuc.values import Dialect
from tests.fmuc.support import MUC, RoomCase, mirror, rooms
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
                    self.assertEqual(rest[:2], ["{jabber:component:accept}show", "{vcard-temp:x:update}x"])
                    self.assertEqual(rest[2:], ["{urn:xmpp:occupant-id:0}occupant-id"])

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


class IdTests(RoomCase):
    """The id of a presence is that of the own presence which answers it (XEP-0045 section 7.2.2)."""

    def test_each(self) -> None:
        """Join, change and leave, in both protocols and modes."""
        for way in WAYS:
            site = Site(*way)
            site.join(OWN, "own")
            site.join(BEN, "ben")
            for number, (inside, kind) in enumerate(((MUC, ""), ("<show>dnd</show>", ""), ("", "unavailable"))):
                for each in (OWN, ANN, BEN):
                    site.seen(each)
                given = f" type='{kind}'" if kind else ""
                site.take(
                    site.mirror,
                    f"<presence from='{ANN}' to='{HERE}/ann' id='i{number}'{given}>{inside}</presence>",
                )
                [own] = [each for each in read(site.seen(ANN).encode()) if each.get("from") == f"{HERE}/ann"]
                self.assertEqual((own.get("id"), own.get("type", "")), (f"i{number}", kind), way)
                for other in (OWN, BEN):
                    [told] = read(site.seen(other).encode())
                    self.assertEqual((told.get("id"), told.get("type", "")), (None, kind), way)

    def test_whileJoining(self) -> None:
        """A presence that is sent before the join is answered, too."""
        for dialect in Dialect:
            service = mirror("mirror.example", dialect)
            sent = service.take(f"<presence from='{ANN}' to='{HERE}/ann' id='1'>{MUC}</presence>")
            sent += service.take(f"<presence from='{ANN}' to='{HERE}/ann' id='2'><show>dnd</show></presence>")
            above = rooms("chat.example", "mirror.example")
            answered = service.take(above.take(sent))
            crossed = [each for each in read(answered) if each.get("to", "").startswith(ABOVE)]
            self.assertEqual([each.get("id") for each in crossed], ["2"])
            back = service.take(above.take(b"".join(map(tostring, crossed))))
            own = [each for each in read(answered + back) if each.get("from") == f"{HERE}/ann"]
            self.assertEqual([each.get("id") for each in own if each.get("to") == ANN], ["1", "2"])
