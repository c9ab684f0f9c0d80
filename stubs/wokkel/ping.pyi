from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import XMPPHandler
from twisted.words.xish.domish import Element
from wokkel.disco import DiscoFeature, DiscoItem
from wokkel.iwokkel import IDisco
from zope.interface import implementer

NS_PING: str
PING_REQUEST: str

class PingClientProtocol(XMPPHandler):
    def ping(self, entity: JID, sender: JID | None = None) -> Deferred[None]: ...

@implementer(IDisco)
class PingHandler(XMPPHandler):
    def connectionInitialized(self) -> None: ...
    def onPing(self, iq: Element) -> None: ...
    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[DiscoFeature]: ...
    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[DiscoItem]: ...
