"""Direct preference optimisation.

    rho(y) = log pi(y) - log ref(y)                     summed over tokens, end of turn included
    h      = rho(y_w) - rho(y_l)
    L      = -(1-e) log sigmoid(beta h) - e log sigmoid(-beta h)  +  a NLL(y_w)

Rafailov et al. 2023, 2305.18290; label smoothing e is cDPO (Mitchell 2023). Sums, not means: the
length-normalised form is another method with another beta and another optimum.

The NLL term keeps the chosen response likely while the margin grows. Frameworks divide it differently, so
the normaliser is named: `sequence` is the mean over each chosen response's own tokens, then over pairs
(iterative RPO, Pang et al. 2024, 2404.19733); `tokens` is the mean over all chosen tokens of the optimiser
step (RPO as TRL mixes it), which weights long responses more.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.errors import InputError
from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class DpoSettings(Settings):
    """Strength of the tie to the reference, label noise, and the likelihood term."""

    beta: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; larger stays closer. 0.01 to 0.5."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Probability that a label is flipped (cDPO); 0 to 0.2."
    )
    nll_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Weight of the chosen response's NLL; 0, or 0.005 to 1."
    )
    nll_normaliser: Literal["sequence", "tokens"] = Field(
        "sequence",
        description="NLL as a mean over each response's own tokens, or over all chosen tokens of the step.",
    )


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Returns the preference loss per pair, [P].

    Args:
        policy_chosen_logps: [P] nats, summed over the response's tokens; likewise the other three.
        policy_rejected_logps: [P].
        reference_chosen_logps: [P].
        reference_rejected_logps: [P].
        beta: tie to the reference.
        label_smoothing: probability that a label is flipped.
    """
    chosen_logratios = policy_chosen_logps - reference_chosen_logps
    rejected_logratios = policy_rejected_logps - reference_rejected_logps
    h = chosen_logratios - rejected_logratios
    return -(1 - label_smoothing) * logsigmoid(beta * h) - label_smoothing * logsigmoid(-beta * h)


def chosen_nll(policy_chosen_logps: Tensor, normaliser: Tensor | float) -> Tensor:
    """Returns the NLL term per pair, [P], to be averaged over pairs.

    Args:
        policy_chosen_logps: [P] nats, summed over tokens.
        normaliser: [P] own length of each chosen response, or the mean of these lengths over the optimiser
            step: dividing every pair by that mean makes the mean over pairs the mean over tokens.
    """
    return -policy_chosen_logps / normaliser


def dpo(inputs: ObjectiveInputs, settings: DpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring.

    Raises:
        InputError: `nll_normaliser: tokens` without the step's mean chosen length in the inputs.
    """
    pairs, logprobs = inputs.need("pairs"), inputs.need("logprobs")
    policy = inputs.summed(logprobs)
    reference = inputs.summed(inputs.need("reference_logprobs"))
    lengths = inputs.lengths()
    chosen, rejected = pairs[:, 0], pairs[:, 1]
    preference = dpo_loss(
        policy[chosen],
        policy[rejected],
        reference[chosen],
        reference[rejected],
        settings.beta,
        settings.label_smoothing,
    )
    own_length = lengths[chosen].clamp(min=1)
    losses = preference
    if settings.nll_weight:
        normaliser = own_length if settings.nll_normaliser == "sequence" else _step_length(inputs)
        losses = losses + settings.nll_weight * chosen_nll(policy[chosen], normaliser)
    ratios = (policy - reference).detach()
    h = ratios[chosen] - ratios[rejected]
    metrics = {
        "accuracy": 0.5 * (1 + h.sign()),  # undecided is half right, so swapping gives 1 - accuracy
        "margin": settings.beta * h,
        "preference_loss": preference.detach(),
        "reward_chosen": settings.beta * ratios[chosen],
        "reward_rejected": settings.beta * ratios[rejected],
        "logps_chosen": policy[chosen].detach(),
        "logps_rejected": policy[rejected].detach(),
        "nll_chosen": chosen_nll(policy[chosen].detach(), own_length),
        "displaced": (ratios[chosen] < 0).to(ratios.dtype),  # chosen became less likely than it was
        "tokens_chosen": lengths[chosen],
        "tokens_rejected": lengths[rejected],
    }
    if inputs.entropy is not None:
        metrics["entropy"] = inputs.entropy.detach()
    return Loss(inputs.weighted(losses, chosen), metrics)


def _step_length(inputs: ObjectiveInputs) -> float:
    # The micro-batch's own mean would do silently, and make the loss depend on the micro-batches.
    if inputs.chosen_tokens is None:
        raise InputError(
            "the mean chosen length of the optimiser step is not known here",
            where="nll_normaliser: tokens",
            remedy="Use nll_normaliser: sequence, or hand in `chosen_tokens`.",
        )
    return inputs.chosen_tokens


def _known(settings: DpoSettings) -> dict[str, float]:
    return {"preference_loss": math.log(2.0), "margin": 0.0}


OBJECTIVE = Objective(
    Card(
        name="dpo",
        title="Direct preference optimisation (DPO)",
        paper="Rafailov et al. 2023, Direct preference optimization, arXiv 2305.18290",
        year=2023,
        formula="L = -log sigmoid(beta [rho(y_w) - rho(y_l)]),  rho = log pi - log ref, summed over tokens",
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="Raises the chosen response against the rejected one, tied to a frozen reference by beta.",
        known_answer="Policy and reference are one model: preference loss ln 2 = 0.693147, margin 0.",
        when="Comparisons near what the policy itself says; after SFT.",
        when_not="Off-policy pairs without SFT first or an NLL term: both likelihoods fall (displacement).",
    ),
    DpoSettings,
    dpo,
    _known,
)
