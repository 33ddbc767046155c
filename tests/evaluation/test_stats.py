"""Intervals: textbook widths, pairing, rare events, and what happens without data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.evaluation.stats import Bootstrap, Figure, difference, mean, paired_doubt, ratio


def ends(figure: Figure) -> tuple[float, float, float]:
    assert figure.value is not None and figure.lower is not None and figure.upper is not None
    return figure.lower, figure.value, figure.upper


def test_the_interval_has_the_textbook_width_and_is_a_function_of_the_seed() -> None:
    values = np.random.default_rng(1).normal(size=500)
    one, two, other = (mean(Bootstrap(500, seed=seed), values, group="", label="", unit="") for seed in (3, 3, 4))
    assert one == two != other
    low, _, high = ends(one)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 500**0.5, rel=0.1)


def test_pairing_cancels_the_difficulty_of_prompts() -> None:
    hard = np.random.default_rng(2).normal(size=300)
    boot = Bootstrap(300)
    assert ends(difference(boot, hard + 0.1, hard, group="", label="", share=False)) == pytest.approx((10,) * 3)
    assert ends(ratio(boot, 2 * np.exp(hard), np.exp(hard), group="", label="")) == pytest.approx((2,) * 3)


def test_prompts_that_do_not_apply_are_left_out_and_none_is_no_number() -> None:
    values = np.array([1.0, np.nan, 0.0, np.nan])
    figure = difference(Bootstrap(4), values, np.zeros(4), group="", label="")
    assert figure.value == pytest.approx(50) and figure.n == 2
    none = difference(Bootstrap(4), np.full(4, np.nan), values, group="", label="")
    assert (none.value, none.lower, none.upper, none.n) == (None, None, None, 0) and none.withheld
    assert "none at all" in str(ratio(Bootstrap(4), np.ones(4), np.zeros(4), group="", label="").withheld)


@pytest.mark.parametrize(("wins", "sure"), [(4, False), (7, True)])
def test_a_few_wins_without_a_loss_are_as_convincing_as_the_exact_test_says(wins: int, sure: bool) -> None:
    # McNemar's exact test, one-sided at 2.5 %: 0.5 ** 4 is not below it, 0.5 ** 7 is.
    model = np.zeros(200)
    model[:wins] = 1
    low, _, _ = ends(difference(Bootstrap(200), model, np.zeros(200), group="", label=""))
    assert (low > 0) is sure


def test_no_event_at_all_leaves_room_for_one() -> None:
    low, value, high = ends(difference(Bootstrap(100), np.zeros(100), np.zeros(100), group="", label=""))
    assert low < value == 0 < high < 5


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.integers(0, 5))
def test_the_interval_contains_its_value(values: list[float], seed: int) -> None:
    boot = Bootstrap(len(values), draws=50, seed=seed)
    low, value, high = ends(mean(boot, np.array(values), group="", label="", unit="", span=(0.0, 1.0)))
    assert low <= value <= high


def test_shares_are_covered_at_the_stated_level() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(300):
        model, reference = rng.uniform(size=(2, 60)) < np.array([[0.15], [0.05]])
        boot = Bootstrap(60, draws=300, seed=k)
        low, _, high = ends(difference(boot, model * 1.0, reference * 1.0, group="", label=""))
        hits += low <= 10 <= high
    assert 0.92 <= hits / 300 <= 0.99


def test_doubt_is_uniform_enough_without_an_effect_and_small_with_one() -> None:
    rng = np.random.default_rng(0)
    called = 0
    for k in range(300):
        boot = Bootstrap(80, draws=300, seed=k)
        called += boot.doubt(boot.means(rng.normal(size=80)), 0.0, "higher") <= 0.05
    assert called / 300 < 0.09
    boot = Bootstrap(80)
    assert boot.doubt(boot.means(np.ones(80)), 0.0, "higher") == pytest.approx(1 / 2001)
    assert boot.doubt(boot.means(np.ones(80)), 0.0, "lower") == 1


def test_paired_doubt_is_mcnemars_mid_p() -> None:
    # Fagerland, Lydersen and Laake 2013, table 1: 1 and 7 discordant pairs of 21, two-sided mid-p 0.039.
    gain = np.array([1.0] * 7 + [-1.0] + [0.0] * 13 + [np.nan])
    assert 2 * paired_doubt(gain, "higher") == pytest.approx(0.0391, abs=5e-5)
    assert paired_doubt(gain, "higher") + paired_doubt(gain, "lower") == pytest.approx(1)
    assert paired_doubt(np.zeros(9), "higher") == paired_doubt(np.zeros(9), "lower") == 0.5
    assert paired_doubt(-np.ones(5), "lower") == 0.5**6


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_paired_doubt_errs_about_as_often_as_it_says(share: float) -> None:
    rng = np.random.default_rng(3)
    gain = rng.choice([-1.0, 0.0, 1.0], p=[share / 2, 1 - share, share / 2], size=(4000, 200))
    assert 0.035 < np.mean([paired_doubt(row, "higher") <= 0.05 for row in gain]) < 0.06


def test_an_impossible_bootstrap_is_refused() -> None:
    for wrong in ({"n": 0}, {"n": 3, "draws": 1}, {"n": 3, "level": 1.0}):
        with pytest.raises(InputError):
            Bootstrap(**wrong)  # type: ignore[arg-type]
