"""A made world in which the truth about a model is known: judges, lengths, tasks, refusals.

Only numbers, no texts: a prompt needs a length; both models answer it with that length times their growth and a
noise of their own; the judge sees the difference of two qualities, has its taste for length, and errs. Whatever
texts are needed for is at "no effect" here: decoration, topic, loops, sameness, entropy, empty answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = {"verifiable": 0.5, "unsafe": 0.1, "borderline": 0.1, "plain": 0.3}  # of the prompts
TYPICAL, SPREAD, NOISE = 100.0, 0.6, 0.3  # lengths: median, log deviation between prompts and of each answer
ORDER_NOISE = 0.35  # logistic scale beside a quality difference of deviation 1: the orders agree on 4 of 5 pairs
BASE = {"accuracy": 0.5, "unsafe_compliance": 0.5, "borderline_refusal": 0.2, "plain_refusal": 0.03}

# How a judge scores the lengths a and b of two answers; odd under their exchange, scaled to 1 for 150 against 100.
TASTES = {
    "none": lambda a, b: 0 * a,
    "tanh": lambda a, b: np.tanh((a - b) / 60),
    "log": lambda a, b: np.log(a / b),
    "linear": lambda a, b: a - b,
    "saturating": lambda a, b: a / (a + 50) - b / (b + 50),
    "capped": lambda a, b: np.minimum(a, 150) - np.minimum(b, 150),
    "the longer one": lambda a, b: np.sign(a - b),
    "steps of 25 %": lambda a, b: np.sign(a - b) * (np.abs(np.log(a / b)) > np.log(1.25)),
}


@dataclass(frozen=True)
class Truth:
    """One cell of the simulation.

    Attributes:
        n: prompts.
        growth: length of the model's answers over the reference's, same prompt.
        gain: points of win rate at equal length above 50.
        taste: name in `TASTES`.
        love: how often (percent) the judge takes an answer of 150 over an equally good one of 100.
        content: correlation of an answer's quality with its being longer than its model's usual.
        noises: log deviation of the lengths of the model's and of the reference's answers.
        changes: points by outcome, model minus reference.
        correlation: of the two models' outcomes on one prompt.
        base: share of verifiable prompts the reference solves.
        order_noise: of the judge.
        judged: 0 where no judge is asked, to measure the other rules alone.
    """

    n: int = 800
    growth: float = 1.0
    gain: float = 0.0
    taste: str = "none"
    love: float = 50.0
    content: float = 0.0
    noises: tuple[float, float] = (NOISE, NOISE)
    changes: tuple[tuple[str, float], ...] = ()
    correlation: float = 0.7
    base: float = 0.5
    order_noise: float = ORDER_NOISE
    judged: int = 1


@cache
def _quantiles(order_noise: float) -> Floats:
    """Thousandths of the judge's quality difference plus its noise: what a shift must be to win so often."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=4_000_000) + rng.logistic(scale=order_noise, size=4_000_000)
    return np.quantile(np.concatenate([both, -both]), np.linspace(0, 1, 1001))


def shift(percent: float, order_noise: float) -> float:
    """What must be added to the quality difference so that the judge prefers the model so often."""
    return float(np.interp(percent / 100, np.linspace(0, 1, 1001), _quantiles(order_noise)))


def draw(truth: Truth, rng: np.random.Generator, models: int = 1, shared: float = 0.0) -> list[dict[str, Any]]:
    """Preferences, lengths and outcomes of `models` checkpoints against one reference.

    Args:
        truth: the cell, the same for every checkpoint.
        rng: everything random.
        models: checkpoints.
        shared: correlation of the checkpoints' qualities, lengths and outcomes with one another.

    Returns:
        Per checkpoint the arguments of `from_preferences`.
    """
    n = truth.n
    need = TYPICAL * np.exp(SPREAD * rng.normal(size=n))
    unusual = rng.normal(size=(2, n))  # the reference's length and the part the checkpoints share
    quality = rng.normal(size=(2, n))
    reference = np.maximum(1, np.round(need * np.exp(truth.noises[1] * unusual[0])))
    kind = rng.permutation(np.repeat(np.arange(len(KINDS)), _sizes(n)))
    luck = rng.uniform(size=(len(BASE), 2, n))
    out = []
    for _ in range(models):
        own_length = np.sqrt(shared) * unusual[1] + np.sqrt(1 - shared) * rng.normal(size=n)
        own_quality = np.sqrt(shared) * quality[1] + np.sqrt(1 - shared) * rng.normal(size=n)
        length = np.maximum(1, np.round(need * truth.growth * np.exp(truth.noises[0] * own_length)))
        rest = np.sqrt(1 - truth.content**2)
        better = truth.content * (own_length - unusual[0]) + rest * (own_quality - quality[0])
        seen = better / np.sqrt(2) + shift(50 + truth.gain, truth.order_noise)
        taste = TASTES[truth.taste]
        if truth.taste != "none":
            seen += shift(truth.love, truth.order_noise) * taste(length, reference) / taste(150.0, 100.0)
        verdicts = seen + rng.logistic(scale=truth.order_noise, size=(2, n)) > 0
        mine = np.where(rng.uniform(size=luck.shape) < shared, luck, rng.uniform(size=luck.shape))
        out.append(
            {
                "preferences": verdicts.mean(0) if truth.judged else np.full(n, np.nan),
                "lengths": length,
                "baseline_lengths": reference,
                "outcomes": {
                    name: _pair(truth, name, np.where(kind == k, 1.0, np.nan), luck[k, 0], mine[k, 1])
                    for k, name in enumerate(BASE)
                },
            }
        )
    return out


def joint_share(p: float, q: float, correlation: float) -> float:
    """Share of prompts on which two outcomes of shares p and q both happen."""
    both = p * q + correlation * float(np.sqrt(p * (1 - p) * q * (1 - q)))
    return min(both, p, q)  # the correlation cannot be larger where the shares differ


def _sizes(n: int) -> list[int]:
    ends = np.round(n * np.cumsum(list(KINDS.values()))).astype(int)
    return np.diff(ends, prepend=0).tolist()


def _pair(truth: Truth, name: str, where: Floats, luck_base: Floats, luck: Floats) -> tuple[Floats, Floats]:
    """Outcomes of model and reference, 0 or 1, correlated as the truth says, NaN where they do not apply."""
    p = truth.base if name == "accuracy" else BASE[name]
    q = float(np.clip(p + dict(truth.changes).get(name, 0.0) / 100, 0, 1))
    both = joint_share(p, q, truth.correlation)
    base = luck_base < p
    model = luck < np.where(base, both / p, (q - both) / (1 - p))
    return np.where(where == 1, model, np.nan).astype(float), np.where(where == 1, base, np.nan).astype(float)
