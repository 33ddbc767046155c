"""Many weighted logistic regressions at once, to their exact optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tightrope.evaluation.stats import Floats

TOLERANCE = 1e-10
MOST_STEPS = 60
LONGEST_STEP = 5.0
MOST_HALVINGS = 30


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


def logistic_optimum(
    x: Floats, y: Floats, weights: Floats, *, penalty: Floats, start: Floats, tolerance: float = TOLERANCE
) -> Optimum:
    """Minimises K weighted logistic losses by Newton's method with step halving.

    For k = 1..K:  mean over weights_k of [softplus(x b) - y x b] + 1/2 sum(penalty b^2)

    All fits begin at one point, so the first step needs the predictions once and not K times. A step is halved
    until the gradient becomes smaller, which Newton's direction guarantees; a fit that is done is left alone.

    Args:
        x: [n, P].
        y: [n] soft labels in [0, 1].
        weights: [K, n] not negative.
        penalty: [P] ridge on each coefficient.
        start: [P].
        tolerance: largest absolute gradient per unit of weight at which a fit is done.
    """
    totals = weights.sum(1, keepdims=True)
    w = weights / np.where(totals > 0, totals, 1.0)
    size = x.shape[1]
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)  # [n, P * P]
    beta = np.repeat(start[None], len(w), 0)
    p = _sigmoid(x @ start)  # [n], of all fits
    wanted = w @ (x * y[:, None])  # [K, P], the part of the gradients that does not move
    slopes = w @ (x * p[:, None]) - wanted + penalty * beta
    curves = (w @ (products * (p * (1 - p))[:, None])).reshape(-1, size, size)
    gradients, steps = np.abs(slopes).max(1), 0
    gradients[totals[:, 0] <= 0] = np.inf
    while steps < MOST_STEPS:
        left = np.flatnonzero(np.isfinite(gradients) & (gradients > tolerance))
        if not len(left):
            break
        # The jitter only matters where a coefficient runs to infinity; it keeps the step finite there.
        step = np.linalg.solve(curves[left] + np.diag(penalty + 1e-12), slopes[left][:, :, None])[:, :, 0]
        step *= np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(step).max(1), 1e-300))[:, None]
        found = _gradients(x, wanted[left], w[left], products, penalty, beta[left] - step)
        for _ in range(MOST_HALVINGS):
            worse = np.flatnonzero(np.linalg.norm(found[0], axis=1) > np.linalg.norm(slopes[left], axis=1))
            if not len(worse):
                break
            step[worse] /= 2
            some = left[worse]
            again = _gradients(x, wanted[some], w[some], products, penalty, (beta[left] - step)[worse])
            found[0][worse], found[1][worse] = again
        beta[left] -= step
        slopes[left], curves[left] = found
        gradients[left] = np.abs(found[0]).max(1)
        steps += 1
    return Optimum(beta, np.where(np.isfinite(gradients), gradients, np.inf), steps)


def _gradients(
    x: Floats, wanted: Floats, w: Floats, products: Floats, penalty: Floats, beta: Floats
) -> tuple[Floats, Floats]:
    """Gradients [K, P] and Hessians [K, P, P] without the ridge."""
    p = _sigmoid(beta @ x.T)  # [K, n]
    weighted = w * p
    slopes = weighted @ x - wanted + penalty * beta
    np.subtract(1.0, p, out=p)
    p *= weighted
    return slopes, (p @ products).reshape(-1, x.shape[1], x.shape[1])


def _sigmoid(z: Floats) -> Floats:
    """The logistic function, in the place of `z`: new arrays cost more than the exponentials at these sizes."""
    np.clip(z, -500, 500, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    return np.reciprocal(z, out=z)
