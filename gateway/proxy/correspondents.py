"""
Requesters, each with the alias by which the implementing client knows it. Pure.
"""

from __future__ import annotations

from gateway.addresses import jids
from gateway.proxy.actions import Relay
from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from gateway.stream.shares import Share, Shares
from gateway.xml.write import route

# Cached requesters, and bytes of their addresses. Tokens of others are made, or checked, again when needed.
_MAX_CORRESPONDENTS = 4_096
_MAX_ROUTE = 512

# Cached relays to resources for each of them, and bytes of these.
_MAX_WAYS = 16
_MAX_BYTES = 2_048


class Correspondent:
    """
    A requester, together with the address that it wrote to.

    @ivar alias: its address for the implementing client, C/TOKEN.
    @ivar back: the relay from that address to the requester.
    @ivar share: the open requests of the requester's account.
    """

    __slots__ = ("requester", "address", "alias", "back", "share", "_there", "_bytes")

    def __init__(self, requester: str, address: str, alias: str, share: Share) -> None:
        self.requester = requester
        self.address = address
        self.alias = alias
        self.back = Relay(route(address, requester))
        self.share = share
        self._there: dict[str, Relay] = {}
        self._bytes = 0

    def to(self, resource: str) -> Relay:
        """Return the relay from the alias to a resource of the target."""
        relay = self._there.get(resource)
        if relay is None:
            relay = Relay(route(self.alias, resource))
            size = len(relay.route)
            if len(self._there) >= _MAX_WAYS or self._bytes + size > _MAX_BYTES:
                self._there.clear()
                self._bytes = 0
            if size <= _MAX_BYTES:
                self._there[resource] = relay
                self._bytes += size
        return relay


class Correspondents:
    """
    The correspondents of one component; the recent ones are cached.

    @ivar prefix: the beginning of each alias.
    @param shares: the shares of the table of open exchanges.
    """

    def __init__(self, sealer: Sealer, shares: Shares) -> None:
        self.prefix = sealer.component + "/"
        self._sealer = sealer
        self._shares = shares
        self._byAddress: dict[tuple[str, str], Correspondent] = {}
        self._byAlias: dict[str, Correspondent] = {}

    def forRequest(self, requester: str, address: str) -> Correspondent | None:
        """
        Return the correspondent for a requester and the address it wrote to; C{None} if it is another component's.

        A server may use one connection for several components; stanzas for one must not reach another's target.
        """
        known = self._byAddress.get((requester, address))
        if known is None and jids.split(address)[1].lower() == self._sealer.component:
            return self.getOrMake(requester, address)
        return known

    def getOrMake(self, requester: str, address: str) -> Correspondent:
        """Return the correspondent for a requester and an address of the component."""
        known = self._byAddress.get((requester, address))
        if known is not None:
            return known
        alias = self.prefix + self._sealer.seal(requester, address)
        correspondent = Correspondent(requester, address, alias, self._shares.of(requester))
        if len(correspondent.back.route) <= _MAX_ROUTE:
            if len(self._byAddress) >= _MAX_CORRESPONDENTS:
                self._byAddress.clear()
                self._byAlias.clear()
            self._byAddress[requester, address] = self._byAlias[alias] = correspondent
        return correspondent

    def byAlias(self, alias: str) -> Correspondent:
        """
        Return the correspondent of an alias.

        @raise BrokenSeal: as L{Sealer.unseal}.
        @raise UnknownHandle: as L{Sealer.unseal}.
        """
        known = self._byAlias.get(alias)
        return known or self.getOrMake(*self._sealer.unseal(alias.removeprefix(self.prefix)))

    def byRecipient(self, recipient: str) -> Correspondent | None:
        """
        Find the correspondent that the implementing client writes to, by an alias or by
        C{user\\40domain@C/resource} (XEP-0106); C{None} if there is none.
        """
        if recipient.startswith(self.prefix):
            try:
                return self.byAlias(recipient)
            except (BrokenSeal, UnknownHandle):
                return None
        local, domain, resource = jids.split(recipient)
        if domain.lower() != self._sealer.component:
            return None
        try:
            user = jids.prepared(jids.unescapeLocal(local) + (f"/{resource}" if resource else ""))
        except ValueError:
            return None
        # A stanza to the component itself would loop.
        if jids.split(user)[1] == self._sealer.component:
            return None
        return self.getOrMake(user, self._sealer.component)
