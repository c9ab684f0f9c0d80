"""
Three nodes in a chain, links that keep the order of stanzas, and clients that believe everything they receive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway import ns
from gateway.errors import GatewayError
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.profiles import BROADBAND, Profile
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.administration import Change, applyChanges
from gateway.muc.ids import Ids, occupantId
from gateway.muc.records import GONE
from gateway.muc.room import Room
from gateway.muc.values import KICKED, NICK_CHANGED, NO_ROLE
from gateway.testing.wire import END, HEADER
from tests.fmuc.support import MUC, Service, written

TOP = "room@top.example"
MIDDLE = r"room\40top.example@middle.example"
BOTTOM = r"room\5c40top.example\40middle.example@bottom.example"
NODES = (TOP, MIDDLE, BOTTOM)
_IDS = Ids(b"secret of the first node")


def _text(stanza: Element) -> str:
    return ElementTree.tostring(stanza, encoding="unicode")


class Client:
    """
    A user's client.

    @ivar id: occupant id that the first node gives the user; empty if nodes do not tell whose a presence is.
    @ivar epoch: number of the user's stays in the room.
    @ivar inside: nick of the current stay; empty if there is none.
    @ivar seen: status texts of the known occupants, by nick.
    @ivar heard: bodies of the messages received during this stay.
    """

    def __init__(self, jid: str, room: str) -> None:
        self.jid = jid
        self.id = ""
        self.room = room
        self.epoch = 0
        self.inside = ""
        self.seen: dict[str, str] = {}
        self.heard: list[str] = []
        self.lived: list[str] = []
        self.problems: list[str] = []
        self.codes: list[int] = []

    def take(self, stanza: Element) -> None:
        """Receive one stanza from the server."""
        if any(ns.FMUC in each.tag for each in stanza.iter()):
            self.problems.append(f"fmuc reaches a client: {_text(stanza)}")
        room, _, nick = stanza.get("from", "").partition("/")
        if room != self.room:
            self.problems.append(f"from elsewhere: {_text(stanza)}")
        if stanza.get("type") == "error":
            return
        self._checkIds(stanza, nick)
        if stanza.tag.endswith("}message"):
            self._message(stanza)
            return
        codes = [int(each.get("code", "")) for each in stanza.iter(f"{{{ns.MUC_USER}}}status")]
        own = 110 in codes
        if stanza.get("type") == "unavailable":
            if not self.inside and not own:
                self.problems.append(f"unavailable to a user who is not an occupant: {_text(stanza)}")
            if self.seen.pop(nick, None) is None and not own:
                self.problems.append(f"gone who was not there: {_text(stanza)}")
            if own and NICK_CHANGED in codes:
                # The user is still an occupant and keeps the state.
                self.inside = next(item.get("nick", "") for item in stanza.iter(f"{{{ns.MUC_USER}}}item"))
            elif own:
                self.codes = codes
                self.inside, self.seen = "", {}
        else:
            self.seen[nick] = stanza.findtext(f"{{{ns.COMPONENT_ACCEPT}}}status") or ""
            if own and self.inside != nick:
                self.inside, self.heard, self.lived = nick, [], []
                self.epoch += 1

    def _checkIds(self, stanza: Element, nick: str) -> None:
        """Each stanza from an occupant has one occupant id; the own one is that which the first node gives."""
        ids = [each.get("id") for each in stanza.iter(f"{{{ns.OCCUPANT_ID}}}occupant-id")]
        isOwn = any(each.get("code") == "110" for each in stanza.iter(f"{{{ns.MUC_USER}}}status"))
        if len(ids) != bool(nick) or (isOwn and self.id and ids != [self.id]):
            self.problems.append(f"{nick} has the ids {ids}: {_text(stanza)}")

    def _message(self, stanza: Element) -> None:
        if not self.inside:
            self.problems.append("a message to a user who is not an occupant")
        body = stanza.findtext(f"{{{ns.COMPONENT_ACCEPT}}}body")
        if body is None:
            return
        if body in self.heard:
            self.problems.append(f"{body} twice: {self.heard}")
        self.heard.append(body)
        if stanza.find(f"{{{ns.DELAY}}}delay") is None:
            self.lived.append(body)


class Chain:
    """
    The nodes, their users, and stanzas in flight.

    @ivar links: stanzas in their order, by sender and recipient.
    @ivar stored: records of each node.
    @ivar restarts: number of restarts.
    """

    restarts = 0

    def __init__(
        self,
        dialects: tuple[Dialect, Dialect],
        replicas: tuple[bool, bool],
        users: int = 2,
        profile: Profile = BROADBAND,
    ) -> None:
        everything = frozenset(("*",))
        self._made: dict[str, Callable[[], Rooms]] = {
            TOP: lambda: Rooms("top.example", None, frozenset(("middle.example",)), ids=_IDS)
        }
        domains = (("middle.example", "bottom.example"), ("bottom.example", ""))
        for jid, (domain, peer), dialect, replica in zip(NODES[1:], domains, dialects, replicas, strict=True):
            mode = Mode.REPLICA if replica else Mode.PRIMARY
            mirroring = Mirroring(
                dialect=dialect, mode=mode, allow=everything, users=everything, profile=profile
            )
            self._made[jid] = partial(Rooms, domain, mirroring, frozenset((peer,)), ids=Ids(domain.encode()))
        self.services = {jid: Service(make()) for jid, make in self._made.items()}
        self.stored: dict[str, dict[tuple[str, str, str], str]] = {jid: {} for jid in NODES}
        for service in self.services.values():
            service.rooms.durability.isOn = True
        self.links: dict[tuple[str, str], deque[bytes]] = {}
        self.sent: dict[tuple[str, str], int] = {}
        self.clients = {
            (node, number): Client(f"u{number}@users{position}.example/r", node)
            for position, node in enumerate(NODES)
            for number in range(users)
        }
        if Dialect.PROTOXEP not in dialects:
            for client in self.clients.values():
                client.id = occupantId(_IDS.salt(TOP), client.jid.partition("/")[0])
        self._byJid = {client.jid: client for client in self.clients.values()}
        self.owner = Client("owner@users.example/r", TOP)
        self._byJid[self.owner.jid] = self.owner
        self.take(TOP, f"<presence from='{self.owner.jid}' to='{TOP}/owner'>{MUC}</presence>")

    def restart(self, node: str, isLossy: bool) -> None:
        """
        Kill the process of a node, and start another one.

        @param isLossy: True if the stanzas in flight to it and from it are lost.
        """
        if isLossy:
            for way, waiting in self.links.items():
                if node in way:
                    waiting.clear()
        self.restarts += 1
        now = self.services[node].now
        rooms = self._made[node]()
        rooms.durability.isOn = True
        service = self.services[node] = Service(rooms, f"t{self.restarts}")
        service.now = now
        rooms.restore([(*key, value) for key, value in self.stored[node].items()], now)
        self._send(node, service.written(rooms.reconnected(now)))

    def reconnect(self, node: str) -> None:
        """Let the process of a node lose its server, and no stanza."""
        service = self.services[node]
        self._send(node, service.written(service.rooms.reconnected(service.now)))

    def _store(self, node: str) -> None:
        """Store what has changed at a node, before it is told."""
        stored = self.stored[node]
        for key, value in self.services[node].rooms.takeRecords():
            if value is not None:
                stored[key] = value
            elif key[1] == GONE:
                for each in [each for each in stored if each[0] == key[0]]:
                    del stored[each]
            else:
                stored.pop(key, None)

    def room(self, node: str) -> Room | None:
        """Return a node's room, if there is one."""
        return self.services[node].rooms.rooms.get(node)

    def take(self, node: str, xml: str | bytes) -> None:
        """Deliver a stanza to a node."""
        self._send(node, self.services[node].take(xml))

    def _send(self, node: str, sent: bytes) -> None:
        self._store(node)
        for stanza in ElementTree.fromstring(HEADER + sent.decode() + END):
            recipient = stanza.get("to", "")
            there = recipient.partition("/")[0]
            if there in self.services:
                data = ElementTree.tostring(stanza)
                self.links.setdefault((node, there), deque()).append(data)
                self.sent[node, there] = self.sent.get((node, there), 0) + 1
            else:
                self._byJid[recipient].take(stanza)

    def wait(self, seconds: float) -> None:
        """Advance all clocks."""
        for node, service in self.services.items():
            self._send(node, service.tick(seconds))

    def deliver(self, link: int) -> bool:
        """Deliver the oldest stanza of one link; return False if there is none."""
        waiting = [each for each, queue in sorted(self.links.items()) if queue]
        if not waiting:
            return False
        self.deliverFrom(*waiting[link % len(waiting)])
        return True

    def deliverFrom(self, sender: str, recipient: str) -> None:
        """Deliver the oldest stanza of the link between two nodes."""
        data = self.links[sender, recipient].popleft()
        # A stanza of the stream declares no namespace of its own there.
        self.take(recipient, data)

    def settle(self) -> None:
        """Deliver all stanzas."""
        while self.deliver(0):
            pass

    def join(self, client: Client, nick: str) -> None:
        """Send a user's join; if the user is an occupant, the client has lost its state."""
        if client.inside == nick:
            client.inside, client.seen = "", {}
        self.take(client.room, f"<presence from='{client.jid}' to='{client.room}/{nick}'>{MUC}</presence>")

    def leave(self, client: Client, nick: str) -> None:
        """Send a user's leave."""
        self.take(client.room, f"<presence from='{client.jid}' to='{client.room}/{nick}' type='unavailable'/>")

    def say(self, client: Client, body: str) -> None:
        """Send a user's message."""
        self.take(
            client.room,
            f"<message from='{client.jid}' to='{client.room}' type='groupchat'><body>{body}</body></message>",
        )

    def status(self, client: Client, text: str) -> None:
        """Send a user's presence."""
        self.take(
            client.room,
            f"<presence from='{client.jid}' to='{client.room}/{client.inside}'><status>{text}</status></presence>",
        )

    def kick(self, nick: str) -> None:
        """Kick an occupant in the owner's name."""
        room = self.room(TOP)
        assert room is not None
        with suppress(GatewayError):
            applyChanges(room, self.owner.jid, [Change(nick=nick, role=NO_ROLE)])
        self._send(TOP, b"".join(written(action) for action in self.services[TOP].rooms.settled(room)))

    def joined(self, node: str) -> bool:
        """True if a node has joined, or need not."""
        room = self.room(node)
        if room is None:
            return False
        return room.nodes.joinedNode is None or room.nodes.uplink.state is UplinkState.JOINED


__all__ = ["KICKED", "NODES", "TOP", "Chain", "Client"]
