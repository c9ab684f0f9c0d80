"""The vCard of a room, and its avatar (XEP-0486)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from gateway import ns
from gateway.errors import BadRequest, NoSuchAddress, NotEntitled, OnlyInTheRoom, TooLarge
from gateway.fmuc.values import Dialect
from tests.fmuc.support import elsewhere, refused
from tests.fmuc.test_mirrors import ABOVE, ANN, HERE, OWN, WAYS, Site
from tests.muc.test_local import CRONE, HAG, NO_SUBJECT, ROOM, WISE, presence, said, status, user
from tests.muc.test_queries import SERVICE, QueryCase

# The example of XEP-0486, with the hash there.
BINVAL = (
    "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSIzMiIgaGVpZ2h0PSIzMiI+CiA8cmVjdCB4PSIwIiB5PSIw"
    "IiB3aWR0aD0iMzIiIGhlaWdodD0iMzIiIGZpbGw9InJlZCIvPgo8L3N2Zz4K"
)
HASH = "a31c4bd04de69663cfd7f424a8453f4674da37ff"
CHANGED = f"<x xmlns='{ns.MUC_USER}'>{status(104)}</x>"
EMPTY = f"<vCard xmlns='{ns.VCARD}'/>"


def card(*images: str) -> str:
    """Return a vCard with images."""
    photos = "".join(f"<PHOTO><TYPE>image/svg+xml</TYPE><BINVAL>{each}</BINVAL></PHOTO>" for each in images)
    return f"<vCard xmlns='{ns.VCARD}'><FN>Den</FN>{photos}</vCard>"


def shown(recipient: str, given: str, room: str = ROOM) -> str:
    """Return the room's presence (example "Room advertises a non-standard vCard update in a presence")."""
    photo = f"<photo>{given}</photo>" if given else "<photo/>"
    return f"<presence from='{room}' to='{recipient}'><x xmlns='vcard-temp:x:update'>{photo}</x></presence>"


class AvatarTests(QueryCase):
    """One room."""

    def publish(self, given: str, who: str = CRONE) -> bytes:
        return self.ask(who, ROOM, given, "set")

    def test_published(self) -> None:
        """
        "The room should then broadcast a notification that the configuration changed to all users present"; the
        hash is in disco#info, and users get the vCard, whether they are occupants or not.
        """
        self.join(HAG, "hag")
        self.assertAnswered(
            self.publish(card(BINVAL)),
            CRONE,
            ROOM,
            "",
            said("", CRONE, CHANGED),
            said("", HAG, CHANGED),
            shown(CRONE, HASH),
            shown(HAG, HASH),
        )
        field = f"<field var='muc#roominfo_avatarhash' type='text-multi' label='Avatar hash'><value>{HASH}</value>"
        self.assertIn(field.encode(), self.ask(WISE, ROOM, f"<query xmlns='{ns.DISCO_INFO}'/>"))
        self.assertAnswered(self.ask(WISE, ROOM, EMPTY), WISE, ROOM, card(BINVAL))

    def test_none(self) -> None:
        """Without an avatar, the vCard is empty and there is no hash; a vCard without images has none, either."""
        self.assertAnswered(self.ask(WISE, ROOM, EMPTY), WISE, ROOM, EMPTY)
        self.assertAnswered(self.publish(card()), CRONE, ROOM, "", said("", CRONE, CHANGED))
        self.assertAnswered(self.ask(WISE, ROOM, EMPTY), WISE, ROOM, card())
        for address in (ROOM, SERVICE):
            sent = self.ask(WISE, address, f"<query xmlns='{ns.DISCO_INFO}'/>")
            self.assertIn(b"<feature var='vcard-temp'/>", sent)
            self.assertNotIn(b"avatarhash", sent)
        nowhere = f"no@{SERVICE}"
        self.assertRefusedBy(self.ask(WISE, nowhere, EMPTY), WISE, nowhere, NoSuchAddress)

    def test_removed(self) -> None:
        """ "Setting an empty vCard unpublishes the avatar." """
        self.publish(card(BINVAL))
        self.assertAnswered(self.publish(EMPTY), CRONE, ROOM, "", said("", CRONE, CHANGED), shown(CRONE, ""))
        self.assertIsNone(self.room.card)
        self.assertAnswered(self.ask(WISE, ROOM, EMPTY), WISE, ROOM, EMPTY)

    def test_same(self) -> None:
        """The same vCard again is no change."""
        self.publish(card(BINVAL))
        self.assertAnswered(self.publish(card(BINVAL)), CRONE, ROOM, "")

    def test_join(self) -> None:
        """A new occupant is sent the hash last, after what XEP-0045 section 7.1 orders."""
        self.publish(card(BINVAL))
        self.assertSent(
            self.join(HAG, "hag"),
            presence("crone", HAG, user("owner", "moderator")),
            presence("hag", HAG, user("none", "participant", status(110))),
            said("", HAG, NO_SUBJECT),
            shown(HAG, HASH),
            presence("hag", CRONE, user("none", "participant", jid=HAG)),
        )

    def test_several(self) -> None:
        """ "the 'muc#roominfo_avatarhash' field must contain a hash of all of them"; line breaks do not matter."""
        second = b64encode(b"png").decode()
        broken = "\n".join(BINVAL[start : start + 76] for start in range(0, len(BINVAL), 76))
        self.publish(card(broken, second, second))
        hashes = (HASH, sha1(b"png", usedforsecurity=False).hexdigest())
        assert self.room.card is not None
        self.assertEqual(self.room.card.hashes, hashes)
        values = "".join(f"<value>{each}</value>" for each in hashes)
        self.assertIn(values.encode(), self.ask(WISE, ROOM, f"<query xmlns='{ns.DISCO_INFO}'/>"))

    def test_refused(self) -> None:
        """Only owners may publish ("forbidden"); large vCards and other images than base64 are refused."""
        self.room.affiliations[HAG.partition("/")[0]] = "admin"
        self.assertRefusedBy(self.publish(card(BINVAL), HAG), HAG, ROOM, NotEntitled)
        self.assertRefusedBy(self.publish(card("A" * 66_000)), CRONE, ROOM, TooLarge)
        for odd in ("*", "A", "\N{LATIN SMALL LETTER E WITH ACUTE}AAA"):
            self.assertRefusedBy(self.publish(card(odd)), CRONE, ROOM, BadRequest)
        self.assertIsNone(self.room.card)


class MirrorTests(QueryCase):
    """Mirrors, in both protocols and modes."""

    def test_notified(self) -> None:
        """The users of a mirror are told of the change (104), and then ask for it."""
        for way in WAYS:
            site = self.site(way)
            iq = f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{card(BINVAL)}</iq>"
            site.take(site.above, iq)
            changed = f"<message from='{HERE}' to='{ANN}' type='groupchat'>{CHANGED}</message>"
            self.assertIn(changed, site.seen(ANN))
            info = f"<query xmlns='{ns.DISCO_INFO}'/>"
            site.take(site.mirror, f"<iq from='{ANN}' to='{HERE}' id='2' type='get'>{info}</iq>")
            self.assertIn(f"var='muc#roominfo_avatarhash'><value>{HASH}</value>", site.seen(ANN))

    def test_vCard(self) -> None:
        """Occupants of a mirror get the vCard from the room, which takes none from them."""
        for way in WAYS:
            site = self.site(way)
            site.above.take(f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{card(BINVAL)}</iq>")
            site.take(site.mirror, f"<iq from='{ANN}' to='{HERE}' id='2' type='get'>{EMPTY}</iq>")
            expected = f"<iq from='{HERE}' to='{ANN}' id='2' type='result'>{card(BINVAL)}</iq>"
            self.assertSent(site.seen(ANN).encode(), expected)
            site.take(site.mirror, f"<iq from='{ANN}' to='{HERE}' id='3' type='set'>{EMPTY}</iq>")
            self.assertSent(site.seen(ANN).encode(), refused("iq", HERE, ANN, OnlyInTheRoom, "id='3'"))

    def test_outsiders(self) -> None:
        """A mirror does not know the vCard, and does not tell a user who is no occupant that there is none."""
        site = self.site(WAYS[0])
        for kind, payload in (("get", EMPTY), ("set", card(BINVAL))):
            sent = site.mirror.take(f"<iq from='{WISE}' to='{HERE}' id='1' type='{kind}'>{payload}</iq>")
            self.assertSent(sent, elsewhere(HERE, ABOVE, WISE, "1"))

    def site(self, way: tuple[Dialect, bool]) -> Site:
        site = Site(*way)
        for who, nick in ((OWN, "own"), (ANN, "ann")):
            site.join(who, nick)
        site.shown.clear()
        return site
