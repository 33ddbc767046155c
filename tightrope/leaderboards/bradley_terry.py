"""Bradley-Terry ratings by maximum likelihood, with style covariates, sandwich and bootstrap intervals.

    P(i beats j) = sigmoid(xi_i - xi_j + beta f)      a tie is half a win for each
    rating = 1000 + 400 / ln 10 xi                     xi has mean 0

after Chiang et al. 2024 (2403.04132). Ratings are relative to the mean of all models: fixing one model instead would
widen the intervals of all others. Battles that are alike are added up first, so the cost is that of the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tightrope.leaderboards.files import Floats
from tightrope.leaderboards.l1_logistic import chances

Ints = NDArray[np.int64]

CENTRE, SCALE = 1000.0, 400.0 / np.log(10.0)
TOLERANCE = 1e-9  # largest gradient per unit of weight
MOST_STEPS, LONGEST_STEP = 100, 3.0
LARGEST = 15.0  # log-odds between two models, or a coefficient, beyond this have run to infinity
# arena-rank adds this to every coordinate's curvature per battle before it inverts. It narrows intervals by less than
# 0.1 % of their width, 1 % for a model with few battles; kept so that intervals equal the published ones.
SANDWICH_RIDGE = 1e-5
CHUNK_NUMBERS = 8_000_000


@dataclass(frozen=True)
class Design:
    """Battles as the fit sees them.

    Attributes:
        size: models.
        first: [B] index of one model.
        second: [B] index of the other.
        outcome: [B] 1, 0.5 or 0 for the first.
        counts: [B] how often.
        weights: [B] weight of one such battle.
        features: [B, F] covariates, 0 where both answers are alike; F may be 0.
    """

    size: int
    first: Ints
    second: Ints
    outcome: Floats
    counts: Floats
    weights: Floats
    features: Floats


@dataclass(frozen=True)
class Ratings:
    """Result of one fit.

    Attributes:
        xi: [M] log-odds strengths with mean 0.
        beta: [F] style coefficients.
        covariance: [M + F, M + F] sandwich covariance.
        gradient: largest absolute gradient per unit of weight.
        steps: Newton steps.
        converged: whether the gradient is below tolerance and nothing ran to infinity.
    """

    xi: Floats
    beta: Floats
    covariance: Floats
    gradient: float
    steps: int
    converged: bool

    def ratings(self) -> Floats:
        """On the scale of chess, mean 1000 [M]."""
        found: Floats = CENTRE + SCALE * self.xi
        return found

    def errors(self) -> Floats:
        """Standard errors of the ratings [M]."""
        size = len(self.xi)
        found: Floats = SCALE * np.sqrt(np.maximum(np.diag(self.covariance)[:size], 0))
        return found


def added_up(size: int, first: Ints, second: Ints, outcome: Floats, counts: Floats) -> Design:
    """Battles of the same two models with the same outcome as one, in whichever order they were shown."""
    flip = first > second
    low, high = np.where(flip, second, first), np.where(flip, first, second)
    result = np.where(flip, 1 - outcome, outcome)
    cell = (low * size + high) * 3 + np.round(2 * result).astype(np.int64)
    kinds, place = np.unique(cell, return_inverse=True)
    total: Floats = np.bincount(place, weights=counts, minlength=len(kinds)).astype(np.float64)
    shares = np.array([0.0, 0.5, 1.0])[kinds % 3]
    return Design(
        size,
        kinds // 3 // size,
        kinds // 3 % size,
        shares,
        total,
        np.ones(len(kinds)),
        np.zeros((len(kinds), 0)),
    )


def pair_weights(design: Design) -> Floats:
    """Weights [B] that give every pair of models that met the same total, keeping the sum of all weights.

    Battles are sampled unevenly; this asks what the ratings were had all pairs met equally often.
    """
    pair = np.minimum(design.first, design.second) * design.size + np.maximum(design.first, design.second)
    _, place = np.unique(pair, return_inverse=True)
    totals = np.bincount(place, weights=design.counts)
    found: Floats = float(design.counts.sum()) / len(totals) / totals[place]
    return found


def fit(design: Design, *, ridge: float = 0.0) -> Ratings:
    """Fits by Newton's method with step halving.

    Args:
        design: the battles; every model must be reachable from every other by wins, unless there is a ridge.
        ridge: penalty ridge / 2 times the sum of squares of ratings and style coefficients alike, on the summed loss.
    """
    size, features = design.size, design.features
    w = design.counts * design.weights
    total = float(w.sum())
    parameters = np.zeros(size + features.shape[1])
    loss = _loss(design, w, parameters, ridge)
    gradient, steps = np.inf, 0
    for steps in range(MOST_STEPS + 1):
        p = chances(_log_odds(design, parameters))
        slope = _transposed(design, w * (p - design.outcome)) + ridge * parameters
        curvature = _gram(design, w * p * (1 - p)) + ridge * np.eye(len(parameters))
        # The mean of the strengths is free: any curvature along it leaves the optimum where it is.
        curvature[:size, :size] += total / size**2
        gradient = float(np.abs(slope).max()) / total
        if gradient <= TOLERANCE or steps == MOST_STEPS:
            break
        step = -np.linalg.lstsq(curvature, slope, rcond=None)[0]
        step *= min(1.0, LONGEST_STEP / float(np.abs(step).max()))
        new, halvings = _loss(design, w, parameters + step, ridge), 0
        while new > loss + 1e-12 * abs(loss) and halvings < 40:
            step, halvings = step / 2, halvings + 1
            new = _loss(design, w, parameters + step, ridge)
        parameters, loss = parameters + step, new
    parameters[:size] -= parameters[:size].mean()
    p = chances(_log_odds(design, parameters))
    flat = SANDWICH_RIDGE * float(design.counts.sum()) * np.eye(len(parameters))
    bread = np.linalg.pinv(_gram(design, w * p * (1 - p)) + ridge * np.eye(len(parameters)) + flat, hermitian=True)
    meat = _gram(design, design.counts * (design.weights * (design.outcome - p)) ** 2)
    centre = np.eye(len(parameters))
    centre[:size, :size] -= 1 / size
    covariance = centre @ bread @ meat @ bread @ centre
    xi, beta = parameters[:size], parameters[size:]
    moderate = bool(np.ptp(xi) < LARGEST and np.abs(beta).max(initial=0) < LARGEST)
    return Ratings(xi, beta, covariance, gradient, steps, gradient <= TOLERANCE and moderate)


def bootstrap(design: Design, start: Floats, *, draws: int, seed: int) -> Floats:
    """Ratings [draws, M] of resampled battles, NaN where a resample cannot be rated.

    Args:
        design: battles without features; resampled battle by battle, all at once from their counts.
        start: [M] strengths of the data.
        draws: resamples.
        seed: of them.
    """
    rng = np.random.default_rng(seed)
    n, size = round(float(design.counts.sum())), design.size
    out = np.empty((draws, size))
    rows = max(1, CHUNK_NUMBERS // (size * size))
    for begin in range(0, draws, rows):
        some = min(rows, draws - begin)
        counts = rng.multinomial(n, design.counts / design.counts.sum(), size=some) * design.weights
        wins = np.zeros((some, size * size))
        # A cell is one pair and one outcome, so within each of these assignments no place is named twice per outcome.
        for share, i, j in (
            (design.outcome, design.first, design.second),
            (1 - design.outcome, design.second, design.first),
        ):
            for value in (0.5, 1.0):
                at = np.flatnonzero(share == value)
                wins[:, i[at] * size + j[at]] += value * counts[:, at]
        out[begin : begin + some] = CENTRE + SCALE * _many(wins.reshape(some, size, size), start)
    return out


def _many(wins: Floats, start: Floats) -> Floats:
    """Strengths [K, M] of K tables of wins [K, M, M]; NaN where the fit does not converge."""
    size = wins.shape[1]
    games = wins + wins.transpose(0, 2, 1)
    total, played = wins.sum((1, 2)), np.maximum(games.sum(2), 1e-300)
    xi = np.repeat(start[None], len(wins), 0)
    gradients = np.full(len(wins), np.inf)
    for _ in range(30):
        p = chances(xi[:, :, None] - xi[:, None, :])
        slope = (wins - games * p).sum(2)
        gradients = (np.abs(slope) / played).max(1)
        if (gradients <= TOLERANCE).all():
            break
        curvature = -games * p * (1 - p)
        curvature[:, np.arange(size), np.arange(size)] -= curvature.sum(2)
        curvature += (total / size**2)[:, None, None]
        curvature[:, np.arange(size), np.arange(size)] += 1e-12 * total[:, None]
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        xi = xi + step * np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(step).max(1), 1e-300))[:, None]
    xi = xi - xi.mean(1, keepdims=True)
    fine = (gradients <= TOLERANCE) & (np.ptp(xi, axis=1) < LARGEST)
    return np.where(fine[:, None], xi, np.nan)


def _log_odds(design: Design, parameters: Floats) -> Floats:
    xi, beta = parameters[: design.size], parameters[design.size :]
    found: Floats = xi[design.first] - xi[design.second] + design.features @ beta
    return found


def _loss(design: Design, w: Floats, parameters: Floats, ridge: float) -> float:
    z = _log_odds(design, parameters)
    return float(w @ (np.logaddexp(0, z) - design.outcome * z)) + 0.5 * ridge * float(parameters @ parameters)


def _transposed(design: Design, values: Floats) -> Floats:
    """Design matrix transposed times values [B]: [M + F]."""
    mine = np.bincount(design.first, weights=values, minlength=design.size)
    other = np.bincount(design.second, weights=values, minlength=design.size)
    return np.concatenate([mine - other, values @ design.features])


def _gram(design: Design, values: Floats) -> Floats:
    """Sum over battles of values times the outer product of their design rows: [M + F, M + F]."""
    size, features = design.size, design.features
    met = np.bincount(design.first * size + design.second, weights=values, minlength=size * size).reshape(size, size)
    met = met + met.T
    out = np.zeros((size + features.shape[1],) * 2)
    out[:size, :size] = np.diag(met.sum(1)) - met
    for k in range(features.shape[1]):
        column = _transposed(design, values * features[:, k])
        out[size + k, :], out[:, size + k] = column, column
    return out
