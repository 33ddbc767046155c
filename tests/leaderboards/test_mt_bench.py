"""MT-Bench on made-up judgements: the strict reader, turns, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.mt_bench import mt_bench, read_score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Rating: [[8]]", 8.0),
        ("[[8.5]]", 8.5),
        ("Rating: [[10.]]", 10.0),
        ("[[rating]] as in [[7]] then [[9]]", 7.0),
        ("single [6] only", 6.0),
        ("[[3]] beats [6]", 3.0),
        ("Rating: [[11]]", None),
        ("[[-1]]", None),
        ("[[0]]", None),
        ("Rating: 8", None),
        ("", None),
    ],
)
def test_scores_are_read_strictly(text: str, score: float | None) -> None:
    assert read_score(text) == score


def _row(question: int, turn: int, text: str, **more: Any) -> dict[str, Any]:
    return {"question_id": question, "model": "m", "turn": turn, "judgment": text, **more}


def test_unparsed_judgements_are_left_out_of_the_mean_and_counted(tmp_path: Path) -> None:
    rows = [_row(81, 1, "[[8]]"), _row(81, 2, "[[6]]"), _row(91, 1, "I cannot say"), _row(91, 2, "[[4]]")]
    (found,) = mt_bench([jsonl(tmp_path / "j.jsonl", rows)])["models"]
    assert (found["score"], found["turn_1"], found["turn_2"]) == (6.0, 8.0, 5.0)
    assert (found["n"], found["dropped"]) == (3, {"unparsed": 1})
    assert found["categories"] == {"writing": 7.0, "roleplay": 4.0}


def test_the_standard_error_counts_questions_not_turns(tmp_path: Path) -> None:
    """With both turns alike, twice as many scores say no more than the questions do."""
    rows = [_row(81 + q, t, f"[[{s}]]") for q, s in enumerate((2, 4, 6, 8)) for t in (1, 2)]
    (found,) = mt_bench([jsonl(tmp_path / "j.jsonl", rows)])["models"]
    assert found["standard_error"] == pytest.approx(2.581989 / 2, abs=1e-6)


def test_stored_scores_that_the_text_contradicts_are_counted(tmp_path: Path) -> None:
    rows = [_row(81, 1, "[[8]]", score=8.0), _row(81, 2, "[[6]]", score=9.0), _row(82, 1, "none", score=-1)]
    (found,) = mt_bench([jsonl(tmp_path / "j.jsonl", rows)])["models"]
    assert (found["parser_differs_from_stored"], found["score"]) == (1, 7.0)


def test_scores_without_texts(tmp_path: Path) -> None:
    rows = [{"question_id": 81, "model": "m", "turn": 1, "score": s} for s in (7,)]
    (found,) = mt_bench([jsonl(tmp_path / "j.jsonl", rows)])["models"]
    assert (found["score"], found["turn_2"], found["standard_error"]) == (7.0, None, None)


def test_a_judge_who_never_parses_has_no_mean(tmp_path: Path) -> None:
    (found,) = mt_bench([jsonl(tmp_path / "j.jsonl", [_row(81, 1, "?"), _row(81, 2, "?")])])["models"]
    assert (found["score"], found["n"], found["dropped"]["unparsed"]) == (None, 0, 2)


def test_mixed_judges_are_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    rows = [_row(81, 1, "[[8]]", judge=["gpt-4", "single-v1"]), _row(81, 2, "[[6]]", judge=["gpt-4", "multi-v1"])]
    rows.append(_row(81, 1, "[[2]]", judge=["other", "single-v1"]))
    file = jsonl(tmp_path / "j.jsonl", rows)
    with pytest.raises(InputError, match="2 judges"):
        mt_bench([file])
    assert mt_bench([file], judge="gpt-4")["models"][0]["score"] == 7


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([_row(81, 1, "[[8]]"), _row(81, 1, "[[7]]")], "question and turn"),
        ([_row(81, 3, "[[8]]")], "`turn` is 3"),
        ([{"question_id": 1, "model": "m", "turn": 1, "score": 12}], "`score` is 12"),
        ([{"question_id": 1, "model": "m"}], "no known layout"),
    ],
)
def test_what_cannot_be_counted_is_refused(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        mt_bench([jsonl(tmp_path / "j.jsonl", rows)])
