"""The proxy on a link, on a connection in memory; stanzas are compared as they are sent."""

from __future__ import annotations

import re
from html import unescape
from xml.sax.saxutils import quoteattr

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.errors import ERRORS
from gateway.interfaces import IStatusProvider
from gateway.proxy.addresses import Sealer
from gateway.proxy.core import Rules, Translator
from gateway.proxy.handler import ProxyHandler
from gateway.proxy.pool import Pool
from gateway.proxy.store import MIGRATIONS, ExchangeStore
from gateway.state.memory import MemoryStore
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer, canonical
from tests.reports import sentences

C = "proxy.domain.example"
T = "some-user@some-domain.example"
U = "user@some-domain.example/abc"
TIMEOUT = 30.0

SUBSCRIBE = f"<presence from='{C}' to='{T}' type='subscribe'/>"
PROBE = f"<presence from='{C}' to='{T}' type='probe'/>"


def error(name: str, sender: str, recipient: str, said: str, identifier: str = "1") -> str:
    """Return the error stanza for a condition, optionally with a colon and a text."""
    condition, _, words = said.partition(": ")
    [kind] = {answer.kind for answer in ERRORS.values() if (answer.condition, answer.text) == (condition, words)}
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{words}</text>" if words else ""
    given = f"id='{identifier}'" if identifier else ""
    return (
        f"<{name} from='{sender}' to='{recipient}' {given} type='error'><error type='{kind}'>"
        f"<{condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error></{name}>"
    )


NOT_OFFERED = "service-unavailable: This service does not accept such stanzas."
NOBODY_ONLINE = "service-unavailable: No implementing client is online."
WENT_OFFLINE = "service-unavailable: The implementing client went offline."
TIMED_OUT = "remote-server-timeout: No answer came in time."
STOPPING = "service-unavailable: The gateway is shutting down."


def stored(store: MemoryStore) -> int:
    """Return the number of exchanges that the next process would find."""
    count: int = store.atStart(lambda cursor: cursor.execute("SELECT count(*) FROM exchanges").fetchone()[0])
    return count


class HandlerCase(TestCase):
    """A proxy with a connected link; its target has one resource, /a."""

    def setUp(self) -> None:
        self.make()
        self.server.start()
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.send(f"<presence from='{T}/a' to='{C}'/>")
        self.assertSent()

    def make(self, **decisions: object) -> None:
        pool = Pool(T, "*", "round-robin", lambda: 0.0)
        self.sealer = Sealer(C, b"k" * 32)
        self.translator = Translator(self.sealer, pool, Rules(**decisions))  # type: ignore[arg-type]  # keywords of any kind
        self.server = MemoryServer(C)
        self.store = MemoryStore(MIGRATIONS)
        self.handler = ProxyHandler(self.translator, ExchangeStore(self.store))
        self.handler.setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def remake(self, **decisions: object) -> None:
        """Make it again with these options."""
        self.make(**decisions)
        self.server.start()
        self.server.send(f"<presence from='{T}/a' to='{C}'/>")
        self.server.taken()

    def observe(self, event: dict[str, object]) -> None:
        if event.get("log_namespace", "").startswith("gateway.proxy"):  # type: ignore[attr-defined]  # a log event's values are objects
            self.logged.append(str(event["log_format"]).format(**event))

    def assertSent(self, *expected: str) -> None:
        """Exactly this was sent since the last call."""
        self.assertEqual(self.server.taken(), canonical("".join(expected)))

    def alias(self, requester: str = U, address: str = C) -> str:
        return f"{C}/{self.sealer.seal(requester, address)}"


class SeedTests(HandlerCase):
    """The example of the ProtoXEP, stanza by stanza."""

    def test_example(self) -> None:
        """
        The request is forwarded with its id and payload, the answer comes from the component, and nothing else is
        sent.
        """
        payload = "<query xmlns='http://jabber.org/protocol/disco#info' node='é&lt;'/>"
        self.server.send(f"<iq type='get' id='1234' to='{C}' from='{U}'>{payload}</iq>")
        self.assertSent(f"<iq type='get' id='1234' to='{T}/a' from='{self.alias()}'>{payload}</iq>")
        self.server.send(f"<iq type='result' id='1234' to='{self.alias()}' from='{T}/a'>{payload}</iq>")
        self.assertSent(f"<iq type='result' id='1234' to='{U}' from='{C}'>{payload}</iq>")

    def test_error(self) -> None:
        """An error by the implementing client is returned as the answer."""
        body = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.server.send(f"<iq type='set' id='1' to='n@{C}/r' from='{U}'><x xmlns='urn:x'/></iq>")
        alias = self.alias(U, f"n@{C}/r")
        self.assertSent(f"<iq type='set' id='1' to='{T}/a' from='{alias}'><x xmlns='urn:x'/></iq>")
        self.server.send(f"<iq type='error' id='1' to='{alias}' from='{T}/a'>{body}</iq>")
        self.assertSent(f"<iq type='error' id='1' to='{U}' from='n@{C}/r'>{body}</iq>")

    def test_oddAddresses(self) -> None:
        """Addresses with every character that XML must escape, and an unusual spelling of the start tag."""
        requester = "o&apos;b&amp;&lt;@d.example/&quot;r&gt; 1&#x1F44D;"
        self.server.send(
            f'<iq\n id = "&apos;1" to="{C}/&lt;" type="get"\tfrom="{requester}" ><x xmlns="urn:x"/></iq >'
        )
        [sent] = self.server.taken()
        found = re.search(r' from="([^"]*)"', sent)
        assert found
        alias = quoteattr(unescape(found[1]))
        self.assertEqual(unescape(found[1]), self.alias(unescape(requester), f"{C}/<"))
        self.assertEqual(
            [sent], canonical(f"<iq id='&apos;1' to='{T}/a' type='get' from={alias}><x xmlns='urn:x'/></iq>")
        )
        self.server.send(f"<iq type='result' id='&apos;1' from='{T}/a' to={alias}/>")
        self.assertSent(f"<iq type='result' id='&apos;1' from='{C}/&lt;' to='{requester}'/>")

    def test_language(self) -> None:
        """Other attributes of the requester's start tag are forwarded."""
        self.server.send(f"<iq xml:lang='de' type='get' id='1' to='{C}' from='{U}'><x xmlns='urn:x'/></iq>")
        self.assertSent(
            f"<iq xml:lang='de' type='get' id='1' to='{T}/a' from='{self.alias()}'><x xmlns='urn:x'/></iq>"
        )


class PresenceTests(HandlerCase):
    """Resources are learned from presence."""

    def test_eachConnection(self) -> None:
        """
        "Subscribe if need be, probe at each connection": resources that were known before the loss are forgotten.
        """
        self.server.lose()
        self.server.clock.advance(2.0)
        self.assertEqual(self.server.connections, 2)
        self.server.accept()
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent()
        self.server.send(f"<presence from='{T}/b' to='{C}'/>")
        self.assertSent(f"<iq type='get' id='1' to='{T}/b' from='{self.alias()}'/>")

    def test_graceOnlyAtFirst(self) -> None:
        """A reconnection starts no second grace period, because this process knows its requests."""
        self.server.clock.advance(TIMEOUT)
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()
        self.server.taken()
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent()

    def test_unavailable(self) -> None:
        """A resource that becomes unavailable gets no more requests, and its open requests are answered at once."""
        self.server.send(f"<iq type='set' id='1' to='{C}' from='{U}'/>")
        self.server.taken()
        self.server.send(f"<presence from='{T}/a' to='{C}' type='unavailable'/>")
        self.assertSent(error("iq", C, U, WENT_OFFLINE))
        self.server.send(f"<iq type='get' id='2' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, NOBODY_ONLINE, "2"))

    def test_retry(self) -> None:
        """Its get requests are sent unchanged to the other resource."""
        body = "<x xmlns='urn:x'>é</x>"
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'>{body}</iq>")
        self.server.taken()
        self.server.send(f"<presence from='{T}/b' to='{C}'/><presence from='{T}/a' to='{C}' type='unavailable'/>")
        self.assertSent(f"<iq type='get' id='1' to='{T}/b' from='{self.alias()}'>{body}</iq>")

    def test_revoked(self) -> None:
        """ "Resubscribe if it was revoked": at intervals that double up to five minutes."""
        waited = []
        for _ in range(11):
            self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
            self.assertSent()
            seconds = 0
            while not (sent := self.server.taken()):
                self.server.clock.advance(1.0)
                seconds += 1
                self.assertLess(seconds, 400)
            self.assertEqual(sent, canonical(SUBSCRIBE))
            waited.append(seconds)
        self.assertEqual(waited, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.server.clock.advance(1.0)
        self.assertSent(SUBSCRIBE)

    def test_notYetAccepted(self) -> None:
        """
        "Subscribe if need be": repeatedly, at intervals that double, because a server may show the request only to
        a client that is online at that time. An answer to the probe that there is no subscription changes nothing.
        """
        self.make()
        self.server.start()
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='unavailable'/>")
        self.assertNotIn("offline", " ".join(self.logged))
        asked = []
        for second in range(1, 32):
            self.server.clock.advance(1.0)
            if sent := self.server.taken():
                self.assertEqual(sent, canonical(SUBSCRIBE))
                asked.append(second)
        self.assertEqual(asked, [1, 3, 7, 15, 31])
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.server.clock.pump([1.0] * 100)
        self.assertSent()

    def test_openOverARestart(self) -> None:
        """Exchanges that are open at the end of a stop are stored, and the next process answers each once."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/><iq type='get' id='2' to='{C}' from='{U}'/>")
        self.server.taken()
        self.successResultOf(self.server.stop())
        store = self.store
        self.assertEqual(stored(store), 2)
        self.make()
        self.handler._kept = ExchangeStore(store)
        self.server.start()
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.server.taken()
        self.assertEqual(stored(store), 0)
        answer = f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>"
        self.server.send(answer + answer)
        self.assertSent(f"<iq type='result' id='1' to='{U}' from='{C}'/>")
        self.server.clock.pump([1.0] * 31)
        self.assertSent(error("iq", C, U, TIMED_OUT, "2"))

    def test_restartOnAnotherClock(self) -> None:
        """The next process has another monotonic clock: open exchanges keep their remaining time."""
        wall = 5e8
        self.handler._wallClock = lambda: wall + self.server.clock.seconds()
        self.server.clock.pump([1.0] * 1000)
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.server.taken()
        self.server.clock.pump([1.0] * 10)
        self.successResultOf(self.server.stop())
        wall += self.server.clock.seconds()
        store = self.store
        self.make()
        self.handler._kept = ExchangeStore(store)
        self.handler._wallClock = lambda: wall + self.server.clock.seconds()
        self.server.start()
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.server.taken()
        # Ten seconds have passed, and five of the stop.
        self.server.clock.pump([1.0] * 12)
        self.assertSent()
        self.server.clock.pump([1.0] * 6)
        self.assertSent(error("iq", C, U, TIMED_OUT, "1"))

    def test_revokedAndUnknown(self) -> None:
        """Without the subscription no resource is known; if that lasts, the operator is warned."""
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, NOBODY_ONLINE))
        self.assertEqual(self.warnings(6), 0)
        self.assertEqual(self.warnings(2), 1)

    def warnings(self, seconds: int) -> int:
        """Return the number of warnings about missing presence that are logged within some seconds."""
        self.logged.clear()
        self.server.clock.pump([1.0] * seconds)
        return sum("does not let the component see its presence" in line for line in self.logged)

    def test_report(self) -> None:
        """The status page has the number of resources, and the problem if there are none."""
        verifyObject(IStatusProvider, self.handler)
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertEqual(
            sentences(self.handler.report()), [f"resources of {T} that get requests: 1", "open requests: 1"]
        )
        self.server.lose()
        self.assertEqual(sentences(self.handler.report()), ["open requests: 1"])
        self.make()
        self.server.start()
        # Presence may follow soon.
        self.assertEqual(len(sentences(self.handler.report())), 2)
        self.server.clock.pump([1.0] * 10)
        online, unseen, _ = sentences(self.handler.report())
        self.assertEqual(online, f"resources of {T} that get requests: 0")
        self.assertIn("must accept the subscription", unseen)
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.assertEqual(len(sentences(self.handler.report())), 2)

    def test_warnedOnce(self) -> None:
        """
        At the start, presence may come late, and a server may report that there is no subscription. The operator is
        warned after the third request, once, and again only if the account was seen in between.
        """
        self.make()
        self.server.start()
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.assertEqual(self.warnings(6), 0)
        self.assertEqual(self.warnings(2), 1)
        self.assertEqual(self.warnings(1000), 0)
        self.server.lose()
        self.server.clock.advance(31.0)
        self.server.accept()
        self.assertEqual(self.warnings(100), 0)
        self.server.send(f"<presence from='{T}/a' to='{C}'/>")
        self.assertEqual(self.warnings(100), 0)
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.assertEqual(self.warnings(100), 1)

    def test_seenInTime(self) -> None:
        """An account that sends presence, or accepts, a few seconds after the start causes no warning."""
        for said in (f"<presence from='{T}/a' to='{C}'/>", f"<presence from='{T}' to='{C}' type='subscribed'/>"):
            self.make()
            self.server.start()
            self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
            self.server.clock.pump([1.0] * 5)
            self.server.send(said)
            self.assertEqual(self.warnings(100), 0)

    def test_revokedWhileDown(self) -> None:
        """A link that is down sends no request; it sends one at its next connection."""
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribed'/>")
        self.server.lose()
        self.server.clock.advance(2.0)
        self.server.accept()
        self.assertSent(PROBE, SUBSCRIBE)
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.server.clock.advance(5.0)
        self.assertSent()

    def test_target(self) -> None:
        """
        RFC 6121 sections 3.1.3 and 4.3.2: the target's subscription to the component is approved, and its probe
        answered.
        """
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribe'/>")
        self.assertSent(f"<presence from='{C}' to='{T}' type='subscribed'/>", f"<presence from='{C}' to='{T}'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='probe'/>")
        self.assertSent(f"<presence from='{C}' to='{T}'/>")
        self.server.send(f"<presence from='{T}' to='{C}' type='unsubscribe'/>")
        self.assertSent(f"<presence from='{C}' to='{T}' type='unsubscribed'/>")

    def test_error(self) -> None:
        """An account that does not exist is logged in plain words; the error is not answered."""
        self.server.send(f"<presence from='{T}' to='{C}' type='error'/>")
        self.assertSent()
        self.assertIn("Does the account exist", self.logged[-1])

    def test_unasked(self) -> None:
        """
        XEP-0356 section 7.1: presence that U's server may have sent unasked is not answered. It comes to the
        component's own address.
        """
        granted = f"<privilege xmlns='{ns.PRIVILEGE}'><perm access='presence' type='managed_entity'/></privilege>"
        self.server.send(f"<message from='some-domain.example' to='{C}'>{granted}</message>")
        for recipient in (C, f"{C}/x", f"n@{C}"):
            self.server.send(f"<presence from='{U}' to='{recipient}'/>")
        self.assertSent(
            error("presence", f"{C}/x", U, NOT_OFFERED, ""), error("presence", f"n@{C}", U, NOT_OFFERED, "")
        )

    def test_thirdParties(self) -> None:
        """Presence of other accounts adds and removes no resource, and answers nothing."""
        for kind in (None, "unavailable", "subscribed", "unsubscribed", "error", "probe", "nonsense", ""):
            given = "" if kind is None else f" type='{kind}'"
            self.server.send(f"<presence from='{U}' to='{C}'{given}/>")
            self.server.send(f"<presence from='{T}x/a' to='{C}/x'{given}/>")
        self.assertEqual(
            self.server.taken(),
            canonical(
                error("presence", C, U, NOT_OFFERED, "") + error("presence", f"{C}/x", f"{T}x/a", NOT_OFFERED, "")
            ),
        )
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent(f"<iq type='get' id='1' to='{T}/a' from='{self.alias()}'/>")

    def test_thirdPartiesSubscribe(self) -> None:
        """Subscriptions of requesters are declined, between bare addresses (RFC 6121 section 3.1.3)."""
        for kind in ("subscribe", "unsubscribe"):
            self.server.send(f"<presence from='{U}' to='n@{C}/r' type='{kind}'/>")
            self.assertSent(f"<presence from='n@{C}' to='{U.partition('/')[0]}' type='unsubscribed'/>")

    def test_forwarded(self) -> None:
        """With C{presence}, a requester's presence goes to every resource, and the target's to its recipient."""
        self.remake(forward=frozenset({"presence"}))
        self.server.send(
            f"<presence from='{T}/b' to='{C}'/><presence from='{U}' to='{C}'><show>away</show></presence>"
        )
        self.assertSent(
            *[f"<presence from='{self.alias()}' to='{T}/{name}'><show>away</show></presence>" for name in "ab"]
        )
        self.server.send(f"<presence from='{T}/b' to='{self.alias()}' type='unavailable'/>")
        self.assertSent(f"<presence from='{C}' to='{U}' type='unavailable'/>")


class BadInputTests(HandlerCase):
    """Each kind of bad input: the right error or none; the next exchange works."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.checkNext)

    def checkNext(self) -> None:
        """Check an exchange, after any other input."""
        self.server.send(f"<iq type='get' id='n' to='{C}' from='{U}'/>")
        self.assertSent(f"<iq type='get' id='n' to='{T}/a' from='{self.alias()}'/>")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_noAddress(self) -> None:
        """A stanza without a sender can be neither forwarded nor answered."""
        for name in ("iq", "message", "presence"):
            self.server.send(f"<{name} type='get' id='1' to='{C}'/>")
            self.server.send(f"<{name} from='' to='{C}' id='1'/><{name}/>")
        self.assertSent()
        self.assertEqual(self.translator.dropped["a missing address"], 9)

    def test_noRecipient(self) -> None:
        """A request without a recipient is for the component itself, which has no service: it gets an error."""
        self.server.send(f"<iq type='get' id='1' from='{U}'/>")
        self.assertSent(error("iq", C, U, "service-unavailable"))
        self.server.send(f"<message from='{U}'/><presence from='{U}'/><iq type='result' id='1' from='{U}'/>")
        self.assertSent()
        self.assertEqual(self.translator.dropped, {})

    def test_noId(self) -> None:
        """RFC 6120 section 8.2.3: an iq must have an id; the error has none either."""
        self.server.send(f"<iq type='get' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, "bad-request", ""))
        self.server.send(f"<iq type='set' id='' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, "bad-request", "").replace("<iq ", "<iq id='' "))
        self.assertEqual(self.translator.dropped, {})

    def test_answerWithoutId(self) -> None:
        """An answer without an id is dropped and counted."""
        for kind in ("result", "error"):
            self.server.send(f"<iq type='{kind}' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent()
        self.assertEqual(self.translator.dropped["a missing id"], 2)

    def test_unknownType(self) -> None:
        """RFC 6120 section 8.2.3: an iq has one of four types."""
        for kind in ("type='gett'", "type=''", ""):
            self.server.send(f"<iq {kind} id='1' to='{C}' from='{U}'/>")
            self.assertSent(error("iq", C, U, "bad-request"))

    def test_errorsAreNotAnswered(self) -> None:
        """RFC 6120 section 8.3.1: an error is never answered with an error, for any stanza and sender."""
        self.translator.started(-TIMEOUT)
        for sender in (U, f"{T}/a"):
            for recipient in (C, f"{C}/x", f"n@{C}", self.alias()):
                for name in ("iq", "message", "presence"):
                    for identifier in ("", "id='1'"):
                        self.server.send(f"<{name} type='error' {identifier} to='{recipient}' from='{sender}'/>")
        self.assertSent()

    def test_messages(self) -> None:
        """Without C{messages} they are refused, also those of a room."""
        for kind in ("", "type='chat'", "type='groupchat'", "type='nonsense'"):
            self.server.send(f"<message {kind} id='1' to='{C}' from='{U}'><body>x</body></message>")
            self.assertSent(error("message", C, U, NOT_OFFERED))

    def test_forged(self) -> None:
        """Forged answers are not forwarded and not answered, and are counted by reason."""
        self.translator.started(-TIMEOUT)
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/><presence from='{T}/b' to='{C}'/>")
        self.server.taken()
        for sender, recipient, identifier in (
            (f"{T}/a", self.alias(), "2"),
            (f"{T}/b", self.alias(), "1"),
            (f"{T}/a", self.alias() + "x", "1"),
            (f"{T}/a", self.alias("victim@some-domain.example/x"), "1"),
            (f"{T}/a", self.alias(U, f"{C}/x"), "1"),
            ("mallory@some-domain.example/x", self.alias(), "1"),
        ):
            self.server.send(f"<iq type='result' id='{identifier}' to='{recipient}' from='{sender}'/>")
        self.assertSent()
        self.assertEqual(
            dict(self.translator.dropped),
            {
                "no such request": 3,
                "an answer from another resource": 1,
                "a broken seal": 1,
                "an answer from another account": 1,
            },
        )
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(f"<iq type='result' id='1' to='{U}' from='{C}'/>")
        self.server.send(f"<presence from='{T}/b' to='{C}' type='unavailable'/>")

    def test_clientUninvited(self) -> None:
        """Without C{outbound}, requests of the implementing client are refused."""
        self.server.send(f"<iq type='get' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(error("iq", self.alias(), f"{T}/a", NOT_OFFERED))
        self.server.send(f"<message id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(error("message", self.alias(), f"{T}/a", NOT_OFFERED))
        self.server.send(f"<presence to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(error("presence", self.alias(), f"{T}/a", NOT_OFFERED, ""))


class FailureTests(HandlerCase):
    """An internal error affects one exchange only."""

    def test_request(self) -> None:
        """If the rules raise, the request gets an error without details, and others are not affected."""
        right = self.translator.request

        def raising(*arguments: object) -> None:
            self.patch(self.translator, "request", right)
            raise KeyError("a secret of ours")

        self.patch(self.translator, "request", raising)
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/><iq type='get' id='2' to='{C}' from='{U}'/>")
        self.assertSent(
            error("iq", C, U, "internal-server-error"),
            f"<iq type='get' id='2' to='{T}/a' from='{self.alias()}'/>",
        )
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_answer(self) -> None:
        """The same for answers: the exchange ends at its deadline."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/><iq type='get' id='2' to='{C}' from='{U}'/>")
        self.server.taken()
        right = self.translator.answer

        def raising(*arguments: object) -> None:
            self.patch(self.translator, "answer", right)
            raise KeyError("a secret of ours")

        self.patch(self.translator, "answer", raising)
        for identifier in "12":
            self.server.send(f"<iq type='result' id='{identifier}' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(f"<iq type='result' id='2' to='{U}' from='{C}'/>")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.server.clock.advance(TIMEOUT)
        self.assertSent(error("iq", C, U, TIMED_OUT))

    def failing(self) -> None:
        """Make the next stanza fail to be sent."""
        right = self.handler._send

        def raising(data: bytes) -> None:
            self.patch(self.handler, "_send", right)
            raise OSError("a secret of ours")

        self.patch(self.handler, "_send", raising)

    def test_handingOn(self) -> None:
        """A request that is accepted, but cannot be sent, has one answer, and is not open."""
        self.failing()
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, "internal-server-error"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.handler.pending, 0)
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.server.clock.advance(TIMEOUT + 1)
        self.assertSent()

    def test_handingOnCopy(self) -> None:
        """It does not affect the answer to a request with the same id."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.server.taken()
        self.failing()
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, "internal-server-error"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.handler.pending, 1)
        answer = f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>"
        self.server.send(answer + answer)
        self.assertSent(f"<iq type='result' id='1' to='{U}' from='{C}'/>")

    def test_handingOut(self) -> None:
        """The same for requests of the implementing client."""
        self.remake(outbound=True)
        self.failing()
        self.server.send(f"<iq type='get' id='7' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(error("iq", self.alias(), f"{T}/a", "internal-server-error", "7"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.handler.pending, 0)

    def test_handingBack(self) -> None:
        """If an answer cannot be sent, the requester gets an error, as the only answer."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.server.taken()
        self.failing()
        answer = f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>"
        self.server.send(answer)
        self.assertSent(error("iq", C, U, "internal-server-error"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.server.send(answer)
        self.assertSent()


class TimeTests(HandlerCase):
    """Effects of the link's timer."""

    def tick(self, seconds: int) -> None:
        self.server.clock.pump([1.0] * seconds)

    def test_deadline(self) -> None:
        """ "A deadline answers remote-server-timeout", once."""
        self.server.send(f"<iq type='get' id='1' to='n@{C}' from='{U}'/>")
        self.server.taken()
        self.tick(29)
        self.assertSent()
        self.tick(2)
        self.assertSent(error("iq", f"n@{C}", U, TIMED_OUT))
        self.tick(60)
        self.assertSent()

    def test_deadlineWhileDown(self) -> None:
        """A request whose answer was lost with the connection is answered once, after the reconnection."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.tick(20)
        self.server.lose()
        self.tick(15)
        self.server.accept()
        expected = SUBSCRIBE + PROBE + error("iq", C, U, TIMED_OUT)
        self.assertEqual(sorted(self.server.taken()), sorted(canonical(expected)))
        self.server.send(f"<presence from='{T}' to='{C}' type='subscribed'/>")
        self.tick(60)
        self.assertSent()

    def test_deadlineInALongOutage(self) -> None:
        """The same after an outage of any length, and with any number of open requests."""
        many = 3_000
        self.server.send("".join(f"<iq type='get' id='{n}' to='{C}' from='{U}'/>" for n in range(many)))
        self.server.endpoint.mode = "refuse"
        self.server.lose()
        self.tick(200)
        self.assertEqual(self.handler.pending, many)
        self.server.endpoint.mode = "connect"
        while self.server.connections < 2:
            self.tick(1)
        self.server.accept()
        sent = self.server.taken()
        self.assertEqual(sent[:1] + sent[-1:], canonical(error("iq", C, U, TIMED_OUT, "0") + SUBSCRIBE))
        self.assertEqual(len(sent), many + 2)
        self.assertEqual(len(set(sent)), many + 2)
        self.assertEqual(self.handler.pending, 0)
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent()

    def test_answeredAfterReconnection(self) -> None:
        """An answer that was in transit when the connection was lost is delivered."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.server.lose()
        self.tick(2)
        self.server.accept()
        self.server.taken()
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(f"<iq type='result' id='1' to='{U}' from='{C}'/>")

    def test_rested(self) -> None:
        """A rested resource is logged."""
        for identifier in "123":
            self.server.send(f"<iq type='get' id='{identifier}' to='{C}' from='{U}'/>")
        self.tick(31)
        [line] = [line for line in self.logged if "did not answer several requests" in line]
        self.assertIn(f"{T}/a", line)

    def test_report(self) -> None:
        """Dropped stanzas are logged by reason, at most once a minute, and each only once."""
        self.tick(61)
        self.logged.clear()
        forged = f"<iq type='result' id='1' to='{self.alias()}' from='{{}}'/>"
        self.server.send(2 * forged.format(f"{T}/a") + forged.format(U))
        self.tick(2)
        [line] = self.logged
        self.assertIn("2 for no such request, 1 for an answer from another account", line)
        self.server.send(forged.format(U))
        self.tick(50)
        self.assertEqual(self.logged, [line])
        self.tick(15)
        self.assertIn("dropped stanzas: 1 for an answer from another account.", self.logged[1])
        self.tick(200)
        self.assertEqual(len(self.logged), 2)

    def test_nothingOfContents(self) -> None:
        """Logs contain no payloads."""
        everything: list[object] = []
        globalLogPublisher.addObserver(everything.append)
        self.addCleanup(globalLogPublisher.removeObserver, everything.append)
        for name in ("iq", "message", "presence"):
            for kind in ("get", "result", "error", "chat"):
                self.server.send(f"<{name} type='{kind}' id='1' to='{C}' from='{U}'><body>PRIVATE</body></{name}>")
        self.tick(70)
        self.assertNotIn("PRIVATE", repr(everything))


class StopTests(HandlerCase):
    """Open exchanges complete during a stop."""

    def test_drain(self) -> None:
        """New requests are refused, the open answer is still delivered, and then the link closes."""
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.server.taken()
        self.assertEqual(self.handler.pending, 1)
        stopped = self.server.link.stopService()
        self.server.send(f"<iq type='get' id='2' to='{C}' from='{U}'/>")
        self.assertSent(error("iq", C, U, STOPPING, "2"))
        self.server.send(f"<iq type='result' id='1' to='{self.alias()}' from='{T}/a'/>")
        self.assertSent(f"<iq type='result' id='1' to='{U}' from='{C}'/>")
        self.server.clock.advance(0.1)
        self.server.lose()
        self.successResultOf(stopped)

    def test_waiting(self) -> None:
        """A request that waits for the target's presence is answered at once when the gateway stops."""
        self.make()
        self.server.start()
        self.server.taken()
        self.server.send(f"<iq type='get' id='1' to='{C}' from='{U}'/>")
        self.assertSent()
        self.server.link.stopService()
        self.assertSent(error("iq", C, U, STOPPING))

    def test_outbound(self) -> None:
        """A request of the implementing client ends with an error when the gateway does not wait any longer."""
        self.remake(outbound=True)
        self.server.send(f"<iq type='get' id='7' to='bob\\40example.org@{C}/phone' from='{T}/a'/>")
        self.server.taken()
        self.server.link.stopService()
        self.server.clock.pump([0.1] * 40)
        self.assertSent()
        self.server.clock.pump([0.1] * 20)
        self.assertSent(error("iq", f"bob\\40example.org@{C}/phone", f"{T}/a", STOPPING, "7"))

    def test_again(self) -> None:
        """A link that is started again after a stop takes requests."""
        self.server.stop()
        self.server.start()
        self.server.send(f"<presence from='{T}/a' to='{C}'/>")
        self.server.taken()
        self.server.send(f"<iq type='get' id='3' to='{C}' from='{U}'/>")
        self.assertSent(f"<iq type='get' id='3' to='{T}/a' from='{self.alias()}'/>")


class OtherTests(HandlerCase):
    """Stanzas of other handlers, of other processes, or that cannot be sent."""

    def test_unsendable(self) -> None:
        """A message that cannot be forwarded is not answered; an iq is."""
        self.remake(forward=frozenset({"iq", "message"}))

        def raising(stanza: Stanza, addresses: bytes) -> bytes:
            raise ValueError(stanza)

        patch = self.patch(Stanza, "readdressed", raising)
        self.server.send(f"<message to='{C}' from='{U}'><body>x</body></message>")
        patch.restore()
        self.assertSent()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_notOurs(self) -> None:
        """Answers to requests of another handler, or of the link itself, are left to it."""
        ping = domish.Element((None, "iq"), attribs={"type": "get", "to": "d.example/ping", "id": "p1"})
        answer = self.server.link.request(ping)
        self.server.taken()
        self.server.send(f"<iq type='result' id='p1' to='{C}' from='d.example/ping'/>")
        self.assertEqual(self.successResultOf(answer)["id"], "p1")

    def test_earlierProcess(self) -> None:
        """For one timeout after a start, a valid seal is enough; not for longer."""
        for seconds in (1, 31):
            self.remake()
            self.server.clock.pump([1.0] * seconds)
            self.server.taken()
            self.server.send(f"<iq type='result' id='e' to='{self.alias()}' from='{T}/a'/>")
            self.assertSent(*[f"<iq type='result' id='e' to='{U}' from='{C}'/>"] * (seconds < 30))


class OutboundTests(HandlerCase):
    """Requests of the implementing client."""

    def setUp(self) -> None:
        super().setUp()
        self.remake(outbound=True, forward=frozenset({"iq", "message"}))

    def test_token(self) -> None:
        """A request to a token, and its answer."""
        self.server.send(f"<iq type='set' id='7' to='{self.alias()}' from='{T}/a'><x xmlns='urn:x'/></iq>")
        self.assertSent(f"<iq type='set' id='7' to='{U}' from='{C}'><x xmlns='urn:x'/></iq>")
        self.server.send(f"<iq type='result' id='7' to='{C}' from='{U}'/>")
        self.assertSent(f"<iq type='result' id='7' to='{T}/a' from='{self.alias()}'/>")

    def test_escaped(self) -> None:
        """A request to an XEP-0106 address, and its answer from exactly that address."""
        written = f"bob\\40example.org@{C}/phone"
        self.server.send(f"<iq type='get' id='7' to='{written}' from='{T}/a'/>")
        self.assertSent(f"<iq type='get' id='7' to='bob@example.org/phone' from='{C}'/>")
        self.server.send(f"<iq type='error' id='7' to='{C}' from='bob@example.org/phone'/>")
        self.assertSent(f"<iq type='error' id='7' to='{T}/a' from='{written}'/>")

    def test_silence(self) -> None:
        """If the partner does not answer, the implementing client gets an error."""
        self.server.send(f"<iq type='get' id='7' to='{self.alias()}' from='{T}/a'/>")
        self.server.taken()
        self.server.clock.advance(31.0)
        self.assertSent(error("iq", self.alias(), f"{T}/a", TIMED_OUT, "7"))

    def test_messages(self) -> None:
        """Messages to a token, to an address, and to the service."""
        self.server.send(f"<message id='1' to='{self.alias()}' from='{T}/a'><body>x</body></message>")
        self.assertSent(f"<message id='1' to='{U}' from='{C}'><body>x</body></message>")
        self.server.send(f"<message to='bob\\40example.org@{C}' from='{T}/a'/>")
        self.assertSent(f"<message to='bob@example.org' from='{C}'/>")
        self.server.send(f"<message to='{C}' from='{U}'><body>x</body></message>")
        self.assertSent(f"<message to='{T}/a' from='{self.alias()}'><body>x</body></message>")
