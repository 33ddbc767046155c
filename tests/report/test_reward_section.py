"""What the page says of a reward model: every score beside the rule it must beat, and what was not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.report.test_report import HOSTILE, parsed
from tightrope.evaluation.label_accuracy import measure_labels
from tightrope.evaluation.ranking_accuracy import measure_rankings
from tightrope.evaluation.reward_model import JudgedPairs, measure_pairs
from tightrope.files import write_json
from tightrope.records import Comparison, Ranking, Response, user_prompt
from tightrope.report.build import build_report
from tightrope.report.collect import collect_run
from tightrope.report.reward import section


def of_pairs(right: int, longer: int, n: int = 40) -> dict[str, Any]:
    """Figures of a model that is right on the first pairs, where the chosen one is longer on the last."""
    rows = []
    for i in range(n):
        a, b = ("yes" * 9, "no") if i >= n - longer else ("yes", "no" * 9)
        rows.append(
            Comparison(user_prompt(f"q{i}"), Response(a, author=HOSTILE), Response(b, author="small"), i % 3 / 3)
        )
    gaps = np.where(np.arange(n) < right, 1.0, -1.0)
    measured = measure_pairs(JudgedPairs.of(rows, lambda _: gaps))
    return {"model": "runs/x", "kind": "reward", "left_out": {"tie": 2}, "pairs": measured}


def stage(folder: Path, held_out: dict[str, Any] | None) -> Path:
    (folder / "rm").mkdir(parents=True)
    (folder / "rm" / "stage.yaml").write_text(yaml.safe_dump({"config": {"method": "reward"}}))
    write_json(folder / "rm" / "done", {"summary": {"loss": 0.5, "held_out": held_out}})
    return folder


def test_every_score_of_a_reward_model_stands_beside_always_picking_the_longer(tmp_path: Path) -> None:
    page = build_report([stage(tmp_path / "run", of_pairs(30, 16))], out=tmp_path / "r.html")
    assert parsed(page).active == []
    text = page.read_text(encoding="utf-8")
    assert "nothing was measured" not in text and "&lt;script&gt;" in text
    assert "It beats always picking the longer: +35.0 points (" in text
    for said in ("Accuracy on held-out pairs: 40, of prompts: 40", "By difference of length", "left out: tie (2)"):
        assert said in text
    made = section(collect_run(tmp_path / "run").stages[0])
    (accuracy, gain, _), lengths, margins, authors = (table["rows"] for table in made["tables"])
    assert [n["value"] for n in accuracy["numbers"]] == ["75.0", "40.0"]
    assert all(" to " in n["detail"] for n in (*accuracy["numbers"], *gain["numbers"]))
    assert (len(lengths), len(margins), len(authors)) == (5, 3, 2)
    assert [n["value"] for row in authors for n in row["numbers"]] == ["75.0", "40.0"] * 2


@pytest.mark.parametrize(("right", "said"), [(4, "is worse than"), (17, "cannot be told from")])
def test_a_model_is_not_said_to_beat_a_rule_that_it_does_not(right: int, said: str) -> None:
    made = section({"name": "rm", "held_out": of_pairs(right, 16)})
    assert made["words"][0].startswith(f"It {said} always picking the longer: ")


def test_a_rule_made_of_the_samples_labels_is_no_certain_level() -> None:
    """56 of 100 labels are true, as a coin may do: always saying `false` is not shown to be worse."""
    labels = measure_labels(np.full(100, 0.1), [i < 56 for i in range(100)], range(100), [1] * 100)
    assert labels["accuracy"]["upper"] < labels["always_the_commoner"] == pytest.approx(56)
    assert labels["gain"]["value"] == pytest.approx(-12) and labels["gain"]["upper"] > 0
    made = section({"name": "rm", "held_out": {"kind": "outcome", "labels": labels}})
    assert made["words"][0].startswith("It cannot be told from always saying the commoner label: ")
    assert made["tables"][0]["rows"][1]["label"] == "Gain over always saying the commoner label"


@pytest.mark.parametrize(("wrong", "said"), [(2, "beats"), (30, "cannot be told from"), (90, "is worse than")])
def test_labels_beat_the_commoner_one_or_do_not(wrong: int, said: str) -> None:
    true = np.arange(100) % 10 < 7
    labels = measure_labels(np.where(true ^ (np.arange(100) < wrong), 0.9, 0.1), true.tolist(), range(100), [1] * 100)
    made = section({"name": "rm", "held_out": {"kind": "outcome", "labels": labels}})
    assert made["words"][0].startswith(f"It {said} always saying the commoner label: ")


def test_labels_and_rankings_stand_beside_their_own_rules() -> None:
    true = [True, True, False, False] * 10
    labels = measure_labels(np.tile([0.9, 0.8, 0.2, 0.6], 10), true, [i // 4 for i in range(40)], [5, 2, 3, 2] * 10)
    ranking = Ranking(user_prompt("q"), tuple(Response(t) for t in ("a", "bbb", "cc")), (0, 1, 2))
    rankings = measure_rankings([ranking] * 8, lambda asked: np.array([float(a.text < b.text) for _, a, b in asked]))
    made = section({"name": "rm", "held_out": {"kind": "outcome", "labels": labels, "rankings": rankings}})
    firsts = {table["baseline"]: table["rows"][0]["numbers"] for table in made["tables"]}
    assert [n["value"] for n in firsts["always saying the commoner label"]] == ["75.0", "50.0"]
    assert [n["value"] for n in firsts["length alone"]] == ["1.00", "0.62"]
    assert [n["value"] for n in firsts["always picking the longest"]] == ["100.0", "0.0"]
    assert made["tables"][0]["rows"][0]["note"].endswith("; dashed: chance")


def test_what_no_label_is_like_is_not_called_a_pair() -> None:
    labels = measure_labels(np.full(9, 0.9), [True] * 9, range(9), [1] * 9)
    made = section({"name": "rm", "held_out": {"kind": "outcome", "labels": labels}})
    (_, _, false, _) = made["tables"][0]["rows"]
    assert made["tables"][0]["title"] == "Accuracy on held-out labels: 9"
    assert [n["detail"] for n in false["numbers"]] == ["there is none"]


@pytest.mark.parametrize(
    ("held_out", "said"), [(None, "nothing was held out"), ({"withheld": "no <pair>"}, "no &lt;pair&gt;")]
)
def test_what_was_not_measured_is_said(tmp_path: Path, held_out: dict[str, Any] | None, said: str) -> None:
    page = build_report([stage(tmp_path / "run", held_out)], out=tmp_path / "r.html")
    assert f"not measured: {said}" in page.read_text() and parsed(page).active == []
