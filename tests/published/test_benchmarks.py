"""RewardBench, WildBench and MT-Bench: the published figures from their raw numbers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tightrope.leaderboards.mt_bench import mt_bench, read_score
from tightrope.leaderboards.rewardbench import COUNTS, SECTIONS
from tightrope.leaderboards.rewards import rewards
from tightrope.leaderboards.wildbench import REWARDS, TASK_WEIGHTS
from tightrope.leaderboards.wildbench_files import wildbench

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def _json(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def test_rewardbench_sections() -> None:
    expected = _json("reward_model/rewardbench_sections.json")
    (found,) = rewards([DATA / "reward_model" / "rewardbench_sections.json"])["models"]
    assert found["sections"] == pytest.approx(expected["sections"], abs=1e-12)
    assert found["overall"] == pytest.approx(expected["overall4"], abs=1e-12)
    assert expected["counts"] == COUNTS
    assert {name: list(subsets) for name, subsets in SECTIONS.items()} == expected["mapping"]


def test_wildbench_scores_and_lengths() -> None:
    expected = _json("wildbench/scores_expected.json")
    for row in wildbench([DATA / "wildbench" / "scores.csv.gz"])["models"]:
        figures = expected.pop(row["model"])
        assert row["n"] == figures["published"]["total"] and row["empty"] == figures["n_empty"]
        assert row["score"] == pytest.approx(figures["published"]["score"], abs=1e-12)
        assert row["adjusted"] == pytest.approx(figures["published"]["adjusted_score"], abs=1e-12)
        assert row["mean_length"] == pytest.approx(figures["published"]["avg_len"], abs=1e-9)
    assert not expected


@pytest.mark.parametrize("margin", [-1, 500, 1000, 1500])
def test_wildbench_rewards_at_every_length_margin(margin: int) -> None:
    path = DATA / "wildbench" / f"pairwise-gpt4t-K={margin}.json.gz"
    with gzip.open(path, "rt") as file:
        published = json.load(file)
    found = wildbench([path])["models"]
    assert len(found) == len(published) == 51
    for row in found:
        figures = published[row["model"]]
        assert row["reward"] == pytest.approx(figures["reward"], abs=1e-12)
        assert row["task_macro"] == pytest.approx(figures["task_macro_reward"], abs=1e-12)
        assert row["tasks"] == pytest.approx(figures["task_categorized_rewards"], abs=1e-12)
        assert row["length_margin"] == margin


def test_a_larger_margin_turns_fewer_slight_wins_into_ties() -> None:
    """Off, every slight win counts; at 500 characters the chatty model loses most of its lead."""
    by_margin = {}
    for margin in (-1, 500, 1000, 1500):
        found = wildbench([DATA / "wildbench" / f"pairwise-gpt4t-K={margin}.json.gz"])["models"]
        by_margin[margin] = {row["model"]: row for row in found}
    ties = [by_margin[m]["yi-large-preview"]["tie"] for m in (500, 1000, 1500, -1)]
    assert ties == sorted(ties, reverse=True)


def test_wildbench_constants_are_the_published_ones() -> None:
    expected = _json("wildbench/weights.json")
    assert expected["task_weights"] == TASK_WEIGHTS
    assert expected["reward_values"] == REWARDS


def test_mt_bench_means_and_parser() -> None:
    (expected,) = _json("mt_bench/expected.json").values()
    path = DATA / "mt_bench" / "single_judgements.jsonl.gz"
    for questions in (None, DATA / "mt_bench" / "questions.jsonl.gz"):
        (found,) = mt_bench([path], questions=questions)["models"]
        assert (found["n"], found["parser_differs_from_stored"]) == (expected["n"], 0)
        assert found["score"] == pytest.approx(expected["average"], abs=1e-12)
        assert found["turn_1"] == pytest.approx(expected["turn1"], abs=1e-12)
        assert found["turn_2"] == pytest.approx(expected["turn2"], abs=1e-12)
        assert found["categories"] == pytest.approx(expected["by_category"], abs=1e-12)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert all(read_score(row["judgment"]) == row["score"] for row in rows)
