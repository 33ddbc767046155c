"""Identity preference optimisation.

    L = (h - 1 / (2 tau))^2,   h = rho(y_w) - rho(y_l)

Azar et al. 2023, 2310.12036. The gap has a target, so nothing runs away on deterministic labels.

Two conventions are in use and their tau does not carry over, so `ipo_length` names them:

* `mean`: each rho divided by its response's own tokens. What the authors told the maintainers of TRL their results
  used; TRL's `ipo`. The gap aimed at is 1 / (2 tau) nats per token.
* `sum`: rho as printed in the paper; the original DPO repository, OpenRLHF, TRL's online DPO. The gap is per
  sequence.

Lengths are counts of learnt tokens: dividing by the count of tokens whose ratio is not 0 is 0/0 at the first step.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class IpoSettings(Settings):
    """The target of the gap, and per what it is meant."""

    tau: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="The gap aimed at is 1 / (2 tau) nats; larger: closer. 0.01 to 1."
    )
    ipo_length: Literal["mean", "sum"] = Field(
        "mean", description="Log-ratios per token (`mean`, as TRL) or per sequence (`sum`, as in the paper)."
    )


def ipo_loss(h: Tensor, tau: float) -> Tensor:
    """Returns the loss per pair, [P], of differences of log-ratios [P], summed or averaged."""
    return (h - 1 / (2 * tau)) ** 2


def ipo(inputs: ObjectiveInputs, settings: IpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    chosen, rejected = sums.chosen_logratios, sums.rejected_logratios
    if settings.ipo_length == "mean":
        chosen, rejected = chosen / sums.chosen_tokens, rejected / sums.rejected_tokens
    losses = ipo_loss(chosen - rejected, settings.tau)
    rewards = (settings.tau * chosen, settings.tau * rejected)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="ipo",
        title="Identity preference optimisation (IPO)",
        paper="Azar et al. 2023, A general theoretical paradigm, arXiv 2310.12036",
        formula="L = (h - 1 / (2 tau))^2,  h = rho(y_w) - rho(y_l) summed or averaged over tokens",
        letters=(LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="Aims at a fixed gap instead of an ever wider one: no run-away on clear-cut pairs.",
        known_answer="Policy and reference are one model: margin 0, loss 1 / (4 tau^2).",
        when="Few, clean, repeated pairs that DPO would overfit; noisy pairs that contradict each other.",
        when_not="With a tau from another code base before you know which length convention it used.",
        goes_wrong="With `mean` and tau 0.1 the gap aimed at is 5 nats per token, a factor of 150 for every token of "
        "the answer: easy pairs reach it in a few steps, far from the reference. With `sum` the same tau asks for 5 "
        "nats per answer.",
    ),
    IpoSettings,
    ipo,
    lambda settings: {"margin": 0.0},  # the square multiplies bfloat16's rounding by 1 / tau
)
