"""Estimators of KL(pi || ref) from tokens sampled from pi, and the coefficient that penalises it.

With d = log pi - log ref on a sampled token (Schulman 2020, "Approximating KL divergence"):

    k1 = d               unbiased, can be negative
    k2 = d^2 / 2         biased, >= 0
    k3 = exp(-d) - 1 + d unbiased, >= 0

Where the term sits decides what is optimised. As part of the reward, without gradient, k1 gives the true
reverse-KL gradient: that is how Tightrope's PPO uses it. Differentiated in a loss, k1 gives only noise (its
expected gradient is 0), k2 the reverse KL, and k3 the forward KL, whose optimum is another policy.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]
LOWEST_LOGRATIO = -10.0  # exp(-d) explodes where the policy has all but left the reference


def kl_estimate(logprobs: Tensor, reference_logprobs: Tensor, estimator: Estimator) -> Tensor:
    """Returns the estimate per sampled token.

    Args:
        logprobs: [N] nats, under the distribution the tokens were sampled from (its temperature included).
        reference_logprobs: [N] nats, under the reference at the same temperature.
        estimator: see the module's docstring; k3's log-ratio is bounded below by `LOWEST_LOGRATIO`.

    Returns:
        [N] nats. Summed over a response it is the sequence KL, which is what the literature quotes.
    """
    d = logprobs - reference_logprobs
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d**2 / 2
    d = d.clamp(min=LOWEST_LOGRATIO)
    return torch.expm1(-d) + d  # exp(-d) - 1 would round a small k3 to zero, or below it


class KLController:
    """The KL coefficient, fixed or adaptive (Ziegler et al. 2019, 1909.08593, section 2.2).

    Adaptive: after a batch of n episodes with mean sequence KL,

        e = clip(KL / target - 1, -0.2, 0.2),  coefficient *= 1 + e n / horizon

    Args:
        coefficient: start value, or the value when fixed.
        target: sequence KL to aim at, nats; None keeps the coefficient fixed.
        horizon: episodes over which it reacts.
    """

    def __init__(self, coefficient: float, target: float | None = None, horizon: float = 10_000) -> None:
        self.coefficient, self._target, self._horizon = coefficient, target, horizon

    def update(self, kl: float, episodes: int) -> None:
        """Moves the coefficient after `episodes` episodes of mean sequence KL `kl` (nats)."""
        if self._target is None:
            return
        error = min(max(kl / self._target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * episodes / self._horizon
