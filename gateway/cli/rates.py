"""
The table of C{xmpp-gateway top}: rates and latencies between two readings of the metrics. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "xmpp_gateway_"
Labels = frozenset[tuple[str, str]]
# Histograms of the work of a component, of which it has one.
_WORK = ("proxy_round_trip", "delegation_request", "roster_refresh", "fmuc_echo")
# Stanzas that wait for the connection, for the budget of a user, or for the acknowledgement of another node.
_WAITING = ("outbox_stanzas", "held_stanzas", "fmuc_outbox_stanzas")
_HEAD = ("component", "link", "in/s", "out/s", "in B/s", "out B/s", "open", "waiting", "errors/s", "median", "95 %")
# The columns with bytes.
_BYTES = range(4, 6)
# Characters of a component's name.
_MIN_NAME, _MAX_NAME = 9, 40


@frozen
class Reading:
    """
    The metrics at one time.

    @ivar at: seconds.
    @ivar values: by name and labels.
    """

    at: float
    values: Mapping[tuple[str, Labels], float]

    def rows(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield labels and value of each series of a metric."""
        for (found, labels), value in self.values.items():
            if found == _PREFIX + name:
                yield dict(labels), value

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        wanted = labels.items()
        return sum(value for found, value in self.rows(name) if wanted <= found.items())

    def process(self, name: str) -> float | None:
        """Return a metric of the process; C{None} if it is not there."""
        return self.values.get((name, frozenset()))


def read(text: str, at: float) -> Reading:
    """
    Read the answer of C{/metrics} in Prometheus' text format.

    @raise ValueError: if it is something else.
    """
    return Reading(
        at,
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        },
    )


def lines(before: Reading, after: Reading, columns: int | None = None, height: int | None = None) -> list[str]:
    """
    Return the lines to show.

    @param columns: of the terminal. In a narrow one, bytes are left out, and names are shortened.
    @param height: of the terminal, in lines.
    """
    rows = [_HEAD, *(_row(before, after, component) for component in _components(after))]
    if columns is not None and _width(rows) > columns:
        rows = [row[: _BYTES.start] + row[_BYTES.stop :] for row in rows]
        spare = columns - (_width(rows) - max(len(row[0]) for row in rows))
        rows = [(_shortened(row[0], max(spare, _MIN_NAME)), *row[1:]) for row in rows]
    widths = _widths(rows)
    shown = [_process(before, after), "", *("  ".join(_aligned(row, widths)) for row in rows)]
    if height is not None and len(shown) > height:
        shown[height - 1 :] = [f"... and {len(shown) - height + 1} further components"]
    return [line[:columns] for line in shown]


def _widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _width(rows: Sequence[tuple[str, ...]]) -> int:
    """Return the length of the longest line, with two spaces between cells."""
    widths = _widths(rows)
    return sum(widths) + 2 * (len(widths) - 1)


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 3] + "..."


def _aligned(row: Iterable[str], widths: Iterable[int]) -> Iterator[str]:
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        # Names on the left, numbers on the right.
        yield cell.ljust(width) if number < 2 else cell.rjust(width)


def _components(reading: Reading) -> list[str]:
    return sorted({labels["component"] for labels, _ in reading.rows("link_up")})


def _process(before: Reading, after: Reading) -> str:
    """Return the line about the process."""
    version = next((labels.get("version", "") for labels, _ in after.rows("info")), "")
    parts = [f"xmpp-gateway {version}".strip()]
    spent = [reading.process("process_cpu_seconds_total") for reading in (before, after)]
    passed = after.at - before.at
    if spent[0] is not None and spent[1] is not None and passed > 0:
        parts.append(f"CPU {100 * (spent[1] - spent[0]) / passed:.0f} %")
    memory = after.process("process_resident_memory_bytes")
    if memory is not None:
        parts.append(f"memory {_bytes(memory)}")
    lag = _quantile(before, after, "reactor_lag", 0.95)
    if lag is not None:
        parts.append(f"lag {_seconds(lag)} (95 %)")
    broken = [labels["file"] for labels, value in after.rows("state_up") if not value]
    if broken:
        parts.append(f"FILES THAT DO NOT WORK: {', '.join(sorted(broken))}")
    return "   ".join(parts)


def _row(before: Reading, after: Reading, component: str) -> tuple[str, ...]:
    passed = after.at - before.at

    def rate(name: str, **labels: str) -> float:
        difference = after.total(name, component=component, **labels) - before.total(
            name, component=component, **labels
        )
        # After a restart, counters begin at 0.
        return max(difference, 0.0) / passed if passed > 0 else 0.0

    link = "up" if after.total("link_up", component=component) else "DOWN"
    if after.total("link_conflict", component=component):
        link = "CONFLICT"

    def latency(share: float) -> str:
        found = [_quantile(before, after, name, share, component=component) for name in _WORK]
        return next((_seconds(each) for each in found if each is not None), "-")

    return (
        _shortened(component, _MAX_NAME),
        link,
        _number(rate("stanzas_total", direction="received")),
        _number(rate("stanzas_total", direction="sent")),
        _bytes(rate("stream_bytes_total", direction="received")),
        _bytes(rate("stream_bytes_total", direction="sent")),
        _number(after.total("pending_requests", component=component)),
        _number(sum(after.total(name, component=component) for name in _WAITING)),
        _number(rate("errors_total")),
        latency(0.5),
        latency(0.95),
    )


def _quantile(before: Reading, after: Reading, name: str, share: float, **labels: str) -> float | None:
    """
    Return an upper bound of a quantile of what a histogram has observed between two readings.

    @return: C{None} if it has observed nothing; infinity if the quantile is over the last bound.
    """
    counts = [_buckets(reading, name, labels.items()) for reading in (before, after)]
    grown = {bound: count - counts[0].get(bound, 0.0) for bound, count in counts[1].items()}
    observed = grown.get(float("inf"), 0.0)
    if observed <= 0:
        return None
    return next(bound for bound in sorted(grown) if grown[bound] >= share * observed)


def _buckets(reading: Reading, name: str, labels: Iterable[tuple[str, str]]) -> dict[float, float]:
    found: dict[float, float] = {}
    wanted = set(labels)
    for each, value in reading.rows(f"{name}_seconds_bucket"):
        if wanted <= each.items():
            bound = float(each["le"])
            found[bound] = found.get(bound, 0.0) + value
    return found


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _bytes(value: float) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _seconds(value: float) -> str:
    if value == float("inf"):
        return "very long"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"
