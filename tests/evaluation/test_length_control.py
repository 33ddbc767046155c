"""Length control: worked numbers, symmetry, what it sees through and when it says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tightrope.evaluation.length_control import fit, length_controlled, refits, separated, why_not
from tightrope.evaluation.stats import Bootstrap, Floats


def synthetic() -> tuple[Floats, Floats, Floats, Floats]:
    """The set without random numbers of Dubois et al.'s model: preferences, lengths, difficulty."""
    i = np.arange(40)
    difficulty = np.cos(i)
    reference = 1000 + 200 * np.sin(i)
    model = reference + 400 * np.cos(2 * i) + 300
    d = reference - model
    x = np.tanh(d / d.std(ddof=1))
    preference = 1 / (1 + np.exp(-(-1.2 * x + 0.6 * difficulty - 0.4)))
    return preference, model, reference, difficulty


def noisy(n: int, *, gain: float, love: float, longer: float, seed: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    reference, model = rng.normal(100, 30, n), rng.normal(100 + longer, 30, n)
    chance = 1 / (1 + np.exp(-(gain + love * (model - reference) / 30)))
    return (rng.uniform(size=n) < chance).astype(float), model, reference


def test_the_fit_recovers_the_synthetic_truth() -> None:
    preference, model, reference, difficulty = synthetic()
    assert 100 * preference.mean() == pytest.approx(55.527652, abs=1e-6)
    found = fit(preference, model, reference, difficulty=difficulty, ridge=0.0)
    assert found.converged
    assert (found.phi, found.psi, found.theta) == pytest.approx((-1.2, 0.6, -0.4), abs=1e-6)
    assert found.rate == pytest.approx(41.078180, abs=1e-5)


def test_the_ridge_hardly_moves_it() -> None:
    preference, model, reference, difficulty = synthetic()
    assert fit(preference, model, reference, difficulty=difficulty).rate == pytest.approx(41.08, abs=0.03)


def test_swapping_the_models_swaps_the_rate() -> None:
    preference, model, reference, _ = synthetic()
    there, back = fit(preference, model, reference), fit(1 - preference, reference, model)
    assert there.rate + back.rate == pytest.approx(100, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_newton_finds_what_a_general_optimiser_finds(seed: int) -> None:
    y, a, b = noisy(60, gain=0.3, love=0.8, longer=20, seed=seed)
    x = np.tanh((b - a) / np.std(b - a, ddof=1))

    def loss(c: Floats) -> float:
        z = c[0] + c[1] * x
        return float((np.logaddexp(0, z) - y * z).mean() + 0.5e-4 * c[1] ** 2)

    other = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9})
    found = fit(y, a, b)
    assert (found.theta, found.phi) == pytest.approx(tuple(other.x), abs=1e-4)


def test_refits_at_once_equal_refits_one_by_one() -> None:
    y, a, b = noisy(80, gain=0.2, love=1.0, longer=15, seed=3)
    counts = Bootstrap(80, draws=5).counts
    many = refits(counts, y, a, b, fit(y, a, b))
    x = np.tanh((b - a) / np.std(b - a, ddof=1))
    for weights, rate in zip(counts, many, strict=True):

        def loss(c: Floats, w: Floats = weights) -> float:
            z = c[0] + c[1] * x
            return float((w * (np.logaddexp(0, z) - y * z)).sum() / w.sum() + 0.5e-4 * c[1] ** 2)

        theta = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x[0]
        assert rate == pytest.approx(100 / (1 + np.exp(-theta)), abs=1e-3)


def test_a_judge_that_loves_length_is_seen_through() -> None:
    y, a, b = noisy(600, gain=0.0, love=1.5, longer=40, seed=0)
    found = length_controlled(Bootstrap(600, draws=300), y, a, b)
    assert y.mean() > 0.75
    assert found.fit is not None and found.fit.phi < -1
    assert found.figure.lower is not None and found.figure.upper is not None
    assert found.figure.lower < 50 < found.figure.upper


def test_a_gain_survives_length_control_in_both_directions_of_length() -> None:
    for longer in (-30, 0, 30):
        y, a, b = noisy(600, gain=1.0, love=1.0, longer=longer, seed=1)
        figure = length_controlled(Bootstrap(600, draws=200), y, a, b).figure
        assert figure.lower is not None and figure.lower > 60


def test_the_interval_covers_the_truth_at_about_the_stated_level() -> None:
    hits = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        reference, model = rng.normal(100, 30, 120), rng.normal(115, 30, 120)
        d = reference - model
        y = (rng.uniform(size=120) < 1 / (1 + np.exp(-(0.4 - 1.2 * np.tanh(d / 42.4))))).astype(float)
        figure = length_controlled(Bootstrap(120, draws=200, seed=seed), y, model, reference).figure
        assert figure.lower is not None and figure.upper is not None
        hits += figure.lower <= 100 / (1 + np.exp(-0.4)) <= figure.upper
    assert hits / 120 >= 0.88


def test_it_is_withheld_with_the_reason_where_the_data_cannot_carry_it() -> None:
    rng = np.random.default_rng(0)
    y, lengths = rng.uniform(size=60), rng.normal(100, 5, 60)
    assert why_not(y, lengths, lengths + 3) == "all length differences are equal"
    assert "extrapolation" in str(why_not(y, lengths + 500, lengths + rng.normal(0, 9, 60)))
    one_shorter = np.where(np.arange(60) == 0, lengths - 500, lengths + 500)
    assert "extrapolation" in str(why_not(y, one_shorter, lengths + rng.normal(0, 9, 60)))
    assert "constant output" in str(why_not(y, np.full(60, 100.0), lengths))
    assert "only 5" in str(why_not(y[:5], lengths[:5], lengths[:5]))
    figure = length_controlled(Bootstrap(60), y, lengths, lengths + 3).figure
    assert figure.value is None and figure.lower is None and figure.withheld


def test_verdicts_that_length_alone_decides_are_withheld() -> None:
    _, a, b = noisy(100, gain=0.0, love=0.0, longer=10, seed=5)
    assert "length alone" in str(why_not((a > b).astype(float), a, b))
    assert "length alone" in str(why_not((a < b).astype(float), a, b))
    mixed = (a > b).astype(float)
    mixed[:2] = 1 - mixed[:2]
    assert why_not(mixed, a, b) is None
    # Quasi-complete: a tie exactly on the threshold does not break separation, one beside it does.
    d = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert separated(np.array([1, 1, 0.5, 0, 0]), d)
    assert not separated(np.array([1, 0.5, 0.5, 0, 0]), d)


def test_winning_everything_is_a_hundred_and_not_a_failure() -> None:
    _, a, b = noisy(60, gain=0.0, love=0.0, longer=0, seed=2)
    figure = length_controlled(Bootstrap(60), np.ones(60), a, b).figure
    assert figure.value == 100 and figure.lower is not None and 85 < figure.lower < 100


def test_unread_verdicts_are_left_out_of_the_fit() -> None:
    y, a, b = noisy(200, gain=0.5, love=0.5, longer=10, seed=4)
    holes = np.where(np.arange(200) % 4 == 0, np.nan, y)
    found = length_controlled(Bootstrap(200, draws=50), holes, a, b)
    kept = np.isfinite(holes)
    assert found.figure.n == 150
    assert found.figure.value == pytest.approx(fit(y[kept], a[kept], b[kept]).rate)
