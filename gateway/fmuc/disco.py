"""
What everybody may know of a service, its rooms and who is in (XEP-0045 section 6).
"""

from __future__ import annotations

from attrs import frozen

from gateway import ns
from gateway.errors import NoSuchAddress, NoSuchNode, NotInTheRoom, Unhandled
from gateway.fmuc.core import Rooms
from gateway.fmuc.room import Room, Settings

# Section 6.7 and 7.12: what a client may ask a room, of itself.
_TRAFFIC, _OWN_NICK = ns.MUC_TRAFFIC, "x-roomuser-item"
# Section 7.4: the last "on both the service domain and on individual MUCs".
_SERVED = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.MUC, ns.MUC_STABLE_ID)


@frozen
class Info:
    """
    What disco#info shows.

    @ivar fields: of the form C{muc#roominfo}.
    """

    name: str
    features: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()


@frozen
class Item:
    """One of what disco#items shows."""

    jid: str
    name: str = ""


def info(rooms: Rooms, address: str, node: str) -> Info | None:
    """
    What the service, or one of its rooms, says of itself.

    @param address: bare JID.
    @return: C{None}: there is no more to say.
    @raise GatewayError: if there is nothing there.
    """
    if address == rooms.jid:
        if node:
            raise NoSuchNode
        return Info("Mirrored rooms" if rooms.isMirror else "Rooms", (*_SERVED, ns.RSM))
    problem = rooms.problem(address)
    if problem is not None:
        raise problem
    room = rooms.rooms.get(address)
    if room is None and not rooms.isMirror:
        raise NoSuchAddress
    if node == _TRAFFIC:
        # Section 17.1.1: "If a service does not discard any namespaces, it MUST return a <service-unavailable/>".
        raise Unhandled
    if node == _OWN_NICK:
        # No nick is reserved.
        return None
    if node:
        raise NoSuchNode
    settings = Settings() if room is None else room.settings
    name = settings.name or (rooms.mirrored(address) if rooms.isMirror else None) or address.partition("@")[0]
    fields = (("muc#roominfo_occupants", str(0 if room is None else len(room.occupants))),)
    return Info(name, (*_SERVED, ns.SELF_PING, *_properties(settings)), fields)


def _properties(settings: Settings) -> tuple[str, ...]:
    """Section 15.3: each is one of two."""
    return (
        "muc_passwordprotected" if settings.password else "muc_unsecured",
        "muc_membersonly" if settings.membersOnly else "muc_open",
        "muc_moderated" if settings.moderated else "muc_unmoderated",
        "muc_nonanonymous" if settings.nonAnonymous else "muc_semianonymous",
        "muc_persistent" if settings.persistent else "muc_temporary",
        "muc_public" if settings.public else "muc_hidden",
    )


def items(rooms: Rooms, user: str, address: str, node: str) -> list[Item]:
    """
    The rooms that may be found; or, for those who are in, who else is.

    @param user: full JID.
    @raise GatewayError: if there is nothing there.
    """
    if node not in ("", _TRAFFIC):
        raise NoSuchNode
    if address != rooms.jid:
        info(rooms, address, "")
        room = rooms.rooms.get(address)
        # "Implementations and deployments are advised to turn off such information sharing by default."
        if room is None or node or user not in room.users:
            return []
        return [Item(room.address(nick)) for nick in room.occupants]
    if rooms.isMirror or node:
        # Which rooms of others can be found is theirs to say.
        return []
    return [Item(room.jid, _nameOf(room)) for room in rooms.rooms.values() if room.settings.public]


def _nameOf(room: Room) -> str:
    return room.settings.name or room.jid.partition("@")[0]


def ping(rooms: Rooms, user: str, address: str) -> bool:
    """
    XEP-0410: an occupant asks by a ping to himself whether he is in. A service or a room is, if it is there.

    @return: whether it is answered; what is for somebody else is not handed on.
    @raise GatewayError: if he is not in, or nobody is there.
    """
    jid, _, nick = address.partition("/")
    if not nick:
        info(rooms, jid, "")
        return True
    room = rooms.rooms.get(jid)
    occupant = None if room is None else room.users.get(user)
    if room is None or occupant is None:
        raise NotInTheRoom
    if nick not in room.occupants:
        raise NoSuchAddress
    return occupant.nick == nick
