"""Profiles of mirrors: what crosses a slow link, when, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable

from gateway import ns
from gateway.fmuc.actions import Admission, Content, Join, PrivateMessage, Submission
from gateway.fmuc.channel.stanzas import withHeader
from gateway.fmuc.channel.values import Header
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.nodes import Doubt, JoinedNode, JoiningNode
from gateway.fmuc.profiles import BROADBAND, HF, PROFILES, SATELLITE, Profile
from gateway.fmuc.thinning import crossing, thinned
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.fmuc.waiting import Waiting
from gateway.muc.values import (
    UNAVAILABLE,
    JoinRequest,
    OccupantPresence,
    Payload,
    RoomMessage,
    Standing,
    StanzaError,
)
from gateway.peers import profiles as links
from gateway.testing import stanzas
from tests.fmuc.support import MUC, RoomCase, Service, canonical, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site

EVERY = frozenset(("*",))
CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://gajim.org' ver='x'/>"
PHOTO = "<x xmlns='vcard-temp:x:update'><photo>1</photo></x>"
HAT = "<hats xmlns='urn:xmpp:hats:0'><hat title='Pilot' uri='u'/></hats>"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
DISPLAYED = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>"
RECEIPT = "<request xmlns='urn:xmpp:receipts'/>"
ORIGIN = "<origin-id xmlns='urn:xmpp:sid:0' id='m'/>"
NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
# What people say: it crosses with each profile.
SAID = (
    "<body>x</body>",
    "<subject>x</subject>",
    "<securitylabel xmlns='urn:xmpp:sec-label:0'><displaymarking>SECRET</displaymarking></securitylabel>",
    "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted>",
    "<encrypted xmlns='urn:xmpp:omemo:2'><payload>x</payload></encrypted>",
    "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>",
    "<x xmlns='jabber:x:encrypted'>x</x>",
    "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>",
    "<replace xmlns='urn:xmpp:message-correct:0' id='m'/>",
    "<reply xmlns='urn:xmpp:reply:0' id='m'/>",
    "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'/>",
    "<reactions xmlns='urn:xmpp:reactions:0' id='m'><reaction>x</reaction></reactions>",
    "<retract xmlns='urn:xmpp:message-retract:1' id='m'/>",
    "<x xmlns='jabber:x:oob'><url>https://example.net/x</url></x>",
    "<unknown xmlns='urn:example:unknown'/>",
)


class SlowSite(Site):
    """
    A mirror with a profile, its room, and what crosses between them.

    @ivar crossing: stanzas between the nodes since the last call of L{passed}.
    """

    def __init__(self, dialect: Dialect, replica: bool, profile: Profile) -> None:
        super().__init__(dialect, replica)
        mode = Mode.REPLICA if replica else Mode.PRIMARY
        mirroring = Mirroring(dialect=dialect, mode=mode, allow=EVERY, users=EVERY, profile=profile)
        self.mirror = Service(Rooms("mirror.example", mirroring, frozenset()))
        self.crossing: list[bytes] = []

    def _send(self, sent: bytes) -> None:
        for stanza in stanzas(sent):
            recipient = stanza.recipient or ""
            text = stanza.readdressed(f" from='{stanza.sender}' to='{recipient}'".encode())
            there = recipient.partition("/")[0]
            if there in (ABOVE, HERE):
                self.crossing.append(text)
                self._send((self.above if there == ABOVE else self.mirror).take(text))
            else:
                self.shown.append((recipient, text.decode()))

    def enter(self) -> None:
        """The owner and Ann join, each with a full presence."""
        for who, nick in ((OWN, "own"), (ANN, "ann")):
            service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
            self.take(service, f"<presence from='{who}' to='{room}/{nick}'>{CAPS}{PHOTO}{HAT}{MUC}</presence>")
        self.passed()
        self.shown.clear()

    def passed(self) -> list[str]:
        """Return what has crossed, in canonical form without ids."""
        found, self.crossing = self.crossing, []
        return [each for stanza in found for each in canonical(withoutIds(stanza))]

    def say(self, who: str, content: str) -> None:
        """Send a message to all."""
        service, room = (self.above, ABOVE) if who == OWN else (self.mirror, HERE)
        self.take(service, f"<message from='{who}' to='{room}' type='groupchat' id='m'>{content}</message>")

    def change(self, who: str, content: str) -> None:
        """Send a new presence."""
        service, place = (self.above, f"{ABOVE}/own") if who == OWN else (self.mirror, f"{HERE}/ann")
        self.take(service, f"<presence from='{who}' to='{place}'>{content}</presence>")

    def node(self) -> JoiningNode:
        """Return the mirror, as the room has it."""
        federation = self.above.rooms.federation(ABOVE)
        assert federation is not None
        return federation.joiningNodes[HERE]


class TableTests(RoomCase):
    """The table."""

    def test_names(self) -> None:
        """The names are those of direct links."""
        self.assertEqual(list(PROFILES), list(links.PROFILES))
        self.assertEqual([each.name for each in PROFILES.values()], list(PROFILES))

    def test_slower(self) -> None:
        """Each profile is more patient than the one before it, and leaves out at least as much."""
        for fast, slow in ((BROADBAND, SATELLITE), (SATELLITE, HF)):
            for name in ("answer", "rest", "whole", "farewell", "probe", "gather"):
                self.assertLess(getattr(fast, name), getattr(slow, name), name)
            self.assertLess(set(fast.leftOut), set(slow.leftOut))

    def test_said(self) -> None:
        """No profile leaves out texts, labels, encryption, corrections, replies, reactions."""
        for profile in PROFILES.values():
            for content in SAID:
                payload = Payload(content.encode(), "en")
                self.assertEqual(thinned(profile, payload), (payload, []))

    def test_optional(self) -> None:
        """Broadband leaves out nothing, satellite chat states, hf all that is optional."""
        payload = Payload(f"<body>x</body>{ACTIVE}{MARKABLE}{RECEIPT}{ORIGIN}{NO_STORE}".encode(), "en")
        kept = f"<body>x</body>{NO_STORE}".encode()
        words = ["chat states", "markers", "receipts", "origin ids"]
        self.assertEqual(thinned(BROADBAND, payload), (payload, []))
        self.assertEqual(thinned(SATELLITE, payload)[1], ["chat states"])
        self.assertEqual(thinned(HF, payload), (Payload(kept, "en"), words))

    def test_names_count(self) -> None:
        """An element with the namespace of an optional one and another name crosses; so do unusual spellings."""
        for content in ("<stanza-id xmlns='urn:xmpp:sid:0' by='a' id='1'/>", "<c xmlns='&#120;'/>"):
            payload = Payload(content.encode())
            self.assertEqual(thinned(HF, payload), (payload, []))

    def test_stanzas(self) -> None:
        """All kinds of stanzas with a payload; a message without other content does not cross."""
        states, both = Payload(f"{COMPOSING}{NO_STORE}".encode()), Payload(f"<body>x</body>{ACTIVE}".encode())
        short = Payload(b"<body>x</body>")
        empty, said = RoomMessage(nick="n", payload=states), RoomMessage(nick="n", payload=both)
        plain = RoomMessage(nick="n", payload=short)
        words = ["chat states"]
        gone = [*words, "stanzas without further content"]
        made: list[Callable[[RoomMessage], Content]] = [
            lambda message: message,
            lambda message: Submission(message, False),
            lambda message: PrivateMessage(message, "to"),
        ]
        for make in made:
            self.assertEqual(crossing(HF, make(empty)), (None, gone))
            self.assertEqual(crossing(HF, make(said)), (make(plain), words))
            self.assertEqual(crossing(HF, make(plain)), (make(plain), []))
        returned = PrivateMessage(empty, "to", StanzaError("cancel", "gone"))
        self.assertEqual(crossing(HF, returned), (returned, []))
        full, bare = Payload(f"<show>away</show>{CAPS}".encode()), Payload(b"<show>away</show>")
        presence = OccupantPresence(nick="n", realJid="", nonAnonymous=False, standing=Standing(), payload=full)
        thin = OccupantPresence(nick="n", realJid="", nonAnonymous=False, standing=Standing(), payload=bare)
        self.assertEqual(crossing(HF, presence), (thin, ["capabilities"]))
        self.assertEqual(
            crossing(HF, Admission(presence, Mode.REPLICA)), (Admission(thin, Mode.REPLICA), ["capabilities"])
        )
        join = Join(JoinRequest(nick="n", realJid="r", payload=full), Mode.REPLICA)
        asked = Join(JoinRequest(nick="n", realJid="r", payload=bare), Mode.REPLICA)
        self.assertEqual(crossing(HF, join), (asked, ["capabilities"]))


class WaitingTests(RoomCase):
    """Presence that waits."""

    def presence(self, text: str = "", role: str = "participant") -> OccupantPresence:
        """Return a presence."""
        return OccupantPresence(
            nick="n",
            realJid="r",
            nonAnonymous=False,
            standing=Standing("none", role),
            payload=Payload(text.encode()),
        )

    def test_mayWait(self) -> None:
        """A payload may wait; what the other node was not told, a new role and a leave may not."""
        waiting = Waiting()
        self.assertFalse(waiting.mayWait(self.presence()))
        waiting.told(self.presence())
        self.assertTrue(waiting.mayWait(self.presence("<show>away</show>")))
        self.assertFalse(waiting.mayWait(self.presence(role="visitor")))
        gone = OccupantPresence(
            nick="n",
            realJid="r",
            nonAnonymous=False,
            standing=Standing(),
            payload=Payload(),
            change=UNAVAILABLE,
        )
        self.assertFalse(waiting.mayWait(gone))
        waiting.nicks["n"] = None
        waiting.told(gone)
        self.assertFalse(waiting.mayWait(self.presence()))
        self.assertEqual(waiting.take(9e9, 1), [])

    def test_take(self) -> None:
        """The time begins at the first tick, and anew after it."""
        waiting = Waiting()
        waiting.nicks["n"] = None
        found = [waiting.take(now, 10.0) for now in (0.0, 9.0, 10.0, 11.0, 20.0, 21.0)]
        self.assertEqual(found, [[], [], ["n"], [], [], ["n"]])


class RecordTests(RoomCase):
    """The profile of a joining node after a restart."""

    def test_restored(self) -> None:
        """It is kept; a record without one, or with one that is unknown, means broadband."""
        node = JoiningNode("n", Dialect.XEP_0289, FederationMode(Mode.REPLICA, Mode.REPLICA), HF)
        record = node.record()
        self.assertIs(JoiningNode.restored("n", record).profile, HF)
        values = json.loads(record)
        for short in (values[:-2], values[:-3], values[:-4], [*values[:-2], "pigeon"]):
            self.assertIs(JoiningNode.restored("n", json.dumps(short)).profile, BROADBAND)

    def test_joined(self) -> None:
        """That of a joined node is the configuration's: it has no record."""
        node = JoinedNode("n", Dialect.XEP_0289, FederationMode(Mode.REPLICA), HF)
        self.assertNotIn("hf", node.record())


class LinkTests(RoomCase):
    """The stanzas on the link, in both protocols and modes. Section numbers are those of XEP-0045."""

    def assertCrossed(self, site: SlowSite, *expected: str) -> None:
        """Exactly these stanzas have crossed, in order."""
        self.assertEqual(site.passed(), canonical("".join(expected)))

    def slow(self, profile: Profile = HF) -> list[SlowSite]:
        """Return a site for each protocol and mode, with two occupants."""
        sites = [SlowSite(dialect, replica, profile) for dialect, replica in WAYS]
        for site in sites:
            site.enter()
        return sites

    def test_join(self) -> None:
        """Section 7.1: the join names the profile, asks for few messages, and has no optional elements."""
        for dialect, replica in WAYS:
            site = SlowSite(dialect, replica, HF)
            site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'>{CAPS}{PHOTO}{MUC}</presence>")
            mode = "<replica/>" if replica and dialect is Dialect.XEP_0289 else ""
            item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{ANN}'/></x>"
            history = f"<x xmlns='{ns.MUC}'><history maxstanzas='5'/></x>"
            asked = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{mode}</fmuc>{history}"
            first, later = (
                f"<resume xmlns='{ns.RESUME}'{mark} profile='hf'/>".encode() for mark in (" first='true'", "")
            )
            if dialect is Dialect.PROTOXEP:
                asked = f"<presence from='{HERE}' to='{ABOVE}/ann'>{asked}</presence>"
            else:
                asked = f"<presence from='{HERE}/ann' to='{ABOVE}/ann'>{asked}{item}</presence>"
            self.assertIn(first, site.crossing[0])
            self.assertEqual(site.passed()[0], canonical(asked)[0])
            self.assertIs(site.node().profile, HF)
            site.take(site.mirror, f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
            self.assertIn(later, site.crossing[0])

    def test_unknown(self) -> None:
        """A profile that this room does not know means broadband."""
        site = SlowSite(Dialect.XEP_0289, True, BROADBAND)
        item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{ANN}'/></x>"
        site.above.take(
            f"<presence from='{HERE}/ann' to='{ABOVE}/ann'><fmuc xmlns='{ns.FMUC}' from='{ANN}'/>{MUC}{item}"
            f"<resume xmlns='{ns.RESUME}' profile='{'x' * 2_000}'/></presence>"
        )
        self.assertIs(site.node().profile, BROADBAND)

    def test_history(self) -> None:
        """Section 7.2.14: the answer to a first join has the last five messages, and is small."""
        for dialect, replica in WAYS:
            site = SlowSite(dialect, replica, HF)
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'>{CAPS}{PHOTO}{HAT}{MUC}</presence>")
            for _ in range(20):
                site.say(OWN, f"<body>{'x' * 50}</body>{ACTIVE}{MARKABLE}{ORIGIN}")
            site.passed()
            site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'>{CAPS}{PHOTO}{MUC}</presence>")
            answer = site.crossing[1:]
            self.assertEqual(sum(b"<body>" in each for each in answer), 5)
            self.assertLess(sum(map(len, answer)), 4_000)
            for each in answer:
                for absent in (ns.CAPS, ns.VCARD_UPDATE, ns.HATS, ns.CHAT_STATES, ns.CHAT_MARKERS, "<origin-id "):
                    self.assertNotIn(absent.encode(), each)

    def test_chatStates(self) -> None:
        """Chat states alone do not cross; those at the same site see them at once."""
        for site in self.slow():
            site.take(site.mirror, f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
            site.passed()
            site.shown.clear()
            site.say(ANN, COMPOSING + NO_STORE)
            site.say(OWN, COMPOSING + NO_STORE)
            site.say(OWN, DISPLAYED)
            self.assertCrossed(site)
            self.assertIn("composing", site.seen(BEN))
            self.assertIn("displayed", site.seen(OWN))
            self.assertGreaterEqual(site.node().leftOut, 4)

    def test_message(self) -> None:
        """A message crosses as one stanza each way, without optional elements."""
        for site in self.slow():
            site.say(OWN, f"<body>x</body>{ACTIVE}{MARKABLE}{RECEIPT}{ORIGIN}")
            [crossed] = site.passed()
            self.assertEqual([name in crossed for name in ("body", "active", "markable")], [True, False, False])
            self.assertIn("<body>x</body>", site.seen(ANN))

    def test_presence(self) -> None:
        """Of several changes of presence in a minute, the last one crosses; others see each of them at once."""
        for site in self.slow():
            for who, other in ((OWN, ANN), (ANN, OWN)):
                site.change(who, f"<show>away</show>{CAPS}")
                site.change(who, f"<show>xa</show>{CAPS}{PHOTO}")
                self.assertCrossed(site)
                self.assertIn("<show>xa</show>", site.seen(who))
                site.tick(1)
                site.tick(HF.gather - 1)
                self.assertCrossed(site)
                site.tick(1)
                [crossed] = site.passed()
                self.assertIn("show>xa</", crossed)
                self.assertNotIn("photo", crossed)
                found = site.seen(other)
                self.assertEqual([found.count(each) for each in ("away</show>", "xa</show>")], [0, 1])
                self.assertEqual(site.seen(who), "")

    def test_presenceAgain(self) -> None:
        """Nothing crosses if the last presence is the one that the other node knows."""
        for site in self.slow():
            for who in (OWN, ANN):
                site.change(who, "<show>away</show>")
                site.change(who, f"{CAPS}{HAT}")
            for _ in range(4):
                site.tick(HF.gather)
            self.assertCrossed(site)

    def test_budget(self) -> None:
        """More presence than the budget allows waits for the same time again."""
        for dialect, replica in WAYS:
            site = SlowSite(dialect, replica, HF)
            site.enter()
            for number in range(12):
                user = f"u{number}@a.example/x"
                site.take(site.above, f"<presence from='{user}' to='{ABOVE}/u{number}'>{MUC}</presence>")
            site.passed()
            for number in range(12):
                user = f"u{number}@a.example/x"
                site.take(site.above, f"<presence from='{user}' to='{ABOVE}/u{number}'><show>xa</show></presence>")
            site.tick(1)
            found = []
            for _ in range(7):
                site.tick(HF.gather)
                found.append(len(site.passed()))
            self.assertEqual(found[0], 5)
            self.assertEqual(sum(found), 12)
            self.assertLessEqual(max(found), 5)

    def test_messagesFirst(self) -> None:
        """Messages, joins and leaves do not wait for presence."""
        for site in self.slow():
            site.change(OWN, "<show>away</show>")
            site.say(OWN, "<body>x</body>")
            self.assertEqual(["body" in each for each in site.passed()], [True])
            site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own' type='unavailable'/>")
            self.assertEqual(len(site.passed()), 1)
            site.tick(1)
            site.tick(2 * HF.gather)
            self.assertCrossed(site)

    def test_doubt(self) -> None:
        """Nothing is sent to a node in doubt; presence that has changed meanwhile crosses after its return."""
        for site in self.slow():
            site.node().doubt = Doubt(site.above.now + 900, site.above.now + 900)
            site.change(OWN, "<show>away</show>")
            for _ in range(3):
                site.tick(HF.gather)
            self.assertCrossed(site)
            site.node().doubt = None
            site.tick(1)
            site.tick(HF.gather)
            [crossed] = site.passed()
            self.assertIn("show>away</", crossed)

    def test_hidden(self) -> None:
        """Presence that is not broadcast any longer does not cross after its wait."""
        for site in self.slow():
            site.change(OWN, "<show>away</show>")
            site.above.rooms.rooms[ABOVE].occupants["own"].isHidden = True
            site.tick(1)
            site.tick(HF.gather)
            self.assertCrossed(site)
            self.assertEqual(site.node().waiting.nicks, {})

    def test_role(self) -> None:
        """Section 8.4: a change of role crosses at once, and leaves what local users see of the presence."""
        for site in self.slow():
            query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ann' role='moderator'/></query>"
            site.change(ANN, f"<show>dnd</show>{CAPS}")
            site.passed()
            site.shown.clear()
            site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' type='set' id='q'>{query}</iq>")
            [crossed] = site.passed()
            self.assertIn("moderator", crossed)
            found = site.seen(ANN)
            self.assertIn("moderator", found)
            self.assertIn("<show>dnd</show>", found)
            self.assertIn("gajim.org", found)

    def test_satellite(self) -> None:
        """The satellite profile gathers presence for a shorter time, and leaves out chat states alone."""
        for site in self.slow(SATELLITE):
            site.say(OWN, COMPOSING)
            self.assertCrossed(site)
            site.say(OWN, f"<body>x</body>{MARKABLE}{ACTIVE}")
            [crossed] = site.passed()
            self.assertEqual(["markable" in crossed, "active" in crossed], [True, False])
            site.change(OWN, f"<show>xa</show>{CAPS}")
            site.tick(1)
            self.assertCrossed(site)
            site.tick(SATELLITE.gather)
            [crossed] = site.passed()
            self.assertIn("gajim.org", crossed)

    def test_idle(self) -> None:
        """Nothing crosses while nobody talks but the profile's probe."""
        for site in self.slow():
            for _ in range(int(HF.probe / 10) - 1):
                site.tick(10)
            self.assertCrossed(site)
            site.tick(10)
            site.tick(10)
            self.assertEqual(len(site.passed()), 2)

    def test_bytes(self) -> None:
        """
        A message crosses as one stanza; with a number and an acknowledgement it has at most 15 % more bytes than
        the stanza that the user's server passes on.
        """
        for site in self.slow():
            text = "We are at anchor off the harbour, and wait."
            written = (
                f"<message from='{ANN}' id='f81d4fae-7dec-11d0-a765-00a0c91e6bf6' to='{HERE}' type='groupchat'>"
                f"<body>{text}</body>{ACTIVE}<origin-id xmlns='urn:xmpp:sid:0' "
                f"id='f81d4fae-7dec-11d0-a765-00a0c91e6bf6'/>{MARKABLE}</message>"
            )
            site.take(site.mirror, written)
            sent = next(each for each in site.crossing if f"to='{ABOVE}'".encode() in each)
            self.assertLessEqual(len(withHeader(sent, Header(417, 1_234, 1_233))), 1.15 * len(written))

    def test_brief(self) -> None:
        """
        Between nodes of the gateway, messages of occupants do not name them in replica mode; with a number and an
        acknowledgement, one is not larger than the message of XEP-0289 that has nothing else. Others do name them.
        """
        for dialect in Dialect:
            for isReplica in (True, False):
                for resumes in (True, False):
                    site = SlowSite(dialect, isReplica, HF)
                    site.enter()
                    site.node().resumes = self.uplink(site).node.resumes = resumes
                    site.say(ANN, "<body>x</body>")
                    site.say(OWN, "<body>x</body>")
                    isNamed = dialect is Dialect.XEP_0289 and not (isReplica and resumes)
                    found = [ns.FMUC.encode() + b"' from=" in each for each in site.crossing if b"<body>" in each]
                    self.assertEqual(set(found), {isNamed})
                    if isReplica and resumes:
                        bare = (
                            f"<message from='{HERE}/ann' to='{ABOVE}' id='m' type='groupchat'>"
                            f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'/><body>x</body></message>"
                        )
                        sent = withHeader(site.crossing[0], Header(417, 1_234, 1_233))
                        self.assertLessEqual(len(sent), len(bare))

    def test_briefHistory(self) -> None:
        """Messages of those who have left, and history, name their senders: nobody knows them by a presence."""
        site = SlowSite(Dialect.XEP_0289, True, HF)
        site.take(site.above, f"<presence from='{OWN}' to='{ABOVE}/own'>{MUC}</presence>")
        site.say(OWN, "<body>x</body>")
        site.take(site.mirror, f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        [history] = [each for each in site.crossing if b"<body>" in each]
        self.assertIn(f"from='{OWN}'".encode(), history)

    def test_resume(self) -> None:
        """Section 7.2: nodes of which one has presence that waits have the same digest, and it crosses later."""
        for site in self.slow():
            site.change(OWN, "<show>away</show>")
            site.change(ANN, "<show>dnd</show>")
            uplink = self.uplink(site)
            uplink.disturbed(site.mirror.now)
            site._send(site.mirror.written(site.mirror.rooms.settled(site.mirror.rooms.rooms[HERE])))
            crossed = site.passed()
            self.assertEqual(len(crossed), 2)
            self.assertNotIn(" b=", crossed[1])
            site.tick(1)
            site.tick(HF.gather)
            self.assertEqual(len(site.passed()), 2)

    def uplink(self, site: SlowSite) -> Uplink:
        """Return the uplink."""
        federation = site.mirror.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink
