"""The keys of C{[mirror."component JID"]} and C{[rooms."component JID"]}, and the problems of their values."""

from __future__ import annotations

import re
from typing import Literal

from attrs import field, frozen

from gateway.addresses import jids
from gateway.config.repairs import repaired
from gateway.config.tables import AnyDomain, ComponentTable, Count, Domain, Duration, Seconds
from gateway.config.values import checkDomain
from gateway.fmuc.channel.values import MAX_KEEP
from gateway.interfaces import IServiceEnvironment

_ROOMS_PER_USER, _LOCKED = Count(100), Seconds(300.0)
_GONE_AFTER = Seconds(600.0)
_PING_AFTER, _IDLE = Seconds(1_800.0), Seconds(7 * 86_400.0)
# Minimum of C{ping_after}, in seconds. Shorter silences are normal, and a ping may be answered this late.
_MIN_TIME = 60.0
# Archives by default, and at most; 0 for none.
_ARCHIVE_DAYS, _ARCHIVE_MESSAGES = 30, 10_000
_MAX_DAYS, _MAX_MESSAGES = 36_500, 1_000_000
# Short times, and the seconds of their units.
_TIME, _UNITS = re.compile(r"([0-9]{1,6})([smh])"), {"s": 1, "m": 60, "h": 3_600}
# The room of the demonstration.
LOBBY = "lobby"
# Roles whose presence is broadcast by default: all.
_Role = Literal["moderator", "participant", "visitor"]
_Profile = Literal["broadband", "satellite", "hf"]
_ROLES: frozenset[_Role] = frozenset(("moderator", "participant", "visitor"))


@frozen(kw_only=True)
class MirrorTable(ComponentTable):
    """
    Keys of C{[mirror."component JID"]}; see docs/fmuc.md.

    @ivar mode: C{replica} to show a message when the room returns it, C{primary} to show it at once.
    @ivar protocol: the protocol between the mirror and the room.
    @ivar allow: domains whose rooms may be mirrored.
    @ivar users: domains whose users may join through the mirror.
    @ivar peers: domains whose nodes may join the mirrors, in a chain.
    @ivar administering_peers: those in C{peers} whose nodes may act for owners, admins and moderators.
    @ivar max_rooms_per_user: mirrors in use that the same user was the first to join.
    @ivar ping_after: seconds of silence, 60 or more, after which a client gets a ping.
    @ivar gone_after: seconds, 60 or more, for which occupants behind another node stay when it cannot be reached.
    @ivar archive_days: days, up to 36,500, that messages stay in the archive; 0 for no archive.
    @ivar archive_messages: messages, up to 1,000,000, that stay in the archive; 0 for no archive.
    @ivar profile: the kind of link to the rooms, which decides what crosses it, and when.
    @ivar profiles: other profiles for the rooms of some domains.
    @ivar allow_exposed_private_messages: true if private messages are sent to rooms of Openfire, which show them to
        all occupants.
    @ivar keep: time, up to 1h, for which a mirror stays in the room without users.
    """

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

    @ivar create: domains and bare JIDs of users who may create rooms; C{None} for local users, and the users of
        nodes in C{peers}.
    @ivar peers: domains whose nodes may join the rooms.
    @ivar administering_peers: those in C{peers} whose nodes may act for owners, admins and moderators.
    @ivar max_rooms_per_user: existing rooms that one user may have created.
    @ivar lock_timeout: seconds that a new room waits for its owner's configuration.
    @ivar idle_timeout: seconds, 60 or more, without a message or presence, after which a temporary room ends.
    @ivar ping_after: seconds of silence, 60 or more, after which a client gets a ping.
    @ivar gone_after: seconds, 60 or more, for which occupants behind another node stay when it cannot be reached.
    @ivar archive_days: days, up to 36,500, that messages stay in the archive; 0 for no archive.
    @ivar archive_messages: messages, up to 1,000,000, that stay in the archive; 0 for no archive.
    @ivar presence_broadcast: roles whose presence new rooms send to all occupants.
    @ivar allow_exposed_private_messages: true if private messages are sent to rooms of Openfire, which show them to
        all occupants.
    @ivar backing: domain of the server's own rooms: each room stands for the one there with the same name.
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


def mirrorProblems(jid: str, table: MirrorTable) -> list[str]:
    """Return the problems of the table of a mirror."""
    problems = [
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
    if seconds(table.keep) is None:
        allowed = f'"0s" (off) to "{MAX_KEEP // 3_600}h", such as "5m"'
        problems.append(f'keep: found "{table.keep}"; allowed: {allowed}')
    elif seconds(table.keep) and table.protocol == "protoxep":
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


def roomsProblems(jid: str, table: RoomsTable, environment: IServiceEnvironment) -> list[str]:
    """Return the problems of the table of a room service."""
    problems = _domainProblems("peers", table.peers)
    problems += _administeringProblems(table) + _creatorProblems(table.create or frozenset())
    times = {"idle_timeout": table.idle_timeout, "ping_after": table.ping_after, "gone_after": table.gone_after}
    problems += _timeProblems(**times)
    problems += _archiveProblems(table)
    if jid in table.peers:
        allowed = "other domains, those of the mirrors of these rooms"
        problems.append(f'peers: found "{jid}", which is this service; allowed: {allowed}')
    return problems + _backingProblems(jid, table, environment)


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
        creator(text)
    except ValueError:
        return False
    return True


def creator(text: str) -> str:
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


def seconds(text: str) -> int | None:
    """Return a time such as C{5m}; C{None} if it is none, or too long."""
    found = _TIME.fullmatch(text)
    number = int(found[1]) * _UNITS[found[2]] if found is not None else MAX_KEEP + 1
    return number if number <= MAX_KEEP else None


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
    return prepared(frozenset(domain for domain in domains if _isDomain(domain)))


def prepared(domains: frozenset[str]) -> frozenset[str]:
    """Return domains in their prepared spelling; C{"*"} stays as it is."""
    return frozenset(domain if domain == "*" else checkDomain(domain) for domain in domains)
