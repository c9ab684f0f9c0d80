"""Charts as SVG: points on two logarithmic axes, or lines over time."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

# x, y, and the smallest and largest y of the rounds.
Point = tuple[float, float, float, float]

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 32, 20, 50
_COLOURS = ("#1f6feb", "#d1570c", "#2da44e", "#8250df", "#9a6700", "#cf222e")
_STYLE = "text{font:13px sans-serif;fill:#24292f}.g{stroke:#d0d7de}.p{stroke:#8c959f;stroke-dasharray:5 4}"


def svg(series: Mapping[str, Sequence[Point]], across: str, upwards: str, isProportional: bool = True) -> str:
    """
    Return a chart: a line for each series, and a bar for its extremes.

    @param across, upwards: the titles of the axes.
    @param isProportional: true to add a line proportional to the first series' last point.
    """
    points = [point for each in series.values() for point in each]
    lowest, highest = _decades([x for x, *_ in points])
    least, most = _decades([y for _, _, low, high in points for y in (low, high)])

    def across_(x: float) -> float:
        return _LEFT + (math.log10(x) - lowest) / (highest - lowest) * (_WIDTH - _LEFT - _RIGHT)

    def upwards_(y: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log10(y) - least) / (most - least) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = _frame(
        [(across_(10**decade), f"{10**decade:,}") for decade in range(lowest, highest + 1)],
        [(upwards_(10**decade), f"{10.0**decade:,g}") for decade in range(least, most + 1)],
        across,
        upwards,
    )
    for number, (name, found) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        if isProportional and not number:
            x, y, *_ = found[-1]
            # The line leaves the chart on the left, or below.
            part = max(10**lowest / x, 10**least / y)
            drawn.append(_line(across_(x * part), upwards_(y * part), across_(x), upwards_(y), "p"))
        path = " ".join(f"{across_(x):.1f},{upwards_(y):.1f}" for x, y, *_ in found)
        drawn.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        for x, y, low, high in found:
            drawn.append(f"<g stroke='{colour}'>{_line(across_(x), upwards_(low), across_(x), upwards_(high))}</g>")
            drawn.append(f"<circle cx='{across_(x):.1f}' cy='{upwards_(y):.1f}' r='4' fill='{colour}'/>")
        drawn += _legend(number, name, colour, _TOP)
    if isProportional:
        at = _TOP + 16 + 20 * len(series)
        drawn += [_line(_LEFT + 12, at, _LEFT + 28, at, "p"), _text(_LEFT + 32, at + 4, "proportional", "start")]
    return _written(drawn)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], limit: float | None, across: str, upwards: str
) -> str:
    """
    Return a chart with linear axes that begin at 0: a line for each series.

    @param limit: a value to be marked by a dashed line; C{None} for none.
    @param across, upwards: the titles of the axes.
    """
    points = [point for each in series.values() for point in each]
    farthest, highest = max(x for x, _ in points), max(limit or 0, *(y for _, y in points))
    stepX, stepY = _step(farthest), _step(highest)
    countX, countY = math.ceil(farthest / stepX), math.ceil(highest / stepY)

    def across_(x: float) -> float:
        return _LEFT + x / (stepX * countX) * (_WIDTH - _LEFT - _RIGHT)

    def upwards_(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / (stepY * countY) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = _frame(
        [(across_(n * stepX), f"{n * stepX:,g}") for n in range(countX + 1)],
        [(upwards_(n * stepY), f"{n * stepY:,g}") for n in range(countY + 1)],
        across,
        upwards,
    )
    if limit is not None:
        drawn.append(_line(_LEFT, upwards_(limit), _WIDTH - _RIGHT, upwards_(limit), "p"))
    for number, (name, found) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{across_(x):.1f},{upwards_(y):.1f}" for x, y in found)
        drawn.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        drawn += _legend(number, name, colour, _TOP + (_HEIGHT - _BOTTOM - _TOP) // 2)
    return _written(drawn)


def _step(most: float) -> float:
    """Return a round distance of the lines of a grid, of which there are four to ten."""
    decade: float = 10 ** math.floor(math.log10(most))
    return next(decade * part for part in (0.1, 0.2, 0.5, 1) if most / (decade * part) <= 10)


def _frame(
    columns: Sequence[tuple[float, str]], rows: Sequence[tuple[float, str]], across: str, upwards: str
) -> list[str]:
    """Return the grid, with the number at each line, and the titles of the axes."""
    drawn = [f"<style>{_STYLE}</style>", f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='#fff'/>"]
    for x, text in columns:
        drawn.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM, "g"))
        drawn.append(_text(x, _HEIGHT - _BOTTOM + 18, text, "middle"))
    for y, text in rows:
        drawn.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "g"))
        drawn.append(_text(_LEFT - 8, y + 4, text, "end"))
    drawn.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, across, "middle"))
    drawn.append(f"<g transform='translate(18 {_HEIGHT / 2}) rotate(-90)'>{_text(0, 0, upwards, 'middle')}</g>")
    return drawn


def _legend(number: int, name: str, colour: str, top: int) -> list[str]:
    dot = f"<circle cx='{_LEFT + 20}' cy='{top + 16 + 20 * number}' r='4' fill='{colour}'/>"
    return [dot, _text(_LEFT + 32, top + 20 + 20 * number, name, "start")]


def _written(drawn: Sequence[str]) -> str:
    body = "\n".join(drawn)
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}'>\n{body}\n</svg>\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around some values."""
    lowest = math.floor(math.log10(min(values)))
    return lowest, max(lowest + 1, math.ceil(math.log10(max(values))))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    return f"<line class='{kind}' x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'/>"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{escape(text)}</text>"
