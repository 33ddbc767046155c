"""Small charts as inline SVG: text takes the page's colours, so they read in light, dark and print.

Every function returns markup made of numbers and escaped labels only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def sign(model: int) -> str:
    """The model's mark as a picture of its own, to stand beside text."""
    return f'<svg class="mark" viewBox="0 0 14 14">{mark(7, 7, model)}</svg>'


def stroke(x1: float, x2: float, y1: float, y2: float, kind: str, model: int | None = None) -> str:
    """A straight line; `kind` is its class, and a model's has the model's colour."""
    of = "" if model is None else f' stroke="{colour(model)}"'
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"{of} class="{kind}"/>'


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

    parts = [stroke(x(null), x(null), 0, height - 14, "null")]
    for i, row in enumerate(rows):
        y = each * (i + 0.5)
        parts += [stroke(x(row.lower), x(row.upper), y, y, "interval", row.model), mark(x(row.value), y, row.model)]
    for at in sorted({low, null, high}):
        anchor = "start" if at == low else "end" if at == high else "middle"
        parts.append(f'<text x="{x(at):.1f}" y="{height - 2:.0f}" text-anchor="{anchor}">{number(at)}</text>')
    return _svg(width, height, parts, "forest")


@dataclass(frozen=True)
class Plane:
    """A picture with two axes: where numbers lie on it, its grid and labels.

    Attributes:
        width: of the picture, pixels as all below.
        height: of the picture.
        margins: left, bottom, right and top of what is drawn on.
        across: the numbers at its left and right end.
        up: the numbers at its bottom and top.
    """

    width: float
    height: float
    margins: tuple[float, float, float, float]
    across: tuple[float, float]
    up: tuple[float, float]

    @property
    def left(self) -> float:
        """Left end of what is drawn on."""
        return self.margins[0]

    @property
    def right(self) -> float:
        """Right end of what is drawn on."""
        return self.width - self.margins[2]

    @property
    def floor(self) -> float:
        """Bottom of what is drawn on."""
        return self.height - self.margins[1]

    def x(self, value: float) -> float:
        """How far from the left a number lies."""
        low, high = self.across
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """How far from the top a number lies."""
        low, high = self.up
        return self.floor - (self.floor - self.margins[3]) * (value - low) / (high - low)

    def axes(self, x_label: str, y_label: str) -> list[str]:
        """Grid lines, their numbers, and what the axes are."""
        parts = []
        for at in ticks(*self.up):
            y = self.y(at)
            parts.append(stroke(self.left, self.right, y, y, "grid"))
            parts.append(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{number(at)}</text>')
        for at in ticks(*self.across):
            parts.append(
                f'<text x="{self.x(at):.1f}" y="{self.floor + 16}" text-anchor="middle">{number(at)}</text>'
            )
        middle, centre = (self.left + self.right) / 2, (self.floor + self.margins[3]) / 2
        return [
            *parts,
            f'<text x="{middle:.0f}" y="{self.height - 6}" text-anchor="middle" class="axis">{escape(x_label)}</text>',
            f'<text transform="translate(13 {centre:.0f}) rotate(-90)" text-anchor="middle" class="axis">'
            f"{escape(y_label)}</text>",
        ]

    def picture(self, parts: Sequence[str]) -> str:
        """The whole as markup."""
        return _svg(self.width, self.height, parts, "chart")


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
        parts.append(stroke(left, width - 6, y(at), y(at), "grid"))
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
