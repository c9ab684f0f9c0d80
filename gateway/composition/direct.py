"""
The direct links of a gateway. Without C{[peers]}, nothing of them is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from gateway.composition.changes import keyFile
from gateway.composition.reader import Config
from gateway.metrics import IMetrics
from gateway.stream.link import Link

if TYPE_CHECKING:
    from gateway.peers.peer import PeerSettings
    from gateway.peers.service import Peers


class DirectLinks(Service):
    """
    The direct links, and the links of the components that use them.

    @param metrics: takes the metrics of all peers.
    """

    def __init__(self, reactor: Any, metrics: IMetrics) -> None:
        self._reactor = reactor
        self._metrics = metrics
        self._links: dict[Link, None] = {}
        # Made for the first configuration that has peers.
        self._peers: Peers | None = None

    def startService(self) -> None:
        super().startService()
        if self._peers is not None:
            self._peers.startService()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        return succeed(None) if self._peers is None else self._peers.stopService()

    def use(self, config: Config) -> Deferred[Any]:
        """
        Make and end direct links, so that there are those of a configuration.

        @return: as of L{Peers.use}.
        @raise ConfigError: if a key cannot be used; nothing is changed then.
        """
        if self._peers is None:
            if not config.peers:
                return succeed(None)
            from gateway.peers.service import Peers

            self._peers = Peers(self._reactor, self._metrics)
            if self.running:
                self._peers.startService()
            for link in self._links:
                self._peers.add(link)
        return self._peers.use(_settings(config))

    def add(self, link: Link) -> None:
        """Let a component use the direct links."""
        self._links[link] = None
        if self._peers is not None:
            self._peers.add(link)

    def remove(self, link: Link) -> None:
        """Forget the link of a component, which may have used them."""
        self._links.pop(link, None)
        if self._peers is not None:
            self._peers.remove(link)


def _settings(config: Config) -> list[PeerSettings]:
    """Return the settings of the direct links."""
    from gateway.peers.peer import PeerSettings
    from gateway.peers.profiles import PROFILES

    return [
        PeerSettings(
            name=name,
            domains=table.domains | {name},
            endpoint=table.endpoint,
            listen=table.listen,
            fingerprints=table.fingerprint,
            keyFile=keyFile(config, table),
            profile=PROFILES[table.profile],
            fallsBack=table.fallback == "s2s",
        )
        for name, table in config.peers.items()
    ]
