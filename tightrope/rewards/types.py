"""What scores: one number per (prompt, response), higher is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tightrope.records import Prompt, Response

Answers = Sequence[tuple[Prompt, Response]]
Scores = NDArray[np.float32]
# What rewards answers: one score each, [len(answers)].
Scoring = Callable[[Answers], Scores]
# How much better the first response of each pair is than the second.
Gaps = Callable[[Sequence[tuple[Prompt, Response, Response]]], NDArray[np.float64]]


class Scorer(Protocol):
    """Anything that scores texts; `models.reward.RewardModel` does."""

    name: str

    def score_texts(self, answers: Answers) -> Scores:
        """Returns one score per (prompt, response), [len(answers)]."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A scorer that must see a common set of answers before it scores: it needs scales or a slope."""

    def fit(self, answers: Answers) -> None:
        """Looks at the common set."""
        ...
