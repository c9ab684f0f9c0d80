"""Ordinary clients for the live tests: slixmpp logs in; then raw XML is sent and all input is kept."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from slixmpp import ClientXMPP
from slixmpp.xmlstream.stanzabase import StanzaBase

from tests.live.servers import Server

ECHO = "urn:xmpp:test:echo"

_numbers = itertools.count(1)


def newId() -> str:
    """Return a stanza id that is unique in this test process."""
    return f"t{next(_numbers)}"


def local(element: Element) -> str:
    """Return the element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def payload(stanza: Element) -> list[str]:
    """Return the children of a stanza, each in canonical form, so that equal payloads compare equal."""
    return [canonical(child) for child in stanza if local(child) != "error"]


def canonical(element: Element) -> str:
    """Return an element in canonical form, independent of its prefixes."""
    copy = ElementTree.fromstring(ElementTree.tostring(element))
    copy.tail = None
    return ElementTree.canonicalize(ElementTree.tostring(copy, encoding="unicode"), rewrite_prefixes=True)


def condition(stanza: Element) -> str | None:
    """Return the defined condition of an error stanza, None for any other stanza."""
    for error in stanza:
        if local(error) == "error":
            for child in error:
                if child.tag.startswith("{urn:ietf:params:xml:ns:xmpp-stanzas}") and local(child) != "text":
                    return local(child)
    return None


def stanza(name: str, inner: str = "", **attributes: str | None) -> str:
    """
    Return a stanza as text; a trailing underscore of an attribute's name is dropped, None omits the attribute.
    """
    written = "".join(
        f" {key.rstrip('_')}={quoteattr(value)}" for key, value in attributes.items() if value is not None
    )
    return f"<{name}{written}>{inner}</{name}>"


class Client:
    """
    One resource of one account.

    @ivar jid: its full JID.
    @ivar received: each stanza since the login, in order; kept over reconnections.
    @ivar initialPresence: sent after the login; empty for none.
    @ivar trusted: the certificate that the server must present; None for plain text.
    @param mechanism: of SASL.
    """

    def __init__(self, server: Server, user: str, resource: str, mechanism: str = "PLAIN") -> None:
        self.server = server
        self.trusted = server.certificate
        self._mechanism = mechanism
        self._password = server.password(user)
        self.bare = f"{user}@{server.domain}"
        self.jid = f"{self.bare}/{resource}"
        self.received: list[Element] = []
        self.initialPresence = "<presence/>"
        self._awaited: list[tuple[Callable[[Element], bool], asyncio.Future[Element]]] = []
        self._replies: dict[str, asyncio.Future[Element]] = {}
        self._stream: ClientXMPP | None = None

    async def login(self, seconds: float = 10) -> Self:
        """Connect, log in and send initial presence; ConnectionError if the server refuses."""
        stream = ClientXMPP(
            self.jid,
            self._password,
            sasl_mech=self._mechanism,
            plugin_config={"feature_mechanisms": {"unencrypted_plain": True}},
        )
        stream.enable_direct_tls = False
        stream.ca_certs = self.trusted
        stream.enable_starttls = stream.ca_certs is not None
        stream.enable_plaintext = not stream.enable_starttls
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def onStart(_event: object) -> None:
            stream.add_filter("in", self._arrived)
            if not begun.done():
                begun.set_result(None)

        def onFailure(reason: object) -> None:
            stream.cancel_connection_attempt()
            if not begun.done():
                begun.set_exception(ConnectionError(f"{self.jid}: {reason}"))

        stream.add_event_handler("session_start", onStart)
        for failure in ("connection_failed", "failed_all_auth", "disconnected"):
            stream.add_event_handler(failure, onFailure)
        self._stream = stream
        stream.connect("127.0.0.1", self.server.clientPort)
        try:
            await asyncio.wait_for(begun, seconds)
        except TimeoutError:
            stream.abort()
            raise ConnectionError(f"{self.jid}: no session after {seconds:g} s") from None
        if str(stream.boundjid) != self.jid:
            raise ConnectionError(f"{self.jid}: bound to {stream.boundjid}")
        self.send(self.initialPresence)
        return self

    async def loginAgain(self, seconds: float) -> Self:
        """Log in as soon as the server accepts it, at the latest after so many seconds."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(ConnectionError):
                    return await self.login(3)
                await asyncio.sleep(0.1)

    def connected(self) -> bool:
        """True if the client is connected."""
        return self._stream is not None and self._stream.is_connected()

    def drop(self) -> None:
        """Cut the connection, without an end of the stream."""
        if self._stream is not None:
            self._stream.abort()

    async def close(self) -> None:
        """Log out in an orderly way."""
        if self._stream is not None and self._stream.is_connected():
            await self._stream.disconnect(1)

    def send(self, xml: str) -> None:
        """Write to the stream without changes; ConnectionError if there is none."""
        if self._stream is None or not self._stream.is_connected():
            raise ConnectionError(f"{self.jid}: not connected")
        self._stream.send_raw(xml)

    def sendIq(self, to: str | None, inner: str, type_: str = "get", id_: str | None = None) -> str:
        """Send an iq request; return its id."""
        id_ = id_ or newId()
        self.send(stanza("iq", inner, type=type_, id=id_, to=to))
        return id_

    async def request(
        self, to: str | None, inner: str, type_: str = "get", id_: str | None = None, seconds: float = 10
    ) -> Element:
        """Send an iq request and return the first reply with its id, by any sender."""
        id_ = id_ or newId()
        reply: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        self._replies[id_] = reply
        try:
            self.sendIq(to, inner, type_, id_)
            async with asyncio.timeout(seconds):
                return await reply
        except TimeoutError:
            raise AssertionError(f"{self.jid}: no reply to {id_} from {to} within {seconds:g} s") from None
        finally:
            del self._replies[id_]

    async def expect(self, matches: Callable[[Element], bool], what: str, seconds: float = 5) -> Element:
        """Return the first stanza, kept or future, for which `matches` is true."""
        for element in self.received:
            if matches(element):
                return element
        found: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        entry = (matches, found)
        self._awaited.append(entry)
        try:
            async with asyncio.timeout(seconds):
                return await found
        except TimeoutError:
            raise AssertionError(f"{self.jid}: {what}: not within {seconds:g} s") from None
        finally:
            self._awaited.remove(entry)

    async def expectId(self, id_: str, what: str, seconds: float = 5) -> Element:
        """Return the first stanza with this id."""
        return await self.expect(lambda element: element.get("id") == id_, what, seconds)

    def iqs(self, *ids: str) -> list[Element]:
        """Return the replies: all of them, or those with one of these ids."""
        return [
            element
            for element in self.received
            if local(element) == "iq"
            and element.get("type") in ("result", "error")
            and (not ids or element.get("id") in ids)
        ]

    def repeated(self) -> dict[str, int]:
        """Return the ids that more than one reply had, and the number of replies."""
        counted = Counter(element.get("id", "") for element in self.iqs())
        return {id_: count for id_, count in counted.items() if count > 1}

    def onStanza(self, element: Element) -> None:
        """Handle a stanza; for subclasses."""

    def _arrived(self, arrived: StanzaBase) -> None:
        """Keep the input as slixmpp's filter, and pass nothing on, so that slixmpp itself answers nothing."""
        element = arrived.xml
        self.received.append(element)
        self.onStanza(element)
        if local(element) == "iq" and element.get("type") in ("result", "error"):
            reply = self._replies.get(element.get("id", ""))
            if reply is not None and not reply.done():
                reply.set_result(element)
        for matches, found in self._awaited:
            if not found.done() and matches(element):
                found.set_result(element)


Behaviour = Callable[["Implementation", Element], None]


def echo(client: Implementation, request: Element) -> None:
    """Answer with the payload of the request."""
    client.answer(request)


def silent(client: Implementation, request: Element) -> None:
    """Do not answer."""


def dropping(client: Implementation, request: Element) -> None:
    """Cut the connection instead of answering."""
    client.drop()


class Implementation(Client):
    """
    One resource of the implementing client: accepts subscriptions, and handles requests by `behaviour`.

    @ivar requests: the iq requests in order of arrival.
    @ivar accepting: true if subscriptions are accepted.
    """

    def __init__(self, server: Server, user: str, resource: str, behaviour: Behaviour = echo) -> None:
        super().__init__(server, user, resource)
        self.behaviour = behaviour
        self.requests: list[Element] = []
        self.accepting = True

    def onStanza(self, element: Element) -> None:
        if local(element) == "presence" and element.get("type") == "subscribe" and self.accepting:
            self.send(stanza("presence", to=element.get("from"), type="subscribed"))
        elif local(element) == "iq" and element.get("type") in ("get", "set"):
            self.requests.append(element)
            self.behaviour(self, element)

    def answer(self, request: Element, **changed: str) -> None:
        """Answer with the payload of the request; keywords change attributes, as a forger would."""
        attributes = {"type": "result", "id": request.get("id"), "to": request.get("from"), **changed}
        self.send(stanza("iq", inner(request), **attributes))

    async def asked(self, id_: str, seconds: float = 5) -> Element:
        """Return the request with this id, once it has come."""
        return await self.expect(
            lambda element: element.get("id") == id_ and element.get("type") in ("get", "set"),
            f"request {id_}",
            seconds,
        )


def inner(stanza_: Element) -> str:
    """Return the children of a stanza as text with the same meaning in any context."""
    return "".join(_written(child) for child in stanza_)


def _written(element: Element) -> str:
    """Return an element as text with each namespace declared; ElementTree omits the declaration of no namespace."""
    namespace, _, name = element.tag.rpartition("}")
    attributes = f" xmlns={quoteattr(namespace[1:])}"
    for number, (qualified, value) in enumerate(element.items()):
        namespace, _, key = qualified.rpartition("}")
        prefix = ""
        if namespace == "{http://www.w3.org/XML/1998/namespace":
            prefix = "xml:"
        elif namespace:
            prefix = f"a{number}:"
            attributes += f" xmlns:a{number}={quoteattr(namespace[1:])}"
        attributes += f" {prefix}{key}={quoteattr(value)}"
    content = escape(element.text or "") + "".join(_written(child) + escape(child.tail or "") for child in element)
    return f"<{name}{attributes}>{content}</{name}>"


async def untilServed(client: Client, address: str, seconds: float = 10) -> float:
    """Send requests until the implementing client behind `address` answers; return the seconds."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    last = "nothing"
    while loop.time() - started < seconds:
        with contextlib.suppress(AssertionError):
            reply = await client.request(address, f"<ready xmlns='{ECHO}'/>", seconds=2)
            if reply.get("type") == "result":
                return loop.time() - started
            last = condition(reply) or "an error without condition"
        await asyncio.sleep(0.05)
    raise AssertionError(f"{address} did not serve within {seconds:g} s; last answer: {last}")


async def loginAll(clients: Sequence[Client]) -> None:
    """Log in all clients at the same time."""
    await asyncio.gather(*(client.login() for client in clients))
