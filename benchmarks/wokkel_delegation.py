"""
A managing entity (XEP-0355) as a Wokkel component: domish elements in, `toXml` out; it echoes.

Usage: wokkel_delegation.py PORT COMPONENT SERVER plain|interned|lean NAMESPACE...

`wokkel_relay.py` explains the ways in which addresses are read.
"""

import sys

# Imported first: the gateway makes Wokkel's disco importable on a current Twisted.
from gateway import ns

# isort: split
from twisted.internet import reactor
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.component import Component
from wokkel.disco import DiscoFeature, DiscoHandler
from wokkel.iwokkel import IDisco
from wokkel.subprotocols import XMPPHandler
from wokkel_relay import READERS
from zope.interface import implementer


@implementer(IDisco)
class ManagingEntity(XMPPHandler):
    """Answers each request that the server forwards with the request's own payload."""

    def __init__(self, component, server, namespaces, read):
        super().__init__()
        self.component = component
        self.server = server
        self.namespaces = namespaces
        self.read = read

    def connectionInitialized(self):
        self.xmlstream.addObserver(f"/iq[@type='set']/delegation[@xmlns='{ns.DELEGATION_2}']", self.onForwarded)

    def onForwarded(self, outer):
        if self.read(outer["from"]) != self.server:
            return
        outer.handled = True
        iq = self.unwrap(outer)
        if iq is None:
            self.send(StanzaError("bad-request").toResponse(outer))
            return
        requester = self.read(iq["from"])
        entity = self.read(iq["to"]) if iq.hasAttribute("to") else requester.partition("/")[0]
        [payload] = iq.elements()
        answer = domish.Element((ns.CLIENT, "iq"))
        answer["from"], answer["to"], answer["id"] = entity, requester, iq["id"]
        if entity.rpartition("@")[2] != self.server:
            self.refuse(answer, "forbidden")
        elif payload.uri not in self.namespaces:
            self.refuse(answer, "service-unavailable")
        else:
            answer["type"] = "result"
            answer.addChild(payload)
        self.reply(outer, answer)

    def unwrap(self, outer):
        """Return the one request in a wrapper, if there is one."""
        wrappers = list(outer.elements(ns.DELEGATION_2, "delegation"))
        forwarded = [each for wrapper in wrappers for each in wrapper.elements(ns.FORWARD, "forwarded")]
        inside = [each for each_ in forwarded for each in each_.elements(ns.CLIENT, "iq")]
        if not len(wrappers) == len(forwarded) == len(inside) == 1:
            return None
        [iq] = inside
        right = (
            iq.getAttribute("type") in ("get", "set")
            and iq.hasAttribute("id")
            and iq.hasAttribute("from")
            and len(list(iq.elements())) == 1
        )
        return iq if right else None

    def refuse(self, answer, condition):
        answer["type"] = "error"
        answer.addChild(StanzaError(condition).getElement())

    def reply(self, outer, answer):
        """Answer in the only form that all servers deliver."""
        iq = domish.Element((None, "iq"))
        iq["from"], iq["to"], iq["id"], iq["type"] = self.component, outer["from"], outer["id"], "result"
        iq.addElement((ns.DELEGATION_2, "delegation")).addElement((ns.FORWARD, "forwarded")).addChild(answer)
        self.send(iq)

    def getDiscoInfo(self, requestor, target, nodeIdentifier=""):
        if any(nodeIdentifier.endswith(":" + namespace) for namespace in self.namespaces):
            return [DiscoFeature("urn:example:echo")]
        return []

    def getDiscoItems(self, requestor, target, nodeIdentifier=""):
        return []


def main(port, component, server, how, *namespaces):
    """Run until a signal comes."""
    service = Component("127.0.0.1", int(port), component, "secret")
    entity = ManagingEntity(component, server, frozenset(namespaces), READERS[how])
    entity.setHandlerParent(service)
    DiscoHandler().setHandlerParent(service)
    service.startService()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
