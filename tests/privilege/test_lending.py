"""Privileges lent to a component behind the gateway: forwarded and refused stanzas, and their answers."""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    ERRORS,
    BadRequest,
    GatewayError,
    NoAnswer,
    NotGranted,
    Stopping,
    TooLarge,
    TooManyPending,
)
from gateway.privilege import lending
from gateway.privilege.handler import PrivilegeHandler
from gateway.privilege.lending import Lending
from gateway.testing import MemoryServer, canonical
from tests.privilege.support import ENTITY as GATEWAY
from tests.privilege.support import IQ, JULIET, MESSAGE, PRESENCE, ROSTER, SERVER, privilege
from tests.reports import sentences

PEP, OTHER = "pep.capulet.lit", "other.capulet.lit"
PUBSUB = "http://jabber.org/protocol/pubsub"
# Juliet's address at the gateway.
ALIAS = f"{jids.escapeLocal(JULIET)}@{GATEWAY}"
QUERY = f"<query xmlns='{ns.ROSTER}'/>"
ITEM = "<item jid='nurse@capulet.lit'/>"
NOTIFICATION = f"<event xmlns='{PUBSUB}#event'><items node='n'/></event>"


def inner(
    payload: str = NOTIFICATION, sender: str = JULIET, to: str = "romeo@capulet.lit/x", more: str = ""
) -> str:
    """Return a message in a user's name."""
    return f"<message xmlns='{ns.CLIENT}' from='{sender}' to='{to}'{more}>{payload}</message>"


def carried(*messages: str, version: str = ns.PRIVILEGE) -> str:
    """Return the wrapper with messages."""
    forwarded = "".join(f"<forwarded xmlns='{ns.FORWARD}'>{each}</forwarded>" for each in messages)
    return f"<privilege xmlns='{version}'>{forwarded}</privilege>"


def outer(content: str, sender: str = PEP, to: str = GATEWAY, identifier: str = "m1") -> str:
    """Return a message to the gateway."""
    return f"<message from='{sender}' to='{to}' id='{identifier}'>{content}</message>"


def iq(payload: str, kind: str = "get", sender: str = PEP, to: str = ALIAS, identifier: str = "i1") -> str:
    """Return a request to the gateway, or an answer."""
    return f"<iq from='{sender}' to='{to}' id='{identifier}' type='{kind}'>{payload}</iq>"


def privileged(
    kind: str = "set",
    payload: str = f"<pubsub xmlns='{PUBSUB}'/>",
    namespace: str = ns.CLIENT,
    more: str = f" to='{JULIET}'",
    innerKind: str = "",
) -> str:
    """Return a request on behalf of a user."""
    request = f"<iq xmlns='{namespace}' id='in1' type='{innerKind or kind}'{more}>{payload}</iq>"
    return f"<privileged_iq xmlns='{ns.PRIVILEGE}'>{request}</privileged_iq>"


def refusal(name: str, error: type[GatewayError], identifier: str, sender: str) -> str:
    """Return the gateway's own error."""
    said = ERRORS[error]
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{said.text}</text>" if said.text else ""
    return (
        f"<{name} from='{sender}' to='{PEP}' id='{identifier}' type='error'><error type='{said.kind}'>"
        f"<{said.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error></{name}>"
    )


class LendingCase(TestCase):
    """A component behind the gateway. The server has granted the gateway all permissions."""

    granted = ROSTER + MESSAGE + IQ + PRESENCE

    def setUp(self) -> None:
        self.server = MemoryServer(GATEWAY)
        privileges = PrivilegeHandler([SERVER])
        privileges.setHandlerParent(self.server.link)
        self.lending = Lending(privileges, SERVER, [PEP])
        self.lending.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.server.start()
        if self.granted:
            self.server.send(privilege(self.granted))

    def observe(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("gateway.privilege"):
            self.logged.append(formatEvent(event))

    def assertSent(self, *expected: str) -> None:
        self.assertEqual(self.server.taken(), canonical("".join(expected)))

    def assertForwarded(self, expected: str, given: str) -> str:
        """
        Exactly this stanza was forwarded, except for its random id.

        @return: its id.
        """
        [found] = self.server.taken()
        match = re.search(r'<\S+ [^>]*\bid="([^"]{20,})"', found)
        assert match is not None, found
        self.assertEqual([found], canonical(expected.replace(f"'{given}'", f"'{match[1]}'", 1)))
        return match[1]

    def report(self) -> str:
        return "\n".join(sentences(self.lending.report()))

    def assertRefused(self, stanza: str, error: type[GatewayError] = NotGranted, to: str = ALIAS) -> None:
        """The stanza is answered with an error, counted and not forwarded."""
        before = int(re.findall(r"(\d+) refused", self.report())[0])
        self.server.send(stanza)
        name, identifier = ("message", "m1") if stanza.startswith("<message") else ("iq", "i1")
        self.assertSent(refusal(name, error, identifier, GATEWAY if name == "message" else to))
        self.assertIn(f"{before + 1} refused", self.report())


class AdvertisementTests(LendingCase):
    """Advertisements to the entity."""

    def told(self) -> list[str]:
        """Return the stanzas since the last call, without ids."""
        return [re.sub(r' id="[^"]*"', "", each) for each in self.server.taken()]

    def expected(self, roster: str = "both") -> list[str]:
        perms = f"<perm access='roster' type='{roster}' push='false'/><perm access='message' type='outgoing'/>"
        messages = [
            f"<message from='{GATEWAY}' to='{PEP}'><privilege xmlns='{version}'>{perms}{iqs}</privilege></message>"
            for version, iqs in ((ns.PRIVILEGE_1, ""), (ns.PRIVILEGE, IQ))
        ]
        return [each for message in messages for each in canonical(message)]

    def test_arrived(self) -> None:
        """
        When the entity becomes available it gets both versions: all permissions except presence and pushes, which
        cannot be lent.
        """
        self.assertEqual(self.told(), [])
        self.lending.onAvailable(OTHER)
        self.assertEqual(self.told(), [])
        self.lending.onAvailable(PEP)
        self.assertEqual(self.told(), self.expected())

    def test_changed(self) -> None:
        """It gets a new advertisement if the server grants something else, but not if nothing changes."""
        self.lending.onAvailable(PEP)
        self.told()
        self.server.send(privilege(self.granted))
        self.assertEqual(self.told(), [])
        self.server.send(privilege(self.granted.replace("type='both'", "type='get'", 1)))
        self.assertEqual(self.told(), self.expected("get"))

    def test_reconnected(self) -> None:
        """After a reconnection entity and grants are unknown; they may come in any order."""
        self.lending.onAvailable(PEP)
        self.told()
        self.server.lose()
        self.server.clock.advance(5.0)
        self.server.accept()
        self.server.send(privilege(self.granted.replace("type='both'", "type='get'", 1)))
        self.assertEqual(self.told(), [])
        self.server.lose()
        self.server.clock.advance(5.0)
        self.server.accept()
        self.lending.onAvailable(PEP)
        self.assertEqual(self.told(), [])
        self.assertEqual(
            self.report(), f"{SERVER} grants no privileges, so none are lent to {PEP}: see docs/privilege.md"
        )
        self.server.send(privilege(self.granted))
        self.assertEqual(self.told(), self.expected())


class MessageTests(LendingCase):
    """Messages in the names of users."""

    def test_passed(self) -> None:
        """The entity may use either version; the message is sent unchanged in the server's version, and counted."""
        payload = "<body>a &amp; b</body><x xmlns='urn:x'><y xmlns=''/></x>"
        for version in (ns.PRIVILEGE, ns.PRIVILEGE_1):
            self.server.send(outer(carried(inner(payload, more=" type='headline' id='x'"), version=version)))
            expected = outer(carried(inner(payload, more=" type='headline' id='x'")), sender=GATEWAY, to=SERVER)
            self.assertForwarded(expected, "m1")
        self.assertIn(f"{PEP} uses lent privileges on {SERVER}: 2 messages, 0 requests, 0 refused", self.report())

    def test_older(self) -> None:
        """A server with the older version gets the message in that."""
        self.server.send(privilege(MESSAGE, ns.PRIVILEGE_1))
        self.server.send(outer(carried(inner())))
        self.assertForwarded(outer(carried(inner(), version=ns.PRIVILEGE_1), sender=GATEWAY, to=SERVER), "m1")

    def test_server(self) -> None:
        """The sender may be the server; the entity may use a resource; addresses are prepared."""
        self.server.send(outer(carried(inner(sender=SERVER)), sender=f"{PEP}/x"))
        self.assertForwarded(outer(carried(inner(sender=SERVER)), sender=GATEWAY, to=SERVER), "m1")
        self.server.send(outer(carried(inner(sender="Juliet@CAPULET.lit"))))
        self.assertForwarded(outer(carried(inner()), sender=GATEWAY, to=SERVER), "m1")

    def test_refused(self) -> None:
        """
        Only messages in the name of a user of the server, by bare JID (section 5.1), and one message for one
        recipient.
        """
        for sender in (
            f"{JULIET}/x",
            "romeo@montaigu.lit",
            "montaigu.lit",
            PEP,
            GATEWAY,
            ALIAS,
        ):
            with self.subTest(sender):
                self.assertRefused(outer(carried(inner(sender=sender))))
        for content in (
            carried(inner(), inner()),
            carried(inner() + inner()),
            carried(),
            carried(f"<presence xmlns='{ns.CLIENT}' from='{JULIET}'/>"),
            carried(inner().replace(" to='romeo@capulet.lit/x'", "")),
        ):
            with self.subTest(content):
                self.assertRefused(outer(content), BadRequest)
        self.assertIn(f"refused a message of {PEP}", self.logged[1])
        self.assertEqual(len([each for each in self.logged if "refused a" in each]), 1)

    def test_noSender(self) -> None:
        """A message without a sender is refused."""
        malformed = type(self.assertRaises(GatewayError, self.lending._privileges.managed, ""))
        self.assertRefused(outer(carried(inner(sender=""))), malformed)
        self.assertRefused(outer(carried(inner(sender="a@b@"))), malformed)

    def test_tooLarge(self) -> None:
        """A message over the server's limit is answered with an error, and does not affect the link."""
        size = self.server.link.limits.outgoingSize - 50
        self.assertRefused(outer(carried(inner(f"<body>{'x' * size}</body>"))), TooLarge)

    def test_notLent(self) -> None:
        """Messages of other entities are ignored, as without lending."""
        for sender in (OTHER, "romeo@capulet.lit/x", f"x@{OTHER}", f"user@{PEP}", SERVER):
            self.server.send(outer(carried(inner()), sender=sender))
            self.server.send(outer("<x xmlns='urn:xmpp:privilege:2'/>", sender=sender))
            self.assertSent()
        self.assertIn("0 messages, 0 requests, 0 refused", self.report())

    def test_comesBack(self) -> None:
        """The server's error is sent to the entity, with the id and from the address of its message, once."""
        error = f"<error code='403' type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.server.send(outer(carried(inner()), identifier="a'b").replace("'a'b'", '"a\'b"'))
        [found] = self.server.taken()
        [identifier] = re.findall(r'<\S+ [^>]*\bid="([^"]+)"', found)[:1]
        told = f"""<message from='{GATEWAY}' to='{PEP}' id="a'b" type='error'>{error}</message>"""
        for sender, expected in (("romeo@montaigu.lit", []), (OTHER, []), (SERVER, [told]), (SERVER, [])):
            head = f"<message from='{sender}' to='{GATEWAY}' id='{identifier}' type='error'>"
            self.server.send(f"{head}{error}</message>")
            self.assertSent(*expected)
        self.assertIn("1 messages, 0 requests, 1 refused", self.report())

    def test_address(self) -> None:
        """The message may be sent to any address of the gateway; its error comes from that address."""
        for to in (ALIAS, f"{ALIAS}/x", f"x@{GATEWAY}", f"{GATEWAY}/x"):
            self.server.send(outer(carried(inner()), to=to))
            identifier = self.assertForwarded(outer(carried(inner()), sender=GATEWAY, to=SERVER), "m1")
            self.server.send(f"<message from='{SERVER}' to='{GATEWAY}' id='{identifier}' type='error'/>")
            [told] = self.server.taken()
            self.assertIn(canonical(f"<x from='{to}'/>")[0].split()[-1].partition(">")[0], told)

    def test_comesBackOdd(self) -> None:
        """An error without a condition is still an error."""
        for content in ("", "<error/>", "<error xmlns='a b'/>"):
            self.server.send(outer(carried(inner())))
            [found] = self.server.taken()
            [identifier] = re.findall(r'<\S+ [^>]*\bid="([^"]+)"', found)[:1]
            self.server.send(
                f"<message from='{SERVER}' to='{GATEWAY}' id='{identifier}' type='error'>{content}</message>"
            )
            [told] = self.server.taken()
            self.assertIn("undefined-condition", told)

    def test_bounded(self) -> None:
        """Only a limited number of the last messages is remembered."""
        self.patch(lending, "_MAX_SENT", 10)
        for _ in range(100):
            self.server.send(outer(carried(inner())))
        self.assertEqual((len(self.server.taken()), len(self.lending._sent)), (100, 10))


class RequestTests(LendingCase):
    """Requests for rosters and on behalf of users."""

    def assertComesBack(self, identifier: str, payload: str, kind: str = "result") -> None:
        """The server's answer is returned unchanged; answers of others, or a second one, are not."""
        for sender in (SERVER, "romeo@capulet.lit", f"{JULIET}/x"):
            self.server.send(iq(payload, kind, sender, GATEWAY, identifier))
            self.assertSent()
        self.assertEqual(self.lending.pending, 1)
        for expected in ([iq(payload, kind, ALIAS, PEP)], []):
            self.server.send(iq(payload, kind, JULIET, GATEWAY, identifier))
            self.assertSent(*expected)
            self.assertEqual(self.lending.pending, 0)

    def test_roster(self) -> None:
        """Get and set."""
        for payload, kind in ((QUERY, "get"), (QUERY.replace("/>", f">{ITEM}</query>"), "set")):
            self.server.send(iq(payload, kind))
            identifier = self.assertForwarded(iq(payload, kind, GATEWAY, JULIET), "i1")
            items = f"<query xmlns='{ns.ROSTER}' ver='7'>{ITEM * 4_000}</query>"
            self.assertComesBack(identifier, items if kind == "get" else "")
        self.assertIn("0 messages, 2 requests, 0 refused", self.report())

    def test_resource(self) -> None:
        """The gateway's address may have a resource; the answer comes from the same address."""
        self.server.send(iq(QUERY, to=f"{ALIAS}/x"))
        identifier = self.assertForwarded(iq(QUERY, "get", GATEWAY, JULIET), "i1")
        self.server.send(iq(QUERY, "result", JULIET, GATEWAY, identifier))
        self.assertSent(iq(QUERY, "result", f"{ALIAS}/x", PEP))

    def test_error(self) -> None:
        """An error of the server."""
        self.server.send(iq(QUERY))
        identifier = self.assertForwarded(iq(QUERY, "get", GATEWAY, JULIET), "i1")
        self.assertComesBack(
            identifier, f"<error type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/></error>", "error"
        )

    def test_iq(self) -> None:
        """On behalf of a user; the answer stays wrapped, also an error in an error."""
        for more in (f" to='{JULIET}'", "", f" to='romeo@montaigu.lit' from='{JULIET}'"):
            self.server.send(iq(privileged(more=more), "set"))
            identifier = self.assertForwarded(iq(privileged(more=more), "set", GATEWAY, JULIET), "i1")
            answer = f"<iq xmlns='{ns.CLIENT}' id='in1' type='result' to='{JULIET}'/>"
            self.assertComesBack(identifier, carried(answer))
        self.server.send(iq(privileged(), "set"))
        identifier = self.assertForwarded(iq(privileged(), "set", GATEWAY, JULIET), "i1")
        error = f"<error code='403' type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/></error>"
        answer = f"<iq xmlns='{ns.CLIENT}' id='in1' type='error' to='{JULIET}'>{error}</iq>"
        self.assertComesBack(identifier, carried(answer) + error, "error")

    def test_ids(self) -> None:
        """The entity may use any id, also twice, and with any characters."""
        sent = {}
        for number, identifier in enumerate(("&lt;'", "in1", "in1", "&amp;quot;")):
            self.server.send(iq(QUERY, identifier=identifier).replace(f"'{identifier}'", f'"{identifier}"'))
            [found] = self.server.taken()
            sent[number, identifier], *_ = re.findall(r'<\S+ [^>]*\bid="([^"]+)"', found)
        for (_, identifier), own in sent.items():
            self.server.send(iq(f"<x>{own}</x>", "result", JULIET, GATEWAY, own))
            self.assertSent(iq(f"<x>{own}</x>", "result", ALIAS, PEP, "@").replace("'@'", f'"{identifier}"'))

    def test_refused(self) -> None:
        """Only requests that the server grants, for users of that server."""
        for to in (
            f"{jids.escapeLocal('romeo@montaigu.lit')}@{GATEWAY}",
            f"{jids.escapeLocal('capulet.lit')}@{GATEWAY}",
        ):
            if "\\40" in to:
                self.assertRefused(iq(QUERY, to=to), to=to)
                self.assertRefused(iq(privileged(), "set", to=to), to=to)
        # In the order of section 6.3.
        for payload in (
            privileged("get"),
            privileged(payload="<x xmlns='urn:x'/>"),
            privileged(namespace="urn:x"),
            privileged(more=" from='romeo@capulet.lit'"),
            privileged(more=f" from='{ALIAS}'"),
            privileged(innerKind="get"),
        ):
            with self.subTest(payload):
                self.assertRefused(iq(payload, "get" if payload == privileged("get") else "set"))
        for payload in (
            privileged().replace(" id='in1'", ""),
            privileged(payload=""),
            privileged(payload=f"<a xmlns='{PUBSUB}'/>" * 2),
            f"<privileged_iq xmlns='{ns.PRIVILEGE}'/>",
            QUERY,
            QUERY.replace("/>", f">{ITEM * 2}</query>"),
        ):
            with self.subTest(payload):
                self.assertRefused(iq(payload, "set"), BadRequest)

    def test_notGranted(self) -> None:
        """The gateway cannot lend more than the server grants it."""
        self.server.send(privilege("<perm access='roster' type='get'/>"))
        self.assertRefused(iq(QUERY.replace("/>", f">{ITEM}</query>"), "set"))
        self.assertRefused(iq(privileged(), "set"))
        self.assertRefused(outer(carried(inner())))
        self.server.send(iq(QUERY))
        self.assertForwarded(iq(QUERY, "get", GATEWAY, JULIET), "i1")

    def test_notLent(self) -> None:
        """Requests of others get the usual answer; so do requests of the entity without a privilege."""
        before = refusal("iq", NotGranted, "i1", ALIAS)
        for stanza in (iq(QUERY, sender=OTHER), iq(privileged(), sender=f"user@{PEP}"), iq("<x xmlns='urn:x'/>")):
            self.server.send(stanza)
            [found] = self.server.taken()
            self.assertIn("service-unavailable", found)
            self.assertNotIn(before, found)
        self.assertIn("0 messages, 0 requests, 0 refused", self.report())

    def test_elsewhere(self) -> None:
        """Requests to another component, which ejabberd may deliver here, are not handled."""
        self.server.send(outer(carried(inner()), to=OTHER))
        self.assertSent()
        self.server.send(iq(QUERY, to=ALIAS.replace(GATEWAY, OTHER)))
        self.assertIn("service-unavailable", "".join(self.server.taken()))
        self.assertIn("0 messages, 0 requests, 0 refused", self.report())

    def test_deadline(self) -> None:
        """Without an answer the entity gets an error after 30 seconds; a later answer is dropped."""
        self.server.send(iq(QUERY))
        identifier = self.assertForwarded(iq(QUERY, "get", GATEWAY, JULIET), "i1")
        for _ in range(29):
            self.server.clock.advance(1.0)
        self.assertSent()
        self.server.clock.advance(2.0)
        [found] = self.server.taken()
        self.assertIn("remote-server-timeout", found)
        self.server.send(iq("", "result", JULIET, GATEWAY, identifier))
        self.assertSent()
        self.assertEqual(self.lending.pending, 0)

    def test_stop(self) -> None:
        """A stop answers open requests, and refuses new ones."""
        self.server.send(iq(QUERY))
        self.server.taken()
        self.lending.drain()
        self.assertRefused(iq(QUERY, identifier="i1"), Stopping)
        self.lending.drained()
        self.assertSent(refusal("iq", Stopping, "i1", ALIAS))

    def test_startedAgain(self) -> None:
        """A link that is started again after a stop takes requests."""
        self.server.stop()
        self.server.start()
        self.server.send(privilege(self.granted))
        self.server.taken()
        self.server.send(iq(QUERY))
        self.assertForwarded(iq(QUERY, "get", GATEWAY, JULIET), "i1")

    def test_longOutage(self) -> None:
        """A request whose deadline passes while the link is down gets its error when the link is up."""
        self.server.send(iq(QUERY))
        self.server.taken()
        outage = self.patch(self.server.link, "ready", False)
        for _ in range(120):
            self.server.clock.advance(1.0)
        outage.restore()
        self.assertEqual(self.lending.pending, 1)
        self.server.taken()
        self.server.clock.advance(1.0)
        self.assertSent(refusal("iq", NoAnswer, "i1", ALIAS))
        self.assertEqual(self.lending.pending, 0)

    def test_bounded(self) -> None:
        """The number of open requests is limited."""
        self.lending._open.bound = 10
        for _ in range(10):
            self.server.send(iq(QUERY))
        self.server.taken()
        self.assertRefused(iq(QUERY), TooManyPending)


class UngrantedTests(LendingCase):
    """A server without grants."""

    granted = ""

    def test_nothing(self) -> None:
        """Nothing is advertised, and everything is refused; the status page has the reason."""
        self.lending.onAvailable(PEP)
        self.assertSent()
        for stanza in (outer(carried(inner())), iq(QUERY), iq(privileged(), "set")):
            self.server.send(stanza)
            [found] = self.server.taken()
            self.assertIn("forbidden", found)
        self.assertEqual(
            self.report(), f"{SERVER} grants no privileges, so none are lent to {PEP}: see docs/privilege.md"
        )
