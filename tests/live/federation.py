"""
Two servers with a link between them: rooms at one server, mirrors of them at the other one.

Nothing outside of the test is needed or changed: no DNS, no fixed ports. All connections between the servers pass
through a process with the link (L{tests.link.process}).
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.link.core import Side, Step
from tests.link.process import toJson
from tests.live.case import SECRET
from tests.live.clients import Client
from tests.live.gateway import Gateway
from tests.live.processes import TWISTD, Program, Value, freePort, need, until
from tests.live.rooms import RoomsCase
from tests.live.servers import GENERATIONS, Delegations, Federation, Newer, Server

# Of the server with the rooms, and of that with the mirrors.
NEAR, FAR = "near.example", "far.example"
ROOMS, MIRROR = f"rooms.{NEAR}", f"mirror.{FAR}"
# A mirror in primary mode.
PRIMARY = f"primary.{FAR}"
# For rooms at both sites; and the servers' own services of rooms.
FAR_ROOMS, NEAR_MIRROR = f"rooms.{FAR}", f"mirror.{NEAR}"
CONFERENCE, FAR_CONFERENCE = f"conference.{NEAR}", f"conference.{FAR}"
# The near site is the link's side A. Each server's domain, its components, and its service of rooms.
DOMAINS = {
    Side.A: (NEAR, ROOMS, NEAR_MIRROR, CONFERENCE),
    Side.B: (FAR, MIRROR, PRIMARY, FAR_ROOMS, FAR_CONFERENCE),
}
# Seconds until servers with many accounts are ready.
_READY_WITHIN = 90.0


class Network(Program):
    """
    The link, in a process of its own.

    @ivar federations: by side, the settings of its server.
    @ivar peerPort: port on which the near gateway listens for a direct link.
    @ivar peerDoor: port on which the far gateway reaches that one.
    """

    name = "network"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._control = freePort()
        names = freePort()
        ports, doors = ({side: freePort() for side in Side} for _ in range(2))
        routes = {side: dict.fromkeys(DOMAINS[side.other], doors[side]) for side in Side}
        self.federations = {side: Federation(ports[side], routes[side], names) for side in Side}
        self.peerPort, self.peerDoor = freePort(), freePort()
        self._options = {
            "control": self._control,
            "dns": names,
            "doors": [
                *({"side": side.value, "port": doors[side], "target": ports[side.other]} for side in Side),
                {"side": Side.B.value, "port": self.peerDoor, "target": self.peerPort},
            ],
            "services": {name: port for each in routes.values() for name, port in each.items()},
        }

    def start(self) -> None:
        """Start the process; L{ready} waits for it."""
        options = self.directory / "network.json"
        options.write_text(json.dumps(self._options))
        self._run([sys.executable, "-m", "tests.link.process", str(options)], TWISTD[1])

    async def ready(self) -> None:
        """Wait until it accepts commands."""

        async def answers() -> bool:
            assert self.running(), f"the link ended by itself\n{self.log()}"
            try:
                await self.script([])
            except OSError:
                return False
            return True

        await until(answers, 10, "the link is ready")

    async def script(self, script: Iterable[tuple[float, Step]]) -> dict[str, Any]:
        """
        Add steps, each with its time in seconds from now.

        @return: C{state}, and C{counts} by side: C{sent}, C{delivered} and C{lost} bytes.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
        try:
            writer.write(json.dumps([(at, toJson(step)) for at, step in script]).encode() + b"\n")
            found: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 5))
        finally:
            writer.close()
        return found

    async def take(self, *steps: Step) -> dict[str, Any]:
        """Carry out steps now."""
        return await self.script([(0, step) for step in steps])


class _Pair:
    """
    Both servers and the link.

    @ivar gateways: those that stay from one scenario to the next.
    @ivar backing: the ordinary rooms behind theirs.
    """

    backing = ""

    def __init__(self, classes: dict[Side, type[Server]], case: type[FederationCase]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="federation-"))
        self.network = Network(self.directory)
        self.servers: dict[Side, Server] = {}
        self.gateways: list[Gateway] = []
        for side, serverClass in classes.items():
            folder = self.directory / side.value
            folder.mkdir()
            domain, *components, conference = DOMAINS[side]
            federation = self.network.federations[side]
            self.servers[side] = serverClass(
                folder,
                case.accounts,
                {**dict.fromkeys(components, SECRET), conference: "", **case.further(domain)},
                case.delegated(domain),
                domain=domain,
                federation=federation,
            )

    async def start(self) -> None:
        """Start all of them together."""
        programs = [self.network, *self.servers.values()]
        for each in programs:
            each.start()
        await asyncio.gather(self.network.ready(), *(each.ready(_READY_WITHIN) for each in self.servers.values()))

    def remove(self) -> None:
        """Stop all of them, and delete their files."""
        for each in (*self.gateways, self.network, *self.servers.values()):
            each.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class FederationCase(RoomsCase):
    """
    A mix-in: two servers, each with a gateway.

    @cvar serverClass: the near server, that of the rooms.
    @cvar mirrorClass: the far one, of the same generation in the twin.
    @ivar far: the far server; C{server} is the near one.
    @ivar network: the link.
    """

    accounts: ClassVar[Sequence[str]] = ("alice", "bob", "carol")
    service = ROOMS
    mirrorClass: ClassVar[type[Server]]
    far: Server
    network: Network
    _pairs: ClassVar[dict[tuple[object, ...], _Pair]] = {}

    @classmethod
    def further(cls, domain: str) -> Mapping[str, str]:
        """Return further components of the server of a domain, with the secret of each."""
        return {}

    @classmethod
    def delegated(cls, domain: str) -> Delegations:
        """Return the delegations of the server of a domain."""
        return {}

    def setUp(self) -> None:
        farClass = GENERATIONS[self.mirrorClass] if issubclass(self.serverClass, Newer) else self.mirrorClass
        classes = {Side.A: self.serverClass, Side.B: farClass}
        for each in classes.values():
            need(each.missing())
        key = (*classes.values(), *self.accounts, *self.further(NEAR))
        pair = self._pairs.get(key)
        if pair is None:
            # Others are not needed any longer, and take memory.
            for other in self._pairs.values():
                other.remove()
            self._pairs.clear()
            pair = self._pairs[key] = _Pair(classes, type(self))
            atexit.register(pair.remove)
            asyncio.run(pair.start())
        self._pair = pair
        self.network = pair.network
        self.server, self.far = pair.servers[Side.A], pair.servers[Side.B]
        self._gateways: list[Gateway] = []

    def programs(self) -> Sequence[Program]:
        return [self.network, self.server, self.far, *self._pair.gateways]

    async def haveSites(self) -> None:
        """Make sure that the gateways with the rooms and with the mirrors run; they stay for other scenarios."""
        if not self._pair.gateways or self._pair.backing != self.backing:
            await self.startSites()
            self._pair.gateways, self._gateways = self._gateways, []
            self._pair.backing = self.backing

    async def startSites(self, **options: Value) -> tuple[Gateway, Gateway]:
        """Start new gateways, that with the rooms, and that with the mirrors, which has these options."""
        for each in self._pair.gateways:
            each.stop()
        self._pair.gateways.clear()
        near = self.newGateway({f'rooms."{ROOMS}"': {"peers": [MIRROR], **self.behind}})
        mirror: dict[str, Value] = {"allow": [ROOMS], "users": [FAR], **options}
        far = self.newGateway({f'mirror."{MIRROR}"': mirror}, server=self.far)
        for each in (near, far):
            each.start()
        await asyncio.gather(near.ready(), far.ready())
        return near, far

    async def farUser(self, name: str) -> Client:
        """Log in a user of the far server."""
        return await self.login(Client(self.far, name, "home"))

    def places(self, name: str, mirror: str = MIRROR) -> tuple[str, str]:
        return super().places(name, mirror)
