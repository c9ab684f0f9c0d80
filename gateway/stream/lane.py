"""
The second lane of a link: ordinary Wokkel handlers on an ordinary xmlstream.

The lane guarantees that each iq request gets exactly one answer: it answers requests that no handler takes or that
take too long, and drops second answers.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.ijabber import IXMPPHandler
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import Authenticator, XmlStream
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    GatewayError,
    HandlerFailed,
    NoAnswer,
    NoHandler,
    OverBudget,
    ResourceLimit,
    Stopping,
    TooManyPending,
)
from gateway.stream.budget import Budget
from gateway.stream.interfaces import IRawHandler
from gateway.stream.replies import Key, Replies
from gateway.stream.requests import Requests, asElement, requestElement
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import errorStanza
from gateway.xml.write import FORBIDDEN, route, serialised

T = typing.TypeVar("T")


class Port(typing.Protocol):
    """The part of the link that the lane uses."""

    jid: str
    now: float
    budget: Budget

    def countError(self, error: type[GatewayError]) -> None:
        """Count an error that is sent."""

    def sendRaw(self, data: bytes) -> bool:
        """Send serialised stanzas."""


class Outlet(typing.Protocol):
    """Takes the output of handlers."""

    def send(self, obj: Any) -> None:
        """Send an element, or serialised text or bytes."""


class HandlerStream(XmlStream):
    """The C{xmlstream} of Wokkel handlers: observers on top, the link below."""

    def __init__(self, outlet: Outlet, jid: str, streamId: str) -> None:
        super().__init__(Authenticator())
        self._outlet = outlet
        self.namespace = ns.COMPONENT_ACCEPT
        self.version = (0, 0)
        self.sid = streamId  # type: ignore[assignment]  # its type in Twisted is None
        self.thisEntity: Any = JID(jid)
        self.otherEntity: Any = self.thisEntity

    def send(self, obj: Any) -> None:
        self._outlet.send(obj)


class ElementLane:
    """
    Tells handlers when the stream begins and ends, gives elements to the Wokkel handlers, and guards their answers.

    @ivar replies: the incoming requests without an answer.
    @ivar requests: the outgoing requests without an answer.
    """

    # Default timeout of a request, in seconds.
    requestTimeout = 30.0

    _log = Logger()

    def __init__(self, port: Port) -> None:
        self._port = port
        self._handlers: list[IXMPPHandler] = []
        self._ordinary = 0
        self._xmlstream: HandlerStream | None = None
        self._isClosed = False
        self.replies = Replies()
        self.requests = Requests()

    def __iter__(self) -> Iterator[IXMPPHandler]:
        return iter(self._handlers)

    def addHandler(self, handler: IXMPPHandler) -> None:
        self._handlers.append(handler)
        self._ordinary += not IRawHandler.providedBy(handler)
        if self._xmlstream is not None:
            handler.makeConnection(self._xmlstream)
            handler.connectionInitialized()

    def removeHandler(self, handler: IXMPPHandler) -> None:
        self._handlers.remove(handler)
        self._ordinary -= not IRawHandler.providedBy(handler)

    def connected(self, streamId: str) -> None:
        """The stream is up: every handler starts on a new xmlstream."""
        self._xmlstream = HandlerStream(self, self._port.jid, streamId)
        for handler in list(self._handlers):
            self.guard(handler.makeConnection, self._xmlstream)
        for handler in list(self._handlers):
            self.guard(handler.connectionInitialized)

    def disconnected(self, reason: Failure) -> None:
        self._xmlstream = None
        for handler in list(self._handlers):
            self.guard(handler.connectionLost, reason)
        self.requests.fail("remote-server-not-found")

    def resume(self) -> None:
        """Accept requests of handlers: the link is started."""
        self._isClosed = False

    def drained(self) -> None:
        """End all open requests, in both directions, and accept no further ones of handlers: the link stops."""
        self._isClosed = True
        if self._xmlstream is not None:
            for requester, identifier, addressed in self.replies.abandon():
                self._port.sendRaw(errorStanza("iq", route(addressed, requester), identifier, Stopping))
        self.requests.fail("remote-server-not-found")

    def stanzaReceived(self, stanza: Stanza) -> None:
        """Take a stanza that no raw handler took."""
        kind = stanza.type
        if stanza.name != "iq":
            self._dispatch(stanza)
        elif kind == "get" or kind == "set":
            self._requestReceived(stanza)
        elif kind != "result" and kind != "error":
            self.refuse(stanza, BadRequest)
        elif not self.requests.answered(stanza):
            self._dispatch(stanza)

    def tick(self, now: float) -> None:
        """End overdue requests; incoming ones only while the error can be sent."""
        self.requests.expire(now)
        if self._xmlstream is None:
            return
        for requester, identifier, addressed in self.replies.expire(now):
            self._log.warn(
                "{component}: no handler answered {requester}'s request {identifier!r} in time; it got an error.",
                event="link.no_answer",
                component=self._port.jid,
                requester=requester,
                identifier=identifier,
            )
            self._sendError("iq", route(addressed, requester), identifier, NoAnswer)

    def send(self, obj: Any) -> None:
        """
        Send an element of a handler, or serialised text or bytes, which are sent unchanged.

        An iq answer goes out only if its request is open: the first answer wins.

        @raise ValueError: if it has a character that XML does not allow, which would end the stream.
        """
        if isinstance(obj, str):
            obj = obj.encode()
        if isinstance(obj, bytes):
            self._port.sendRaw(obj)
            return
        assert isinstance(obj, domish.Element)
        data = self._serialised(obj)
        if obj.name == "iq" and obj.getAttribute("type") in ("result", "error"):
            key = self._key(obj.getAttribute("to", ""), obj.getAttribute("id", ""), obj["from"])
            if key is None or not self.replies.closed(key):
                self._log.warn(
                    "{component}: a handler's answer to {to} with id {id!r} answers no open request; "
                    "it was not sent.",
                    event="link.answer_unexpected",
                    component=self._port.jid,
                    to=obj.getAttribute("to"),
                    id=obj.getAttribute("id"),
                )
                return
            if not self._port.budget.allows(key[0], len(data), self._port.now):
                self._port.countError(OverBudget)
                data = errorStanza("iq", route(obj["from"], obj["to"]), obj["id"], OverBudget)
            if not self._port.sendRaw(data) and self._xmlstream is not None:
                # Too much output waits, but an error has room.
                self._sendError("iq", route(obj["from"], obj["to"]), obj["id"], ResourceLimit)
            return
        self._port.sendRaw(data)

    def request(self, request: Any) -> Deferred[domish.Element]:
        """Send a request that L{ask} accepts; return its result as a tree."""
        return self.ask(request, asElement)

    def ask(self, request: Any, read: Callable[[Stanza], T]) -> Deferred[T]:
        """
        Send a C{wokkel.generic.Request}, or an iq element, and wait for its answer.

        @param read: see L{Requests.add}.
        @return: see L{Requests.add}.
        @raise ValueError: if it is not a request, or as in L{send}.
        """
        element = requestElement(request)
        data = self._serialised(element)
        timeout = getattr(request, "timeout", None) or self.requestTimeout
        recipient, deadline = element.getAttribute("to", ""), self._port.now + timeout
        if self._isClosed:
            return fail(StanzaError("remote-server-not-found"))
        answer = self.requests.add(recipient, element["id"], deadline, read)
        if not answer.called:
            self._port.sendRaw(data)
        return answer

    def _serialised(self, element: domish.Element) -> bytes:
        """Serialise an element; its sender is the component if it names none."""
        if not element.getAttribute("from"):
            element["from"] = self._port.jid
        return _serialise(element)

    def _requestReceived(self, stanza: Stanza) -> None:
        key = self._key(stanza.sender or "", stanza.id or "", stanza.recipient or self._port.jid)
        if key is None or not stanza.id:
            self.refuse(stanza, BadRequest)
        elif not self._ordinary:
            self.refuse(stanza, NoHandler)
        elif not self.replies.opened(key, self._port.now):
            self.refuse(stanza, TooManyPending)
        else:
            problem = self._dispatch(stanza)
            if problem is not None and self.replies.isOpen(key):
                self.replies.closed(key)
                self.refuse(stanza, problem)

    def _dispatch(self, stanza: Stanza) -> type[GatewayError] | None:
        """Give a stanza to the handlers. Return the error for a request that none of them handles."""
        if not self._ordinary or self._xmlstream is None:
            return NoHandler
        try:
            element: Any = stanza.element
        except BadRequest as error:
            return type(error)
        try:
            element.handled = False
            self._xmlstream.dispatch(element)
        except Exception:
            self._log.failure(
                "{component}: a handler failed at {stanza!r}.",
                event="link.handler_failed",
                component=self._port.jid,
                stanza=stanza,
            )
            return HandlerFailed
        return None if element.handled else NoHandler

    def refuse(self, stanza: Stanza, error: type[GatewayError]) -> None:
        """Answer with an error from the recipient's address. If the stanza has no sender, send nothing."""
        if stanza.sender:
            addresses = route(stanza.recipient or self._port.jid, stanza.sender)
            self._sendError(stanza.name, addresses, stanza.id, error)

    def _sendError(self, name: str, addresses: bytes, identifier: str | None, error: type[GatewayError]) -> None:
        self._port.countError(error)
        self._port.sendRaw(errorStanza(name, addresses, identifier, error))

    def _key(self, requester: str, identifier: str, addressed: str) -> Key | None:
        """Return the key of a request, equal for all spellings of its addresses; C{None} if one is not a JID."""
        if not requester or not addressed:
            return None
        try:
            return jids.prepared(requester), identifier, jids.prepared(addressed)
        except ValueError:
            return None

    def guard(self, call: Callable[..., object], *arguments: object) -> None:
        """Call a handler; log its failure."""
        try:
            call(*arguments)
        except Exception:
            self._log.failure(
                "{component}: {call} failed.", event="link.call_failed", component=self._port.jid, call=call
            )


def _serialise(element: domish.Element) -> bytes:
    """Serialise an element for a component stream."""
    text = serialised(element, ns.COMPONENT_ACCEPT)
    if FORBIDDEN.search(text):
        raise ValueError(f"not XML: {FORBIDDEN.findall(text)!r} in a stanza to {element.getAttribute('to')!r}")
    return text.encode()
