"""A room and a mirror of it, with stores, processes that are killed, and a link that loses and repeats stanzas."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway import ns
from gateway.fmuc.channel.core import Channel
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.archive_values import Retention
from gateway.muc.channel_store import loadChannels
from gateway.muc.ids import Ids
from gateway.muc.store import restore
from gateway.stream.core import Splitter
from gateway.stream.stanzas import Stanza
from gateway.testing import MemoryServer
from gateway.testing.wire import HEADER
from tests.fmuc.durable import HeldStore
from tests.fmuc.support import MUC

TOP, DOWN = "chat.example", "mirror.example"
ROOM, HERE = f"coven@{TOP}", rf"coven\40{TOP}@{DOWN}"
# A mirror of the mirror.
LOW = "low.example"
BELOW = rf"coven\5c40{TOP}\40{DOWN}@{LOW}"
# The nodes that may join each component.
_PEERS = {TOP: (DOWN,), DOWN: (LOW,), LOW: ()}
OWN, ANN, BEN = "own@b.example/1", "ann@a.example/1", "ben@a.example/2"
_BODY = f"{{{ns.COMPONENT_ACCEPT}}}body"
_UTC = 1_790_000_000.0


class Side:
    """
    One of the components.

    @ivar store: what it has stored; it outlives the process.
    @ivar peers: domains whose nodes may join; read at the start of a process.
    @ivar keep: seconds for which mirrors stay without users; the same.
    @ivar isStored: False if all of it ends with the process.
    """

    def __init__(
        self,
        domain: str,
        mode: Mode,
        hasChannels: bool,
        peers: Iterable[str],
        dialect: Dialect = Dialect.XEP_0289,
        isStored: bool = True,
        isOwn: bool = False,
        profile: Profile = BROADBAND,
        keep: int = 0,
    ) -> None:
        self.domain, self.keep = domain, keep
        self._mode, self._dialect, self._profile = mode, dialect, profile
        self._hasChannels, self.isStored, self._isOwn = hasChannels, isStored, isOwn
        self.store = HeldStore()
        self.peers = frozenset(peers)
        self.lives = 0
        self._splitter = Splitter(ns.COMPONENT_ACCEPT)
        self._splitter.feed(HEADER.encode())
        self.start()

    def start(self) -> None:
        """Start a process."""
        everything = frozenset("*")
        mirroring = Mirroring(
            dialect=self._dialect,
            mode=self._mode,
            allow=everything,
            users=everything,
            profile=self._profile,
            keep=self.keep,
        )
        ids = Ids(self.domain.encode())
        self.rooms = rooms = Rooms(self.domain, None if self._isOwn else mirroring, self.peers, ids=ids)
        self.lives += 1
        rooms.token = f"{self.domain[0]}{self.lives}"
        server = self.server = MemoryServer(self.domain)
        if self._hasChannels:
            rooms.channels = Channels(rooms.token, rooms.utcClock.utc, rooms.mayBeNode)
            rooms.channels.restore(self.store.atStart(loadChannels), 0.0)
        commits = None
        if self.isStored:
            restore(self.store, rooms, 0.0)
            commits = Commits(self.store, rooms.durability, partial(server.clock.callLater, 0), Retention(0, 0.0))
        self.handler = RoomsHandler(rooms, lambda: _UTC, commits)
        self.handler.setHandlerParent(server.link)
        server.start()

    def sent(self) -> list[Stanza]:
        """Return the stanzas that it has sent since the last call, as a server cuts them."""
        data = self.server.transport.value()
        if not data:
            return []
        self.server.transport.clear()
        found: list[Stanza] = []
        for event in self._splitter.feed(data):
            assert isinstance(event, Stanza), event
            found.append(event)
        return found

    def nicks(self, room: str) -> list[str]:
        """Return the nicks in a room; none if there is no such room."""
        found = self.rooms.rooms.get(room)
        return [] if found is None else sorted(found.occupants)

    @property
    def channels(self) -> Channels:
        """The channels of the process."""
        assert self.rooms.channels is not None
        return self.rooms.channels

    def kill(self) -> None:
        """Kill the process, and start another one."""
        self.store.forget()
        self.store.isHeld = False
        self.start()


class Linked:
    """
    The two components, and their users.

    @ivar isLost: returns True for a stanza between them that is lost; gets its sender's domain and its text.
    @ivar crossed: stanzas between them, with the sender's domain.
    @ivar shown: stanzas to users, by full JID.
    """

    def __init__(
        self,
        mode: Mode = Mode.PRIMARY,
        channels: tuple[bool, bool] = (True, True),
        isChain: bool = False,
        profile: Profile = BROADBAND,
        keep: int = 0,
        dialect: Dialect = Dialect.XEP_0289,
    ) -> None:
        self.isLost: Callable[[str, str], bool] = lambda sender, text: False
        self.isRepeated = False
        self.packets: deque[tuple[str, bytes]] = deque()
        self.crossed: list[tuple[str, str]] = []
        self.shown: dict[str, list[Element]] = {}
        self.top, self.down = (
            Side(domain, mode, has, _PEERS[domain], dialect, isOwn=domain == TOP, profile=profile, keep=keep)
            for domain, has in zip((TOP, DOWN), channels, strict=True)
        )
        self.sides = {TOP: self.top, DOWN: self.down}
        if isChain:
            self.sides[LOW] = Side(LOW, mode, True, _PEERS[LOW], keep=keep)
        self.settle()

    def settle(self, isCommitting: bool = True) -> None:
        """Deliver everything."""
        while True:
            for side in self.sides.values():
                if isCommitting:
                    side.server.clock.advance(0)
                for element in side.server.received():
                    self._sent(side.domain, element)
            if not self.packets:
                if not isCommitting or not self._isBusy:
                    return
                continue
            domain, data = self.packets.popleft()
            self.sides[domain].server.send(data)

    @property
    def _isBusy(self) -> bool:
        clocks = [side.server.clock for side in self.sides.values()]
        return any(call.getTime() <= each.seconds() for each in clocks for call in each.getDelayedCalls())

    def _sent(self, domain: str, element: Element) -> None:
        to = element.get("to", "")
        there = to.partition("/")[0].rpartition("@")[2]
        if there not in self.sides:
            self.shown.setdefault(to, []).append(element)
            return
        data = ElementTree.tostring(element)
        text = data.decode()
        self.crossed.append((domain, text))
        if not self.isLost(domain, text):
            self.packets.extend([(there, data)] * (2 if self.isRepeated else 1))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds)):
            for side in self.sides.values():
                side.server.clock.advance(1.0)
            self.settle()

    def kill(self, side: Side) -> None:
        """Kill a process, and start another one; what it has sent and has not left is lost."""
        side.kill()
        self.settle()

    def cut(self) -> None:
        """Cut the link: stanzas are lost without an error."""
        self.isLost = lambda sender, text: True

    def mend(self) -> None:
        """Repair the link."""
        self.isLost = lambda sender, text: False

    # Users.

    def send(self, domain: str, xml: str) -> None:
        """Send a user's stanza."""
        self.sides[domain].server.send(xml)
        self.settle()

    def join(self, user: str, room: str, nick: str) -> None:
        """Send a join."""
        self.send(room.rpartition("@")[2], f"<presence from='{user}' to='{room}/{nick}'>{MUC}</presence>")

    def leave(self, user: str, room: str, nick: str) -> None:
        """Send a leave."""
        self.send(room.rpartition("@")[2], f"<presence from='{user}' to='{room}/{nick}' type='unavailable'/>")

    def say(self, user: str, room: str, body: str) -> None:
        """Send a message."""
        inside = f"<body>{body}</body>"
        message = f"<message from='{user}' to='{room}' type='groupchat' id='{body}'>{inside}</message>"
        self.send(room.rpartition("@")[2], message)

    def heard(self, user: str) -> list[str]:
        """Return the bodies of all messages to a user, errors left out."""
        found = (each for each in self.shown.get(user, []) if each.get("type") != "error")
        return [body for each in found if (body := each.findtext(_BODY)) is not None]

    def errors(self, user: str) -> list[str]:
        """Return the conditions of errors that a user got."""
        return [
            child.tag.partition("}")[2]
            for each in self.shown.get(user, [])
            if each.get("type") == "error"
            for child in each.iter()
            if child.tag.startswith(f"{{{ns.STANZA_ERRORS}}}") and not child.tag.endswith("}text")
        ]

    def occupants(self) -> tuple[list[str], list[str]]:
        """Return the nicks in the room and in the mirror."""
        return self.top.nicks(ROOM), self.down.nicks(HERE)

    @property
    def uplink(self) -> Uplink:
        """The uplink of the mirror."""
        federation = self.down.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink

    @property
    def state(self) -> UplinkState:
        """State of the uplink."""
        return self.uplink.state

    def channel(self, domain: str) -> Channel[Stanza]:
        """Return one end of the channel between the room and the mirror."""
        return self.sides[domain].channels.table[(ROOM, HERE) if domain == TOP else (HERE, ROOM)]
