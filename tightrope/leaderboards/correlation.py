"""Rank correlation."""

from __future__ import annotations

import numpy as np

from tightrope.leaderboards.files import Floats


def spearman(a: Floats, b: Floats) -> float | None:
    """Spearman's correlation of [n] and [n], mean ranks for ties; None when one side is constant."""
    x, y = _ranks(a), _ranks(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
