"""
The fault run of mirrors: users of two sites talk while the link between the sites fails, and while gateways and
servers are killed.

There are two rooms, each with a mirror at the other site (L{tests.live.link_forms}). Afterwards it is checked that
nothing is lost: L{LinkStorm.run}.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from xml.etree.ElementTree import Element

from attrs import frozen

from gateway.peers import identity
from tests.link.core import Become, LinkState, Side
from tests.link.faults import FREE, Fault, Round, Victim, plan
from tests.link.records import Figures, Record, check
from tests.live.clients import condition, local, stanza
from tests.live.federation import FederationCase
from tests.live.gateway import Gateway
from tests.live.link_forms import Form, SharedRoom, Tables
from tests.live.processes import holds, until
from tests.live.servers import Server
from tests.live.storm import Occupant, users

# Rooms of each form.
_ROOMS = 2
# Clients that log in or return at the same time.
_TOGETHER = 10
# Seconds: until nobody is shown who is not there, after the link is good; until a process is ready; until a user
# has returned; until everybody has got the last messages. A server that was killed needs a minute to start if other
# tests run beside it.
_GONE_WITHIN, _READY_WITHIN, _BACK_WITHIN, _LAST_WITHIN = 60.0, 40.0, 90.0, 60.0
# Seconds between two messages of all users, on a link of 2,400 bit/s; between two attempts to be heard at the end.
_SLOW_PAUSE, _AGAIN = 3.0, 1.0
# Share of presence in what users send.
_PRESENCE = 0.1
# Messages of a client in which the last one of another client is looked for.
_LAST = 200


@frozen(kw_only=True)
class Scale:
    """
    Extent of a fault run.

    @ivar occupants: number of users of each room, half of them at each site.
    @ivar messages: least number of all messages.
    @ivar faults: number of faults of each kind.
    @ivar kills: number of kill -9 of each gateway.
    @ivar servers: sides whose servers are killed, once each.
    @ivar shortest: seconds of a fault, at least.
    @ivar longest: seconds of a fault, at most.
    @ivar rest: seconds between the end of a fault and the next one.
    @ivar pause: seconds between two messages of all users.
    """

    occupants: int
    messages: int
    faults: int
    kills: int
    servers: tuple[Side, ...]
    shortest: float
    longest: float
    rest: float
    pause: float

    @property
    def accounts(self) -> list[str]:
        """Names of the accounts at each server."""
        return users(self.occupants * _ROOMS // len(Side))

    def plan(self, seed: int) -> list[Round]:
        """Return the faults, the same for each seed."""
        victims = [Victim(side, False) for side in Side] * self.kills
        victims += [Victim(side, True) for side in self.servers]
        return plan(seed, self.faults, victims, self.shortest, self.longest)


def seedOr(seed: int) -> int:
    """Return the seed in the environment (SEED), or this one."""
    return int(os.environ.get("SEED") or seed)


class Member(Occupant):
    """
    A user in a room, or in its mirror.

    @param isDirect: as of L{LinkStorm}.
    @ivar record: what the user has sent and seen.
    @ivar status: status of the user's last presence.
    @ivar view: the occupants who are shown to the user: status and C{show} by nick.
    """

    def __init__(self, server: Server, user: str, room: SharedRoom, side: Side, isDirect: bool) -> None:
        super().__init__(server, user, room.address(side, isDirect))
        self.side = side
        # Both servers have users of this name.
        self.nick = f"{user}{side.value}"
        self.status = ""
        self.view: dict[str, tuple[str, str]] = {}
        isRefused = room.mode == "replica" and side is not room.home
        self.record = Record(self.nick, isRefused, shown=self.shown, readings=self.readings)

    def onStanza(self, element: Element) -> None:
        sender, _, nick = (element.get("from") or "").partition("/")
        kind, type_ = local(element), element.get("type")
        if kind == "message" and type_ == "groupchat" and not nick:
            # A notice of the room itself, about the link.
            self.received.clear()
            return
        if kind == "message" and type_ == "error" and nick:
            # Some rooms pass on the error of an occupant whose server is away.
            return
        if kind == "message" and type_ == "error":
            self.record.refused[element.get("id") or ""] = condition(element) or ""
        elif kind == "presence" and not nick:
            # A room of ejabberd has a presence of its own.
            return
        elif kind == "presence" and sender == self.room and type_ is None:
            children = {local(each): each.text or "" for each in element}
            self.view[nick] = children.get("status", ""), children.get("show", "")
        elif kind == "presence" and sender == self.room and type_ == "unavailable":
            self.view.pop(nick, None)
        super().onStanza(element)

    def say(self) -> None:
        super().say()
        self.record.said[self.last] = asyncio.get_running_loop().time()

    def tell(self) -> None:
        """Send the presence."""
        with contextlib.suppress(ConnectionError):
            self.send(stanza("presence", f"<status>{self.status}</status>", to=self.address))

    def act(self, random: Random) -> None:
        """Send a message, or sometimes another presence."""
        if random.random() < _PRESENCE:
            self.status = str(random.randrange(1_000))
            self.tell()
        else:
            self.say()

    @property
    def last(self) -> str:
        """Body of the last message that the user has sent."""
        return f"{self.nick}.{self.said}"

    async def returns(self) -> float:
        self.view.clear()
        self.status = ""
        async with asyncio.timeout(_BACK_WITHIN):
            return await super().returns()

    async def archive(self, after: str = "") -> list[tuple[str, str]]:
        # Archives of ordinary rooms have their subjects, too.
        return [each for each in await super().archive(after) if each[1]]

    async def leave(self, isOrderly: bool) -> None:
        """Leave and log out, or cut the connection."""
        self.isIn = False
        now = asyncio.get_running_loop().time()
        self.record.outages.append((now, now))
        if isOrderly:
            with contextlib.suppress(ConnectionError):
                self.send(stanza("presence", to=self.address, type="unavailable"))
            await self.close()
        else:
            self.drop()


class LinkStorm:
    """
    One fault run.

    @param isDirect: True for a direct link of the gateways, beside s2s.
    @param report: called with each line of a report.
    @ivar figures: at the end, by the name of the room.
    """

    def __init__(
        self,
        case: FederationCase,
        form: Form,
        scale: Scale,
        seed: int,
        isDirect: bool,
        report: Callable[[str], object],
    ) -> None:
        self._case = case
        self._scale = scale
        self._seed = seed
        self._form = form
        self._isDirect = isDirect
        self._report = report
        self._servers = {Side.A: case.server, Side.B: case.far}
        self._gateways: dict[Side, Gateway] = {}
        self._rooms: dict[SharedRoom, list[Member]] = {}
        accounts = {side: iter(scale.accounts) for side in Side}
        for room in form.value:
            sides = [room.home, room.home.other] * (scale.occupants // 2)
            self._rooms[room] = [
                Member(self._servers[side], next(accounts[side]), room, side, isDirect) for side in sides
            ]
        self._members = [each for members in self._rooms.values() for each in members]
        self._pause = scale.pause
        # Time at which the link was good again, and all processes were ready.
        self._goodAt = 0.0
        self._goneWithin = 0.0
        self.figures: dict[str, Figures] = {}

    async def run(self) -> None:
        """
        Let all talk, make faults, and check.

        @raise AssertionError: if a message is missing or was shown twice or in another order, if a ghost stays, or
            if a user was put out.
        """
        self._report(f"seed {self._seed}: {self._scale}")
        await self._case.network.take(Become(LinkState.UP), FREE)
        await self._start()
        await self._together([each.login() for each in self._members])
        for each in self._members:
            self._case.stack.push_async_callback(each.close)
        await self._join()
        talk = asyncio.create_task(self._talk())
        try:
            for number, each in enumerate(self._scale.plan(self._seed), 1):
                await asyncio.sleep(self._scale.rest)
                await self._round(number, each)
            await self._enough()
        finally:
            talk.cancel()
        await self._check()

    async def _join(self) -> None:
        """Let all join; the first one creates the room."""
        for members in self._rooms.values():
            for each in members[:2]:
                await each.enter()
        await self._together([each.enter() for members in self._rooms.values() for each in members[2:]])
        await self._settled("all have joined")

    # The sites.

    async def _start(self) -> None:
        """Start both gateways."""
        near, far = (self._tables(side) for side in Side)
        if self._isDirect:
            self._link(near, far)
        for side, tables in zip(Side, (near, far), strict=True):
            gateway = self._gateways[side] = self._case.newGateway(tables, server=self._servers[side])
            gateway.start()
        for gateway in self._gateways.values():
            await gateway.ready(_READY_WITHIN)

    def _tables(self, side: Side) -> Tables:
        """Return the tables of the gateway of a site."""
        return self._form.tables(side)

    def _link(self, near: Tables, far: Tables) -> None:
        """Add a direct link to the configurations."""
        files = [str(Path(self._case.folder("key-"), "peers.key")) for _ in Side]
        here, there = (identity.load(Path(each)).fingerprint for each in files)
        network = self._case.network
        (ours, *otherOurs), (theirs, *otherTheirs) = (self._form.components(side) for side in Side)
        near[f'peers."{theirs}"'] = {
            "listen": f"tls:{network.peerPort}:interface=127.0.0.1",
            "fingerprint": there,
            "domains": otherTheirs,
            "key_file": files[0],
        }
        far[f'peers."{ours}"'] = {
            "endpoint": f"tls:127.0.0.1:{network.peerDoor}",
            "fingerprint": here,
            "domains": otherOurs,
            "key_file": files[1],
        }

    def _at(self, side: Side) -> list[Member]:
        """Return the users of a site."""
        return [each for each in self._members if each.side is side]

    async def _together(self, calls: Sequence[Awaitable[object]]) -> None:
        """Await calls, some at a time."""
        for first in range(0, len(calls), _TOGETHER):
            await asyncio.gather(*calls[first : first + _TOGETHER])

    # Users.

    async def _talk(self) -> None:
        """Let users talk in turn, in random order."""
        random = Random(self._seed)
        while True:
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
            member = random.choice(self._members)
            if member.isIn:
                member.act(random)

    def _unequal(self) -> list[str]:
        """Return what is shown to users, and is not as it is: ghosts, missing occupants, old presence."""
        found = []
        for room, members in self._rooms.items():
            there = {each.nick: (each.status, "") for each in members if each.isIn}
            for each in (each for each in members if each.isIn and each.view != there):
                ghosts, missing = sorted(each.view.keys() - there), sorted(there.keys() - each.view)
                old = [(n, each.view[n], there[n]) for n in there.keys() & each.view if each.view[n] != there[n]]
                found.append(f"{room.name}: {each.nick}: ghosts: {ghosts}; missing: {missing}; old presence: {old}")
        return found

    async def _settled(self, what: str, seconds: float = _GONE_WITHIN) -> None:
        """Wait until each user is shown exactly those who are there."""
        try:
            await holds(lambda: not self._unequal(), seconds, what)
        except AssertionError as problem:
            raise AssertionError("\n".join([str(problem), *self._unequal()[:10]])) from None

    # Faults.

    async def _round(self, number: int, round_: Round) -> None:
        """Make one fault; some users leave meanwhile. When all is good again, wait until nobody is a ghost."""
        network, loop = self._case.network, asyncio.get_running_loop()
        random = Random(round_.seed)
        before = await network.take(*round_.begin)
        self._pause = _SLOW_PAUSE if round_.fault is Fault.SLOW else self._scale.pause
        leavers = [
            random.choice([each for each in members[2:] if each.side is side])
            for members in self._rooms.values()
            for side in Side
        ]
        killed = None if round_.victim is None else round_.victim.side
        calls = [self._leave(each, random, round_.seconds, each.side is not killed) for each in leavers]
        await asyncio.gather(self._endFault(round_), self._kill(round_), *calls)
        good = self._goodAt
        await self._settled(f"{number}: nobody is a ghost", max(0, good + _GONE_WITHIN - loop.time()))
        seconds = loop.time() - good
        self._goneWithin = max(self._goneWithin, seconds)
        found = await network.take()
        lost = [counts["lost"] - before["counts"][side]["lost"] for side, counts in found["counts"].items()]
        self._report(f"{number}: {round_}; lost bytes: {lost}; all are equal {seconds:.1f} s after the end")
        await self._together([each.returns() for each in leavers if not each.isIn])
        await self._settled(f"{number}: all have returned", _BACK_WITHIN)

    async def _endFault(self, round_: Round) -> None:
        await asyncio.sleep(round_.seconds)
        await self._case.network.take(*round_.end)
        self._pause = self._scale.pause
        self._goodAt = asyncio.get_running_loop().time()

    async def _leave(self, member: Member, random: Random, seconds: float, isOrderly: bool) -> None:
        """Let a user leave at any time of a fault, unless the user's server is away then."""
        isOrderly &= random.random() < 0.5
        await asyncio.sleep(random.uniform(0, seconds))
        if member.isIn:
            await member.leave(isOrderly)

    async def _kill(self, round_: Round) -> None:
        if round_.victim is not None:
            await asyncio.sleep(round_.killAt)
            await self._restart(round_.victim, round_.away)

    async def _restart(self, victim: Victim, away: float, isKilled: bool = True) -> None:
        """Kill or terminate a process, and start it again after so many seconds."""
        loop = asyncio.get_running_loop()
        there, since = self._at(victim.side), loop.time()
        inside = [each for each in there if each.isIn]
        places = [len(each.shown) for each in there]
        program = self._servers[victim.side] if victim.isServer else self._gateways[victim.side]
        if victim.isServer:
            for each in there:
                each.isIn = False
        if isKilled:
            program.kill9()
        else:
            await program.terminate(20)
        if victim.isServer:
            for each in there:
                each.drop()
        await asyncio.sleep(away)
        program.start()
        await program.ready(_READY_WITHIN)
        self._goodAt = max(self._goodAt, loop.time())
        if victim.isServer:
            await self._together([each.returns() for each in inside])
        else:
            for each, place in zip(there, places, strict=True):
                each.record.gaps.append((place, len(each.shown)))
                if each.isIn:
                    # The last one may be lost with the process.
                    each.tell()
        for each in there:
            each.record.outages.append((since, loop.time()))

    # The end.

    async def _enough(self) -> None:
        """Wait until there are enough messages."""
        least = self._scale.messages
        seconds = 2 * least * self._scale.pause + 10
        await holds(lambda: sum(each.said for each in self._members) >= least, seconds, f"{least} messages")

    async def _check(self) -> None:
        """Check that nothing is lost."""
        for members in self._rooms.values():
            for each in members[:2]:
                await self._heard(each, members)
        troubles = [trouble for each in self._members for trouble in each.troubles]
        assert not troubles, troubles
        for room, members in self._rooms.items():
            ends = [
                (await each.archive(), [other.record for other in members if other.side is each.side])
                for each in members[:2]
            ]
            self.figures[room.name] = check(ends, isOneOrder=room.mode == "replica")
            self._report(f"{room.name}: {self.figures[room.name]}")
        for gateway in self._gateways.values():
            assert "Traceback" not in gateway.log(100_000), "the log has a traceback"
            if self._isDirect:
                status = (await gateway.get("/status"))[1]
                lines = [line.strip() for line in status.splitlines() if "direct link" in line]
                assert lines and all(": up" in line for line in lines), status
                self._report("; ".join(lines))
        found = await self._case.network.take()
        self._report(f"equal within {self._goneWithin:.1f} s; bytes on the link: {found['counts']}")

    async def _heard(self, speaker: Member, members: Sequence[Member]) -> None:
        """Let a user talk until a message is shown to everybody: then all earlier ones of this user's site were."""
        loop = asyncio.get_running_loop()
        saidAt = 0.0

        async def isHeard() -> bool:
            nonlocal saidAt
            isOver = speaker.last in speaker.record.refused and loop.time() > saidAt + _AGAIN
            if not saidAt or isOver:
                speaker.say()
                saidAt = loop.time()
            return all(speaker.last in [body for _, body in each.shown[-_LAST:]] for each in members)

        await until(isHeard, _LAST_WITHIN, f"everybody hears {speaker.nick}")
