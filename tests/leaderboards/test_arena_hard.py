"""Arena-Hard-Auto on made-up judgements: worked numbers, planted effects, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.leaderboards.files import csv, jsonl
from tightrope.errors import InputError
from tightrope.leaderboards import arena_hard as ah
from tightrope.leaderboards.arena_hard_files import arena_hard


def _games(first: str | None, second: str | None) -> list[dict[str, Any]]:
    return [{"score": first}, {"score": second}]


def _row(uid: str, first: str | None, second: str | None, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "model": model, "judge": "j", "baseline": "base", "games": _games(first, second), **more}


def test_worked_example_of_three_questions(tmp_path: Path) -> None:
    rows = [_row("1", "B>A", "A>>B"), _row("2", "A=B", "A>B"), _row("3", "A>B", "B>A")]
    (found,) = arena_hard([jsonl(tmp_path / "j.jsonl", rows)], draws=100)["models"]
    assert found["score"] == pytest.approx(68.75)
    assert found["rating"] == pytest.approx(1000 + 400 * np.log10(0.6875 / 0.3125))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("... My final verdict: [[A>>B]]", "A>>B"),
        ("[[a=b]]", "A=B"),
        ("first [[A>B]], no: [[B>>A]]", "B>>A"),
        ("only single [B>A]", "B>A"),
        ("[[A]]", None),
        ("[[>>]]", None),
        ("A>B without brackets", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(text: str, verdict: str | None) -> None:
    assert ah.read_verdict(text) == verdict


def test_both_spellings_of_a_verdict_mean_the_same() -> None:
    for a, b in (("A>>B", "B<<A"), ("A>B", "B<A"), ("A=B", "B=A"), ("B>A", "A<B"), ("B>>A", "A<<B")):
        assert ah.VERDICTS[a] == ah.VERDICTS[b]


def test_a_question_without_a_verdict_in_one_game_is_left_out_whole_and_counted(tmp_path: Path) -> None:
    rows = [_row("1", "B>A", "A>B"), _row("2", None, "B>>A"), _row("3", "nonsense", "B>>A")]
    rows.append({**_row("4", None, None), "games": [None, {"judgment": "no verdict"}]})
    (found,) = arena_hard([jsonl(tmp_path / "j.jsonl", rows)], draws=100)["models"]
    assert (found["n"], found["dropped"]) == (1, {"no verdict": 3})
    assert (found["score"], found["rating"]) == (100.0, None)


def test_texts_are_parsed_where_no_label_is_stored(tmp_path: Path) -> None:
    rows = [_row(str(i), None, None) for i in range(4)]
    for row in rows:
        row["games"] = [{"judgment": {"answer": "[[B>>A]]"}}, {"judgment": "so [[A>B]]"}]
    (found,) = arena_hard([jsonl(tmp_path / "j.jsonl", rows)], draws=100)["models"]
    assert found["score"] == 100 and found["order_agreement"] == 100


def test_plain_verdicts_in_a_csv(tmp_path: Path) -> None:
    file = csv(tmp_path / "v.csv", "question,model,baseline_first,model_first", ["1,m,A>B,B>A", "2,m,B>A,B>A"])
    (found,) = arena_hard([file], draws=100)["models"]
    assert found["score"] == pytest.approx(25.0) and found["order_agreement"] == 50


def test_the_interval_over_questions_is_wider_than_one_over_copies() -> None:
    rng = np.random.default_rng(0)
    won = rng.random(300) < 0.6
    sums, weights = np.where(won, 6.0, 0.0), np.full(300, 6.0)
    found = ah.score_summary(sums, weights, draws=500, level=0.95, seed=0)
    share = won.mean()
    assert found["standard_error"] == pytest.approx(100 * np.sqrt(share * (1 - share) / 300), rel=0.1)


def test_style_features_of_the_worked_example() -> None:
    found = ah.style_features(np.array([[400.0, 2, 5, 4]]), np.array([[250.0, 0, 1, 2]]))
    assert found[0] == pytest.approx([0.230769, 0.004963, 0.008347, 0.001972], abs=1e-6)


def _made(seed: int, n: int, *, quality: float, length: float) -> tuple[Any, Any, Any]:
    """Questions whose chance of a win is sigmoid(quality + length * z) with z of unit deviation."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.8, 1.0, n)
    p = 1 / (1 + np.exp(-(quality + length * z)))
    sums = (rng.random((n, 2)) < p[:, None]).sum(1).astype(float)
    features = np.stack([z, np.zeros(n), np.zeros(n), np.zeros(n)], 1)
    return sums, np.full(n, 2.0), features


def test_the_planted_quality_and_length_effects_are_recovered() -> None:
    questions = {f"m{k}": _made(k, 800, quality=q, length=1.0) for k, q in enumerate((-0.5, 0.0, 0.7))}
    found = ah.at_equal_style(questions, draws=100, level=0.99, seed=0)
    for name, quality in (("m0", -0.5), ("m1", 0.0), ("m2", 0.7)):
        row = found["models"][name]
        assert row["lower"] <= 100 / (1 + np.exp(-quality)) <= row["upper"]
        # The published figure keeps the average length advantage in.
        assert row["score_published_style"] > row["score"] + 5
    assert found["coefficients"]["length"] == pytest.approx(1.0, abs=0.15)
    assert found["left_out"] == ["headers", "lists", "bold"]


def test_style_features_that_are_all_zero_change_nothing() -> None:
    sums, weights, features = _made(3, 400, quality=0.3, length=0.0)
    found = ah.at_equal_style({"m": (sums, weights, 0 * features)}, draws=100, level=0.95, seed=0)
    plain = ah.score_summary(sums, weights, draws=100, level=0.95, seed=0)
    assert found["models"]["m"]["score"] == pytest.approx(plain["score"], abs=1e-6)
    assert found["coefficients"] == {}


def test_a_model_that_never_wins_has_no_score_at_equal_style() -> None:
    made = _made(1, 300, quality=0.0, length=0.5)
    found = ah.at_equal_style({"m": made, "zero": (0 * made[0], *made[1:])}, draws=100, level=0.95, seed=0)
    assert found["models"]["zero"] == {"score": None, "withheld": "won or lost every question"}
    assert found["models"]["m"]["score"] is not None


def test_style_of_files_is_joined_by_question(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows, style = [], []
    for i in range(60):
        tokens = int(rng.integers(100, 900))
        longer = tokens > 500
        right = rng.random() < (0.8 if longer else 0.3)
        rows.append(_row(str(i), "B>A" if right else "A>B", "A>B" if rng.random() < 0.5 else "B>A"))
        style.append({"uid": str(i), "model": "base", "metadata": _metadata(500)})
        style.append({"uid": str(i), "model": "m", "metadata": _metadata(tokens)})
    files = [jsonl(tmp_path / "j.jsonl", rows)]
    found = arena_hard(files, style=jsonl(tmp_path / "s.jsonl", style), draws=100)
    assert found["style"]["coefficients"]["length"] > 0
    with pytest.raises(InputError, match="is not here"):
        arena_hard(files, style=jsonl(tmp_path / "less.jsonl", style[:50]), draws=100)


def _metadata(tokens: int) -> dict[str, Any]:
    return {"token_len": tokens, "header_count": {"h1": 0}, "list_count": {"ordered": 1}, "bold_count": {"**": 0}}


def test_mixed_judges_are_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    rows = [_row("1", "B>A", "A>B"), {**_row("1", "A>B", "B>A"), "judge": "k"}]
    file = jsonl(tmp_path / "j.jsonl", rows)
    with pytest.raises(InputError, match="2 judges"):
        arena_hard([file], draws=100)
    assert arena_hard([file], judge="k", draws=100)["models"][0]["score"] == 0
    with pytest.raises(InputError, match="there is no judgement"):
        arena_hard([file], judge="nobody", draws=100)


def test_winning_every_question_is_not_certain_to_go_on(tmp_path: Path) -> None:
    rows = [_row(str(i), "B>A", "A>B") for i in range(10)]
    (found,) = arena_hard([jsonl(tmp_path / "j.jsonl", rows)], draws=100)["models"]
    assert found["upper"] == 100 and found["lower"] == pytest.approx(72.25, abs=0.01)  # Wilson, 10 of 10
    with pytest.raises(InputError, match="is also judged at"):
        arena_hard([tmp_path / "j.jsonl", jsonl(tmp_path / "again.jsonl", rows[:1])], draws=100)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([_row("1", "B>A", "A>B"), _row("1", "B>A", "A>B")], "is also judged at"),
        ([{**_row("1", "B>A", "A>B"), "games": [{"score": "A>B"}]}], "two games"),
        ([_row("1", None, None)], "has two verdicts"),
        ([_row("1", "B>A", "A>B"), {**_row("2", "B>A", "A>B"), "baseline": "other"}], "2 baselines"),
        ([{"uid": "1", "model": "m"}], "no known layout"),
    ],
)
def test_what_cannot_be_counted_is_refused(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        arena_hard([jsonl(tmp_path / "j.jsonl", rows)], draws=100)
