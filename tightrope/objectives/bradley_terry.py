"""The Bradley-Terry reward model.

    L = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2

Bradley and Terry 1952; Ouyang et al. 2022, 2203.02155; margin m: Llama 2, 2307.09288; centring c:
Eisenstein et al. 2023, 2312.09244 (the square of the SUM: it removes the free constant and leaves the gap
alone). With `absolute_weight` a,

    + a ( -log sigmoid(r_w) - log sigmoid(-r_l) )

which raises the chosen score above 0 and the rejected one below it: for pairs of a right and a wrong answer (Yuan et
al. 2024, Eurus, 2404.02078). Scores (1.2, 0.5) with a = 1 give 0.403186 + 1.237359 = 1.640546.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import margins_of


class BradleyTerrySettings(Settings):
    """Margin and centring."""

    use_margin: bool = Field(
        False, description="Subtract each comparison's margin (Llama 2: 0 to 1, or 0 to 3); score gaps are far larger."
    )
    centring: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Weight of the squared sum of the two scores; 0 or 0.01."
    )
    absolute_weight: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the absolute terms, for pairs of a right and a wrong answer; 0 or 1.",
    )


def bradley_terry_loss(
    scores_chosen: Tensor,
    scores_rejected: Tensor,
    margins: Tensor | float = 0.0,
    centring: float = 0.0,
    absolute_weight: float = 0.0,
) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        scores_chosen: [P].
        scores_rejected: [P].
        margins: [P] or one number; how much larger the chosen score should be.
        centring: weight of the squared sum.
        absolute_weight: weight of the terms that put chosen above and rejected below 0.
    """
    loss = -logsigmoid(scores_chosen - scores_rejected - margins)
    loss = loss - absolute_weight * (logsigmoid(scores_chosen) + logsigmoid(-scores_rejected))
    return loss + centring * (scores_chosen + scores_rejected) ** 2


def bradley_terry(inputs: ObjectiveInputs, settings: BradleyTerrySettings) -> Loss:
    """Per-pair loss [P] of a reward model's scores [R].

    Raises:
        InputError: `use_margin` on comparisons without margins.
    """
    scores, pairs = inputs.need("scores"), inputs.need("pairs")
    chosen, rejected = scores[pairs[:, 0]], scores[pairs[:, 1]]
    margins = margins_of(inputs, "use_margin").to(scores.dtype) if settings.use_margin else 0.0
    losses = bradley_terry_loss(chosen, rejected, margins, settings.centring, settings.absolute_weight)
    gap = (chosen - rejected).detach()
    metrics = {
        "accuracy": 0.5 * (1 + gap.sign()),  # equal scores are half right
        "margin": gap,
        "margin_squared": gap**2,
        "score_chosen": chosen.detach(),
        "score_rejected": rejected.detach(),
        "loss_plain": -logsigmoid(gap),
    }
    return Loss(inputs.weighted(losses, pairs[:, 0]), metrics)


def _report(means: Mapping[str, float]) -> dict[str, float]:
    figures = {name: value for name, value in means.items() if name != "margin_squared"}
    figures["margin_std"] = math.sqrt(max(0.0, means["margin_squared"] - means["margin"] ** 2))
    figures["score"] = (means["score_chosen"] + means["score_rejected"]) / 2
    return figures


OBJECTIVE = Objective(
    Card(
        name="bradley_terry",
        title="Reward model (Bradley-Terry)",
        paper="Ouyang et al. 2022, arXiv 2203.02155; margin: Touvron et al. 2023, arXiv 2307.09288",
        formula="L = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2",
        letters=("r is the score of a response", PAIR, "m is the margin, c is `centring`"),
        needs=frozenset({"comparisons", "margins"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "margin"),
        summary="A scalar head on the last token learns to score the chosen response above the rejected one.",
        known_answer="Nothing is certain; a fresh head's scores are small, so the plain loss starts near ln 2.",
        when="Before PPO, for best-of-n, or as a judge.",
        goes_wrong="It learns length: compare its held-out accuracy with always picking the longer, which stands "
        "beside it. Accuracy near 95 % on human data means duplicates between training and test.",
        when_not="For more than one epoch: reward models overfit; never compare scores across prompts.",
    ),
    BradleyTerrySettings,
    bradley_terry,
    report=_report,
    spares=lambda settings: frozenset(() if settings.use_margin else {"margins"}),
)
