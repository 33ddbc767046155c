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
from tightrope.evaluation.stats import Floats

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


def fit_law(
    form: Form, distances: Sequence[float], gains: Sequence[float], weights: Sequence[float] | Floats | None = None
) -> Law:
    """Fits a form by least squares on the gains, which are linear in alpha and beta.

    Args:
        form: which of them.
        distances: sqrt(KL) of the checkpoints, above 0.
        gains: gold reward over the start's.
        weights: of the checkpoints, one over the squared error of the gain; None: all alike.

    Raises:
        InputError: fewer than two different distances, or one that is not above 0.
    """
    if len(distances) != len(gains) or len(set(distances)) < 2 or min(distances) <= 0:
        raise InputError(
            "a law needs gains at two or more different distances above 0",
            remedy="Measure more checkpoints; the start itself (distance 0, gain 0) is implied.",
        )
    d, g = (np.asarray(x, np.float64)[None] for x in (distances, gains))
    alphas, betas = fit_laws(form, d, g, weights)
    return Law(form, float(alphas[0]), float(betas[0]))


def fit_laws(
    form: Form, distances: Floats, gains: Floats, weights: Sequence[float] | Floats | None = None
) -> tuple[Floats, Floats]:
    """Alpha and beta, [draws] each, of many fits at once.

    Args:
        form: which of them.
        distances: [draws, K], above 0.
        gains: [draws, K].
        weights: [K], as in `fit_law`.
    """
    root = np.sqrt(np.ones(distances.shape[1]) if weights is None else np.asarray(weights, np.float64))
    losses = distances if form == "best_of_n" else np.log(distances)
    design = np.stack([distances, -distances * losses], 2) * root[:, None]  # [draws, K, 2]
    # Columns to one length: far from the start they differ by orders of magnitude.
    scale = np.linalg.norm(design, axis=1, keepdims=True)
    found = np.linalg.pinv(design / scale) @ (gains * root)[:, :, None]  # [draws, 2, 1]
    alphas, betas = (found / scale.transpose(0, 2, 1))[:, :, 0].T
    return alphas, betas


def peaks(form: Form, alphas: Floats, betas: Floats) -> tuple[Floats, Floats]:
    """Distance and gain of the peaks of many laws, [draws] each; infinite where one never turns down."""
    turns = betas > 0 if form == "rl" else (betas > 0) & (alphas > 0)
    safe = np.where(turns, betas, 1.0)
    with np.errstate(over="ignore"):
        distances = alphas / (2 * safe) if form == "best_of_n" else np.exp(alphas / safe - 1)
        gains = alphas**2 / (4 * safe) if form == "best_of_n" else safe * distances
    return np.where(turns, distances, np.inf), np.where(turns, gains, np.inf)


def _loss(form: Form, distance: float) -> float:
    return distance if form == "best_of_n" else math.log(distance)
