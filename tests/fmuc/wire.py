"""Rooms with their real handler: stanzas are given as bytes; the output is read in a short form."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.archiving import Archiving
from gateway.fmuc.channel.table import Channels
from gateway.fmuc.commits import Commits
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.ordinary.backing import Backing
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.archive_values import Retention
from gateway.muc.room import Bounds, Room
from gateway.muc.store import MIGRATIONS
from gateway.state.memory import MemoryStore
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza
from gateway.testing import stanzas
from gateway.testing.wire import END, HEADER
from tests.fmuc.support import MUC

_CONTENT = f"{{{ns.COMPONENT_ACCEPT}}}"
_USER = f"{{{ns.MUC_USER}}}"
_ERRORS = f"{{{ns.STANZA_ERRORS}}}"

START = 1_000_000.0


def joinOf(room: str, nick: str, user: str) -> Stanza:
    """Return a join."""
    [stanza] = stanzas(f"<presence from='{user}' to='{room}/{nick}' id='j'>{MUC}</presence>")
    return stanza


class FakeLink(Link):
    """A link without a connection that keeps its output."""

    def __init__(self, jid: str) -> None:
        self.clock = Clock()
        super().__init__(self.clock, None, jid, "secret")  # type: ignore[arg-type]  # it connects to nothing
        self.now = START
        self.sent: list[bytes] = []

    @property
    def isBusy(self) -> bool:
        return False

    def sendAll(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def settle(self) -> None:
        """Carry out what is left for later reactor turns."""
        while self.clock.getDelayedCalls():
            self.clock.advance(0)


class Wire:
    """
    The rooms of one component.

    @ivar now: the link's clock.
    @param isStored: True for rooms that are stored, and have channels to other nodes.
    @param backing: the ordinary rooms behind the rooms; C{None} for none.
    @param store: that of an earlier process; C{None} for a new one.
    """

    def __init__(
        self,
        rooms: Rooms,
        isStored: bool = False,
        backing: Backing | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.rooms = rooms
        self.backing = backing
        self.link = FakeLink(rooms.jid)
        self.store = store or MemoryStore(MIGRATIONS)
        commits = archiving = None
        if isStored:
            rooms.channels = Channels(rooms.token, rooms.utcClock.utc, rooms.mayBeNode)
            later = partial(self.link.clock.callLater, 0)
            retention = Retention(10_000, float("inf")) if rooms.areArchived else Retention(0, 0.0)
            commits = Commits(self.store, rooms.durability, later, retention)
            archiving = Archiving(self.store, retention) if rooms.areArchived else None
            self.link.ready = True
        self.handler = RoomsHandler(rooms, commits=commits, archiving=archiving, backing=backing)
        self.handler.setHandlerParent(self.link)

    def room(self, jid: str) -> Room:
        """Return a room that must exist."""
        return self.rooms.rooms[jid]

    def bytes(self, xml: str | bytes) -> bytes:
        """Return the bytes that stanzas cause; the handler must take each of them."""
        for stanza in stanzas(xml):
            taken = self.handler.stanzaReceived(stanza)
            # Nobody waits for the answer to the fence of a join that was rejected.
            assert taken or (stanza.id or "").startswith("join-"), stanza
        return self._taken()

    def settled(self, xml: str | bytes = b"") -> bytes:
        """The same, with what is left for later reactor turns."""
        for stanza in stanzas(xml):
            self.handler.stanzaReceived(stanza)
        self.link.settle()
        return self._taken()

    def elements(self, xml: str | bytes) -> list[Element]:
        """The same, as trees."""
        return read(self.bytes(xml))

    def take(self, xml: str | bytes) -> list[str]:
        """The same, in short form."""
        return told(self.bytes(xml))

    def tick(self, seconds: float) -> list[str]:
        """Advance the clock; in short form."""
        return told(self.tickBytes(seconds))

    def tickBytes(self, seconds: float) -> bytes:
        """Advance the clock, and carry out what is left for later reactor turns."""
        self.link.now += seconds
        self.handler.tick(self.link.now)
        self.link.settle()
        return self._taken()

    def _taken(self) -> bytes:
        sent = b"".join(self.link.sent)
        self.link.sent.clear()
        return sent

    # Users.

    def join(self, room: str, nick: str, user: str, inside: str = "") -> list[str]:
        """Send a join."""
        muc = f"<x xmlns='{ns.MUC}'>{inside}</x>" if inside else MUC
        return self.take(f"<presence from='{user}' to='{room}/{nick}' id='j'>{muc}</presence>")

    def enter(self, room: str, nick: str, user: str) -> None:
        """Send a join whose output, which grows with each occupant, is not read."""
        assert self.handler.stanzaReceived(joinOf(room, nick, user))
        self.link.sent.clear()

    def leave(self, room: str, nick: str, user: str) -> list[str]:
        """Send a leave."""
        return self.take(f"<presence from='{user}' to='{room}/{nick}' type='unavailable'/>")

    def say(self, room: str, user: str, body: str) -> list[str]:
        """Send a message."""
        return self.take(
            f"<message from='{user}' to='{room}' type='groupchat' id='m'><body>{body}</body></message>"
        )

    def ask(self, address: str, user: str, payload: str, kind: str = "get") -> list[str]:
        """Send an iq request."""
        return self.take(f"<iq from='{user}' to='{address}' id='q' type='{kind}'>{payload}</iq>")

    def nodeJoins(self, room: str, nick: str, node: str, real: str, inside: str = "") -> list[str]:
        """Send the join of a node's user, by XEP-0289."""
        return self.take(
            f"<presence from='{node}/{nick}' to='{room}/{nick}'>{fmuc(real)}<x xmlns='{ns.MUC}'>{inside}</x>"
            f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{real}'/></x></presence>"
        )


class Net:
    """
    Rooms of several components, and links between them that lose nothing.

    @ivar wires: by the room's bare JID.
    @ivar crossed: stanzas between nodes since it was last cleared: sender, recipient, short form.
    """

    def __init__(self, wires: dict[str, Wire]) -> None:
        self.wires = wires
        self.crossed: list[tuple[str, str, str]] = []

    def take(self, room: str, xml: str) -> list[str]:
        """Return what a stanza causes users to be sent, wherever they are."""
        return self._spread(room, self.wires[room].bytes(xml))

    def tick(self, seconds: float) -> list[str]:
        """Advance all clocks."""
        found = []
        for room, wire in self.wires.items():
            found += self._spread(room, wire.tickBytes(seconds))
        return found

    def _spread(self, room: str, sent: bytes) -> list[str]:
        shown = []
        waiting = [(room, each) for each in read(sent)]
        while waiting:
            sender, stanza = waiting.pop(0)
            there = stanza.get("to", "").partition("/")[0]
            if there in self.wires:
                self.crossed.append((sender, there, short(stanza)))
                waiting += [(there, each) for each in self.wires[there].elements(ElementTree.tostring(stanza))]
            else:
                shown.append(short(stanza))
        return shown

    def join(self, room: str, nick: str, user: str, inside: str = "") -> list[str]:
        """Send a join."""
        return self.take(
            room, f"<presence from='{user}' to='{room}/{nick}'><x xmlns='{ns.MUC}'>{inside}</x></presence>"
        )

    def say(self, room: str, user: str, body: str) -> list[str]:
        """Send a message."""
        message = f"<message from='{user}' to='{room}' type='groupchat'><body>{body}</body></message>"
        return self.take(room, message)

    def ask(self, room: str, user: str, payload: str) -> list[str]:
        """Send an iq request."""
        return self.take(room, f"<iq from='{user}' to='{room}' id='q' type='set'>{payload}</iq>")


def rooms(jid: str, *peers: str, bounds: Bounds | None = None, isStored: bool = False) -> Wire:
    """Return a service with rooms of its own."""
    return Wire(Rooms(jid, None, frozenset(peers), bounds), isStored)


def mirror(
    jid: str,
    dialect: Dialect = Dialect.XEP_0289,
    replica: bool = True,
    allow: Iterable[str] = ("*",),
    users: Iterable[str] = ("*",),
    peers: Iterable[str] = (),
    bounds: Bounds | None = None,
    profile: Profile = BROADBAND,
    isStored: bool = False,
    keep: int = 0,
) -> Wire:
    """Return mirrors; by default of all rooms, for all users."""
    mode = Mode.REPLICA if replica else Mode.PRIMARY
    allowed, served = frozenset(allow), frozenset(users)
    mirroring = Mirroring(dialect=dialect, mode=mode, allow=allowed, users=served, profile=profile, keep=keep)
    return Wire(Rooms(jid, mirroring, frozenset(peers), bounds), isStored)


def fmuc(real: str, inside: str = "") -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'>{inside}</fmuc>"


def seedJoin(room: str, nick: str, node: str, real: str) -> str:
    """Return a join by the ProtoXEP."""
    return f"<presence from='{node}' to='{room}/{nick}'>{fmuc(real)}</presence>"


def read(sent: bytes) -> list[Element]:
    """Return stanzas as trees."""
    return list(ElementTree.fromstring(HEADER.encode() + sent + END.encode()))


def told(sent: bytes) -> list[str]:
    """Return each stanza in short form, in order."""
    return [short(stanza) for stanza in read(sent)]


def to(recipient: str, found: Iterable[str]) -> list[str]:
    """Return the stanzas to one address, without that address."""
    mark = f" > {recipient}"
    return [each.replace(mark, "", 1) for each in found if f"{each} ".partition(mark)[2].startswith(" ")]


def short(stanza: Element) -> str:
    """Return the content of a stanza: name, addresses, type, standing, codes, condition and other elements."""
    words = [stanza.tag.removeprefix(_CONTENT), stanza.get("from", ""), ">", stanza.get("to", "")]
    kind = stanza.get("type")
    if kind and not (words[0] == "message" and kind == "groupchat"):
        words.append(kind)
    for x in stanza.findall(f"{_USER}x"):
        words += _user(x)
    error = stanza.find(f"{_CONTENT}error")
    if error is not None:
        words += [each.tag.removeprefix(_ERRORS) for each in error if each.tag != f"{_ERRORS}text"]
    for child in stanza:
        name = child.tag.removeprefix(_CONTENT)
        if child.tag.startswith(f"{{{ns.FMUC}}}"):
            inside = "+".join(each.tag.removeprefix(f"{{{ns.FMUC}}}") for each in child)
            words.append(f"{child.tag.removeprefix(f'{{{ns.FMUC}}}')}={child.get('from', '')}{inside}")
        elif name in ("body", "subject", "status", "show"):
            words.append(f"{name}={child.text or ''}")
        elif child.tag == f"{{{ns.DELAY}}}delay":
            words.append("delayed")
    return " ".join(words)


def _user(x: Element) -> list[str]:
    words = []
    item = x.find(f"{_USER}item")
    if item is not None:
        words.append(f"{item.get('affiliation')}/{item.get('role')}")
        words += [f"{name}={item.get(name)}" for name in ("jid", "nick") if item.get(name)]
        for each in item:
            name = each.tag.removeprefix(_USER)
            words.append(f"{name}={each.get('nick') or each.text or ''}")
    words += [each.get("code", "") for each in x.findall(f"{_USER}status")]
    for each in x.findall(f"{_USER}destroy"):
        words.append(f"destroy={each.get('jid', '')}:{each.findtext(f'{_USER}reason') or ''}")
    return words or ["muc#user"]


class WireCase(SynchronousTestCase):
    """Compares stanzas in short form."""

    maxDiff = None

    def assertTold(self, found: list[str], *expected: str) -> None:
        """Exactly these stanzas, in this order."""
        self.assertEqual(found, list(expected))

    def assertNoFmuc(self, stanza: Element) -> None:
        """A client is never sent an FMUC element."""
        inside: list[Any] = [each.tag for each in stanza if each.tag.startswith(f"{{{ns.FMUC}}}")]
        self.assertEqual(inside, [], stanza.attrib)
