"""Three nodes in a chain, links that keep order and nothing else, and clients that believe what they are told."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway import ns
from gateway.errors import GatewayError
from gateway.fmuc.core import Mirroring, Rooms
from gateway.fmuc.uplink import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.administration import Change, applyChanges
from gateway.muc.room import Room
from gateway.muc.values import KICKED, NICK_CHANGED, NO_ROLE
from tests.fmuc.support import END, HEADER, MUC, Service, written

TOP = "room@top.example"
MIDDLE = r"room\40top.example@middle.example"
BOTTOM = r"room\5c40top.example\40middle.example@bottom.example"
NODES = (TOP, MIDDLE, BOTTOM)


class Client:
    """
    A user's client.

    @ivar epoch: counts his stays in the room.
    @ivar inside: the nick by which he is in; empty if he is not.
    @ivar seen: the occupants that he was told of, by nick, with the status that they show.
    @ivar heard: the bodies of what was said while he was in, in this stay.
    """

    def __init__(self, jid: str, room: str) -> None:
        self.jid = jid
        self.room = room
        self.epoch = 0
        self.inside = ""
        self.seen: dict[str, str] = {}
        self.heard: list[str] = []
        self.lived: list[str] = []
        self.problems: list[str] = []
        self.codes: list[int] = []

    def take(self, stanza: Element) -> None:
        """The server hands on one stanza."""
        text = ElementTree.tostring(stanza, encoding="unicode")
        if ns.FMUC in text:
            self.problems.append(f"fmuc reaches a client: {text}")
        room, _, nick = stanza.get("from", "").partition("/")
        if room != self.room:
            self.problems.append(f"from elsewhere: {text}")
        if stanza.get("type") == "error":
            return
        if stanza.tag.endswith("}message"):
            self._message(stanza)
            return
        codes = [int(each.get("code", "")) for each in stanza.iter(f"{{{ns.MUC_USER}}}status")]
        own = 110 in codes
        if stanza.get("type") == "unavailable":
            if not self.inside and not own:
                self.problems.append(f"unavailable before he is in: {text}")
            if self.seen.pop(nick, None) is None and not own:
                self.problems.append(f"gone who was not there: {text}")
            if own and NICK_CHANGED in codes:
                # He is still in, and has what he had.
                self.inside = next(item.get("nick", "") for item in stanza.iter(f"{{{ns.MUC_USER}}}item"))
            elif own:
                self.codes = codes
                self.inside, self.seen = "", {}
        else:
            self.seen[nick] = stanza.findtext(f"{{{ns.COMPONENT_ACCEPT}}}status") or ""
            if own and self.inside != nick:
                self.inside, self.heard, self.lived = nick, [], []
                self.epoch += 1

    def _message(self, stanza: Element) -> None:
        if not self.inside:
            self.problems.append("a message before he is in")
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
    The nodes, their users, and what is under way.

    @ivar links: by sender and recipient, stanzas in their order.
    """

    def __init__(self, dialects: tuple[Dialect, Dialect], replicas: tuple[bool, bool], users: int = 2) -> None:
        everything = frozenset(("*",))
        self.services = {TOP: Service(Rooms("top.example", None, frozenset(("middle.example",))))}
        domains = (("middle.example", "bottom.example"), ("bottom.example", ""))
        for jid, (domain, peer), dialect, replica in zip(NODES[1:], domains, dialects, replicas, strict=True):
            mirroring = Mirroring(dialect=dialect, replica=replica, allow=everything, users=everything)
            self.services[jid] = Service(Rooms(domain, mirroring, frozenset((peer,))))
        self.links: dict[tuple[str, str], deque[bytes]] = {}
        self.sent: dict[tuple[str, str], int] = {}
        self.clients = {
            (node, number): Client(f"u{number}@users{position}.example/r", node)
            for position, node in enumerate(NODES)
            for number in range(users)
        }
        self._byJid = {client.jid: client for client in self.clients.values()}
        self.owner = Client("owner@users.example/r", TOP)
        self._byJid[self.owner.jid] = self.owner
        self.take(TOP, f"<presence from='{self.owner.jid}' to='{TOP}/owner'>{MUC}</presence>")

    def room(self, node: str) -> Room | None:
        """A node's room, if there is one now."""
        return self.services[node].rooms.rooms.get(node)

    def take(self, node: str, xml: str | bytes) -> None:
        """A stanza comes to a node."""
        self._send(node, self.services[node].take(xml))

    def _send(self, node: str, sent: bytes) -> None:
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
        """Let time pass everywhere."""
        for node, service in self.services.items():
            self._send(node, service.tick(seconds))

    def deliver(self, link: int) -> bool:
        """Let the oldest stanza of one of the links arrive; whether there was one."""
        waiting = [each for each, queue in sorted(self.links.items()) if queue]
        if not waiting:
            return False
        sender, recipient = waiting[link % len(waiting)]
        data = self.links[sender, recipient].popleft()
        # A stanza of the stream has no namespace of its own in there.
        self.take(recipient, data)
        return True

    def settle(self) -> None:
        """Let everything arrive."""
        while self.deliver(0):
            pass

    def join(self, client: Client, nick: str) -> None:
        """He asks to be let in; if he is, his client has forgotten it."""
        if client.inside == nick:
            client.inside, client.seen = "", {}
        self.take(client.room, f"<presence from='{client.jid}' to='{client.room}/{nick}'>{MUC}</presence>")

    def leave(self, client: Client, nick: str) -> None:
        """He goes, or asks no more."""
        self.take(client.room, f"<presence from='{client.jid}' to='{client.room}/{nick}' type='unavailable'/>")

    def say(self, client: Client, body: str) -> None:
        """He speaks."""
        self.take(
            client.room,
            f"<message from='{client.jid}' to='{client.room}' type='groupchat'><body>{body}</body></message>",
        )

    def status(self, client: Client, text: str) -> None:
        """He shows something else."""
        self.take(
            client.room,
            f"<presence from='{client.jid}' to='{client.room}/{client.inside}'><status>{text}</status></presence>",
        )

    def kick(self, nick: str) -> None:
        """The owner does."""
        room = self.room(TOP)
        assert room is not None
        with suppress(GatewayError):
            applyChanges(room, self.owner.jid, [Change(nick=nick, role=NO_ROLE)])
        self._send(TOP, b"".join(written(action) for action in room.takeActions()))

    def joined(self, node: str) -> bool:
        """Whether a node is in the set."""
        room = self.room(node)
        if room is None:
            return False
        return room.nodes.joinedNode is None or room.nodes.uplink.state is UplinkState.JOINED


__all__ = ["KICKED", "NODES", "TOP", "Chain", "Client"]
