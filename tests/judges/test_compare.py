"""Two files of answers and a judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.judges.compare import compare_files
from tightrope.judges.rules import FirstJudge, RuleJudge
from tightrope.records import Response, Sampled, to_json, user_prompt


def write(path: Path, answers: list[tuple[str, str, str]]) -> Path:
    """Writes (id, question, answer) as sampled records."""
    write_jsonl(path, (to_json(Sampled(user_prompt(q, id=i), Response(a))) for i, q, a in answers))
    return path


def test_files_are_compared_by_prompt(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [("1", "q1", "long answer"), ("2", "q2", "x"), ("3", "q3", "only here")])
    b = write(tmp_path / "b.jsonl", [("2", "q2", "longer answer"), ("1", "q1", "short")])
    result = compare_files(a, b, RuleJudge("longer"))
    assert (result["prompts"], result["only_in_a"], result["only_in_b"]) == (2, 1, 0)
    assert (result["win_rate"], result["longer_wins"], result["ties"], result["order_flips"]) == (50.0, 100.0, 0, 0)
    assert (result["mean_words_a"], result["mean_words_b"]) == (1.5, 1.5)
    low, high = result["interval"]
    assert 0 < low < 50 < high < 100


def test_judge_that_looks_at_the_position_decides_nothing(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [("1", "q1", "a"), ("2", "q2", "b")])
    result = compare_files(a, a, FirstJudge())
    assert (result["win_rate"], result["ties"], result["order_flips"], result["first_shown_wins"]) == (50, 2, 2, 100)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([("9", "q9", "z")], "share no prompt"),
        ([("1", "q1", "x"), ("1", "q1", "y")], "prompt 1 is answered twice"),
        ([("1", "another question", "x")], "prompt 1 is not the same in both files"),
    ],
)
def test_files_that_do_not_match_are_errors(tmp_path: Path, other: list[tuple[str, str, str]], message: str) -> None:
    a = write(tmp_path / "a.jsonl", [("1", "q1", "long answer")])
    with pytest.raises(InputError, match=message):
        compare_files(a, write(tmp_path / "b.jsonl", other), RuleJudge("longer"))
