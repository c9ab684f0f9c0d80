"""Mediated invitations (XEP-0045 section 7.8.2) and declines."""

from __future__ import annotations

from gateway import jids
from gateway.errors import GatewayError, Malformed, NotEntitled, NotInTheRoom, TooMuch
from gateway.fmuc.actions import SendError, SendInvitation
from gateway.fmuc.room import Room
from gateway.fmuc.values import ADMIN, MEMBER, NONE, OUTCAST, OWNER, Invitation, Message, person, stanzaError

# Of one message.
_MAX_INVITATIONS = 20


def fromUser(room: Room, user: str, stanza: Message) -> None:
    """Handle an occupant's invitations, or declines of invited users."""
    if all(invitation.declines for invitation in stanza.invitations):
        for invitation in stanza.invitations[:_MAX_INVITATIONS]:
            _decline(room, user, invitation)
        return
    why = _problem(room, user, stanza)
    if why is not None:
        room.out.append(SendError("message", room.jid, user, stanza.id, stanzaError(why)))
        return
    sender = room.address(room.users[user].nick)
    for invitation in stanza.invitations:
        if invitation.declines:
            continue
        guest = person(invitation.jid)
        if room.joinedNode is None and room.settings.membersOnly and room.affiliation(guest) == NONE:
            # "If the room is members-only, the service MAY also add the invitee to the member list."
            room.affiliations[guest] = MEMBER
        room.out.append(SendInvitation(room.jid, sender, invitation, room.settings.password))


def _problem(room: Room, user: str, stanza: Message) -> type[GatewayError] | None:
    if user not in room.users:
        return NotInTheRoom
    if len(stanza.invitations) > _MAX_INVITATIONS:
        return TooMuch
    for invitation in stanza.invitations:
        try:
            jids.prepared(invitation.jid)
        except ValueError:
            return Malformed
        if not room.settings.membersOnly:
            continue
        known = room.affiliation(invitation.jid)
        # "Invitation privileges in members-only rooms SHOULD be restricted to room admins".
        if known in (NONE, OUTCAST) and room.affiliation(user) not in (OWNER, ADMIN):
            return NotEntitled
        if known == NONE and len(room.affiliations) >= room.bounds.affiliations:
            return TooMuch
    return None


def _decline(room: Room, user: str, invitation: Invitation) -> None:
    """
    Send a decline to the inviting user, if that user is an occupant; other third parties may not write to
    occupants.
    """
    there, _, nick = invitation.jid.partition("/")
    occupant = room.occupants.get(nick) if there == room.jid else None
    if occupant is not None and occupant.node is None:
        told = Invitation(occupant.realJid, invitation.reason, declines=True)
        room.out.append(SendInvitation(room.jid, jids.bare(user), told))
