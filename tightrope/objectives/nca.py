"""Noise contrastive alignment, the form for pairs.

    r = beta rho
    L = -log sigmoid(r_w) - 1/2 log sigmoid(-r_w) - 1/2 log sigmoid(-r_l)

Chen et al. 2024, 2402.05369. Rewards count absolutely, not only their difference: the chosen one is drawn to
r_w = ln 2 from either side, whatever the rejected one does, so it may not become less likely than it was, which DPO
allows, nor run away. The rejected one falls without end. The form for K responses with rewards is `nca_kwise`.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class NcaSettings(Settings):
    """Tie to the reference."""

    beta: float = Field(0.01, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.001 to 0.1.")


def nca_loss(chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios [P]."""
    chosen, rejected = beta * chosen_logratios, beta * rejected_logratios
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def nca(inputs: ObjectiveInputs, settings: NcaSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = nca_loss(sums.chosen_logratios, sums.rejected_logratios, settings.beta)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="nca",
        title="Noise contrastive alignment (NCA)",
        paper="Chen et al. 2024, Noise contrastive alignment, arXiv 2402.05369",
        formula="L = -log sigmoid(r_w) - [log sigmoid(-r_w) + log sigmoid(-r_l)] / 2,  r = beta rho",
        letters=(LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "displaced"),
        summary="Pairs with absolute rewards: the chosen response is kept a little likelier than it was.",
        known_answer="Policy and reference are one model: margin 0, loss 2 ln 2 = 1.386294.",
        when="Mathematics and code, where the chosen text must stay likely (Eurus used it).",
        when_not="Chosen responses that are themselves poor: they are raised all the same.",
        goes_wrong="The chosen reward settles at ln 2, which is 69 nats above the reference at beta 0.01 and 7 at beta "
        "0.1; from there `margin` grows by the rejected responses alone.",
    ),
    NcaSettings,
    nca,
    lambda settings: {"margin": 0.0, "preference_loss": 2 * math.log(2.0)},
)
