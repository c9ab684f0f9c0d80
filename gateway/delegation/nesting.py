"""
Disco information of a managing entity that becomes part of the server's (XEP-0355 section 7); pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from attrs import frozen

from gateway import ns

T = TypeVar("T")

VERSIONS = (ns.DELEGATION_2, ns.DELEGATION_1)

# Namespaces that mean disco requests on bare JIDs without an answer of the server (sections 7.2.4, 7.2.5). The last
# form is from older versions of the specification.
REMAINING = {
    ns.DISCO_INFO: (*(f"{version}:bare:disco#info:*" for version in VERSIONS), f"{ns.DISCO_INFO}:*"),
    ns.DISCO_ITEMS: (*(f"{version}:bare:disco#items:*" for version in VERSIONS), f"{ns.DISCO_ITEMS}:*"),
}


def remaining(table: Mapping[str, T], namespace: str) -> T | None:
    """Return a table's entry, by namespace, for disco requests to bare JIDs that the server cannot answer."""
    return next((table[name] for name in REMAINING.get(namespace, ()) if name in table), None)


def nestingNode(version: str, namespace: str, bare: bool) -> str:
    """Return the node whose disco#info is nested into that of the server, or of its users' bare JIDs."""
    return f"{version}{':bare:' if bare else '::'}{namespace}"


def readNestingNode(node: str) -> tuple[str, bool] | None:
    """
    Return the namespace of such a node, and true if it is for bare JIDs; C{None} for any other node.
    """
    for version in VERSIONS:
        for separator, bare in (("::", False), (":bare:", True)):
            if node.startswith(version + separator):
                return node[len(version + separator) :], bare
    return None


@frozen
class Info:
    """
    Content of a disco#info result.

    @ivar identities: category, type, name.
    @ivar features: in order.
    @ivar forms: extensions (XEP-0128), as XML.
    """

    identities: tuple[tuple[str, str, str], ...] = ()
    features: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()

    def __add__(self, other: Info) -> Info:
        """Return the union of both."""
        return Info(
            tuple(dict.fromkeys(self.identities + other.identities)),
            tuple(dict.fromkeys(self.features + other.features)),
            tuple(dict.fromkeys(self.forms + other.forms)),
        )


@frozen
class Grant:
    """
    One delegated namespace, as a server advertises it (section 4.2).

    @ivar version: namespace of the advertisement.
    @ivar filtering: attributes that a payload must have to be delegated.
    """

    namespace: str
    version: str
    filtering: frozenset[str] = frozenset()


def isNested(namespace: str) -> bool:
    """Return false for namespaces that mean disco itself: there is nothing to nest."""
    return not any(namespace in names for names in REMAINING.values())
