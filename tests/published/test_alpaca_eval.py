"""AlpacaEval's published figures, recomputed from its raw preferences."""

from __future__ import annotations

import csv
import gzip
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.alpaca import alpaca
from tightrope.leaderboards.alpaca_cv import GRID
from tightrope.leaderboards.correlation import spearman
from tightrope.leaderboards.l1_logistic import chances

DATA = Path(__file__).parents[3] / "shared" / "data" / "alpaca_eval"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
BASELINE = "gpt4_1106_preview"
EVAL = "AlpacaEval 2 (tatsu-lab/alpaca_eval)"
OLD = "AlpacaEval with the older GPT-4 annotator (tatsu-lab/alpaca_eval)"
COUNTS = {"n": "n_total", "wins": "n_wins", "losses": "n_wins_base", "draws": "n_draws"}


def files() -> dict[str, Path]:
    return {
        "difficulty": DATA / "instruction_difficulty.csv.gz",
        "gamed_baseline": DATA / "gamed_baseline_rows.csv.gz",
    }


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "expected_models.json").read_text())
    return found


@cache
def computed(optimiser: str, c: str) -> dict[str, Any]:
    found = alpaca([DATA / "preferences.csv.gz"], **files(), c=c, optimiser=optimiser)  # type: ignore[arg-type]
    return {row["model"]: row for row in found["models"]}


def of_its_own_c(optimiser: str) -> dict[str, tuple[Any, Any]]:
    """Every model at the C of its published fit, beside what was published."""
    out = {}
    for name, wanted in expected().items():
        if "lc_fit" in wanted:
            c = min(GRID, key=lambda g: abs(math.log(g / wanted["lc_fit"]["C"])))
            out[name] = (computed(optimiser, repr(c))[name], wanted)
    return out


def test_win_rates_standard_errors_and_counts(compare: Compare) -> None:
    rows = computed("exact", "2.782559402207126")
    assert set(rows) == set(expected())
    published = {name: wanted["published"] for name, wanted in expected().items()}
    for key, title in (
        ("win_rate", "win rate"),
        ("standard_error", "standard error"),
        ("discrete_win_rate", "discrete win rate"),
    ):
        ours = {name: row[key] for name, row in rows.items()}
        theirs = {name: row[key] for name, row in published.items()}
        compare(EVAL, title, ours, theirs, tolerance=1e-8, each=key == "win_rate")
    counts = {f"{name} {key}": row[key] for name, row in rows.items() for key in COUNTS}
    theirs = {f"{name} {key}": row[to] for name, row in published.items() for key, to in COUNTS.items()}
    compare(EVAL, "numbers of preferences, wins, losses and draws of 14 models", counts, theirs)
    for name, wanted in expected().items():
        assert rows[name]["rows"] == wanted["n_rows"]
        assert rows[name]["mean_length"] == pytest.approx(wanted["mean_len_model"], abs=1e-8)


def test_average_length_is_published_as_its_integer_part(compare: Compare) -> None:
    # Over all 805: three models miss one to three instructions, whose answers count as empty.
    rows = computed("exact", "2.782559402207126")
    ours = {name: int(row["mean_length"] * row["rows"] / 805 + 1e-9) for name, row in rows.items()}
    theirs = {name: wanted["published"]["avg_length"] for name, wanted in expected().items()}
    compare(EVAL, "integer part of the average length", ours, theirs)


def published_lc() -> dict[str, float]:
    return {name: wanted["published"]["length_controlled_winrate"] for name, wanted in expected().items()}


def test_liblinear_reproduces_the_published_length_controlled_rates(compare: Compare) -> None:
    ours = {name: row["lc_win_rate"] for name, (row, _) in of_its_own_c("liblinear").items()}
    assert len(ours) == 13 and all(row["lc_converged"] for row, _ in of_its_own_c("liblinear").values())
    theirs = {name: rate for name, rate in published_lc().items() if name in ours}
    compare(EVAL, "LC, liblinear, C of the published fit", ours, theirs, tolerance=1e-8, each=True)


def test_exact_optimum_is_near_the_published_fits_that_stop_early(compare: Compare) -> None:
    fits = of_its_own_c("exact")
    ours = {name: row["lc_win_rate"] for name, (row, _) in fits.items()}
    theirs = {name: rate for name, rate in published_lc().items() if name in ours}
    compare(EVAL, "LC, exact optimum, C of the published fit", ours, theirs, tolerance=0.016)
    for name, (row, wanted) in fits.items():
        assert row["lc_win_rate"] == pytest.approx(wanted["lc_fit"]["lc_exact_optimum"], abs=1e-7), name
        assert row["lc_violation"] <= 1e-10


def test_published_weights_are_those_of_the_fit(compare: Compare) -> None:
    fits = of_its_own_c("liblinear")
    del fits["NullModel"]  # its published row and its published weights come from different fits
    ours = {f"{name} {i}": w for name, (row, _) in fits.items() for i, w in enumerate(row["lc_coefficients"].values())}
    theirs = {
        f"{name} {i}": w for name, (_, to) in fits.items() for i, w in enumerate(to["published_weights"].values())
    }
    compare(EVAL, "weights of the LC fits, 12 models", ours, theirs, tolerance=1e-6)


def test_one_c_for_all_models(compare: Compare) -> None:
    ours = {name: row["lc_win_rate"] for name, row in computed("exact", "2.78256").items()}
    compare(EVAL, "LC, exact, C 2.78256", ours, published_lc(), tolerance=0.15)
    early = {name: row["lc_win_rate"] for name, row in computed("liblinear", "2.78256").items()}
    assert early == pytest.approx(ours, rel=0, abs=0.016)  # what stopping early adds


# What alpaca_eval 0.6.6 chooses with scikit-learn 1.5.2 on these rows, the sort's order of equals as with AVX-512.
CHOSEN_UPSTREAM = {
    "alpaca-7b": 2.7826,
    "alpaca-7b_verbose": 2.7826,
    "alpaca-7b_concise": 1291.5,
    "gpt-3.5-turbo-1106": 2.7826,
    "gpt-3.5-turbo-1106_verbose": 2.7826,
    "gpt-3.5-turbo-1106_concise": 2.7826,
    "FuseChat-Gemma-2-9B-Instruct": 2.7826,
    "FuseChat-Llama-3.2-1B-Instruct": 2.7826,
    "claude-2.1": 2.7826,
    "gpt4_gamed": 166.81,
    "NullModel": 21.544,
    "text_davinci_001": 2.7826,
    "vicuna-13b-v1.5": 10000,
}


@pytest.mark.parametrize("optimiser", ["liblinear", "exact"])
def test_cross_validation_chooses_nearly_what_was_published(compare: Compare, optimiser: str) -> None:
    rows = computed(optimiser, "cv")
    ours = {name: row["lc_win_rate"] for name, row in rows.items()}
    compare(EVAL, f"LC, {optimiser}, C by cross-validation", ours, published_lc(), tolerance=0.11)


def test_cross_validation_by_liblinear_chooses_what_upstream_chooses() -> None:
    rows = computed("liblinear", "cv")
    assert {name: rows[name]["lc_C"] for name in CHOSEN_UPSTREAM} == pytest.approx(CHOSEN_UPSTREAM, rel=1e-4)


def test_the_baseline_against_itself_is_fifty() -> None:
    row = computed("exact", "2.782559402207126")[BASELINE]
    assert (row["win_rate"], row["lc_win_rate"], row["lc_converged"]) == (50.0, 50.0, True)


def test_models_that_gamed_the_leaderboard_are_flagged() -> None:
    plain = {row["model"]: row for row in alpaca([DATA / "preferences.csv.gz"])["models"]}
    for rows in (computed("exact", "cv"), computed("liblinear", "2.78256"), plain):
        assert "constant_output" in rows["NullModel"]["flags"]
        assert {"constant_output", "length_extrapolation", "raw_lc_disagree"} <= set(rows["gpt4_gamed"]["flags"])
        for honest in ("FuseChat-Gemma-2-9B-Instruct", "FuseChat-Llama-3.2-1B-Instruct", BASELINE):
            assert rows[honest]["flags"] == []
    assert "raw_lc_disagree" in computed("exact", "cv")["NullModel"]["flags"]
    assert plain["NullModel"]["lc_win_rate"] is None
    assert "same length" in plain["NullModel"]["lc_withheld"]


def test_models_with_missing_instructions_say_so() -> None:
    rows = computed("exact", "2.782559402207126")
    short = {name for name, row in rows.items() if "missing_instructions" in row["flags"]}
    assert short == {name for name, wanted in expected().items() if wanted["n_rows"] < 805}


def test_rates_from_published_weights(compare: Compare) -> None:
    wanted = json.loads((DATA / "expected_lc_from_weights.json").read_text())
    found = alpaca([DATA / "expected_lc_from_weights.json"], difficulty=files()["difficulty"])
    named = {
        "Snorkel-Mistral-PairRM-DPO": 26.391446,
        "Contextual-KTO-Mistral-PairRM": 29.705809,
        "Starling-LM-7B-beta-ExPO": 26.411157,
    }
    ours = {row["model"]: row["lc_win_rate"] for row in found["models"]}
    for row in wanted:
        assert ours[row["model"]] == pytest.approx(row["lc_from_weights"], abs=1e-6)
    compare(EVAL, "LC from published weights", ours, named, tolerance=1e-6)
    # Four of these models have a published row and published weights of different fits.
    theirs = {row["model"]: row["published_lc"] for row in wanted if row["abs_diff"] < 1e-5}
    assert (len(theirs), len(wanted)) == (26, 30)
    compare(EVAL, "LC from published weights, 26 models", ours, theirs, tolerance=1e-6)
    errors = {row["model"]: row["lc_predicted_standard_error"] for row in found["models"]}
    said = {
        row["model"]: row["published_lc_se"]
        for row in wanted
        if row["model"] in theirs and math.isfinite(row["published_lc_se"])
    }
    compare(EVAL, "spread of the predictions, printed as LC's standard error", errors, said, tolerance=1e-6)


def test_predictions_of_our_fit_are_those_published_for_every_instruction(compare: Compare) -> None:
    # Of four models with published predictions two have public preferences, which the fit needs.
    published = json.loads((DATA / "per_instruction_lc_predictions.json").read_text())
    with gzip.open(files()["difficulty"], "rt") as file:
        gamma = np.array([float(row["instruction_difficulty"]) for row in csv.DictReader(file)])
    fits = of_its_own_c("liblinear")
    ours, theirs = {}, {}
    for name in ("claude-2.1", "gpt-3.5-turbo-1106"):
        _, psi, theta = fits[name][0]["lc_coefficients"].values()
        predictions = chances(psi * gamma + theta)
        assert 100 * predictions.mean() == pytest.approx(fits[name][0]["lc_win_rate"], abs=1e-9)
        ours |= {f"{name} {i}": p for i, p in enumerate(predictions.tolist())}
        theirs |= {f"{name} {i}": p for i, p in enumerate(published[name]["predictions"])}
    assert len(theirs) == len(ours) == 2 * 805
    compare(EVAL, "LC's predictions by instruction, 2 models", ours, theirs, tolerance=1e-6)


def test_old_draw_codes_and_missing_values(compare: Compare) -> None:
    expected = json.loads((DATA / "legacy_expected.json").read_text())
    wanted = {key.split("/")[1]: row for key, row in expected.items()}
    rows = {row["model"]: row for row in alpaca([DATA / "legacy_preferences.csv.gz"])["models"]}
    assert len(rows) == len(wanted) == 10
    for key, title, to in (("win_rate", "win rate", "published"), ("standard_error", "standard error", "pub_se")):
        ours = {name: row[key] for name, row in rows.items()}
        compare(OLD, title, ours, {name: row[to] for name, row in wanted.items()}, tolerance=1e-6)
    counts = {f"{name} {key}": row[key] for name, row in rows.items() for key in COUNTS}
    theirs = {f"{name} {key}": row[to] for name, row in wanted.items() for key, to in COUNTS.items()}
    compare(OLD, "numbers of preferences, wins, losses and draws", counts, theirs)
    for name, row in wanted.items():
        assert rows[name]["old_draw_codes"] == row["zeros"]
        assert rows[name]["dropped"].get("no preference", 0) == row["missing"]


def test_gameability_and_rank_correlation_with_the_arena(compare: Compare) -> None:
    wanted = json.loads((DATA / "expected_gameability.json").read_text())
    found = alpaca([DATA / "leaderboard.csv"])
    for ours, theirs in (("win_rate", "raw"), ("lc_win_rate", "lc")):
        assert found["gameability"][ours]["families"] == wanted["families"]
        for what in ("verbosity", "conciseness"):
            assert found["gameability"][ours][what] == pytest.approx(wanted[theirs][what], abs=1e-9)
    raw, lc = found["gameability"]["win_rate"], found["gameability"]["lc_win_rate"]
    theirs = {"verbosity": 21.35, "conciseness": 29.76}
    compare(EVAL, "gameability of the raw win rate, published as 21.3 and 29.8", raw, theirs, tolerance=0.01)
    theirs = {"verbosity": 7.48, "conciseness": 16.00}
    compare(EVAL, "gameability of LC on this table, computed for the public data", lc, theirs, tolerance=0.01)
    rank = found["arena_spearman"]
    assert rank["models"] == wanted["arena_models"]
    theirs = {"lc_win_rate": 0.9746295269, "win_rate": 0.9305275703}
    compare(EVAL, "Spearman with Chatbot Arena", rank, theirs, tolerance=1e-9)
    with (DATA / "leaderboard.csv").open() as file:
        rated = [row for row in csv.DictReader(file) if row["arena_elo_2024_02_02"]]
    lengths, elo = ([float(row[k]) for row in rated] for k in ("avg_length", "arena_elo_2024_02_02"))
    assert spearman(np.array(lengths), np.array(elo)) == pytest.approx(wanted["spearman_arena"]["avg_length"], abs=1e-9)


def test_the_order_of_rows_does_not_matter_to_the_exact_optimum(tmp_path: Path) -> None:
    with gzip.open(DATA / "preferences.csv.gz", "rt") as file:
        header, *lines = file.readlines()
    mine = [line for line in lines if line.startswith("claude-2.1,")]
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text(header + "".join(np.random.default_rng(0).permutation(mine)))
    again = alpaca([shuffled], **files(), c="2.782559402207126")["models"][0]
    before = computed("exact", "2.782559402207126")["claude-2.1"]
    assert again["lc_win_rate"] == pytest.approx(before["lc_win_rate"], abs=1e-8)
    assert again["lc_standard_error"] == pytest.approx(before["lc_standard_error"], abs=1e-8)
