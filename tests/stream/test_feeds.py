"""Presence that servers send a component unasked: who sends it, and what is reported of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.privilege.stanzas import readAdvertisement
from gateway.stream.feeds import VERSIONS, Feeds
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer, stanzas
from tests.profiles import steady
from tests.reports import sentences

C = "proxy.example.com"
HOME = "example.com"
ROMEO = "romeo@example.net/orchard"
JULIET = f"juliet@{HOME}/balcony"


def granted(*kinds: str, server: str = HOME, version: str = ns.PRIVILEGE, more: str = "") -> str:
    """Return an advertisement with these permissions for presence."""
    perms = "".join(f"<perm access='presence' type='{kind}'/>" for kind in kinds)
    return (
        f"<message from='{server}' to='{C}'><privilege xmlns='{version}'>{more}{perms}</privilege></message>"
    )


class FeedsTests(SynchronousTestCase):
    """The rules."""

    def setUp(self) -> None:
        self.feeds = Feeds(C, HOME)

    def advertise(self, xml: str) -> bool:
        [message] = stanzas(xml)
        self.logged = self.feeds.noted(message)
        return self.feeds.advertisement is message

    def unused(self) -> list[str]:
        """Return the permission that is reported."""
        return [item.values["kind"] for item in self.feeds.report()]

    def covered(self, recipient: str = C) -> list[str]:
        """Return those whose presence may come unasked."""
        senders = (JULIET, f"juliet@{HOME}", ROMEO, f"eve@sub.{HOME}/x", "example.net")
        return [each for each in senders if self.feeds.covers(each, recipient)]

    def test_none(self) -> None:
        """Without an advertisement nothing comes unasked."""
        self.assertEqual(self.covered(), [])

    def test_users(self) -> None:
        """Section 7.1: the presence of the server's users comes, in both versions of the specification."""
        for version in VERSIONS:
            self.assertTrue(self.advertise(granted("managed_entity", version=version)))
            self.assertEqual(self.covered(), [JULIET, f"juliet@{HOME}"])
            self.assertTrue(self.advertise(granted(version=version)))
            self.assertEqual(self.covered(), [])

    def test_contacts(self) -> None:
        """Section 7.4: that of their contacts, too, who may be on any server."""
        self.advertise(granted("roster"))
        self.assertEqual(len(self.covered()), 5)

    def test_ownAddress(self) -> None:
        """Servers send it to the component's own address; other presence was directed."""
        self.advertise(granted("roster"))
        for recipient in (f"node@{C}", f"{C}/x", f"node@{C}/x", f"other.{HOME}"):
            self.assertEqual(self.covered(recipient), [])

    def test_otherServers(self) -> None:
        """A server other than the component's own speaks for its users only."""
        for kind in ("managed_entity", "roster"):
            self.advertise(granted(kind, server="example.net"))
            self.assertEqual(self.covered(), [ROMEO, "example.net"])
        self.assertEqual(self.unused(), [])
        self.advertise(granted("managed_entity"))
        self.advertise(granted("none", server="example.net"))
        self.assertEqual(self.covered(), [JULIET, f"juliet@{HOME}"])

    def test_unknownHome(self) -> None:
        """The same holds for all servers if the component's own one is unknown."""
        self.feeds = Feeds(C)
        self.advertise(granted("roster"))
        self.assertEqual(self.covered(), [JULIET, f"juliet@{HOME}"])
        self.assertEqual(self.unused(), [])

    def test_bounded(self) -> None:
        """Many servers cannot take the place of the component's own one, or of those that came first."""
        for number in range(300):
            self.advertise(granted("managed_entity", server=f"s{number}.example"))
        self.advertise(granted("roster"))
        self.assertTrue(self.feeds.covers("a@s0.example/r", C))
        self.assertEqual(self.unused(), ["roster"])
        self.advertise(granted())
        covered = [number for number in range(300) if self.feeds.covers(f"a@s{number}.example/r", C)]
        self.assertEqual(covered, list(range(100)))

    def test_clear(self) -> None:
        """A lost connection takes everything back."""
        self.advertise(granted("roster"))
        self.feeds.clear()
        self.assertEqual((self.covered(), self.unused()), ([], []))

    def test_otherMessages(self) -> None:
        """A message without an advertisement changes nothing."""
        self.advertise(granted("managed_entity"))
        forwarded = f"<privilege xmlns='{ns.PRIVILEGE}'><forwarded xmlns='{ns.FORWARD}'/></privilege>"
        for content in ("", "<body>x</body>", f"<privilege xmlns='{ns.PRIVILEGE}x'/>", forwarded):
            self.assertFalse(self.advertise(f"<message from='{HOME}' to='{C}'>{content}</message>"))
        self.assertEqual(self.covered(), [JULIET, f"juliet@{HOME}"])

    @steady
    @given(st.lists(st.sampled_from(("none", "managed_entity", "roster", "", "nonsense")), max_size=4))
    def test_asPrivileges(self, kinds: list[str]) -> None:
        """It is read as the privileged entity reads it."""
        self.setUp()
        xml = granted(*kinds, more="<perm access='roster' type='get'/>")
        self.advertise(xml)
        permissions = readAdvertisement(HOME, stanzas(xml)[0].element)
        assert permissions is not None
        self.assertEqual(self.unused() or ["none"], [permissions.feed])


class Recorder(RawHandler):
    """The handler of a service."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Stanza] = []

    def stanzaReceived(self, stanza: Stanza) -> bool:
        self.seen.append(stanza)
        return True


class LinkTests(SynchronousTestCase):
    """On a link, with the handler of a service."""

    def setUp(self) -> None:
        self.server = MemoryServer(C, domain=HOME)
        self.service = Recorder()
        self.service.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.server.start()
        self.server.taken()

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("event") == "link.presence_unused":
            self.logged.append(event["log_format"].format(**event))

    def test_read(self) -> None:
        """An advertisement is noted, and given to the handlers of the service; nothing is sent."""
        self.server.send(granted("managed_entity"))
        self.assertEqual(self.service.seen, [self.server.link.feeds.advertisement])
        self.assertTrue(self.server.link.feeds.covers(JULIET, C))
        self.assertEqual(self.server.taken(), [])

    def test_others(self) -> None:
        """Stanzas that look similar are no advertisement."""
        many = "<x/>" * 11_000
        given = granted("managed_entity")
        others = (
            given.replace(f"from='{HOME}'", f"from='juliet@{HOME}'"),
            given.replace(f"from='{HOME}'", f"from='{HOME}/x'"),
            given.replace(f"to='{C}'", f"to='node@{C}'"),
            given.replace("<message ", "<message type='error' "),
            given.replace("message", "presence"),
            given.replace("<message ", "<iq type='set' id='1' ").replace("</message>", "</iq>"),
            f"<message from='{HOME}' to='{C}'><body>urn:xmpp:privilege:2</body></message>",
            f"<presence from='{JULIET}' to='{C}'/>",
            # The tree of this one is refused.
            f"<message from='{HOME}' to='{C}'>{many}<privilege xmlns='{ns.PRIVILEGE}'/></message>",
        )
        self.server.send("".join(others))
        self.assertEqual(len(self.service.seen), len(others))
        self.assertIsNone(self.server.link.feeds.advertisement)
        self.assertFalse(self.server.link.feeds.covers(JULIET, C))

    def test_lost(self) -> None:
        """A grant ends with its connection."""
        self.server.send(granted("managed_entity"))
        self.server.lose()
        self.server.restore()
        self.assertFalse(self.server.link.feeds.covers(JULIET, C))

    def test_unused(self) -> None:
        """Presence that nothing has a use for is counted, and reported: once in the log, and on C{/status}."""
        self.assertEqual(sentences(self.server.link.report()), [])
        self.server.send(granted("managed_entity") * 2)
        for kind in ("", " type='unavailable'", " type='probe'", " type='error'"):
            self.server.send(f"<presence from='{JULIET}' to='{C}'{kind}/><presence from='{ROMEO}' to='{C}'{kind}/>")
        self.assertEqual(len(self.logged), 1)
        [sentence] = sentences(self.server.link.report())
        self.assertIn(f"{HOME} grants the privilege presence = managed_entity", sentence)
        self.assertIn(" 2 so far", sentence)
        self.server.send(granted("roster"))
        self.assertEqual(len(self.logged), 2)
        self.server.send(granted())
        self.assertEqual((sentences(self.server.link.report()), len(self.logged)), ([], 2))

    def test_used(self) -> None:
        """Presence that a service has a use for is not reported."""
        self.server.link.feeds.isUsed = True
        self.server.send(granted("roster"))
        self.assertEqual((sentences(self.server.link.report()), self.logged), ([], []))
