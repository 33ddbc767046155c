"""Online Elo: what a sequence of battles makes of everybody's rating.

It depends on the order and on K, so it is a mean over random orders and never the rating to report: that is
Bradley-Terry's. It is here because published tables used it (QLoRA: K 4, start 1000, scale 400).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tightrope.leaderboards.files import Floats

Ints = NDArray[np.int64]

K = 4.0
START, SCALE, BASE = 1000.0, 400.0, 10.0
UPDATES = 4_500_000  # of one run over all orders: some seconds
MOST_ORDERS, LEAST_ORDERS = 1000, 20


@dataclass(frozen=True)
class Elo:
    """Ratings after all battles, over random orders.

    Attributes:
        mean: [M].
        deviation: [M] sample deviation between orders.
        k: largest change of one battle.
        orders: how many were drawn.
    """

    mean: Floats
    deviation: Floats
    k: float
    orders: int


def orders_for(battles: int) -> int:
    """How many random orders a number of battles is given by default."""
    return int(min(MOST_ORDERS, max(LEAST_ORDERS, UPDATES // max(battles, 1))))


def online_elo(size: int, first: Ints, second: Ints, outcome: Floats, *, k: float, orders: int, seed: int) -> Elo:
    """Plays the battles in random orders.

    Args:
        size: models.
        first: [B] index of one model.
        second: [B] of the other.
        outcome: [B] 1, 0.5 or 0 for the first.
        k: largest change of one battle.
        orders: random orders.
        seed: of them.
    """
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(len(first)) for _ in range(orders)], 1)  # [B, orders]
    flat = np.full(orders * size, START)  # one player of one order after the other
    offset = np.arange(orders) * size
    a, b = first[order] + offset, second[order] + offset  # [B, orders]
    won = outcome[order]
    for i, j, y in zip(a, b, won, strict=True):
        mine, theirs = flat[i], flat[j]
        change = k * (y - 1 / (1 + BASE ** ((theirs - mine) / SCALE)))
        flat[i] = mine + change
        flat[j] = theirs - change
    final = flat.reshape(orders, size)
    spread = final.std(0, ddof=1) if orders > 1 else np.zeros(size)
    return Elo(final.mean(0), spread, k, orders)
