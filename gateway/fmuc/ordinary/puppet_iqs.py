"""Iq requests to puppets, and those of occupants here to ordinary rooms and their occupants. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest, NoHandler
from gateway.fmuc.actions import Kept
from gateway.fmuc.ordinary.puppets import Puppet, Puppets
from gateway.fmuc.ordinary.stanzas import ToOrdinary, naming
from gateway.muc.actions import Action, ForwardIq, SendError, SendResult
from gateway.muc.values import stanzaError
from gateway.stream.stanzas import Stanza

# Requests to bare JIDs that are remembered; later ones than that are answered by the full JID.
_MAX_OF_ACCOUNTS = 1_000


class PuppetIqs:
    """
    The requests of one component.

    @param component: domain of the puppets.
    @param domain: that of the ordinary rooms.
    @param puppets: by the bare JIDs of the rooms here.
    """

    def __init__(self, component: str, domain: str, puppets: Mapping[str, Puppets]) -> None:
        self._component = component
        self._domain = domain
        self._puppets = puppets
        # Requests to bare JIDs of puppets: the puppet's address, the requester, and the id.
        self._ofAccounts: dict[tuple[str, str, str], None] = {}

    def asPuppet(self, action: ForwardIq | SendError | SendResult) -> Action:
        """Return a stanza of an occupant here to an ordinary room as that of the puppet; others as they are."""
        room, _, nick = action.sender.partition("/")
        puppets = self._puppets.get(room)
        puppet = None if puppets is None else puppets.called(nick)
        if puppets is None or puppet is None or jids.split(action.recipient)[1] != self._domain:
            return action
        if isinstance(action, ForwardIq) and action.stanza.type == "set" and action.recipient == puppets.source:
            named = naming(action.stanza, puppets.addresses)
            if named is not None:
                return ToOrdinary(puppets.source, puppet.address, Kept(named))
        return evolve(action, sender=self._senderOf(action, puppet))

    def _senderOf(self, action: ForwardIq | SendError | SendResult, puppet: Puppet) -> str:
        """Return the address of a puppet that a stanza comes from: of an answer, the one that was asked."""
        identifier = action.stanza.id if isinstance(action, ForwardIq) else action.id
        key = puppet.address, action.recipient, identifier or ""
        isRequest = isinstance(action, ForwardIq) and action.stanza.type in ("get", "set")
        if key not in self._ofAccounts or isRequest:
            return puppet.address
        del self._ofAccounts[key]
        return jids.bare(puppet.address)

    def recipientOf(self, stanza: Stanza) -> tuple[Puppets, Puppet] | None:
        """Return the puppet that an iq of an ordinary room, or of an occupant there, is for; C{None} for none."""
        source, _, nick = (stanza.sender or "").partition("/")
        puppets = self._puppets.get(f"{jids.split(source)[0]}@{self._component}")
        puppet = None if puppets is None else puppets.at(stanza.recipient or "")
        if puppet is None and puppets is not None and nick and stanza.type in ("get", "set"):
            # Rooms send requests that are for the account, such as for a vCard, to the bare JID.
            puppet = puppets.ofUser(stanza.recipient or "")
        return None if puppets is None or puppet is None else (puppets, puppet)

    def toOccupant(self, stanza: Stanza, puppets: Puppets, puppet: Puppet) -> Stanza:
        """Return an iq to a puppet as one to the occupant here."""
        if stanza.type in ("get", "set") and stanza.recipient != puppet.address:
            self._ofAccounts[puppet.address, stanza.sender or "", stanza.id or ""] = None
            if len(self._ofAccounts) > _MAX_OF_ACCOUNTS:
                del self._ofAccounts[next(iter(self._ofAccounts))]
        return stanza.sentBy(stanza.sender or "", f"{puppets.room}/{puppet.nick}")


def answerOf(stanza: Stanza) -> Action:
    """Return the answer to a request of an ordinary room itself, or of a puppet to itself: others are refused."""
    sender, recipient, identifier = stanza.recipient or "", stanza.sender or "", stanza.id
    if not identifier:
        return SendError("iq", sender, recipient, None, stanzaError(BadRequest))
    if stanza.type == "get" and ns.PING.encode() in stanza.raw:
        return SendResult(sender, recipient, identifier)
    return SendError("iq", sender, recipient, identifier, stanzaError(NoHandler))
