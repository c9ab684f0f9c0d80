"""Raw handler of rooms: passes stanzas to the rules, and their actions to the delivery."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, OverBudget, Stopping
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.commits import Commits, Refusal
from gateway.fmuc.core import Rooms
from gateway.fmuc.delivery import Delivery
from gateway.fmuc.ordinary.backing import Backing
from gateway.fmuc.reports import described, measure, measureBacking
from gateway.fmuc.stanzas import readMessage, readPresence
from gateway.fmuc.traffic import Traffic
from gateway.interfaces import IRefusalHandler, IStatusProvider
from gateway.metrics import IMetrics, IMetricsProvider, label, names
from gateway.muc import from_user
from gateway.muc.actions import LogLine, SendError
from gateway.muc.iq import answer, result
from gateway.muc.values import stanzaError
from gateway.reports import StatusItem
from gateway.stream.interfaces import IPeerHandler
from gateway.stream.raw import RawHandler
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza, errorReply
from gateway.xml.write import presence, route

# Seconds between two log lines about dropped stanzas.
_REPORT_INTERVAL = 60.0
# Maximum number of other log lines in that interval, and characters of each.
_MAX_LINES = 200
_MAX_LINE = 1_000

# A stanza asks to join if this namespace is declared in it.
_JOINS = re.compile(rb"""=\s*["']%b["']""" % re.escape(ns.MUC.encode()))


@implementer(IMetricsProvider, IPeerHandler, IRefusalHandler, IStatusProvider)
class RoomsHandler(RawHandler):
    """
    All rooms of one component.

    @ivar dropped: number of dropped stanzas by reason.
    @param commits: stores the rooms; C{None} for rooms that end with the process.
    @param wallClock: as L{gateway.interfaces.IServiceBuilder.wallClock}; the default is the link's clock.
    @param archiving: the readers of the archives; C{None} for no archives.
    @param backing: the ordinary rooms that the rooms stand for; C{None} for none.
    """

    _log = Logger()

    def __init__(
        self,
        rooms: Rooms,
        wallClock: Callable[[], float] | None = None,
        commits: Commits | None = None,
        archiving: Archiving | None = None,
        backing: Backing | None = None,
    ) -> None:
        super().__init__()
        rooms.durability.isOn, rooms.durability.refuses = commits is not None, not rooms.areMirrors
        self._wallClock = wallClock
        self._rooms = rooms
        self._traffic = Traffic(rooms)
        self._backing = backing
        self._delivery = Delivery(rooms, self._traffic, commits, archiving, self._refuse, self._logOnce, backing)
        self._perform = self._delivery.perform
        self._stopping = False
        self.dropped: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._reportAt = 0.0
        self._logged: set[str] = set()
        self._loggedUntil = 0.0

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        super().setHandlerParent(parent)
        self._delivery.setLink(self._link)

    def measure(self, metrics: IMetrics) -> None:
        measure(metrics, self._rooms, self._delivery, self._traffic)
        if self._backing is not None:
            measureBacking(metrics, self._backing)
        metrics.counter(*names.ROOMS_DROPPED).setFunction(
            lambda: {label(reason): count for reason, count in self.dropped.items()}
        )

    def report(self) -> Iterator[StatusItem]:
        return described(self._rooms, self._delivery)

    @property
    def pending(self) -> int:
        return self._delivery.pending

    def drain(self) -> None:
        self._perform(self._rooms.shutDown(self._link.isFinal))
        self._stopping = True

    def drained(self) -> None:
        self._delivery.stop()

    def connectionInitialized(self) -> None:
        # A link that was stopped may be started again.
        self._stopping = False
        self._readWallClock(self._link.now)
        self._delivery.connected()
        if self._backing is not None:
            self._perform(self._backing.disturbed(self._link.now))
        if self._rooms.durability.isOn:
            # The server may have been restarted.
            self._rooms.ghosts.verify(self._rooms.rooms, self._link.now)
        self._perform(self._rooms.reconnected(self._link.now))
        if self._rooms.channels is not None:
            self._rooms.channels.connected(self._link.now)
            self._perform(())

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self._backing is not None:
            self._backing.lost()
        if self._rooms.channels is not None:
            self._rooms.channels.disconnected()

    def peerConnected(self, domains: Collection[str]) -> None:
        if self._rooms.channels is not None:
            self._rooms.channels.linked(domains)

    def _readWallClock(self, now: float) -> None:
        """Read the wall clock. Once a second is sufficient, because stamps have whole seconds."""
        if self._wallClock is not None:
            self._rooms.utcClock.offset = self._wallClock() - now

    def tick(self, now: float) -> None:
        self._readWallClock(now)
        if self._backing is not None and self._link.ready:
            # Before a mirror ends its wait.
            self._perform(self._backing.tick(now))
        self._perform(self._rooms.tick(now))
        channels = self._rooms.channels
        if channels is not None and self._link.ready:
            channels.tick(self._rooms.node, self._rooms.isWatched, now)
            self._perform((), isDue=True)
        self._delivery.tick(now)
        if self._reportAt <= now and self.dropped != self._reported:
            self._reportAt = now + _REPORT_INTERVAL
            news = self.dropped - self._reported
            reasons = ", ".join(f"{count} {reason}" for reason, count in news.most_common())
            self._reported = Counter(self.dropped)
            self._log.warn(
                "{component}: dropped stanzas: {reasons}.",
                event="rooms.stanzas_dropped",
                component=self._rooms.jid,
                reasons=reasons,
            )

    def stanzaReceived(self, stanza: Stanza) -> bool:
        if self._backing is not None and self._backing.isFrom(stanza) and self._fromOrdinary(self._backing, stanza):
            return True
        sender, recipient, kind = stanza.sender, stanza.recipient, stanza.type
        if stanza.name == "iq" and kind not in ("get", "set"):
            return self._iqAnswered(stanza)
        if not sender or not recipient:
            if sender and stanza.name == "iq":
                # The link answers it.
                return False
            self.dropped["without an address"] += 1
        elif stanza.name == "iq":
            self._iqReceived(stanza)
        elif self._stopping:
            self._refuse(stanza, Stopping)
        elif self._rooms.channels is None:
            self._received(stanza, sender, recipient)
        else:
            self._receivedInOrder(stanza)
        return True

    def _received(self, stanza: Stanza, sender: str, recipient: str) -> None:
        if stanza.name == "iq":
            # An answer that was kept until these stanzas have come.
            self._iqAnswered(stanza)
        elif stanza.name == "message":
            self._messageReceived(stanza, sender, recipient)
        else:
            self._presenceReceived(stanza, sender, recipient)

    def _receivedInOrder(self, stanza: Stanza) -> None:
        """
        Handle a stanza that may be one of a channel. The stanzas that it has kept waiting are handled, too. A
        commit begins after the input, so what they cause has one commit with their numbers.
        """
        assert self._rooms.channels is not None
        try:
            found = self._rooms.channels.received(stanza, self._link.now)
        except GatewayError as error:
            self._refuseDirectly(stanza, type(error))
            found = iter(())
        for each in found:
            assert each.sender and each.recipient
            self._received(each, each.sender, each.recipient)
        if self._rooms.channels.isChanged:
            self._perform(())

    def stanzaRefused(self, refused: StanzaRefused) -> bool:
        stanza = refused.stanza
        if self._backing is not None and self._backing.isRefusalLeftOut(stanza):
            self.dropped["of ordinary rooms that cannot be read"] += 1
            return True
        if stanza.name != "presence" or stanza.type is not None or not stanza.sender or not stanza.recipient:
            return False
        joins = _JOINS.search(refused.head) is not None
        why = Stopping if self._stopping else refused.why
        self._perform(self._rooms.unread(stanza.sender, stanza.recipient, stanza.id, why, joins))
        return True

    def _fromOrdinary(self, backing: Backing, stanza: Stanza) -> bool:
        """Handle a stanza of an ordinary room; return False if it is handled as those of others are."""
        now = self._link.now
        if stanza.name != "iq":
            before = backing.dropped
            try:
                found = None if self._stopping else backing.received(stanza, now)
                if found is not None or backing.isDue:
                    self._perform(found or ())
            except BadRequest:
                self.dropped["of ordinary rooms that cannot be read"] += 1
            if backing.dropped != before:
                self.dropped["of ordinary rooms for nobody"] += 1
            return True
        taken = backing.iq(stanza, now)
        if isinstance(taken, list):
            self._perform(taken)
        elif taken is not None and stanza.type in ("get", "set"):
            self._occupantAsked(stanza, taken)
        elif taken is not None:
            self._iqAnswered(taken)
        return taken is not None

    def _occupantAsked(self, stanza: Stanza, found: Stanza) -> None:
        """
        Forward a request of an ordinary room's occupant.

        @param stanza: as it was sent to a puppet.
        @param found: the same to the occupant here.
        """
        if self._stopping or not stanza.id:
            self._refuseDirectly(stanza, Stopping if stanza.id else BadRequest)
            return
        try:
            _, actions = answer(self._rooms, found, self._link.now)
        except GatewayError as error:
            self._refuseDirectly(stanza, type(error))
        else:
            self._perform(actions, isCharged=True)

    def _messageReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        try:
            message = readMessage(stanza)
        except BadRequest as error:
            self._refuse(stanza, type(error))
            return
        now = self._link.now
        room = self._rooms.rooms.get(jids.bare(recipient))
        refusal = None
        isRefusable = self._rooms.durability.isOn and message.kind == "groupchat"
        if isRefusable and room is not None and not room.nodes.isMirror:
            undo = partial(self._delivery.withdraw, room, room.history.added, room.subject)
            refusal = Refusal(undo, partial(self._refuse, stanza))
        if room is not None and sender in room.users:
            # Nearly all messages are from local users, who are charged themselves, and are no nodes.
            actions = from_user.message(self._rooms, room, sender, recipient, message, now)
            self._perform(actions, speaker=jids.bare(sender), refusal=refusal)
        else:
            speaker = self._rooms.speaker(sender, recipient)
            if self._traffic.echoes:
                peer, _, nick = sender.partition("/")
                key = message.id if message.returned is None else message.returned.digest
                self._traffic.echoes.returned(jids.bare(recipient), peer, nick, key, now)
            # Refuse the message of an occupant behind a node. The link holds those of local users instead.
            mayBeOver = "/" in speaker and message.kind == "groupchat"
            if mayBeOver and self._link.fairness.copies.isUserOver(speaker, now):
                self._refuse(stanza, OverBudget)
            else:
                actions = self._rooms.message(sender, recipient, message, now)
                self._perform(actions, speaker=speaker, refusal=refusal)
            self._traffic.received(sender, recipient, len(stanza.raw))

    def _presenceReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        kind = stanza.type
        if kind in (None, "unavailable", "error"):
            try:
                received = readPresence(stanza)
            except BadRequest as error:
                self._refuse(stanza, type(error))
            else:
                speaker = self._rooms.speaker(sender, recipient)
                actions = self._rooms.presence(sender, recipient, received, self._link.now)
                self._perform(actions, speaker=speaker, isCharged=True)
                self._traffic.received(sender, recipient, len(stanza.raw))
        elif kind in ("subscribe", "unsubscribe"):
            # There are no subscriptions to rooms and occupants.
            self._send(presence(route(recipient, sender), "unsubscribed"))

    def _iqReceived(self, stanza: Stanza) -> None:
        if self._stopping or not stanza.id:
            # RFC 6120 section 8.2.3: an iq must have an id.
            self._refuse(stanza, Stopping if stanza.id else BadRequest)
            return
        try:
            payload, actions = None, self._rooms.request(stanza, self._link.now)
            if actions is None:
                payload, actions = answer(self._rooms, stanza, self._link.now)
        except GatewayError as error:
            self._refuse(stanza, type(error))
        else:
            if payload is None:
                # The request was forwarded, or waits for another node; or another node has asked.
                self._perform(actions, isCharged=True, request=stanza)
                return
            written = result(stanza, payload)
            self._link.budget.charge(stanza.sender or "", len(written), self._link.now)
            speaker = self._rooms.speaker(stanza.sender or "", stanza.recipient or "")
            self._perform(actions, written, speaker, request=stanza)

    def _iqAnswered(self, stanza: Stanza) -> bool:
        """Pass an answer on to the rooms: to a mirror that has asked its joined node, or to an occupant."""
        now = self._link.now
        if self._rooms.channels is not None and self._rooms.channels.holds(stanza):
            return True
        actions = self._rooms.answered(stanza, now)
        if actions is None:
            exchange = self._rooms.iqs.close(stanza)
            if exchange is None:
                return False
            isAllowed = self._link.budget.allows(exchange.requester, len(stanza.raw), now)
            actions = exchange.answer(stanza) if isAllowed else [exchange.refuse(OverBudget)]
        self._perform(actions)
        self._traffic.received(stanza.sender or "", stanza.recipient or "", len(stanza.raw))
        return True

    def _refuse(self, stanza: Stanza, why: type[GatewayError]) -> None:
        """Answer with an error, unless the stanza is of a type that has no answer."""
        channels, place = self._rooms.channels, (jids.bare(stanza.recipient or ""), jids.bare(stanza.sender or ""))
        if stanza.name != "message" or stanza.type == "error" or channels is None or place not in channels.table:
            self._refuseDirectly(stanza, why)
        else:
            # The channel has delivered it, and delivers the error.
            error = SendError("message", stanza.recipient or "", stanza.sender or "", stanza.id, stanzaError(why))
            self._perform((error,))

    def _refuseDirectly(self, stanza: Stanza, why: type[GatewayError]) -> None:
        """The same for a stanza that no channel has delivered."""
        if stanza.type in ("error", "result", "unavailable"):
            self.dropped[f"that cannot be answered: {why.__name__}"] += 1
        else:
            self._link.countError(why)
            self._send(errorReply(stanza, why))

    def _logOnce(self, line: LogLine) -> None:
        """Log a line: the same line once a minute, and a limited number of lines."""
        now = self._link.now
        if len(self._logged) >= _MAX_LINES or now >= self._loggedUntil:
            if now < self._loggedUntil:
                return
            self._logged.clear()
            self._loggedUntil = now + _REPORT_INTERVAL
        # Parts of the text may come from other entities.
        text = " ".join(line.text.split())[:_MAX_LINE].rstrip(".")
        if text not in self._logged:
            self._logged.add(text)
            self._log.emit(LogLevel.warn if line.warn else LogLevel.info, "{line}.", event="rooms.news", line=text)
