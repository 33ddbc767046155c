"""The pairwise ranker: both responses in one sequence, in both orders.

    L = 1/2 [ -log sigmoid(s(w, l)) - log sigmoid(-s(l, w)) ]

s(a, b) is read at the end of `prompt, first response a, second response b` and means "the first is better". Jiang, Ren
and Lin 2023, 2306.02561 (PairRM, equation 2): their encoder reads s_i and s_j at two marker tokens of one sequence; a
causal model sees the whole pair only at the end, so each order gives one of the two numbers. Both orders are the two
branches of one bundle and share the prompt.

When it is asked, d(a, b) = (s(a, b) - s(b, a)) / 2: exactly antisymmetric, and whatever the model holds for the
position cancels. Scores (1.2, -0.4) give 0.388149.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings


class PairwiseSettings(Settings):
    """No settings."""


def pairwise_loss(chosen_first: Tensor, rejected_first: Tensor) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        chosen_first: [P] logits that the first is better, with the chosen response shown first.
        rejected_first: [P] the same with the rejected response shown first.
    """
    return -0.5 * (logsigmoid(chosen_first) + logsigmoid(-rejected_first))


def pairwise(inputs: ObjectiveInputs, settings: PairwiseSettings) -> Loss:
    """Per-pair loss [P]; a pair's "responses" are (chosen, rejected) shown in this order and swapped."""
    scores, pairs = inputs.need("scores"), inputs.need("pairs")
    first, swapped = scores[pairs[:, 0]], scores[pairs[:, 1]]
    gap = (first - swapped).detach() / 2
    metrics = {
        "accuracy": 0.5 * (1 + gap.sign()),
        "margin": gap,
        "position_bias": (first + swapped).detach() / 2,
        "order_flips": ((first > 0) == (swapped > 0)).to(gap.dtype),
    }
    return Loss(inputs.weighted(pairwise_loss(first, swapped), pairs[:, 0]), metrics)


OBJECTIVE = Objective(
    Card(
        name="pairwise",
        title="Pairwise ranker (PairRM)",
        paper="Jiang, Ren, Lin 2023, arXiv 2306.02561",
        formula="L = 1/2 [ -log sigmoid(s(w, l)) - log sigmoid(-s(l, w)) ]",
        letters=("s(a, b) is the score for `a is better` of both in one text, a first", PAIR),
        needs=frozenset({"comparisons"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "order_flips"),
        summary="One sequence holds both responses; the head says whether the first is better; both orders are asked.",
        known_answer="Nothing is certain; a fresh head's scores are small, so the loss starts near ln 2.",
        when="To judge pairs or rank a few candidates, where seeing both at once helps.",
        when_not="As a reward for PPO: it scores pairs, not responses. With many candidates: n(n-1) readings.",
        goes_wrong="`position_bias` far from 0 and many `order_flips`: it reads the place, not the answers; asking "
        "both orders cancels it, at the price of ties. Long answers double the length of the text.",
        layout="joint",
    ),
    PairwiseSettings,
    pairwise,
    reading=lambda settings: {"kind": "pairwise"},
)
