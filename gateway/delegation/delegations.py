"""
Delegated namespaces, as the delegating side knows them: a server, or a managing entity that forwards requests
further; pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from gateway.addresses import jids
from gateway.delegation.core import Request
from gateway.delegation.nesting import VERSIONS, remaining


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
        delegation = remaining(delegations, request.namespace)
    return delegation if delegation is not None and delegation.covers(request) else None


def isDelegable(namespace: str) -> bool:
    """Return false for the namespaces of XEP-0355: they "MUST NOT be delegated" (section 8, rule 5)."""
    return namespace not in VERSIONS
