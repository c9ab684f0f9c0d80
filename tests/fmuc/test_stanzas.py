"""What is written for many is written once."""

from __future__ import annotations

from typing import Any

from gateway.muc import stanzas
from tests.fmuc.support import MUC, RoomCase, rooms

ROOM = "r@rooms.h"


class FanOutTests(RoomCase):
    """The same for everybody, but for the address."""

    def setUp(self) -> None:
        self.service = rooms("rooms.h")
        self.written: list[str] = []
        for name in ("mucUser", "messageXml"):
            self.patch(stanzas, name, self.counted(getattr(stanzas, name)))
        for number in range(10):
            self.join(number)

    def counted(self, write: Any) -> Any:
        def counting(what: Any, *rest: Any) -> bytes:
            self.written.append(what.nick)
            done: bytes = write(what, *rest)
            return done

        return counting

    def join(self, number: int) -> bytes:
        self.written.clear()
        return self.service.take(f"<presence from='u{number}@h/r' to='{ROOM}/n{number}'>{MUC}</presence>")

    def test_message(self) -> None:
        """A message is."""
        self.written.clear()
        sent = self.service.take(f"<message from='u3@h/r' to='{ROOM}' type='groupchat'><body>Hi</body></message>")
        self.assertEqual((self.written, sent.count(b"<message ")), (["n3"], 10))

    def test_join(self) -> None:
        """So is the presence of who is there: only what is new is written for who joins, and the subject."""
        self.join(10)
        self.written.clear()
        sent = self.join(11)
        # To the owner with his address, to the others without, and to himself.
        self.assertEqual((self.written, sent.count(b"<presence ")), (["n11"] * 3 + [""], 23))

    def test_change(self) -> None:
        """A presence that has changed is shown as it is now."""
        self.service.take(f"<presence from='u4@h/r' to='{ROOM}/n4'><show>away</show></presence>")
        self.assertIn(b"<show>away</show>", self.join(10))
        self.service.take(f"<presence from='u4@h/r' to='{ROOM}/n4'/>")
        self.assertNotIn(b"<show>", self.join(11))
