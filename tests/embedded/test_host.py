"""The host as a service: its listeners, its announcement, its files, its stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.config.tables import Domain, EmbeddedTable, Passwords, Secrets, ServerEndpoint
from gateway.embedded.host import EmbeddedHost
from gateway.embedded.peer import PeerConnection
from gateway.embedded.store import HostFolder
from gateway.http.listener import clientEndpointFor
from tests.embedded.support import Client, Component

SERVICES = {"proxy": ["proxy.localhost", "second.localhost"]}


class Crowded(MemoryReactorClock):
    """A reactor on a machine where one port is in use."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self._taken = taken

    def listenTCP(self, port: int, *others: Any, **more: Any) -> Any:
        if port == self._taken:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
        return super().listenTCP(port, *others, **more)


class HostCase(SynchronousTestCase):
    """A folder, with hosts in it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.reactor = MemoryReactorClock()
        self.shown: list[str] = []

    def make(self, table: EmbeddedTable | None = None, reactor: Any = None) -> EmbeddedHost:
        return EmbeddedHost(
            table or EmbeddedTable(), SERVICES, self.folder, reactor or self.reactor, self.shown.append
        )

    def start(self, table: EmbeddedTable | None = None) -> EmbeddedHost:
        host = self.make(table)
        host.startService()
        self.addCleanup(host.stopService)
        return host


class StartTests(HostCase):
    """The start."""

    def test_notBefore(self) -> None:
        """Before the start it does not listen, print or write anything except the certificate."""
        self.make()
        self.assertEqual((self.reactor.tcpServers, self.reactor.tcpClients, self.shown), ([], [], []))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["embedded.pem"])

    def test_listens(self) -> None:
        """It listens on loopback only, on the usual ports."""
        self.start()
        self.assertEqual(
            [(port, interface) for port, _, _, interface in self.reactor.tcpServers],
            [(5222, "127.0.0.1"), (5347, "127.0.0.1")],
        )

    def test_wallClock(self) -> None:
        """The certificate is valid at the time of day, whatever the reactor's clock shows."""
        now = 2e9
        host = EmbeddedHost(
            EmbeddedTable(), SERVICES, self.folder, self.reactor, self.shown.append, wallClock=lambda: now
        )
        certificate = host.certificate.original.to_cryptography()
        made = certificate.not_valid_before_utc.timestamp()
        self.assertTrue(made < now < made + 2 * 86_400, made)

    def test_announced(self) -> None:
        """The announcement has the purpose, addresses, accounts, services and the next step."""
        host = self.start()
        [text] = self.shown
        self.assertIn("Do not use it in production", text)
        for line in (
            "domain      localhost",
            "5222  STARTTLS, certificate",
            "5347  XEP-0114",
            *(f"account     {user}@localhost  password {host.accounts[user]}" for user in host.accounts),
            "proxy       proxy.localhost",
            "proxy       second.localhost",
            f"{sys.executable} -m gateway.tour",
        ):
            self.assertIn(line, text)
        self.assertEqual(list(host.accounts), ["alice", "bob", "implementation"])
        self.assertIn(str(self.folder / "embedded.pem"), text)
        self.assertTrue(all(len(line) <= 116 for line in text.splitlines() if str(self.folder) not in line))

    def test_ownPasswords(self) -> None:
        """Configured passwords are not printed; the accounts are."""
        host = self.start(EmbeddedTable(accounts=Passwords({"carol": "hers alone"})))
        [text] = self.shown
        self.assertIn("account     carol@localhost\n", text)
        self.assertNotIn("hers alone", text)
        self.assertNotIn("password", text)
        self.assertEqual(list(host.accounts), ["carol"])

    def test_notLogged(self) -> None:
        """No object's repr contains a password."""
        table = EmbeddedTable(accounts=Passwords({"carol": "hers"}), components=Secrets({"c.localhost": "its"}))
        self.assertNotRegex(repr(table), "hers|its")
        self.assertNotRegex(repr(self.make(table)), "hers|its")

    def test_info(self) -> None:
        """After it listens, the folder has the information for the tour."""
        host = self.start(EmbeddedTable(domain=Domain("h.example"), accounts=Passwords({"carol": "hers"})))
        place = HostFolder(self.folder).read()
        assert place is not None
        self.assertEqual((place.domain, place.accounts, place.services), ("h.example", {"carol": "hers"}, SERVICES))
        self.assertEqual(place.c2s, "tcp:host=127.0.0.1:port=5222")
        self.assertEqual(host.domain, "h.example")

    def test_kept(self) -> None:
        """Random passwords are kept between starts, but not for another domain."""
        first = self.start().accounts
        self.assertEqual(self.start().accounts, first)
        other = self.start(EmbeddedTable(domain=Domain("h.example"))).accounts
        self.assertEqual(other.keys(), first.keys())
        self.assertFalse(set(other.values()) & set(first.values()))

    def test_garbage(self) -> None:
        """An unreadable file only causes new passwords."""
        first = self.start().accounts
        (self.folder / "embedded.json").write_text("{")
        self.assertNotEqual(self.start().accounts, first)

    def test_taken(self) -> None:
        """A port in use is reported by its key, and nothing is announced."""
        for port, key in ((5222, "embedded.c2s"), (5347, "embedded.component")):
            host = self.make(reactor=Crowded(port))
            raised = self.assertRaises(SystemExit, host.startService)
            self.assertIn(
                f"{key}: Address already in use: cannot listen on tcp:{port}:interface=127.0.0.1", str(raised)
            )
            self.assertIn("Address already in use", str(raised))
        self.assertEqual(self.shown, [])


class InsideTests(HostCase):
    """Connections from inside the process."""

    def test_builtIn(self) -> None:
        """The built-in client logs in if the accounts are the default ones, by the port for clients."""
        self.start()
        [(host, port, *_)] = self.reactor.tcpClients
        self.assertEqual((host, port), ("127.0.0.1", 5222))

    def test_noBuiltIn(self) -> None:
        """With configured accounts there is no built-in client, even if one has its name."""
        self.start(EmbeddedTable(accounts=Passwords({"implementation": "x"})))
        self.assertEqual(self.reactor.tcpClients, [])

    def test_componentEndpoint(self) -> None:
        """Components of the process connect to the current address of the host."""
        table = EmbeddedTable(component=ServerEndpoint("unix:/run/c"), accounts=Passwords({"carol": "x"}))
        host = self.start(table)
        port = host._component._port
        assert port is not None
        self.patch(port, "getHost", lambda: UNIXAddress("/run/c"))
        host.componentEndpoint.connect(object())  # type: ignore[arg-type]  # it is not used
        [(path, *_)] = self.reactor.unixClients
        self.assertEqual(path, "/run/c")

    def test_doors(self) -> None:
        """A client and an admitted component get in by the two ports; another component does not."""
        table = EmbeddedTable(accounts=Passwords({"alice": "a"}), components=Secrets({"own.localhost": "own"}))
        host = self.start(table)
        host.admit("proxy.localhost", "secret")
        clients, components = (factory for _, factory, *_ in self.reactor.tcpServers)
        for jid, secret, heard in (
            ("proxy.localhost", "secret", "handshake"),
            ("own.localhost", "own", "handshake"),
            ("else.localhost", "own", "error host-unknown"),
            ("own.localhost", "secret", "error not-authorized"),
        ):
            component = Component(self.reactor, components.buildProtocol(None))
            self.assertEqual(component.logIn(jid, secret)[0], heard)
        # Components of the configuration are not the gateway's own.
        host.dismiss("own.localhost")
        host.dismiss("else.localhost")
        self.assertEqual(set(host.secrets), {"proxy.localhost", "own.localhost"})
        client = Client(self.reactor, clients.buildProtocol(None))
        client.header("localhost")
        client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.assertEqual(len(client.secured), 1)
        self.assertEqual(client.header("localhost"), ["features"])
        self.assertEqual(client.plain("alice", "a"), ["success"])

    def test_clientEndpointFor(self) -> None:
        """For each kind of listener there is an endpoint that connects to it."""
        for address, expected in (
            (IPv4Address("TCP", "127.0.0.1", 5), "tcp:host=127.0.0.1:port=5"),
            (IPv4Address("TCP", "0.0.0.0", 5), "tcp:host=127.0.0.1:port=5"),  # noqa: S104  # as a reactor says it
            (IPv4Address("TCP", "10.1.2.3", 5), "tcp:host=10.1.2.3:port=5"),
            (IPv6Address("TCP", "::1", 5), "tcp:host=\\:\\:1:port=5"),
            (IPv6Address("TCP", "::", 5), "tcp:host=\\:\\:1:port=5"),
            (UNIXAddress("/run/a:b"), "unix:path=/run/a\\:b"),
        ):
            self.assertEqual(clientEndpointFor(address), expected)
            clientFromString(self.reactor, clientEndpointFor(address))


class StopTests(HostCase):
    """The stop."""

    def test_stops(self) -> None:
        """Both ports are closed, and the built-in client stays away."""
        closed: list[str] = []
        host = self.make()
        host.startService()
        for listener in (host._c2s, host._component):
            port: Any = listener._port
            self.patch(port, "stopListening", lambda key=listener.key: closed.append(key))
        self.successResultOf(host.stopService())
        self.assertEqual(set(closed), {"embedded.c2s", "embedded.component"})
        self.reactor.pump([1.0] * 100)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_sayGoodbye(self) -> None:
        """The gateway's own components may leave first; then other connections get system-shutdown."""
        host = self.make()
        host.admit("own.localhost", "secret")
        host.startService()
        ended: list[str] = []

        class Connected(PeerConnection):
            namespace = ns.CLIENT

            def refuse(self, condition: str, text: str = "") -> None:
                ended.append(condition)

        for domain in ("own.localhost", "other.localhost"):
            host._router.attach(domain, Connected("localhost", self.reactor))
        stopping = host.stopService()
        self.reactor.advance(1)
        self.assertEqual((ended, stopping.called), ([], False))
        host._router.attach("own.localhost", None)
        self.reactor.advance(1)
        self.assertEqual(ended, ["system-shutdown"])
        self.successResultOf(stopping)

    def test_waitsForNobodyForEver(self) -> None:
        """The gateway's own components have only a few seconds to leave."""
        host = self.make()
        host.admit("own.localhost", "secret")
        host.startService()
        host._router.attach("own.localhost", PeerConnectionOfNobody("localhost", self.reactor))
        stopping = host.stopService()
        self.reactor.pump([0.5] * 20)
        self.successResultOf(stopping)


class PeerConnectionOfNobody(PeerConnection):
    """A component that does not leave."""

    namespace = ns.COMPONENT_ACCEPT

    def refuse(self, condition: str, text: str = "") -> None:
        """Do nothing."""
