"""Agreement beyond chance: closed forms, and what makes it undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.evaluation.agreement import cohen_kappa, cohen_kappa_interval, fleiss_kappa, share_agreeing

LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40)


def test_cohens_kappa_of_a_table_worked_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4, abs=1e-12)
    assert share_agreeing(a, b) == pytest.approx(0.7)


def test_fleiss_kappa_of_his_own_example() -> None:
    # Fleiss 1971 as reprinted everywhere: ten subjects, fourteen raters, five categories, kappa 0.210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


@given(LABELS)
def test_kappa_is_symmetric_blind_to_names_and_at_most_one(pairs: list[tuple[str, str]]) -> None:
    a, b = zip(*pairs, strict=True)
    kappa = cohen_kappa(a, b)
    renamed = {"a": 2, "b": 0, "c": 7}
    for other in (cohen_kappa(b, a), cohen_kappa([renamed[x] for x in a], [renamed[x] for x in b])):
        assert other == pytest.approx(kappa, abs=1e-12, nan_ok=True)
    if math.isfinite(kappa):
        assert kappa <= 1
        value, low, high = cohen_kappa_interval(a, b, draws=200)
        assert value == kappa
        assert math.isnan(low) or low <= value <= high


def test_a_constant_judge_has_no_agreement_and_two_constant_ones_no_kappa() -> None:
    assert cohen_kappa([1] * 10, [1] * 5 + [2] * 5) == 0
    assert math.isnan(cohen_kappa([1] * 10, [1] * 10))
    assert all(math.isnan(x) for x in cohen_kappa_interval([1] * 10, [1] * 10))
    assert math.isnan(fleiss_kappa([[3, 0]] * 4))


def test_the_interval_is_seeded_and_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    truth, covered = 0.6, 0
    for _ in range(200):
        a = rng.integers(0, 2, 200)
        # With even margins and a flip rate of 0.2 observed agreement is 0.8 and kappa 0.6.
        b = np.where(rng.random(200) < 0.2, 1 - a, a)
        _, low, high = cohen_kappa_interval(a.tolist(), b.tolist(), draws=400)
        covered += low <= truth <= high
    assert 180 <= covered <= 199
    pair = a.tolist(), b.tolist()
    assert cohen_kappa_interval(*pair, seed=1) == cohen_kappa_interval(*pair, seed=1)
    assert cohen_kappa_interval(*pair, seed=1) != cohen_kappa_interval(*pair, seed=2)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [1, 2])])
def test_items_must_be_the_same(a: list[int], b: list[int]) -> None:
    with pytest.raises(InputError, match="two labels of every item"):
        cohen_kappa(a, b)


@pytest.mark.parametrize("counts", [[[1, 0]], [[2, 0], [1, 0]], [], [2, 0]])
def test_fleiss_kappa_refuses_uneven_raters(counts: list[list[int]]) -> None:
    with pytest.raises(InputError, match="Fleiss"):
        fleiss_kappa(counts)
