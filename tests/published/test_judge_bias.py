"""Audits of published judges: LLMBar, PandaLM, Vicuna's launch reviews, QLoRA's relative scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.judges import judges
from tightrope.leaderboards.rewards import rewards

DATA = Path(__file__).parents[3] / "shared" / "data" / "judge_bias"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
LLMBAR = "LLMBar, 30 combinations of judge and subset (princeton-nlp/LLMBar)"
PANDALM = "PandaLM's votes (WeOpenML/PandaLM)"
PANDALM_JUDGE = "PandaLM-7B against the majority of the votes, computed for the public data"
VICUNA = "Vicuna's launch reviews (lm-sys/vicuna-blog-eval), sums of the stored scores"
QLORA = "Scores against ChatGPT (artidoro/qlora)"
LLMBAR_COUNTS = (
    "n",
    "correct_first_order",
    "correct_swapped_order",
    "correct_both",
    "agree_between_orders",
    "unparsed",
)
ORDERS = ("first", "second")
LAUNCH_TOTALS = {
    "llama-13b_vicuna-13b first": 513.0,
    "llama-13b_vicuna-13b second": 694.0,
    "alpaca-13b_vicuna-13b first": 583.0,
    "alpaca-13b_vicuna-13b second": 704.0,
    "bard_vicuna-13b first": 664.0,
    "bard_vicuna-13b second": 655.5,
    "gpt35_vicuna-13b first": 693.0,
    "gpt35_vicuna-13b second": 638.0,
}


def _expected(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def test_llmbar_counts_are_the_authors_and_kappa_is_cohens(compare: Compare) -> None:
    expected = _expected("llmbar_expected.json")
    found = {row["judge"]: row for row in judges([DATA / "llmbar_verdicts.csv.gz"], draws=100)["judges"]}
    assert len(found) == len(expected) == 30
    counts = {f"{name} {key}": row[key] for name, row in found.items() for key in LLMBAR_COUNTS}
    theirs = {f"{name} {key}": figures[key] for name, figures in expected.items() for key in LLMBAR_COUNTS}
    compare(LLMBAR, "pairs, right in each order and in both, orders that agree, unread", counts, theirs)
    published = {name: float(row["published"]["correct_average"].rstrip("%")) for name, row in expected.items()}
    accuracies = {name: row["accuracy"] for name, row in found.items()}
    compare(LLMBAR, "accuracy, mean of both orders", accuracies, published, tolerance=1e-9)
    for key, to in (("kappa_between_orders", "between_orders"), ("kappa_with_gold", "first_order_vs_gold")):
        kappas = {name: row[key]["value"] for name, row in found.items()}
        right = {name: figures["cohen_kappa_correct"][to] for name, figures in expected.items()}
        title = f"Cohen's {key.replace('_', ' ')}, computed for the public data"
        compare(LLMBAR, title, kappas, right, tolerance=1e-12)


def test_the_authors_kappa_with_gold_is_not_reproduced() -> None:
    """They turn label 2 into 0 first; a judge who is right on 95 % would have a kappa of 0.27."""
    name = "LLMBar/Natural/evaluators/GPT-4/Vanilla"
    published = _expected("llmbar_expected.json")[name]["published"]["kappa_False"]
    mine = {row["judge"]: row for row in judges([DATA / "llmbar_verdicts.csv.gz"], draws=100)["judges"]}[name]
    assert published == pytest.approx(0.2678, abs=1e-4)
    assert mine["kappa_with_gold"]["lower"] > published


def test_always_the_longer_answer_fails_the_adversarial_pairs(compare: Compare) -> None:
    expected = _expected("llmbar_length_baseline.json")
    found = {row["subset"]: row for row in judges([DATA / "llmbar_pairs.jsonl.gz"])["length_baseline"]}
    assert set(found) == set(expected)
    for name, figures in expected.items():
        keys = ("n", "n_unequal", "longer_is_gold")
        assert [found[name][key] for key in keys] == [figures[key] for key in keys]
    ours = {name: row["accuracy"] / 100 for name, row in found.items()}
    theirs = {name: figures["accuracy"] for name, figures in expected.items()}
    compare(LLMBAR, "accuracy of always the longer answer", ours, theirs, tolerance=1e-9)


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


def test_pandalm_votes(compare: Compare) -> None:
    expected = _expected("pandalm_expected.json")
    (found,) = judges([DATA / "pandalm_votes.csv.gz"])["annotators"]
    kappas = [pair["kappa"] for pair in found["pairs"]]
    assert kappas == pytest.approx(list(expected["recomputed"]["kappa"].values()), abs=1e-9)
    published = expected["published"]
    ours = dict(zip(published["kappa"], kappas, strict=True))
    compare(PANDALM, "kappa of annotators", ours, published["kappa"], tolerance=0.005)
    compare(PANDALM, "majority", found["majority"], published["majority"])
    (judge,) = found["judges"]
    figures = expected["judge_pandalm7b"]
    assert judge["accuracy"] == pytest.approx(100 * figures["acc"], abs=1e-9)
    for mean in ("macro", "weighted"):
        assert list(judge[mean].values()) == pytest.approx([100 * x for x in figures[mean]], abs=1e-9)
    assert judge["kappa"] == pytest.approx(figures["kappa_vs_majority"], abs=1e-12)
    said = {"accuracy": judge["accuracy"], "macro F1": judge["macro"]["f1"]}
    compare(PANDALM_JUDGE, "percent", said, {"accuracy": 66.77, "macro F1": 57.43}, tolerance=0.005)


def test_vicuna_launch_totals(compare: Compare) -> None:
    expected = _expected("vicuna_blog_expected.json")
    found = {row.pop("review"): row for row in judges([DATA / "vicuna_blog_scores.csv.gz"])["reviews"]}
    assert found == expected
    short = {name.partition("review_")[2]: row for name, row in found.items()}
    ours = {f"{name} {key}": row[f"total_{key}"] for name, row in short.items() for key in ORDERS}
    compare(VICUNA, "total", ours, LAUNCH_TOTALS)


def test_qlora_relative_scores(compare: Compare) -> None:
    expected = _expected("qlora_relative_expected.json")
    for row in judges([DATA / "qlora_relative_scores.csv.gz"])["relative"]:
        figures = expected[row["model"]]
        key = "percent_if_inverted" if figures["stored_scores_inverted"] else "percent"
        orders = [order[key] for order in row["orders"].values()]
        *both, mean = figures["published_percent_of_reference"]
        ours = {"lower order": min(orders), "higher order": max(orders), "mean": row[key]}
        theirs = {"lower order": min(both), "higher order": max(both), "mean": mean}
        compare(QLORA, f"{row['model']}, percent of ChatGPT's score", ours, theirs, tolerance=0.05)
        for name, order in figures["orders"].items():
            assert row["orders"][name]["percent"] == pytest.approx(order["ratio_by_file_name"], abs=1e-9)
