"""A pairwise ranker as judge: a model that reads both answers at once and has no score for one alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import WorkError
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt, Response


class Ranker(Protocol):
    """Anything that compares two responses (PairRM, Jiang et al. 2023, 2306.02561).

    It may read a pair as shown or in both orders; in the first case its taste for a place shows in `both_orders`.
    """

    name: str

    def gaps(self, pairs: Sequence[tuple[Prompt, Response, Response]]) -> NDArray[np.floating]:
        """Returns [n] logits that the first response of each pair is better."""
        ...


class RankerJudge:
    """Prefers by the ranker's logit: P(a better) = sigmoid(gap)."""

    def __init__(self, ranker: Ranker, fingerprint: str) -> None:
        self._ranker, self._fingerprint = ranker, fingerprint

    @property
    def identity(self) -> str:
        """Name and fingerprint of the ranker."""
        return f"ranker:{self._ranker.name.rstrip('/').split('/')[-1]}@{self._fingerprint[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest.

        Raises:
            WorkError: a logit is NaN or infinite, which prefers nothing.
        """
        logits = np.asarray(self._ranker.gaps([(c.prompt, c.a, c.b) for c in contests]), np.float64)
        if not np.isfinite(logits).all():
            raise WorkError(
                f"{np.count_nonzero(~np.isfinite(logits))} of {len(logits)} logits are NaN or infinite",
                where=f"ranker {self._ranker.name}",
                remedy="Its weights are broken or overflow in this dtype; train it again or use float32.",
            )
        preferences = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        return [Verdict(float(p), f"{x:.4f}") for x, p in zip(logits, preferences, strict=True)]
