"""The baseline that stands beside every judge and reward model: always pick the longer answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tightrope.leaderboards.files import Floats


def longer_is_right(first_chars: Sequence[int], second_chars: Sequence[int], first_better: Sequence[bool]) -> Floats:
    """Whether the longer answer of every pair is the better one: 1, 0, or NaN where both are equally long, [n].

    Args:
        first_chars: length of one answer of every pair.
        second_chars: of the other.
        first_better: whether the first is the better one.
    """
    a, b = np.asarray(first_chars, np.float64), np.asarray(second_chars, np.float64)
    right: Floats = np.where(a == b, np.nan, (a > b) == np.asarray(first_better, bool))
    return right


def share(right: Sequence[float] | Floats) -> float | None:
    """Accuracy of the longer answer, 0 to 1, over the pairs of unequal length; None where there are none."""
    known = np.asarray(right, np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None
