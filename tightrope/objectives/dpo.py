"""Direct preference optimisation.

    rho(y) = log pi(y) - log ref(y)                     summed over tokens, end of turn included
    h      = rho(y_w) - rho(y_l)
    L      = -log sigmoid(beta h)  +  a NLL(y_w)

Rafailov et al. 2023, 2305.18290. Sums, not means: the length-normalised form (`ln_dpo`) is another method with
another beta and another optimum.

When a share e of the labels is flipped, `smoothing` names what to do about it:

* `conservative` (cDPO, Mitchell 2023): -(1-e) log sigmoid(beta h) - e log sigmoid(-beta h). The gradient vanishes at
  beta h = logit(1-e), so nothing runs away; on noisy data the optimum is pulled towards the reference.
* `robust` (rDPO, Chowdhury et al. 2024, 2403.00409): [-(1-e) log sigmoid(beta h) + e log sigmoid(-beta h)] / (1-2e).
  Unbiased: its mean over flipped labels is the clean loss. A single pair can make it arbitrarily negative: clip
  gradients.

TRL 1.16 accepts label smoothing for its sigmoid loss and ignores it.

The NLL term keeps the chosen response likely while the margin grows (RPO, iterative RPO, Llama 3); its normaliser is
named, see `nll_chosen`.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.nll_chosen import NORMALISER, Normaliser, chosen_tokens, normalised_nll
from tightrope.objectives.pairs import PairSums, pair_metrics

Smoothing = Literal["conservative", "robust"]


class DpoSettings(Settings):
    """Strength of the tie to the reference, label noise, and the likelihood term."""

    beta: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; larger stays closer. 0.01 to 0.5."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Probability that a label is flipped; 0 to 0.2.")
    smoothing: Smoothing = Field(
        "conservative", description="What flipped labels do to the loss: `conservative` (cDPO) or `robust` (rDPO)."
    )
    nll_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Weight of the chosen response's NLL; 0, or 0.005 to 1."
    )
    nll_normaliser: Normaliser = Field("sequence", description=NORMALISER)


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
    smoothing: Smoothing = "conservative",
) -> Tensor:
    """Returns the preference loss per pair, [P].

    Args:
        policy_chosen_logps: [P] nats, summed over the response's tokens; likewise the other three.
        policy_rejected_logps: [P].
        reference_chosen_logps: [P].
        reference_rejected_logps: [P].
        beta: tie to the reference.
        label_smoothing: probability e that a label is flipped.
        smoothing: what flipped labels do.
    """
    chosen_logratios = policy_chosen_logps - reference_chosen_logps
    rejected_logratios = policy_rejected_logps - reference_rejected_logps
    h = chosen_logratios - rejected_logratios
    e = label_smoothing
    if smoothing == "robust":
        return (-(1 - e) * logsigmoid(beta * h) + e * logsigmoid(-beta * h)) / (1 - 2 * e)
    return -(1 - e) * logsigmoid(beta * h) - e * logsigmoid(-beta * h)


def dpo(inputs: ObjectiveInputs, settings: DpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    preference = dpo_loss(
        sums.policy_chosen_logps,
        sums.policy_rejected_logps,
        sums.reference_chosen_logps,
        sums.reference_rejected_logps,
        settings.beta,
        settings.label_smoothing,
        settings.smoothing,
    )
    losses = preference
    if settings.nll_weight:
        losses = losses + settings.nll_weight * normalised_nll(inputs, sums, settings.nll_normaliser)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, preference, *rewards))


OBJECTIVE = Objective(
    Card(
        name="dpo",
        title="Direct preference optimisation (DPO)",
        paper="Rafailov et al. 2023, Direct preference optimization, arXiv 2305.18290",
        formula="L = -log sigmoid(beta [rho(y_w) - rho(y_l)]),  rho = log pi - log ref, summed over tokens",
        letters=(PAIR,),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="Raises the chosen response against the rejected one, tied to a frozen reference by beta.",
        known_answer="Policy and reference are one model: preference loss ln 2 = 0.693147, margin 0.",
        when="Comparisons near what the policy itself says; after SFT.",
        when_not="Off-policy pairs without SFT first or an NLL term: both likelihoods fall (displacement).",
        goes_wrong="Answers grow longer: sums of log-probs pay for length, and so do most judges (r_dpo, ld_dpo, "
        "ln_dpo and simpo answer that). `displaced` near 1 means the chosen responses themselves became unlikely: "
        "add nll_weight 0.2, or lower the rate. A first loss other than ln 2 is stopped: the reference is not the "
        "start.",
    ),
    DpoSettings,
    dpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
    statistics=lambda settings: chosen_tokens(settings.nll_normaliser) if settings.nll_weight else (),
)
