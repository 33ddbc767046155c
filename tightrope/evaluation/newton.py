"""Many weighted logistic regressions at once, to their exact optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tightrope.evaluation.stats import Floats

TOLERANCE = 1e-10
MOST_STEPS = 60
LONGEST_STEP = 5.0


@dataclass(frozen=True)
class Optimum:
    """Where the fits ended.

    Attributes:
        coefficients: [K, P].
        gradients: [K] largest absolute gradient per unit of weight; inf where a row of weights is all zero.
        steps: Newton steps taken by the slowest fit.
    """

    coefficients: Floats
    gradients: Floats
    steps: int


def logistic_optimum(x: Floats, y: Floats, weights: Floats, *, penalty: Floats, start: Floats) -> Optimum:
    """Minimises K weighted logistic losses by Newton's method with step halving.

    For k = 1..K:  mean over weights_k of [softplus(x b) - y x b] + 1/2 sum(penalty b^2)

    Args:
        x: [n, P].
        y: [n] soft labels in [0, 1].
        weights: [K, n] not negative.
        penalty: [P] ridge on each coefficient.
        start: [P].
    """
    totals = weights.sum(1, keepdims=True)
    empty = totals[:, 0] <= 0
    w = weights / np.where(totals > 0, totals, 1.0)
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)  # [n, P * P]
    size = x.shape[1]
    beta = np.repeat(start[None], len(w), 0)
    losses = _losses(x, y, w, penalty, beta)
    gradients, steps = np.full(len(w), np.inf), 0
    for steps in range(MOST_STEPS + 1):
        p = 1 / (1 + np.exp(-np.clip(beta @ x.T, -500, 500)))  # [K, n]
        slope = (w * (p - y)) @ x + penalty * beta
        gradients = np.abs(slope).max(1)
        if steps == MOST_STEPS or (gradients <= TOLERANCE).all():
            break
        hessian = ((w * p * (1 - p)) @ products).reshape(-1, size, size)
        # The jitter only matters where a coefficient runs to infinity; it keeps the step finite there.
        step = np.linalg.solve(hessian + np.diag(penalty + 1e-12), slope[:, :, None])[:, :, 0]
        step *= np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(step).max(1), 1e-300))[:, None]
        new = _losses(x, y, w, penalty, beta - step)
        for _ in range(30):
            # Rounding alone can make the loss rise near the optimum: that is not a reason to go back.
            worse = new > losses + 1e-12
            if not worse.any():
                break
            step[worse] /= 2
            new[worse] = _losses(x, y, w[worse], penalty, (beta - step)[worse])
        beta, losses = beta - step, new
    return Optimum(beta, np.where(empty | ~np.isfinite(gradients), np.inf, gradients), steps)


def _losses(x: Floats, y: Floats, w: Floats, penalty: Floats, beta: Floats) -> Floats:
    z = beta @ x.T
    losses: Floats = (w * (np.logaddexp(0, z) - y * z)).sum(1) + 0.5 * (penalty * beta**2).sum(1)
    return losses
