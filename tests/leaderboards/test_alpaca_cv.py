"""The folds by which AlpacaEval's penalty is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from tightrope.leaderboards.alpaca_cv import FOLDS, GRID, LANES, UNROLLED, cross_validated, folds, order_of_equals


def partitioned(n: int) -> list[int]:
    """The partition of n equals, read and stored register by register as x86-simd-sort does with AVX-512."""
    order, left, right, block = list(range(n)), 0, n, LANES * UNROLLED
    for _ in range(n % block):
        right -= 1
        order[left], order[right] = order[right], order[left]
    outermost = [order[left : left + block], order[right - block : right]]
    start, end = left, right  # what is stored already ends at `start` and begins at `end`
    left, right = left + block, right - block

    def store(loaded: list[int]) -> None:
        nonlocal end
        for i in range(0, block, LANES):
            order[end - LANES : end] = loaded[i : i + LANES]
            end -= LANES

    while left < right:
        if end - right < left - start:
            right -= block
            store(order[right : right + block])
        else:
            left += block
            store(order[left - block : left])
    for loaded in outermost:
        store(loaded)
    return order


@pytest.mark.parametrize("n", [257, 288, 320, 1635, 2410, 2412, 2415, 2432])
def test_equals_are_ordered_as_the_sort_that_loads_and_stores_registers_orders_them(n: int) -> None:
    assert order_of_equals(n).tolist() == partitioned(n)


@pytest.mark.parametrize("n", [5, 20, 256, 257, 2415])
def test_every_row_is_in_one_fold_and_the_folds_are_of_one_size(n: int) -> None:
    assert sorted(order_of_equals(n).tolist()) == list(range(n))
    sizes = np.bincount(folds(n), minlength=FOLDS)
    assert len(sizes) == FOLDS and np.ptp(sizes) <= 1


def test_without_signal_the_strongest_penalty_is_chosen_and_with_signal_it_is_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    assert cross_validated(x, np.full(400, 0.5), np.ones(400), "exact") == GRID[0]
    assert cross_validated(x, 1 / (1 + np.exp(-2 * x[:, 0])), np.ones(400), "exact") > GRID[4]
