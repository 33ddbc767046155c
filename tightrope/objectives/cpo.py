"""Contrastive preference optimisation: DPO with a uniform reference, held by the likelihood of the chosen response.

    L = -log sigmoid(beta [log pi(y_w) - log pi(y_l)]) + alpha NLL(y_w)

Xu et al. 2024, 2401.08417. Summed log-probs in the preference term. The likelihood term is over all chosen `tokens`
of the step in the authors' code (ALMA) and TRL; `sequence` and `none` are the other conventions.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.nll_chosen import NORMALISER, Normaliser, chosen_tokens, normalised_nll
from tightrope.objectives.pairs import PolicySums, pair_metrics


class CpoSettings(Settings):
    """Sharpness of the preference and weight of the likelihood."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Sharpness of the preference; 0.05 to 0.5.")
    nll_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="Weight of the likelihood term; 0 to 1.")
    nll_normaliser: Normaliser = Field("tokens", description=NORMALISER)


def cpo_loss(policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, beta: float) -> Tensor:
    """Returns the preference term per pair, [P], of summed log-probs [P]."""
    return -logsigmoid(beta * (policy_chosen_logps - policy_rejected_logps))


def cpo(inputs: ObjectiveInputs, settings: CpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PolicySums.of(inputs)
    preference = cpo_loss(sums.policy_chosen_logps, sums.policy_rejected_logps, settings.beta)
    losses = preference
    if settings.nll_weight:
        losses = losses + settings.nll_weight * normalised_nll(inputs, sums, settings.nll_normaliser)
    rewards = (settings.beta * sums.policy_chosen_logps, settings.beta * sums.policy_rejected_logps)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, preference, *rewards))


OBJECTIVE = Objective(
    Card(
        name="cpo",
        title="Contrastive preference optimisation (CPO)",
        paper="Xu et al. 2024, Contrastive preference optimization, arXiv 2401.08417",
        formula="L = -log sigmoid(beta [log pi(y_w) - log pi(y_l)]) + alpha NLL(y_w)",
        letters=(PAIR, "alpha is `nll_weight`"),
        needs=frozenset({"comparisons"}),
        head="lm",
        unit="pairs",
        headline=("accuracy", "nll_chosen"),
        summary="DPO without the reference, plus the likelihood of the chosen response.",
        known_answer="Nothing is certain; the first loss is a property of the data.",
        when="Translation and other tasks with pairs of similar length and chosen responses worth imitating: no pass "
        "of a reference over the data.",
        when_not="Chosen and rejected of different length: the longer one starts far behind and is pulled hard.",
        goes_wrong="Length drifts: log-probs are sums. Accuracy is above one half before training when rejected "
        "responses are longer, and says nothing.",
    ),
    CpoSettings,
    cpo,
    statistics=lambda settings: chosen_tokens(settings.nll_normaliser) if settings.nll_weight else (),
)
