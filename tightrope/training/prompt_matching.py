"""Thumbs whose prompts differ by class: weights that make the prompts of thumbs down look like those of thumbs up.

    w(x) = p(x | up) / p(x | down), clipped to [0.5, 10], on thumbs down; 1 on thumbs up

The underlying distribution matching of BCO (Jung et al. 2024, 2404.04656): where thumbs up and down come from
different sources, the policy as a classifier learns to tell these apart instead of good from bad. The ratio is the
odds of a logistic regression that is shown as many prompts of either class.

Here a prompt's features are the mean of the start model's last hidden states over its tokens (TRL asks for an embedding
model of its own). A prompt is never weighed by a regression that was fitted on it, as TRL's are: odds on one's own
training rows are too sure. Each class's prompts are split in two halves, and each half is weighed by the other's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from torch import Tensor

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.lazy import LazyExamples
from tightrope.data.mismatch import prompt_digest
from tightrope.errors import InputError
from tightrope.models.policy import Policy

Floats = NDArray[np.float64]
Features = Callable[[Sequence[Example]], Floats]
LOWEST, HIGHEST = 0.5, 10.0
MOST = 1024  # prompts of a class that a regression is fitted on
CHUNK = 256  # examples whose features are in memory at a time


class Weighted(LazyExamples):
    """Examples whose weights are multiplied, [examples]."""

    def __init__(self, examples: Sequence[Example], weights: NDArray[np.float32]) -> None:
        self._examples, self._weights = examples, weights

    def __len__(self) -> int:
        return len(self._examples)

    def at(self, index: int) -> Example:
        """Reads one example and weighs it."""
        example = self._examples[index]
        return dataclasses.replace(example, weight=example.weight * float(self._weights[index]))


def matched_prompts(examples: Sequence[Example], features: Features, *, seed: int, needed_by: str = "") -> Weighted:
    """Weighs thumbs down by the density ratio of their prompts.

    Args:
        examples: one response each, labelled +1 or -1.
        features: of the prompts of some examples, [some, D].
        seed: of the drawing of prompts to fit on.
        needed_by: the method, for errors.

    Raises:
        InputError: a class has fewer than two different prompts.
    """
    up = np.fromiter((e.labels[0] > 0 for e in examples), np.bool_, len(examples))
    prompts = np.fromiter((prompt_digest(e) for e in examples), np.uint64, len(examples))
    different = {side: len(np.unique(prompts[of])) for side, of in (("up", up), ("down", ~up))}
    refuse_few_prompts(different, needed_by)
    half = _halves(prompts, up)
    weights = np.ones(len(examples), np.float32)
    for mine in (False, True):
        rows = [np.flatnonzero((half != mine) & (up == side)) for side in (True, False)]
        rng = np.random.default_rng([seed, 17, int(mine)])
        drawn = [rng.permutation(some)[:MOST] for some in rows]
        fitted = LogOdds.fit(*(_features(examples, some, features) for some in drawn))
        wanted = np.flatnonzero((half == mine) & ~up)
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            ratios = np.exp(np.clip(fitted(_features(examples, some, features)), -20, 20))
            weights[some] = np.clip(ratios, LOWEST, HIGHEST)
    return Weighted(examples, weights)


def refuse_few_prompts(different: Mapping[str, int], where: str) -> None:
    """Half of a class's prompts are weighed by the other half, of which each needs one.

    Args:
        different: prompts of thumbs `up` and `down`.
        where: for the error.

    Raises:
        InputError: there is one of a class only.
    """
    for side in (side for side, count in different.items() if count < 2):
        raise InputError(
            f"all thumbs {side} share one prompt, so prompts of thumbs up and down cannot be matched",
            where=where,
            remedy=f"Give thumbs {side} at least two different prompts, or leave match_prompts out.",
        )


@dataclasses.dataclass(frozen=True)
class LogOdds:
    """A logistic regression on standardised features, with the ridge of 1/2 |w|^2 against the summed loss."""

    mean: Floats  # [D]
    scale: Floats  # [D]
    weights: Floats  # [D + 1], the intercept last

    @classmethod
    def fit(cls, up: Floats, down: Floats) -> LogOdds:
        """Fits it on features of both classes, [n, D] and [m, D], which weigh alike whatever n and m."""
        x, y = np.concatenate([up, down]), np.repeat([1.0, -1.0], [len(up), len(down)])
        mean, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
        x = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], 1)
        each = np.where(y > 0, len(x) / (2 * len(up)), len(x) / (2 * len(down)))

        def loss(w: Floats) -> tuple[float, Floats]:
            margins = y * (x @ w)
            gradient = -(each * y * expit(-margins)) @ x
            ridge = np.append(w[:-1], 0.0)
            return float(-(each * log_expit(margins)).sum() + 0.5 * ridge @ ridge), gradient + ridge

        found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return cls(mean, scale, np.asarray(found.x))

    def __call__(self, features: Floats) -> Floats:
        """Log odds of thumbs up, [n], of features [n, D]."""
        return np.asarray(((features - self.mean) / self.scale) @ self.weights[:-1] + self.weights[-1])


def prompt_features(policy: Policy, *, token_budget: int) -> Features:
    """The mean of the policy's last hidden states over each prompt's tokens, without gradient."""

    def prompt_means(batch: TokenBatch) -> Tensor:
        hidden, bundles = policy.hidden(batch).float(), range(len(batch.keys))
        return torch.stack([hidden[(batch.bundle == b) & (batch.branch == 0)].mean(0) for b in bundles])

    def features(examples: Sequence[Example]) -> Floats:
        # A prompt's states do not see what stands behind it; a bundle wants one token there.
        bare = [Example(e.key, e.prompt_ids, (EncodedResponse(e.responses[0].ids[:1]),)) for e in examples]
        means = policy.read_each(bare, prompt_means, lambda example: 1, token_budget=token_budget)
        return np.concatenate(means).astype(np.float64)

    return features


def _features(examples: Sequence[Example], rows: NDArray[np.intp], features: Features) -> Floats:
    parts = [
        features([examples[i] for i in rows[start : start + CHUNK].tolist()]) for start in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(parts)


def _halves(prompts: NDArray[np.uint64], up: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which half each row is in: every other prompt that the classes share, and every other that one has alone.

    Two prompts of a class are in two halves, whichever of them the other class has, too.
    """
    both = np.intersect1d(prompts[up], prompts[~up])
    second = np.isin(prompts, both[1::2])
    for side in (False, True):
        own = np.setdiff1d(prompts[up == side], both)
        second |= np.isin(prompts, own[1 - len(both) % 2 :: 2])
    return second
