"""Presence from the joined node: its occupants, and answers to joins."""

from __future__ import annotations

from attrs import evolve

from gateway.addresses import jids
from gateway.errors import Banned, NickInUse, NotAllowed
from gateway.fmuc import quirks
from gateway.fmuc.digest import words
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.rejections import expel, rejected, rejection
from gateway.fmuc.thinning import thinned
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import Dialect, Mode, NodePresence
from gateway.muc.leave import remove
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.values import (
    BANNED,
    CREATED,
    KICKED,
    MEMBERS_ONLY_NOW,
    NO_ROLE,
    NOT_A_MEMBER,
    SERVICE_SHUTDOWN,
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    PresenceChange,
    Standing,
    StanzaError,
    person,
    stanzaError,
)

# Codes of occupants who may not enter again.
_BARRED = frozenset((BANNED, NOT_A_MEMBER, MEMBERS_ONLY_NOW))
# Codes of occupants who were removed.
_REMOVED = frozenset((BANNED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW, SERVICE_SHUTDOWN))


def presence(federation: Federation, sender: str, recipient: str, stanza: NodePresence, now: float) -> None:
    """
    Handle a presence from the joined node.

    @param sender: address of the room there, or of an occupant.
    @param recipient: address of the room here, or of an occupant.
    """
    uplink, sender, recipient = parties(federation, sender, recipient)
    error = rejection(stanza)
    uplink.heard(now, isError=error is not None)
    if stanza.fmuc is not None and stanza.fmuc.channel is not None and stanza.stanzaError is None:
        # A server may return the offer.
        uplink.accepted(stanza.fmuc.channel, stanza.fmuc.keep, stanza.fmuc.told, now)
    if error is not None:
        # The ProtoXEP sends it "to the full MUC JID of the user on the slave", XEP-0289 to the bare JID, Openfire
        # to the full JID. A stanza to a node that cannot be delivered is returned from the nick it was sent to.
        user = "" if stanza.fmuc is None else stanza.fmuc.realJid
        rejected(federation, uplink, recipient or sender, error, now, user)
    elif stanza.fmuc is not None and stanza.fmuc.left:
        uplink.confirmedLeft(now)
    elif uplink.isLeaving:
        if stanza.unavailable and uplink.node.dialect is Dialect.PROTOXEP and sender == uplink.lastLeave:
            uplink.feed(Event.RETURNED, now)
    elif uplink.isIn:
        nick, stanza = _meant(federation, uplink, sender, stanza, now)
        if nick and stanza.unavailable:
            _unavailable(federation, uplink, nick, stanza, now)
        elif nick:
            _available(federation, uplink, nick, stanza, now)
            uplink.feed(Event.PART, now)


def _meant(
    federation: Federation, uplink: Uplink, nick: str, stanza: NodePresence, now: float
) -> tuple[str, NodePresence]:
    """Return the nick of the occupant whom a presence is about, empty for none, and the presence as that one's."""
    node = uplink.node
    if not node.resumes and (node.isOpenfire or quirks.answersAsOpenfire(node.jid, stanza)):
        uplink.isOpenfire()
    user = quirks.about(node.jid, stanza) if node.isOpenfire else ""
    if not user:
        return nick, stanza
    tables = (federation.room.users, *(each.users for each in federation.joiningNodes.values()))
    # A moderator acts rarely, so the joined node's occupants are searched.
    own = (each for each in node.occupants.values() if each.realJid == user)
    found = next((each[user] for each in tables if user in each), None) or next(own, None)
    if found is not None:
        return found.nick, quirks.asFrom(found.realJid, stanza)
    join = next((each for each in uplink.pending.values() if each.isSent and each.request.realJid == user), None)
    if join is None:
        return "", stanza
    if stanza.unavailable:
        # The user is removed before the answer to the fence: the user was in there, and is not let in here.
        federation.toNode(node, join.unavailable())
        isBanned = bool(set(stanza.change.codes) & _BARRED)
        rejected(federation, uplink, join.request.nick, _removal(stanza, isBanned), now)
        return "", stanza
    return join.request.nick, quirks.asFrom(user, stanza)


def _removal(stanza: NodePresence, isBanned: bool) -> StanzaError:
    """Return the error of a join whose user is removed at once."""
    known = stanzaError(Banned if isBanned else NotAllowed)
    return evolve(known, text=stanza.change.reason or known.text)


def parties(federation: Federation, sender: str, recipient: str) -> tuple[Uplink, str, str]:
    """Return the uplink, and the nicks of the sender and the recipient; empty for the rooms themselves."""
    assert federation.uplink is not None
    return federation.uplink, sender.partition("/")[2], recipient.partition("/")[2]


def _available(federation: Federation, uplink: Uplink, nick: str, stanza: NodePresence, now: float) -> None:
    room = federation.room
    # It may be the answer to a join that was admitted before.
    uplink.node.resumes |= stanza.resumes
    uplink.inquiry.end()
    realJid, nonAnonymous = _realJid(room, uplink.node, stanza)
    standing = stanza.item or Standing()
    # A JID that the joined node shows to all occupants is no secret here.
    room.settings.nonAnonymous |= nonAnonymous
    pending = uplink.pending.get(nick)
    if pending is not None and _meetsJoin(federation, uplink, pending, realJid, stanza, now):
        return
    occupant = room.occupants.get(nick)
    if occupant is not None and federation.isDownstream(occupant):
        if _isOf(occupant.realJid, realJid, stanza):
            if standing == occupant.standing and not stanza.change.actor:
                # A moderator's change answers none of the occupant's own changes.
                uplink.changes[nick] = max(0, uplink.changes[nick] - 1)
                if not uplink.changes[nick] and not uplink.resumption.isReturn:
                    uplink.resumption.offered.pop(nick, None)
            _update(federation, uplink, occupant, standing, stanza)
            return
        if _isOfPerson(occupant.realJid, realJid):
            # Another session of the user, at the joined node. The occupant is one of this node, too.
            return
        # Section 9: "Node with local user can then send an error message about the collision and kick them".
        expel(federation, uplink, occupant, stanzaError(NickInUse), now)
        occupant = None
        if not uplink.isIn:
            return
    if occupant is None and (uplink.resumption.hasLeft(nick, realJid) or uplink.awaitsLeave(nick, realJid)):
        return
    uplink.resumption.isSeen(nick)
    if occupant is not None:
        occupant.giveId(_idNow(room, occupant, realJid, stanza))
        occupant.realJid, occupant.nonAnonymous = realJid or occupant.realJid, nonAnonymous
        _update(federation, uplink, occupant, standing, stanza)
    elif len(room.occupants) < room.bounds.occupants:
        occupant = Occupant(
            nick, realJid, standing, stanza.payload, nonAnonymous, uplink.node, id=stanza.occupantId
        )
        room.add(occupant)
        room.broadcastPresence(occupant, _reason(stanza))


def _meetsJoin(
    federation: Federation, uplink: Uplink, pending: PendingJoin, realJid: str, stanza: NodePresence, now: float
) -> bool:
    """Handle the presence of an occupant by whose nick a join waits; True if there is nothing else to do."""
    if pending.answerOwed(realJid):
        uplink.owedAnswered(pending, now)
        return True
    if uplink.node.channel is not None and pending.request.nick in uplink.leaves:
        # It was sent before the user's earlier leave has arrived there; so is the answer to the join before that.
        del pending.owedTo[:1]
        return True
    if pending.isSent and _isOf(pending.request.realJid, realJid, stanza):
        if not pending.isOwed and uplink.isEarlier(pending):
            # It is about an earlier stay of the user, of which this process knows nothing.
            return True
        mode = Mode.PRIMARY if stanza.fmuc is None else stanza.fmuc.mode
        if realJid:
            pending.answerNamed(realJid)
        pending.request = evolve(pending.request, occupantId=stanza.occupantId)
        pending.created |= CREATED in stanza.change.codes
        uplink.confirm(pending, stanza.item or Standing(), mode, now)
        return True
    # An occupant of the joined node has the nick already. A join that was sent stays pending, because the occupant
    # may leave before the join arrives.
    if pending.isQueued and not _isOfPerson(pending.request.realJid, realJid):
        uplink.reject(pending, stanzaError(NickInUse))
        if pending.occupant is not None:
            # It was not sent: nobody has to learn of the leave.
            expel(federation, uplink, pending.occupant, stanzaError(NickInUse), now, tell=False)
    return not uplink.isIn


def _realJid(room: Room, node: JoinedNode, stanza: NodePresence) -> tuple[str, bool]:
    """Return the occupant's real JID, and whether every occupant may see it."""
    jid = stanza.jid if jids.bare(stanza.jid) != node.jid else ""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    isShown = quirks.showsRealJids(room, node) if node.isOpenfire else bool(jid) and not node.semiAnonymous
    return realJid or jid, isShown


def _isOf(own: str, realJid: str, stanza: NodePresence) -> bool:
    """
    True if a presence is that of the downstream user whose JID is C{own}.

    XEP-0289: "the fmuc element is always added", so the joined node names the JID. The ProtoXEP does not.
    """
    return realJid == own or (not realJid and stanza.fmuc is None)


def _idNow(room: Room, occupant: Occupant, realJid: str, stanza: NodePresence) -> str:
    """Return the id of the joined node's occupant after a presence: another user may have the nick now."""
    isOther = bool(realJid) and not _isOfPerson(occupant.realJid, realJid)
    return stanza.occupantId or (room.occupantId(person(realJid)) if isOther else occupant.id)


def _isOfPerson(own: str, realJid: str) -> bool:
    """True if two full JIDs are those of one user; the second one may be unknown."""
    return bool(realJid) and person(own) == person(realJid)


def _update(
    federation: Federation, uplink: Uplink, occupant: Occupant, standing: Standing, stanza: NodePresence
) -> None:
    """Handle a new status, role or affiliation."""
    # "Role change should be distributed across nodes and fanned out to users, but only cosmetically".
    isNew = standing != occupant.standing
    isShown = bool(uplink.node.profile.gather) and federation.isDownstream(occupant)
    if isShown:
        # The presence was shown here before; what comes back is a part of it.
        _compareShown(uplink, occupant, stanza)
    if not isNew and (isShown or _isKnown(federation, uplink, occupant, stanza)):
        return
    if isShown:
        pass
    elif uplink.node.returnsPresence or not federation.isDownstream(occupant):
        occupant.payload = stanza.payload
    elif not isNew:
        # In primary mode the presence of a downstream occupant was sent before.
        return
    occupant.standing = standing
    federation.room.broadcastPresence(occupant, _reason(stanza), own=not isNew, identifier=stanza.id)


def _compareShown(uplink: Uplink, occupant: Occupant, stanza: NodePresence) -> None:
    """If the joined node has another presence of an occupant after a loss, it is sent the right one later."""
    known = thinned(uplink.node.profile, occupant.payload)[0]
    if uplink.resumption.isReturn and words(known) != words(stanza.payload):
        uplink.node.waiting.forget(occupant.nick)
        uplink.node.waiting.nicks[occupant.nick] = None


def _isKnown(federation: Federation, uplink: Uplink, occupant: Occupant, stanza: NodePresence) -> bool:
    """True if a presence is not shown: it is received again after a loss, or its user has sent a newer one."""
    resumption, nick = uplink.resumption, occupant.nick
    if not federation.isDownstream(occupant):
        return resumption.isReturn and stanza.payload == occupant.payload
    if resumption.isReturn:
        if not uplink.node.returnsPresence and stanza.payload != occupant.payload:
            # The presence that was sent before the loss has not arrived.
            resumption.offered.setdefault(nick, (occupant.payload, None))
        return nick in resumption.offered or stanza.payload == occupant.payload
    return resumption.shown.pop(nick, None) == stanza.payload


def _reason(stanza: NodePresence) -> PresenceChange:
    """Return the reason and the actor of a change. Codes and new nicks are for occupants who leave."""
    return PresenceChange(reason=stanza.change.reason, actor=stanza.change.actor)


def _unavailable(federation: Federation, uplink: Uplink, nick: str, stanza: NodePresence, now: float) -> None:
    gone, present = uplink.leaveReturned(nick), federation.room.occupants.get(nick)
    isOther = gone is not None and present is not None and present is not gone
    if present is not None and isOther and federation.isDownstream(present) and uplink.node.channel is not None:
        # The user has left, and has joined again while the link was down.
        return
    if nick in uplink.resumption.parted:
        # This node has sent it, to join anew.
        uplink.resumption.parted.discard(nick)
        return
    if nick == uplink.lastLeave:
        uplink.lastLeave = ""
        if _hasRemovedUs(federation, uplink, stanza):
            uplink.confirmedLeft(now)
            return
    change = evolve(stanza.change, unavailable=True)
    if change.destroyed:
        # XEP-0045 section 10.9: each occupant is told with a presence of their own.
        uplink.removeEveryone(change, now)
        return
    occupant = federation.room.occupants.get(nick)
    if occupant is None:
        return
    realJid, _ = _realJid(federation.room, uplink.node, stanza)
    isDownstream, isChanging = federation.isDownstream(occupant), uplink.changes[nick] > 0
    # In replica mode, a node is told of no session's leave but those of its own. So what has told it of the last
    # session of an occupant of the joined node was lost.
    isUntold = uplink.node.returnsPresence and gone is None and not isDownstream
    if realJid != occupant.realJid and _isOfPerson(occupant.realJid, realJid) and not isUntold:
        # Another session of the user has left.
        return
    occupant.payload = stanza.payload
    if stanza.item is not None:
        # An occupant who changes the nick keeps the role.
        occupant.standing = stanza.item if change.nick else Standing(stanza.item.affiliation, NO_ROLE)
    if isDownstream and not set(change.codes) & _REMOVED:
        # Downstream occupants leave by their own presence and keep their nicks. In the ProtoXEP this may be the
        # presence of another occupant who had the nick that a downstream user is joining with.
        change = PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,))
    uplink.removedThere(occupant)
    remove(federation.room, occupant, change)
    if isDownstream:
        if set(change.codes) & _BARRED:
            uplink.users.refused(occupant.realJid)
        isUncertain = isChanging or TECHNICAL_PROBLEM in change.codes
        _removedByJoined(federation, uplink, occupant, isUncertain, now)


def _hasRemovedUs(federation: Federation, uplink: Uplink, stanza: NodePresence) -> bool:
    """
    True if the joined node removed our last occupant before it saw our leave.

    ProtoXEP 0.0.1 has no C{<left/>}, so treat this as "left"; joins in flight count as a first join.
    """
    isAlone = uplink.state is UplinkState.JOINED and not federation.downstreamCount and not uplink.leaves
    isRemoved = bool(set(stanza.change.codes) & _REMOVED)
    return uplink.node.dialect is Dialect.PROTOXEP and isRemoved and isAlone


def _removedByJoined(
    federation: Federation, uplink: Uplink, occupant: Occupant, isUncertain: bool, now: float
) -> None:
    """
    Handle the removal of a downstream occupant by the joined node.

    "When an FMUC node receives notice that one of their users has been kicked by a moderator on another node it
    SHOULD kick the user and fan-out the consequent presence stanzas". A stanza that the user has sent meanwhile may
    count as a join there: another join, if joins are not answered, or a presence change.
    """
    tell = not uplink.node.returnsPresence or isUncertain
    if not tell and uplink.node.dialect is Dialect.PROTOXEP:
        # If the user has joined there again, this stanza removes the user; otherwise the joined node ignores it.
        federation.toNode(uplink.node, occupant.presence(UNAVAILABLE))
    uplink.occupantLeft(occupant, now, tell=tell)
