"""
Actions: the decisions of the core, which the handler carries out.
"""

from __future__ import annotations

from attrs import frozen

from gateway.errors import GatewayError
from gateway.proxy.entries import Entry
from gateway.stream.stanzas import Stanza


@frozen(eq=False)
class Relay:
    """Send the stanza on with these addresses (see L{route})."""

    route: bytes


@frozen
class Refuse:
    """Answer the stanza with an error."""

    error: type[GatewayError]


@frozen
class Drop:
    """Do nothing, for this reason."""

    reason: str


@frozen
class Fail:
    """
    End an exchange with an error.

    @ivar route: the addresses of the error.
    @ivar id: the request's id.
    @ivar number: number of the exchange in the tables that gateways share; otherwise 0.
    """

    route: bytes
    id: str
    error: type[GatewayError]
    number: int = 0


@frozen
class Retry:
    """
    Send a kept request to another resource.

    @ivar resource: the full JID of that resource.
    @ivar number: as L{Fail.number}.
    """

    stanza: Stanza
    route: bytes
    resource: str = ""
    number: int = 0


@frozen
class Store:
    """Enter the request into the tables that gateways share, and send it on then, if it is still open."""

    route: bytes
    entry: Entry


@frozen
class Deliver:
    """Send the answer on with these addresses, and remove its exchange from the tables that gateways share."""

    route: bytes
    number: int


@frozen
class Find:
    """Look for the exchange of an answer in the tables that gateways share."""

    sender: str
    recipient: str
    id: str


Action = Relay | Refuse | Drop | Store | Deliver | Find
