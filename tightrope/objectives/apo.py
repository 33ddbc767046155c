"""Anchored preference optimisation: says whether the chosen responses are better than what the policy says.

    zero:  L = 1 - sigmoid(beta rho_w) + sigmoid(beta rho_l)             raise chosen, lower rejected
    down:  L = sigmoid(beta rho_w) + 1 - sigmoid(beta (rho_w - rho_l))   lower both, rejected further

D'Oosterlinck et al. 2024, 2408.06266, eqs. 7 and 8.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, sigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class ApoSettings(Settings):
    """Tie to the reference, and what the chosen responses are."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    anchor: Literal["zero", "down"] = Field(
        "zero", description="Chosen responses better than the policy's own (`zero`), or worse (`down`)."
    )


def apo_loss(
    chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, anchor: Literal["zero", "down"]
) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios [P]."""
    if anchor == "zero":
        return 1 - sigmoid(beta * chosen_logratios) + sigmoid(beta * rejected_logratios)
    return sigmoid(beta * chosen_logratios) + 1 - sigmoid(beta * (chosen_logratios - rejected_logratios))


def apo(inputs: ObjectiveInputs, settings: ApoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = apo_loss(sums.chosen_logratios, sums.rejected_logratios, settings.beta, settings.anchor)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="apo",
        title="Anchored preference optimisation (APO)",
        paper="D'Oosterlinck et al. 2024, Anchored preference optimization, arXiv 2408.06266",
        formula="zero: 1 - sigmoid(beta rho_w) + sigmoid(beta rho_l);  down: sigmoid(beta rho_w) + 1 - sigmoid(beta h)",
        letters=(GAP, LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "displaced"),
        summary="DPO anchored: raise the chosen response and lower the rejected one, or lower both.",
        known_answer="Policy and reference are one model: margin 0, loss 1.",
        when="`zero`: minimal revisions, chosen written by something better; `down`: both from weaker models.",
        when_not="When you do not know whether the chosen responses beat the policy's own: then DPO.",
        goes_wrong="The wrong anchor: `down` on good responses unlearns them; `zero` on poor ones teaches them. The "
        "sigmoids saturate: pairs beyond 30 nats at beta 0.1 no longer count.",
    ),
    ApoSettings,
    apo,
    lambda settings: {"margin": 0.0, "preference_loss": 1.0},
)
