"""The k-wise reward model: the likelihood of a whole ranking.

    L = sum_k [ logsumexp(r_(k), ..., r_(K)) - r_(k) ] / (K - 1)

where (1) is the best of a prompt's K responses: the best is chosen from all, the second from the rest, and so on.
Plackett 1975; Luce 1959; as a reward model: Zhu, Jiao and Jordan 2023, 2301.11270, section 5, and Starling (Zhu et
al. 2023). For K = 2 it is Bradley-Terry. All K responses of a prompt are one bundle, so they cost one prompt, and
each is seen once an epoch: spread over shuffled pairs it would be seen K - 1 times and overfit (Ouyang et al.
2022). Shift-invariant within a prompt: scores of different prompts cannot be compared.

Ties. m responses that share a rank are chosen one after the other from the same set: Breslow (1974) leaves all m in
the denominator every time; Efron (1977) takes l/m of their summed weight out after l choices, which is what is left
on average. Where the tied scores are equal, Efron is exactly the mean over all m! orders; elsewhere it is an
upper bound of it (log is concave). `average` is that mean itself: after some choices every subset of the tied ones is
left with the same chance, so it sums over subsets, at most 2^K of them, for K up to 10. All pull tied scores together.
With r = (1.2, 0.3, -0.5) and the first two tied: Efron 1.242190, Breslow 1.826528, average 1.182708 (before dividing
by K - 1).

The division by K - 1 choices lets a prompt with many responses weigh what one with two does; `normaliser: none` is the
plain likelihood.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from tightrope.errors import InputError
from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.rankings import Rankings

Ties = Literal["efron", "breslow", "average"]
MOST_AVERAGED = 10  # responses: a thousand subsets


class PlackettLuceSettings(Settings):
    """Ties and the weight of long rankings."""

    ties: Ties = Field(
        "efron", description="How responses of one rank share their places: `efron`, `breslow` or `average`."
    )
    normaliser: Literal["choices", "none"] = Field(
        "choices", description="Divide a ranking's loss by its K - 1 choices, or not at all."
    )


def plackett_luce_loss(scores: Tensor, ranks: Tensor, there: Tensor, ties: Ties = "efron") -> Tensor:
    """Returns the negative log-likelihood of each ranking, [B] nats.

    Args:
        scores: [B, K].
        ranks: [B, K], 0 best, equal ranks tie.
        there: [B, K] bool, False for padding.
        ties: see the module.

    Raises:
        InputError: `average` of rankings of more than 10.
    """
    if ties == "average":
        return _mean_over_orders(scores, ranks, there)
    both = there[:, :, None] & there[:, None, :]
    same = both & (ranks[:, :, None] == ranks[:, None, :])
    rest = both & (ranks[:, :, None] < ranks[:, None, :])
    weights = rest.to(scores.dtype) + same
    if ties == "efron":
        size = same.sum(2).clamp(min=1)
        already = same.tril(-1).sum(2).to(scores.dtype)  # how many of its rank come before a response in the row
        weights = rest + same * (1 - already / size)[:, :, None]
    # Padding rows choose from themselves: a logsumexp over nothing has no gradient.
    eye = torch.eye(scores.shape[1], dtype=scores.dtype, device=scores.device)
    weights = torch.where(there[:, :, None], weights, eye)
    chosen_from = torch.logsumexp(scores[:, None, :] + weights.log(), dim=2)
    return ((chosen_from - scores) * there).sum(1)


def _mean_over_orders(scores: Tensor, ranks: Tensor, there: Tensor) -> Tensor:
    """The mean negative log-likelihood of all strict orders that the ranks allow, [B] nats."""
    k = scores.shape[1]
    if k > MOST_AVERAGED:
        raise InputError(
            f"a ranking of {k} responses, where the mean over orders is for {MOST_AVERAGED} at most",
            where="plackett_luce, ties: average",
            remedy="Use ties: efron.",
        )
    masks = torch.arange(1, 2**k, device=scores.device)
    subset = (masks[:, None] >> torch.arange(k, device=scores.device)) % 2 == 1  # [S, K]
    rank = torch.where(subset, ranks[:, None, :], -torch.inf).amax(2)  # [B, S] the one rank of a subset that counts
    alike = (ranks[:, None, :] == rank[:, :, None]) & there[:, None, :]  # [B, S, K] all of that rank
    counts = (alike | ~subset).all(2)
    left, of = subset.sum(1).to(scores.dtype), alike.sum(2).to(scores.dtype)
    # One of (of choose left) subsets is what is left; the others have the same chance.
    chance = torch.exp(torch.lgamma(left + 1) + torch.lgamma((of - left).clamp(min=0) + 1) - torch.lgamma(of + 1))
    chosen_from = subset | (there[:, None, :] & (ranks[:, None, :] > rank[:, :, None]))
    lowest = torch.finfo(scores.dtype).min / 4  # no -inf: a logsumexp over nothing has no gradient
    logs = torch.where(chosen_from, scores[:, None, :], lowest).logsumexp(2)
    return torch.where(counts, chance * logs, 0.0).sum(1) - (scores * there).sum(1)


def plackett_luce(inputs: ObjectiveInputs, settings: PlackettLuceSettings) -> Loss:
    """Per-prompt loss [B] of a reward model's scores [R] and ranks [R]."""
    rankings = Rankings.of(inputs, inputs.need("scores"))
    losses = plackett_luce_loss(rankings.scores, rankings.ranks, rankings.there, settings.ties)
    if settings.normaliser == "choices":
        losses = losses / (rankings.there.sum(1) - 1).clamp(min=1)
    return Loss(inputs.weighted(losses, rankings.first), rankings.metrics())


OBJECTIVE = Objective(
    Card(
        name="plackett_luce",
        title="K-wise reward model (Plackett-Luce)",
        paper="Zhu, Jiao, Jordan 2023, arXiv 2301.11270; Plackett 1975; ties: Efron 1977, Breslow 1974",
        formula="L = sum_k [ logsumexp(r_(k), ..., r_(K)) - r_(k) ] / (K - 1)",
        letters=("r_(k) is the score of the k-th best of a prompt's K responses",),
        needs=frozenset({"rankings"}),
        head="reward",
        unit="bundles",
        headline=("accuracy", "best_first"),
        summary="A scalar head learns the likelihood of a whole ranking; K responses cost one prompt.",
        known_answer="Nothing is certain; K equal scores give log K! / (K - 1).",
        when="When one judge ranked three or more responses to a prompt (Nectar, Starling).",
        when_not="For rankings put together from judges who disagree: use all_pairs, which does not need one order.",
        goes_wrong="The top of a ranking is learnt and its tail is noise: a judge that orders seven replies guesses "
        "the middle. Replies that only differ in length order by length: look at the baseline beside the accuracy.",
    ),
    PlackettLuceSettings,
    plackett_luce,
)
