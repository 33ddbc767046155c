"""Sequence likelihood calibration with human feedback (SLiC-HF).

    L = max(0, delta - log pi(y_w) + log pi(y_l)) - lambda log pi(y_ref)        y_ref: the chosen response

Zhao et al. 2023, 2305.10425. No reference model; summed log-probs. The likelihood term is a sum over tokens as
printed; other code divides it by length, so its normaliser is named. Both terms are one number per pair: adding a
hinge per pair to an NLL per token broadcasts silently (seen in public code).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import relu

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.nll_chosen import NORMALISER, Normaliser, chosen_tokens, normalised_nll
from tightrope.objectives.pairs import PolicySums, pair_metrics


class SlicSettings(Settings):
    """The margin of the hinge and the weight of the likelihood."""

    delta: float = Field(1.0, gt=0, allow_inf_nan=False, description="Wanted gap of log-probs, nats; 0.5 to 5.")
    nll_weight: float = Field(0.1, ge=0, allow_inf_nan=False, description="Weight of the likelihood term; 0 to 0.5.")
    nll_normaliser: Normaliser = Field("none", description=NORMALISER)


def slic_loss(policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, delta: float) -> Tensor:
    """Returns the calibration loss per pair, [P], of summed log-probs [P]."""
    return relu(delta - policy_chosen_logps + policy_rejected_logps)


def slic(inputs: ObjectiveInputs, settings: SlicSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PolicySums.of(inputs)
    preference = slic_loss(sums.policy_chosen_logps, sums.policy_rejected_logps, settings.delta)
    losses = preference
    if settings.nll_weight:
        losses = losses + settings.nll_weight * normalised_nll(inputs, sums, settings.nll_normaliser)
    rewards = (sums.policy_chosen_logps, sums.policy_rejected_logps)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, preference, *rewards))


OBJECTIVE = Objective(
    Card(
        name="slic",
        title="Sequence likelihood calibration (SLiC-HF)",
        paper="Zhao et al. 2023, SLiC-HF, arXiv 2305.10425",
        formula="L = max(0, delta - log pi(y_w) + log pi(y_l)) - lambda log pi(y_w)",
        letters=(PAIR, "lambda is `nll_weight`"),
        needs=frozenset({"comparisons"}),
        head="lm",
        unit="pairs",
        headline=("accuracy", "nll_chosen"),
        summary="A hinge on the log-probs themselves, held by the likelihood of the chosen response; no reference.",
        known_answer="Nothing is certain; the first loss is a property of the data.",
        when="Pairs of similar length, and chosen responses good enough to imitate: no reference is needed.",
        when_not="Chosen and rejected of very different length: sums of log-probs differ by length alone "
        "(use gpo with the hinge, which subtracts a reference).",
        goes_wrong="With nll_weight 0 nothing ties the policy down. With the sum normaliser the likelihood term is a "
        "hundred times the hinge on long responses: it becomes SFT.",
    ),
    SlicSettings,
    slic,
    statistics=lambda settings: chosen_tokens(settings.nll_normaliser) if settings.nll_weight else (),
)
