"""Odds ratio preference optimisation: SFT and preference in one stage, without a reference.

    P(y)  = exp(mean log pi(y_t))                      geometric mean over the response's tokens
    odds  = P / (1 - P)
    L     = NLL(y_w) - lambda log sigmoid(log odds(y_w) - log odds(y_l))

Hong, Lee, Thorne 2024, 2403.07691. log(1 - P) is computed without cancellation: near P = 1 it diverges, in bfloat16
it is noise. The NLL is on the response, as in the paper's L_SFT; the authors' code and TRL take it over prompt and
response, which is another number. Its normaliser is named: over all chosen `tokens` of the step, or per `sequence`.
lambda in the paper: 0.1 (Mistral), 0.2 (Llama 2), 0.25 (Phi-2).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.nll_chosen import NORMALISER, chosen_tokens, normalised_nll
from tightrope.objectives.numerics import log1m_exp
from tightrope.objectives.pairs import PolicySums, pair_metrics

LIKELIEST = -1e-6  # mean log-prob above which the odds are infinite in float32


class OrpoSettings(Settings):
    """Weight of the odds ratio beside the likelihood."""

    odds_weight: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="Weight of the odds-ratio term (the paper's lambda); 0.05 to 0.5."
    )
    nll_normaliser: Literal["sequence", "tokens"] = Field("tokens", description=NORMALISER)


def log_odds(mean_logps: Tensor) -> Tensor:
    """Returns log(P / (1 - P)) of mean log-probs [..], nats per token."""
    a = mean_logps.clamp(max=LIKELIEST)
    return a - log1m_exp(a)


def orpo_loss(chosen_mean_logps: Tensor, rejected_mean_logps: Tensor) -> Tensor:
    """Returns the odds-ratio term per pair, [P], of mean log-probs [P]."""
    return -logsigmoid(log_odds(chosen_mean_logps) - log_odds(rejected_mean_logps))


def orpo(inputs: ObjectiveInputs, settings: OrpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PolicySums.of(inputs)
    chosen = sums.policy_chosen_logps / sums.chosen_tokens
    rejected = sums.policy_rejected_logps / sums.rejected_tokens
    preference = orpo_loss(chosen, rejected)
    losses = normalised_nll(inputs, sums, settings.nll_normaliser) + settings.odds_weight * preference
    metrics = pair_metrics(inputs, sums, preference, log_odds(chosen), log_odds(rejected))
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="orpo",
        title="Odds ratio preference optimisation (ORPO)",
        paper="Hong, Lee, Thorne 2024, ORPO, arXiv 2403.07691",
        formula="L = NLL(y_w) - lambda log sigmoid(log odds(y_w) - log odds(y_l))",
        letters=(PAIR, "lambda is `odds_weight`"),
        needs=frozenset({"comparisons"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="SFT on the chosen response with an odds-ratio penalty on the rejected one; one stage, no reference.",
        known_answer="Nothing is certain; the first loss is the start model's own NLL plus lambda times about ln 2.",
        when="From a base or lightly tuned model, with chosen responses worth imitating.",
        when_not="After a good SFT or on your policy's own samples: it is mostly SFT, and DPO moves further.",
        goes_wrong="A rate meant for DPO (5e-7): ORPO is SFT and needs 5e-6 to 2e-5. A rejected response that the "
        "model knows by heart has odds without bound: the gradient of their logarithm, 1 / (1 - P), swamps the step.",
    ),
    OrpoSettings,
    orpo,
    statistics=lambda settings: chosen_tokens(settings.nll_normaliser),
)
