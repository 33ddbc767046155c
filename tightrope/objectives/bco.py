"""Binary classifier optimisation.

    r = beta rho
    L = -log sigmoid(r - delta)        desirable
    L = -log sigmoid(delta - r)        undesirable

Jung et al. 2024, 2404.04656. The policy's log-ratio is the logit of a classifier of thumbs. delta, without
gradient, is the running mean of the rewards, this step's included: without a shift, probabilities would have to sum
to something other than 1 (on the enumerable toy delta = 0 lands elsewhere, delta = -beta log Z on the optimum).

`delta_over` names the mean: over all `rows` (TRL's BCO took the mean of the steps' means, the same where all steps have
as many rows), or the mean of the two `classes`' means, which does not move with the class balance of the data.
`delta_decay` below 1 forgets earlier steps. delta is measured on the whole step before the gradient, which costs a
forward pass, and is part of a checkpoint.

`match_prompts` is the paper's underlying distribution matching (UDM): thumbs down are weighted by the density ratio of
their prompts, p(x | up) / p(x | down) clipped to [0.5, 10], see `training.prompt_matching`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import LOGRATIO, THUMBS, Card, Loss, Objective, ObjectiveInputs, Settings, Statistic
from tightrope.objectives.thumbs import Thumbs, reward_gap

CLASSES = ("desirable", "undesirable")


class BcoSettings(Settings):
    """Tie to the reference, weight of each class, how the shift is averaged."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    desirable_weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Of thumbs up.")
    undesirable_weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Of thumbs down.")
    delta_over: Literal["rows", "classes"] = Field(
        "rows", description="The shift is the mean reward of all rows, or the mean of the two class means."
    )
    delta_decay: float = Field(
        1.0, gt=0, le=1, description="Share of their weight that earlier steps keep; 1 keeps all, 0.9 to 0.99 forgets."
    )
    match_prompts: bool = Field(
        False, description="Weight thumbs down so that their prompts look like those of thumbs up (UDM)."
    )


def bco_loss(rewards: Tensor, desirable: Tensor, delta: Tensor | float) -> Tensor:
    """Returns the loss per response, [R].

    Args:
        rewards: [R] beta times the log-ratio.
        desirable: [R] bool.
        delta: the shift, without gradient.
    """
    shifted = rewards - delta
    return -logsigmoid(torch.where(desirable, shifted, -shifted))


def bco(inputs: ObjectiveInputs, settings: BcoSettings) -> Loss:
    """Per-response loss [R]; see the module's docstring."""
    thumbs = Thumbs.of(inputs)
    rewards = settings.beta * thumbs.logratios
    losses = bco_loss(rewards, thumbs.desirable, inputs.known("delta"))
    losses = losses * thumbs.class_weights(settings.desirable_weight, settings.undesirable_weight)
    metrics = thumbs.metrics(inputs, losses, rewards)
    return Loss(inputs.weighted(losses, torch.arange(inputs.responses, device=losses.device)), metrics)


def _statistics(settings: BcoSettings) -> tuple[Statistic, ...]:
    def measure(inputs: ObjectiveInputs) -> dict[str, Tensor]:
        thumbs = Thumbs.of(inputs)
        rewards = settings.beta * thumbs.logratios
        return dict(zip(CLASSES, (rewards[thumbs.desirable], rewards[~thumbs.desirable]), strict=True))

    def settle(values: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return running_delta(values, before, settings)

    return (Statistic("logprobs", measure, settle),)


def running_delta(
    values: Mapping[str, Tensor], before: Mapping[str, Tensor], settings: Any
) -> dict[str, Tensor]:
    """Returns delta and the sums and counts it is made of, by class.

    Args:
        values: this step's rewards by class.
        before: what this function returned for the step before.
        settings: `delta_over` and `delta_decay`.
    """
    zero = torch.zeros((), dtype=torch.float64)
    out: dict[str, Tensor] = {}
    for name in CLASSES:
        kept = settings.delta_decay * before.get(f"{name}_sum", zero), settings.delta_decay * before.get(
            f"{name}_count", zero
        )
        out[f"{name}_sum"] = kept[0] + values[name].sum()
        out[f"{name}_count"] = kept[1] + len(values[name])
    sums = torch.stack([out[f"{name}_sum"] for name in CLASSES])
    counts = torch.stack([out[f"{name}_count"] for name in CLASSES])
    if settings.delta_over == "rows":
        out["delta"] = sums.sum() / counts.sum()
    else:
        seen = counts > 0  # one class alone gives its own mean
        out["delta"] = (sums[seen] / counts[seen]).mean()
    return out


OBJECTIVE = Objective(
    Card(
        name="bco",
        title="Binary classifier optimisation (BCO)",
        paper="Jung et al. 2024, Binary classifier optimization, arXiv 2404.04656",
        formula="L = -log sigmoid(±(beta rho - delta)),  delta the running mean of beta rho",
        letters=(LOGRATIO, THUMBS),
        needs=frozenset({"ratings", "reference", "prompt_weights"}),
        head="lm",
        unit="responses",
        headline=("margin", "delta"),
        summary="Thumbs as classes, the log-ratio as the logit, shifted by its running mean.",
        known_answer="Policy and reference are one model: delta 0, each loss ln 2 times its class weight.",
        when="Thumbs, where KTO's vanishing gradients leave bad rows uncorrected: BCO keeps pushing them.",
        when_not="Prompts of thumbs up and thumbs down from different sources: it learns to tell the sources "
        "apart; `match_prompts` weighs against that.",
        goes_wrong="A delta that runs away with the rewards: lower the rate. Noisy thumbs pull for ever: unlike KTO's, "
        "the loss of a wrong label is unbounded.",
    ),
    BcoSettings,
    bco,
    lambda settings: {"reward_desirable": 0.0, "reward_undesirable": 0.0},
    lambda means: reward_gap(dict(means)),
    _statistics,
    spares=lambda settings: frozenset(() if settings.match_prompts else {"prompt_weights"}),
)
