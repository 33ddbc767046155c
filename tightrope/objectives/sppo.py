"""Self-play preference optimisation, with hard wins.

    L = (rho_w - eta / 2)^2 + (rho_l + eta / 2)^2

Wu et al. 2024, 2405.00675, with P(y beats the policy) = 1 for the winner and 0 for the loser. The reference is the
previous iterate: a round of sampling, judging and this loss is one multiplicative update towards the Nash policy.
The paper's eta is 1000; TRL writes beta = 1 / eta.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class SppoSettings(Settings):
    """The step of the update."""

    eta: float = Field(
        1000.0, gt=0, allow_inf_nan=False, description="Size of a round's update; log-ratios aim at ± eta / 2 nats."
    )


def sppo_loss(chosen_logratios: Tensor, rejected_logratios: Tensor, eta: float) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios [P]."""
    return (chosen_logratios - eta / 2) ** 2 + (rejected_logratios + eta / 2) ** 2


def sppo(inputs: ObjectiveInputs, settings: SppoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = sppo_loss(sums.chosen_logratios, sums.rejected_logratios, settings.eta)
    rewards = (sums.chosen_logratios / settings.eta, sums.rejected_logratios / settings.eta)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="sppo",
        title="Self-play preference optimisation (SPPO)",
        paper="Wu et al. 2024, Self-play preference optimization, arXiv 2405.00675",
        formula="L = (rho_w - eta/2)^2 + (rho_l + eta/2)^2",
        letters=(LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "displaced"),
        summary="One round of self-play: log-ratios against the last round's policy aim at what the wins say.",
        known_answer="Policy and reference are one model: margin 0, loss eta^2 / 2.",
        when="In rounds: feedback on the newest policy, then sppo with that policy as the reference.",
        when_not="Once, on somebody else's pairs: the update is meant for the policy's own samples.",
        goes_wrong="The loss is huge (eta^2 / 2) and hardly falls: only its gradient matters, so clip it. Rounds add "
        "up: nothing ties round five to the start model; log the KL to both.",
    ),
    SppoSettings,
    sppo,
    lambda settings: {"margin": 0.0},
)
