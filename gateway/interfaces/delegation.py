"""
Delegated namespaces: what answers requests in them, and the requests.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeAlias
from xml.etree.ElementTree import Element

from twisted.words.xish import domish
from zope.interface import Attribute, Interface

# The payload of an answer: an element of either kind, bytes as L{IDelegatedRequest.xml}, or nothing.
Payload: TypeAlias = domish.Element | Element | bytes | None


class IDelegatedRequest(Interface):
    """An iq request in a delegated namespace (XEP-0355), as it was sent to the server."""

    requester: str = Attribute("The sender's JID, usually a full JID.")
    id: str = Attribute("The id that the requester has chosen.")
    entity: str = Attribute("The recipient: the bare JID of a user of the server, or the server's domain.")
    type: str = Attribute('C{"get"} or C{"set"}.')
    namespace: str = Attribute("The namespace of the payload.")
    tree: Element = Attribute(
        "The one child element, of xml.etree.ElementTree, built at the first access. An answer may be one."
    )
    payload: domish.Element = Attribute("The same as an element of Twisted, which takes several times as long.")
    xml: bytes = Attribute("The payload as bytes. Without a declaration, the default namespace is jabber:client.")


class IDelegatedNamespace(Interface):
    """Answers requests in namespaces that servers delegate."""

    namespaces: frozenset[str] = Attribute("The namespaces that it can answer for.")
    features: tuple[str, ...] = Attribute("Features for the server's disco#info, in place of the server's own.")
    identities: tuple[tuple[str, str, str], ...] = Attribute("Likewise identities: category, type and name.")
    bareFeatures: tuple[str, ...] = Attribute("Features for the disco#info of the users' bare JIDs.")
    bareIdentities: tuple[tuple[str, str, str], ...] = Attribute("Likewise identities.")

    def answer(request: IDelegatedRequest) -> Payload | Awaitable[Payload]:
        """
        Answer one request.

        @return: the payload of the result: an element, bytes as L{IDelegatedRequest.xml}, or C{None} for an empty
            result; or an awaitable of these. The request's own bytes are not checked again.
        @raise twisted.words.protocols.jabber.error.StanzaError: the error for the requester. Any other exception is
            answered as C{internal-server-error}; no answer within 25 seconds is C{remote-server-timeout}.
        """
