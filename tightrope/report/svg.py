"""Small charts as inline SVG: text takes the page's colours, so they read in light, dark and print.

Every function returns markup made of numbers and escaped labels only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# None of the words' colours (green, orange, red) among them.
COLOURS = (
    "var(--c0)",
    "var(--c1)",
    "var(--c2)",
    "var(--c3)",
    "var(--c4)",
    "var(--c5)",
    "var(--c6)",
    "var(--c7)",
)
MARKS = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True)
class Interval:
    """One drawn figure: value and interval, and which model's."""

    value: float
    lower: float
    upper: float
    model: int


@dataclass(frozen=True)
class Point:
    """One model in the gain-against-KL picture."""

    x: float
    y: float
    lower: float
    upper: float
    model: int
    label: str


def colour(model: int) -> str:
    """The model's colour."""
    return COLOURS[model % len(COLOURS)]


def mark(x: float, y: float, model: int, size: float = 4.5) -> str:
    """The model's mark: shape as well as colour tells models apart."""
    fill = colour(model)
    shape = MARKS[model % len(MARKS)]
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{fill}"/>'
    if shape == "square":
        side = 2 * size
        return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{side:.1f}" height="{side:.1f}" fill="{fill}"/>'
    turn = size * 1.3
    points = (
        [(x, y - turn), (x + turn, y), (x, y + turn), (x - turn, y)]
        if shape == "diamond"
        else [(x, y - turn), (x + turn, y + size), (x - turn, y + size)]
    )
    return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="{fill}"/>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between low and high."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw), 10 * power)
    first = math.ceil(low / step - 1e-9) * step
    out = []
    while first <= high + 1e-9 * step:
        out.append(0.0 if abs(first) < 1e-9 * step else first)
        first += step
    return out


def number(value: float) -> str:
    """A tick label: no needless digits."""
    return f"{value:g}" if abs(value) < 1e4 else f"{value:.0f}"


def intervals(rows: Sequence[Interval], low: float, high: float, null: float) -> str:
    """Stacked intervals on one scale with a line where nothing changed.

    Args:
        rows: one per model, drawn top to bottom.
        low: left end of the scale.
        high: right end.
        null: where "no change" is.
    """
    width, each = 320.0, 18.0
    height = each * max(1, len(rows)) + 16

    def x(value: float) -> float:
        return 6 + (width - 12) * (min(max(value, low), high) - low) / (high - low)

    parts = [f'<line x1="{x(null):.1f}" x2="{x(null):.1f}" y1="0" y2="{height - 14:.0f}" class="null"/>']
    for i, row in enumerate(rows):
        y = each * (i + 0.5)
        parts.append(
            f'<line x1="{x(row.lower):.1f}" x2="{x(row.upper):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{colour(row.model)}" class="interval"/>{mark(x(row.value), y, row.model)}'
        )
    for at in sorted({low, null, high}):
        anchor = "start" if at == low else "end" if at == high else "middle"
        parts.append(f'<text x="{x(at):.1f}" y="{height - 2:.0f}" text-anchor="{anchor}">{number(at)}</text>')
    return _svg(width, height, parts, "forest")


@dataclass(frozen=True)
class Line:
    """A fitted curve in the gain-against-KL picture.

    Attributes:
        points: (x, y) along it.
        model: whose colour it has.
        peak: x and y of its highest point; None where it has none.
        reach: x from and to between which the peak lies; an end of None is without bound.
        dash: lengths of strokes and gaps, where it is another measure of the same models; empty draws it solid.
    """

    points: Sequence[tuple[float, float]]
    model: int
    peak: tuple[float, float] | None = None
    reach: tuple[float | None, float | None] = (None, None)
    dash: str = ""


def scatter(
    points: Sequence[Point], x_label: str, y_label: str, null: float, lines: Sequence[Line] = ()
) -> str:
    """Gain against drift: a point with its interval per model, the start model at the origin, fitted curves below.

    A peak is marked where it lies inside the picture, with a bar along the axis for its interval.
    """
    width, height, left, bottom, right, top = 620.0, 340.0, 52.0, 44.0, 110.0, 14.0
    high_x = max([p.x for p in points] + [1.0]) * 1.1
    low_x = min(0.0, *(p.x for p in points)) if points else 0.0
    drawn = [y for line in lines for _, y in line.points]
    lows, highs = [p.lower for p in points] + [null, *drawn], [p.upper for p in points] + [null, *drawn]
    pad = 0.08 * (max(highs) - min(lows) or 1.0)
    low_y, high_y = min(lows) - pad, max(highs) + pad

    def x(value: float) -> float:
        return left + (width - left - right) * (value - low_x) / (high_x - low_x)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * (value - low_y) / (high_y - low_y)

    parts = []
    for at in ticks(low_y, high_y):
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y(at):.1f}" y2="{y(at):.1f}" class="grid"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{number(at)}</text>')
    for at in ticks(low_x, high_x):
        parts.append(
            f'<text x="{x(at):.1f}" y="{height - bottom + 16}" text-anchor="middle">{number(at)}</text>'
        )
    parts.append(
        f'<line x1="{left}" x2="{width - right}" y1="{y(null):.1f}" y2="{y(null):.1f}" class="null"/>'
    )
    parts.append(f'<circle cx="{x(0):.1f}" cy="{y(null):.1f}" r="4" class="start"/>')
    parts.append(f'<text x="{x(0) + 7:.1f}" y="{y(null) - 6:.1f}" class="label">start</text>')
    for line in lines:
        parts += _line(line, x, y, (low_x, high_x), height - bottom)
    placed: list[float] = []
    for p in sorted(points, key=lambda p: y(p.y)):
        at = max(y(p.y) + 4, (placed[-1] + 13) if placed else 0)
        placed.append(at)
        parts.append(
            f'<line x1="{x(p.x):.1f}" x2="{x(p.x):.1f}" y1="{y(p.lower):.1f}" y2="{y(p.upper):.1f}" '
            f'stroke="{colour(p.model)}" class="interval"/>{mark(x(p.x), y(p.y), p.model, 5.5)}'
            f'<line x1="{x(p.x) + 7:.1f}" x2="{width - right + 4:.1f}" y1="{y(p.y):.1f}" y2="{at - 4:.1f}" '
            f'stroke="{colour(p.model)}" class="lead"/>'
            f'<text x="{width - right + 8:.1f}" y="{at:.1f}" class="label">{escape(p.label[:14])}</text>'
        )
    parts.append(
        f'<text x="{(left + width - right) / 2:.0f}" y="{height - 6}" text-anchor="middle" class="axis">'
        f"{escape(x_label)}</text>"
    )
    parts.append(
        f'<text transform="translate(13 {(height - bottom + top) / 2:.0f}) rotate(-90)" text-anchor="middle" '
        f'class="axis">{escape(y_label)}</text>'
    )
    return _svg(width, height, parts, "chart")


def _line(
    line: Line, x: Callable[[float], float], y: Callable[[float], float], span: tuple[float, float], floor: float
) -> list[str]:
    path = " ".join(f"{'M' if i == 0 else 'L'}{x(a):.1f} {y(b):.1f}" for i, (a, b) in enumerate(line.points))
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    parts = [f'<path d="{path}" fill="none" stroke="{colour(line.model)}" class="fit"{dash}/>']
    if line.peak is None:
        return parts
    low, high = (
        end if given is None else min(max(given, span[0]), span[1])
        for given, end in zip(line.reach, span, strict=True)
    )
    parts.append(
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{floor - 4:.1f}" y2="{floor - 4:.1f}" '
        f'stroke="{colour(line.model)}" class="reach"/>'
    )
    if line.peak[0] <= span[1]:
        at, top = x(line.peak[0]), y(line.peak[1])
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top:.1f}" y2="{floor - 4:.1f}" '
            f'stroke="{colour(line.model)}" class="lead"/>'
            f'<text x="{at:.1f}" y="{top - 7:.1f}" text-anchor="middle" class="label">peak</text>'
        )
    return parts


def histogram(values: Sequence[float], reference: Sequence[float], model: int) -> str:
    """Two length distributions: the model as bars, the reference as an outline."""
    width, height, bottom = 300.0, 110.0, 20.0
    high = max([*values, *reference, 1.0])
    bins = 24

    def counts(some: Sequence[float]) -> list[float]:
        out = [0.0] * bins
        for v in some:
            out[min(bins - 1, int(bins * v / (high + 1e-9)))] += 1 / max(1, len(some))
        return out

    mine, base = counts(values), counts(reference)
    top = max(*mine, *base, 1e-9)
    step = width / bins

    def y(share: float) -> float:
        return height - bottom - (height - bottom - 4) * share / top

    parts = [
        f'<rect x="{i * step + 1:.1f}" y="{y(c):.1f}" width="{step - 2:.1f}" height="{height - bottom - y(c):.1f}" '
        f'fill="{colour(model)}" opacity="0.8"/>'
        for i, c in enumerate(mine)
        if c
    ]
    path = " ".join(
        f"{'M' if i == 0 else 'L'}{i * step:.1f} {y(c):.1f} L{(i + 1) * step:.1f} {y(c):.1f}"
        for i, c in enumerate(base)
    )
    parts.append(f'<path d="{path}" class="outline"/>')
    for at in ticks(0, high, 4):
        place = width * at / (high + 1e-9)
        anchor = "start" if at == 0 else "end" if place > width - 12 else "middle"
        parts.append(
            f'<text x="{min(place, width):.1f}" y="{height - 5}" text-anchor="{anchor}">{number(at)}</text>'
        )
    return _svg(width, height, parts, "chart")


def curve(steps: Sequence[float], values: Sequence[float], title: str) -> str:
    """One metric over the steps of a stage."""
    width, height, left, bottom, top = 250.0, 120.0, 44.0, 18.0, 18.0
    low, high = min(values), max(values)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    first, last = steps[0], max(steps[-1], steps[0] + 1)

    def x(value: float) -> float:
        return left + (width - left - 6) * (value - first) / (last - first)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * (value - low) / (high - low)

    path = " ".join(
        f"{'M' if i == 0 else 'L'}{x(s):.1f} {y(v):.1f}"
        for i, (s, v) in enumerate(zip(steps, values, strict=True))
    )
    parts = [f'<text x="{left}" y="11" class="label">{escape(title)}</text>']
    for at in (low, high):
        parts.append(f'<line x1="{left}" x2="{width - 6}" y1="{y(at):.1f}" y2="{y(at):.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 5}" y="{y(at) + 4:.1f}" text-anchor="end">{at:.3g}</text>')
    parts.append(
        f'<path d="{path}" class="curve"/>' if len(steps) > 1 else mark(x(steps[0]), y(values[0]), 0, 3)
    )
    parts.append(f'<text x="{left}" y="{height - 4}">{number(first)}</text>')
    parts.append(f'<text x="{width - 6}" y="{height - 4}" text-anchor="end">step {number(steps[-1])}</text>')
    return _svg(width, height, parts, "chart")


def _svg(width: float, height: float, parts: Sequence[str], kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'style="max-width:{width:.0f}px">{"".join(parts)}</svg>'
    )
