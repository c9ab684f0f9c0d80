"""Status of the rooms of a component, for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gateway.fmuc.core import Rooms
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import Node
from gateway.fmuc.returning import Uplink
from gateway.fmuc.uplink import UplinkState
from gateway.fmuc.values import Mode
from gateway.muc.room import Room
from gateway.muc.values import OWNER
from gateway.reports import StatusItem

# Rooms of each kind; the others are only counted.
_MAX_REPORTED = 100

_CROSSED = "{sent} bytes to it, {received} from it"
_STATES = {
    UplinkState.IDLE: "idle, no occupants",
    UplinkState.JOINING: "joining",
    UplinkState.JOINED: "joined",
    UplinkState.RETURNING: "returning",
    UplinkState.LOST: "unreachable: users stay for some time",
    UplinkState.LEAVING: "leaving",
    UplinkState.WITHDRAWING: "leaving",
}


def described(rooms: Rooms) -> Iterator[StatusItem]:
    """Return the status of the persistent rooms, and of those that have other nodes."""
    persistent = [room for room in rooms.rooms.values() if room.settings.persistent]
    if persistent:
        yield _persistent(persistent)
    federations = (each for each in map(rooms.federation, rooms.rooms) if each is not None)
    federated = (each for each in federations if each.isMirror or each.joiningNodes)
    yield from map(_federated, islice(federated, _MAX_REPORTED))


def _persistent(rooms: list[Room]) -> StatusItem:
    """Return the persistent rooms, each with one of its owners, whom the operator can ask."""
    described = []
    for room in rooms[:_MAX_REPORTED]:
        owners = [jid for jid, affiliation in room.affiliations.items() if affiliation == OWNER]
        about = {"room": room.jid, "occupants": len(room.occupants), "owner": (owners or ["nobody"])[0]}
        text = "{room}: {occupants} occupants, owned by {owner}"
        if len(owners) > 1:
            text, about["others"] = text + " and {others} more", len(owners) - 1
        described.append(StatusItem("rooms.persistent_room", text, about))
    about = {"count": len(rooms), "rooms": tuple(described)}
    more = len(rooms) - len(described)
    text = "persistent rooms: {count}: {rooms}"
    return StatusItem("rooms.persistent", text + (f"; {more} more" if more else ""), about)


def _federated(federation: Federation) -> StatusItem:
    """Return the status of a room that has other nodes."""
    room, uplink = federation.room, federation.uplink
    nodes = []
    if uplink is not None:
        about = {"state": _uplinkText(uplink), **_bytes(uplink.node)}
        nodes.append(StatusItem("rooms.joined_node", f"mirrors {{node}}: {{state}}, {_CROSSED}", about))
    for node in federation.joiningNodes.values():
        about = {"occupants": len(node.occupants), **_bytes(node)}
        nodes.append(
            StatusItem("rooms.joining_node", f"mirrored by {{node}}: {{occupants}} there, {_CROSSED}", about)
        )
    return StatusItem(
        "rooms.federated",
        "{room}: {here} here, {all} in all; {nodes}",
        {"room": room.jid, "here": room.localCount, "all": len(room.occupants), "nodes": tuple(nodes)},
    )


def _uplinkText(uplink: Uplink) -> str:
    mode = uplink.node.mode
    if uplink.state is UplinkState.JOINED and (mode.asked, mode.current) == (Mode.REPLICA, Mode.PRIMARY):
        # The joined node speaks XEP-0289, but does not know replica mode.
        return "joined (primary: it sends nothing back)"
    return _STATES[uplink.state]


def _bytes(node: Node) -> dict[str, str | int]:
    return {"node": node.jid, "sent": node.bytesSent, "received": node.bytesReceived}
