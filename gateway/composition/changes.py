"""
The differences between two configurations. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen

from gateway.composition.reader import Config, Service
from gateway.config.tables import ComponentTable, PeerTable, ServerTable
from gateway.peers.identity import KEY_FILE


@frozen(kw_only=True)
class LinkSettings:
    """
    The settings of a component's connection: the keys of its own table, otherwise those of C{[server]}.

    @ivar endpoint: a Twisted client endpoint string; C{None} for the embedded host.
    @ivar secret: C{None} for a random secret, on the embedded host only.
    @ivar domain: the domain of the component's server; C{None} if it is not known.
    @ivar stanzaSize: bytes of a received stanza.
    @ivar outgoingSize: bytes of a sent stanza.
    @ivar answerBudget: bytes that one user may be sent at once in answers.
    """

    endpoint: str | None
    secret: str | None
    domain: str | None
    stanzaSize: int
    outgoingSize: int
    answerBudget: int


def linkSettings(server: ServerTable | None, table: ComponentTable) -> LinkSettings:
    """
    Return the settings of a component's connection.

    @param server: C{None} if the gateway runs on the embedded host.
    """
    common = server or ServerTable()
    # A component with an endpoint of its own is on another server.
    isElsewhere = table.endpoint is not None
    return LinkSettings(
        endpoint=table.endpoint or common.endpoint,
        secret=table.secret or common.secret,
        domain=None if isElsewhere else common.domain,
        stanzaSize=common.max_stanza_size,
        outgoingSize=common.max_outgoing_stanza_size,
        answerBudget=common.answer_budget,
    )


@frozen(kw_only=True)
class Changes:
    """
    The steps from one configuration to another one. A service with the same table and
    connection in both is in none of these lists.

    @ivar removed: JIDs of services that exist in the old configuration only.
    @ivar replaced: new services whose JID is that of a different old service.
    @ivar added: services that exist in the new configuration only.
    @ivar peers: domains of peers whose direct link is made, made anew, or ended.
    @ivar restart: keys of differences that need a new process; they are not among the steps.
    """

    removed: tuple[str, ...] = ()
    replaced: tuple[Service, ...] = ()
    added: tuple[Service, ...] = ()
    restart: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


def compare(old: Config, new: Config, renewed: Collection[str] = ()) -> Changes:
    """
    Return the changes that lead from an old configuration to a new one.

    @param renewed: JIDs of services to be replaced although their tables are equal: a file that a table names has
        changed.
    """
    before = {service.jid: service for service in old.services}
    after = {service.jid: service for service in new.services}
    return Changes(
        removed=tuple(jid for jid in before if jid not in after),
        replaced=tuple(
            service
            for jid, service in after.items()
            if jid in before and (jid in renewed or _identity(old, before[jid]) != _identity(new, service))
        ),
        added=tuple(service for jid, service in after.items() if jid not in before),
        peers=tuple(
            name
            for name in {**old.peers, **new.peers}
            if old.peers.get(name) != new.peers.get(name)
        ),
        restart=tuple(
            key
            for key, isChanged in (
                ("state_dir", old.state_dir != new.state_dir),
                ("state", old.state != new.state),
                ("server", (old.server is None) != (new.server is None)),
                ("embedded", old.embedded != new.embedded and None not in (old.embedded, new.embedded)),
                ("http", old.http != new.http),
            )
            if isChanged
        ),
    )


def keyFile(config: Config, table: PeerTable | None = None) -> str:
    """Return the path of the gateway's key for a direct link; by default, the one in the state folder."""
    named = None if table is None else table.key_file
    return named or str(config.state_dir / KEY_FILE)


def _identity(config: Config, service: Service) -> tuple[object, ...]:
    """Return all values of a service; if one of them changes, the service is made again."""
    return service.kind, service.table, linkSettings(config.server, service.table)
