"""Ratings of QLoRA's tournament and of Chatbot Arena's best 25 models."""

from __future__ import annotations

import csv
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tightrope.leaderboards.arena import arena

DATA = Path(__file__).parents[3] / "shared" / "data" / "arena"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
BATTLES, STYLE = DATA / "qlora_vicuna80_battles.csv.gz", DATA / "qlora_vicuna80_answer_style.csv.gz"


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name).read_text())
    return found


@cache
def qlora() -> dict[str, Any]:
    return arena([BATTLES])


def by_model(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in found["models"]}


def test_bradley_terry_ratings_and_sandwich_intervals() -> None:
    wanted = expected("qlora_vicuna80_expected.json")
    rows = by_model(qlora())
    for name, rating in wanted["bradley_terry_newton"].items():
        assert rows[name]["rating"] == pytest.approx(rating, abs=1e-5)
    theirs = wanted["bradley_terry_arena_rank_0_1_1"]
    for name, rating, low, high in zip(theirs["index"], theirs["rating"], theirs["lo"], theirs["hi"], strict=True):
        assert rows[name]["rating"] == pytest.approx(rating, abs=2e-5)
        assert rows[name]["lower"] == pytest.approx(low, abs=1e-4)
        assert rows[name]["upper"] == pytest.approx(high, abs=1e-4)
    assert (qlora()["battles"], qlora()["dropped"]) == (4467, {"unreadable verdict": 13})


def test_bootstrap_intervals_are_near_the_sandwich() -> None:
    for row in arena([BATTLES], interval="bootstrap", draws=2000)["models"]:
        assert [row["lower"], row["upper"]] == row["bootstrap"]
        width = row["sandwich"][1] - row["sandwich"][0]
        assert row["bootstrap"] == pytest.approx(row["sandwich"], abs=0.06 * width)


def test_online_elo_over_random_orders_is_the_published_one() -> None:
    wanted = expected("qlora_vicuna80_expected.json")
    rows, fit = by_model(qlora()), qlora()["fit"]
    assert (fit["elo_K"], fit["elo_orders"]) == (4.0, 1000)
    for name, elo in wanted["published_elo"].items():
        assert rows[name]["elo"] == pytest.approx(elo, abs=2)
    for name, elo in wanted["online_elo_K4"]["drop_invalid"]["mean"].items():
        assert rows[name]["elo"] == pytest.approx(elo, abs=2)


def test_position_bias() -> None:
    wanted = expected("qlora_vicuna80_expected.json")["bias"]
    place = qlora()["position"]
    assert (place["first"], place["second"], place["tie"]) == (2512, 1355, 600)
    assert (place["pairs"], place["consistent"]) == (wanted["swap_pairs"], wanted["swap_consistent"]) == (2227, 1367)
    assert place["same_slot"] == wanted["same_slot_wins_both_orders"]
    assert 100 * place["consistent_share"] == pytest.approx(61.4, abs=0.05)


def test_counts_of_every_pair() -> None:
    matrix = qlora()["matrix"]
    at = {name: i for i, name in enumerate(matrix["models"])}
    for pair, (first, second, tie) in expected("qlora_vicuna80_expected.json")["pair_counts_first_second_tie"].items():
        i, j = (at[name] for name in pair.split("|"))
        assert (matrix["wins"][i][j], matrix["wins"][j][i], matrix["ties"][i][j]) == (first, second, tie)


def test_length_controlled_ratings() -> None:
    wanted = expected("qlora_vicuna80_style_control_expected.json")["fits"]["newton_length_only_unregularised"]
    found = arena([BATTLES], style=STYLE, features=["chars"])
    assert found["style"]["coefficients"]["chars"] == pytest.approx(wanted["coeff"], abs=1e-8)
    assert found["style"]["coefficients"]["chars"] == pytest.approx(0.82995, abs=1e-5)
    rows = by_model(found)
    for name, rating in wanted["ratings"].items():
        assert rows[name]["rating"] == pytest.approx(rating, abs=1e-5)
    assert rows["gpt35"]["uncontrolled_rating"] == pytest.approx(963.9, abs=0.05)
    assert rows["gpt35"]["rating"] == pytest.approx(1027.5, abs=0.05)
    assert found["fit"]["regularisation"] == "none"


def test_style_controlled_ratings_leave_out_what_hardly_occurs() -> None:
    wanted = expected("qlora_vicuna80_style_control_expected.json")["fits"]["length_and_markdown/reg=0.0"]
    found = arena([BATTLES], style=STYLE)
    assert (found["style"]["features"], found["style"]["left_out"]) == (wanted["features"], ["headers"])
    # arena-rank's optimiser stops at about 1e-5 of the loss: coefficients to 2e-6, ratings to 1e-3
    assert list(found["style"]["coefficients"].values()) == pytest.approx(wanted["coeffs"], abs=1e-5)
    rows = by_model(found)
    for name, rating in wanted["ratings"].items():
        assert rows[name]["rating"] == pytest.approx(rating, abs=2e-3)
        assert rows[name]["lower"] == pytest.approx(wanted["lower"][name], abs=2e-3)


def test_150_thousand_votes_as_a_table_of_wins() -> None:
    wanted = expected("arena_20240329_top25_expected.json")
    found = arena([DATA / "arena_20240329_top25_decisive.json"])
    assert found["battles"] == wanted["n_decisive"] == 154279
    rows, theirs = by_model(found), wanted["bradley_terry_arena_rank_0_1_1"]
    for name, rating, low, high in zip(theirs["index"], theirs["rating"], theirs["lo"], theirs["hi"], strict=True):
        assert rows[name]["rating"] == pytest.approx(rating, abs=0.02)  # their optimiser stops early
        assert rows[name]["lower"] == pytest.approx(low, abs=0.02)
        assert rows[name]["upper"] == pytest.approx(high, abs=0.02)


def test_published_bootstrap_ratings_give_the_published_bounds() -> None:
    wanted = expected("arena_20240329_bootstrap25_expected.json")
    rows = by_model(arena([DATA / "arena_20240329_bootstrap25.csv.gz"]))
    with gzip.open(DATA / "arena_20240329_bootstrap25.csv.gz", "rt") as file:
        assert set(rows) == set(next(csv.reader(file)))
    for name, theirs in wanted.items():
        assert rows[name]["lower"] == pytest.approx(theirs["rating_q025"], abs=1e-7)
        assert rows[name]["upper"] == pytest.approx(theirs["rating_q975"], abs=1e-7)
        assert rows[name]["variance"] == pytest.approx(theirs["variance"], abs=1e-7)
