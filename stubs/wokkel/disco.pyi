from collections.abc import Iterator
from typing import ClassVar

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from wokkel.data_form import Form
from wokkel.generic import Request
from wokkel.subprotocols import IQHandlerMixin, XMPPHandler

NS_DISCO: str
NS_DISCO_INFO: str
NS_DISCO_ITEMS: str
IQ_GET: str
DISCO_INFO: str
DISCO_ITEMS: str

class DiscoFeature(str):
    def toElement(self) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> DiscoFeature: ...

class DiscoIdentity:
    # An element of a peer may lack category and type.
    category: str | None
    type: str | None
    name: str | None
    def __init__(self, category: str | None, idType: str | None, name: str | None = None) -> None: ...
    def toElement(self) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> DiscoIdentity: ...

class DiscoInfo:
    nodeIdentifier: str
    features: set[DiscoFeature]
    identities: dict[tuple[str | None, str | None], str | None]
    extensions: dict[str | None, Form]
    def __init__(self) -> None: ...
    def __iter__(self) -> Iterator[DiscoFeature | DiscoIdentity | Form]: ...
    def append(self, item: DiscoFeature | DiscoIdentity | Form) -> None: ...
    def toElement(self) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> DiscoInfo: ...

class DiscoItem:
    entity: JID | None  # None if the attribute is not a JID
    nodeIdentifier: str
    name: str | None
    def __init__(self, entity: JID | None, nodeIdentifier: str = "", name: str | None = None) -> None: ...
    def toElement(self) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> DiscoItem: ...

class DiscoItems:
    nodeIdentifier: str
    def __init__(self) -> None: ...
    def __iter__(self) -> Iterator[DiscoItem]: ...
    def append(self, item: DiscoItem) -> None: ...
    def toElement(self) -> Element: ...
    @staticmethod
    def fromElement(element: Element) -> DiscoItems: ...

class _DiscoRequest(Request):
    verb: str | None
    nodeIdentifier: str
    def __init__(
        self,
        verb: str | None = None,
        nodeIdentifier: str = "",
        recipient: JID | None = None,
        sender: JID | None = None,
    ) -> None: ...

class DiscoClientProtocol(XMPPHandler):
    def requestInfo(
        self, entity: JID, nodeIdentifier: str = "", sender: JID | None = None
    ) -> Deferred[DiscoInfo]: ...
    def requestItems(
        self, entity: JID, nodeIdentifier: str = "", sender: JID | None = None
    ) -> Deferred[DiscoItems]: ...

class DiscoHandler(XMPPHandler, IQHandlerMixin):
    iqHandlers: ClassVar[dict[str, str] | None]
    def info(
        self, requestor: JID, target: JID, nodeIdentifier: str
    ) -> Deferred[list[DiscoFeature | DiscoIdentity | Form]]: ...
    def items(self, requestor: JID, target: JID, nodeIdentifier: str) -> Deferred[list[DiscoItem]]: ...
