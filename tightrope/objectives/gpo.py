"""Generalised preference optimisation: a convex function of the same margin.

    L = f(beta h),   h = rho(y_w) - rho(y_l), summed over tokens

Tang et al. 2024, 2402.05749. f by name, with x = beta h:

    logistic             log(1 + exp(-x))       this is DPO
    hinge                max(0, 1 - x)          RSO's hinge-norm (Liu et al. 2023, 2309.06657); SLiC with a reference
    squared              (x - 1)^2              IPO's, with target 1 / beta instead of 1 / (2 tau)
    exponential          exp(-x)
    truncated_quadratic  max(0, 1 - x)^2
    savage               sigmoid(-x)^2          not convex: gives up on pairs that are very wrong

All have the same gradient around h = 0 up to scale; they differ in what they do with pairs that are already right
(hinge and truncated quadratic stop) and with pairs that are badly wrong (exponential shouts, savage gives up).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, sigmoid
from torch.nn.functional import logsigmoid, relu

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.numerics import bounded_exp
from tightrope.objectives.pairs import PairSums, pair_metrics

Convex = Literal["logistic", "hinge", "squared", "exponential", "truncated_quadratic", "savage"]
AT_ZERO = {
    "logistic": 0.6931471805599453,
    "hinge": 1.0,
    "squared": 1.0,
    "exponential": 1.0,
    "truncated_quadratic": 1.0,
    "savage": 0.25,
}


class GpoSettings(Settings):
    """Which function of the margin, and the tie to the reference."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    loss: Convex = Field(
        "hinge", description="Function of beta h: logistic, hinge, squared, exponential, truncated_quadratic, savage."
    )


def gpo_loss(h: Tensor, beta: float, loss: Convex) -> Tensor:
    """Returns f(beta h) per pair, [P].

    Args:
        h: [P] nats, the difference of the log-ratios.
        beta: tie to the reference.
        loss: which f.
    """
    x = beta * h
    if loss == "logistic":
        return -logsigmoid(x)
    if loss == "hinge":
        return relu(1 - x)
    if loss == "squared":
        return (x - 1) ** 2
    if loss == "exponential":
        return bounded_exp(-x)
    if loss == "truncated_quadratic":
        return relu(1 - x) ** 2
    return sigmoid(-x) ** 2


def gpo(inputs: ObjectiveInputs, settings: GpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = gpo_loss(sums.chosen_logratios - sums.rejected_logratios, settings.beta, settings.loss)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="gpo",
        title="Generalised preference optimisation (GPO)",
        paper="Tang et al. 2024, Generalized preference optimization, arXiv 2402.05749",
        formula="L = f(beta h),  f logistic, hinge, squared, exponential, truncated quadratic or Savage",
        letters=(GAP, LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="The DPO margin under another function: hinge stops when a pair is right, squared aims at a gap.",
        known_answer="Policy and reference are one model: margin 0, loss f(0) = 1 (hinge, squared, exponential, "
        "truncated quadratic), ln 2 (logistic), 0.25 (savage).",
        when="Hinge or truncated quadratic when clean pairs should stop pulling once they are right by 1 / beta nats.",
        when_not="Exponential on noisy labels: a wrong pair's weight grows without bound.",
        goes_wrong="Hinge: the loss falls to 0 and nothing moves although answers are not better yet: lower beta, "
        "which asks for a wider gap. Squared punishes pairs that are more right than asked.",
    ),
    GpoSettings,
    gpo,
    lambda settings: {"preference_loss": AT_ZERO[settings.loss], "margin": 0.0},
)
