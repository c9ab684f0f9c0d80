"""
Messages of occupants here to the ordinary room (XEP-0045) behind a room, until they come back. Pure.

A room sends each message to all its occupants, its sender as well (XEP-0045 section 7.4). So a message is stored
until its copy, or an error, has come. If the connection, or a process, is lost meanwhile, the archive of the room
decides: a message that is not there is sent again. Without an archive nobody knows, and the sender gets an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from attrs import define, evolve, field

from gateway.addresses import jids
from gateway.errors import LinkDown
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.uplink.outgoing import Outgoing, Unsent
from gateway.muc.occupant import Occupant
from gateway.muc.values import RoomMessage, person

# Seconds after which a message that was sent is forgotten: rooms may drop messages.
_MAX_WAIT = 60.0
# Attempts to send one message.
_MAX_ATTEMPTS = 3


@define(eq=False)
class Submitted(Outgoing):
    """The messages to one ordinary room, in their order. The limits are those of a channel's outbox."""

    # Times at which messages were sent that have not come back, by number; and attempts to send them.
    _sentAt: dict[int, float] = field(factory=dict)
    _attempts: Counter[int] = field(factory=Counter)

    def __len__(self) -> int:
        """Return the number of messages that wait to be sent."""
        return len(self._unsent) - len(self._sentAt)

    def take(self, nick: str, user: str, now: float) -> list[RoomMessage]:
        """
        Return the messages of an occupant that are to be sent; they wait for their copies now.

        @param user: JID of the user; others may have had the nick.
        """
        found = [number for number in self._numbers(nick, user) if number not in self._sentAt]
        for number in found:
            self._sentAt[number] = now
            self._attempts[number] += 1
        return [evolve(self._unsent[number].message, occupantId="", delay=None) for number in found]

    def waits(self, nick: str, user: str, isSettled: bool) -> bool:
        """
        True if a message of an occupant is still to be sent, or may have to be sent again.

        @param isSettled: False while nobody knows what the ordinary room has got.
        """
        return any(not isSettled or number not in self._sentAt for number in self._numbers(nick, user))

    def _userOf(self, unsent: Unsent) -> str:
        """
        Return the user whose share a message takes. The domain has a share, too: that of the node which names the
        user, or of a user here.
        """
        domain = jids.split(unsent.origin or unsent.message.realJid)[1]
        return f"{super()._userOf(unsent)}@{domain}"

    def senders(self) -> set[tuple[str, str]]:
        """Return the nicks and the full JIDs of the users whose messages have not come back."""
        return {(each.message.nick, each.message.realJid) for each in self._unsent.values()}

    def returned(self, message: RoomMessage, isLive: bool, isThere: Callable[[str], bool]) -> Unsent | None:
        """
        Handle a message of an occupant that the ordinary room has sent; return what was sent to it, if it is known.

        @param isLive: True if it is a new one. A room keeps the order of an occupant's messages, so earlier ones
            were dropped; and one that is none of these was changed.
        @param isThere: True for the JID of a user who may be that occupant; asked about a new message.
        """
        sent = [number for number in self._numbers(message.nick) if number in self._sentAt]
        known = sent
        if isLive:
            # Somebody else may have the nick of an occupant who was removed.
            sent = [number for number in sent if isThere(self._unsent[number].message.realJid)]
        found = next((number for number in sent if _isSame(self._unsent[number].message, message)), None)
        if found is None and message.id:
            # The room may be so slow that nobody waits for the leave any longer that has followed the message.
            found = next((number for number in known if self._unsent[number].message.id == message.id), None)
        if found is None:
            found = next((number for number in sent if isLive), None)
        removed = self._remove(
            each for each in known if each == found or (isLive and found and each < found and each in sent)
        )
        return removed[-1] if removed else None

    def sentBack(self, nick: str, identifier: str | None, isLost: bool) -> bool:
        """
        Handle an error of the ordinary room for a message.

        @param isLost: True if the room does not know the occupant any longer, or cannot be reached.
        @return: True if the message is sent once more, so that its sender is told nothing.
        """
        sent = [number for number in self._numbers(nick) if number in self._sentAt]
        found = next((number for number in sent if self._unsent[number].message.id == identifier), None)
        if found is None:
            return False
        if isLost and self._attempts[found] < _MAX_ATTEMPTS:
            del self._sentAt[found]
            return True
        self._remove((found,))
        return False

    def refuseOf(self, nick: str, user: str) -> None:
        """Return the messages of an occupant to their sender."""
        for unsent in self._remove(self._numbers(nick, user)):
            self._refuse(unsent, LinkDown)

    def settle(self, isWhole: bool) -> None:
        """
        Decide about the messages that were sent before a loss, and have not come back.

        @param isWhole: True if all that the ordinary room has got is known.
        """
        lost, self._sentAt = self._sentAt, {}
        if not isWhole:
            for unsent in self._remove(lost):
                self._refuse(unsent, LinkDown)

    def forget(self, now: float) -> None:
        """Forget messages that do not come back, although nothing was lost."""
        self._remove([number for number, at in self._sentAt.items() if at + _MAX_WAIT <= now])

    def begin(self, now: float) -> None:
        super().begin(now)
        self._sentAt = dict.fromkeys(self._unsent, now)

    def lost(self) -> None:
        """The ordinary room cannot be reached: refuse messages that nobody was shown, and that were not sent."""
        unsent = [number for number in self._unsent if number not in self._sentAt]
        for each in self._remove(n for n in unsent if not self.isShown(self._unsent[n].message.nick)):
            self._refuse(each, LinkDown)

    def isShown(self, nick: str) -> bool:
        """True if what an occupant says is shown behind another node at once, so that it should not be refused."""
        occupant = self._mirror.room.occupants.get(nick)
        node = None if occupant is None else occupant.node
        return occupant is None or (isinstance(node, JoiningNode) and not node.returnsMessages)

    def send(self, node: JoinedNode, waits: Callable[[str], bool]) -> None:
        # L{gateway.fmuc.ordinary.speaking} does.
        pass

    def senderLeft(self, occupant: Occupant) -> None:
        # The occupant leaves the ordinary room after the messages.
        pass

    def discard(self) -> None:
        # The last occupants leave there after their messages.
        pass

    def _numbers(self, nick: str, user: str = "") -> list[int]:
        who = person(user) if user else ""
        return [number for number, each in self._unsent.items() if _isBy(each.message, nick, who)]

    def _remove(self, numbers: Iterable[int]) -> list[Unsent]:
        numbers = list(numbers)
        for number in numbers:
            self._sentAt.pop(number, None)
            self._attempts.pop(number, None)
        return super()._remove(numbers)


def _isBy(message: RoomMessage, nick: str, who: str) -> bool:
    return message.nick == nick and (not who or person(message.realJid) == who)


def _isSame(sent: RoomMessage, message: RoomMessage) -> bool:
    """True if a message is the copy of another one, which had an id or not."""
    return sent.id == message.id if sent.id else sent.payload.raw == message.payload.raw
