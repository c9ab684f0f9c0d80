"""
Metrics: their interface, and what records and keeps them.
"""

from gateway.metrics.interfaces import (
    NO_METRIC,
    NO_METRICS,
    ICounter,
    IGauge,
    IHistogram,
    IMetrics,
    IMetricsProvider,
    Read,
)
from gateway.metrics.names import CATALOGUE, INFO, LATENCY, Histogram, Metric, bounded, label

__all__ = [
    "CATALOGUE",
    "INFO",
    "LATENCY",
    "NO_METRIC",
    "NO_METRICS",
    "Histogram",
    "ICounter",
    "IGauge",
    "IHistogram",
    "IMetrics",
    "IMetricsProvider",
    "Metric",
    "Read",
    "bounded",
    "label",
]
