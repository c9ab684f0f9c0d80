"""Occupant ids (XEP-0421), stanza ids (XEP-0359), and hints against storage (XEP-0334)."""

from __future__ import annotations

from itertools import pairwise
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import StoreBroken
from gateway.fmuc.core import Rooms
from gateway.muc.ids import MAX_ID, SECRET, Ids, occupantId
from gateway.muc.occupant import Occupant
from gateway.muc.store import MIGRATIONS, loadSecret
from gateway.muc.values import AVAILABLE, Payload, Standing
from gateway.state.memory import MemoryStore
from gateway.testing import stanzas
from tests.fmuc.support import MUC, RoomCase, Service, canonical
from tests.fmuc.wire import read
from tests.muc.test_local import CRONE, HAG, ROOM, WISE, said, status, user

SERVICE = "chat.shakespeare.lit"
IDS = Ids(b"secret", bytes)
# With these ids, each stanza id is this one.
STANZA_ID = "A" * 16
FORGED = f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='forged'/>"
ANY_ID = f"{{{ns.OCCUPANT_ID}}}occupant-id"
BODY = "<body>Harpier cries: 'tis time, 'tis time.</body>"


def idOf(user: str, room: str = ROOM) -> str:
    """Return the id of a user, given by full JID."""
    return occupantId(IDS.salt(room), user.partition("/")[0])


def occupant(user: str) -> str:
    """Return a user's element C{occupant-id}."""
    return f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='{idOf(user)}'/>"


def stanzaId(identifier: str = STANZA_ID, by: str = ROOM) -> str:
    """Return an element C{stanza-id}."""
    return f"<stanza-id xmlns='{ns.SID}' by='{by}' id='{identifier}'/>"


class IdsTests(SynchronousTestCase):
    """The ids themselves."""

    def test_occupants(self) -> None:
        """
        XEP-0421 section 4.1: an id is stable, and unique for a user, a room and a secret; it has at most 128
        characters.
        """
        found = {
            occupantId(Ids(secret).salt(room), each)
            for secret in (b"1", b"2")
            for room in (ROOM, f"other@{SERVICE}")
            for each in ("hag66@shakespeare.lit", "wise@shakespeare.lit")
        }
        self.assertEqual(len(found), 8)
        self.assertEqual({len(each) for each in found}, {22})
        self.assertLessEqual(22, MAX_ID)
        # The same in each release.
        self.assertEqual(occupantId(Ids(b"1").salt(ROOM), "hag66@shakespeare.lit"), "nNJC4UQJXS3I0s64uZXhyQ")

    def test_given(self) -> None:
        """An occupant's presence is kept for the next recipient, unless the id changes."""
        one = Occupant("hag", HAG, Standing(), Payload(), False)
        one.giveId("first")
        kept = one.presence(AVAILABLE)
        one.giveId("first")
        self.assertIs(one.presence(AVAILABLE), kept)
        one.giveId("second")
        self.assertEqual(one.presence(AVAILABLE).occupantId, "second")

    def test_newSecret(self) -> None:
        """Without a given secret, nobody can know it."""
        self.assertNotEqual(Ids().salt(ROOM), Ids().salt(ROOM))

    def test_stanzas(self) -> None:
        """Stanza ids are never the same, and are made of random bytes only, nine for each and more for a run."""
        run: list[str] = []
        ids = Ids()
        found = [ids.stanzaId(run) for _ in range(2_000)]
        self.assertEqual(len(set(found)), 2_000)
        self.assertEqual({len(each) for each in found}, {16})
        asked: list[int] = []

        def random(size: int) -> bytes:
            asked.append(size)
            return bytes(size)

        ids = Ids(b"", random)
        run.clear()
        self.assertEqual({ids.stanzaId(run) for _ in range(2_000)}, {STANZA_ID})
        self.assertGreaterEqual(sum(asked), 2_000 * 9 + 3 * 2_000 // 256)

    def test_runs(self) -> None:
        """
        Most ids of a room follow the one before, with the same beginning: in an index they are in one place. Those
        of another room tell nothing of them.
        """
        ids = Ids()
        runs: tuple[list[str], list[str]] = [], []
        found = [[ids.stanzaId(run) for run in runs] for _ in range(640)]
        for each in zip(*found, strict=True):
            following = [one[:4] == next_[:4] and one < next_ for one, next_ in pairwise(each)]
            self.assertEqual(following.count(False), 9)
        self.assertFalse({one[:4] for one, _ in found} & {other[:4] for _, other in found})

    def test_secret(self) -> None:
        """The secret is made once, and kept; one that was changed is not used."""
        store = MemoryStore(MIGRATIONS)
        secret = loadSecret(store)
        self.assertEqual(len(secret), SECRET)
        self.assertEqual(loadSecret(store), secret)
        self.assertNotEqual(loadSecret(MemoryStore(MIGRATIONS)), secret)
        for odd in ("", "no hexadecimal digits", "00"):
            store.atStart(lambda cursor, value: cursor.execute("UPDATE secrets SET value = ?", (value,)), odd)
            self.assertRaises(StoreBroken, loadSecret, store)


class IdCase(RoomCase):
    """A room with ids that can be predicted, of the first crone, in which the hag is."""

    def setUp(self) -> None:
        self.service = Service(Rooms(SERVICE, None, frozenset(), ids=IDS))
        self.join(CRONE, "crone")
        self.join(HAG, "hag")
        self.room = self.service.rooms.rooms[ROOM]

    def join(self, who: str, nick: str, show: str = "") -> bytes:
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'>{show}{MUC}</presence>")

    def show(self, who: str, nick: str, inside: str, kind: str = "") -> bytes:
        return self.service.take(f"<presence from='{who}' to='{ROOM}/{nick}'{kind}>{inside}</presence>")

    def say(self, who: str, inside: str) -> bytes:
        return self.service.take(f"<message from='{who}' to='{ROOM}' type='groupchat'>{inside}</message>")

    def whisper(self, who: str, nick: str, inside: str) -> bytes:
        return self.service.take(f"<message from='{who}' to='{ROOM}/{nick}' type='chat'>{inside}</message>")

    def assertWhole(self, sent: bytes, *expected: str) -> None:
        """Exactly these stanzas are sent, with their ids."""
        self.assertEqual(sorted(canonical(sent, ids=True)), sorted(canonical("".join(expected), ids=True)))

    def assertOccupant(self, sent: bytes, who: str) -> list[Element]:
        """Each stanza has one occupant id, that of a user."""
        found = read(sent)
        self.assertTrue(found)
        for stanza in found:
            self.assertEqual([each.get("id") for each in stanza.iter(ANY_ID)], [idOf(who)])
        return found


class OccupantIdTests(IdCase):
    """XEP-0421."""

    def test_entering(self) -> None:
        """Section 3.1: presence to all occupants has the id, and that of each occupant to the new one."""
        self.assertWhole(
            self.join(WISE, "wise"),
            f"<presence from='{ROOM}/crone' to='{WISE}'>{user('owner', 'moderator')}{occupant(CRONE)}</presence>",
            f"<presence from='{ROOM}/hag' to='{WISE}'>{user('none', 'participant')}{occupant(HAG)}</presence>",
            f"<presence from='{ROOM}/wise' to='{HAG}'>{user('none', 'participant')}{occupant(WISE)}</presence>",
            f"<presence from='{ROOM}/wise' to='{CRONE}'>{user('none', 'participant', jid=WISE)}"
            f"{occupant(WISE)}</presence>",
            f"<presence from='{ROOM}/wise' to='{WISE}'>{user('none', 'participant', status(110))}"
            f"{occupant(WISE)}</presence>",
            said("", WISE, "<subject/>"),
        )

    def test_message(self) -> None:
        """Section 3.2: a message to all occupants has the id of its sender."""
        whole = BODY + occupant(HAG) + stanzaId()
        self.assertWhole(self.say(HAG, BODY), said("hag", CRONE, whole), said("hag", HAG, whole))

    def test_replaced(self) -> None:
        """
        Section 4: "If the message or presence received by the MUC service already contains <occupant-id> element,
        the MUC service MUST replace such element", however it is written.
        """
        other = f"<o:occupant-id xmlns:o='{ns.OCCUPANT_ID}' id='forged'>x</o:occupant-id>"
        for forged in (FORGED, FORGED * 3, FORGED + occupant(CRONE), other):
            inside = f"{forged}<show>away</show>{forged}"
            for sent in (
                self.show(HAG, "hag", inside),
                self.show(HAG, "hag", f"{inside}<status>x</status>"),
                self.say(HAG, forged + BODY + forged),
                self.say(HAG, f"{forged}<subject>x</subject>"),
                self.whisper(HAG, "crone", forged + BODY),
            ):
                self.assertNotIn(b"forged", sent)
                self.assertOccupant(sent, HAG)
            self.join(WISE, "wise", forged)
            sent = self.show(WISE, "wise", forged, " type='unavailable'")
            self.assertOccupant(sent, WISE)

    def test_every(self) -> None:
        """
        Section 4: the element "MUST be attached to every message and every presence", those at the end of a stay,
        private messages and history among them.
        """
        self.say(HAG, BODY)
        self.say(HAG, "<subject>Fire Burn and Cauldron Bubble!</subject>")
        for sent in (
            self.whisper(HAG, "crone", BODY),
            self.show(HAG, "hag", "<show>dnd</show>"),
            self.show(HAG, "hag", "", " type='unavailable'"),
        ):
            self.assertOccupant(sent, HAG)
        history = [each for each in read(self.join(WISE, "wise")) if each.tag.endswith("}message")]
        found = [each.get("id") for stanza in history for each in stanza.iter(ANY_ID)]
        self.assertEqual((len(history), found), (2, [idOf(HAG)] * 2))

    def test_stable(self) -> None:
        """
        Section 4.1: the id is the same after a leave, with another nick, and for another client. Another user with
        the same nick has another id.
        """
        self.assertOccupant(self.show(HAG, "oldhag", ""), HAG)
        self.show(HAG, "oldhag", "", " type='unavailable'")
        others = ("hag66@shakespeare.lit/other", "third"), ("HAG66@Shakespeare.lit/x", "x")
        for who, nick in ((HAG, "third"), *others):
            self.join(who, nick)
            self.assertEqual(self.room.occupants[nick].id, idOf(HAG))
        self.join(WISE, "hag")
        self.assertEqual(self.room.occupants["hag"].id, idOf(WISE))

    def test_severalClients(self) -> None:
        """XEP-0045 section 7.2.8: two clients with one nick are one occupant, with one id."""
        self.join("hag66@shakespeare.lit/tablet", "hag")
        self.assertOccupant(self.show("hag66@shakespeare.lit/tablet", "hag", "<show>away</show>"), HAG)
        self.assertOccupant(self.say("hag66@shakespeare.lit/tablet", BODY), HAG)
        self.assertOccupant(self.say(HAG, BODY), HAG)

    def test_kick(self) -> None:
        """All are told of a removed occupant, with the id."""
        item = "<item nick='hag' role='none'/>"
        query = f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"
        sent = self.service.take(f"<iq from='{CRONE}' to='{ROOM}' id='1' type='set'>{query}</iq>")
        self.assertEqual(sent.count(occupant(HAG).encode()), 2)

    def test_restart(self) -> None:
        """Section 4.1: the id "MUST be the same as was assigned the first time", also after a restart."""
        self.service = Service(Rooms(SERVICE, None, frozenset(), ids=Ids(b"secret")))
        self.join(CRONE, "crone")
        self.assertEqual(self.service.rooms.rooms[ROOM].occupants["crone"].id, idOf(CRONE))

    def test_disco(self) -> None:
        """Section 2: rooms announce it; section 4: so does the service."""
        for address, features in ((ROOM, (ns.OCCUPANT_ID, ns.SID)), (SERVICE, (ns.OCCUPANT_ID,))):
            query = f"<query xmlns='{ns.DISCO_INFO}'/>"
            sent = self.service.take(f"<iq from='{HAG}' to='{address}' id='1' type='get'>{query}</iq>").decode()
            for feature in features:
                self.assertEqual(sent.count(f"<feature var='{feature}'/>"), 1)


class StanzaIdTests(IdCase):
    """XEP-0359."""

    def ids(self, sent: bytes) -> list[tuple[str | None, str | None]]:
        """Return who has assigned the stanza ids of the first stanza, and the ids."""
        found = read(sent)[0].findall(f"{{{ns.SID}}}stanza-id")
        return [(each.get("by"), each.get("id")) for each in found]

    def test_history(self) -> None:
        """Section 3: the id "MUST NOT change later": all occupants see the same one, now and in the history."""
        self.service = Service(Rooms(SERVICE, None, frozenset()))
        for who, nick in ((CRONE, "crone"), (HAG, "hag")):
            self.join(who, nick)
        for inside in (BODY, "<subject>Fire Burn and Cauldron Bubble!</subject>"):
            sent = self.say(HAG, inside)
            [one] = self.ids(sent)
            self.assertEqual(one[0], ROOM)
            self.assertEqual(sent.count(stanzaId(one[1] or "").encode()), 2)
            # As it was, with its ids and the delay.
            live = inside + occupant("").replace(idOf(""), self.service.rooms.rooms[ROOM].occupants["hag"].id)
            delay = f"<delay xmlns='{ns.DELAY}' from='{ROOM}' stamp='1970-01-12T13:46:40Z'/>"
            self.assertIn(
                canonical(said("hag", WISE, f"{live}{stanzaId(one[1] or '')}{delay}"), ids=True)[0],
                canonical(self.join(WISE, "wise"), ids=True),
            )
            self.show(WISE, "wise", "", " type='unavailable'")

    def test_forged(self) -> None:
        """
        Section 3, rule 2: an id in the name of the room is deleted, in any spelling of its JID, also one without a
        valid JID, and in messages that get none. Rule 3: others, and origin ids, are kept.
        """
        kept = stanzaId("x", "wise@shakespeare.lit") + f"<origin-id xmlns='{ns.SID}' id='o'/>"
        for by in (ROOM, ROOM.upper(), f"{ROOM}/crone", f"coven@{SERVICE}.", "", "@"):
            forged = stanzaId("forged", by)
            whole = BODY + kept + occupant(HAG) + stanzaId()
            self.assertWhole(
                self.say(HAG, forged + BODY + kept + forged), said("hag", CRONE, whole), said("hag", HAG, whole)
            )
            self.assertNotIn(b"forged", self.say(HAG, f"<composing xmlns='urn:x'/>{forged}"))
        other = f"<s:stanza-id xmlns:s='{ns.SID}' by='{ROOM}' id='forged'/>"
        for forged in (other, f"<stanza-id xmlns='{ns.SID}' id='forged'/>", stanzaId("forged", "a@b") * 50):
            self.assertLessEqual(self.say(HAG, BODY + forged).count(b"forged"), 20)

    def test_ownAccount(self) -> None:
        """An id by the sender's account would show the real JID in a semi-anonymous room; it is deleted."""
        sent = self.say(HAG, BODY + stanzaId("x", "hag66@shakespeare.lit"))
        self.assertEqual(self.ids(sent), [(ROOM, STANZA_ID)])

    def test_private(self) -> None:
        """
        Section 3, rule 7: "For one-on-one messages the assigning entity is the account"; the room deletes its own.
        """
        self.assertWhole(
            self.whisper(HAG, "crone", BODY + stanzaId("forged")),
            f"<message from='{ROOM}/hag' to='{CRONE}' type='chat'><x xmlns='{ns.MUC_USER}'/>{BODY}{occupant(HAG)}"
            "</message>",
        )

    def test_others(self) -> None:
        """Messages that nobody refers to have no id: chat states, and an empty subject that nobody has set."""
        self.assertEqual(self.ids(self.say(HAG, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")), [])
        self.assertNotIn(b"stanza-id", self.join(WISE, "wise"))
        sent = self.say(HAG, f"<reactions xmlns='urn:xmpp:reactions:0' id='x'/><store xmlns='{ns.HINTS}'/>")
        self.assertEqual(self.ids(sent), [(ROOM, STANZA_ID)])

    def test_references(self) -> None:
        """
        A reference to a stanza id (XEP-0424, 0444, 0461) is forwarded as it is, with the id of its sender, by which
        clients see that the message is their own.
        """
        for inside in (
            f"<retract xmlns='urn:xmpp:message-retract:1' id='{STANZA_ID}'/><store xmlns='{ns.HINTS}'/>",
            f"<reactions xmlns='urn:xmpp:reactions:0' id='{STANZA_ID}'><reaction>x</reaction></reactions>",
            f"<body>x</body><reply xmlns='urn:xmpp:reply:0' to='{ROOM}/hag' id='{STANZA_ID}'/>",
        ):
            own = "" if inside.startswith("<reactions") else stanzaId()
            whole = inside + occupant(HAG) + own
            self.assertWhole(self.say(HAG, inside), said("hag", CRONE, whole), said("hag", HAG, whole))

    def test_longName(self) -> None:
        """XEP-0045 section 7.2.14: "complete XML stanzas" are counted; the room's JID is in them three times."""
        room = f"{'x' * 900}@{SERVICE}"

        def join(who: str, nick: str, limits: str = "") -> bytes:
            inside = f"<x xmlns='{ns.MUC}'>{limits}</x>"
            return self.service.take(f"<presence from='{who}' to='{room}/{nick}'>{inside}</presence>")

        join(HAG, "hag")
        self.service.take(f"<message from='{HAG}' to='{room}' type='groupchat' id='m'>{BODY}</message>")
        [whole] = [stanza.raw for stanza in stanzas(join(WISE, "wise")) if b"Harpier" in stanza.raw]
        self.service.take(f"<presence from='{WISE}' to='{room}/wise' type='unavailable'/>")
        self.assertNotIn(b"Harpier", join(WISE, "wise", f"<history maxchars='{len(whole) - 1}'/>"))

    def test_limits(self) -> None:
        """XEP-0045 section 7.2.14: the characters of ids count."""
        self.say(HAG, BODY)
        size = len(said("hag", WISE, BODY + occupant(HAG) + stanzaId()))
        for number in (size, 10_000):
            limits = f"<x xmlns='{ns.MUC}'><history maxchars='{number}'/></x>"
            sent = self.service.take(f"<presence from='{WISE}' to='{ROOM}/wise'>{limits}</presence>")
            self.assertEqual(b"Harpier" in sent, number > size)
            self.show(WISE, "wise", "", " type='unavailable'")


class HintTests(IdCase):
    """XEP-0334."""

    def test_noStore(self) -> None:
        """Sections 3.1 and 3.2: a message with one of the hints is sent to all, and is no history."""
        for name in ("no-store", "no-permanent-store"):
            for hints in (
                f"<{name} xmlns='{ns.HINTS}'/>",
                f"<store xmlns='{ns.HINTS}'/><{name} xmlns='{ns.HINTS}'/>",
                f"<h:{name} xmlns:h='{ns.HINTS}'/>",
            ):
                sent = self.say(HAG, BODY + hints)
                self.assertEqual(sent.count(b"Harpier"), 2)
                self.assertEqual(sent.count(stanzaId().encode()), 2)
                self.assertEqual(len(self.room.history), 0)
        self.say(HAG, f"{BODY}<no-copy xmlns='{ns.HINTS}'/><no-store xmlns='urn:x'/>")
        self.assertEqual(len(self.room.history), 1)
