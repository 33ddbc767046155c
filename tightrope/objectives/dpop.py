"""DPO-Positive: the chosen response may not become less likely than it was.

    L = -log sigmoid(beta [h - lambda max(0, log ref(y_w) - log pi(y_w))])

Pal et al. 2024, Smaug, 2402.13228. The penalty stands inside the sigmoid and is multiplied by beta. lambda = 0 is
DPO.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class DpopSettings(Settings):
    """Tie to the reference and weight of the penalty."""

    beta: float = Field(0.3, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.1 to 0.5.")
    penalty: float = Field(
        50.0, ge=0, allow_inf_nan=False, description="Weight of a displaced chosen response (lambda); 5 to 50."
    )


def dpop_loss(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, penalty: float) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios [P]."""
    displaced = relu(-chosen_logratios)
    return -logsigmoid(beta * (chosen_logratios - rejected_logratios - penalty * displaced))


def dpop(inputs: ObjectiveInputs, settings: DpopSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = dpop_loss(sums.chosen_logratios, sums.rejected_logratios, settings.beta, settings.penalty)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="dpop",
        title="DPO-Positive",
        paper="Pal et al. 2024, Smaug, arXiv 2402.13228",
        formula="L = -log sigmoid(beta [h - lambda max(0, log ref(y_w) - log pi(y_w))])",
        letters=(GAP, LOGRATIO, PAIR, "lambda is `penalty`"),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "displaced"),
        summary="DPO with a penalty wherever the chosen response falls below where it started.",
        known_answer="Policy and reference are one model: loss ln 2, margin 0.",
        when="Pairs that differ in a few tokens (mathematics, small edits), where DPO lowers both.",
        when_not="Chosen responses that are not worth keeping likely.",
        goes_wrong="With lambda 50 it is SFT on whatever is displaced: rejected responses stop falling.",
    ),
    DpopSettings,
    dpop,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
)
