"""
The names of the shipped services' metrics; docs/metrics.md describes each.

Labels have few values, all of which come from the configuration or from the code: components, servers, managing
entities, namespaces, reasons. If other software chooses the values, as the domains of other nodes, their number is
bounded (L{bounded}). No value is a user's JID, or the JID of a room.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Upper bounds in seconds: of an exchange with another entity, of work on a whole roster, and of one reactor turn.
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TURN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metric(NamedTuple):
    """Name, text and labels of a counter, if the name ends in C{_total}, or else of a gauge."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


class Histogram(NamedTuple):
    """Name, text, labels and buckets of a histogram."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = LATENCY


# Of each link.
STANZAS = Metric("xmpp_gateway_stanzas_total", "Stanzas received and sent.", ("kind", "direction"))
STANZA_BYTES = Metric(
    "xmpp_gateway_stanza_bytes_total", "Bytes of the stanzas received and sent.", ("kind", "direction")
)
STREAM_BYTES = Metric("xmpp_gateway_stream_bytes_total", "Bytes of the streams.", ("direction",))
LINK_UP = Metric("xmpp_gateway_link_up", "1 if the component is connected.")
LINK_CONFLICT = Metric("xmpp_gateway_link_conflict", "1 if another gateway is connected as the same component.")
LINK_CONNECTIONS = Metric("xmpp_gateway_link_connections_total", "Connections that the server accepted.")
LINK_FAILURES = Metric("xmpp_gateway_link_failures_total", "Connections that failed or were lost.")
LINK_UNSENT = Metric("xmpp_gateway_link_unsent_bytes", "Bytes of output that wait for the server to read.")
OUTBOX_STANZAS = Metric("xmpp_gateway_outbox_stanzas", "Stanzas that wait for the connection.")
OUTBOX_BYTES = Metric("xmpp_gateway_outbox_bytes", "Bytes of the stanzas that wait for the connection.")
OUTPUT_DROPPED = Metric("xmpp_gateway_output_dropped_total", "Stanzas that could not be sent.", ("reason",))
PENDING = Metric("xmpp_gateway_pending_requests", "Requests without an answer.", ("table",))
REFUSED = Metric(
    "xmpp_gateway_stanzas_refused_total", "Stanzas that the stream refused.", ("direction", "reason")
)
ERRORS = Metric("xmpp_gateway_errors_total", "Stanzas that were answered with an error.", ("condition",))
OVER_BUDGET = Metric("xmpp_gateway_over_budget_total", "Stanzas refused because of a user's budget.", ("budget",))
IN_DEBT = Metric("xmpp_gateway_users_in_debt", "Users whose budget is not full.", ("budget",))
HELD_STANZAS = Metric("xmpp_gateway_held_stanzas", "Stanzas that wait for their user's budget.")
HELD_USERS = Metric("xmpp_gateway_held_users", "Users whose stanzas wait for their budget.")

# Of each component with C{standby}.
STANDBY_SERVES = Metric("xmpp_gateway_standby_serves", "1 if this gateway serves the component.", ("component",))
STANDBY_GATEWAYS = Metric(
    "xmpp_gateway_standby_gateways", "Gateways that have the component, with this one.", ("component",)
)

# Of each proxy.
PROXY_RESOURCES = Metric("xmpp_gateway_proxy_resources", "Resources of the target that are online.")
PROXY_GATEWAYS = Metric("xmpp_gateway_proxy_gateways", "Gateways that serve the component, with this one.")
PROXY_ROUND_TRIP = Histogram(
    "xmpp_gateway_proxy_round_trip_seconds", "Time from a request to the answer of the implementing client."
)
PROXY_DROPPED = Metric("xmpp_gateway_proxy_dropped_total", "Stanzas that were dropped.", ("reason",))

# Of each managing entity.
DELEGATION_REQUEST = Histogram(
    "xmpp_gateway_delegation_request_seconds",
    "Time from a delegated request to its answer.",
    ("namespace", "outcome"),
)
DELEGATION_GRANTED = Metric(
    "xmpp_gateway_delegation_granted", "1 if the server delegates the namespace.", ("server", "namespace")
)
DELEGATION_USERS = Metric("xmpp_gateway_delegation_users", "Users who delegate by themselves, in client mode.")
DELEGATION_ENTITY_UP = Metric(
    "xmpp_gateway_delegation_entity_up", "1 if the managing entity is available.", ("entity",)
)

# Of each privileged component.
PRIVILEGES_GRANTED = Metric("xmpp_gateway_privileges_granted", "1 if the server grants privileges.", ("server",))
LENT = Metric("xmpp_gateway_privileges_lent_total", "Uses of lent privileges.", ("entity", "outcome"))

# Of each roster service.
ROSTER_REFRESHES = Metric("xmpp_gateway_roster_refreshes_total", "Refreshes that ended.", ("outcome",))
ROSTER_REFRESH = Histogram(
    "xmpp_gateway_roster_refresh_seconds", "Time of a refresh, without the wait for its turn.", (), LONG
)
ROSTER_FETCH = Histogram(
    "xmpp_gateway_roster_fetch_seconds", "Time until the web application's answer was read.", ("outcome",), LONG
)
ROSTER_SET = Metric("xmpp_gateway_roster_contacts_set_total", "Contacts that were set or removed.")
ROSTER_WAITING = Metric("xmpp_gateway_roster_users_waiting", "Users whose refresh waits or is under way.")
ROSTER_ONLINE = Metric("xmpp_gateway_roster_users_online", "Users who are known to be online.")
ROSTER_PUSHES = Metric("xmpp_gateway_roster_pushes_total", "Roster pushes to clients.")
ROSTER_CLIENTS = Metric("xmpp_gateway_roster_locked_clients", "Clients that have a locked roster.")

# Of each room service.
ROOMS = Metric("xmpp_gateway_rooms", "Rooms.")
OCCUPANTS = Metric("xmpp_gateway_occupants", "Occupants of rooms.", ("where",))
MIRRORS = Metric("xmpp_gateway_mirrors", "Mirrors by the state of their uplink.", ("state",))
JOINING_NODES = Metric("xmpp_gateway_joining_nodes", "Nodes that have joined rooms.")
FMUC_BYTES = Metric("xmpp_gateway_fmuc_bytes_total", "Bytes between nodes.", ("node", "direction"))
FMUC_LEFT_OUT = Metric(
    "xmpp_gateway_fmuc_left_out_total", "Things that were not sent to other nodes, by the profile.", ("kind",)
)
FMUC_JOIN = Histogram(
    "xmpp_gateway_fmuc_join_seconds",
    "Time of the first join of a mirror, until occupants, history and subject were received.",
    (),
    LONG,
)
FMUC_ECHO = Histogram(
    "xmpp_gateway_fmuc_echo_seconds", "Time until the joined node returned a message of a mirror's occupant."
)
FMUC_CHANNELS = Metric("xmpp_gateway_fmuc_channels", "Reliable channels to other nodes by state.", ("state",))
FMUC_OUTBOX_STANZAS = Metric("xmpp_gateway_fmuc_outbox_stanzas", "Stanzas that nodes have not acknowledged.")
FMUC_OUTBOX_BYTES = Metric("xmpp_gateway_fmuc_outbox_bytes", "Bytes of memory that these stanzas take.")
FMUC_OUTBOX_AGE = Metric("xmpp_gateway_fmuc_outbox_age", "Seconds for which the oldest of them has waited.")
FMUC_OUTBOX_FULL = Metric(
    "xmpp_gateway_fmuc_outbox_full_total", "Stanzas that were refused because too many were not acknowledged."
)
FMUC_KEPT_MESSAGES = Metric(
    "xmpp_gateway_fmuc_kept_messages", "Messages that wait for rooms without a channel, which cannot be reached."
)
FMUC_REPEATED = Metric("xmpp_gateway_fmuc_repeated_total", "Stanzas that were sent to nodes again.")
FMUC_COMPARISONS = Metric(
    "xmpp_gateway_fmuc_comparisons_total",
    "Answers of joined nodes that were asked whether anything differs.",
    ("outcome",),
)
FMUC_RETURN = Histogram(
    "xmpp_gateway_fmuc_return_seconds",
    "Time from the request that opened a channel until everything was delivered that both nodes had kept.",
    (),
    LONG,
)
BACKING_OCCUPANTS = Metric("xmpp_gateway_backing_occupants", "Federated occupants of ordinary rooms.")
BACKING_COPIES = Metric(
    "xmpp_gateway_backing_copies_total", "Stanzas of ordinary rooms that did not go on, because another copy did."
)
ROOMS_DROPPED = Metric("xmpp_gateway_rooms_dropped_total", "Stanzas that were dropped.", ("reason",))

# Of each peer.
PEER_UP = Metric("xmpp_gateway_peer_up", "1 if the direct link to the peer is up.", ("peer",))
PEER_CONNECTIONS = Metric("xmpp_gateway_peer_connections_total", "Connections of the direct link.", ("peer",))
PEER_WAITING = Metric("xmpp_gateway_peer_waiting_stanzas", "Stanzas that wait for the direct link.", ("peer",))
PEER_STANZAS = Metric("xmpp_gateway_peer_stanzas_total", "Stanzas on the direct link.", ("peer", "direction"))
PEER_STANZA_BYTES = Metric(
    "xmpp_gateway_peer_stanza_bytes_total", "Bytes of these stanzas, before compression.", ("peer", "direction")
)
PEER_BYTES = Metric(
    "xmpp_gateway_peer_bytes_total", "Bytes on the direct link, without those of TLS.", ("peer", "direction")
)
PEER_REFUSED = Metric(
    "xmpp_gateway_peer_stanzas_refused_total", "Stanzas of the peer that were not accepted.", ("peer",)
)

# Of each file of the state folder.
STATE_UP = Metric("xmpp_gateway_state_up", "1 if the file works.")
STATE_FAILURES = Metric("xmpp_gateway_state_failures_total", "Requests that failed because of the file.")
STATE_WAITING = Metric("xmpp_gateway_state_requests_waiting", "Requests that wait for the file.")

# Of the process.
INFO = Metric("xmpp_gateway_info", "1; the label is the version of the gateway.", ("version",))
HTTP_REQUESTS = Metric("xmpp_gateway_http_requests_total", "Requests that were answered.", ("code",))
HTTP_CONNECTIONS = Metric("xmpp_gateway_http_connections", "Open connections to the HTTP server.")
HTTP_DROPPED = Metric("xmpp_gateway_http_dropped_total", "Connections closed because there were too many.")
REACTOR_LAG = Histogram(
    "xmpp_gateway_reactor_lag_seconds", "Delay of a timer that runs once a second.", (), TURN
)

CATALOGUE: tuple[Metric | Histogram, ...] = tuple(
    each for each in list(globals().values()) if isinstance(each, Metric | Histogram)
)

_UNUSUAL = re.compile(r"[^a-z0-9]+")


def label(text: str) -> str:
    """Return a text as a label value: lower case words that are joined by underscores."""
    return _UNUSUAL.sub("_", text.lower()).strip("_")


def bounded(value: str, known: set[str], bound: int) -> str:
    """
    Return a label value, and limit the number of different ones.

    @param known: the values so far; a new one is added to it.
    @return: the value itself, or C{other} if it is new and there are C{bound} others.
    """
    if value in known:
        return value
    if len(known) >= bound:
        return "other"
    known.add(value)
    return value
