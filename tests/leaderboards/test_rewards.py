"""Reward models on made-up pairs: ties, sections, both orders, and the longer answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import csv, jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.rewardbench import COUNTS, PRIOR_SETS, overall, sections
from tightrope.leaderboards.rewards import rewards


def test_overall_of_the_worked_example() -> None:
    found = overall({"Chat": 90, "Chat Hard": 60, "Safety": 80, "Reasoning": 70}, 65)
    assert found["overall"] == pytest.approx(73.888889, abs=1e-6)
    assert overall({"Chat": 90, "Chat Hard": 60, "Safety": 80, "Reasoning": None}, 65)["overall"] is None


def test_a_section_weighs_subsets_by_their_counts_and_needs_all_of_them() -> None:
    subsets = dict.fromkeys(COUNTS, 0.5) | {"math-prm": 1.0}
    assert sections(subsets)["Reasoning"] == pytest.approx(0.75)  # 984 against six times 164
    del subsets["hep-rust"]
    assert sections(subsets)["Reasoning"] is None


def test_a_tie_of_scores_is_wrong(tmp_path: Path) -> None:
    rows = ["m,a,1,2.0,1.0", "m,a,2,1.0,1.0", "m,b,1,0.5,1.0", "m,b,2,3,1"]
    (found,) = rewards([csv(tmp_path / "s.csv", "model,subset,id,score_chosen,score_rejected", rows)])["models"]
    assert found["subsets"] == {"a": 0.5, "b": 0.5} and found["overall"] == 0.5
    assert (found["overall_of"], found["order_flips"], found["length_baseline"]) == ("all pairs", None, None)


def test_the_longer_answer_stands_beside_every_subset(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"subset": "a", "id": "1", "chosen": "long answer", "rejected": "short"},
        {"subset": "a", "id": "2", "chosen": "no", "rejected": "long answer"},
        {"subset": "b", "id": "1", "chosen": "same", "rejected": "size"},
    ]
    rows = [{"model": "m", "results": 0.5, **row} for row in rows]
    (found,) = rewards([jsonl(tmp_path / "r.jsonl", rows)])["models"]
    assert found["length_baseline"] == 0.5 and found["length_baselines"] == {"a": 0.5, "b": None}
    assert found["overall"] == 0.5


def _judged(pair: str, label: str, *decisions: str | None, **more: Any) -> dict[str, Any]:
    said = [{"judgment": {"judge_model": "j"}, "decision": d} for d in decisions]
    return {"pair_id": pair, "label": label, "judgments": said, **more}


def test_contradicting_orders_are_a_flip_and_no_right_answer(tmp_path: Path) -> None:
    rows = [
        _judged("1", "A>B", "A>B", "B>A"),  # right in both orders
        _judged("2", "A>B", "A>B", "A>B"),  # the first answer both times
        _judged("3", "B>A", "B>A", None),  # right once, unread once
        _judged("4", "B>A", "A=B", "A=B"),
    ]
    (found,) = rewards([jsonl(tmp_path / "j.jsonl", rows)])["models"]
    assert (found["model"], found["overall"], found["unparsed"]) == ("j", 0.5, 1)
    assert found["order_flips"] == 0.5


def test_a_results_object_of_rewardbench(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    subsets = dict.fromkeys(COUNTS, 0.8)
    file.write_text(json.dumps({"model": "m", "chat_template": "x", **subsets, **dict.fromkeys(PRIOR_SETS, 0.35)}))
    (found,) = rewards([file])["models"]
    assert found["overall"] == pytest.approx((4 * 0.8 + 0.5 * 0.35) / 4.5)
    file.write_text(json.dumps({"model": "m", "subset": subsets | {"hep-go": 80.0}}))
    with pytest.raises(InputError, match="share from 0 to 1"):
        rewards([file])
    file.write_text(json.dumps({"model": "m"}))
    with pytest.raises(InputError, match="no accuracy"):
        rewards([file])


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([_judged("1", "A>B", "A>B"), _judged("1", "A>B", "A>B")], "judge and pair"),
        ([_judged("1", "A", "A>B")], "`label` is 'A'"),
        ([{**_judged("1", "A>B"), "judgments": "A>B"}], "list of one or two"),
        ([{"model": "m", "subset": "a", "id": "1", "results": 3}], "`results` is 3"),
    ],
)
def test_what_cannot_be_counted_is_refused(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        rewards([jsonl(tmp_path / "j.jsonl", rows)])


def test_texts_of_llmbar_may_be_a_csv(tmp_path: Path) -> None:
    verdicts = ["LLMBar/A/evaluators/j,0,1,1,2", "LLMBar/A/evaluators/j,1,2,2,2"]
    said = csv(tmp_path / "v.csv", "evaluator,row,gold,winner_original_order,winner_swapped_order", verdicts)
    texts = csv(tmp_path / "t.csv", "subset,row,output_1,output_2,label", ["A,0,longer,short,1", "A,1,longer,short,2"])
    (found,) = rewards([said, texts])["models"]
    assert (found["overall"], found["order_flips"], found["length_baseline"]) == (0.75, 0.5, 0.5)
