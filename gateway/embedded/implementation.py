"""
The built-in implementing client: an ordinary client of the host, so that the proxy has a client behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish import domish
from wokkel.disco import DiscoFeature, DiscoHandler, DiscoIdentity
from wokkel.generic import FallbackHandler, VersionHandler
from wokkel.iwokkel import IDisco
from wokkel.ping import PingHandler
from wokkel.subprotocols import StreamManager, XMPPHandler
from zope.interface import implementer

from gateway import __version__, ns

NAME = "xmpp-gateway implementing client"


@implementer(IDisco)
class Presence(XMPPHandler):
    """
    Sends presence, and approves subscription requests of the gateway's components.

    @param mayWatch: returns true if a JID is one of these components.
    """

    def __init__(self, mayWatch: Callable[[str], bool]) -> None:
        super().__init__()
        self._mayWatch = mayWatch

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/presence[@type='subscribe']", self._subscribed)
        self.send(domish.Element((None, "presence")))

    def _subscribed(self, request: domish.Element) -> None:
        answer = domish.Element((None, "presence"))
        answer["to"] = request.getAttribute("from", "")
        answer["type"] = "subscribed" if self._mayWatch(answer["to"]) else "unsubscribed"
        self.send(answer)

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return [] if nodeIdentifier else [DiscoIdentity("client", "bot", NAME), DiscoFeature(ns.DISCO_INFO)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[Any]:
        return []


def implement(client: StreamManager, mayWatch: Callable[[str], bool]) -> None:
    """Make a client answer disco#info, ping and version, and all other requests with an error."""
    handlers = (
        Presence(mayWatch),
        DiscoHandler(),
        PingHandler(),
        VersionHandler(NAME, __version__),
        FallbackHandler(),
    )
    for handler in handlers:
        handler.setHandlerParent(client)
