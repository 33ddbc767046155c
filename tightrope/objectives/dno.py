"""Direct Nash optimisation, its contrastive step.

    L = -s log sigmoid(eta h) - (1-s) log sigmoid(-eta h)
    s = sigmoid(r(y_w) - r(y_l))    `margin`: r is the expected win rate against the policy, or any reward
    s = 1                           `hard`: DNO-Prct, on pairs with a large margin

Rosset et al. 2024, 2404.03715, algorithms 1 and 2. The reference is the policy of the round before; the pairs are
its own samples. h is the difference of the summed log-ratios. The minimum of a pair is at eta h = logit(s).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, margins_of, pair_metrics


class DnoSettings(Settings):
    """Scale of the margin and where the target comes from."""

    eta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Scale of the log-ratio margin; 0.01 to 0.5.")
    target: Literal["hard", "margin"] = Field(
        "hard", description="Certain labels (DNO-Prct), or sigmoid of each comparison's margin."
    )


def dno_loss(h: Tensor, target: Tensor | float, eta: float) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        h: [P] nats, the difference of the log-ratios against the last round's policy.
        target: s, [P] or one number.
        eta: scale of the margin.
    """
    return -target * logsigmoid(eta * h) - (1 - target) * logsigmoid(-eta * h)


def dno(inputs: ObjectiveInputs, settings: DnoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring.

    Raises:
        InputError: `target: margin` on comparisons without margins: their targets would be one half.
    """
    sums = PairSums.of(inputs)
    target: Tensor | float = 1.0
    if settings.target == "margin":
        target = torch.sigmoid(margins_of(inputs, "dno, target: margin").to(sums.policy_chosen_logps.dtype))
    h = sums.chosen_logratios - sums.rejected_logratios
    losses = dno_loss(h, target, settings.eta)
    rewards = (settings.eta * sums.chosen_logratios, settings.eta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="dno",
        title="Direct Nash optimisation (contrastive step)",
        paper="Rosset et al. 2024, Direct Nash optimization, arXiv 2404.03715",
        formula="L = -s log sigmoid(eta h) - (1-s) log sigmoid(-eta h),  s = sigmoid(r_w - r_l) or 1",
        letters=(GAP, LOGRATIO, PAIR, "r_w - r_l is the comparison's margin, s = 1 is `target: hard`"),
        needs=frozenset({"comparisons", "reference", "margins"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="One round: classify the policy's own pairs towards win rates, against the last round's policy.",
        known_answer="Policy and reference are one model: loss ln 2 whatever the target, margin 0.",
        when="In rounds, with many samples per prompt and a judge that prefers one of two.",
        when_not="Once on fixed pairs: with hard targets that is DPO.",
        goes_wrong="Pairs of small margin teach noise: keep those the judge was sure of. Margins in other units than "
        "win rates make s extreme.",
    ),
    DnoSettings,
    dno,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
    spares=lambda settings: frozenset(() if settings.target == "margin" else {"margins"}),
)
