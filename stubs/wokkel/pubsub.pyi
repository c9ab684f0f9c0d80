from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import XmlStream
from twisted.words.xish.domish import Element
from wokkel.data_form import Form, _FieldDefs, _Value
from wokkel.disco import DiscoFeature, DiscoIdentity, DiscoItem
from wokkel.generic import Stanza
from wokkel.iwokkel import IDisco, IPubSubClient, IPubSubResource, IPubSubService, _Notification
from wokkel.subprotocols import IQHandlerMixin, XMPPHandler
from zope.interface import implementer

IQ_GET: str
IQ_SET: str
NS_PUBSUB: str
NS_PUBSUB_EVENT: str
NS_PUBSUB_ERRORS: str
NS_PUBSUB_OWNER: str
NS_PUBSUB_NODE_CONFIG: str
NS_PUBSUB_META_DATA: str
NS_PUBSUB_SUBSCRIBE_OPTIONS: str
PUBSUB_REQUEST: str

class SubscriptionPending(Exception): ...
class SubscriptionUnconfigured(Exception): ...

class PubSubError(StanzaError):
    def __init__(
        self, condition: str, pubsubCondition: str, feature: str | None = None, text: str | None = None
    ) -> None: ...

class BadRequest(StanzaError):
    def __init__(self, pubsubCondition: str | None = None, text: str | None = None) -> None: ...

class Unsupported(PubSubError):
    feature: str
    def __init__(self, feature: str, text: str | None = None) -> None: ...

class Subscription:
    nodeIdentifier: str | None  # None for the root node
    subscriber: JID
    state: str
    options: dict[str, _Value]
    subscriptionIdentifier: str | None
    def __init__(
        self,
        nodeIdentifier: str | None,
        subscriber: JID,
        state: str,
        options: dict[str, _Value] | None = None,
        subscriptionIdentifier: str | None = None,
    ) -> None: ...
    @staticmethod
    def fromElement(element: Element) -> Subscription: ...
    def toElement(self, defaultUri: str | None = None) -> Element: ...

class Item(Element):
    def __init__(self, id: str | None = None, payload: Element | str | None = None) -> None: ...

class PubSubRequest(Stanza):
    # Attributes that the verb does not have are None; the others are set, so that handlers of a verb need no check.
    verb: str | Any
    affiliations: dict[JID, str] | Any
    items: list[Element] | Any
    itemIdentifiers: list[str] | Any
    maxItems: int | None
    nodeIdentifier: str | Any
    nodeType: str | Any
    options: Form | Any
    subscriber: JID | Any
    subscriptionIdentifier: str | None
    subscriptions: set[Subscription] | Any
    def __init__(self, verb: str | None = None) -> None: ...
    def send(self, xs: XmlStream) -> Deferred[Element]: ...

class PubSubEvent:
    sender: JID
    recipient: JID
    nodeIdentifier: str
    headers: dict[str, list[str]]
    def __init__(self, sender: JID, recipient: JID, nodeIdentifier: str, headers: dict[str, list[str]]) -> None: ...

class ItemsEvent(PubSubEvent):
    items: list[Element]
    def __init__(
        self,
        sender: JID,
        recipient: JID,
        nodeIdentifier: str,
        items: list[Element],
        headers: dict[str, list[str]],
    ) -> None: ...

class DeleteEvent(PubSubEvent):
    redirectURI: str | None

class PurgeEvent(PubSubEvent): ...

@implementer(IPubSubClient)
class PubSubClient(XMPPHandler):
    def itemsReceived(self, event: ItemsEvent) -> None: ...
    def deleteReceived(self, event: DeleteEvent) -> None: ...
    def purgeReceived(self, event: PurgeEvent) -> None: ...
    def createNode(
        self,
        service: JID,
        nodeIdentifier: str | None = None,
        options: Mapping[str, _Value] | None = None,
        sender: JID | None = None,
    ) -> Deferred[str]: ...
    def deleteNode(self, service: JID, nodeIdentifier: str, sender: JID | None = None) -> Deferred[Element]: ...
    def subscribe(
        self,
        service: JID,
        nodeIdentifier: str,
        subscriber: JID,
        options: Mapping[str, _Value] | None = None,
        sender: JID | None = None,
    ) -> Deferred[Subscription]: ...
    def unsubscribe(
        self,
        service: JID,
        nodeIdentifier: str,
        subscriber: JID,
        subscriptionIdentifier: str | None = None,
        sender: JID | None = None,
    ) -> Deferred[Element]: ...
    def publish(
        self,
        service: JID,
        nodeIdentifier: str,
        items: Iterable[Item] | None = None,
        sender: JID | None = None,
    ) -> Deferred[Element]: ...
    def items(
        self,
        service: JID,
        nodeIdentifier: str,
        maxItems: int | None = None,
        subscriptionIdentifier: str | None = None,
        sender: JID | None = None,
        itemIdentifiers: Iterable[str] | None = None,
    ) -> Deferred[list[Element]]: ...
    def getOptions(
        self,
        service: JID,
        nodeIdentifier: str,
        subscriber: JID,
        subscriptionIdentifier: str | None = None,
        sender: JID | None = None,
    ) -> Deferred[Form]: ...
    def setOptions(
        self,
        service: JID,
        nodeIdentifier: str,
        subscriber: JID,
        options: Mapping[str, _Value],
        subscriptionIdentifier: str | None = None,
        sender: JID | None = None,
    ) -> Deferred[Element]: ...

@implementer(IDisco, IPubSubService)
class PubSubService(XMPPHandler, IQHandlerMixin):
    iqHandlers: ClassVar[dict[str, str] | None]
    hideNodes: bool
    resource: IPubSubResource | None
    discoIdentity: dict[str, str]
    pubSubFeatures: list[str]
    def __init__(self, resource: IPubSubResource | None = None) -> None: ...
    def getDiscoInfo(
        self, requestor: JID, target: JID, nodeIdentifier: str = ""
    ) -> Deferred[list[DiscoFeature | DiscoIdentity | Form]]: ...
    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> Deferred[list[DiscoItem]]: ...
    def getNodeInfo(
        self, requestor: JID, service: JID, nodeIdentifier: str
    ) -> dict[str, Any] | Deferred[Any] | None: ...
    def getNodes(self, requestor: JID, service: JID) -> list[str] | Deferred[list[str]]: ...
    def notifyPublish(self, service: JID, nodeIdentifier: str, notifications: Iterable[_Notification]) -> None: ...
    def notifyDelete(
        self, service: JID, nodeIdentifier: str, subscribers: Iterable[JID], redirectURI: str | None = None
    ) -> None: ...
    def publish(self, requestor: JID, service: JID, nodeIdentifier: str, items: list[Item]) -> Deferred[Any]: ...
    def subscribe(
        self, requestor: JID, service: JID, nodeIdentifier: str, subscriber: JID
    ) -> Deferred[Subscription]: ...
    def unsubscribe(self, requestor: JID, service: JID, nodeIdentifier: str, subscriber: JID) -> Deferred[Any]: ...
    def subscriptions(self, requestor: JID, service: JID) -> Deferred[list[Subscription]]: ...
    def affiliations(self, requestor: JID, service: JID) -> Deferred[list[tuple[str, str]]]: ...
    def create(self, requestor: JID, service: JID, nodeIdentifier: str | None) -> Deferred[str]: ...
    def getConfigurationOptions(self) -> _FieldDefs: ...
    def getDefaultConfiguration(
        self, requestor: JID, service: JID, nodeType: str
    ) -> Deferred[dict[str, _Value]]: ...
    def getConfiguration(
        self, requestor: JID, service: JID, nodeIdentifier: str
    ) -> Deferred[dict[str, _Value]]: ...
    def setConfiguration(
        self, requestor: JID, service: JID, nodeIdentifier: str, options: Form
    ) -> Deferred[Any]: ...
    def items(
        self,
        requestor: JID,
        service: JID,
        nodeIdentifier: str,
        maxItems: int | None,
        itemIdentifiers: list[str],
    ) -> Deferred[list[Item]]: ...
    def retract(
        self, requestor: JID, service: JID, nodeIdentifier: str, itemIdentifiers: list[str]
    ) -> Deferred[Any]: ...
    def purge(self, requestor: JID, service: JID, nodeIdentifier: str) -> Deferred[Any]: ...
    def delete(self, requestor: JID, service: JID, nodeIdentifier: str) -> Deferred[Any]: ...

@implementer(IPubSubResource)
class PubSubResource:
    features: list[str]
    discoIdentity: DiscoIdentity
    def locateResource(self, request: PubSubRequest) -> IPubSubResource: ...
    def getInfo(
        self, requestor: JID, service: JID, nodeIdentifier: str
    ) -> Deferred[dict[str, Any]] | Deferred[None]: ...
    def getNodes(self, requestor: JID, service: JID, nodeIdentifier: str) -> Deferred[list[str]]: ...
    def getConfigurationOptions(self) -> _FieldDefs: ...
    def publish(self, request: PubSubRequest) -> Deferred[Any]: ...
    def subscribe(self, request: PubSubRequest) -> Deferred[Subscription]: ...
    def unsubscribe(self, request: PubSubRequest) -> Deferred[Any]: ...
    def subscriptions(self, request: PubSubRequest) -> Deferred[list[Subscription]]: ...
    def affiliations(self, request: PubSubRequest) -> Deferred[list[tuple[str, str]]]: ...
    def create(self, request: PubSubRequest) -> Deferred[str]: ...
    def default(self, request: PubSubRequest) -> Deferred[dict[str, _Value]]: ...
    def configureGet(self, request: PubSubRequest) -> Deferred[dict[str, _Value]]: ...
    def configureSet(self, request: PubSubRequest) -> Deferred[Any]: ...
    def items(self, request: PubSubRequest) -> Deferred[list[Item]]: ...
    def retract(self, request: PubSubRequest) -> Deferred[Any]: ...
    def purge(self, request: PubSubRequest) -> Deferred[Any]: ...
    def delete(self, request: PubSubRequest) -> Deferred[Any]: ...
    def affiliationsGet(self, request: PubSubRequest) -> Deferred[dict[JID, str]]: ...
    def affiliationsSet(self, request: PubSubRequest) -> Deferred[Any]: ...
    def subscriptionsGet(self, request: PubSubRequest) -> Deferred[Any]: ...
    def subscriptionsSet(self, request: PubSubRequest) -> Deferred[Any]: ...
