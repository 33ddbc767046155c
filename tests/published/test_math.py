"""GSM8K: published flags and accuracies by the extractors that give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.gsm8k import gsm8k

DATA = Path(__file__).parents[3] / "shared" / "data" / "math"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
SOLUTIONS = "GSM8K, solutions of four systems (openai/grade-school-math)"
MIXTRAL = "GSM8K, Mixtral's responses (RouteLLM)"
ZEROEVAL = "GSM8K by ZeroEval (WildEval/ZeroEval)"


def test_the_marked_number_gives_the_flags_of_openais_solutions(compare: Compare) -> None:
    expected = json.loads((DATA / "gsm8k_model_solutions_expected.json").read_text())
    found = {row["model"]: row for row in gsm8k([DATA / "gsm8k_model_solutions.jsonl.gz"])["models"]}
    ours = {name: row["extractors"]["marker"]["correct"] for name, row in found.items()}
    compare(SOLUTIONS, "right by the number after the mark", ours, expected["correct"])
    # One label in the whole set is wrong; it is not among these rows.
    assert all(row["extractors"]["marker"]["agree_with_published"] == expected["n"] for row in found.values())


def test_the_last_number_of_mixtrals_responses(compare: Compare) -> None:
    expected = json.loads((DATA / "gsm8k_mixtral_expected.json").read_text())
    (found,) = gsm8k([DATA / "gsm8k_mixtral_responses.csv.gz"])["models"]
    last = found["extractors"]["last_number"]
    ours = {
        "responses": found["n"],
        "marked correct": found["published_correct"],
        "right by the last number": last["correct"],
        "the two agree": last["agree_with_published"],
    }
    keys = ("n", "published_correct", "last_number_correct", "agree")
    compare(MIXTRAL, "counted", ours, dict(zip(ours, (expected[key] for key in keys), strict=True)))
    assert found["extractors"]["strict"]["correct"] < last["correct"]


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini-2024-07-18", "Meta-Llama-3-8B-Instruct", "gemma-2-2b-it", "Qwen2-7B-Instruct"]
)
def test_zeroeval_accuracy(model: str, compare: Compare) -> None:
    expected = json.loads((DATA / "zeroeval" / "expected.json").read_text())[model]
    (found,) = gsm8k([DATA / "zeroeval" / f"{model}.jsonl.gz"])["models"]
    field = found["extractors"]["json"]
    assert (found["n"], field["correct"]) == (expected["total"], expected["correct"])
    ours = {
        "accuracy": field["accuracy"],
        "without an answer, %": 100 * (1 - field["answered"] / found["n"]),
        "characters of reasoning": found["reasoning_chars"],
    }
    keys = ("published", "pub_no_answer", "pub_reason_len")
    compare(ZEROEVAL, model, ours, dict(zip(ours, (expected[key] for key in keys), strict=True)), tolerance=0.005)
