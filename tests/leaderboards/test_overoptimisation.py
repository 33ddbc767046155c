"""Gain against KL from tables and verdicts: the command's object, its page, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tightrope.errors import InputError
from tightrope.evaluation.gao import Law
from tightrope.files import write_json
from tightrope.leaderboards.overoptimisation import overoptimisation
from tightrope.report.curves import build_curves

KLS = (0.5, 2.0, 5.0, 10.0, 20.0, 40.0)
LAW = Law("rl", 8.0, 3.0)


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def figure(value: float, half: float) -> dict[str, Any]:
    return {"value": value, "lower": value - half, "upper": value + half, "withheld": None, "unit": "percent"}


def run(folder: Path, scores: bool = True) -> Path:
    for i, kl in enumerate(KLS):
        name = "ppo" if i == len(KLS) - 1 else f"ppo-step-{10 * (i + 1):06d}"
        figures = {"kl": figure(kl, 0.1), "balanced_win_rate": figure(50 + LAW.gain(math.sqrt(kl)), 1.0)}
        write_json(folder / "evaluation" / name / "verdict.json", {"model": {"name": name}, "figures": figures})
    if scores:
        rows = [json.dumps({"step": s, "score": 0.1 * s}) for s in range(60)]
        (folder / "ppo").mkdir()
        write(folder / "ppo" / "trace.jsonl", rows)
    return folder


def test_a_table_of_levels_gives_the_planted_law(tmp_path: Path) -> None:
    rows = ["kl,gold,proxy", "0,3,1", *(f"{k},{3 + LAW.gain(math.sqrt(k))},{1 + k}" for k in KLS)]
    (curve,) = overoptimisation([write(tmp_path / "t.csv", rows)])["curves"]
    assert curve["alpha"]["value"] == pytest.approx(8) and curve["beta"]["value"] == pytest.approx(3)
    assert curve["peak"]["distance"]["value"] == pytest.approx(math.exp(8 / 3 - 1))
    assert curve["checkpoints"][0]["proxy"] == pytest.approx(0.5)


def test_best_of_n_is_read_from_n_and_runs_are_kept_apart(tmp_path: Path) -> None:
    law = Law("best_of_n", 1.0, 0.2)
    rows = ["run,n,gold"]
    for name in ("a", "b"):
        rows += [f"{name},{n},{law.gain(math.sqrt(math.log(n) - (n - 1) / n))}" for n in (1, 2, 4, 8, 64, 512)]
    found = overoptimisation([write(tmp_path / "t.csv", rows)])["curves"]
    assert [c["run"] for c in found] == ["a", "b"]
    assert all(c["form"] == "best_of_n" and c["beta"]["value"] == pytest.approx(0.2) for c in found)


def test_checkpoints_of_a_run_are_one_curve_with_the_trained_reward_as_proxy(tmp_path: Path) -> None:
    (curve,) = overoptimisation([run(tmp_path / "one")])["curves"]
    assert curve["run"] == "one/ppo" and len(curve["checkpoints"]) == len(KLS)
    assert curve["peak"]["distance"]["lower"] < math.exp(8 / 3 - 1) < (curve["peak"]["distance"]["upper"] or math.inf)
    proxies = [c["proxy"] for c in curve["checkpoints"]]
    assert proxies[0] == pytest.approx(0.7) and proxies[-1] == pytest.approx(5.7)
    page = build_curves({"curves": [curve], "notes": []}, out=tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "peak at KL" in text and "stroke-dasharray" in text and "<script" not in text


def test_two_checkpoints_are_shown_without_a_form(tmp_path: Path) -> None:
    rows = ["kl,gold", "1,1", "2,2"]
    found = overoptimisation([write(tmp_path / "t.csv", rows)])
    assert found["curves"][0]["withheld"] and found["notes"] == [
        "t.csv: no errors of `gold` are given, so it is taken as exact: no interval can be believed",
        "a form needs 4 checkpoints with a KL above 0",
    ]


def test_known_errors_leave_no_note(tmp_path: Path) -> None:
    rows = ["kl,gold,gold_error", *(f"{k},{LAW.gain(math.sqrt(k))},0.5" for k in KLS)]
    found = overoptimisation([write(tmp_path / "t.csv", rows)])
    assert found["notes"] == [] and found["curves"][0]["alpha"]["lower"] < 8 < found["curves"][0]["alpha"]["upper"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["kl,reward", "1,2"], "no known layout"),
        (["kl,gold", "-1,2"], "`kl` is -1"),
        (["n,gold", "0,2"], "`n` is 0"),
        (["kl,gold", "1,2", "1,3"], "stands here and at"),
        (["kl,gold,gold_error", "1,2,-1"], "error of `gold` is negative"),
        (["kl,gold", "1,x"], "`gold` must be a finite number"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        overoptimisation([write(tmp_path / "t.csv", rows)])


def test_a_folder_without_verdicts_and_an_unknown_figure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no verdict in this folder"):
        overoptimisation([tmp_path])
    with pytest.raises(InputError, match="no verdict has a figure 'taste'"):
        overoptimisation([run(tmp_path / "one")], gain="taste")
