"""Over-optimisation laws: worked numbers, exact fits, and what cannot be fitted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.evaluation.gao import Form, Law, best_of_n_kl, fit_law


def test_worked_numbers_of_both_forms() -> None:
    assert Law("best_of_n", 1.0, 0.1).peak() == pytest.approx((5.0, 2.5))
    rl = Law("rl", 1.0, 0.3)
    assert rl.peak() == pytest.approx((10.312259, 3.093678), abs=1e-6)
    assert (rl.gain(0), rl.gain(1)) == (0, 1)
    assert rl.gain(math.e) == pytest.approx(1.902797, abs=1e-6)


def test_kl_of_the_best_of_n() -> None:
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)
    with pytest.raises(InputError, match="best of 0"):
        best_of_n_kl(0)


@given(
    st.sampled_from(["best_of_n", "rl"]),
    st.floats(0.1, 3),
    st.floats(0.02, 1),
    st.lists(st.floats(0.2, 12), min_size=3, max_size=8, unique_by=lambda d: round(d, 1)),
)
def test_noiseless_points_give_their_law_back(form: Form, alpha: float, beta: float, distances: list[float]) -> None:
    law = Law(form, alpha, beta)
    found = fit_law(form, distances, [law.gain(d) for d in distances])
    assert (found.alpha, found.beta) == pytest.approx((alpha, beta), rel=1e-6, abs=1e-8)
    distance, value = law.peak() or (0.0, 0.0)
    assert law.gain(distance) == pytest.approx(value)
    assert law.gain(1.01 * distance) < value and law.gain(0.99 * distance) < value


def test_a_law_that_never_turns_down_has_no_peak() -> None:
    assert Law("best_of_n", 1.0, 0.0).peak() is None
    assert Law("best_of_n", -1.0, 0.5).peak() is None
    assert Law("rl", 1.0, -0.1).peak() is None


@pytest.mark.parametrize("distances", [[], [1.0], [1.0, 1.0], [0.0, 1.0]])
def test_too_few_points_are_refused(distances: list[float]) -> None:
    with pytest.raises(InputError, match="two or more different distances"):
        fit_law("rl", distances, [1.0] * len(distances))
