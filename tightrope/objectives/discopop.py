"""DiscoPOP: a loss found by search, a blend of DPO and the exponential loss.

    x = beta h;   m = sigmoid(x / tau);   L = (1 - m) [-log sigmoid(x)] + m exp(-x)

Lu et al. 2024, 2406.08414, eq. 5. Not convex: for tau 0.05 there is a valley at x = -0.119 (loss 0.786) and a hill at
x = 0.072 (0.878). Training starts at 0, on the side of the valley: a pair left to itself goes down there, and the
margin falls before it rises. With tau 0.1 the hill is 0.005 high, with 0.2 it is gone. The exponential is continued
along its tangent beyond 30 (see `numerics`), where m is 0 anyway.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, sigmoid
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import GAP, LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.numerics import bounded_exp
from tightrope.objectives.pairs import PairSums, pair_metrics


class DiscopopSettings(Settings):
    """Tie to the reference and width of the blend."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    tau: float = Field(0.05, gt=0, allow_inf_nan=False, description="Width of the blend; 0.05.")


def discopop_loss(h: Tensor, beta: float, tau: float) -> Tensor:
    """Returns the loss per pair, [P], of differences of log-ratios [P]."""
    x = beta * h
    mix = sigmoid(x / tau)
    return (1 - mix) * -logsigmoid(x) + mix * bounded_exp(-x)


def discopop(inputs: ObjectiveInputs, settings: DiscopopSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    losses = discopop_loss(sums.chosen_logratios - sums.rejected_logratios, settings.beta, settings.tau)
    rewards = (settings.beta * sums.chosen_logratios, settings.beta * sums.rejected_logratios)
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="discopop",
        title="Discovered preference optimisation (DiscoPOP)",
        paper="Lu et al. 2024, Discovering preference optimization algorithms, arXiv 2406.08414",
        formula="L = (1-m) [-log sigmoid(x)] + m exp(-x),  x = beta h, m = sigmoid(x / tau)",
        letters=(GAP, LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="A loss found by a language model: logistic where a pair is wrong, exponential where it is right.",
        known_answer="Policy and reference are one model: margin 0, loss (ln 2 + 1) / 2.",
        when="To compare with DPO at the same beta.",
        when_not="With few steps or small ones: the way to a wider margin is over a hill.",
        goes_wrong="The margin falls at first, and pairs stay near beta h = -0.12: the loss has a valley there and a "
        "hill at 0.07. tau 0.2 has neither.",
    ),
    DiscopopSettings,
    discopop,
    lambda settings: {"margin": 0.0, "preference_loss": (math.log(2.0) + 1) / 2},
)
