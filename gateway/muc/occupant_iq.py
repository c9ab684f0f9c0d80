"""
Iq requests of occupants to other occupants (XEP-0045 section 16.4): "the service SHOULD forward the stanza to the
recipient's real JID".
"""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve, frozen

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    GatewayError,
    NoAnswer,
    NoSuchAddress,
    NotAllowed,
    Stopping,
    TooManyPending,
)
from gateway.muc.actions import Action, ForwardIq, SendError
from gateway.muc.occupant import Occupant
from gateway.muc.option import boolean
from gateway.muc.room import Room
from gateway.muc.values import StanzaError, stanzaError
from gateway.stream.pending import PendingTable
from gateway.stream.shares import Share, Shares
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import errorParts

# ejabberd's name; XEP-0045 defines none.
OPTION = boolean("muc#roomconfig_allow_query_users", "queries", "Allow Occupants to Query Each Other?")

# Open requests of one service, and seconds until an answer must come.
_BOUND = 10_000
TIMEOUT = 30.0
# Requests that a user's server answers, not the client: the client need not be able to.
_OF_ACCOUNT = frozenset(((ns.VCARD, "vCard"), (ns.VCARD_4, "vcard")))
# Errors of a server that could not reach another one.
_OF_SERVERS = frozenset(("remote-server-not-found", "remote-server-timeout"))


@frozen
class Exchange:
    """
    A request that was forwarded.

    @ivar requester: the address that gets the answer.
    @ivar asked: the address that the request was sent to: an occupant's.
    @ivar deadline: seconds of the link's clock.
    @cvar name: the kind of stanza that was sent to that address.
    """

    name: ClassVar[str] = "iq"

    requester: str
    asked: str
    id: str
    deadline: float
    share: Share

    def answer(self, stanza: Stanza) -> list[Action]:
        """
        Return what an answer causes: the answer for the requester.

        A result is forwarded as it is. An error is written anew: its attribute C{by} may be the real JID, and the
        text of a server that cannot reach the recipient's server may name that server.
        """
        if stanza.type == "result":
            return [ForwardIq(stanza, self.asked, self.requester)]
        error = errorOf(stanza)
        return [self._error(evolve(error, text="") if error.condition in _OF_SERVERS else error)]

    def refuse(self, why: type[GatewayError]) -> Action:
        """Return an error for the requester."""
        return self._error(stanzaError(why))

    def _error(self, error: StanzaError) -> Action:
        return SendError(self.name, self.asked, self.requester, self.id, error)


def errorOf(stanza: Stanza) -> StanzaError:
    """Return the error of an iq of type error; C{undefined-condition} if it cannot be read."""
    try:
        found = next((each for each in stanza.element.elements() if each.name == "error"), None)
        return StanzaError("cancel", "undefined-condition") if found is None else StanzaError(*errorParts(found))
    except BadRequest:
        return StanzaError("cancel", "undefined-condition")


# The address that must answer, the address that it answers to, and the id.
Key = tuple[str, str, str]


class OccupantIqs:
    """The open requests between occupants, in all rooms of a service. Each gets exactly one answer."""

    def __init__(self, bound: int = _BOUND) -> None:
        self._open: PendingTable[Key, Exchange] = PendingTable(bound)
        self._shares = Shares(bound)

    def __len__(self) -> int:
        return len(self._open)

    def forward(self, room: Room, occupant: Occupant, stanza: Stanza, payload: tuple[str, str], now: float) -> None:
        """
        Forward a request to the occupant that it is addressed to.

        @param occupant: the sender.
        @param payload: namespace and name of the payload.
        @raise GatewayError: if it is refused.
        """
        there = room.occupants.get((stanza.recipient or "").partition("/")[2])
        # A request of another node's occupant to an occupant of the same node does not come here.
        if there is None or (there.node is not None and there.node is occupant.node):
            raise NoSuchAddress
        if not room.settings.queries:
            raise NotAllowed
        if there.node is not None:
            recipient = f"{there.node.jid}/{there.nick}"
        else:
            # The presence of this session is shown, with its capabilities.
            session = there.localJids[-1]
            recipient = jids.bare(session) if payload in _OF_ACCOUNT else session
        self.relay(room, occupant, stanza, recipient, now)

    def relay(self, room: Room, occupant: Occupant, stanza: Stanza, recipient: str, now: float) -> None:
        """
        Forward a request to an address, from the sender's address in the room. The id stays the same.

        @param occupant: the sender.
        @raise GatewayError: if it is refused.
        """
        asked, requester, identifier = stanza.recipient or "", stanza.sender or "", stanza.id or ""
        sender = room.address(occupant.nick)
        share = self.share(requester)
        self.open((recipient, sender, identifier), Exchange(requester, asked, identifier, now + TIMEOUT, share))
        room.emit(ForwardIq(stanza, sender, recipient))

    def share(self, requester: str) -> Share:
        """Return the share of a user, for an exchange."""
        return self._shares.of(requester)

    def open(self, key: Key, exchange: Exchange) -> None:
        """
        Add an exchange.

        @raise GatewayError: if the user has too many, or if one with this key is open.
        """
        if not exchange.share.take():
            raise TooManyPending
        try:
            self._open.add(key, exchange)
        except GatewayError:
            exchange.share.giveBack()
            raise

    def close(self, stanza: Stanza) -> Exchange | None:
        """Return the exchange that an iq of type result or error ends; C{None} if it answers no open request."""
        if not self._open:
            return None
        exchange = self._open.pop((stanza.sender or "", stanza.recipient or "", stanza.id or ""), None)
        if exchange is not None:
            exchange.share.giveBack()
        return exchange

    def expire(self, now: float) -> list[Action]:
        """Return the errors of requests without an answer in time."""
        return self._end([exchange for _, exchange in self._open.expire(now)], NoAnswer)

    def stop(self) -> list[Action]:
        """End all requests: the service stops."""
        return self._end([exchange for _, exchange in self._open.popAll()], Stopping)

    def _end(self, ended: list[Exchange], why: type[GatewayError]) -> list[Action]:
        for exchange in ended:
            exchange.share.giveBack()
        return [exchange.refuse(why) for exchange in ended]
