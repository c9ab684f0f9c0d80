from typing import Any, ClassVar, Self, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import Authenticator, XmlStream
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher
from twisted.words.xish.xmlstream import BootstrapMixin
from wokkel.disco import DiscoFeature, DiscoItem
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

IQ_GET: str
IQ_SET: str
NS_VERSION: str
VERSION: str

# (namespace, name) of a child, or None for each child: name of the method that reads it.
_ChildParsers: TypeAlias = dict[tuple[str | None, str] | None, str]

def parseXml(string: str | bytes) -> Element | None: ...
def stripNamespace(rootElement: Element) -> Element: ...
def prepareIDNName(name: str) -> bytes: ...

class FallbackHandler(XMPPHandler):
    def iqFallback(self, iq: Element) -> None: ...

@implementer(IDisco)
class VersionHandler(XMPPHandler):
    name: str
    version: str
    def __init__(self, name: str, version: str) -> None: ...
    def onVersion(self, iq: Element) -> None: ...
    def getDiscoInfo(
        self, requestor: JID, target: JID, nodeIdentifier: str = ""
    ) -> Deferred[set[DiscoFeature]]: ...
    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> Deferred[list[DiscoItem]]: ...

class XmlPipe:
    # Each also has a send(Element), which is set on the instance.
    source: EventDispatcher | Any
    sink: EventDispatcher | Any
    def __init__(self) -> None: ...

class Stanza:
    recipient: JID | None
    sender: JID | None
    stanzaKind: str | None
    stanzaID: str | None
    stanzaType: str | None
    element: Element  # only after fromElement
    def __init__(self, recipient: JID | None = None, sender: JID | None = None) -> None: ...
    @classmethod
    def fromElement(cls, element: Element) -> Self: ...
    def parseElement(self, element: Element) -> None: ...
    def toElement(self) -> Element: ...

class ErrorStanza(Stanza):
    exception: StanzaError

class Request(Stanza):
    timeout: float | None
    childParsers: ClassVar[_ChildParsers]
    def __init__(
        self, recipient: JID | None = None, sender: JID | None = None, stanzaType: str | None = None
    ) -> None: ...
    def parseRequest(self, element: Element) -> None: ...

class DeferredXmlStreamFactory(BootstrapMixin, ClientFactory):
    authenticator: Authenticator
    deferred: Deferred[XmlStream]
    def __init__(self, authenticator: Authenticator) -> None: ...
    def buildProtocol(self, addr: IAddress | None) -> XmlStream: ...
    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None: ...
