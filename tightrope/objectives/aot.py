"""Alignment via optimal transport: distributions of margins instead of single pairs.

    paired:    L = -log sigmoid(beta (d_(k) - e_(k))),   d = log pi(y_w) - log pi(y_l),  e = log ref(y_w) - log ref(y_l)
    unpaired:  L = -log sigmoid(beta (u_(k) - v_(k))),   u = rho(y_w),  v = rho(y_l)

where (k) is the k-th smallest of the optimiser step: each side is sorted by itself and the ranks are compared
(first order stochastic dominance). Melnyk et al. 2024, 2406.05882. The sort runs over the whole step, not over
micro-batches; the batch size is part of the method.

Ties. Equal values hold several ranks, and nothing says which of them has which: each is compared with the others of all
their ranks, and the mean counts. The loss is that of any order of the ties, and the gradient the mean over all orders.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings, Statistic
from tightrope.objectives.pairs import PairSums, pair_metrics

ROUNDING = 1e-5  # relative; values of one step that are closer tie


class AotSettings(Settings):
    """Tie to the reference, and what is sorted."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    sort: Literal["paired", "unpaired"] = Field(
        "paired", description="Sort margins of policy and reference, or log-ratios of chosen and rejected responses."
    )


def aot_loss(above: Tensor, below: Tensor, beta: float) -> Tensor:
    """Returns the loss per rank of two vectors [P] that are sorted already."""
    return -logsigmoid(beta * (above - below))


def sides(sums: PairSums, sort: Literal["paired", "unpaired"]) -> tuple[Tensor, Tensor]:
    """The two vectors [P] that are sorted apart: what should be large, and what it is compared with."""
    if sort == "unpaired":
        return sums.chosen_logratios, sums.rejected_logratios
    return (
        sums.policy_chosen_logps - sums.policy_rejected_logps,
        sums.reference_chosen_logps - sums.reference_rejected_logps,
    )


def rank_losses(
    values: Tensor, own_sorted: Tensor, other_sorted: Tensor, beta: float, side: Literal["above", "below"]
) -> Tensor:
    """The loss of each value against the other side at its own rank of the whole step, [P].

    Args:
        values: [P] of a micro-batch.
        own_sorted: [ranks] the same side of the whole step as it was measured.
        other_sorted: [ranks] the other side.
        beta: tie to the reference.
        side: of the values.
    """
    away = (own_sorted[None, :] - values.detach()[:, None]).abs()
    nearest = away.amin(1, keepdim=True)  # a forward pass in another micro-batch rounds otherwise
    tied = away <= nearest + ROUNDING * values.detach().abs().clamp(min=1)[:, None]
    pair = (values[:, None], other_sorted[None, :])
    losses = aot_loss(*(pair if side == "above" else pair[::-1]), beta)
    return (losses * tied).sum(1) / tied.sum(1)


def aot(inputs: ObjectiveInputs, settings: AotSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring.

    The two values of a rank may lie in different micro-batches, so each is compared with the other as it was measured
    before the step's first gradient.
    """
    sums = PairSums.of(inputs)
    above, below = sides(sums, settings.sort)
    above_sorted, below_sorted = inputs.known("above"), inputs.known("below")
    losses = rank_losses(above, above_sorted, below_sorted, settings.beta, "above")
    if settings.sort == "unpaired":  # the reference's margins of `paired` have no gradient
        other = rank_losses(below, below_sorted, above_sorted, settings.beta, "below")
        # The second term repeats the loss of the first from the other side: only its gradient is added.
        losses = losses + (other - other.detach())
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


def _statistics(settings: AotSettings) -> tuple[Statistic, ...]:
    def measure(inputs: ObjectiveInputs) -> dict[str, Tensor]:
        above, below = sides(PairSums.of(inputs), settings.sort)
        return {"above": above, "below": below}

    return (Statistic("logprobs", measure, lambda values, before: {n: torch.sort(v)[0] for n, v in values.items()}),)


OBJECTIVE = Objective(
    Card(
        name="aot",
        title="Alignment via optimal transport (AOT)",
        paper="Melnyk et al. 2024, Distributional preference alignment, arXiv 2406.05882",
        formula="L = -log sigmoid(beta (d_(k) - e_(k))),  each side sorted over the step",
        letters=("d = log pi(y_w) - log pi(y_l), e = log ref(y_w) - log ref(y_l)", "(k) is the k-th smallest", PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="The distribution of the policy's margins should dominate the reference's, whatever the pairing.",
        known_answer="Policy and reference are one model: margin 0; paired, loss ln 2.",
        when="Noisy pairing within a batch, or unpaired good and bad responses in equal numbers.",
        when_not="Small steps: with one pair it is DPO, and with few the sort is noise. Use 32 pairs and more.",
        goes_wrong="The result depends on batch_size by design. It costs a forward pass more than DPO: the sort must "
        "be known before the first gradient.",
    ),
    AotSettings,
    aot,
    lambda settings: {"margin": 0.0, **({"preference_loss": math.log(2.0)} if settings.sort == "paired" else {})},
    statistics=_statistics,
)
