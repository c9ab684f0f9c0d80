"""
The rules of Namespace Delegation (XEP-0355), for both sides; pure.

A L{Request} is forwarded, and a L{Reply} comes back. A L{Delegation} is a rule of the delegating side: a server, or
a managing entity that forwards requests further. The managing entity's own tables are in C{managing}.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.words.xish import domish
from zope.interface import implementer

from gateway.addresses import jids
from gateway.delegation.nesting import REMAINING, VERSIONS
from gateway.interfaces import IDelegatedRequest
from gateway.xml.context import CLIENT
from gateway.xml.read import parse


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
    @ivar xml: the payload, for a place where the default namespace is C{jabber:client}.
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


# The delegating server.


@frozen
class Delegation:
    """
    One delegated namespace (section 4.1).

    @ivar entities: JIDs of managing entities; the first one that is available gets the requests.
    @ivar filtering: attributes that the payload must have.
    """

    namespace: str
    entities: tuple[str, ...]
    filtering: frozenset[str] = frozenset()

    def covers(self, request: Request) -> bool:
        """
        Return true if a request in this namespace is delegated.

        Section 4.1: "attributes which must be present in the initial iq child element"; section 4.3.1: "If a stanza
        is sent by the managing entity on a managed namespace, the server MUST NOT forward it."
        """
        return self.filtering <= request.attributes.keys() and not self.isManagedBy(request.requester)

    def isManagedBy(self, sender: str) -> bool:
        """Return true for an address of a managing entity; for a bare JID, any of its resources."""
        return sender in self.entities or jids.bare(sender) in self.entities


def delegationOf(request: Request, delegations: Mapping[str, Delegation], managed: bool) -> Delegation | None:
    """
    Return the delegation that a request falls under; C{None} if there is none.

    @param delegations: by namespace.
    @param managed: for disco requests on bare JIDs: true if the server itself has an answer for the node.
    """
    delegation = delegations.get(request.namespace)
    if delegation is None and not managed and request.type == "get":
        names = REMAINING.get(request.namespace, ())
        delegation = next((delegations[name] for name in names if name in delegations), None)
    return delegation if delegation is not None and delegation.covers(request) else None


def isDelegable(namespace: str) -> bool:
    """Return false for the namespaces of XEP-0355: they "MUST NOT be delegated" (section 8, rule 5)."""
    return namespace not in VERSIONS
