"""A reward model as judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import WorkError
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt, Response


class Scorer(Protocol):
    """Anything that scores texts; `models.reward.RewardModel` does."""

    name: str

    def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        """Returns one score per (prompt, response)."""
        ...


class RewardJudge:
    """Prefers the response with the higher score: P(a better) = sigmoid(score a - score b)."""

    def __init__(self, model: Scorer, fingerprint: str) -> None:
        self._model, self._fingerprint = model, fingerprint
        self._scores: dict[tuple[str, str, str], float] = {}

    @property
    def identity(self) -> str:
        """Name and fingerprint of the model."""
        return f"reward:{self._model.name.rstrip('/').split('/')[-1]}@{self._fingerprint[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Scores every response once, in both orders' worth of contests too.

        Raises:
            WorkError: a score is NaN or infinite, which prefers nothing.
        """
        wanted = {
            _key(c.prompt, r): (c.prompt, r)
            for c in contests
            for r in (c.a, c.b)
            if _key(c.prompt, r) not in self._scores
        }
        if wanted:
            scores = self._model.score_texts(list(wanted.values()))
            if not np.isfinite(scores).all():
                raise WorkError(
                    f"{np.count_nonzero(~np.isfinite(scores))} of {len(wanted)} scores are NaN or infinite",
                    where=f"reward model {self._model.name}",
                    remedy="Its weights are broken or overflow in this dtype; train it again or use float32.",
                )
            self._scores.update({key: float(s) for key, s in zip(wanted, scores, strict=True)})
        out = []
        for c in contests:
            a, b = self._scores[_key(c.prompt, c.a)], self._scores[_key(c.prompt, c.b)]
            out.append(Verdict(1 / (1 + math.exp(min(700.0, b - a))), raw=f"{a:.4f} {b:.4f}"))
        return out


def _key(prompt: Prompt, response: Response) -> tuple[str, str, str]:
    return (repr(prompt.messages), response.text, response.finish_reason)
