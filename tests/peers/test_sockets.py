"""Direct links over real sockets, by different endpoint strings."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.peers.support import HERE, THERE, Net, Site, say


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
            one.link.sendRaw(say(1).encode())
            for _ in range(500):
                if other.heard:
                    break
                yield deferLater(reactor, 0.02)
            self.assertEqual(other.took(), [say(1)])
        finally:
            for site in (one, other):
                yield site.peers.stopService()
                yield site.link.stopService()

    def test_unix(self) -> Any:
        """A UNIX socket, as a program gives it that drives a modem."""
        # A path to a socket may have 107 bytes.
        folder = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(os.rmdir, folder)
        return self.passes(f"unix:{folder}/link", f"unix:{folder}/link")

    def test_tls(self) -> Any:
        """C{tls:} and C{tcp:} mean the same."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return self.passes(f"tls:localhost:{port}", f"tls:{port}:interface=127.0.0.1")

    def test_tcp(self) -> Any:
        """As above."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return self.passes(f"tcp:127.0.0.1:{port}", f"tls:{port}:interface=127.0.0.1")
