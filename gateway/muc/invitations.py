"""Mediated invitations (XEP-0045 section 7.8.2) and declines."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.addresses import jids
from gateway.errors import NotEntitled, NotInTheRoom, ResourceLimit
from gateway.muc.actions import SendInvitation
from gateway.muc.elements import declineXml
from gateway.muc.occupant import Occupant
from gateway.muc.option import boolean
from gateway.muc.room import Room
from gateway.muc.values import (
    ADMIN,
    MEMBER,
    NONE,
    OUTCAST,
    OWNER,
    Invitation,
    Message,
    Payload,
    RoomMessage,
    person,
)

# Section 9.5: "an implementation MAY provide a configuration option that opens invitation privileges to any member
# of a members-only room".
OPTION = boolean("muc#roomconfig_allowinvites", "invites", "Allow Members to Invite Others?")
# Of one message.
_MAX_INVITATIONS = 20


def fromUser(room: Room, user: str, stanza: Message) -> None:
    """
    Handle an occupant's invitations, or declines of invited users.

    @raise GatewayError: if an invitation is refused; then none is sent.
    """
    wanted = invitationsOf(stanza)
    if wanted:
        invite(room, room.users.get(user), wanted)
        return
    for each in stanza.invitations[:_MAX_INVITATIONS]:
        _decline(room, user, each)


def invitationsOf(stanza: Message) -> tuple[Invitation, ...]:
    """Return the invitations of a message, without declines."""
    return tuple(each for each in stanza.invitations if not each.declines)


def invite(room: Room, occupant: Occupant | None, wanted: Sequence[Invitation], address: str = "") -> None:
    """
    Send invitations in the name of an occupant.

    @param occupant: C{None} if the sender is not an occupant.
    @param address: as for L{admit}.
    @raise GatewayError: if an invitation is refused; then none is sent.
    """
    if occupant is None:
        raise NotInTheRoom
    check(wanted)
    admit(room, occupant, wanted, address)
    for each in wanted:
        room.emit(SendInvitation(room.jid, room.address(occupant.nick), each, room.settings.password))


def check(wanted: Sequence[Invitation]) -> None:
    """
    Check what needs no knowledge of the room.

    @raise GatewayError: if there are too many invitations, or an address is not a JID.
    """
    if len(wanted) > _MAX_INVITATIONS:
        raise ResourceLimit
    for each in wanted:
        jids.prepared(each.jid)


def admit(room: Room, occupant: Occupant, wanted: Sequence[Invitation], address: str = "") -> None:
    """
    Check that an occupant may invite these users, and make them members of a members-only room: "any invitation
    sent SHOULD automatically trigger the addition of the invitee to the member list" (section 9.5).

    @param address: the occupant's address at a joining node; empty for a local user.
    @raise GatewayError: if one of them may not be invited; then nothing is changed.
    """
    if not room.settings.membersOnly:
        # "Invitations sent through an open room MUST NOT trigger the addition".
        return
    own = room.affiliation(occupant.realJid)
    isAdmin = own in (OWNER, ADMIN)
    mayAdd = isAdmin or (own == MEMBER and room.settings.invites)
    guests = {person(each.jid): room.affiliation(each.jid) for each in wanted}
    for known in guests.values():
        # "Invitation privileges in members-only rooms SHOULD be restricted to room admins".
        if (known == NONE and not mayAdd) or (known == OUTCAST and not isAdmin):
            raise NotEntitled
    new = [guest for guest, known in guests.items() if known == NONE]
    if not new:
        return
    if address:
        # The node could name an occupant whom it does not have.
        room.nodes.checkAuthority(address)
    if len(room.affiliations) + len(new) > room.bounds.affiliations:
        raise ResourceLimit
    for guest in new:
        room.affiliations[guest] = MEMBER


def _decline(room: Room, user: str, invitation: Invitation) -> None:
    """
    Send a decline to the inviting user, if that user is an occupant; other third parties may not write to
    occupants.
    """
    there, _, nick = invitation.jid.partition("/")
    occupant = room.occupants.get(nick) if there == room.jid else None
    if occupant is not None:
        declined(room, occupant, jids.bare(user), invitation.reason)


def declined(room: Room, occupant: Occupant, guest: str, reason: str) -> None:
    """Tell an occupant, here or at joining nodes, that an invited user has declined."""
    for jid in occupant.localJids:
        room.emit(SendInvitation(room.jid, guest, Invitation(jid, reason, declines=True)))
    if occupant.nodes:
        message = RoomMessage(nick="", kind=None, payload=Payload(declineXml(guest, reason)))
        room.nodes.sendPrivate(occupant, message, None, None)
