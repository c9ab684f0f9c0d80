"""Tests for the elements of a channel, its digests and its store (docs/fmuc-resync.md)."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway.errors import BadRequest
from gateway.fmuc.buckets import MAX_BUCKETS, Entry, absent, buckets, differing, digest
from gateway.fmuc.channel_values import Header, Report, Snapshot
from gateway.fmuc.channel_xml import (
    acknowledgement,
    headerXml,
    offerXml,
    readHeader,
    readOffer,
    readReport,
    reportXml,
    request,
    withHeader,
)
from gateway.muc import store as rooms_store
from gateway.muc.archive_values import Retention
from gateway.muc.channel_store import CHANNEL, OUTGOING, StoredChannel, loadChannels, outgoingName
from gateway.muc.records import removal
from gateway.muc.store import MIGRATIONS, loadRecords, saveRecords
from gateway.state.memory import MemoryStore
from gateway.xml.read import parse
from tests.fmuc.channels import ROOMS

PAGE = (Path(__file__).parents[2] / "docs" / "fmuc-resync.md").read_text()
JOINED, JOINING = ROOMS
STREAM = b"<stream xmlns='urn:xmpp:fr:0'>"
# A message between two nodes as clients write it, without the header.
MESSAGE = (
    f"<message from='{JOINING}/bob' to='{JOINED}' id='0b0ee0c7-2a3c-4c7c-9a3d-6f2d8f1f2a11' type='groupchat'>"
    "<fmuc xmlns='http://isode.com/protocol/fmuc' from='bob@example.com/phone'/>"
    "<body>We are at anchor, and wait for the pilot until tomorrow noon.</body>"
    "<origin-id xmlns='urn:xmpp:sid:0' id='0b0ee0c7-2a3c-4c7c-9a3d-6f2d8f1f2a11'/></message>"
).encode()


def parseElement(xml: str) -> domish.Element:
    """Return the tree of an element."""
    return parse(STREAM, xml.encode())


class ElementsTests(SynchronousTestCase):
    """Values to XML and back."""

    def test_header(self) -> None:
        """With a number, and alone."""
        for header in (Header(417, 12, 34), Header(1, None, 0), Header(999_999_999_999_999, 1, 2)):
            self.assertEqual(readHeader(parseElement(headerXml(header))), header)
        self.assertEqual(headerXml(Header(417, 12, 34)), "<r xmlns='urn:xmpp:fr:0' e='417' n='12' a='34'/>")

    def test_report(self) -> None:
        """A probe, and a resumption with and without kept stanzas."""
        for report in (
            Report(417, 13, 34, False),
            Report(417, 13, 34, True, 13, Snapshot("d", "m", "<'")),
            Report(417, 13, 34, True, 20),
        ):
            self.assertEqual(readReport(parseElement(reportXml(report))), report)
        self.assertNotIn(" k=", reportXml(Report(417, 13, 34, True, 13)))
        self.assertEqual(readOffer(parseElement(offerXml(417))), 417)

    def test_bad(self) -> None:
        """Anything else is a bad request."""
        space = "xmlns='urn:xmpp:fr:0'"
        for number in ("", "-1", "+1", "01", "1.0", "1e3", " 1", "\u0661", "1" * 16):
            for numbers in ((number, 1, 1), (1, number, 1), (1, 1, number)):
                attributes = "e='{}' n='{}' a='{}'".format(*numbers)
                with self.assertRaises(BadRequest):
                    readHeader(parseElement(f"<r {space} {attributes}/>"))
                with self.assertRaises(BadRequest):
                    readReport(parseElement(f"<probe {space} {attributes}/>"))
            with self.assertRaises(BadRequest):
                readReport(parseElement(f"<resume {space} e='1' n='1' a='1' k='{number}'/>"))
            with self.assertRaises(BadRequest):
                readOffer(parseElement(f"<channel {space} e='{number}'/>"))
        for xml in ("<r e='1' n='1'/>", "<r n='1' a='1'/>"):
            with self.assertRaises(BadRequest):
                readHeader(parseElement(xml))
        for xml in ("<probe e='1' a='1'/>", "<other e='1' n='1' a='1'/>"):
            with self.assertRaises(BadRequest):
                readReport(parseElement(xml))
        with self.assertRaises(BadRequest):
            readReport(parseElement(f"<resume e='1' n='1' a='1' d='{'x' * 257}'/>"))

    def test_stanzas(self) -> None:
        """A header is the last element of a stanza, which may have had none."""
        header = Header(1, 2, 3)
        end = headerXml(header).encode()
        stanza = b"<message to='a'><body>&lt;/x</body>%b</message>"
        self.assertEqual(withHeader(stanza.replace(b"%b", b""), header), stanza % end)
        self.assertEqual(withHeader(b"<presence to='a'/>", header), b"<presence to='a'>%b</presence>" % end)
        self.assertEqual(withHeader(b"<presence><a/></presence>", header), b"<presence><a/>%b</presence>" % end)

    def test_page(self) -> None:
        """The page's examples are what the gateway writes."""
        report = Report(417, 15, 34, True, 15, Snapshot("8tYzQZ2bF0mUyG6l6Zp4Vw", "8f3QkJz0vVnA", "2hXw0cPq81Lr"))
        written = [
            offerXml(417),
            headerXml(Header(417, 12, 34)),
            acknowledgement(JOINED, JOINING, Header(417, None, 12)).decode(),
            reportXml(Report(417, 13, 34, False)),
            reportXml(report),
        ]
        page = PAGE.replace("rooms.example.net", "rooms.example").replace("mirror.example.com", "mirror.example")
        self.assertEqual([each for each in written if each not in page], [])
        asked = request(JOINING, JOINED, "c7x3-9", report).decode()
        self.assertIn(re.sub(r"\s*\n\s*", "", asked), re.sub(r"\s*\n\s*", "", page))
        for schema in re.findall(r"<xs:element name='(\w+)'", PAGE):
            self.assertIn(f"<{schema} ", unescape(PAGE))

    def test_bytes(self) -> None:
        """A header adds at most 15 % to a message; the return of 100 occupants takes under 400 bytes each way."""
        self.assertLessEqual(len(withHeader(MESSAGE, Header(417, 999, 999))), 1.15 * len(MESSAGE))
        people = [Entry(f"nick {each}", f"{each:022}", "member", "participant") for each in range(100)]
        room = Snapshot(digest(people), "x" * 22, "y" * 22)
        report = Report(417, 1_000, 1_000, True, 1_000, room)
        self.assertLess(len(request(JOINING, JOINED, "c7x3-9", report)), 400)


class DigestTests(SynchronousTestCase):
    """Rule 21: digests and buckets."""

    def people(self, count: int) -> list[Entry]:
        return [Entry(f"nick {each}", f"id {each}", "none", "participant") for each in range(count)]

    def test_digest(self) -> None:
        """Any difference changes it, and the order does not."""
        known = self.people(5)
        self.assertEqual(digest(known), digest(known[::-1]))
        self.assertEqual(len(digest(known)), 22)
        other = [
            [],
            known[1:],
            [*known[1:], Entry("nick 0", "id 0", "none", "moderator")],
            [*known[1:], Entry("nick 0", "id 0", "admin", "participant")],
            [*known[1:], Entry("nick 0", "id 1", "none", "participant")],
            [*known[1:], Entry("nick 0", "id 0", "none", "participant", "a@b/c")],
            [*known[1:], Entry("nick 0", "id 0", "none", "participant", "", "away")],
            [*known[1:], Entry("nick 0", "id 0none", "", "participant")],
        ]
        self.assertEqual(len({digest(each) for each in [known, *other]}), 9)
        told = Entry("a", "", "", "", "", "b"), Entry("c", "", "", "")
        self.assertNotEqual(digest(told), digest((Entry("a", "", "", ""), Entry("bc", "", "", ""))))

    def test_difference(self) -> None:
        """The difference of 100 occupants is a few of them, and makes both sides equal."""
        theirs = self.people(100)
        own = [each for each in theirs if each.nick != "nick 7"]
        own[50] = Entry(own[50].nick, own[50].occupantId, "admin", "moderator")
        own.append(Entry("new", "id", "none", "visitor"))
        hashes = buckets(theirs)
        self.assertEqual(len(hashes), 64)
        places, told = differing(own, hashes)
        self.assertLess(len(told), 40)
        gone = absent(theirs, 16, places, told)
        self.assertEqual(gone, ["nick 7"])
        known = {each.nick: each for each in theirs if each.nick not in gone}
        known.update({each.nick: each for each in told})
        self.assertEqual(digest(known.values()), digest(own))
        self.assertEqual(differing(own, buckets(own)), ([], []))

    def test_all(self) -> None:
        """One bucket gets all occupants; the number of buckets is limited."""
        own = self.people(20)
        self.assertEqual(len(buckets(own, 1)), 4)
        self.assertEqual(differing(own, buckets(own[1:], 1)), ([0], own))
        self.assertEqual(len(buckets(self.people(5_000))), MAX_BUCKETS * 4)
        self.assertEqual(len(buckets([])), 4)

    def test_bad(self) -> None:
        """Hashes that are none."""
        for text in ("", "AAA", "AAAA" * 3, "AAAA" * 512, "!!!!", "AAA=", "\xe9"):
            with self.assertRaises(BadRequest):
                differing([], text)


class StoreTests(SynchronousTestCase):
    """The tables of the channels."""

    def test_stored(self) -> None:
        """Records are replaced and removed; a channel outlives its room, and ends with all of its stanzas."""
        store = MemoryStore(MIGRATIONS)
        room, peer = JOINED, "a@b.example"

        def save(*records: tuple[tuple[str, str, str], str | None]) -> list[StoredChannel]:
            store.atStart(saveRecords, list(records))
            return store.atStart(loadChannels)

        def stanza(number: int, value: str | None) -> tuple[tuple[str, str, str], str | None]:
            return (room, OUTGOING, outgoingName(number, peer)), value

        other = StoredChannel(room, "c@d.example", "[2,0,0]")
        save(((room, CHANNEL, "c@d.example"), "[2,0,0]"))
        found = save(((room, CHANNEL, peer), "[1,0,0]"), stanza(10, "j"), stanza(9, "i"), stanza(9, "I"))
        self.assertEqual(found, [StoredChannel(room, peer, "[1,0,0]", {9: "I", 10: "j"}), other])
        self.assertEqual(list(found[0].outgoing), [9, 10])
        found = save(((room, CHANNEL, peer), "[1,0,9]"), stanza(9, None), removal(room))
        self.assertEqual(found, [StoredChannel(room, peer, "[1,0,9]", {10: "j"}), other])
        self.assertEqual(store.atStart(loadRecords), [])
        self.assertEqual(save(((room, CHANNEL, peer), None)), [other])
        self.assertEqual(save(((room, CHANNEL, peer), "[1,0,0]"))[0].outgoing, {})
        # The whole state replaces everything.
        whole = [((room, CHANNEL, peer), "[3,0,0]")]
        store.atStart(rooms_store.save, whole, (), Retention(0, 0.0), None, True)
        self.assertEqual(store.atStart(loadChannels), [StoredChannel(room, peer, "[3,0,0]")])
