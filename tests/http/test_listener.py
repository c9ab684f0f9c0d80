"""A listening port as a service."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.errors import StartFailed
from gateway.http.listener import LaterFactory, Listener


class CrowdedReactor(MemoryReactorClock):
    """A reactor on a machine whose ports are all in use."""

    def listenTCP(self, *arguments: Any, **others: Any) -> Any:
        raise CannotListenError("127.0.0.1", 5222, OSError(98, "Address already in use"))


class ListenerTests(SynchronousTestCase):
    """A listener on one address."""

    def make(self, reactor: Any, listen: str = "tcp:5222:interface=127.0.0.1", required: bool = True) -> Listener:
        return Listener("some.key", listen, Factory(), reactor, required)

    def test_listens(self) -> None:
        """It listens while it runs, and reports its address."""
        reactor = MemoryReactorClock()
        listener = self.make(reactor)
        self.assertEqual(reactor.tcpServers, [])
        listener.startService()
        [(port, _, _, interface)] = reactor.tcpServers
        self.assertEqual((port, interface), (5222, "127.0.0.1"))
        self.assertEqual(cast(IPv4Address, listener.address).port, 5222)
        self.assertTrue(listener.running)
        listener.stopService()
        self.assertFalse(listener.running)

    def test_stops(self) -> None:
        """Stopping closes the port; stopping twice does no harm."""
        stopped: list[bool] = []
        reactor = MemoryReactorClock()
        listener = self.make(reactor)
        listener.startService()
        assert listener._port is not None
        self.patch(listener._port, "stopListening", lambda: stopped.append(True))
        listener.stopService()
        listener.stopService()
        self.assertEqual(stopped, [True])

    def test_name(self) -> None:
        """Twisted's log names it by its key."""
        factory = Factory()
        Listener("some.key", "tcp:1", factory, MemoryReactorClock())
        self.assertEqual(ILoggingContext(factory).logPrefix(), "some.key")

    def test_taken(self) -> None:
        """An address in use ends the process, with its key and the reason."""
        raised = self.assertRaises(StartFailed, self.make(CrowdedReactor()).startService)
        self.assertEqual(
            str(raised),
            "some.key: Address already in use: cannot listen on tcp:5222:interface=127.0.0.1; "
            "stop the program that uses it (ss -ltnp names it), or choose another port",
        )

    def test_notRequired(self) -> None:
        """If it is not required, an address in use is logged, and the gateway runs without it."""
        said: list[Any] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        listener = self.make(CrowdedReactor(), required=False)
        listener.startService()
        [event] = [each for each in said if each["log_level"] is LogLevel.warn]
        self.assertRegex(formatEvent(event), "^some.key: .*Address already in use.*without it")
        self.assertIsNone(listener.stopService())


class LaterFactoryTests(SynchronousTestCase):
    """A factory that is made when the first connection comes."""

    def test_life(self) -> None:
        """It is made once, and started and stopped with the port."""
        made: list[Factory[Any]] = []

        def make() -> Factory[Any]:
            made.append(Factory.forProtocol(Protocol))
            return made[0]

        later = LaterFactory(make)
        later.doStart()
        self.assertEqual(made, [])
        protocols = [later.buildProtocol(None), later.buildProtocol(None)]
        [factory] = made
        self.assertEqual([each.factory for each in protocols], [factory, factory])
        self.assertEqual(factory.numPorts, 1)
        later.doStop()
        self.assertEqual(factory.numPorts, 0)
        later.doStart()
        self.assertEqual(factory.numPorts, 1)
