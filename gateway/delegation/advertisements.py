"""
Stanzas about delegations, other than requests: advertisements (XEP-0355 section 4.2), disco to nest (section 7).
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.words.xish import domish

from gateway import ns
from gateway.delegation.delegations import Delegation
from gateway.delegation.nesting import VERSIONS, Grant, Info
from gateway.errors import BadRequest
from gateway.stream.stanzas import Stanza
from gateway.xml.write import iq, message, route, serialisedAll, tag

# Characters of the disco#info of one node.
_MAX_INFO = 16 * 1024


# Advertisements, section 4.2.


def readAdvertisements(stanza: Stanza) -> list[tuple[str | None, list[Grant]]]:
    """
    Read an advertisement.

    @return: for each C{delegation} element the user, or C{None} for all users of the server, and the grants.
        Unreadable parts are skipped.
    """
    found: list[tuple[str | None, list[Grant]]] = []
    try:
        element = stanza.element
    except BadRequest:
        return found
    for child in element.elements():
        if child.name == "delegation" and child.uri in VERSIONS:
            # ejabberd repeats each grant for each type of iq.
            grants = {
                each["namespace"]: Grant(
                    each["namespace"],
                    child.uri,
                    frozenset(
                        name["name"] for name in each.elements(child.uri, "attribute") if name.getAttribute("name")
                    ),
                )
                for each in child.elements(child.uri, "delegated")
                if each.getAttribute("namespace")
            }
            found.append((child.getAttribute("to"), list(grants.values())))
    return found


def advertisement(
    version: str,
    sender: str,
    recipient: str,
    identifier: str,
    delegations: Iterable[Delegation],
    user: str | None = None,
) -> bytes:
    """
    Return the message that tells a managing entity what is delegated to it.

    @param user: the user who delegates; C{None} for all users of the server.
    """
    inside = "".join(
        tag(
            "delegated",
            "".join(tag("attribute", name=name) for name in sorted(each.filtering)),
            namespace=each.namespace,
        )
        for each in delegations
    )
    content = tag("delegation", inside, xmlns=version, to=user)
    return message(route(sender, recipient), content.encode(), identifier)


# Disco, section 7.2.


def infoQuery(sender: str, recipient: str, identifier: str, node: str) -> bytes:
    """Return the query for the disco#info to nest."""
    query = tag("query", xmlns=ns.DISCO_INFO, node=node)
    return iq(route(sender, recipient), identifier, "get", query.encode())


def readInfo(iq: domish.Element) -> Info:
    """
    Read a disco#info result.

    @raise BadRequest: if it is not one, or too long. It is kept in memory and becomes part of other answers.
    """
    for query in iq.elements(ns.DISCO_INFO, "query"):
        get = domish.Element.getAttribute
        info = Info(
            tuple(
                (get(each, "category", ""), get(each, "type", ""), get(each, "name", ""))
                for each in query.elements(ns.DISCO_INFO, "identity")
            ),
            tuple(get(each, "var", "") for each in query.elements(ns.DISCO_INFO, "feature")),
            tuple(serialisedAll(query.elements(ns.DATA, "x"), ns.DISCO_INFO, _MAX_INFO)),
        )
        if len(writeInfo(info)) > _MAX_INFO:
            raise BadRequest
        return info
    raise BadRequest


def writeInfo(info: Info, node: str = "") -> str:
    """Return the query element of a disco#info result, with the node of the request."""
    identities = (
        tag("identity", category=category, type=kind, name=name or None) for category, kind, name in info.identities
    )
    features = (tag("feature", var=feature) for feature in info.features)
    return tag("query", "".join((*identities, *features, *info.forms)), xmlns=ns.DISCO_INFO, node=node or None)
