"""A chain of stored nodes whose links lose, repeat, delay and return stanzas, and whose processes are killed."""

from __future__ import annotations

from collections import deque
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from attrs import frozen

from gateway import ns
from gateway.addresses import jids
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.ids import Ids, occupantId
from gateway.muc.room import Room
from gateway.muc.values import KICKED, TECHNICAL_PROBLEM
from gateway.stream.stanzas import Stanza
from gateway.testing.wire import END, HEADER
from tests.fmuc.chain import Client
from tests.fmuc.durable import HeldStore
from tests.fmuc.linked import Side
from tests.fmuc.support import MUC

# Users of each node.
USERS = 2
_ERROR = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
_HEADER, _END = HEADER.encode(), END.encode()
_BODY = f"{{{ns.COMPONENT_ACCEPT}}}body"


@frozen
class Node:
    """
    A node.

    @ivar dialect: that of the link to its joined node.
    @ivar mode: of the same link.
    @ivar isStored: True if it has a store, and channels.
    """

    dialect: Dialect = Dialect.XEP_0289
    mode: Mode = Mode.PRIMARY
    isStored: bool = True


class Person(Client):
    """
    A user's client.

    @ivar refused: ids of messages that were refused.
    @ivar asked: the nick of a join that is not answered; empty if there is none.
    @ivar isUncertain: True if a node was killed meanwhile: it may let the user in, and out again.
    @ivar isPutOut: True if the user was put out by a technical problem, and not for that reason.
    @param senders: users by the bodies of messages, and the stays in which they have sent them.
    """

    def __init__(self, jid: str, room: str, senders: dict[str, tuple[Person, int]]) -> None:
        super().__init__(jid, room)
        self._senders = senders
        self.refused: set[str] = set()
        self.asked, self.isUncertain, self.isPutOut = "", False, False

    def take(self, stanza: Element) -> None:
        if stanza.get("type") == "error" and stanza.tag.endswith("}message"):
            self.refused.add(stanza.get("id", ""))
        elif not stanza.tag.endswith("}iq") and (stanza.findtext(_BODY) or "").partition(" ")[0] != "The":
            # A notice about the link may come several times.
            wasInside = bool(self.inside)
            super().take(stanza)
            isOut = wasInside and not self.inside and TECHNICAL_PROBLEM in self.codes and KICKED not in self.codes
            self.isPutOut |= isOut and not self.isUncertain
            if self.inside or (stanza.get("type") == "error" and stanza.get("from", "").endswith(f"/{self.asked}")):
                self.asked = ""

    def _checkIds(self, stanza: Element, nick: str) -> None:
        sender, stay = self._senders.get(stanza.findtext(_BODY) or "", (None, 0))
        # The sender of a message may have left, and another user may have the nick.
        if sender is None or (sender.inside == nick and sender.epoch == stay):
            super()._checkIds(stanza, nick)

    def forget(self) -> None:
        """The node has forgotten the user."""
        self.inside, self.seen = "", {}


def _read(data: bytes) -> Element:
    """Return a stanza as an element."""
    [element] = ElementTree.fromstring(_HEADER + data + _END)
    return element


class Losses:
    """
    The chain.

    @ivar rooms: bare JIDs of the rooms, that of the first node first.
    @ivar links: stanzas on their way, by the domains of sender and recipient.
    @ivar cuts: links that lose everything, by the same.
    @ivar forgotten: number of times that a node has lost its state.
    @ivar seconds: time that has passed.
    """

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.rooms = ["room@n0.example"]
        domains = [f"n{number}.example" for number in range(len(nodes))]
        for domain in domains[1:]:
            self.rooms.append(f"{jids.escapeLocal(self.rooms[-1])}@{domain}")
        self.links: dict[tuple[str, str], deque[bytes]] = {}
        self.cuts: set[frozenset[str]] = set()
        self.forgotten = 0
        self.seconds = 0.0
        self._senders: dict[str, tuple[Person, int]] = {}
        self.clients = [
            Person(f"u{number}@users{place}.example/r", room, self._senders)
            for place, room in enumerate(self.rooms)
            for number in range(USERS)
        ]
        self.owner = Person("owner@users.example/r", self.rooms[0], self._senders)
        self._byJid = {client.jid: client for client in (*self.clients, self.owner)}
        if all(each.dialect is Dialect.XEP_0289 for each in nodes):
            salt = Ids(b"n0.example").salt(self.rooms[0])
            for client in self._byJid.values():
                client.id = occupantId(salt, jids.bare(client.jid))
        self.sides = {
            domain: Side(
                domain,
                node.mode,
                node.isStored,
                domains[place + 1 : place + 2],
                node.dialect,
                node.isStored,
                isOwn=not place,
            )
            for place, (domain, node) in enumerate(zip(domains, nodes, strict=True))
        }
        self.domains = domains
        self.join(self.owner, "owner")

    @property
    def isReliable(self) -> bool:
        """True if there are channels everywhere, and no node has lost what it has stored."""
        hasChannels = all(each.isStored and each.dialect is Dialect.XEP_0289 for each in self.nodes)
        return hasChannels and not self.forgotten

    # Stanzas.

    def take(self, domain: str, xml: str | bytes) -> None:
        """Deliver a stanza to a node."""
        self.sides[domain].server.send(xml)
        self.flush(domain)

    def flush(self, domain: str) -> None:
        """Let a node store and send what it has to."""
        side = self.sides[domain]
        side.server.clock.advance(0)
        for stanza in side.sent():
            self._sent(domain, stanza)

    def _sent(self, domain: str, stanza: Stanza) -> None:
        to = stanza.recipient or ""
        there = jids.split(to)[1]
        if there in self.sides:
            if frozenset((domain, there)) not in self.cuts:
                self.links.setdefault((domain, there), deque()).append(stanza.whole)
        else:
            self._byJid[to].take(_read(stanza.whole))

    def waiting(self, which: int) -> tuple[str, str] | None:
        """Return one of the links with stanzas on their way; C{None} if there is none."""
        found = [each for each, queue in sorted(self.links.items()) if queue]
        return found[which % len(found)] if found else None

    def deliver(self, which: int) -> bool:
        """Deliver the oldest stanza of one link; return False if there is none."""
        link = self.waiting(which)
        if link is None:
            return False
        self.take(link[1], self.links[link].popleft())
        return True

    def settle(self) -> None:
        """Deliver everything."""
        while self.deliver(0):
            pass

    def lose(self, which: int) -> None:
        """Lose the oldest stanza of one link."""
        link = self.waiting(which)
        if link is not None:
            self.links[link].popleft()

    def repeat(self, which: int) -> None:
        """Repeat the oldest stanza of one link, if it is one of a channel."""
        link = self.waiting(which)
        if link is not None and ns.CHANNEL.encode() in self.links[link][0]:
            self.links[link].append(self.links[link][0])

    def delay(self, which: int) -> None:
        """Let others overtake the oldest stanza of one link, if it is one of a channel."""
        link = self.waiting(which)
        if link is not None and ns.CHANNEL.encode() in self.links[link][0]:
            self.links[link].append(self.links[link].popleft())

    def bounce(self, which: int) -> None:
        """Return the oldest stanza of one link as undeliverable, with its payload, as ejabberd does."""
        link = self.waiting(which)
        if link is None:
            return
        stanza = _read(self.links[link].popleft())
        if stanza.get("type") in ("error", "result"):
            return
        sender, recipient = stanza.get("from", ""), stanza.get("to", "")
        stanza.set("from", recipient)
        stanza.set("to", sender)
        stanza.set("type", "error")
        stanza.append(ElementTree.fromstring(_ERROR.replace("<error", f"<error xmlns='{ns.COMPONENT_ACCEPT}'")))
        self.links.setdefault((link[1], link[0]), deque()).append(ElementTree.tostring(stanza))

    def cut(self, which: int) -> None:
        """Cut one link, or repair it: what is on its way, and what is sent, is lost without an error."""
        place = which % (len(self.domains) - 1)
        ends = frozenset(self.domains[place : place + 2])
        self.cuts ^= {ends}
        for link, queue in self.links.items():
            if frozenset(link) in self.cuts:
                queue.clear()

    # Processes.

    def kill(self, which: int, isLossy: bool = False) -> None:
        """
        Kill the process of a node, and start another one.

        @param isLossy: True if the stanzas on their way to it and from it are lost.
        """
        domain = self.domains[which % len(self.domains)]
        side = self.sides[domain]
        if isLossy:
            self._clear(domain)
        for client in self.clients:
            client.isUncertain |= bool(client.asked)
        side.kill()
        if not side.isStored:
            self._forgotten(domain)
        self.flush(domain)

    def forget(self, which: int) -> None:
        """The same; the new process has another store, which is empty."""
        domain = self.domains[which % len(self.domains)]
        self.sides[domain].store = HeldStore()
        self.sides[domain].kill()
        self._forgotten(domain)
        self.flush(domain)

    def _forgotten(self, domain: str) -> None:
        self.forgotten += 1
        for client in self._byJid.values():
            if jids.split(client.room)[1] == domain:
                client.forget()
        if domain == self.domains[0]:
            self.join(self.owner, "owner")

    def reconnect(self, which: int) -> None:
        """A node loses its server, and what is on its way to it."""
        domain = self.domains[which % len(self.domains)]
        for link, queue in self.links.items():
            if link[1] == domain:
                queue.clear()
        server = self.sides[domain].server
        server.lose()
        server.restore()
        self.flush(domain)

    def _clear(self, domain: str) -> None:
        for link, queue in self.links.items():
            if domain in link:
                queue.clear()

    # Time.

    def wait(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass; the links deliver everything."""
        for _ in range(round(seconds / step)):
            self.skip(step)
            self.settle()

    def skip(self, seconds: float) -> None:
        """Let time pass in which the links deliver nothing."""
        self.seconds += seconds
        for domain, side in self.sides.items():
            side.server.clock.advance(seconds)
            self.flush(domain)

    # Users.

    def join(self, client: Person, nick: str) -> None:
        """Send a user's join; if the user is an occupant, the client has lost its state."""
        if client.inside == nick:
            client.inside, client.seen = "", {}
        if not client.inside and not client.asked:
            client.asked, client.isUncertain = nick, False
        self._send(client, f"<presence from='{client.jid}' to='{client.room}/{nick}'>{MUC}</presence>")

    def leave(self, client: Client, nick: str) -> None:
        """Send a user's leave."""
        self._send(client, f"<presence from='{client.jid}' to='{client.room}/{nick}' type='unavailable'/>")

    def say(self, client: Person, body: str) -> None:
        """Send a user's message."""
        self._senders[body] = client, client.epoch
        attributes = f"from='{client.jid}' to='{client.room}' type='groupchat' id='{body}'"
        self._send(client, f"<message {attributes}><body>{body}</body></message>")

    def status(self, client: Client, text: str) -> None:
        """Send a user's presence."""
        attributes = f"from='{client.jid}' to='{client.room}/{client.inside}'"
        self._send(client, f"<presence {attributes}><status>{text}</status></presence>")

    def kick(self, nick: str) -> None:
        """Kick an occupant in the owner's name."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='{nick}' role='none'/></query>"
        self._send(self.owner, f"<iq type='set' id='k' from='{self.owner.jid}' to='{self.rooms[0]}'>{query}</iq>")

    def _send(self, client: Client, xml: str) -> None:
        self.take(jids.split(client.room)[1], xml)

    # The nodes.

    def room(self, place: int) -> Room | None:
        """Return a node's room, if there is one."""
        return self.sides[self.domains[place]].rooms.rooms.get(self.rooms[place])

    def state(self, place: int) -> UplinkState | None:
        """Return the state of a node's uplink."""
        federation = self.sides[self.domains[place]].rooms.federation(self.rooms[place])
        return None if federation is None or federation.uplink is None else federation.uplink.state
