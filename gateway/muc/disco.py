"""Service discovery and pings of a service, its rooms and its occupants (XEP-0045 section 6)."""

from __future__ import annotations

from attrs import evolve, frozen

from gateway import ns
from gateway.errors import NoHandler, NoSuchAddress, NoSuchNode
from gateway.muc import (
    archive,
    avatar,
    description,
    max_users,
    members_only,
    moderated,
    password,
    persistent,
    presence_broadcast,
    public,
    whois,
)
from gateway.muc.forms import FormField
from gateway.muc.info import Info
from gateway.muc.name import nameOf
from gateway.muc.room import Room
from gateway.muc.service import RoomService
from gateway.muc.values import person

# Sections 6.7 and 7.12: nodes by which clients ask about a room.
_TRAFFIC, OWN_NICK = ns.MUC_TRAFFIC, "x-roomuser-item"
# Section 7.4: C{MUC_STABLE_ID} is announced "on both the service domain and on individual MUCs". XEP-0421 section
# 4: "If occupant identifiers are force enabled for all rooms", the service SHOULD announce them, too.
_SERVED = (ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.MUC, ns.MUC_STABLE_ID, ns.OCCUPANT_ID, ns.VCARD)

_OF_ROOMS = (ns.SELF_PING, ns.SID)
_REQUESTS = (ns.REGISTER, ns.MUC_REQUEST)

# Of each pair of features, one is announced (section 15.3).
_OPTIONS = (
    password.OPTION,
    members_only.OPTION,
    moderated.OPTION,
    whois.OPTION,
    persistent.OPTION,
    public.OPTION,
)
# Features that tell properties of a room; a mirror has those of its joined room.
PROPERTIES = frozenset((*_REQUESTS, *(feature for option in _OPTIONS for feature in option.features if feature)))
# A mirror's service is no service that clients make rooms at: they take one by the identity "conference/text".
_NO_ROOMS = ("component", "generic")


@frozen
class Item:
    """An item of a disco#items answer."""

    jid: str
    name: str = ""


def info(rooms: RoomService, address: str, node: str, user: str = "") -> Info | None:
    """
    Return the information about the service or a room.

    @param address: bare JID.
    @param user: full JID of the user who asks.
    @return: C{None} for an empty answer.
    @raise GatewayError: if there is no such room or node.
    """
    if address == rooms.jid:
        if node:
            raise NoSuchNode
        info = Info(rooms.name, (*_served(rooms, address), ns.RSM))
        return evolve(info, identity=_NO_ROOMS) if rooms.areMirrors else info
    rooms.checkAddress(address)
    room = rooms.rooms.get(address)
    if room is None and not rooms.areMirrors:
        raise NoSuchAddress
    if node == _TRAFFIC:
        # Section 17.1.1: "If a service does not discard any namespaces, it MUST return a <service-unavailable/>".
        raise NoHandler
    if node == OWN_NICK:
        return None if room is None else ownNick(room, user)
    if node:
        raise NoSuchNode
    if room is None or rooms.areMirrors:
        return _mirrored(rooms, address, room)
    settings = room.settings
    name = settings.name or rooms.defaultName(address)
    fields = (
        *description.infoFields(settings),
        _count(room),
        *max_users.infoFields(settings),
        *avatar.infoFields(room),
    )
    features = (*_served(rooms, address), *_OF_ROOMS, *archive.features(rooms), *_REQUESTS)
    return Info(name, (*features, *(option.feature(settings) for option in _OPTIONS)), fields)


def _served(rooms: RoomService, address: str) -> tuple[str, ...]:
    """Return the features of the service, and of all its rooms. Occupant ids are announced if nobody lacks one."""
    givesIds = rooms.givesIds(address)
    return _SERVED if givesIds else tuple(each for each in _SERVED if each != ns.OCCUPANT_ID)


def ownNick(room: Room, user: str) -> Info | None:
    """Return the information about a user's reserved nick (section 7.12); C{None} if there is none."""
    nick = room.registrations.nicks.get(person(user), "")
    return Info(nick, ()) if nick else None


def _mirrored(rooms: RoomService, address: str, room: Room | None) -> Info:
    """
    Return the information about a mirror: what the joined room has told, and that it is non-anonymous if the mirror
    knows that. Nothing is guessed: clients do not encrypt in a room that calls itself open or semi-anonymous.
    """
    known = rooms.joinedInfo(address) or Info("", ())
    features = tuple(each for each in known.features if each in PROPERTIES)
    if not features and room is not None and room.settings.nonAnonymous:
        features = (whois.OPTION.features[0],)
    fields = known.fields if room is None else (*known.fields, _count(room))
    features = (*_served(rooms, address), *_OF_ROOMS, *archive.features(rooms), *features)
    return Info(known.name or rooms.defaultName(address), features, fields)


def _count(room: Room) -> FormField:
    occupants = str(len(room.occupants))
    return FormField("muc#roominfo_occupants", "text-single", "Current Number of Occupants in Room", (occupants,))


def items(rooms: RoomService, user: str, address: str, node: str) -> list[Item]:
    """
    Return the public rooms of a service, or the occupants of a room. Only occupants get the latter.

    @param user: full JID.
    @raise GatewayError: if there is no such room or node.
    """
    if node not in ("", _TRAFFIC):
        raise NoSuchNode
    if address != rooms.jid:
        info(rooms, address, "")
        room = rooms.rooms.get(address)
        # "Implementations and deployments are advised to turn off such information sharing by default."
        if room is None or node or user not in room.users:
            return []
        return [Item(room.address(nick)) for nick in presence_broadcast.seenBy(room, room.users[user])]
    if rooms.areMirrors or node:
        # The mirrored services list their rooms themselves.
        return []
    return [Item(room.jid, nameOf(room)) for room in rooms.rooms.values() if room.isListed]


def ping(rooms: RoomService, user: str, address: str) -> bool:
    """
    Handle a ping to the service, a room or an occupant.

    @return: True if it is answered here: by XEP-0410, occupants ping their own address.
    @raise GatewayError: if there is no such room.
    """
    jid, _, nick = address.partition("/")
    if not nick:
        info(rooms, jid, "")
        return True
    room = rooms.rooms.get(jid)
    occupant = None if room is None else room.users.get(user)
    return occupant is not None and occupant.nick == nick
