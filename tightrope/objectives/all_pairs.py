"""The reward model of InstructGPT: the mean Bradley-Terry loss over all pairs of a ranking.

    L = -1/n sum_{i above j} log sigmoid(r_i - r_j)        n = the prompt's ordered pairs, K(K-1)/2 without ties

Ouyang et al. 2022, 2203.02155, equation 1. All pairs of a prompt are one element of the batch: each response is
forwarded once, and the mean keeps prompts equally weighted whatever their K.

Ties. `drop` leaves tied pairs out of sum and n; a ranking that is all ties then costs nothing. `half` counts a tied
pair as won half and lost half, -(log sigmoid(d) + log sigmoid(-d))/2, which pulls its scores together (Rao and
Kupper 1967 and Davidson 1970 model ties with a parameter of their own; this has none). With r = (1.2, 0.3, -0.5) and
the first two tied: drop 0.269444, half 0.443347.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.rankings import Rankings

Ties = Literal["drop", "half"]


class AllPairsSettings(Settings):
    """Ties."""

    ties: Ties = Field("drop", description="Tied pairs are left out (`drop`) or count as half won (`half`).")


def all_pairs_loss(scores: Tensor, ranks: Tensor, there: Tensor, ties: Ties = "drop") -> Tensor:
    """Returns the mean loss over each ranking's pairs, [B]; 0 where it has none.

    Args:
        scores: [B, K].
        ranks: [B, K], 0 best, equal ranks tie.
        there: [B, K] bool, False for padding.
        ties: see the module.
    """
    both = there[:, :, None] & there[:, None, :]
    weights = (both & (ranks[:, :, None] < ranks[:, None, :])).to(scores.dtype)
    if ties == "half":
        tied = (both & (ranks[:, :, None] == ranks[:, None, :])).to(scores.dtype)
        # Both orders of a tied pair are in the matrix, half a vote each; a response does not tie with itself.
        weights = weights + 0.5 * (tied - tied.diagonal(dim1=1, dim2=2).diag_embed())
    losses = -logsigmoid(scores[:, :, None] - scores[:, None, :])
    pairs = weights.sum((1, 2))
    return (weights * losses).sum((1, 2)) / pairs.clamp(min=1)


def all_pairs(inputs: ObjectiveInputs, settings: AllPairsSettings) -> Loss:
    """Per-prompt loss [B] of a reward model's scores [R] and ranks [R]."""
    rankings = Rankings.of(inputs, inputs.need("scores"))
    losses = all_pairs_loss(rankings.scores, rankings.ranks, rankings.there, settings.ties)
    return Loss(inputs.weighted(losses, rankings.first), rankings.metrics())


OBJECTIVE = Objective(
    Card(
        name="all_pairs",
        title="K-wise reward model (all pairs of a ranking)",
        paper="Ouyang et al. 2022, arXiv 2203.02155, equation 1",
        formula="L = -1/(K choose 2) sum_{i above j} log sigmoid(r_i - r_j)",
        letters=("r_i is the score of response i of a prompt's K, i above j in the ranking",),
        needs=frozenset({"rankings"}),
        head="reward",
        unit="bundles",
        headline=("accuracy", "best_first"),
        summary="A scalar head learns all pairs of a ranking at once, one update per response and prompt.",
        known_answer="Nothing is certain; equal scores give ln 2.",
        when="For rankings by people, whose pairs may be noisy one by one; InstructGPT's choice.",
        when_not="When the whole order is trusted: plackett_luce uses it with less variance.",
        goes_wrong="A long ranking's easy pairs (best against worst) carry its mean, and accuracy looks better than on "
        "single comparisons. Compare on held-out pairs only.",
    ),
    AllPairsSettings,
    all_pairs,
)
