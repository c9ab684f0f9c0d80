"""
The permissions of a privileged entity and their checks (XEP-0356 0.4.1). Pure. Both sides use them: the server must
refuse, and the entity can refuse before it sends anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import NotGranted
from gateway.interfaces import IPermissions

IQ_TYPES = frozenset({"none", "get", "set", "both"})
# Values of C{type} for each C{access} except C{iq}.
TYPES = {
    "roster": IQ_TYPES,
    "message": frozenset({"none", "outgoing"}),
    "presence": frozenset({"none", "managed_entity", "roster"}),
}


@frozen
class PrivilegedIq:
    """
    An iq request on behalf of a managed entity, encapsulated in a top-level iq.

    @ivar user: C{to} of the top-level iq.
    @ivar kind: type of the top-level iq.
    @ivar namespace: namespace of the encapsulated iq.
    @ivar sender: C{from} of the encapsulated iq; empty if it has none.
    @ivar innerKind: type of the encapsulated iq.
    @ivar payload: namespace of its payload.
    """

    user: str
    kind: str
    namespace: str
    sender: str
    innerKind: str
    payload: str


@implementer(IPermissions)
@frozen
class Permissions:
    """
    The permissions that one server grants one entity; none by default.

    @ivar server: domain of the server and of the managed entities.
    @ivar version: namespace of the advertisement; empty as long as there is none.
    @ivar push: C{None} for the default.
    @ivar iq: C{get}, C{set}, C{both} or C{none}, by namespace of the payload.
    """

    server: str
    version: str = ""
    roster: str = "none"
    push: bool | None = None
    message: str = "none"
    presence: str = "none"
    iq: Mapping[str, str] = field(factory=dict)

    @property
    def readsRosters(self) -> bool:
        return self.roster in ("get", "both")

    @property
    def pushes(self) -> bool:
        """
        True if the server sends roster pushes to the entity.

        > Roster pushes MUST NOT be sent if roster permission type is either "none" or "set".  (section 4.1)
        """
        return self.readsRosters and self.push is not False

    @property
    def feed(self) -> str:
        """
        The presence that the entity gets: C{none}, C{managed_entity}, or C{roster}, which includes the former.

        > The server MUST reject the permission if the privileged entity doesn't have read permission on roster
        > namespace.  (section 7.4)
        """
        return "none" if self.presence == "roster" and not self.readsRosters else self.presence

    def inWords(self) -> str:
        """Return all permissions as text for an operator."""
        iqs = "".join(f", {kind} for {namespace}" for namespace, kind in self.iq.items())
        return (
            f"{self.server} grants roster {self.roster}{' with pushes' if self.pushes else ''}, "
            f"message {self.message}, presence {self.feed}{iqs}"
        )

    def checkRoster(self, user: str, kind: str) -> None:
        """
        Check access to a user's roster.

        > The server MUST check that the privileged entity has right to get or set the roster of managed entity
        > (section 4.3)

        @param kind: C{get} or C{set}.
        @raise NotGranted: if it is not granted.
        """
        self._checkManaged(user)
        if not _covers(self.roster, kind):
            raise self._refusal(f'to {kind} rosters (roster is "{self.roster}")')

    def checkMessage(self, sender: str) -> None:
        """
        Check that a message may be sent from a bare JID, or from the server itself.

        > forwarded <message/> 'from' attribute MUST be a bare JID from the server, no resource is allowed
        > (section 5.1)

        @raise NotGranted: if it is not granted.
        """
        if sender != self.server:
            self._checkManaged(sender)
        if self.message != "outgoing":
            raise self._refusal(f'to send messages in its name (message is "{self.message}")')

    def checkIq(self, request: PrivilegedIq) -> None:
        """
        Check a request on behalf of a user, by the conditions of section 6.3 in its order.

        > The server MUST refuse the request with a <forbidden/> error if any of the following condition happens

        @raise NotGranted: if one of them does.
        """
        # > the 'to' attribute of the top-level <iq/> stanza is not a bare JID of a managed entity
        self._checkManaged(request.user)
        # > the requesting entity has not the permission granted for the namespace used in payload
        granted = self.iq.get(request.payload, "none")
        if granted == "none":
            raise self._refusal(f"requests of {request.payload!r} on behalf of its users")
        # > ... for the type of <iq/> request used in the encapsulated <iq/> stanza for the namespace
        if not _covers(granted, request.innerKind):
            raise self._refusal(f'to {request.innerKind} {request.payload!r} (it is granted as "{granted}")')
        # > the namespace of the encapsulated <iq/> stanza is not "jabber:client"
        if request.namespace != ns.CLIENT:
            raise NotGranted(f"the encapsulated iq is in {request.namespace!r}, not in {ns.CLIENT!r}")
        # > the 'from' attribute of the encapsulated <iq/> stanza exists and is set to a JID which doesn't match
        if request.sender and request.sender != request.user:
            raise NotGranted(f"the encapsulated iq is from {request.sender}, not from {request.user}")
        # > the 'type' attribute of the top-level <iq/> stanza does not match
        if request.kind != request.innerKind:
            raise NotGranted(f"the encapsulated iq is a {request.innerKind}, the one around it a {request.kind}")

    def showsPresence(self, kind: str | None, managed: bool, shown: bool) -> bool:
        """
        Return true if the entity gets a presence stanza.

        > Only initial <presence/> stanzas and <presence/> stanzas with a 'type' attribute with the value
        > "unavailable" are transmitted  (section 7.1)

        > if a privileged entity is supposed to received several time the same <presence/> stanza, the server SHOULD
        > send it only once  (section 8)

        @param kind: type of the presence.
        @param managed: true for presence of a managed entity, false for presence of a contact.
        @param shown: true if the entity was last shown this resource as available.
        """
        if self.feed == "none" or (self.feed == "managed_entity" and not managed):
            return False
        return (kind is None and not shown) or (kind == "unavailable" and shown)

    def _checkManaged(self, user: str) -> None:
        local, domain, resource = jids.split(user)
        if not local or domain != self.server or resource:
            raise NotGranted(f"{user!r} is not the bare JID of a user of {self.server}")

    def _refusal(self, what: str) -> NotGranted:
        if not self.version:
            missing = f"{self.server} has advertised no privileges, so it does not grant {what}"
        else:
            missing = f"{self.server} does not grant {what}"
        return NotGranted(f"{missing}: see docs/privilege.md")


def _covers(granted: str, kind: str) -> bool:
    return kind in ("get", "set") and granted in (kind, "both")
