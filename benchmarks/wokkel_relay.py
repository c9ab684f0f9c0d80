"""Address translation as a Wokkel component does it: domish elements in, `toXml` out.

Usage: wokkel_relay.py PORT COMPONENT TARGET [lean]

Plainly, that is with Wokkel's own stanza classes, which read addresses as JIDs. `lean` goes round them: it takes
the attributes as the server wrote them.
"""

import base64
import hmac
import os
import random
import sys

from twisted.internet import reactor
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.component import Component
from wokkel.generic import Request, Stanza
from wokkel.subprotocols import XMPPHandler

TIMEOUT = 30.0


class LeanRelay(XMPPHandler):
    """Requests go to a resource of the target under a sealed address; its answers go back."""

    def __init__(self, component, target):
        super().__init__()
        self.component = component
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
        requester, address = iq["from"], iq["to"]
        token = self.token(requester, address)
        resource = random.choice(self.resources)
        key = token, iq["id"]
        deadline = reactor.callLater(TIMEOUT, self.onTimeout, key)
        self.pending[key] = resource, requester, address, deadline
        iq["from"], iq["to"] = token, resource
        self.send(iq)

    def onReply(self, iq):
        key = iq["to"], iq["id"]
        asked = self.pending.get(key)
        if asked is None or asked[0] != iq["from"]:
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


class Relay(LeanRelay):
    """The same with the values that Wokkel makes of stanzas."""

    def onRequest(self, iq):
        """A user asks."""
        if iq.handled:
            return
        iq.handled = True
        if not self.resources:
            self.send(StanzaError("service-unavailable").toResponse(iq))
            return
        request = Request.fromElement(iq)
        token = self.token(request.sender.full(), request.recipient.full())
        resource = random.choice(self.resources)
        key = token, request.stanzaID
        deadline = reactor.callLater(TIMEOUT, self.onTimeout, key)
        self.pending[key] = resource, request.sender.full(), request.recipient.full(), deadline
        element = request.element
        element["from"], element["to"] = token, resource
        self.send(element)

    def onReply(self, iq):
        """The target answers."""
        answer = Stanza.fromElement(iq)
        key = answer.recipient.full(), answer.stanzaID
        asked = self.pending.get(key)
        if asked is None or asked[0] != answer.sender.full():
            return
        iq.handled = True
        del self.pending[key]
        _, requester, address, deadline = asked
        deadline.cancel()
        element = answer.element
        element["from"], element["to"] = address, requester
        self.send(element)


def main(port, component, target, how="plain"):
    """Run until a signal comes."""
    service = Component("127.0.0.1", int(port), component, "secret")
    relay = LeanRelay if how == "lean" else Relay
    relay(component, target).setHandlerParent(service)
    service.startService()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
