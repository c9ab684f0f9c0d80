"""
Small plots of the last fifteen minutes, as SVG in a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.web.template import Tag, tags

from gateway.metrics.samples import EVERY, SPAN, History, Sample

# The size of a plot in its own units; the page stretches it.
_WIDTH, _HEIGHT = 300.0, 60.0

# If more seconds than these are between two values, the line has a gap; a sample may be late.
_GAP = 2.5 * EVERY

_Value = Callable[[Sample], float | None]


def plots(history: History, now: float) -> list[Tag]:
    """Return the plots of a component: none before there are two samples."""
    samples = list(history.samples)
    if len(samples) < 2:
        return []
    rate = max(each.rate for each in samples)
    found = [
        _figure(
            f"Stanzas per second: {_number(samples[-1].rate)} now, {_number(rate)} at most",
            [_line(samples, lambda each: each.rate, rate, now, "line")],
        )
    ]
    worst = max((each.worst for each in samples if each.worst is not None), default=None)
    if worst is not None:
        mean = next((each.mean for each in reversed(samples) if each.mean is not None), 0.0)
        found.append(
            _figure(
                f"Latency: {duration(mean)} on average most recently (solid), {duration(worst)} at most (dashed)",
                [
                    _line(samples, lambda each: each.worst, worst, now, "line dashed"),
                    _line(samples, lambda each: each.mean, worst, now, "line"),
                ],
                history.duration,
            )
        )
    return found


def _figure(caption: str, lines: list[Tag], about: str = "") -> Tag:
    # The caption has what a reader of the plot sees first, so the drawing is hidden from screen readers.
    drawing = Tag("svg")(
        *lines,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
        focusable="false",
        **{"aria-hidden": "true"},
    )
    axis = tags.p(tags.span("15 minutes ago"), tags.span("now"), class_="axis", **{"aria-hidden": "true"})
    hint = tags.span(" ", about, class_="hint") if about else ""
    return tags.figure(tags.figcaption(caption, hint), drawing, axis)


def _line(samples: Sequence[Sample], value: _Value, most: float, now: float, kind: str) -> Tag:
    """Return a line through the values of samples, with a gap where there are none."""
    path: list[str] = []
    then = float("-inf")
    for each in samples:
        found = value(each)
        x = _WIDTH * (1 - (now - each.at) / SPAN)
        if found is None or x < 0:
            continue
        y = _HEIGHT - 1 - (_HEIGHT - 2) * (found / most if most > 0 else 0.0)
        step = f"{x:.1f} {y:.1f}"
        # A value between two gaps is a dot: a line of length 0 with round ends.
        path.append(f"L{step}" if each.at - then <= _GAP else f"M{step}h0")
        then = each.at
    return Tag("path")(d="".join(path), class_=kind, **{"vector-effect": "non-scaling-stroke"})


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds >= 1:
        return f"{_number(seconds)} s"
    return f"{_number(seconds * 1000)} ms" if seconds >= 0.0001 else "under 0.1 ms"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    for unit in units[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{_number(count)} {unit}"
        count /= 1024
    return f"{_number(count)} {units[-1]}"
