"""How long things are, and which of two: what a model learns from preferences when nothing else divides them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from tightrope.intervals import Z95, wilson


def summary(values: Sequence[int]) -> dict[str, Any]:
    """Returns number, mean, median, 90th percentile (nearest rank) and largest of some lengths."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "mean": statistics.fmean(ordered),
        "median": statistics.median(ordered),
        "p90": ordered[math.ceil(0.9 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def contrast(chosen: Sequence[int], rejected: Sequence[int]) -> dict[str, Any]:
    """Returns who is longer, how often and by how much, over pairs of lengths of one unit.

    `longer_chosen` is the share of pairs whose chosen response is the longer one, ties half, with its interval:
    the accuracy of the judge "the longer one is better". Far from a half, length is what a model would learn.
    `mean_difference` is chosen minus rejected with its 95 % interval (normal; None for a single pair).
    """
    n = len(chosen)
    differences = [c - r for c, r in zip(chosen, rejected, strict=True)]
    equal = sum(d == 0 for d in differences)
    longer = sum(d > 0 for d in differences)
    mean = statistics.fmean(differences)
    half = Z95 * statistics.stdev(differences) / math.sqrt(n) if n > 1 else None
    return {
        "pairs": n,
        "chosen_longer": longer,
        "rejected_longer": n - longer - equal,
        "equal": equal,
        "longer_chosen": (longer + equal / 2) / n,
        "longer_chosen_interval": list(wilson(longer + equal / 2, n)),
        "mean_chosen": statistics.fmean(chosen),
        "mean_rejected": statistics.fmean(rejected),
        "mean_difference": mean,
        "mean_difference_interval": None if half is None else [mean - half, mean + half],
    }
