"""The federated rooms of one component: routes each stanza to the rules for its sender. Pure."""

from __future__ import annotations

from attrs import evolve
from twisted.words.xish import domish

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    GatewayError,
    LinkDown,
    Loop,
    NoSuchAddress,
    NotAPeer,
    NotMirrored,
    OnlyInTheRoom,
    ResourceLimit,
    Stopping,
)
from gateway.fmuc import (
    from_joined,
    from_joining,
    gathering,
    holding,
    invitations,
    messages_from_joined,
    quirks,
    senders,
)
from gateway.fmuc.actions import AskProperties, Kept, ToNode
from gateway.fmuc.channel.stanzas import isRequest
from gateway.fmuc.channel.table import Event, Forgotten, Place
from gateway.fmuc.destroyed import goneXml
from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.properties import asksProperties
from gateway.fmuc.senders import Sender, within
from gateway.fmuc.service import FederatedRooms
from gateway.fmuc.uplink.known_users import isOpen
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, NodeMessage, NodePresence
from gateway.muc import from_user, whois
from gateway.muc.actions import Action, SendError, SendResult
from gateway.muc.occupant_iq import errorOf
from gateway.muc.values import stanzaError
from gateway.stream.stanzas import Stanza

# Requests that a mirror passes on: administration, configuration, registration, the vCard.
_OF_JOINED = frozenset((ns.MUC_ADMIN, ns.MUC_OWNER, ns.REGISTER, ns.VCARD))
# States of the uplink that have a deadline.
_WAITING = frozenset(UplinkState) - {UplinkState.IDLE, UplinkState.JOINED}
# The users of a mirror, for rooms that are none.
_NOBODY: frozenset[str] = frozenset()


class Rooms(FederatedRooms):
    """All rooms of one component."""

    # Rooms whose other nodes have to be asked whether stanzas are lost.
    _disturbed: tuple[str, ...] = ()

    # Stanzas.

    def presence(self, sender: str, recipient: str, stanza: NodePresence, now: float) -> list[Action]:
        """Handle a presence of type none, unavailable or error to a room or an occupant."""
        if not jids.split(recipient)[0]:
            return from_user.toService(sender, recipient, stanza)
        federation = self.federation(jids.bare(recipient))
        users = _NOBODY if self._mirroring is None else self._mirroring.users
        joined = None if federation is None else federation.joinedNode
        if joined is not None and jids.bare(sender) == joined.jid and quirks.announcesJoin(recipient, stanza):
            assert federation is not None and federation.uplink is not None
            federation.uplink.isOpenfire()
            return self.settled(federation.room)
        if senders.isJoin(sender, recipient, stanza, self._peers, users):
            return self._nodeJoins(sender, recipient, stanza, now)
        if federation is None and self._isFromJoined(sender, recipient):
            # A destroyed room confirms that this mirror of it has left.
            isLeft = stanza.fmuc is not None and stanza.fmuc.left
            isAnswered = not (isLeft or stanza.unavailable or stanza.stanzaError is not None)
            return [_absent("presence", sender, recipient, stanza.id)] if isAnswered else []
        handle = None if federation is None else _PRESENCE.get(senders.kindOf(federation, sender))
        if federation is None or handle is None:
            if stanza.fmuc is not None and self.channels is not None and self.channels.isKnown(sender, recipient):
                # The node does not know yet that it has left: the channel tells it.
                return []
            return from_user.presence(self, sender, recipient, stanza, now)
        handle(federation, sender, recipient, stanza, now)
        return self.settled(federation.room)

    def message(self, sender: str, recipient: str, stanza: NodeMessage, now: float) -> list[Action]:
        """Handle a message to a room or an occupant."""
        federation = self.federation(jids.bare(recipient))
        if federation is None and self._isFromJoined(sender, recipient):
            return [] if stanza.kind == "error" else [_absent("message", sender, recipient, stanza.id)]
        handle = None if federation is None else _MESSAGE.get(senders.kindOf(federation, sender))
        if federation is None or handle is None:
            room = None if federation is None else federation.room
            return from_user.message(self, room, sender, recipient, stanza, now)
        handle(federation, sender, recipient, stanza, now)
        if stanza.codes and handle is messages_from_joined.message:
            # The configuration has changed.
            self.properties.forget(federation.room.jid)
        return self.settled(federation.room)

    def request(self, stanza: Stanza, now: float) -> list[Action] | None:
        """
        Handle an iq request that concerns other nodes: a joining node's fence, which waits until its join is
        answered; an invitation by an occupant of a joining node; disco#info of a mirror, which waits until the
        joined node has told its properties; a request for the joined node by a user who is not in the mirror.

        @return: C{None} if the request is another one.
        @raise GatewayError: the answer is this error.
        """
        jid = stanza.recipient or ""
        federation = self.federation(jid)
        if isRequest(stanza):
            if self.channels is None:
                # Nothing is stored any longer.
                raise NoSuchAddress
            return [self.channels.request(stanza, now)]
        resume = holding.payloadOf(stanza)
        if resume is not None:
            return self._resumes(federation, stanza, resume, now)
        if federation is not None and from_joining.holdsFence(federation, stanza):
            return []
        if federation is not None and invitations.answer(federation, stanza, self.iqs, now):
            return self.settled(federation.room)
        source = self.mirrored(jid) if self._mirroring is not None and "/" not in jid else None
        if self._mirroring is None or source is None:
            return None
        if _asksJoined(stanza) and (federation is None or not federation.isHere(stanza.sender or "")):
            self.checkAddress(jid)
            # ProtoXEP, "Administration": "connect directly to the MUC and follow the standard process". No address
            # stands for this user there.
            text = f"A mirror passes on the requests of its occupants: join it, or ask {source} itself."
            why = evolve(stanzaError(OnlyInTheRoom), text=text)
            return [SendError("iq", jid, stanza.sender or "", stanza.id, why)]
        if federation is not None and federation.isLost and _asksJoined(stanza):
            raise LinkDown
        if not asksProperties(stanza):
            return None
        self.checkAddress(jid)
        domain = jids.split(stanza.sender or "")[1]
        if not (within(domain, self._mirroring.users) or within(domain, self._peers)):
            raise NotMirrored
        asked = self.properties.ask(jid, stanza, now)
        if asked is None:
            return None
        return [ToNode(jid, source, self._mirroring.dialect, True, AskProperties(asked))] if asked else []

    def _resumes(
        self, federation: Federation | None, stanza: Stanza, payload: domish.Element, now: float
    ) -> list[Action]:
        """Handle the request of a joining node to resume, or that of the joined node to do so."""
        uplink = None if federation is None else federation.uplink
        room, peer = stanza.recipient or "", stanza.sender or ""
        if federation is not None and uplink is not None and uplink.node.jid == peer:
            if not uplink.isIn or stanza.type != "get":
                raise NoSuchAddress
            answer = SendResult(federation.room.jid, uplink.node.jid, stanza.id or "")
            uplink.asked(now)
            return self.settled(federation.room, answer)
        if not within(jids.split(peer)[1], self._peers):
            raise NoSuchAddress
        change = self.destroyed.owed(room, peer)
        if change is not None and self.node(room, peer) is None:
            return [ToNode(room, peer, Dialect.XEP_0289, False, Kept(goneXml(stanza, change)))]
        if self.channels is not None and self.channels.isKnown(peer, room) and self.node(room, peer) is None:
            # It has left, and its channel delivers that, with the reasons of removals. Until then it asks again.
            raise ResourceLimit
        if federation is None:
            raise NoSuchAddress
        return self.settled(federation.room, *holding.resumed(federation, stanza, payload, now))

    def answered(self, stanza: Stanza, now: float) -> list[Action] | None:
        """Handle an iq of type result or error; C{None} if it answers no request of the rooms' own."""
        pinged = self.pinged(stanza, now)
        if pinged is not None:
            return pinged
        if self.channels is not None and self.channels.answered(stanza, now):
            return []
        sender, (here, _, nick) = stanza.sender or "", (stanza.recipient or "").partition("/")
        federation = self.federation(here)
        uplink = None if federation is None else federation.uplink
        condition = errorOf(stanza).condition if stanza.type == "error" else ""
        if federation is not None and holding.answered(federation, stanza, self.token, condition, now):
            return self.settled(federation.room)
        if federation is not None and uplink is not None and not nick and sender == uplink.node.jid:
            if uplink.occupantsTold(stanza, condition, now):
                return self.settled(federation.room)
            if uplink.inquiry.answered(stanza.id or ""):
                info = None if condition else self.properties.read(here, stanza, now)
                uplink.described(condition, info, quirks.isOfOpenfire(stanza), now)
                return self.settled(federation.room)
            answer = holding.readAnswer(stanza, condition)
            if uplink.resumeAnswered(stanza.id or "", answer, now):
                self.comparisons[answer.outcome] += 1
                return self.settled(federation.room)
        if self._mirroring is not None and not nick and sender == self.mirrored(here):
            actions, known = self.properties.answered(here, stanza, now), self.properties.known(here)
            if uplink is not None and actions is not None and known is not None:
                uplink.learnLate(whois.toldBy(known.features))
                uplink.users.isOpen = isOpen(known.features)
            return actions
        if federation is None or uplink is None or uplink.node.jid != sender or not uplink.pending:
            return None
        error = errorOf(stanza) if stanza.type == "error" else None
        isKnown = uplink.answered(nick, stanza.id or "", error, now)
        return self.settled(federation.room) if isKnown else None

    def channelChanged(self, place: Place, event: Event, now: float) -> list[Action]:
        """Handle a change of a channel."""
        federation = self.federation(place[0])
        node = None if federation is None else federation.node(place[1])
        isJoined = isinstance(node, JoinedNode)
        if node is None and isinstance(event, Forgotten) and self.channels is not None:
            # Nobody has to learn what is left.
            self.channels.drop(place)
        if federation is None:
            return []
        if isinstance(node, JoiningNode):
            holding.channelChanged(federation, node, event, now)
        elif federation.uplink is not None and isJoined:
            federation.uplink.channelChanged(event, now)
        return self.settled(federation.room)

    @property
    def pending(self) -> int:
        """Number of requests that wait for an occupant's answer, or a joined room's."""
        return len(self.iqs) + len(self.properties) + len(self.ghosts)

    def _nodeJoins(self, sender: str, recipient: str, stanza: NodePresence, now: float) -> list[Action]:
        """Handle the join of a user of another node."""
        jid, _, nick = recipient.partition("/")
        peer = jids.bare(sender)
        federation = self.federation(jid)
        try:
            if not within(jids.split(peer)[1], self._peers) or not jids.split(peer)[0]:
                self.log(f'{peer} may not join {jid}: its domain is not in "peers"')
                raise NotAPeer
            if federation is not None and federation.joinedNode is not None and federation.joinedNode.jid == peer:
                raise Loop
            if federation is None:
                # The user creates the room, not the node, which has many users. The domain is the node's, because
                # the node may name users of any domain.
                creator = jids.bare(stanza.fmuc.realJid if stanza.fmuc is not None else peer)
                self.make(jid, creator, jids.split(peer)[1])
                federation = self.federation(jid)
        except GatewayError as error:
            return self.settled(
                None, from_joining.reject(jid, sender, stanza, "" if isinstance(error, NotAPeer) else nick, error)
            )
        assert federation is not None
        from_joining.presenceOf(federation, sender, nick, stanza, now)
        if peer in federation.joiningNodes:
            self._record(self.destroyed.joined(jid, peer))
        return self.settled(federation.room)

    # Charges and refused stanzas.

    def unread(
        self, sender: str, recipient: str, identifier: str | None, error: type[GatewayError], joins: bool
    ) -> list[Action]:
        """Handle an available presence that the stream refused; C{joins} is as for L{senders.isAnswered}."""
        if not senders.isAnswered(self.federation(jids.bare(recipient)), sender, recipient, joins):
            return []
        return [SendError("presence", recipient, sender, identifier, stanzaError(error), isJoin=True)]

    def speaker(self, sender: str, recipient: str) -> str:
        """Return the user that the copies of a stanza are charged to, as L{senders.speaker} does."""
        return senders.speaker(self.federation(jids.bare(recipient)), sender, self._peers)

    # Time.

    def tick(self, now: float) -> list[Action]:
        actions = super().tick(now) + self._disturb(now)
        most = holding.MAX_ASKED
        for room in list(self.rooms.values()):
            federation = room.nodes
            assert isinstance(federation, Federation)
            if federation.joiningNodes:
                most -= holding.tick(federation, self.token, now, most)
                gathering.tick(federation, now)
                actions += self.settled(room)
            uplink = federation.uplink
            if uplink is not None and uplink.node.waiting.nicks:
                gathering.tick(federation, now)
                actions += self.settled(room)
            if uplink is not None and (
                uplink.pending or uplink.state in _WAITING or min(uplink.probeAt, uplink.emptyUntil) <= now
            ):
                uplink.expire(now)
                actions += self.settled(room)
        return actions + self.properties.expire(now)

    def reconnected(self, now: float) -> list[Action]:
        """Handle a new connection: stanzas between nodes may be lost. Return what is sent at once."""
        self._disturbed = tuple(self.rooms)
        return self._disturb(now)

    def _disturb(self, now: float) -> list[Action]:
        """Ask other nodes whether stanzas are lost: those of some rooms at a time."""
        actions: list[Action] = []
        asked, self._disturbed = self._disturbed[: holding.MAX_ASKED], self._disturbed[holding.MAX_ASKED :]
        for room in asked:
            federation = self.federation(room)
            if federation is not None:
                holding.doubt(federation, now)
                holding.tick(federation, self.token, now, len(federation.joiningNodes))
                if federation.uplink is not None:
                    federation.uplink.disturbed(now, isReconnected=True)
                actions += self.settled(federation.room)
        return actions

    def shutDown(self, isFinal: bool = True) -> list[Action]:
        actions = self.properties.stop()
        for room in list(self.rooms.values()):
            federation = self.federation(room.jid)
            uplink = None if federation is None else federation.uplink
            if uplink is not None and (isFinal or not self.durability.isOn):
                uplink.leaveNow(stanzaError(Stopping))
            elif uplink is not None:
                uplink.refuseJoins(stanzaError(Stopping))
                actions += self.settled(room)
        return [*actions, *super().shutDown(isFinal)]


# The rules for stanzas of nodes. Those for users are in L{gateway.muc.from_user}.
_PRESENCE = {Sender.JOINED_NODE: from_joined.presence, Sender.JOINING_NODE: from_joining.presence}
_MESSAGE = {Sender.JOINED_NODE: messages_from_joined.message, Sender.JOINING_NODE: from_joining.message}


def _asksJoined(stanza: Stanza) -> bool:
    """True if an iq request to a mirror is for the joined node."""
    if not any(each.encode() in stanza.raw for each in _OF_JOINED):
        return False
    payload = next(stanza.element.elements(), None)
    return payload is not None and payload.uri in _OF_JOINED


def _absent(name: str, sender: str, recipient: str, identifier: str | None) -> SendError:
    return SendError(name, recipient, sender, identifier, stanzaError(NoSuchAddress))
