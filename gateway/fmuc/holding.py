"""
A joined node, and joining nodes to which stanzas may be lost: they are asked to resume, and their occupants stay
meanwhile. L{gateway.fmuc.uplink.resuming} is the other side.
"""

from __future__ import annotations

from functools import partial

from twisted.words.xish import domish

from gateway import ns
from gateway.errors import BadRequest, NoSuchAddress, ResourceLimit
from gateway.fmuc.actions import AskReturn
from gateway.fmuc.channel.table import Event, Forgotten
from gateway.fmuc.channel.values import Lost, Opened, Renewed
from gateway.fmuc.destroyed import readGone
from gateway.fmuc.digest import ALL, Buckets, shared
from gateway.fmuc.federation import Federation
from gateway.fmuc.node_table import presenceAt
from gateway.fmuc.nodes import Doubt, JoiningNode
from gateway.fmuc.uplink.pending import PendingJoin
from gateway.fmuc.uplink.resuming import FIRST, interval
from gateway.fmuc.values import ABSENT, ResumeAnswer
from gateway.muc.actions import Action, SendError, SendResult
from gateway.muc.leave import leave, removeAll
from gateway.muc.occupant import Occupant
from gateway.muc.room import Room
from gateway.muc.sessions import dropSession
from gateway.muc.subject import subjectOf
from gateway.muc.values import (
    AVAILABLE,
    TECHNICAL_PROBLEM,
    UNAVAILABLE,
    Payload,
    Presence,
    PresenceChange,
    RoomMessage,
    person,
    stanzaError,
)
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children
from gateway.xml.write import tag

# Requests to joining nodes that a service sends each second.
MAX_ASKED = 50
# Seconds after which a node that may have lost a part of its state, and has not compared, is asked to.
_COMPARED = 10.0
# Occupants in one answer, as in the bounds of a room.
_MAX_MISSING = 5_000
# Characters of a JID that a joining node tells: it is kept until the list of its occupants is complete.
_MAX_JID = 3_071


def bounced(
    federation: Federation,
    node: JoiningNode,
    condition: str,
    now: float,
    message: tuple[str, str | None] | None = None,
) -> None:
    """
    Handle the error of a stanza to a joining node: its occupants stay if it can resume, and may be back soon.

    @param message: nick of the sender and id of a message to all.
    """
    if not node.resumes or not node.hasJoined or condition not in ABSENT:
        nodeLost(federation, node, now)
        return
    if node.doubt is None:
        gone = federation.room.bounds.gone
        federation.room.log(f"{node.jid} cannot be reached ({condition}): its occupants stay for {gone:g} seconds")
        node.doubt = Doubt(now + FIRST, now + gone)
    if message is not None and not node.doubt.first:
        # Later messages may have arrived. Errors keep the order of the messages.
        sent = [each.stanzaId for each in federation.room.history if (each.nick, each.id) == message]
        node.doubt.first = next(iter(sent), "")


def doubt(federation: Federation, now: float) -> None:
    """Stanzas to the joining nodes may be lost: this process, or its server, was restarted."""
    for node in federation.joiningNodes.values():
        if node.resumes and node.doubt is None and node.channel is None:
            node.doubt = Doubt(now, now + federation.room.bounds.gone)


def expel(federation: Federation, node: JoiningNode, now: float) -> None:
    """Remove a joining node at the next tick; it is sent nothing meanwhile."""
    node.doubt = Doubt(now, now)
    if federation.channels is not None:
        federation.channels.end(federation.room.jid, node)


def channelChanged(federation: Federation, node: JoiningNode, event: Event, now: float) -> None:
    """Handle a change of the channel with a joining node: that node compares the occupants, if it has to."""
    gone = federation.room.bounds.gone
    if isinstance(event, Renewed):
        node.isRenewed = True
    elif isinstance(event, Opened):
        # A node that has lost a part of its state compares; if nobody is in it any longer, it does not.
        node.doubt = Doubt(now + _COMPARED, now + gone) if node.isRenewed else None
        node.isRenewed = False
        # The process may have been killed while a join was all that its node had here.
        federation.release(node)
    elif isinstance(event, Lost) and node.doubt is None:
        federation.room.log(f"{node.jid} cannot be reached: its occupants stay for {gone:g} seconds")
        node.doubt = Doubt(float("inf"), now + gone)
    elif isinstance(event, Forgotten):
        nodeLost(federation, node, now)


def tick(federation: Federation, token: str, now: float, most: int) -> int:
    """
    Ask the joining nodes that are in doubt, and remove those that have not returned in time.

    @param most: maximum number of requests.
    @return: number of requests.
    """
    asked = 0
    for node in [each for each in federation.joiningNodes.values() if each.keep]:
        _keep(federation, node, now)
    for node in [each for each in federation.joiningNodes.values() if each.doubt is not None]:
        found = node.doubt
        assert found is not None
        if found.until <= now:
            nodeLost(federation, node, now)
        elif found.askAt <= now and asked < most:
            asked += 1
            found.asked += 1
            found.askAt = now + interval(found.asked)
            federation.toNode(node, AskReturn(f"return-{token}-{found.asked}"))
    return asked


def _keep(federation: Federation, node: JoiningNode, now: float) -> None:
    """End the stay of a joining node that is without occupants for too long."""
    if node.occupants or not node.isKept:
        node.emptySince = None
    elif node.emptySince is None:
        node.emptySince = now
    elif node.emptySince + node.keep <= now:
        federation.release(node, isFinal=True)


def answered(federation: Federation, stanza: Stanza, token: str, condition: str, now: float) -> bool:
    """
    Handle the answer of a joining node that was asked to resume; False if the stanza is none.

    @param condition: of the error; empty for a result.
    """
    node = federation.joiningNodes.get(stanza.sender or "")
    if node is None or not (stanza.id or "").startswith(f"return-{token}-"):
        return False
    if condition:
        bounced(federation, node, condition, now)
    # Otherwise the request of that node follows.
    return True


def payloadOf(stanza: Stanza) -> domish.Element | None:
    """Return the element of a request to resume; C{None} if the stanza is another request."""
    if ns.CHANNEL.encode() not in stanza.raw:
        return None
    payload = next(stanza.element.elements(), None)
    isIt = payload is not None and (payload.uri, payload.name) == (ns.CHANNEL, "compare")
    return payload if isIt else None


def readAnswer(stanza: Stanza, condition: str) -> ResumeAnswer:
    """
    Read the answer of a joined node to a request to resume.

    @param condition: of the error; empty for a result.
    """
    payload = payloadOf(stanza)
    if condition or payload is None:
        # A result without the element comes from software that does not know the request.
        destruction = readGone(stanza, condition)
        return ResumeAnswer(condition=condition or "feature-not-implemented", destruction=destruction)
    nicks = tuple(each.getAttribute("nick", "") for each in children(payload, _MAX_MISSING))
    return ResumeAnswer(
        hashes=payload.getAttribute("b"),
        more=payload.getAttribute("more") == "true",
        isState=payload.getAttribute("state") == "true",
        missing=nicks,
    )


def resumed(federation: Federation, stanza: Stanza, payload: domish.Element, now: float) -> list[Action]:
    """
    Answer a joining node that wants to resume.

    @raise NoSuchAddress: if that node has not joined: it joins anew then.
    @raise ResourceLimit: if there were too many requests.
    """
    node = federation.joiningNodes.get(stanza.sender or "")
    if node is None:
        raise NoSuchAddress
    if not node.hasJoined:
        # It was restarted, and does not wait for the answer to its first join any longer.
        return _forgotten(federation, node, stanza, now)
    node.resumes = True
    federation.room.changes.nodes = True
    isLast = stanza.type == "get" or payload.getAttribute("more") != "true"
    if isLast and not node.credit.take(now):
        # The node tries again.
        raise ResourceLimit
    if stanza.type == "set":
        return _told(federation, node, stanza, payload, now)
    last = payload.getAttribute("m")
    joins = _joinsOf(federation, node)
    isWhole = not node.profile.gather
    occupants = _visible(federation.room, node)
    known = shared(federation.room, occupants, partial(crossing, node), joins, isWhole)
    if payload.getAttribute("d") != known.digest():
        if node.doubt is not None:
            node.doubt.listed = {}
        return [_result(stanza, node, b=known.hashes())]
    first, node.doubt = "" if node.doubt is None else node.doubt.first, None
    missed = _missed(federation.room, last, first)
    if not missed:
        return [*federation.room.takeActions(), _result(stanza, node)]
    # A channel may deliver them later than this answer.
    actions = [*federation.room.takeActions(), _result(stanza, node, state="true")]
    for message in missed:
        federation.toNode(node, message)
    federation.toNode(node, subjectOf(federation.room))
    return [*actions, *federation.room.takeActions()]


def _visible(room: Room, node: JoiningNode) -> list[Occupant]:
    """Return the occupants whose presence a joining node gets."""
    return [each for each in room.occupants.values() if not each.isHidden or node in each.nodes]


def _joinsOf(federation: Federation, node: JoiningNode) -> list[PendingJoin]:
    """Return the joins of a joining node that wait here for the joined node. Others are occupants already."""
    return [each for each in federation.pending.values() if each.isOf(node) and each.occupant is None]


def crossing(node: JoiningNode, occupant: Occupant) -> tuple[str, Payload] | None:
    """Return the real JID and the presence by which a joining node knows its occupant; C{None} for others."""
    if node not in occupant.nodes:
        return None
    session = occupant.sessionAt(node)
    if session is None:
        return occupant.realJid, occupant.payload
    # In primary mode the node is not told of the presence of other sessions.
    return session.jid, occupant.payload if node.returnsPresence else session.payload


def _told(
    federation: Federation, node: JoiningNode, stanza: Stanza, payload: domish.Element, now: float
) -> list[Action]:
    """Handle the occupants of a joining node: remove those who have left there, and send it everything."""
    room, buckets = federation.room, _bucketsOf(payload)
    listed = node.doubt.listed if node.doubt is not None else {}
    for each in children(payload, room.bounds.occupants):
        nick, jid = each.getAttribute("nick", ""), each.getAttribute("jid", "")
        isLong = len(nick) > room.bounds.nick or len(jid) > _MAX_JID
        if not nick or isLong or len(listed) >= room.bounds.occupants:
            raise BadRequest
        listed[nick] = jid
    if payload.getAttribute("more") == "true":
        node.doubt = node.doubt or Doubt(now + room.bounds.gone, now + room.bounds.gone)
        node.doubt.listed = listed
        return [_result(stanza, more="true")]
    there = {nick for nick, jid in listed.items() if _isThere(federation, node, nick, jid)}
    if not listed and buckets is ALL:
        # It was restarted, and nobody is there.
        return _forgotten(federation, node, stanza, now)
    missing = "".join(tag("missing", nick=nick) for nick in listed if nick not in there)
    if not there and not any(nick not in buckets for nick in _nicksOf(federation, node)):
        # Nobody is in through that node: it has left by this answer. A state would be taken for that of its next
        # first join.
        return [*_removed(federation, node, now), _result(stanza, inside=missing, state="true")]
    answer = _result(stanza, node, missing, state="true")
    _removeOthers(federation, node, buckets, there, now)
    actions = [*room.takeActions(), answer]
    first, node.doubt = "" if node.doubt is None else node.doubt.first, None
    for occupant in _visible(room, node):
        if occupant.nick in buckets:
            federation.toNode(node, presenceAt(node, occupant, occupant.presence(AVAILABLE)))
    for message in _missed(room, payload.getAttribute("m"), first):
        federation.toNode(node, message)
    federation.toNode(node, subjectOf(room))
    return [*actions, *room.takeActions()]


def _bucketsOf(payload: domish.Element) -> Buckets:
    """
    Return the buckets that a joining node tells the occupants of.

    @raise BadRequest: if they are none.
    """
    if not payload.hasAttribute("b"):
        return ALL
    return Buckets.read(payload.getAttribute("n", ""), payload.getAttribute("b", ""))


def _nicksOf(federation: Federation, node: JoiningNode) -> list[str]:
    """Return the nicks of the occupants and joins of a joining node."""
    return [*node.occupants, *(each.request.nick for each in _joinsOf(federation, node))]


def _removeOthers(
    federation: Federation, node: JoiningNode, buckets: Buckets, there: set[str], now: float
) -> None:
    """Remove the occupants and the joins of a joining node, of some buckets, that are not there any longer."""
    for pending in _joinsOf(federation, node):
        nick = pending.request.nick
        if nick in buckets and nick not in there and federation.uplink is not None:
            # The node was restarted, and does not wait for it any longer.
            federation.uplink.withdraw(pending, now)
    for nick, occupant in list(node.occupants.items()):
        if nick in buckets and nick not in there:
            session = occupant.sessionAt(node)
            leave(federation.room, occupant, Presence(payload=occupant.payload), now, UNAVAILABLE, session)
            if node.channel is not None and not node.returnsPresence:
                # Its channel may have kept an earlier presence, such as the answer to a join.
                federation.toNode(node, presenceAt(node, occupant, occupant.presence(UNAVAILABLE)))


def _forgotten(federation: Federation, node: JoiningNode, stanza: Stanza, now: float) -> list[Action]:
    """Remove a joining node that wants to resume: it has to join anew."""
    error = SendError("iq", federation.room.jid, node.jid, stanza.id, stanzaError(NoSuchAddress))
    return [*_removed(federation, node, now), error]


def _removed(federation: Federation, node: JoiningNode, now: float) -> list[Action]:
    """Remove a joining node whose answer tells that it has left: no other confirmation follows."""
    node.hasJoined = False
    nodeLost(federation, node, now)
    return federation.room.takeActions()


def _isThere(federation: Federation, node: JoiningNode, nick: str, jid: str) -> bool:
    """True if a user is in through a joining node, or the joined node is asked to admit the user."""
    occupant, pending = node.occupants.get(nick), federation.pending.get(nick)
    if occupant is None:
        return pending is not None and pending.isOf(node) and pending.request.realJid == jid
    return person(occupant.jidAt(node)) == person(jid)


def _missed(room: Room, last: str | None, first: str) -> list[RoomMessage]:
    """
    Return the messages of the history that a joining node may have missed: those after one; all, if that is not
    known.

    @param last: stanza id of that message; C{None} for none; empty if no message is missing.
    @param first: stanza id of an earlier message that was returned; empty for none.
    """
    if last == "":
        return []
    found = list(room.history)
    places = {each.stanzaId: place for place, each in enumerate(found) if each.stanzaId}
    start = places.get(last or "", -1) + 1
    return found[min(start, places.get(first, start)) :]


def _result(stanza: Stanza, node: JoiningNode | None = None, inside: str = "", **attributes: str) -> SendResult:
    """
    Return the answer to a comparison.

    @param node: to tell it what this node has numbered before (rule 34), if there is a channel.
    """
    if node is not None and node.channel is not None:
        position = node.channel.boundary()
        attributes["k"] = f"{position.epoch} {position.number}"
    payload = tag("compare", inside or None, xmlns=ns.CHANNEL, **attributes)
    return SendResult(stanza.recipient or "", stanza.sender or "", stanza.id or "", payload.encode())


def nodeLost(federation: Federation, node: JoiningNode, now: float) -> None:
    """Remove a joining node and its occupants, because stanzas to it are returned or it was restarted."""
    room = federation.room
    room.log(f"{node.jid} cannot be reached or was restarted: its occupants are removed", warn=True)
    if node.channel is not None and federation.channels is not None:
        # Nothing is kept for it: it learns from the first answer that it has to join anew.
        federation.channels.end(room.jid, node)
        node.hasJoined = False
    for occupant in list(node.occupants.values()):
        session = occupant.sessionAt(node)
        if session is not None:
            dropSession(room, occupant, session)
    occupants = list(node.occupants.values())
    removeAll(room, dict.fromkeys(occupants, PresenceChange(unavailable=True, codes=(TECHNICAL_PROBLEM,))))
    if federation.uplink is not None:
        federation.uplink.occupantsLeft(occupants, now)
    for pending in _joinsOf(federation, node):
        if federation.uplink is not None:
            federation.uplink.withdraw(pending, now)
    federation.release(node)
    federation.joiningNodes.pop(node.jid, None)
    room.changes.nodes = True
