"""A stanza to many recipients is serialised once."""

from __future__ import annotations

from typing import Any

from gateway.muc import writers
from tests.fmuc.support import MUC, RoomCase, rooms

ROOM = "r@rooms.h"


class FanOutTests(RoomCase):
    """Serialised once; only the address differs."""

    def setUp(self) -> None:
        self.service = rooms("rooms.h")
        self.written: list[str] = []
        for name in ("mucUser", "messageXml"):
            self.patch(writers, name, self.counted(getattr(writers, name)))
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
        """A message is serialised once."""
        self.written.clear()
        sent = self.service.take(f"<message from='u3@h/r' to='{ROOM}' type='groupchat'><body>Hi</body></message>")
        self.assertEqual((self.written, sent.count(b"<message ")), (["n3"], 10))

    def test_join(self) -> None:
        """
        Presence of occupants is serialised once: for a new occupant, only the own presence and the subject are
        serialised.
        """
        self.join(10)
        self.written.clear()
        sent = self.join(11)
        # To the owner with the real JID, to the others without it, and to the new occupant.
        self.assertEqual((self.written, sent.count(b"<presence ")), (["n11"] * 3 + [""], 23))

    def test_change(self) -> None:
        """A changed presence is shown as it is now."""
        self.service.take(f"<presence from='u4@h/r' to='{ROOM}/n4'><show>away</show></presence>")
        self.assertIn(b"<show>away</show>", self.join(10))
        self.service.take(f"<presence from='u4@h/r' to='{ROOM}/n4'/>")
        self.assertNotIn(b"<show>", self.join(11))
