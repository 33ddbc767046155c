"""Several reward models as one: the mean, the worst, or the mean less what they disagree about.

    mean          r = 1/M sum_m r_m
    worst         r = min_m r_m                                       (worst-case optimisation, WCO)
    uncertainty   r = mean - lambda Var_m(r_m)                        (uncertainty-weighted optimisation, UWO)

Coste et al. 2023, 2310.02743; lambda about 0.5 for best-of-n and 0.1 for PPO. The variance divides by M (ddof 0).
Scores (1.2, 0.8, 1.0, -0.4): mean 0.65, worst -0.4, uncertainty with lambda 0.5: 0.45625.

Scores of different models have no common zero or unit, so each member is shifted and scaled to mean 0 and deviation
1 on one common set of answers before anything is combined; without that the loudest member decides, and "the worst"
means "the one with the lowest zero". Members fine-tuned from one start share its biases, length above all, and an
ensemble of them does not see what they all see wrong (Eisenstein et al. 2023, 2312.09244).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.rewards.types import Answers, Scorer, Scores

How = Literal["mean", "worst", "uncertainty"]
Floats = NDArray[np.float64]


def combine(scores: Floats, how: How = "mean", *, variance_weight: float = 0.1) -> Floats:
    """Combines the scores of M members for n responses.

    Args:
        scores: [M, n], normalised.
        how: see the module.
        variance_weight: lambda of `uncertainty`.

    Returns:
        [n].
    """
    if how == "worst":
        return np.asarray(scores.min(axis=0), np.float64)
    mean = np.asarray(scores.mean(axis=0), np.float64)
    return mean if how == "mean" else mean - variance_weight * scores.var(axis=0)


class Ensemble:
    """A scorer made of scorers.

    Args:
        members: at least one.
        how: see the module.
        variance_weight: lambda of `uncertainty`.

    Attributes:
        scales: (mean, deviation) per member once `fit` has seen the common set.
    """

    def __init__(self, members: Sequence[Scorer], how: How = "mean", *, variance_weight: float = 0.1) -> None:
        if not members:
            raise InputError("an ensemble has no member", remedy="Name at least two reward models.")
        self._members, self._how, self._variance_weight = list(members), how, variance_weight
        told = f",{variance_weight:g}" if how == "uncertainty" else ""
        self.name = f"{how}({','.join(m.name for m in members)}{told})"
        self.scales: list[tuple[float, float]] | None = None

    def fit(self, answers: Answers) -> None:
        """Takes each member's mean and deviation on a common set of answers.

        Raises:
            InputError: a member gives every answer the same score, so it has no unit.
        """
        scales = []
        for member in self._members:
            scores = np.asarray(member.score_texts(answers), np.float64)
            mean, deviation = float(scores.mean()), float(scores.std())
            if not deviation > 1e-9 * max(1.0, abs(mean)):
                raise InputError(
                    f"all {len(scores)} answers get the same score",
                    where=f"ensemble member {member.name}",
                    remedy="Fit the ensemble on more, different answers, or leave this member out.",
                )
            scales.append((mean, deviation))
        self.scales = scales

    @property
    def names(self) -> list[str]:
        """Of the members."""
        return [member.name for member in self._members]

    def member_scores(self, answers: Answers) -> Floats:
        """Every member's own scores, normalised, [M, len(answers)].

        Raises:
            ValueError: `fit` has not been called.
        """
        if self.scales is None:
            raise ValueError("the ensemble has no scales yet: call fit first")
        return np.stack(
            [
                (np.asarray(member.score_texts(answers), np.float64) - mean) / deviation
                for member, (mean, deviation) in zip(self._members, self.scales, strict=True)
            ]
        )

    def score_texts(self, answers: Answers) -> Scores:
        """Combined scores, [len(answers)].

        Raises:
            ValueError: `fit` has not been called.
        """
        table = self.member_scores(answers)
        return combine(table, self._how, variance_weight=self._variance_weight).astype(np.float32)
