"""GSM8K and MATH on made-up solutions: layouts, side by side, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import csv, jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.gsm8k import gsm8k, math


def test_one_run_under_all_extractors(tmp_path: Path) -> None:
    rows = ['8,"4 + 4 = 8 #### 8",True', '9,"it is 9, not 8",False', '10,"no idea",False']
    (found,) = gsm8k([csv(tmp_path / "run.csv", "gold,response,published_correct", rows)])["models"]
    assert (found["model"], found["n"], found["published_correct"], found["no_answer"]) == ("run", 3, 1, 1)
    by = found["extractors"]
    assert (by["strict"]["correct"], by["strict"]["answered"], by["strict"]["agree_with_published"]) == (1, 1, 3)
    assert (by["last_number"]["correct"], by["last_number"]["answered"]) == (1, 2)
    assert by["strict"]["accuracy"] == pytest.approx(100 / 3)
    assert by["strict"]["lower"] < by["strict"]["accuracy"] < by["strict"]["upper"]


def test_gold_solutions_are_read_at_their_marker(tmp_path: Path) -> None:
    rows = [{"answer": "5 * 2 = 10, so\n#### 1,010", "output": ["The answer is 1010."]}]
    (found,) = gsm8k([jsonl(tmp_path / "a.jsonl", rows)])["models"]
    assert found["extractors"]["last_number"]["correct"] == 1


def test_reasoning_counts_where_an_answer_was_read(tmp_path: Path) -> None:
    texts = ['{"reasoning": "1 + 1", "answer": "2"}', '{"reasoning": "cut off before it came to', '{"answer": 3}']
    rows = [{"gold": "2", "output": text} for text in texts]
    (found,) = gsm8k([jsonl(tmp_path / "z.jsonl", rows)])["models"]
    assert (found["extractors"]["json"]["answered"], found["reasoning_chars"]) == (2, 2.5)
    (plain,) = gsm8k([csv(tmp_path / "p.csv", "gold,response", ["2,answer: 2"])])["models"]
    assert (plain["extractors"]["json"]["answered"], plain["reasoning_chars"]) == (1, None)


def test_rows_without_a_published_flag_agree_with_none(tmp_path: Path) -> None:
    rows = ['8,"#### 8",True', '9,"#### 9",']
    (found,) = gsm8k([csv(tmp_path / "run.csv", "gold,response,published_correct", rows)])["models"]
    assert (found["published_correct"], found["extractors"]["strict"]["agree_with_published"]) == (None, 1)


def test_our_own_samples(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": {"reference": {"number": 4}}, "response": {"text": "2 + 2 = 4", "author": "m"}},
        {"prompt": {"reference": {"exact": ["7"]}}, "response": {"text": "8", "author": "m"}},
    ]
    (found,) = gsm8k([jsonl(tmp_path / "s.jsonl", rows)])["models"]
    assert (found["model"], found["extractors"]["last_number"]["correct"]) == ("m", 1)


def test_latex_answers(tmp_path: Path) -> None:
    rows = [{"gold": r"\frac{1}{2}", "response": r"so \boxed{0.5}"}, {"gold": "(1,2)", "response": r"\boxed{(1, 2)}"}]
    file = jsonl(tmp_path / "m.jsonl", rows)
    found = math([file])
    assert found["kind"] == "math" and found["models"][0]["extractors"]["boxed"]["correct"] == 2
    assert gsm8k([file])["models"][0]["extractors"]["boxed"]["correct"] == 0  # these are no plain numbers


def test_several_systems_in_one_file(tmp_path: Path) -> None:
    row = {"question": "?", "ground_truth": "A: 3"}
    row |= {"one": {"solution": "A: 3", "is_correct": True}, "two": {"solution": "A: 4", "is_correct": False}}  # type: ignore[dict-item]
    found = {m["model"]: m for m in gsm8k([jsonl(tmp_path / "s.jsonl", [row])])["models"]}
    assert {name: m["extractors"]["marker"]["correct"] for name, m in found.items()} == {"one": 1, "two": 0}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"question": "?", "ground_truth": "no answer", "one": {"solution": "3"}}], "has no answer"),
        ([{"question": "?", "ground_truth": "A: 3"}], "no system's solutions"),
        ([{"prompt": "?", "response": "3"}], "no `number`"),
        ([{"gold": "3", "response": "3", "published_correct": "maybe"}], "published flag is 'maybe'"),
        ([{"gold": "", "response": "3"}], "`gold` is empty"),
    ],
)
def test_what_cannot_be_counted_is_refused(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        gsm8k([jsonl(tmp_path / "f.jsonl", rows)])
