"""RewardBench, WildBench and MT-Bench: the published figures from their raw numbers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.published.conftest import Compare
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
REWARDBENCH = "RewardBench, PKU-Alignment/beaver-7b-v1.0-cost (allenai/reward-bench; sections by its own constants)"
WILDBENCH = "WildBench (allenai/WildBench)"
MT_BENCH = "MT-Bench, Mixtral-8x7B-Instruct (lm-sys/FastChat)"


def _json(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def test_rewardbench_sections(compare: Compare) -> None:
    expected = _json("reward_model/rewardbench_sections.json")
    (found,) = rewards([DATA / "reward_model" / "rewardbench_sections.json"])["models"]
    compare(REWARDBENCH, "section", found["sections"], expected["sections"], tolerance=1e-12)
    compare(REWARDBENCH, "mean of the sections", found["overall"], expected["overall4"], tolerance=1e-12)
    assert expected["counts"] == COUNTS
    assert {name: list(subsets) for name, subsets in SECTIONS.items()} == expected["mapping"]


def test_wildbench_scores_and_lengths(compare: Compare) -> None:
    expected = _json("wildbench/scores_expected.json")
    rows = {row["model"]: row for row in wildbench([DATA / "wildbench" / "scores.csv.gz"])["models"]}
    assert set(rows) == set(expected)
    for key, to in (("n", "total"), ("score", "score"), ("adjusted", "adjusted_score"), ("mean_length", "avg_len")):
        ours = {name: row[key] for name, row in rows.items()}
        theirs = {name: figures["published"][to] for name, figures in expected.items()}
        compare(WILDBENCH, key.replace("_", " "), ours, theirs, tolerance=1e-9 if key == "mean_length" else 1e-12)
    assert {name: row["empty"] for name, row in rows.items()} == {k: v["n_empty"] for k, v in expected.items()}


@pytest.mark.parametrize("margin", [-1, 500, 1000, 1500])
def test_wildbench_rewards_at_every_length_margin(margin: int, compare: Compare) -> None:
    path = DATA / "wildbench" / f"pairwise-gpt4t-K={margin}.json.gz"
    with gzip.open(path, "rt") as file:
        published = json.load(file)
    found = wildbench([path])["models"]
    assert len(found) == len(published) == 51
    where = f"length margin {margin if margin >= 0 else 'off'}"
    for key, to in (("reward", "reward"), ("task_macro", "task_macro_reward")):
        ours = {row["model"]: row[key] for row in found}
        theirs = {name: figures[to] for name, figures in published.items()}
        compare(WILDBENCH, f"{to.replace('_', ' ')}, {where}", ours, theirs, tolerance=1e-12)
    for row in found:
        assert row["tasks"] == pytest.approx(published[row["model"]]["task_categorized_rewards"], abs=1e-12)
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


def test_mt_bench_means_and_parser(compare: Compare) -> None:
    (expected,) = _json("mt_bench/expected.json").values()
    path = DATA / "mt_bench" / "single_judgements.jsonl.gz"
    for questions in (None, DATA / "mt_bench" / "questions.jsonl.gz"):
        (found,) = mt_bench([path], questions=questions)["models"]
        assert (found["n"], found["parser_differs_from_stored"]) == (expected["n"], 0)
    theirs = {"score": expected["average"], "turn_1": expected["turn1"], "turn_2": expected["turn2"]}
    compare(MT_BENCH, "mean grade", found, theirs, tolerance=1e-12)
    compare(MT_BENCH, "mean grade", found["categories"], expected["by_category"], tolerance=1e-12)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert all(read_score(row["judgment"]) == row["score"] for row in rows)
