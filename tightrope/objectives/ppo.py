"""Proximal policy optimisation, the update of one minibatch.

    q_t    = exp(log pi(y_t) - log pi_rollout(y_t))
    policy = max(-A_t q_t, -A_t clip(q_t, 1-eps, 1+eps))
    value  = 0.5 max((V_t - G_t)^2, (clip(V_t, V_rollout,t +- eps_v) - G_t)^2)
    L      = mean_t [policy + c_v value - c_H entropy]            mean over the step's response tokens

Schulman et al. 2017, 1707.06347; Ziegler et al. 2019, 1909.08593; Ouyang et al. 2022, 2203.02155. Details
on which implementations differ (Huang et al. 2024, 2403.17031), and what is done here:

* The mean is over all response tokens of the minibatch, not per sequence: 1/length per sequence rewards
  long wrong answers.
* The KL penalty sits in the rewards, once per rollout, against the frozen reference. None is added to the
  loss: there k1 would be pure noise and k3 another objective.
* `rollout_logprobs` come from the training forward at the sampling temperature, dropout off, so the first
  pass over a rollout has ratio exactly 1, clip fraction 0 and approximate KL 0: asserted at step 0.
* Advantages are whitened over the whole rollout, not per minibatch; returns come from the unwhitened ones.
* The value loss takes the larger of the clipped and the unclipped error, and the half belongs to it.
* Both clips can be told apart and switched: `clip_ratio` is always on, `clip_value: null` switches the
  other off.
* The log-ratio is bounded by `LARGEST_LOGRATIO` before the exponential; beyond it a token was off by a
  factor of 10^8 and the gradient of that token is dropped rather than infinite.

PPO-ptx: beside the minibatch every step learns some demonstrations, weight times their mean NLL a token, so that what
is never asked for is not unlearnt (Ouyang et al., equation 2; there they are pre-training text). In a recipe:

    - name: ppo
      method: ppo
      prompts: {path: prompts.jsonl}
      reward: [{source: "@reward"}, {source: verifier}]
      ptx:
        data: [{path: demonstrations.jsonl}]
        weight: 0.5
        batch_size: 8
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings

LARGEST_LOGRATIO = 20.0


class PpoSettings(Settings):
    """Clipping, value loss and entropy bonus."""

    clip_ratio: float = Field(0.2, gt=0, lt=1, description="The ratio is clipped to 1 ± this; 0.1 to 0.3.")
    clip_value: float | None = Field(
        0.2, gt=0, allow_inf_nan=False, description="New values stay within this of the old; null: no clip."
    )
    value_coefficient: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="Weight of the value loss; 0.1 to 1."
    )
    entropy_coefficient: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Weight of the entropy bonus; 0 to 0.01."
    )


def ppo_policy_loss(
    logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor, clip_ratio: float
) -> Tensor:
    """Returns the clipped policy loss per token, [N].

    Args:
        logprobs: [N] nats, of the policy now.
        rollout_logprobs: [N] nats, of the policy that sampled.
        advantages: [N], without gradient.
        clip_ratio: the ratio is clipped to 1 +- this.
    """
    ratio = _ratio(logprobs, rollout_logprobs)
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    return torch.maximum(-advantages * ratio, -advantages * clipped)


def ppo_value_loss(
    values: Tensor, rollout_values: Tensor, returns: Tensor, clip_value: float | None
) -> Tensor:
    """Returns half the (clipped) squared error per token, [N].

    Args:
        values: [N], of the value head now.
        rollout_values: [N], of the value head when the responses were sampled.
        returns: [N], without gradient.
        clip_value: how far the new value may move from the rollout's; None does not clip.
    """
    error = (values - returns) ** 2
    if clip_value is not None:
        near = torch.minimum(torch.maximum(values, rollout_values - clip_value), rollout_values + clip_value)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * error


def ppo(inputs: ObjectiveInputs, settings: PpoSettings) -> Loss:
    """Per-token loss [N] of one minibatch; see the module's docstring."""
    logprobs, rollout_logprobs = inputs.need("logprobs"), inputs.need("rollout_logprobs")
    advantages, returns = inputs.need("advantages").detach(), inputs.need("returns").detach()
    values, rollout_values = inputs.need("values"), inputs.need("rollout_values")
    policy = ppo_policy_loss(logprobs, rollout_logprobs, advantages, settings.clip_ratio)
    value = ppo_value_loss(values, rollout_values, returns, settings.clip_value)
    losses = policy + settings.value_coefficient * value
    if settings.entropy_coefficient:
        losses = losses - settings.entropy_coefficient * inputs.need("entropy")
    with torch.no_grad():
        difference = logprobs - rollout_logprobs
        ratio = _ratio(logprobs, rollout_logprobs)
        residual = returns - rollout_values
        metrics = {
            "policy_loss": policy.detach(),
            "value_loss": value.detach(),
            "ratio": ratio,
            "clip_fraction": ((ratio - 1).abs() > settings.clip_ratio).to(ratio.dtype),
            "approx_kl": 0.5 * difference**2,
            "value": values.detach(),
            "return": returns,
            "return_squared": returns**2,
            "value_residual": residual,
            "value_error": residual**2,
        }
        if settings.clip_value is not None:
            moved = (values - rollout_values).abs()
            metrics["value_clip_fraction"] = (moved > settings.clip_value).to(ratio.dtype)
        if inputs.entropy is not None:
            metrics["entropy"] = inputs.entropy.detach()
    return Loss(inputs.weighted(losses, inputs.response), metrics)


def explained_variance(
    mean_return: float, mean_return_squared: float, mean_residual: float, mean_residual_squared: float
) -> float | None:
    """Returns 1 - Var(G - V) / Var(G): 1 is a perfect value head, 0 one that knows only the mean.

    None when all returns are equal and there is nothing to explain.
    """
    variance = mean_return_squared - mean_return**2
    if variance <= 1e-12 * max(1.0, mean_return_squared):  # what rounding leaves of equal returns
        return None
    return 1 - (mean_residual_squared - mean_residual**2) / variance


def _ratio(logprobs: Tensor, rollout_logprobs: Tensor) -> Tensor:
    return torch.exp((logprobs - rollout_logprobs).clamp(-LARGEST_LOGRATIO, LARGEST_LOGRATIO))


def _known(settings: PpoSettings) -> dict[str, float]:
    return {"ratio": 1.0, "clip_fraction": 0.0, "approx_kl": 0.0}


def _report(means: Mapping[str, float]) -> dict[str, float]:
    figures = {n: v for n, v in means.items() if n not in ("return_squared", "value_residual")}
    explained = explained_variance(
        means["return"], means["return_squared"], means["value_residual"], means["value_error"]
    )
    if explained is not None:
        figures["explained_variance"] = explained
    return figures


OBJECTIVE = Objective(
    Card(
        name="ppo",
        title="Proximal policy optimisation (PPO)",
        paper="Schulman et al. 2017, arXiv 1707.06347; Ouyang et al. 2022, arXiv 2203.02155",
        formula="L = max(-A q, -A clip(q, 1-eps, 1+eps)) + c_v value,  R_t = -beta kl_t (+ score at the end)",
        letters=(
            "q = pi / pi_rollout of a token, A is its advantage",
            "kl_t = log pi_rollout - log ref",
            "eps is `clip_ratio`, c_v is `value_coefficient`, beta is the rollouts' `kl_coefficient`",
        ),
        needs=frozenset({"prompts", "reward", "reference", "value_head"}),
        head="lm+value",
        unit="tokens",
        headline=("score", "kl_sequence"),
        summary="Samples, scores and reinforces the policy's own responses, with a per-token KL penalty.",
        known_answer="Policy and sampler are one model: ratio 1, clip fraction 0, approximate KL 0.",
        when="A reward that can be computed for new text: a reward model, a verifier, or both.",
        when_not="A reward that grows with length or can be gamed: PPO finds out.",
        goes_wrong="Score and length climb together while the win rate falls: the reward is being gamed; lower the "
        "rate, raise kl_coefficient, or penalise length. What is not rewarded is unlearnt: let the stage go on "
        "learning demonstrations beside it (`ptx`, PPO-ptx). Ratios far from 1 in the first pass are stopped: sampler "
        "and trainer differ.",
    ),
    PpoSettings,
    ppo,
    _known,
    _report,
    extras=lambda settings: frozenset({"entropy"}),
)
