"""The best that any test could do in the simulated world.

It tells a rule that misses a target from a target that cannot be met. Three bounds, each by a normal approximation
whose error at 800 prompts is a few tenths of a percent:

* `known_taste`: the most powerful test of "no gain" against this gain (Neyman and Pearson), by somebody who knows
  the judge's taste for length, its noise, and the distribution of qualities.
* `symmetric_taste`: the most powerful test that errs at its level whatever the judge's taste, as long as being
  longer helps both models alike. Lengths (a, b) and their exchange (b, a) share one unknown taste t(a, b) = -t(b, a):
  of the information I(a, b) that a prompt holds on a gain, 2 f(b, a) / (f(a, b) + f(b, a)) is left when t is not
  known, f being the density of lengths (the efficient information of a semiparametric model; Bickel et al. 1993).
* `paired_loss`: the uniformly most powerful unbiased test of paired outcomes (McNemar's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import log, sqrt
from statistics import NormalDist

import numpy as np
from _world import SPREAD, TASTES, TYPICAL, Floats, Truth, joint_share, shift
from scipy.special import expit
from scipy.stats import multivariate_normal

SAMPLE, SEED = 40_000, 5
GRID = np.linspace(-15, 15, 3001)  # of what the judge sees in lengths and in the gain
NORMAL = NormalDist()


def known_taste(truth: Truth, level: float) -> float:
    """Power of the most powerful test that knows everything but whether there is a gain."""
    base, _ = _seen(truth)
    null, other = (_at(base + shift(50 + gain, truth.order_noise), truth) for gain in (0.0, truth.gain))
    ratio = np.log(np.maximum(other, 1e-300) / np.maximum(null, 1e-300))
    means = [float((p * ratio).sum(0).mean()) for p in (null, other)]
    squares = [float((p * ratio**2).sum(0).mean()) for p in (null, other)]
    deviations = [sqrt(square - mean**2) for square, mean in zip(squares, means, strict=True)]
    gap = sqrt(truth.n) * (means[1] - means[0])
    return NORMAL.cdf((gap - NORMAL.inv_cdf(1 - level) * deviations[0]) / deviations[1])


def symmetric_taste(truth: Truth, level: float) -> float:
    """Power of the most powerful test that keeps its level for every symmetric taste."""
    base, kept = _seen(truth)
    outcomes = _outcomes(truth.order_noise)
    slopes = np.gradient(outcomes, GRID, axis=1)
    information = np.interp(base, GRID, (slopes**2 / np.maximum(outcomes, 1e-300)).sum(0))
    gain = shift(50 + truth.gain, truth.order_noise)
    return NORMAL.cdf(gain * sqrt(truth.n * float((information * kept).mean())) - NORMAL.inv_cdf(1 - level))


def paired_loss(before: float, points: float, correlation: float, items: int, level: float) -> float:
    """Power of McNemar's test for a share that changes from `before` by `points` (negative)."""
    after = before + points / 100
    apart = before + after - 2 * joint_share(before, after, correlation)
    gap = sqrt(items) * (before - after) - NORMAL.inv_cdf(1 - level) * sqrt(apart)
    return NORMAL.cdf(gap / sqrt(apart - (before - after) ** 2))


def _seen(truth: Truth) -> tuple[Floats, Floats]:
    """What the judge sees in lengths alone, and the share of information left without knowing it, [SAMPLE] each."""
    rng = np.random.default_rng(SEED)
    need = SPREAD * rng.normal(size=SAMPLE)
    mean = np.array([log(truth.growth), 0.0])
    logs = need[:, None] + mean + np.array(truth.noises) * rng.normal(size=(SAMPLE, 2))
    density = multivariate_normal(mean, SPREAD**2 + np.diag(np.square(truth.noises)))
    apart = np.clip(density.logpdf(logs) - density.logpdf(logs[:, ::-1]), -500, 500)
    if truth.taste == "none":
        return np.zeros(SAMPLE), 2 * expit(-apart)
    taste, (model, reference) = TASTES[truth.taste], TYPICAL * np.exp(logs.T)
    scale = shift(truth.love, truth.order_noise) / taste(150.0, 100.0)
    return np.asarray(scale * taste(model, reference)), 2 * expit(-apart)


@cache
def _outcomes(order_noise: float) -> Floats:
    """Chances of no, one and two verdicts of two for the model on `GRID`, qualities averaged out, [3, GRID]."""
    quality = np.linspace(-6, 6, 1201)
    weights = np.exp(-(quality**2) / 2)
    weights /= weights.sum()
    chances = np.empty((3, len(GRID)))
    for i, seen in enumerate(GRID):
        won = expit((seen + quality) / order_noise)
        chances[:, i] = [((1 - won) ** 2) @ weights, (2 * won * (1 - won)) @ weights, (won**2) @ weights]
    return chances


def _at(seen: Floats, truth: Truth) -> Floats:
    """The same for what the judge sees [n], [3, n]."""
    return np.stack([np.interp(seen, GRID, chances) for chances in _outcomes(truth.order_noise)])


def _least(enough: Callable[[int], bool]) -> int:
    """The smallest number, in tens, that is enough; what is enough stays so."""
    return next(n for n in range(10, 5000, 10) if enough(n))


def main() -> None:
    """Prints the sizes that docs/verdict.md names beside its tables: `python bench/_oracle.py`."""
    for correlation in (0.3, 0.5, 0.7):
        items = _least(lambda n, c=correlation: paired_loss(0.5, -5.0, c, n, 0.05) >= 0.8)
        print(f"-5 points, 50 % solved, correlation {correlation}: {items} items for 80 %")
    two_sided = paired_loss(0.5, -5.0, 0.7, 400, 0.025)
    print(f"-5 points, 400 items, correlation 0.7, by a 95 % interval below 0: {100 * two_sided:.0f} %")
    for taste, love in (("log", 80.0), ("tanh", 80.0), ("linear", 80.0), ("the longer one", 80.0)):
        truth = Truth(gain=5.0, taste=taste, love=love)
        # The test of capability comes first and errs in 5 %.
        prompts = _least(lambda n, t=truth: 0.95 * known_taste(replace(t, n=n), 0.025) >= 0.8)
        print(f"+5 points, taste {taste} ({love:.0f} %): {prompts} prompts for 80 % `useful` by the best test")


if __name__ == "__main__":
    main()
