"""Efficient exact optimisation, the form for pairs: the reverse KL from the policy's preference to the label.

    q = sigmoid(beta h);   L = q log(q / (1-e)) + (1-q) log((1-q) / e)

Ji et al. 2024, 2402.00856, eq. 16. DPO minimises the KL the other way round. e must be above 0: a certain label
would make the divergence infinite. The minimum is at beta h = logit(1-e), 6.906755 for e = 0.001.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, sigmoid
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class ExoSettings(Settings):
    """Tie to the reference and doubt about the label."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    label_smoothing: float = Field(
        1e-3, gt=0, lt=0.5, description="Probability that a label is flipped; above 0, 1e-4 to 0.1."
    )


def exo_loss(h: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Returns the loss per pair, [P], of differences of log-ratios [P]."""
    won, lost = logsigmoid(beta * h), logsigmoid(-beta * h)
    return sigmoid(beta * h) * (won - math.log1p(-label_smoothing)) + sigmoid(-beta * h) * (
        lost - math.log(label_smoothing)
    )


def exo(inputs: ObjectiveInputs, settings: ExoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    h = sums.chosen_logratios - sums.rejected_logratios
    losses = exo_loss(h, settings.beta, settings.label_smoothing)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


def _known(settings: ExoSettings) -> dict[str, float]:
    e = settings.label_smoothing
    return {"margin": 0.0, "preference_loss": -math.log(2) - (math.log1p(-e) + math.log(e)) / 2}


OBJECTIVE = Objective(
    Card(
        name="exo",
        title="Efficient exact optimisation (EXO)",
        paper="Ji et al. 2024, Towards efficient exact optimization, arXiv 2402.00856",
        formula="L = KL( (sigmoid(beta h), sigmoid(-beta h)) || (1-e, e) )",
        letters=(GAP, LOGRATIO, PAIR, "e is `label_smoothing`"),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="DPO's classification with the KL the other way round: seeks modes instead of covering them.",
        known_answer="Policy and reference are one model: margin 0, loss -ln 2 - (ln(1-e) + ln e) / 2.",
        when="Where the reverse KL's mode seeking is wanted and the pairs are clean.",
        when_not="Noisy labels with a small e: the pull is proportional to -log e.",
        goes_wrong="Very wrong pairs have almost no gradient (q near 0): they stay wrong.",
    ),
    ExoSettings,
    exo,
    _known,
)
