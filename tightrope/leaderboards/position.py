"""What the order of presentation did to verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tightrope.intervals import wilson
from tightrope.leaderboards.arena_files import Battles


def position(battles: Battles) -> dict[str, Any]:
    """Counts of wins by position and how many swapped pairs agree; None where the files do not say the order.

    A swapped pair is one question with the same two models shown both ways round. It is consistent when both orders
    name the same winner, or both a tie. `same_slot` counts pairs whose both orders favour the same position.
    """
    if not battles.ordered:
        return dict.fromkeys(("first", "second", "tie", "first_share", "pairs", "consistent", "same_slot"))
    first = float(battles.counts[battles.outcome == 1].sum())
    second = float(battles.counts[battles.outcome == 0].sum())
    total = float(battles.counts.sum())
    pairs = consistent = same = 0
    seen: dict[tuple[int, int, str], float] = {}
    for i, j, q, y in zip(
        battles.first.tolist(), battles.second.tolist(), battles.questions or (), battles.outcome.tolist(), strict=False
    ):
        other = seen.pop((j, i, q), None)
        if other is None:
            seen[i, j, q] = y
            continue
        pairs += 1
        consistent += y == 1 - other
        same += y == other and y != 0.5
    decided = first + second
    return {
        "first": int(first),
        "second": int(second),
        "tie": int(total - first - second),
        "first_share": first / decided if decided else None,
        "first_share_interval": list(wilson(first, int(decided))) if decided else None,
        "pairs": pairs,
        "consistent": consistent,
        "consistent_share": consistent / pairs if pairs else None,
        "consistent_share_interval": list(wilson(consistent, pairs)) if pairs else None,
        "same_slot": same,
    }


def win_matrix(battles: Battles) -> dict[str, Any]:
    """`wins[i][j]`: battles i won against j, ties not counted; `ties[i][j]` beside."""
    size = len(battles.models)
    wins, ties = np.zeros((size, size)), np.zeros((size, size))
    for value, winner, loser in ((1.0, battles.first, battles.second), (0.0, battles.second, battles.first)):
        at = battles.outcome == value
        np.add.at(wins, (winner[at], loser[at]), battles.counts[at])
    drawn = battles.outcome == 0.5
    np.add.at(ties, (battles.first[drawn], battles.second[drawn]), battles.counts[drawn])
    return {"models": battles.models, "wins": wins.astype(int).tolist(), "ties": (ties + ties.T).astype(int).tolist()}
