"""Stanzas from joining nodes."""

from __future__ import annotations

from attrs import evolve, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, Forbidden, GatewayError, Loop, NoSuchAddress, NotInTheRoom, ResourceLimit
from gateway.fmuc import admission, invitations, quirks
from gateway.fmuc.actions import Probe, Reject, ToNode
from gateway.fmuc.federation import Federation
from gateway.fmuc.holding import bounced, nodeLost
from gateway.fmuc.node_table import presenceAt
from gateway.fmuc.nodes import JoiningNode, Node
from gateway.fmuc.profiles import BROADBAND, PROFILES
from gateway.fmuc.values import Dialect, FederationMode, Fmuc, Mode, NodeMessage, NodePresence
from gateway.muc import groupchat, locked, private_messages, room_forms
from gateway.muc.actions import SendError, SendResult
from gateway.muc.join import checkUser, grant
from gateway.muc.leave import leave
from gateway.muc.nick import checkNewNick, checkNick, renameOccupant
from gateway.muc.occupant import Occupant
from gateway.muc.sessions import changePresence, rename
from gateway.muc.values import (
    AVAILABLE,
    DELIVERY_ERRORS,
    NICK_CHANGED,
    JoinRequest,
    PresenceChange,
    Standing,
    person,
    stanzaError,
)
from gateway.stream.stanzas import Stanza

# Refused users of one node that are remembered.
_MAX_REFUSED = 100


def dialectOf(sender: str, stanza: NodePresence) -> Dialect:
    """
    Return the protocol of a joining node. In XEP-0289 a join comes from the occupant's address and has C{muc#user};
    in the ProtoXEP it has neither.
    """
    return Dialect.PROTOXEP if stanza.item is None and "/" not in sender else Dialect.XEP_0289


def reject(room: str, sender: str, stanza: NodePresence, nick: str, error: GatewayError) -> ToNode:
    """Return the rejection of a user, or of a node."""
    realJid = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    rejection = Reject(nick, realJid, stanzaError(type(error)))
    if quirks.joinsAsOpenfire(stanza):
        rejection = quirks.rejection(rejection, hasJoined=False)
    return ToNode(room, jids.bare(sender), dialectOf(sender, stanza), False, rejection)


@frozen
class _Incoming:
    """
    A presence from a joining node.

    @ivar peer: bare JID of the node.
    @ivar nick: the occupant, or the user who joins.
    """

    peer: str
    nick: str
    stanza: NodePresence
    dialect: Dialect
    now: float

    @property
    def fmuc(self) -> Fmuc:
        """The C{fmuc} element; without a JID if there is none."""
        return self.stanza.fmuc or Fmuc()

    def request(self) -> JoinRequest:
        """Return the presence as a join."""
        stanza = self.stanza
        return JoinRequest(
            nick=self.nick,
            realJid=self.fmuc.realJid,
            payload=stanza.payload,
            password=stanza.password,
            limits=stanza.limits,
            claimedStanding=stanza.item or Standing(),
            asksId=self.fmuc.asksId,
            id=stanza.id,
        )

    def newNode(self) -> JoiningNode:
        """Return the node of a first join."""
        mode = self.fmuc.mode
        agreed = FederationMode(asked=mode, agreed=mode)
        # The operator of the mirror knows the link. A profile only reduces what this node sends to that mirror.
        profile = PROFILES.get(self.stanza.profile, BROADBAND)
        offer = self.fmuc.channel if self.dialect is Dialect.XEP_0289 else None
        node = JoiningNode(self.peer, self.dialect, agreed, profile, resumes=self.stanza.resumes, offer=offer)
        node.keep = 0 if offer is None else self.fmuc.keep
        return node


def presence(federation: Federation, sender: str, recipient: str, stanza: NodePresence, now: float) -> None:
    """
    Handle a presence from a joining node that is known.

    @param sender: address of the node, or of an occupant there.
    @param recipient: address of the room, or of an occupant here.
    """
    nick = recipient.partition("/")[2] or sender.partition("/")[2]
    if not quirks.announcesJoin(recipient, stanza):
        presenceOf(federation, sender, nick, stanza, now)


def presenceOf(federation: Federation, sender: str, nick: str, stanza: NodePresence, now: float) -> None:
    """Handle the presence of a user of a joining node, which may be new."""
    federation.room.activeAt = now
    federation.room.changes.nodes = True
    incoming = _Incoming(jids.bare(sender), nick, stanza, dialectOf(sender, stanza), now)
    node = federation.joiningNodes.get(incoming.peer)
    if node is not None and node.isOpenfire:
        meant = _asMeant(node, incoming)
        if meant is None:
            return
        incoming = meant
    if node is None:
        if incoming.fmuc.realJid and stanza.stanzaError is None and not stanza.unavailable:
            _enter(federation, None, incoming)
    elif stanza.stanzaError is not None:
        bounced(federation, node, stanza.stanzaError.condition, now)
    elif stanza.unavailable:
        _leaves(federation, node, incoming)
    elif incoming.nick in node.occupants:
        _fromOccupant(federation, node, incoming)
    elif incoming.fmuc.realJid:
        _fromUser(federation, node, incoming)


def _asMeant(node: JoiningNode, incoming: _Incoming) -> _Incoming | None:
    """
    Return a presence of Openfire as that of the user whom it is about; C{None} if this node does not follow it. An
    occupant of that node may be removed there, and nothing else may be decided there.
    """
    user, stanza = quirks.about(node.jid, incoming.stanza), incoming.stanza
    if not user:
        isRefused = not stanza.joins and node.refused.get(incoming.nick) == incoming.fmuc.realJid
        return None if isRefused and not stanza.unavailable else incoming
    occupant = node.users.get(user)
    if occupant is None or not stanza.unavailable:
        return None
    return evolve(incoming, nick=occupant.nick, stanza=quirks.asFrom(user, stanza))


def _leaves(federation: Federation, node: JoiningNode, incoming: _Incoming) -> None:
    occupant, stanza = node.occupants.get(incoming.nick), incoming.stanza
    node.refused.pop(incoming.nick, None)
    if occupant is not None and node.isOpenfire and _changesNick(federation, occupant, stanza):
        return
    if occupant is not None:
        # Keep the reason, but no status codes: the joining node may not set them.
        change = PresenceChange(unavailable=True, reason=stanza.change.reason)
        if _isOtherSession(incoming.fmuc.realJid, occupant.jidAt(node)):
            # The node has told of the session that stays there before.
            return
        leave(federation.room, occupant, stanza, incoming.now, change, occupant.sessionAt(node))
        return
    pending = federation.pending.get(incoming.nick)
    if federation.uplink is not None and pending is not None and pending.isOf(node):
        federation.uplink.withdraw(pending, incoming.now)


def _changesNick(federation: Federation, occupant: Occupant, stanza: NodePresence) -> bool:
    """
    Handle the new nick of an occupant of Openfire (XEP-0045 section 7.6); False if it is none, or is refused: the
    occupant leaves, and joins by the new nick.
    """
    if NICK_CHANGED not in stanza.change.codes or federation.isMirror or occupant.sessions:
        return False
    try:
        checkNewNick(federation.room, occupant, stanza.change.nick)
    except GatewayError:
        return False
    renameOccupant(federation.room, occupant, stanza.change.nick, stanza, own=True)
    return True


def _fromOccupant(federation: Federation, node: JoiningNode, incoming: _Incoming) -> None:
    """Handle the presence of an occupant."""
    occupant, realJid = node.occupants[incoming.nick], incoming.fmuc.realJid
    known, own = occupant.realJid, occupant.jidAt(node)
    isOther = _isOtherSession(realJid, own)
    if realJid not in ("", own) and not isOther:
        federation.toNode(node, Reject(occupant.nick, realJid, stanzaError(Forbidden)))
    elif realJid and (incoming.stanza.isFirst or (incoming.stanza.joins and node.channel is None)):
        _enterAnew(federation, node, incoming)
    else:
        session = occupant.sessionAt(node)
        if isOther:
            # The user's session that this node knows has left there, and another one has stayed.
            rename(federation.room, occupant, session, realJid)
        changePresence(federation.room, occupant, incoming.stanza.payload, incoming.stanza.id, session)
        if occupant.realJid != known:
            federation.sessionReplaced(occupant, known)
        if incoming.stanza.joins and not node.returnsPresence:
            # The node was killed before it had the answer to an earlier join; all else is in its channel.
            federation.toNode(node, presenceAt(node, occupant, occupant.presence(AVAILABLE)))


def _fromUser(federation: Federation, node: JoiningNode, incoming: _Incoming) -> None:
    """Handle the presence of a user who is not an occupant."""
    nick, realJid = incoming.nick, incoming.fmuc.realJid
    if incoming.stanza.isFirst and not node.hasJoined:
        _forgetJoins(federation, node, incoming)
    pending = federation.pending.get(nick)
    isWaiting = pending is not None and pending.isOf(node) and pending.request.realJid == realJid
    if incoming.stanza.isFirst and node.hasJoined:
        # A first join.
        _enterAnew(federation, node, incoming)
    elif pending is not None and isWaiting and not incoming.stanza.joins:
        pending.newPresence = incoming.stanza
    elif node.channel is not None and not incoming.stanza.joins:
        # The user was removed before this arrived: a channel delivers all joins.
        return
    elif nick not in federation.room.occupants and realJid in node.users and node.channel is None:
        # Nicks cannot change in a mirror.
        _enterAnew(federation, node, incoming)
    else:
        _enter(federation, federation.joiningNodes.get(node.jid), incoming)


def _forgetJoins(federation: Federation, node: JoiningNode, incoming: _Incoming) -> None:
    """
    Withdraw the joins of a joining node that waits for the answer to a first join, and sends another one: it has
    lost its state, or the leaves of the users.
    """
    for each in list(federation.pending.values()):
        if each.isOf(node) and each.request.nick != incoming.nick and federation.uplink is not None:
            federation.uplink.withdraw(each, incoming.now)


def _isOtherSession(realJid: str, known: str) -> bool:
    """True if a full JID is that of another session of the user whose full JID is known."""
    return realJid not in ("", known) and person(realJid) == person(known)


def _enterAnew(federation: Federation, node: JoiningNode, incoming: _Incoming) -> None:
    """Handle the join of a user who is an occupant already: the node was restarted, and needs the full state."""
    node.hasJoined = False
    nodeLost(federation, node, incoming.now)
    _enter(federation, None, incoming)


def _enter(federation: Federation, known: JoiningNode | None, incoming: _Incoming) -> None:
    """Handle a join: "the usual ACL checks as if [the user] had joined directly"."""
    node, request = known or incoming.newNode(), incoming.request()
    if known is not None and not known.hasJoined:
        # It was restarted, if it offers a channel again.
        known.offer = incoming.fmuc.channel or known.offer
    node.isGateway |= request.asksId or node.mode.asked is Mode.REPLICA
    node.isOpenfire |= quirks.joinsAsOpenfire(incoming.stanza)
    try:
        if known is None:
            _checkNode(federation, incoming.peer)
            if federation.joinedNode is not None and not federation.joinedNode.isOrdinary:
                # This node leaves when nobody is in here, and then knows nothing to keep that node up to date with.
                node.keep = 0
            federation.joiningNodes[incoming.peer] = node
            if node.offer is None and federation.channels is not None:
                # Its last user was removed, and this join was on its way: the channel goes on.
                node.channel = federation.channels.table.get((federation.room.jid, node.jid))
        checkUser(request.realJid)
        checkNick(federation.room, request.nick)
        if not federation.requestJoin(request, incoming.now, node):
            occupant = federation.room.occupants.get(request.nick)
            standing, created = grant(federation.room, request, occupant)
            if created and jids.split(node.jid)[1] in federation.administrators:
                locked.lock(federation.room, incoming.now)
            if occupant is None:
                admission.admit(federation, request, node, standing, incoming.now, created)
            else:
                admission.addSession(federation, occupant, request, node, incoming.now)
    except GatewayError as error:
        if known is None:
            federation.joiningNodes.pop(incoming.peer, None)
        elif known.isOpenfire and len(known.refused) < _MAX_REFUSED:
            known.refused[request.nick] = request.realJid
        federation.toNode(node, Reject(request.nick, request.realJid, stanzaError(type(error))))
        if known is not None and known.hasJoined and known.isGateway:
            # If the node was restarted, it knows nothing of its former occupants, and nobody is in it now.
            federation.toNode(node, Probe())


def _checkNode(federation: Federation, peer: str) -> None:
    if len(federation.joiningNodes) >= federation.room.bounds.nodes:
        raise ResourceLimit
    if federation.joinedNode is not None and federation.joinedNode.jid == peer:
        # The shortest loop.
        raise Loop


def holdsFence(federation: Federation, stanza: Stanza) -> bool:
    """
    Hold the fence of a joining node whose join waits here for the joined node; return False for other requests. A
    join that was withdrawn has been answered.
    """
    sender, recipient = stanza.sender or "", stanza.recipient or ""
    join = federation.pending.get(sender.partition("/")[2])
    if join is None or join.origin is None or join.origin.jid != jids.bare(sender):
        return False
    if join.isWithdrawn or join.held is not None:
        return False
    payload = next(stanza.element.elements(), None)
    if payload is None or payload.uri != ns.PING:
        return False
    join.held = SendResult(recipient, sender, stanza.id or "")
    return True


def message(federation: Federation, sender: str, recipient: str, stanza: NodeMessage, now: float) -> None:
    """
    Handle a message from a joining node.

    @param sender: address of the node, or of an occupant there.
    @param recipient: address of the room, or of an occupant here.
    """
    peer, _, sender = sender.partition("/")
    recipient = recipient.partition("/")[2]
    node = federation.joiningNodes[peer]
    try:
        if stanza.stanzaError is not None and not sender:
            # A message to all occupants of the node. A message to one of them is returned from that occupant's
            # address.
            if stanza.stanzaError.condition in DELIVERY_ERRORS:
                bounced(federation, node, stanza.stanzaError.condition, now, (recipient, stanza.id))
        elif recipient and stanza.kind != "groupchat":
            privateMessage(federation, node, sender, recipient, stanza)
        elif stanza.kind == "groupchat":
            if not quirks.isToRoom(sender, recipient):
                # XEP-0045 section 7.5: "the room MUST return a <bad-request/> error to the sender".
                raise BadRequest
            if recipient and not node.isOpenfire:
                node.isOpenfire = federation.room.changes.nodes = True
            _toAll(federation, node, sender, stanza, now)
        elif stanza.invitations and stanza.stanzaError is None:
            federation.room.durability.check()
            invitations.fromNode(federation, node.occupants.get(sender), f"{peer}/{sender}", stanza)
        elif stanza.form is not None and stanza.stanzaError is None:
            federation.room.durability.check()
            room_forms.fromNode(federation.room, node.occupants.get(sender), f"{peer}/{sender}", stanza)
    except GatewayError as error:
        returnError(federation, node, sender, recipient, stanza, error)


def _toAll(federation: Federation, node: JoiningNode, sender: str, stanza: NodeMessage, now: float) -> None:
    # A node writes C{nomirror} into all of its messages, or into none.
    if node.nomirror is not stanza.nomirror:
        node.nomirror = stanza.nomirror
        federation.room.changes.nodes = True
    occupant = federation.room.occupants.get(sender)
    # The node does not speak for other nodes' occupants.
    isIn = occupant is not None and node in occupant.nodes
    # A node that has shown the message has given it an id, by which others may refer to it. If the id is in use,
    # the message gets another one here.
    isUsed = bool(stanza.stanzaId) and federation.room.hasStanzaId(stanza.stanzaId)
    stanzaId = "" if isUsed else stanza.stanzaId
    groupchat.submit(federation.room, occupant if isIn else None, stanza, now, stanzaId, node)


def privateMessage(federation: Federation, node: Node, sender: str, recipient: str, stanza: NodeMessage) -> None:
    """
    Handle a private message that comes from another node.

    @raise GatewayError: if it cannot be delivered.
    """
    occupants = federation.room.occupants
    occupant, there = occupants.get(sender), occupants.get(recipient)
    if occupant is None or node not in occupant.nodes:
        raise NotInTheRoom
    if there is None or there.node is node:
        raise NoSuchAddress
    private_messages.send(federation.room, occupant, there, stanza, node)


def returnError(
    federation: Federation, node: Node, sender: str, recipient: str, stanza: NodeMessage, error: GatewayError
) -> None:
    """Return an error for a message of another node's occupant; an error is never answered."""
    if stanza.kind != "error":
        room = federation.room
        answer, to = stanzaError(type(error)), f"{node.jid}/{sender}" if sender else node.jid
        room.emit(SendError("message", room.address(recipient), to, stanza.id, answer))
