"""Reads presence and messages of users and of other nodes, and writes actions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from twisted.words.xish import domish

from gateway import ns
from gateway.fmuc.actions import LeftOut, ToNode
from gateway.fmuc.channel.stanzas import expanded, readKeep, readOffer, readTold
from gateway.fmuc.dialects import toNode
from gateway.fmuc.ordinary.stanzas import ToOrdinary, ofPuppet
from gateway.fmuc.values import Fmuc, Mode, NodeMessage, NodePresence, Returned
from gateway.muc import stanzas as muc
from gateway.muc.actions import Action
from gateway.muc.elements import MAX_REASON
from gateway.muc.stanzas import attributeOf, parts, readAddress, readCodes, readError, readId
from gateway.muc.values import CONFIGURATION_CODES
from gateway.muc.writers import WRITERS, Written
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children

_RESERVED = muc.RESERVED | {ns.FMUC, ns.RESUME, ns.CHANNEL}
_WRITERS: dict[type[Action], Callable[[Any], Written]] = {
    **WRITERS,
    ToNode: toNode,
    ToOrdinary: ofPuppet,
    LeftOut: lambda _: b"",
}


def readPresence(stanza: Stanza) -> NodePresence:
    """
    Read a presence of type none, unavailable or error.

    @raise BadRequest: if it cannot be read.
    """
    found = parts(stanza)
    fmuc, make = None, partial(NodePresence)
    for part in found:
        if part.namespace == ns.FMUC:
            fmuc = _fmuc(part.element)
            make = partial(make, fmuc=fmuc)
        elif part.namespace == ns.OCCUPANT_ID:
            make = partial(make, occupantId=readId(part))
        elif part.namespace == ns.RESUME:
            isFirst = part.element.getAttribute("first") == "true"
            profile = part.element.getAttribute("profile", "")
            make = partial(make, resumes=True, isFirst=isFirst, profile=profile)
    presence = muc.readPresence(stanza, found, make, _RESERVED)
    if fmuc is not None and fmuc.reject is not None and stanza.type != "error":
        # The gateway's own nodes add the error to a rejection.
        error = readError(found)
        presence = presence if error is None else evolve(presence, stanzaError=evolve(error, text=fmuc.reject))
    return presence


def readMessage(stanza: Stanza) -> NodeMessage:
    """
    Read a message.

    @raise BadRequest: if it cannot be read.
    """
    found = expanded(stanza, parts(stanza))
    make: Callable[..., NodeMessage] = NodeMessage
    for part in found:
        if part.namespace == ns.FMUC:
            value: dict[str, Any] = {"nomirror": True} if part.name == "nomirror" else {"fmuc": _fmuc(part.element)}
            make = partial(make, **value)
        elif part.namespace == ns.MUC_USER:
            make = partial(make, codes=readCodes(part.element, CONFIGURATION_CODES))
        elif part.namespace == ns.OCCUPANT_ID:
            make = partial(make, occupantId=readId(part))
        elif part.namespace == ns.RESUME and part.name == "echo":
            make = partial(make, returned=Returned(attributeOf(part, "d"), readId(part)))
    return muc.readMessage(stanza, found, make, _RESERVED)


def _fmuc(element: domish.Element) -> Fmuc:
    words = {child.name: child for child in children(element)}
    reject, offer = words.get("reject"), words.get("channel")
    if offer is not None and offer.uri != ns.CHANNEL:
        offer = None
    return Fmuc(
        realJid=readAddress(element, "from"),
        mode=Mode.REPLICA if "replica" in words else Mode.PRIMARY,
        asksId="occupant-id" in words,
        left="left" in words,
        reject=None if reject is None else str(reject)[:MAX_REASON],
        channel=None if offer is None else readOffer(offer),
        keep=0 if offer is None else readKeep(offer),
        told=0 if offer is None else readTold(offer),
    )


def write(action: Action) -> Written:
    """
    Serialise the stanzas of an action.

    @raise BadRequest: if a character is not allowed in XML.
    """
    return _WRITERS[type(action)](action)
