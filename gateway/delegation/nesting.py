"""
What a managing entity tells of itself, to be nested into the server's disco (XEP-0355 section 7); pure.
"""

from __future__ import annotations

from attrs import frozen

from gateway import ns

VERSIONS = (ns.DELEGATION_2, ns.DELEGATION_1)

# What stands for disco requests on bare JIDs that the server itself has no answer to (sections 7.2.4, 7.2.5); the
# last form is that of the XEP's older versions.
REMAINING = {
    ns.DISCO_INFO: (*(f"{version}:bare:disco#info:*" for version in VERSIONS), f"{ns.DISCO_INFO}:*"),
    ns.DISCO_ITEMS: (*(f"{version}:bare:disco#items:*" for version in VERSIONS), f"{ns.DISCO_ITEMS}:*"),
}


def nestingNode(version: str, namespace: str, bare: bool) -> str:
    """The node whose disco#info is nested into the server's, or into that of its users' bare JIDs."""
    return f"{version}{':bare:' if bare else '::'}{namespace}"


def readNestingNode(node: str) -> tuple[str, bool] | None:
    """
    The namespace of such a node, and whether it is for bare JIDs; C{None} if it is another.
    """
    for version in VERSIONS:
        for separator, bare in (("::", False), (":bare:", True)):
            if node.startswith(version + separator):
                return node[len(version + separator) :], bare
    return None


@frozen
class Info:
    """
    What disco#info tells.

    @ivar identities: category, type, name.
    @ivar features: in order.
    @ivar forms: extensions (XEP-0128), as XML.
    """

    identities: tuple[tuple[str, str, str], ...] = ()
    features: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()

    def __add__(self, other: Info) -> Info:
        """Both, nothing twice."""
        return Info(
            tuple(dict.fromkeys(self.identities + other.identities)),
            tuple(dict.fromkeys(self.features + other.features)),
            tuple(dict.fromkeys(self.forms + other.forms)),
        )


@frozen
class Grant:
    """
    One delegated namespace, as a server advertises it (section 4.2).

    @ivar version: in which namespace it was advertised.
    @ivar filtering: attributes that a payload must have to be delegated.
    """

    namespace: str
    version: str
    filtering: frozenset[str] = frozenset()


def isNested(namespace: str) -> bool:
    """Whether its managing entity has disco to nest: what stands for disco itself has none."""
    return not any(namespace in names for names in REMAINING.values())
