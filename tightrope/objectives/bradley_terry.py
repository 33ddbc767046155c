"""The Bradley-Terry reward model.

    L = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2

Bradley and Terry 1952; Ouyang et al. 2022, 2203.02155; margin m: Llama 2, 2307.09288; centring c: Eisenstein et al.
2023, 2312.09244 (the square of the SUM: it removes the free constant and leaves the gap alone).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class BradleyTerrySettings(Settings):
    """Margin and centring."""

    use_margin: bool = Field(True, description="Subtract each comparison's margin (0 where none is given).")
    centring: float = Field(0.0, ge=0, description="Weight of the squared sum of the two scores; 0 or 0.01.")


def bradley_terry_loss(
    scores_chosen: Tensor, scores_rejected: Tensor, margins: Tensor | float = 0.0, centring: float = 0.0
) -> Tensor:
    """Returns the loss per pair, [P]."""
    loss = -logsigmoid(scores_chosen - scores_rejected - margins)
    return loss + centring * (scores_chosen + scores_rejected) ** 2


def bradley_terry(inputs: ObjectiveInputs, settings: BradleyTerrySettings) -> Loss:
    """Per-pair loss of a reward model's scores."""
    scores, pairs = inputs.need("scores"), inputs.need("pairs")
    chosen, rejected = scores[pairs[:, 0]], scores[pairs[:, 1]]
    margins = inputs.need("margins") if settings.use_margin else 0.0
    with torch.no_grad():
        gap = chosen - rejected
        metrics = {
            "accuracy": (gap > 0).float() + 0.5 * (gap == 0).float(),
            "margin": gap,
            "score_chosen": chosen.detach(),
            "score_rejected": rejected.detach(),
            "loss_plain": -logsigmoid(gap),
        }
    return Loss(bradley_terry_loss(chosen, rejected, margins, settings.centring), metrics)


OBJECTIVE = Objective(
    Card(
        name="bradley_terry",
        title="Reward model",
        paper="Ouyang et al. 2022, arXiv 2203.02155; margin: Touvron et al. 2023, arXiv 2307.09288",
        formula="L = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2",
        needs=frozenset({"comparisons"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "margin"),
        summary="A scalar head on the last token learns to score the chosen response above the rejected one.",
        when="Before PPO, for best-of-n, or as a judge.",
        when_not="For more than one epoch: reward models overfit; never compare scores across prompts.",
    ),
    BradleyTerrySettings,
    bradley_terry,
)
