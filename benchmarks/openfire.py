"""
Stanzas between nodes as Openfire 5.1.1 writes them: a model after recorded traffic, for its bytes.

Openfire announces a join twice, tells no later changes of presence, and gives each message a stanza id and an
occupant id of its own. It sends no iq to other nodes.
"""

import hashlib
import re

from gateway.stream.stanzas import Stanza

_FMUC = re.compile(rb"<fmuc xmlns='[^']*' from='([^']*)'(?:/>|>.*?</fmuc>)")
_ITEM = re.compile(rb"<item affiliation='([^']*)' role='([^']*)'")
_OURS = re.compile(
    rb"<(?:occupant|stanza)-id [^>]*/>|<x xmlns='http://jabber.org/protocol/muc'/>|"
    rb"<x xmlns='http://jabber.org/protocol/muc#user'>.*?</x>|<x xmlns='vcard-temp:x:update'>.*?</x>|<c [^>]*/>"
)
_PHOTO = re.compile(rb"<x xmlns='vcard-temp:x:update'>.*?</x>")
_INSIDE = re.compile(rb"^<[^>]*?(?:/>|>(.*)</\w+>)$", re.DOTALL)
_JOIN = b"<x xmlns='http://jabber.org/protocol/muc'/>"


def asOpenfire(stanza: Stanza) -> list[bytes]:
    """Return what Openfire writes in the place of a stanza between two nodes; nothing if it has no such stanza."""
    real = _FMUC.search(stanza.raw)
    if stanza.name == "iq":
        return []
    if real is None:
        return [stanza.whole]
    fmuc = b"<fmuc xmlns='http://isode.com/protocol/fmuc' from='%b'/>" % real[1]
    occupantId = b"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='%b'/>" % _hex(real[1], 40)
    head = b"<%b from='%b' to='%b'" % (stanza.name.encode(), _bytes(stanza.sender), _bytes(stanza.recipient))
    if stanza.name == "presence":
        return _presence(stanza, head, fmuc, occupantId, real[1])
    inside = _INSIDE.match(stanza.whole)
    payload = _OURS.sub(b"", _FMUC.sub(b"", (inside[1] if inside else b"") or b""))
    digest = _hex(stanza.raw, 32)
    uuid = b"-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
    room = _bytes(stanza.sender).partition(b"/")[0]
    stanzaId = b"<stanza-id xmlns='urn:xmpp:sid:0' id='%b' by='%b'/>" % (uuid, room)
    written = b" type='%b' id='%b'>" % (_bytes(stanza.type), _bytes(stanza.id))
    return [head + written + payload + stanzaId + occupantId + fmuc + b"</message>"]


def _presence(stanza: Stanza, head: bytes, fmuc: bytes, occupantId: bytes, real: bytes) -> list[bytes]:
    item = _ITEM.search(stanza.raw)
    affiliation, role = item.groups() if item else (b"none", b"participant")
    photo = b"".join(_PHOTO.findall(stanza.raw))
    user = b"<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='%b' role='%b'%b/></x>"
    jid = b" jid='%b'" % real
    if stanza.type == "unavailable":
        gone = photo + occupantId + user % (affiliation, b"none", jid) + fmuc
        return [b"%b type='unavailable'>%b</presence>" % (head, gone)]
    if _JOIN in stanza.raw:
        first = _JOIN + user % (affiliation, role, b"") + fmuc
        second = photo + occupantId + user % (affiliation, role, jid) + fmuc
        return [b"%b>%b</presence>" % (head, first), b"%b>%b</presence>" % (head, second)]
    if b"<status>" in stanza.raw:
        return []
    # Its room tells an occupant's own address in the place of the real JID.
    jid = b" jid='%b'" % _bytes(stanza.sender)
    return [b"%b>%b</presence>" % (head, fmuc + user % (affiliation, role, jid))]


def _hex(value: bytes, size: int) -> bytes:
    return hashlib.sha256(value).hexdigest()[:size].encode()


def _bytes(value: str | None) -> bytes:
    return (value or "").encode()
