"""Read-through of private storage by privileged iq, on a link in memory."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.delegation.handler import Route
from gateway.delegation.private import PrivateStorage
from gateway.delegation.readthrough import ReadThrough
from gateway.errors import CannotAsk, NoAnswer
from gateway.interfaces import IStatusProvider
from gateway.privilege.handler import PrivilegeHandler
from tests.delegation.support import (
    COMPONENT,
    HOST,
    JULIET,
    Case,
    answer,
    errorXml,
    meaning,
    reply,
    request,
    wrapper,
)
from tests.delegation.test_private import MemoryStore
from tests.reports import sentences

USER = "juliet@capulet.lit"
KEY = ("urn:1", "a")
WANTED = "<a xmlns='urn:1'/>"
STORED = "<a xmlns='urn:1' xml:lang='de'><b>old</b></a>"
GRANT = (
    f"<message from='{HOST}' to='{COMPONENT}' id='g'><privilege xmlns='{ns.PRIVILEGE}'><perm access='iq'>"
    f"<namespace ns='{ns.PRIVATE}' type='get'/></perm></privilege></message>"
)
# Seconds until the request times out; the gateway's own value.
TIMEOUT = 8
GUIDE = 'see docs/delegation.md, "What the server had stored"'


def query(content: str) -> str:
    """Return a query for private data."""
    return f"<query xmlns='{ns.PRIVATE}'>{content}</query>"


class ReadThroughCase(Case):
    """A managing entity with private storage and privileges, and a connected link."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore()
        storage = PrivateStorage(self.store)
        self.make({ns.PRIVATE: Route(storage)})
        self.privileges = PrivilegeHandler([HOST])
        self.privileges.setHandlerParent(self.server.link)
        clock: Any = self.server.clock
        self.source = storage._source = ReadThrough(self.privileges, [HOST], clock)
        self.source.setHandlerParent(self.server.link)
        self.server.transport.clear()

    def fetch(self, user: str = USER) -> Deferred[domish.Element | None]:
        return Deferred.fromCoroutine(self.source.ask(user, KEY))

    def sentRequest(self) -> str:
        """Return the id of the one privileged iq that was sent, after a check of all of it."""
        data = self.server.transport.value().decode()
        self.server.transport.clear()
        outer, inner = re.findall(r"id='([^']+)'", data)
        self.assertEqual(
            meaning(data, ns.COMPONENT_ACCEPT),
            meaning(
                f"<iq type='get' from='{COMPONENT}' to='{USER}' id='{outer}'><privileged_iq xmlns='{ns.PRIVILEGE}'>"
                f"<iq xmlns='{ns.CLIENT}' type='get' to='{USER}' id='{inner}'>{query(WANTED)} </iq></privileged_iq>"
                "</iq>",
                ns.COMPONENT_ACCEPT,
            ),
        )
        # Prosody does not delegate it again because of this.
        self.assertIn("</query> </iq>", data)
        self.outer, self.inner = outer, inner
        return inner

    def serverAnswers(self, content: str, kind: str = "result", outer: str = "result") -> None:
        """Answer the last request, as the server."""
        iq = f"<iq xmlns='{ns.CLIENT}' type='{kind}' id='{self.inner}' to='{USER}'>{content}</iq>"
        self.server.send(
            f"<iq type='{outer}' id='{self.outer}' from='{USER}' to='{COMPONENT}'><privilege "
            f"xmlns='{ns.PRIVILEGE}'><forwarded xmlns='{ns.FORWARD}'>{iq}</forwarded></privilege></iq>"
        )

    def serverRefuses(self, condition: str) -> None:
        """Answer the last request with an error of the server itself."""
        error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.server.send(f"<iq type='error' id='{self.outer}' from='{USER}' to='{COMPONENT}'>{error}</iq>")


class AskTests(ReadThroughCase):
    """One request, and its results."""

    def test_interface(self) -> None:
        """It provides lines for the status page."""
        verifyObject(IStatusProvider, self.source)

    def test_stored(self) -> None:
        """The server's element is fetched."""
        self.server.send(GRANT)
        found = self.fetch()
        self.sentRequest()
        self.serverAnswers(query(STORED))
        element = self.successResultOf(found)
        assert element is not None
        self.assertEqual(meaning(element.toXml()), meaning(STORED))
        self.assertFalse(self.source._asked)

    def test_nothing(self) -> None:
        """
        The server has no such element: it echoes the request, or answers with nothing or with another element.
        """
        self.server.send(GRANT)
        for content in (query(WANTED), query(""), "", query("<a xmlns='urn:2'>x</a>"), WANTED):
            found = self.fetch()
            self.sentRequest()
            self.serverAnswers(content)
            self.assertIsNone(self.successResultOf(found), content)

    def test_attributes(self) -> None:
        """An element that has only attributes is not empty."""
        self.server.send(GRANT)
        found = self.fetch()
        self.sentRequest()
        self.serverAnswers(query("<a xmlns='urn:1' b='2'/>"))
        self.assertIsNotNone(self.successResultOf(found))

    def test_notGranted(self) -> None:
        """Without the privilege nothing is sent; nor for a user of another server."""
        self.failureResultOf(self.fetch(), CannotAsk)
        self.server.send(GRANT.replace("'get'", "'set'"))
        self.failureResultOf(self.fetch(), CannotAsk)
        self.server.send(GRANT)
        self.failureResultOf(self.fetch("romeo@montaigu.lit"), CannotAsk)
        self.assertEqual(self.server.taken(), [])
        self.assertFalse(self.source._asked)

    def test_refused(self) -> None:
        """With these errors, its own or inside its answer, the server says that it cannot be asked."""
        self.server.send(GRANT)
        for condition in ("service-unavailable", "forbidden", "feature-not-implemented", "not-allowed"):
            found = self.fetch()
            self.sentRequest()
            self.serverRefuses(condition)
            self.failureResultOf(found, CannotAsk)
            found = self.fetch()
            self.sentRequest()
            error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
            self.serverAnswers(error, "error", "error")
            self.failureResultOf(found, CannotAsk)
        [told] = [line for line in self.logged if "stored data of a user" in line]
        self.assertIn("with service-unavailable: the element is treated as missing; Prosody needs", told)

    def test_failed(self) -> None:
        """
        After other errors, without an answer, or without a connection the result is unknown; one line is logged.
        """
        self.server.send(GRANT)
        found = self.fetch()
        self.sentRequest()
        self.serverRefuses("internal-server-error")
        self.failureResultOf(found, NoAnswer)
        found = self.fetch()
        self.sentRequest()
        self.server.send(f"<iq type='result' id='{self.outer}' from='{USER}' to='{COMPONENT}'/>")
        self.failureResultOf(found, NoAnswer)
        found = self.fetch()
        self.server.clock.advance(TIMEOUT - 1)
        self.assertNoResult(found)
        self.server.clock.advance(1)
        self.failureResultOf(found, NoAnswer)
        found = self.fetch()
        self.server.lose()
        self.failureResultOf(found, NoAnswer)
        self.assertFalse(self.source._asked)
        told = [line for line in self.logged if "stored data of a user" in line]
        self.assertEqual(len(told), 1, self.logged)
        self.assertIn("internal-server-error", told[0])

    def test_givenUp(self) -> None:
        """If the client's deadline passes first, the request is closed."""
        self.server.send(GRANT)
        found = self.fetch()
        found.cancel()
        self.failureResultOf(found)
        self.assertFalse(self.source._asked)


class ClientTests(ReadThroughCase):
    """A client's request that the server delegates."""

    def delegated(self, identifier: str = "d1", requester: str = JULIET, inner: str = "1") -> None:
        self.server.send(wrapper(request(query(WANTED), requester=requester, identifier=inner), identifier))

    def test_readThrough(self) -> None:
        """The client gets the server's element, and from then on the one that is stored here."""
        self.server.send(GRANT)
        self.delegated()
        self.sentRequest()
        self.serverAnswers(query(STORED))
        self.assertSent(answer(reply(query(STORED))))
        self.delegated("d2")
        self.assertSent(answer(reply(query(STORED)), "d2"))

    def test_failed(self) -> None:
        """If the server does not answer, the client gets an error within its deadline."""
        self.server.send(GRANT)
        self.delegated()
        self.sentRequest()
        self.server.clock.advance(TIMEOUT)
        self.assertSent(answer(reply(errorXml(NoAnswer), "error")))
        self.assertEqual(self.store.asked, set())

    def test_loop(self) -> None:
        """
        If a server delegates the gateway's own request, the loop is detected: that request is answered with an
        error, the client gets the result without import, and the server is not asked again in this connection.
        """
        self.server.send(GRANT)
        self.delegated()
        inner = self.sentRequest()
        # ejabberd sets its recipient, Prosody does not.
        self.delegated("d2", USER, inner)
        [sent] = self.taken()
        self.assertIn("service-unavailable", repr(sent))
        self.serverRefuses("item-not-found")
        self.assertSent(answer(reply(query(WANTED))))
        self.assertEqual(self.store.asked, set())
        self.delegated("d3")
        self.assertSent(answer(reply(query(WANTED)), "d3"))
        [told] = [line for line in self.logged if "own requests" in line]
        self.assertIn(GUIDE, told)
        self.assertEqual(
            [line for line in sentences(self.source.report()) if "own requests" in line], [told.split(": ", 1)[1]]
        )

    def test_askedAnew(self) -> None:
        """After a reconnection the server is asked again: its configuration may have changed."""
        self.test_loop()
        self.server.lose()
        self.server.clock.advance(40)
        self.server.accept()
        self.server.send(GRANT)
        self.server.transport.clear()
        self.delegated("d4")
        self.sentRequest()

    def test_manyLoops(self) -> None:
        """
        Requests of one user at the limit of concurrent requests do not block the delegated requests that they
        cause.
        """
        self.server.send(GRANT)
        for number in range(20):
            self.delegated(f"d{number}", inner=f"c{number}")
        data = self.server.transport.value().decode()
        self.server.transport.clear()
        pairs = re.findall(r"id='([^']+)'", data)
        asked = list(zip(pairs[::2], pairs[1::2], strict=True))
        self.assertEqual(len(asked), 16)
        for number, (_, inner) in enumerate(asked):
            self.delegated(f"own{number}", USER, inner)
        self.assertEqual(len(self.taken()), 16)
        for self.outer, _ in asked:
            self.serverRefuses("item-not-found")
        # The four waiting ones knew of the loop without a request.
        self.assertEqual(len(self.taken()), 20)

    def test_foreign(self) -> None:
        """A client's request with the same id is not a loop, nor is another user's with the same id."""
        self.server.send(GRANT)
        self.delegated()
        inner = self.sentRequest()
        for number, requester in enumerate((JULIET, "romeo@capulet.lit/x", "romeo@capulet.lit")):
            self.delegated(f"f{number}", requester, inner)
        self.assertEqual(self.source._returning, set())


class ReportTests(ReadThroughCase):
    """Lines for the operator, in the log and on the status page."""

    def reported(self) -> list[str]:
        return sentences(self.source.report())

    def test_missing(self) -> None:
        """
        A missing privilege is logged after three seconds, with the configuration to add, and is on the status page.
        """
        self.server.clock.advance(2)
        self.assertEqual(self.reported(), [])
        self.server.clock.advance(2)
        [told] = [line for line in self.logged if "import = true" in line]
        [reported] = self.reported()
        self.assertEqual(told, f"{COMPONENT}: {reported}")
        for words in (
            f"{HOST} does not grant requests for {ns.PRIVATE}",
            f'VirtualHost "{HOST}"',
            f'privileged_entities = {{ ["{COMPONENT}"] = {{ iq = {{ ["{ns.PRIVATE}"] = "get" }} }} }}',
            "An ejabberd cannot be asked",
            GUIDE,
        ):
            self.assertIn(words, told)
        # The lines of the server only, if it is known.
        for software, isProsody in (("Prosody 13.0.7", True), ("ejabberd 26.07", False)):
            self.server.link.software = software
            [reported] = self.reported()
            self.assertEqual(("VirtualHost" in reported, "cannot be asked" in reported), (isProsody, not isProsody))

    def test_granted(self) -> None:
        """With the privilege nothing is reported."""
        self.server.send(GRANT)
        self.server.clock.advance(5)
        self.assertEqual(self.reported(), [])
        self.assertEqual([line for line in self.logged if "import = true" in line], [])
