"""
The stanzas between a delegating server and a managing entity that echoes (XEP-0355), and the check of them.

Everything about request N follows from N. Answers are cut at the end tags of a wrapper: servers deliver only
answers that end like that, without white space between the tags.
"""

import itertools
import re
import time
from xml.etree import ElementTree

import traffic
from fakeserver import Broken, FakeServer, OpenExchanges, canonical

SERVER = b"example.com"
COMPONENT = b"delegate.example.com"

_DELEGATION = b"urn:xmpp:delegation:2"
_PUBLISH = (
    b"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:microblog:0'><item id='20261120-7'>"
    b"<entry xmlns='http://www.w3.org/2005/Atom'><title type='text'>The harbour lights are back</title>"
    b"<summary type='text'>Both lights at the east quay burn again; thanks to all who waited outside.</summary>"
    b"<id>tag:example.com,2026:harbour-7</id><published>2026-11-20T06:12:00Z</published>"
    b"<updated>2026-11-20T06:15:00Z</updated><author><name>Harbour desk</name></author></entry></item></publish>"
    b"</pubsub>"
)
# iq type and payload
PAYLOADS = (*((kind, request) for kind, request, _ in traffic.PAYLOADS), (b"set", _PUBLISH))
NAMESPACES = (
    b"jabber:iq:version",
    b"http://jabber.org/protocol/disco#info",
    b"http://jabber.org/protocol/commands",
    b"http://jabber.org/protocol/pubsub",
)
# The recipient of a request: none, the own account, another account. Each sort meets each payload.
_RECIPIENTS = 3
SORTS = len(PAYLOADS) * _RECIPIENTS

# In Prosody's spelling.
_REQUESTS = [
    b"<iq id='%%b' to='%b' from='%b' type='set'><delegation xmlns='%b'><forwarded xmlns='urn:xmpp:forward:0'>"
    b"<iq from='%%b'%%b type='%b' id='%%b' xmlns='jabber:client'>%b</iq></forwarded></delegation></iq>"
    % (COMPONENT, SERVER, _DELEGATION, kind, payload)
    for kind, payload in PAYLOADS
]
_ADVERTISEMENT = b"<message from='%b' to='%b'><delegation xmlns='%b'>%b</delegation></message>" % (
    SERVER,
    COMPONENT,
    _DELEGATION,
    b"".join(b"<delegated namespace='%b'/>" % namespace for namespace in NAMESPACES),
)
_NODES = [
    _DELEGATION + separator + namespace
    for namespace, separator in itertools.product(NAMESPACES, (b"::", b":bare:"))
]

_ANSWER_END = b"</iq></forwarded></delegation></iq>"
_ANSWER = re.compile(
    rb"<iq\s([^>]*)><delegation xmlns=['\"]([^'\"]*)['\"]>"
    rb"<forwarded xmlns=['\"]urn:xmpp:forward:0['\"]><iq\s([^>]*)>"
)
_ATTRIBUTE = re.compile(rb"""([\w:]+)=["']([^"']*)["']""")


def _recipient(n: int) -> bytes | None:
    """Return the bare JID that request `n` names."""
    which = n // len(PAYLOADS) % _RECIPIENTS
    if which == 0:
        return None
    # Consecutive requesters may be resources of the same user.
    return traffic.REQUESTERS[(n if which == 1 else n + 90) % 181].partition(b"/")[0]


def _outer(n: int) -> bytes:
    return b"outer%07d" % n


def request(n: int) -> bytes:
    """Return request `n`, as the server forwards it."""
    recipient = _recipient(n)
    to = b"" if recipient is None else b" to='%b'" % recipient
    requester = traffic.REQUESTERS[n % 181]
    return _REQUESTS[n % len(PAYLOADS)] % (_outer(n), requester, to, traffic.identifier(n))


def meanSize() -> float:
    """Return the mean bytes of a request as the component receives it."""
    count = SORTS * 181
    return sum(len(request(n)) for n in range(count)) / count


class Forwards(OpenExchanges):
    """The open requests of a delegating server, and the check of their answers."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__(server)
        self._rest = b""
        self._proven: set[tuple[int, bytes]] = set()

    def request(self, n: int) -> bytes:
        return request(n)

    def take(self, data: bytes) -> None:
        *answers, self._rest = (self._rest + data).split(_ANSWER_END)
        for answer in answers:
            try:
                self._check(answer)
            except (LookupError, ValueError, ElementTree.ParseError) as error:
                raise Broken(f"unreadable: {error!r} in {answer!r}") from error

    def _check(self, answer: bytes) -> None:
        """Check an answer, without its end tags: addresses, ids, types, payload."""
        start = _ANSWER.match(answer)
        if start is None:
            raise Broken(f"not an answer, or not one that servers pass on: {answer!r}")
        outer, inner = dict(_ATTRIBUTE.findall(start[1])), dict(_ATTRIBUTE.findall(start[3]))
        n = traffic.number(inner[b"id"])
        if n not in self.open:
            raise Broken(f"a second answer, or one never asked for: {answer!r}")
        outer.setdefault(b"xmlns", b"jabber:component:accept")
        requester = traffic.REQUESTERS[n % 181]
        right = (
            start[2] == _DELEGATION
            and outer
            == {
                b"xmlns": b"jabber:component:accept",
                b"id": _outer(n),
                b"from": COMPONENT,
                b"to": SERVER,
                b"type": b"result",
            }
            and inner
            == {
                b"xmlns": b"jabber:client",
                b"id": traffic.identifier(n),
                b"from": _recipient(n) or requester.partition(b"/")[0],
                b"to": requester,
                b"type": b"result",
            }
        )
        if not right:
            raise Broken(f"not the answer to request {n}: {answer!r}")
        self._comparePayload(n % len(PAYLOADS), answer[start.end() :])
        self.open.remove(n)

    def _comparePayload(self, sort: int, payload: bytes) -> None:
        """Check that a payload is the tree that was sent. Bytes that passed once are not parsed again."""
        if (sort, payload) not in self._proven:
            if canonical(payload, b"jabber:client") != canonical(PAYLOADS[sort][1], b"jabber:client"):
                raise Broken(f"a payload is not as it was sent: {payload!r}")
            self._proven.add((sort, payload))

    def checkOnce(self, seconds: float = 20.0) -> None:
        """
        Advertise, ask for features to nest, and forward one request of each sort.

        @raise Broken: if an answer is wrong, or takes longer than `seconds`.
        """
        self._server.send(_ADVERTISEMENT)
        for n, node in enumerate(_NODES):
            self._server.send(
                b"<iq id='disco%d' to='%b' from='%b' type='get'>"
                b"<query xmlns='http://jabber.org/protocol/disco#info' node='%b'/></iq>"
                % (n, COMPONENT, SERVER, node)
            )
        deadline = time.monotonic() + seconds
        seen = b""
        while seen.count(b"</iq>") < len(_NODES):
            if time.monotonic() > deadline:
                raise Broken(f"disco is not answered, only {seen!r}")
            seen += self._server.step(0.1)
        _checkNesting(seen)
        self.begin(SORTS)
        self.drain(seconds)


def _checkNesting(answers: bytes) -> None:
    """Check that each node is echoed in a result with content; without one nothing is delegated."""
    told = ElementTree.fromstring(b"<stream xmlns='jabber:component:accept'>" + answers + b"</stream>")
    nodes = []
    for iq in told:
        query = iq.find("{http://jabber.org/protocol/disco#info}query")
        if iq.get("type") != "result" or query is None or not len(query):
            raise Broken(f"no disco to nest in {ElementTree.tostring(iq)!r}")
        nodes.append((iq.get("id"), query.get("node")))
    if sorted(nodes) != sorted((f"disco{n}", node.decode()) for n, node in enumerate(_NODES)):
        raise Broken(f"the nodes of the answers are not those that were asked for: {nodes}")
