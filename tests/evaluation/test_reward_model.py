"""Accuracy beside the longer-wins rule, by length and author, calibration: on pairs whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import expit

from tightrope.errors import InputError, WorkError
from tightrope.evaluation.label_accuracy import measure_labels
from tightrope.evaluation.reward_model import JudgedPairs, calibration, measure_pairs
from tightrope.evaluation.reward_records import judged_pairs, measure_reward_model
from tightrope.evaluation.stats import Bootstrap
from tightrope.records import Comparison, Prompt, Ranking, Response, SafetyComparison, user_prompt
from tightrope.rewards.types import Scores


def pairs(gaps: Sequence[float], lengths: Sequence[tuple[int, int]], **fields: object) -> JudgedPairs:
    """Pairs whose model gaps and lengths are given, one prompt each."""
    rows = [
        Comparison(user_prompt(f"q{i}"), Response("a" * a, author="big"), Response("b" * b, author="small"))
        for i, (a, b) in enumerate(lengths)
    ]
    return JudgedPairs.of(rows, lambda asked: np.array(gaps, float))


class ByLength:
    """The model that learnt length alone."""

    name = "by length"

    def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> Scores:
        return np.array([0.01 * len(r.text) for _, r in answers], np.float32)


def test_a_model_of_length_gains_nothing_over_the_rule_and_is_undecided_without_length() -> None:
    draw = np.random.default_rng(1)
    lengths = [(int(a), int(b)) for a, b in draw.integers(1, 100, (300, 2))]
    rows = [
        Comparison(user_prompt(f"q{i}"), Response("a" * a), Response("b" * b)) for i, (a, b) in enumerate(lengths)
    ]
    measured = measure_reward_model(ByLength(), rows)
    scores, found = measured["scores"], measured["pairs"]
    assert (scores["lowest"], scores["highest"]) == pytest.approx((0.01, 0.99)), "each answer counts once"
    assert scores["length_spearman"] == pytest.approx(1) and scores["answers"] == 2 * found["pairs"]
    assert found["accuracy"]["value"] == found["always_the_longer"]["value"]
    assert found["gain"]["value"] == 0 and found["gain"]["lower"] <= 0 <= found["gain"]["upper"]
    assert found["length_correlation"] == pytest.approx(1, abs=1e-6)
    assert found["chosen_longer"]["value"] == 100 and found["chosen_shorter"]["value"] == 0


def test_accuracy_of_ties_bins_and_authors() -> None:
    lengths = [(10, 30), (10, 12), (10, 10), (30, 10), (40, 30), (100, 95)]
    found = measure_pairs(pairs([1.0, -1.0, 0.0, 2.0, 0.5, -0.5], lengths))
    assert found["accuracy"]["value"] == pytest.approx(100 * 3.5 / 6) and found["ties"] == 1
    assert found["always_the_longer"]["value"] == pytest.approx(100 * 3.5 / 6)
    assert [row["n"] for row in found["by_length"]] == [1, 1, 2, 1, 1]
    for row, expected in zip(found["by_length"], (100.0, 0.0, 25.0, 100.0, 100.0), strict=True):
        assert row["value"] == expected or "too few" in row["withheld"]  # one pair is no figure
    assert [row["always_the_longer"] for row in found["by_length"]] == [0.0, 0.0, 75.0, 100.0, 100.0]
    big, small = found["by_author"]
    assert (big["label"], big["preferred_by_labels"]) == ("big", 100.0)
    assert small["preferred_by_model"] == pytest.approx(100 - big["preferred_by_model"])
    assert big["value"] == small["value"] == found["accuracy"]["value"]
    assert big["always_the_longer"] == found["always_the_longer"]["value"]


def test_the_interval_counts_prompts_not_pairs() -> None:
    rows = [Comparison(user_prompt(f"q{i % 10}"), Response("yes"), Response("no")) for i in range(400)]
    gaps = [1.0 if (i % 10) < 6 else -1.0 for i in range(400)]
    many = measure_pairs(JudgedPairs.of(rows, lambda asked: np.array(gaps)))["accuracy"]
    few = measure_pairs(JudgedPairs.of(rows[:10], lambda asked: np.array(gaps[:10])))["accuracy"]
    assert many["value"] == few["value"] == 60
    assert many["upper"] - many["lower"] > 0.8 * (few["upper"] - few["lower"])


def test_honest_confidence_is_calibrated_and_doubled_confidence_is_not() -> None:
    draw = np.random.default_rng(0)
    gaps = draw.normal(size=20_000)
    right = (draw.random(20_000) < expit(np.abs(gaps))).astype(float)
    boot, groups = Bootstrap(100, draws=200), np.arange(20_000) % 100
    honest = calibration(boot, expit(np.abs(gaps)), right, groups)
    loud = calibration(boot, expit(np.abs(3 * gaps)), right, groups)
    assert honest["ece"] < 0.015 < 0.1 < loud["ece"]
    assert honest["nll"] < loud["nll"] and honest["brier"] < loud["brier"]
    assert len(honest["bins"]) == 10 and sum(b["n"] for b in honest["bins"]) == 20_000
    inside = [sum(b["lower"] <= b["confidence"] <= b["upper"] for b in found["bins"]) for found in (honest, loud)]
    assert inside[0] >= 9 and inside[1] <= 2
    assert len(calibration(boot, expit(np.abs(gaps[:30])), right[:30], groups[:30])["bins"]) == 1


def test_labels_beside_the_commoner_one() -> None:
    said, true = np.array([0.9, 0.8, 0.2, 0.6]), [True, True, False, False]
    found = measure_labels(said, true, ["a", "a", "b", "c"], [1, 1, 1, 1])
    assert found["accuracy"]["value"] == 75 and found["always_the_commoner"] == 50
    assert found["found_false"]["value"] == 50 and found["found_true"]["value"] == 100
    assert found["groups"] == 3 and found["auc_pooled"]["withheld"], "three questions: resamples often have one class"
    assert found["auc_within"]["withheld"] == "no question has both a right and a wrong answer"
    many = measure_labels(np.tile(said, 10), true * 10, list(range(40)), [5, 2, 3, 2] * 10)
    assert many["auc_pooled"]["value"] == 1.0 and many["by_length_alone"]["auc_pooled"]["value"] == 0.625


def test_length_alone_stands_beside_the_areas_of_labels() -> None:
    """Two questions: the right answer is the longer one in the first and the shorter one in the second."""
    found = measure_labels(np.array([0.9, 0.1, 0.8, 0.3]), [True, False] * 2, ["a", "a", "b", "b"], [9, 4, 2, 7])
    assert found["auc_within"]["value"] == 1.0 and found["by_length_alone"]["auc_within"]["value"] == 0.5


def test_accuracy_by_the_margin_the_labels_give() -> None:
    def rows(*margins: float | None) -> list[Comparison]:
        pair = Response("yes"), Response("no")
        return [Comparison(user_prompt(f"q{i}"), *pair, margin) for i, margin in enumerate(margins)]

    gaps = np.array([1.0, -1.0, 1.0, 1.0, 0.0])
    found = measure_pairs(JudgedPairs.of(rows(0, 0, 2, 2, None), lambda asked: gaps))["by_margin"]
    assert [(row["label"], row["n"]) for row in found] == [("labelled margin 0", 2), ("labelled margin 2", 2)]
    assert [row["value"] for row in found] == [50.0, 100.0]
    many = JudgedPairs.of(rows(*np.arange(40.0)), lambda asked: np.ones(40))
    assert [row["n"] for row in measure_pairs(many)["by_margin"]] == [10, 10, 10, 10]
    rounded = measure_pairs(JudgedPairs.of(rows(0.8 - 0.6, 0.4 - 0.2, 1), lambda asked: gaps[:3]))["by_margin"]
    assert [(row["label"], row["n"]) for row in rounded] == [("labelled margin 0.2", 2), ("labelled margin 1", 1)]
    assert measure_pairs(JudgedPairs.of(rows(1, 1), lambda asked: np.ones(2)))["by_margin"] == []


def test_rankings_and_safety_comparisons_give_their_pairs() -> None:
    prompt, texts = user_prompt("q"), tuple(Response(x) for x in "abcd")
    ranked = judged_pairs([Ranking(prompt, texts, (1, 0, 1, 2))])
    assert {(c.chosen.text, c.rejected.text) for c in ranked} == {
        ("b", "a"), ("b", "c"), ("b", "d"), ("a", "d"), ("c", "d")
    }  # fmt: skip
    dual = SafetyComparison(prompt, texts[:2], better=0, safer=1, safe=(False, True))
    assert judged_pairs([dual])[0].chosen.text == "a" and judged_pairs([dual], harm=True)[0].chosen.text == "b"
    assert judged_pairs([Comparison(prompt, texts[0], texts[0])]) == []


def test_nothing_to_measure_and_broken_scores_are_errors() -> None:
    with pytest.raises(InputError, match="cannot be measured on records of kind prompt"):
        measure_reward_model(ByLength(), [user_prompt("q")])
    with pytest.raises(WorkError, match="1 of 1 scores"):
        pairs([np.nan], [(1, 2)])


def test_rankings_of_three_say_how_often_the_best_comes_first() -> None:
    rows = [
        Ranking(user_prompt(f"q{i}"), tuple(Response("x" * n) for n in lengths), ranks)
        for i, (lengths, ranks) in enumerate(
            [
                ((9, 5, 1), (0, 1, 2)),
                ((9, 5, 1), (2, 1, 0)),
                ((4, 4, 1, 2), (0, 1, 0, 2)),
                ((3, 8), (0, 1)),
                ((1, 2, 3), (0, 0, 0)),
            ]
        )
    ]
    found = measure_reward_model(ByLength(), rows)["rankings"]
    assert (found["rankings"], found["responses"]) == (3, 10)  # two responses are a pair and stand there
    assert found["left_out"] == {"of two responses": 1, "all tied": 1}
    assert found["best_first"]["value"] == pytest.approx(100 * (1 + 0 + 0.5) / 3)  # the top of the third is shared
    assert found["longest_first"]["value"] == found["best_first"]["value"]
    assert found["chance"] == pytest.approx(100 * (1 / 3 + 1 / 3 + 2 / 4) / 3)
    assert "rankings" not in measure_reward_model(ByLength(), rows[3:])


def test_every_held_out_answer_is_read_once_however_many_pairs_it_is_in() -> None:
    read: list[str] = []

    class Reading:
        name = "reading"

        def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> Scores:
            read.extend(response.text for _, response in answers)
            return np.array([len(response.text) for _, response in answers], np.float32)

    texts = ("one", "three", "a", "eleven!")
    rows = [Ranking(user_prompt(f"q{i}"), tuple(Response(t) for t in texts), (2, 1, 3, 0)) for i in range(3)]
    found = measure_reward_model(Reading(), rows)
    assert (found["pairs"]["pairs"], found["pairs"]["accuracy"]["value"]) == (3 * 6, 100.0)
    assert sorted(read) == sorted(texts * 3)
