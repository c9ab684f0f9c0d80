"""The stanzas of a link in the log."""

from __future__ import annotations

from io import StringIO

from twisted.application.service import Application
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.config.tables import LogTable
from gateway.log.output import LogOutput, Standard
from gateway.stream.interfaces import IRawHandler
from gateway.stream.outflow import Copies
from gateway.stream.trace import NAME, Tracer
from gateway.tap import ConfiguredLog
from gateway.testing import MemoryGateway, MemoryServer

COMPONENT = "rooms.example.com"
BODY = "<message from='a@example.com' to='rooms.example.com' type='error'><body>private</body></message>"


class LinkTests(SynchronousTestCase):
    """One link."""

    def setUp(self) -> None:
        self.server = MemoryServer(COMPONENT)
        self.addCleanup(self.server.stop)
        self.server.start()
        self.link = self.server.link

    def traffic(self) -> list[str]:
        """Receive and send stanzas; return the traced lines, all at the level debug."""
        self.server.received()
        with capturedLogs() as logged:
            self.server.send(BODY)
            self.link.sendRaw(b"<presence to='b@example.com'/>")
            self.link.sendSeveral([b"<presence to='f@h'/>", b"<presence to='g@h'/>"])
            self.link.sendCopies(Copies(b"<presence to='", [b"c@h", b"d@h", b"e@h"], b"'/>"))
        self.assertEqual(len(self.server.received()), 6)
        found = [each for each in logged if each["log_namespace"] == NAME]
        self.assertEqual({each["log_level"] for each in found} - {LogLevel.debug}, set())
        return [formatEvent(each) for each in found]

    def test_trace(self) -> None:
        """While it is on, stanzas are logged with their content, copies once; otherwise nothing is."""
        self.assertEqual(self.traffic(), [])
        expected = [
            f"{COMPONENT} received: {BODY}",
            f"{COMPONENT} sent: <presence to='b@example.com'/>",
            f"{COMPONENT} sent: <presence to='f@h'/>",
            f"{COMPONENT} sent: <presence to='g@h'/>",
            f"{COMPONENT} sent: <presence to='c@h'/> (and 2 copies to other recipients)",
        ]
        for _ in range(2):
            self.link.trace(True)
            self.assertEqual(self.traffic(), expected)
        self.link.trace(False)
        self.link.trace(False)
        self.assertEqual(self.traffic(), [])

    def test_reconnection(self) -> None:
        """It stays on when the connection is another one; what waited for it is logged when it is sent."""
        self.link.trace(True)
        self.server.lose()
        with capturedLogs() as logged:
            self.link.sendRaw(b"<presence to='late@example.com'/>")
            self.assertEqual([each for each in logged if each["log_namespace"] == NAME], [])
            self.server.restore()
            self.server.clock.advance(1)
        [line] = [formatEvent(each) for each in logged if each["log_namespace"] == NAME]
        self.assertIn("late@example.com", line)
        self.assertEqual(self.traffic()[0], f"{COMPONENT} received: {BODY}")

    def test_long(self) -> None:
        """A long stanza is shown in part; a part of a character does no harm."""
        with capturedLogs() as logged:
            Tracer("c").sent(b"x" + "\u00e9".encode() * 3000)
        [line] = [formatEvent(each) for each in logged]
        self.assertTrue(line.endswith("\u00e9\ufffd... (6001 bytes)"), line[-40:])

    def test_interface(self) -> None:
        """It is a raw handler."""
        verifyObject(IRawHandler, Tracer("c"))


class SettingTests(SynchronousTestCase):
    """C{[log] levels} turns it on and off while the gateway runs."""

    def test_levels(self) -> None:
        """It is on for the level debug, at the start and after a change, also for services that are added."""
        gateway = MemoryGateway(self.mktemp(), f'[rooms."{COMPONENT}"]\n')
        self.addCleanup(gateway.stop)
        service = gateway.service
        output = LogOutput(Standard({"syslog": 0, "nodaemon": True}, StringIO()))
        log = ConfiguredLog(output, service.trace)
        [link] = service.links

        def isTraced() -> bool:
            return any(isinstance(each, Tracer) for each in link._raw)

        log.begin(LogTable(levels={NAME: "debug"}))
        log.onUsed()
        self.assertFalse(isTraced(), "the log is written by another program")
        output.attach(Application("gateway"))
        log.onUsed()
        self.assertTrue(isTraced())
        for table, expected in (
            (LogTable(), False),
            (LogTable(level="debug"), True),
            (LogTable(level="debug", levels={NAME: "info"}), False),
            (LogTable(levels={"gateway.stream": "debug"}), True),
        ):
            log.change(table)
            self.assertEqual(isTraced(), expected, table)
        configured = service.config.services[0]
        service.remove(COMPONENT)
        gateway.wait(8)
        service.put(configured)
        gateway.wait(8)
        [link] = service.links
        self.assertTrue(isTraced())
