"""The two optimisers of the penalised fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.leaderboards.made import DIFFICULTY, LENGTH_BASELINE, LENGTH_MODEL, example_preferences
from tightrope.leaderboards.files import Floats
from tightrope.leaderboards.l1_logistic import chances, exact, objective
from tightrope.leaderboards.liblinear import liblinear, seeds


def example() -> tuple[Floats, Floats]:
    d = LENGTH_BASELINE - LENGTH_MODEL
    x = np.stack([np.tanh(d / d.std(ddof=1)), DIFFICULTY, np.ones(40)], 1)
    return x, example_preferences()


def rate(coefficients: Floats) -> float:
    return 100 * float(chances(coefficients[1] * DIFFICULTY + coefficients[2]).mean())


# Computed once with scikit-learn 1.9 on the worked example; the exact optimum agrees with it to what it prints.
@pytest.mark.parametrize(
    ("c", "coefficients", "lc"),
    [
        (1e-4, (0.0, 0.0, 0.0), 50.0),
        (1e-2, (0.0, 0.0, 0.0), 50.0),
        (1.0, (-0.572458, 0.357026, 0.0), 50.335425),
        (100.0, (-1.192734, 0.597325, -0.395277), 41.182015),
        (1e4, (-1.2, 0.6, -0.4), 41.079218),
    ],
)
def test_worked_example(c: float, coefficients: tuple[float, ...], lc: float) -> None:
    x, y = example()
    found = exact(x, y, np.ones(40), c)
    assert found.converged
    assert found.coefficients == pytest.approx(coefficients, abs=2e-6 if c < 1e4 else 2e-4)
    assert rate(found.coefficients) == pytest.approx(lc, abs=2e-6 if c < 1e4 else 2e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(-2, 4))
def test_exact_is_a_minimum(seed: int, size: int, log_c: float) -> None:
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(60, size)), rng.random(60), rng.random(60)
    c = float(10**log_c)
    found = exact(x, y, w, c)
    assert found.converged
    best = objective(x, y, c * w, found.coefficients)
    for _ in range(20):
        beside = found.coefficients + rng.normal(size=size) * 10 ** rng.uniform(-6, 0)
        assert objective(x, y, c * w, beside) >= best - 1e-9


def test_two_rows_of_hard_labels_are_one_row_of_a_soft_label() -> None:
    x, y = example()
    soft = exact(x, y, np.ones(40), 3.0)
    twice = np.concatenate([x, x])
    hard = exact(twice, np.repeat([1.0, 0.0], 40), np.concatenate([y, 1 - y]), 3.0)
    assert hard.coefficients == pytest.approx(soft.coefficients, abs=1e-8)


def test_columns_that_are_all_zero_or_repeated_do_no_harm() -> None:
    x, y = example()
    zero = exact(np.column_stack([x, np.zeros(40)]), y, np.ones(40), 10.0)
    assert zero.converged
    assert zero.coefficients[3] == 0
    double = exact(np.column_stack([x, x[:, 2]]), y, np.ones(40), 10.0)
    assert double.coefficients[2] + double.coefficients[3] == pytest.approx(zero.coefficients[2], abs=1e-6)


def test_liblinear_stops_near_the_optimum_and_within_its_criterion() -> None:
    x, y = example()
    near, best = liblinear(x, y, np.ones(40), 100.0), exact(x, y, np.ones(40), 100.0)
    assert near.converged
    assert 0 < near.violation < 1e-3
    assert near.coefficients == pytest.approx(best.coefficients, abs=5e-3)


def test_seeds_are_those_scikit_learn_draws() -> None:
    # numpy.random.RandomState(123).randint(2**31 - 1), the first three
    state = np.random.RandomState(123)
    drawn = seeds()
    assert [next(drawn) for _ in range(3)] == [state.randint(2**31 - 1) for _ in range(3)]


def test_scikit_learn_agrees_where_it_is_installed() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    x, y = example()
    for c in (0.3, 2.8, 170.0):
        theirs = linear_model.LogisticRegression(
            C=c, penalty="l1", solver="liblinear", fit_intercept=False, random_state=123
        ).fit(np.concatenate([x, x]), np.repeat([1, 0], 40), sample_weight=np.concatenate([y, 1 - y]))
        assert liblinear(x, y, np.ones(40), c).coefficients == pytest.approx(theirs.coef_[0], abs=1e-10)
