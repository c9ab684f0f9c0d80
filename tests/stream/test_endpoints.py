"""The endpoint strings of the configuration, on real loopback sockets: TCP, TLS with its certificate, UNIX."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase
from twisted.words.protocols.jabber.xmlstream import XmlStreamServerFactory
from wokkel.component import ListenComponentAuthenticator

from gateway.stream.link import Link
from tests.certificates import makeCertificate

COMPONENT = "proxy.example.com"
SECRET = "secret"


class ComponentAuthenticator(ListenComponentAuthenticator):
    """Wokkel's accepting side, without output after the handshake."""


class EndpointTests(TestCase):
    """
    A link over each kind of endpoint, to Wokkel's accepting side of XEP-0114.
    """

    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(mkdtemp(dir=os.getcwd()))

    @inlineCallbacks
    def listen(self, description: str) -> Any:
        """Serve components at an endpoint until the test ends, and return the port."""
        factory: Factory = XmlStreamServerFactory(lambda: ComponentAuthenticator(SECRET))
        port: IListeningPort = yield serverFromString(reactor, description).listen(factory)
        self.addCleanup(port.stopListening)
        return port

    def start(self, endpoint: str) -> Link:
        """Return a started link."""
        link = Link(reactor, clientFromString(reactor, endpoint), COMPONENT, SECRET)
        link.startService()
        self.addCleanup(link.stopService)
        return link

    @inlineCallbacks
    def settled(self, link: Link) -> Any:
        """Wait until the link is up, or has a reason why it is not."""
        while not link.ready and link.trouble == "connecting":
            yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def test_tcp(self) -> Any:
        """tcp: connects, with the options of other address families as well."""
        port = yield self.listen("tcp:0:interface=127.0.0.1")
        link = self.start(f"tcp:127.0.0.1:{port.getHost().port}")
        yield self.settled(link)
        self.assertEqual((link.ready, link.trouble), (True, ""))

    @inlineCallbacks
    def test_ipv6(self) -> Any:
        """tcp: connects to an address of IPv6, as docs/connection.md writes it."""
        try:
            port = yield self.listen(r"tcp6:0:interface=\:\:1")
        except CannotListenError as error:
            raise SkipTest("there is no loopback interface with IPv6") from error
        link = self.start(rf"tcp:host=\:\:1:port={port.getHost().port}")
        yield self.settled(link)
        self.assertEqual((link.ready, link.trouble), (True, ""))

    @inlineCallbacks
    def test_unix(self) -> Any:
        """unix: connects to a socket in the file system."""
        path = os.path.relpath(self.folder / "s")
        yield self.listen(f"unix:{path}")
        link = self.start(f"unix:{path}")
        yield self.settled(link)
        self.assertEqual((link.ready, link.trouble), (True, ""))

    @inlineCallbacks
    def tls(self, name: str, trusted: bool = True) -> Any:
        """Return a link by tls: to localhost, which presents a certificate for this name."""
        certificate = makeCertificate(self.folder, name)
        port = yield self.listen(f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}")
        roots = self.folder / "roots"
        roots.mkdir()
        if trusted:
            (roots / "root.pem").write_bytes(certificate.read_bytes())
        link = self.start(f"tls:localhost:{port.getHost().port}:trustRoots={roots}")
        yield self.settled(link)
        return link

    @inlineCallbacks
    def test_tls(self) -> Any:
        """tls: connects if the certificate is trusted and for the host."""
        link = yield self.tls("localhost")
        self.assertEqual((link.ready, link.trouble), (True, ""))

    @inlineCallbacks
    def test_otherName(self) -> Any:
        """A trusted certificate for another name is refused; the reason names the certificate."""
        link = yield self.tls("elsewhere.example")
        self.assertFalse(link.ready)
        self.assertIn("certificate", link.trouble)

    @inlineCallbacks
    def test_untrusted(self) -> Any:
        """An untrusted certificate is refused; the reason names the certificate."""
        link = yield self.tls("localhost", trusted=False)
        self.assertFalse(link.ready)
        self.assertIn("certificate", link.trouble)
