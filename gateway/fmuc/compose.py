"""The composition of mirrors and rooms."""

from __future__ import annotations

import secrets
from functools import partial

from attrs import evolve
from twisted.application.service import IService

from gateway.config.tables import ConfigError
from gateway.errors import GatewayError
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.ordinary.backing import Backing
from gateway.fmuc.profiles import PROFILES
from gateway.fmuc.tables import LOBBY, MirrorTable, RoomsTable, creator, prepared, seconds
from gateway.fmuc.values import Dialect, Mode
from gateway.interfaces import (
    IServiceBuilder,
    IServiceEnvironment,
)
from gateway.muc.archive_store import Step
from gateway.muc.archive_values import Retention
from gateway.muc.channel_store import loadChannels
from gateway.muc.elements import MAX_STANZA
from gateway.muc.ids import Ids
from gateway.muc.presence_broadcast import ordered
from gateway.muc.records import Record
from gateway.muc.room import Bounds, Settings
from gateway.muc.snapshot import snapshot
from gateway.muc.store import MIGRATIONS, Owner, loadSecret, restore

_DAY = 86_400.0


def makeMirror(jid: str, table: MirrorTable, composition: IServiceBuilder) -> IService:
    """See L{gateway.interfaces.IServicePlugin.makeService}."""
    mirroring = Mirroring(
        dialect=Dialect(table.protocol),
        mode=Mode(table.mode),
        allow=prepared(table.allow),
        users=prepared(table.users),
        profile=PROFILES[table.profile],
        profiles={domain: PROFILES[name] for domain, name in table.profiles.items()},
        keep=seconds(table.keep) or 0,
    )
    bounds = Bounds(made=table.max_rooms_per_user, silence=table.ping_after, archived=_archived(table))
    bounds = evolve(bounds, gone=table.gone_after)
    rooms = _rooms(jid, table, composition, mirroring, bounds)
    owner = _restore(jid, composition, rooms)
    return _served(jid, table, composition, rooms, owner)


def makeRooms(jid: str, table: RoomsTable, composition: IServiceBuilder) -> IService:
    """See L{gateway.interfaces.IServicePlugin.makeService}."""
    most = Bounds(
        made=table.max_rooms_per_user,
        locked=table.lock_timeout,
        silence=table.ping_after,
        idle=table.idle_timeout,
        archived=_archived(table),
        gone=table.gone_after,
    )
    if table.backing is not None:
        backed = Mirroring(allow=frozenset((table.backing,)), users=frozenset("*"), backing=table.backing)
        # The ordinary rooms decide themselves when they end.
        most = evolve(most, idle=0.0)
        rooms = _rooms(jid, table, composition, backed, most)
        rooms.name = "Rooms"
        owner = _restore(jid, composition, rooms)
        return _served(jid, table, composition, rooms, owner, Backing(rooms, table.backing))
    rooms = _rooms(jid, table, composition, None, most)
    rooms.shownRoles = ordered(table.presence_broadcast)
    owner = _restore(jid, composition, rooms)
    if composition.isEmbedded:
        rooms.open(LOBBY, Settings(name="The lobby", persistent=True))
    link = _served(jid, table, composition, rooms, owner)
    default = prepared(table.peers) | _local(jid, rooms.home)
    rooms.creators = default if table.create is None else frozenset(map(creator, table.create))
    return link


def _rooms(
    jid: str,
    table: MirrorTable | RoomsTable,
    composition: IServiceBuilder,
    mirroring: Mirroring | None,
    bounds: Bounds,
) -> Rooms:
    """Make the rooms, or mirrors, with the options that both tables have."""
    administrators = prepared(table.administering_peers)
    rooms = Rooms(jid, mirroring, prepared(table.peers), bounds, _ids(jid, composition), administrators)
    rooms.exposesPrivate = table.allow_exposed_private_messages
    return rooms


def _restore(jid: str, composition: IServiceBuilder, rooms: Rooms) -> Owner:
    """Take the store over, and restore the rooms, or mirrors, of an earlier process."""
    store = composition.store(_storeName(jid), MIGRATIONS)
    # First: what another process stores after this one has read the records would be lost.
    owner = _owner(jid, composition)
    now = composition.reactor.seconds()
    channels = rooms.channels = Channels(rooms.token, rooms.utcClock.utc, rooms.mayBeNode)
    try:
        channels.restore(store.atStart(loadChannels), now)
        restore(store, rooms, now)
    except GatewayError as error:
        raise ConfigError([f"{composition.stateKey}: {error}"]) from error
    return owner


def _served(
    jid: str,
    table: MirrorTable | RoomsTable,
    composition: IServiceBuilder,
    rooms: Rooms,
    owner: Owner,
    backing: Backing | None = None,
) -> IService:
    link = composition.link(jid, table)
    composition.useDirectLinks(link)
    # Rooms need no larger stanzas, and read every stanza.
    link.limits = evolve(link.limits, stanzaSize=min(link.limits.stanzaSize, MAX_STANZA))
    rooms.home = link.domain or ""
    store = composition.store(_storeName(jid), MIGRATIONS)
    retention = Retention(table.archive_messages, table.archive_days * _DAY)
    commits = Commits(store, rooms.durability, link.afterInput, retention, owner, partial(_snapshot, rooms))
    archiving = Archiving(store, retention) if rooms.areArchived else None
    RoomsHandler(rooms, composition.wallClock, commits, archiving, backing).setHandlerParent(link)
    return link


def _snapshot(rooms: Rooms) -> tuple[list[Record], list[Step]]:
    """Return the whole state of a service, for a store that has lost it."""
    records, steps = snapshot(rooms)
    records += rooms.destroyed.all()
    return records + ([] if rooms.channels is None else rooms.channels.all()), steps


def _archived(table: MirrorTable | RoomsTable) -> int:
    """Return the number of messages of a room that are archived."""
    return table.archive_messages if table.archive_days else 0


def _ids(jid: str, composition: IServiceBuilder) -> Ids:
    """Return the ids of a component; they are the same after a restart."""
    try:
        return Ids(loadSecret(composition.store(_storeName(jid), MIGRATIONS)))
    except GatewayError as error:
        raise ConfigError([f"{composition.stateKey}: {error}"]) from error


def _owner(jid: str, composition: IServiceBuilder) -> Owner:
    """Take the store over, from another process that may still run: only one may write to it."""
    store = composition.store(_storeName(jid), MIGRATIONS)
    try:
        owner = Owner(secrets.token_hex(16), loadSecret(store))
        store.atStart(owner.take)
    except GatewayError as error:
        raise ConfigError([f"{composition.stateKey}: {error}"]) from error
    return owner


def storeProblems(jid: str, environment: IServiceEnvironment) -> list[str]:
    """Return the reasons why the store cannot be used."""
    problem = environment.storeProblem(_storeName(jid), MIGRATIONS)
    return [f"{environment.stateKey}: {problem}"] if problem else []


def _storeName(jid: str) -> str:
    """Return the name of a component's store."""
    return f"{jid}.rooms"


def _local(jid: str, home: str) -> frozenset[str]:
    """
    Return the domains of local users, with their subdomains: the server's own domain and, as for Prosody's
    C{restrict_room_creation}, the one above the component's. If the server's is unknown, all users are local.
    """
    if not home:
        return frozenset("*")
    parent = jid.partition(".")[2]
    # All users of a top-level domain are not local.
    domains = [home, *([parent] if "." in parent or parent == "localhost" else [])]
    return frozenset(each for domain in domains for each in (domain, f".{domain}"))
