"""How long a plan says something takes."""

from __future__ import annotations

import time

import pytest
import torch

from tightrope.pipeline.speed import PRODUCTS_REACHED, Speed


def test_products_and_elements_take_their_time_one_after_the_other() -> None:
    assert Speed(2e12, 1e9).seconds(PRODUCTS_REACHED * 2e12, 2e9) == pytest.approx(3.0)


def test_both_speeds_are_those_of_this_machine() -> None:
    found = Speed.measured(torch.float32, "cpu")
    a = torch.randn(1024, 1024)
    started = time.perf_counter()
    for _ in range(3):
        torch.nn.functional.silu(a @ a)
    took = (time.perf_counter() - started) / 3
    predicted = 2 * 1024**3 / found.products + 1024**2 / found.elements
    # A busy machine is slower than its best slice, but not by a unit of measure.
    assert predicted / 20 < took < 200 * predicted
