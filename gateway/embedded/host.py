"""
The host as a service: two listeners on one set of rules, and the text that announces it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import Logger

from gateway import ns
from gateway.config.tables import DelegatedTable, Domain, EmbeddedTable, Jids, Namespace, PrivilegesTable
from gateway.delegation.delegations import Delegation
from gateway.embedded.accounts import Accounts, Passwords
from gateway.embedded.client import ClientConnection
from gateway.embedded.component import ComponentConnection
from gateway.embedded.handler import Services
from gateway.embedded.implementation import implement
from gateway.embedded.login import Client
from gateway.embedded.peer import PeerConnection, PeerFactory
from gateway.embedded.privileges import Privileges, grants
from gateway.embedded.store import HostFolder, HostInfo, makePassword
from gateway.http.listener import Listener, ListenerEndpoint, clientEndpointFor, describe

_IMPLEMENTATION = "implementation"
# Seconds that a stop waits for the gateway's own components: a link needs up to five.
_STOP_TIMEOUT = 6.0

_DEFAULT_USERS = ("alice", "bob", _IMPLEMENTATION)


class EmbeddedHost(MultiService):
    """
    The embedded host.

    @ivar secrets: the secret of each component, by domain.
    @ivar componentEndpoint: the endpoint for components of this process.
    @param services: component JIDs by kind of service.
    @param say: shows the operator a text that contains passwords, and must not go to a log.
    @param web: returns the base URL of the HTTP server; empty if there is none.
    @param wallClock: as L{IServiceBuilder.wallClock}, for the certificate; by default the reactor's clock.
    """

    _log = Logger()

    def __init__(
        self,
        table: EmbeddedTable,
        services: dict[str, list[str]],
        stateDir: Path,
        reactor: Any,
        say: Callable[[str], object],
        web: Callable[[], str] = str,
        wallClock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        self.setName("embedded")
        self.domain = str(table.domain)
        self.secrets = dict(table.components)
        self._own: set[str] = set()
        self._say = say
        self._web = web
        self._reactor = reactor
        self._folder = HostFolder(stateDir)
        self._madeUp = table.accounts is None
        self.accounts = dict(self._defaultAccounts() if table.accounts is None else table.accounts)
        self._services = services
        utc = datetime.fromtimestamp((wallClock or reactor.seconds)(), UTC)
        self.certificate: PrivateCertificate = self._folder.loadCertificate(self.domain, utc)
        services_ = Services(self.domain, self.accounts, _delegations(table), reactor.seconds)
        self._router = services_.router
        self._router.components.update(dict.fromkeys(self.secrets))
        self._router.extensions.append(Privileges(self._router, grants(self.domain, _privileges(table)), reactor))
        passwords = Passwords(self.accounts)
        portal = Portal(Accounts(self._router), [passwords])
        tls = self.certificate.options()

        def client() -> PeerConnection:
            return ClientConnection(services_, portal, passwords, tls, reactor)

        def component() -> PeerConnection:
            return ComponentConnection(services_, self.secrets, reactor)

        self._c2s = Listener("embedded.c2s", table.c2s, PeerFactory(client), reactor)
        self._component = Listener("embedded.component", table.component, PeerFactory(component), reactor)
        tick = TimerService(1.0, services_.delegating.tick)
        tick.clock = reactor
        for service in (self._c2s, self._component, tick):
            service.setServiceParent(self)
        self.componentEndpoint: IStreamClientEndpoint = ListenerEndpoint(self._component, reactor)
        if self._madeUp:
            # The password is random, so no other client can be meant to log in to this account.
            self._implementingClient().service.setServiceParent(self)

    def admit(self, jid: str, secret: str) -> None:
        """Let a component connect."""
        self.secrets[jid] = secret
        self._router.components[jid] = None
        self._own.add(jid)

    def dismiss(self, jid: str) -> None:
        """Withdraw what L{admit} has done for a component; ignore a component that it has not admitted."""
        if jid in self._own:
            self._own.remove(jid)
            del self.secrets[jid]
            self._router.removeComponent(jid)

    def setServices(self, services: dict[str, list[str]]) -> None:
        """Change the list of services, for the tour."""
        if services != self._services:
            self._services = services
            if self.running:
                self._writeInfo()

    def startService(self) -> None:
        super().startService()
        self._writeInfo()
        self._say(self._announcement())

    def _writeInfo(self) -> None:
        c2s = clientEndpointFor(self._c2s.address)
        info = HostInfo(self.domain, c2s, self.accounts, self._services, self._web())
        try:
            self._folder.write(info)
        except OSError as error:
            # Go on: the host itself needs the file only at its next start.
            self._log.error(
                "{folder}: the passwords and the address of this host cannot be stored ({reason}): the tour cannot "
                "find the host, and the next start makes new passwords.",
                event="embedded.not_stored",
                folder=self._folder.path,
                reason=error.strerror,
            )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        closed = super().stopService()
        # The gateway's own components may still send stanzas to clients, and then disconnect by themselves.
        deadline = self._reactor.seconds() + _STOP_TIMEOUT
        while self._ownAreThere() and self._reactor.seconds() < deadline:
            yield deferLater(self._reactor, 0.05)
        for peer in self._router.peers():
            assert isinstance(peer, PeerConnection)
            peer.refuse("system-shutdown")
        yield closed

    def _ownAreThere(self) -> bool:
        return any(self._router.components.get(jid) is not None for jid in self._own)

    def _implementingClient(self) -> Client:
        account = f"{_IMPLEMENTATION}@{self.domain}/built-in"
        endpoint = ListenerEndpoint(self._c2s, self._reactor)
        client = Client(account, self.accounts[_IMPLEMENTATION], endpoint, self.certificate, self._reactor)
        implement(client, self._router.components.__contains__)
        return client

    def _defaultAccounts(self) -> dict[str, str]:
        before = self._folder.read()
        known = before.accounts if before is not None and before.domain == self.domain else {}
        return {user: known.get(user) or makePassword() for user in _DEFAULT_USERS}

    def _announcement(self) -> str:
        """Return the text for the operator: addresses, accounts, services, and what to try next."""
        passwords = self.accounts if self._madeUp else {}
        rows = [
            ("domain", self.domain),
            ("clients", f"{describe(self._c2s.address)}  STARTTLS, certificate {self._folder.certificate}"),
            ("components", f"{describe(self._component.address)}  XEP-0114"),
        ]
        if web := self._web():
            rows.append(("http", f"{web}/"))
        for user in self.accounts:
            password = f"  password {passwords[user]}" if user in passwords else ""
            rows.append(("account", f"{user}@{self.domain}{password}"))
        rows += [(kind, jid) for kind, served in self._services.items() for jid in served]
        lines = "".join(f"    {name:<12}{value}\n" for name, value in rows)
        return (
            "\nNo [server] is configured: the gateway runs on its embedded host, which is for trying it out and\n"
            "for tests. It keeps rosters in memory only. Do not use it in production.\n\n"
            f"{lines}\n"
            f"Try next, in a second terminal and in this folder: {sys.executable} -m gateway.tour\n"
            "Or log in with any XMPP client as one of the accounts, trusting the certificate.\n\n"
        )


def _delegations(table: EmbeddedTable) -> list[Delegation]:
    delegated = table.delegations
    if delegated is None:
        delegated = {Namespace(ns.PRIVATE): DelegatedTable(jid=Jids((f"delegate.{table.domain}",)))}
    return [Delegation(namespace, each.jid, each.filtering) for namespace, each in delegated.items()]


def _privileges(table: EmbeddedTable) -> dict[Domain, PrivilegesTable]:
    if table.privileges is not None:
        return table.privileges
    return {Domain(f"roster.{table.domain}"): PrivilegesTable(roster="both", presence="managed_entity")}
