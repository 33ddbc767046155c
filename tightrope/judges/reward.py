"""A reward model as judge: by the difference of two scores, or by a ranker that reads both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import WorkError
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt, Response
from tightrope.rewards.types import Fitted, Gaps, Scorer


class RewardJudge:
    """Prefers the response with the higher score: P(a better) = sigmoid(score a - score b).

    A scorer that must be fitted first (an ensemble, a length correction) is fitted on all responses of the first
    contests it is asked about.
    """

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
            if not self._scores and isinstance(self._model, Fitted):
                self._model.fit(list(wanted.values()))
            scores = self._model.score_texts(list(wanted.values()))
            _refuse_nan(scores, self._model.name)
            self._scores.update({key: float(s) for key, s in zip(wanted, scores, strict=True)})
        out = []
        for c in contests:
            a, b = self._scores[_key(c.prompt, c.a)], self._scores[_key(c.prompt, c.b)]
            out.append(Verdict(1 / (1 + math.exp(min(700.0, b - a))), raw=f"{a:.4f} {b:.4f}"))
        return out


class PairwiseJudge:
    """A ranker that reads both responses in one text, in both orders, so it has no position of its own.

    Args:
        name: of the model.
        gaps: how much better the first response of each pair is; swapping a pair negates it.
        fingerprint: of the model's weights.
    """

    def __init__(self, name: str, gaps: Gaps, fingerprint: str) -> None:
        self._name, self._gaps, self._fingerprint = name, gaps, fingerprint

    @property
    def identity(self) -> str:
        """Name and fingerprint of the model."""
        return f"reward:{self._name.rstrip('/').split('/')[-1]}@{self._fingerprint[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Compares every pair.

        Raises:
            WorkError: an answer is NaN or infinite, which prefers nothing.
        """
        gaps = self._gaps([(c.prompt, c.a, c.b) for c in contests])
        _refuse_nan(gaps, self._name)
        return [Verdict(1 / (1 + math.exp(min(700.0, -gap))), raw=f"{gap:.4f}") for gap in gaps.tolist()]


def _refuse_nan(scores: NDArray[np.floating], name: str) -> None:
    if not np.isfinite(scores).all():
        raise WorkError(
            f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} scores are NaN or infinite",
            where=f"reward model {name}",
            remedy="Its weights are broken or overflow in this dtype; train it again or use float32.",
        )


def _key(prompt: Prompt, response: Response) -> tuple[str, str, str]:
    return (repr(prompt.messages), response.text, response.finish_reason)
