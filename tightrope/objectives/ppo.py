"""Proximal policy optimisation, the update of one minibatch.

    q_t = exp(log pi(y_t) - log pi_rollout(y_t))
    policy  = max(-A_t q_t, -A_t clip(q_t, 1-eps, 1+eps))
    value   = 0.5 max((V_t - G_t)^2, (clip(V_t, V_rollout +- eps_v) - G_t)^2)
    L       = mean_t [policy + c_v value - c_H entropy]            mean over the step's response tokens

Schulman et al. 2017, 1707.06347; Ziegler et al. 2019; details as in Huang et al. 2024, 2403.17031. Rewards, KL
penalty, GAE and whitening are made once per iteration (`training/rollouts.py`); advantages and returns carry no gradient.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class PpoSettings(Settings):
    """Clipping, value loss and entropy bonus."""

    clip_ratio: float = Field(0.2, gt=0, lt=1, description="The ratio is clipped to 1 +- this.")
    clip_value: float | None = Field(0.2, gt=0, description="New values stay within this of the old; none: no clipping.")
    value_coefficient: float = Field(0.1, ge=0, description="Weight of the value loss; 0.1 to 1.")
    entropy_coefficient: float = Field(0.0, ge=0, description="Weight of the entropy bonus; 0 to 0.01.")


def ppo_policy_loss(logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor, clip_ratio: float) -> Tensor:
    """Returns the clipped policy loss per token, [N]."""
    ratio = torch.exp(logprobs - rollout_logprobs)
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    return torch.maximum(-advantages * ratio, -advantages * clipped)


def ppo_value_loss(values: Tensor, rollout_values: Tensor, returns: Tensor, clip_value: float | None) -> Tensor:
    """Returns half the (clipped) squared error per token, [N]."""
    error = (values - returns) ** 2
    if clip_value is not None:
        near = torch.minimum(torch.maximum(values, rollout_values - clip_value), rollout_values + clip_value)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * error


def ppo(inputs: ObjectiveInputs, settings: PpoSettings) -> Loss:
    """Per-token loss of one minibatch; see the module's docstring."""
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
        ratio = difference.exp()
        metrics = {
            "policy_loss": policy.detach(),
            "value_loss": value.detach(),
            "ratio": ratio,
            "clip_fraction": ((ratio - 1).abs() > settings.clip_ratio).float(),
            "approx_kl": 0.5 * difference**2,
            "value": values.detach(),
            "return": returns,
            "value_error": (returns - rollout_values) ** 2,
        }
        if inputs.entropy is not None:
            metrics["entropy"] = inputs.entropy.detach()
    return Loss(losses, metrics)


def _known(settings: PpoSettings) -> dict[str, float]:
    return {"ratio": 1.0, "clip_fraction": 0.0, "approx_kl": 0.0}


OBJECTIVE = Objective(
    Card(
        name="ppo",
        title="Proximal policy optimisation (PPO)",
        paper="Schulman et al. 2017, arXiv 1707.06347; Ouyang et al. 2022, arXiv 2203.02155",
        formula="L = max(-A q, -A clip(q, 1-eps, 1+eps)) + c_v value loss,  R_t = -beta kl_t (+ score at the end)",
        needs=frozenset({"prompts", "reward", "reference", "values"}),
        head="lm+value",
        unit="tokens",
        headline=("score", "kl_sequence"),
        summary="Samples, scores and reinforces the policy's own responses, with a per-token KL penalty.",
        when="A reward that can be computed for new text: a reward model, a verifier, or both.",
        when_not="A reward that grows with length or can be gamed: PPO finds out.",
    ),
    PpoSettings,
    ppo,
    _known,
)
