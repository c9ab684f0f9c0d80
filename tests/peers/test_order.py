"""The order that a stanza needs, by what it contains."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.channel import stanzas as channel_stanzas
from gateway.fmuc.channel.values import Header, Report
from gateway.peers.order import Order, orderOf
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT
from gateway.xml.write import iq, message, presence, route, tag
from tests.peers.support import HERE, THERE

ROOM, MIRROR = f"room@{THERE}", f"room@{HERE}"
WAY = route(MIRROR, ROOM)


class OrderTests(SynchronousTestCase):
    """Stanzas of a mirror to its room, as they are written."""

    def order(self, written: str | bytes) -> Order:
        """Return the order of a stanza."""
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        splitter.feed(COMPONENT.header)
        [stanza] = splitter.feed(written if isinstance(written, bytes) else written.encode())
        assert isinstance(stanza, Stanza)
        return orderOf(stanza)

    def test_channel(self) -> None:
        """Numbered stanzas, acknowledgements, errors, and the requests of a channel with their answers."""
        header = Header(417, 12, 34)
        error = b"<message from='a@b' to='c@d/e' type='error'><error type='auth'/></message>"
        found = [
            *(channel_stanzas.withHeader(each, header) for each in (message(WAY, b"<body>x</body>"), error)),
            channel_stanzas.withHeader(presence(WAY, None), header),
            channel_stanzas.withHeader(presence(WAY, None, b"<show>away</show>"), header),
            channel_stanzas.acknowledgement(MIRROR, ROOM, Header(417, None, 34)),
        ]
        for isResume in (False, True):
            report = Report(417, 1, 2, isResume, 3)
            found.append(channel_stanzas.request(MIRROR, ROOM, "c1", report))
            found.append(iq(WAY, "c1", "result", channel_stanzas.reportXml(report).encode()))
        found.append(iq(WAY, "a1", "result", tag("compare", xmlns=ns.CHANNEL, state="true", k="417 3").encode()))
        self.assertEqual([self.order(each) for each in found], [Order.CHANNEL] * len(found))

    def test_others(self) -> None:
        """All others keep their place, those that quote a header as well."""
        header = channel_stanzas.headerXml(Header(417, 12, 34))
        query = tag("query", header, xmlns="urn:x").encode()
        quoting = (
            "<body>x</body>",
            f"<body>{ns.CHANNEL}</body>",
            f"{header}<body>x</body>",
            f"<x xmlns='urn:x'>{header}</x>",
            f"<channel xmlns='{ns.CHANNEL}'/>",
        )
        found = [
            *(message(WAY, each.encode()) for each in quoting),
            presence(WAY, None),
            iq(WAY, "i", "get", query),
            iq(WAY, "i", "result", query),
            # Without a channel, a comparison has to come after the joins.
            iq(WAY, "a1", "get", tag("compare", xmlns=ns.CHANNEL, d="x").encode()),
            iq(WAY, "a1", "result", tag("compare", "k='", xmlns=ns.CHANNEL).encode()),
        ]
        self.assertEqual([self.order(each) for each in found], [Order.STRICT] * len(found))

    def test_opening(self) -> None:
        """The offer of a channel, and its acceptance."""
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='a@b/c'><channel xmlns='{ns.CHANNEL}' e='417'/></fmuc>"
        self.assertIs(self.order(presence(WAY, None, f"{fmuc}<x xmlns='urn:x'/>".encode())), Order.OPENING)

    def test_answers(self) -> None:
        """The answer to a request of the other component itself, but no request, and no answer to an occupant."""
        for kind, to, order in (
            *(("result", THERE, Order.ANY), ("error", f"{THERE}/ping", Order.ANY)),
            *(("get", THERE, Order.STRICT), ("result", ROOM, Order.STRICT)),
        ):
            self.assertIs(self.order(f"<iq from='{HERE}' to='{to}' type='{kind}' id='p'/>"), order)
