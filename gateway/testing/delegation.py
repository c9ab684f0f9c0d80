"""
Delegated requests (XEP-0355).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from gateway import ns
from gateway.delegation.stanzas import readRequest, unwrap
from gateway.interfaces import IDelegatedRequest
from gateway.testing.wire import stanzas
from gateway.xml.write import escape


def delegated(
    payload: str,
    component: str,
    kind: str = "get",
    requester: str = "juliet@example.com/balcony",
    entity: str | None = None,
    identifier: str = "1",
) -> str:
    """
    Return a user's request as a server forwards it to the managing entity. The server is the requester's domain.

    @param payload: one element, for a place where the default namespace is C{jabber:client}.
    @param component: the JID of the managing entity.
    @param kind: C{"get"} or C{"set"}.
    @param requester: full JID of the user.
    @param entity: the recipient of the request: the bare JID of a user, or the server's domain. By default the
        request has none, so it is for the requester's account.
    @param identifier: the id of both the request and its wrapper.
    """
    server = requester.partition("/")[0].rpartition("@")[2]
    to = "" if entity is None else f" to='{escape(entity)}'"
    common = f"id='{escape(identifier)}'"
    return (
        f"<iq type='set' from='{escape(server)}' to='{escape(component)}' {common}>"
        f"<delegation xmlns='{ns.DELEGATION_2}'><forwarded xmlns='{ns.FORWARD}'>"
        f"<iq xmlns='{ns.CLIENT}' type='{escape(kind)}' from='{escape(requester)}'{to} {common}>{payload}</iq>"
        "</forwarded></delegation></iq>"
    )


def forwarded(answer: Element) -> Element:
    """
    Return the iq of type result or error that a managing entity's answer contains.

    @param answer: the iq that the server has received.
    @raise AssertionError: if there is not exactly one.
    """
    found = answer.findall(f"{{{ns.DELEGATION_2}}}delegation/{{{ns.FORWARD}}}forwarded/{{{ns.CLIENT}}}iq")
    assert len(found) == 1, f"{len(found)} forwarded iqs in {answer.tag} of type {answer.get('type')}"
    return found[0]


def delegatedRequest(
    payload: str,
    kind: str = "get",
    requester: str = "juliet@example.com/balcony",
    entity: str | None = None,
    identifier: str = "1",
) -> IDelegatedRequest:
    """Return a delegated request as C{IDelegatedNamespace.answer} gets it; parameters as for L{delegated}."""
    [stanza] = stanzas(delegated(payload, "service.example.com", kind, requester, entity, identifier))
    return readRequest(unwrap(stanza))
