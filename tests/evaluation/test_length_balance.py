"""The length-balanced win rate: 50 for equal merit whatever the judge's taste, and the raw rate at equal lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tightrope.evaluation.length_balance import length_balanced
from tightrope.evaluation.length_control import length_controlled
from tightrope.evaluation.stats import Bootstrap, Floats

TASTES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "tanh": lambda a, b: np.tanh((a - b) / 60),
    "log": lambda a, b: 2 * np.log(a / b),
    "linear": lambda a, b: (a - b) / 50,
    "saturating": lambda a, b: 6 * (a / (a + 50) - b / (b + 50)),
    "longer": lambda a, b: np.sign(a - b),
}


def lengths(n: int, growth: float, seed: int, noises: tuple[float, float] = (0.3, 0.3)) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    need = 100 * np.exp(0.6 * rng.normal(size=n))
    model, reference = (
        need * g * np.exp(noise * rng.normal(size=n)) for g, noise in zip((growth, 1.0), noises, strict=True)
    )
    return model, reference


def chances(taste: str, model: Floats, reference: Floats, gain: float = 0.0) -> Floats:
    return np.asarray(1 / (1 + np.exp(-2 * TASTES[taste](model, reference) - gain)))


@pytest.mark.parametrize("noises", [(0.3, 0.3), (0.45, 0.2)])
@pytest.mark.parametrize("growth", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("taste", TASTES)
def test_equal_merit_is_50_for_every_taste_and_length(taste: str, growth: float, noises: tuple[float, float]) -> None:
    model, reference = lengths(20_000, growth, seed=1, noises=noises)
    found = length_balanced(Bootstrap(20_000, draws=2), chances(taste, model, reference), model, reference)
    assert found.figure.value == pytest.approx(50, abs=0.4)


def test_where_length_control_is_misled_by_the_form_of_the_taste() -> None:
    model, reference = lengths(20_000, 2.0, seed=1)
    y, boot = chances("longer", model, reference), Bootstrap(20_000, draws=2)
    assert length_controlled(boot, y, model, reference).figure.value > 60  # type: ignore[operator]
    assert length_balanced(boot, y, model, reference).figure.value == pytest.approx(50, abs=0.4)


def test_a_gain_is_seen_at_every_length() -> None:
    for growth in (0.5, 1.0, 2.0):
        model, reference = lengths(20_000, growth, seed=2)
        y = chances("log", model, reference, gain=0.8)
        assert length_balanced(Bootstrap(20_000, draws=2), y, model, reference).figure.value > 60  # type: ignore[operator]


def test_without_any_taste_it_is_the_raw_rate_with_the_raw_interval() -> None:
    model, reference = lengths(800, 1.0, seed=3)
    y = np.random.default_rng(0).integers(0, 2, 800).astype(float)
    boot = Bootstrap(800, draws=500)
    found = length_balanced(boot, y, model, reference).figure
    assert found.value == pytest.approx(100 * y.mean(), abs=1.5)
    assert found.upper - found.lower == pytest.approx(4 * 100 * 0.5 / np.sqrt(800), rel=0.15)  # type: ignore[operator]


@settings(max_examples=15, deadline=None)
@example(295, 1.0)  # as many shorter answers as longer ones
@example(248, 1.6)  # too few shorter ones: withheld from both sides
@given(st.integers(0, 1000), st.sampled_from([0.7, 1.0, 1.6]))
def test_swapping_the_models_swaps_the_rate(seed: int, growth: float) -> None:
    model, reference = lengths(200, growth, seed)
    y = np.random.default_rng(seed).uniform(size=200)
    boot = Bootstrap(200, draws=2)
    there = length_balanced(boot, y, model, reference)
    back = length_balanced(boot, 1 - y, reference, model)
    if there.figure.value is None or back.figure.value is None:
        assert there.figure.value is back.figure.value is None and min(there.shorter, there.longer) < 15
    else:
        assert there.figure.value + back.figure.value == pytest.approx(100, abs=1e-6)
    assert (there.shorter, there.longer) == (back.longer, back.shorter)


def test_draws_are_weighted_least_squares_refitted() -> None:
    model, reference = lengths(60, 1.0, seed=4)
    y = np.random.default_rng(1).uniform(size=60)
    boot = Bootstrap(60, draws=3)
    boot.added[:] = 0
    found = length_balanced(boot, y, model, reference)
    r = np.log((model + 1) / (reference + 1))
    assert (r < 0).sum() != (r > 0).sum()
    reach = np.quantile(np.abs(r[r < 0] if (r < 0).sum() < (r > 0).sum() else r[r > 0]), 0.95)
    here = np.abs(r) <= reach
    level = (np.log((model + 1) * (reference + 1)) / 2)[here]
    odd = np.stack([np.sign(r), r, r * np.abs(r)], 1)[here]
    x = np.concatenate([np.ones((here.sum(), 1)), odd, odd * (level - level.mean())[:, None]], 1)
    for weights, drawn in zip(boot.counts[:, here], found.draws, strict=True):
        root = np.sqrt(weights)
        exact = np.linalg.lstsq(x * root[:, None], y[here] * root, rcond=None)[0][0]
        assert drawn == pytest.approx(100 * exact, abs=1e-3)


def test_it_is_withheld_where_one_side_has_no_counterpart() -> None:
    model, reference = lengths(100, 5.0, seed=5)
    figure = length_balanced(Bootstrap(100, draws=2), np.full(100, 0.7), model, reference).figure
    assert figure.value is None and "shorter one on only" in str(figure.withheld)


def test_equal_lengths_need_no_counterpart() -> None:
    y = np.random.default_rng(0).uniform(size=100)
    sizes, _ = lengths(100, 1.0, seed=5)
    found = length_balanced(Bootstrap(100, draws=50), y, sizes, sizes)
    assert found.figure.value == pytest.approx(100 * y.mean()) and found.figure.n == 100
    # Where some are longer and none shorter, the equal ones speak if they are nearly all there is.
    longer = np.where(np.arange(100) < 15, sizes + 5, sizes)
    part = length_balanced(Bootstrap(100, draws=50), y, longer, sizes)
    assert part.figure.value == pytest.approx(100 * y[15:].mean()) and part.figure.n == 85
    longer[15:30] += 5
    assert length_balanced(Bootstrap(100, draws=50), y, longer, sizes).figure.value is None


def test_lengths_of_zero_and_unread_verdicts_are_no_obstacle() -> None:
    model, reference = lengths(100, 1.0, seed=6)
    model[:3], y = 0, np.random.default_rng(2).uniform(size=100)
    y[::7] = np.nan
    figure = length_balanced(Bootstrap(100, draws=20), y, model, reference).figure
    assert figure.value is not None and 0 <= figure.value <= 100 and figure.n <= 85
