"""
The rules of Namespace Delegation (XEP-0355), for both sides; pure.

What both exchange: L{Request}, L{Reply}, L{Info}, L{Grant}. The delegating server, be it a real one or a managing
entity that hands on: L{Delegation}, L{Delegator}. What the managing entity alone needs is in C{managing}.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import jids
from gateway.delegation.nesting import REMAINING, VERSIONS
from gateway.interfaces import IDelegatedRequest
from gateway.xml.context import CLIENT
from gateway.xml.read import parse


@implementer(IDelegatedRequest)
@define(eq=False)
class Request:
    """
    An iq request in a delegated namespace, as it was sent.

    @ivar requester: who sent it: a full JID as a rule.
    @ivar recipient: whom it names; C{None} for nobody.
    @ivar id: its id, which is the requester's affair.
    @ivar type: C{"get"} or C{"set"}.
    @ivar namespace: its payload's.
    @ivar attributes: its payload's, unescaped, those in no namespace.
    @ivar xml: its payload, which means the same wherever the default namespace is C{jabber:client}.
    @ivar language: its C{xml:lang}, which nobody on the way may take away (RFC 6120 section 8.1.5).
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
        """Whom it is for: without an address it is for the requester's own account (RFC 6120 section 10.3.3)."""
        return jids.bare(self.requester) if self.recipient is None else self.recipient

    @property
    def line(self) -> str:
        """
        The line that it waits in: its user's, a bare JID. A requester without a resource is a privileged entity
        that asks in the user's name (XEP-0356 section 6): it has a line of its own, since handlers of the user's
        requests may wait for it.
        """
        user, slash, _ = self.requester.partition("/")
        return user if slash else f"{user}/"

    @property
    def payload(self) -> domish.Element:
        """Its payload as a tree, built at the first look."""
        if self._payload is None:
            self._payload = parse(CLIENT.header, self.xml)
        return self._payload


@frozen(eq=False)
class Reply:
    """
    The iq that answers a L{Request}.

    @ivar type: C{"result"} or C{"error"}.
    @ivar xml: what is in it, as L{Request.xml}.
    """

    sender: str | None
    recipient: str | None
    id: str | None
    type: str | None
    xml: bytes
    language: str | None = None

    def answers(self, request: Request) -> bool:
        """
        Section 4.3: "MUST insure that the 'to' and the 'from' attribute corresponds to respectively the 'from' and
        the 'to' attributes of the initial stanza, MUST insure that the 'id' attribute of the decapsulated stanza is
        the same as the initial 'id' attribute and that 'type' is "result"".

        An error is as good: it is what servers pass on. Without C{from} the reply says nothing that could be wrong.
        """
        return (
            self.id == request.id
            and self.type in ("result", "error")
            and _same(self.recipient, request.requester)
            and (self.sender is None or _same(self.sender, request.entity))
        )


def _same(one: str | None, other: str) -> bool:
    """Whether two addresses are the same, however they are spelled."""
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
    What is delegated, and to whom (section 4.1).

    @ivar entities: JIDs of managing entities; the first that can be reached gets the requests.
    @ivar filtering: attributes that the payload must have.
    """

    namespace: str
    entities: tuple[str, ...]
    filtering: frozenset[str] = frozenset()

    def covers(self, request: Request) -> bool:
        """
        Whether a request in this namespace is delegated.

        Section 4.1: "attributes which must be present in the initial iq child element"; section 4.3.1: "If a stanza
        is sent by the managing entity on a managed namespace, the server MUST NOT forward it."
        """
        return self.filtering <= request.attributes.keys() and not self.isManagedBy(request.requester)

    def isManagedBy(self, sender: str) -> bool:
        """Whether this is an address of one of its managing entities: of a bare JID, any of its resources."""
        return sender in self.entities or jids.bare(sender) in self.entities


def delegationOf(request: Request, delegations: Mapping[str, Delegation], managed: bool) -> Delegation | None:
    """
    What makes a request one that is to be delegated, if anything does.

    @param delegations: by namespace.
    @param managed: for disco requests on bare JIDs: whether the server itself has an answer for the node.
    """
    delegation = delegations.get(request.namespace)
    if delegation is None and not managed and request.type == "get":
        names = REMAINING.get(request.namespace, ())
        delegation = next((delegations[name] for name in names if name in delegations), None)
    return delegation if delegation is not None and delegation.covers(request) else None


def isDelegable(namespace: str) -> bool:
    """Section 8, rule 5: the namespace of the XEP "MUST NOT be delegated"."""
    return namespace not in VERSIONS
