"""GSM8K: published flags and accuracies by the extractors that give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tightrope.leaderboards.gsm8k import gsm8k

DATA = Path(__file__).parents[3] / "shared" / "data" / "math"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def test_the_marked_number_gives_the_flags_of_openais_solutions() -> None:
    expected = json.loads((DATA / "gsm8k_model_solutions_expected.json").read_text())
    found = {row["model"]: row for row in gsm8k([DATA / "gsm8k_model_solutions.jsonl.gz"])["models"]}
    assert {name: row["published_correct"] for name, row in found.items()} == expected["correct"]
    # One label in the whole set is wrong; it is not among these rows.
    assert all(row["extractors"]["marker"]["agree_with_published"] == expected["n"] for row in found.values())


def test_the_last_number_of_mixtrals_responses() -> None:
    expected = json.loads((DATA / "gsm8k_mixtral_expected.json").read_text())
    (found,) = gsm8k([DATA / "gsm8k_mixtral_responses.csv.gz"])["models"]
    last = found["extractors"]["last_number"]
    assert (found["n"], found["published_correct"]) == (expected["n"], expected["published_correct"])
    assert last["correct"] == expected["last_number_correct"]
    assert last["agree_with_published"] == expected["agree"]
    assert found["extractors"]["strict"]["correct"] < last["correct"]


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini-2024-07-18", "Meta-Llama-3-8B-Instruct", "gemma-2-2b-it", "Qwen2-7B-Instruct"]
)
def test_zeroeval_accuracy(model: str) -> None:
    expected = json.loads((DATA / "zeroeval" / "expected.json").read_text())[model]
    (found,) = gsm8k([DATA / "zeroeval" / f"{model}.jsonl.gz"])["models"]
    field = found["extractors"]["json"]
    assert (found["n"], field["correct"]) == (expected["total"], expected["correct"])
    assert round(field["accuracy"], 2) == expected["published"]
    assert round(100 * (1 - field["answered"] / found["n"]), 2) == expected["pub_no_answer"]
