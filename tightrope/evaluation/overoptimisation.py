"""Gain against KL: where a run still climbs and where it tips; the laws of the curve are in `gao.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """One checkpoint in the picture.

    Attributes:
        name: of the checkpoint.
        kl: sequence KL to the reference, nats; with its interval `kl_lower` to `kl_upper`.
        kl_lower: lower end.
        kl_upper: upper end.
        gain: the figure drawn, in its own unit; with its interval `gain_lower` to `gain_upper`.
        gain_lower: lower end.
        gain_upper: upper end.
    """

    name: str
    kl: float
    kl_lower: float
    kl_upper: float
    gain: float
    gain_lower: float
    gain_upper: float

    @property
    def distance(self) -> float:
        """Square root of the KL, 0 where the estimate is negative: the axis on which the laws are drawn."""
        return math.sqrt(max(self.kl, 0.0))


def points(
    measured: Mapping[str, Mapping[str, Any]], gain: str = "lc_win_rate"
) -> tuple[list[Point], dict[str, str]]:
    """Points of several checkpoints measured against one reference, in order of their KL.

    Args:
        measured: measurements, with `figures`, by the name to show.
        gain: figure on the vertical axis.

    Returns:
        The points, and why each of the others has none, by name.
    """
    found, missing = [], {}
    for name, one in measured.items():
        figures = one["figures"]
        lacking = next((key for key in ("kl", gain) if figures.get(key, {}).get("value") is None), None)
        if lacking is not None:
            missing[name] = f"{lacking}: {figures.get(lacking, {}).get('withheld') or 'not measured'}"
            continue
        ends = [figures[key][end] for key in ("kl", gain) for end in ("value", "lower", "upper")]
        found.append(Point(name, *ends))
    return sorted(found, key=lambda p: p.kl), missing
