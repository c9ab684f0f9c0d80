"""
A managing entity (XEP-0355) as a slixmpp component: stanza objects in, stanza objects out; it echoes.

Usage: slixmpp_delegation.py PORT COMPONENT SERVER NAMESPACE...
"""

import asyncio
import sys

from slixmpp import ComponentXMPP, Iq
from slixmpp.plugins.xep_0297.stanza import Forwarded
from slixmpp.xmlstream import ElementBase, register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

DELEGATION = "urn:xmpp:delegation:2"


class Delegation(ElementBase):
    """The wrapper; the library has no plugin for it."""

    name = plugin_attrib = "delegation"
    namespace = DELEGATION
    interfaces = frozenset()


class ManagingEntity(ComponentXMPP):
    """Answers each request that the server forwards with the request's own payload."""

    def __init__(self, port, component, server, namespaces):
        super().__init__(component, "secret", "127.0.0.1", port)
        self.delegating = server
        self.namespaces = namespaces
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0297")
        register_stanza_plugin(Iq, Delegation)
        register_stanza_plugin(Delegation, Forwarded)
        self.register_handler(Callback("forwarded", StanzaPath("iq@type=set/delegation"), self.onForwarded))
        for namespace in namespaces:
            for separator in ("::", ":bare:"):
                self.plugin["xep_0030"].add_feature("urn:example:echo", f"{DELEGATION}{separator}{namespace}")

    def onForwarded(self, outer):
        # The attributes of the tree itself: the stanza interfaces would build and check a JID at each access.
        attributes = outer.xml.attrib
        if attributes["from"] != self.delegating:
            return
        iq = self.unwrap(outer)
        if iq is None:
            self.send(self.make_iq_error(attributes["id"], "modify", "bad-request", ito=self.delegating))
            return
        get = iq.xml.attrib.get
        requester = get("from")
        entity = get("to") or requester.partition("/")[0]
        [payload] = iq.xml
        answer = Iq()
        answer.xml.attrib.update({"from": entity, "to": requester, "id": get("id")})
        if entity.rpartition("@")[2] != self.delegating:
            self.refuse(answer, "forbidden")
        elif payload.tag.partition("}")[0][1:] not in self.namespaces:
            self.refuse(answer, "service-unavailable")
        else:
            answer.xml.attrib["type"] = "result"
            answer.xml.append(payload)
        self.reply(attributes["id"], answer)

    def unwrap(self, outer):
        """Return the one request in a wrapper, if there is one."""
        iq = outer["delegation"]["forwarded"]["stanza"]
        wrappers = outer.xml.findall(f"{{{DELEGATION}}}delegation")
        if not iq or len(wrappers) != 1 or len(wrappers[0]) != 1 or len(wrappers[0][0]) != 1:
            return None
        get = iq.xml.attrib.get
        right = get("type") in ("get", "set") and get("id") and get("from") and len(iq.xml) == 1
        return iq if right else None

    def refuse(self, answer, condition):
        answer.xml.attrib["type"] = "error"
        answer["error"]["condition"] = condition

    def reply(self, identifier, answer):
        """Answer in the only form that all servers deliver."""
        iq = self.Iq()
        iq.xml.attrib.update(
            {"from": self.boundjid.full, "to": self.delegating, "id": identifier, "type": "result"}
        )
        iq["delegation"]["forwarded"].append(answer)
        self.send(iq)


async def main(port, component, server, *namespaces):
    """Run until a signal comes."""
    entity = ManagingEntity(int(port), component, server, frozenset(namespaces))
    entity.connect()
    await entity.disconnected


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
