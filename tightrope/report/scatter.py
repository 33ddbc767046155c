"""The picture of gain against drift: a point with its interval per model, fitted curves below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tightrope.report.svg import Plane, colour, mark, stroke


@dataclass(frozen=True)
class Point:
    """One model in the gain-against-KL picture."""

    x: float
    y: float
    lower: float
    upper: float
    model: int
    label: str


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
    high_x = max([p.x for p in points] + [1.0]) * 1.1
    low_x = min(0.0, *(p.x for p in points)) if points else 0.0
    drawn = [y for line in lines for _, y in line.points]
    lows, highs = [p.lower for p in points] + [null, *drawn], [p.upper for p in points] + [null, *drawn]
    pad = 0.08 * (max(highs) - min(lows) or 1.0)
    plane = Plane(620.0, 340.0, (52.0, 44.0, 110.0, 14.0), (low_x, high_x), (min(lows) - pad, max(highs) + pad))
    x, y, right = plane.x, plane.y, plane.right
    parts = [
        *plane.axes(x_label, y_label),
        stroke(plane.left, right, y(null), y(null), "null"),
        f'<circle cx="{x(0):.1f}" cy="{y(null):.1f}" r="4" class="start"/>',
        f'<text x="{x(0) + 7:.1f}" y="{y(null) - 6:.1f}" class="label">start</text>',
    ]
    for line in lines:
        parts += _line(line, plane)
    for p, at in _labelled(points, plane):
        parts += [
            stroke(x(p.x), x(p.x), y(p.lower), y(p.upper), "interval", p.model),
            mark(x(p.x), y(p.y), p.model, 5.5),
            stroke(x(p.x) + 7, right + 4, y(p.y), at - 4, "lead", p.model),
            f'<text x="{right + 8:.1f}" y="{at:.1f}" class="label">{escape(p.label[:14])}</text>',
        ]
    return plane.picture(parts)


def _labelled(points: Sequence[Point], plane: Plane) -> list[tuple[Point, float]]:
    """Every point with the height of its label: in a column, none on another nor below the axis.

    Neighbours in the column whose leads cross change places. That leaves a crossing only seldom, with many models.
    """
    order = sorted(points, key=lambda p: plane.y(p.y))
    heights: list[float] = []
    for p in order:
        heights.append(max(plane.y(p.y) + 4, heights[-1] + 13 if heights else 0))

    heights = [min(at, plane.floor - 13 * (len(order) - 1 - i)) for i, at in enumerate(heights)]

    def crossed(i: int) -> bool:
        """Whether the leads of two neighbours in the column cross: one passes on the other's wrong side."""
        (a, b), (up, down) = order[i : i + 2], heights[i : i + 2]
        left, end, right, wrong = (a, up, b, 1) if a.x < b.x else (b, down, a, -1)
        along = (plane.x(right.x) - plane.x(left.x)) / (plane.right - plane.x(left.x))
        passing = plane.y(left.y) + along * (end - 4 - plane.y(left.y))
        return wrong * (passing - plane.y(right.y)) > 0

    for _ in order:
        for i in range(len(order) - 1):
            if crossed(i):
                order[i : i + 2] = order[i + 1], order[i]
    return list(zip(order, heights, strict=True))


def _line(line: Line, plane: Plane) -> list[str]:
    x, y, floor = plane.x, plane.y, plane.floor - 4
    path = " ".join(f"{'M' if i == 0 else 'L'}{x(a):.1f} {y(b):.1f}" for i, (a, b) in enumerate(line.points))
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    parts = [f'<path d="{path}" fill="none" stroke="{colour(line.model)}" class="fit"{dash}/>']
    if line.peak is None:
        return parts
    low, high = (
        end if given is None else min(max(given, plane.across[0]), plane.across[1])
        for given, end in zip(line.reach, plane.across, strict=True)
    )
    parts.append(stroke(x(low), x(high), floor, floor, "reach", line.model))
    if line.peak[0] <= plane.across[1]:
        at, top = x(line.peak[0]), y(line.peak[1])
        parts += [
            stroke(at, at, top, floor, "lead", line.model),
            f'<text x="{at:.1f}" y="{top - 7:.1f}" text-anchor="middle" class="label">peak</text>',
        ]
    return parts
