"""
Rosters from a web application by treq and Wokkel, in a simple way: JSON and domish elements to `RosterItem`s.

Usage: wokkel_roster.py PORT COMPONENT SERVER URL plain|lean HTTP

The POST is the same as the gateway's, at the port HTTP; with the same number of users at a time, on the same number
of connections.

Contacts' addresses are read in two ways: each as a `JID`, as Wokkel does, or not at all, but as they are written.
"""

import json
import sys
from urllib.parse import quote

from treq import json_content
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import DeferredSemaphore, ensureDeferred, gatherResults
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.words.protocols.jabber.jid import JID
from wokkel.component import Component
from wokkel.subprotocols import XMPPHandler
from wokkel.xmppim import NS_ROSTER, RosterItem, RosterRequest

CONCURRENCY = 32


class RawAddress(str):
    """An address as it was written, in place of a C{JID}."""

    __slots__ = ()

    def full(self):
        return self


READERS = {"plain": JID, "lean": RawAddress}


class Refresher(XMPPHandler):
    """Reads the application's document and the server's roster; sets the differences."""

    def __init__(self, component, server, url, read):
        super().__init__()
        self.readJid = read
        self.component = JID(component)
        self.server = server
        self.url = url
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = CONCURRENCY
        self.client = HTTPClient(Agent(reactor, pool=pool))
        self.slots = DeferredSemaphore(CONCURRENCY)

    def refresh(self, name):
        return self.slots.run(lambda: ensureDeferred(self.run(name)))

    async def run(self, name):
        user = JID(tuple=(name, self.server, None))
        wanted = await self.fetch(name)
        there = {item.entity: item for item in await self.read(user)}
        for entity, item in wanted.items():
            if entity not in there or self.differ(there[entity], item):
                await self.set(user, item)
        for entity in there:
            if entity not in wanted:
                gone = RosterItem(entity)
                gone.remove = True
                await self.set(user, gone)

    async def fetch(self, name):
        response = await self.client.get(self.url.replace("%s", quote(name, safe="")), reactor=reactor)
        if response.code != 200:
            raise ValueError(response.code)
        wanted = {}
        for jid, about in (await json_content(response)).items():
            item = self.item(jid, about["name"], set(about["groups"]), about["subscription"])
            wanted[item.entity] = item
        return wanted

    async def read(self, user):
        request = RosterRequest(recipient=user, sender=self.component)
        answer = await self.request(request)
        [query] = answer.elements(NS_ROSTER, "query")
        return [
            self.item(
                item["jid"],
                item.getAttribute("name", ""),
                {str(group) for group in item.elements(NS_ROSTER, "group")},
                item.getAttribute("subscription"),
            )
            for item in query.elements(NS_ROSTER, "item")
        ]

    def item(self, jid, name, groups, subscription):
        to, from_ = subscription in ("to", "both"), subscription in ("from", "both")
        return RosterItem(self.readJid(jid), to, from_, name, groups)

    async def set(self, user, item):
        request = RosterRequest(recipient=user, sender=self.component, stanzaType="set")
        request.item = item
        await self.request(request)

    def differ(self, one, other):
        return (one.name, one.groups, one.subscriptionTo, one.subscriptionFrom) != (
            other.name,
            other.groups,
            other.subscriptionTo,
            other.subscriptionFrom,
        )


class Refresh(Resource):
    """POST an array of names; the answer comes when all are done."""

    isLeaf = True

    def __init__(self, refresher):
        super().__init__()
        self.refresher = refresher

    def render_POST(self, request):
        names = json.load(request.content)

        def done(_):
            request.write(json.dumps({"updated": len(names), "errors": 0}).encode())
            request.finish()

        def failed(reason):
            reason.printTraceback()
            request.setResponseCode(500)
            request.finish()

        gatherResults([self.refresher.refresh(name) for name in names]).addCallbacks(done, failed)
        return NOT_DONE_YET


def main(port, component, server, url, how, http):
    """Run until a signal comes."""
    service = Component("127.0.0.1", int(port), component, "secret")
    refresher = Refresher(component, server, url, READERS[how])
    refresher.setHandlerParent(service)
    reactor.listenTCP(int(http), Site(Refresh(refresher)), interface="127.0.0.1")
    service.startService()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
