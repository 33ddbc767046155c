"""DPO under other divergences than the reverse KL.

    L = -log sigmoid(beta f'(u_w) - beta f'(u_l)),   u = pi / ref of the whole response

Wang et al. 2023, 2309.16240. f' by divergence, rho = log u:

    reverse_kl   rho                        this is DPO
    forward_kl   -exp(-rho)
    js           log(2u / (1 + u))
    alpha        (1 - exp(-a rho)) / a      a in (0, 1); a -> 0 is the reverse KL, a -> 1 the forward KL

TRL writes the alpha divergence with c = 1 - a. The optimum under Bradley-Terry labels is that of reward - beta
D_f(pi, ref): another policy than DPO's for each divergence. Sequence ratios overflow: the exponentials are
continued along their tangent beyond 30 nats (see `numerics`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.numerics import LARGEST_EXPONENT, bounded_exp
from tightrope.objectives.pairs import PairSums, pair_metrics

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]


class FDpoSettings(Settings):
    """Which divergence ties the policy to the reference, and how tightly."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    divergence: Divergence = Field("forward_kl", description="`reverse_kl` (DPO), `forward_kl`, `js` or `alpha`.")
    alpha: float = Field(0.5, gt=0, lt=1, description="Of the alpha divergence; 0 is reverse, 1 forward KL.")


def f_prime(logratios: Tensor, divergence: Divergence, alpha: float = 0.5) -> Tensor:
    """Returns f'(exp(rho)) up to a constant that cancels between two responses; see the module.

    Args:
        logratios: rho, nats, of whole responses.
        divergence: which f.
        alpha: of the alpha divergence.
    """
    if divergence == "reverse_kl":
        return logratios
    if divergence == "forward_kl":
        return -bounded_exp(-logratios)
    if divergence == "js":
        return math.log(2) + logsigmoid(logratios)
    # expm1 near 0, where 1 - exp would cancel; the continued exponential where it would overflow
    far = -alpha * logratios > LARGEST_EXPONENT
    near = torch.expm1(torch.where(far, torch.zeros_like(logratios), -alpha * logratios))
    return -torch.where(far, bounded_exp(-alpha * logratios) - 1, near) / alpha


def f_dpo_loss(
    chosen_logratios: Tensor, rejected_logratios: Tensor, beta: float, divergence: Divergence, alpha: float = 0.5
) -> Tensor:
    """Returns the loss per pair, [P], of log-ratios [P]."""
    chosen = f_prime(chosen_logratios, divergence, alpha)
    rejected = f_prime(rejected_logratios, divergence, alpha)
    return -logsigmoid(beta * (chosen - rejected))


def f_dpo(inputs: ObjectiveInputs, settings: FDpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    ratios = (sums.chosen_logratios, sums.rejected_logratios)
    losses = f_dpo_loss(*ratios, settings.beta, settings.divergence, settings.alpha)
    rewards = [settings.beta * f_prime(rho, settings.divergence, settings.alpha) for rho in ratios]
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="f_dpo",
        title="DPO with an f-divergence",
        paper="Wang et al. 2023, Beyond reverse KL, arXiv 2309.16240",
        formula="L = -log sigmoid(beta f'(u_w) - beta f'(u_l)),  u = pi / ref",
        letters=(PAIR, "f' is the derivative of the divergence's f"),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="DPO tied to the reference by the forward KL, Jensen-Shannon or an alpha divergence.",
        known_answer="Policy and reference are one model: loss ln 2 = 0.693147, margin 0.",
        when="When DPO narrows the answers too much: forward KL and alpha near 1 keep what the reference could say.",
        when_not="As a first try: beta means something else for every divergence, and none transfers.",
        goes_wrong="Forward KL: one chosen response that fell by 20 nats has a loss of beta e^20 and dominates the "
        "batch, and a rejected one that fell by 20 nats ends its pair: no gradient is left. Watch the gradient norm, "
        "and prefer alpha 0.3 to 0.7. JS saturates above the reference: chosen responses stop rising.",
    ),
    FDpoSettings,
    f_dpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
)
