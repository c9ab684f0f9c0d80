"""
All peers of a gateway, the ports on which they connect, and the components whose stanzas use direct links.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv6Address
from math import inf
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from gateway import ns
from gateway.config.tables import ConfigError
from gateway.config.values import addressOf
from gateway.errors import StartFailed
from gateway.http.listener import Listener
from gateway.log.seldom import Seldom
from gateway.metrics import NO_METRICS, IMetrics, names
from gateway.peers import identity
from gateway.peers.order import orderOf
from gateway.peers.peer import LIMITS, Peer, PeerSettings
from gateway.peers.profiles import PROFILES
from gateway.peers.protocol import Owner, PeerConnection, PeerRefused
from gateway.peers.tls import Connecting, Listening
from gateway.peers.trouble import explain, isUnknownKey
from gateway.reports import StatusItem
from gateway.stream.core import Splitter
from gateway.stream.link import Link
from gateway.stream.stanzas import Stanza
from gateway.xml.context import COMPONENT

_TLS = "tls:"


def clientEndpoint(reactor: Any, text: str) -> IStreamClientEndpoint:
    """Return the endpoint for a Twisted string. With C{tls:}, the TLS is that of the direct link itself."""
    if not text.startswith(_TLS):
        found: IStreamClientEndpoint = clientFromString(reactor, text)
        return found
    address = addressOf(text)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, address.host, address.port or 0)
    return endpoint


def listenString(text: str) -> str:
    """Return the Twisted string of a listening endpoint, likewise."""
    return f"tcp:{text.removeprefix(_TLS)}" if text.startswith(_TLS) else text


class _Port:
    """
    A port on which peers connect: accepts their keys alone.

    @ivar peers: the peers that connect here.
    """

    # Connections at once that have not shown their key yet.
    maxUnknown = 20

    profile = PROFILES["hf"]

    _log = Logger()

    def __init__(self, listen: str, own: identity.Identity, reactor: Any) -> None:
        self._reactor = reactor
        self._listen = listen
        self.tls = Listening(own)
        self.peers: list[Peer] = []
        self._unknown: list[PeerConnection] = []
        self._seldom = Seldom()
        factory = Factory.forProtocol(self._make)
        factory.noisy = False
        wrapped = TLSMemoryBIOFactory(self.tls, False, factory, reactor)
        wrapped.noisy = False
        self.listener = Listener("peers.listen", listenString(listen), wrapped, reactor)

    def _make(self) -> PeerConnection:
        self._unknown = [each for each in self._unknown if each.owner is None and not each.hasEnded]
        if len(self._unknown) >= self.maxUnknown:
            # Of those from the site that has most, so that one site cannot keep a peer out.
            sites = {each: _siteOf(each.address) for each in self._unknown}
            counts = Counter(sites.values())
            oldest = max(self._unknown, key=lambda each: counts[sites[each]])
            oldest.abort(PeerRefused("too many connections have not shown a key"))
            self._unknown.remove(oldest)
        connection = PeerConnection(self, self._reactor, True, LIMITS)
        self._unknown.append(connection)
        return connection

    def ownerOf(self, fingerprint: str) -> Owner | None:
        return next((each for each in self.peers if each.ownerOf(fingerprint) is not None), None)

    def failed(self, connection: PeerConnection, reason: Failure) -> None:
        trouble = explain(reason, None, self.tls.own)
        if isUnknownKey(reason):
            # It may be that of any peer that is awaited here.
            for peer in self.peers:
                peer.keyRefused(connection.address, trouble)
        if (more := self._seldom.more(self._reactor.seconds())) is not None:
            self._log.warn(
                "{listen}: a connection from {address} was refused: {trouble}{more}.",
                event="peer.connection_refused",
                listen=self._listen,
                address=connection.address or "no address",
                trouble=trouble,
                more=more,
            )


def _siteOf(address: str) -> str:
    """Return what stands for the sender: its address, or the network of an address of IPv6, as a site has it."""
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or parsed.packed[:8])


@define
class _Detour:
    """The stanzas of one component that go to peers."""

    peers: Peers
    link: Link

    def send(self, data: bytes) -> bool | None:
        if not self.peers.mayTake(data):
            return None
        return self.peers.send(self.link, data)

    def flowsSince(self, domain: str) -> float:
        return self.peers.flowsSince(domain)

    def report(self) -> Iterator[StatusItem]:
        return self.peers.report()


class Peers(Service):
    """
    The direct links of a gateway.

    @param metrics: takes the metrics of all peers.
    """

    tickEvery = 1.0

    _log = Logger()

    def __init__(self, reactor: Any, metrics: IMetrics = NO_METRICS, random: Random | None = None) -> None:
        self._reactor = reactor
        self._random = random or Random()
        self._links: dict[str, Link] = {}
        self._peers: dict[str, Peer] = {}
        self._byDomain: dict[str, Peer] = {}
        self._pattern: re.Pattern[bytes] | None = None
        self._ports: dict[tuple[str, str], _Port] = {}
        # Fingerprints of this gateway's own keys, by file.
        self._keys: dict[str, str] = {}
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        if metrics.isRecording:
            self._measure(metrics)

    # As a service.

    def startService(self) -> None:
        super().startService()
        self._listen()
        for peer in self._peers.values():
            peer.start()
        self._ticking.start(self.tickEvery, now=False)

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        if self._ticking.running:
            self._ticking.stop()
        stopping: list[Deferred[Any]] = [peer.stop() for peer in self._peers.values()]
        stopping += [maybeDeferred(port.listener.stopService) for port in self._ports.values()]
        return gatherResults(stopping)

    def _tick(self) -> None:
        now = self._reactor.seconds()
        for peer in list(self._peers.values()):
            peer.tick(now)

    def use(self, settings: Iterable[PeerSettings]) -> Deferred[Any]:
        """
        Use these peers. Those whose settings do not change keep their connections.

        @return: fires when that is done. Fails with L{StartFailed} if a port cannot be listened on; the next call
            tries again.
        @raise ConfigError: if a key cannot be used; nothing is changed then.
        """
        now = self._reactor.seconds()
        new = {each.name: each for each in settings}
        keys = _keysOf(new.values())
        renewed = {file for file, own in keys.items() if self._keys.get(file, own.fingerprint) != own.fingerprint}
        self._keys = {file: own.fingerprint for file, own in keys.items()}
        former: dict[str, Peer] = {}
        ended: dict[str, Deferred[None]] = {}
        for name, peer in list(self._peers.items()):
            if new.get(name) != peer.settings or peer.settings.keyFile in renewed:
                ended[name] = peer.stop()
                former[name] = self._peers.pop(name)
        for name, each in new.items():
            if name not in self._peers:
                endpoint = None if each.endpoint is None else clientEndpoint(self._reactor, each.endpoint)
                tls = None if each.endpoint is None else Connecting(keys[each.keyFile])
                self._peers[name] = Peer(each, self, self._reactor, endpoint, tls, self._random)
                if name in former:
                    self._peers[name].paths.takeOver(former.pop(name).paths)
                # A connection ends the former one at the other side, where the end of that one may be unread.
                before = ended[name] if name in ended and each.endpoint is not None else succeed(None)
                before.addCallback(self._start, self._peers[name])
        self._peers = {name: self._peers[name] for name in new}
        self._byDomain = {domain: peer for peer in self._peers.values() for domain in peer.settings.domains}
        self._pattern = _patternOf(self._byDomain) if self._byDomain else None
        for link in self._links.values():
            self._divert(link)
        for peer in former.values():
            peer.paths.end(now)
        # A new port may have the address of an old one.
        return self._usePorts(keys, renewed).addCallback(lambda _: self._listen())

    def _start(self, result: None, peer: Peer) -> None:
        """Start a peer, unless it was replaced meanwhile."""
        if self.running and self._peers.get(peer.settings.name) is peer:
            peer.start()

    def _usePorts(self, keys: Mapping[str, identity.Identity], renewed: Collection[str]) -> Deferred[Any]:
        """Make the ports of the peers; close the others."""
        users: defaultdict[tuple[str, str], list[Peer]] = defaultdict(list)
        for peer in self._peers.values():
            if peer.settings.listen is not None:
                users[peer.settings.listen, peer.settings.keyFile].append(peer)
        closing = [self._ports.pop(key) for key in list(self._ports) if key not in users]
        for (listen, keyFile), peers in sorted(users.items(), key=itemgetter(0)):
            port = self._ports.get((listen, keyFile))
            if port is None:
                port = self._ports[listen, keyFile] = _Port(listen, keys[keyFile], self._reactor)
            elif keyFile in renewed:
                port.tls.use(keys[keyFile])
            port.peers = peers
        return gatherResults([maybeDeferred(each.listener.stopService) for each in closing])

    def _listen(self) -> None:
        """Listen on each port that does not yet."""
        problems = []
        for port in self._ports.values():
            if self.running and not port.listener.isListening:
                try:
                    port.listener.startService()
                except StartFailed as error:
                    problems.append(str(error))
        if problems:
            raise StartFailed("; ".join(problems))

    # Components.

    def add(self, link: Link) -> None:
        """Let the stanzas of a component to peers use direct links, and accept theirs to it."""
        self._links[link.jid] = link
        self._divert(link)

    def _divert(self, link: Link) -> None:
        """Let the link ask for the way of each stanza, unless there are no peers: that takes time."""
        link.detour = _Detour(self, link) if self._peers else None

    def remove(self, link: Link) -> None:
        """A component is removed, or gets a successor: its last stanzas still leave, before those of that one."""
        if self._links.get(link.jid) is link:
            del self._links[link.jid]
        link.detour = None

    def linkOf(self, domain: str) -> Link | None:
        link = self._links.get(domain)
        # At its stop, a component finishes its open exchanges while its stream is still ready.
        return link if link is not None and (link.running or link.ready) else None

    def connected(self, domains: Collection[str]) -> None:
        for link in list(self._links.values()):
            link.peerConnected(domains)

    # The way out.

    def mayTake(self, data: bytes) -> bool:
        """True if these bytes may contain a stanza to a peer; a stanza that quotes one looks the same."""
        return self._pattern is not None and self._pattern.search(data) is not None

    def send(self, link: Link, data: bytes) -> bool | None:
        """Send each of several stanzas its way; as L{gateway.stream.output.Detour.send}."""
        splitter = Splitter(ns.COMPONENT_ACCEPT)
        splitter.feed(COMPONENT.header)
        found = [(event, self._peerOf(event)) for event in splitter.feed(data)]
        if all(peer is None for _, peer in found):
            return None
        now = self._reactor.seconds()
        hasRoom = True
        for event, peer in found:
            if isinstance(event, Stanza):
                whole = data if len(found) == 1 else event.whole
                if peer is None:
                    sent = link.sendToServer(whole)
                else:
                    pair = link.jid, _domainOf(event)
                    sent = peer.paths.put(pair, whole, now, orderOf(event))
                hasRoom = sent and hasRoom
        return hasRoom

    def _peerOf(self, event: object) -> Peer | None:
        if not isinstance(event, Stanza) or event.recipient is None:
            return None
        peer = self._byDomain.get(_domainOf(event))
        return None if peer is None or peer.isPinging else peer

    def flowsSince(self, domain: str) -> float:
        """Return since when stanzas to a domain have not waited, as L{gateway.stream.output.Detour.flowsSince}."""
        peer = self._byDomain.get(domain)
        return -inf if peer is None else peer.paths.flowsSince

    # For the operator.

    def report(self) -> Iterator[StatusItem]:
        """For C{/status}, below each component that uses direct links."""
        for peer in self._peers.values():
            yield from peer.report()

    def _measure(self, metrics: IMetrics) -> None:
        def each(read: Any) -> Any:
            return lambda: {name: read(peer) for name, peer in self._peers.items()}

        def directions(read: Any) -> Any:
            def values() -> Mapping[tuple[str, str], float]:
                return {
                    (name, direction): read(peer)[direction]
                    for name, peer in self._peers.items()
                    for direction in ("received", "sent")
                }

            return values

        metrics.gauge(*names.PEER_UP).setFunction(each(lambda peer: peer.isUp))
        metrics.counter(*names.PEER_CONNECTIONS).setFunction(each(lambda peer: peer.connections))
        metrics.gauge(*names.PEER_WAITING).setFunction(each(lambda peer: peer.paths.waiting))
        metrics.counter(*names.PEER_STANZAS).setFunction(directions(lambda peer: peer.stanzas))
        metrics.counter(*names.PEER_BYTES).setFunction(directions(lambda peer: peer.bytes))
        metrics.counter(*names.PEER_STANZA_BYTES).setFunction(directions(lambda peer: peer.stanzaBytes))
        metrics.counter(*names.PEER_REFUSED).setFunction(each(lambda peer: sum(peer.refused.values())))


def _keysOf(settings: Iterable[PeerSettings]) -> dict[str, identity.Identity]:
    """Return the gateway's own keys, by file."""
    found: dict[str, identity.Identity] = {}
    problems = []
    for each in settings:
        try:
            found[each.keyFile] = identity.load(Path(each.keyFile))
        except identity.KeyProblem as problem:
            problems.append(f'peers."{each.name}".key_file: {problem}')
    if problems:
        raise ConfigError(problems)
    return found


def _patternOf(domains: Iterable[str]) -> re.Pattern[bytes]:
    """Return what finds an attribute C{to} with one of these domains; output has it in single quotes."""
    known = b"|".join(re.escape(each.encode()) for each in sorted(domains))
    return re.compile(rb"to='(?:[^'/@]*@)?(?:" + known + rb")[/']")


def _domainOf(stanza: Stanza) -> str:
    """Return the domain that a stanza goes to."""
    return (stanza.recipient or "").partition("/")[0].rpartition("@")[2]
