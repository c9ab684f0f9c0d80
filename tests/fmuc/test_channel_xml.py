"""Tests for the elements of a channel and its store (docs/fmuc-resync.md)."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish

from gateway.errors import BadRequest
from gateway.fmuc.actions import AskResume, AskReturn, TellOccupants, ToNode
from gateway.fmuc.channel.stanzas import (
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
from gateway.fmuc.channel.values import Header, Report
from gateway.fmuc.digest import Buckets
from gateway.fmuc.stanzas import write
from gateway.fmuc.values import Dialect
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
        self.assertEqual(headerXml(Header(417, 12, 34)), "<r xmlns='urn:xmpp:fr:0' n='417 12 34'/>")

    def test_report(self) -> None:
        """A probe, and a resumption with and without kept stanzas."""
        for report in (
            Report(417, 13, 34, False),
            Report(417, 13, 34, True, 13),
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
                    readHeader(parseElement("<r {} n='{} {} {}'/>".format(space, *numbers)))
                with self.assertRaises(BadRequest):
                    readReport(parseElement(f"<probe {space} {attributes}/>"))
            with self.assertRaises(BadRequest):
                readReport(parseElement(f"<resume {space} e='1' n='1' a='1' k='{number}'/>"))
            with self.assertRaises(BadRequest):
                readOffer(parseElement(f"<channel {space} e='{number}'/>"))
        for xml in ("<r/>", "<r n=''/>", "<r n='1'/>", "<r n='1 1 1 1'/>", "<r n='1  1'/>", "<r e='1'/>"):
            with self.assertRaises(BadRequest):
                readHeader(parseElement(xml))
        for xml in ("<probe e='1' a='1'/>", "<other e='1' n='1' a='1'/>"):
            with self.assertRaises(BadRequest):
                readReport(parseElement(xml))

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
        report = Report(417, 15, 34, True, 15)
        written = [
            offerXml(417),
            headerXml(Header(417, 12, 34), True),
            headerXml(Header(417, 35, 12), False, "8f3QkJz0vVnA"),
            acknowledgement(JOINED, JOINING, Header(417, None, 12)).decode(),
            reportXml(Report(417, 13, 34, False)),
            reportXml(report),
        ]
        page = PAGE.replace("rooms.example.net", "rooms.example").replace("mirror.example.com", "mirror.example")
        self.assertEqual([each for each in written if each not in page], [])
        bob = (("bob", "bob@example.com/phone"),)
        contents = (
            AskResume("ask-7x3-1", "8tYzQZ2bF0mUyG6l6Zp4Vw", "8f3QkJz0vVnA"),
            TellOccupants("tell-7x3-2", "8f3QkJz0vVnA", bob, False, Buckets(1, frozenset((0,)))),
        )
        requests = [write(ToNode(JOINING, JOINED, Dialect.XEP_0289, True, each)) for each in contents]
        requests.append(write(ToNode(JOINED, JOINING, Dialect.XEP_0289, False, AskReturn("return-5c1-1"))))
        flat = re.sub(r"\s*\n\s*", "", page)
        for each in (request(JOINING, JOINED, "c7x3-9", report), *requests):
            self.assertIn(each.decode(), flat)
        for schema in re.findall(r"<xs:element name='(\w+)'", PAGE):
            self.assertIn(f"<{schema} ", unescape(PAGE))

    def test_bytes(self) -> None:
        """A header adds at most 15 % to a message."""
        self.assertLessEqual(len(withHeader(MESSAGE, Header(417, 999, 999))), 1.15 * len(MESSAGE))


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
