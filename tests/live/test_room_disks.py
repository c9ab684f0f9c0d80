"""A room service whose disk is full, and whose file is damaged, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.disks import smallDisk
from tests.live.case import ROOMS, scenario
from tests.live.clients import condition, newId, stanza
from tests.live.processes import TWISTD, holds, outcome, until
from tests.live.rooms import RoomsCase
from tests.live.servers import Embedded

ROOM = f"cellar@{ROOMS}"


class RoomDisksTests(RoomsCase, SynchronousTestCase):
    """On the embedded host: the faults do not depend on the server."""

    serverClass = Embedded

    def said(self, text: str) -> str:
        return stanza("message", f"<body>{text}</body>", to=ROOM, type="groupchat", id=newId())

    @scenario(90)
    async def test_faults(self) -> None:
        """
        A message that a full disk cannot take is refused within about ten seconds, and nobody sees it; operators
        read the reason. With free space all works again. What was shown outlives a kill. A damaged file stops the
        start, and --check, with the remedy.
        """
        gateway = self.newGateway({f'rooms."{ROOMS}"': {}})
        state = gateway.directory / "state"
        disk = self.stack.enter_context(smallDisk(state, "600k"))
        # The disk is busy while the process is there.
        self.stack.callback(gateway.stop)
        gateway.start()
        await gateway.ready()
        alice, bob = await self.user("alice", "cellar"), await self.user("bob", "cellar")
        for name, client in (("alice", alice), ("bob", bob)):
            await self.enter(client, ROOM, name)
        alice.send(self.said("before"))
        await holds(lambda: "before" in dict(self.bodies(bob)).values(), 5, "the first message")
        disk.fill()
        # A small message may still have room in the pages that the file has.
        large = "x" * 60_000
        for _ in range(3):
            alice.send(self.said(large))
        error = await alice.expect(lambda each: each.get("type") == "error", "a refusal", 15)
        self.assertEqual(condition(error), "resource-constraint")

        async def isFull() -> bool:
            status, body = await gateway.get("/readyz")
            return status == 503 and "the disk is full: free some space" in body

        await until(isFull, 5, "/readyz tells the reason")
        disk.free()
        await gateway.ready()
        shown = [body for _, body in self.bodies(bob)]
        alice.send(self.said("after"))
        await holds(lambda: "after" in [body for _, body in self.bodies(bob)], 5, "the last message")
        # Those of which the sender got an error were not shown.
        refused = [each for each in alice.received if each.get("type") == "error"]
        self.assertEqual(shown.count(large), 3 - len(refused))
        gateway.kill9()
        gateway.start()
        await gateway.ready()
        bob.received.clear()
        bob.send(stanza("presence", type="unavailable", to=f"{ROOM}/bob"))
        await self.enter(bob, ROOM, "bob")
        await holds(lambda: "after" in [body for _, body in self.bodies(bob)], 5, "the history")
        self.assertEqual([body for _, body in self.bodies(bob)], [*shown, "after"])
        self.assertNotIn("Traceback", gateway.log(10_000))
        # After a kill, the first page may still be in the write-ahead log.
        await gateway.terminate()
        [file] = state.glob("*.rooms")
        with file.open("r+b") as opened:
            opened.write(b"x" * 100)
        gateway.start()
        await holds(lambda: not gateway.running(), 10, "the start fails")
        for text in (gateway.log(), (await self.checked(gateway.directory))):
            self.assertIn(f"{file} cannot be used: file is not a database: stop the gateway, move the file", text)
            self.assertNotIn("Traceback", text)

    async def checked(self, directory: Path) -> str:
        """Return the output of --check."""
        code, output = await outcome([*TWISTD[0], "--check"], directory, 20)
        self.assertEqual(code, 1)
        return output
