"""L1-penalised logistic regression with soft labels and without an intercept, for a handful of columns.

    minimise over b:  C sum_i w_i [softplus(x_i b) - y_i x_i b] + |b|_1

A row of soft label y is the same as two rows, label 1 of weight y and label 0 of weight 1 - y, which is how
AlpacaEval hands it to scikit-learn. `exact` goes to the optimum and certifies it by the subgradient; what the
published fits do, which stop earlier, is in `liblinear.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tightrope.leaderboards.files import Floats

Optimiser = Literal["exact", "liblinear"]

TOLERANCE = 1e-10  # largest violation of the optimality conditions, per unit of C times weight
MOST_STEPS = 100
MOST_SWEEPS = 200
MOST_HALVINGS = 40


@dataclass(frozen=True)
class L1Fit:
    """Result of one fit.

    Attributes:
        coefficients: [P].
        violation: largest distance of the loss' gradient from the penalty's subgradient, over C times all weight.
        steps: Newton steps.
        converged: whether the optimiser met its own criterion; for `exact`, violation below its tolerance.
    """

    coefficients: Floats
    violation: float
    steps: int
    converged: bool


def exact(
    x: Floats,
    y: Floats,
    weights: Floats,
    c: float,
    *,
    start: Floats | None = None,
    tolerance: float = TOLERANCE,
) -> L1Fit:
    """Fits by proximal Newton steps with step halving.

    Args:
        x: [n, P].
        y: [n] in [0, 1].
        weights: [n] not negative.
        c: inverse strength of the penalty.
        start: [P]; zeros if None.
        tolerance: accepted violation.
    """
    w = c * weights
    total = float(w.sum())
    beta = np.zeros(x.shape[1]) if start is None else start.copy()
    loss = objective(x, y, w, beta)
    moments = x.T @ (w * y)
    wrong, steps = np.inf, 0
    for steps in range(MOST_STEPS + 1):
        p = chances(x @ beta)
        slope = x.T @ (w * p) - moments
        wrong = float(violations(slope, beta).max()) / total
        if wrong <= tolerance or steps == MOST_STEPS:
            break
        curvature = (x * (w * p * (1 - p))[:, None]).T @ x
        # The jitter only matters where a column is all zero or another's multiple.
        step = _step(curvature + np.diag(np.full(len(beta), 1e-12 * (1 + np.trace(curvature)))), slope, beta)
        new = objective(x, y, w, beta + step)
        halvings = 0
        # Rounding alone can make the loss rise next to the optimum: that is not a reason to go back.
        while new > loss + 1e-13 * abs(loss) and halvings < MOST_HALVINGS:
            step, halvings = step / 2, halvings + 1
            new = objective(x, y, w, beta + step)
        beta, loss = beta + step, new
    return L1Fit(beta, wrong, steps, wrong <= tolerance)


def chances(z: Floats) -> Floats:
    """Logistic function of log-odds [n], without overflow."""
    p: Floats = 0.5 * (1 + np.tanh(0.5 * z))
    return p


def objective(x: Floats, y: Floats, w: Floats, beta: Floats) -> float:
    """Penalised loss with C already in the weights."""
    z = x @ beta
    return float(w @ (np.logaddexp(0, z) - y * z) + np.abs(beta).sum())


def violations(slope: Floats, beta: Floats) -> Floats:
    """How far -slope [P] is from the subgradient of the 1-norm at beta [P]."""
    wrong: Floats = np.where(beta != 0, np.abs(slope + np.sign(beta)), np.maximum(np.abs(slope) - 1, 0))
    return wrong


def _step(curvature: Floats, slope: Floats, beta: Floats) -> Floats:
    """Minimises slope d + d H d / 2 + |beta + d|_1 over d.

    Coordinate descent finds the signs; as soon as solving for them directly satisfies the optimality conditions,
    that solution is exact.
    """
    size = len(beta)
    h, g, target = curvature.tolist(), (slope - curvature @ beta).tolist(), beta.tolist()
    for _ in range(MOST_SWEEPS):
        for j in range(size):
            rest = g[j] + sum(h[j][k] * target[k] for k in range(size) if k != j)
            target[j] = (-(rest + 1) if rest < -1 else -(rest - 1) if rest > 1 else 0.0) / h[j][j]
        on = np.flatnonzero(target)
        signs = np.sign(np.array(target)[on])
        solved = np.zeros(size)
        if len(on):
            solved[on] = np.linalg.solve(curvature[np.ix_(on, on)], -(np.array(g)[on] + signs))
        if (np.sign(solved[on]) == signs).all():
            off = np.delete(np.arange(size), on)
            if (np.abs((np.array(g) + curvature @ solved)[off]) <= 1).all():
                return solved - beta
    return np.array(target) - beta
