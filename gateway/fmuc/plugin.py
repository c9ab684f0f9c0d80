"""The tables C{[mirror."component JID"]} and C{[rooms."component JID"]}, and their services."""

from __future__ import annotations

import re
import secrets
from functools import partial
from typing import Any, Literal

from attrs import evolve, field, frozen
from twisted.application.service import IService
from twisted.plugin import IPlugin
from zope.interface import implementer

from gateway.addresses import jids
from gateway.config.repairs import repaired
from gateway.config.tables import AnyDomain, ComponentTable, ConfigError, Count, Domain, Duration, Seconds
from gateway.config.values import checkDomain
from gateway.errors import GatewayError
from gateway.fmuc import tour
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.backing import Backing
from gateway.fmuc.channel_xml import MAX_KEEP
from gateway.fmuc.channels import Channels
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import PROFILES
from gateway.fmuc.values import Dialect, Mode
from gateway.interfaces import (
    IConfigCheck,
    IGuide,
    IServerConfiguration,
    IServiceBuilder,
    IServiceEnvironment,
    IServicePlugin,
    ITourStop,
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
from gateway.requirements import Remark

_LOBBY = "lobby"
_ROOMS_PER_USER, _LOCKED = Count(100), Seconds(300.0)
_GONE_AFTER = Seconds(600.0)
_PING_AFTER, _IDLE = Seconds(1_800.0), Seconds(7 * 86_400.0)
# Minimum of C{ping_after}, in seconds. Shorter silences are normal, and a ping may be answered this late.
_MIN_TIME = 60.0
# Archives by default, and at most; 0 for none.
_ARCHIVE_DAYS, _ARCHIVE_MESSAGES = 30, 10_000
_MAX_DAYS, _MAX_MESSAGES = 36_500, 1_000_000
_DAY = 86_400.0
# Short times, and the seconds of their units.
_TIME, _UNITS = re.compile(r"([0-9]{1,6})([smh])"), {"s": 1, "m": 60, "h": 3_600}
# Roles whose presence is broadcast by default: all.
_Role = Literal["moderator", "participant", "visitor"]
_Profile = Literal["broadband", "satellite", "hf"]
_ROLES: frozenset[_Role] = frozenset(("moderator", "participant", "visitor"))


@frozen(kw_only=True)
class MirrorTable(ComponentTable):
    """Keys of C{[mirror."component JID"]}; see docs/fmuc.md."""

    mode: Literal["replica", "primary"] = "replica"
    protocol: Literal["xep-0289", "protoxep"] = "xep-0289"
    allow: frozenset[AnyDomain]
    users: frozenset[AnyDomain]
    peers: frozenset[AnyDomain] = frozenset()
    administering_peers: frozenset[AnyDomain] = frozenset()
    max_rooms_per_user: Count = _ROOMS_PER_USER
    ping_after: Seconds = _PING_AFTER
    gone_after: Seconds = _GONE_AFTER
    archive_days: int = _ARCHIVE_DAYS
    archive_messages: int = _ARCHIVE_MESSAGES
    profile: _Profile = "broadband"
    profiles: dict[Domain, _Profile] = field(factory=dict)
    allow_exposed_private_messages: bool = False
    keep: Duration = field(default=Duration("0s"))


@frozen(kw_only=True)
class RoomsTable(ComponentTable):
    """
    Keys of C{[rooms."component JID"]}; see docs/fmuc.md.

    @ivar create: C{None} for local users, and those of nodes in C{peers}.
    """

    create: frozenset[str] | None = None
    peers: frozenset[AnyDomain] = frozenset()
    administering_peers: frozenset[AnyDomain] = frozenset()
    max_rooms_per_user: Count = _ROOMS_PER_USER
    lock_timeout: Seconds = _LOCKED
    idle_timeout: Seconds = _IDLE
    ping_after: Seconds = _PING_AFTER
    gone_after: Seconds = _GONE_AFTER
    archive_days: int = _ARCHIVE_DAYS
    archive_messages: int = _ARCHIVE_MESSAGES
    presence_broadcast: frozenset[_Role] = _ROLES
    allow_exposed_private_messages: bool = False
    backing: Domain | None = None


@implementer(IPlugin, IServicePlugin, IConfigCheck, IServerConfiguration, ITourStop)
class MirrorPlugin:
    """Mirrors of rooms elsewhere: the joining side."""

    kind = "mirror"
    table = MirrorTable

    def check(self, jid: str, table: MirrorTable, environment: IServiceEnvironment) -> list[str]:
        problems = _storeProblems(jid, environment)
        problems += [
            f'{key}: found nothing; allowed: at least one domain, or "*"'
            for key, domains in (("allow", table.allow), ("users", table.users))
            if not domains
        ]
        problems += [
            f'{key}: found "{jid}", which is this mirror; allowed: other domains, those of the rooms to mirror'
            for key, domains in (("allow", table.allow), ("peers", table.peers))
            if jid in domains
        ]
        for key, domains in (("allow", table.allow), ("users", table.users), ("peers", table.peers)):
            problems += _domainProblems(key, domains)
        problems += _administeringProblems(table)
        problems += _timeProblems(ping_after=table.ping_after, gone_after=table.gone_after)
        problems += _archiveProblems(table)
        if _seconds(table.keep) is None:
            allowed = f'"0s" (off) to "{MAX_KEEP // 3_600}h", such as "5m"'
            problems.append(f'keep: found "{table.keep}"; allowed: {allowed}')
        elif _seconds(table.keep) and table.protocol == "protoxep":
            problems.append(f'keep: found "{table.keep}", but protocol = "protoxep" cannot; allowed: "0s"')
        for domain in sorted(table.profiles):
            if "*" not in table.allow and domain not in _valid(table.allow):
                problems.append(f'profiles: found "{domain}"; allowed: domains that are in allow')
        # A user could send stanzas as a node, in the name of others, or be taken for a room.
        users = _valid(table.users)
        problems += [
            f'{key}: found "{domain}", which is in users; allowed: domains of rooms, such as "rooms.example.com"'
            for key, domains in (("allow", table.allow), ("peers", table.peers))
            for domain in sorted(_valid(domains) & users)
        ]
        return problems

    def requirements(self, jid: str, table: MirrorTable, environment: IServiceEnvironment) -> list[Remark]:
        return _federation(table.allow | table.peers, environment)

    def makeService(self, jid: str, table: MirrorTable, composition: IServiceBuilder) -> IService:
        mirroring = Mirroring(
            dialect=Dialect(table.protocol),
            mode=Mode(table.mode),
            allow=_prepared(table.allow),
            users=_prepared(table.users),
            profile=PROFILES[table.profile],
            profiles={domain: PROFILES[name] for domain, name in table.profiles.items()},
            keep=_seconds(table.keep) or 0,
        )
        bounds = Bounds(made=table.max_rooms_per_user, silence=table.ping_after, archived=_archived(table))
        bounds = evolve(bounds, gone=table.gone_after)
        rooms = _rooms(jid, table, composition, mirroring, bounds)
        _restore(jid, composition, rooms)
        return _served(jid, table, composition, rooms)

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"mirror.{domain}": {"allow": [f"rooms.{domain}"], "users": [domain]}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.showMirror(guide, jid, _LOBBY)


@implementer(IPlugin, IServicePlugin, IConfigCheck, IServerConfiguration, ITourStop)
class RoomsPlugin:
    """Rooms of the component's own: the joined side."""

    kind = "rooms"
    table = RoomsTable

    def check(self, jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[str]:
        problems = _storeProblems(jid, environment) + _domainProblems("peers", table.peers)
        problems += _administeringProblems(table) + _creatorProblems(table.create or frozenset())
        times = {"idle_timeout": table.idle_timeout, "ping_after": table.ping_after, "gone_after": table.gone_after}
        problems += _timeProblems(**times)
        problems += _archiveProblems(table)
        if jid in table.peers:
            allowed = "other domains, those of the mirrors of these rooms"
            problems.append(f'peers: found "{jid}", which is this service; allowed: {allowed}')
        return problems + _backingProblems(jid, table, environment)

    def requirements(self, jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[Remark]:
        return _federation(table.peers, environment)

    def makeService(self, jid: str, table: RoomsTable, composition: IServiceBuilder) -> IService:
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
            _restore(jid, composition, rooms)
            return _served(jid, table, composition, rooms, Backing(rooms, table.backing))
        rooms = _rooms(jid, table, composition, None, most)
        rooms.shownRoles = ordered(table.presence_broadcast)
        _restore(jid, composition, rooms)
        if composition.isEmbedded:
            rooms.open(_LOBBY, Settings(name="The lobby", persistent=True))
        link = _served(jid, table, composition, rooms)
        default = _prepared(table.peers) | _local(jid, rooms.home)
        rooms.creators = default if table.create is None else frozenset(map(_creator, table.create))
        return link

    def demoTables(self, domain: str) -> dict[str, dict[str, Any]]:
        return {f"rooms.{domain}": {"peers": [f"mirror.{domain}"]}}

    async def tour(self, guide: IGuide, jid: str) -> None:
        await tour.showRooms(guide, jid, _LOBBY)


def _federation(peers: frozenset[str], environment: IServiceEnvironment) -> list[Remark]:
    """Return what the server needs for nodes at other servers."""
    others = peers - set(environment.components)
    if not others:
        return []
    names = "other sites" if "*" in others else ", ".join(sorted(others))
    return [Remark(f"it reaches {names} by s2s: both names need DNS records and certificates")]


def _rooms(
    jid: str,
    table: MirrorTable | RoomsTable,
    composition: IServiceBuilder,
    mirroring: Mirroring | None,
    bounds: Bounds,
) -> Rooms:
    """Make the rooms, or mirrors, with the options that both tables have."""
    administrators = _prepared(table.administering_peers)
    rooms = Rooms(jid, mirroring, _prepared(table.peers), bounds, _ids(jid, composition), administrators)
    rooms.exposesPrivate = table.allow_exposed_private_messages
    return rooms


def _restore(jid: str, composition: IServiceBuilder, rooms: Rooms) -> None:
    """Restore the rooms, or mirrors, of an earlier process."""
    store = composition.store(_storeName(jid), MIGRATIONS)
    now = composition.reactor.seconds()
    channels = rooms.channels = Channels(rooms.token, rooms.utcClock.utc, rooms.mayBeNode)
    try:
        channels.restore(store.atStart(loadChannels), now)
        restore(store, rooms, now)
    except GatewayError as error:
        raise ConfigError([f"state_dir: {error}"]) from error


def _served(
    jid: str,
    table: MirrorTable | RoomsTable,
    composition: IServiceBuilder,
    rooms: Rooms,
    backing: Backing | None = None,
) -> IService:
    link = composition.link(jid, table)
    composition.useDirectLinks(link)
    # Rooms need no larger stanzas, and read every stanza.
    link.limits = evolve(link.limits, stanzaSize=min(link.limits.stanzaSize, MAX_STANZA))
    rooms.home = link.domain or ""
    store = composition.store(_storeName(jid), MIGRATIONS)
    retention = Retention(table.archive_messages, table.archive_days * _DAY)
    owner = _owner(jid, composition)
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
        raise ConfigError([f"state_dir: {error}"]) from error


def _owner(jid: str, composition: IServiceBuilder) -> Owner:
    """Take the store over, from another process that may still run: only one may write to it."""
    store = composition.store(_storeName(jid), MIGRATIONS)
    try:
        owner = Owner(secrets.token_hex(16), loadSecret(store))
        store.atStart(owner.take)
    except GatewayError as error:
        raise ConfigError([f"state_dir: {error}"]) from error
    return owner


def _storeProblems(jid: str, environment: IServiceEnvironment) -> list[str]:
    problem = environment.storeProblem(_storeName(jid), MIGRATIONS)
    return [f"state_dir: {problem}"] if problem else []


def _storeName(jid: str) -> str:
    """Return the name of a component's store."""
    return f"{jid}.rooms"


def _domainProblems(key: str, domains: frozenset[str]) -> list[str]:
    return [
        f'{key}: found "{domain}"; allowed: domains, or "*" for all{_advice(domain)}'
        for domain in sorted(domains)
        if domain != "*" and not _isDomain(domain)
    ]


def _administeringProblems(table: MirrorTable | RoomsTable) -> list[str]:
    """A node that may act for every owner is named by itself: C{"*"} is not allowed."""
    return [
        f'administering_peers: found "{domain}"; allowed: domains that are in peers'
        for domain in sorted(table.administering_peers)
        if not _isDomain(domain) or not ("*" in table.peers or checkDomain(domain) in _valid(table.peers))
    ]


def _creatorProblems(creators: frozenset[str]) -> list[str]:
    return [
        f'create: found "{each}"; allowed: domains and bare JIDs of users, or "*" for all{_advice(each)}'
        for each in sorted(creators)
        if not _isCreator(each)
    ]


def _backingProblems(jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[str]:
    """Puppets of these rooms must not join rooms of the gateway, which may lead back to these."""
    domain, problems = table.backing, []
    if domain is None:
        return []
    if domain == jid or domain in environment.components:
        allowed = "the domain of a server's own rooms"
        problems.append(f'backing: found "{domain}", which is a service of this gateway; allowed: {allowed}')
    if domain in _valid(table.peers):
        problems.append(f'peers: found "{domain}", which is in backing; allowed: other domains')
    return problems


def _isCreator(text: str) -> bool:
    try:
        _creator(text)
    except ValueError:
        return False
    return True


def _creator(text: str) -> str:
    """
    Return a domain or a bare JID in its prepared spelling.

    @raise ValueError: if it is neither.
    """
    if text == "*":
        return text
    if "@" not in text:
        return checkDomain(text)
    if "/" in text:
        raise ValueError
    return jids.prepared(text)


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


def _archiveProblems(table: MirrorTable | RoomsTable) -> list[str]:
    keys = (
        ("archive_days", table.archive_days, _MAX_DAYS),
        ("archive_messages", table.archive_messages, _MAX_MESSAGES),
    )
    return [
        f"{key}: found {value}; allowed: 0 (no archive) to {most}"
        for key, value, most in keys
        if not 0 <= value <= most
    ]


def _seconds(text: str) -> int | None:
    """Return a time such as C{5m}; C{None} if it is none, or too long."""
    found = _TIME.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found is not None else MAX_KEEP + 1
    return seconds if seconds <= MAX_KEEP else None


def _timeProblems(**times: float) -> list[str]:
    return [
        f"{key}: found {value:g}; allowed: {_MIN_TIME:g} seconds or more"
        for key, value in times.items()
        if value < _MIN_TIME
    ]


def _advice(wrong: str) -> str:
    found = repaired(wrong, str, checkDomain)
    return "" if found is None else f'; did you mean "{found}"?'


def _isDomain(text: str) -> bool:
    try:
        checkDomain(text)
    except ValueError:
        return False
    return True


def _valid(domains: frozenset[str]) -> frozenset[str]:
    return _prepared(frozenset(domain for domain in domains if _isDomain(domain)))


def _prepared(domains: frozenset[str]) -> frozenset[str]:
    return frozenset(domain if domain == "*" else checkDomain(domain) for domain in domains)
