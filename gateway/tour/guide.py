"""
The guide of the tour: a client of the embedded host that prints the stanzas that it sends and receives.
"""

from __future__ import annotations

import textwrap
import typing
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from xml.dom import minidom

import treq
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectionLost
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway._deprecated import renamed
from gateway.interfaces import IGuide

_WIDTH = 100

# Seconds for each answer, for the login, and for a service that has just started.
TIMEOUT = 15.0

# Unsolicited stanzas that are kept until they are asked for.
_MAX_UNHEARD = 1_000


class TourFailed(Exception):
    """The tour found something that is not as it should be."""


class Client(typing.Protocol):
    """
    The client that the guide uses.

    @ivar jid: the full JID that it is logged in as.
    """

    jid: str
    xmlstream: Any


class Mailbox(XMPPHandler):
    """
    Reports that the client is logged in, and keeps the unsolicited stanzas that it receives.

    @ivar arrived: fires when it is logged in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrived: Deferred[None] = Deferred()
        self._unheard: deque[domish.Element] = deque(maxlen=_MAX_UNHEARD)
        self._awaited: tuple[Callable[[domish.Element], bool], Deferred[domish.Element]] | None = None

    def connectionInitialized(self) -> None:
        stream: Any = self.xmlstream
        for kind in ("iq[@type='set']", "presence", "message"):
            stream.addObserver(f"/{kind}", self.came)
        self.send(domish.Element((None, "presence")))
        self.arrived.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if not self.arrived.called:
            self.arrived.errback(reason)

    def came(self, stanza: domish.Element) -> None:
        """Receive an unsolicited stanza."""
        if stanza.name == "iq":
            self.send(xmlstream.toResponse(stanza, "result"))
        if self._awaited is not None and self._awaited[0](stanza):
            awaited, self._awaited = self._awaited[1], None
            awaited.callback(stanza)
        else:
            self._unheard.append(stanza)

    def hear(self, right: Callable[[domish.Element], bool]) -> Deferred[domish.Element]:
        """Return the first stanza for which C{right} is true and that was not returned before."""
        heard: Deferred[domish.Element] = Deferred()
        for stanza in self._unheard:
            if right(stanza):
                self._unheard.remove(stanza)
                heard.callback(stanza)
                return heard
        self._awaited = right, heard
        return heard


@implementer(IGuide)
class Guide:
    """
    Leads the tour.

    @param write: prints a text.
    @param mailbox: the mailbox of the client.
    @param findFriend: logs in a second client, once.
    @param site: base URL of the HTTP server.
    @param token: the token that the HTTP server requires; C{None} if it requires none.
    @param name: printed before the client's stanzas.
    """

    def __init__(
        self,
        client: Client,
        mailbox: Mailbox,
        write: Callable[[str], object],
        reactor: Any,
        findFriend: Callable[[], Awaitable[IGuide | None]],
        site: str = "",
        token: str | None = None,
        name: str = "",
    ) -> None:
        self.jid = client.jid
        self._client = client
        self._mailbox = mailbox
        self._write = write
        self._reactor = reactor
        self._findFriend = findFriend
        self._site = site
        self._token = token
        self._name = name

    def say(self, text: str) -> None:
        self._write("\n" + textwrap.fill(text, _WIDTH) + "\n\n")

    async def ask(self, recipient: str, payload: str, kind: str = "get") -> domish.Element:
        request = xmlstream.IQ(self._client.xmlstream, kind)
        request["to"] = recipient
        request.addRawXml(payload)
        self._show("->", _indented(request))
        answer = await self._answer(request, recipient)
        self._show("<-", _indented(answer))
        return answer

    def send(self, stanza: str) -> None:
        self._show("->", _pretty(stanza))
        self._client.xmlstream.send(stanza)

    def check(self, right: object, promise: str) -> None:
        if not right:
            raise TourFailed(f"expected, but not true: {promise}")
        self._write(f"  ok: {promise}\n")

    async def hear(self, right: Callable[[domish.Element], bool], promise: str) -> domish.Element:
        try:
            stanza = await self._mailbox.hear(right).addTimeout(TIMEOUT, self._reactor)
        except TimedOut as error:
            raise TourFailed(f"not received within {TIMEOUT:g} s: {promise}") from error
        self._show("<-", _indented(stanza))
        self.check(True, promise)
        return stanza

    async def friend(self) -> IGuide | None:
        return await self._findFriend()

    async def web(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        self._show("->", [f"{method} {self._site}{path}", *body.splitlines()])
        headers = Headers({"content-type": ["application/json"]} if body else {})
        if self._token is not None:
            headers.addRawHeader("authorization", f"Bearer {self._token}")
        try:
            response: Any = await treq.request(
                method,
                self._site + path,
                data=body.encode() or None,
                headers=headers,
                timeout=TIMEOUT,
                persistent=False,
                reactor=self._reactor,
            )
            answer: str = await treq.text_content(response)
        except Exception as error:
            raise TourFailed(f"{method} {self._site}{path} failed: {error!r}") from error
        self._show("<-", [str(response.code), *answer.splitlines()])
        return response.code, answer

    async def served(self, jid: str) -> None:
        """Wait until a service, which may have just started, answers."""
        started = self._reactor.seconds()
        while True:
            request = xmlstream.IQ(self._client.xmlstream, "get")
            request.addElement((ns.DISCO_INFO, "query"))
            answer = await self._answer(request, jid)
            if answer["type"] == "result" or self._reactor.seconds() - started > TIMEOUT:
                return
            await deferLater(self._reactor, 0.5)

    async def _answer(self, request: xmlstream.IQ, recipient: str) -> domish.Element:
        request.timeout = TIMEOUT  # type: ignore[assignment]  # Twisted shows None as its type.
        answer: domish.Element
        try:
            answer = await request.send(recipient)
        except StanzaError as error:
            answer = error.stanza  # type: ignore[attr-defined]  # set wherever it comes from a stanza
        except xmlstream.TimeoutError as error:
            raise TourFailed(f"{recipient} did not answer within {TIMEOUT:g} s") from error
        except ConnectionLost as error:
            raise TourFailed(f"the connection was lost before {recipient} answered") from error
        return answer

    def _show(self, arrow: str, lines: list[str]) -> None:
        """Print lines, with an arrow before the first one."""
        first = f"  {self._name} {arrow} " if self._name else f"  {arrow} "
        self._write(
            "".join(f"{' ' * len(first) if number else first}{line}\n" for number, line in enumerate(lines))
        )


def _indented(element: domish.Element) -> list[str]:
    return _pretty(element.toXml())


def _pretty(xml: str) -> list[str]:
    # The XML is our own, or was already parsed under the limits of a stream.
    document = minidom.parseString(xml.encode())  # noqa: S318  # see above
    text = document.toprettyxml(indent="  ").partition("?>")[2]
    return [line for line in text.splitlines() if line.strip()]


# Hidden from type checkers, which would accept any name otherwise.
if not typing.TYPE_CHECKING:
    _OLD_NAMES = {
        "Disappointed": "TourFailed",
    }
    __getattr__ = renamed(__name__, _OLD_NAMES)
