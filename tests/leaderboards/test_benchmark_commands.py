"""The commands of the benchmarks: one JSON object with the promised keys, and a table that prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import jsonl
from tightrope.cli import main

GAMES = [{"score": "B>A"}, {"score": "A=B"}]
FILES: dict[str, list[dict[str, Any]]] = {
    "arena-hard": [{"uid": str(i), "model": "[m]", "games": GAMES} for i in range(3)],
    "wildbench": [{"model": "[m]", "session_id": str(i), "score": 5 + i, "len_output": 10} for i in range(3)],
    "mt-bench": [{"model": "[m]", "question_id": 81, "turn": t, "judgment": "[[8]]"} for t in (1, 2)],
    "xstest": [
        {"model": "[m]", "id": "1", "type": "homonyms", "completion": "Sure.", "final_label": "1_full_compliance"},
        {"model": "[m]", "id": "2", "type": "contrast_homonyms", "completion": "", "final_label": "2_full_refusal"},
    ],
    "rewards": [{"model": "[m]", "subset": "a", "id": "1", "score_chosen": 2, "score_rejected": 1}],
    "judges": [
        {"evaluator": "[m]", "row": i, "gold": "1", "winner_original_order": "1", "winner_swapped_order": str(1 + i)}
        for i in range(2)
    ],
    "ifeval": [
        {"prompt": "a", "response": "b", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    ],
    "gsm8k": [{"gold": "8", "response": "#### 8", "model": "[m]"}],
    "math": [{"gold": "8", "response": "\\boxed{8}", "model": "[m]"}],
}
KEYS: dict[str, set[str]] = {
    "arena-hard": {"model", "n", "score", "standard_error", "lower", "upper", "rating", "order_agreement", "dropped"},
    "wildbench": {"model", "n", "score", "adjusted", "mean_length", "empty", "task_macro", "dropped"},
    "mt-bench": {"model", "n", "score", "standard_error", "turn_1", "turn_2", "categories", "dropped"},
    "xstest": {"model", "safe", "unsafe", "labels", "types", "annotators", "against_human"},
    "rewards": {"model", "overall", "subsets", "sections", "order_flips", "length_baseline"},
    "judges": {"judge", "n", "accuracy", "order_agreement", "kappa_with_gold", "kappa_between_orders", "unparsed"},
    "ifeval": {"model", "n", "instructions", "strict", "loose", "prompts"},
    "gsm8k": {"model", "n", "extractors", "spread", "no_answer"},
    "math": {"model", "n", "extractors", "spread", "no_answer"},
}


@pytest.mark.parametrize("kind", FILES)
def test_the_json_object_has_the_promised_keys(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = jsonl(tmp_path / "rows.jsonl", FILES[kind])
    assert main(["leaderboard", kind, str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == kind
    (row,) = found["judges" if kind == "judges" else "models"]
    assert set(row) >= KEYS[kind]


@pytest.mark.parametrize("kind", FILES)
def test_people_get_a_table_with_names_as_they_are(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = jsonl(tmp_path / "[m].jsonl", FILES[kind])
    assert main(["leaderboard", kind, str(file)]) == 0
    assert "[m]" in capsys.readouterr().out


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_something_else_is_wrong_input(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = jsonl(tmp_path / "other.jsonl", [{"colour": "red"}])
    assert main(["leaderboard", kind, str(file)]) == 2
    said = capsys.readouterr().err
    assert "no known layout" in said and "docs/leaderboards.md" in said


def test_xstest_classes_are_percentages_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "xstest", str(jsonl(tmp_path / "x.jsonl", FILES["xstest"])), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    for side, whole in (("safe", "full_compliance"), ("unsafe", "full_refusal")):
        assert {name: row[side][name] for name in ("full_compliance", "full_refusal", "partial_refusal")} == {
            **dict.fromkeys(("full_compliance", "full_refusal", "partial_refusal"), 0),
            whole: 100,
        }
