"""KL estimators on arrays, and the points of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from tightrope.errors import InputError
from tightrope.evaluation.drift import drift_figures, sequence_kl, surprise
from tightrope.evaluation.overoptimisation import points
from tightrope.evaluation.stats import Bootstrap


def test_kl_is_summed_over_tokens_before_the_mean_over_answers() -> None:
    own = [np.full(4, -1.0), np.full(1, -1.0)]
    other = [np.full(4, -1.5), np.full(1, -1.5)]
    kl = sequence_kl(own, other, where="test")
    assert kl.k1.tolist() == [2.0, 0.5] and kl.per_token.tolist() == [0.5, 0.5]
    assert kl.k3 == pytest.approx(np.array([4, 1]) * (np.exp(-0.5) - 0.5))
    figures, clamped = drift_figures(Bootstrap(2), own, other, (), ())
    assert figures["kl"].value == 1.25 and figures["kl_token"].value == 0.5 and clamped == 0
    assert "entropy" not in figures and "kl_from_reference" not in figures


def test_both_estimators_agree_with_the_worked_distributions() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    kl = sequence_kl([np.log(p[k : k + 1]) for k in range(3)], [np.log(q[k : k + 1]) for k in range(3)], where="")
    for estimate in (kl.k1, kl.k3):
        assert (p * estimate).sum() == pytest.approx(0.025267, abs=1e-6)
    assert (kl.k3 >= 0).all() and (kl.k1 < 0).any()
    assert (p * kl.k1**2).sum() - 0.025267**2 == pytest.approx(0.049086, abs=1e-6)
    assert (p * kl.k3**2).sum() - 0.025267**2 == pytest.approx(0.000255, abs=1e-6)


def test_clamped_tokens_are_counted() -> None:
    kl = sequence_kl([np.array([-60.0, -1.0])], [np.array([-1.0, -1.0])], where="")
    assert kl.clamped == 1 and kl.k1[0] == -59 and kl.k3[0] == pytest.approx(np.exp(10) - 11)


def test_an_answer_of_no_token_has_no_drift_and_no_entropy() -> None:
    kl = sequence_kl([np.empty(0)], [np.empty(0)], where="")
    assert kl.k1[0] == 0 == kl.k3[0] and np.isnan(kl.per_token[0]) and np.isnan(surprise([np.empty(0)])[0])


def test_a_model_equal_to_the_reference_has_no_drift() -> None:
    own = [np.log(np.random.default_rng(k).uniform(size=5)) for k in range(12)]
    figures, _ = drift_figures(Bootstrap(12), own, own, own, own)
    for name in ("kl", "kl_k3", "kl_token", "kl_from_reference", "entropy"):
        assert figures[name].value == figures[name].lower == figures[name].upper == 0


def test_log_probs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="1 answers against 2"):
        sequence_kl([np.zeros(1)], [np.zeros(1)] * 2, where="m")
    with pytest.raises(InputError, match="2 log-probs against 3"):
        sequence_kl([np.zeros(2)], [np.zeros(3)], where="m")
    with pytest.raises(InputError, match="not a finite number"):
        sequence_kl([np.array([np.nan])], [np.zeros(1)], where="m")


def test_points_are_ordered_by_kl_and_the_others_say_why_not() -> None:
    def verdict(kl: float | None, gain: float | None) -> dict[str, object]:
        def figure(v: float | None) -> dict[str, object]:
            return {"value": v, "lower": v, "upper": v, "withheld": None if v is not None else "too short"}

        return {"figures": {"kl": figure(kl), "balanced_win_rate": figure(gain)}}

    found, missing = points({"b": verdict(9.0, 60.0), "a": verdict(4.0, 55.0), "c": verdict(1.0, None)})
    assert [(p.name, p.distance, p.gain) for p in found] == [("a", 2.0, 55.0), ("b", 3.0, 60.0)]
    assert missing == {"c": "balanced_win_rate: too short"}
    assert points({"a": verdict(4.0, 55.0)}, gain="accuracy")[1] == {"a": "accuracy: not measured"}
