"""Questions of a mirror to a joined node of other software: whether it has this node still, and what it is."""

from __future__ import annotations

from gateway.errors import ERRORS, GatewayError, NoSuchRoom, NotFederated
from gateway.fmuc.actions import AskOccupants, AskProperties
from gateway.fmuc.uplink.inquiry import Silence
from gateway.fmuc.uplink.losing import Losing
from gateway.fmuc.uplink.probing import Verdict
from gateway.fmuc.uplink.states import Event, UplinkState
from gateway.fmuc.values import ABSENT
from gateway.muc.elements import statusXml
from gateway.muc.info import Info
from gateway.muc.values import Payload, RoomMessage, stanzaError
from gateway.muc.whois import changeCode, toldBy
from gateway.stream.stanzas import Stanza


class Questioning(Losing):
    """The questions of one mirror; L{gateway.fmuc.uplink.returning.Uplink} adds returns and deadlines."""

    # Whether it has this node's occupants.

    def _probe(self, now: float) -> None:
        """Ask the joined node whether it still has this one."""
        if self.node.resumes:
            self.probeAt = float("inf")
            self.heard(now)
            self.feed(Event.DISTURBED, now)
        else:
            self._askOccupants(now)

    def _askOccupants(self, now: float) -> None:
        """Ask a joined node that cannot resume whether it has the occupants of this one."""
        if self.pending:
            # Joins are requests, too, and the list would be that of a moment in between.
            self.probeAt = now + self.node.profile.answer
            return
        if self.probing.isSilent:
            self.feed(Event.UNREACHABLE, now)
        else:
            self._sendProbe(now)

    def _sendProbe(self, now: float) -> None:
        occupants = self._mirror.room.occupants.values()
        nicks = (each.nick for each in occupants if self._mirror.isDownstream(each))
        identifier = self.probing.ask(nicks, now)
        self.probeAt = now + self.probing.wait(self.node.profile)
        self._mirror.toNode(self.node, AskOccupants(identifier))

    def occupantsTold(self, stanza: Stanza, condition: str, now: float) -> bool:
        """
        Handle an answer of the joined node; False if it is not that to a request for its occupants.

        @param condition: of the error; empty for a result.
        """
        if not self.probing.isAnswer(stanza.id or ""):
            return False
        if self.state is UplinkState.LOST:
            if condition not in ABSENT:
                # The joined node is there again. It may know this node or not.
                self.heard(now)
                self.feed(Event.FORGOTTEN, now)
            return True
        verdict = self.probing.answered(stanza, condition, now)
        if verdict is Verdict.UNREACHABLE:
            self.feed(Event.UNREACHABLE, now)
            return True
        self.heard(now)
        if verdict is Verdict.FORGOTTEN and self.state is UplinkState.JOINED:
            self._mirror.room.log(f"{self.node.jid} has forgotten this mirror: all its users join anew", warn=True)
            self.feed(Event.DISTURBED, now)
        return True

    def spoke(self, nick: str, now: float) -> None:
        """
        Handle a message of an occupant who was not announced: its presence was lost, because a channel would have
        repeated it. An ordinary room may hide occupants, and at a node behind a slow link their presence may wait.
        """
        mayLack = self.node.channel is None and not (self.node.isOrdinary or self.node.profile.gather)
        if mayLack and self.state is UplinkState.JOINED and self.probing.lacks(nick):
            self._mirror.room.log(f"{self.node.jid} has not announced {nick}, who speaks: this mirror returns")
            self.feed(Event.DISTURBED, now)

    # What it is, and what it tells of the real JIDs.

    def learnLate(self, nonAnonymous: bool | None) -> None:
        """
        As L{learn}, when users may be in already. XEP-0045 section 10.2.1: they are told if others see their real
        JIDs from now on.
        """
        isKnown, room = self._mirror.room.settings.nonAnonymous, self._mirror.room
        self.told = nonAnonymous if self.isIn else self.told
        self.learn(nonAnonymous)
        code = changeCode(isKnown, room.settings.nonAnonymous)
        if code and self.state is not UplinkState.JOINING:
            room.broadcastMessage(RoomMessage(nick="", payload=Payload(statusXml((code,))), store=False), None)

    def isOpenfire(self) -> None:
        """The joined node is Openfire; its presence does not tell who sees real JIDs, so it is asked."""
        if not self.node.isOpenfire:
            self.node.isOpenfire = True
            self._mirror.room.changes.nodes = True
        if self.told is None and self.isIn and not self.inquiry.hasAsked:
            self.inquire()

    def inquire(self) -> None:
        """Ask the joined node what it is."""
        self._mirror.toNode(self.node, AskProperties(self.inquiry.ask()))

    def described(self, condition: str, info: Info | None, isOpenfire: bool, now: float) -> None:
        """
        Handle the joined node's answer to the question what it is.

        @param condition: of the error; empty for a result.
        @param info: what it tells of the room; C{None} for nothing.
        @param isOpenfire: True if the room is one of Openfire.
        """
        if info is not None:
            self.learnLate(toldBy(info.features))
        if self.inquiry.silence is not Silence.ASKED:
            return
        if condition == stanzaError(NoSuchRoom).condition:
            self._refuseFirst(NoSuchRoom, now)
        elif isOpenfire:
            self.node.isOpenfire = True
            self._joinOnce(now)

    def _joinOnce(self, now: float) -> None:
        """
        Send the first join once more, after a leave: a room of Openfire that counts the user as an occupant already
        answers a join with nothing. The user is one of an earlier process, which was killed.
        """
        self.inquiry.silence = Silence.REPEATED
        for join in list(self.pending.values()):
            if join.isSent and not join.isWithdrawn:
                self._mirror.toNode(self.node, join.unavailable())
                self._sendFirstJoin(now, join)

    def _silent(self, now: float) -> None:
        """The joined node has answered a first join with nothing for a while."""
        if self.inquiry.silence is Silence.REPEATED:
            self._refuseFirst(NotFederated, now)
        else:
            self.inquire()

    def _refuseFirst(self, error: type[GatewayError], now: float) -> None:
        """Refuse all pending joins: the room does not exist, or answers none."""
        self.inquiry.end()
        self._mirror.room.log(f"{self.node.jid}: {ERRORS[error].text}", warn=True)
        self.refuseJoins(stanzaError(error))
        self.leaveIfEmpty(now)
