"""Token-level DPO: the sequence KL of each response enters the margin.

    D(y) = sum_t KL(ref(.|x, y_<t) || pi(.|x, y_<t))        over the whole vocabulary, exact
    TDPO1: L = -log sigmoid(beta [h - (D(y_l) - D(y_w))])
    TDPO2: L = -log sigmoid(beta [h - alpha (D(y_l) - sg D(y_w))])

Zeng et al. 2024, 2404.11999. D needs the reference's whole distributions, so its log-probs cannot be computed before
training: the reference stays in memory and runs forward with every micro-batch (about a third more time, one more
model), and both heads' logits are taken tile by tile.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class TdpoSettings(Settings):
    """Tie to the reference, and how the divergences enter."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    form: Literal["tdpo1", "tdpo2"] = Field(
        "tdpo2", description="Both divergences in full, or alpha and a stop gradient."
    )
    alpha: float = Field(0.5, ge=0, allow_inf_nan=False, description="Weight of the divergences in tdpo2; 0.1 to 1.")


def tdpo_loss(
    h: Tensor,
    chosen_divergence: Tensor,
    rejected_divergence: Tensor,
    beta: float,
    form: Literal["tdpo1", "tdpo2"] = "tdpo2",
    alpha: float = 0.5,
) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        h: [P] nats, the difference of the log-ratios.
        chosen_divergence: [P] nats, the sequence KL of the chosen response.
        rejected_divergence: [P].
        beta: tie to the reference.
        form: which of the two.
        alpha: of tdpo2.
    """
    if form == "tdpo1":
        return -logsigmoid(beta * (h - (rejected_divergence - chosen_divergence)))
    return -logsigmoid(beta * (h - alpha * (rejected_divergence - chosen_divergence.detach())))


def tdpo(inputs: ObjectiveInputs, settings: TdpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    divergence = inputs.summed(inputs.need("divergence"))
    chosen, rejected = divergence[sums.chosen], divergence[sums.rejected]
    h = sums.chosen_logratios - sums.rejected_logratios
    losses = tdpo_loss(h, chosen, rejected, settings.beta, settings.form, settings.alpha)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    metrics = pair_metrics(inputs, sums, losses, *rewards)
    metrics |= {"kl_chosen": chosen.detach(), "kl_rejected": rejected.detach()}
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="tdpo",
        title="Token-level DPO (TDPO)",
        paper="Zeng et al. 2024, Token-level direct preference optimization, arXiv 2404.11999",
        formula="L = -log sigmoid(beta [h - alpha (D(y_l) - sg D(y_w))]),  D the sequence KL(ref || pi)",
        letters=(GAP, LOGRATIO, PAIR, "sg stops the gradient"),
        needs=frozenset({"comparisons", "reference", "live_reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "kl_rejected"),
        summary="DPO with the exact per-token KL of both responses in the margin: keeps them equally close.",
        known_answer="Policy and reference are one model: loss ln 2, margin 0, both divergences 0.",
        when="When drift on rejected responses is the problem and a second model fits in memory.",
        when_not="Where memory is short: the reference's whole distributions cannot be computed before and kept.",
        goes_wrong="KL on the data's tokens is not the KL on the policy's own samples: it may stay small while "
        "behaviour drifts.",
    ),
    TdpoSettings,
    tdpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0, "kl_chosen": 0.0, "kl_rejected": 0.0},
    extras=lambda settings: frozenset({"divergence"}),
)
