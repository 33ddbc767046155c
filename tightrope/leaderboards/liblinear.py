"""The optimiser behind AlpacaEval's published fits, step for step.

The published length-controlled win rates come from scikit-learn's liblinear with `random_state=123`, which stops
early: they differ from the exact optimum by up to 0.016 points, and by how it walked there. To reproduce them this
module walks the same way: newGLMNET (Yuan, Ho and Lin 2012, JMLR 13, "An improved GLMNET for L1-regularized
logistic regression", algorithm 3 with the shrinking and stopping rules of section 5) with the random order of
coordinates that scikit-learn's seed gives (Mersenne twister, Lemire's bounded integers).

Written for a few columns: the inner problem is solved on the P x P Hessian, which liblinear never forms, and rows of
soft labels are not duplicated; both give the same numbers up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tightrope.leaderboards.files import Floats
from tightrope.leaderboards.l1_logistic import L1Fit, chances, violations

RANDOM_STATE = 123
EPS = 1e-4
MOST_NEWTON = 100
MOST_INNER = 1000
MOST_LINE_SEARCH = 20
RIDGE = 1e-12
SUFFICIENT_DECREASE = 0.01


def seeds(random_state: int = RANDOM_STATE) -> Iterator[int]:
    """Seeds that scikit-learn hands to liblinear, fit by fit."""
    state = np.random.RandomState(random_state)
    while True:
        yield int(state.randint(np.iinfo("i").max))


def liblinear(x: Floats, y: Floats, weights: Floats, c: float, *, seed: int | None = None) -> L1Fit:
    """Fits as `LogisticRegression(C=c, penalty="l1", solver="liblinear", fit_intercept=False)` does.

    Args:
        x: [n, P].
        y: [n] in [0, 1]; scikit-learn sees every row twice.
        weights: [n] not negative.
        c: inverse strength of the penalty.
        seed: of the order of coordinates; None takes the first of random_state 123.
    """
    draw = _BoundedIntegers(next(seeds()) if seed is None else seed)
    positive, negative = int((weights * y > 0).sum()), int((weights * (1 - y) > 0).sum())
    n = positive + negative  # rows without weight are removed before the fit
    tolerance = EPS * max(min(positive, negative), 1) / n
    w, size = c * weights, x.shape[1]
    beta, index = np.zeros(size), list(range(size))
    z, moments = np.zeros(len(x)), x.T @ (w * y)
    loss = float(w @ np.logaddexp(0, z))
    inner_eps, first_norm, worst_before, newton = 1.0, math.inf, math.inf, 0
    while newton < MOST_NEWTON:
        p = chances(z)
        slope = x.T @ (w * p) - moments
        wrong = violations(slope, beta)
        active = _shrink(index, beta, slope, size, worst_before / n)
        norm = float(wrong[index[:active]].sum())
        if newton == 0:
            first_norm = norm
        if norm <= tolerance * first_norm:
            break
        curvature = (x * (w * p * (1 - p))[:, None]).T @ x
        target, sweeps = _inner(curvature, slope, beta, index, active, inner_eps * first_norm, n, draw)
        beta, z, loss = _line_search(x, y, w, z, loss, beta, target, slope)
        if sweeps == 1:
            inner_eps *= 0.25
        newton += 1
        worst_before = float(wrong[index[:active]].max(initial=0.0))
    slope = x.T @ (w * chances(z)) - moments
    left = float(violations(slope, beta).max()) / float(w.sum())
    return L1Fit(beta, left, newton, newton < MOST_NEWTON)


class _BoundedIntegers:
    """Uniform integers below a bound from a 32-bit Mersenne twister, by Lemire's multiplication."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def __call__(self, bound: int) -> int:
        product = self._next() * bound
        if (product & 0xFFFFFFFF) < bound:
            least = (1 << 32) % bound
            while (product & 0xFFFFFFFF) < least:
                product = self._next() * bound
        return product >> 32

    def _next(self) -> int:
        return int(self._state.randint(0, 1 << 32, dtype=np.uint32))


def _shrink(index: list[int], beta: Floats, slope: Floats, active: int, margin: float) -> int:
    """Moves coordinates that stay at zero behind `active`; returns how many are left."""
    s = 0
    while s < active:
        j = index[s]
        if beta[j] == 0 and abs(slope[j]) <= 1 and slope[j] + 1 > margin and slope[j] - 1 < -margin:
            active -= 1
            index[s], index[active] = index[active], index[s]
        else:
            s += 1
    return active


def _inner(
    curvature: Floats,
    slope: Floats,
    beta: Floats,
    index: list[int],
    active: int,
    enough: float,
    n: int,
    draw: _BoundedIntegers,
) -> tuple[Floats, int]:
    """Coordinate descent on the quadratic model; returns the minimiser [P] and the number of sweeps."""
    h, g, start = curvature.tolist(), slope.tolist(), beta.tolist()
    size = len(start)
    target, moved = list(start), [0.0] * size
    left, worst_before, sweeps = active, math.inf, 0
    while sweeps < MOST_INNER:
        worst = norm = 0.0
        for j in range(left):
            i = j + draw(left - j)
            index[i], index[j] = index[j], index[i]
        s = 0
        while s < left:
            j = index[s]
            gradient = g[j] + RIDGE * (target[j] - start[j]) + sum(h[j][k] * moved[k] for k in range(size))
            up, down = gradient + 1, gradient - 1
            if target[j] == 0:
                if up >= 0 and down <= 0 and up > worst_before / n and down < -worst_before / n:
                    left -= 1
                    index[s], index[left] = index[left], index[s]
                    continue
                violation = max(-up, down, 0.0)
            else:
                violation = abs(up) if target[j] > 0 else abs(down)
            worst, norm = max(worst, violation), norm + violation
            step = _one_variable(h[j][j] + RIDGE, up, down, target[j])
            if abs(step) >= 1e-12:
                step = min(max(step, -10.0), 10.0)
                target[j] += step
                moved[j] += step
            s += 1
        sweeps += 1
        if norm <= enough:
            if left == active:
                break
            left, worst_before = active, math.inf
        else:
            worst_before = worst
    return np.array(target), sweeps


def _one_variable(h: float, up: float, down: float, value: float) -> float:
    if up < h * value:
        return -up / h
    return -down / h if down > h * value else -value


def _line_search(
    x: Floats, y: Floats, w: Floats, z: Floats, loss: float, beta: Floats, target: Floats, slope: Floats
) -> tuple[Floats, Floats, float]:
    """Halves the step until the loss falls enough; returns coefficients [P], log-odds [n] and the loss at label 0."""
    before = float(np.abs(beta).sum())
    delta = float(slope @ (target - beta)) + float(np.abs(target).sum()) - before
    step = x @ (target - beta)
    for _ in range(MOST_LINE_SEARCH):
        new = float(w @ np.logaddexp(0, z + step))
        gain = new - loss - float(w @ (y * step))
        if float(np.abs(target).sum()) - before + gain - SUFFICIENT_DECREASE * delta <= 0:
            return target, z + step, new
        target, delta, step = (beta + target) / 2, delta / 2, step / 2
    return beta, z, loss
