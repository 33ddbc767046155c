"""Two files of answers and a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tightrope.cli import main
from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.judges.compare import compare_files
from tightrope.judges.rules import FirstJudge, RuleJudge
from tightrope.records import Comparison, Response, Sampled, to_json, user_prompt


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


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main(["judge", *(str(a) for a in arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_command_compares_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.jsonl", [("1", "q1", "long answer")])
    b = write(tmp_path / "b.jsonl", [("1", "q1", "short")])
    code, found = run(capsys, a, b, "--judge", "rule:longer")
    assert code == 0 and found["win_rate"] == 100 and found["judge"].startswith("rule:longer@")
    code, found = run(capsys, a, b)
    assert code == 0 and found["judge"].startswith("rule:useful@")
    for wrong, message in (([a], "1 files given"), ([a, b, b], "3 files given"), ([], "0 files given")):
        code, found = run(capsys, *wrong)
        assert code == 2 and message in found["error"]["what"]


def test_command_audits_judges_named_either_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    few = ("--limit", 5, "--repeats", 0, "--out", out)
    code, found = run(capsys, "--audit", "rule:longer", "rule:first", *few)
    assert code == 0 and [a["spec"] for a in found["judges"]] == ["rule:longer", "rule:first"]
    assert found["judges"][0]["figures"]["length_gap"]["metric"].startswith("length_gap by rule:longer@")
    assert found["judges"][0]["items"]["prompts"] == 5
    assert (out / "audit.html").is_file() and json.loads((out / "audit.json").read_text())["judges"] == found["judges"]
    assert found["command"] == "tightrope judge --audit rule:longer rule:first --limit 5 --repeats 0 --seed 0"
    code, same = run(capsys, "--judge", "rule:longer", "--audit", *few)
    assert code == 0 and same["judges"][0] == found["judges"][0]
    code, found = run(capsys, "--audit", *few)
    assert code == 2 and "no judge to audit" in found["error"]["what"]


def test_command_audits_on_files_with_votes_as_gold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.jsonl", [(str(i), f"q{i}", f"long answer {i}") for i in range(8)])
    b = write(tmp_path / "b.jsonl", [(str(i), f"q{i}", f"short {i}") for i in range(8)])
    people = tmp_path / "votes.jsonl"
    for_b = [(user_prompt(f"q{i}"), Response(f"short {i}"), Response(f"long answer {i}")) for i in range(6)]
    write_jsonl(people, [to_json(Comparison(*vote, judge="ann")) for vote in for_b])
    code, found = run(capsys, "--audit", "rule:longer", a, b, "--gold", f"votes:{people}", "--out", tmp_path / "o")
    (audited,) = found["judges"]
    assert code == 0 and audited["items"]["with_gold"] == 6 and audited["items"]["contests"] == 8
    assert audited["figures"]["accuracy"]["value"] == 0 and set(found["files"]) == {str(a), str(b)}
    assert audited["items"]["gold"].startswith("votes:votes.jsonl@")
