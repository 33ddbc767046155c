"""Length-normalised DPO.

    L = -log sigmoid(beta [rho(y_w) / |y_w| - rho(y_l) / |y_l|])

Tulu 3 (Lambert et al. 2024, 2411.15124); TRL's `sigmoid_norm`. Log-ratios per token, so beta is fifty times DPO's:
5. Its optimum is not the KL-regularised one: sequence toys show it.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class LnDpoSettings(Settings):
    """Tie to the reference, per token."""

    beta: float = Field(5.0, gt=0, allow_inf_nan=False, description="Tie to the reference per token; 2 to 10.")


def ln_dpo_loss(chosen_mean_logratios: Tensor, rejected_mean_logratios: Tensor, beta: float) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios per token [P]."""
    return -logsigmoid(beta * (chosen_mean_logratios - rejected_mean_logratios))


def ln_dpo(inputs: ObjectiveInputs, settings: LnDpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    chosen = sums.chosen_logratios / sums.chosen_tokens
    rejected = sums.rejected_logratios / sums.rejected_tokens
    losses = ln_dpo_loss(chosen, rejected, settings.beta)
    metrics = pair_metrics(inputs, sums, losses, settings.beta * chosen, settings.beta * rejected)
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="ln_dpo",
        title="Length-normalised DPO",
        paper="Lambert et al. 2024, Tulu 3, arXiv 2411.15124",
        formula="L = -log sigmoid(beta [rho(y_w) / |y_w| - rho(y_l) / |y_l|])",
        letters=(LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="DPO with log-ratios per token: length pays nothing, the reference still ties.",
        known_answer="Policy and reference are one model: loss ln 2, margin 0.",
        when="Where DPO lengthens answers; the default of Tulu 3.",
        when_not="With DPO's beta of 0.1: the gradient is fifty times too small.",
        goes_wrong="A long bad response hides its bad sentence: per token it is hardly worse.",
    ),
    LnDpoSettings,
    ln_dpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
)
