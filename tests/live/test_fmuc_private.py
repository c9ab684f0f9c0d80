"""A private room as those see it who come through a mirror: slixmpp on both sides, in each protocol and mode."""

from __future__ import annotations

from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, scenario
from tests.live.rooms import MUC, RoomsCase, Talker
from tests.live.servers import DOMAIN, Ejabberd, Embedded, Prosody


class PrivateTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

    administering = tuple(MIRRORS)

    @scenario(90)
    async def test_private(self) -> None:
        """
        Disco through a mirror shows a private room as private. Members get what an encrypting client needs: real
        JIDs, and the three lists. Others see nothing, although somebody is in. A change of the configuration
        arrives, and an owner in the mirror kicks.
        """
        await self.startSites()
        for number, mirror in enumerate(MIRRORS):
            await self.checkPrivate(*self.places(f"chamber{number}", mirror))

    async def checkPrivate(self, there: str, here: str) -> None:
        """Check one mirror."""
        mirror = JID(here).domain
        bob, alice, carol = [await self.talker(name) for name in ("bob", "alice", "carol")]
        with self.assertRaises(IqError) as denied:
            await self.features(alice, here)
        self.assertEqual(denied.exception.condition, "item-not-found")
        await bob.join(there, "bob")
        await self.configure(bob, there, membersonly="1", whois="anyone", roomname="A chamber")
        for name, affiliation in (("alice", "member"), ("mallory", "admin")):
            await bob.muc.set_affiliation(JID(there), affiliation, jid=JID(self.known(name)))

        # An answer that there is no such room is not kept.
        features, names = await self.features(alice, here)
        self.assertLessEqual({"muc_membersonly", "muc_nonanonymous", "muc_unsecured", MUC}, features)
        self.assertEqual(names, {("conference", "text", "A chamber")})
        _, names = await self.features(alice, mirror)
        self.assertNotIn("conference", [category for category, _, _ in names])

        own, _, occupants, _ = await alice.join(here, "alice")
        self.assertIn(100, own["muc"]["status_codes"])
        self.assertIn(f"bob@{DOMAIN}/talk", [str(each["muc"]["jid"]) for each in occupants])
        with self.assertRaises(PresenceError) as refused:
            await carol.join(here, "carol")
        self.assertEqual(refused.exception.condition, "registration-required")
        told = {(who, kind) for who, kind, _ in carol.came if who.startswith(here)}
        self.assertEqual(told, {(f"{here}/carol", "error")})
        self.assertNotIn(f"{here}/carol", [who for who, _, _ in alice.came])
        listed = (("owner", f"bob@{DOMAIN}"), ("admin", self.known("mallory")), ("member", self.known("alice")))
        for affiliation, user in listed:
            found = await alice.muc.get_users_by_affiliation(JID(here), affiliation)
            self.assertEqual([str(each) for each in found], [user])

        await self.configure(bob, there, whois="moderators")
        await alice.awaitCodes(here, "173", *(() if self.backing else ("104",)))
        features, _ = await self.features(alice, here)
        self.assertLessEqual({"muc_membersonly", "muc_semianonymous"}, features)

        with self.assertRaises(IqError) as denied:
            await alice.muc.set_role(JID(here), "bob", "none")
        self.assertIn(denied.exception.condition, ("forbidden", *(["not-allowed"] if self.backing else [])))
        await bob.muc.set_affiliation(JID(there), "owner", jid=JID(self.known("carol")))
        await carol.join(here, "carol")
        await carol.muc.set_role(JID(here), "alice", "none", reason="To bed")
        await alice.awaitPresence(f"{here}/alice", "unavailable", "307", "110")
        await bob.awaitPresence(f"{there}/alice", "unavailable", "307")
        for each in (alice, bob, carol):
            await each.close()

    async def features(self, talker: Talker, jid: str) -> tuple[set[str], set[tuple[str, str, str]]]:
        """Return features and identities."""
        info = (await talker.stream.plugin["xep_0030"].get_info(jid=JID(jid), timeout=15))["disco_info"]
        return set(info["features"]), {(category, kind, name) for category, kind, _, name in info["identities"]}


class EmbeddedPrivateTests(PrivateTests, SynchronousTestCase):
    """On the embedded host."""

    serverClass = Embedded


class ProsodyPrivateTests(PrivateTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class EjabberdPrivateTests(PrivateTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd
