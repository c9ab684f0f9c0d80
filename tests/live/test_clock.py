"""The machine's clock is set while the gateway runs: libfaketime changes the wall clock of the whole process."""

from __future__ import annotations

import asyncio
import glob
from collections.abc import Callable
from xml.etree.ElementTree import Element

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from tests.live.case import PROXY, ROOMS, LiveTests, proxy, scenario
from tests.live.clients import ECHO, Implementation, condition, echo, local, stanza, untilServed
from tests.live.processes import need
from tests.live.rooms import INSTANT
from tests.live.servers import Prosody

HOLD = f"<hold xmlns='{ECHO}'/>"
HOUR = 3600
# Seconds of a request's timeout, and those within which it must be noticed.
TIMEOUT = 4
NOTICED = TIMEOUT + 4


def library() -> str:
    """Return the preloaded library that replaces the system's clock."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    need(None if found else "faketime is not installed")
    return found[0]


def bodyOf(element: Element) -> str:
    """Return the body of a message."""
    return element.findtext("{jabber:client}body") or ""


def unlessHeld(client: Implementation, request: Element) -> None:
    """Do not answer a payload that is to be held; echo others."""
    if local(request[0]) != "hold":
        echo(client, request)


class ClockTests(LiveTests, SynchronousTestCase):
    """On Prosody, whose own clock stays right."""

    serverClass = Prosody

    async def startOnClock(self, timeout: int) -> Callable[[int], None]:
        """Start a gateway, and an implementing client; return a function that moves its wall clock by seconds."""
        preload = library()
        self.gateway = self.newGateway({**proxy(PROXY, timeout=timeout), f'rooms."{ROOMS}"': {}})
        moved = self.gateway.directory / "moved"
        moved.write_text("+0")
        self.gateway.environment = {
            "LD_PRELOAD": preload,
            "FAKETIME_TIMESTAMP_FILE": str(moved),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

        def move(seconds: int) -> None:
            new = moved.with_suffix(".new")
            new.write_text(f"{seconds:+d}")
            new.replace(moved)

        self.gateway.start()
        await self.gateway.ready()
        self.implementation = await self.login(Implementation(self.server, "implementation", "a", unlessHeld))
        self.alice = await self.user("alice")
        await untilServed(self.alice, PROXY)
        return move

    @scenario(60)
    async def test_backWithOpenRequests(self) -> None:
        """The clock is set back by an hour: requests time out as before, and the process answers."""
        move = await self.startOnClock(TIMEOUT)
        identifier = self.alice.sendIq(PROXY, HOLD)
        await self.implementation.asked(identifier)
        move(-HOUR)
        answer = await self.alice.expectId(identifier, "the deadline's error", NOTICED)
        self.assertEqual(condition(answer), "remote-server-timeout")
        self.assertEqual((await self.gateway.get("/readyz"))[0], 200)
        later = self.alice.sendIq(PROXY, HOLD)
        answer = await self.alice.expectId(later, "the next deadline's error", NOTICED)
        self.assertEqual(condition(answer), "remote-server-timeout")

    @scenario(60)
    async def test_forwardWithOpenRequests(self) -> None:
        """The clock is set forward by an hour: no request times out early, and no link is closed."""
        move = await self.startOnClock(30)
        identifier = self.alice.sendIq(PROXY, HOLD)
        request = await self.implementation.asked(identifier)
        connected = self.gateway.log(1000).count("connected")
        move(HOUR)
        await asyncio.sleep(3)
        self.assertEqual(self.alice.iqs(identifier), [])
        self.implementation.answer(request)
        answer = await self.alice.expectId(identifier, "the answer")
        self.assertEqual(answer.get("type"), "result")
        self.assertEqual(self.gateway.log(1000).count("connected"), connected)

    @scenario(60)
    async def test_history(self) -> None:
        """The clock is set back and forward: a room's history stays in order, without duplicates."""
        move = await self.startOnClock(TIMEOUT)
        room = f"coven@{ROOMS}"
        self.alice.send(stanza("presence", f"<x xmlns='{ns.MUC}'/>", to=f"{room}/alice"))
        self.alice.send(stanza("iq", INSTANT, to=room, type="set", id="open"))
        for number, moved in enumerate((0, -HOUR, HOUR)):
            move(moved)
            # Stamps are in seconds, and the clock is checked once a second.
            await asyncio.sleep(2.1)
            self.alice.send(stanza("message", f"<body>m{number}</body>", to=room, type="groupchat"))
            await self.alice.expect(lambda each, body=f"m{number}": bodyOf(each) == body, f"message {number}")
        everything = await self.history("bob", room, "")
        self.assertEqual([body for body, _ in everything], ["m0", "m1", "m2"])
        stamps = [stamp for _, stamp in everything]
        self.assertEqual(stamps, sorted(stamps))
        self.assertEqual(await self.history("carol", room, f"since='{stamps[2]}'"), everything[2:])

    async def history(self, name: str, room: str, limits: str) -> list[tuple[str, str]]:
        """Join; return body and stamp of each message in the room's history."""
        user = await self.user(name)
        inner = f"<x xmlns='{ns.MUC}'><history {limits}/></x>"
        user.send(stanza("presence", inner, to=f"{room}/{name}"))
        await user.expect(lambda each: each.find("{jabber:client}subject") is not None, "the subject ends the join")
        delay = f"{{{ns.DELAY}}}delay"
        found = [(bodyOf(each), each.find(delay)) for each in user.received if bodyOf(each)]
        return [(body, mark.get("stamp", "")) for body, mark in found if mark is not None]

    @scenario(90)
    async def test_backWhileDown(self) -> None:
        """The clock is set back by an hour while the link is down: it reconnects in its usual time."""
        move = await self.startOnClock(TIMEOUT)
        self.server.kill9()
        await asyncio.sleep(1)
        move(-HOUR)
        self.server.start()
        await self.server.ready()
        await self.gateway.ready(35)

    @scenario(90)
    async def test_forwardWhileDown(self) -> None:
        """The clock is set forward by an hour while the link is down: open requests are answered in their time."""
        move = await self.startOnClock(30)
        identifier = self.alice.sendIq(PROXY, HOLD)
        await self.implementation.asked(identifier)
        self.server.kill9()
        await asyncio.sleep(0.5)
        move(HOUR)
        self.server.start()
        await self.server.ready()
        await asyncio.gather(self.implementation.loginAgain(10), self.alice.loginAgain(10))
        took = await self.gateway.ready(10)
        # An hour has not passed: less than its timeout has, of which a second or two are left.
        self.assertEqual(self.alice.iqs(identifier), [], f"ready after {took:.1f} s")
        await self.alice.expectId(identifier, "the deadline's error", 35)
        await untilServed(self.alice, PROXY)
