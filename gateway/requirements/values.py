"""
The values: a component, and each single requirement on its server's configuration. Pure.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

Access = Literal["roster", "message", "presence", "iq"]


@frozen
class Delegation:
    """
    The server delegates a namespace to the component (XEP-0355).

    @ivar server: the domain whose users' requests are delegated.
    @ivar filtering: only requests whose payload has all of these attributes.
    """

    server: str
    namespace: str
    filtering: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the delegation of {self.namespace} by {self.server}"


@frozen
class Privilege:
    """
    The server grants the component a privilege (XEP-0356).

    @ivar server: the domain whose users it concerns.
    @ivar kind: the value of the grant, such as C{both} or C{managed_entity}.
    @ivar namespace: of the payload, with C{access="iq"}.
    """

    server: str
    access: Access
    kind: str
    namespace: str = ""

    def __str__(self) -> str:
        about = f" for {self.namespace}" if self.namespace else ""
        return f'the privilege {self.access} = "{self.kind}"{about} of {self.server}'


@frozen
class Module:
    """
    A module of Prosody must stay loaded on a domain.

    @ivar name: the name of the module.
    """

    server: str
    name: str

    def __str__(self) -> str:
        return f"the module {self.name} of {self.server}"


@frozen
class ForeignSenders:
    """The component may send stanzas from addresses of the server's users, without a wrapper."""

    def __str__(self) -> str:
        return "stanzas of the component from addresses of users"


@frozen
class NewConnectionWins:
    """
    A new connection of the component ends the one before it: a gateway that does not respond any longer may still
    be connected.
    """

    def __str__(self) -> str:
        return "the newest connection of the component"


@frozen
class RosterApi:
    """
    Rosters are set by ejabberd's HTTP API, because ejabberd does not set them by privilege. Other servers do.

    @ivar url: the address of the API; C{None} if the gateway does not know it.
    """

    url: str | None

    def __str__(self) -> str:
        return "ejabberd's HTTP API for rosters"


@frozen
class Remark:
    """
    A requirement that no line of the server's configuration fulfils.

    @ivar text: a sentence for the operator.
    """

    text: str

    def __str__(self) -> str:
        return self.text


Requirement = Delegation | Privilege | Module | ForeignSenders | NewConnectionWins | RosterApi | Remark


@frozen(kw_only=True)
class Address:
    """
    The address at which a server listens for a component.

    @ivar port: C{None} if the endpoint is of a kind whose port is not known.
    @ivar socket: the path of a UNIX socket; then there is neither host nor port.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    isTls: bool = False
    socket: str = ""


@frozen(kw_only=True)
class Component:
    """
    One component of the gateway, as its server must know it.

    @ivar kind: the kind of the service.
    @ivar secret: C{None} if it is not to be shown.
    @ivar server: the server's domain, if it is known.
    """

    jid: str
    kind: str = ""
    secret: str | None = field(default=None, repr=False)
    address: Address = Address()
    server: str | None = None
    requirements: tuple[Requirement, ...] = ()

    def having(self, *kinds: type[Requirement]) -> list[Requirement]:
        """Return its requirements of some classes."""
        return [each for each in self.requirements if isinstance(each, kinds)]
