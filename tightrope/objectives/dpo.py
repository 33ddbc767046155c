"""Direct preference optimisation.

    h = [log pi(y_w) - log ref(y_w)] - [log pi(y_l) - log ref(y_l)]      summed over tokens, end of turn included
    L = -(1-e) log sigmoid(beta h) - e log sigmoid(-beta h)  +  a NLL(y_w)

Rafailov et al. 2023, 2305.18290; label smoothing e is cDPO (Mitchell 2023); the NLL term is that of iterative RPO
(Pang et al. 2024, 2404.19733): the mean over the chosen response's tokens. Sums, not means:
the length-normalised form is another method with another beta.
"""

from __future__ import annotations

import math
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class DpoSettings(Settings):
    """Strength of the tie to the reference, label noise, and the likelihood term."""

    beta: float = Field(0.1, gt=0, description="Tie to the reference; larger stays closer. 0.01 to 0.5.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Probability that a label is flipped (cDPO).")
    nll_weight: float = Field(0.0, ge=0, description="Weight of the chosen response's NLL; 0, or 0.1 to 1; the NLL is the mean over that response's tokens.")


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Returns the loss per pair, [P]; arguments are log-probs summed over response tokens, [P] nats."""
    chosen_logratios = policy_chosen_logps - reference_chosen_logps
    rejected_logratios = policy_rejected_logps - reference_rejected_logps
    h = chosen_logratios - rejected_logratios
    return -(1 - label_smoothing) * logsigmoid(beta * h) - label_smoothing * logsigmoid(-beta * h)


def dpo(inputs: ObjectiveInputs, settings: DpoSettings) -> Loss:
    """Per-pair loss; see the module's docstring."""
    pairs, logprobs = inputs.need("pairs"), inputs.need("logprobs")
    policy = inputs.summed(logprobs)
    reference = inputs.summed(inputs.need("reference_logprobs"))
    lengths = inputs.lengths()
    chosen, rejected = pairs[:, 0], pairs[:, 1]
    losses = dpo_loss(
        policy[chosen],
        policy[rejected],
        reference[chosen],
        reference[rejected],
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
    )
    if settings.nll_weight:
        losses = losses - settings.nll_weight * policy[chosen] / lengths[chosen]
    with torch.no_grad():
        ratios = policy - reference
        h = ratios[chosen] - ratios[rejected]
        metrics = {
            "accuracy": (h > 0).float(),
            "margin": settings.beta * h,
            "preference_loss": dpo_loss(
                policy[chosen],
                policy[rejected],
                reference[chosen],
                reference[rejected],
                beta=settings.beta,
                label_smoothing=settings.label_smoothing,
            ),
            "reward_chosen": settings.beta * ratios[chosen],
            "reward_rejected": settings.beta * ratios[rejected],
            "logps_chosen": policy[chosen].clone(),
            "logps_rejected": policy[rejected].clone(),
            "nll_chosen": -policy[chosen] / lengths[chosen],
            "displaced": (ratios[chosen] < 0).float(),
            "tokens_chosen": lengths[chosen],
            "tokens_rejected": lengths[rejected],
        }
    return Loss(losses, metrics)


def _known(settings: DpoSettings) -> dict[str, float]:
    return {"preference_loss": math.log(2.0), "margin": 0.0}


OBJECTIVE = Objective(
    Card(
        name="dpo",
        title="Direct preference optimisation (DPO)",
        paper="Rafailov et al. 2023, Direct preference optimization, arXiv 2305.18290",
        formula="L = -log sigmoid(beta [rho(y_w) - rho(y_l)]),  rho = log pi - log ref, summed over tokens",
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="Raises the chosen response against the rejected one, tied to a frozen reference by beta.",
        when="Comparisons near what the policy itself says; after SFT.",
        when_not="Off-policy pairs without an SFT stage or an NLL term: both likelihoods fall (displacement).",
    ),
    DpoSettings,
    dpo,
    _known,
)
