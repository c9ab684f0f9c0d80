"""
Actions: the decisions of the core, which the handler carries out.
"""

from __future__ import annotations

from attrs import frozen

from gateway.errors import GatewayError
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
    """

    route: bytes
    id: str
    error: type[GatewayError]


@frozen
class Retry:
    """Send a kept request to another resource."""

    stanza: Stanza
    route: bytes


Action = Relay | Refuse | Drop
