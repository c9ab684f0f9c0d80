"""
The HTTP server of a gateway: its pages for operators, and the resources of services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve
from twisted.web.resource import Resource

from gateway.composition.reader import readSecret
from gateway.config.tables import HttpTable
from gateway.http.access import Gate
from gateway.http.health import Health, Readiness
from gateway.http.live import Live
from gateway.http.metrics import MetricsPage
from gateway.http.page import makePages
from gateway.http.served import Branch, Served, merged
from gateway.http.site import QuietSite
from gateway.http.status import Status
from gateway.http.view import View
from gateway.metrics import IMetrics
from gateway.metrics.prometheus import PrometheusMetrics
from gateway.metrics.samples import Samples
from gateway.pieces import Pieces
from gateway.reports import StatusItem
from gateway.state.database import Database
from gateway.stream.link import Link

if TYPE_CHECKING:
    from gateway.standby.service import Waiting

# Paths that need no token: they reveal only whether the gateway is up.
_FREE = frozenset({b"/healthz", b"/readyz"})


class Shown(Protocol):
    """The gateway that the pages show."""

    reported: list[Link | Waiting]
    databases: list[Database]
    reports: list[StatusItem]
    samples: Samples
    pieces: Pieces

    def kinds(self) -> Mapping[str, str]:
        """Return the kinds of services by component."""


class WebServer:
    """
    The HTTP server.

    @ivar site: the factory of its connections.
    @ivar live: sends the changes of the page.
    @param metrics: those that C{/metrics} has.
    @param utc: returns the seconds since 1970.
    """

    def __init__(
        self,
        table: HttpTable,
        shown: Shown,
        metrics: IMetrics,
        reactor: Any,
        utc: Callable[[], float],
    ) -> None:
        token = None if table.token_file is None else readSecret(table.token_file)
        self._root = Branch()
        self.site = QuietSite(self._root, Gate(token, table.hosts, _FREE), reactor, utc)
        links, databases = shown.reported, shown.databases
        view = View(links, databases, shown.samples, shown.kinds, shown.pieces, reactor, shown.reports)
        self.live = Live(view, reactor)
        self._pages: dict[bytes, Resource] = {
            **makePages(view, self.live, lambda: self.site.gate, utc),
            b"healthz": Health(),
            b"readyz": Readiness(links, databases),
            b"status": Status(links, databases, shown.kinds, shown.reports),
        }
        if isinstance(metrics, PrometheusMetrics):
            self._pages[b"metrics"] = MetricsPage(metrics, shown.pieces)
        if metrics.isRecording:
            self.site.measure(metrics)

    def serve(self, resources: Iterable[Mapping[str, Served]]) -> None:
        """
        Serve the resources of services, in place of those before.

        @param resources: of each service by the first segment of their path, in the order of the configuration.
        """
        self._root.children = {**merged(resources), **self._pages}

    @property
    def token(self) -> str | None:
        """The token that requests must have; C{None} if they need none."""
        return self.site.gate.token

    @token.setter
    def token(self, token: str | None) -> None:
        self.site.gate = evolve(self.site.gate, token=token)
