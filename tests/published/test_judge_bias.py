"""Audits of published judges: LLMBar, PandaLM, Vicuna's launch reviews, QLoRA's relative scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tightrope.leaderboards.judges import judges
from tightrope.leaderboards.rewards import rewards

DATA = Path(__file__).parents[3] / "shared" / "data" / "judge_bias"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def _expected(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def test_llmbar_counts_are_the_authors_and_kappa_is_cohens() -> None:
    expected = _expected("llmbar_expected.json")
    found = {row["judge"]: row for row in judges([DATA / "llmbar_verdicts.csv.gz"], draws=100)["judges"]}
    assert len(found) == len(expected) == 30
    for name, figures in expected.items():
        mine = found[name]
        for key in (
            "n",
            "correct_first_order",
            "correct_swapped_order",
            "correct_both",
            "agree_between_orders",
            "unparsed",
        ):
            assert mine[key] == figures[key], (name, key)
        average = float(figures["published"]["correct_average"].rstrip("%"))
        assert mine["accuracy"] == pytest.approx(average, abs=1e-9)
        correct = figures["cohen_kappa_correct"]
        assert mine["kappa_between_orders"]["value"] == pytest.approx(correct["between_orders"], abs=1e-12)
        assert mine["kappa_with_gold"]["value"] == pytest.approx(correct["first_order_vs_gold"], abs=1e-12)


def test_the_authors_kappa_with_gold_is_not_reproduced() -> None:
    """They turn label 2 into 0 first; a judge who is right on 95 % would have a kappa of 0.27."""
    name = "LLMBar/Natural/evaluators/GPT-4/Vanilla"
    published = _expected("llmbar_expected.json")[name]["published"]["kappa_False"]
    mine = {row["judge"]: row for row in judges([DATA / "llmbar_verdicts.csv.gz"], draws=100)["judges"]}[name]
    assert published == pytest.approx(0.2678, abs=1e-4)
    assert mine["kappa_with_gold"]["lower"] > published


def test_always_the_longer_answer_fails_the_adversarial_pairs() -> None:
    expected = _expected("llmbar_length_baseline.json")
    for row in judges([DATA / "llmbar_pairs.jsonl.gz"])["length_baseline"]:
        figures = expected.pop(row["subset"])
        assert [row[k] for k in ("n", "n_unequal", "longer_is_gold")] == [
            figures[k] for k in ("n", "n_unequal", "longer_is_gold")
        ]
        assert row["accuracy"] == pytest.approx(100 * figures["accuracy"], abs=1e-9)
    assert not expected


def test_order_flips_and_the_length_baseline_stand_beside_llmbar_accuracies() -> None:
    files = [DATA / "llmbar_verdicts.csv.gz", DATA / "llmbar_pairs.jsonl.gz"]
    expected = _expected("llmbar_expected.json")
    longer = _expected("llmbar_length_baseline.json")
    for row in rewards(files)["models"]:
        figures = expected[row["model"]]
        (subset,) = row["subsets"]
        assert row["order_flips"] == pytest.approx(1 - figures["agree_between_orders"] / figures["n"], abs=1e-12)
        if subset in longer:
            assert row["length_baseline"] == pytest.approx(longer[subset]["accuracy"], abs=1e-12)


def test_pandalm_votes() -> None:
    expected = _expected("pandalm_expected.json")
    (found,) = judges([DATA / "pandalm_votes.csv.gz"])["annotators"]
    kappas = [pair["kappa"] for pair in found["pairs"]]
    assert kappas == pytest.approx(list(expected["recomputed"]["kappa"].values()), abs=1e-9)
    assert [round(k, 2) for k in kappas] == list(expected["published"]["kappa"].values())
    assert found["majority"] == expected["published"]["majority"]
    (judge,) = found["judges"]
    figures = expected["judge_pandalm7b"]
    assert judge["accuracy"] == pytest.approx(100 * figures["acc"], abs=1e-9)
    for mean in ("macro", "weighted"):
        assert list(judge[mean].values()) == pytest.approx([100 * x for x in figures[mean]], abs=1e-9)
    assert judge["kappa"] == pytest.approx(figures["kappa_vs_majority"], abs=1e-12)
    assert round(judge["accuracy"], 2) == 66.77 and round(judge["macro"]["f1"], 2) == 57.43


def test_vicuna_launch_totals() -> None:
    expected = _expected("vicuna_blog_expected.json")
    found = {row.pop("review"): row for row in judges([DATA / "vicuna_blog_scores.csv.gz"])["reviews"]}
    assert found == expected


def test_qlora_relative_scores() -> None:
    expected = _expected("qlora_relative_expected.json")
    for row in judges([DATA / "qlora_relative_scores.csv.gz"])["relative"]:
        figures = expected[row["model"]]
        key = "percent_if_inverted" if figures["stored_scores_inverted"] else "percent"
        orders = [order[key] for order in row["orders"].values()]
        *both, mean = figures["published_percent_of_reference"]
        assert sorted(orders) == pytest.approx(sorted(both), abs=0.05)
        assert row[key] == pytest.approx(mean, abs=0.05)
        for name, order in figures["orders"].items():
            assert row["orders"][name]["percent"] == pytest.approx(order["ratio_by_file_name"], abs=1e-9)
