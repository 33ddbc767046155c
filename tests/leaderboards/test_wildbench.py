"""WildBench on made-up rows: worked numbers, the length margin, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.leaderboards.files import csv, jsonl
from tightrope.errors import InputError
from tightrope.leaderboards import wildbench as wb
from tightrope.leaderboards.wildbench_files import wildbench

NAMES = ("Creative Tasks", "Planning & Reasoning", "Math & Data Analysis", "Information/Advice seeking")


def test_task_macro_of_the_worked_example() -> None:
    by_task = dict(zip((*NAMES, "Coding & Debugging"), (3.0, 4.0, 2.0, 5.0, 1.0), strict=True))
    assert wb.task_macro(by_task) == pytest.approx(2.842105, abs=1e-6)
    del by_task["Coding & Debugging"]
    assert wb.task_macro(by_task) is None


def test_reward_of_the_worked_example() -> None:
    counts = {"win_much": 10, "win": 30, "tie": 20, "lose": 25, "lose_much": 15}
    assert 100 * wb.reward(counts, 100) == pytest.approx(-2.5)


def test_only_slight_wins_by_more_than_the_margin_become_ties() -> None:
    assert wb.verdict("model", 1, 1501, 1000, margin=500) == "tie"
    assert wb.verdict("model", 1, 1500, 1000, margin=500) == "win"  # strictly more
    assert wb.verdict("model", 2, 9000, 1000, margin=500) == "win_much"
    assert wb.verdict("reference", 1, 1000, 1501, margin=500) == "tie"
    assert wb.verdict("reference", 1, 9000, 1000, margin=500) == "lose"
    assert wb.verdict("model", 1, 9000, 1000, margin=-1) == "win"
    assert wb.verdict("tie", 0, 9000, 1000, margin=0) == "tie"


def test_tags_make_groups_each_once() -> None:
    assert wb.groups(["Math", "Data Analysis", "Planning"]) == ["Math & Data Analysis", "Planning & Reasoning"]


def test_empty_answers_count_in_the_mean_and_neither_in_length_nor_in_tasks(tmp_path: Path) -> None:
    rows = ["m,1,9,100", "m,2,1,0", "m,3,5,300", "m,4,,50"]
    file = csv(tmp_path / "s.csv", "model,session_id,score,len_output", rows)
    tags = [{"id": str(i), "primary_tag": "Math", "secondary_tags": ["Planning"]} for i in range(1, 5)]
    (found,) = wildbench([file], tasks=jsonl(tmp_path / "t.jsonl", tags))["models"]
    assert (found["n"], found["empty"], found["dropped"]) == (3, 1, {"no score": 1})
    assert found["score"] == pytest.approx(5.0) and found["adjusted"] == pytest.approx(0.0)
    assert found["mean_length"] == pytest.approx(200.0)
    assert found["tasks"]["Math & Data Analysis"] == pytest.approx(4.0)
    assert found["task_macro"] is None  # three of the five groups have no item


def _comparison(item: str, winner: str, extent: int, mine: str, other: str) -> dict[str, Any]:
    return {"session_id": item, "winner": winner, "extent": extent, "model_outputs": {"m": mine, "ref": other}}


def test_comparisons_are_counted_with_texts_skipped_where_empty_or_truncated(tmp_path: Path) -> None:
    rows = [
        _comparison("1", "m", 1, "x" * 700, "y" * 100),
        _comparison("2", "m", 2, "x" * 700, "y" * 100),
        _comparison("3", "ref", 1, "x" * 10, "y" * 20),
        _comparison("4", "tie", 0, "x" * 10, "y" * 20),
        _comparison("5", "m", 2, wb.EMPTY, "y" * 20),
        _comparison("6", "ref", 2, "x" * 10, "y" + wb.TRUNCATED),
    ]
    file = jsonl(tmp_path / "c.jsonl", rows)
    (off,) = wildbench([file], reference="ref")["models"]
    assert (off["n"], off["skipped"], off["win"], off["tie"]) == (6, 2, 1, 1)
    assert off["reward"] == pytest.approx((1 + 0.5 - 0.5) / 6)
    (on,) = wildbench([file], reference="ref", length_margin=500)["models"]
    assert (on["win"], on["tie"], on["win_much"]) == (0, 2, 1)
    assert on["mean_length"] == pytest.approx(np.mean([700, 700, 10, 10]))


def test_published_tables_of_counts_are_recounted(tmp_path: Path) -> None:
    counts = {"win_much": 1, "win": 2, "tie": 3, "lose": 2, "lose_much": 0}
    row = {**counts, "total": 10, "task_categorized_results": dict.fromkeys(wb.TASK_WEIGHTS, counts)}
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"m": row}))
    (found,) = wildbench([file])["models"]
    assert found["reward"] == pytest.approx(0.1) and found["skipped"] == 2
    assert found["task_macro"] == pytest.approx(1 / 8)
    file.write_text(json.dumps({"m": {**row, "total": 5}}))
    with pytest.raises(InputError, match="exceed"):
        wildbench([file])
    file.write_text(json.dumps({"m": {"total": 5}}))
    with pytest.raises(InputError, match="no counts"):
        wildbench([file])


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    twice = csv(tmp_path / "s.csv", "model,session_id,score,len_output", ["m,1,9,1", "m,1,8,1"])
    with pytest.raises(InputError, match="model and item"):
        wildbench([twice])
    silent = csv(tmp_path / "n.csv", "model,session_id,score,len_output", ["m,1,,1", "k,1,5,1"])
    with pytest.raises(InputError, match="no answer of m has a score"):
        wildbench([silent])
    for score in ("11", "0", "-1"):
        above = csv(tmp_path / "a.csv", "model,session_id,score,len_output", ["m,1,10,1", f"m,2,{score},1"])
        with pytest.raises(InputError, match=rf"a\.csv:3: `score` is {score}; the judge's scores are 1 to 10"):
            wildbench([above])
    once = csv(tmp_path / "o.csv", "model,session_id,score,len_output", ["m,1,9,1"])
    with pytest.raises(InputError, match="tasks of 1 are not known"):
        wildbench([once], tasks=jsonl(tmp_path / "t.jsonl", [{"id": "2", "primary_tag": "Math"}]))
    with pytest.raises(InputError, match="known task"):
        wildbench([once], tasks=jsonl(tmp_path / "t.jsonl", [{"id": "1", "primary_tag": "Sports"}]))
    pair = jsonl(tmp_path / "c.jsonl", [_comparison("1", "third", 1, "x", "y")])
    with pytest.raises(InputError, match="winner 'third'"):
        wildbench([pair], reference="ref")
    with pytest.raises(InputError, match="reference"):
        wildbench([pair], reference="absent")


def test_a_model_in_two_files_is_refused_unless_the_figure_is_another(tmp_path: Path) -> None:
    scores = ["model,session_id,score,len_output", "m,a,7,100", "m,b,8,90"]
    more = ["model,session_id,score,len_output", "m,c,1,100"]
    verdicts = ["model,session_id,winner,extent,len_model,len_reference", "m,a,model,1,10,12"]
    paths = []
    for name, rows in (("scores", scores), ("more", more), ("verdicts", verdicts)):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert len(wildbench([paths[0], paths[2]])["models"]) == 2
    with pytest.raises(InputError, match="in more than one file: m \\(score\\)"):
        wildbench(paths[:2])
