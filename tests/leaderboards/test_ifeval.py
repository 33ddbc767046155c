"""IFEval on made-up answers: the two levels, joining, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import csv, jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.ifeval import ifeval

BOTH = ["punctuation:no_comma", "startend:quotation"]
PROMPTS = [
    {"key": 1, "prompt": "a", "instruction_id_list": BOTH, "kwargs": [{}, {}]},
    {"key": 2, "prompt": "b", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
]


def test_prompt_and_instruction_level_and_comparison_with_published_lists(tmp_path: Path) -> None:
    prompts = jsonl(tmp_path / "p.jsonl", PROMPTS)
    answers: list[dict[str, Any]] = [
        {"key": 1, "response": 'Sure:\n"yes"', "follow_instruction_list": [True, True]},
        {"key": 2, "response": "one, two", "follow_instruction_list": [False]},
    ]
    (found,) = ifeval([jsonl(tmp_path / "m.jsonl", answers)], prompts=prompts)["models"]
    assert (found["model"], found["n"], found["instructions"]) == ("m", 2, 3)
    assert (found["strict"]["prompt_level"], found["loose"]["prompt_level"]) == (0, 50)
    assert found["strict"]["instruction_level"] == pytest.approx(100 / 3)
    assert found["prompts"]["1"] == {"strict": [True, False], "loose": [True, True]}
    assert found["published"] == {"instructions": 3, "agree_strict": 2, "agree_loose": 3}


def test_answers_are_joined_by_prompt_or_carry_their_instructions(tmp_path: Path) -> None:
    answers = [{"prompt": "b", "response": "fine"}]
    file = jsonl(tmp_path / "m.jsonl", answers)
    (found,) = ifeval([file], prompts=jsonl(tmp_path / "p.jsonl", PROMPTS))["models"]
    assert found["strict"]["prompt_level"] == 100
    whole = [{**PROMPTS[1], "response": "fine"}]
    (same,) = ifeval([jsonl(tmp_path / "w.jsonl", whole)])["models"]
    assert same["strict"] == found["strict"]
    with pytest.raises(InputError, match="--prompts"):
        ifeval([file])


def test_keys_written_as_decimals_are_the_same_keys(tmp_path: Path) -> None:
    prompts = jsonl(tmp_path / "p.jsonl", PROMPTS)
    (found,) = ifeval([csv(tmp_path / "m.csv", "key,response", ["2.0,fine"])], prompts=prompts)["models"]
    assert list(found["prompts"]) == ["2"]


def test_an_answer_in_json_is_a_text_in_a_csv_too(tmp_path: Path) -> None:
    asked = [{"key": 1, "prompt": "a", "instruction_id_list": ["detectable_format:json_format"], "kwargs": [{}]}]
    file = csv(tmp_path / "m.csv", "key,response", ['1,"{""a"": 1}"'])
    (found,) = ifeval([file], prompts=jsonl(tmp_path / "p.jsonl", asked))["models"]
    assert (found["strict"]["prompt_level"], found["empty"]) == (100, 0)


def test_an_empty_answer_follows_nothing_and_is_counted(tmp_path: Path) -> None:
    prompts = jsonl(tmp_path / "p.jsonl", PROMPTS)
    (found,) = ifeval([jsonl(tmp_path / "m.jsonl", [{"key": 2, "response": ""}])], prompts=prompts)["models"]
    assert (found["empty"], found["loose"]["instruction_correct"]) == (1, 0)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([{"key": 2, "response": "x"}, {"key": 2, "response": "y"}], "model and key"),
        ([{"key": 3, "response": "x"}], "no prompt with the key"),
        ([{"answer": "x"}], "no known layout"),
    ],
)
def test_what_cannot_be_counted_is_refused(answers: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    prompts = jsonl(tmp_path / "p.jsonl", PROMPTS)
    with pytest.raises(InputError, match=why):
        ifeval([jsonl(tmp_path / "m.jsonl", answers)], prompts=prompts)


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    broken = [{**PROMPTS[0], "kwargs": [{}], "response": "x"}]
    with pytest.raises(InputError, match="same length"):
        ifeval([jsonl(tmp_path / "b.jsonl", broken)])
