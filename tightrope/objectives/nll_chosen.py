"""The likelihood of the chosen response: a term beside a preference loss, or SFT on the winners of comparisons.

    L = -log pi(y_w) / n

Frameworks divide differently, so the normaliser is named everywhere this term occurs:

* `sequence`: each chosen response by its own tokens, then the mean over pairs (iterative RPO, Pang et al. 2024,
  2404.19733).
* `tokens`: by the mean chosen length of the optimiser step, which makes the mean over pairs the mean over all chosen
  tokens (RPO and CPO as TRL mix them); long responses weigh more.
* `none`: not at all, the sum over tokens (SLiC-HF as printed).

On fixture-sized data the first two give 1.4445 and 1.4462 for DPO + NLL: different numbers, the same intention.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings, Statistic
from tightrope.objectives.pairs import PolicySums, pair_metrics

Normaliser = Literal["sequence", "tokens", "none"]
NORMALISER = "NLL as a mean over each response's own tokens, over all chosen tokens of the step, or as a sum."


class NllChosenSettings(Settings):
    """How the term is divided."""

    nll_normaliser: Normaliser = Field("sequence", description=NORMALISER)


def chosen_nll(policy_chosen_logps: Tensor, normaliser: Tensor | float) -> Tensor:
    """Returns the NLL term per pair, [P], to be averaged over pairs.

    Args:
        policy_chosen_logps: [P] nats, summed over tokens.
        normaliser: [P] own length of each chosen response, or the mean of these lengths over the optimiser
            step: dividing every pair by that mean makes the mean over pairs the mean over tokens.
    """
    return -policy_chosen_logps / normaliser


def normalised_nll(inputs: ObjectiveInputs, sums: PolicySums, normaliser: Normaliser) -> Tensor:
    """Returns the NLL term of a batch's pairs, [P], divided as the setting says."""
    if normaliser == "tokens":
        return chosen_nll(sums.policy_chosen_logps, inputs.known("chosen_tokens"))
    return chosen_nll(sums.policy_chosen_logps, sums.chosen_tokens if normaliser == "sequence" else 1.0)


def chosen_tokens(normaliser: Normaliser) -> tuple[Statistic, ...]:
    """The statistic that the normaliser needs: the mean chosen length of the whole step."""
    return (Statistic("lengths", _measure),) if normaliser == "tokens" else ()


def _measure(inputs: ObjectiveInputs) -> dict[str, Tensor]:
    return {"chosen_tokens": inputs.lengths()[inputs.need("pairs")[:, 0]]}


def nll_chosen(inputs: ObjectiveInputs, settings: NllChosenSettings) -> Loss:
    """Per-pair loss [P]."""
    sums = PolicySums.of(inputs)
    losses = normalised_nll(inputs, sums, settings.nll_normaliser)
    metrics = pair_metrics(inputs, sums, losses, sums.policy_chosen_logps, sums.policy_rejected_logps)
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="nll_chosen",
        title="Likelihood of the chosen response",
        paper="Pang et al. 2024, arXiv 2404.19733; Liu et al. 2024, arXiv 2405.16436",
        formula="L = -log pi(y_w) / n",
        letters=("y_w is the chosen response", "n is its tokens, those of the whole step, or 1 (`nll_normaliser`)"),
        needs=frozenset({"comparisons"}),
        head="lm",
        unit="pairs",
        headline=("nll_chosen", "accuracy"),
        summary="SFT on the winners of comparisons; a part to add to a preference loss in a sum.",
        known_answer="Nothing is certain; the first loss is the start model's own NLL of the chosen responses.",
        when="As a part of a sum, to keep the chosen response likely; or as the baseline every preference method "
        "must beat: what does the rejected response add?",
        when_not="Where the chosen response is only less bad than the rejected one.",
        goes_wrong="The rejected responses often become likelier too: they resemble the chosen ones, and nothing "
        "pushes them down. Watch logps_rejected.",
    ),
    NllChosenSettings,
    nll_chosen,
    statistics=lambda settings: chosen_tokens(settings.nll_normaliser),
)
