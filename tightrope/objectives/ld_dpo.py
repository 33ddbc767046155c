"""Length-desensitised DPO: tokens beyond the shorter response's length count for less.

    l       = min(|y_w|, |y_l|)
    s(y)    = sum_{t <= l} log pi(y_t) + alpha sum_{t > l} log pi(y_t)        likewise under the reference
    L       = -log sigmoid(beta [(s - s_ref)(y_w) - (s - s_ref)(y_l)])

Liu et al. 2024, 2409.06411. alpha = 1 is DPO, alpha = 0 cuts the longer response. Only the longer side of a pair
changes. The reference's log-probs are kept per token, so they follow alpha by themselves; sums kept from another
run would not.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import LOGRATIO, PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PairSums, pair_metrics


class LdDpoSettings(Settings):
    """Tie to the reference and weight of the longer response's rest."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.01 to 0.5.")
    alpha: float = Field(
        0.5, ge=0, le=1, description="Weight of tokens beyond the shorter response's length; 1 is DPO, 0 cuts them."
    )


def desensitised(values: Tensor, response: Tensor, pairs: Tensor, alpha: float) -> Tensor:
    """Returns sums per pair and side, [P, 2], the longer side's tokens beyond the shorter length times alpha.

    Args:
        values: [N] per learnt token, in order within each response.
        response: [N] which response, responses in order.
        pairs: [P, 2] indexes of responses.
        alpha: weight of the rest.
    """
    lengths = torch.bincount(response, minlength=int(pairs.max()) + 1)
    starts = lengths.cumsum(0) - lengths
    side = pairs.flatten()  # [2P]
    shorter = lengths[pairs].amin(1).repeat_interleave(2)  # [2P]
    owner = torch.arange(len(side), device=side.device).repeat_interleave(lengths[side])
    first = lengths[side].cumsum(0) - lengths[side]
    place = torch.arange(len(owner), device=side.device) - first[owner]
    taken = values[starts[side][owner] + place]
    taken = torch.where(place < shorter[owner], taken, alpha * taken)
    return values.new_zeros(len(side)).index_add(0, owner, taken).reshape(-1, 2)


def ld_dpo_loss(logratios: Tensor, beta: float) -> Tensor:
    """Returns the loss per pair, [P], of desensitised log-ratios [P, 2] (chosen, rejected)."""
    return -logsigmoid(beta * (logratios[:, 0] - logratios[:, 1]))


def ld_dpo(inputs: ObjectiveInputs, settings: LdDpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PairSums.of(inputs)
    per_token = inputs.need("logprobs") - inputs.need("reference_logprobs")
    ratios = desensitised(per_token, inputs.response, inputs.need("pairs"), settings.alpha)
    losses = ld_dpo_loss(ratios, settings.beta)
    rewards = (settings.beta * ratios[:, 0], settings.beta * ratios[:, 1])
    return Loss(inputs.weighted(losses, sums.chosen), pair_metrics(inputs, sums, losses, *rewards))


OBJECTIVE = Objective(
    Card(
        name="ld_dpo",
        title="Length-desensitised DPO (LD-DPO)",
        paper="Liu et al. 2024, Length desensitization in DPO, arXiv 2409.06411",
        formula="L = -log sigmoid(beta h'),  tokens beyond the shorter length weighted by alpha",
        letters=("h' = rho(y_w) - rho(y_l) with tokens weighted so", LOGRATIO, PAIR),
        needs=frozenset({"comparisons", "reference"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="DPO in which what a response says beyond the length of the other one counts less.",
        known_answer="Policy and reference are one model: loss ln 2, margin 0.",
        when="Pairs of very different length, where DPO makes answers longer.",
        when_not="Where the end of the longer response is what made it better or worse (a wrong final answer).",
        goes_wrong="With alpha 0 the end of turn of the longer response is not learnt at all: models stop late.",
    ),
    LdDpoSettings,
    ld_dpo,
    lambda settings: {"preference_loss": math.log(2.0), "margin": 0.0},
)
