"""
Stanzas as bytes: their addresses read, rewritten and answered without a tree.
"""

from __future__ import annotations

import re

from attrs import define, evolve
from twisted.words.xish import domish

from gateway.errors import GatewayError
from gateway.xml.context import Context
from gateway.xml.cut import tagName, writtenAttributes
from gateway.xml.errors import errorStanza
from gateway.xml.read import START_TAG, parse
from gateway.xml.write import route

# Beginning of the start tag, and end tag, of each kind of stanza without a prefix.
TAGS = {kind: (f"<{kind}".encode(), f"</{kind}>".encode()) for kind in ("iq", "message", "presence")}


@define(eq=False, repr=False)
class Stanza:
    """
    One stanza: a first-level element of a stream in its content namespace.

    @ivar name: C{"iq"}, C{"message"} or C{"presence"}.
    @ivar sender: the root's C{from}, unescaped, as the others; C{None} where there is none.
    @ivar recipient: C{to}.
    @ivar id: C{id}.
    @ivar type: C{type}.
    @ivar language: C{xml:lang}.
    @ivar raw: its bytes up to but without the end tag.
    @ivar cut: offset in C{raw} of the start tag's C{>} if the tag is plain: there is content, and it has these
        attributes only, in single quotes and without entities. Otherwise 0.
    """

    name: str
    sender: str | None
    recipient: str | None
    id: str | None
    type: str | None
    language: str | None
    raw: bytes
    context: Context
    cut: int

    def __repr__(self) -> str:
        return (
            f"<{self.name} from={self.sender!r} to={self.recipient!r} type={self.type!r} id={self.id!r} "
            f"{len(self.raw)} bytes>"
        )

    @property
    def payload(self) -> bytes:
        """The bytes between the start tag and the end tag."""
        return self.raw[self.cut + 1 if self.cut else self._startTag.end() :]

    @property
    def element(self) -> domish.Element:
        """
        The stanza as a tree; a new one at each access.

        @raise BadRequest: if the bytes are not one whole element.
        @raise TooLarge: see L{parse}.
        """
        return parse(self.context.header, self.whole)

    @property
    def whole(self) -> bytes:
        """Its bytes, the end tag included."""
        return self.raw if self._isOnlyTag else b"".join((self.raw, b"</", self._writtenName, b">"))

    def readdressed(self, addresses: bytes) -> bytes:
        """
        Return the stanza with other addresses: a new start tag, and the payload byte for byte.

        @param addresses: as L{route} returns them.
        """
        raw, cut = self.raw, self.cut
        if not cut:
            return self._readdressedCarefully(addresses)
        kept = f" id='{self.id}' type='{self.type}'"
        if self.id is None or self.type is None or self.language is not None:
            known = (("id", self.id), ("type", self.type), ("xml:lang", self.language))
            kept = "".join(f" {name}='{value}'" for name, value in known if value is not None)
        declarations = b""
        for use, declaration in self.context.uses:
            if use in raw:
                declarations += declaration
        opening, ending = TAGS[self.name]
        return b"".join((opening, addresses, declarations, kept.encode(), raw[cut:], ending))

    def _readdressedCarefully(self, addresses: bytes) -> bytes:
        """Slow path, for any start tag: all but the two addresses is copied."""
        kept = writtenAttributes(self._startTag.group())
        own = {name for name, _ in kept}
        declarations = [
            declaration
            for use, declaration in self.context.uses
            if use in self.raw and b"xmlns:" + use[:-1] not in own
        ]
        rest = [b" %b=%b" % (name, value) for name, value in kept if name not in (b"to", b"from")]
        name = self._writtenName
        return b"".join((b"<", name, addresses, *declarations, *rest, b">", self.payload, b"</", name, b">"))

    def sentBy(self, sender: str, recipient: str) -> Stanza:
        """Return the same stanza with other addresses."""
        written = self.readdressed(route(sender, recipient))
        raw = written[: written.rindex(b"</")]
        return evolve(self, sender=sender, recipient=recipient, raw=raw, cut=0)

    @property
    def _startTag(self) -> re.Match[bytes]:
        tag = START_TAG.match(self.raw)
        assert tag is not None
        return tag

    @property
    def _isOnlyTag(self) -> bool:
        return self.raw.endswith(b"/>") and self._startTag.end() == len(self.raw)

    @property
    def _writtenName(self) -> bytes:
        """The root's name with the prefix that it is written with."""
        return tagName(self.raw)


@define(eq=False, repr=False)
class Nonza(Stanza):
    """
    A first-level element that is not a stanza (XEP-0360): a handshake, a stream error.

    @ivar name: namespace and local name, with L{gateway.stream.core.SEPARATOR} between them.
    """


def errorReply(stanza: Stanza, error: type[GatewayError]) -> bytes:
    """Return the error answer to C{stanza}, from exactly the address it was sent to (RFC 6120 section 8.3)."""
    addresses = route(stanza.recipient or "", stanza.sender or "")
    return errorStanza(stanza.name, addresses, stanza.id, error)
