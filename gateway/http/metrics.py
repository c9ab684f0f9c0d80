"""
C{/metrics}: all metrics, for Prometheus.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request

from gateway.http.answers import answerLater
from gateway.http.health import text
from gateway.metrics.prometheus import PrometheusMetrics, writeOpenMetrics, writeText
from gateway.pieces import Pieces

_OPENMETRICS, _TEXT = "application/openmetrics-text", "text/plain"
_TYPES = {
    _OPENMETRICS: b"application/openmetrics-text; version=1.0.0; charset=utf-8",
    _TEXT: b"text/plain; version=0.0.4; charset=utf-8",
}
_WRITERS = {_OPENMETRICS: writeOpenMetrics, _TEXT: writeText}
# Versions of the formats that a caller may name; without a version it takes any.
_VERSIONS = {_OPENMETRICS: ("", "1.0.0"), _TEXT: ("", "0.0.4")}


class MetricsPage(Resource):
    """
    Writes all metrics, in OpenMetrics or in the older text format (RFC 9110 section 12.5.1: C{Accept}).

    @param pieces: divides the work: a page of many services takes longer than a reactor turn may.
    """

    def __init__(self, metrics: PrometheusMetrics, pieces: Pieces) -> None:
        super().__init__()
        self._metrics = metrics
        self._pieces = pieces

    def render_GET(self, request: Request) -> int:
        accepted = b",".join(request.requestHeaders.getRawHeaders(b"accept") or ()).decode("latin-1")
        return answerLater(request, self._page(request, preferred(accepted)), _failed)

    async def _page(self, request: Request, kind: str) -> bytes:
        page = await self._pieces.run(_WRITERS[kind](self._metrics.collectors))
        request.setHeader(b"content-type", _TYPES[kind])
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"vary", b"Accept")
        request.setHeader(b"content-length", b"%d" % len(page))
        return page


def preferred(accepted: str) -> str:
    """
    Return the media type that a caller prefers. It is the text format if the caller names neither.

    @param accepted: the value of C{Accept}.
    """
    weights = dict.fromkeys(_TYPES, 0.0)
    for each in accepted.lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        values = dict(part.partition("=")[::2] for part in parameters)
        if kind in weights and values.get("version", "").strip('"') in _VERSIONS[kind]:
            weights[kind] = max(weights[kind], _weight(values.get("q", "1")))
    return _OPENMETRICS if weights[_OPENMETRICS] > weights[_TEXT] else _TEXT


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _failed(request: Request) -> bytes:
    return text(request, 500, "The metrics cannot be written: see the log.\n")
