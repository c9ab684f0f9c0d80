"""The table of outgoing requests: each is answered by its recipient, or fails."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.generic import Request

from gateway.stream.requests import Requests, requestElement
from gateway.stream.stanzas import Stanza
from tests.stream.memory import stanza


def _identifier(result: Stanza) -> str | None:
    return result.id


def _stumble(result: Stanza) -> None:
    raise KeyError(result.id)


class RequestsTests(SynchronousTestCase):
    """The table without a link, with a given time."""

    def test_result(self) -> None:
        """A result by the recipient, with the id, is the answer; a second one is not."""
        requests = Requests()
        answer = requests.add("a@b/c", "1", 30.0)
        result = stanza(b"<iq from='a@b/c' to='gw' id='1' type='result'><q xmlns='urn:q'/></iq>")
        self.assertTrue(requests.answered(result))
        self.assertEqual(self.successResultOf(answer).q.uri, "urn:q")
        self.assertEqual((requests.answered(result), len(requests)), (False, 0))

    def test_notTheAnswer(self) -> None:
        """Another's answer, another id, no id, no sender: none of these is the answer."""
        requests = Requests()
        answer = requests.add("a@b/c", "1", 30.0)
        for raw in (
            b"<iq from='a@b' id='1' type='result'/>",
            b"<iq from='evil@b/c' id='1' type='result'/>",
            b"<iq from='a@b/c' id='2' type='result'/>",
            b"<iq from='a@b/c' type='result'/>",
            b"<iq id='1' type='error'/>",
        ):
            self.assertFalse(requests.answered(stanza(raw)), raw)
        self.assertNoResult(answer)

    def test_twoPeersOneId(self) -> None:
        """Two peers may be asked with the same id, and each answers for itself."""
        requests = Requests()
        first, second = requests.add("a", "1", 30.0), requests.add("b", "1", 30.0)
        requests.answered(stanza(b"<iq from='b' id='1' type='result'/>"))
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second)["from"], "b")

    def test_read(self) -> None:
        """
        The caller may read a result without a tree; an exception of its reader counts as an unreadable answer.
        """
        requests = Requests()
        wanted = {read: requests.add("a", read.__name__, 30.0, read) for read in (_identifier, _stumble)}
        for read in wanted:
            requests.answered(stanza(f"<iq from='a' id='{read.__name__}' type='result'><q/></iq>".encode()))
        self.assertEqual(self.successResultOf(wanted[_identifier]), "_identifier")
        self.assertEqual(self.failureResultOf(wanted[_stumble], StanzaError).value.condition, "undefined-condition")

    def test_withoutCondition(self) -> None:
        """An error without a readable condition gets one that can be written."""
        requests = Requests()
        for content in ("", "<error/>", "<error type='cancel'/>", "<error code='x'/>", "<q xmlns='urn:q'/>"):
            answer = requests.add("a", "1", 30.0)
            requests.answered(stanza(f"<iq from='a' id='1' type='error'>{content}</iq>".encode()))
            error = self.failureResultOf(answer, StanzaError).value
            self.assertEqual(error.condition, "undefined-condition")
            self.assertIn("undefined-condition", error.getElement().toXml())
        answer = requests.add("a", "1", 30.0)
        unknown = "<error><unheard-of xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        requests.answered(stanza(f"<iq from='a' id='1' type='error'>{unknown}</iq>".encode()))
        error = self.failureResultOf(answer, StanzaError).value
        self.assertIn("unheard-of", error.getElement().toXml())

    def test_error(self) -> None:
        """An error is a failure with the peer's own text."""
        requests = Requests()
        answer = requests.add("a", "1", 30.0)
        requests.answered(
            stanza(
                b"<iq from='a' id='1' type='error'><error type='wait'>"
                b"<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Moved</text></error></iq>"
            )
        )
        error = self.failureResultOf(answer, StanzaError).value
        self.assertEqual((error.condition, error.type, error.text), ("gone", "wait", "Moved"))

    def test_oddAnswers(self) -> None:
        """Any answer ends the request, with a failure if it is unreadable, and affects no other."""
        for payload, kind in (
            (b"", b"error"),
            (b"<error/>", b"error"),
            (b"<error code='999'/>", b"error"),
            (b"<error code='x' type='y'>text</error>", b"error"),
            (b"<error><a/><b/></error><error/>", b"error"),
            (b"<q xmlns='a b'/>", b"error"),
        ):
            requests = Requests()
            answer = requests.add("a", "1", 30.0)
            self.assertTrue(requests.answered(stanza(b"<iq from='a' id='1' type='%b'>%b</iq>" % (kind, payload))))
            self.failureResultOf(answer, StanzaError)

    def test_deadline(self) -> None:
        """Without an answer a request fails at its own deadline; later answers are ignored."""
        requests = Requests()
        early, late = requests.add("a", "1", 10.0), requests.add("a", "2", 20.0)
        requests.expire(9.9)
        self.assertNoResult(early)
        requests.expire(10.0)
        self.assertEqual(self.failureResultOf(early, StanzaError).value.condition, "remote-server-timeout")
        self.assertFalse(requests.answered(stanza(b"<iq from='a' id='1' type='result'/>")))
        self.assertNoResult(late)
        requests.expire(20.0)
        self.failureResultOf(late, StanzaError)

    def test_bound(self) -> None:
        """Over the limit, or with an id in use, a request is refused at once; open ones stay."""
        requests = Requests(bound=2)
        first = requests.add("a", "1", 10.0)
        for key in (("a", "1"), ("b", "2"), ("c", "3")):
            answer = requests.add(*key, 10.0)
            if key == ("b", "2"):
                self.assertNoResult(answer)
                answer.addErrback(lambda failure: failure.trap(StanzaError))
            else:
                condition = self.failureResultOf(answer, StanzaError).value.condition
                self.assertEqual(condition, "resource-constraint")
        self.assertEqual(len(requests), 2)
        requests.answered(stanza(b"<iq from='a' id='1' type='result'/>"))
        self.successResultOf(first)

    def test_cancel(self) -> None:
        """A caller may cancel a request; a late answer is dropped."""
        requests = Requests()
        answer = requests.add("a", "1", 10.0)
        answer.cancel()
        self.failureResultOf(answer)
        self.assertEqual(len(requests), 0)
        self.assertFalse(requests.answered(stanza(b"<iq from='a' id='1' type='result'/>")))

    def test_failAll(self) -> None:
        """When the stream is lost all requests fail; one that is made at that moment is not lost."""
        requests = Requests()
        again = []
        answer = requests.add("a", "1", 10.0)
        answer.addErrback(lambda failure: again.append(requests.add("a", "1", 20.0)))
        requests.fail("remote-server-not-found")
        self.assertEqual(len(requests), 1)
        self.assertNoResult(again[0])

    def test_element(self) -> None:
        """A request is an iq of type get or set, given as Wokkel's class or as an element; it gets an id."""
        element = requestElement(Request(recipient=JID("a@b"), stanzaType="get"))
        self.assertEqual((element["to"], element["type"], bool(element["id"])), ("a@b", "get", True))
        plain = domish.Element((None, "iq"), attribs={"type": "set"})
        self.assertTrue(requestElement(plain)["id"])
        for wrong in (domish.Element((None, "message")), domish.Element((None, "iq"), attribs={"type": "result"})):
            self.assertRaises(ValueError, requestElement, wrong)
