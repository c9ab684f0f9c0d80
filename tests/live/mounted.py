"""
An ordinary Wokkel handler, a pubsub service, mounted on a delegated namespace; for a gateway's plugin folder, into
which the tests copy this module.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.plugin import IPlugin
from wokkel.pubsub import NS_PUBSUB, NS_PUBSUB_OWNER, Item, PubSubResource, PubSubService
from zope.interface import implementer

from gateway.delegation.mount import Mount
from gateway.interfaces import IDelegationPlugin
from gateway.stream.link import Link


class Nodes(PubSubResource):
    """Each user's nodes, in memory."""

    features = ["persistent-items", "publish", "retrieve-items"]
    discoIdentity = {"category": "pubsub", "type": "service", "name": "mounted"}

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[tuple[str, str], dict[str, Item]] = {}

    def publish(self, request: Any) -> Deferred[None]:
        node = self._nodes.setdefault((request.recipient.full(), request.nodeIdentifier), {})
        node.update((item["id"], item) for item in request.items)
        return succeed(None)

    def items(self, request: Any) -> Deferred[list[Item]]:
        return succeed(list(self._nodes.get((request.recipient.full(), request.nodeIdentifier), {}).values()))


@implementer(IPlugin, IDelegationPlugin)
class MountedPlugin:
    """Mounts the handler."""

    name = "mounted"

    def makeHandler(self, jid: str, link: Link, composition: Any) -> Mount:
        return Mount(link, [NS_PUBSUB, NS_PUBSUB_OWNER], [PubSubService(Nodes())], [("pubsub", "pep", "")])


mounted = MountedPlugin()
