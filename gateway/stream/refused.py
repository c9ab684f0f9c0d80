"""
Rules for stanzas that are refused at the stream, in either direction. Pure.

A refused stanza never reaches its recipient. Its sender gets an error, as if the recipient had sent it. If it is an
answer itself, the recipient gets an error in its place.
"""

from __future__ import annotations

from attrs import frozen

from gateway.errors import BadNamespace, BadRequest, GatewayError, TooDeep, TooLarge
from gateway.stream.stanzas import TAGS, Nonza, Stanza
from gateway.xml import write
from gateway.xml.context import Context
from gateway.xml.errors import errorStanza
from gateway.xml.read import SEPARATOR
from gateway.xml.write import route

# Characters of an address in the log.
_MAX_ADDRESS = 200

WORDS: dict[type[GatewayError], str] = {
    TooLarge: "too large",
    TooDeep: "nested too deep",
    BadNamespace: "against the rules of namespaces in XML",
    BadRequest: "not well-formed",
}


@frozen(eq=False)
class StanzaRefused:
    """
    A stanza, or another first-level element, that was skipped to its end.

    @ivar stanza: the stanza without content, as its start tag has it.
    @ivar why: the reason, as an error.
    @ivar size: its bytes.
    @ivar head: the first bytes of it, 16 KiB at most.
    """

    stanza: Stanza
    why: type[GatewayError]
    size: int
    head: bytes

    def inWords(self) -> str:
        """For the log."""
        stanza = self.stanza
        name = stanza.name.replace(SEPARATOR, " ")[:_MAX_ADDRESS]
        addresses = f"from {_shown(stanza.sender)} to {_shown(stanza.recipient)}"
        return f"{ascii(name)[1:-1]} {addresses}, {self.size} bytes, {WORDS[self.why]}"


def rootOf(name: str, attributes: dict[str, str], context: Context) -> Stanza:
    """
    Return the stanza with this start tag, without content.

    @param name: as it is written, perhaps with a prefix; so are the names of the attributes.
    """
    prefix, _, local = name.rpartition(":")
    declaration = f"xmlns:{prefix}" if prefix else "xmlns"
    uri = attributes.get(declaration, context.prefixes.get(prefix, "") if prefix else context.namespace)
    get = attributes.get
    known = get("from"), get("to"), get("id"), get("type"), get("xml:lang")
    if uri == context.namespace and local in ("iq", "message", "presence"):
        return Stanza(local, *known, TAGS[local][0] + b">", context, 0)
    return Nonza(f"{uri}{SEPARATOR}{local}", *known, b"<nonza>", context, 0)


def isBounced(stanza: Stanza) -> bool:
    """
    Return true if a refused stanza is answered with an error.

    Presence is not: a server that gets an error for the presence it broadcasts sends no more of it (RFC 6121
    section 4.4.2).
    """
    if stanza.name == "iq":
        return stanza.type not in ("result", "error")
    return stanza.name == "message" and stanza.type != "error"


def bounce(stanza: Stanza, why: type[GatewayError], component: str) -> Stanza | None:
    """
    Return the error for the sender of a refused stanza; C{None} for none.

    @param component: the recipient of a stanza that names none.
    """
    if not stanza.sender or not isBounced(stanza):
        return None
    return _error(stanza, stanza.recipient or component, stanza.sender, why)


def substitute(stanza: Stanza, why: type[GatewayError]) -> Stanza | None:
    """
    Return the stanza that the recipient gets in place of a refused one; C{None} for none.

    The recipient may wait for an answer, an error, a leave or a change of subscription: such a stanza has the same
    effect without its content.
    """
    kind = stanza.type
    if stanza.name == "presence" and kind is not None and kind != "error":
        sender, recipient, identifier = stanza.sender, stanza.recipient, stanza.id
        written = write.writeStanza("presence", b"", b"", from_=sender, to=recipient, id=identifier, type=kind)
        raw = written.removesuffix(TAGS["presence"][1])
        return Stanza("presence", sender, recipient, identifier, kind, None, raw, stanza.context, 0)
    if kind == "error" or (stanza.name == "iq" and kind == "result"):
        return None if isinstance(stanza, Nonza) else _error(stanza, stanza.sender, stanza.recipient, why)
    return None


def _error(stanza: Stanza, sender: str | None, recipient: str | None, why: type[GatewayError]) -> Stanza:
    name = stanza.name
    data = errorStanza(name, route(sender or "", recipient or ""), stanza.id, why)
    raw = data.removesuffix(f"</{name}>".encode())
    return Stanza(name, sender, recipient, stanza.id, "error", None, raw, stanza.context, 0)


def _shown(address: str | None) -> str:
    return "nobody" if address is None else ascii(address[:_MAX_ADDRESS])


def refusedRoot(stanza: Stanza, why: type[GatewayError], size: int, head: bytes) -> StanzaRefused:
    """Return the refusal of a stanza that was read; its content is not kept."""
    known = stanza.sender, stanza.recipient, stanza.id, stanza.type, stanza.language
    return StanzaRefused(type(stanza)(stanza.name, *known, b"<root>", stanza.context, 0), why, size, head)
