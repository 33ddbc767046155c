"""DPO that explains part of a preference by length.

    L = -log sigmoid(beta h + alpha (|y_w| - |y_l|))

Park et al. 2024, 2403.19159. The objective behind it, E[r - alpha |y|] - beta KL, makes r = beta rho + alpha |y| +
c: the sign is plus. When the longer answer won, length explains part of it and the policy gets less gradient.
Several write-ups, and oxRL's code, have minus, which pays for length; oat's code has plus.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class RDpoSettings(Settings):
    """Tie to the reference and price of a token."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    alpha: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="Reward a token of length is taken to be worth; 0.005 to 0.1."
    )


def r_dpo_loss(h: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor, beta: float, alpha: float) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        h: [P] nats, the difference of the log-ratios.
        chosen_tokens: [P] lengths.
        rejected_tokens: [P].
        beta: tie to the reference.
        alpha: price of a token.
    """
    return -logsigmoid(beta * h + alpha * (chosen_tokens - rejected_tokens))


def r_dpo(inputs: ObjectiveInputs, settings: RDpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    h = sums.chosen_logratios - sums.rejected_logratios
    losses = r_dpo_loss(h, sums.chosen_tokens, sums.rejected_tokens, settings.beta, settings.alpha)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="r_dpo",
        title="Length-regularised DPO (R-DPO)",
        paper="Park et al. 2024, Disentangling length from quality, arXiv 2403.19159",
        formula="L = -log sigmoid(beta h + alpha (|y_w| - |y_l|))",
        letters=(GAP, LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "tokens_chosen"),
        summary="DPO with a price per token: what length explains of a preference is not learnt.",
        known_answer="Policy and reference are one model: margin 0; the loss is ln 2 only for equal lengths.",
        when="Chosen responses that are longer than rejected ones, and answers that grow in training.",
        when_not="Where length is what was asked for.",
        goes_wrong="alpha times a length gap of 200 tokens swamps everything: at 0.05 that is 10 nats. Start at "
        "1 / (largest length gap).",
    ),
    RDpoSettings,
    r_dpo,
    lambda settings: {"margin": 0.0},
)
