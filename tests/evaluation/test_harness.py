"""lm-evaluation-harness logs of two runs: paired differences, filters apart, and what does not match is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tightrope.cli.measure_commands import harness_command
from tightrope.errors import InputError
from tightrope.evaluation.harness import compare, items, logged

DATE = "2026-11-25T10-00-00.123456"


def write(folder: Path, task: str, rows: list[dict[str, Any]], date: str = DATE) -> Path:
    path = folder / "model" / f"samples_{task}_{date}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder


def acc(values: list[float], **more: Any) -> list[dict[str, Any]]:
    return [{"doc_id": i, "doc": {"q": i}, "doc_hash": f"h{i}", "acc": v, **more} for i, v in enumerate(values)]


def test_differences_are_paired(tmp_path: Path) -> None:
    before = write(tmp_path / "b", "arc_easy", acc([1, 0, 1, 0] * 50))
    after = write(tmp_path / "a", "arc_easy", acc([1, 1, 1, 0] * 50))
    (row,) = compare(before, after)["tasks"]
    figure = row["figure"]
    assert (row["task"], row["metric"], row["one_run_only"]) == ("arc_easy", "acc", 0)
    assert figure["value"] == pytest.approx(25) and figure["n"] == 200
    assert (figure["reference"], figure["model"]) == (50, 75)
    # Unpaired, two shares of 200 items would be uncertain by 9 points; a quarter that all turned is known to 6.
    assert 15 < figure["lower"] < 25 < figure["upper"] < 35


def test_filters_and_metrics_are_kept_apart(tmp_path: Path) -> None:
    rows = acc([0, 1], filter="strict-match", metrics=["acc"]) + acc([1, 1], filter="flexible-extract", metrics=["acc"])
    folder = write(tmp_path / "b", "gsm8k_cot", rows)
    assert sorted(items(logged(folder)["gsm8k_cot"])) == [("flexible-extract", "acc"), ("strict-match", "acc")]


def test_the_newest_log_of_a_task_counts_and_other_tasks_are_named(tmp_path: Path) -> None:
    before = write(tmp_path / "b", "arc", acc([0, 0]), date="2026-01-01T10-00-00.1")
    write(before, "arc", acc([1, 1]))
    write(before, "piqa", acc([1, 1]))
    after = write(tmp_path / "a", "arc", acc([1, 1]))
    found = harness_command(str(after), str(before), tasks=[], out=tmp_path / "out", limit=None, seed=0)
    assert found["tasks"][0]["figure"]["value"] == 0 and found["left_out"] == ["piqa"]


def test_metrics_of_one_run_only_are_named_and_no_common_metric_is_refused(tmp_path: Path) -> None:
    before = write(tmp_path / "b", "arc", acc([0, 1], acc_norm=1.0))
    after = write(tmp_path / "a", "arc", acc([0, 1]))
    found = compare(before, after)
    assert [row["metric"] for row in found["tasks"]] == ["acc"] and found["left_out"] == ["arc: acc_norm (none)"]
    other = write(tmp_path / "o", "arc", [{"doc_id": 0, "doc_hash": "h0", "f1": 1.0}])
    with pytest.raises(InputError, match="no metric in common"):
        compare(before, other)


def test_other_items_repeated_items_and_no_logs_are_refused(tmp_path: Path) -> None:
    before = write(tmp_path / "b", "arc", acc([0, 1]))
    other = write(tmp_path / "o", "arc", [{**row, "doc_hash": "x"} for row in acc([0, 1])])
    with pytest.raises(InputError, match="2 items are not the same in both runs"):
        compare(before, other)
    twice = write(tmp_path / "t", "arc", acc([0]) * 2)
    with pytest.raises(InputError, match="item 0 stands twice"):
        compare(before, twice)
    with pytest.raises(InputError, match="no samples"):
        compare(tmp_path / "nothing", before)
    with pytest.raises(InputError, match="no task is named"):
        harness_command("embedded", str(before), tasks=[], out=tmp_path / "out", limit=None, seed=0)
