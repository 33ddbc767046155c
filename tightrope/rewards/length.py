"""What length explains of a score, taken out afterwards.

Scores are regressed on lengths *within* prompts, where only a difference means anything:

    s_ij - mean_i(s) = b (n_ij - mean_i(n)) + residual          corrected score: s - b n

The least-squares slope b is a property of the model and of the answers it is fitted on, not of the preferences: no
label is used. It removes the linear part only, and it takes away what length rightly earns as well: look at both scores
(Singhal et al. 2023, 2310.03716; methods.md 1.10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tightrope.errors import InputError
from tightrope.records import prompt_id
from tightrope.rewards.types import Answers, Scorer, Scores

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LengthSlope:
    """A fitted slope.

    Attributes:
        slope: score units per character (or whatever unit the lengths had).
        correlation: of scores and lengths within prompts, -1 to 1.
        responses: answers it rests on, of prompts with at least two.
        prompts: those prompts.
    """

    slope: float
    correlation: float
    responses: int
    prompts: int


def fit_length_slope(scores: ArrayLike, lengths: ArrayLike, prompts: Sequence[object]) -> LengthSlope:
    """Fits the slope of scores [n] on lengths [n] within prompts [n].

    Raises:
        InputError: no prompt has two answers of different length.
    """
    _, group = np.unique(np.array([str(p) for p in prompts]), return_inverse=True)
    s, n = (_centred(np.asarray(x, np.float64), group) for x in (scores, lengths))
    several = np.bincount(group)[group] > 1
    if not bool(np.any(n[several] != 0)):
        raise InputError(
            "no prompt has two answers of different length, so length explains nothing",
            remedy="Fit on at least two answers per prompt.",
        )
    covariance, variance = float(s @ n), float(n @ n)
    spread = float(s @ s) * variance
    return LengthSlope(
        slope=covariance / variance,
        correlation=covariance / spread**0.5 if spread > 0 else 0.0,
        responses=int(several.sum()),
        prompts=len(set(group[several].tolist())),
    )


def without_length(scores: ArrayLike, lengths: ArrayLike, slope: LengthSlope) -> Floats:
    """Returns scores [n] less what length explains."""
    return np.asarray(scores, np.float64) - slope.slope * np.asarray(lengths, np.float64)


class LengthCorrected:
    """A scorer whose scores do not rise with length any more.

    Args:
        scorer: whose scores are corrected; lengths are in characters, whatever its tokenizer.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.name = f"length-corrected({scorer.name})"
        self.slope: LengthSlope | None = None

    def fit(self, answers: Answers) -> None:
        """Fits the slope on a common set with several answers per prompt.

        Raises:
            InputError: no prompt has two answers of different length.
        """
        prompts = [prompt_id(prompt) for prompt, _ in answers]
        self.slope = fit_length_slope(self._scorer.score_texts(answers), _lengths(answers), prompts)

    def score_texts(self, answers: Answers) -> Scores:
        """Corrected scores, [len(answers)].

        Raises:
            ValueError: `fit` has not been called.
        """
        if self.slope is None:
            raise ValueError("the correction has no slope yet: call fit first")
        return without_length(self._scorer.score_texts(answers), _lengths(answers), self.slope).astype(np.float32)


def _lengths(answers: Answers) -> list[int]:
    return [len(response.text) for _, response in answers]


def _centred(values: Floats, group: NDArray[np.intp]) -> Floats:
    means = np.bincount(group, values) / np.bincount(group)
    return np.asarray(values - means[group])
