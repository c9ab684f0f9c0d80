"""
The whole gateway, made from TOML text on a reactor in memory. The test plays its servers, clients, web applications
and browsers, and sees only what the gateway sends to them.
"""

from __future__ import annotations

from pathlib import Path

from gateway.stream.component import handshake
from gateway.testing import ComponentSide, MemoryGateway
from tests.embedded.support import Client, Component, said

# Files that a configuration may name, in its folder.
FILES = {
    "first.secret": "first\n",
    "second.secret": "second\n",
    "first.key": "11" * 32,
    "second.key": "22" * 32,
}

USER = "user@example.net/desk"


def told(server: ComponentSide, xml: str) -> list[str]:
    """Send stanzas to a component; return a line for each element that comes back at once."""
    return [said(each) for each in server.ask(xml)]


def proved(server: ComponentSide, *secrets: str) -> list[str]:
    """Return the one of these secrets that the component has proved."""
    return [secret for secret in secrets if handshake("s1", secret) == server.proof]


class Gateway(MemoryGateway):
    """
    A running gateway.

    @raise ConfigError: if the configuration is refused.
    """

    def __init__(self, folder: Path, text: str) -> None:
        for name, content in FILES.items():
            (folder / name).write_text(content)
        super().__init__(folder, text)

    def forget(self, component: str) -> None:
        """Keep no reference to the connections of a component."""
        self._connect()
        self._sides.pop(component, None)
        self.reactor.tcpClients.clear()
        self.reactor.connectors.clear()
        self._answered = 0

    def client(self, user: str, password: str) -> Client:
        """Return a client of the embedded host that is logged in and online."""
        client = self.unauthenticated()
        client.logIn(user, password)
        client.send("<presence/>")
        return client

    def unauthenticated(self) -> Client:
        """Return a client of the embedded host that is only connected."""
        return Client(self.reactor, self.accepted(5222))

    def component(self, jid: str, secret: str) -> Component:
        """Return a component on the embedded host that is not the gateway's own."""
        component = Component(self.reactor, self.accepted(5347))
        component.logIn(jid, secret)
        return component
