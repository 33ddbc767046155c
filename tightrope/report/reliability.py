"""The picture of calibration: how often a model is right against how sure it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.report.svg import Plane, mark, stroke


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """A point with its interval per bin; on the dashed line the model is as often right as it says.

    Args:
        bins: as `evaluation.reward_model.calibration` gives them.
    """
    lowest = min([0.5, *(b[end] for b in bins for end in ("accuracy", "lower") if b.get(end) is not None)])
    plane = Plane(
        330.0, 250.0, (46.0, 42.0, 14.0, 10.0), (50.0, 100.0), (10.0 * math.floor(10 * lowest + 1e-9), 100.0)
    )
    parts = [*plane.axes("how sure it is, %", "how often it is right, %")]
    parts.append(stroke(plane.x(50), plane.x(100), plane.y(50), plane.y(100), "null"))
    for b in bins:
        x = plane.x(100 * b["confidence"])
        if b.get("lower") is not None:
            parts.append(stroke(x, x, plane.y(100 * b["lower"]), plane.y(100 * b["upper"]), "interval", 0))
        parts.append(mark(x, plane.y(100 * b["accuracy"]), 0))
    return plane.picture(parts)
