"""The verdict on public AlpacaEval annotations: models that gamed the leaderboard are not called useful."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "alpaca_eval" / "preferences.csv.gz"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_file(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "alpaca_verdicts.py"))


@pytest.fixture(scope="module")
def verdicts(script: dict[str, Any]) -> dict[str, Any]:
    return {name: (measured, decision) for name, measured, decision in script["models"](DATA)}


@pytest.mark.parametrize("name", ["NullModel", "gpt4_gamed"])
def test_constant_answers_are_flagged_and_not_useful(verdicts: dict[str, Any], name: str) -> None:
    measured, decision = verdicts[name]
    assert {"constant_output", "length_extrapolation"} <= {flag["name"] for flag in measured["flags"]}
    assert decision.word not in ("useful", "unchanged")
    assert {"flag: constant_output", "flag: length_extrapolation"} <= {r["rule"] for r in decision.reasons}


def test_the_null_model_would_be_useful_by_its_win_rates(verdicts: dict[str, Any]) -> None:
    figures = verdicts["NullModel"][0]["figures"]
    assert figures["win_rate"]["lower"] > 70 and figures["balanced_win_rate"]["lower"] > 60
    assert "constant output" in figures["lc_win_rate"]["withheld"]


def test_terse_weak_models_gain_by_length_control_and_are_flagged(verdicts: dict[str, Any]) -> None:
    for name in ("alpaca-7b", "text_davinci_001", "gpt-3.5-turbo-1106_concise"):
        measured, decision = verdicts[name]
        figures = measured["figures"]
        assert figures["lc_win_rate"]["value"] > 3 * figures["win_rate"]["value"]
        assert "flag: length_extrapolation" in {r["rule"] for r in decision.reasons} and decision.word == "inconclusive"


def test_a_better_model_of_the_same_length_is_useful_and_the_baseline_is_unchanged(verdicts: dict[str, Any]) -> None:
    assert verdicts["FuseChat-Gemma-2-9B-Instruct"][1].word == "useful"
    assert verdicts["gpt4_1106_preview"][1].word == "unchanged"
    assert [name for name, (_, d) in verdicts.items() if d.word == "useful"] == ["FuseChat-Gemma-2-9B-Instruct"]


def test_the_balanced_rate_agrees_with_length_control_where_both_can_be_had(verdicts: dict[str, Any]) -> None:
    for name, (measured, _) in verdicts.items():
        lc, balanced = (measured["figures"][key] for key in ("lc_win_rate", "balanced_win_rate"))
        if lc["value"] is not None and balanced["value"] is not None and not measured["flags"]:
            assert abs(lc["value"] - balanced["value"]) < 3, name


def test_the_page_shows_the_table_as_it_is(script: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
    shown = page.split("<!-- alpaca -->\n")[1].split("\n<!-- /alpaca -->")[0]
    assert shown == script["table"](DATA)
