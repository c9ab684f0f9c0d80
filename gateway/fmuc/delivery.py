"""Output of the rooms of one component: carries out their actions, after the commit, and charges users for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attrs import evolve

from gateway.errors import GatewayError
from gateway.fmuc.actions import Kept, LeftOut, ToNode
from gateway.fmuc.archiving import Archiving, Found
from gateway.fmuc.commits import Commits, Refusal
from gateway.fmuc.core import Rooms
from gateway.fmuc.numbering import Numbering, crosses
from gateway.fmuc.ordinary.backing import Backing
from gateway.fmuc.pacing import Pacing
from gateway.fmuc.stanzas import write
from gateway.fmuc.traffic import Traffic
from gateway.muc import archive, groupchat
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
from gateway.muc.iq import result
from gateway.muc.records import Record, take
from gateway.muc.room import Room
from gateway.muc.subject import subjectOf
from gateway.muc.values import RoomMessage
from gateway.stream.budget import COPY, FREE
from gateway.stream.link import Link
from gateway.stream.outflow import Copies
from gateway.stream.stanzas import Stanza, errorReply

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


class Delivery:
    """
    The output of one component.

    @ivar link: set before anything is sent.
    @ivar commits: stores the rooms; C{None} for rooms that end with the process.
    @param archiving: the readers of the archives; C{None} for no archives.
    @param refuse: answers a stanza with an error.
    @param log: logs a line.
    @param backing: the ordinary rooms that the rooms stand for; C{None} for none.
    """

    link: Link

    def __init__(
        self,
        rooms: Rooms,
        traffic: Traffic,
        commits: Commits | None,
        archiving: Archiving | None,
        refuse: Callable[[Stanza, type[GatewayError]], object],
        log: Callable[[LogLine], object],
        backing: Backing | None = None,
    ) -> None:
        self._rooms = rooms
        self._backing = backing
        self._traffic = traffic
        self.commits = commits
        self._archiving = archiving
        self._refuse = refuse
        self._log = log
        self._paced = Pacing(rooms, self._waits, partial(self.perform, isCharged=True), self._sendPortion)
        # True while output is awaited before a portion is made; True if it has left.
        self._isFenced = self._isPassed = False
        # Stanza ids of messages that were withdrawn, while output that waited for them is sent.
        self._withdrawn: set[str] = set()
        self._numbering = None if commits is None else Numbering(rooms, commits, self.perform)

    def setLink(self, link: Link) -> None:
        """Set the link that output is sent on."""
        self.link = self._paced.link = link
        if self._numbering is not None:
            self._numbering.link = link
        if self._rooms.channels is not None:
            self._rooms.channels.flowsSince = link.flowsSince

    def connected(self) -> None:
        """Handle a new connection of the link."""
        if self.commits is not None:
            self.commits.together = self.link.together

    def tick(self, now: float) -> None:
        """Called about once a second."""
        if self.commits is not None:
            self.commits.tick(now)
            self._withdrawn.clear()
        if self._archiving is not None:
            self._archiving.tick(now, self._rooms.utcClock.utc(now))

    def stop(self) -> None:
        """Send or refuse what waits: the link stops."""
        self._paced.stop()
        if self._archiving is not None:
            self._archiving.stop()
        if self.commits is not None:
            self.commits.end()

    @property
    def queries(self) -> int:
        """Number of open queries of archives."""
        return 0 if self._archiving is None else self._archiving.pending

    @property
    def arriving(self) -> int:
        """Number of joins to large rooms that are being answered."""
        return self._paced.arriving

    @property
    def pending(self) -> int:
        """Number of outputs that wait."""
        return self.queries + self.arriving + (0 if self.commits is None else len(self.commits))

    def withdraw(self, room: Room, added: int, subject: RoomMessage | None) -> list[Record]:
        """
        Remove a message that was not stored from its room, and from output that waits; arguments as of
        L{groupchat.withdraw}.

        @return: the records of the room, whose subject may be an earlier one again.
        """
        self._withdrawn.update(groupchat.withdraw(room, added, subject))
        return take(room) if self._rooms.rooms.get(room.jid) is room else []

    def perform(
        self,
        actions: Sequence[Action],
        answer: bytes = b"",
        speaker: str = "",
        isCharged: bool = False,
        request: Stanza | None = None,
        refusal: Refusal | None = None,
        isDue: bool = False,
    ) -> None:
        """
        Carry out actions, after the changes that they tell are stored.

        @param answer: answer to an iq; it is sent first, or in the place of L{ANSWER_IQ}.
        @param speaker: user whom copies to many recipients are charged to; empty for nobody.
        @param isCharged: True if stanzas to a single user are charged to that user.
        @param request: the iq that is answered.
        @param refusal: of a message, in case it cannot be stored.
        @param isDue: True if changes of channels are stored that may be stored later.
        """
        if self._backing is not None:
            actions = self._backing.outgoing(actions, self.link.now)
            if self._backing.isDue:
                self.link.later(0, self._performDue)
        # Serialise every action before sending the first, so that a serialisation error leaves nothing half sent.
        ready = [(action, answer if action is ANSWER_IQ else write(action)) for action in actions]
        if answer and all(action is not ANSWER_IQ for action, _ in ready):
            # XEP-0045 section 8.2, and the same for other requests: "After informing the moderator, the service
            # MUST then inform all of the remaining occupants".
            ready.insert(0, (ANSWER_IQ, answer))
        if self._rooms.arriving:
            self._paced.start()
        # At once: what waits for the store must not let a flood pass that comes meanwhile.
        if ready:
            self._account(ready, speaker, isCharged)
        if self.commits is None or self._numbering is None:
            self._carryOut(ready, isCharged)
            return
        ready = self._numbering.refusals(ready)
        numbers = self._numbering.number(ready)
        taken = self._numbering.take(isDue)
        records = [*self._rooms.takeRecords(), *taken.records]
        stored = sum(len(value or "") for _, value in records)
        if speaker and stored > FREE:
            # A record is written as a whole: a small change of a large one costs as much as copies to many.
            self.link.fairness.spread(speaker, stored)
        if ready or records or taken.sent:
            size = sum(_memoryOf(data) for _, data in [*ready, *taken.sent])
            send = partial(self._carryOut, ready, isCharged, taken.sent)
            steps = [action for action in actions if isinstance(action, Step)]
            if refusal is not None and numbers:
                refusal = self._numbering.withdrawing(refusal, numbers)
            if request is not None and records:
                refusal = Refusal(_nothing, partial(self._carryOutUnstored, ready, request))
            self.commits.put(records, send, size, self.link.now, steps, refusal)
        self._numbering.put(taken)

    def _performDue(self) -> None:
        """Carry out what needs no answer of an ordinary room."""
        if self._backing is not None and self._backing.isDue:
            self.perform(self._backing.due(self.link.now), isCharged=True)

    def _carryOutUnstored(
        self, ready: list[tuple[Action, _Written]], request: Stanza, why: type[GatewayError]
    ) -> None:
        """
        Tell a change that an iq has made and that is not stored; channels tell it later. The requester gets an
        error: it may be lost.
        """
        self.link.countError(why)
        error = errorReply(request, why)
        told = [(action, error if _answers(action, request) else data) for action, data in ready]
        self._carryOut(told, False)

    def _waits(self) -> bool:
        """
        True if output waits for the store that did so at the first call since the last portion. There may always be
        newer output, such as messages.
        """
        if self.commits is None:
            return False
        if not self._isFenced:
            self._isFenced, self._isPassed = True, False
            self.commits.put((), self._passFence, 0, self.link.now)
        self._isFenced = not self._isPassed
        return self._isFenced

    def _passFence(self) -> None:
        self._isPassed = True

    def _account(self, ready: list[tuple[Action, _Written]], speaker: str, isCharged: bool) -> None:
        """Charge output: copies to the speaker, stanzas to a single user or by a channel to their recipient."""
        # Bytes of stanzas to a single user or node, by address. The first stanza to each address is not counted: in
        # a room of two occupants, every stanza goes to a single user.
        alone: Counter[bytes] = Counter()
        spread = 0
        for action, data in ready:
            if isinstance(data, Copies):
                spread += max(data.size, COPY * len(data.recipients))
            elif isinstance(data, list):
                assert isinstance(action, ShowOccupants)
                user, size = action.recipient, sum(map(len, data))
                alone[user] += size if user in alone else size - len(data[0])
            elif isinstance(action, ToUsers):
                user = action.recipients[0]
                alone[user] += len(data) if user in alone else 0
            elif isinstance(action, ToNode) and crosses(action, data):
                peer = action.peer.encode()
                alone[peer] += len(data) if peer in alone else 0
        if speaker and spread > FREE:
            self.link.fairness.spread(speaker, spread)
        if isCharged:
            self._charge(alone)

    def _carryOut(
        self,
        ready: list[tuple[Action, _Written]],
        isCharged: bool,
        ofChannels: Sequence[tuple[ToNode, bytes]] = (),
    ) -> None:
        """Send what L{perform} has serialised, and then stanzas that channels have kept."""
        ready = self._shown(ready)
        # As in L{_account}, of nodes without a channel; what waits for a lane is charged when it is sent.
        alone: Counter[bytes] = Counter()
        send = self.link.sendRaw
        self._paced.begin(ready)
        for action, data in ready:
            if isinstance(data, Copies):
                self.link.sendCopies(data)
            elif isinstance(data, list):
                self.link.sendSeveral(data)
            elif isinstance(action, ToUsers):
                send(data)
            elif not data:
                self._carryOutUnsent(action)
            elif isinstance(action, ToNode):
                self._toNode(action, data, alone)
            else:
                send(data)
                if isinstance(action, SendError):
                    self.link.countCondition(action.stanzaError.condition)
        for action, data in ofChannels:
            # They come after the acceptance of their channel, which may wait.
            if not self._paced.holds(action, data):
                self._sendOfChannel(action, data)
        if isCharged:
            self._charge(alone)

    def _toNode(self, action: ToNode, data: bytes, alone: Counter[bytes]) -> None:
        """Send a stanza to a node, unless a channel sends it, or it has to wait."""
        if crosses(action, data):
            self._traffic.submitted(action, self.link.now)
        elif not self._paced.holds(action, data):
            self._sendToNode(action, data, alone)

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
            self._log(action)
        elif isinstance(action, LeftOut):
            self._traffic.leftOut.update(action.words)
        elif isinstance(action, ReadArchive) and self._archiving is not None:
            # Its answer follows when the messages are read.
            refuse = partial(self._refuse, action.stanza)
            self._archiving.read(action, self.link.now, partial(self._sendArchive, action), refuse)

    def _sendArchive(self, action: ReadArchive, found: Found) -> None:
        stanza, user = action.stanza, action.stanza.sender or ""
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
        self.link.budget.charge(user, sum(map(len, results)), self.link.now)
        for each in results:
            self.link.sendRaw(each)

    def _sendPortion(self, stanzas: Iterable[tuple[ToNode, bytes]]) -> None:
        """Send a portion of what a large room has told a node that joins."""
        alone: Counter[bytes] = Counter()
        for action, data in stanzas:
            if isinstance(action.stanza, Kept):
                self._sendOfChannel(action, data)
            else:
                self._sendToNode(action, data, alone)
        self._charge(alone)

    def _sendToNode(self, action: ToNode, data: bytes, alone: Counter[bytes]) -> None:
        self.link.sendRaw(data)
        peer = action.peer.encode()
        alone[peer] += len(data) if peer in alone else 0
        self._traffic.sent(action, len(data))
        self._traffic.submitted(action, self.link.now)

    def _sendOfChannel(self, action: ToNode, data: bytes) -> None:
        """Send a stanza that a channel has kept, or one of the channel itself."""
        self.link.sendRaw(data)
        self._traffic.sent(action, len(data))

    def _charge(self, sent: Counter[bytes]) -> None:
        """
        Charge the answer to a join to the user who has joined. In a mirror that user is not the sender of the
        stanza, which comes from the joined node.
        """
        # The bare part of an address contains no escaped character.
        for address, size in sent.items():
            self.link.budget.charge(address.decode(), size, self.link.now)
