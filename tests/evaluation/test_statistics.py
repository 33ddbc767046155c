"""Worked numbers and properties of the statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.evaluation.length_control import fit, length_controlled, why_not
from tightrope.evaluation.stats import Bootstrap, difference, mean, ratio
from tightrope.evaluation.texts import decoration, distinct, expectation_adjusted_distinct, loops, self_bleu


def synthetic() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The set without random numbers of methods.md 6.1."""
    i = np.arange(40)
    difficulty = np.cos(i)
    reference = 1000 + 200 * np.sin(i)
    model = reference + 400 * np.cos(2 * i) + 300
    d = reference - model
    x = np.tanh(d / d.std(ddof=1))
    preference = 1 / (1 + np.exp(-(-1.2 * x + 0.6 * difficulty - 0.4)))
    return preference, model, reference, difficulty


def test_length_control_recovers_the_published_synthetic_truth() -> None:
    preference, model, reference, difficulty = synthetic()
    assert 100 * preference.mean() == pytest.approx(55.527652, abs=1e-6)
    found = fit(preference, model, reference, difficulty=difficulty, ridge=0.0)
    assert found.converged
    assert (found.phi, found.psi, found.theta) == pytest.approx((-1.2, 0.6, -0.4), abs=1e-6)
    assert found.rate == pytest.approx(41.078180, abs=1e-5)


def test_length_control_is_antisymmetric() -> None:
    preference, model, reference, _ = synthetic()
    assert fit(preference, model, reference).rate + fit(
        1 - preference, reference, model
    ).rate == pytest.approx(100)


def test_a_judge_that_loves_length_is_seen_through() -> None:
    rng = np.random.default_rng(0)
    reference, model = rng.normal(100, 30, 400), rng.normal(130, 30, 400)
    preference = (model > reference).astype(float)
    boot = Bootstrap(400, draws=200)
    raw = mean(boot, preference, group="u", label="w", unit="percent", scale=100)
    controlled, found = length_controlled(boot, preference, model, reference, group="u", label="lc")
    assert raw.lower is not None and raw.lower > 65
    assert found is not None and found.phi < -1
    assert controlled.lower is not None and controlled.upper is not None
    assert controlled.lower < 50 < controlled.upper


def test_length_control_is_withheld_where_the_data_cannot_carry_it() -> None:
    rng = np.random.default_rng(0)
    y, lengths = rng.uniform(size=60), rng.normal(100, 5, 60)
    assert why_not(y, lengths, lengths + 3) == "all length differences are equal"
    assert "extrapolation" in str(why_not(y, lengths + 500, lengths + rng.normal(0, 9, 60)))
    assert "constant output" in str(why_not(y, np.full(60, 100.0), lengths))
    assert "only 5" in str(why_not(y[:5], lengths[:5], lengths[:5]))
    figure, _ = length_controlled(Bootstrap(60), y, lengths, lengths + 3, group="u", label="lc")
    assert figure.value is None and figure.withheld


def test_bootstrap_interval_has_the_textbook_width_and_is_seeded() -> None:
    values = np.random.default_rng(1).normal(size=500)
    one, two = (mean(Bootstrap(500, seed=3), values, group="", label="", unit="") for _ in range(2))
    assert one == two
    assert one.lower is not None and one.upper is not None
    assert one.upper - one.lower == pytest.approx(2 * 1.96 * values.std() / 500**0.5, rel=0.1)


def test_pairing_cancels_prompt_difficulty() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(size=300)
    boot = Bootstrap(300)
    paired = difference(boot, hard + 0.1, hard, group="", label="")
    assert paired.value == pytest.approx(10) and paired.lower == pytest.approx(10) == paired.upper
    assert ratio(boot, 2 * np.exp(hard), np.exp(hard), group="", label="").lower == pytest.approx(2)


def test_prompts_that_do_not_apply_are_left_out() -> None:
    values = np.array([1.0, np.nan, 0.0, np.nan])
    figure = difference(Bootstrap(4), values, np.zeros(4), group="", label="")
    assert figure.value == pytest.approx(50) and figure.n == 2
    assert difference(Bootstrap(4), np.full(4, np.nan), values, group="", label="").withheld


def test_diversity_worked_numbers() -> None:
    text = ["a", "b", "a", "b", "c", "d", "a", "b"]
    assert [distinct([text], n) for n in (1, 2, 3)] == pytest.approx([0.5, 5 / 7, 1.0])
    assert expectation_adjusted_distinct([text], 1, 10) == pytest.approx(0.702330, abs=1e-6)
    assert expectation_adjusted_distinct([text], 2, 20) == pytest.approx(0.828740, abs=1e-6)
    said = [s.split() for s in ("the cat sat down", "the cat ran away", "a dog sat down")]
    assert self_bleu(said) == pytest.approx([0.816497, 0.408248, 0.408248], abs=1e-6)


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=9))
def test_identical_texts_have_self_bleu_one(text: list[str]) -> None:
    assert self_bleu([text, text, text]) == pytest.approx([1.0] * 3)


def test_loops_and_decoration() -> None:
    assert loops("it is a test " * 3) and not loops("it is a test " * 2 + "of another thing")
    assert decoration("# Title\n- one\n- two\n**bold** wow! \U0001f600") == 6
