"""From the score of a response to what PPO learns at each of its tokens.

Per response:

    R_t = -kl_coefficient * kl_t                    for every response token
    R_T += score (minus a penalty when the end of turn is missing)
    A, G = GAE(R, V)      advantages whitened over all tokens of the iteration, returns from unwhitened A
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tightrope.data.example import Example
from tightrope.objectives.advantages import gae, whiten
from tightrope.objectives.kl import kl_estimate


class RolloutSettings(BaseModel):
    """How responses are made and turned into rewards and advantages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(10, ge=1, description="Times new responses are sampled.")
    prompts_per_iteration: int = Field(16, ge=1, description="Prompts per iteration; 8 to 512.")
    samples_per_prompt: int = Field(
        2, ge=1, description="Responses per prompt, sharing its computation; 1 to 8."
    )
    epochs: int = Field(2, ge=1, description="Passes over an iteration's responses; 1 to 4.")
    minibatches: int = Field(1, ge=1, description="Optimiser steps per pass.")
    temperature: float = Field(1.0, gt=0, description="Of sampling, and of every log-prob PPO computes.")
    max_tokens: int = Field(64, ge=1, description="Tokens a response may have.")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="Per-token KL to the reference in the reward."
    )
    kl_coefficient: float = Field(
        0.05, ge=0, description="Weight of the KL penalty (start value when adaptive)."
    )
    kl_target: float | None = Field(
        None, gt=0, description="Sequence KL in nats that the adaptive controller aims at; none: fixed."
    )
    kl_horizon: float = Field(10_000, gt=0, description="Episodes over which the adaptive controller reacts.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount per token; 1 for language models.")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="Bias-variance trade-off of the advantages.")
    whiten_advantages: bool = Field(
        True, description="Mean 0, standard deviation 1 over the iteration's tokens."
    )
    missing_eos: Literal["penalty", "replace", "none"] = Field(
        "penalty",
        description="When the end of turn is missing: subtract from the score, replace the score, or nothing.",
    )
    missing_eos_value: float = Field(
        1.0, description="Subtracted (penalty), or the score itself (replace, often -1)."
    )
    score_clip: float | None = Field(None, gt=0, description="Scores are clipped to [-this, this].")


@dataclass(frozen=True)
class WithAdvantages:
    """Examples with the columns PPO reads, and how far their policy is from the reference.

    Attributes:
        examples: with `rollout_logprobs`, `rollout_values`, `advantages` and `returns`, each [learned].
        sequence_kls: log-ratio to the reference of every response, nats.
        token_kl: mean log-ratio of a token, nats.
    """

    examples: list[Example]
    sequence_kls: list[float]
    token_kl: float


def after_penalties(
    scores: NDArray[np.float64], ended: NDArray[np.bool_], settings: RolloutSettings
) -> NDArray[np.float64]:
    """Scores [R] clipped, and lowered or replaced where a response did not end [R]."""
    if settings.score_clip is not None:
        scores = np.clip(scores, -settings.score_clip, settings.score_clip)
    if settings.missing_eos == "penalty":
        return np.where(ended, scores, scores - settings.missing_eos_value)
    if settings.missing_eos == "replace":
        return np.where(ended, scores, settings.missing_eos_value)
    return scores


def with_advantages(
    examples: Sequence[Example],
    scores: NDArray[np.float64],
    logprobs: Sequence[NDArray[np.float32]],
    references: Sequence[NDArray[np.float32]],
    values: Sequence[NDArray[np.float32]],
    settings: RolloutSettings,
    kl_coefficient: float,
) -> WithAdvantages:
    """Gives every token of an iteration its advantage and its return.

    Args:
        examples: the iteration's bundles.
        scores: [R] of all their responses in order.
        logprobs: of the policy that sampled, [learned] an example, nats.
        references: of the reference.
        values: of the value head.
        settings: estimator, discount, whitening.
        kl_coefficient: weight of the KL penalty.
    """
    out, kls, sequence_kls, at = [], [], [], 0
    for example, own, reference, value in zip(examples, logprobs, references, values, strict=True):
        kl = kl_estimate(torch.from_numpy(own), torch.from_numpy(reference), settings.kl_estimator).numpy()
        k1 = own - reference
        rewards = -kl_coefficient * kl.astype(np.float64)
        advantages, returns = np.empty_like(own), np.empty_like(own)
        start = 0
        for response in example.responses:
            part = slice(start, start + response.learned)
            rewards[part.stop - 1] += scores[at]
            a, g = gae(
                torch.from_numpy(rewards[part]), torch.from_numpy(value[part]), settings.gamma, settings.gae_lambda
            )
            advantages[part], returns[part] = a.numpy(), g.numpy()
            sequence_kls.append(float(k1[part].sum()))
            start, at = part.stop, at + 1
        kls.append(k1)
        out.append(
            example.with_columns(rollout_logprobs=own, rollout_values=value, advantages=advantages, returns=returns)
        )
    if settings.whiten_advantages:
        out = _whitened(out)
    return WithAdvantages(out, sequence_kls, float(np.concatenate(kls).mean()))


def _whitened(examples: list[Example]) -> list[Example]:
    flat = whiten(torch.from_numpy(np.concatenate([e.columns["advantages"] for e in examples]))).numpy()
    bounds = np.cumsum([0, *(e.learned for e in examples)])
    return [e.with_columns(advantages=flat[a:b]) for e, a, b in zip(examples, bounds[:-1], bounds[1:], strict=True)]
