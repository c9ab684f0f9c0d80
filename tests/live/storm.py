"""
The fault run of rooms: occupants talk while the gateway is killed and terminated, and the server as well.

Afterwards it is checked that nothing is lost: L{Storm.run}.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from attrs import define, frozen

from gateway import ns
from tests.live.case import ENDED_WELL, ROOMS, LiveTests
from tests.live.clients import Client, condition, local, newId, stanza
from tests.live.gateway import Gateway
from tests.live.processes import holds
from tests.live.rooms import MUC_USER
from tests.live.servers import DOMAIN, Server

# A client that has seen the newest messages joins without history, and asks the archive (XEP-0313).
_JOIN = f"<x xmlns='{ns.MUC}'><history maxchars='0'/></x>"
# When the server ends in an orderly way, all users leave: that is the end of a temporary room.
_PERSISTENT = (
    f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>"
    f"<field var='FORM_TYPE'><value>{ns.MUC_ROOM_CONFIG}</value></field>"
    "<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query>"
)
_PING_RESULT = "<iq to='{}' id='{}' type='result'/>"
_PAGE = 50
# Seconds: until an absent occupant is removed; between two attempts of a client to join; until a link is back.
_GONE_WITHIN, _REJOIN_EVERY, _LINK_WITHIN = 30.0, 0.25, 2.0


@frozen(kw_only=True)
class Scale:
    """
    Extent of a fault run.

    @ivar occupants: number of users, each in one room.
    @ivar kills: number of kill -9 of the gateway.
    @ivar terminations: number of SIGTERM to it.
    @ivar restarts: number of ends of the server: by kill -9 and SIGTERM in turn.
    @ivar leavers: users who are cut off whenever the gateway is away.
    @ivar pause: seconds of talk between two ends.
    @ivar interval: seconds between two messages of one user.
    """

    occupants: int
    rooms: int
    kills: int
    terminations: int
    restarts: int
    leavers: int
    pause: float
    interval: float


@define
class Figures:
    """
    Figures of a fault run.

    @ivar ends: of the gateway and of the server; the latter are C{restarts}.

    @ivar away: longest time, in seconds, in which a server that has returned refused joins.
    @ivar gone: longest time until an absent occupant was removed.
    """

    said: int = 0
    shown: int = 0
    deliveries: int = 0
    archived: int = 0
    changes: int = 0
    ends: int = 0
    restarts: int = 0
    gone: float = 0.0
    away: float = 0.0


class Occupant(Client):
    """
    A user in one room, whose client talks, answers pings, and notes what it is shown.

    @ivar shown: stanza ids of the messages that the room has shown live, each with its body, in order.
    @ivar readings: after each return the last stanza id that was known, and those that the archive had after it.
    @ivar seen: nicks of presences, with the type.
    @ivar troubles: what no client of a room that remembers may get.
    @ivar refused: ids of own messages that were returned with an error.
    @ivar isIn: True from the join until the user is cut off.
    """

    def __init__(self, server: Server, user: str, room: str) -> None:
        super().__init__(server, user, "storm")
        self.room, self.nick = room, user
        self.shown: list[tuple[str, str]] = []
        self.readings: list[tuple[str, list[str]]] = []
        self.seen: list[tuple[str, str | None]] = []
        self.troubles: list[str] = []
        self.refused: set[str] = set()
        self.said = 0
        self.isIn = False
        self._results: dict[str, list[tuple[str, str]]] = {}

    @property
    def address(self) -> str:
        """Return the occupant JID."""
        return f"{self.room}/{self.nick}"

    def onStanza(self, element: Element) -> None:
        # All of it would be too much for a long run.
        self.received.clear()
        kind, sender, type_ = local(element), element.get("from") or "", element.get("type")
        if kind == "iq" and type_ == "get" and sender.partition("/")[0] == self.room:
            self.send(_PING_RESULT.format(sender, element.get("id")))
        elif kind == "presence" and sender.partition("/")[0] == self.room:
            self.seen.append((sender.partition("/")[2], type_))
            if sender == self.address and type_ == "unavailable" and self.isIn:
                self.troubles.append(f"{self.nick} was removed")
        elif kind == "message" and type_ == "error":
            self.refused.add(element.get("id") or "")
            if condition(element) == "not-acceptable" and self.isIn:
                self.troubles.append(f"{self.nick} was not in the room any longer")
        elif kind == "message":
            self._onMessage(element, type_)

    def _onMessage(self, element: Element, type_: str | None) -> None:
        result = element.find(f"{{{ns.MAM}}}result")
        if result is not None:
            body = next((each.text or "" for each in result.iter() if local(each) == "body"), "")
            self._results[result.get("queryid", "")].append((result.get("id", ""), body))
        elif type_ == "groupchat":
            body = next((each.text or "" for each in element if local(each) == "body"), "")
            ids = [each.get("id", "") for each in element.iter("{urn:xmpp:sid:0}stanza-id")]
            if body:
                self.shown.append((ids[0], body))

    async def enter(self) -> float:
        """
        Join, as often as it takes.

        @return: seconds from the first refusal to the join.
        """
        loop = asyncio.get_running_loop()
        refusedAt: float | None = None
        while True:
            identifier = newId()
            answer = asyncio.create_task(self.expect(self._isAnswer(identifier), "a join is answered"))
            self.send(stanza("presence", _JOIN, to=self.address, id=identifier))
            # The gateway may end before it answers.
            with contextlib.suppress(AssertionError):
                element = await answer
                if element.get("type") is None:
                    break
            refusedAt = loop.time() if refusedAt is None else refusedAt
            await asyncio.sleep(_REJOIN_EVERY)
        self.isIn = True
        if any(status.get("code") == "201" for status in element.iter(f"{{{MUC_USER}}}status")):
            await self.request(self.room, _PERSISTENT, "set")
        return 0.0 if refusedAt is None else loop.time() - refusedAt

    def _isAnswer(self, identifier: str) -> Callable[[Element], bool]:
        def isIt(element: Element) -> bool:
            isOwn = local(element) == "presence" and element.get("from") == self.address
            return isOwn and (element.get("type") is None or element.get("id") == identifier)

        return isIt

    def say(self) -> None:
        """Send a message, whose body is its id as well."""
        self.said += 1
        text = f"{self.nick}.{self.said}"
        with contextlib.suppress(ConnectionError):
            self.send(stanza("message", f"<body>{text}</body>", to=self.room, type="groupchat", id=text))

    async def archive(self, after: str = "") -> list[tuple[str, str]]:
        """Read the archive from a message on, page by page (XEP-0313 section 4.3): ids and bodies."""
        found: list[tuple[str, str]] = []
        while True:
            queryId = newId()
            self._results[queryId] = []
            since = f"<after>{after}</after>" if after else ""
            page = f"<set xmlns='{ns.RSM}'><max>{_PAGE}</max>{since}</set>"
            query = f"<query xmlns='{ns.MAM}' queryid='{queryId}'>{page}</query>"
            reply = await self.request(self.room, query, "set")
            results = self._results.pop(queryId)
            fin = reply.find(f"{{{ns.MAM}}}fin")
            if fin is None:
                raise AssertionError(f"{self.nick}: the archive answers {condition(reply)}")
            found += results
            if fin.get("complete") == "true" or not results:
                return found
            after = results[-1][0]

    async def returns(self) -> float:
        """
        Log in again, join, and read what was said meanwhile.

        @return: as L{enter}.
        """
        last = self.shown[-1][0] if self.shown else ""
        await self.loginAgain(30)
        refused = await self.enter()
        self.readings.append((last, [identifier for identifier, _ in await self.archive(last)]))
        return refused

    def cut(self) -> None:
        """Cut the connection."""
        self.isIn = False
        self.drop()


class Storm:
    """
    One fault run.

    @ivar figures: what has happened.
    @param case: for its server and its gateways.
    @param report: called with each line of a report.
    """

    def __init__(self, case: LiveTests, scale: Scale, report: Callable[[str], object] = lambda line: None) -> None:
        self._case = case
        self._server = case.server
        self._scale = scale
        self._report = report
        self.figures = Figures()
        rooms = [f"storm{number}@{ROOMS}" for number in range(scale.rooms)]
        self._occupants = [
            Occupant(self._server, user, rooms[number % scale.rooms])
            for number, user in enumerate(users(scale.occupants))
        ]
        self._rooms = {room: [each for each in self._occupants if each.room == room] for room in rooms}
        # By room: JIDs whose ban was answered, and those whose ban had no answer.
        self._banned: dict[str, set[str]] = {room: set() for room in rooms}
        self._unknown: dict[str, set[str]] = {room: set() for room in rooms}

    async def run(self) -> None:
        """
        Let all talk, end the gateway and the server, and check.

        @raise AssertionError: if anything was lost, shown twice, or noticed by those who were there.
        """
        gateway = await self._case.startGateway({f'rooms."{ROOMS}"': {}})
        for first in range(0, len(self._occupants), 10):
            await asyncio.gather(*(each.login() for each in self._occupants[first : first + 10]))
        for each in self._occupants:
            self._case.stack.push_async_callback(each.close)
            await each.enter()
        talks = [asyncio.create_task(self._talk(each)) for each in self._occupants]
        talks += [asyncio.create_task(self._ban(*each)) for each in self._rooms.items()]
        try:
            for number, end in enumerate(self._ends()):
                await asyncio.sleep(self._scale.pause)
                await end(gateway, number + 1)
            await asyncio.sleep(self._scale.pause)
        finally:
            for each in talks:
                each.cancel()
        await self._check(gateway)

    def _ends(self) -> list[Callable[[Gateway, int], Coroutine[Any, Any, None]]]:
        """Return the ends in their order: those of the server are spread among the others."""
        scale = self._scale
        ends: list[Callable[[Gateway, int], Coroutine[Any, Any, None]]] = []
        for number in range(max(scale.kills, scale.terminations)):
            ends += [self._kill] * (number < scale.kills) + [self._terminate] * (number < scale.terminations)
        for number in range(scale.restarts):
            ends.insert((number + 1) * len(ends) // (scale.restarts + 1) + 1, self._restartServer)
        return ends

    async def _talk(self, occupant: Occupant) -> None:
        while True:
            await asyncio.sleep(self._scale.interval * random.uniform(0.5, 1.5))
            if occupant.isIn:
                occupant.say()

    async def _ban(self, room: str, occupants: Sequence[Occupant]) -> None:
        """Ban somebody every second, as the room's owner."""
        owner = occupants[0]
        number = 0
        while True:
            await asyncio.sleep(1)
            if not owner.isIn:
                continue
            number += 1
            jid = f"b{number}@{DOMAIN}"
            item = f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast' jid='{jid}'/></query>"
            self._unknown[room].add(jid)
            with contextlib.suppress(AssertionError, ConnectionError):
                reply = await owner.request(room, item, "set", seconds=3)
                self._unknown[room].discard(jid)
                if reply.get("type") == "result":
                    self._banned[room].add(jid)

    async def _kill(self, gateway: Gateway, number: int) -> None:
        gateway.kill9()
        await self._startAgain(gateway, number, "kill -9")

    async def _terminate(self, gateway: Gateway, number: int) -> None:
        code = await gateway.terminate()
        assert code in ENDED_WELL, f"the gateway ended with {code}"
        await self._startAgain(gateway, number, "SIGTERM")

    async def _startAgain(self, gateway: Gateway, number: int, how: str) -> None:
        """Start the gateway again; some users are cut off before it is there. They return later."""
        for each in self._occupants:
            each.seen.clear()
        absent = random.sample(self._occupants, self._scale.leavers)
        for each in absent:
            each.cut()
        gateway.start()
        seconds = await gateway.ready(30)
        rest = [(each, other) for other in absent for each in self._rooms[other.room] if each.isIn]

        def areGone() -> bool:
            return all((other.nick, "unavailable") in each.seen for each, other in rest)

        gone = await holds(areGone, _GONE_WITHIN, f"{[each.nick for each in absent]} are gone")
        self.figures.gone = max(self.figures.gone, gone)
        nicks = {each.nick for each in absent}
        for each in self._occupants:
            if each.isIn:
                noticed = [(nick, type_) for nick, type_ in each.seen if nick not in nicks]
                again = [nick for nick, count in Counter(nick for nick, _ in each.seen).items() if count > 1]
                assert not noticed and not again, f"{each.nick} sees {each.seen}; absent: {nicks}"
        for each in absent:
            await each.returns()
        self.figures.ends += 1
        text = f"{number}: {how}: back after {seconds:.1f} s, {len(absent)} absent ones gone after {gone:.1f} s"
        self._report(text)

    async def _restartServer(self, gateway: Gateway, number: int) -> None:
        """End the server; the clients log in again, and join again as clients do."""
        self.figures.restarts += 1
        isKilled = self.figures.restarts % 2 == 1
        for each in self._occupants:
            each.isIn = False
        if isKilled:
            self._server.kill9()
        else:
            await self._server.terminate(20)
        for each in self._occupants:
            each.cut()
        self._server.start()
        await self._server.ready()
        refused: list[float] = []
        for first in range(0, len(self._occupants), 10):
            refused += await asyncio.gather(*(each.returns() for each in self._occupants[first : first + 10]))
        self.figures.away = max(self.figures.away, *refused)
        self.figures.ends += 1
        how = "kill -9" if isKilled else "SIGTERM"
        self._report(f"{number}: {how} of the server: joins were refused for {max(refused):.1f} s")

    async def _check(self, gateway: Gateway) -> None:
        """Check that everybody is in, and that all that was shown or answered is there."""
        last = {}
        for each in self._occupants:
            each.say()
            last[each.nick] = f"{each.nick}.{each.said}"

        def allHear() -> bool:
            return all(
                {last[other.nick] for other in self._rooms[each.room]} <= {body for _, body in each.shown[-500:]}
                for each in self._occupants
            )

        await holds(allHear, 15, "everybody hears everybody")
        troubles = [each for occupant in self._occupants for each in occupant.troubles]
        assert not troubles, troubles
        assert self.figures.away <= _LINK_WITHIN, f"joins were refused for {self.figures.away:.1f} s"
        assert "Traceback" not in gateway.log(10_000), "the log has a traceback"
        figures = self.figures
        figures.said = sum(each.said for each in self._occupants)
        for room, occupants in self._rooms.items():
            archive = await occupants[0].archive()
            _checkArchive(archive, occupants)
            figures.archived += len(archive)
            figures.shown += len({identifier for each in occupants for identifier, _ in each.shown})
            figures.deliveries += sum(len(each.shown) for each in occupants)
            query = f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast'/></query>"
            reply = await occupants[0].request(room, query)
            listed = {each.get("jid", "") for each in reply.iter(f"{{{ns.MUC_ADMIN}}}item")}
            banned = self._banned[room]
            assert banned <= listed <= banned | self._unknown[room], f"{room}: {banned ^ listed}"
            figures.changes += len(banned)
        self._report(
            f"said: {figures.said}; shown: {figures.shown}, in {figures.deliveries} copies; archived: "
            f"{figures.archived}; changes of affiliations: {figures.changes}; ends: {figures.ends}; "
            f"absent ones gone within {figures.gone:.1f} s; joins refused for at most {figures.away:.1f} s"
        )


def users(number: int) -> list[str]:
    """Return the names of the accounts of a run."""
    return [f"user{each}" for each in range(number)]


def _checkArchive(archive: list[tuple[str, str]], occupants: Iterable[Occupant]) -> None:
    """Check that an archive has what was shown, once and in the same order."""
    place = {identifier: number for number, (identifier, _) in enumerate(archive)}
    assert len(place) == len(archive), "an id is there twice"
    bodies = Counter(body for _, body in archive)
    assert max(bodies.values()) == 1, [body for body, count in bodies.items() if count > 1]
    refused = {body for each in occupants for body in each.refused}
    for each in occupants:
        lost = [(id_, body) for id_, body in each.shown if archive[place.get(id_, 0)][1] != body]
        assert not lost, f"shown to {each.nick}, and not in the archive: {lost}"
        places = [place[identifier] for identifier, _ in each.shown]
        assert places == sorted(set(places)), f"{each.nick} was shown messages twice, or in another order"
        wrong = [body for _, body in each.shown if body in refused]
        assert not wrong, f"shown to {each.nick} though the sender got an error: {wrong}"
        for after, read in each.readings:
            first = place[after] + 1 if after else 0
            assert read == [identifier for identifier, _ in archive[first : first + len(read)]], (
                f"{each.nick} has not read what was said after {after}"
            )
