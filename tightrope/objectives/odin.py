"""ODIN: two heads on one body, so that length has a place to go.

    L = -log sigmoid((q + l)_w - (q + l)_l) + lambda_L ( |corr(q, n)| - corr(l, n) ) + lambda_O |w_q . w_l|

q and l are the quality and length heads, n the lengths in tokens, w_q and w_l the heads' weights. Chen et al. 2024,
2402.07319. The sum explains the preferences; the second term takes length out of the quality head and into the
length head; the third keeps the heads apart. What is used afterwards, and saved, is the quality head alone.

The correlations are over all responses of the optimiser step, not of a micro-batch: the step is run twice, once
without gradients for all scores, then with them piece by piece (`batching: whole step`), which is the same
gradient as one big batch. q = (0.2, 0.5, 0.1, 0.9), l = (0.1, 0.3, 0.2, 0.5), n = (10, 20, 30, 40): correlations
0.610658 and 0.831522, term -0.220864. A public re-implementation sums over the batch inside the logsigmoid: with
more than one pair that is not a pairwise loss.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class OdinSettings(Settings):
    """Weights of the two disentangling terms."""

    length_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Weight of the two length correlations; 1 in the paper."
    )
    orthogonality: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Weight of the heads' overlap; 1 in the paper."
    )


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two vectors; 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = (x.square().sum() * y.square().sum()).sqrt()
    if not float(scale.detach()) > 0:
        return (x * y).sum()  # 0, and no gradient through a division by 0
    return (x * y).sum() / scale


def length_terms(quality: Tensor, length: Tensor, tokens: Tensor) -> Tensor:
    """|corr(q, n)| - corr(l, n) of [R] scores and lengths, a number."""
    tokens = tokens.to(quality.dtype)
    return correlation(quality, tokens).abs() - correlation(length, tokens)


def odin(inputs: ObjectiveInputs, settings: OdinSettings) -> Loss:
    """Per-pair loss [P] of two heads' scores [R, 2]; the terms of the whole step stand in every pair."""
    heads, pairs, weight = inputs.need("heads"), inputs.need("pairs"), inputs.need("head_weight")
    quality, length = heads[:, 0], heads[:, 1]
    both = heads.sum(1)
    ranking = -logsigmoid(both[pairs[:, 0]] - both[pairs[:, 1]])
    tokens = inputs.lengths()
    terms = settings.length_weight * length_terms(quality, length, tokens)
    overlap = (weight[0] * weight[1]).sum().abs().to(terms.dtype)
    losses = inputs.weighted(ranking, pairs[:, 0]) + terms + settings.orthogonality * overlap
    gap = (quality[pairs[:, 0]] - quality[pairs[:, 1]]).detach()
    gap_both = (both[pairs[:, 0]] - both[pairs[:, 1]]).detach()
    found, lengths = quality.detach(), tokens.to(quality.dtype)
    metrics = {
        "accuracy": 0.5 * (1 + gap.sign()),
        "accuracy_both_heads": 0.5 * (1 + gap_both.sign()),
        "margin": gap,
        "loss_ranking": ranking.detach(),
        "length_correlation": correlation(found, lengths)[None],
        "length_correlation_of_length_head": correlation(length.detach(), lengths)[None],
        "overlap": overlap.detach()[None],
    }
    return Loss(losses, metrics)


OBJECTIVE = Objective(
    Card(
        name="odin",
        title="Length-disentangled reward model (ODIN)",
        paper="Chen et al. 2024, arXiv 2402.07319",
        year=2024,
        formula="L = -log sigmoid((q+l)_w - (q+l)_l) + lambda_L (|corr(q, n)| - corr(l, n)) + lambda_O |w_q . w_l|",
        needs=frozenset({"comparisons"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "length_correlation"),
        summary="Two heads share a body; one takes what length explains, the other is kept as the reward.",
        known_answer="None: fresh heads correlate with length by chance.",
        when="When the preferred responses are mostly the longer ones and a policy will be trained on the reward.",
        when_not="With small steps (fewer than some 32 responses): correlations of a handful are noise.",
        batching="whole step",
    ),
    OdinSettings,
    odin,
    reading=lambda settings: {"outputs": 2},
)
