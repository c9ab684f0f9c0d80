"""Status and metrics of the rooms of a component, for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.delivery import Delivery
from gateway.fmuc.echo import Echoes
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import Node
from gateway.fmuc.ordinary.backing import Backing
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.service import LATER
from gateway.fmuc.traffic import Traffic
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from gateway.metrics import IMetrics, label, names
from gateway.muc.room import Room
from gateway.muc.values import OWNER
from gateway.reports import StatusItem

# Rooms of each kind; the others are only counted.
_MAX_REPORTED = 100

_CROSSED = "{sent} bytes to it, {received} from it"
_PROFILE = ", profile {profile}: {left_out} left out"
_CHANNEL = ", channel {channel}, stanzas not acknowledged: {kept}"
_ADVICE = (
    "; if the network between the sites works, check that the other gateway and its server run, and s2s, or the "
    "direct link, between the sites"
)
_STATES = {
    UplinkState.IDLE: "idle, no occupants",
    UplinkState.JOINING: "joining",
    UplinkState.JOINED: "joined",
    UplinkState.RETURNING: "returning",
    UplinkState.LOST: "unreachable, asked again and again",
    UplinkState.LEAVING: "leaving",
    UplinkState.WITHDRAWING: "leaving",
}


def measure(metrics: IMetrics, rooms: Rooms, delivery: Delivery, traffic: Traffic) -> None:
    """Provide the metrics of the rooms."""
    metrics.gauge(*names.ROOMS).setFunction(lambda: len(rooms.rooms))
    metrics.gauge(*names.OCCUPANTS).setFunction(
        lambda: {
            "here": sum(room.localCount for room in rooms.rooms.values()),
            "elsewhere": sum(len(room.occupants) - room.localCount for room in rooms.rooms.values()),
        }
    )
    metrics.gauge(*names.PENDING).labels("rooms").setFunction(lambda: rooms.pending + delivery.queries)
    metrics.gauge(*names.MIRRORS).setFunction(lambda: _mirrors(rooms))
    metrics.gauge(*names.FMUC_KEPT_MESSAGES).setFunction(
        lambda: sum(len(each.uplink.outgoing) for each in _federations(rooms) if each.uplink is not None)
    )
    metrics.gauge(*names.JOINING_NODES).setFunction(
        lambda: sum(len(federation.joiningNodes) for federation in _federations(rooms))
    )
    metrics.counter(*names.FMUC_BYTES).setFunction(lambda: dict(traffic.bytes))
    metrics.counter(*names.FMUC_LEFT_OUT).setFunction(
        lambda: {label(words): count for words, count in traffic.leftOut.items()}
    )
    _measureChannels(metrics, rooms, delivery)
    rooms.observeJoin = metrics.histogram(*names.FMUC_JOIN).observe
    traffic.echoes = Echoes(metrics.histogram(*names.FMUC_ECHO).observe)


def measureBacking(metrics: IMetrics, backing: Backing) -> None:
    """Provide the metrics of ordinary rooms."""
    metrics.gauge(*names.BACKING_OCCUPANTS).setFunction(lambda: backing.count)
    metrics.counter(*names.BACKING_COPIES).setFunction(lambda: backing.merged)


def _measureChannels(metrics: IMetrics, rooms: Rooms, delivery: Delivery) -> None:
    metrics.counter(*names.FMUC_COMPARISONS).setFunction(
        lambda: {outcome: count for outcome, count in rooms.comparisons.items() if outcome}
    )
    channels = rooms.channels
    if channels is None:
        return
    table, tally = channels.table, channels.tally
    metrics.gauge(*names.FMUC_CHANNELS).setFunction(
        lambda: {
            state.name.lower(): sum(channel.state is state for channel in table.values()) for state in ChannelState
        }
    )
    metrics.gauge(*names.FMUC_OUTBOX_STANZAS).setFunction(lambda: sum(map(len, table.values())))
    metrics.gauge(*names.FMUC_OUTBOX_BYTES).setFunction(lambda: sum(each.size for each in table.values()))
    metrics.gauge(*names.FMUC_OUTBOX_AGE).setFunction(
        lambda: max((each.age(delivery.link.now) for each in table.values()), default=0.0)
    )
    metrics.counter(*names.FMUC_OUTBOX_FULL).setFunction(lambda: tally.full)
    metrics.counter(*names.FMUC_REPEATED).setFunction(lambda: tally.repeated)
    channels.observeReturn = metrics.histogram(*names.FMUC_RETURN).observe


def _federations(rooms: Rooms) -> Iterator[Federation]:
    return (each for each in map(rooms.federation, rooms.rooms) if each is not None)


def _mirrors(rooms: Rooms) -> dict[str, int]:
    """Return the number of mirrors by the state of their uplink."""
    states = dict.fromkeys(UplinkState, 0)
    for federation in _federations(rooms):
        if federation.uplink is not None:
            states[federation.uplink.state] += 1
    return {label(state.name): count for state, count in states.items()}


def described(rooms: Rooms, delivery: Delivery) -> Iterator[StatusItem]:
    """Return the status: counts, what waits or is not stored, and rooms that are persistent or have other nodes."""
    occupants = sum(len(room.occupants) for room in rooms.rooms.values())
    about = {"rooms": len(rooms.rooms), "occupants": occupants}
    yield StatusItem("rooms.count", "rooms: {rooms}; occupants: {occupants}", about)
    if rooms.pending:
        text = "open requests to occupants and joined rooms: {count}"
        yield StatusItem("rooms.pending", text, {"count": rooms.pending})
    if delivery.queries:
        yield StatusItem("rooms.queries", "open queries of archives: {count}", {"count": delivery.queries})
    if delivery.arriving:
        text = "joins to large rooms that are being answered: {count}"
        yield StatusItem("rooms.arriving", text, {"count": delivery.arriving})
    later, options = rooms.later()
    if later:
        yield StatusItem("rooms.later", LATER, {"options": " and ".join(options), "count": later})
    if rooms.channels is not None and rooms.channels.waiting:
        text = "stanzas that are kept for nodes that do not answer: {count}"
        yield StatusItem("rooms.kept", text, {"count": rooms.channels.waiting})
    if delivery.commits is not None:
        yield from _stored(rooms, delivery.commits)
    persistent = [room for room in rooms.rooms.values() if room.settings.persistent]
    if persistent:
        yield _persistent(persistent)
    federated = (each for each in _federations(rooms) if each.isMirror or each.joiningNodes)
    yield from map(_federated, islice(federated, _MAX_REPORTED))


def _stored(rooms: Rooms, commits: Commits) -> Iterator[StatusItem]:
    """Return the faults of the store."""
    if commits.lost:
        text = "messages that are missing in the archives, because the store did not work: {count}"
        yield StatusItem("rooms.lost", text, {"count": commits.lost}, True)
    if commits.trouble:
        yield StatusItem("rooms.store_taken", "store: {trouble}", {"trouble": commits.trouble}, True)
    if rooms.durability.fault is not None:
        text = "changes that are not stored: {count}"
        if rooms.durability.refuses:
            text += "; new ones are refused until the store works"
        yield StatusItem("rooms.unstored", text, {"count": commits.unstored}, True)


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
    if uplink is not None and uplink.node.isOrdinary:
        values = {"state": _uplinkText(uplink), "node": uplink.node.jid}
        nodes.append(StatusItem("rooms.ordinary_room", "stands for {node}: {state}", values))
    elif uplink is not None:
        about = {"state": _uplinkText(uplink), **_bytes(uplink.node)}
        text = f"mirrors {{node}}: {{state}}, {_CROSSED}" + _details(uplink.node, about)
        if len(uplink.outgoing):
            about["messages"] = len(uplink.outgoing)
            text += ", messages that wait for it: {messages}"
        nodes.append(StatusItem("rooms.joined_node", text, about))
    for node in federation.joiningNodes.values():
        about = {"occupants": len(node.occupants), **_bytes(node)}
        text = f"mirrored by {{node}}: {{occupants}} there, {_CROSSED}" + _details(node, about)
        nodes.append(StatusItem("rooms.joining_node", text, about))
    # A mirror cannot do its work without its room; a room does not need its mirrors, which may often be away.
    isAway = uplink is not None and uplink.state is UplinkState.LOST
    isOrdinary = uplink is not None and uplink.node.isOrdinary
    return StatusItem(
        "rooms.federated",
        "{room}: {here} here, {all} in all; {nodes}" + _ADVICE * (isAway and not isOrdinary),
        {"room": room.jid, "here": room.localCount, "all": len(room.occupants), "nodes": tuple(nodes)},
        isProblem=isAway,
    )


def _isLost(node: Node) -> bool:
    return node.channel is not None and node.channel.state is ChannelState.LOST


def _uplinkText(uplink: Uplink) -> str:
    mode = uplink.node.mode
    isRefused = (mode.asked, mode.current) == (Mode.REPLICA, Mode.PRIMARY) and "mode" not in uplink.later
    if uplink.state is UplinkState.JOINED and isRefused:
        # The joined node speaks XEP-0289, but does not know replica mode.
        return "joined (primary: it sends nothing back)"
    return _STATES[uplink.state]


def _details(node: Node, about: dict[str, Any]) -> str:
    """Return the text about other software, a profile that is not the default, and a channel; add their values."""
    text = ", Openfire" if node.isOpenfire else ""
    if node.profile is not BROADBAND:
        about.update(profile=node.profile.name, left_out=node.leftOut)
        text += _PROFILE
    if node.channel is not None and (len(node.channel) or _isLost(node)):
        about.update(channel=node.channel.state.name.lower(), kept=len(node.channel))
        text += _CHANNEL
    return text


def _bytes(node: Node) -> dict[str, str | int]:
    return {"node": node.jid, "sent": node.bytesSent, "received": node.bytesReceived}
