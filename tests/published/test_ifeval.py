"""IFEval: GPT-4's published answers under our checkers against the published decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.ifeval import compared, ifeval

DATA = Path(__file__).parents[3] / "shared" / "data" / "ifeval"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
SOURCE = "IFEval, GPT-4 on every other prompt (google-research/instruction_following_eval, its deterministic checkers)"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return ifeval([DATA / "gpt4_responses_half.jsonl.gz"], prompts=DATA / "prompts.jsonl.gz")["models"][0]


@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_all_decisions_but_one_are_the_published_ones(found: dict[str, Any], mode: str, compare: Compare) -> None:
    expected = json.loads((DATA / "expected_half.json").read_text())["deterministic_checker"][mode]
    assert (found["n"], found["instructions"]) == (expected["prompts"], expected["instructions"])
    differ = [
        (key, i)
        for key, theirs in expected["per_prompt"].items()
        for i, (a, b) in enumerate(zip(found["prompts"][key][mode], theirs, strict=True))
        if a != b
    ]
    # Three capital words without a common word among them: not English by our rule, English to langdetect.
    assert differ == [("3572", 0)]
    keys = ("prompt_correct", "instruction_correct")
    theirs = {key: expected[key] for key in keys}
    compare(SOURCE, f"followed, {mode}", {key: found[mode][key] for key in keys}, theirs, tolerance=1)
    assert compared(found["prompts"], expected["per_prompt"])[f"agree_{mode}"] == expected["instructions"] - 1


def test_the_prompt_that_asks_for_exclamation_marks_as_letters_is_read_literally(found: dict[str, Any]) -> None:
    expected = json.loads((DATA / "expected_half.json").read_text())
    assert expected["random_letter_keys"] == [1122, 1129]
    assert found["prompts"]["1129"]["strict"] == expected["deterministic_checker"]["strict"]["per_prompt"]["1129"]
