"""The configuration of a mirror, and the rooms that its addresses stand for."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from gateway.addresses import jids
from gateway.errors import NoSuchAddress, NotAMirror, NotMirrored
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.senders import within
from gateway.fmuc.values import Dialect, Mode


@frozen(kw_only=True)
class Mirroring:
    """
    Configuration of a mirror.

    @ivar dialect: protocol that is spoken with joined nodes.
    @ivar mode: mode to ask joined nodes for.
    @ivar allow: domains whose rooms may be mirrored.
    @ivar users: domains whose users may join through the mirror.
    @ivar profile: of the links to rooms.
    @ivar profiles: of those to rooms of some domains.
    @ivar keep: seconds for which a mirror stays in a room without users.
    @ivar backing: domain of the ordinary rooms (XEP-0045) that the rooms of this component stand for; empty if they
        stand for federated rooms anywhere. L{gateway.fmuc.ordinary.backing.Backing} speaks with ordinary rooms.
    """

    dialect: Dialect = Dialect.XEP_0289
    mode: Mode = Mode.REPLICA
    allow: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    profile: Profile = BROADBAND
    profiles: Mapping[str, Profile] = field(factory=dict)
    keep: int = 0
    backing: str = ""

    def profileOf(self, room: str) -> Profile:
        """Return the profile of the link to a room."""
        return self.profiles.get(jids.split(room)[1], self.profile)

    def mirrored(self, jid: str) -> str | None:
        """
        Return the room that a mirror's address stands for (XEP-0106); C{None} if it stands for none.

        Of several spellings of the escapes only the canonical one is valid. A room that stands for an ordinary one
        has its localpart; addresses with an escaped "@" are those of puppets.
        """
        local = jids.split(jid)[0]
        if self.backing:
            isRoom = bool(local) and "@" not in jids.unescapeLocal(local) and jids.isPrepared(jid)
            return f"{local}@{self.backing}" if isRoom else None
        source = jids.unescapeLocal(local)
        right = jids.isPrepared(source) and jids.escapeLocal(source) == local
        there, domain, resource = jids.split(source)
        return source if right and there and domain and not resource else None

    def check(self, source: str | None, component: str) -> None:
        """
        Check that a room may be mirrored.

        @param source: its bare JID; C{None} if the mirror's address stands for none.
        @param component: JID of the mirror's component.
        @raise GatewayError: if it may not.
        """
        if source is None:
            raise NoSuchAddress if self.backing else NotAMirror
        domain = jids.split(source)[1]
        # A user's address is not a room's: otherwise users could be sent stanzas between nodes.
        isElsewhere = domain != component and domain not in self.users
        if not isElsewhere or not within(domain, self.allow):
            raise NotMirrored
