"""Mediated invitations (XEP-0045 section 7.8.2) and declines."""

from __future__ import annotations

from gateway.addresses import jids
from gateway.errors import NotEntitled, NotInTheRoom, ResourceLimit
from gateway.muc.actions import SendInvitation
from gateway.muc.room import Room
from gateway.muc.values import ADMIN, MEMBER, NONE, OUTCAST, OWNER, Invitation, Message, person

# Of one message.
_MAX_INVITATIONS = 20


def fromUser(room: Room, user: str, stanza: Message) -> None:
    """
    Handle an occupant's invitations, or declines of invited users.

    @raise GatewayError: if an invitation is refused; then none is sent.
    """
    if all(invitation.declines for invitation in stanza.invitations):
        for invitation in stanza.invitations[:_MAX_INVITATIONS]:
            _decline(room, user, invitation)
        return
    _check(room, user, stanza)
    sender = room.address(room.users[user].nick)
    for invitation in stanza.invitations:
        if invitation.declines:
            continue
        guest = person(invitation.jid)
        if not room.nodes.isMirror and room.settings.membersOnly and room.affiliation(guest) == NONE:
            # "If the room is members-only, the service MAY also add the invitee to the member list."
            room.affiliations[guest] = MEMBER
        room.emit(SendInvitation(room.jid, sender, invitation, room.settings.password))


def _check(room: Room, user: str, stanza: Message) -> None:
    if user not in room.users:
        raise NotInTheRoom
    if len(stanza.invitations) > _MAX_INVITATIONS:
        raise ResourceLimit
    for invitation in stanza.invitations:
        # An address that is not a JID is refused.
        jids.prepared(invitation.jid)
        if not room.settings.membersOnly:
            continue
        known = room.affiliation(invitation.jid)
        # "Invitation privileges in members-only rooms SHOULD be restricted to room admins".
        if known in (NONE, OUTCAST) and room.affiliation(user) not in (OWNER, ADMIN):
            raise NotEntitled
        if known == NONE and len(room.affiliations) >= room.bounds.affiliations:
            raise ResourceLimit


def _decline(room: Room, user: str, invitation: Invitation) -> None:
    """
    Send a decline to the inviting user, if that user is an occupant; other third parties may not write to
    occupants.
    """
    there, _, nick = invitation.jid.partition("/")
    occupant = room.occupants.get(nick) if there == room.jid else None
    for jid in () if occupant is None else occupant.localJids:
        room.emit(SendInvitation(room.jid, jids.bare(user), Invitation(jid, invitation.reason, declines=True)))
