"""Stanzas and bytes that rooms send after a restart."""

from __future__ import annotations

from gateway import ns
from gateway.muc.room import Bounds
from tests.fmuc.durable import DurableCase
from tests.fmuc.support import MUC

# Occupants, in rooms of 20.
COUNT, SIZE = 200, 20


class BytesTests(DurableCase):
    """A restart causes no storm: the occupants notice nothing."""

    bounds = Bounds(silence=1_800.0)

    def setUp(self) -> None:
        super().setUp()
        self.rooms.home = "a.example"
        for number in range(COUNT):
            to = f"r{number // SIZE}@chat.example/n{number}"
            self.server.send(f"<presence from='u{number}@a.example/1' to='{to}'>{MUC}</presence>")
            self.server.transport.clear()

    def test_pings(self) -> None:
        """Each of 200 occupants gets one ping, and nothing else: about 21 kB in all."""
        self.kill()
        self.server.transport.clear()
        pinged: list[str] = []
        size = 0
        for _ in range(120):
            size += len(self.server.transport.value())
            found = self.server.received()
            self.assertLessEqual(len(found), 50)
            for each in found:
                self.assertEqual(each.tag.partition("}")[2], "iq")
                self.assertEqual(each[0].tag, f"{{{ns.PING}}}ping")
                pinged.append(each.get("to", ""))
            self.server.wait(0.5)
        self.assertEqual(sorted(pinged), sorted(f"u{number}@a.example/1" for number in range(COUNT)))
        self.assertLess(size, 24_000)
        self.assertEqual(sum(len(room.occupants) for room in self.rooms.rooms.values()), COUNT)
