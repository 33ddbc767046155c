"""ODIN: two heads on one body, so that length has a place to go.

    L = -log sigmoid((q + l)_w - (q + l)_l) + lambda_L ( |corr(q, n)| - corr(l, n) ) + lambda_O |w_q . w_l|

q and l are the quality and length heads, n the lengths in tokens, w_q and w_l the heads' weights. Chen et al. 2024,
2402.07319. The sum explains the preferences; the second term takes length out of the quality head and into the
length head; the third keeps the heads apart. What is used afterwards, and saved, is the quality head alone.

The correlations are over all responses of the optimiser step, not of a micro-batch: the step is measured once without
gradient, and each response then gets the derivative of the whole step's correlation with respect to its own score.
Summed up, that is the value and the gradient of one big batch. q = (0.2, 0.5, 0.1, 0.9), l = (0.1, 0.3, 0.2, 0.5), n =
(10, 20, 30, 40): correlations 0.610658 and 0.831522, term -0.220864. A public re-implementation sums over the batch
inside the logsigmoid: with more than one pair that is not a pairwise loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings, Statistic


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
    # Without the division a constant has no gradient either, instead of one that is not a number.
    return (x * y).sum() / scale if float(scale.detach()) > 0 else (x * y).sum()


def length_terms(quality: Tensor, length: Tensor, tokens: Tensor) -> Tensor:
    """|corr(q, n)| - corr(l, n) of [R] scores and lengths of a whole step, a number."""
    return correlation(quality, tokens).abs() - correlation(length, tokens)


def _measure(inputs: ObjectiveInputs) -> dict[str, Tensor]:
    heads = inputs.need("heads")
    return {"quality": heads[:, 0], "length": heads[:, 1], "tokens": inputs.lengths()}


def _settle(values: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Correlations for the trace; mean and norm of each vector for the derivatives."""
    moments = [m for x in values.values() for m in (x.mean(), (x - x.mean()).square().sum().sqrt())]
    return {
        "length_correlation": correlation(values["quality"], values["tokens"]),
        "length_correlation_of_length_head": correlation(values["length"], values["tokens"]),
        "moments": torch.stack([*moments, torch.tensor(float(len(values["tokens"])), dtype=torch.float64)]),
    }


def spread_terms(quality: Tensor, length: Tensor, tokens: Tensor, step: Mapping[str, Tensor]) -> Tensor:
    """The length terms of the whole step as one number per response, [R] of this micro-batch.

    Their mean over all responses of the step is `length_terms`, and so is its gradient.
    """
    q_mean, q_norm, l_mean, l_norm, n_mean, n_norm, count = step["moments"].to(quality).unbind()
    q_corr, l_corr = step["length_correlation"].to(quality), step["length_correlation_of_length_head"].to(quality)

    def moved(x: Tensor, mean: Tensor, norm: Tensor, corr: Tensor) -> Tensor:
        """The score times d corr / d score: 0 in value, the derivative in gradient."""
        if not float(norm * n_norm) > 0:
            return 0 * x
        slope = (tokens - n_mean) / (norm * n_norm) - corr * (x.detach() - mean) / norm**2
        return slope * (x - x.detach())

    value = q_corr.abs() - l_corr
    moves = q_corr.sign() * moved(quality, q_mean, q_norm, q_corr) - moved(length, l_mean, l_norm, l_corr)
    return value + count * moves


def odin(inputs: ObjectiveInputs, settings: OdinSettings) -> Loss:
    """Per-pair ranking loss [P] of two heads' scores [R, 2]; the terms of the whole step are spread over responses."""
    heads, pairs, weight = inputs.need("heads"), inputs.need("pairs"), inputs.need("head_weight")
    quality, length, both = heads[:, 0], heads[:, 1], heads.sum(1)
    ranking = -logsigmoid(both[pairs[:, 0]] - both[pairs[:, 1]])
    terms = spread_terms(quality, length, inputs.lengths().to(heads.dtype), inputs.step)
    overlap = (weight[0] * weight[1]).sum().abs().to(heads.dtype)
    gap = (quality[pairs[:, 0]] - quality[pairs[:, 1]]).detach()
    gap_both = (both[pairs[:, 0]] - both[pairs[:, 1]]).detach()
    metrics = {
        "accuracy": 0.5 * (1 + gap.sign()),
        "accuracy_both_heads": 0.5 * (1 + gap_both.sign()),
        "margin": gap,
        "loss_ranking": ranking.detach(),
        "overlap": overlap.detach()[None],
    }
    others = settings.length_weight * terms + settings.orthogonality * overlap
    return Loss(inputs.weighted(ranking, pairs[:, 0]), metrics, {"responses": others})


OBJECTIVE = Objective(
    Card(
        name="odin",
        title="Length-disentangled reward model (ODIN)",
        paper="Chen et al. 2024, arXiv 2402.07319",
        formula="L = -log sigmoid((q+l)_w - (q+l)_l) + lambda_L (|corr(q, n)| - corr(l, n)) + lambda_O |w_q . w_l|",
        letters=(
            "q is the score of the quality head, l that of the length head, n the length in tokens",
            "(...)_w is of the chosen response, (...)_l of the rejected one",
            "w_q and w_l are the weights of the heads",
            "lambda_L is `length_weight`, lambda_O is `orthogonality`",
        ),
        needs=frozenset({"comparisons"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "length_correlation"),
        summary="Two heads share a body; one takes what length explains, the other is kept as the reward.",
        known_answer="Nothing is certain; fresh heads correlate with length by chance.",
        when="When the preferred responses are mostly the longer ones and a policy will be trained on the reward.",
        when_not="With small steps (fewer than some 32 responses): correlations of a handful are noise.",
        goes_wrong="Accuracy falls: on pairs where the longer one was preferred that is the purpose. Where length was "
        "what made answers good, quality goes with it.",
    ),
    OdinSettings,
    odin,
    statistics=lambda settings: (Statistic("scores", _measure, _settle),),
    reading=lambda settings: {"outputs": 2},
)
