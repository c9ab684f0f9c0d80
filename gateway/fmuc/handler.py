"""Raw handler of rooms: passes stanzas to the rules and carries out their actions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from attrs import evolve
from twisted.logger import Logger, LogLevel
from twisted.words.protocols.jabber.ijabber import IXMPPHandlerCollection
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, GatewayError, OverBudget, Stopping
from gateway.fmuc.actions import ToNode
from gateway.fmuc.archiving import Archiving, Found
from gateway.fmuc.commits import Commits, Refusal
from gateway.fmuc.core import Rooms
from gateway.fmuc.echo import Echoes
from gateway.fmuc.nodes import Node
from gateway.fmuc.pacing import Pacing
from gateway.fmuc.reports import described
from gateway.fmuc.stanzas import readMessage, readPresence, write
from gateway.fmuc.uplink import UplinkState
from gateway.interfaces import IRefusalHandler, IStatusProvider
from gateway.metrics import IMetrics, IMetricsProvider, bounded, label, names
from gateway.muc import archive, from_user, groupchat
from gateway.muc.actions import (
    ANSWER_IQ,
    Action,
    LogLine,
    ReadArchive,
    SendError,
    SendResult,
    ShowOccupants,
    ToUsers,
)
from gateway.muc.archive_store import Step
from gateway.muc.archive_values import ArchivePage
from gateway.muc.archive_xml import finXml, metadataXml, resultsXml
from gateway.muc.iq import answer, result
from gateway.muc.records import Record, take
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import RoomMessage
from gateway.reports import StatusItem
from gateway.stream.budget import COPY, FREE
from gateway.stream.outflow import Copies
from gateway.stream.raw import RawHandler
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza, errorReply
from gateway.xml.write import presence, route

# Domains of other nodes whose bytes are counted separately.
_MAX_DOMAINS = 50
# Seconds between two log lines about dropped stanzas.
_REPORT_INTERVAL = 60.0
# Maximum number of other log lines in that interval, and characters of each.
_MAX_LINES = 200
_MAX_LINE = 1_000

# A stanza asks to join if this namespace is declared in it.
_JOINS = re.compile(rb"""=\s*["']%b["']""" % re.escape(ns.MUC.encode()))

# An action as it is sent.
_Written = bytes | list[bytes] | Copies


def _memoryOf(data: _Written) -> int:
    """Return about the bytes of memory that output takes while it waits."""
    if isinstance(data, Copies):
        return len(data.before) + len(data.after) + 8 * len(data.recipients)
    return len(data) if isinstance(data, bytes) else sum(map(len, data))


def _answers(action: Action, request: Stanza) -> bool:
    """True if an action answers an iq."""
    isResult = isinstance(action, SendResult) and (action.recipient, action.id) == (request.sender, request.id)
    return action is ANSWER_IQ or isResult


def _nothing() -> tuple[Record, ...]:
    """Undo nothing."""
    return ()


@implementer(IMetricsProvider, IRefusalHandler, IStatusProvider)
class RoomsHandler(RawHandler):
    """
    All rooms of one component.

    @ivar dropped: number of dropped stanzas by reason.
    @param commits: stores the rooms; C{None} for rooms that end with the process.
    @param wallClock: as L{gateway.interfaces.IServiceBuilder.wallClock}; the default is the link's clock.
    @param archiving: the readers of the archives; C{None} for no archives.
    """

    _log = Logger()

    def __init__(
        self,
        rooms: Rooms,
        wallClock: Callable[[], float] | None = None,
        commits: Commits | None = None,
        archiving: Archiving | None = None,
    ) -> None:
        super().__init__()
        self._commits = commits
        self._archiving = archiving
        rooms.durability.isOn, rooms.durability.refuses = commits is not None, not rooms.areMirrors
        self._wallClock = wallClock
        self._rooms = rooms
        self._paced = Pacing(rooms, self._waits, partial(self._perform, isCharged=True), self._sendPortion)
        # True while output is awaited before a portion is made; True if it has left.
        self._isFenced = self._isPassed = False
        self._stopping = False
        self.dropped: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._reportAt = 0.0
        self._logged: set[str] = set()
        self._loggedUntil = 0.0
        # Bytes of other nodes, by domain and direction; the domains; messages that joined nodes will return.
        self._crossed: Counter[tuple[str, str]] = Counter()
        self._domains: set[str] = set()
        self._echoes: Echoes | None = None
        # Stanza ids of messages that were withdrawn, while output that waited for them is sent.
        self._withdrawn: set[str] = set()

    def setHandlerParent(self, parent: IXMPPHandlerCollection) -> None:
        super().setHandlerParent(parent)
        self._paced.link = self._link

    def measure(self, metrics: IMetrics) -> None:
        rooms = self._rooms.rooms
        metrics.gauge(*names.ROOMS).setFunction(lambda: len(rooms))
        metrics.gauge(*names.OCCUPANTS).setFunction(
            lambda: {
                "here": sum(room.localCount for room in rooms.values()),
                "elsewhere": sum(len(room.occupants) - room.localCount for room in rooms.values()),
            }
        )
        metrics.gauge(*names.PENDING).labels("rooms").setFunction(lambda: self._rooms.pending + self._queries)
        metrics.gauge(*names.MIRRORS).setFunction(self._mirrors)
        metrics.gauge(*names.JOINING_NODES).setFunction(
            lambda: sum(len(each.joiningNodes) for each in map(self._rooms.federation, rooms) if each is not None)
        )
        metrics.counter(*names.FMUC_BYTES).setFunction(lambda: dict(self._crossed))
        metrics.counter(*names.ROOMS_DROPPED).setFunction(
            lambda: {label(reason): count for reason, count in self.dropped.items()}
        )
        self._rooms.observeJoin = metrics.histogram(*names.FMUC_JOIN).observe
        self._echoes = Echoes(metrics.histogram(*names.FMUC_ECHO).observe)

    def _mirrors(self) -> dict[str, int]:
        """Return the number of mirrors by the state of their uplink."""
        states = dict.fromkeys(UplinkState, 0)
        for federation in map(self._rooms.federation, self._rooms.rooms):
            if federation is not None and federation.uplink is not None:
                states[federation.uplink.state] += 1
        return {label(state.name): count for state, count in states.items()}

    @property
    def _queries(self) -> int:
        """Number of open queries of archives."""
        return 0 if self._archiving is None else self._archiving.pending

    def report(self) -> Iterator[StatusItem]:
        rooms = self._rooms.rooms
        occupants = sum(len(room.occupants) for room in rooms.values())
        about = {"rooms": len(rooms), "occupants": occupants}
        yield StatusItem("rooms.count", "rooms: {rooms}; occupants: {occupants}", about)
        if self._rooms.pending:
            text = "open requests to occupants and joined rooms: {count}"
            yield StatusItem("rooms.pending", text, {"count": self._rooms.pending})
        if self._queries:
            yield StatusItem("rooms.queries", "open queries of archives: {count}", {"count": self._queries})
        if self._paced.arriving:
            text = "joins to large rooms that are being answered: {count}"
            yield StatusItem("rooms.arriving", text, {"count": self._paced.arriving})
        if self._commits is not None and self._commits.lost:
            text = "messages that are missing in the archives, because the store did not work: {count}"
            yield StatusItem("rooms.lost", text, {"count": self._commits.lost}, True)
        if self._commits is not None and self._commits.trouble:
            yield StatusItem("rooms.store_taken", "store: {trouble}", {"trouble": self._commits.trouble}, True)
        if self._commits is not None and self._rooms.durability.fault is not None:
            text = "changes that are not stored: {count}"
            if self._rooms.durability.refuses:
                text += "; new ones are refused until the store works"
            yield StatusItem("rooms.unstored", text, {"count": self._commits.unstored}, True)
        yield from described(self._rooms)

    @property
    def pending(self) -> int:
        return self._queries + self._paced.arriving + (0 if self._commits is None else len(self._commits))

    def drain(self) -> None:
        self._perform(self._rooms.shutDown(self._link.isFinal))
        self._stopping = True

    def drained(self) -> None:
        self._paced.stop()
        if self._archiving is not None:
            self._archiving.stop()
        if self._commits is not None:
            self._commits.end()

    def connectionInitialized(self) -> None:
        # A link that was stopped may be started again.
        self._stopping = False
        self._readWallClock(self._link.now)
        if self._commits is not None:
            self._commits.together = self._link.together
        if self._rooms.durability.isOn:
            # The server may have been restarted.
            self._rooms.ghosts.verify(self._rooms.rooms, self._link.now)
        self._perform(self._rooms.reconnected(self._link.now))

    def _readWallClock(self, now: float) -> None:
        """Read the wall clock. Once a second is sufficient, because stamps have whole seconds."""
        if self._wallClock is not None:
            self._rooms.utcClock.offset = self._wallClock() - now

    def tick(self, now: float) -> None:
        self._readWallClock(now)
        self._perform(self._rooms.tick(now))
        if self._commits is not None:
            self._commits.tick(now)
            self._withdrawn.clear()
        if self._archiving is not None:
            self._archiving.tick(now, self._rooms.utcClock.utc(now))
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
        elif stanza.name == "message":
            self._messageReceived(stanza, sender, recipient)
        else:
            self._presenceReceived(stanza, sender, recipient)
        return True

    def stanzaRefused(self, refused: StanzaRefused) -> bool:
        stanza = refused.stanza
        if stanza.name != "presence" or stanza.type is not None or not stanza.sender or not stanza.recipient:
            return False
        joins = _JOINS.search(refused.head) is not None
        why = Stopping if self._stopping else refused.why
        self._perform(self._rooms.unread(stanza.sender, stanza.recipient, stanza.id, why, joins))
        return True

    def _messageReceived(self, stanza: Stanza, sender: str, recipient: str) -> None:
        try:
            message = readMessage(stanza)
        except BadRequest as error:
            self._refuse(stanza, type(error))
            return
        now = self._link.now
        room = self._rooms.rooms.get(jids.bare(recipient))
        refusal = None
        isRefusable = self._commits is not None and message.kind == "groupchat"
        if isRefusable and room is not None and not room.nodes.isMirror:
            undo = partial(self._undoMessage, room, room.history.added, room.subject)
            refusal = Refusal(undo, partial(self._refuse, stanza))
        if room is not None and sender in room.users:
            # Nearly all messages are from local users, who are charged themselves, and are no nodes.
            actions = from_user.message(self._rooms, room, sender, recipient, message, now)
            self._perform(actions, speaker=jids.bare(sender), refusal=refusal)
        else:
            speaker = self._rooms.speaker(sender, recipient)
            if self._echoes:
                peer, _, nick = sender.partition("/")
                self._echoes.returned(jids.bare(recipient), peer, nick, message.id, now)
            # Refuse the message of an occupant behind a node. The link holds those of local users instead.
            mayBeOver = "/" in speaker and message.kind == "groupchat"
            if mayBeOver and self._link.fairness.copies.isUserOver(speaker, now):
                self._refuse(stanza, OverBudget)
            else:
                actions = self._rooms.message(sender, recipient, message, now)
                self._perform(actions, speaker=speaker, refusal=refusal)
            self._count(stanza, sender, recipient)

    def _undoMessage(self, room: Room, added: int, subject: RoomMessage | None) -> list[Record]:
        """
        Remove a message that was not stored from its room; arguments as of L{groupchat.withdraw}.

        @return: the records of the room, whose subject may be an earlier one again.
        """
        self._withdrawn.update(groupchat.withdraw(room, added, subject))
        return take(room) if self._rooms.rooms.get(room.jid) is room else []

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
                self._count(stanza, sender, recipient)
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
        actions = self._rooms.answered(stanza, now)
        if actions is None:
            exchange = self._rooms.iqs.close(stanza)
            if exchange is None:
                return False
            isAllowed = self._link.budget.allows(exchange.requester, len(stanza.raw), now)
            actions = exchange.answer(stanza) if isAllowed else [exchange.refuse(OverBudget)]
        self._perform(actions)
        self._count(stanza, stanza.sender or "", stanza.recipient or "")
        return True

    def _refuse(self, stanza: Stanza, why: type[GatewayError]) -> None:
        """Answer with an error, unless the stanza is of a type that has no answer."""
        if stanza.type in ("error", "result", "unavailable"):
            self.dropped[f"that cannot be answered: {why.__name__}"] += 1
        else:
            self._link.countError(why)
            self._send(errorReply(stanza, why))

    def _count(self, stanza: Stanza, sender: str, recipient: str) -> None:
        """Count bytes that other nodes send."""
        node = self._rooms.node(jids.bare(recipient), jids.bare(sender))
        if node is not None:
            node.bytesReceived += len(stanza.raw)
            self._countBytes(node, "received", len(stanza.raw))

    def _countBytes(self, node: Node, direction: str, size: int) -> None:
        """Count bytes by the node's domain. The node itself is forgotten with its room."""
        domain = bounded(jids.split(node.jid)[1], self._domains, _MAX_DOMAINS)
        self._crossed[domain, direction] += size

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

    def _charge(self, sent: Counter[bytes]) -> None:
        """
        Charge the answer to a join to the user who has joined. In a mirror that user is not the sender of the
        stanza, which comes from the joined node.
        """
        # The bare part of an address contains no escaped character.
        for address, size in sent.items():
            self._link.budget.charge(address.decode(), size, self._link.now)

    def _perform(
        self,
        actions: Sequence[Action],
        answer: bytes = b"",
        speaker: str = "",
        isCharged: bool = False,
        request: Stanza | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        """
        Carry out actions, after the changes that they tell are stored.

        @param answer: answer to an iq; it is sent first, or in the place of L{ANSWER_IQ}.
        @param speaker: user whom copies to many recipients are charged to; empty for nobody.
        @param isCharged: True if stanzas to a single user are charged to that user.
        @param request: the iq that is answered.
        @param refusal: of a message, in case it cannot be stored.
        """
        # Serialise every action before sending the first, so that a serialisation error leaves nothing half sent.
        ready = [(action, answer if action is ANSWER_IQ else write(action)) for action in actions]
        if answer and all(action is not ANSWER_IQ for action, _ in ready):
            # XEP-0045 section 8.2, and the same for other requests: "After informing the moderator, the service
            # MUST then inform all of the remaining occupants".
            ready.insert(0, (ANSWER_IQ, answer))
        if self._rooms.arriving:
            self._paced.start()
        if self._commits is None:
            self._carryOut(ready, speaker, isCharged)
            return
        records = self._rooms.takeRecords()
        stored = sum(len(value or "") for _, value in records)
        if speaker and stored > FREE:
            # A record is written as a whole: a small change of a large one costs as much as copies to many.
            self._link.fairness.spread(speaker, stored)
        if ready or records:
            size = sum(_memoryOf(data) for _, data in ready)
            send = partial(self._carryOut, ready, speaker, isCharged)
            steps = [action for action in actions if isinstance(action, Step)]
            if request is not None and records:
                refusal = Refusal(_nothing, partial(self._carryOutUnstored, ready, request, speaker))
            self._commits.put(records, send, size, self._link.now, steps, refusal)

    def _carryOutUnstored(
        self, ready: list[tuple[Action, _Written]], request: Stanza, speaker: str, why: type[GatewayError]
    ) -> None:
        """Tell a change that an iq has made and that is not stored. The requester gets an error: it may be lost."""
        self._link.countError(why)
        error = errorReply(request, why)
        told = [(action, error if _answers(action, request) else data) for action, data in ready]
        self._carryOut(told, speaker, False)

    def _waits(self) -> bool:
        """
        True if output waits for the store that did so at the first call since the last portion. There may always be
        newer output, such as messages.
        """
        if self._commits is None:
            return False
        if not self._isFenced:
            self._isFenced, self._isPassed = True, False
            self._commits.put((), self._passFence, 0, self._link.now)
        self._isFenced = not self._isPassed
        return self._isFenced

    def _passFence(self) -> None:
        self._isPassed = True

    def _carryOut(self, ready: list[tuple[Action, _Written]], speaker: str, isCharged: bool) -> None:
        """Send what L{_perform} has serialised."""
        ready = self._shown(ready)
        # Bytes of stanzas to a single user or node, by address. The first stanza to each address is not counted: in
        # a room of two occupants, every stanza goes to a single user.
        alone: Counter[bytes] = Counter()
        spread = 0
        send = self._send
        self._paced.begin(ready)
        for action, data in ready:
            if isinstance(data, Copies):
                spread += max(data.size, COPY * len(data.recipients))
                self._link.sendCopies(data)
            elif isinstance(data, list):
                assert isinstance(action, ShowOccupants)
                self._sendSeveral(action.recipient, data, alone)
            elif isinstance(action, ToUsers):
                send(data)
                user = action.recipients[0]
                if user in alone:
                    alone[user] += len(data)
                else:
                    alone[user] = 0
            elif not data:
                self._carryOutUnsent(action)
            elif isinstance(action, ToNode):
                if not self._paced.holds(action, data):
                    self._sendToNode(action, data, alone)
            else:
                send(data)
                if isinstance(action, SendError):
                    self._link.countCondition(action.stanzaError.condition)
        if speaker and spread > FREE:
            self._link.fairness.spread(speaker, spread)
        if isCharged:
            self._charge(alone)

    def _shown(self, ready: list[tuple[Action, _Written]]) -> list[tuple[Action, _Written]]:
        """
        Return output without withdrawn messages, which may be in the history for a user or a node that joins. A
        join is answered with the subject that is left.
        """
        if not self._withdrawn:
            return ready
        shown: list[tuple[Action, _Written]] = []
        for action, data in ready:
            message = action.stanza if isinstance(action, ToUsers | ToNode) else None
            if not isinstance(message, RoomMessage) or message.stanzaId not in self._withdrawn:
                shown.append((action, data))
            elif message.subject and isinstance(action, ToUsers | ToNode) and action.room in self._rooms.rooms:
                current = evolve(action, stanza=subjectOf(self._rooms.rooms[action.room]))
                shown.append((current, write(current)))
        return shown

    def _carryOutUnsent(self, action: Action) -> None:
        """Carry out an action that has no stanza."""
        if isinstance(action, LogLine):
            self._logOnce(action)
        elif isinstance(action, ReadArchive) and self._archiving is not None:
            # Its answer follows when the messages are read.
            refuse = partial(self._refuse, action.stanza)
            self._archiving.read(action, self._link.now, partial(self._sendArchive, action), refuse)

    def _sendArchive(self, action: ReadArchive, found: Found) -> None:
        stanza, user = action.stanza, action.stanza.sender or ""
        if self._link.budget.isOver(user, self._link.now):
            # Many queries may have come at once.
            self._refuse(stanza, OverBudget)
            return
        try:
            archive.checkAgain(self._rooms, action)
        except GatewayError as error:
            self._refuse(stanza, type(error))
            return
        results: list[bytes] = []
        if isinstance(found, ArchivePage):
            assert action.query is not None
            results, payload = resultsXml(found, action.query, user), finXml(found)
        else:
            payload = metadataXml(found)
        # XEP-0313 section 4: the answer is sent "after last query result".
        results.append(result(stanza, payload))
        self._link.budget.charge(user, sum(map(len, results)), self._link.now)
        for each in results:
            self._send(each)

    def _sendSeveral(self, user: bytes, stanzas: list[bytes], alone: Counter[bytes]) -> None:
        """Send stanzas to one user: a join to a large room causes thousands of them."""
        self._link.sendSeveral(stanzas)
        size = sum(map(len, stanzas))
        alone[user] += size if user in alone else size - len(stanzas[0])

    def _sendPortion(self, stanzas: Iterable[tuple[ToNode, bytes]]) -> None:
        """Send a portion of what a large room has told a node that joins."""
        alone: Counter[bytes] = Counter()
        for action, data in stanzas:
            self._sendToNode(action, data, alone)
        self._charge(alone)

    def _sendToNode(self, action: ToNode, data: bytes, alone: Counter[bytes]) -> None:
        self._send(data)
        size = len(data)
        peer = action.peer.encode()
        alone[peer] += size if peer in alone else 0
        node = self._rooms.node(action.room, action.peer)
        if node is not None:
            node.bytesSent += size
            self._countBytes(node, "sent", size)
        if self._echoes is not None:
            self._echoes.sent(action, self._link.now)
