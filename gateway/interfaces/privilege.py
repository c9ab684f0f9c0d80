"""
Privileges of a component for the users of a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.words.xish import domish
from zope.interface import Attribute, Interface

from gateway.stream.stanzas import Stanza


@frozen(kw_only=True)
class RosterItem:
    """
    A contact in a user's roster (RFC 6121 section 2.1.2).

    @ivar jid: its JID, usually a bare JID.
    @ivar subscription: C{none}, C{to}, C{from} or C{both}; C{remove} if the contact was or is to be removed.
    @ivar ask: true while the user's subscription request is not answered; read only.
    """

    jid: str
    name: str = ""
    groups: frozenset[str] = frozenset()
    subscription: str = "none"
    ask: bool = False


class IPermissions(Interface):
    """The privileges that one server grants to one component (XEP-0356 section 7)."""

    version: str = Attribute("The namespace of the advertisement; empty if the server has advertised nothing.")
    roster: str = Attribute("C{none}, C{get}, C{set} or C{both}.")
    message: str = Attribute("C{none} or C{outgoing}.")
    iq: Mapping[str, str] = Attribute("C{none}, C{get}, C{set} or C{both}, by the namespace of the payload.")
    feed: str = Attribute(
        "The presence that the component gets: C{none}, C{managed_entity}, or C{roster}, which includes the former."
    )
    pushes: bool = Attribute("True if the server sends the component roster pushes.")


class IPrivileges(Interface):
    """
    Privileges of a component for the users of a server (XEP-0356), as far as the server grants them.

    If a request needs a privilege that is not granted, nothing is sent and L{gateway.errors.NotGranted} gives the
    reason. Deferreds may also fail with a C{StanzaError}: the server's error, C{remote-server-timeout}, or
    C{remote-server-not-found} if the connection is lost.
    """

    def permissions(server: str) -> IPermissions:
        """
        Return the privileges that a server grants now. The returned object does not change later.

        @raise gateway.errors.NotGranted: if advertisements of this server are not accepted.
        """

    def getRoster(user: str) -> Deferred[list[RosterItem]]:
        """
        Request a user's roster.

        @param user: bare JID.
        """

    def setRoster(user: str, items: Iterable[RosterItem]) -> Deferred[None]:
        """
        Set these roster items, one after the other, and no others. Stop at the first failure.

        @param user: bare JID.
        """

    def sendAs(message: domish.Element) -> None:
        """
        Let the server send a message.

        @param message: from the bare JID of a user, or from the server; is not changed.
        @raise gateway.errors.NotGranted: if the server has not granted it.
        """

    def requestAs(user: str, iq: domish.Element) -> Deferred[domish.Element]:
        """
        Let the server send an iq request on behalf of a user.

        @param user: bare JID.
        @param iq: of type get or set, to any address; is not changed.
        @return: fires with the result; an error is a C{StanzaError}.
        """

    def pushRoster(user: str, resource: str, item: RosterItem, refused: Callable[[], object]) -> bool:
        """
        Send a roster push to one of a user's clients, in the user's name, if the server does not send it itself
        (RFC 6121 section 2.1.6).

        @param user: bare JID.
        @param resource: full JID of the client.
        @param refused: called if an error is returned: the client may be offline.
        @return: false if too much output waits for the server.
        @raise gateway.errors.NotGranted: if the server does not grant iq requests (set) in C{jabber:iq:roster}.
        """

    def watchPresence(observer: Callable[[Stanza], object]) -> None:
        """
        Register an observer of the presence that the server forwards: of each resource that becomes available (no
        type) or C{unavailable}. If the server supports it, the presence of all available users is repeated after
        each connection.
        """

    def watchRosters(observer: Callable[[str, list[RosterItem]], object]) -> None:
        """Register an observer of roster pushes, called with the user's bare JID and the changed items."""
