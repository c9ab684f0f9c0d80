"""
Who is behind each address that the translation gives, and what leads there. Pure.
"""

from __future__ import annotations

from gateway import jids
from gateway.proxy.actions import Relay
from gateway.proxy.addresses import BrokenSeal, Sealer, UnknownHandle
from gateway.stream.shares import Share, Shares
from gateway.stream.stanzas import route

# Requesters whose tokens are at hand, and bytes of their addresses; the others' are made, or checked, again when
# needed.
_MOST = 4_096
_LONGEST = 512

# Ways to resources that each of them keeps, and bytes of these.
_MOST_WAYS = 16
_MOST_BYTES = 2_048


class Correspondent:
    """
    Somebody who wrote to the component, together with the address they wrote to.

    @ivar alias: who they are for the implementing client, C/TOKEN.
    @ivar back: leads from the address to the requester.
    @ivar share: what the requester's account has open.
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
        """What leads from the alias to a resource of the target."""
        relay = self._there.get(resource)
        if relay is None:
            relay = Relay(route(self.alias, resource))
            size = len(relay.route)
            if len(self._there) >= _MOST_WAYS or self._bytes + size > _MOST_BYTES:
                self._there.clear()
                self._bytes = 0
            if size <= _MOST_BYTES:
                self._there[resource] = relay
                self._bytes += size
        return relay


class Correspondents:
    """
    All of one component's; those who wrote lately are at hand.

    @ivar prefix: how each alias begins.
    @param shares: of the table of open exchanges.
    """

    def __init__(self, sealer: Sealer, shares: Shares) -> None:
        self.prefix = sealer.component + "/"
        self._sealer = sealer
        self._shares = shares
        self._byAddress: dict[tuple[str, str], Correspondent] = {}
        self._byAlias: dict[str, Correspondent] = {}

    def welcome(self, requester: str, address: str) -> Correspondent | None:
        """
        The correspondent for a requester and the address written to, if it is the component's.

        A server may know several components on one connection, and what is for one must not reach another's target.
        """
        known = self._byAddress.get((requester, address))
        if known is None and jids.split(address)[1].lower() == self._sealer.component:
            return self.meet(requester, address)
        return known

    def meet(self, requester: str, address: str) -> Correspondent:
        """The correspondent for a requester and an address of the component."""
        known = self._byAddress.get((requester, address))
        if known is not None:
            return known
        alias = self.prefix + self._sealer.seal(requester, address)
        correspondent = Correspondent(requester, address, alias, self._shares.of(requester))
        if len(correspondent.back.route) <= _LONGEST:
            if len(self._byAddress) >= _MOST:
                self._byAddress.clear()
                self._byAlias.clear()
            self._byAddress[requester, address] = self._byAlias[alias] = correspondent
        return correspondent

    def recall(self, alias: str) -> Correspondent:
        """
        The correspondent whom an alias stands for.

        @raise BrokenSeal: as L{Sealer.unseal}.
        @raise UnknownHandle: as L{Sealer.unseal}.
        """
        known = self._byAlias.get(alias)
        return known or self.meet(*self._sealer.unseal(alias.removeprefix(self.prefix)))

    def resolve(self, recipient: str) -> Correspondent | None:
        """
        Whom the implementing client means: a token's requester, or C{user\\40domain@C/resource} (XEP-0106); if
        anybody.
        """
        if recipient.startswith(self.prefix):
            try:
                return self.recall(recipient)
            except (BrokenSeal, UnknownHandle):
                return None
        local, domain, resource = jids.split(recipient)
        if domain.lower() != self._sealer.component:
            return None
        try:
            user = jids.prepared(jids.unescapeLocal(local) + (f"/{resource}" if resource else ""))
        except ValueError:
            return None
        # Back to the component itself would be a loop.
        if jids.split(user)[1] == self._sealer.component:
            return None
        return self.meet(user, self._sealer.component)
