"""Where more optimisation begins to hurt: planted forms are found with their peaks, and proxy and gold part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tightrope.evaluation.gao import Form, Law
from tightrope.evaluation.turning_point import Checkpoints, turning_point

KL = np.array([0.5, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0])


def checkpoints(form: Form, law: Law, error: float, seed: int = 0, kl: np.ndarray = KL) -> Checkpoints:
    noise = error * np.random.default_rng(seed).standard_normal(len(kl))
    gold = np.array([law.gain(math.sqrt(k)) for k in kl]) + noise
    names = tuple(f"step {i}" for i in range(len(kl)))
    exact, errors = np.zeros(len(kl)), np.full(len(kl), error)
    return Checkpoints.with_errors(names, (kl, exact), (gold, errors), (np.sqrt(kl), exact), draws=400, seed=seed)


@pytest.mark.parametrize(("form", "law"), [("rl", Law("rl", 1.0, 0.4)), ("best_of_n", Law("best_of_n", 1.0, 0.12))])
def test_noiseless_checkpoints_give_the_planted_peak(form: Form, law: Law) -> None:
    found = turning_point(checkpoints(form, law, 0.0), form)
    distance, gain = law.peak() or (0.0, 0.0)
    assert found["peak"]["distance"]["value"] == pytest.approx(distance)
    assert found["peak"]["kl"]["value"] == pytest.approx(distance**2)
    assert found["peak"]["gain"]["value"] == pytest.approx(gain)
    assert found["peak"]["inside"] and found["peak"]["share_of_draws"] == 1
    assert found["curve"][0] == [0.0, 0.0]


def test_the_interval_of_the_peak_holds_the_planted_one_about_as_often_as_it_says() -> None:
    law = Law("rl", 1.0, 0.4)
    truth = (law.peak() or (0.0, 0.0))[0]
    held = 0
    for seed in range(100):
        peak = turning_point(checkpoints("rl", law, 0.1, seed), "rl")["peak"]["distance"]
        held += peak["lower"] <= truth and (peak["upper"] is None or truth <= peak["upper"])
    assert held >= 88  # a correct 95 % interval holds it less often once in 400 such tests


def test_a_peak_further_than_was_measured_is_extrapolated_and_may_have_no_bound() -> None:
    short = np.array([0.2, 0.5, 1.0, 1.5])
    found = turning_point(checkpoints("rl", Law("rl", 1.0, 0.3), 0.1, kl=short), "rl")
    if found["peak"] is None:
        assert found["no_peak"]
    else:
        assert not found["peak"]["inside"] and found["peak"]["distance"]["upper"] is None


def test_three_checkpoints_are_too_few_and_a_kl_of_zero_is_not_one() -> None:
    found = turning_point(checkpoints("rl", Law("rl", 1.0, 0.3), 0.0, kl=np.array([0.0, 1.0, 2.0, 3.0])), "rl")
    assert found["withheld"] == "3 checkpoints with a KL above 0, 4 are needed" and found["peak"] is None


def test_proxy_and_gold_part_where_gold_has_fallen_and_the_proxy_has_not() -> None:
    found = turning_point(checkpoints("rl", Law("rl", 1.0, 0.4), 0.02), "rl")
    parting = found["parting"]
    assert parting["from"] == found["best_measured"]["name"] and parting["gold_change"] < 0 < parting["proxy_change"]
    rising = turning_point(checkpoints("rl", Law("rl", 1.0, 0.1), 0.02), "rl")
    assert rising["parting"]["to"] is None and "last checkpoint" in rising["parting"]["text"]


def test_gold_that_falls_from_the_first_step_parts_at_the_start() -> None:
    kl, zero = np.array([1.0, 2.0]), np.zeros(2)
    found = Checkpoints.with_errors(("a", "b"), (kl, zero), (-kl, zero), (kl, zero), draws=10)
    assert turning_point(found, "rl")["parting"]["from"] == "the start"
