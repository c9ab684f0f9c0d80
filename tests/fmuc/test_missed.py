"""Messages that a mirror may have missed: each is shown once, also if somebody says the same twice."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.missed import MissedMessages
from gateway.muc.values import Delay, Payload, RoomMessage

ROOM, NOW = "coven@chat.example", 1_790_000_000.0


def message(stanzaId: str, seconds: float = 0.0, text: str = "ok", identifier: str | None = "m") -> RoomMessage:
    """Return a message of Ann, said so many seconds after a time."""
    payload = Payload(f"<body>{text}</body>".encode())
    delay = Delay(ROOM, NOW + seconds)
    return RoomMessage(nick="ann", payload=payload, id=identifier, stanzaId=stanzaId, delay=delay)


class MissedTests(SynchronousTestCase):
    """Messages that are shown at the end of a return."""

    def unknown(
        self, *messages: RoomMessage, isGiven: bool, shown: list[RoomMessage], isOwn: str = "-"
    ) -> list[str]:
        """
        Return the stanza ids of messages that are shown.

        @param isOwn: nick of an occupant here, in primary mode; empty for none there; "-" in replica mode.
        """
        missed = MissedMessages()
        for each in messages:
            missed.keep(each, isGiven, None, 10)
        found = missed.unknown(shown, None if isOwn == "-" else lambda each: each.nick == isOwn)
        return [each.stanzaId for each, _ in found]

    def test_given(self) -> None:
        """With stanza ids of the joined node, the same text sent twice, even with one id, is shown twice."""
        for isOwn in ("-", ""):
            found = self.unknown(
                message("1"), message("2"), message("3"), isGiven=True, shown=[message("1")], isOwn=isOwn
            )
            self.assertEqual(found, ["2", "3"])

    def test_twice(self) -> None:
        """The answer to an earlier request has a message as well."""
        self.assertEqual(self.unknown(message("1"), message("1"), isGiven=True, shown=[]), ["1"])

    def test_none(self) -> None:
        """Without stanza ids, a message is known if an equal one was shown at about that time, once for each."""
        for identifier in ("m", None):
            said = [message(f"n{at}", at, identifier=identifier) for at in (0, 20, 40)]
            shown = [message("s", 5, identifier=identifier)]
            self.assertEqual(self.unknown(*said, isGiven=False, shown=shown), ["n20", "n40"])
            self.assertEqual(self.unknown(*said, isGiven=False, shown=shown * 2), ["n40"])
            self.assertEqual(self.unknown(*said, isGiven=False, shown=[message("s", -70)]), ["n0", "n20", "n40"])
        other = [message("s", text="no"), message("t", identifier="other")]
        self.assertEqual(self.unknown(message("n"), isGiven=False, shown=other), ["n"])

    def test_own(self) -> None:
        """In primary mode, messages of occupants here were shown, by whatever id and at whatever time."""
        self.assertEqual(self.unknown(message("1"), isGiven=True, shown=[], isOwn="ann"), [])
        left = [message("here", -7_000)]
        self.assertEqual(self.unknown(message("1"), message("2"), isGiven=True, shown=left, isOwn=""), ["2"])
        left = [message("here", -7_000, identifier=None)]
        found = self.unknown(message("1", identifier=None), isGiven=True, shown=left, isOwn="")
        self.assertEqual(found, ["1"])

    def test_bounds(self) -> None:
        """Number and bytes are limited; the last message that was kept is known."""
        missed = MissedMessages()
        for number in range(3):
            missed.keep(message(str(number)), True, None, 2)
        self.assertEqual((missed.last, len(missed.unknown((), None))), ("1", 2))
        missed.clear()
        self.assertEqual((missed.last, missed.unknown((), None)), ("", []))
        for number in range(5):
            missed.keep(message(str(number), text="x" * 1_000_000), True, None, 10)
        self.assertEqual(len(missed.unknown((), None)), 4)
