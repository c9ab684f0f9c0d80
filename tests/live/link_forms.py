"""The rooms of a fault run (L{tests.live.link_storm}), and the configurations of the two gateways."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen

from tests.link.core import Side
from tests.live.federation import (
    CONFERENCE,
    DOMAINS,
    FAR_CONFERENCE,
    FAR_ROOMS,
    MIRROR,
    NEAR_MIRROR,
    PRIMARY,
    ROOMS,
)
from tests.live.processes import Value
from tests.live.rooms import mirrored

# Tables of a configuration.
Tables = dict[str, dict[str, Value]]


@frozen
class SharedRoom:
    """
    A room at one site, and its mirror at the other one.

    @ivar name: beginning of its local part.
    @ivar home: site of the room.
    @ivar service: domain whose rooms are mirrored.
    @ivar mode: of the mirror.
    @ivar backing: domain of the ordinary room behind the room; empty for none.
    """

    name: str
    home: Side
    service: str
    mirror: str
    mode: str
    backing: str = ""

    def address(self, side: Side, isDirect: bool) -> str:
        """
        Return the room that the users of a site enter.

        @param isDirect: as of a fault run; ordinary rooms of an earlier run are still there.
        """
        local = f"{self.name}-{'direct' if isDirect else 's2s'}"
        if side is self.home:
            return f"{local}@{self.backing or self.service}"
        return mirrored(f"{local}@{self.service}", self.mirror)


class Form(Enum):
    """Forms of the fault run."""

    # Rooms of the gateway.
    OWN = (
        SharedRoom("primary", Side.A, ROOMS, PRIMARY, "primary"),
        SharedRoom("replica", Side.A, ROOMS, MIRROR, "replica"),
    )
    # Rooms of the gateways at both sites, each mirrored at the other one.
    EACH_WAY = (
        SharedRoom("near", Side.A, ROOMS, MIRROR, "replica"),
        SharedRoom("far", Side.B, FAR_ROOMS, NEAR_MIRROR, "primary"),
    )
    # Ordinary rooms at one site, mirrored in both modes.
    ONE_END = (
        SharedRoom("primary", Side.A, ROOMS, PRIMARY, "primary", CONFERENCE),
        SharedRoom("replica", Side.A, ROOMS, MIRROR, "replica", CONFERENCE),
    )
    # Ordinary rooms at both sites, each mirrored at the other one.
    BOTH_ENDS = (
        SharedRoom("near", Side.A, ROOMS, MIRROR, "replica", CONFERENCE),
        SharedRoom("far", Side.B, FAR_ROOMS, NEAR_MIRROR, "replica", FAR_CONFERENCE),
    )

    def tables(self, side: Side) -> Tables:
        """Return the tables of the services of a site's gateway."""
        found: Tables = {}
        for each in self.value:
            if each.home is side:
                table = found.setdefault(f'rooms."{each.service}"', {"peers": []})
                peers = table["peers"]
                assert isinstance(peers, list)
                peers.append(each.mirror)
                if each.backing:
                    table["backing"] = each.backing
            else:
                # When a server is killed, all its users leave. The mirror stays, so that its archive continues.
                found[f'mirror."{each.mirror}"'] = {
                    "allow": [each.service],
                    "users": [DOMAINS[side][0]],
                    "keep": "5m",
                    "mode": each.mode,
                }
        return found

    def components(self, side: Side) -> Sequence[str]:
        """Return the domains of these services."""
        found = (each.service if each.home is side else each.mirror for each in self.value)
        return list(dict.fromkeys(found))
