"""Kahneman-Tversky optimisation: thumbs up and down, no pairs.

    rho = log pi(y|x) - log ref(y|x)                                      summed over tokens
    z0  = max(0, mean_i [ log pi(y'_i|x_i) - log ref(y'_i|x_i) ])         y'_i answers another prompt
    L   = w (1 - sigmoid(beta (rho - z0)))     desirable,    w = desirable_weight
    L   = w (1 - sigmoid(beta (z0 - rho)))     undesirable,  w = undesirable_weight

Ethayarajh et al. 2024, 2402.01306. The reference point z0 is measured on responses to other prompts, without
gradient, over the whole optimiser step on all its processes, and floored at zero once, after averaging. It is a
baseline, not the KL of the policy: that is measured on the policy's own samples.

How the mismatched response is found differs. HALOs and TRL shift by one within a micro-batch, which needs batches
of two and more, and depends on the order of the data; reversing a batch (an old TRL) lets the middle row of an odd
batch meet itself. Here every row has one partner from anywhere in the data, of another prompt, drawn once with the
seed (see `data.mismatch`): steps of one row, odd steps and steps of one class are all right.

`reference_point: zero` leaves z0 out: APO-zero for unpaired data (D'Oosterlinck et al. 2024, 2408.06266).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import LOGRATIO, THUMBS, Card, Loss, Objective, ObjectiveInputs, Settings, Statistic
from tightrope.objectives.thumbs import Thumbs, reward_gap


class KtoSettings(Settings):
    """Tie to the reference, weight of each class, reference point."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    desirable_weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Of thumbs up; weight x count within 1 to 1.5 of the other class's."
    )
    undesirable_weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Of thumbs down.")
    reference_point: Literal["mismatched", "zero"] = Field(
        "mismatched", description="z0 measured on responses to other prompts, or 0 (APO-zero for ratings)."
    )


def kto_loss(
    logratios: Tensor,
    desirable: Tensor,
    z0: Tensor | float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Returns the loss per response, [R].

    Args:
        logratios: [R] nats.
        desirable: [R] bool.
        z0: the reference point, nats, without gradient.
        beta: tie to the reference.
        desirable_weight: lambda_D.
        undesirable_weight: lambda_U.
    """
    up = desirable_weight * (1 - torch.sigmoid(beta * (logratios - z0)))
    down = undesirable_weight * (1 - torch.sigmoid(beta * (z0 - logratios)))
    return torch.where(desirable, up, down)


def kto(inputs: ObjectiveInputs, settings: KtoSettings) -> Loss:
    """Per-response loss [R]; see the module's docstring."""
    thumbs = Thumbs.of(inputs)
    z0 = inputs.known("z0") if settings.reference_point == "mismatched" else 0.0
    weights = (settings.desirable_weight, settings.undesirable_weight)
    losses = kto_loss(thumbs.logratios, thumbs.desirable, z0, settings.beta, *weights)
    metrics = thumbs.metrics(inputs, losses, settings.beta * thumbs.logratios)
    return Loss(inputs.weighted(losses, torch.arange(inputs.responses, device=losses.device)), metrics)


def mismatched_logratios(inputs: ObjectiveInputs) -> dict[str, Tensor]:
    """Log-ratios of responses to other prompts, [probes] nats."""
    return {"mismatched": inputs.summed(inputs.need("logprobs") - inputs.need("reference_logprobs"))}


def reference_point(values: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """z0 of a step: floored after averaging; flooring rows or shards first would be biased upwards."""
    return {"z0": values["mismatched"].mean().clamp(min=0)}


def _statistics(settings: KtoSettings) -> tuple[Statistic, ...]:
    if settings.reference_point == "zero":
        return ()
    return (Statistic("probes", mismatched_logratios, reference_point),)


OBJECTIVE = Objective(
    Card(
        name="kto",
        title="Kahneman-Tversky optimisation (KTO)",
        paper="Ethayarajh et al. 2024, KTO, arXiv 2402.01306",
        formula="L = w_y (1 - sigmoid(±beta (rho - z0))),  z0 = max(0, mean rho of mismatched responses)",
        letters=(LOGRATIO, THUMBS, "w_y is `desirable_weight` or `undesirable_weight`"),
        needs=frozenset({"ratings", "reference", "probes"}),
        head="lm",
        unit="responses",
        headline=("margin", "z0"),
        summary="Learns from thumbs up and down on single responses, against a measured reference point.",
        known_answer="Policy and reference are one model: z0 = 0, each loss half its class weight.",
        when="Thumbs rather than pairs; many more of one class than of the other; noisy ratings.",
        when_not="Clean pairs near the policy: DPO uses the contrast within a prompt, which KTO throws away.",
        goes_wrong="Unequal classes without weights: everything goes up, or down. Gradients vanish for very bad and "
        "very good rows (`saturated`), so hard rows are underfitted. z0 at 0 from the start to the end is usual when "
        "the policy gets likelier nowhere else, and no error. A rate 2 to 10 times DPO's is needed.",
    ),
    KtoSettings,
    kto,
    lambda settings: {"reward_desirable": 0.0, "reward_undesirable": 0.0},
    lambda means: reward_gap(dict(means)),
    _statistics,
    spares=lambda settings: frozenset({"probes"} if settings.reference_point == "zero" else ()),
)
