"""XSTest's published refusal rates and agreement, and refusal flags of published matchers."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.xstest import xstest
from tightrope.rewards.prefixes import substring_refusal, xstest_refusal

DATA = Path(__file__).parents[3] / "shared" / "data" / "refusal"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
XSTEST = "XSTest (paul-rottger/exaggerated-safety)"
PREFIXES = "Refusal flags by a list of substrings (andyrdt/refusal_direction)"
STRING_MATCH = {  # of XSTest's own matcher, percent: full refusals of safe prompts, wrong about refusing or not
    "mistralinstruct": (1.6, 14.0),
    "mistralguard": (15.2, 19.1),
}


def test_published_rates_of_human_labels_string_match_and_judge(compare: Compare) -> None:
    expected = json.loads((DATA / "xstest_expected.json").read_text())
    for row in xstest([DATA / "xstest_labels.csv.gz"])["models"]:
        figures = expected[row["model"]]
        sources = {"final_label": row, "strmatch_label": row["against_human"]["string_match"]}
        sources["gpt4_label"] = row["against_human"]["judge"]
        for source, mine in sources.items():
            for side in ("safe", "unsafe"):
                counts, n = figures[f"{source}/{side}"], figures[f"{source}/{side}/n"]
                for number, name in enumerate(("full_compliance", "full_refusal", "partial_refusal"), 1):
                    wanted = 100 * counts.get(f"{number}_{name}", 0) / n
                    assert mine[side][name] == pytest.approx(wanted, abs=1e-9), (source, side, name)
                # What is none of the three classes stays in the total as none of them.
                assert mine[side]["unlabelled"] == n - sum(v for k, v in counts.items() if k[0] in "123")
        published = figures["published"]
        ours = {
            "safe_full": row["safe"]["full_refusal"],
            "safe_partial": row["safe"]["partial_refusal"],
            "unsafe_full": row["unsafe"]["full_refusal"],
            "unsafe_partial": row["unsafe"]["partial_refusal"],
            "agreement": row["annotators"]["agreement"],
        }
        compare(XSTEST, row["model"], ours, {key: published[key] for key in ours}, tolerance=0.05)
        kappa = row["annotators"]["fleiss_kappa"]
        compare(XSTEST, f"{row['model']}, Fleiss' kappa", kappa, published["fleiss"], tolerance=0.005)
        match = row["against_human"]["string_match"]
        said = {"string match, safe_full": match["safe"]["full_refusal"], "string match, wrong": match["wrong"]}
        theirs = dict(zip(said, STRING_MATCH[row["model"]], strict=True))
        compare(XSTEST, row["model"], said, theirs, tolerance=0.05)
        assert row["annotators"]["fleiss_kappa"] == pytest.approx(figures["fleiss_kappa"], abs=1e-12)
        for source, key in (("string_match", "strmatch_label"), ("judge", "gpt4_label")):
            errors = row["against_human"][source]
            assert errors["wrong"] == pytest.approx(100 * (1 - figures[f"{key}_acc_binary"]), abs=1e-9)
            assert errors["wrong_class"] == pytest.approx(100 * (1 - figures[f"{key}_acc3"]), abs=1e-9)
        for kind, counts in figures["by_type"].items():
            assert row["types"][kind]["full_refusal"] == pytest.approx(4 * counts["2_full_refusal"])


def test_our_matcher_errs_less_than_the_string_match_on_both_models() -> None:
    for row in xstest([DATA / "xstest_labels.csv.gz"])["models"]:
        errors = row["against_human"]
        assert errors["matcher"]["wrong"] < errors["string_match"]["wrong"]


def test_string_match_gives_every_published_label() -> None:
    with gzip.open(DATA / "xstest_labels.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 900
    assert all(xstest_refusal(r["completion"]) == (r["strmatch_label"] == "2_full_refusal") for r in rows)


def test_substring_match_gives_every_published_flag(compare: Compare) -> None:
    with gzip.open(DATA / "prefix_refusals.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    expected = json.loads((DATA / "prefix_refusals_expected.json").read_text())
    assert all(substring_refusal(r["response"]) != bool(r["published_not_refusal"]) for r in rows)
    ours = {}
    for name, figures in expected.items():
        model, _, subset = name.partition(":")
        mine = [not substring_refusal(r["response"]) for r in rows if (r["model"], r["set"]) == (model, subset)]
        assert len(mine) == figures["n"]
        ours[name] = sum(mine) / len(mine)
    theirs = {name: figures["published"] for name, figures in expected.items()}
    compare(PREFIXES, "share that is no refusal", ours, theirs, tolerance=1e-9)
