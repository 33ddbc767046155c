"""Packed responses as one padded list per prompt: what every listwise loss needs and no equation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tightrope.errors import InputError
from tightrope.objectives.base import ObjectiveInputs


def padded(values: Tensor, there: Tensor) -> Tensor:
    """Values [R] of consecutive responses laid out by prompt, [B, K], zeros where there is none."""
    return values.new_zeros(there.shape).masked_scatter(there, values)


@dataclass(frozen=True)
class Rankings:
    """B prompts with up to K scored and ranked responses each; what is padding has `there` False."""

    scores: Tensor  # [B, K] what the model thinks of each response
    ranks: Tensor  # [B, K] 0 best, equal ranks tie
    there: Tensor  # [B, K] bool
    first: Tensor  # [B] index into R of each prompt's first response

    @classmethod
    def of(cls, inputs: ObjectiveInputs, scores: Tensor) -> Rankings:
        """Lays scores [R] and the ranks [R] of a batch out by prompt.

        Raises:
            InputError: a response has no rank.
        """
        ranks, bundle = inputs.need("labels"), inputs.need("bundle")
        if not bool(ranks.isfinite().all()):
            raise InputError(
                "a response has no rank",
                where="ranking objective",
                remedy="Give the stage rankings: tightrope data convert FILE OUT --to ranking.",
            )
        sizes = torch.bincount(bundle)
        first = sizes.cumsum(0) - sizes
        there = torch.arange(int(sizes.max()), device=bundle.device) < sizes[:, None]
        return cls(padded(scores, there), padded(ranks.to(scores.dtype), there), there, first)

    @property
    def better(self) -> Tensor:
        """[B, K, K] bool: response i of a prompt is ranked above its response j."""
        both = self.there[:, :, None] & self.there[:, None, :]
        return both & (self.ranks[:, :, None] < self.ranks[:, None, :])

    def metrics(self) -> dict[str, Tensor]:
        """Detached: `accuracy` and `margin` over all untied pairs, `best_first` over prompts (ties share)."""
        scores, better = self.scores.detach(), self.better
        gaps = (scores[:, :, None] - scores[:, None, :])[better]
        worst = torch.finfo(scores.dtype).min
        top = torch.where(self.there, scores, worst)
        winners = (top == top.amax(1, keepdim=True)) & self.there
        best = (self.ranks == torch.where(self.there, self.ranks, torch.inf).amin(1, keepdim=True)) & self.there
        return {
            "accuracy": 0.5 * (1 + gaps.sign()),
            "margin": gaps,
            "best_first": (winners & best).sum(1) / winners.sum(1),
            "score": scores[self.there],
        }
