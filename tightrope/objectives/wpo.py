"""Weighted preference optimisation: off-policy pairs count by how likely the policy itself would say them.

    w(y) = exp( mean_t log [ p(y_t) / sum_v p_v^2 ] )         sum over the vocabulary, no gradient
    L    = -min(c, w(y_w) w(y_l)) log sigmoid(beta h)

Zhou et al. 2024, 2406.11827, eq. 2 with the sampled alignment: a token as likely as one drawn from the policy gives
1. A response greedier than samples weighs more than 1. Implementations differ in what they do about it, so the cap c
of a pair's weight is named: the authors' code takes 1, as older TRL did; TRL 1.16 has none.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class WpoSettings(Settings):
    """Tie to the reference, and the most that a pair may weigh."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    largest_weight: float | None = Field(
        1.0, gt=0, allow_inf_nan=False, description="Cap of a pair's weight, w(y_w) w(y_l); null: none."
    )


def wpo_loss(
    h: Tensor, chosen_weight: Tensor, rejected_weight: Tensor, beta: float, largest_weight: float | None = 1.0
) -> Tensor:
    """Returns the loss per pair, [P]; the weights [P] get no gradient."""
    weight = (chosen_weight * rejected_weight).detach()
    if largest_weight is not None:
        weight = weight.clamp(max=largest_weight)
    return -weight * logsigmoid(beta * h)


def wpo(inputs: ObjectiveInputs, settings: WpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    aligned = inputs.need("logprobs").detach() - inputs.need("collision")
    # No token is likelier than 1 / sum_v p_v^2 allows; the bound keeps nonsense from overflowing.
    weights = (inputs.summed(aligned) / inputs.lengths().clamp(min=1)).clamp(max=20.0).exp()
    h = sums.chosen_logratios - sums.rejected_logratios
    plain = -logsigmoid(settings.beta * h)
    losses = wpo_loss(h, weights[sums.chosen], weights[sums.rejected], settings.beta, settings.largest_weight)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    metrics = pair_metrics(inputs, sums, plain, *rewards)
    metrics |= {"weight_chosen": weights[sums.chosen], "weight_rejected": weights[sums.rejected]}
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="wpo",
        title="Weighted preference optimisation (WPO)",
        paper="Zhou et al. 2024, WPO, arXiv 2406.11827",
        formula="L = -min(1, w(y_w) w(y_l)) log sigmoid(beta h),  w = exp mean log(p / sum_v p_v^2), no gradient",
        letters=(
            GAP,
            LOGRATIO,
            "y_w is the chosen response, y_l the rejected one",
            "p is the policy's probability of a token, v a word of the vocabulary",
        ),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "weight_chosen"),
        summary="DPO in which pairs the policy would hardly say itself count less.",
        known_answer="Policy and reference are one model: unweighted loss ln 2, margin 0.",
        when="Pairs written by other models, mixed with your own.",
        when_not="Pairs sampled from the policy: all weights are near 1 and it is DPO.",
        goes_wrong="Weights near 0 everywhere (`weight_chosen` below 0.1): the data are so far off that nothing is "
        "learnt; do SFT on the chosen responses first.",
    ),
    WpoSettings,
    wpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
    extras=lambda settings: frozenset({"collision"}),
)
