"""Output that waits until the records of what it tells are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull, StoreTaken, TooManyPending
from gateway.muc.actions import ForgetArchive, ToArchive
from gateway.muc.archive_store import Step
from gateway.muc.archive_values import Retention
from gateway.muc.changes import Durability
from gateway.muc.records import MESSAGE, Key, Record
from gateway.muc.store import Owner, StoreEmptied, save
from gateway.state.interfaces import IStore

# Bytes of output that may wait, and seconds that it may wait while the store does not work.
_MAX_WAITING = 64 * 1024 * 1024
_MAX_WAIT = 10.0
# Changes of archives that may wait.
_MAX_STEPS = 10_000
_FAULTS = (StoreFull, StoreBusy, StoreBroken, StoreTaken, TooManyPending)
# Records that wait one by one. Beyond that, the whole state is stored instead, which is bounded: a mirror refuses
# nothing while the store does not work, and others choose the names of records, such as nicks.
_MAX_RECORDS = 100_000
_NO_ARCHIVE = Retention(0, 0.0)
# Seconds between two log lines about another process that has the store.
_LOG_EVERY = 60.0


@frozen
class Refusal:
    """
    The way to tell a sender that a change has failed, in the place of output that tells the change.

    @ivar undo: removes the change from the memory, and returns the records of what it has restored. Of several
        changes, the newest one is undone first.
    @ivar send: sends the error.
    """

    undo: Callable[[], Iterable[Record]]
    send: Callable[[type[GatewayError]], object]


@frozen
class _Output:
    """
    Output that waits.

    @ivar send: sends it.
    @ivar size: bytes of memory that it takes.
    @ivar since: seconds of the link's clock.
    @ivar refusal: C{None} for output that tells no change, or one that cannot be refused, such as a leave.
    @ivar messages: keys of the records of messages; empty without a C{refusal}.
    @ivar steps: messages for archives; empty without a C{refusal}. The end of an archive is not among them: its
        room has ended.
    """

    send: Callable[[], object]
    size: int
    since: float
    refusal: Refusal | None = None
    messages: Sequence[Key] = ()
    steps: Sequence[Step] = ()


class Commits:
    """
    The output of one component, in order; what is not stored yet is sent after the commit.

    The records of input that is handled at once, and those that come while a commit is under way, share a commit.
    If the store fails, the records stay, and are written again once a second; meanwhile L{Durability.fault}
    refuses new changes. If output has waited for ten seconds, no output waits any longer. What has a L{Refusal},
    such as a message, is refused: it was not stored, so nobody may see it. The rest, such as leaves, cannot be
    refused: what it tells is true in memory, and is stored later.

    Changes of archives share the commits, but for those that exceed a limit while the store does not work.

    If the file was removed or replaced by a new one, or too many records wait, the whole state is stored again.

    @ivar together: calls a function that sends several outputs.
    @ivar lost: number of changes of archives that were never stored.
    @ivar trouble: the reason why the store is another process's, and a remedy; empty if it is not.
    @param retention: bounds of the archives.
    @param later: calls a function after the input that is being handled: L{gateway.stream.link.Link.afterInput}.
    @param owner: this process, if others may write to the store as well.
    @param whole: returns the whole state.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        durability: Durability,
        later: Callable[[Callable[[], object]], object],
        retention: Retention = _NO_ARCHIVE,
        owner: Owner | None = None,
        whole: Callable[[], tuple[Sequence[Record], Sequence[Step]]] = lambda: ((), ()),
    ) -> None:
        self._store = store
        self._durability = durability
        self._later = later
        self._retention = retention
        self._owner = owner
        self._whole = whole
        # True if the next commit has the whole state; True if it has to be made before.
        self._isWhole = self._isDropped = False
        self._most = _MAX_RECORDS
        self.lost = 0
        self.trouble = ""
        self._logAt = float("-inf")
        self._now = 0.0
        self.together: Callable[[Callable[[], object]], object] = lambda act: act()
        # Records that no commit has, by their keys, and those of the commit that is under way.
        self._records: dict[Key, str | None] = {}
        self._writing: dict[Key, str | None] = {}
        # The same of archives.
        self._steps: list[Step] = []
        self._writingSteps: list[Step] = []
        # Calls that wait for their records, and those of the commit that is under way.
        self._calls: list[Callable[[], object]] = []
        self._writingCalls: list[Callable[[], object]] = []
        self._isWriting = self._isDue = False
        self._written: Deferred[Any] | None = None
        # True if output has waited for too long, until the store works.
        self._isGoingOn = False
        # All output that waits. The first ones belong to the commit that is under way.
        self._waiting: deque[_Output] = deque()
        self._belonging = 0
        self._size = 0

    def __len__(self) -> int:
        """Return the number of outputs and records that wait."""
        return len(self._waiting) + self.unstored

    @property
    def unstored(self) -> int:
        """Number of records, and of changes of archives, that are not stored."""
        return len(self._records) + len(self._writing) + len(self._steps) + len(self._writingSteps)

    def put(
        self,
        records: Iterable[Record],
        send: Callable[[], object],
        size: int,
        now: float,
        steps: Sequence[Step] = (),
        refusal: Refusal | None = None,
    ) -> None:
        """
        Send output after its records are stored, and after earlier output; at once if nothing waits.

        @param size: bytes of memory that the output takes.
        @param steps: changes of archives, which are stored as the records are.
        @param refusal: of the change that the output tells; C{None} if it cannot be refused.
        """
        new = tuple(records)
        _merge(self._records, new)
        if len(self._records) > self._most:
            self._records.clear()
            self._isDropped = True
        self._steps += steps
        self._boundSteps()
        if self._isGoingOn or not (new or steps or self._waiting):
            send()
            return
        if refusal is not None and (new or steps):
            messages = [key for key, _ in new if key[1] == MESSAGE]
            archived = [each for each in steps if isinstance(each, ToArchive)]
            self._waiting.append(_Output(send, size, now, refusal, messages, archived))
        else:
            self._waiting.append(_Output(send, size, now))
        self._size += size
        if self._size > _MAX_WAITING:
            self._giveUp()
        if not self._isWriting and not self._isDue and self._durability.fault is None:
            self._isDue = True
            self._later(self._commit)

    def whenStored(self, call: Callable[[], object]) -> None:
        """
        Call a function after the commit of all records that were L{put}, and never before it, however long the
        store fails. Output that waits for this commit is sent before.
        """
        self._calls.append(call)
        if not (self._records or self._steps or self._isWriting):
            self._later(self._commit)

    def tick(self, now: float) -> None:
        """Try again after a failure, and end a wait that takes too long. Called once a second."""
        if self._waiting and self._waiting[0].since + _MAX_WAIT <= now:
            self._isGoingOn = True
            self._giveUp()
        self._now = now
        if (self._records or self._steps or self._durability.fault is not None) and not self._isWriting:
            self._commit()

    def end(self) -> None:
        """End the wait: the link stops, and has waited for the store."""
        if self._waiting:
            self._giveUp()

    def _giveUp(self) -> None:
        """Refuse all that waits; send what cannot be refused."""
        if self._written is not None:
            # Nothing of it is stored, unless the commit has begun.
            self._written.cancel()
        fault = self._durability.fault = self._durability.fault or StoreBusy
        # By identity: two steps may be equal.
        steps = {id(step) for output in self._waiting for step in output.steps}
        self._steps = [step for step in self._steps if id(step) not in steps]
        outputs: list[_Output] = []
        for output in reversed(self._waiting):
            if output.refusal is not None:
                for key in output.messages:
                    self._records.pop(key, None)
                self._try(partial(self._undo, output.refusal))
                outputs.append(evolve(output, send=partial(output.refusal.send, fault)))
            else:
                outputs.append(output)
        self._waiting = deque(reversed(outputs))
        self._release(len(self._waiting))

    def _undo(self, refusal: Refusal) -> None:
        _merge(self._records, refusal.undo())

    def _commit(self) -> None:
        self._isDue = False
        if self._isWriting:
            return
        if self._isDropped:
            self._isDropped, self._isWhole = False, True
            self._records = dict(self._whole()[0])
            self._most = max(_MAX_RECORDS, 2 * len(self._records))
        self._belonging = len(self._waiting)
        self._writing, self._records = self._records, {}
        self._writingSteps, self._steps = self._steps, []
        self._writingCalls, self._calls = self._writingCalls + self._calls, []
        if not self._writing and not self._writingSteps and self._durability.fault is None:
            self._release(self._belonging)
            self._callStored()
            return
        self._isWriting = True
        written = self._written = self._store.writeAtOnce(
            save,
            tuple(self._writing.items()),
            tuple(self._writingSteps),
            self._retention,
            self._owner,
            self._isWhole,
        )
        written.addCallbacks(self._onStored, self._onFailed)

    def _onStored(self, result: object) -> None:
        self._isWriting = False
        self._written = None
        self._writing, self._writingSteps = {}, []
        self._durability.fault = None
        self._isGoingOn = self._isWhole = False
        self.trouble = ""
        self._release(self._belonging)
        self._callStored()
        if self._records or self._steps or self._waiting or self._calls or self._isDropped:
            self._commit()

    def _onFailed(self, failure: Failure) -> None:
        self._isWriting = False
        self._written = None
        if failure.check(CancelledError):
            # By L{_giveUp}.
            self._durability.fault = StoreBusy
        else:
            self._durability.fault = failure.check(*_FAULTS) or StoreBroken
        isEmptied = isinstance(failure.value, StoreEmptied)
        if isinstance(failure.value, StoreTaken):
            self._onTaken(failure.value)
        elif not isEmptied and not isinstance(failure.value, GatewayError | CancelledError):
            self._log.failure(
                "{store}: records of rooms cannot be stored.",
                failure,
                event="rooms.not_stored",
                store=self._store.name,
            )
        # Later records replace earlier ones.
        kept, self._writing = self._writing, {}
        _merge(kept, self._records.items())
        self._records = kept
        self._steps, self._writingSteps = self._writingSteps + self._steps, []
        self._boundSteps()
        if isEmptied:
            self._storeWhole()

    def _storeWhole(self) -> None:
        self._log.warn(
            "{store}: its file is a new one: rooms are stored again as they are; archives have the history only.",
            event="rooms.stored_again",
            store=self._store.name,
        )
        self._isWhole = True
        records, steps = self._whole()
        # Later records, of output that waits, are those of the rooms as they are.
        _merge(self._records, records)
        self._steps = [*steps, *self._steps]
        self._commit()

    def _onTaken(self, error: StoreTaken) -> None:
        self.trouble = str(error)
        if self._logAt <= self._now:
            self._logAt = self._now + _LOG_EVERY
            self._log.error(
                "{store}: {reason}.", event="rooms.store_taken", store=self._store.name, reason=self.trouble
            )

    def _callStored(self) -> None:
        calls, self._writingCalls = self._writingCalls, []
        if calls:
            self.together(partial(self._callAll, calls))

    def _callAll(self, calls: list[Callable[[], object]]) -> None:
        for call in calls:
            self._try(call)

    def _boundSteps(self) -> None:
        """Drop the oldest changes of archives, if the store has not worked for long."""
        excess = len(self._steps) - _MAX_STEPS
        if excess > 0:
            # An archive that has to end must not be shown in a new room with the same address.
            ends = dict.fromkeys(each for each in self._steps[:excess] if isinstance(each, ForgetArchive))
            self._steps[:excess] = ends
            self.lost += excess - len(ends)

    def _release(self, number: int) -> None:
        """Send the first outputs that wait."""
        if number:
            self.together(partial(self._send, number))

    def _send(self, number: int) -> None:
        for _ in range(min(number, len(self._waiting))):
            output = self._waiting.popleft()
            self._size -= output.size
            self._belonging = max(0, self._belonging - 1)
            self._try(output.send)

    def _try(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception:
            # The others are sent nevertheless.
            self._log.failure(
                "{store}: output of rooms cannot be sent.", event="rooms.not_sent", store=self._store.name
            )


def _merge(known: dict[Key, str | None], records: Iterable[Record]) -> None:
    for key, value in records:
        # The order counts: the removal of a room comes after earlier records of it, and before later ones.
        known.pop(key, None)
        known[key] = value
