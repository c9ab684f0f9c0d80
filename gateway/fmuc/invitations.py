"""
Invitations of a mirror's occupants (XEP-0045 section 7.8.2): the joined room decides. Pure.

The mirror invites users who may join through it, and asks the joined room by an iq whether it may. Other users are
invited by the joined room, which gets the message. Both have the occupant's own element C{x} of C{muc#user}.
"""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from attrs import frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, NoHandler, NotEntitled, NotInTheRoom
from gateway.fmuc.actions import AskInvitations
from gateway.fmuc.federation import Federation
from gateway.muc.actions import Action, SendInvitation, SendResult
from gateway.muc.elements import invitesXml
from gateway.muc.info import Info
from gateway.muc.invitations import admit, check, invitationsOf, invite
from gateway.muc.members_only import OPTION as MEMBERS_ONLY
from gateway.muc.occupant import Occupant
from gateway.muc.occupant_iq import TIMEOUT, Exchange, OccupantIqs, errorOf
from gateway.muc.stanzas import readInvitations
from gateway.muc.values import ADMIN, OWNER, Invitation, Message, Payload, RoomMessage, person
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children
from gateway.xml.write import tag, textTag

# Errors of other software, which does not know the request.
_UNKNOWN = frozenset(("bad-request", "feature-not-implemented", "service-unavailable"))
# Characters of a password.
_MAX_PASSWORD = 1_000


@frozen
class _Inquiry(Exchange):
    """
    A request of a mirror: may its occupant invite these users?

    @ivar room: bare JID of the mirror.
    @ivar sender: the occupant's address.
    @ivar otherwise: the error if the joined room does not know the request; C{None} to send the invitations then.
    """

    name: ClassVar[str] = "message"

    room: str
    sender: str
    invitations: tuple[Invitation, ...]
    otherwise: type[GatewayError] | None

    def answer(self, stanza: Stanza) -> list[Action]:
        if stanza.type == "result":
            return self._invite(_passwordOf(stanza))
        error = errorOf(stanza)
        if error.condition not in _UNKNOWN:
            return [self._error(error)]
        return self._invite("") if self.otherwise is None else [self.refuse(self.otherwise)]

    def _invite(self, password: str) -> list[Action]:
        return [SendInvitation(self.room, self.sender, each, password) for each in self.invitations]


def _passwordOf(stanza: Stanza) -> str:
    with suppress(BadRequest):
        x = next((each for each in children(stanza.element) if each.uri == ns.MUC_USER), None)
        inside = () if x is None else children(x)
        return next((str(each) for each in inside if each.name == "password"), "")[:_MAX_PASSWORD]
    return ""


# The mirror.


def ask(
    federation: Federation,
    user: str,
    stanza: Message,
    iqs: OccupantIqs,
    users: frozenset[str],
    known: Info | None,
    now: float,
) -> None:
    """
    Handle the invitations of a mirror's local user.

    @param users: domains whose users may join through the mirror.
    @param known: what the joined room has told of itself.
    @raise GatewayError: if they are refused.
    """
    room, wanted = federation.room, invitationsOf(stanza)
    occupant = room.users.get(user)
    if occupant is None or federation.uplink is None:
        raise NotInTheRoom
    check(wanted)
    # An ordinary room sends all of its invitations itself.
    isOrdinary = federation.uplink.node.isOrdinary
    isOwn = [not isOrdinary and ("*" in users or jids.split(person(each.jid))[1] in users) for each in wanted]
    own = tuple(each for each, mayJoin in zip(wanted, isOwn, strict=True) if mayJoin)
    others = tuple(each for each in wanted if each not in own)
    if own:
        isOpen = known is None or MEMBERS_ONLY.features[0] not in known.features
        mayInvite = isOpen or occupant.standing.affiliation in (OWNER, ADMIN)
        sender, identifier = room.address(occupant.nick), f"invite-{room.ids.stanzaId(room.nextIds)}"
        there = federation.uplink.node
        inquiry = _Inquiry(
            requester=user,
            asked=room.jid,
            id=stanza.id or "",
            deadline=now + TIMEOUT,
            share=iqs.share(user),
            room=room.jid,
            sender=sender,
            invitations=own,
            otherwise=None if mayInvite else NotEntitled,
        )
        iqs.open((there.jid, sender, identifier), inquiry)
        federation.toNode(there, AskInvitations(occupant.nick, identifier, own))
    if others:
        _submit(federation, occupant, stanza, others)


def _submit(federation: Federation, occupant: Occupant, stanza: Message, wanted: tuple[Invitation, ...]) -> None:
    """Send the joined room invitations that it sends itself."""
    federation.submitForm(
        RoomMessage(
            nick=occupant.nick,
            realJid=occupant.realJid,
            kind=None,
            id=stanza.id,
            payload=Payload(invitesXml(wanted)),
        )
    )


# The joined room. A mirror that is mirrored itself passes all on if it trusts its joining node with administration:
# the room cannot tell that node's occupants from those of the mirror.


def answer(federation: Federation, stanza: Stanza, iqs: OccupantIqs, now: float) -> bool:
    """
    Answer a joining node that asks whether its occupant may invite; return False for other requests. The answer has
    the room's password: "the room SHOULD add the password".

    @raise GatewayError: the answer is this error.
    """
    if stanza.type != "set" or ns.MUC_USER.encode() not in stanza.raw:
        return False
    payload = next(stanza.element.elements(), None)
    sender, room = stanza.sender or "", federation.room
    occupant = federation.downstreamAt(sender)
    if payload is None or (payload.uri, payload.name) != (ns.MUC_USER, "x") or occupant is None:
        return False
    room.durability.check()
    if federation.uplink is not None and federation.uplink.node.isOrdinary:
        # As other software does: the joining node decides by what it knows of the room.
        raise NoHandler
    if federation.uplink is not None:
        federation.checkAuthority(sender)
        iqs.relay(room, occupant, stanza, federation.uplink.node.jid, now)
        return True
    wanted = readInvitations(payload)
    if not wanted or any(each.declines for each in wanted):
        raise BadRequest
    check(wanted)
    admit(room, occupant, wanted, sender)
    password = textTag("password", room.settings.password)
    content = tag("x", password, xmlns=ns.MUC_USER).encode() if password else b""
    room.emit(SendResult(stanza.recipient or "", sender, stanza.id or "", content))
    return True


def fromNode(federation: Federation, occupant: Occupant | None, address: str, stanza: Message) -> None:
    """
    Handle the invitations of a joining node's occupant that the room sends itself.

    @param occupant: C{None} if the node has no such occupant.
    @param address: the occupant's address there.
    @raise GatewayError: if they are refused.
    """
    wanted = invitationsOf(stanza)
    if federation.uplink is None:
        invite(federation.room, occupant, wanted, address)
    elif occupant is None:
        raise NotInTheRoom
    else:
        if not federation.uplink.node.isOrdinary:
            # An ordinary room knows this occupant from others of this node.
            federation.checkAuthority(address)
        check(wanted)
        _submit(federation, occupant, stanza, wanted)
