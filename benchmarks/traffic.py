"""
The bytes of the benchmark: numbered exchanges, from a small set of requesters, addresses and payloads.

Everything about exchange N follows from N, so the fake server stores only a set of numbers.
"""

COMPONENT = b"proxy.example.com"
TARGET = b"implementation@example.com"
RESOURCES = [TARGET + b"/" + resource for resource in (b"a", b"b", b"c")]

REQUESTERS = [b"user%d@example.com/desk.%d" % (n // 3, n % 3) for n in range(181)]
ADDRESSES = [COMPONENT, b"node@" + COMPONENT, COMPONENT + b"/some/resource"]

_FEATURES = (
    b"http://jabber.org/protocol/disco#info",
    b"http://jabber.org/protocol/disco#items",
    b"http://jabber.org/protocol/commands",
    b"http://jabber.org/protocol/caps",
    b"http://jabber.org/protocol/chatstates",
    b"http://jabber.org/protocol/pubsub",
    b"http://jabber.org/protocol/nick+notify",
    b"http://jabber.org/protocol/si",
    b"http://jabber.org/protocol/bytestreams",
    b"jabber:iq:last",
    b"jabber:iq:version",
    b"jabber:x:data",
    b"urn:xmpp:ping",
    b"urn:xmpp:receipts",
    b"urn:xmpp:time",
)

_FORM = b"".join(
    b"<field var='%b'><value>%b</value></field>" % pair
    for pair in (
        (b"FORM_TYPE", b"http://example.com/protocol/notices"),
        (b"title", b"Maintenance of the harbour lights"),
        (b"body", b"The lights at the east quay are out from 22:00 to 23:30 &amp; come back at low tide."),
        (b"audience", b"pilots@example.com"),
        (b"priority", b"3"),
        (b"expires", b"2027-01-31T23:59:00Z"),
        (b"notify", b"1"),
    )
)

# kind: (iq type, payload of the request, payload of its answer)
PAYLOADS = (
    (
        b"get",
        b"<query xmlns='jabber:iq:version'/>",
        (
            b"<query xmlns='jabber:iq:version'><name>Harbour desk</name><version>4.2.1</version>"
            b"<os>Debian GNU/Linux</os></query>"
        ),
    ),
    (
        b"get",
        b"<query xmlns='http://jabber.org/protocol/disco#info'/>",
        b"<query xmlns='http://jabber.org/protocol/disco#info'>"
        b"<identity category='client' type='bot' name='Harbour desk'/>%b</query>"
        % b"".join(b"<feature var='%b'/>" % feature for feature in _FEATURES),
    ),
    (
        b"set",
        b"<command xmlns='http://jabber.org/protocol/commands' node='notice' sessionid='n-20261120-7'"
        b" action='complete'><x xmlns='jabber:x:data' type='submit'>%b</x></command>" % _FORM,
        (
            b"<command xmlns='http://jabber.org/protocol/commands' node='notice' sessionid='n-20261120-7'"
            b" status='completed'><note type='info'>The notice is posted.</note></command>"
        ),
    ),
)

_REQUESTS = [b"<iq type='%b' id='%%b' from='%%b' to='%%b'>%b</iq>" % (kind, ask) for kind, ask, _ in PAYLOADS]
_ANSWERS = [b"<iq type='result' id='%%b' from='%%b' to='%%b'>%b</iq>" % answer for _, _, answer in PAYLOADS]


def streamHeader(component: bytes) -> bytes:
    """Return the start of the server's stream."""
    return (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
        b" xmlns:stream='http://etherx.jabber.org/streams' from='%b' id='3BF96D32'>" % component
    )


def identifier(n: int) -> bytes:
    """Return the stanza id of exchange `n`; always 12 bytes, so that every round has the same bytes."""
    return b"bench%07d" % n


def number(identifier: bytes) -> int:
    """Return the exchange of a stanza id."""
    return int(identifier[5:])


def ends(n: int) -> tuple[bytes, bytes]:
    """Return the requester of exchange `n`, and the address of the component that it writes to."""
    return REQUESTERS[n % 181], ADDRESSES[n // 3 % 3]


def request(n: int) -> bytes:
    """Return the request of exchange `n`, as the server delivers it to the component."""
    requester, address = ends(n)
    return _REQUESTS[n % 3] % (identifier(n), requester, address)


def answer(n: int, resource: bytes, token: bytes) -> bytes:
    """Return the answer of the implementing client's `resource` to the forwarded request from `token`."""
    return _ANSWERS[n % 3] % (identifier(n), resource, token)


def token(n: int) -> bytes:
    """Return an address as long as a component's sealed one, for bytes made without a component."""
    return COMPONENT + b"/AAECAwQFBgcICQoL/" + REQUESTERS[n % 181]


def meanSizes() -> tuple[float, float]:
    """Return the mean bytes of a request and of an answer as the component receives them."""
    count = 9 * 181
    return (
        sum(len(request(n)) for n in range(count)) / count,
        sum(len(answer(n, RESOURCES[0], token(n))) for n in range(count)) / count,
    )
