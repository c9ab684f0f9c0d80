"""Rejections by the joined node: of joins, and of presence."""

from __future__ import annotations

from gateway.fmuc.federation import Federation
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import UNREACHABLE, Dialect, NodePresence
from gateway.muc.actions import SendError
from gateway.muc.leave import remove
from gateway.muc.occupant import Occupant
from gateway.muc.values import AVAILABLE, KICKED, PresenceChange, StanzaError

# Advice for the operator about a rejection without a text, by its condition.
_REMEDIES = {
    **dict.fromkeys(
        ("remote-server-not-found", "remote-server-timeout"),
        "; check s2s between the two sites, and the DNS records of both names",
    ),
    **dict.fromkeys(("not-allowed", "forbidden"), "; its site has to list this mirror, or to admit the user"),
    **dict.fromkeys(
        ("feature-not-implemented", "service-unavailable"),
        "; check that it supports federation (XEP-0289), and protocol in the mirror's table",
    ),
    "item-not-found": "; check the room's address",
    "conflict": "; the user has to choose another nick",
}
# Conditions of rejections by which a user may not enter.
_OF_USER = frozenset(("forbidden", "not-authorized", "registration-required"))


def rejection(stanza: NodePresence) -> StanzaError | None:
    """Return the error of a presence that rejects a user, or this node; C{None} for other presence."""
    if stanza.stanzaError is not None:
        return stanza.stanzaError
    if stanza.fmuc is not None and stanza.fmuc.reject is not None:
        return StanzaError("cancel", "not-allowed", stanza.fmuc.reject)
    return None


def rejected(
    federation: Federation, uplink: Uplink, nick: str, error: StanzaError, now: float, user: str = ""
) -> None:
    """
    Handle the rejection of a join or of a presence change.

    @param nick: empty if the rejection names nobody; then it is for the oldest pending join.
    @param user: full JID of the user who is rejected; empty if it is not known.
    """
    if uplink.isLeaving:
        if nick in ("", uplink.lastLeave):
            uplink.feed(Event.REJECTED, now)
        return
    if not uplink.isIn:
        return
    if not nick:
        nick = next((each for each, pending in uplink.pending.items() if pending.isSent), "")
    pending = uplink.pending.get(nick)
    if pending is not None and (pending.isSent or pending.isOwed):
        if pending.isSent and user == pending.request.realJid:
            pending.answerNamed(user)
        if pending.isOwed:
            del pending.owedTo[:1]
            uplink.owedAnswered(pending, now)
            return
        # The rooms of a server's own service refuse users as they do others: there is nothing to repair.
        isOrdinary = uplink.node.isOrdinary
        reason = error.text or error.condition + ("" if isOrdinary else _REMEDIES.get(error.condition, ""))
        federation.room.log(
            f"{uplink.node.jid} rejects {pending.request.realJid}: {reason}", warn=not isOrdinary
        )
        if pending.occupant is not None and error.condition in UNREACHABLE and uplink.unreachable(now):
            return
        _rejectJoin(federation, uplink, pending, error, now)
    else:
        _presenceRejected(federation, uplink, nick, error, now)


def _presenceRejected(federation: Federation, uplink: Uplink, nick: str, error: StanzaError, now: float) -> None:
    """Handle the rejection of a presence that is no join."""
    occupant = federation.room.occupants.get(nick)
    if occupant is None or not federation.isDownstream(occupant):
        if error.condition in UNREACHABLE and uplink.node.resumes:
            # A leave was lost.
            uplink.disturbed(now)
        return
    if error.condition in UNREACHABLE and uplink.unreachable(now):
        return
    expel(federation, uplink, occupant, error, now)
    if uplink.node.dialect is Dialect.PROTOXEP:
        _giveNick(federation, uplink, occupant)


def _rejectJoin(
    federation: Federation, uplink: Uplink, pending: PendingJoin, error: StanzaError, now: float
) -> None:
    """Handle the rejection of a join that was sent."""
    uplink.reject(pending, error)
    if error.condition in _OF_USER:
        uplink.users.refused(pending.request.realJid)
    occupant = pending.occupant
    # Somebody else may have the nick since.
    if occupant is not None and federation.room.occupants.get(occupant.nick) is occupant:
        expel(federation, uplink, occupant, error, now)
    uplink.rejoinNext(now)
    uplink.leaveIfEmpty(now)


def expel(
    federation: Federation, uplink: Uplink, occupant: Occupant, error: StanzaError, now: float, tell: bool = True
) -> None:
    """
    Remove a downstream occupant whom the joined node does not accept.

    @param tell: as of L{Uplink.occupantLeft}.
    """
    room = federation.room
    reason = error.text or error.condition
    uplink.removedThere(occupant)
    remove(room, occupant, PresenceChange(unavailable=True, codes=(KICKED,), reason=reason))
    for jid in occupant.localJids:
        room.emit(SendError("presence", room.address(occupant.nick), jid, None, error, isJoin=True))
    uplink.occupantLeft(occupant, now, tell)


def _giveNick(federation: Federation, uplink: Uplink, occupant: Occupant) -> None:
    """
    In the ProtoXEP an occupant's presence may be taken for the answer to a join with the same nick. Then the joined
    node's occupant has the nick and stays.
    """
    room = federation.room
    if uplink.state is UplinkState.JOINED and occupant.nick not in room.occupants:
        # The id was in that presence, unless this node has made it for its own user.
        given = "" if occupant.id == room.occupantId(occupant.person) else occupant.id
        other = Occupant(occupant.nick, "", occupant.standing, occupant.payload, False, uplink.node, id=given)
        room.add(other)
        room.broadcastPresence(other, AVAILABLE)
