"""An ordinary room, the room of the gateway that stands for it, and mirrors of it; links that lose nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.ordinary.backing import Backing
from gateway.muc.channel_store import loadChannels
from gateway.muc.ids import Ids
from gateway.muc.room import Bounds
from gateway.muc.store import restore
from gateway.state.memory import MemoryStore
from tests.fmuc.wire import MUC, Wire, mirror, read, rooms, short

SERVICE, COMPONENT = "conference.example", "rooms.example"
# The ordinary room, the room that stands for it, and the mirrors of that.
SOURCE, ROOM = f"lobby@{SERVICE}", f"lobby@{COMPONENT}"
NORTH, SOUTH = (rf"lobby\40{COMPONENT}@{name}.example" for name in ("north", "south"))


def backed(
    jid: str = COMPONENT,
    service: str = SERVICE,
    peers: Iterable[str] = ("north.example", "south.example"),
    bounds: Bounds | None = None,
    isStored: bool = False,
    store: MemoryStore | None = None,
) -> Wire:
    """Return rooms that stand for those of an ordinary service."""
    mirroring = Mirroring(allow=frozenset((service,)), users=frozenset("*"), backing=service)
    made = Rooms(jid, mirroring, frozenset(peers), bounds, Ids(b"secret of the component"))
    return Wire(made, isStored, backing=Backing(made, service), store=store)


class Site:
    """
    Components, and the stanzas between them.

    @ivar wires: by domain.
    @ivar crossed: stanzas from one component to another: sender, recipient, short form; cleared by the tests.
    @ivar shown: stanzas to users, in short form.
    @ivar away: domains that are not there: stanzas to them are lost.
    @ivar waiting: what components without a connection send, by domain.
    """

    def __init__(self, *wires: Wire) -> None:
        self.wires = {wire.rooms.jid: wire for wire in wires}
        self.crossed: list[tuple[str, str, str]] = []
        self.shown: list[str] = []
        self.away: set[str] = set()
        self.waiting: dict[str, bytes] = {}

    def send(self, xml: str | bytes) -> list[str]:
        """Return what stanzas cause users to be sent, wherever they are."""
        self.shown = []
        self._spread("", xml if isinstance(xml, bytes) else xml.encode())
        return self.shown

    def tick(self, seconds: float) -> list[str]:
        """Advance all clocks."""
        self.shown = []
        for domain, wire in self.wires.items():
            sent = wire.tickBytes(seconds)
            if domain in self.waiting:
                self.waiting[domain] += sent
            else:
                self._spread(domain, sent)
        return self.shown

    def disconnect(self, domain: str) -> None:
        """Take the connection of a component away: stanzas to it are lost, and its own wait."""
        self.away.add(domain)
        self.waiting[domain] = b""
        wire = self.wires[domain]
        wire.link.ready = False
        wire.handler.connectionLost(Failure(ConnectionLost()))

    def connect(self, domain: str) -> list[str]:
        """Give a component a new connection."""
        self.shown = []
        wire, waiting = self.wires[domain], self.waiting.pop(domain, b"")
        if domain in self.away:
            self.away.discard(domain)
            wire.link.ready = True
        self._spread(domain, waiting)
        wire.handler.connectionInitialized()
        self._spread(domain, wire.settled())
        return self.shown

    def restart(self, isConnected: bool = True) -> list[str]:
        """Kill the process with the rooms that stand for others, and start another one."""
        old = self.wires[COMPONENT]
        self.waiting.pop(COMPONENT, None)
        self.away.discard(COMPONENT)
        wire = self.wires[COMPONENT] = backed(isStored=True, store=old.store)
        wire.link.now = old.link.now
        assert wire.rooms.channels is not None
        wire.rooms.channels.restore(old.store.atStart(loadChannels), wire.link.now)
        restore(old.store, wire.rooms, wire.link.now)
        return self.connect(COMPONENT) if isConnected else []

    def _spread(self, sender: str, sent: bytes) -> None:
        waiting: list[tuple[str, Element]] = [(sender, each) for each in read(sent)]
        while waiting:
            sender, stanza = waiting.pop(0)
            domain = _domain(stanza.get("to", ""))
            if domain in self.away:
                continue
            if domain not in self.wires:
                self.shown.append(short(stanza))
                continue
            if sender:
                self.crossed.append((sender, domain, short(stanza)))
            wire = self.wires[domain]
            waiting += [(domain, each) for each in read(wire.settled(ElementTree.tostring(stanza)))]

    # Users.

    def join(self, room: str, nick: str, user: str, inside: str = "") -> list[str]:
        """Send a join."""
        return self.send(f"<presence from='{user}' to='{room}/{nick}'>{inside or MUC}</presence>")

    def leave(self, room: str, nick: str, user: str) -> list[str]:
        """Send a leave."""
        return self.send(f"<presence from='{user}' to='{room}/{nick}' type='unavailable'/>")

    def say(self, room: str, user: str, body: str) -> list[str]:
        """Send a message to all."""
        return self.send(
            f"<message from='{user}' to='{room}' type='groupchat' id='{body}'><body>{body}</body></message>"
        )

    def ask(self, address: str, user: str, payload: str, kind: str = "get") -> list[str]:
        """Send an iq request."""
        return self.send(f"<iq from='{user}' to='{address}' id='q' type='{kind}'>{payload}</iq>")

    def counted(self, sender: str, recipient: str) -> Counter[str]:
        """Return the kinds of stanzas that have crossed in one direction, and forget all."""
        way = sender, recipient
        found = Counter(text.partition(" ")[0] for *ends, text in self.crossed if tuple(ends) == way)
        self.crossed.clear()
        return found


def _domain(jid: str) -> str:
    return jid.partition("/")[0].rpartition("@")[2]


def site(isStored: bool = True) -> Site:
    """Return an ordinary service, rooms that stand for its rooms, and two services of mirrors."""
    return Site(
        rooms(SERVICE, bounds=Bounds(locked=300.0)),
        backed(isStored=isStored),
        mirror("north.example", isStored=isStored),
        mirror("south.example", isStored=isStored),
    )
