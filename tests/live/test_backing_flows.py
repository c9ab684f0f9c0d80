"""
Further flows of mirrors with ordinary rooms behind the gateway's: restarts, archives, several clients of a user,
services of rooms. Those that mostly depend on the gateway have one generation of each server.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from slixmpp import JID
from slixmpp.exceptions import PresenceError
from twisted.trial.unittest import SynchronousTestCase

from tests.live.case import MIRRORS, scenario
from tests.live.processes import need
from tests.live.rooms import Talker
from tests.live.servers import DOMAIN, Ejabberd, NewerEjabberd, Prosody
from tests.live.terminal import Profanity, Terminal
from tests.live.test_archive import ArchiveTests
from tests.live.test_backing import Backed
from tests.live.test_coming_back import ComingBackTests
from tests.live.test_restart import MirrorRestartTests
from tests.live.test_room_services import RoomServicesTests
from tests.live.test_sessions import SessionsTests


class BackedArchiveTests(Backed, ArchiveTests):
    """A mix-in: archives of the rooms here and of mirrors. Those of ordinary rooms are their servers'."""

    # Of the servers' rooms.
    history = 20

    async def checkRoom(
        self, room: str, bob: Talker, carol: Talker, expected: list[tuple[str, str, str]]
    ) -> None:
        """Check nothing: the archive is the server's."""


    async def checkSenders(self, room: str, bob: Talker, alice: Talker, first: datetime) -> None:
        """Check nothing: a mirror has no archive of real JIDs, and neither has a room that stands for another."""


class BackedRoomServicesTests(Backed, RoomServicesTests):
    """A mix-in: services of the ordinary rooms, for users of mirrors."""

    async def reserve(self, owner: Talker, user: Talker, there: str, nick: str) -> None:
        """Let a user reserve a nick in a room."""
        await owner.muc.set_affiliation(JID(there), "member", jid=JID(user.stream.boundjid.bare))
        await self.register(user, there, nick)

    @scenario(60)
    async def test_registration(self) -> None:
        """Section 7.10: a nick that a local user has reserved is refused to users of mirrors, not to that user."""
        await self.startSites()
        bob, alice, carol = [await self.helped(name) for name in ("bob", "alice", "carol")]
        for number, mirror in enumerate(MIRRORS):
            there, here = self.places(f"registry{number}", mirror)
            await bob.join(there, "bob")
            await self.reserve(bob, alice, there, f"hag{number}")
            with self.assertRaises(PresenceError) as raised:
                await carol.join(here, f"hag{number}")
            self.assertEqual(raised.exception.condition, "conflict")
            await carol.join(here, "carol")
            await alice.join(there, f"hag{number}")
            await carol.awaitPresence(f"{here}/hag{number}", None)


class ProfanityTests(Backed):
    """A mix-in: two users of profanity."""

    async def opened(self, name: str) -> Profanity:
        """Log a user in."""
        # A path to a socket may have 107 bytes.
        terminal = Profanity(Path(tempfile.mkdtemp(prefix="p-", dir=self.server.directory)))
        self.stack.callback(terminal.stop)
        await terminal.login(f"{name}@{DOMAIN}/desk", self.server.clientPort, self.server.password(name), tls=False)
        await terminal.type("/presence room all")
        return terminal

    @scenario(60)
    async def test_profanity(self) -> None:
        """
        One in the ordinary room, one in its mirror: join, history, subject, messages, private messages, nicks, a
        kick, leave.
        """
        need(Terminal.missing("profanity"))
        await self.startSites()
        there, here = self.places("castle")
        bob, alice = await self.opened("bob"), await self.opened("alice")
        await bob.type(f"/join {there} nick bob")
        await bob.expect("/room accept")
        await bob.type("/room accept")
        await bob.expect("Room unlocked")
        await bob.type("/subject set Dunsinane")
        await bob.type("Tomorrow, and tomorrow")
        await bob.expect("bob: Tomorrow, and tomorrow")
        await alice.type(f"/join {here} nick alice")
        await alice.expect("Dunsinane", "bob: Tomorrow, and tomorrow")
        await bob.expect("alice has joined the room")
        await bob.type("Is this a dagger?")
        await alice.expect("bob: Is this a dagger?")
        await alice.type("Come, let me clutch thee")
        await bob.expect("alice: Come, let me clutch thee")
        await bob.type("/subject set Inverness")
        await alice.expect("Inverness")
        await bob.type("/nick banquo")
        await alice.expect("bob is now known as banquo")
        await alice.type("/nick macbeth")
        await alice.type("/win 1")
        await alice.expect("Nicks cannot be changed in a mirror.")
        await alice.type("/win 2")
        await alice.type("/msg banquo A false creation")
        await bob.expect("[3]")
        await bob.type("/win 3")
        await bob.expect("A false creation")
        await bob.type("Proceeding from the heat-oppressed brain")
        await alice.expect("Proceeding from the heat-oppressed brain")
        await bob.type("/win 2")
        await bob.type("/kick alice Out, out")
        await alice.type("/win 1")
        await alice.expect("Out, out")
        await alice.type(f"/join {here} nick alice")
        await alice.expect("Participants")
        await alice.type("/close")
        await bob.expect("alice has left the room")


class ProsodyBackedProfanityTests(ProfanityTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody


class EjabberdBackedProfanityTests(ProfanityTests, SynchronousTestCase):
    """With rooms of ejabberd."""

    serverClass = Ejabberd


class ProsodyBackedMirrorRestartTests(Backed, MirrorRestartTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody


class EjabberdBackedMirrorRestartTests(Backed, MirrorRestartTests, SynchronousTestCase):
    """With rooms of ejabberd."""

    serverClass = Ejabberd


class ProsodyBackedArchiveTests(BackedArchiveTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody
    hasTwin = False


class NewerEjabberdBackedArchiveTests(BackedArchiveTests, SynchronousTestCase):
    """With rooms of a newer ejabberd."""

    serverClass = NewerEjabberd


class ProsodyBackedComingBackTests(Backed, ComingBackTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody
    hasTwin = False


class NewerEjabberdBackedComingBackTests(Backed, ComingBackTests, SynchronousTestCase):
    """With rooms of a newer ejabberd."""

    serverClass = NewerEjabberd


class ProsodyBackedSessionsTests(Backed, SessionsTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody
    hasTwin = False


class NewerEjabberdBackedSessionsTests(Backed, SessionsTests, SynchronousTestCase):
    """With rooms of a newer ejabberd."""

    serverClass = NewerEjabberd


class ProsodyBackedRoomServicesTests(BackedRoomServicesTests, SynchronousTestCase):
    """With rooms of Prosody."""

    serverClass = Prosody
    hasAvatars = False


class EjabberdBackedRoomServicesTests(BackedRoomServicesTests, SynchronousTestCase):
    """With rooms of ejabberd."""

    serverClass = Ejabberd

    async def reserve(self, owner: Talker, user: Talker, there: str, nick: str) -> None:
        """Let a user reserve a nick: in all rooms of the service."""
        await self.register(user, JID(there).domain, nick)
