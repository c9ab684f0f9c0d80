from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from wokkel.generic import ErrorStanza, Request, Stanza, _ChildParsers
from wokkel.subprotocols import IQHandlerMixin, XMPPHandler

NS_XML: str
NS_ROSTER: str
XPATH_ROSTER_SET: str

_Statuses: TypeAlias = Mapping[str | None, str]  # language, None for the default one: text

class Presence(Element):
    def __init__(self, to: JID | None = None, type: str | None = None) -> None: ...

class AvailablePresence(Presence):
    def __init__(
        self,
        to: JID | None = None,
        show: str | None = None,
        statuses: _Statuses | None = None,
        priority: int = 0,
    ) -> None: ...

class UnavailablePresence(Presence):
    def __init__(self, to: JID | None = None, statuses: _Statuses | None = None) -> None: ...

class PresenceClientProtocol(XMPPHandler):
    def availableReceived(
        self, entity: JID, show: str | None = None, statuses: _Statuses | None = None, priority: int = 0
    ) -> None: ...
    def unavailableReceived(self, entity: JID, statuses: _Statuses | None = None) -> None: ...
    def subscribedReceived(self, entity: JID) -> None: ...
    def unsubscribedReceived(self, entity: JID) -> None: ...
    def subscribeReceived(self, entity: JID) -> None: ...
    def unsubscribeReceived(self, entity: JID) -> None: ...
    def available(
        self,
        entity: JID | None = None,
        show: str | None = None,
        statuses: _Statuses | None = None,
        priority: int = 0,
    ) -> None: ...
    def unavailable(self, entity: JID | None = None, statuses: _Statuses | None = None) -> None: ...
    def subscribe(self, entity: JID) -> None: ...
    def unsubscribe(self, entity: JID) -> None: ...
    def subscribed(self, entity: JID) -> None: ...
    def unsubscribed(self, entity: JID) -> None: ...

class BasePresence(Stanza): ...

class AvailabilityPresence(BasePresence):
    childParsers: ClassVar[_ChildParsers]
    available: bool
    show: str | None
    statuses: dict[str | None, str]
    priority: int
    @property
    def status(self) -> str | None: ...
    def __init__(
        self,
        recipient: JID | None = None,
        sender: JID | None = None,
        available: bool = True,
        show: str | None = None,
        status: str | None = None,
        statuses: dict[str | None, str] | None = None,
        priority: int = 0,
    ) -> None: ...

class SubscriptionPresence(BasePresence): ...
class ProbePresence(BasePresence): ...

class BasePresenceProtocol(XMPPHandler):
    # Type of the presence: the class that reads it before TYPEReceived is called with it.
    presenceTypeParserMap: ClassVar[dict[str, type[Stanza]]]

class PresenceProtocol(BasePresenceProtocol):
    def errorReceived(self, presence: ErrorStanza) -> None: ...
    def availableReceived(self, presence: AvailabilityPresence) -> None: ...
    def unavailableReceived(self, presence: AvailabilityPresence) -> None: ...
    def subscribedReceived(self, presence: SubscriptionPresence) -> None: ...
    def unsubscribedReceived(self, presence: SubscriptionPresence) -> None: ...
    def subscribeReceived(self, presence: SubscriptionPresence) -> None: ...
    def unsubscribeReceived(self, presence: SubscriptionPresence) -> None: ...
    def probeReceived(self, presence: ProbePresence) -> None: ...
    def available(
        self,
        recipient: JID | None = None,
        show: str | None = None,
        statuses: dict[str | None, str] | None = None,
        priority: int = 0,
        status: str | None = None,
        sender: JID | None = None,
    ) -> None: ...
    def unavailable(
        self,
        recipient: JID | None = None,
        statuses: dict[str | None, str] | None = None,
        sender: JID | None = None,
    ) -> None: ...
    def subscribe(self, recipient: JID, sender: JID | None = None) -> None: ...
    def unsubscribe(self, recipient: JID, sender: JID | None = None) -> None: ...
    def subscribed(self, recipient: JID, sender: JID | None = None) -> None: ...
    def unsubscribed(self, recipient: JID, sender: JID | None = None) -> None: ...
    def probe(self, recipient: JID, sender: JID | None = None) -> None: ...

class RosterItem:
    entity: JID
    subscriptionTo: bool
    subscriptionFrom: bool
    name: str
    groups: set[str]
    pendingOut: bool
    approved: bool
    remove: bool
    def __init__(
        self,
        entity: JID,
        subscriptionTo: bool = False,
        subscriptionFrom: bool = False,
        name: str = "",
        groups: set[str] | None = None,
    ) -> None: ...
    def toElement(self, rosterSet: bool = False) -> Element: ...
    @classmethod
    def fromElement(cls, element: Element) -> RosterItem: ...

class RosterRequest(Request):
    item: RosterItem | None
    version: str | None
    rosterSet: bool

class RosterPushIgnored(Exception): ...

class Roster(dict[JID, RosterItem]):
    version: str | None

class RosterClientProtocol(XMPPHandler, IQHandlerMixin):
    allowAnySender: bool
    iqHandlers: ClassVar[dict[str, str] | None]
    def getRoster(self, version: str | None = None) -> Deferred[Roster | None]: ...
    def setItem(self, item: RosterItem) -> Deferred[Element]: ...
    def removeItem(self, entity: JID) -> Deferred[Element]: ...
    def setReceived(self, request: RosterRequest) -> Deferred[Any] | None: ...
    def removeReceived(self, request: RosterRequest) -> Deferred[Any] | None: ...

class Message(Stanza):
    childParsers: ClassVar[_ChildParsers]
    body: str | None
    subject: str | None
    def __init__(
        self,
        recipient: JID | None = None,
        sender: JID | None = None,
        body: str | None = None,
        subject: str | None = None,
    ) -> None: ...

class MessageProtocol(XMPPHandler):
    messageTypes: tuple[str | None, ...]
    def onMessage(self, message: Element) -> None: ...
