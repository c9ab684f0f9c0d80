"""Messages that the joined node returns by a reference."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.profiles import BROADBAND, HF
from gateway.fmuc.returned import Awaited, digest
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.values import Payload, RoomMessage
from tests.fmuc.support import MUC, RoomCase
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN
from tests.fmuc.test_profiles import ACTIVE, MARKABLE, ORIGIN, SlowSite

BODY = "<body>we're &lt;here&gt;</body>"


def message(payload: str = BODY, nick: str = "ann", identifier: str | None = "m") -> RoomMessage:
    """Return a message."""
    return RoomMessage(nick=nick, id=identifier, payload=Payload(payload.encode()))


class DigestTests(RoomCase):
    """The digest of a message."""

    def test_spelling(self) -> None:
        """Servers may spell the XML in another way: quotes, order, prefixes, references, empty elements."""
        for one, other in (
            (BODY, "<body>we&apos;re &lt;here&#62;</body>"),
            (BODY, "<body><![CDATA[we're <here>]]></body>"),
            ("<a xmlns='x' b='1' c='2'/>", '<a c="2" xmlns="x" b="1"></a>'),
            ("<a xmlns='x'><b/></a>", "<p:a xmlns:p='x'><p:b/></p:a>"),
        ):
            self.assertEqual(digest(message(one)), digest(message(other)))

    def test_changed(self) -> None:
        """Any other difference changes it."""
        found = [
            digest(each)
            for each in (
                message(),
                message(nick="ben"),
                message(identifier="n"),
                message(identifier=None),
                message("<body>here we're</body>"),
                message("<body>a</body>b"),
                message("<body>ab</body>"),
                message("<body xml:lang='en'>ab</body>"),
                message("<body xmlns='x'>ab</body>"),
                message("<body><b>ab</b></body>"),
                message("<body/><b>ab</b>"),
            )
        ]
        self.assertEqual(len(set(found)), len(found))
        self.assertEqual({len(each) for each in found}, {12})


class AwaitedTests(RoomCase):
    """The table of messages that are awaited."""

    def test_take(self) -> None:
        """A message is known once for each time that it was sent, and only by its sender's nick."""
        awaited = Awaited()
        for _ in range(2):
            awaited.sent("d", message())
        self.assertEqual([awaited.take("ben", "d"), awaited.take("ann", "e")], [None, None])
        self.assertEqual([awaited.take("ann", "d") for _ in range(3)], [message(), message(), None])
        self.assertEqual((len(awaited), awaited._bytes), (0, 0))

    def test_bounds(self) -> None:
        """Of more than a thousand, or a megabyte, the oldest are forgotten."""
        awaited = Awaited()
        for number in range(1_001):
            awaited.sent(str(number), message())
        self.assertEqual((len(awaited), awaited.take("ann", "0")), (1_000, None))
        awaited = Awaited()
        for number in range(6):
            awaited.sent(str(number), message(f"<body>{'x' * 200_000}</body>"))
        self.assertEqual(len(awaited), 5)
        self.assertIsNone(awaited.take("ann", "0"))
        self.assertIsNotNone(awaited.take("ann", "5"))


class ReplicaTests(RoomCase):
    """Two nodes of the gateway in replica mode, in both protocols."""

    def sites(self) -> list[SlowSite]:
        """Return a site for each protocol and some profiles; Ann and Ben are in the mirror."""
        found = []
        for dialect in Dialect:
            for profile in (BROADBAND, HF):
                site = SlowSite(dialect, True, profile)
                site.enter()
                site.take(site.mirror, f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>")
                site.crossing.clear()
                site.shown.clear()
                found.append(site)
        return found

    def uplink(self, site: SlowSite) -> Uplink:
        """Return the uplink of the mirror."""
        federation = site.mirror.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink

    def test_returned(self) -> None:
        """
        The reference has the stanza id, and nothing of the message, which the mirror shows as it was sent, with
        what has not crossed (section 7.4: "the room MUST [...] reflect the message").
        """
        for site in self.sites():
            content = f"<body>{'x' * 100}</body>{ACTIVE}{MARKABLE}{ORIGIN}"
            site.say(ANN, content)
            sent, back = site.crossing
            self.assertIn(b"<body>", sent)
            key = digest(message(sent[sent.index(b"<body") : sent.index(b"</message>")].decode()))
            found = site.seen(ANN)
            self.assertIn(content, found)
            stanzaId = found.partition("<stanza-id ")[2].partition(" id='")[2].partition("'")[0]
            self.assertEqual(
                back.decode(),
                f"<message from='{ABOVE}/ann' to='{HERE}' type='groupchat'>"
                f"<echo xmlns='{ns.RESUME}' d='{key}' id='{stanzaId}'/></message>",
            )
            for who, shown in ((ANN, found), (BEN, site.seen(BEN))):
                self.assertIn(f"from='{HERE}/ann' to='{who}'", shown)
                self.assertIn("id='m'", shown)
            self.assertIn(f"id='{stanzaId}'", site.seen(OWN))
            self.assertEqual(len(self.uplink(site).node.awaited), 0)

    def test_subject(self) -> None:
        """Section 8.1: a subject comes back by a reference, too, and is the subject."""
        for site in self.sites():
            site.say(OWN, "<subject>a</subject>")
            query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ann' role='moderator'/></query>"
            site.take(site.above, f"<iq from='{OWN}' to='{ABOVE}' type='set' id='q'>{query}</iq>")
            site.crossing.clear()
            site.say(ANN, "<subject>b</subject>")
            self.assertIn(b"<echo ", site.crossing[1])
            subject = site.mirror.rooms.rooms[HERE].subject
            assert subject is not None
            self.assertEqual(subject.payload.raw, b"<subject>b</subject>")

    def test_changed(self) -> None:
        """If the message was changed on its way, the mirror returns, and shows the room's message."""
        for site in self.sites():
            [sent] = [site.mirror.take(f"<message from='{ANN}' to='{HERE}' type='groupchat'>{BODY}</message>")]
            self.assertIn(b"here", sent)
            site._send(sent.replace(b"here", b"away"))
            self.assertTrue(any(b"<compare" in each for each in site.crossing))
            for who in (ANN, BEN, OWN):
                found = site.seen(who)
                self.assertEqual([found.count(each) for each in ("away", "here")], [1, 0])
            self.assertIs(self.uplink(site).state, UplinkState.JOINED)

    def test_forged(self) -> None:
        """References that nobody expects, also for another nick, show nothing; one who is no node has no effect."""
        for site in self.sites():
            self.uplink(site).node.awaited.sent("d", message())
            reference = f"<echo xmlns='{ns.RESUME}' d='d' id='1'/>"
            for sender in (f"{ABOVE}/ben", ABOVE, f"{ABOVE}/nobody"):
                site._send(
                    site.mirror.take(f"<message from='{sender}' to='{HERE}' type='groupchat'>{reference}</message>")
                )
            self.assertEqual(site.seen(BEN), "")
            self.assertEqual(len(self.uplink(site).node.awaited), 1)
            site.crossing.clear()
            site.say(BEN, reference)
            self.assertNotIn(b" d='d'", b"".join(site.crossing))
            self.assertEqual(len(self.uplink(site).node.awaited), 1)

    def test_identical(self) -> None:
        """Two messages that are the same, without ids, are two, also if both are on their way."""
        for site in self.sites():
            text = f"<message from='{ANN}' to='{HERE}' type='groupchat'>{BODY}</message>"
            site._send(b"".join(site.mirror.take(text) for _ in range(2)))
            self.assertEqual(site.seen(BEN).count("<body>"), 2)
            self.assertFalse(any(b"<iq " in each for each in site.crossing))

    def test_others(self) -> None:
        """A node that cannot resume, as one of other software, gets the message itself."""
        for dialect in Dialect:
            site = SlowSite(dialect, True, BROADBAND)
            site.enter()
            site.node().resumes = False
            self.uplink(site).node.resumes = False
            site.say(ANN, BODY)
            self.assertIn(b"<body>", site.crossing[1])
            self.assertEqual(len(self.uplink(site).node.awaited), 0)
            self.assertIn("<body>", site.seen(ANN))
