"""Changes of a room's configuration, as those in its mirrors learn of them (XEP-0045 section 10.2.1)."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.values import Dialect
from tests.fmuc.support import RoomCase
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import status, user


def submitted(**values: str) -> str:
    """Return the submitted form of an owner."""
    fields = "".join(
        f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in values.items()
    )
    form = f"<field var='FORM_TYPE'><value>{ns.MUC_ROOM_CONFIG}</value></field>{fields}"
    return f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{form}</x></query>"


def message(sender: str, recipient: str, *codes: int, inside: str = "") -> str:
    """Return a message about a change."""
    content = f"{inside}<x xmlns='{ns.MUC_USER}'>{status(*codes)}</x>"
    return f"<message from='{sender}' to='{recipient}' type='groupchat'>{content}</message>"


class ChangedTests(RoomCase):
    """Section 10.2.1: "the service MUST send a message of type "groupchat" to all occupants"."""

    def site(self, dialect: Dialect, replica: bool) -> Site:
        site = Site(dialect, replica)
        for who, nick in ((OWN, "own"), (ANN, "ann")):
            site.join(who, nick)
            site.seen(who)
        return site

    def configure(self, site: Site, **values: str) -> None:
        site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' id='c' type='set'>{submitted(**values)}</iq>")

    def test_codes(self) -> None:
        """
        Users of a mirror get 104, and the code of who sees their real JIDs from now on: 172 or 173. One stanza
        crosses the link. A later user of the mirror is told 100, or not.
        """
        for dialect, replica in WAYS:
            site = self.site(dialect, replica)
            site.counted()
            self.configure(site, roomname="Cave")
            self.assertEqual(site.counted(), (0, 1))
            self.assertSent(site.seen(ANN).encode(), message(HERE, ANN, 104))
            self.configure(site, whois="anyone")
            self.assertSent(site.seen(ANN).encode(), message(HERE, ANN, 104, 172))
            site.join(BEN, "ben")
            own = user("none", "participant", status(100, 110), BEN)
            self.assertIn(f"to='{BEN}'>{own}<occupant-id", site.seen(BEN))
            self.assertIn(f"jid='{BEN}'", site.seen(ANN))
            self.configure(site, whois="moderators")
            self.assertSent(site.seen(ANN).encode(), message(HERE, ANN, 104, 173))
            site.leave(BEN, "ben")
            self.assertNotIn(f"jid='{BEN}'", site.seen(ANN))
            site.join("cat@a.example/4", "cat")
            self.assertNotIn("code='100'", site.seen("cat@a.example/4"))
            self.assertNotIn("jid=", site.seen(ANN))

    def test_onlyTheRoom(self) -> None:
        """Codes of an occupant, of a user, and unknown ones change nothing and are not passed on."""
        for dialect, replica in WAYS:
            site = self.site(dialect, replica)
            body = "<body>x</body>"
            site.take(site.mirror, message(f"{ABOVE}/own", HERE, 172, inside=body))
            self.assertSent(
                site.seen(ANN).encode(),
                f"<message from='{HERE}/own' to='{ANN}' type='groupchat'>{body}</message>",
            )
            site.take(site.mirror, message(ABOVE, HERE, 110, 307, inside=body))
            self.assertSent(
                site.seen(ANN).encode(), f"<message from='{HERE}' to='{ANN}' type='groupchat'>{body}</message>"
            )
            site.take(site.mirror, message(ANN, HERE, 172, inside=body))
            self.assertNotIn("172", site.seen(ANN) + site.seen(OWN))
            self.assertFalse(site.mirror.rooms.rooms[HERE].settings.nonAnonymous)
            site.take(site.mirror, message(ABOVE, HERE, 104, 104, 170, inside=body))
            self.assertSent(site.seen(ANN).encode(), message(HERE, ANN, 104, 170, inside=body))
