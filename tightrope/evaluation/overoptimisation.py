"""Gain against KL: where a run still climbs and where it tips; the laws of the curve are in `gao.py`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightrope.evaluation.gao import Form
from tightrope.evaluation.stats import Floats
from tightrope.evaluation.turning_point import FEWEST_POINTS, Checkpoints, turning_point
from tightrope.intervals import Z95

NO_CHANGE = {"percent": 50.0, "ratio": 1.0}  # by unit; every other unit is that of a difference
_SNAPSHOT = re.compile(r"[-/]step-\d+$")


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
    measured: Mapping[str, Mapping[str, Any]], gain: str = "balanced_win_rate"
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


def no_change(figure: Mapping[str, Any]) -> float:
    """Value that a figure of a verdict has for the reference itself."""
    return NO_CHANGE.get(str(figure["unit"]), 0.0)


def trajectories(names: Sequence[str]) -> dict[str, list[int]]:
    """Which models are checkpoints of one stage, by the stage's name: its snapshots (`NAME-step-N`) and its end."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(_SNAPSHOT.sub("", name), []).append(i)
    return found


def step_of(name: str) -> int | None:
    """Step of a snapshot; None for the end of a stage."""
    found = _SNAPSHOT.search(name)
    return int(found[0].rpartition("-")[2]) if found else None


def fitted(
    checkpoints: Sequence[Point], no_change: float, *, form: Form = "rl", proxy: Floats | None = None, seed: int = 0
) -> dict[str, Any] | None:
    """The form through the checkpoints of one stage, with its peak; None where there are too few to ask for one.

    Args:
        checkpoints: of one stage.
        no_change: the figure's value for the start itself.
        form: `rl` for anything that was trained.
        proxy: [K] gain of the reward that was optimised, NaN where unknown.
        seed: of the draws.
    """
    if len(checkpoints) < FEWEST_POINTS:
        return None
    gain = np.array([p.gain - no_change for p in checkpoints])
    gain_error = np.array([(p.gain_upper - p.gain_lower) / (2 * Z95) for p in checkpoints])
    kl = np.array([p.kl for p in checkpoints])
    kl_error = np.array([(p.kl_upper - p.kl_lower) / (2 * Z95) for p in checkpoints])
    known = None if proxy is None or not np.isfinite(proxy).all() else (proxy, np.zeros(len(proxy)))
    names = tuple(p.name for p in checkpoints)
    found = Checkpoints.with_errors(names, (kl, kl_error), (gain, gain_error), known, seed=seed)
    return turning_point(found, form)
