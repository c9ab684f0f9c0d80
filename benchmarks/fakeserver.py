"""
A fake XMPP server for one component: all the users, and the implementing client, on one raw socket.

It cuts stanzas with `bytes.split` and reads start tags with a regular expression, so that the component under test
limits the rate, and not this process. That is enough because `traffic` nests no iq and its addresses need no
escaping. Payloads are compared as trees, once for each spelling.
"""

import re
import select
import socket
import time
from collections import Counter
from xml.etree import ElementTree

import traffic

_IQ = re.compile(rb"<iq\s([^>]*)>")
_PRESENCE = re.compile(rb"<presence\s([^>]*?)(?:/>|>.*?</presence>)", re.DOTALL)
_ATTRIBUTE = re.compile(rb"""([\w:]+)=["']([^"']*)["']""")
_CONDITION = re.compile(rb"<error\s[^>]*><([\w-]+)")
_CHUNK = 1 << 18
# Marks that a gateway sends to itself, to detect another one that is connected as the same component.
_SIGN = re.compile(rb"<iq\s[^>]*/gateway-instance-[^>]*/>")
# Requests to the server itself after the connection: its software, and a ping.
_SURVEY = re.compile(
    rb"<iq\s([^>]*to=['\"][\w.]+(?:/ping)?['\"][^>]*)>"
    rb"<(?:query xmlns='jabber:iq:version'|ping xmlns='urn:xmpp:ping')/></iq>"
)
_SURVEYED = 2


class Broken(Exception):
    """The component was too late, closed the stream, or an exchange was lost or wrong."""


class Wire:
    """One socket, read and written by each call of L{step}."""

    _socket: socket.socket

    def __init__(self) -> None:
        self._outbox = bytearray()
        self.queued = 0
        self.written = 0

    def _take(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._socket = connection

    def readUntil(self, mark: bytes, seconds: float) -> bytes:
        """
        Return the input, at least up to a mark.

        @raise Broken: if the mark does not come in time.
        """
        deadline = time.monotonic() + seconds
        seen = b""
        while mark not in seen:
            if time.monotonic() > deadline:
                raise Broken(f"no {mark.decode()} from the other side, only {seen!r:.2000}")
            seen += self.step(0.1)
        return seen

    def send(self, data: bytes) -> None:
        """Queue `data`; L{step} writes it."""
        self._outbox += data
        self.queued += len(data)

    def step(self, seconds: float, reading: bool = True) -> bytes:
        """Wait up to `seconds` for the socket, write what it takes, and return what came (with `reading`)."""
        try:
            return self._step(seconds, reading)
        except OSError as error:
            raise Broken(f"the connection broke: {error}") from error

    def _step(self, seconds: float, reading: bool) -> bytes:
        readable, writable, _ = select.select(
            [self._socket] if reading else [], [self._socket] if self._outbox else [], [], seconds
        )
        if writable:
            with memoryview(self._outbox) as waiting:
                sent = self._socket.send(waiting[:_CHUNK])
            del self._outbox[:sent]
            self.written += sent
        if not readable:
            return b""
        data = self._socket.recv(_CHUNK)
        if not data:
            raise Broken("the other side closed the stream")
        return data

    def close(self) -> None:
        """Close the connection, if there is one."""
        if hasattr(self, "_socket"):
            self._socket.close()


class FakeServer(Wire):
    """
    One listening port on the loopback, and the connection of one component.

    @param receiveBuffer: bytes that the kernel may hold unread, or None for its own choice.
    """

    def __init__(self, receiveBuffer: int | None = None) -> None:
        super().__init__()
        self._unended = b""
        self._surveyed = 0
        self._listener = socket.socket()
        if receiveBuffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiveBuffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1)
        self.port = self._listener.getsockname()[1]

    def accept(self, component: bytes = traffic.COMPONENT, seconds: float = 20.0) -> None:
        """Wait for the component; take its stream header and handshake. The secret is not checked."""
        self._listener.settimeout(seconds)
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            raise Broken(f"no component connected within {seconds:.0f} s") from None
        self._take(connection)
        self.readUntil(b"<stream:stream", seconds)
        self.send(traffic.streamHeader(component))
        self.readUntil(b"</handshake>", seconds)
        self.send(b"<handshake/>")

    def step(self, seconds: float, reading: bool = True) -> bytes:
        """Do the same, without the component's stanzas to itself and to the server."""
        data = self._unended + super().step(seconds, reading)
        last = data.rfind(b"<iq ")
        unended = last if last >= 0 and _isOpen(data, last) else len(data)
        data, self._unended = data[:unended], data[unended:]
        if b"/gateway-instance-" in data:
            data = _SIGN.sub(b"", data)
        return data if self._surveyed == _SURVEYED else _SURVEY.sub(self._refuse, data)

    def _refuse(self, request: re.Match[bytes]) -> bytes:
        """Answer that the server does not disclose its software."""
        self._surveyed += 1
        asked = dict(_ATTRIBUTE.findall(request[1]))
        addresses = b"from='%b' to='%b' id='%b'" % (asked[b"to"], asked[b"from"], asked[b"id"])
        self.send(b"<iq type='error' %b><error type='cancel'/></iq>" % addresses)
        return b""

    def close(self) -> None:
        """Close the connection, if there is one, and the port."""
        super().close()
        self._listener.close()


def _isOpen(data: bytes, start: int) -> bool:
    """Return true if the iq that begins here is incomplete."""
    end = data.find(b">", start)
    return end < 0 or (data[end - 1 : end] != b"/" and data.find(b"</iq>", end) < 0)


class OpenExchanges:
    """The open exchanges; a subclass knows how they begin, and which reply is right."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.open: set[int] = set()
        self.begun = 0

    @property
    def completed(self) -> int:
        """Return the number of exchanges that have had their one reply."""
        return self.begun - len(self.open)

    def begin(self, count: int) -> None:
        """Open `count` exchanges."""
        for n in range(self.begun, self.begun + count):
            self.open.add(n)
            self._server.send(self.request(n))
        self.begun += count

    def request(self, n: int) -> bytes:
        """Return the first stanza of exchange `n`."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """
        Handle bytes from the component.

        @raise Broken: if a stanza does not belong to an open exchange.
        """
        raise NotImplementedError

    def pump(self, seconds: float) -> int:
        """Read once: check the replies, and answer requests. Return the number of exchanges that ended."""
        before = self.completed
        self.take(self._server.step(seconds))
        return self.completed - before

    def replenish(self, count: int, seconds: float) -> int:
        """
        Begin a new exchange for each that ends, until `count` have ended, or for `seconds`. Return the number that
        ended.
        """
        total = 0
        heard = time.monotonic()
        deadline = heard + seconds
        while total < count and (now := time.monotonic()) < deadline:
            if completed := self.pump(1.0):
                self.begin(completed)
                total += completed
                heard = now
            elif now - heard > 10:
                raise Broken(f"{len(self.open)} exchanges are open and none was completed for 10 s")
        return total

    def drain(self, seconds: float) -> None:
        """Wait until no exchange is open; after `seconds` of silence those still open are lost."""
        while self.open:
            heard = time.monotonic()
            while not self.pump(0.5):
                if time.monotonic() - heard > seconds:
                    raise Broken(f"{len(self.open)} exchanges lost, among them {sorted(self.open)[:3]}")

    def expectSilence(self, seconds: float) -> None:
        """Listen for `seconds` more: a second reply would be noticed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.pump(0.1)


class Exchanges(OpenExchanges):
    """Exchanges through a relay to the implementing client and back."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__(server)
        self._rest = b""
        self._proven: set[tuple[int, bytes, bytes]] = set()
        self.forwarded = 0
        self.results = 0
        self.errors: Counter[str] = Counter()  # by condition
        self.announced = False

    def request(self, n: int) -> bytes:
        return traffic.request(n)

    def take(self, data: bytes) -> None:
        *stanzas, rest = (self._rest + data).split(b"</iq>")
        for stanza in stanzas:
            try:
                self._takeIq(self._takePresences(stanza))
            except (LookupError, ValueError, ElementTree.ParseError) as error:
                raise Broken(f"unreadable: {error!r} in {stanza!r}") from error
        self._rest = self._takePresences(rest)

    def _takePresences(self, data: bytes) -> bytes:
        """Handle the presence stanzas at the start of `data`; return the rest."""
        while presence := _PRESENCE.match(data):
            attributes = dict(_ATTRIBUTE.findall(presence[1]))
            if attributes.get(b"type") in (b"subscribe", b"probe"):
                self._announce(attributes)
            data = data[presence.end() :]
        return data

    def _takeIq(self, stanza: bytes) -> None:
        """Handle one iq, which lacks its end tag."""
        start = _IQ.match(stanza)
        if start is None:
            raise Broken(f"not an iq: {stanza!r}")
        attributes = dict(_ATTRIBUTE.findall(start[1]))
        n = traffic.number(attributes[b"id"])
        payload = stanza[start.end() :]
        if attributes[b"type"] != b"error":
            self._comparePayload(n % 3, attributes[b"type"], payload)
        if attributes[b"type"] in (b"get", b"set"):
            self._answer(n, attributes)
        else:
            self._check(n, attributes, payload)

    def _comparePayload(self, sort: int, kind: bytes, payload: bytes) -> None:
        """Check that a payload is the tree that was sent. Bytes that passed once are not parsed again."""
        if (sort, kind, payload) in self._proven:
            return
        asked, request, answer = traffic.PAYLOADS[sort]
        sent = {asked: request, b"result": answer}[kind]
        if canonical(payload) != canonical(sent):
            raise Broken(f"a payload is not as it was sent: {payload!r}")
        self._proven.add((sort, kind, payload))

    def _answer(self, n: int, attributes: dict[bytes, bytes]) -> None:
        """Answer a request as the implementing client, to the token that it came from."""
        resource = attributes[b"to"]
        if resource not in traffic.RESOURCES:
            raise Broken(f"forwarded to {resource!r}")
        self.forwarded += 1
        self._server.send(traffic.answer(n, resource, attributes[b"from"]))

    def _check(self, n: int, attributes: dict[bytes, bytes], payload: bytes) -> None:
        """Check a reply to a user: it must be the expected one, from the address that was written to."""
        if n not in self.open:
            raise Broken(f"a second reply, or one never asked for: {attributes}")
        if (attributes[b"to"], attributes[b"from"]) != traffic.ends(n):
            raise Broken(f"a reply with wrong addresses: {attributes}")
        self.open.remove(n)
        if attributes[b"type"] == b"result":
            self.results += 1
        else:
            condition = _CONDITION.search(payload)
            self.errors[condition[1].decode() if condition else "no condition"] += 1

    def _announce(self, attributes: dict[bytes, bytes]) -> None:
        """Accept the component's subscription, and send the presence of the implementing client's resources."""
        watcher = attributes[b"from"]
        if attributes[b"type"] == b"subscribe":
            self._server.send(b"<presence type='subscribed' from='%b' to='%b'/>" % (traffic.TARGET, watcher))
        for resource in traffic.RESOURCES:
            self._server.send(b"<presence from='%b' to='%b'/>" % (resource, watcher))
        self.announced = True

    def checkOnce(self, seconds: float = 20.0) -> None:
        """
        Wait until the component asks for its target's presence; then make one exchange of each sort.

        @raise Broken: if that takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not self.announced:
            if time.monotonic() > deadline:
                raise Broken("the component does not ask for the presence of its target")
            self.pump(0.1)
        self.begin(len(traffic.PAYLOADS) * len(traffic.ADDRESSES))
        self.drain(seconds)


def canonical(payload: bytes, namespace: bytes = b"jabber:component:accept") -> str:
    """
    Return the tree of a payload as text: the same for each spelling.

    @param namespace: the default namespace of its parent.
    """
    wrapped = b"<iq xmlns='%b'>%b</iq>" % (namespace, payload)
    return ElementTree.canonicalize(wrapped.decode(), rewrite_prefixes=True)
