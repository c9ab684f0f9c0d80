"""
Handlers for delegated namespaces that answer each request with its own payload.

This is the gateway's part in `delegation.py`, which puts it into a `gateway/plugins/` folder on the Python path.
"""

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest, IDelegationPlugin


@implementer(IDelegatedNamespace)
class Echo:
    """Answers requests in all namespaces of the benchmark."""

    namespaces = frozenset(
        (
            "jabber:iq:version",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/commands",
            "http://jabber.org/protocol/pubsub",
        )
    )
    features = ("urn:example:echo",)
    identities = ()
    bareFeatures = features
    bareIdentities = ()

    def answer(self, request: IDelegatedRequest) -> Any:
        """Return the payload as bytes."""
        return request.xml


class TreeEcho(Echo):
    """The same with a check of the payload, as handlers do that answer by its content."""

    def answer(self, request: IDelegatedRequest) -> Any:
        """Return the payload as a tree, if it is one of those that the benchmark sends."""
        tree = request.tree
        return tree if tree.tag.rpartition("}")[2] in ("query", "command", "pubsub") else None


class DomishEcho(Echo):
    """The same with Twisted's trees."""

    def answer(self, request: IDelegatedRequest) -> Any:
        """As L{TreeEcho.answer}."""
        payload = request.payload
        return payload if payload.name in ("query", "command", "pubsub") else None


@implementer(IPlugin, IDelegationPlugin)
class EchoPlugin:
    """Makes one of these handlers."""

    def __init__(self, name: str, handler: IDelegatedNamespace) -> None:
        self.name = name
        self._handler = handler

    def makeHandler(self, jid: str, link: Any, composition: Any) -> IDelegatedNamespace:
        """Return the handler; the arguments are not used."""
        return self._handler


echo = EchoPlugin("echo", Echo())
tree = EchoPlugin("tree", TreeEcho())
domish = EchoPlugin("domish", DomishEcho())
