"""Scores from 1 to 10 given to two answers side by side: Vicuna's launch reviews and QLoRA's relative scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.leaderboards.files import Floats


def totals(first: Floats, second: Floats) -> dict[str, Any]:
    """Sums of both sides' scores [n] and who got more how often, as Vicuna's launch post counts."""
    return {
        "n": len(first),
        "total_first": float(first.sum()),
        "total_second": float(second.sum()),
        "first_wins": int((first > second).sum()),
        "second_wins": int((first < second).sum()),
        "ties": int((first == second).sum()),
    }


def percent_of_reference(orders: Mapping[str, tuple[Floats, Floats]]) -> dict[str, Any]:
    """A model's total as percent of the reference's, order by order and of both totals (QLoRA, 2305.14314, table 6).

    The published files of some models (Guanaco) store the two scores against the order in their names. Nothing in a
    file tells which it is, so both readings are returned: `percent` trusts the name, `percent_if_inverted` does not.

    Args:
        orders: `ref_first` and `ref_second`, either alone or both, each with the scores [n] of the answer shown
            first and of the one shown second.

    Returns:
        Percentages, None where the scores they are relative to add up to 0. QLoRA's column "mean" is the ratio of
        the totals over both orders, not the mean of the two ratios (GPT-4: 114.5, not 114.8).
    """
    by_order, model, reference = {}, 0.0, 0.0
    for name, (first, second) in orders.items():
        its, theirs = (float(x.sum()) for x in ((second, first) if name == "ref_first" else (first, second)))
        by_order[name] = {"n": len(first), **_percents(its, theirs)}
        model, reference = model + its, reference + theirs
    return {"orders": by_order, **_percents(model, reference)}


def _percents(model: float, reference: float) -> dict[str, float | None]:
    return {
        "percent": 100 * model / reference if reference > 0 else None,
        "percent_if_inverted": 100 * reference / model if model > 0 else None,
    }
