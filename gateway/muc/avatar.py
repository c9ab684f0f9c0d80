"""The vCard of a room, and its avatar (XEP-0486)."""

from __future__ import annotations

import hashlib
from base64 import b64decode

from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest, OnlyInTheRoom
from gateway.muc.actions import ToUsersAvatar
from gateway.muc.configuration import checkOwner, notify
from gateway.muc.forms import FormField
from gateway.muc.room import Room
from gateway.muc.values import VCard
from gateway.xml.write import serialised, tag

# Characters of a room's vCard.
_MAX_CARD = 64 * 1024
_NO_CARD = VCard(tag("vCard", xmlns=ns.VCARD))


def cardOf(room: Room) -> str:
    """
    Return the XML of a room's vCard; an empty one if it has none (XEP-0054 section 3.1).

    @raise OnlyInTheRoom: if this is a mirror, which does not know it.
    """
    if room.nodes.isMirror:
        raise OnlyInTheRoom
    return (room.card or _NO_CARD).xml


def setCard(room: Room, user: str, element: domish.Element) -> None:
    """
    Set a room's vCard; "Setting an empty vCard unpublishes the avatar".

    @raise GatewayError: if the user is not an owner, or the vCard is not accepted.
    """
    checkOwner(room, user)
    card = _read(element)
    before = room.card or _NO_CARD
    if card == before:
        return
    room.card = None if card is _NO_CARD else card
    # "The room should then broadcast a notification that the configuration changed".
    notify(room)
    if card.hashes != before.hashes:
        show(room, tuple(address for each in room.occupants.values() for address in each.addresses))


def _read(element: domish.Element) -> VCard:
    """
    Read a vCard.

    @raise TooLarge: if it is longer than 64 Ki characters.
    @raise BadRequest: if an image in it is not base64.
    """
    if not list(element.elements()):
        return _NO_CARD
    try:
        xml = serialised(element, ns.COMPONENT_ACCEPT, _MAX_CARD)
        images = [
            b64decode("".join(str(value).split()), validate=True)
            for photo in element.elements(ns.VCARD, "PHOTO")
            for value in photo.elements(ns.VCARD, "BINVAL")
        ]
    except ValueError as error:
        raise BadRequest from error
    # XEP-0153 section 3.1: "the SHA1 hash of the avatar image data itself".
    hashes = (hashlib.sha1(image, usedforsecurity=False).hexdigest() for image in images if image)
    return VCard(xml, tuple(dict.fromkeys(hashes)))


def show(room: Room, recipients: tuple[bytes, ...]) -> None:
    """
    Send the hash of the avatar by presence of the room (XEP-0486 section 5.2): clients that are older than
    XEP-0486 expect it.
    """
    if recipients:
        room.emit(ToUsersAvatar(room.jid, recipients, next(iter((room.card or _NO_CARD).hashes), "")))


def infoFields(room: Room | None) -> tuple[FormField, ...]:
    """Return the field of disco#info; none without an avatar."""
    card = None if room is None else room.card
    hashes = () if card is None else card.hashes
    return (FormField("muc#roominfo_avatarhash", "text-multi", "Avatar hash", hashes),) if hashes else ()
