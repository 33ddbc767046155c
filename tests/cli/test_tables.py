"""Tables in terminals of every width: no name and no figure is broken."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from rich.console import Console

from tightrope.cli import main
from tightrope.cli.leaderboard_tables import show_arena, show_xstest
from tightrope.cli.measure_tables import show_reward
from tightrope.cli.printing import show_audit
from tightrope.evaluation.reward_records import measure_reward_model
from tightrope.records import Comparison, Prompt, Response, user_prompt
from tightrope.rewards.types import Scores

NAMES = ("gpt-4-1106-preview", "a-very-long-name-of-a-model-2026-dpo-v3")


def printed(show: object, value: object, width: int) -> list[str]:
    out = io.StringIO()
    show(value, Console(file=out, width=width, highlight=False))  # type: ignore[operator]
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_leaderboard_breaks_neither_names_nor_figures(width: int) -> None:
    side = {"full_compliance": 41.25, "full_refusal": 38.5, "partial_refusal": 20.25}
    errors = {"matcher": {"wrong": 55.125, "missed": 30.0, "invented": 25.125}}
    row = {"labels": "human", "safe": side, "unsafe": side, "against_human": errors}
    lines = printed(show_xstest, {"models": [{"model": name, **row} for name in NAMES]}, width)
    assert max(map(len, lines)) <= width
    for said in (*NAMES, "41.25", "55.12", "misses"):
        assert any(said in line.split() for line in lines), "\n".join(lines)
    figures = [line.split()[-6:] for line in lines if "41.25" in line]
    assert figures == [["41.25", "38.50", "20.25"] * 2] * 2


@pytest.mark.parametrize("width", [60, 80, 120])
def test_ratings_stand_under_their_headings(width: int) -> None:
    row = {"rank": 1, "rating": 1014.49, "lower": 971.75, "upper": 1057.23, "battles": 96, "elo": 1007.29}
    value = {"kind": "arena", "models": [{"model": name, **row} for name in NAMES], "position": {"first": None}}
    lines = printed(show_arena, value, width)
    heading = next(line for line in lines if "rating" in line)
    figures = next(line for line in lines if "1014.49" in line)
    assert heading.index("rating") + len("rating") == figures.index("1014.49") + len("1014.49")
    assert all(name in "\n".join(lines) for name in NAMES)


@pytest.mark.parametrize("width", [60, 120])
def test_a_finding_of_an_audit_stays_in_its_column(width: int) -> None:
    found = [{"level": "strong", "figure": "x", "text": "it takes whatever is shown to it first " * 4}]
    audit = {"judge": "rule:first", "findings": found, "figures": {"y": {"label": "Other", "withheld": "no gold"}}}
    lines = printed(show_audit, {"judges": [audit], "report": "audit.html"}, width)
    assert max(map(len, lines)) <= width
    assert {line[:12].strip() for line in lines[1:-1]} == {"strong", "", "withheld"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_reward_model_is_shown_with_the_range_of_its_scores(width: int) -> None:
    class ByLength:
        name = "by length"

        def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> Scores:
            return np.array([0.5 * len(response.text) - 20 for _, response in answers], np.float32)

    rows = [Comparison(user_prompt(f"q{i}"), Response("a" * (3 + i)), Response("b" * 40)) for i in range(60)]
    value = measure_reward_model(ByLength(), rows)
    lines = printed(show_reward, value, width)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    assert "margin -3.75 on average, deviation 8.66, ties 1" in said
    assert "scores -18.5 to 11, mean -1.875, rank correlation with length 1.00, 120 answers" in said


def test_the_list_of_commands_is_whole_in_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["data"], ["leaderboard"]):
        assert main([*arguments, "--help"]) == 0
        assert "..." not in capsys.readouterr().out.partition("Commands:")[2]
