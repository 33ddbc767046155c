"""Numbers without texts: the same figures as from texts, and what cannot be had is withheld."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.made import QualityJudge, outputs
from tightrope.errors import InputError
from tightrope.evaluation.from_preferences import NEED_TEXTS, OUTCOMES, from_preferences
from tightrope.evaluation.judged import Pair
from tightrope.evaluation.measure import measure
from tightrope.evaluation.verdict import decide


def test_it_agrees_with_the_measurement_of_the_texts() -> None:
    mine, base = outputs("m", seed=1, quality=0.6, length=24, accuracy=0.7), outputs("r", seed=2)
    whole = measure(mine, base, judge=QualityJudge(), draws=200)
    preferences = np.array([sample["preference"] for sample in whole["samples"]])
    sizes = [np.array(whole["lengths"][side], float) for side in ("model", "reference")]
    verifiable = np.array(["verifiable" in s.prompt.tags for s in mine.samples])
    solved: Pair = tuple(  # type: ignore[assignment]
        np.where(verifiable, [s.response.text.endswith(" 7") for s in some.samples], np.nan) for some in (mine, base)
    )
    found = from_preferences(preferences, *sizes, outcomes={"accuracy": solved}, seed=0, unit="words")
    whole = measure(mine, base, judge=QualityJudge())
    for name in ("win_rate", "lc_win_rate", "balanced_win_rate", "accuracy", "length_ratio", "length_gap"):
        ours, theirs = found["figures"][name], whole["figures"][name]
        assert [ours[k] for k in ("value", "lower", "upper", "n")] == pytest.approx(
            [theirs[k] for k in ("value", "lower", "upper", "n")]
        ), name
    for name in ("lc_win_rate", "balanced_win_rate", "win_rate", "accuracy", "accuracy_loss"):
        assert found["doubts"][name] == whole["doubts"][name]
    assert found["length_control"] == whole["length_control"] and decide(found).word == decide(whole).word == "useful"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_the_numbers_cannot_tell_is_withheld_with_the_reason() -> None:
    lengths = np.random.default_rng(0).integers(20, 60, 100).astype(float)
    found = from_preferences(np.full(100, 0.5), lengths, lengths[::-1].copy())
    for name in NEED_TEXTS:
        assert found["figures"][name]["withheld"] == "needs the answers' texts"
    for name in OUTCOMES:
        assert found["figures"][name]["withheld"] == "not among the numbers given"
    assert set(found["doubts"]) == {"win_rate", "lc_win_rate", "balanced_win_rate"}


def test_bad_numbers_are_refused() -> None:
    y, size = np.full(30, 0.5), np.full(30, 9.0)
    with pytest.raises(InputError, match="preference 2 is no probability"):
        from_preferences(np.full(30, 2.0), size, size)
    with pytest.raises(InputError, match="length -1"):
        from_preferences(y, np.full(30, -1.0), size)
    with pytest.raises(InputError, match="length nan"):
        from_preferences(y, size, np.full(30, np.nan))
    with pytest.raises(InputError, match="30 preferences beside 29"):
        from_preferences(y, size[:29], size)
    with pytest.raises(InputError, match="unknown outcomes charm"):
        from_preferences(y, size, size, outcomes={"charm": (y, y)})
    with pytest.raises(InputError, match=r"0\.5 is neither 0 nor 1"):
        from_preferences(y, size, size, outcomes={"accuracy": (y, np.ones(30))})
    with pytest.raises(InputError):
        from_preferences(np.empty(0), np.empty(0), np.empty(0))
