"""
A request in a delegated namespace and its reply (XEP-0355), for both sides; pure.

The rules of the delegating side are in C{delegations} and C{delegator}, the tables of a managing entity in
C{managing}.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from attrs import define, field, frozen
from twisted.words.xish import domish
from zope.interface import implementer

from gateway.addresses import jids
from gateway.interfaces import IDelegatedRequest
from gateway.xml.context import CLIENT
from gateway.xml.read import parse
from gateway.xml.trees import tree


@implementer(IDelegatedRequest)
@define(eq=False)
class Request:
    """
    An iq request in a delegated namespace, as it was sent.

    @ivar requester: the sender's JID, usually a full one.
    @ivar recipient: the address in C{to}; C{None} without one.
    @ivar id: the id that the requester has chosen.
    @ivar type: C{"get"} or C{"set"}.
    @ivar namespace: the namespace of the payload.
    @ivar attributes: attributes of the payload that are in no namespace, unescaped.
    @ivar xml: the payload. Without a declaration, the default namespace is C{jabber:client}.
    @ivar language: C{xml:lang} of the iq. It must not be removed on the way (RFC 6120 section 8.1.5).
    """

    requester: str
    recipient: str | None
    id: str
    type: str
    namespace: str
    attributes: Mapping[str, str]
    xml: bytes
    language: str | None = None
    _payload: domish.Element | None = field(default=None, init=False)
    _tree: Element | None = field(default=None, init=False)

    @property
    def entity(self) -> str:
        """The recipient; without one, the requester's own account (RFC 6120 section 10.3.3)."""
        return jids.bare(self.requester) if self.recipient is None else self.recipient

    @property
    def line(self) -> str:
        """
        Key of the queue that the request waits in: the user's bare JID. A requester without a resource is a
        privileged entity that asks in the user's name (XEP-0356 section 6). Such requests have a queue of their
        own, because the handlers of the user's requests may wait for them.
        """
        user, slash, _ = self.requester.partition("/")
        return user if slash else f"{user}/"

    @property
    def payload(self) -> domish.Element:
        """The payload as a tree, built at the first access."""
        if self._payload is None:
            self._payload = parse(CLIENT.header, self.xml)
        return self._payload

    @property
    def tree(self) -> Element:
        """The same as a tree of C{xml.etree.ElementTree}, which is built five times as fast."""
        if self._tree is None:
            self._tree = tree(CLIENT, self.xml)
        return self._tree


@frozen(eq=False)
class Reply:
    """
    The iq that answers a L{Request}.

    @ivar type: C{"result"} or C{"error"}.
    @ivar xml: the content, as L{Request.xml}.
    """

    sender: str | None
    recipient: str | None
    id: str | None
    type: str | None
    xml: bytes
    language: str | None = None

    def answers(self, request: Request) -> bool:
        """
        Return true if this is a valid reply to a request.

        Section 4.3: "MUST insure that the 'to' and the 'from' attribute corresponds to respectively the 'from' and
        the 'to' attributes of the initial stanza, MUST insure that the 'id' attribute of the decapsulated stanza is
        the same as the initial 'id' attribute and that 'type' is "result"".

        Errors are accepted as well, as servers pass them on. C{from} may be missing.
        """
        return (
            self.id == request.id
            and self.type in ("result", "error")
            and _same(self.recipient, request.requester)
            and (self.sender is None or _same(self.sender, request.entity))
        )


def _same(one: str | None, other: str) -> bool:
    """Return true if two addresses are equal after preparation."""
    if one == other:
        return True
    try:
        return one is not None and jids.prepared(one) == jids.prepared(other)
    except ValueError:
        return False
