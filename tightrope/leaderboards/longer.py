"""The baseline that stands beside every judge and reward model: always pick the longer answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def longer_is_gold(first_chars: Sequence[int], second_chars: Sequence[int], gold: Sequence[str]) -> dict[str, Any]:
    """Scores the rule on pairs with a gold label.

    Args:
        first_chars: length of answer 1 of every pair.
        second_chars: length of answer 2.
        gold: the better one, `1` or `2`.

    Returns:
        `accuracy` in percent over the pairs of unequal length; None where there are none.
    """
    right = [(a > b) == (g == "1") for a, b, g in zip(first_chars, second_chars, gold, strict=True) if a != b]
    return {
        "n": len(gold),
        "n_unequal": len(right),
        "longer_is_gold": sum(right),
        "accuracy": 100 * sum(right) / len(right) if right else None,
    }
