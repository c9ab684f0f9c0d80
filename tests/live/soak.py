"""
The fault run of all services: two gateways, one beside each server, with rooms that are mirrored both ways.

While clients use the services, servers are killed, restarted and halted, clients do not read, garbage comes, web
applications end, and configurations are reloaded. Afterwards it is checked that nothing is lost: L{Soak.run}.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any

from attrs import define, field, frozen

from gateway import ns
from tests.link.core import Become, LinkState, Side
from tests.link.faults import FREE, Victim
from tests.live.case import SECRET
from tests.live.clients import Implementation, newId, stanza
from tests.live.federation import FAR_ROOMS, ROOMS, FederationCase
from tests.live.gateway import Gateway
from tests.live.link_forms import Form, Tables
from tests.live.link_storm import LinkStorm
from tests.live.link_storm import Scale as Talk
from tests.live.measures import Measures
from tests.live.processes import Value, holds
from tests.live.rawstream import RawClient
from tests.live.rooms import INSTANT, MUC_X
from tests.live.rosters import WebApplication, applying
from tests.live.servers import PRIVATE, PRIVILEGED, ROSTER, Delegations, Server
from tests.live.visitors import Asker, Contact, Storer, Visitor, answer

# Users of each service at each site; seconds between two requests of a user.
_USERS, _EVERY = 4, 0.5
# Messages to a client that does not read, and characters of each.
_UNREAD, _LONG = 300, 2_000
# What garbage is made of.
_NAMES = ("query", "item", "x", "forwarded", "delegation", "private", "fmuc", "note", "\u00e9l\u00e9ment")
_NAMESPACES = (ns.PRIVATE, ns.MUC_ADMIN, ns.MUC_OWNER, ns.MAM, ns.RSM, ROSTER, "urn:xmpp:delegation:2", "urn:x")
_HTTP = (
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET /" + b"x" * 20_000,
    b"POST /roster_admin/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n[",
    b"POST /roster_admin/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\n[[[",
)


@frozen(kw_only=True)
class Scale:
    """
    Extent of a run.

    @ivar talk: users of the rooms, and their pace.
    @ivar seconds: time of the faults; in any case each fault happens once.
    @ivar rest: seconds between two faults.
    @ivar away: seconds for which something is away, at most.
    """

    talk: Talk
    seconds: float
    rest: float
    away: float


def accounts(talk: Talk) -> list[str]:
    """Return the names of the accounts at each server."""
    visitors = [f"{kind}{number}" for kind in ("asks", "stores", "knows") for number in range(_USERS)]
    return [*talk.accounts, *visitors, "implementation", "garbler", "sloth"]


class SoakCase(FederationCase):
    """A mix-in: two servers with the components of all services."""

    hasTwin = False

    @classmethod
    def further(cls, domain: str) -> Mapping[str, str]:
        names = (f"{each}.{domain}" for each in ("proxy", "other", "storage"))
        return dict.fromkeys((*names, PRIVILEGED), SECRET)

    @classmethod
    def delegated(cls, domain: str) -> Delegations:
        return {PRIVATE: {"jid": f"storage.{domain}"}}

    def newGateway(
        self,
        tables: dict[str, dict[str, Value]],
        secret: str = SECRET,
        port: int | None = None,
        server: Server | None = None,
    ) -> Gateway:
        gateway = super().newGateway(tables, secret, port, server)
        gateway.prelude = "from tests.live import stalls; stalls.watch('stalls.txt')"
        return gateway


@define(eq=False)
class Site:
    """
    One server and its gateway.

    @ivar rooms: domain of the gateway's rooms.
    @ivar visitors: users of the services.
    @ivar implementations: clients behind the proxy.
    @ivar faults: number of faults by kind.
    """

    side: Side
    rooms: str
    server: Server
    application: WebApplication
    visitors: list[Visitor]
    implementations: list[Implementation]
    garbler: Visitor
    faults: Counter[str] = field(factory=Counter)

    @property
    def domain(self) -> str:
        """Domain of the server."""
        return self.server.domain


class Soak(LinkStorm):
    """
    One run.

    @ivar sites: both sites.
    @ivar measures: by side.
    """

    def __init__(self, case: SoakCase, scale: Scale, seed: int, report: Callable[[str], object]) -> None:
        super().__init__(case, Form.EACH_WAY, scale.talk, seed, False, report)
        self._extent = scale
        self._random = Random(seed)
        self._isOver = False
        self.sites = [self._site(side, rooms) for side, rooms in zip(Side, (ROOMS, FAR_ROOMS), strict=True)]
        self.measures: dict[Side, Measures] = {}

    def _site(self, side: Side, rooms: str) -> Site:
        server = self._servers[side]
        application = WebApplication(self._case.folder("application-"))
        return Site(
            side,
            rooms,
            server,
            application,
            [
                *(Asker(server, f"asks{number}") for number in range(_USERS)),
                *(Storer(server, f"stores{number}") for number in range(_USERS)),
                *(Contact(server, f"knows{number}", application) for number in range(_USERS)),
            ],
            [Implementation(server, "implementation", each, answer) for each in ("a", "b")],
            Visitor(server, "garbler"),
        )

    def _tables(self, side: Side) -> Tables:
        site = next(each for each in self.sites if each.side is side)
        storage = f'delegation."storage.{site.domain}"'
        url = f"http://127.0.0.1:{site.application.port}/contacts/%s"
        return {
            **super()._tables(side),
            f'proxy."proxy.{site.domain}"': {"target": f"implementation@{site.domain}"},
            storage: {"servers": [site.domain]},
            f'{storage}.namespaces."{PRIVATE}"': {"handler": "private-storage"},
            f'roster."{PRIVILEGED}"': {"domain": site.domain, "url": url, **applying(site.server)},
        }

    async def run(self) -> None:
        """
        Let all services be used, make faults, and check.

        @raise AssertionError: if anything that was accepted is lost or comes twice, if a request has no answer or
            two, if a user was put out of a room, or if descriptors stay open.
        """
        self._report(f"seed {self._seed}: {self._extent}")
        await self._case.network.take(Become(LinkState.UP), FREE)
        await self._begin()
        visitors = [each for site in self.sites for each in site.visitors]
        # From now on the gateways have all connections that they keep, and files that a reload has checked: SQLite
        # keeps their descriptors for the next check.
        await asyncio.gather(*(each.act() for each in visitors))
        for site in self.sites:
            await self._reload(site)
        self.measures = {side: Measures(gateway) for side, gateway in self._gateways.items()}
        tasks = [asyncio.create_task(each.sample()) for each in self.measures.values()]
        tasks.append(asyncio.create_task(self._talk()))
        try:
            async with asyncio.TaskGroup() as group:
                for each in visitors:
                    group.create_task(self._visit(each))
                await self._makeFaults()
                self._isOver = True
        except BaseExceptionGroup as failed:
            # As if it were one failure: a report of an exception group omits the failed parts.
            raise failed.exceptions[0] from None
        finally:
            for task in tasks:
                task.cancel()
        await self._check()
        for site in self.sites:
            await self._gateways[site.side].ready()
            for each in site.visitors:
                await each.check()
                twice = [id_ for id_, count in each.answers.items() if count > 1]
                assert not twice, f"{each.jid} got two answers to {twice}"
        for measure in self.measures.values():
            await measure.end()

    async def _begin(self) -> None:
        """Start everything, log all users in, and let them join their rooms."""
        for site in self.sites:
            self._case.stack.callback(site.application.stop)
            site.application.start()
            await site.application.ready()
        await self._start()
        clients = [each for site in self.sites for each in (*site.implementations, *site.visitors, site.garbler)]
        everybody = [*clients, *self._members]
        await self._together([each.login() for each in everybody])
        for client in everybody:
            self._case.stack.push_async_callback(client.close)
        for site in self.sites:
            for visitor in site.visitors:
                if isinstance(visitor, Contact):
                    visitor.gateway = self._gateways[site.side]
        await self._join()

    async def _visit(self, visitor: Visitor) -> None:
        """Let a user send requests until the end."""
        while not self._isOver:
            await asyncio.sleep(_EVERY * visitor.random.uniform(0.5, 1.5))
            if visitor.isIn:
                await visitor.act()

    # Faults.

    async def _makeFaults(self) -> None:
        """
        Make all faults in random order, again and again: each at one site, and the next time at the other one. When
        each has happened at both, the gateways are warm.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._extent.seconds
        sites = {kind: self._random.sample(self.sites, len(self.sites)) for kind in KINDS}
        number = 0
        while not number or loop.time() < end:
            for kind in self._random.sample(list(KINDS), len(KINDS)):
                site = sites[kind][number // len(KINDS) % len(self.sites)]
                number += 1
                await asyncio.sleep(self._extent.rest)
                begun = loop.time()
                await KINDS[kind](self, site)
                await self._settled(f"{number}: {kind} at {site.domain}: nobody is a ghost")
                site.faults[kind] += 1
                self._report(f"{number}: {kind} at {site.domain}: {loop.time() - begun:.1f} s")
                if number == len(KINDS) * len(self.sites):
                    for each in self.measures.values():
                        each.markWarm()
                if number >= len(KINDS) and loop.time() >= end:
                    break

    def _away(self) -> float:
        return self._random.uniform(0.5, 1) * self._extent.away

    async def _killServer(self, site: Site) -> None:
        await self._endServer(site, isKilled=True)

    async def _restartServer(self, site: Site) -> None:
        await self._endServer(site, isKilled=False)

    async def _endServer(self, site: Site, isKilled: bool) -> None:
        visitors = [*site.visitors, site.garbler]
        for each in visitors:
            each.cut()
        await self._restart(Victim(site.side, True), self._away(), isKilled)
        await self._together([each.loginAgain(30) for each in site.implementations])
        await self._together([each.returns() for each in visitors])

    async def _haltServer(self, site: Site) -> None:
        site.server.child.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._away())
        site.server.child.send_signal(signal.SIGCONT)

    async def _doNotRead(self, site: Site) -> None:
        """A user sends a lot to a room, and does not read it; nor do clients of the gateway's HTTP server."""
        sloth = await RawClient(site.server).login("sloth", "soak", kernelBytes=4_096)
        room, number = f"sloth@{site.rooms}", self._gateways[site.side].httpPort
        sloth.send(stanza("presence", MUC_X, to=f"{room}/sloth"))
        sloth.send(stanza("iq", INSTANT, type="set", id=newId(), to=room))
        body = f"<body>{'x' * _LONG}</body>"
        for _ in range(_UNREAD):
            sloth.send(stanza("message", body, type="groupchat", id=newId(), to=room))
        writers = []
        for path in ("/metrics", "/status", "/page/events"):
            _, writer = await asyncio.open_connection("127.0.0.1", number, limit=1)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 20)
            writers.append(writer)
        await asyncio.sleep(self._away())
        await sloth.close()
        for writer in writers:
            writer.transport.abort()

    async def _sendGarbage(self, site: Site) -> None:
        """Bytes that are no XML come to the server, and no HTTP to the gateway; and a user sends odd stanzas."""
        for port in [site.server.clientPort] * 3 + [self._gateways[site.side].httpPort] * 3:
            for data in (self._random.randbytes(1_000), *_HTTP):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                with contextlib.suppress(OSError):
                    await writer.drain()
                writer.transport.abort()
        domains = [f"{each}.{site.domain}" for each in ("proxy", "storage")] + [PRIVILEGED, site.rooms]
        for domain in domains:
            for to in (domain, f"near@{domain}", f"{self._random.getrandbits(32)}@{domain}/x"):
                site.garbler.send(stanza("message", self._junk(), to=to, type="chat"))
                for type_ in ("get", "set"):
                    await site.garbler.ask(to, self._junk(), type_)

    def _junk(self, depth: int = 0) -> str:
        """Return a random element."""
        random = self._random
        inner = "".join(self._junk(depth + 1) for _ in range(random.randrange(4 - depth)))
        namespace, jid = random.choice(_NAMESPACES), random.choice((None, "@", "a@b/c"))
        return stanza(random.choice(_NAMES), inner, xmlns=namespace, node=random.choice(_NAMES), jid=jid)

    async def _killApplication(self, site: Site) -> None:
        site.application.kill9()
        await asyncio.sleep(self._away())
        site.application.start()
        await site.application.ready()

    async def _reload(self, site: Site) -> None:
        """A service is added and removed, the proxy is replaced twice, and a wrong file is refused."""
        gateway = self._gateways[site.side]
        before = gateway.config.read_text()
        head = f'[proxy."proxy.{site.domain}"]\n'
        more = f'{before}[proxy."other.{site.domain}"]\ntarget = "implementation@{site.domain}"\n'
        for text, words in (
            (more, "was reloaded: added"),
            (before.replace(head, f"{head}timeout = 29\n"), f"was reloaded: replaced: proxy.{site.domain}"),
            (f"{more}[prxy]\n", "nothing was changed"),
            (before, f"was reloaded: replaced: proxy.{site.domain}"),
        ):
            start = gateway.output.stat().st_size
            gateway.config.write_text(text)
            gateway.child.send_signal(signal.SIGHUP)
            await holds(
                lambda w=words, s=start: w in gateway.output.read_bytes()[s:].decode(),  # type: ignore[misc]
                20,
                f"the log says: {words}",
            )
            await asyncio.sleep(self._extent.rest / 4)


# The faults, by the names that the report has.
KINDS: dict[str, Callable[[Soak, Site], Coroutine[Any, Any, None]]] = {
    "server killed": Soak._killServer,
    "server restarted": Soak._restartServer,
    "server halted": Soak._haltServer,
    "clients that do not read": Soak._doNotRead,
    "garbage": Soak._sendGarbage,
    "application killed": Soak._killApplication,
    "configuration reloaded": Soak._reload,
}
