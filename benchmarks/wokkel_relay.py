"""
Address translation as a Wokkel component: domish elements in, `toXml` out.

Usage: wokkel_relay.py PORT COMPONENT TARGET plain|interned|lean

Addresses are read in three ways: each as a `JID`, as in Twisted's and Wokkel's examples; by `internJID`, which
stores each for ever; or not at all, but as the server wrote them.
"""

import base64
import hmac
import os
import random
import sys

from twisted.internet import reactor
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, internJID
from twisted.words.xish import domish
from wokkel.component import Component
from wokkel.subprotocols import XMPPHandler

TIMEOUT = 30.0


class Relay(XMPPHandler):
    """Requests go to a resource of the target under a sealed address; its answers go back."""

    def __init__(self, component, target, read):
        super().__init__()
        self.component = component
        self.read = read
        self.target = target
        self.key = os.urandom(32)
        self.resources = []
        self.pending = {}  # (token, id): (resource asked, requester, address written to, delayed call)

    def connectionInitialized(self):
        for kind in ("get", "set"):
            self.xmlstream.addObserver(f"/iq[@type='{kind}']", self.onRequest)
        for kind in ("result", "error"):
            self.xmlstream.addObserver(f"/iq[@type='{kind}']", self.onReply)
        self.xmlstream.addObserver("/presence", self.onPresence)
        for kind in ("subscribe", "probe"):
            presence = domish.Element((None, "presence"))
            presence["type"] = kind
            presence["from"] = self.component
            presence["to"] = self.target
            self.send(presence)

    def onPresence(self, presence):
        sender = presence["from"]
        if sender.partition("/")[0] != self.target:
            return
        kind = presence.getAttribute("type")
        if kind is None and sender not in self.resources:
            self.resources.append(sender)
        elif kind == "unavailable" and sender in self.resources:
            self.resources.remove(sender)

    def onRequest(self, iq):
        if iq.handled:
            return
        iq.handled = True
        if not self.resources:
            self.send(StanzaError("service-unavailable").toResponse(iq))
            return
        requester, address = self.read(iq["from"]), self.read(iq["to"])
        token = self.token(requester, address)
        resource = random.choice(self.resources)
        key = token, iq["id"]
        deadline = reactor.callLater(TIMEOUT, self.onTimeout, key)
        self.pending[key] = resource, requester, address, deadline
        iq["from"], iq["to"] = token, resource
        self.send(iq)

    def onReply(self, iq):
        key = self.read(iq["to"]), iq["id"]
        asked = self.pending.get(key)
        if asked is None or asked[0] != self.read(iq["from"]):
            return
        iq.handled = True
        del self.pending[key]
        _, requester, address, deadline = asked
        deadline.cancel()
        iq["from"], iq["to"] = address, requester
        self.send(iq)

    def onTimeout(self, key):
        _, requester, address, _ = self.pending.pop(key)
        iq = domish.Element((None, "iq"))
        iq["type"], iq["id"], iq["from"], iq["to"] = "get", key[1], requester, address
        self.send(StanzaError("remote-server-timeout").toResponse(iq))

    def token(self, requester, address):
        text = f"{self.component}\0{requester}\0{address}".encode()
        seal = base64.urlsafe_b64encode(hmac.digest(self.key, text, "sha256")[:12]).decode()
        return f"{self.component}/{seal}/{requester}"


READERS = {
    "plain": lambda address: JID(address).full(),
    "interned": lambda address: internJID(address).full(),
    "lean": lambda address: address,
}


def main(port, component, target, how):
    """Run until a signal comes."""
    service = Component("127.0.0.1", int(port), component, "secret")
    Relay(component, target, READERS[how]).setHandlerParent(service)
    service.startService()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
