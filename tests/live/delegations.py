"""Delegations of the private servers, the same for all live tests."""

from __future__ import annotations

from tests.live.processes import Value
from tests.live.servers import DOMAIN, PRIVATE, Delegations

DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
PUBSUB = "http://jabber.org/protocol/pubsub"
PUBSUB_OWNER = f"{PUBSUB}#owner"
MAM = "urn:xmpp:mam:2"
# Filtered by two attributes.
TWICE = "urn:xmpp:test:twice"

# Answered by the handlers of C{tests.live.handlers}.
ODD = "urn:xmpp:test:odd"
# Forwarded while there is a node; otherwise BESIDE has a handler, and ALONE has none.
BESIDE = "urn:xmpp:test:beside"
ALONE = "urn:xmpp:test:alone"
# Answered by the handler in the documentation.
GREETING = "urn:example:greeting"
# Configured in the gateway, and not delegated by any server.
UNGRANTED = "urn:xmpp:test:ungranted"

# The gateway's own.
STORAGE_GATEWAY = f"storage.{DOMAIN}"
ODD_GATEWAY = f"odd.{DOMAIN}"
CHAIN_GATEWAY = f"chain.{DOMAIN}"
# Components by hand: the end of the chain, one outside of it, and one that the server itself delegates to.
MANAGING = f"managing.{DOMAIN}"
SPARE = f"spare.{DOMAIN}"
OUTSIDER = f"outsider.{DOMAIN}"
SERVICE = f"pubsub.{DOMAIN}"
MANAGING_ENTITIES = (STORAGE_GATEWAY, ODD_GATEWAY, CHAIN_GATEWAY, MANAGING, SPARE, OUTSIDER, SERVICE)

# A client that a server delegates to, and its namespaces.
MANAGER = f"manager@{DOMAIN}"
CLIENTS = "urn:xmpp:test:clients"

# The example in the documentation of Prosody's mod_delegation.
EXAMPLE: Delegations = {
    MAM: {"jid": SERVICE, "filtering": ["node"]},
    PUBSUB: {"jid": SERVICE},
    PUBSUB_OWNER: {"jid": SERVICE},
    "urn:xmpp:delegation:2:bare:disco#info:*": {"jid": SERVICE},
    "urn:xmpp:delegation:2:bare:disco#items:*": {"jid": SERVICE},
}

DELEGATIONS: Delegations = {
    **EXAMPLE,
    TWICE: {"jid": SERVICE, "filtering": ["node", "kind"]},
    CLIENTS: {"jid": MANAGER},
    PRIVATE: {"jid": STORAGE_GATEWAY},
    ODD: {"jid": ODD_GATEWAY},
    GREETING: {"jid": ODD_GATEWAY},
    BESIDE: {"jid": CHAIN_GATEWAY},
    ALONE: {"jid": CHAIN_GATEWAY},
}


def tables(jid: str, namespaces: Delegations) -> dict[str, dict[str, Value]]:
    """Return the gateway's tables for one managing entity, by their sections' names."""
    section = f'delegation."{jid}"'
    found: dict[str, dict[str, Value]] = {section: {"servers": [DOMAIN]}}
    return found | {f'{section}.namespaces."{key}"': dict(table) for key, table in namespaces.items()}
