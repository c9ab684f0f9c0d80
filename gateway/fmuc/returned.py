"""
Messages of a mirror's occupants that the joined node returns as a reference, in place of the message. Pure.

Both nodes compute the digest of a message by themselves. If the joined node has another message than the one that
was sent, the mirror does not know the digest, and gets the joined node's message by a return.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

from attrs import define, field
from twisted.words.xish import domish

from gateway.muc.values import RoomMessage
from gateway.xml.context import COMPONENT
from gateway.xml.read import parse
from gateway.xml.write import tag

# Bytes of a digest; without padding in base64.
_LENGTH = 9
# Messages that are kept, and bytes of their payloads; of more, the oldest ones are forgotten.
_MAX_MESSAGES, _MAX_BYTES = 1_000, 1024 * 1024


def digest(message: RoomMessage) -> str:
    """Return the digest of the nick, the id and the payload. Servers on the way may spell the XML differently."""
    tree = parse(COMPONENT.header, tag("message", message.payload.raw.decode()).encode())
    text = json.dumps([message.nick, message.id or "", _values(tree)])
    return urlsafe_b64encode(sha256(text.encode()).digest()[:_LENGTH]).decode()


def _values(element: domish.Element) -> list[Any]:
    attributes = sorted((str(name), value) for name, value in element.attributes.items())
    inside: list[Any] = []
    for child in element.children:
        if not isinstance(child, str):
            inside.append(_values(child))
        elif inside and isinstance(inside[-1], str):
            inside[-1] += child
        else:
            inside.append(child)
    return [element.uri, element.name, attributes, inside]


@define(eq=False)
class Awaited:
    """Messages that were sent to a joined node, by digest; several with the same one are the same message."""

    _messages: dict[str, tuple[RoomMessage, int]] = field(factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._messages)

    def sent(self, digest: str, message: RoomMessage) -> None:
        """Keep a message, as it is shown here when it comes back."""
        known = self._messages.get(digest)
        if known is None:
            self._bytes += len(message.payload.raw)
        self._messages[digest] = message, 1 if known is None else known[1] + 1
        while len(self._messages) > _MAX_MESSAGES or self._bytes > _MAX_BYTES:
            self._forget(next(iter(self._messages)))

    def take(self, nick: str, digest: str) -> RoomMessage | None:
        """Return the message of an occupant that has come back; C{None} if it is not known."""
        message, count = self._messages.get(digest, (None, 0))
        if message is None or message.nick != nick:
            return None
        if count > 1:
            self._messages[digest] = message, count - 1
        else:
            self._forget(digest)
        return message

    def _forget(self, digest: str) -> None:
        self._bytes -= len(self._messages.pop(digest)[0].payload.raw)
