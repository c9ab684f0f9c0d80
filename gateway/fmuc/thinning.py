"""Leaves out elements and stanzas that do not cross the link to another node, by its profile. Pure."""

from __future__ import annotations

from attrs import evolve

from gateway import ns
from gateway.fmuc.actions import Admission, Content, Join, PrivateMessage, Submission
from gateway.fmuc.profiles import Profile
from gateway.muc.values import OccupantPresence, Payload, RoomMessage
from gateway.xml.context import COMPONENT
from gateway.xml.cut import Part, cut

_STANZA = "stanzas without further content"


def thinned(profile: Profile, payload: Payload) -> tuple[Payload, list[str]]:
    """Return a payload without the elements that a profile leaves out, and words for each of these."""
    kept, words = _sorted(profile, payload)
    return (Payload(b"".join(part.raw for part in kept), payload.language), words) if words else (payload, [])


def _sorted(profile: Profile, payload: Payload) -> tuple[list[Part], list[str]]:
    # A payload was cut before; one in an unusual spelling is sent as it is.
    found = cut(payload.raw, COMPONENT) or []
    words = [profile.leftOut.get((part.namespace, part.name), "") for part in found]
    return [part for part, word in zip(found, words, strict=True) if not word], list(filter(None, words))


def crossing(profile: Profile, stanza: Content) -> tuple[Content | None, list[str]]:
    """
    Return a stanza as it crosses the link, and words for each thing that is left out.

    @return: C{None} in the place of a message that has no content otherwise.
    """
    if isinstance(stanza, RoomMessage):
        message, words = _message(profile, stanza)
        return message, words
    if isinstance(stanza, Submission) or (isinstance(stanza, PrivateMessage) and stanza.stanzaError is None):
        message, words = _message(profile, stanza.message)
        return (evolve(stanza, message=message) if message is not None else None), words
    if isinstance(stanza, Join):
        payload, words = thinned(profile, stanza.request.payload)
        return evolve(stanza, request=evolve(stanza.request, payload=payload)), words
    if isinstance(stanza, Admission):
        payload, words = thinned(profile, stanza.presence.payload)
        return evolve(stanza, presence=evolve(stanza.presence, payload=payload)), words
    if isinstance(stanza, OccupantPresence):
        payload, words = thinned(profile, stanza.payload)
        return (evolve(stanza, payload=payload) if words else stanza), words
    return stanza, []


def _message(profile: Profile, message: RoomMessage) -> tuple[RoomMessage | None, list[str]]:
    kept, words = _sorted(profile, message.payload)
    if not words:
        return message, []
    # A hint tells how to handle other content.
    if all(part.namespace == ns.HINTS for part in kept):
        return None, [*words, _STANZA]
    payload = Payload(b"".join(part.raw for part in kept), message.payload.language)
    return evolve(message, payload=payload), words
