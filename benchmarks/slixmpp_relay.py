"""
Address translation as a slixmpp component: stanza objects in, readdressed in place, sent.

Usage: slixmpp_relay.py PORT COMPONENT TARGET
"""

import asyncio
import base64
import hmac
import os
import random
import sys
import time

from slixmpp import ComponentXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

TIMEOUT = 30.0


class Relay(ComponentXMPP):
    """Requests go to a resource of the target under a sealed address; its answers go back."""

    def __init__(self, port, component, target):
        super().__init__(component, "secret", "127.0.0.1", port)
        self.target = target
        self.key = os.urandom(32)
        self.resources = []
        self.pending = {}  # (token, id): (resource asked, requester, address written to, deadline)
        # The library's own handlers would answer these, and keep rosters.
        for name in ("IM", "IMError", "Presence"):
            self.remove_handler(name)
        for name, handler in (("iq", self.onIq), ("presence", self.onPresence)):
            self.register_handler(Callback(name, MatchXPath(f"{{{self.default_ns}}}{name}"), handler))
        self.add_event_handler("session_start", self.onStart)

    async def onStart(self, event):
        for kind in ("subscribe", "probe"):
            self.send_presence(pfrom=self.boundjid.full, pto=self.target, ptype=kind)
        while True:
            await asyncio.sleep(1.0)
            self.expire()

    def onPresence(self, presence):
        sender = presence.xml.attrib["from"]
        if sender.partition("/")[0] != self.target:
            return
        kind = presence.xml.attrib.get("type")
        if kind is None and sender not in self.resources:
            self.resources.append(sender)
        elif kind == "unavailable" and sender in self.resources:
            self.resources.remove(sender)

    def onIq(self, iq):
        # The attributes of the tree itself: the stanza interfaces would build and check a JID at each access.
        attributes = iq.xml.attrib
        if attributes["type"] in ("get", "set"):
            self.forward(iq, attributes)
        else:
            self.giveBack(iq, attributes)

    def token(self, requester, address):
        text = f"{self.boundjid.full}\0{requester}\0{address}".encode()
        seal = base64.urlsafe_b64encode(hmac.digest(self.key, text, "sha256")[:12]).decode()
        return f"{self.boundjid.full}/{seal}/{requester}"

    def forward(self, iq, attributes):
        requester, address = attributes["from"], attributes["to"]
        if not self.resources:
            self.sendError("cancel", "service-unavailable", attributes["id"], requester, address)
            return
        token = self.token(requester, address)
        resource = random.choice(self.resources)
        self.pending[token, attributes["id"]] = resource, requester, address, time.monotonic() + TIMEOUT
        attributes["from"], attributes["to"] = token, resource
        self.send(iq)

    def giveBack(self, iq, attributes):
        key = attributes["to"], attributes["id"]
        asked = self.pending.get(key)
        if asked is None or asked[0] != attributes["from"]:
            return
        del self.pending[key]
        attributes["from"], attributes["to"] = asked[2], asked[1]
        self.send(iq)

    def sendError(self, kind, condition, identifier, requester, address):
        self.send(self.make_iq_error(identifier, kind, condition, ito=requester, ifrom=address))

    def expire(self):
        """Expire exchanges; the table is in the order of deadlines, so only its oldest entries are examined."""
        now = time.monotonic()
        while self.pending:
            key = next(iter(self.pending))
            _, requester, address, deadline = self.pending[key]
            if deadline > now:
                return
            del self.pending[key]
            self.sendError("wait", "remote-server-timeout", key[1], requester, address)


async def main(port, component, target):
    """Run until a signal comes."""
    relay = Relay(int(port), component, target)
    relay.connect()
    await relay.disconnected


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
