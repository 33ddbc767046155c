"""Pooled and within-question areas: by hand, and what makes the pooled one mislead."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from tightrope.evaluation.auroc import area, areas
from tightrope.evaluation.stats import Bootstrap


def test_area_is_mann_whitneys_with_ties() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    expected = mannwhitneyu(scores[labels], scores[~labels]).statistic / (labels.sum() * (~labels).sum())
    assert area(scores, labels[None] * 1.0, ~labels[None] * 1.0)[0] == pytest.approx(expected)


def test_weights_are_repeated_rows() -> None:
    scores, labels, times = np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1.0]), np.array([2, 1, 3, 1.0])
    again = np.repeat(np.arange(4), times.astype(int))
    weighed = area(scores, (times * labels)[None], (times * (1 - labels))[None])
    assert weighed == pytest.approx(area(scores[again], labels[again][None], 1 - labels[again][None]))


def test_a_score_that_only_knows_easy_questions_looks_good_pooled_and_is_a_coin_within() -> None:
    rng = np.random.default_rng(1)
    easy = rng.random(300)
    groups = np.repeat(np.arange(300), 8)
    labels = rng.random(2400) < easy[groups]
    found = areas(Bootstrap(300, draws=300), easy[groups] + 0.01 * rng.random(2400), labels, groups)
    pooled, within = found["auc_pooled"], found["auc_within"]
    assert pooled["lower"] > 0.75
    assert within["lower"] < 0.5 < within["upper"] and within["upper"] - within["lower"] < 0.1
    assert within["n"] < 300


def test_one_class_only_is_withheld() -> None:
    found = areas(Bootstrap(2, draws=20), np.array([0.1, 0.2]), np.array([True, True]), np.array([0, 1]))
    assert found["auc_pooled"]["withheld"] == "all labels are alike" and found["auc_within"]["n"] == 0
