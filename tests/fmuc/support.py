"""Rooms without a link: stanzas go in as text, and the output is read by another parser."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import ERRORS, BadRequest, GatewayError, OnlyInTheRoom
from gateway.fmuc.core import Rooms
from gateway.fmuc.mirroring import Mirroring
from gateway.fmuc.properties import Properties
from gateway.fmuc.stanzas import readMessage, readPresence, write
from gateway.fmuc.values import Dialect, Mode
from gateway.muc.actions import ANSWER_IQ, Action
from gateway.muc.iq import answer, result
from gateway.muc.room import Bounds
from gateway.stream.outflow import Copies
from gateway.stream.stanzas import Stanza, errorReply
from gateway.testing import stanzas
from gateway.testing.wire import END, HEADER

MUC = f"<x xmlns='{ns.MUC}'/>"


def written(action: Action) -> bytes:
    """Return the bytes that an action sends."""
    data = write(action)
    if isinstance(data, list):
        return b"".join(data)
    return data.written() if isinstance(data, Copies) else data


# Ids that a room adds to nearly all stanzas; they have tests of their own (C{test_ids.py}).
_IDS = (f"{{{ns.OCCUPANT_ID}}}occupant-id", f"{{{ns.SID}}}stanza-id", f"{{{ns.RESUME}}}resume")


_WRITTEN_ID = re.compile(rb"<(?:occupant|stanza)-id [^>]*/>")


def withoutIds(sent: bytes) -> bytes:
    """Return what a room has sent without occupant ids and stanza ids."""
    return _WRITTEN_ID.sub(b"", sent)


def canonical(xml: str | bytes, ids: bool = False) -> list[str]:
    """
    Return each stanza in canonical form; indentation and the order of elements are ignored.

    @param ids: False to leave out occupant ids and stanza ids.
    """
    content = xml.decode() if isinstance(xml, bytes) else xml
    content = re.sub(r">\s+<", "><", content.strip())
    found = []
    for child in ElementTree.fromstring(HEADER + content + END):
        child.tail = None
        kept = [each for each in child if ids or each.tag not in _IDS]
        for each in kept:
            if not ids and each.tag == f"{{{ns.CHANNEL}}}r":
                # A stanza id, as a channel tells it.
                each.attrib.pop("i", None)
        child[:] = sorted(kept, key=lambda each: ElementTree.canonicalize(ElementTree.tostring(each)))
        text = ElementTree.tostring(child, encoding="unicode")
        found.append(ElementTree.canonicalize(text, rewrite_prefixes=True))
    return found


def refused(name: str, sender: str, recipient: str, error: type[GatewayError], given: str = "") -> str:
    """
    Return the expected error stanza.

    @param given: id and payload of the refused stanza: the text between the addresses and the error.
    """
    said = ERRORS[error]
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{said.text}</text>" if said.text else ""
    head = f"<{name} from='{sender}' to='{recipient}' type='error'"
    attributes, _, inside = given.partition("<")
    return (
        f"{head} {attributes}>{'<' + inside if inside else ''}<error type='{said.kind}'>"
        f"<{said.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error></{name}>"
    )


def elsewhere(mirror: str, joined: str, who: str, identifier: str) -> str:
    """Return the error of a request to a mirror that its sender is not in."""
    text = ERRORS[OnlyInTheRoom].text
    words = f"A mirror passes on the requests of its occupants: join it, or ask {joined} itself."
    return refused("iq", mirror, who, OnlyInTheRoom, f"id='{identifier}' ").replace(text, words)


class Service:
    """The rooms of one component, and a clock."""

    def __init__(self, rooms: Rooms, token: str = "t") -> None:
        self.rooms = rooms
        self.rooms.token = token
        self.rooms.properties = Properties(rooms, token)
        self.now = 1_000_000.0

    def take(self, xml: str | bytes) -> bytes:
        """Return the bytes that stanzas cause."""
        sent = []
        for stanza in stanzas(xml):
            assert stanza.sender and stanza.recipient, stanza
            if stanza.name == "iq":
                sent += self._asked(stanza) if stanza.type in ("get", "set") else self._answered(stanza)
                continue
            if stanza.name == "presence":
                actions = self.rooms.presence(stanza.sender, stanza.recipient, readPresence(stanza), self.now)
            else:
                actions = self.rooms.message(stanza.sender, stanza.recipient, readMessage(stanza), self.now)
            sent += [written(action) for action in actions]
        return b"".join(sent)

    def _answered(self, stanza: Stanza) -> list[bytes]:
        actions = self.rooms.answered(stanza, self.now)
        exchange = self.rooms.iqs.close(stanza) if actions is None else None
        return [written(action) for action in actions or ([] if exchange is None else exchange.answer(stanza))]

    def _asked(self, stanza: Stanza) -> list[bytes]:
        try:
            payload, actions = None, self.rooms.request(stanza, self.now)
            if actions is None:
                payload, actions = answer(self.rooms, stanza, self.now)
        except GatewayError as error:
            return [errorReply(stanza, type(error))]
        own = [] if payload is None else [result(stanza, payload)]
        if ANSWER_IQ not in actions:
            return [*own, *(written(action) for action in actions)]
        return [b"".join(own) if action is ANSWER_IQ else written(action) for action in actions]

    def written(self, actions: list[Action]) -> bytes:
        """Return the bytes that actions send."""
        return b"".join(map(written, actions))

    def shutDown(self) -> bytes:
        """End the service."""
        return b"".join(written(action) for action in self.rooms.shutDown())

    def tick(self, seconds: float) -> bytes:
        """Advance the clock."""
        self.now += seconds
        return b"".join(written(action) for action in self.rooms.tick(self.now))


def mirror(
    jid: str,
    dialect: Dialect = Dialect.XEP_0289,
    replica: bool = True,
    peers: str = "",
    users: str = "*",
    administrators: str = "",
) -> Service:
    """Return a mirror that allows all rooms."""
    everything = frozenset(("*",))
    mode = Mode.REPLICA if replica else Mode.PRIMARY
    mirroring = Mirroring(dialect=dialect, mode=mode, allow=everything, users=frozenset(users.split()))
    administering = frozenset(administrators.split())
    return Service(Rooms(jid, mirroring, frozenset(peers.split()), administrators=administering))


def rooms(jid: str, *peers: str, bounds: Bounds | None = None, administrators: str = "") -> Service:
    """Return a service with rooms of its own."""
    return Service(Rooms(jid, None, frozenset(peers), bounds, administrators=frozenset(administrators.split())))


class RoomCase(SynchronousTestCase):
    """Compares complete stanzas."""

    maxDiff = None

    def assertSent(self, sent: bytes, *expected: str) -> None:
        """Exactly these stanzas are sent, in the order that each recipient sees."""
        self.assertEqual(_byRecipient(canonical(sent)), _byRecipient(canonical("".join(expected))))

    def assertRefused(self, xml: str) -> None:
        """The stanza cannot be read."""
        for stanza in stanzas(xml):
            self.assertRaises(BadRequest, readPresence if stanza.name == "presence" else readMessage, stanza)


def _byRecipient(found: list[str]) -> dict[str, list[str]]:
    sorted_: dict[str, list[str]] = {}
    for each in found:
        recipient = re.search(r' to="([^"]*)"', each)
        assert recipient, each
        # Another node is one recipient, whoever the stanza is for.
        sorted_.setdefault(recipient[1].partition("/")[0], []).append(each)
    return sorted_
