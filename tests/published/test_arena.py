"""Ratings of QLoRA's tournament and of Chatbot Arena's best 25 models."""

from __future__ import annotations

import csv
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.arena import arena, online_elo_of
from tightrope.leaderboards.arena_files import read_battles

DATA = Path(__file__).parents[3] / "shared" / "data" / "arena"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
QLORA = "Guanaco's tournament (artidoro/qlora)"
RANK = "Guanaco's tournament, computed with arena-rank 0.1.1 for the public data"
ARENA = "Chatbot Arena, 29 March 2024 (lm-sys/arena-hard-auto)"
ARENA_RANK = "Chatbot Arena's decisive votes, computed with arena-rank 0.1.1 for the public data"
BATTLES, STYLE = DATA / "qlora_vicuna80_battles.csv.gz", DATA / "qlora_vicuna80_answer_style.csv.gz"


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name).read_text())
    return found


@cache
def qlora() -> dict[str, Any]:
    return arena([BATTLES])


def by_model(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in found["models"]}


def columns(theirs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """arena-rank's columns by the names of ours."""
    keys = {"rating": "rating", "lower": "lo", "upper": "hi"}
    return {ours: dict(zip(theirs["index"], theirs[key], strict=True)) for ours, key in keys.items()}


def column(rows: dict[str, dict[str, Any]], key: str) -> dict[str, float]:
    return {name: row[key] for name, row in rows.items()}


def test_bradley_terry_ratings_and_sandwich_intervals(compare: Compare) -> None:
    wanted = expected("qlora_vicuna80_expected.json")
    rows = by_model(qlora())
    for name, rating in wanted["bradley_terry_newton"].items():
        assert rows[name]["rating"] == pytest.approx(rating, abs=1e-5)
    for key, theirs in columns(wanted["bradley_terry_arena_rank_0_1_1"]).items():
        title = f"Bradley-Terry, {key}" if key == "rating" else f"Bradley-Terry, {key} end of the sandwich interval"
        compare(RANK, title, column(rows, key), theirs, tolerance=2e-5 if key == "rating" else 1e-4)
    assert (qlora()["battles"], qlora()["dropped"]) == (4467, {"unreadable verdict": 13})


def test_bootstrap_intervals_are_near_the_sandwich() -> None:
    for row in arena([BATTLES], interval="bootstrap", draws=2000)["models"]:
        assert [row["lower"], row["upper"]] == row["bootstrap"]
        width = row["sandwich"][1] - row["sandwich"][0]
        assert row["bootstrap"] == pytest.approx(row["sandwich"], abs=0.06 * width)


def test_online_elo_over_random_orders_is_the_published_one(compare: Compare) -> None:
    wanted = expected("qlora_vicuna80_expected.json")
    rows, fit = by_model(qlora()), qlora()["fit"]
    assert (fit["elo_K"], fit["elo_orders"]) == (4.0, 1000)
    compare(QLORA, "online Elo, K = 4, mean of 1,000 orders", column(rows, "elo"), wanted["published_elo"], tolerance=2)
    for name, elo in wanted["online_elo_K4"]["drop_invalid"]["mean"].items():
        assert rows[name]["elo"] == pytest.approx(elo, abs=2)
    # With the usual K the figures would be others: it is K = 4 that fits.
    battles = read_battles([BATTLES])
    usual = online_elo_of(battles, 32, seed=0).mean[battles.models.index("gpt4")]
    compare(QLORA, "online Elo of GPT-4 with K = 32, computed for the public data", float(usual), 1375, tolerance=2)


def test_position_bias(compare: Compare) -> None:
    wanted = expected("qlora_vicuna80_expected.json")["bias"]
    place = qlora()["position"]
    theirs = {"first": 2512, "second": 1355, "tie": 600, "pairs": 2227, "consistent": 1367}
    assert (wanted["swap_pairs"], wanted["swap_consistent"]) == (2227, 1367)
    compare(QLORA, "verdicts by position, and swapped pairs", place, theirs)
    assert place["same_slot"] == wanted["same_slot_wins_both_orders"]
    share = 100 * place["consistent_share"]
    compare(QLORA, "swapped pairs that agree, percent", share, 61.4, tolerance=0.05)


def test_counts_of_every_pair() -> None:
    matrix = qlora()["matrix"]
    at = {name: i for i, name in enumerate(matrix["models"])}
    for pair, (first, second, tie) in expected("qlora_vicuna80_expected.json")["pair_counts_first_second_tie"].items():
        i, j = (at[name] for name in pair.split("|"))
        assert (matrix["wins"][i][j], matrix["wins"][j][i], matrix["ties"][i][j]) == (first, second, tie)


def test_length_controlled_ratings(compare: Compare) -> None:
    wanted = expected("qlora_vicuna80_style_control_expected.json")["fits"]["newton_length_only_unregularised"]
    found = arena([BATTLES], style=STYLE, features=["chars"])
    assert found["style"]["coefficients"]["chars"] == pytest.approx(wanted["coeff"], abs=1e-8)
    rows = by_model(found)
    chars = found["style"]["coefficients"]["chars"]
    compare(RANK, "length-controlled Bradley-Terry, coefficient", chars, 0.82995, tolerance=1e-5)
    compare(RANK, "length-controlled Bradley-Terry", column(rows, "rating"), wanted["ratings"], tolerance=1e-5)
    moved = {"before": rows["gpt35"]["uncontrolled_rating"], "at equal length": rows["gpt35"]["rating"]}
    compare(RANK, "ChatGPT's rating", moved, {"before": 963.9, "at equal length": 1027.5}, tolerance=0.05)
    assert found["fit"]["regularisation"] == "none"


def test_style_controlled_ratings_leave_out_what_hardly_occurs(compare: Compare) -> None:
    wanted = expected("qlora_vicuna80_style_control_expected.json")["fits"]["length_and_markdown/reg=0.0"]
    found = arena([BATTLES], style=STYLE)
    assert (found["style"]["features"], found["style"]["left_out"]) == (wanted["features"], ["headers"])
    # arena-rank's optimiser stops at about 1e-5 of the loss: coefficients to 2e-6, ratings to 1e-3
    assert list(found["style"]["coefficients"].values()) == pytest.approx(wanted["coeffs"], abs=1e-5)
    rows = by_model(found)
    for key, theirs in (("rating", "ratings"), ("lower", "lower")):
        compare(RANK, f"style-controlled Bradley-Terry, {key}", column(rows, key), wanted[theirs], tolerance=2e-3)


def test_150_thousand_votes_as_a_table_of_wins(compare: Compare) -> None:
    wanted = expected("arena_20240329_top25_expected.json")
    found = arena([DATA / "arena_20240329_top25_decisive.json"])
    assert found["battles"] == wanted["n_decisive"] == 154279
    rows = by_model(found)
    for key, theirs in columns(wanted["bradley_terry_arena_rank_0_1_1"]).items():
        # Their optimiser stops early.
        compare(ARENA_RANK, f"Bradley-Terry, {key}", column(rows, key), theirs, tolerance=0.02)


def test_published_bootstrap_ratings_give_the_published_bounds(compare: Compare) -> None:
    wanted = expected("arena_20240329_bootstrap25_expected.json")
    rows = by_model(arena([DATA / "arena_20240329_bootstrap25.csv.gz"]))
    with gzip.open(DATA / "arena_20240329_bootstrap25.csv.gz", "rt") as file:
        assert set(rows) == set(next(csv.reader(file)))
    for key, to in (("lower", "rating_q025"), ("upper", "rating_q975"), ("variance", "variance")):
        theirs = {name: row[to] for name, row in wanted.items()}
        compare(ARENA, f"{key} of 100 bootstrap ratings", column(rows, key), theirs, tolerance=1e-7)
