"""Noise contrastive alignment on K responses with rewards.

    r_i = beta rho_i,   w = softmax(R / alpha) over a prompt's K responses
    nca       L = -sum_i [ w_i log sigmoid(r_i) + 1/K log sigmoid(-r_i) ]
    infonca   L = -sum_i w_i log softmax(r)_i

Chen et al. 2024, 2402.05369. R are the judge's rewards: the records' own `scores`, or, of rankings
that have none, minus the rank (`rewards: ranks`). InfoNCA classifies which response was the rewarded one: it looks at
differences only and becomes DPO for two responses and small alpha. NCA asks of each response whether it came from the
target or the reference: rewards count absolutely, so the best response may not become less likely than it was. For two
responses and small alpha it is the `nca` of pairs.

Where they lead (candidates drawn from the reference): InfoNCA to ref exp(R / (alpha beta)), normalised. NCA wants
rho = (R / alpha - log Z) / beta of every response at once, which only sums to one for beta = 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.errors import InputError
from tightrope.objectives.base import LOGRATIO, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.rankings import Rankings, padded

Form = Literal["nca", "infonca"]


class NcaKwiseSettings(Settings):
    """Form, tie to the reference, and what the responses are worth."""

    form: Form = Field("nca", description="Absolute rewards (`nca`), or their differences alone (`infonca`).")
    beta: float = Field(0.01, gt=0, allow_inf_nan=False, description="Tie to the reference; 0.001 to 0.1.")
    alpha: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="Reward per nat of preference; near 0 the best response takes all."
    )
    rewards: Literal["scores", "ranks"] = Field(
        "scores", description="The records' `scores`, or minus the rank of rankings that have none."
    )


def nca_kwise_loss(logits: Tensor, weights: Tensor, there: Tensor, form: Form = "nca") -> Tensor:
    """Returns the loss per prompt, [B].

    Args:
        logits: [B, K] beta times the log-ratio.
        weights: [B, K] softmax of the rewards, 0 for padding.
        there: [B, K] bool, False for padding.
        form: see the module.
    """
    if form == "infonca":
        # A finite stand-in for -inf: 0 times infinity is not a number.
        lowest = torch.finfo(logits.dtype).min / 4
        chances = torch.log_softmax(torch.where(there, logits, lowest), dim=1)
        return -(weights * torch.where(there, chances, 0.0)).sum(1)
    noise = there.to(logits.dtype) / there.sum(1, keepdim=True)
    return -(weights * logsigmoid(logits) + noise * logsigmoid(-logits)).sum(1)


def nca_kwise(inputs: ObjectiveInputs, settings: NcaKwiseSettings) -> Loss:
    """Per-prompt loss [B] of log-ratios [R] and rewards [R]; see the module's docstring.

    Raises:
        InputError: a response has no score, and scores are asked for.
    """
    logratios = inputs.summed(inputs.need("logprobs") - inputs.need("reference_logprobs"))
    rankings = Rankings.of(inputs, settings.beta * logratios)
    if settings.rewards == "ranks":
        rewards = -rankings.ranks
    else:
        given = inputs.need("rewards")
        if not bool(given.isfinite().all()):
            raise InputError(
                "a ranking has no scores",
                where="nca_kwise",
                remedy="Set rewards: ranks, or make the rankings from ratings: tightrope data convert FILE OUT "
                "--to ranking.",
            )
        rewards = padded(given.to(logratios.dtype), rankings.there)
    weights = torch.softmax(torch.where(rankings.there, rewards / settings.alpha, -torch.inf), dim=1)
    losses = nca_kwise_loss(rankings.scores, weights, rankings.there, settings.form)
    metrics = rankings.metrics()
    best = weights == weights.amax(1, keepdim=True)
    metrics |= {
        "preference_loss": losses.detach(),
        "reward": metrics.pop("score"),
        "reward_best": rankings.scores.detach()[best],
        "displaced": (rankings.scores.detach()[best] < 0).to(losses.dtype),
        "response_tokens": inputs.lengths(),
    }
    return Loss(inputs.weighted(losses, rankings.first), metrics)


OBJECTIVE = Objective(
    Card(
        name="nca_kwise",
        title="Noise contrastive alignment (NCA) on rewarded responses",
        paper="Chen et al. 2024, Noise contrastive alignment, arXiv 2402.05369",
        formula="L = -sum_i [ softmax(R/alpha)_i log sigmoid(r_i) + 1/K log sigmoid(-r_i) ],  r = beta rho",
        letters=(LOGRATIO, "i runs over a prompt's K responses, R are their rewards"),
        needs=frozenset({"rankings", "reference", "scores"}),
        head="lm",
        unit="bundles",
        headline=("margin", "reward_best"),
        summary="All K responses of a prompt at once, each pulled by its reward against the reference.",
        known_answer="Policy and reference are one model: margin 0; loss 2 ln 2 (infonca: ln K).",
        when="Several responses with scores of one judge (UltraFeedback): nothing is thrown away to make pairs.",
        when_not="Scores of different judges or scales within a prompt: softmax takes their differences at their word.",
        goes_wrong="alpha does not fit the scale of the scores: too large and all responses weigh alike; "
        "too small and it is SFT on the best one with a brake. With nca, beta other than 1 and rewards "
        "far apart pull against each other: look at `reward_best` before calling it converged.",
    ),
    NcaKwiseSettings,
    nca_kwise,
    lambda settings: {"margin": 0.0, **({"preference_loss": 2 * math.log(2.0)} if settings.form == "nca" else {})},
    spares=lambda settings: frozenset(() if settings.rewards == "scores" else {"scores"}),
)
