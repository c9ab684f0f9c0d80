"""
Ordinary Wokkel handlers on delegated namespaces: they see a request to the server as if it had been sent to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.ijabber import IXMPPHandler, IXMPPHandlerCollection
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.disco import DiscoFeature, DiscoIdentity
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import NotGranted
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IPrivileges
from gateway.stream.lane import HandlerStream
from gateway.stream.link import Link
from gateway.xml.errors import readError

Identity = tuple[str, str, str]


@implementer(IDelegatedNamespace, IXMPPHandlerCollection)
class Mount(XMPPHandler):
    """
    A handler for delegated namespaces that is made of Wokkel handlers, unchanged.

    The handlers see each request from its requester, to the entity that it was sent to. Their answer goes back
    through the server. Other stanzas go out on the link. The information of handlers that provide C{IDisco} is
    nested.

    @param namespaces: namespaces of the payloads that they answer.
    @param bareIdentities: identities for the users' bare JIDs, such as C{("pubsub", "pep", "")}.
    """

    _log = Logger()

    def __init__(
        self,
        link: Link,
        namespaces: Iterable[str],
        handlers: Iterable[IXMPPHandler],
        bareIdentities: Iterable[Identity] = (),
    ) -> None:
        super().__init__()
        self.namespaces = frozenset(namespaces)
        self.identities: tuple[Identity, ...] = ()
        self.features: tuple[str, ...] = ()
        self.bareIdentities = tuple(bareIdentities)
        self.bareFeatures: tuple[str, ...] = ()
        self._link = link
        self._handlers: list[IXMPPHandler] = []
        self._stream: HandlerStream | None = None
        self._open: dict[str, Deferred[domish.Element | None]] = {}
        self._numbers = count(1)
        for handler in handlers:
            handler.setHandlerParent(self)
        self.setHandlerParent(link)

    def answer(self, request: IDelegatedRequest) -> Deferred[domish.Element | None]:
        if self._stream is None:
            raise StanzaError("service-unavailable")
        # Two requesters may use the same id.
        identifier = f"d{next(self._numbers)}"
        addresses = {"from": request.requester, "to": request.entity}
        iq: Any = domish.Element(
            (ns.COMPONENT_ACCEPT, "iq"), attribs={**addresses, "id": identifier, "type": request.type}
        )
        iq.addChild(request.payload)
        iq.handled = False
        answer: Deferred[domish.Element | None] = Deferred(lambda _: self._forget(identifier))
        self._open[identifier] = answer
        self._stream.dispatch(iq)
        if not iq.handled and self._open.pop(identifier, None) is not None:
            raise StanzaError("service-unavailable")
        return answer

    def _forget(self, identifier: str) -> None:
        self._open.pop(identifier, None)

    # As the parent of the handlers.

    def __iter__(self) -> Iterator[IXMPPHandler]:
        return iter(self._handlers)

    def addHandler(self, handler: IXMPPHandler) -> None:
        self._handlers.append(handler)
        if self._stream is not None:
            handler.makeConnection(self._stream)
            handler.connectionInitialized()

    def removeHandler(self, handler: IXMPPHandler) -> None:
        self._handlers.remove(handler)

    def send(self, obj: Any) -> None:
        """Take a stanza of a handler: an answer, a message in a user's name, or any other."""
        isElement = isinstance(obj, domish.Element)
        if isElement and obj.name == "iq" and obj.getAttribute("type") in ("result", "error"):
            self._onAnswer(obj)
        elif isElement and obj.name == "message" and self._isForeign(obj.getAttribute("from")):
            self._sendAs(obj)
        else:
            self._link.send(obj)

    def _onAnswer(self, iq: Any) -> None:
        answer = self._open.pop(iq.getAttribute("id", ""), None)
        if answer is None:
            self._log.warn(
                "{to}: an answer without an open request was not sent.",
                event="delegation.answer_unexpected",
                to=iq.getAttribute("to"),
            )
        elif iq["type"] == "error":
            answer.errback(readError(iq))
        else:
            answer.callback(next(iq.elements(), None))

    def _isForeign(self, sender: str | None) -> bool:
        return bool(sender) and jids.split(sender or "")[1] != self._link.jid

    def _sendAs(self, message: domish.Element) -> None:
        """Have the server send a message in a user's name, if it grants that (XEP-0356 section 5)."""
        privileges = [IPrivileges(handler) for handler in self._link if IPrivileges.providedBy(handler)]
        try:
            if not privileges:
                raise NotGranted("this component does not use privileges")
            privileges[0].sendAs(message)
        except NotGranted as error:
            self._log.warn(
                "{component}: a message from {sender} to {to} was not sent: {error}",
                event="delegation.message_not_sent",
                component=self._link.jid,
                sender=message.getAttribute("from"),
                to=message.getAttribute("to"),
                error=error,
            )

    def request(self, request: Any) -> Deferred[domish.Element]:
        return self._link.request(request)

    # As a handler of the link.

    def connectionInitialized(self) -> None:
        self._stream = HandlerStream(self, self._link.jid, "")
        for handler in list(self._handlers):
            handler.makeConnection(self._stream)
        for handler in list(self._handlers):
            handler.connectionInitialized()
        here = JID(self._link.jid)
        for handler in self._handlers:
            if IDisco.providedBy(handler):
                told: Deferred[Any] = maybeDeferred(IDisco(handler).getDiscoInfo, here, here, "")
                told.addCallbacks(self._infoReceived, self._infoFailed)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._stream = None
        for handler in list(self._handlers):
            handler.connectionLost(reason)

    def _infoReceived(self, info: Iterable[Any]) -> None:
        info = list(info)
        features = [str(each) for each in info if isinstance(each, DiscoFeature)]
        identities = [
            (each.category or "", each.type or "", each.name or "")
            for each in info
            if isinstance(each, DiscoIdentity)
        ]
        self.features = self.bareFeatures = tuple(dict.fromkeys([*self.features, *features]))
        self.identities = tuple(dict.fromkeys([*self.identities, *identities]))

    def _infoFailed(self, reason: Failure) -> None:
        self._log.failure(
            "A handler's disco#info could not be read.", event="delegation.disco_failed", failure=reason
        )
