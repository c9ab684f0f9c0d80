"""Users who come back to their rooms as soon as the server, or the gateway, has been restarted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import ROOMS, scenario
from tests.live.clients import Client, local, stanza
from tests.live.processes import until
from tests.live.rooms import MUC_USER, MUC_X, RoomsCase
from tests.live.servers import Ejabberd, NewerEjabberd, NewerProsody, Prosody

ROOM = f"camp@{ROOMS}"
# Seconds after the server's port for components is open: half a second for the link's next try, and as much again
# for the login to the server, on a busy machine.
BACK_WITHIN = 1.5


def isOwn(element: Element) -> bool:
    """True for the own presence of an occupant."""
    codes = {each.get("code") for each in element.iter(f"{{{MUC_USER}}}status")}
    return local(element) == "presence" and element.get("type") is None and "110" in codes


def conditions(client: Client, own: Callable[[Element], bool]) -> list[str]:
    """Return the conditions of the errors that a client has got for joins; none after the first own presence."""
    found = []
    for element in client.received:
        if own(element):
            break
        for error in element.iter("{jabber:client}error") if element.get("type") == "error" else ():
            found += [local(each) for each in error][:1]
    return found


class ComingBackTests(RoomsCase):
    """A mix-in: the scenarios, for one kind of server."""

    async def joining(self, client: Client, occupant: str, isEnough: Callable[[], bool]) -> float:
        """Send joins, twenty a second, until it is enough; return the time then."""
        async with asyncio.timeout(30):
            while not isEnough():
                with contextlib.suppress(ConnectionError):
                    client.send(stanza("presence", MUC_X, to=occupant))
                await asyncio.sleep(0.05)
        return time.monotonic()

    async def opened(self) -> float:
        """Wait until the server's port for components is open; return the time then."""

        async def isOpen() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.server.componentPort)
                writer.close()
                return True
            return False

        await until(isOpen, 30, "the port for components is open")
        return time.monotonic()

    @scenario(90)
    async def test_serverRestarted(self) -> None:
        """
        The server is killed and comes back. A client that logs in at once and joins is in within half a second,
        counted from when the server accepts components. Those who were in are in.
        """
        await self.startGateway({f'rooms."{ROOMS}"': self.behind})
        alice, bob = await self.user("alice", "camp"), await self.user("bob", "camp")
        await self.enter(alice, ROOM, "alice")
        await self.enter(bob, ROOM, "bob")
        self.server.kill9()
        # So long that intervals which double would be longer than the bound.
        await asyncio.sleep(5)
        self.server.start()
        opening = asyncio.create_task(self.opened())
        await bob.loginAgain(30)
        loggedIn = time.monotonic()
        bob.received.clear()
        joined = await self.joining(bob, f"{ROOM}/bob", lambda: any(map(isOwn, bob.received)))
        opened = await opening
        self.assertLess(joined - max(opened, loggedIn), BACK_WITHIN)
        await self.server.ready()

    @scenario(60)
    async def test_gatewayRestarted(self) -> None:
        """
        Joins come while the gateway is killed and starts again: nobody enters before the rooms are loaded, so that
        a members-only room stays one, and its owner is the owner.
        """
        gateway = await self.startGateway({f'rooms."{ROOMS}"': self.behind})
        room, _ = self.places("closed")
        alice, carol = await self.user("alice", "camp"), await self.user("carol", "camp")
        await self.enter(alice, room, "alice")
        formType = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
        fields = "".join(
            f"<field var='muc#roomconfig_{name}'><value>1</value></field>"
            for name in ("membersonly", "persistentroom")
        )
        form = f"<x xmlns='{ns.DATA}' type='submit'>{formType}{fields}</x>"
        reply = await alice.request(room, f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>", "set")
        self.assertEqual(reply.get("type"), "result")
        alice.send(stanza("presence", to=f"{room}/alice", type="unavailable"))
        await self.gone(alice, f"{room}/alice")
        gateway.kill9()
        gateway.start()

        def refusals() -> list[str]:
            return [each for each in conditions(carol, isOwn) if each == "registration-required"]

        def isEnough() -> bool:
            return len(refusals()) > 2 or any(map(isOwn, carol.received))

        await self.joining(carol, f"closed@{ROOMS}/carol", isEnough)
        self.assertFalse(any(map(isOwn, carol.received)))
        await self.enter(alice, room, "alice")


class ProsodyComingBackTests(ComingBackTests, SynchronousTestCase):
    """On Prosody."""

    serverClass = Prosody


class NewerProsodyComingBackTests(ComingBackTests, SynchronousTestCase):
    """On a newer Prosody."""

    serverClass = NewerProsody


class EjabberdComingBackTests(ComingBackTests, SynchronousTestCase):
    """On ejabberd."""

    serverClass = Ejabberd


class NewerEjabberdComingBackTests(ComingBackTests, SynchronousTestCase):
    """On a newer ejabberd."""

    serverClass = NewerEjabberd
