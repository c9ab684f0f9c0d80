"""Direct links over real sockets, by different endpoint strings."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from gateway.errors import StartFailed
from gateway.peers import identity
from tests.peers.support import HERE, THERE, Net, Site, say


def free() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SocketTests(TestCase):
    """Both sides on one reactor."""

    timeout = 30

    @inlineCallbacks
    def passes(self, endpoint: str, listen: str) -> Any:
        net: Any = Net()
        net.reactor = reactor
        folder = self.mktemp()
        one, other = Site(net, folder + ".1", HERE), Site(net, folder + ".2", THERE)
        one.peers.use([one.settings(other, endpoint=endpoint)])
        other.peers.use([other.settings(one, endpoint=None, listen=listen)])
        for site in (other, one):
            site.start()
        try:
            yield self.arrives(one, other)
        finally:
            for site in (one, other):
                yield site.stop()

    @inlineCallbacks
    def arrives(self, one: Site, other: Site) -> Any:
        one.link.sendRaw(say(1).encode())
        for _ in range(500):
            if other.heard:
                break
            yield deferLater(reactor, 0.02)
        self.assertEqual(other.took(), [say(1)])

    @inlineCallbacks
    def test_changed(self) -> Any:
        """On the address in use, a new key, or other options, take effect; an address in use by others, later."""
        net: Any = Net()
        net.reactor = reactor
        folder = self.mktemp()
        one, other = Site(net, folder + ".1", HERE), Site(net, folder + ".2", THERE)
        with socket.socket() as occupied:
            occupied.bind(("127.0.0.1", 0))
            occupied.listen()
            busy = f"tls:{occupied.getsockname()[1]}:interface=127.0.0.1"
            for site in (one, other):
                site.start()
            try:
                problem = yield self.assertFailure(
                    other.peers.use([other.settings(one, endpoint=None, listen=busy)]), StartFailed
                )
                self.assertIn("Address already in use", str(problem))
                occupied.close()
                yield other.peers.use([other.settings(one, endpoint=None, listen=busy)])
                for listen in (busy, busy + ":backlog=20"):
                    yield other.peers.use([other.settings(one, endpoint=None, listen=listen)])
                    os.unlink(other.keyFile)
                    other.own = identity.load(Path(other.keyFile)).fingerprint
                    yield other.peers.use([other.settings(one, endpoint=None, listen=listen)])
                    yield one.peers.use([one.settings(other, endpoint="tcp:127.0.0.1:" + busy.split(":")[1])])
                    yield self.arrives(one, other)
            finally:
                for site in (one, other):
                    yield site.stop()

    def test_unix(self) -> Any:
        """A UNIX socket, as a program gives it that drives a modem."""
        # A path to a socket may have 107 bytes.
        folder = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(os.rmdir, folder)
        return self.passes(f"unix:{folder}/link", f"unix:{folder}/link")

    def test_tls(self) -> Any:
        """C{tls:} and C{tcp:} mean the same."""
        port = free()
        return self.passes(f"tls:localhost:{port}", f"tls:{port}:interface=127.0.0.1")

    def test_tcp(self) -> Any:
        """As above."""
        port = free()
        return self.passes(f"tcp:127.0.0.1:{port}", f"tls:{port}:interface=127.0.0.1")
