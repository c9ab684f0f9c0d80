"""A managing entity by hand: a component, or a client, that answers delegated requests, rightly or wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from tests.live.clients import Client, local, stanza
from tests.live.delegations import DISCO_INFO
from tests.live.rawcomponent import RawComponent

DELEGATION = "urn:xmpp:delegation:2"
FORWARD = "urn:xmpp:forward:0"
CLIENT = "jabber:client"
HANDLED = "urn:xmpp:test:handled"


class Delegated:
    """
    One delegated request.

    @ivar outer: the iq that it came in.
    @ivar inner: the iq as its requester sent it.
    """

    def __init__(self, outer: Element) -> None:
        self.outer = outer
        inner = outer.find(f"{{{DELEGATION}}}delegation/{{{FORWARD}}}forwarded/{{{CLIENT}}}iq")
        assert inner is not None, "nothing is forwarded"
        self.inner = inner

    @property
    def payload(self) -> Element:
        return self.inner[0]

    def answer(self, inside: str = "", type_: str = "result", **changed: str | None) -> str:
        """
        Return the iq that answers it; keywords change its attributes, as a forger would; None for `to` omits it.
        """
        requester = self.inner.get("from", "")
        attributes: dict[str, str | None] = {
            "type": type_,
            "id": self.inner.get("id"),
            "to": requester,
            "from": self.inner.get("to") or requester.partition("/")[0],
        }
        return stanza("iq", inside, **{"xmlns": CLIENT, **attributes, **changed})

    def reply(self, *answers: str, id_: str | None = None) -> str:
        """Return the iq with these answers, each in a wrapper of its own."""
        wrapped = "".join(
            f"<delegation xmlns='{DELEGATION}'><forwarded xmlns='{FORWARD}'>{answer}</forwarded></delegation>"
            for answer in answers
        )
        return self.bareReply(wrapped, id_)

    def bareReply(self, inside: str, id_: str | None = None) -> str:
        """Return the outer iq with this content."""
        attributes = {"from": self.outer.get("to"), "to": self.outer.get("from")}
        return stanza("iq", inside, type="result", id=id_ or self.outer.get("id"), **attributes)


class Managing:
    """
    A mix-in for a connected peer: names in disco the features to nest, and handles delegated requests by
    C{behaviour}.

    The feature to nest for a namespace is C{managed:NAMESPACE}, C{managed-bare:NAMESPACE} for accounts.

    @ivar delegated: the delegated requests, in order.
    @ivar nodes: the nodes of disco#info requests.
    """

    jid: str
    received: list[Element]
    send: Callable[[str], None]

    def __init__(self, *connection: Any, behaviour: Behaviour | None = None) -> None:
        super().__init__(*connection)
        self.behaviour = behaviour or handle
        self.delegated: list[Delegated] = []
        self.nodes: list[str] = []

    def onStanza(self, element: Element) -> None:
        if element.tag.endswith("}iq") and element.get("type") == "set" and _isDelegated(element):
            self.delegated.append(Delegated(element))
            self.behaviour(self, self.delegated[-1])
        query = element.find(f"{{{DISCO_INFO}}}query")
        if query is not None and element.get("type") == "get":
            self._tell(element, query.get("node", ""))

    def advertised(self) -> list[dict[str, list[str]]]:
        """Return the namespaces of each advertisement, with their filtering attributes."""
        return [
            {
                each.get("namespace", ""): [attribute.get("name", "") for attribute in each]
                for each in element.iter(f"{{{DELEGATION}}}delegated")
            }
            for element in self.received
            if element.tag.endswith("}message") and element.find(f"{{{DELEGATION}}}delegation") is not None
        ]

    def _tell(self, question: Element, node: str) -> None:
        self.nodes.append(node)
        # A namespace's own node is urn:xmpp:delegation:2::NS or urn:xmpp:delegation:2:bare:NS.
        kind, _, namespace = node.removeprefix(f"{DELEGATION}:").partition(":")
        feature = f"managed{'-' if kind else ''}{kind}:{namespace}"
        inside = f"<identity category='pubsub' type='pep'/><feature var='{feature}'/>"
        query = stanza("query", inside, xmlns=DISCO_INFO, node=node)
        attributes = {"from": self.jid, "to": question.get("from")}
        self.send(stanza("iq", query, type="result", id=question.get("id"), **attributes))


class ManagingEntity(Managing, RawComponent):
    """A component."""


class ManagingClient(Managing, Client):
    """A client that approves every subscription to its presence."""

    def onStanza(self, element: Element) -> None:
        super().onStanza(element)
        if local(element) == "presence" and element.get("type") == "subscribe":
            self.send(stanza("presence", to=element.get("from"), type="subscribed"))


Behaviour = Callable[[Managing, Delegated], None]


def handle(entity: Managing, delegated: Delegated) -> None:
    """Answer with the name of this managing entity."""
    entity.send(delegated.reply(delegated.answer(f"<handled xmlns='{HANDLED}' by='{entity.jid}'/>")))


def ignore(entity: Managing, delegated: Delegated) -> None:
    """Do not answer."""


def _isDelegated(element: Element) -> bool:
    return element.find(f"{{{DELEGATION}}}delegation") is not None
