"""Over-optimisation in closed form: gold reward against distance (Gao, Schulman, Hilton 2022, 2210.10760).

With d = sqrt(KL(policy || start)), the gain in *gold* reward over the start is

    best of n              R(d) = d (alpha - beta d)         KL = log n - (n - 1) / n
    reinforcement learning R(d) = d (alpha - beta log d)     R(0) = 0

The proxy's own reward keeps rising: the forms do not describe it. At the same KL the two ways of optimising have
not gone equally far, so compare each with its own form only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tightrope.errors import InputError

Form = Literal["best_of_n", "rl"]


@dataclass(frozen=True)
class Law:
    """One of the two forms with its coefficients; `alpha` and `beta` in units of reward per sqrt(nat) and per nat."""

    form: Form
    alpha: float
    beta: float

    def gain(self, distance: float) -> float:
        """Gold reward gained at sqrt(KL) `distance`."""
        if distance == 0:
            return 0.0
        return distance * (self.alpha - self.beta * _loss(self.form, distance))

    def peak(self) -> tuple[float, float] | None:
        """Distance and gain where more optimisation begins to hurt; None where the form never turns down."""
        if self.beta <= 0 or (self.form == "best_of_n" and self.alpha <= 0):
            return None
        if self.form == "best_of_n":
            return self.alpha / (2 * self.beta), self.alpha**2 / (4 * self.beta)
        distance = math.exp(self.alpha / self.beta - 1)
        return distance, self.beta * distance


def best_of_n_kl(n: int) -> float:
    """KL in nats between the best of n samples and one sample; exact without ties, else an upper bound.

    Raises:
        InputError: n is below 1.
    """
    if n < 1:
        raise InputError(f"the best of {n} samples", remedy="Give at least 1.")
    return math.log(n) - (n - 1) / n


def fit_law(form: Form, distances: Sequence[float], gains: Sequence[float]) -> Law:
    """Fits a form by least squares on gain / distance, in which both are linear.

    Args:
        form: which of them.
        distances: sqrt(KL) of the checkpoints, above 0.
        gains: gold reward over the start's.

    Raises:
        InputError: fewer than two different distances, or one that is not above 0.
    """
    if len(distances) != len(gains) or len(set(distances)) < 2 or min(distances) <= 0:
        raise InputError(
            "a law needs gains at two or more different distances above 0",
            remedy="Measure more checkpoints; the start itself (distance 0, gain 0) is implied.",
        )
    d, ratios = np.asarray(distances, np.float64), np.asarray(gains, np.float64) / np.asarray(distances, np.float64)
    design = np.stack([np.ones_like(d), [-_loss(form, x) for x in distances]], 1)
    alpha, beta = np.linalg.lstsq(design, ratios, rcond=None)[0]
    return Law(form, float(alpha), float(beta))


def _loss(form: Form, distance: float) -> float:
    return distance if form == "best_of_n" else math.log(distance)
